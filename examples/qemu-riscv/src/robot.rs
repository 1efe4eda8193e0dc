//! What the firmware is really for: here a robot that moves its legs 50 times a second, whatever
//! the viewers of its camera do. It watches how well that goes.

use crate::board::println;
use embassy_time::{Duration, Instant, Timer};
use portable_atomic::{AtomicU32, Ordering};

const PERIOD: Duration = Duration::from_millis(20);

static STEPS: AtomicU32 = AtomicU32::new(0);
static SKIPPED: AtomicU32 = AtomicU32::new(0);
static WORST_US: AtomicU32 = AtomicU32::new(0);

#[embassy_executor::task]
pub async fn walk() {
    let mut due = Instant::now();
    loop {
        due += PERIOD;
        Timer::at(due).await;
        // The legs would be moved here.
        let late = Instant::now() - due;
        WORST_US.fetch_max(late.as_micros() as u32, Ordering::Relaxed);
        // A step whose successor is due already is skipped, not made up for.
        let skipped = late.as_ticks() / PERIOD.as_ticks();
        due += PERIOD * skipped as u32;
        SKIPPED.add(skipped as u32, Ordering::Relaxed);
        if STEPS.fetch_add(1, Ordering::Relaxed) % 500 == 499 {
            report();
        }
    }
}

/// Says how it went so far.
pub fn report() {
    println!(
        "robot: {} steps, {} skipped, at worst {} us late",
        STEPS.load(Ordering::Relaxed),
        SKIPPED.load(Ordering::Relaxed),
        WORST_US.load(Ordering::Relaxed),
    );
}
