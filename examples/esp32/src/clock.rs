use camwire::frame;
use embassy_time::{Instant, Timer};

/// embassy's time for camwire.
#[derive(Clone, Copy, Debug)]
pub struct Clock;

impl frame::Clock for Clock {
    fn now(&self) -> frame::Instant {
        frame::Instant::from_micros(Instant::now().as_micros())
    }

    async fn sleep_until(&self, at: frame::Instant) {
        Timer::at(Instant::from_micros(at.as_micros())).await;
    }
}
