use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::life::Life;
use crate::slot::{Released, Slot, const_unless_loom};
use crate::sync::{AtomicU32, Halves, Ordering, fence};
use crate::waker::{Event, WakerCell};

/// What becomes of pictures when the ring is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The oldest picture makes room for the new one: the live view.
    #[default]
    DropOldest,
    /// The new picture is dropped while the oldest has been taken by nobody: keeps the beginning.
    ///
    /// A picture makes room once any reader has taken it or passed it by, so a stalled reader
    /// does not stop the others.
    DropNewest,
    /// Nothing is dropped: the publisher waits until the slowest
    /// [`Follow::Ordered`] reader has taken the oldest picture.
    KeepAll,
}

/// Whether a reader holds the publisher back under [`Policy::KeepAll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It wants what is new, and never holds anyone back.
    Live,
    /// It wants every picture in order; under [`Policy::KeepAll`] the publisher waits for it.
    Ordered,
}

/// The bookkeeping of one reader of a [`FrameRing`].
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

/// All the memory of a ring, for a `static` or a box: `SLOTS` pictures of at most `SLOT_BYTES`
/// bytes each, and `READERS` readers at once.
///
/// It is zero before use, so a `static` of it costs no flash.
#[derive(Debug)]
pub struct RingMemory<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize> {
    slots: [Slot; SLOTS],
    readers: [ReaderSlot; READERS],
    pictures: [[u8; SLOT_BYTES]; SLOTS],
}

impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize>
    RingMemory<SLOTS, SLOT_BYTES, READERS>
{
    const FITS: () = assert!(
        MemoryError::check(SLOTS, READERS).is_ok(),
        "a ring has from 2 to 32768 slots and at most 65535 readers"
    );

    /// Memory for a ring.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::FITS;
        Self {
            slots: [const { Slot::new() }; SLOTS],
            readers: [const { ReaderSlot::new() }; READERS],
            pictures: [[0; SLOT_BYTES]; SLOTS],
        }
    }

    /// Memory for a ring.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        let () = Self::FITS;
        Self {
            slots: core::array::from_fn(|_| Slot::new()),
            readers: core::array::from_fn(|_| ReaderSlot::new()),
            pictures: [[0; SLOT_BYTES]; SLOTS],
        }
    }

    /// A ring in this memory.
    pub fn ring(&mut self, policy: Policy) -> FrameRing<'_> {
        // A memory may be used for one ring after another; what the last one left is wiped.
        self.slots.fill_with(Slot::new);
        self.readers.fill_with(ReaderSlot::new);
        FrameRing::from_parts(
            &self.slots,
            &self.readers,
            self.pictures.as_flattened_mut(),
            SLOT_BYTES,
            policy,
        )
    }
}

impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize> Default
    for RingMemory<SLOTS, SLOT_BYTES, READERS>
{
    fn default() -> Self {
        Self::new()
    }
}

const MAX_SLOTS: usize = 1 << 15;
const MAX_READERS: usize = 0xffff;

/// The memory given does not make a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Fewer than 2 slots, or more than 32,768.
    #[error("a ring has from 2 to 32768 slots")]
    Slots,
    /// More than 65,535 readers.
    #[error("a ring has at most 65535 readers")]
    Readers,
    /// More bytes than can be addressed.
    #[error("the slots together are larger than any memory")]
    Bytes,
}

impl MemoryError {
    const fn check(slots: usize, readers: usize) -> Result<(), Self> {
        if slots < 2 || slots > MAX_SLOTS {
            return Err(Self::Slots);
        }
        if readers > MAX_READERS {
            return Err(Self::Readers);
        }
        Ok(())
    }
}

/// A ring of pictures in fixed memory: one [`Publisher`](crate::Publisher), many
/// [`Reader`](crate::Reader)s, no copies.
///
/// See the [crate's documentation](crate) for the contract.
#[derive(Debug)]
pub struct FrameRing<'m> {
    pub(crate) slots: &'m [Slot],
    pub(crate) readers: &'m [ReaderSlot],
    pictures: NonNull<u8>,
    slot_bytes: usize,
    policy: Policy,
    /// Places in the table of positions, less one; see [`Slot::order`].
    order_mask: u32,

    /// Positions count committed pictures, wrapping around. The ring offers those from `tail` up
    /// to, not including, `head`. Written by the publisher only.
    pub(crate) head: AtomicU32,
    pub(crate) tail: AtomicU32,
    /// Under DropNewest, the position up to which some reader has taken or passed by.
    pub(crate) passed: AtomicU32,
    /// Pictures that were dropped because there was no slot for them.
    pub(crate) dropped: AtomicU32,

    /// The sequence number of the next picture; the publisher's.
    pub(crate) next_sequence: Halves,

    /// Readers there are, and one more than the highest place ever taken by one.
    pub(crate) reader_count: AtomicU32,
    pub(crate) reader_places: AtomicU32,

    pub(crate) life: Life,
    pub(crate) publisher_waker: WakerCell,

    memory: PhantomData<&'m mut [u8]>,
}

// SAFETY: the one field that is not Send and Sync already is `pictures`. It is exclusively the
// ring's for 'm (it was made from a `&'m mut [u8]`), and each slot of it is reached only through a
// grant, which is alone, or leases, which only read; `Slot` keeps the two apart across threads.
unsafe impl Send for FrameRing<'_> {}
// SAFETY: as above.
unsafe impl Sync for FrameRing<'_> {}

impl<'m> FrameRing<'m> {
    /// A ring in the memory given, for instance with the pictures in PSRAM and the rest in fast
    /// memory. All of `pictures` is divided evenly among `slots`; `readers` is how many there can
    /// be at once.
    ///
    /// # Errors
    ///
    /// As [`MemoryError`] says.
    pub fn new(
        slots: &'m mut [Slot],
        readers: &'m mut [ReaderSlot],
        pictures: &'m mut [u8],
        policy: Policy,
    ) -> Result<Self, MemoryError> {
        MemoryError::check(slots.len(), readers.len())?;
        slots.fill_with(Slot::new);
        readers.fill_with(ReaderSlot::new);
        // That there is a slot has been checked; the compiler does not see it.
        let slot_bytes = pictures.len().checked_div(slots.len()).unwrap_or_default();
        Ok(Self::from_parts(slots, readers, pictures, slot_bytes, policy))
    }

    /// A ring in memory from the heap that lives as long as the program: `slots` pictures of at
    /// most `slot_bytes` bytes, `readers` readers at once.
    ///
    /// # Errors
    ///
    /// As [`MemoryError`] says.
    ///
    #[cfg(feature = "alloc")]
    pub fn leak(
        slots: usize,
        slot_bytes: usize,
        readers: usize,
        policy: Policy,
    ) -> Result<&'static FrameRing<'static>, MemoryError> {
        use alloc::{boxed::Box, vec, vec::Vec};
        // Before anything is allocated, since what is leaked cannot be given back.
        MemoryError::check(slots, readers)?;
        let bytes = slots.checked_mul(slot_bytes).filter(|bytes| isize::try_from(*bytes).is_ok());
        let bytes = bytes.ok_or(MemoryError::Bytes)?;
        let ring = FrameRing::new(
            (0..slots).map(|_| Slot::new()).collect::<Vec<_>>().leak(),
            (0..readers).map(|_| ReaderSlot::new()).collect::<Vec<_>>().leak(),
            vec![0; bytes].leak(),
            policy,
        )?;
        Ok(Box::leak(Box::new(ring)))
    }

    fn from_parts(
        slots: &'m [Slot],
        readers: &'m [ReaderSlot],
        pictures: &'m mut [u8],
        slot_bytes: usize,
        policy: Policy,
    ) -> Self {
        let start = START_POSITION;
        Self {
            slots,
            readers,
            pictures: NonNull::from(pictures).cast(),
            slot_bytes,
            policy,
            order_mask: slots.len().next_power_of_two() as u32 - 1,
            head: AtomicU32::new(start),
            tail: AtomicU32::new(start),
            passed: AtomicU32::new(start),
            dropped: AtomicU32::new(0),
            next_sequence: Halves::new(1),
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
        self.wake_readers(Event::ITEM);
    }

    /// Wakes the readers that wait for `event`, which the caller has made happen.
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

    /// Whether the stream has ended, so that no more pictures come after those that the ring still
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

    /// Bytes of the largest picture that fits.
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

    /// How many pictures were dropped because there was no slot for them (wraps around at 2^32).
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The bytes of a slot, as a grant or a lease of it may use them.
    pub(crate) fn picture(&self, slot: u32) -> NonNull<u8> {
        debug_assert!((slot as usize) < self.slots.len());
        // SAFETY: `slot` is below the number of slots, and the memory has `slots * slot_bytes`
        // bytes (`new` divides, `RingMemory` is made so), so the result lies in it.
        unsafe { self.pictures.add((slot as usize).wrapping_mul(self.slot_bytes)) }
    }

    /// The slots with their numbers.
    pub(crate) fn numbered_slots(&self) -> impl Iterator<Item = (u32, &'m Slot)> + use<'m> {
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

    /// Notes that the picture at `position` is in `slot`. Publisher only.
    pub(crate) fn set_order(&self, position: u32, slot: u32) {
        if let Some(place) = self.order(position) {
            place.store((position << 16) | slot, Ordering::Relaxed);
        }
    }

    /// The slot of the picture at `position`, unless that is long gone.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn slot_at(&self, position: u32) -> Option<u32> {
        let entry = self.order(position)?.load(Ordering::Relaxed);
        (entry >> 16 == position & 0xffff).then_some(entry & 0xffff)
    }

    /// Leases the picture at `position`, if the ring still offers it, and says where it is.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn lease(&self, position: u32) -> Option<(u32, &'m Slot)> {
        let number = self.slot_at(position)?;
        let slot = self.slots.get(number as usize)?;
        slot.lease(position).then_some((number, slot))
    }

    /// Ends a lease.
    #[inline]
    pub(crate) fn release(&self, slot: &Slot) {
        match slot.release() {
            Released::Leased => {}
            // The publisher never waits for a picture that it may withdraw.
            Released::Held if self.policy == Policy::DropOldest => {}
            Released::Held | Released::Free => self.wake_publisher(Event::SLOT),
        }
    }

    /// Wakes the publisher if it waits for `event`, which the caller has made happen.
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
