use core::future::{Future, poll_fn};

use crate::sync::{AtomicBool, Ordering, fence};
use crate::waker::{Event, WakerCell};

/// Up to `N` tasks that wait for something which others change: whatever it is, in atomics beside
/// this list.
///
/// Like the ring itself it works between tasks, threads and interrupts of any priority, without a
/// lock and without memory from the heap.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use camwire_ring::{WaitList, block_on};
///
/// static LEVEL: AtomicU32 = AtomicU32::new(0);
/// static CHANGED: WaitList<2> = WaitList::new();
///
/// std::thread::spawn(|| {
///     LEVEL.store(7, Ordering::Release);
///     CHANGED.wake(); // after each change
/// });
/// let high = |level: &u32| *level > 5;
/// let level = block_on(CHANGED.wait_until(|| Some(LEVEL.load(Ordering::Acquire)).filter(high)));
/// assert_eq!(level, Ok(7));
/// ```
#[derive(Debug)]
pub struct WaitList<const N: usize> {
    places: [Place; N],
}

/// As many tasks wait as there are places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many tasks wait already")]
pub struct WaitListFull;

#[derive(Debug)]
struct Place {
    is_taken: AtomicBool,
    waker: WakerCell,
}

impl<const N: usize> WaitList<N> {
    /// A list on which no task waits.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        let places =
            [const { Place { is_taken: AtomicBool::new(false), waker: WakerCell::new() } }; N];
        Self { places }
    }

    /// A list on which no task waits.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        let free = |_| Place { is_taken: AtomicBool::new(false), waker: WakerCell::new() };
        Self { places: core::array::from_fn(free) }
    }

    /// Wakes every task that waits, to look again. Call it after each change that one may wait for.
    pub fn wake(&self) {
        // The change before, the wakers after: see `WakerCell`.
        fence(Ordering::SeqCst);
        for place in &self.places {
            place.waker.wake(Event::ITEM);
        }
    }

    /// Calls `check` until it returns something; sleeps between two calls until the next
    /// [`wake`](Self::wake).
    ///
    /// Cancel-safe: a dropped wait leaves its place to others. Polled after its end, it is pending.
    ///
    /// # Errors
    ///
    /// [`WaitListFull`] if it would have to sleep and `N` tasks wait already.
    pub fn wait_until<T>(
        &self,
        mut check: impl FnMut() -> Option<T>,
    ) -> impl Future<Output = Result<T, WaitListFull>> {
        let mut waiting = Waiting { list: self, place: None };
        let mut is_over = false;
        poll_fn(move |cx| {
            use core::task::Poll::{Pending, Ready};
            if is_over {
                return Pending;
            }
            let mut found = check();
            if found.is_none() {
                let Some(place) = waiting.place() else {
                    is_over = true;
                    return Ready(Err(WaitListFull));
                };
                // SAFETY: the place is this future's, which is polled by one task at a time; the one
                // before it has left with Release before this one came with Acquire.
                unsafe { place.waker.register(cx.waker(), Event::ITEM) };
                found = check();
            }
            is_over = found.is_some();
            found.map_or(Pending, |found| Ready(Ok(found)))
        })
    }
}

impl<const N: usize> Default for WaitList<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A task that waits, with its place if it has one.
struct Waiting<'l, const N: usize> {
    list: &'l WaitList<N>,
    place: Option<&'l Place>,
}

impl<'l, const N: usize> Waiting<'l, N> {
    fn place(&mut self) -> Option<&'l Place> {
        if self.place.is_none() {
            // Acquire: see `drop`.
            let free = |place: &&Place| !place.is_taken.swap(true, Ordering::Acquire);
            self.place = self.list.places.iter().find(free);
        }
        self.place
    }
}

impl<const N: usize> Drop for Waiting<'_, N> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // SAFETY: as in `wait_until`.
            let wakers = unsafe { place.waker.clear() };
            place.is_taken.store(false, Ordering::Release);
            drop(wakers); // Last, since a waker may panic.
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::{AtomicU32, model};
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    /// One task after the other waits in the one place, on two threads.
    #[test]
    fn place_is_used_by_one_task_after_the_other() {
        model("wait list", (2, 4), || {
            let shared = Arc::new((WaitList::<1>::new(), AtomicU32::new(0)));
            let threads = [(), ()].map(|()| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (list, level) = &*shared;
                    let check = || Some(level.load(Ordering::Relaxed)).filter(|level| *level > 0);
                    while block_on(list.wait_until(check)).is_err() {
                        thread::yield_now();
                    }
                })
            });
            let (list, level) = &*shared;
            level.store(1, Ordering::Relaxed);
            list.wake();
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}
