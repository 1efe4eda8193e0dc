//! The time.

use std::sync::OnceLock;
use std::time::{self, Duration, SystemTime};

use async_io_mini::Timer;
use camwire::frame::{self, Instant};

/// 2025 began so long after 1970. Before the network has told the time, a board believes to be in
/// the year in which counting began.
const PLAUSIBLE: Duration = Duration::from_secs(1_735_689_600);

/// Time since boot.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot: time::Instant,
}

impl Clock {
    /// The clock on which it is now `now`. The camera's driver has one, by which it says when a
    /// picture was taken.
    pub fn agreeing_with(now: Instant) -> Self {
        let here = time::Instant::now();
        // Where the system's clock began later than the driver's, the difference is small.
        let boot = here.checked_sub(Duration::from_micros(now.as_micros())).unwrap_or(here);
        Self { boot }
    }
}

impl frame::Clock for Clock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.boot.elapsed().as_micros() as u64)
    }

    async fn sleep_until(&self, at: Instant) {
        match self.boot.checked_add(Duration::from_micros(at.as_micros())) {
            Some(at) => drop(Timer::at(at).await),
            None => std::future::pending().await,
        }
    }

    /// Known as soon as a time server has answered, and from then on the same: a picture that is
    /// sent again must not change its time because the system's clock was set in between.
    fn unix_offset(&self) -> Option<u64> {
        static OFFSET: OnceLock<u64> = OnceLock::new();
        OFFSET.get().copied().or_else(|| {
            let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
            let booted = unix.checked_sub(self.boot.elapsed())?;
            (unix > PLAUSIBLE).then(|| *OFFSET.get_or_init(|| booted.as_micros() as u64))
        })
    }
}
