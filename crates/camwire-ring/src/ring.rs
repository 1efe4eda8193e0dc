use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::life::Life;
use crate::memory::{MemoryError, Region};
use crate::slot::{Released, Slot, const_unless_loom};
use crate::sync::{AtomicBool, AtomicU32, Halves, Ordering, fence};
use crate::waker::{Event, WakerCell};

/// What becomes of items when the ring is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The oldest item makes room for the new one: the live view.
    #[default]
    DropOldest,
    /// The new item is dropped while the oldest has been taken by nobody: keeps the beginning.
    ///
    /// A item makes room once any reader has taken it or passed it by, so a stalled reader
    /// does not stop the others.
    DropNewest,
    /// Nothing is dropped: the publisher waits until the slowest
    /// [`Follow::Ordered`] reader has taken the oldest item.
    KeepAll,
}

/// Whether a reader holds the publisher back under [`Policy::KeepAll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It wants what is new, and never holds anyone back.
    Live,
    /// It wants every item in order; under [`Policy::KeepAll`] the publisher waits for it.
    Ordered,
}

/// The bookkeeping of one reader of a [`Ring`].
#[derive(Debug)]
pub struct ReaderSlot {
    /// [`VACANT`], [`LIVE`] or [`ORDERED`].
    pub(crate) kind: AtomicU32,
    /// The first position that this reader is not done with; read by the publisher if ORDERED.
    pub(crate) cursor: AtomicU32,
    pub(crate) waker: WakerCell,
}

pub(crate) const VACANT: u32 = 0;
pub(crate) const LIVE: u32 = 1;
pub(crate) const ORDERED: u32 = 2;

impl ReaderSlot {
    const_unless_loom! {
        /// A place for a reader.
        #[must_use]
        pub fn new() -> Self {
            Self {
                kind: AtomicU32::new(VACANT),
                cursor: AtomicU32::new(0),
                waker: WakerCell::new(),
            }
        }
    }
}

impl Default for ReaderSlot {
    fn default() -> Self {
        Self::new()
    }
}

/// A ring of items in fixed memory: one [`Publisher`](crate::Publisher), many
/// [`Reader`](crate::Reader)s, no copies.
///
/// An item is bytes of any number up to [`slot_bytes`](Self::slot_bytes), and a value of the type
/// `M`, the metadata, that says what the bytes are: a time stamp, a format, a size. `M` is small and
/// `Copy`, and `()` where the bytes say it all.
///
/// See the [crate's documentation](crate) for the contract.
#[derive(Debug)]
pub struct Ring<'m, M: Copy = ()> {
    pub(crate) slots: &'m [Slot<M>],
    pub(crate) readers: &'m [ReaderSlot],
    bytes: NonNull<u8>,
    /// From the start of one slot's bytes to that of the next.
    stride: usize,
    /// At most `stride`.
    slot_bytes: usize,
    policy: Policy,
    /// Places in the table of positions, less one; see [`Slot::order`].
    order_mask: u32,

    /// Positions count committed items, wrapping around. The ring offers those from `tail` up
    /// to, not including, `head`. Written by the publisher only.
    pub(crate) head: AtomicU32,
    pub(crate) tail: AtomicU32,
    /// Under DropNewest, the position up to which some reader has taken or passed by.
    pub(crate) passed: AtomicU32,
    /// Items that were dropped because there was no slot for them.
    pub(crate) dropped: AtomicU32,

    /// The sequence number of the next item; the publisher's.
    pub(crate) next_sequence: Halves,

    /// Whether a reader may be waiting for an item. So with many readers that do not wait, a commit
    /// need not look at each.
    pub(crate) awaits_item: AtomicBool,

    /// Readers there are, and one more than the highest place ever taken by one.
    pub(crate) reader_count: AtomicU32,
    pub(crate) reader_places: AtomicU32,

    pub(crate) life: Life,
    pub(crate) publisher_waker: WakerCell,

    memory: PhantomData<&'m mut [u8]>,
}

// SAFETY: the one field that is not Send and Sync already is `bytes`. It is exclusively the ring's
// for 'm (it was made from a `&'m mut [u8]`), and each slot of it is reached only through a grant,
// which is alone, or leases, which only read; `Slot` keeps the two apart across threads. The bounds
// are those of `Slot`.
unsafe impl<M: Copy + Send + Sync> Send for Ring<'_, M> {}
// SAFETY: as above.
unsafe impl<M: Copy + Send + Sync> Sync for Ring<'_, M> {}

impl<'m, M: Copy> Ring<'m, M> {
    /// A ring in the memory given, for instance with the items' bytes in PSRAM and the rest in fast
    /// memory. `bytes` is divided evenly among `slots`, of which each begins on a multiple of
    /// [`SLOT_ALIGN`]; what is left over at both ends is not used. `readers` is how many there can be
    /// at once.
    ///
    /// With `bytes` empty, items have metadata only.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Slots`] and [`MemoryError::Readers`] if there are too few or too many of those,
    /// [`MemoryError::Bytes`] if a slot would have fewer than [`SLOT_ALIGN`] bytes, but some.
    ///
    /// ```
    /// use camwire_ring::{Policy, ReaderSlot, Ring, SLOT_ALIGN, Slot};
    ///
    /// let mut slots = [const { Slot::new() }; 3];
    /// let mut readers = [const { ReaderSlot::new() }; 2];
    /// let mut bytes = vec![0; 100_000]; // in PSRAM
    /// let ring = Ring::<u64>::new(&mut slots, &mut readers, &mut bytes, Policy::DropOldest)?;
    /// assert_eq!(ring.slot_bytes() % SLOT_ALIGN, 0);
    /// assert!(ring.slot_bytes() > 100_000 / 3 - 2 * SLOT_ALIGN);
    /// # Ok::<_, camwire_ring::MemoryError>(())
    /// ```
    ///
    /// [`SLOT_ALIGN`]: crate::SLOT_ALIGN
    pub fn new(
        slots: &'m mut [Slot<M>],
        readers: &'m mut [ReaderSlot],
        bytes: &'m mut [u8],
        policy: Policy,
    ) -> Result<Self, MemoryError> {
        MemoryError::check(slots.len(), readers.len())?;
        let region = Region::divide(bytes, slots.len())?;
        slots.fill_with(Slot::new);
        readers.fill_with(ReaderSlot::new);
        Ok(Self::from_parts(slots, readers, region, policy))
    }

    /// A ring in memory from the heap that lives as long as the program: `slots` items of at most
    /// `slot_bytes` bytes, `readers` readers at once. Each slot begins on a multiple of
    /// [`SLOT_ALIGN`](crate::SLOT_ALIGN).
    ///
    /// # Errors
    ///
    /// [`MemoryError::Slots`] and [`MemoryError::Readers`] if those are too few or too many,
    /// [`MemoryError::Bytes`] if there is no memory of that size. Then nothing is allocated.
    #[cfg(feature = "alloc")]
    pub fn leak(
        slots: usize,
        slot_bytes: usize,
        readers: usize,
        policy: Policy,
    ) -> Result<&'static Ring<'static, M>, MemoryError>
    where
        M: 'static,
    {
        use alloc::{boxed::Box, vec, vec::Vec};
        // Before anything is allocated, since what is leaked cannot be given back.
        MemoryError::check(slots, readers)?;
        let bytes = Region::bytes_for(slots, slot_bytes).ok_or(MemoryError::Bytes)?;
        // From the system as zeros, so pages that no item has reached yet take no memory.
        let region = Region::divide(vec![0; bytes].leak(), slots)?.with_slot_bytes(slot_bytes);
        Ok(Box::leak(Box::new(Ring::from_parts(
            (0..slots).map(|_| Slot::new()).collect::<Vec<_>>().leak(),
            (0..readers).map(|_| ReaderSlot::new()).collect::<Vec<_>>().leak(),
            region,
            policy,
        ))))
    }

    pub(crate) fn from_parts(
        slots: &'m [Slot<M>],
        readers: &'m [ReaderSlot],
        region: Region<'m>,
        policy: Policy,
    ) -> Self {
        let start = START_POSITION;
        Self {
            slots,
            readers,
            bytes: region.start,
            stride: region.stride,
            slot_bytes: region.slot_bytes,
            policy,
            order_mask: slots.len().next_power_of_two() as u32 - 1,
            head: AtomicU32::new(start),
            tail: AtomicU32::new(start),
            passed: AtomicU32::new(start),
            dropped: AtomicU32::new(0),
            next_sequence: Halves::new(1),
            awaits_item: AtomicBool::new(false),
            reader_count: AtomicU32::new(0),
            reader_places: AtomicU32::new(0),
            life: Life::new(),
            publisher_waker: WakerCell::new(),
            memory: PhantomData,
        }
    }

    /// Closes the ring for good: readers get what it still offers, then the end of the stream; a
    /// publisher publishes nothing more, and no other comes. For the end of a program in which
    /// publishers come and go.
    ///
    /// It ends no wait of a publisher.
    pub fn close(&self) {
        self.life.close();
        self.wake_readers_for_item();
    }

    /// Wakes the readers that wait for an item, or for the end of the stream: the caller has made
    /// that happen.
    ///
    /// A reader registers its waker, sets the flag, fences, and looks again for an item. Here the item
    /// is published, then comes a fence, then the flag is looked at. One of the two sees the other, as
    /// in [`WakerCell`]. Both change the flag in one step that reads it, too, so who finds it set finds
    /// the wakers of all that have set it since it was cleared.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn wake_readers_for_item(&self) {
        fence(Ordering::SeqCst);
        if self.awaits_item.load(Ordering::Relaxed) {
            self.awaits_item.swap(false, Ordering::AcqRel);
            self.wake_readers(Event::ITEM);
        }
    }

    /// Wakes the readers that wait for `event`, which the caller has made happen.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn wake_readers(&self, event: Event) {
        fence(Ordering::SeqCst);
        for reader in self.reader_slots() {
            reader.waker.wake(event);
        }
    }

    /// Whether there is a publisher.
    #[must_use]
    pub fn has_publisher(&self) -> bool {
        self.life.has_publisher()
    }

    /// Whether the stream has ended, so that no more items come after those that the ring still
    /// offers, unless another publisher begins another stream.
    ///
    /// Of the stream that a reader follows, [`Reader::has_ended`](crate::Reader::has_ended) says it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.life.has_ended()
    }

    /// The overflow policy.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Bytes of the largest item that fits.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// How many slots it has.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// How many readers there are now: the demand.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.reader_count.load(Ordering::Relaxed) as usize
    }

    /// How many items were dropped because there was no slot for them (wraps around at 2^32).
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The bytes of a slot, as a grant or a lease of it may use them: `slot_bytes` of them.
    pub(crate) fn bytes_of(&self, slot: u32) -> NonNull<u8> {
        debug_assert!((slot as usize) < self.slots.len());
        // SAFETY: `slot` is below the number of slots, and the memory has a stride for each of them
        // (see `Region`), so the result and a stride from there lie in it.
        unsafe { self.bytes.add((slot as usize).wrapping_mul(self.stride)) }
    }

    /// The slots with their numbers.
    pub(crate) fn numbered_slots(&self) -> impl Iterator<Item = (u32, &'m Slot<M>)> + use<'m, M> {
        // A range with an end, since counting without one could overflow.
        (0..u32::MAX).zip(self.slots)
    }

    /// The place in the table of positions for `position`.
    #[inline]
    fn order(&self, position: u32) -> Option<&AtomicU32> {
        let place = (position & self.order_mask) as usize;
        // Always in bounds: the mask is below twice the number of slots.
        self.slots.get(place / 2)?.order.get(place % 2)
    }

    /// Notes that the item at `position` is in `slot`. Publisher only.
    pub(crate) fn set_order(&self, position: u32, slot: u32) {
        if let Some(place) = self.order(position) {
            place.store((position << 16) | slot, Ordering::Relaxed);
        }
    }

    /// The slot of the item at `position`, unless that is long gone.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn slot_at(&self, position: u32) -> Option<u32> {
        let entry = self.order(position)?.load(Ordering::Relaxed);
        (entry >> 16 == position & 0xffff).then_some(entry & 0xffff)
    }

    /// Leases the item at `position`, if the ring still offers it, and says where it is.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn lease(&self, position: u32) -> Option<(u32, &'m Slot<M>)> {
        let number = self.slot_at(position)?;
        let slot = self.slots.get(number as usize)?;
        slot.lease(position).then_some((number, slot))
    }

    /// Ends a lease.
    #[inline]
    pub(crate) fn release(&self, slot: &Slot<M>) {
        match slot.release() {
            Released::Leased => {}
            // The publisher never waits for an item that it may withdraw.
            Released::Held if self.policy == Policy::DropOldest => {}
            Released::Held | Released::Free => self.wake_publisher(Event::SLOT),
        }
    }

    /// Wakes the publisher if it waits for `event`, which the caller has made happen.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn wake_publisher(&self, event: Event) {
        fence(Ordering::SeqCst);
        self.publisher_waker.wake(event);
    }

    /// The places that readers have or had.
    pub(crate) fn reader_slots(&self) -> &[ReaderSlot] {
        let places = self.reader_places.load(Ordering::Relaxed) as usize;
        self.readers.get(..places).unwrap_or(self.readers)
    }
}

/// Where positions start: shortly before they wrap around, so that every program that runs for a
/// minute has tested that they may.
const START_POSITION: u32 = 0u32.wrapping_sub(100);

/// Whether position `a` comes after `b`, when they are less than 2^31 apart.
pub(crate) fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}
