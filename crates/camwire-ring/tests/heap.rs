//! A ring that cannot be made keeps no memory.
#![cfg(all(not(loom), feature = "alloc"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use camwire_ring::{MemoryError, Policy, Ring};

struct Counting(AtomicUsize);

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting(AtomicUsize::new(0));

/// The only test here, so that no other allocates meanwhile.
#[test]
fn a_ring_that_cannot_be_made_keeps_no_memory() {
    let before = HEAP.0.load(Ordering::Relaxed);
    for (slots, slot_bytes, readers, expected) in [
        (1, 1000, 1, MemoryError::Slots),
        (32_769, 1, 1, MemoryError::Slots),
        (2, 1000, 65_536, MemoryError::Readers),
        (2, usize::MAX, 1, MemoryError::Bytes),
        (4, usize::MAX / 8 + 1, 1, MemoryError::Bytes),
    ] {
        let ring = Ring::<()>::leak(slots, slot_bytes, readers, Policy::DropOldest);
        assert_eq!(ring.err(), Some(expected));
        assert_eq!(HEAP.0.load(Ordering::Relaxed), before, "{expected:?}");
    }
    let ring = Ring::<()>::leak(2, 1000, 1, Policy::DropOldest).unwrap();
    assert!(HEAP.0.load(Ordering::Relaxed) >= before + 2 * ring.slot_bytes());
}
