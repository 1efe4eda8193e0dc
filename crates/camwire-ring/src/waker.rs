use core::mem;
use core::task::Waker;

use crate::slot::const_unless_loom;
use crate::sync::{AtomicU32, Ordering, UnsafeCell, fence};

/// The waker of one task, left here by the task and called by any number of others: tasks, threads
/// and interrupt handlers.
///
/// Neither side ever waits for the other, so their priorities do not matter: a task that interrupts
/// one that is about to wake it still leaves its waker, since there are two places for it. Wakers
/// are cloned and dropped by the task alone, outside of everything, and called by reference.
///
/// The algorithm is that of the crate `diatomic-waker`. That one needs compare-and-swap
/// instructions, which the smallest chips lack; it keeps wakers for ever; and it does not survive a
/// waker that panics. This one also keeps what the task waits for in the same word, so that it is
/// woken for nothing else.
///
/// # How no wake is lost
///
/// The task registers, fences, and looks again for what it waits for. The others make their change,
/// fence (SeqCst), and look whether the task waits. One of the two sees the other.
#[derive(Debug)]
pub(crate) struct WakerCell {
    /// ```text
    ///  31     5    4      3       2      1        0
    /// +--------+------+-------+------+-------+---------+
    /// | events | GONE | AGAIN | BUSY | NEWER | CURRENT |
    /// +--------+------+-------+------+-------+---------+
    /// ```
    ///
    /// - `CURRENT`: the number of the place whose waker is called, or is being called.
    /// - `NEWER`: the other place has a newer waker, which becomes the current one with the next
    ///   wake.
    /// - `BUSY`: someone calls the current waker.
    /// - `AGAIN`: while that one was busy the task registered, and another event happened: the one
    ///   who is busy wakes the task for it, too.
    /// - `GONE`: while that one was busy the task left for good: the one who is busy takes the
    ///   current waker out.
    /// - events: what the task waits for; none for nothing.
    ///
    /// Only the task sets events and `NEWER`. Only a wake changes `CURRENT`, and it does so only
    /// while there are events. So while there are none, the place that is not current belongs to
    /// the task.
    state: AtomicU32,
    places: [UnsafeCell<Option<Waker>>; 2],
}

const CURRENT: u32 = 1 << 0;
const NEWER: u32 = 1 << 1;
const BUSY: u32 = 1 << 2;
const AGAIN: u32 = 1 << 3;
const GONE: u32 = 1 << 4;
const EVENTS: u32 = !(CURRENT | NEWER | BUSY | AGAIN | GONE);

/// Something that a task may wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event(u32);

impl Event {
    /// For a reader: an item was published, or the stream has ended.
    pub(crate) const ITEM: Self = Self(1 << 5);
    /// For a reader: a lease was asked back.
    pub(crate) const REVOCATION: Self = Self(1 << 6);
    /// For the publisher: a slot may be free.
    pub(crate) const SLOT: Self = Self(1 << 5);
    /// For the publisher: a reader has come or gone.
    pub(crate) const DEMAND: Self = Self(1 << 6);
    /// Both: a reader that goes may also have been what kept the slots.
    pub(crate) const READER_GONE: Self = Self(Self::SLOT.0 | Self::DEMAND.0);
}

// SAFETY: the one field that is not Sync already is `places`. What is in them is Send and Sync. A
// place is read by the one who is BUSY with it and by the task. The task writes only where no one can
// be busy; who is busy writes only when the task has GONE. See `state`, and where they are written.
unsafe impl Sync for WakerCell {}

impl WakerCell {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                state: AtomicU32::new(0),
                places: [UnsafeCell::new(None), UnsafeCell::new(None)],
            }
        }
    }

    /// Leaves the task's waker, for one event in place of whatever it waited for before. The task
    /// must look afterwards whether the event has come already.
    ///
    /// # Safety
    ///
    /// Calls of this and of [`clear`](Self::clear) must not overlap; each happens before the next.
    pub(crate) unsafe fn register(&self, waker: &Waker, event: Event) {
        // Which place has the newest waker is the task's own doing: when a wake makes NEWER the
        // current one, this comes out the same. Acquire: pairs with the Release of `leave`, after
        // which that place may be empty.
        let state = self.state.load(Ordering::Acquire);
        let is_known = state & (GONE | NEWER) != GONE
            && self.place(newest(state)).with(|place| {
                // SAFETY: the task does not write now, and whoever is busy writes the current place
                // if GONE, which this is not then.
                unsafe { (*place).as_ref().is_some_and(|known| known.will_wake(waker)) }
            });
        let old = if is_known {
            // Ordering: the waker was made visible when it was left.
            let wait = |state: u32| Some(state & !(EVENTS | AGAIN) | event.0);
            _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, wait);
            None
        } else {
            // Before anything has changed: it may panic.
            let waker = waker.clone();
            // Acquire: pairs with the Release of `leave`, after which the place that was current
            // until then is not looked at any more.
            let state = self.state.fetch_and(!(EVENTS | AGAIN), Ordering::Acquire);
            // SAFETY: without events no wake begins, and without AGAIN the one that is busy makes
            // nothing else current. So the other place is the task's.
            let old = self
                .place(other(state & CURRENT))
                .with_mut(|place| unsafe { (*place).replace(waker) });
            // Release: who finds the event finds the waker.
            self.state.fetch_or(NEWER | event.0, Ordering::Release);
            old
        };
        fence(Ordering::SeqCst);
        // At the very end: it may panic.
        drop(old);
    }

    /// Takes the wakers out, for the caller to drop, since the task has gone. If one is being called
    /// just now, the one who does so drops it.
    ///
    /// # Safety
    ///
    /// As for [`register`](Self::register).
    pub(crate) unsafe fn clear(&self) -> [Option<Waker>; 2] {
        let gone = |state: u32| match state & BUSY {
            0 => Some(state & CURRENT),
            _ => Some(state & CURRENT | BUSY | GONE),
        };
        // Acquire: as in `register`. Release: who finds GONE may write where the task has read.
        let state = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, gone);
        let (Ok(state) | Err(state)) = state;
        // SAFETY: as in `register`, the other place is the task's, and while no one is busy so is
        // the current one.
        let take = |number| self.place(number).with_mut(|place| unsafe { (*place).take() });
        let current = state & CURRENT;
        [take(other(current)), if state & BUSY == 0 { take(current) } else { None }]
    }

    /// Wakes the task, if it waits for `event`. Called after a SeqCst fence; see [`WakerCell`].
    pub(crate) fn wake(&self, event: Event) {
        let mut state = self.state.load(Ordering::Relaxed);
        let busy = loop {
            if state & event.0 == 0 {
                return;
            }
            let next = if state & BUSY == 0 { begin(state) } else { state | AGAIN };
            // Acquire: pairs with the Release of `register`.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.state.compare_exchange_weak(state, next, success, failure) {
                Ok(_) if state & BUSY == 0 => break next,
                Ok(_) => return,
                Err(now) => state = now,
            }
        };
        let mut busy = Some(busy);
        while let Some(state) = busy {
            // Without this a waker that panics would be the last one ever called.
            let panicking = GoOn { cell: self, busy: None };
            self.call(state);
            mem::forget(panicking);
            let (again, gone) = self.leave();
            let panicking = again.map(|_| GoOn { cell: self, busy: again });
            drop(gone);
            mem::forget(panicking);
            busy = again;
        }
    }

    /// Calls the current waker.
    fn call(&self, busy: u32) {
        // SAFETY: the caller is BUSY, so the task does not write the current place.
        self.place(busy & CURRENT).with(|place| unsafe {
            if let Some(waker) = &*place {
                waker.wake_by_ref();
            }
        });
    }

    /// Ends being busy, unless the task has to be woken once more. Gives out the waker of a task that
    /// has gone, for the caller to drop.
    fn leave(&self) -> (Option<u32>, Option<Waker>) {
        let mut gone = None;
        // Acquire: see `clear`.
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            if state & GONE != 0 {
                // SAFETY: this one is busy, and no task looks at the current place while GONE.
                let take = |place: *mut Option<Waker>| unsafe { (*place).take() };
                gone = gone.or_else(|| self.place(state & CURRENT).with_mut(take));
            }
            let next = if state & AGAIN == 0 { state & !(BUSY | GONE) } else { begin(state) };
            // Release: the task may write the place that was current. Acquire: as in `wake`.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.state.compare_exchange_weak(state, next, success, failure) {
                Ok(_) => return ((state & AGAIN != 0).then_some(next), gone),
                Err(now) => state = now,
            }
        }
    }

    fn place(&self, number: u32) -> &UnsafeCell<Option<Waker>> {
        let [first, second] = &self.places;
        if number == 0 { first } else { second }
    }
}

/// The state in which someone calls the newest waker, and nothing is waited for any more.
fn begin(state: u32) -> u32 {
    BUSY | newest(state)
}

/// The number of the place that has the newest waker.
fn newest(state: u32) -> u32 {
    let current = state & CURRENT;
    if state & NEWER == 0 { current } else { other(current) }
}

fn other(number: u32) -> u32 {
    number ^ CURRENT
}

/// Goes on where a waker has panicked.
struct GoOn<'c> {
    cell: &'c WakerCell,
    /// The state in which the current waker is still to be called.
    busy: Option<u32>,
}

impl Drop for GoOn<'_> {
    fn drop(&mut self) {
        let mut busy = self.busy.or_else(|| self.cell.leave().0);
        while let Some(state) = busy {
            self.cell.call(state);
            busy = self.cell.leave().0;
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::model;
    use loom::sync::Arc;
    use loom::thread;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    /// Counts how often it is called. Loom need not know: it is looked at in the end.
    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: std::sync::Arc<Self>) {
            self.wake_by_ref();
        }

        fn wake_by_ref(self: &std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a task waits for, its waker, and the number of events there were.
    #[derive(Default)]
    struct Shared {
        cell: WakerCell,
        events: AtomicU32,
    }

    impl Shared {
        fn happen(&self, event: Event) {
            self.events.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            self.cell.wake(event);
        }

        /// Registers, and says how many events there were then.
        fn wait(&self, waker: &Waker, event: Event) -> u32 {
            // SAFETY: each test waits in one thread only.
            unsafe { self.cell.register(waker, event) };
            self.events.load(Ordering::Relaxed)
        }
    }

    impl Default for WakerCell {
        fn default() -> Self {
            Self::new()
        }
    }

    /// Others make events happen while a task waits, with one waker after the other. Those events
    /// that it does not see when it looks wake the last waker.
    fn no_wake_is_lost(bounds: (usize, usize), others: usize, wakers: &'static [usize]) {
        model(&std::format!("{others} events, wakers {wakers:?}"), bounds, move || {
            let shared = Arc::new(Shared::default());
            let threads: std::vec::Vec<_> = (0..others)
                .map(|_| {
                    let shared = shared.clone();
                    thread::spawn(move || shared.happen(Event::ITEM))
                })
                .collect();
            let counters = [(); 2].map(|()| std::sync::Arc::new(Counter::default()));
            let handles = counters.each_ref().map(|counter| Waker::from(counter.clone()));
            let (mut seen, mut before) = (0, 0);
            for &number in wakers {
                before = counters[number].0.load(Ordering::Relaxed);
                seen = shared.wait(&handles[number], Event::ITEM);
            }
            for thread in threads {
                thread.join().unwrap();
            }
            let last = counters[*wakers.last().unwrap()].0.load(Ordering::Relaxed);
            assert!(seen as usize == others || last > before, "not woken");
        });
    }

    #[test]
    fn an_event_is_seen_or_wakes_the_task() {
        no_wake_is_lost((9, 99), 1, &[0]);
    }

    #[test]
    fn events_wake_the_newest_waker() {
        no_wake_is_lost((9, 99), 1, &[0, 1, 0]);
    }

    #[test]
    fn two_events_wake_the_newest_waker() {
        no_wake_is_lost((3, 5), 2, &[0, 1]);
    }

    #[test]
    fn two_events_wake_a_task_that_registers_the_same_waker_again() {
        no_wake_is_lost((3, 5), 2, &[0, 0]);
    }

    /// A task that waits for one thing is not woken for another, which it gave up waiting for.
    #[test]
    fn an_event_that_is_not_waited_for_wakes_no_task() {
        model("another event", (9, 99), || {
            let shared = Arc::new(Shared::default());
            let counter = std::sync::Arc::new(Counter::default());
            let waker = Waker::from(counter.clone());
            shared.wait(&waker, Event::ITEM);
            shared.wait(&waker, Event::REVOCATION);
            let thread = thread::spawn({
                let shared = shared.clone();
                move || shared.happen(Event::ITEM)
            });
            shared.wait(&waker, Event::REVOCATION);
            thread.join().unwrap();
            assert_eq!(counter.0.load(Ordering::Relaxed), 0);
            shared.happen(Event::REVOCATION);
            assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        });
    }

    /// A task leaves while it is woken, and another comes in its place.
    #[test]
    fn a_place_is_used_by_one_task_after_the_other() {
        model("clear", (4, 9), || {
            let shared = Arc::new(Shared::default());
            let threads = [(), ()].map(|()| {
                let shared = shared.clone();
                thread::spawn(move || shared.happen(Event::ITEM))
            });
            let counters = [(); 2].map(|()| std::sync::Arc::new(Counter::default()));
            let [first, second] = counters.each_ref().map(|counter| Waker::from(counter.clone()));
            shared.wait(&first, Event::ITEM);
            // SAFETY: this is the one thread that waits.
            drop(unsafe { shared.cell.clear() });
            let seen = shared.wait(&second, Event::ITEM);
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(seen == 2 || counters[1].0.load(Ordering::Relaxed) > 0, "not woken");
            // SAFETY: as above.
            drop(unsafe { shared.cell.clear() });
            drop((first, second));
            assert!(counters.iter().all(|c| std::sync::Arc::strong_count(c) == 1), "kept");
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{RawWaker, RawWakerVTable, Wake};

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter::default());
        (counter.clone(), Waker::from(counter))
    }

    /// A waker that panics when it is cloned, woken or dropped, as `on` says.
    fn panicking(on: &'static str) -> Waker {
        fn on_call(data: *const (), call: &str) {
            // SAFETY: the data is the address of the text given below.
            assert_ne!(unsafe { *data.cast::<&str>() }, call, "as it should");
        }
        fn clone(data: *const ()) -> RawWaker {
            on_call(data, "clone");
            RawWaker::new(data, &VTABLE)
        }
        static VTABLE: RawWakerVTable = RawWakerVTable::new(
            clone,
            |data| on_call(data, "wake"),
            |data| on_call(data, "wake"),
            |data| on_call(data, "drop"),
        );
        let data = std::boxed::Box::leak(std::boxed::Box::new(on));
        // SAFETY: all of the table's functions may be called by any thread, as often as they are.
        unsafe { Waker::new(core::ptr::from_ref(data).cast(), &VTABLE) }
    }

    fn wait(cell: &WakerCell, waker: &Waker) {
        // SAFETY: each test has one thread.
        unsafe { cell.register(waker, Event::ITEM) };
    }

    #[test]
    fn a_panicking_waker_is_not_the_last_one() {
        for on in ["clone", "wake", "drop"] {
            let cell = WakerCell::new();
            let bad = mem::ManuallyDrop::new(panicking(on));
            let ((count, good), (last, other)) = (counter(), counter());
            let mut panics = 0;
            for waker in [&good, &bad, &good, &bad, &good, &other, &good, &other] {
                let registered = catch_unwind(AssertUnwindSafe(|| wait(&cell, waker)));
                let woken = catch_unwind(AssertUnwindSafe(|| cell.wake(Event::ITEM)));
                panics += usize::from(registered.is_err()) + usize::from(woken.is_err());
            }
            assert!(panics >= 1, "{on} was not called");
            assert_eq!([count, last].map(|woken| woken.0.load(Ordering::Relaxed)), [4, 2], "{on}");
        }
    }

    /// As an interrupt handler may do in the middle of a wake: the task is polled there.
    #[test]
    fn a_task_may_register_and_be_woken_while_it_is_woken() {
        struct Nested {
            cell: Arc<WakerCell>,
            calls: AtomicUsize,
        }
        impl Wake for Nested {
            fn wake(self: Arc<Self>) {
                if self.calls.fetch_add(1, Ordering::Relaxed) < 3 {
                    wait(&self.cell, &Waker::from(self.clone()));
                    self.cell.wake(Event::ITEM);
                }
            }
        }
        let cell = Arc::new(WakerCell::new());
        let nested = Arc::new(Nested { cell: cell.clone(), calls: AtomicUsize::new(0) });
        wait(&cell, &Waker::from(nested.clone()));
        cell.wake(Event::ITEM);
        assert_eq!(nested.calls.load(Ordering::Relaxed), 4);
        cell.wake(Event::ITEM);
        assert_eq!(nested.calls.load(Ordering::Relaxed), 4, "it does not wait any more");
        // SAFETY: there is one thread.
        drop(unsafe { cell.clear() });
        assert_eq!(Arc::strong_count(&nested), 1, "no waker is left");
    }
}
