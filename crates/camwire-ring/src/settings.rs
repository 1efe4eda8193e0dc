use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use camwire_frame::{Setting, SettingName};

use crate::atomic_waker::AtomicWaker;
use crate::slot::const_unless_loom;
use crate::sync::{AtomicU32, Ordering};

/// What a source is set to, for everybody to see, and the mailbox by which they change it.
///
/// The source belongs to its capture loop, and obeys between two captures. Whoever wants something
/// else leaves a [`set`](Self::set) here, and is told how it went: a page, a script over HTTP, a
/// broker all see the same state. There is room for one wish at a time.
///
/// [`capture_loop_with_settings`](crate::capture_loop_with_settings) is the other side.
#[derive(Debug)]
pub struct Settings {
    /// Of each name in their order: the number of its value, or [`UNKNOWN`].
    present: [AtomicU32; SettingName::ALL.len()],
    wish: AtomicU32,
    /// Wakes the capture loop.
    source: AtomicWaker,
    /// Wakes who wished.
    caller: AtomicWaker,
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

// What becomes of a wish: nobody has one; it is here (with the setting in the lower bits); the
// capture loop has it; the loop has it and nobody waits for the answer any more; it is answered.
const NONE: u32 = 0;
const HERE: u32 = 1 << 31;
const TAKEN: u32 = 1;
const FORSAKEN: u32 = 2;
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
    /// Somebody else's wish is not answered yet; nothing says when it will be.
    #[error("another setting is being changed")]
    Busy,
    /// The source has no such setting, or not this value of it.
    #[error("the source cannot be set to that")]
    Unsupported,
    /// Pictures of that size would not fit the ring's slots.
    #[error("pictures of that size may need {needed} bytes, which is more than there is for one")]
    TooLarge {
        /// Bytes, as [`Resolution::jpeg_bytes`](camwire_frame::Resolution::jpeg_bytes) has it.
        needed: usize,
    },
    /// The driver failed, or took too long. Whether it has the setting, [`Settings::get`] tells.
    #[error("the source failed")]
    Failed,
    /// There is no capture loop: it has not begun, or it has ended.
    #[error("there is no source")]
    Closed,
}

impl Settings {
    const_unless_loom! {
        /// Settings of a source that has not shown them yet.
        #[must_use]
        pub fn new() -> Self {
            Self {
                present: unknown(),
                wish: AtomicU32::new(CLOSED),
                source: AtomicWaker::new(),
                caller: AtomicWaker::new(),
            }
        }
    }

    /// The present value; `None` if the source has no such setting, or has not shown it yet.
    #[must_use]
    pub fn get(&self, name: SettingName) -> Option<Setting> {
        let number = self.present.get(name as usize)?.load(Ordering::Relaxed);
        if number == UNKNOWN { None } else { name.with_number(number as u16 as i16) }
    }

    /// Wishes for a setting, and waits until the source has it. That may be as long as a capture
    /// takes.
    ///
    /// A setting with which pictures turn out not to fit the ring's slots is undone after the first
    /// of them.
    ///
    /// # Errors
    ///
    /// As [`SetError`] says; but for [`Failed`](SetError::Failed), the source is as it was before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the wish, unless the source is at it already.
    pub async fn set(&self, setting: Setting) -> Result<(), SetError> {
        let number = u32::from(setting.number() as u16);
        let wish = HERE | (setting.name() as u32) << 16 | number;
        // Release: pairs with the Acquire of `take`, as every step of a wish does.
        match self.wish.compare_exchange(NONE, wish, Ordering::AcqRel, Ordering::Relaxed) {
            Err(state) if state & CLOSED != 0 => return Err(SetError::Closed),
            Err(_) => return Err(SetError::Busy),
            Ok(_) => {}
        }
        let waiting = Waiting { settings: self };
        self.source.wake();
        let answer = poll_fn(|cx| {
            let answered = || {
                let state = self.wish.load(Ordering::Acquire);
                match state & !CLOSED {
                    answer @ DONE..=FAILED => Poll::Ready(answer),
                    _ if state & CLOSED != 0 => Poll::Ready(CLOSED),
                    _ => Poll::Pending,
                }
            };
            if answered().is_pending() {
                self.caller.register(cx.waker());
            }
            answered()
        });
        let answer = answer.await;
        drop(waiting);
        match (answer, setting) {
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
        self.wish.fetch_and(!CLOSED, Ordering::AcqRel);
        Open { settings: self }
    }

    /// Shows what the source is set to.
    pub(crate) fn show(&self, get: impl Fn(SettingName) -> Option<Setting>) {
        for (&name, present) in SettingName::ALL.iter().zip(&self.present) {
            let number = get(name).map_or(UNKNOWN, |setting| u32::from(setting.number() as u16));
            present.store(number, Ordering::Relaxed);
        }
    }

    /// Waits for a wish. Cancel-safe.
    pub(crate) async fn wished(&self) {
        poll_fn(|cx: &mut Context<'_>| {
            if self.wish.load(Ordering::Relaxed) & HERE == 0 {
                self.source.register(cx.waker());
            }
            match self.wish.load(Ordering::Relaxed) & HERE {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Takes the wish, if there is one. It is answered by what is given back, at the latest when
    /// that is dropped.
    pub(crate) fn take(&self) -> Option<(Setting, Answering<'_>)> {
        let wish = self.wish.load(Ordering::Relaxed);
        let named = SettingName::ALL.get((wish >> 16 & 0xff) as usize)?;
        let taken = wish & HERE != 0
            && self.wish.compare_exchange(wish, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let setting = named.with_number(wish as u16 as i16);
        setting.filter(|_| taken).map(|setting| (setting, Answering { settings: self }))
    }
}

impl Settings {
    fn answer(&self, answer: u32) {
        let taken = self.wish.compare_exchange(TAKEN, answer, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_ok() {
            self.caller.wake();
        } else {
            // Nobody waits: FORSAKEN.
            self.wish.fetch_and(CLOSED, Ordering::AcqRel);
        }
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
        self.settings.wish.fetch_or(CLOSED, Ordering::AcqRel);
        self.settings.caller.wake();
    }
}

/// Somebody waits for the answer to a wish.
struct Waiting<'s> {
    settings: &'s Settings,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Whether it is withdrawn or answered, there is room for the next, except while the source
        // is at it.
        let next = |state| Some(state & CLOSED | if state == TAKEN { FORSAKEN } else { NONE });
        let _ = self.settings.wish.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }
}

/// A wish that the source is at.
#[must_use]
pub(crate) struct Answering<'s> {
    settings: &'s Settings,
}

impl Answering<'_> {
    pub(crate) fn done(self) {
        self.answer(DONE);
    }

    pub(crate) fn unsupported(self) {
        self.answer(UNSUPPORTED);
    }

    pub(crate) fn too_large(self) {
        self.answer(TOO_LARGE);
    }

    fn answer(self, answer: u32) {
        self.settings.answer(answer);
        core::mem::forget(self);
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.settings.answer(FAILED);
    }
}

impl fmt::Debug for Answering<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use core::future::Future;
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    const FLIP: Setting = Setting::VFlip(true);

    #[test]
    fn a_wish_arrives_and_so_does_its_answer() {
        // All interleavings with at most two preemptions; all of them would take minutes.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let settings = Arc::new(Settings::new());
            let open = settings.open();
            let source = thread::spawn({
                let settings = settings.clone();
                move || {
                    block_on(settings.wished());
                    let (setting, answering) = settings.take().unwrap();
                    answering.done();
                    setting
                }
            });
            assert_eq!(block_on(settings.set(FLIP)), Ok(()));
            assert_eq!(source.join().unwrap(), FLIP);
            assert_eq!(settings.wish.load(Ordering::Relaxed), NONE);
            drop(open);
        });
    }

    /// The capture loop ends: a wish is answered first, or told that there is none.
    #[test]
    fn the_end_of_the_loop_is_an_answer() {
        loom::model(|| {
            let settings = Arc::new(Settings::new());
            let source = thread::spawn({
                let settings = settings.clone();
                move || {
                    let _open = settings.open();
                    settings.take().map(|(_, answering)| answering.done()).is_some()
                }
            });
            let answer = block_on(settings.set(FLIP));
            let taken = source.join().unwrap();
            assert_eq!(answer, if taken { Ok(()) } else { Err(SetError::Closed) });
            assert_eq!(settings.wish.load(Ordering::Relaxed), CLOSED | NONE);
        });
    }

    /// Whoever wished gives up at any moment; there is room for the next in the end.
    #[test]
    fn a_forsaken_wish_leaves_nothing_behind() {
        loom::model(|| {
            let settings = Arc::new(Settings::new());
            let open = settings.open();
            let source = thread::spawn({
                let settings = settings.clone();
                move || {
                    if let Some((_, answering)) = settings.take() {
                        answering.unsupported();
                    }
                }
            });
            {
                let mut wish = core::pin::pin!(settings.set(FLIP));
                let mut context = Context::from_waker(core::task::Waker::noop());
                if let Poll::Ready(answer) = wish.as_mut().poll(&mut context) {
                    assert_eq!(answer, Err(SetError::Unsupported));
                }
            }
            source.join().unwrap();
            assert_eq!(settings.wish.load(Ordering::Relaxed), NONE);
            drop(open);
        });
    }
}
