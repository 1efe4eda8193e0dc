//! A ring between the program and interrupts that come in the middle of whatever it does.

use crate::board::{self, wait};
use camwire::capture::{
    Follow, FrameGrant, FramePublisher, FrameReader, FrameRing, FrameRingMemory, Policy,
};
use camwire::frame::FrameInfo;
use core::cell::RefCell;
use core::time::Duration;
use critical_section::Mutex;
use static_cell::{ConstStaticCell, StaticCell};

type Ring = &'static FrameRing<'static>;

/// What interrupts work with.
type Shared<T> = Mutex<RefCell<Option<T>>>;
static RING: Shared<Ring> = Mutex::new(RefCell::new(None));
static PUBLISHER: Shared<FramePublisher<'static>> = Mutex::new(RefCell::new(None));
static READER: Shared<FrameReader<'static>> = Mutex::new(RefCell::new(None));
static GRANT: Shared<FrameGrant<'static>> = Mutex::new(RefCell::new(None));

pub fn a_reader_in_an_interrupt() {
    /// The number that comes after what was read and what was missed.
    static NEXT: Shared<u64> = Mutex::new(RefCell::new(None));
    fn read() {
        let Ok(picture) = with(&READER, |reader| reader.try_latest().map(examine)) else { return };
        let (number, missed) = picture;
        let next = replace(&NEXT, number + 1).unwrap_or(number);
        assert_eq!(next + missed, number);
    }
    let ring = ring();
    let mut publisher = ring.publisher().unwrap();
    replace(&READER, ring.subscribe(Follow::Live).unwrap());
    let mut published = 0;
    interrupted_everywhere(read, || published = publish(&mut publisher));
    read();
    assert_eq!(take(&NEXT), Some(published + 1));
}

pub fn a_publisher_in_an_interrupt() {
    let ring = ring();
    replace(&PUBLISHER, ring.publisher().unwrap());
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    let mut last = 0;
    // So many that only a picture that is leased stays of those that were there.
    let replace_all = || (0..SLOTS).for_each(|_| _ = with(&PUBLISHER, publish));
    interrupted_everywhere(replace_all, || {
        if let Ok(picture) = reader.try_next() {
            let (number, missed) = examine(picture);
            assert_eq!(number, last + 1 + missed);
            last = number;
        }
    });
}

pub fn a_grant_dropped_in_an_interrupt() {
    let mut publisher = ring().publisher().unwrap();
    let give_back = || drop(take(&GRANT));
    interrupted_everywhere(give_back, || {
        let grant = publisher.try_grant().unwrap();
        replace(&GRANT, publisher.try_grant().unwrap());
        publisher.commit(grant, 0, FrameInfo::default()).unwrap();
    });
    drop(take(&GRANT));
    publisher.clear();
    let all = [(); SLOTS].map(|()| publisher.try_grant());
    assert!(all.iter().all(Result::is_ok), "a slot was lost");
}

pub fn readers_that_come_and_go_in_an_interrupt() {
    fn come_and_go() {
        let mut reader = with(&RING, |ring| ring.subscribe(Follow::Ordered)).unwrap();
        _ = reader.try_next().map(examine);
    }
    let ring = ring();
    replace(&RING, ring);
    let mut publisher = ring.publisher().unwrap();
    interrupted_everywhere(come_and_go, || _ = publish(&mut publisher));
    assert_eq!(ring.readers(), 0);
}

pub fn a_wait_that_an_interrupt_ends() {
    let ring = ring();
    replace(&PUBLISHER, ring.publisher().unwrap());
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    let publish = || _ = with(&PUBLISHER, publish);
    let mut last = 0;
    interrupted_everywhere(publish, || {
        let (number, missed) = wait(async { reader.next().await.map(examine) }).unwrap();
        assert_eq!((number, missed), (last + 1, 0));
        last = number;
    });
}

pub fn a_demand_that_comes_in_an_interrupt() {
    fn come() {
        replace(&READER, with(&RING, |ring| ring.subscribe(Follow::Live)).unwrap());
    }
    let ring = ring();
    replace(&RING, ring);
    let mut publisher = ring.publisher().unwrap();
    interrupted_everywhere(come, || {
        wait(publisher.demand());
        drop(take(&READER));
        wait(publisher.no_demand());
    });
}

pub fn leases_grow_old_after_32_bits() {
    let mut memory = FrameRingMemory::<2, 32, 1>::new();
    let ring = memory.ring(Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    publish(&mut publisher);
    let mut lease = reader.try_next().unwrap();
    publish(&mut publisher); // Now there is no slot for a third.
    // Its age is counted in milliseconds, of which 32 bits are 49 days.
    let first_seen = Duration::from_millis((1 << 32) - 500);
    let grace = Duration::from_secs(1);
    for (after, revoked) in [(0, 0), (600, 0), (999, 0), (1001, 1)] {
        let now = first_seen + Duration::from_millis(after);
        assert_eq!(publisher.revoke_oldest(now, grace), revoked, "after {after} ms");
    }
    wait(lease.revoked());
}

const SLOTS: usize = 4;

/// With slots for all, so that nothing may be dropped.
fn ring() -> Ring {
    static MEMORY: ConstStaticCell<FrameRingMemory<SLOTS, 32, 2>> =
        ConstStaticCell::new(FrameRingMemory::new());
    static RING: StaticCell<FrameRing<'static>> = StaticCell::new();
    RING.init(MEMORY.take().ring(Policy::DropOldest))
}

/// Publishes a picture that is its number, again and again.
fn publish(publisher: &mut FramePublisher<'_>) -> u64 {
    static NUMBER: Shared<u64> = Mutex::new(RefCell::new(None));
    let number = take(&NUMBER).unwrap_or(1);
    let mut grant = publisher.try_grant().unwrap();
    for bytes in grant.chunks_exact_mut(8) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    let info = FrameInfo { len: grant.len(), ..FrameInfo::default() };
    assert_eq!(publisher.commit(grant, info.len, info).unwrap(), number);
    replace(&NUMBER, number + 1);
    number
}

/// The number of such a picture, and how many were missed before it.
fn examine(picture: camwire::capture::FrameLease<'_, '_>) -> (u64, u64) {
    let number = picture.sequence();
    for bytes in picture.chunks_exact(8) {
        assert_eq!(bytes, number.to_le_bytes());
    }
    (number, picture.missed())
}

/// Does it again and again, each time with an interrupt two instructions earlier.
fn interrupted_everywhere(handler: fn(), mut operation: impl FnMut()) {
    // With `-icount shift=0`, a tick is a hundred instructions.
    const TICKS: u32 = 30;
    let mut within = 0;
    for twos in 0..TICKS * 100 / 2 {
        board::interrupt_in(TICKS, handler);
        riscv::asm::delay(2 * twos);
        let before = board::was_interrupted();
        operation();
        within += u32::from(board::was_interrupted() && !before);
        while !board::was_interrupted() {}
    }
    assert!(within > 100, "only {within} interrupts came in the middle");
}

fn with<T, R>(shared: &Shared<T>, work: impl FnOnce(&mut T) -> R) -> R {
    critical_section::with(|cs| work(shared.borrow_ref_mut(cs).as_mut().unwrap()))
}

fn take<T>(shared: &Shared<T>) -> Option<T> {
    critical_section::with(|cs| shared.borrow_ref_mut(cs).take())
}

fn replace<T>(shared: &Shared<T>, value: T) -> Option<T> {
    critical_section::with(|cs| shared.borrow_ref_mut(cs).replace(value))
}
