#[cfg(feature = "net")]
use core::{future::Future, time::Duration};

use camwire_frame::{Clock, Instant};
#[cfg(feature = "net")]
use embassy_futures::select::{Select, select};
use embassy_time::{TICK_HZ, Timer};

/// embassy's time as a [`Clock`]. It does not know Unix time; a clock that does can wrap it.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        Instant::from_micros(embassy_time::Instant::now().as_micros())
    }

    async fn sleep_until(&self, at: Instant) {
        let ticks = ticks(at.as_micros(), TICK_HZ);
        Timer::at(embassy_time::Instant::from_ticks(ticks)).await;
    }
}

/// What the future gives, unless a peer takes too long for it. Not an async fn, which would hold the future
/// twice.
#[cfg(feature = "net")]
pub(crate) fn in_time<C: Clock, F: Future>(
    clock: &C,
    limit: Duration,
    future: F,
) -> Select<F, impl Future<Output = ()> + use<'_, C, F>> {
    select(future, clock.deadline(clock.now() + limit))
}

/// The first tick that is not before `micros`. embassy's own conversion takes the last one that is
/// not after it, which may be too early, and has no answer for the end of time.
const fn ticks(micros: u64, hz: u64) -> u64 {
    // Not 128 bits, which are costly on a 32-bit core. They would only be needed after centuries.
    let common = common_divisor(hz, 1_000_000);
    micros.saturating_mul(hz / common).div_ceil(1_000_000 / common)
}

const fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::ticks;
    use proptest::prelude::*;
    use std::vec;

    /// What embassy makes of it again.
    fn micros(ticks: u64, hz: u64) -> u128 {
        u128::from(ticks) * 1_000_000 / u128::from(hz)
    }

    #[test]
    fn the_end_of_time_is_far_away() {
        for hz in [1, 1000, 12_345, 32_768, 1_000_000, 10_000_000, 16_000_000] {
            for micros in [1 << 63, u64::MAX] {
                let years = ticks(micros, hz) / hz / (365 * 24 * 60 * 60);
                assert!(years > 100, "{micros} with {hz}: {years}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_early_and_less_than_a_tick_late(
            at in 0u64..1 << 50,
            hz in prop::sample::select(vec![1, 100, 1000, 32_768, 1_000_000, 10_000_000, 12_345]),
        ) {
            let tick = ticks(at, hz);
            prop_assert!(micros(tick, hz) >= u128::from(at));
            prop_assert!(tick == 0 || micros(tick - 1, hz) < u128::from(at));
        }
    }
}
