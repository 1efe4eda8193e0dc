use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::ring::{Policy, ReaderSlot, Ring};
use crate::slot::Slot;

/// Each slot's bytes begin on a multiple of this many bytes, so that a DMA engine can write into them
/// and no line of a data cache is shared between two slots, or with anything else.
///
/// It is the longest line of the caches of common microcontrollers: 32 bytes on Cortex-M7 and
/// ESP32-S3, 64 on ESP32-P4.
pub const SLOT_ALIGN: usize = 64;

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
    /// Fewer bytes than [`SLOT_ALIGN`] for a slot, or more than can be addressed.
    #[error("a slot has at least 64 bytes, and all together fit into memory")]
    Bytes,
}

impl MemoryError {
    pub(crate) const fn check(slots: usize, readers: usize) -> Result<(), Self> {
        if slots < 2 || slots > MAX_SLOTS {
            return Err(Self::Slots);
        }
        if readers > MAX_READERS {
            return Err(Self::Readers);
        }
        Ok(())
    }
}

/// Memory that is divided among the slots: each has `stride` bytes from `start` on, a multiple of
/// [`SLOT_ALIGN`], of which it uses the first `slot_bytes`.
#[derive(Debug)]
pub(crate) struct Region<'m> {
    pub(crate) start: NonNull<u8>,
    pub(crate) stride: usize,
    pub(crate) slot_bytes: usize,
    memory: PhantomData<&'m mut [u8]>,
}

impl<'m> Region<'m> {
    /// As much for each slot as there is.
    pub(crate) fn divide(bytes: &'m mut [u8], slots: usize) -> Result<Self, MemoryError> {
        let is_empty = bytes.is_empty();
        // What lies before the first multiple of the alignment; if that is all, nothing is left.
        let before = bytes.as_ptr().addr().wrapping_neg() % SLOT_ALIGN;
        let bytes = bytes.get_mut(before..).unwrap_or_default();
        let stride = bytes.len().checked_div(slots).unwrap_or_default() / SLOT_ALIGN * SLOT_ALIGN;
        if stride == 0 && !is_empty {
            return Err(MemoryError::Bytes);
        }
        let start = NonNull::from(bytes).cast();
        Ok(Self { start, stride, slot_bytes: stride, memory: PhantomData })
    }

    /// How many bytes [`divide`](Self::divide) needs, wherever they lie, for slots of this size.
    #[cfg(feature = "alloc")]
    pub(crate) fn bytes_for(slots: usize, slot_bytes: usize) -> Option<usize> {
        let stride = slot_bytes.checked_next_multiple_of(SLOT_ALIGN)?;
        let bytes = slots.checked_mul(stride)?;
        let bytes = if bytes == 0 { 0 } else { bytes.checked_add(SLOT_ALIGN - 1)? };
        isize::try_from(bytes).is_ok().then_some(bytes)
    }

    /// With only so many of a slot's bytes used.
    #[cfg(feature = "alloc")]
    pub(crate) fn with_slot_bytes(self, slot_bytes: usize) -> Self {
        Self { slot_bytes: self.slot_bytes.min(slot_bytes), ..self }
    }
}

/// The bytes of one slot.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct SlotBytes<const N: usize>([u8; N]);

const _: () = assert!(align_of::<SlotBytes<1>>() == SLOT_ALIGN);

/// All the memory of a ring, for a box or the stack: `SLOTS` items of at most `SLOT_BYTES` bytes each,
/// and `READERS` readers at once. For a `static` there is [`StaticRing`].
///
/// Each slot takes a multiple of [`SLOT_ALIGN`] bytes.
pub struct RingMemory<
    const SLOTS: usize,
    const SLOT_BYTES: usize,
    const READERS: usize,
    M: Copy = (),
> {
    slots: [Slot<M>; SLOTS],
    readers: [ReaderSlot; READERS],
    bytes: [SlotBytes<SLOT_BYTES>; SLOTS],
}

impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize, M: Copy>
    RingMemory<SLOTS, SLOT_BYTES, READERS, M>
{
    const FITS: () = assert!(
        MemoryError::check(SLOTS, READERS).is_ok(),
        "a ring has from 2 to 32768 slots and at most 65535 readers"
    );

    /// Memory for a ring. It is zero, so a `static` of it takes no flash.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::FITS;
        Self {
            slots: [const { Slot::new() }; SLOTS],
            readers: [const { ReaderSlot::new() }; READERS],
            bytes: [SlotBytes([0; SLOT_BYTES]); SLOTS],
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
            bytes: [SlotBytes([0; SLOT_BYTES]); SLOTS],
        }
    }

    /// A ring in this memory. One may follow the other; each begins empty.
    pub fn ring(&mut self, policy: Policy) -> Ring<'_, M> {
        self.slots.fill_with(Slot::new);
        self.readers.fill_with(ReaderSlot::new);
        self.first_ring(policy)
    }

    /// A ring in memory that is as new.
    fn first_ring(&mut self, policy: Policy) -> Ring<'_, M> {
        let region = Region {
            start: NonNull::from(&mut self.bytes).cast(),
            stride: size_of::<SlotBytes<SLOT_BYTES>>(),
            slot_bytes: SLOT_BYTES,
            memory: PhantomData,
        };
        Ring::from_parts(&self.slots, &self.readers, region, policy)
    }
}

impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize, M: Copy> Default
    for RingMemory<SLOTS, SLOT_BYTES, READERS, M>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize, M: Copy> fmt::Debug
    for RingMemory<SLOTS, SLOT_BYTES, READERS, M>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").finish_non_exhaustive()
    }
}

#[cfg(not(loom))]
pub use in_static::StaticRing;

#[cfg(not(loom))]
mod in_static {
    use core::cell::UnsafeCell;
    use core::fmt;
    use core::mem::MaybeUninit;

    use super::RingMemory;
    use crate::ring::{Policy, Ring};
    use crate::sync::{AtomicBool, Ordering};

    /// A ring and all its memory in one `static`, which takes no flash.
    ///
    /// ```
    /// use camwire_ring::{Follow, Policy, StaticRing};
    ///
    /// // 4 items of up to 8 KiB, 3 readers, each item with its time stamp.
    /// static RING: StaticRing<4, 8192, 3, u64> = StaticRing::new();
    ///
    /// let ring = RING.take(Policy::DropOldest).expect("taken once");
    /// let mut reader = ring.subscribe(Follow::Live)?;
    /// # assert!(reader.try_next().is_err());
    /// assert!(RING.take(Policy::DropOldest).is_none());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub struct StaticRing<
        const SLOTS: usize,
        const SLOT_BYTES: usize,
        const READERS: usize,
        M: Copy + 'static = (),
    > {
        is_taken: AtomicBool,
        memory: UnsafeCell<RingMemory<SLOTS, SLOT_BYTES, READERS, M>>,
        ring: UnsafeCell<MaybeUninit<Ring<'static, M>>>,
    }

    // SAFETY: `memory` and `ring` are touched only by the one call of `take` that has changed
    // `is_taken`. After it others have what that call returns: a shared ring, which is Sync itself
    // with these bounds.
    unsafe impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize, M> Sync
        for StaticRing<SLOTS, SLOT_BYTES, READERS, M>
    where
        M: Copy + Send + Sync + 'static,
    {
    }

    impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize, M: Copy + 'static>
        StaticRing<SLOTS, SLOT_BYTES, READERS, M>
    {
        /// A ring that nobody has taken yet.
        #[must_use]
        pub const fn new() -> Self {
            Self {
                is_taken: AtomicBool::new(false),
                memory: UnsafeCell::new(RingMemory::new()),
                ring: UnsafeCell::new(MaybeUninit::uninit()),
            }
        }

        /// The ring, for the first who asks; `None` for everyone else.
        pub fn take(&'static self, policy: Policy) -> Option<&'static Ring<'static, M>> {
            if self.is_taken.swap(true, Ordering::Relaxed) {
                return None;
            }
            // SAFETY: this is the only call that comes here, so these are the only references to
            // `memory` and `ring`, now and for ever.
            let (memory, ring) = unsafe { (&mut *self.memory.get(), &mut *self.ring.get()) };
            Some(ring.write(memory.first_ring(policy)))
        }
    }

    impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize, M: Copy + 'static>
        Default for StaticRing<SLOTS, SLOT_BYTES, READERS, M>
    {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize, M: Copy + 'static>
        fmt::Debug for StaticRing<SLOTS, SLOT_BYTES, READERS, M>
    {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("StaticRing").field("is_taken", &self.is_taken).finish_non_exhaustive()
        }
    }
}
