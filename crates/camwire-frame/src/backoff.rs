use core::time::Duration;

/// How long to wait between attempts that fail: twice as long after each, up to a limit.
///
/// ```
/// use camwire_frame::Backoff;
/// use core::time::Duration;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
/// let mut waits = || backoff.next(0).as_secs();
/// assert_eq!([waits(), waits(), waits(), waits()], [1, 2, 4, 5]);
/// backoff.reset(); // An attempt has succeeded.
/// assert_eq!(backoff.next(0).as_secs(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// No attempt has failed yet. The first wait is `first`, later ones are `longest` at most.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait after a further failure.
    ///
    /// A part of up to a half is left out in proportion to `random`, so that many devices do not come
    /// back at the same moment. With 0 nothing is left out.
    #[must_use]
    pub fn next(&mut self, random: u32) -> Duration {
        let wait = self.next.min(self.longest);
        // The compiler cannot prove that sums of `Duration` do not panic.
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.next = Duration::from_micros(micros.saturating_mul(2)).min(self.longest);
        // Longer waits than 49 days lose no more than half of that.
        let half = u64::from(u32::try_from(micros / 2000).unwrap_or(u32::MAX));
        match (half * u64::from(random)) >> 32 {
            0 => wait,
            part => Duration::from_micros(micros.saturating_sub(part * 1000)),
        }
    }

    /// Begins anew, after an attempt that succeeded.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }

    /// Makes the next wait at least this long, after a failure that time alone will hardly undo.
    pub fn at_least(&mut self, wait: Duration) {
        self.next = self.next.max(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(500 * MS, 3000 * MS);
        for millis in [500, 1000, 2000, 3000, 3000] {
            assert_eq!(backoff.next(0), millis * MS);
        }
        backoff.reset();
        assert_eq!(backoff.next(0), 500 * MS);
        backoff.at_least(2000 * MS);
        assert_eq!(backoff.next(0), 2000 * MS);
        backoff.at_least(9000 * MS);
        assert_eq!(backoff.next(0), 3000 * MS);
    }

    #[test]
    fn randomness_leaves_out_up_to_a_half() {
        let mut backoff = Backoff::new(1000 * MS, 1000 * MS);
        assert_eq!(backoff.next(u32::MAX), 501 * MS);
        assert_eq!(backoff.next(1 << 31), 750 * MS);
        assert_eq!(Backoff::new(Duration::MAX, Duration::MAX).next(0), Duration::MAX);
    }
}
