//! The ring's types for frames: their metadata is a [`FrameInfo`].

use camwire_frame::FrameInfo;
use camwire_ring as ring;

/// A ring of frames: [`Ring`](ring::Ring) with [`FrameInfo`] as metadata.
pub type FrameRing<'m> = ring::Ring<'m, FrameInfo>;

/// The one end of a [`FrameRing`] through which frames come in.
pub type FramePublisher<'r> = ring::Publisher<'r, FrameInfo>;

/// A slot of a [`FrameRing`] to write a frame into.
pub type FrameGrant<'r> = ring::Grant<'r, FrameInfo>;

/// One of the ends of a [`FrameRing`] through which frames go out.
pub type FrameReader<'r> = ring::Reader<'r, FrameInfo>;

/// A frame in a [`FrameRing`], lent to a reader.
pub type FrameLease<'a, 'r> = ring::Lease<'a, 'r, FrameInfo>;

/// Whether a lease of a frame is asked back.
pub type FrameRevocation<'l> = ring::Revocation<'l, FrameInfo>;

/// The bookkeeping of one slot of a [`FrameRing`].
pub type FrameSlot = ring::Slot<FrameInfo>;

/// The memory of a [`FrameRing`], for a box or the stack.
pub type FrameRingMemory<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize> =
    ring::RingMemory<SLOTS, SLOT_BYTES, READERS, FrameInfo>;

/// A [`FrameRing`] and its memory in one `static`.
///
/// ```
/// use camwire_capture::{Policy, StaticFrameRing};
///
/// // 4 frames of up to 32 KiB, 3 viewers.
/// static RING: StaticFrameRing<4, 32768, 3> = StaticFrameRing::new();
///
/// let ring = RING.take(Policy::DropOldest).expect("main runs once");
/// assert_eq!((ring.slots(), ring.slot_bytes()), (4, 32768));
/// ```
#[cfg(not(loom))]
pub type StaticFrameRing<const SLOTS: usize, const SLOT_BYTES: usize, const READERS: usize> =
    ring::StaticRing<SLOTS, SLOT_BYTES, READERS, FrameInfo>;
