use core::fmt;

use camwire_frame::{Setting, SettingName};
use camwire_ring::{WaitList, WaitListFull};

use crate::sync::{AtomicU32, Ordering, const_unless_loom};

/// What a source is set to, for everybody to see, and the mailbox by which they change it.
///
/// The source belongs to its capture loop, which applies settings between two captures. Call
/// [`set`](Self::set) to request another value; it returns the result. The page, a script over HTTP and a
/// broker all see the same state. Requests are applied one at a time.
///
/// [`capture_loop_with_settings`](crate::capture_loop_with_settings) is the other side.
///
/// # Limits
///
/// Up to 8 tasks wait in [`set`](Self::set) at a time, and up to 8 in [`changed`](Self::changed).
#[derive(Debug)]
pub struct Settings {
    /// Of each name in their order: the number of its value, or [`UNKNOWN`].
    current: [AtomicU32; SettingName::ALL.len()],
    /// Changes with each change of `current`, and wraps around.
    version: AtomicU32,
    request: AtomicU32,
    /// Wakes the capture loop.
    source: WaitList<1>,
    /// Wakes those who wait for their turn or for a result.
    callers: WaitList<8>,
    /// Wakes those who wait for a change.
    watchers: WaitList<8>,
}

#[cfg(not(loom))]
const fn unknown() -> [AtomicU32; SettingName::ALL.len()] {
    [const { AtomicU32::new(UNKNOWN) }; SettingName::ALL.len()]
}

#[cfg(loom)]
fn unknown() -> [AtomicU32; SettingName::ALL.len()] {
    core::array::from_fn(|_| AtomicU32::new(UNKNOWN))
}

/// No number of a value has this bit.
const UNKNOWN: u32 = 1 << 31;

// The request: there is none; it waits (with the setting in the lower bits); the capture loop is
// applying it; the same, and nobody waits for the result any more; there is a result.
const NONE: u32 = 0;
const WAITING: u32 = 1 << 31;
const TAKEN: u32 = 1;
const ABANDONED: u32 = 2;
const DONE: u32 = 3;
const UNSUPPORTED: u32 = 4;
const TOO_LARGE: u32 = 5;
const FAILED: u32 = 6;

/// Beside any of these: there is no capture loop.
const CLOSED: u32 = 1 << 30;

/// Why a setting was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// 8 others wait already.
    #[error("too many requests at once")]
    Busy,
    /// The source has no such setting, or not this value of it.
    #[error("the source cannot be set to that")]
    Unsupported,
    /// Frames of that size would not fit the ring's slots.
    #[error("frames of that size may need {needed} bytes, which is more than there is for one")]
    TooLarge {
        /// Bytes, as [`Resolution::jpeg_bytes`](camwire_frame::Resolution::jpeg_bytes) has it.
        needed: usize,
    },
    /// The driver failed, or took too long. [`Settings::get`] says whether it has the setting.
    #[error("the source failed")]
    Failed,
    /// There is no capture loop: it has not begun, or it has ended.
    #[error("there is no source")]
    Closed,
}

impl Settings {
    const_unless_loom! {
        /// Settings of a source that has not reported them yet.
        #[must_use]
        pub fn new() -> Self {
            Self {
                current: unknown(),
                version: AtomicU32::new(0),
                request: AtomicU32::new(CLOSED),
                source: WaitList::new(),
                callers: WaitList::new(),
                watchers: WaitList::new(),
            }
        }
    }

    /// The current value; `None` if the source has no such setting, or has not reported it yet.
    #[must_use]
    pub fn get(&self, name: SettingName) -> Option<Setting> {
        let number = self.current.get(name as usize)?.load(Ordering::Relaxed);
        if number == UNKNOWN { None } else { name.with_number(number as u16 as i16) }
    }

    /// A number that differs from an earlier one if any value has changed since. It wraps around.
    #[must_use]
    pub fn version(&self) -> u32 {
        // Acquire: who sees the version sees the values.
        self.version.load(Ordering::Acquire)
    }

    /// Waits until the [version](Self::version) is another than `seen`, and returns it. A change that
    /// came between two calls is not missed.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`WaitListFull`] if 8 tasks wait already.
    ///
    /// ```
    /// # async fn run(settings: &camwire_capture::Settings) -> Result<(), camwire_capture::WaitListFull> {
    /// let mut seen = settings.version();
    /// loop {
    ///     seen = settings.changed(seen).await?;
    ///     // Look with `settings.get` what there is now.
    /// }
    /// # }
    /// ```
    pub fn changed(&self, seen: u32) -> impl Future<Output = Result<u32, WaitListFull>> {
        self.watchers.wait_until(move || Some(self.version()).filter(|version| *version != seen))
    }

    /// Requests a setting, and waits until the source has it. That takes as long as the requests
    /// before it and up to two captures.
    ///
    /// A setting with which frames turn out not to fit the ring's slots is undone after the first of
    /// them.
    ///
    /// # Errors
    ///
    /// [`SetError::Unsupported`] and [`SetError::TooLarge`] if the source cannot have it,
    /// [`SetError::Closed`] if there is no source, [`SetError::Busy`] if too many wait: then everything
    /// is as before.
    /// [`SetError::Failed`] if the driver failed or took too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the request, unless the source is applying it already.
    pub async fn set(&self, setting: Setting) -> Result<(), SetError> {
        let number = u32::from(setting.number() as u16);
        let request = WAITING | (setting.name() as u32) << 16 | number;
        // Release: pairs with the Acquire of `take`, as every step of a request does.
        let place = || match self.request.compare_exchange(
            NONE,
            request,
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            Ok(_) => Some(Ok(Pending { settings: self })),
            Err(state) if state & CLOSED != 0 => Some(Err(SetError::Closed)),
            Err(_) => None,
        };
        let pending =
            self.callers.wait_until(place).await.map_err(|WaitListFull| SetError::Busy)??;
        self.source.wake();
        let result = || {
            let state = self.request.load(Ordering::Acquire);
            match state & !CLOSED {
                result @ DONE..=FAILED => Some(result),
                _ if state & CLOSED != 0 => Some(CLOSED),
                _ => None,
            }
        };
        let result = self.callers.wait_until(result).await;
        drop(pending);
        let result = result.map_err(|WaitListFull| SetError::Busy)?;
        match (result, setting) {
            (DONE, _) => Ok(()),
            (UNSUPPORTED, _) => Err(SetError::Unsupported),
            (TOO_LARGE, Setting::Resolution(resolution)) => {
                Err(SetError::TooLarge { needed: resolution.jpeg_bytes() })
            }
            (CLOSED, _) => Err(SetError::Closed),
            _ => Err(SetError::Failed),
        }
    }

    /// There is a capture loop, for as long as this lives. One is enough: it is not counted.
    pub(crate) fn open(&self) -> Open<'_> {
        self.request.fetch_and(!CLOSED, Ordering::AcqRel);
        Open { settings: self }
    }

    /// Shows what the source is set to.
    pub(crate) fn report(&self, get: impl Fn(SettingName) -> Option<Setting>) {
        let mut has_changed = false;
        for (&name, current) in SettingName::ALL.iter().zip(&self.current) {
            let number = get(name).map_or(UNKNOWN, |setting| u32::from(setting.number() as u16));
            has_changed |= current.load(Ordering::Relaxed) != number;
            current.store(number, Ordering::Relaxed);
        }
        if has_changed {
            self.version.fetch_add(1, Ordering::Release);
            self.watchers.wake();
        }
    }

    /// Waits for a request. Cancel-safe.
    pub(crate) async fn requested(&self) {
        let is_waiting = || self.request.load(Ordering::Relaxed) & WAITING != 0;
        if self.source.wait_until(|| is_waiting().then_some(())).await.is_err() {
            // There is another capture loop, which there should not be. That one applies them.
            core::future::pending().await
        }
    }

    /// Takes the request, if there is one. Its result is given by what is returned, at the latest
    /// when that is dropped.
    pub(crate) fn take(&self) -> Option<(Setting, Request<'_>)> {
        let request = self.request.load(Ordering::Relaxed);
        let named = SettingName::ALL.get((request >> 16 & 0xff) as usize)?;
        let is_taken = request & WAITING != 0
            && self
                .request
                .compare_exchange(request, TAKEN, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        let setting = named.with_number(request as u16 as i16);
        setting.filter(|_| is_taken).map(|setting| (setting, Request { settings: self }))
    }

    fn finish(&self, result: u32) {
        let taken =
            self.request.compare_exchange(TAKEN, result, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_err() {
            // Nobody waits for it: ABANDONED. It is the next one's turn.
            self.request.fetch_and(CLOSED, Ordering::AcqRel);
        }
        self.callers.wake();
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// A capture loop at work.
#[must_use]
pub(crate) struct Open<'s> {
    settings: &'s Settings,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.settings.request.fetch_or(CLOSED, Ordering::AcqRel);
        self.settings.callers.wake();
    }
}

/// A request whose caller waits for the result.
struct Pending<'s> {
    settings: &'s Settings,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // With a result or without one, it is the next one's turn, except while the source is at it.
        let next = |state| Some(state & CLOSED | if state == TAKEN { ABANDONED } else { NONE });
        let _ = self.settings.request.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        self.settings.callers.wake();
    }
}

/// A request that the source is applying.
#[must_use]
pub(crate) struct Request<'s> {
    settings: &'s Settings,
}

impl Request<'_> {
    pub(crate) fn done(self) {
        self.finish(DONE);
    }

    pub(crate) fn unsupported(self) {
        self.finish(UNSUPPORTED);
    }

    pub(crate) fn too_large(self) {
        self.finish(TOO_LARGE);
    }

    fn finish(self, result: u32) {
        self.settings.finish(result);
        core::mem::forget(self);
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.settings.finish(FAILED);
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use core::task::{Context, Poll};
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    const FLIP: Setting = Setting::VFlip(true);
    const MIRROR: Setting = Setting::HMirror(true);

    /// All interleavings with at most so many preemptions; all of them would take hours.
    fn model(preemptions: usize, case: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 10_000;
        builder.check(case);
    }

    #[test]
    fn request_arrives_and_so_does_its_result() {
        model(2, || {
            let settings = Arc::new(Settings::new());
            let open = settings.open();
            let source = thread::spawn({
                let settings = settings.clone();
                move || {
                    block_on(settings.requested());
                    let (setting, request) = settings.take().unwrap();
                    request.done();
                    setting
                }
            });
            assert_eq!(block_on(settings.set(FLIP)), Ok(()));
            assert_eq!(source.join().unwrap(), FLIP);
            assert_eq!(settings.request.load(Ordering::Relaxed), NONE);
            drop(open);
        });
    }

    /// The second caller waits for its turn, and is woken when that comes.
    #[test]
    fn two_callers_are_served_one_after_the_other() {
        model(1, || {
            let settings = Arc::new(Settings::new());
            let open = settings.open();
            let callers = [FLIP, MIRROR].map(|setting| {
                let settings = settings.clone();
                thread::spawn(move || assert_eq!(block_on(settings.set(setting)), Ok(())))
            });
            let mut applied = [FLIP, MIRROR].map(|_| {
                block_on(settings.requested());
                let (setting, request) = settings.take().unwrap();
                request.done();
                setting.name() as usize
            });
            for caller in callers {
                caller.join().unwrap();
            }
            applied.sort_unstable();
            let mut both = [FLIP, MIRROR].map(|setting| setting.name() as usize);
            both.sort_unstable();
            assert_eq!(applied, both);
            drop(open);
        });
    }

    /// A watcher sleeps until a value changes.
    #[test]
    fn change_wakes_watcher() {
        model(3, || {
            let settings = Arc::new(Settings::new());
            let seen = settings.version();
            let source = thread::spawn({
                let settings = settings.clone();
                move || settings.report(|name| Some(FLIP).filter(|flip| flip.name() == name))
            });
            block_on(settings.changed(seen)).unwrap();
            assert_eq!(settings.get(FLIP.name()), Some(FLIP));
            source.join().unwrap();
        });
    }

    /// The capture loop ends: it has applied the request, or the caller hears that there is no loop.
    #[test]
    fn end_of_capture_loop_is_a_result() {
        model(3, || {
            let settings = Arc::new(Settings::new());
            let source = thread::spawn({
                let settings = settings.clone();
                move || {
                    let _open = settings.open();
                    settings.take().map(|(_, request)| request.done()).is_some()
                }
            });
            let result = block_on(settings.set(FLIP));
            let is_applied = source.join().unwrap();
            assert_eq!(result, if is_applied { Ok(()) } else { Err(SetError::Closed) });
            assert_eq!(settings.request.load(Ordering::Relaxed), CLOSED | NONE);
        });
    }

    /// A caller gives up at any moment; in the end there is room for the next.
    #[test]
    fn abandoned_request_leaves_nothing_behind() {
        model(3, || {
            let settings = Arc::new(Settings::new());
            let open = settings.open();
            let source = thread::spawn({
                let settings = settings.clone();
                move || {
                    if let Some((_, request)) = settings.take() {
                        request.unsupported();
                    }
                }
            });
            {
                let mut request = core::pin::pin!(settings.set(FLIP));
                let mut context = Context::from_waker(core::task::Waker::noop());
                if let Poll::Ready(result) = request.as_mut().poll(&mut context) {
                    assert_eq!(result, Err(SetError::Unsupported));
                }
            }
            source.join().unwrap();
            assert_eq!(settings.request.load(Ordering::Relaxed), NONE);
            drop(open);
        });
    }
}
