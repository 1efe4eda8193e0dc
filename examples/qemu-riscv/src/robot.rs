//! What the firmware is really for: here a robot that moves its legs 50 times a second, whatever
//! the viewers of its camera do. It watches how well that goes.

use crate::board::println;
use camwire::frame::Clock;
use camwire::server::{Answer, Answered, Application, Disconnect, Exchange, Read, WriteVectored};
use core::fmt::Write as _;
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
    let Figures { steps, skipped, worst_us } = Figures::now();
    println!("robot: {steps} steps, {skipped} skipped, at worst {worst_us} us late");
}

struct Figures {
    steps: u32,
    skipped: u32,
    worst_us: u32,
}

impl Figures {
    fn now() -> Self {
        Self {
            steps: STEPS.load(Ordering::Relaxed),
            skipped: SKIPPED.load(Ordering::Relaxed),
            worst_us: WORST_US.load(Ordering::Relaxed),
        }
    }
}

/// `/robot`, a route of the firmware's own: the same as JSON.
pub struct Robot;

impl Application for Robot {
    fn owns(&self, path: &str) -> bool {
        path == "/robot"
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        let Figures { steps, skipped, worst_us } = Figures::now();
        let mut json = heapless::String::<80>::new(); // Enough for three numbers of ten digits.
        let _ =
            writeln!(json, r#"{{"steps":{steps},"skipped":{skipped},"worst_late_us":{worst_us}}}"#);
        let answer = match exchange.method() {
            "GET" | "HEAD" => Answer {
                content_type: "application/json",
                body: json.as_bytes(),
                ..Answer::default()
            },
            _ => Answer {
                status: "405 Method Not Allowed",
                fields: "Allow: GET, HEAD\r\n",
                ..Answer::default()
            },
        };
        exchange.answer(&answer).await
    }
}
