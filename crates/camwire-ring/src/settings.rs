use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use camwire_frame::{Setting, SettingName};

use crate::slot::const_unless_loom;
use crate::sync::{AtomicU32, Ordering};
use crate::waker::AtomicWaker;

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
    /// The driver failed, or the capture loop has ended meanwhile.
    #[error("the source failed")]
    Failed,
}

impl Settings {
    const_unless_loom! {
        /// Settings of a source that has not shown them yet.
        #[must_use]
        pub fn new() -> Self {
            Self {
                present: unknown(),
                wish: AtomicU32::new(NONE),
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
    /// takes, or for ever if no capture loop runs.
    ///
    /// # Errors
    ///
    /// As [`SetError`] says; the source is as it was before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws the wish, unless the source is at it already.
    pub async fn set(&self, setting: Setting) -> Result<(), SetError> {
        let number = u32::from(setting.number() as u16);
        let wish = HERE | (setting.name() as u32) << 16 | number;
        // Release: pairs with the Acquire of `take`, as every step of a wish does.
        if self.wish.compare_exchange(NONE, wish, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(SetError::Busy);
        }
        let waiting = Waiting { settings: self, wish };
        self.source.wake();
        let answer = poll_fn(|cx| {
            let answered = || match self.wish.load(Ordering::Acquire) {
                answer @ DONE..=FAILED => Poll::Ready(answer),
                _ => Poll::Pending,
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
            _ => Err(SetError::Failed),
        }
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

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

/// Somebody waits for the answer to a wish.
struct Waiting<'s> {
    settings: &'s Settings,
    wish: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let wish = &self.settings.wish;
        for (from, to) in [(self.wish, NONE), (TAKEN, FORSAKEN)] {
            if wish.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
        // It is answered; now there is room for the next.
        wish.store(NONE, Ordering::Release);
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

    fn answer(&self, answer: u32) {
        let wish = &self.settings.wish;
        if wish.compare_exchange(TAKEN, answer, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.settings.caller.wake();
        } else {
            // Nobody waits: FORSAKEN.
            let _ = wish.compare_exchange(FORSAKEN, NONE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.answer(FAILED); // Nothing, if it is answered already.
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
        });
    }

    /// Whoever wished gives up at any moment; there is room for the next in the end.
    #[test]
    fn a_forsaken_wish_leaves_nothing_behind() {
        loom::model(|| {
            let settings = Arc::new(Settings::new());
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
        });
    }
}
