use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;
use core::time::Duration;

use crate::Instant;

/// Pictures per second, in steps of a thousandth: from one in 1000 seconds to 1000 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameRate {
    millihertz: NonZeroU32,
}

impl FrameRate {
    /// `fps` pictures per second; `None` unless it is from 1 to 1000.
    #[must_use]
    pub const fn per_second(fps: u16) -> Option<Self> {
        Self::from_millihertz(fps as u32 * 1000)
    }

    /// `millihertz` pictures per 1000 seconds; `None` unless it is from 1 to 1,000,000.
    #[must_use]
    pub const fn from_millihertz(millihertz: u32) -> Option<Self> {
        match NonZeroU32::new(millihertz) {
            Some(millihertz) if millihertz.get() <= 1_000_000 => Some(Self { millihertz }),
            _ => None,
        }
    }

    /// Pictures per 1000 seconds.
    #[must_use]
    pub const fn as_millihertz(self) -> u32 {
        self.millihertz.get()
    }

    /// Time from one picture to the next, rounded down to a microsecond.
    #[must_use]
    pub const fn period(self) -> Duration {
        Duration::from_micros(self.period_us())
    }

    const fn period_us(self) -> u64 {
        // At least 1000, at most 10^9: it fits 32 bits, and so does every later sum of a few.
        1_000_000_000 / self.millihertz.get() as u64
    }
}

/// Pictures per second, as short as it goes: `15`, `0.5`.
impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millihertz = self.as_millihertz();
        write!(f, "{}", millihertz / 1000)?;
        match millihertz % 1000 {
            0 => Ok(()),
            rest if rest % 100 == 0 => write!(f, ".{}", rest / 100),
            rest if rest % 10 == 0 => write!(f, ".{:02}", rest / 10),
            rest => write!(f, ".{rest:03}"),
        }
    }
}

/// The text is no number of pictures per second from 0.001 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a frame rate from 0.001 to 1000")]
pub struct ParseFrameRateError;

/// Takes a decimal number with at most three places: `15`, `0.5`, `29.97`.
impl FromStr for FrameRate {
    type Err = ParseFrameRateError;

    fn from_str(text: &str) -> Result<Self, ParseFrameRateError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let scale = match fraction.len() {
            1 => 100,
            2 => 10,
            3 => 1,
            _ => return Err(ParseFrameRateError),
        };
        if !digits(whole) || !digits(fraction) {
            return Err(ParseFrameRateError);
        }
        let whole: u16 = whole.parse().map_err(|_| ParseFrameRateError)?;
        let fraction: u16 = fraction.parse().map_err(|_| ParseFrameRateError)?;
        // At most 65,535,000 and 99,900.
        let millihertz = (u32::from(whole) * 1000).saturating_add(u32::from(fraction) * scale);
        Self::from_millihertz(millihertz).ok_or(ParseFrameRateError)
    }
}

/// Holds a sequence of pictures to a frame rate, by the caller's clock.
///
/// The schedule is kept, not the gap: a picture that comes a little late does not delay the ones
/// after it, so the average is the rate that was asked for. After a longer pause the schedule
/// starts anew; nothing is made up for.
///
/// ```
/// # use camwire_frame::{FrameRate, Instant, Pacer};
/// let mut pacer = Pacer::new(FrameRate::per_second(10).unwrap());
/// let taken = (0..30).filter(|n| pacer.admit(Instant::from_micros(n * 33_333)).is_some());
/// assert_eq!(taken.count(), 10); // of one second at 30 a second
/// ```
#[derive(Clone, Debug)]
pub struct Pacer {
    period_us: u64,
    due: Option<Instant>,
}

impl Pacer {
    /// A schedule of `rate`, which starts with the first picture.
    #[must_use]
    pub const fn new(rate: FrameRate) -> Self {
        Self { period_us: rate.period_us(), due: None }
    }

    /// When the next picture should be begun; `None` for at once.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next picture is due at `latest`, unless it is due earlier anyway.
    pub fn hasten(&mut self, latest: Instant) {
        self.due = self.due.map(|due| due.min(latest));
    }

    /// Says whether a picture taken at `at` belongs to the schedule, and if so advances it.
    ///
    /// A picture may be early by up to a quarter of the period, since no camera is exact. The
    /// answer for an admitted picture is how many places in the schedule stayed empty before it.
    pub fn admit(&mut self, at: Instant) -> Option<u64> {
        let (at, early) = (at.as_micros(), self.period_us / 4);
        let due = self.due.map_or(at, Instant::as_micros);
        if at.saturating_add(early) < due {
            return None;
        }
        let empty = at.saturating_sub(due).checked_div(self.period_us).unwrap_or(0);
        let from = if empty == 0 { due } else { at };
        self.due = Some(Instant::from_micros(from.saturating_add(self.period_us)));
        Some(empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn rates_parse_and_print() {
        for (text, millihertz) in
            [("15", 15_000), ("0.5", 500), ("29.97", 29_970), ("1000", 1_000_000), ("0.001", 1)]
        {
            let rate: FrameRate = text.parse().unwrap();
            assert_eq!(rate.as_millihertz(), millihertz);
            assert_eq!(rate.to_string(), text);
        }
        for text in ["", "0", "-1", "+5", "1e3", "1000.001", "0.0001", ".", "5.", ".5", "65536"] {
            assert!(text.parse::<FrameRate>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_rate_survives_its_text(millihertz in 1u32..=1_000_000) {
            let rate = FrameRate::from_millihertz(millihertz).unwrap();
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        /// However the pictures come, no more are admitted than the rate allows, and of a
        /// faster camera with jitter no fewer.
        #[test]
        fn the_average_is_the_rate(
            cap in 1u16..60,
            source_fps in 1u64..120,
            jitter in proptest::collection::vec(0u64..3000, 600),
        ) {
            let mut pacer = Pacer::new(FrameRate::per_second(cap).unwrap());
            let step = 1_000_000 / source_fps;
            let seconds = 600 / source_fps;
            let mut admitted = 0;
            for (n, jitter) in jitter.iter().enumerate().take((seconds * source_fps) as usize) {
                let at = Instant::from_micros(n as u64 * step + jitter);
                admitted += u64::from(pacer.admit(at).is_some());
            }
            let cap = u64::from(cap);
            prop_assert!(admitted <= seconds * cap + 2, "{admitted} in {seconds} s");
            if source_fps >= cap * 2 {
                prop_assert!(admitted + 2 >= seconds * cap * 9 / 10, "{admitted} in {seconds} s");
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut pacer = Pacer::new(FrameRate::per_second(10).unwrap());
        let admit = |pacer: &mut Pacer, ms: u64| pacer.admit(Instant::from_micros(ms * 1000));
        assert_eq!(admit(&mut pacer, 0), Some(0));
        assert_eq!(admit(&mut pacer, 50), None);
        assert_eq!(admit(&mut pacer, 1000), Some(9));
        assert_eq!(admit(&mut pacer, 1050), None);
        assert_eq!(admit(&mut pacer, 1100), Some(0));
    }
}
