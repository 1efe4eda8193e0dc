use core::fmt::Display;
use core::future::pending;
use core::time::Duration;

use camwire_frame::{
    CaptureError, Clock, Control, ControlError, FrameRate, FrameSource, Instant, Pacer, Setting,
    SettingName,
};
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::yield_now;

use crate::{Grant, Policy, Publisher, Settings, SourceStatus};

/// How a [`capture_loop`] goes about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// The most pictures per second; `None` for as many as the source gives. After a pause the
    /// first one is captured within a second, even if the rate is lower.
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

/// The longest wait for the first picture after a pause, however low the rate.
const FIRST_WAIT: Duration = Duration::from_secs(1);

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
    Loop { publisher, source, clock, config, status, mail: &NoMail, undo: () }.run().await;
}

/// A [`capture_loop`] whose source obeys what others wish for in `settings`, between two captures
/// and also while nobody wants pictures.
///
/// A resolution whose pictures would not fit the ring's slots is refused; if pictures turn out not
/// to fit after all, what was set since the last one that did is undone.
///
/// # Cancel safety
///
/// As that of [`capture_loop`]; a setting under way may be applied or not.
pub async fn capture_loop_with_settings<S, C>(
    publisher: &mut Publisher<'_>,
    source: &mut S,
    clock: &C,
    config: &CaptureConfig,
    status: &SourceStatus,
    settings: &Settings,
) where
    S: FrameSource<Error: Display> + Control,
    C: Clock,
{
    let _open = settings.open();
    let undo = Default::default();
    Loop { publisher, source, clock, config, status, mail: settings, undo }.run().await;
}

/// What a capture loop is asked besides pictures.
trait Mail<S> {
    /// The values before what was set since the last picture that fitted.
    type Undo: Default;

    /// Returns when there is something. Cancel-safe.
    async fn wished(&self);

    /// Sees to it, if there is anything. Of `room` bytes is the memory for a picture.
    async fn obey<C: Clock>(
        &self,
        source: &mut S,
        time: (&C, Duration),
        room: usize,
        undo: &mut Self::Undo,
    );

    /// Sets the source back, if there is anything to undo.
    async fn undo<C: Clock>(&self, source: &mut S, time: (&C, Duration), undo: Self::Undo) -> bool;

    /// Tells what the source is set to.
    fn show(&self, source: &S);
}

struct NoMail;

impl<S> Mail<S> for NoMail {
    type Undo = ();

    async fn wished(&self) {
        pending().await
    }

    async fn obey<C: Clock>(&self, _: &mut S, _: (&C, Duration), _: usize, _: &mut ()) {}

    async fn undo<C: Clock>(&self, _: &mut S, _: (&C, Duration), (): ()) -> bool {
        false
    }

    fn show(&self, _: &S) {}
}

impl<S: Control> Mail<S> for Settings {
    type Undo = [Option<Setting>; SettingName::ALL.len()];

    async fn wished(&self) {
        Self::wished(self).await;
    }

    async fn obey<C: Clock>(
        &self,
        source: &mut S,
        (clock, timeout): (&C, Duration),
        room: usize,
        undo: &mut Self::Undo,
    ) {
        let Some((setting, answering)) = self.take() else { return };
        if let Setting::Resolution(resolution) = setting
            && resolution.jpeg_bytes() > room
        {
            return answering.too_large();
        }
        let name = setting.name();
        if let Some(before @ None) = undo.get_mut(name as usize) {
            *before = source.get(name);
        }
        let until = clock.sleep_until(clock.now() + timeout);
        let applied = select(source.set(setting), until).await;
        self.show(|name| source.get(name));
        match applied {
            Either::First(Ok(())) => answering.done(),
            Either::First(Err(ControlError::Unsupported)) => answering.unsupported(),
            Either::First(Err(_)) | Either::Second(()) => drop(answering),
        }
    }

    async fn undo<C: Clock>(
        &self,
        source: &mut S,
        (clock, timeout): (&C, Duration),
        undo: Self::Undo,
    ) -> bool {
        let mut undone = false;
        for setting in undo.into_iter().flatten() {
            if source.get(setting.name()) != Some(setting) {
                let until = clock.sleep_until(clock.now() + timeout);
                let applied = select(source.set(setting), until).await;
                undone |= matches!(applied, Either::First(Ok(())));
            }
        }
        self.show(|name| source.get(name));
        undone
    }

    fn show(&self, source: &S) {
        Self::show(self, |name| source.get(name));
    }
}

struct Loop<'l, 'r, S, C, M: Mail<S>> {
    publisher: &'l mut Publisher<'r>,
    source: &'l mut S,
    clock: &'l C,
    config: &'l CaptureConfig,
    status: &'l SourceStatus,
    mail: &'l M,
    undo: M::Undo,
}

impl<'r, S, C, M> Loop<'_, 'r, S, C, M>
where
    S: FrameSource<Error: Display>,
    C: Clock,
    M: Mail<S>,
{
    async fn run(mut self) {
        self.mail.show(self.source);
        // It outlives the pauses, else who comes and goes quickly would get more pictures than
        // the owner allows.
        let mut pacer = self.config.rate.map(Pacer::new);
        loop {
            self.publisher.clear();
            self.status.idle();
            while let Either::Second(()) = select(self.publisher.demand(), self.mail.wished()).await
            {
                self.obey().await;
            }
            let wanted_since = self.clock.now();
            self.status.starting(wanted_since);
            if let Some(pacer) = &mut pacer {
                pacer.hasten(wanted_since + FIRST_WAIT);
            }
            self.source.resume().await;
            if self.capture_while_wanted(wanted_since, &mut pacer).await {
                // What the ring still offers is for those who have not had it, and for nobody
                // else.
                self.status.ended();
                self.publisher.close();
                while let Either::Second(()) =
                    select(self.publisher.no_demand(), self.mail.wished()).await
                {
                    self.obey().await;
                }
                self.publisher.clear();
                return;
            }
            // First nothing old is left to those who come during the pause, then the pause.
            self.publisher.clear();
            self.source.pause().await;
        }
    }

    async fn obey(&mut self) {
        let time = (self.clock, self.config.timeout);
        let room = self.publisher.ring().slot_bytes();
        self.mail.obey(self.source, time, room, &mut self.undo).await;
    }

    /// Waits, and obeys meanwhile; returns early when nobody wants pictures any more.
    async fn wait_until(&mut self, until: Instant) {
        loop {
            let wait = select3(
                self.clock.sleep_until(until),
                self.publisher.no_demand(),
                self.mail.wished(),
            );
            match wait.await {
                Either3::First(()) | Either3::Second(()) => return,
                Either3::Third(()) => self.obey().await,
            }
        }
    }

    /// True when the source has ended, false when nobody wants pictures any more.
    async fn capture_while_wanted(
        &mut self,
        wanted_since: Instant,
        pacer: &mut Option<Pacer>,
    ) -> bool {
        let (clock, config, status) = (self.clock, self.config, self.status);
        let mut previous = None;
        let (mut stale, mut failures) = (0, 0u32);
        while self.publisher.has_demand() {
            if let Some(due) = pacer.as_ref().and_then(Pacer::due) {
                self.wait_until(due).await;
                if !self.publisher.has_demand() {
                    break;
                }
            }
            // A source that is always ready must not keep the executor from the viewers.
            yield_now().await;
            self.obey().await;
            if let Some(pacer) = pacer {
                pacer.admit(clock.now());
            }

            let mut grant = match self.publisher.try_grant() {
                Ok(grant) => grant,
                Err(_full) => match self.wait_for_slot(pacer.is_some()).await {
                    Some(grant) => grant,
                    None => continue,
                },
            };
            let publisher = &mut *self.publisher;
            let captured = select3(
                self.source.capture(&mut grant),
                publisher.no_demand(),
                clock.sleep_until(clock.now() + config.timeout),
            );
            let error = match captured.await {
                // The source should have flushed this; nobody may see it.
                Either3::First(Ok(info))
                    if info.captured_at < wanted_since && stale < STALE_MAX =>
                {
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
                        publisher.revoke_oldest(now, config.lease_grace);
                        if previous.is_none() || failures > 0 {
                            // A camera that has only now started, or anew, has more to tell.
                            self.mail.show(self.source);
                        }
                        status.published(&info, previous.replace(info.captured_at), now);
                        self.undo = M::Undo::default();
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
                Some(CaptureError::TooLarge { needed }) => {
                    let room = publisher.ring().slot_bytes();
                    let undo = core::mem::take(&mut self.undo);
                    let undone = self.mail.undo(self.source, (clock, config.timeout), undo).await;
                    let then = if undone { ": the last settings are undone" } else { "" };
                    status.failed(format_args!(
                        "a picture needs {needed} bytes, a slot has {room}{then}"
                    ));
                }
                Some(error) => status.failed(format_args!("{error}")),
                None => {}
            }
            failures = failures.saturating_add(1);
            if failures > 1 {
                let wait = config.backoff_min.saturating_mul(1 << (failures - 2).min(16));
                self.wait_until(clock.now() + wait.min(config.backoff_max)).await;
            }
        }
        false
    }

    /// The ring is full. What now depends on the policy: wait, or drop the picture and count it.
    async fn wait_for_slot(&mut self, paced: bool) -> Option<Grant<'r>> {
        let keep_all = self.publisher.ring().policy() == Policy::KeepAll;
        loop {
            self.publisher.revoke_oldest(self.clock.now(), self.config.lease_grace);
            if keep_all || !paced {
                // Nothing else says when to look again.
                let until = self.clock.sleep_until(self.clock.now() + SLOT_WAIT);
                match select3(self.publisher.grant(), until, self.mail.wished()).await {
                    Either3::First(grant) => return Some(grant),
                    Either3::Second(()) => {}
                    Either3::Third(()) => {
                        self.obey().await;
                        continue;
                    }
                }
            }
            // A reader that stops reading loses its connection, and a ring without readers has
            // room, so waiting for it ends.
            if !keep_all {
                self.publisher.skip();
                return None;
            }
        }
    }
}
