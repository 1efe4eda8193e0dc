use core::fmt::Display;
use core::time::Duration;

use camwire_frame::{CaptureError, Clock, FrameRate, FrameSource, Instant, Pacer};
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::yield_now;

use crate::{Policy, Publisher, SourceStatus};

/// How a [`capture_loop`] goes about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// The most pictures per second; `None` for as many as the source gives.
    pub rate: Option<FrameRate>,
    /// How long one capture may take before it is given up as failed.
    pub timeout: Duration,
    /// Wait before the second attempt in a row that failed; it doubles with each further one.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// How long a picture may be leased before the lease is asked back, when no slot is left for
    /// a new one.
    pub lease_grace: Duration,
}

/// As fast as the source, 10 s for a capture, 100 ms to 5 s between attempts, 1 s for a lease.
impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            rate: None,
            timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            lease_grace: Duration::from_secs(1),
        }
    }
}

/// How long to wait for a slot at a time. An unpaced source then counts a picture as dropped.
const SLOT_WAIT: Duration = Duration::from_millis(100);

/// How many pictures from before they were wanted a driver may have queued; more are an error.
const STALE_MAX: u32 = 8;

/// Captures pictures into the ring while anybody reads it, until the source has ended.
///
/// - With no reader, nothing is captured: the source is paused and the ring cleared. Nobody gets a
///   picture that was captured before it began to be wanted.
/// - A capture that fails is tried again, at once the first time, since cameras do spoil a picture
///   now and then, and with growing waits after that.
/// - When the ring has no slot for a new picture, that is dropped and counted, or with
///   [`Policy::KeepAll`] waited for; the longest lease is asked back after its grace.
///
/// `status` tells others how it goes. When the source has ended, every reader is told so behind its
/// last picture, and the loop returns when they have gone.
///
/// # Cancel safety
///
/// Dropping the future leaves source, publisher and ring usable; the picture under way is lost.
pub async fn capture_loop<S, C>(
    publisher: &mut Publisher<'_>,
    source: &mut S,
    clock: &C,
    config: &CaptureConfig,
    status: &SourceStatus,
) where
    S: FrameSource,
    S::Error: Display,
    C: Clock,
{
    loop {
        publisher.clear();
        status.idle();
        publisher.demand().await;
        status.starting(clock.now());
        let wanted_since = clock.now();
        source.resume().await;
        let ended = capture_while_wanted(publisher, source, clock, config, status, wanted_since);
        if ended.await {
            // What the ring still offers is for those who have not had it, and for nobody else.
            status.ended();
            publisher.close();
            publisher.no_demand().await;
            publisher.clear();
            return;
        }
        // First nothing old is left to those who come during the pause, then the pause.
        publisher.clear();
        source.pause().await;
    }
}

/// True when the source has ended, false when nobody wants pictures any more.
async fn capture_while_wanted<S, C>(
    publisher: &mut Publisher<'_>,
    source: &mut S,
    clock: &C,
    config: &CaptureConfig,
    status: &SourceStatus,
    wanted_since: Instant,
) -> bool
where
    S: FrameSource,
    S::Error: Display,
    C: Clock,
{
    let mut pacer = config.rate.map(Pacer::new);
    let mut previous = None;
    let (mut stale, mut failures) = (0, 0u32);
    while publisher.has_demand() {
        if let Some(due) = pacer.as_ref().and_then(Pacer::due)
            && let Either::Second(()) = select(clock.sleep_until(due), publisher.no_demand()).await
        {
            continue;
        }
        // A source that is always ready must not keep the executor from the viewers.
        yield_now().await;
        if let Some(pacer) = &mut pacer {
            pacer.admit(clock.now());
        }

        let mut grant = match publisher.try_grant() {
            Ok(grant) => grant,
            Err(_full) => {
                let slot = wait_for_slot(publisher, clock, config, pacer.is_some());
                match slot.await {
                    Some(grant) => grant,
                    None => continue,
                }
            }
        };
        let captured = select3(
            source.capture(&mut grant),
            publisher.no_demand(),
            clock.sleep_until(clock.now() + config.timeout),
        );
        let error = match captured.await {
            // The source should have flushed this; nobody may see it.
            Either3::First(Ok(info)) if info.captured_at < wanted_since && stale < STALE_MAX => {
                stale += 1;
                continue;
            }
            Either3::First(Ok(info)) if info.captured_at < wanted_since => {
                status.failed(format_args!("pictures are from before they were wanted"));
                None
            }
            Either3::First(Ok(info)) => match publisher.commit(grant, info) {
                Ok(_sequence) => {
                    let now = clock.now();
                    status.published(&info, previous.replace(info.captured_at), now);
                    publisher.revoke_oldest(now, config.lease_grace);
                    failures = 0;
                    continue;
                }
                Err(error) => {
                    status.failed(format_args!("{error}"));
                    None
                }
            },
            Either3::First(Err(error)) => Some(error),
            Either3::Second(()) => continue,
            Either3::Third(()) => {
                let (secs, millis) = (config.timeout.as_secs(), config.timeout.subsec_millis());
                status.failed(format_args!("no picture within {secs}.{millis:03} s"));
                None
            }
        };
        match error {
            Some(CaptureError::Ended) => return true,
            Some(CaptureError::TooLarge { needed }) => status.failed(format_args!(
                "a picture needs {needed} bytes, a slot has {}",
                publisher.ring().slot_bytes()
            )),
            Some(error) => status.failed(format_args!("{error}")),
            None => {}
        }
        failures = failures.saturating_add(1);
        if failures > 1 {
            let wait = config.backoff_min.saturating_mul(1 << (failures - 2).min(16));
            let until = clock.now() + wait.min(config.backoff_max);
            select(clock.sleep_until(until), publisher.no_demand()).await;
        }
    }
    false
}

/// The ring is full. What now depends on the policy: wait, or drop the picture and count it.
async fn wait_for_slot<'r, C: Clock>(
    publisher: &mut Publisher<'r>,
    clock: &C,
    config: &CaptureConfig,
    paced: bool,
) -> Option<crate::Grant<'r>> {
    let keep_all = publisher.ring().policy() == Policy::KeepAll;
    loop {
        publisher.revoke_oldest(clock.now(), config.lease_grace);
        if keep_all || !paced {
            // Nothing else says when to look again.
            let until = clock.sleep_until(clock.now() + SLOT_WAIT);
            if let Either::First(grant) = select(publisher.grant(), until).await {
                return Some(grant);
            }
        }
        // A reader that stops reading loses its connection, and a ring without readers has room,
        // so waiting for it ends.
        if !keep_all {
            publisher.skip();
            return None;
        }
    }
}
