use core::task::Waker;

use crate::slot::const_unless_loom;
use crate::sync::{AtomicBool, Ordering, UnsafeCell, spin_loop};

/// The waker of a task, left here by the task and taken by whoever wakes it: another task, a
/// thread, an interrupt.
///
/// It does what the `atomic-waker` crate does, but that has a panic in it as far as a linker can
/// see.
#[derive(Debug)]
pub(crate) struct AtomicWaker {
    /// Somebody is at the cell.
    busy: AtomicBool,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the one field that is not Sync already is `waker`. What is in it is Send and Sync, and
// only who has made `busy` true gets at it, until making it false.
unsafe impl Sync for AtomicWaker {}

impl AtomicWaker {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self { busy: AtomicBool::new(false), waker: UnsafeCell::new(None) }
        }
    }

    /// Leaves a task's waker. The task must look afterwards whether what it waits for has come: if
    /// somebody wanted to wake it meanwhile, that is all there is to see of it.
    pub(crate) fn register(&self, waker: &Waker) {
        if !self.enter() {
            // It is being woken just now, or shares this place with another. It comes again until
            // nobody is here, so this is a loop, in a way.
            waker.wake_by_ref();
            return spin_loop();
        }
        // SAFETY: this call has entered.
        self.waker.with_mut(|cell| unsafe {
            if !(*cell).as_ref().is_some_and(|old| old.will_wake(waker)) {
                *cell = Some(waker.clone());
            }
        });
        self.leave();
    }

    /// Wakes the task, if it has left a waker since the last time.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    /// Takes the waker out. `None` also if somebody else is there: a task, which looks when it has
    /// left its waker, or one who wakes it.
    pub(crate) fn take(&self) -> Option<Waker> {
        if !self.enter() {
            return None;
        }
        // SAFETY: this call has entered.
        let waker = self.waker.with_mut(|cell| unsafe { (*cell).take() });
        self.leave();
        waker
    }

    fn enter(&self) -> bool {
        !self.busy.swap(true, Ordering::AcqRel)
    }

    /// Not a store, and Acquire, too: what those did who came meanwhile and could not enter is
    /// seen by who leaves, and by who enters next.
    fn leave(&self) {
        self.busy.swap(false, Ordering::AcqRel);
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use core::future::poll_fn;
    use core::task::Poll;
    use loom::sync::Arc;

    /// A task leaves its waker, then looks; another makes the change, then wakes.
    #[test]
    fn no_wake_is_lost() {
        loom::model(|| {
            let shared = Arc::new((AtomicWaker::new(), AtomicBool::new(false)));
            let other = Arc::clone(&shared);
            let thread = loom::thread::spawn(move || {
                other.1.store(true, Ordering::Relaxed);
                other.0.wake();
            });
            loom::future::block_on(poll_fn(|cx| {
                shared.0.register(cx.waker());
                if shared.1.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
            }));
            thread.join().unwrap();
        });
    }

    /// Two tasks at once share one place: what is left is one of the two wakers, and whole.
    #[test]
    fn two_may_leave_their_wakers() {
        loom::model(|| {
            let waker = Arc::new(AtomicWaker::new());
            let threads = [(), ()].map(|()| {
                let waker = Arc::clone(&waker);
                loom::thread::spawn(move || waker.register(Waker::noop()))
            });
            waker.wake();
            threads.map(|thread| thread.join().unwrap());
        });
    }
}
