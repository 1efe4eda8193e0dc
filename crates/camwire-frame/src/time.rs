use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A moment on the server's monotonic clock, in microseconds since a start that the platform
/// chooses (usually boot).
///
/// It never goes back and has nothing to do with the time of day; [`Clock::unix_offset`] is the
/// bridge. 64 bits of microseconds last for half a million years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// The moment `micros` microseconds after the start of the clock.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start of the clock.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at the end of the clock.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        // Not `Duration::as_micros`: its 128-bit arithmetic is costly on a 32-bit core.
        let micros = duration
            .as_secs()
            .saturating_mul(1_000_000)
            .saturating_add(u64::from(duration.subsec_micros()));
        Self(self.0.saturating_add(micros))
    }
}

/// Seconds with six decimals, as in `X-Timestamp`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The platform's clock and timer, given to whatever waits.
///
/// Implement it once per platform: on embassy with `embassy_time::Instant` and
/// `embassy_time::Timer`, on a computer with `std::time::Instant` and `tokio::time`.
#[allow(async_fn_in_trait)] // Whether the futures are `Send` is the platform's to decide.
pub trait Clock {
    /// The present moment.
    fn now(&self) -> Instant;

    /// Waits until `at`; returns at once if that has passed.
    ///
    /// Cancel-safe: a dropped wait has no effect.
    async fn sleep_until(&self, at: Instant);

    /// Waits until `at`, by which a peer has to do something.
    ///
    /// As [`sleep_until`](Self::sleep_until), except that a clock may return later: by the time for
    /// which it knows that no peer could be reached.
    ///
    /// Cancel-safe: a dropped wait has no effect.
    fn deadline(&self, at: Instant) -> impl Future<Output = ()> {
        self.sleep_until(at)
    }

    /// Microseconds to add to an [`Instant`] to get Unix time, where the platform knows it.
    ///
    /// May change while the program runs, for instance when the time arrives by SNTP.
    fn unix_offset(&self) -> Option<u64> {
        None
    }
}

impl<C: Clock> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }

    async fn sleep_until(&self, at: Instant) {
        (**self).sleep_until(at).await;
    }

    fn deadline(&self, at: Instant) -> impl Future<Output = ()> {
        (**self).deadline(at)
    }

    fn unix_offset(&self) -> Option<u64> {
        (**self).unix_offset()
    }
}
