//! The platform's clock, for tokio.

use std::time::{Duration, SystemTime};

use camwire::frame::{Clock, Instant};

/// Counts from the start of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    start: tokio::time::Instant,
    /// Unix time of `start`. Taken once: a picture that is sent again must not change its time
    /// because the system's clock was set in between.
    unix_start_us: u64,
}

impl HostClock {
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { start: tokio::time::Instant::now(), unix_start_us: unix.as_micros() as u64 }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.start.elapsed().as_micros() as u64)
    }

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(self.start + Duration::from_micros(at.as_micros())).await;
    }

    fn unix_offset(&self) -> Option<u64> {
        Some(self.unix_start_us)
    }
}
