use core::future::{Future, poll_fn};
use core::ops::Deref;
use core::task::{Context, Poll};

use crate::life::Stream;
use crate::ring::{Follow, LIVE, ORDERED, Policy, ReaderSlot, Ring, VACANT, is_after};
use crate::slot::Slot;
use crate::sync::{Ordering, fence};
use crate::waker::{Event, WakerCell};

/// Why there is no reader for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Every place for a reader is taken.
    #[error("the ring has no place for another reader")]
    TooManyReaders,
}

/// Why a reader is lent no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// There is none that it has not had: not yet, or not within the time given.
    #[error("there is no new item yet")]
    Empty,
    /// There will be none: the stream that the reader follows has ended.
    #[error("the stream has ended")]
    Ended,
}

/// One of the many ends of a [`Ring`] through which items go out.
///
/// While it lives there is demand. It follows one stream: when that has ended there is nothing more
/// for it, even if another publisher comes.
#[derive(Debug)]
pub struct Reader<'r, M: Copy = ()> {
    ring: &'r Ring<'r, M>,
    entry: &'r ReaderSlot,
    stream: Stream,
    /// Everything of the stream has been lent, or is gone.
    has_ended: bool,
    /// The position it wants next. Everything before it has been lent, or is gone for it.
    cursor: u32,
    /// The number of the last item it was lent, which stood just before the cursor; 0 for none.
    last: u64,
    /// The highest number it was lent; 0 for none.
    highest: u64,
}

/// A item lent to a reader: a borrow of its bytes in the ring, which stay as they are until
/// the lease ends.
///
/// A lease keeps its slot from the camera, so do not keep it for longer than it takes to send it.
#[derive(Debug)]
#[must_use = "a lease that is dropped at once was for nothing"]
pub struct Lease<'a, 'r, M: Copy = ()> {
    reader: &'a Reader<'r, M>,
    slot: &'r Slot<M>,
    number: u32,
    missed: u64,
}

/// Which item a reader takes of those that it has not had.
#[derive(Clone, Copy)]
enum Which {
    /// The first.
    Next,
    /// The last.
    Newest,
}

/// A lease that was taken in the ring and is not yet a [`Lease`].
struct Taken<'r, M> {
    slot: &'r Slot<M>,
    number: u32,
    missed: u64,
}

/// The way out.
impl<M: Copy> Ring<'_, M> {
    /// A new reader, which begins with the newest item, if the ring holds one.
    ///
    /// Readers that begin at the same time thus share a slot.
    ///
    /// # Errors
    ///
    /// If every place for a reader is taken.
    pub fn subscribe(&self, follow: Follow) -> Result<Reader<'_, M>, SubscribeError> {
        Reader::new(self, follow)
    }
}

impl<'r, M: Copy> Reader<'r, M> {
    fn new(ring: &'r Ring<'r, M>, follow: Follow) -> Result<Self, SubscribeError> {
        let kind = match follow {
            Follow::Live => LIVE,
            Follow::Ordered => ORDERED,
        };
        let claim = |reader: &ReaderSlot| {
            reader.kind.load(Ordering::Relaxed) == VACANT
                && reader
                    .kind
                    // LIVE at first: the cursor of the one before must hold nobody back.
                    .compare_exchange(VACANT, LIVE, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        };
        let (place, entry) = (1..u32::MAX)
            .zip(ring.readers)
            .find(|(_, entry)| claim(entry))
            .ok_or(SubscribeError::TooManyReaders)?;
        entry.cursor.store(ring.head.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
        // Release: a publisher that sees the kind sees the cursor.
        entry.kind.store(kind, Ordering::Release);
        ring.reader_places.fetch_max(place, Ordering::Relaxed);
        ring.reader_count.fetch_add(1, Ordering::Relaxed);
        // From here on the publisher either sees this reader before it withdraws anything, or has
        // published what the next line finds.
        ring.wake_publisher(Event::DEMAND);
        let stream = ring.life.stream();
        let head = ring.head.load(Ordering::Acquire);
        let tail = ring.tail.load(Ordering::Acquire);
        let cursor = if is_after(head, tail) { head.wrapping_sub(1) } else { head };
        let reader = Self { ring, entry, stream, has_ended: false, cursor, last: 0, highest: 0 };
        reader.show_done();
        Ok(reader)
    }

    /// The ring it reads from.
    #[must_use]
    pub fn ring(&self) -> &'r Ring<'r, M> {
        self.ring
    }

    /// Whether the stream that this reader follows has ended. The ring may still offer items of
    /// it that this reader has not had.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended || !self.ring.life.goes_on(self.stream)
    }

    /// Goes back to the oldest item that the ring still offers.
    ///
    /// What it was lent or missed already may be lent again; it does not count as missed again.
    ///
    /// Under [`Policy::KeepAll`] it does nothing: the publisher may just be withdrawing what this
    /// reader has passed, and the promise that it then misses none could not be kept.
    pub fn rewind(&mut self) {
        if self.ring.policy() != Policy::KeepAll {
            self.cursor = self.ring.tail.load(Ordering::Acquire);
        }
    }

    /// The next item in order: the oldest that the ring still offers and that this reader has
    /// not had.
    ///
    /// # Errors
    ///
    /// As [`LeaseError`] says.
    #[inline]
    pub fn try_next(&mut self) -> Result<Lease<'_, 'r, M>, LeaseError> {
        let taken = self.take(Which::Next)?;
        Ok(self.lend(taken))
    }

    /// The newest item, unless this reader has had it.
    ///
    /// # Errors
    ///
    /// As [`LeaseError`] says.
    #[inline]
    pub fn try_latest(&mut self) -> Result<Lease<'_, 'r, M>, LeaseError> {
        let taken = self.take(Which::Newest)?;
        Ok(self.lend(taken))
    }

    /// The next item in order, as soon as there is one; `None` when the stream has ended and
    /// nothing of it is left.
    ///
    /// Cancel-safe: a dropped wait loses no item.
    #[allow(clippy::should_implement_trait)] // An iterator does not wait.
    pub fn next(&mut self) -> impl Future<Output = Option<Lease<'_, 'r, M>>> {
        self.lend_when_taken(Which::Next)
    }

    /// The newest item, as soon as there is one that this reader has not had; `None` when the
    /// stream has ended and nothing of it is left.
    ///
    /// Cancel-safe: a dropped wait loses no item.
    pub fn latest(&mut self) -> impl Future<Output = Option<Lease<'_, 'r, M>>> {
        self.lend_when_taken(Which::Newest)
    }

    /// The item that this reader had last, once more, while the ring still offers it. It keeps
    /// its number, and misses none.
    pub fn repeat(&mut self) -> Option<Lease<'_, 'r, M>> {
        let (number, slot) = self.ring.lease(self.cursor.wrapping_sub(1))?;
        let lease = self.lend(Taken { slot, number, missed: 0 });
        (lease.sequence() == lease.reader.last).then_some(lease)
    }

    /// Leases an item of those that the ring offers and this reader has not had.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn take(&mut self, which: Which) -> Result<Taken<'r, M>, LeaseError> {
        if self.has_ended {
            return Err(LeaseError::Ended);
        }
        let ring = self.ring;
        // Before the items: what was published before the end must still be taken.
        let goes_on = ring.life.goes_on(self.stream);
        // A position from which on all is of a later stream.
        let mut later = None;
        loop {
            // The head first: the tail read after it may be past that head, never the other way.
            let head = ring.head.load(Ordering::Acquire);
            let tail = ring.tail.load(Ordering::Acquire);
            // The cursor was never past a head. If it seems to be, that head is at least 2^31
            // positions further on, and so long ago that the reader has lost its place.
            let is_lost = is_after(self.cursor, head);
            let cursor = if is_lost || is_after(tail, self.cursor) { tail } else { self.cursor };
            if is_after(cursor, head) {
                continue; // The publisher went on in between: look again.
            }
            let end = later.unwrap_or(head);
            if !is_after(end, cursor) {
                if goes_on && later.is_none() {
                    return Err(LeaseError::Empty);
                }
                self.end();
                return Err(LeaseError::Ended);
            }
            let position = match which {
                Which::Next => cursor,
                Which::Newest => end.wrapping_sub(1),
            };
            if let Some((number, slot)) = ring.lease(position) {
                let (sequence, stream) = slot.meta(|meta| (meta.sequence, meta.stream));
                if stream == self.stream {
                    let missed = self.took(position, sequence);
                    return Ok(Taken { slot, number, missed });
                }
                ring.release(slot);
                if stream.is_after(self.stream) {
                    later = Some(position);
                } else {
                    self.pass(position);
                }
                continue;
            }
            // It was withdrawn in between, so the tail has moved past it; or, which takes 65,535
            // leases of one item, it cannot be lent. Then it is missed.
            if !is_after(ring.tail.load(Ordering::Acquire), position) {
                self.pass(position);
            }
        }
    }

    /// Goes on past an item that is not for this reader.
    fn pass(&mut self, position: u32) {
        self.cursor = position.wrapping_add(1);
        self.show_done();
        self.ring.wake_publisher(Event::SLOT);
    }

    /// There is nothing more for this reader, so it holds nobody back.
    fn end(&mut self) {
        self.has_ended = true;
        self.entry.kind.store(LIVE, Ordering::Relaxed);
        self.ring.wake_publisher(Event::SLOT);
    }

    /// Goes on past the item at `position`, and says how many were missed before it.
    #[inline]
    fn took(&mut self, position: u32, sequence: u64) -> u64 {
        let missed = match self.highest {
            0 => 0,
            highest => sequence.saturating_sub(highest).saturating_sub(1),
        };
        let has_passed_others = position != self.cursor;
        self.last = sequence;
        self.highest = self.highest.max(sequence);
        self.cursor = position.wrapping_add(1);
        match self.ring.policy() {
            Policy::DropOldest => return missed,
            Policy::DropNewest => self.show_passed(),
            // With this one it is done when the lease ends.
            Policy::KeepAll => self.entry.cursor.store(position, Ordering::Relaxed),
        }
        if has_passed_others {
            // No lease of them will end, so the publisher would not hear of it otherwise.
            self.ring.wake_publisher(Event::SLOT);
        }
        missed
    }

    /// Under DropNewest, shows the publisher what was taken or passed by.
    fn show_passed(&self) {
        let mut passed = self.ring.passed.load(Ordering::Relaxed);
        while is_after(self.cursor, passed) {
            match self.ring.passed.compare_exchange_weak(
                passed,
                self.cursor,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => passed = now,
            }
        }
    }

    /// Under KeepAll, shows the publisher that this reader is done with all before its cursor.
    #[inline]
    fn show_done(&self) {
        if self.ring.policy() == Policy::KeepAll {
            self.entry.cursor.store(self.cursor, Ordering::Relaxed);
        }
    }

    fn lend_when_taken<'a>(
        &'a mut self,
        which: Which,
    ) -> impl Future<Output = Option<Lease<'a, 'r, M>>> {
        // Gone with the lease, which borrows from it.
        let mut waiting = Some(self);
        poll_fn(move |cx| {
            // Polled after its end it says nothing more.
            let Some(reader) = &mut waiting else { return Poll::Pending };
            let Poll::Ready(taken) = reader.poll_take(cx, which) else { return Poll::Pending };
            let reader = waiting.take();
            Poll::Ready(taken.and_then(|taken| Some(reader?.lend(taken))))
        })
    }

    /// `None` if the stream has ended.
    fn poll_take(&mut self, cx: &mut Context<'_>, which: Which) -> Poll<Option<Taken<'r, M>>> {
        let mut taken = self.take(which);
        if let Err(LeaseError::Empty) = taken {
            // SAFETY: the place is this reader's, which is borrowed mutably; the one before it has
            // left with Release before this one came with Acquire.
            unsafe { self.entry.waker.register(cx.waker(), Event::ITEM) };
            self.ring.awaits_item.swap(true, Ordering::AcqRel);
            fence(Ordering::SeqCst);
            taken = self.take(which);
        }
        match taken {
            Ok(taken) => Poll::Ready(Some(taken)),
            Err(LeaseError::Ended) => Poll::Ready(None),
            Err(LeaseError::Empty) => Poll::Pending,
        }
    }

    #[inline]
    fn lend(&mut self, taken: Taken<'r, M>) -> Lease<'_, 'r, M> {
        let Taken { slot, number, missed } = taken;
        Lease { reader: self, slot, number, missed }
    }
}

impl<M: Copy> Drop for Reader<'_, M> {
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn drop(&mut self) {
        // SAFETY: as in `poll_take`.
        let wakers = unsafe { self.entry.waker.clear() };
        self.entry.kind.store(VACANT, Ordering::Release);
        self.ring.reader_count.fetch_sub(1, Ordering::Relaxed);
        self.ring.wake_publisher(Event::READER_GONE);
        drop(wakers); // Last, since a waker may panic.
    }
}

impl<M: Copy> Lease<'_, '_, M> {
    /// What the publisher said of it.
    #[must_use]
    pub fn info(&self) -> M {
        self.slot.meta(|meta| meta.info)
    }

    /// The number the ring gave it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.slot.meta(|meta| meta.sequence)
    }

    /// How many items this reader missed between the last one it was lent and this one,
    /// exactly; 0 for its first.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The item's bytes, and what says whether the lease is asked back, to use both at once:
    /// for instance to send the bytes until then.
    #[must_use]
    pub fn split(&mut self) -> (&[u8], Revocation<'_, M>) {
        (&**self, Revocation { slot: self.slot, waker: &self.reader.entry.waker })
    }

    /// Whether the lease is asked back. See [`revoked`](Self::revoked).
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.slot.is_revoked()
    }

    /// Waits until the ring wants the slot back, since it has none left for new items and
    /// this lease is the oldest. See [`Publisher::revoke_oldest`](crate::Publisher::revoke_oldest).
    ///
    /// Only one task can wait, since only one would be woken. To read the bytes meanwhile, use
    /// [`split`](Self::split).
    ///
    /// Cancel-safe.
    pub fn revoked(&mut self) -> impl Future<Output = ()> {
        let mut revocation = self.split().1;
        poll_fn(move |cx| revocation.poll(cx))
    }
}

/// Whether a lease is asked back, apart from its bytes: see [`Lease::split`].
#[derive(Debug)]
pub struct Revocation<'l, M = ()> {
    slot: &'l Slot<M>,
    waker: &'l WakerCell,
}

impl<M> Revocation<'_, M> {
    /// As [`Lease::is_revoked`].
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.slot.is_revoked()
    }

    /// As [`Lease::revoked`].
    ///
    /// Cancel-safe.
    pub fn revoked(&mut self) -> impl Future<Output = ()> {
        poll_fn(|cx| self.poll(cx))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_revoked() {
            // SAFETY: the place is the reader's, which the lease borrows, so it waits for nothing
            // else; and the lease is borrowed mutably. Else as in `Reader::poll_take`.
            unsafe { self.waker.register(cx.waker(), Event::REVOCATION) };
        }
        if self.is_revoked() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<M: Copy> Deref for Lease<'_, '_, M> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.slot.is_read();
        let len = self.slot.meta(|meta| meta.len);
        // SAFETY: while this lease is out nobody writes the slot (see `slot.rs`). `bytes_of` is in
        // bounds for `slot_bytes` initialised bytes, and `commit` let no longer item in.
        unsafe { core::slice::from_raw_parts(self.reader.ring.bytes_of(self.number).as_ptr(), len) }
    }
}

impl<M: Copy> Drop for Lease<'_, '_, M> {
    fn drop(&mut self) {
        self.reader.show_done();
        self.reader.ring.release(self.slot);
    }
}

#[cfg(feature = "bytes")]
mod shared {
    use super::Lease;
    use crate::Slot;
    use crate::ring::Ring;

    /// One lease without a reader, for as long as any clone of the `Bytes` lives.
    struct Shared<M: Copy + 'static> {
        ring: &'static Ring<'static, M>,
        slot: &'static Slot<M>,
        number: u32,
        len: usize,
    }

    impl<M: Copy> AsRef<[u8]> for Shared<M> {
        fn as_ref(&self) -> &[u8] {
            // SAFETY: as for `Lease`; this is a lease of its own.
            unsafe {
                core::slice::from_raw_parts(self.ring.bytes_of(self.number).as_ptr(), self.len)
            }
        }
    }

    impl<M: Copy> Drop for Shared<M> {
        fn drop(&mut self) {
            self.ring.release(self.slot);
        }
    }

    impl<M: Copy + Send + Sync> Lease<'_, 'static, M> {
        /// The item as [`bytes::Bytes`], without a copy: it is a lease of its own, which ends
        /// with the last clone. The ring cannot ask such a lease back.
        ///
        /// `None` if 65,535 leases of this item are out.
        #[must_use]
        pub fn to_bytes(&self) -> Option<bytes::Bytes> {
            let ring = self.reader.ring;
            let (slot, number, len) = (self.slot, self.number, self.len());
            slot.lease_again().then(|| bytes::Bytes::from_owner(Shared { ring, slot, number, len }))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Publisher, RingMemory};

    fn publish(publisher: &mut Publisher<'_>) -> u64 {
        let grant = publisher.try_grant().unwrap();
        publisher.commit(grant, 0, ()).unwrap()
    }

    /// Moves a reader back, as if so many more items had been published since it last asked.
    fn move_back(reader: &mut Reader<'_>, items: u32) {
        reader.cursor = reader.cursor.wrapping_sub(items);
        reader.last = reader.last.wrapping_sub(u64::from(items));
    }

    /// However far behind a reader is, it goes on with what the ring offers.
    #[test]
    fn a_reader_far_behind_goes_on_with_what_there_is() {
        let around = |middle: u32| (0..9).map(move |n| middle.wrapping_add(n).wrapping_sub(4));
        for behind in [1, 1 << 16, 1 << 31, 0].into_iter().flat_map(around) {
            let mut memory = RingMemory::<3, 8, 2>::new();
            let ring = memory.ring(Policy::DropOldest);
            let mut publisher = ring.publisher().unwrap();
            let [mut next, mut latest] = [(); 2].map(|()| ring.subscribe(Follow::Live).unwrap());
            for _ in 0..10 {
                publish(&mut publisher);
            }
            for reader in [&mut next, &mut latest] {
                drop(reader.try_latest().unwrap());
                move_back(reader, behind);
            }
            let number = [(); 3].map(|()| publish(&mut publisher))[2];
            let newest = latest.try_latest().map(|lease| lease.sequence());
            let mut last = 0;
            while let Ok(lease) = next.try_next() {
                assert!(lease.sequence() > last && lease.sequence() > number - 3);
                last = lease.sequence();
            }
            // After 2^32 items a reader is where it was, and seems to have had these.
            if behind <= u32::MAX - 4 {
                assert_eq!((newest, last), (Ok(number), number), "{behind} behind");
            }
            assert!(latest.try_latest().is_err() && next.try_next().is_err());
            let number = publish(&mut publisher);
            for lease in [latest.try_latest(), next.try_next()] {
                assert_eq!(lease.map(|lease| lease.sequence()), Ok(number), "{behind} behind");
            }
        }
    }
}
