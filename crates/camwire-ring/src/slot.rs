use core::mem::MaybeUninit;

use crate::life::Stream;
use crate::sync::{AtomicU32, Halves, Ordering, UnsafeCell};

/// The state of one slot, in one word, so that every change of it is one atomic step:
///
/// ```text
///  31     19     18       17      16   15         0
/// +---------+---------+-------+------+------------+
/// |   tag   | REVOKED | GRANT | HELD |   leases   |
/// +---------+---------+-------+------+------------+
/// ```
///
/// - free: neither bit, no leases. Only the publisher leaves this state.
/// - `GRANT`: one [`Grant`](crate::Grant) has the slot for itself.
/// - `HELD`: the ring offers the item; a lease may be added.
/// - neither, but leases: the item was withdrawn; the last lease to end frees the slot.
/// - `REVOKED` beside that: these leases are asked back. No other can begin, so none is asked back
///   by mistake.
///
/// The tag is the low bits of the item's position, so that a reader who slept between reading
/// the position and adding its lease does not get a later item of the same slot by accident.
const LEASES: u32 = 0xffff;
const HELD: u32 = 1 << 16;
const GRANT: u32 = 1 << 17;
const REVOKED: u32 = 1 << 18;
const TAG_SHIFT: u32 = 19;

/// What is known of the item in a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta<M> {
    pub(crate) position: u32,
    pub(crate) sequence: u64,
    /// The stream it belongs to: see [`Life`](crate::life::Life).
    pub(crate) stream: Stream,
    /// Bytes of the item, at most those of a slot.
    pub(crate) len: usize,
    pub(crate) info: M,
}

/// What a release left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// Others still lease it.
    Leased,
    /// Nobody leases it, the ring still offers it.
    Held,
    /// It is free.
    Free,
}

/// The bookkeeping of one slot of a [`Ring`](crate::Ring) with metadata `M`; the item's bytes lie
/// apart from it.
#[derive(Debug)]
pub struct Slot<M = ()> {
    state: AtomicU32,
    /// Two places of the ring's table from positions to slots. The table has a power of two of
    /// places, so that positions may wrap around, and no power of two from `n` up is larger than
    /// `2n`: thus two places in each slot are enough.
    pub(crate) order: [AtomicU32; 2],
    /// When the publisher first saw that the slot was wanted back, or when it asked for it, in its
    /// milliseconds and one more; 0 for not yet. The publisher's.
    wanted_since: Halves,
    /// Initialised from the first `publish` on.
    meta: UnsafeCell<MaybeUninit<Meta<M>>>,
    /// Stands for the item's memory, which loom does not watch.
    #[cfg(loom)]
    shadow: UnsafeCell<()>,
}

// SAFETY: the one field that is not Sync already is `meta`. It is written only by `publish`, for
// the one grant of the slot, and read only under a lease; the state keeps the two apart. What is
// written by one thread is copied and referred to by others, hence the bounds.
unsafe impl<M: Send + Sync> Sync for Slot<M> {}

macro_rules! const_unless_loom {
    ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attr])* $vis const fn $($rest)*
        #[cfg(loom)]
        $(#[$attr])* $vis fn $($rest)*
    };
}
pub(crate) use const_unless_loom;

impl<M> Slot<M> {
    const_unless_loom! {
        /// A free slot.
        #[must_use]
        pub fn new() -> Self {
            Self {
                state: AtomicU32::new(0),
                order: [AtomicU32::new(0), AtomicU32::new(0)],
                wanted_since: Halves::new(0),
                #[cfg(loom)]
                shadow: UnsafeCell::new(()),
                meta: UnsafeCell::new(MaybeUninit::uninit()),
            }
        }
    }

    /// Takes a free slot for a grant.
    pub(crate) fn take(&self) -> bool {
        // Acquire: what the last readers did with the memory happened before what the grant does.
        let free = self.state.load(Ordering::Acquire) & (LEASES | HELD | GRANT) == 0;
        if free {
            // No race: only the publisher takes, and there is one; readers touch only HELD slots
            // and those they lease.
            self.state.store(GRANT, Ordering::Relaxed);
        }
        free
    }

    /// Gives a grant's slot back without an item.
    pub(crate) fn abort(&self) {
        self.state.store(0, Ordering::Release);
    }

    /// Turns a grant into an item that the ring offers.
    pub(crate) fn publish(&self, meta: Meta<M>) {
        let tag = meta.position << TAG_SHIFT;
        // SAFETY: the slot is in state GRANT, and the one grant of it was consumed by the caller,
        // so nobody else reads or writes `meta`: readers do so only with a lease. What was there
        // before needs no drop: it is `Copy` (see `Ring`).
        self.meta.with_mut(|cell| unsafe { (*cell).write(meta) });
        self.wanted_since.store(0);
        self.state.store(HELD | tag, Ordering::Release);
    }

    /// Takes an item from those that the ring offers. True if that freed the slot, which then
    /// is a grant's at once.
    pub(crate) fn withdraw(&self) -> bool {
        // Acquire: see `take`. Release: a reader that finds the item gone also finds the
        // ring's new tail, which was stored before.
        let before = self.state.fetch_and(!HELD, Ordering::AcqRel);
        let free = before & LEASES == 0;
        if free {
            self.state.store(GRANT, Ordering::Relaxed);
        }
        free
    }

    /// Adds a lease of the item at `position`, if the slot still offers it.
    ///
    /// On success the caller has a lease, which it must [`release`](Self::release) once.
    #[inline]
    pub(crate) fn lease(&self, position: u32) -> bool {
        let wanted = HELD | (position << TAG_SHIFT);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            // The last lease that fits the count is never given, so the count cannot overflow.
            if state & !LEASES != wanted || state & LEASES == LEASES {
                // Synchronise with the withdrawal (see there) before the caller looks again.
                crate::sync::fence(Ordering::Acquire);
                return false;
            }
            // Acquire: pairs with the Release of `publish`, so meta and item are visible.
            match self.state.compare_exchange_weak(
                state,
                state.wrapping_add(1),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        // The tag is short; the whole position settles it.
        if self.meta(|meta| meta.position) == position {
            return true;
        }
        self.release();
        false
    }

    /// Adds a second lease to one that the caller has. False if too many are out.
    #[cfg(feature = "bytes")]
    pub(crate) fn lease_again(&self) -> bool {
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state & LEASES != LEASES).then_some(state.wrapping_add(1))
            })
            .is_ok()
    }

    /// Ends a lease that the caller has.
    #[inline]
    pub(crate) fn release(&self) -> Released {
        // Release: what this reader read happened before the next grant's writes.
        let before = self.state.fetch_sub(1, Ordering::Release);
        if before & LEASES != 1 {
            Released::Leased
        } else if before & HELD != 0 {
            Released::Held
        } else {
            Released::Free
        }
    }

    /// What is known of the item. The caller must have a lease.
    #[inline]
    pub(crate) fn meta<T>(&self, get: impl FnOnce(&Meta<M>) -> T) -> T {
        // SAFETY: `meta` is written only in `publish`, in state GRANT, which cannot come while
        // leases are out. A lease was taken with Acquire after that write, so it is initialised.
        self.meta.with(|cell| get(unsafe { (*cell).assume_init_ref() }))
    }

    /// Notes for loom that the item is read.
    #[inline]
    pub(crate) fn is_read(&self) {
        #[cfg(loom)]
        self.shadow.with(|_| ());
    }

    /// Notes for loom that the item is written.
    #[inline]
    pub(crate) fn is_written(&self) {
        #[cfg(loom)]
        self.shadow.with_mut(|_| ());
    }

    /// Whether no lease and no grant has the slot. It may have an item that the ring offers.
    pub(crate) fn is_unused(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (LEASES | GRANT) == 0
    }

    /// Since when the slot is wanted back, if only leases keep it. `now` is in milliseconds. For
    /// the publisher.
    pub(crate) fn wanted_since(&self, now: u64) -> Option<u64> {
        let state = self.state.load(Ordering::Relaxed);
        if state & (HELD | GRANT) != 0 || state & LEASES == 0 {
            return None;
        }
        if self.wanted_since.load() == 0 {
            self.wanted_since.store(now.saturating_add(1));
        }
        Some(self.wanted_since.load().saturating_sub(1))
    }

    /// Asks the leases of a withdrawn item back, and says how many those are. For the publisher.
    pub(crate) fn revoke(&self, now: u64) -> u32 {
        self.wanted_since.store(now.saturating_add(1));
        // Ordering: the flag says nothing of anything else.
        let leases = |state: &u32| state & (HELD | GRANT) == 0 && state & LEASES != 0;
        let revoke = |state: u32| Some(state).filter(leases).map(|state| state | REVOKED);
        match self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, revoke) {
            Ok(before) => before & LEASES,
            Err(_) => 0,
        }
    }

    /// Whether the leases of the slot are asked back.
    #[inline]
    pub(crate) fn is_revoked(&self) -> bool {
        self.state.load(Ordering::Relaxed) & REVOKED != 0
    }
}

impl<M> Default for Slot<M> {
    fn default() -> Self {
        Self::new()
    }
}
