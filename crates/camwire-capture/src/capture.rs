use core::fmt::Display;
use core::future::pending;
use core::pin::pin;
use core::time::Duration;

use camwire_frame::{
    Backoff, CaptureError, Clock, Control, ControlError, Flow, FrameInfo, FrameRate, FrameSource,
    Instant, Pacer, Setting, SettingName,
};
use embassy_futures::select::{Either, Either3, Either4, select, select3, select4};
use embassy_futures::yield_now;

use camwire_ring::{CommitError, Policy};

use crate::{FrameGrant, FramePublisher, Settings, SourceStatus};

/// How a [`capture_loop`] goes about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureConfig {
    /// The most frames per second; `None` for as many as the source gives. After a pause the
    /// first one is captured within a second, even if the rate is lower.
    pub rate: Option<FrameRate>,
    /// How long one capture may take before it is given up as failed. Of a stream it is reported
    /// as failed, and goes on: when a connection is lost, its source has to say.
    pub timeout: Duration,
    /// Wait before the second attempt in a row that failed; it doubles with each further one.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// How long a frame may be leased before the lease is asked back, when no slot is left for
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

/// How long to wait for a slot at a time. An unpaced source then counts a frame as dropped.
const SLOT_WAIT: Duration = Duration::from_millis(100);

/// The longest wait for the first frame after a pause, however low the rate.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How long a frame of a stream whose turn has come late gives way to newer ones, at most: after
/// the network, or this task, stood still, many come at once, and the first is the oldest.
const SETTLING_TIME: Duration = Duration::from_millis(20);

/// No timer is exact.
const LATE: Duration = Duration::from_millis(2);

/// How many frames from before they were wanted a driver may have queued; more are an error.
const STALE_MAX: u32 = 8;

/// Captures frames into the ring while anybody reads it, until the source has ended.
///
/// - With no reader, nothing is captured: the source is paused and the ring cleared. Nobody gets a
///   frame that was captured before it began to be wanted.
/// - A capture that fails is tried again, at once the first time, since cameras do spoil a frame
///   now and then, and with growing waits after that.
/// - When the ring has no slot for a new frame, that is dropped and counted, or with
///   [`Policy::KeepAll`] waited for; the longest lease is asked back after its grace.
/// - A frame that the upstream sends again ([`CaptureError::Repeat`]) is not published again.
///
/// While a source is a stream ([`Flow::Stream`]), no time passes between two captures, since what
/// is not read grows old:
///
/// - It is held to the rate by passing frames over. When a frame is due, the newest that has come
///   is published; one that comes late gives way to newer ones for up to 20 ms. This takes a slot
///   more than without a rate; if there is none, the next frame that comes is published instead.
/// - After a damaged frame the next one is captured at once.
/// - Without a slot, frames are read and thrown away. Only with [`Policy::KeepAll`] and without a
///   rate the stream waits, as that policy demands; then frames arrive late.
///
/// `status` tells others how it goes. When the source has ended, every reader is told so behind its
/// last frame, and the loop returns when they have gone.
///
/// # Cancel safety
///
/// Dropping the future leaves source, publisher and ring usable; the frame under way is lost.
pub async fn capture_loop<S, C>(
    publisher: &mut FramePublisher<'_>,
    source: &mut S,
    clock: &C,
    config: &CaptureConfig,
    status: &SourceStatus,
) where
    S: FrameSource,
    S::Error: Display,
    C: Clock,
{
    let out = Output::new(publisher, clock, config, status);
    Loop { out, source, mailbox: &NoMailbox, undo: () }.run().await;
}

/// A [`capture_loop`] whose source applies what others wish for in `settings`, between two captures
/// and also while nobody wants frames.
///
/// A resolution whose frames would not fit the ring's slots is refused; if frames turn out not
/// to fit after all, what was set since the last one that did is undone.
///
/// # Cancel safety
///
/// As that of [`capture_loop`]; a setting under way may be applied or not.
pub async fn capture_loop_with_settings<S, C>(
    publisher: &mut FramePublisher<'_>,
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
    let out = Output::new(publisher, clock, config, status);
    Loop { out, source, mailbox: settings, undo: Default::default() }.run().await;
}

/// What a capture loop is asked besides frames.
trait Mailbox<S> {
    /// The values before what was set since the last frame that fitted.
    type Undo: Default;

    /// Returns when there is something. Cancel-safe.
    async fn requested(&self);

    /// Sees to it, if there is anything. Of `room` bytes is the memory for a frame.
    async fn apply<C: Clock>(
        &self,
        source: &mut S,
        time: (&C, Duration),
        room: usize,
        undo: &mut Self::Undo,
    );

    /// Sets the source back, if there is anything to undo.
    async fn undo<C: Clock>(&self, source: &mut S, time: (&C, Duration), undo: Self::Undo) -> bool;

    /// Tells what the source is set to.
    fn report(&self, source: &S);
}

struct NoMailbox;

impl<S> Mailbox<S> for NoMailbox {
    type Undo = ();

    async fn requested(&self) {
        pending().await
    }

    async fn apply<C: Clock>(&self, _: &mut S, _: (&C, Duration), _: usize, _: &mut ()) {}

    async fn undo<C: Clock>(&self, _: &mut S, _: (&C, Duration), (): ()) -> bool {
        false
    }

    fn report(&self, _: &S) {}
}

impl<S: Control> Mailbox<S> for Settings {
    type Undo = [Option<Setting>; SettingName::ALL.len()];

    async fn requested(&self) {
        Self::requested(self).await;
    }

    async fn apply<C: Clock>(
        &self,
        source: &mut S,
        (clock, timeout): (&C, Duration),
        room: usize,
        undo: &mut Self::Undo,
    ) {
        let Some((setting, request)) = self.take() else { return };
        if let Setting::Resolution(resolution) = setting
            && resolution.jpeg_bytes() > room
        {
            return request.too_large();
        }
        let name = setting.name();
        if let Some(before @ None) = undo.get_mut(name as usize) {
            *before = source.get(name);
        }
        let until = clock.sleep_until(clock.now() + timeout);
        let applied = select(source.set(setting), until).await;
        self.report(|name| source.get(name));
        match applied {
            Either::First(Ok(())) => request.done(),
            Either::First(Err(ControlError::Unsupported)) => request.unsupported(),
            Either::First(Err(_)) | Either::Second(()) => drop(request),
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
        self.report(|name| source.get(name));
        undone
    }

    fn report(&self, source: &S) {
        Self::report(self, |name| source.get(name));
    }
}

struct Loop<'l, 'r, S, C, M: Mailbox<S>> {
    out: Output<'l, 'r, C>,
    source: &'l mut S,
    mailbox: &'l M,
    undo: M::Undo,
}

/// The loop without its source, which is lent out while a capture is under way.
struct Output<'l, 'r, C> {
    publisher: &'l mut FramePublisher<'r>,
    clock: &'l C,
    config: &'l CaptureConfig,
    status: &'l SourceStatus,
    /// It outlives the pauses, else who comes and goes quickly would get more frames than the
    /// owner allows.
    pacer: Option<Pacer>,
    /// When the last frame was captured that was published since frames are wanted.
    previous: Option<Instant>,
    /// Of a paced stream, the newest frame, while its turn has not come.
    held: Option<Held<'r>>,
}

/// A whole frame that waits for its turn.
struct Held<'r> {
    grant: FrameGrant<'r>,
    info: FrameInfo,
    /// Until then, a newer frame may take its place even if its turn has come.
    settled_at: Instant,
    /// Its turn came late, and `settled_at` allows for that.
    is_late: bool,
}

/// What has become of a capture.
enum Captured<E> {
    Done(Result<FrameInfo, CaptureError<E>>),
    Unwanted,
    TimedOut,
}

impl<'r, S, C, M> Loop<'_, 'r, S, C, M>
where
    S: FrameSource<Error: Display>,
    C: Clock,
    M: Mailbox<S>,
{
    async fn run(mut self) {
        self.mailbox.report(self.source);
        loop {
            self.out.publisher.clear();
            self.out.status.idle();
            while let Either::Second(()) =
                select(self.out.publisher.demand(), self.mailbox.requested()).await
            {
                self.apply().await;
            }
            let wanted_since = self.out.clock.now();
            self.out.status.starting(wanted_since);
            self.out.previous = None;
            if let Some(pacer) = &mut self.out.pacer {
                pacer.hasten(wanted_since + FIRST_WAIT);
            }
            self.source.resume().await;
            let ended = self.capture_while_wanted(wanted_since).await;
            if ended {
                self.out.publish_held();
                // What the ring still offers is for those who have not had it, and for nobody
                // else.
                self.out.status.ended();
                self.out.publisher.close();
                while let Either::Second(()) =
                    select(self.out.publisher.no_demand(), self.mailbox.requested()).await
                {
                    self.apply().await;
                }
                self.out.publisher.clear();
                return;
            }
            // First nothing old is left to those who come during the pause, then the pause.
            self.out.held = None;
            self.out.publisher.clear();
            self.source.pause().await;
        }
    }

    async fn apply(&mut self) {
        let time = (self.out.clock, self.out.config.timeout);
        let room = self.out.publisher.ring().slot_bytes();
        self.mailbox.apply(self.source, time, room, &mut self.undo).await;
    }

    /// Applies requests while it waits; returns early when nobody wants frames any more.
    async fn wait_until(&mut self, until: Instant) {
        loop {
            let wait = select3(
                self.out.clock.sleep_until(until),
                self.out.publisher.no_demand(),
                self.mailbox.requested(),
            );
            match wait.await {
                Either3::First(()) | Either3::Second(()) => return,
                Either3::Third(()) => self.apply().await,
            }
        }
    }

    /// True when the source has ended, false when nobody wants frames any more.
    async fn capture_while_wanted(&mut self, wanted_since: Instant) -> bool {
        let (clock, config, status) = (self.out.clock, self.out.config, self.out.status);
        let (mut is_first, mut stale, mut has_failed) = (true, 0, false);
        let mut backoff = Backoff::new(config.backoff_min, config.backoff_max);
        // A slot that is taken already.
        let mut spare = None;
        while self.out.publisher.has_demand() {
            let is_stream = self.source.flow() == Flow::Stream;
            if !is_stream {
                self.out.publish_held();
                if let Some(due) = self.out.pacer.as_ref().and_then(Pacer::due) {
                    self.wait_until(due).await;
                    if !self.out.publisher.has_demand() {
                        break;
                    }
                }
            }
            // A source that is always ready must not keep the executor from the viewers.
            yield_now().await;
            self.apply().await;
            if !is_stream && let Some(pacer) = &mut self.out.pacer {
                pacer.admit(clock.now());
            }

            let mut slot = spare.take().or_else(|| self.out.publisher.try_grant().ok());
            if slot.is_none() && !(is_stream && self.out.may_drop()) {
                slot = self.wait_for_slot().await;
                if slot.is_none() {
                    continue;
                }
            }
            // A stream does not wait for a slot: without one, its frame is thrown away.
            let has_slot = slot.is_some();
            let buf = slot.as_deref_mut().unwrap_or_default();
            let error = match self.out.capture(self.source, buf, is_stream).await {
                Captured::Unwanted => continue,
                // The source should have flushed this; nobody may see it.
                Captured::Done(Ok(info))
                    if info.captured_at < wanted_since && stale < STALE_MAX =>
                {
                    stale += 1;
                    continue;
                }
                Captured::Done(Ok(info)) if info.captured_at < wanted_since => {
                    status.failed(format_args!("frames are from before they were wanted"));
                    None
                }
                Captured::Done(Ok(info)) => match self.out.accept(slot, info, is_stream) {
                    Ok(unused) => {
                        spare = unused;
                        if is_first || has_failed {
                            // A camera that has only now started, or anew, has more to tell.
                            self.mailbox.report(self.source);
                        }
                        self.undo = M::Undo::default();
                        (is_first, has_failed) = (false, false);
                        backoff.reset();
                        continue;
                    }
                    Err(error) => {
                        status.failed(format_args!("{error}"));
                        None
                    }
                },
                Captured::Done(Err(CaptureError::Repeat)) => {
                    status.repeated(clock.now());
                    spare = slot;
                    has_failed = false;
                    backoff.reset();
                    if self.source.flow() != Flow::Stream {
                        // It has no newer one, and that it knew at once.
                        self.wait_until(clock.now() + config.backoff_min).await;
                    }
                    continue;
                }
                Captured::Done(Err(error)) => Some(error),
                Captured::TimedOut => None,
            };
            match error {
                Some(CaptureError::Ended) => return true,
                Some(CaptureError::TooLarge { needed }) => {
                    let room = self.out.publisher.ring().slot_bytes();
                    if !has_slot && needed <= room {
                        self.out.dropped();
                        continue;
                    }
                    let undo = core::mem::take(&mut self.undo);
                    let undone =
                        self.mailbox.undo(self.source, (clock, config.timeout), undo).await;
                    let then = if undone { ": the last settings are undone" } else { "" };
                    status.failed(format_args!(
                        "a frame needs {needed} bytes, a slot has {room}{then}"
                    ));
                }
                Some(error) => status.failed(format_args!("{error}")),
                None => {}
            }
            if self.source.flow() == Flow::Stream {
                continue; // It goes on meanwhile, and what nobody reads grows old.
            }
            // The first one may be a spoilt frame, so the second attempt is made at once.
            if core::mem::replace(&mut has_failed, true) {
                self.wait_until(clock.now() + backoff.next(0)).await;
            }
        }
        false
    }

    /// The ring is full. What now depends on the policy: wait, or drop the frame and count it.
    async fn wait_for_slot(&mut self) -> Option<FrameGrant<'r>> {
        let keep_all = self.out.publisher.ring().policy() == Policy::KeepAll;
        loop {
            self.out.revoke();
            if keep_all || self.out.pacer.is_none() {
                // Nothing else says when to look again.
                let until = self.out.clock.sleep_until(self.out.clock.now() + SLOT_WAIT);
                match select3(self.out.publisher.grant(), until, self.mailbox.requested()).await {
                    Either3::First(grant) => return Some(grant),
                    Either3::Second(()) => {}
                    Either3::Third(()) => {
                        self.apply().await;
                        continue;
                    }
                }
            }
            // A reader that stops reading loses its connection, and a ring without readers has
            // room, so waiting for it ends.
            if !keep_all {
                self.out.publisher.skip();
                return None;
            }
        }
    }
}

impl<'l, 'r, C: Clock> Output<'l, 'r, C> {
    fn new(
        publisher: &'l mut FramePublisher<'r>,
        clock: &'l C,
        config: &'l CaptureConfig,
        status: &'l SourceStatus,
    ) -> Self {
        let pacer = config.rate.map(Pacer::new);
        Self { publisher, clock, config, status, pacer, previous: None, held: None }
    }

    /// Captures one frame, and publishes the one before it when its turn comes meanwhile.
    async fn capture<S: FrameSource>(
        &mut self,
        source: &mut S,
        buf: &mut [u8],
        is_stream: bool,
    ) -> Captured<S::Error> {
        let clock = self.clock;
        // A source that blocks leaves no other moment for that.
        if self.turn().is_some_and(|turn| turn <= clock.now()) {
            self.turn_has_come();
        }
        let mut capture = pin!(source.capture(buf));
        let mut timeout = pin!(clock.sleep_until(clock.now() + self.config.timeout));
        loop {
            let turn = sleep_until(clock, self.turn());
            let no_demand = self.publisher.no_demand();
            match select4(capture.as_mut(), no_demand, turn, timeout.as_mut()).await {
                Either4::First(captured) => return Captured::Done(captured),
                Either4::Second(()) => return Captured::Unwanted,
                Either4::Third(()) => self.turn_has_come(),
                Either4::Fourth(()) => {
                    let limit = self.config.timeout;
                    let (secs, millis) = (limit.as_secs(), limit.subsec_millis());
                    self.status.failed(format_args!("no frame within {secs}.{millis:03} s"));
                    if !is_stream {
                        return Captured::TimedOut;
                    }
                    // To give up would lose the frame under way, and gain nothing.
                    timeout.set(clock.sleep_until(clock.now() + limit));
                }
            }
        }
    }

    /// Publishes the frame in `slot`, now or when its turn comes. Gives back a slot for the next
    /// one if it has one.
    fn accept(
        &mut self,
        slot: Option<FrameGrant<'r>>,
        info: FrameInfo,
        is_stream: bool,
    ) -> Result<Option<FrameGrant<'r>>, CommitError> {
        let Some(grant) = slot else { return Err(CommitError::TooLong) };
        if !is_stream || self.pacer.is_none() {
            self.publish(grant, info)?;
            self.revoke();
            return Ok(None);
        }
        if info.len > grant.len() {
            return Err(CommitError::TooLong);
        }
        let now = self.clock.now();
        self.status.passed_over(now);
        // First the old one gives its slot up.
        let (settled_at, is_late) = match self.held.take() {
            Some(Held { settled_at, is_late, .. }) => (settled_at, is_late),
            None => (now + self.settling_time(), false),
        };
        if let Ok(another) = self.publisher.try_grant() {
            self.held = Some(Held { grant, info, settled_at, is_late });
            return Ok(Some(another));
        }
        // With one slot for both this frame and the next, it is now or never.
        if self.is_admitted(now) {
            self.publish(grant, info)?;
            self.revoke();
            return Ok(None);
        }
        Ok(Some(grant))
    }

    /// When the frame that is held is to be published.
    fn turn(&self) -> Option<Instant> {
        let due = self.pacer.as_ref().and_then(Pacer::due).unwrap_or(Instant::ZERO);
        self.held.as_ref().map(|held| due.max(held.settled_at))
    }

    fn settling_time(&self) -> Duration {
        self.config.rate.map_or(SETTLING_TIME, |rate| SETTLING_TIME.min(rate.period() / 4))
    }

    /// Publishes the frame that is held. If that should have been done before, this task was kept
    /// from running, and there may be newer ones.
    fn turn_has_come(&mut self) {
        let (turn, now, time) = (self.turn(), self.clock.now(), self.settling_time());
        match &mut self.held {
            Some(held) if !held.is_late && turn.is_some_and(|turn| now > turn + LATE) => {
                (held.is_late, held.settled_at) = (true, now + time);
            }
            _ => self.publish_held(),
        }
    }

    fn publish_held(&mut self) {
        let Some(Held { grant, info, .. }) = self.held.take() else { return };
        self.is_admitted(self.clock.now());
        let _ = self.publish(grant, info); // It was checked before.
    }

    fn publish(&mut self, grant: FrameGrant<'r>, info: FrameInfo) -> Result<(), CommitError> {
        self.publisher.commit(grant, info.len, info)?;
        let previous = self.previous.replace(info.captured_at);
        self.status.published(&info, previous, self.clock.now());
        Ok(())
    }

    /// A frame of a stream was thrown away, since there was no slot for it.
    fn dropped(&mut self) {
        self.revoke();
        if self.publisher.ring().policy() == Policy::KeepAll {
            return; // A later one is published in its place.
        }
        if self.is_admitted(self.clock.now()) {
            self.publisher.skip();
        }
    }

    /// Whether it is a frame's turn, by the rate. The next one's is a period later.
    fn is_admitted(&mut self, now: Instant) -> bool {
        self.pacer.as_mut().is_none_or(|pacer| pacer.admit(now).is_some())
    }

    /// Whether a stream may lose frames because the ring is full. On a ring that keeps all it may
    /// if it has a rate, since then frames are passed over anyway.
    fn may_drop(&self) -> bool {
        self.publisher.ring().policy() != Policy::KeepAll || self.pacer.is_some()
    }

    fn revoke(&mut self) {
        let now = self.clock.now().saturating_since(Instant::ZERO);
        self.publisher.revoke_oldest(now, self.config.lease_grace);
    }
}

/// Sleeps until then, or for ever.
async fn sleep_until<C: Clock>(clock: &C, at: Option<Instant>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => pending().await,
    }
}
