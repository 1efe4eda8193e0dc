//! Memory that the network card shares, for the virtio-drivers crate.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use portable_atomic::{AtomicUsize, Ordering};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Two for each of the card's two queues.
const PAGES: usize = 4;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u8; PAGE_SIZE]; PAGES]>);

// SAFETY: each page is given out once, and used by whoever has it.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([[0; PAGE_SIZE]; PAGES]));
static GIVEN: AtomicUsize = AtomicUsize::new(0);

/// Addresses are the same for the processor and for devices here, and there is no cache.
pub struct Dma;

// SAFETY: pages are aligned, zero, and given out once. Nothing is moved or copied.
unsafe impl Hal for Dma {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = GIVEN.fetch_add(pages, Ordering::Relaxed);
        assert!(first + pages <= PAGES, "no more pages for the network card");
        // SAFETY: these pages lie in the pool, as was just checked.
        let page = unsafe { NonNull::from(&POOL).cast::<u8>().add(first * PAGE_SIZE) };
        (page.as_ptr() as PhysAddr, page)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        panic!("the network card is for ever")
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).expect("no device is at zero")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
