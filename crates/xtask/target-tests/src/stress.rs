//! Everything at once: a publisher that clears the ring, asks leases back, hands over and ends its
//! stream, a reader beside it, and interrupts at any moment that read, too, drop grants, and come and go
//! as readers.

use crate::board;
use camwire::capture::{Follow, Policy};
use camwire::ring::{Grant, Lease, Publisher, Reader, Ring, StaticRing};
use core::cell::RefCell;
use core::time::Duration;
use critical_section::Mutex;

const SLOTS: usize = 4;
const ROUNDS: u32 = 20_000;

type Tag = u64;
type Shared<T> = Mutex<RefCell<Option<T>>>;

static RING: StaticRing<SLOTS, 64, 3, Tag> = StaticRing::new();
static READER: Shared<Reader<'static, Tag>> = Mutex::new(RefCell::new(None));
static GRANT: Shared<Grant<'static, Tag>> = Mutex::new(RefCell::new(None));
static PLACE: Shared<&'static Ring<'static, Tag>> = Mutex::new(RefCell::new(None));
static DICE: Shared<u32> = Mutex::new(RefCell::new(None));
static READ: Shared<u32> = Mutex::new(RefCell::new(None));

pub fn everything_at_once_on_a_ring_that_drops_the_oldest() {
    run(Policy::DropOldest);
}

pub fn everything_at_once_on_a_ring_that_drops_the_newest() {
    run(Policy::DropNewest);
}

pub fn everything_at_once_on_a_ring_that_keeps_all() {
    run(Policy::KeepAll);
}

fn run(policy: Policy) {
    let ring = RING.take(policy).expect("there is one test in each emulator");
    replace(&PLACE, ring);
    replace(&DICE, 1);
    replace(&READ, 0);
    replace(&READER, ring.subscribe(Follow::Ordered).unwrap());
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    let (mut tag, mut published, mut read) = (0, 0u32, 0u32);
    board::interrupt_in(10, interrupt);
    for round in 0..ROUNDS {
        match roll(16) {
            0..8 => {
                if let Ok(mut grant) = publisher.try_grant() {
                    tag += 1;
                    for word in grant.as_chunks_mut::<8>().0 {
                        *word = Tag::to_le_bytes(tag);
                    }
                    published += u32::from(publisher.commit(grant, 64, tag).is_ok());
                }
            }
            8 => drop(publisher.try_grant().map(|grant| replace(&GRANT, grant))),
            9 => publisher.clear(),
            10 => publisher.skip(),
            11 => {
                let now = Duration::from_millis(round.into());
                publisher.revoke_oldest(now, Duration::from_millis(3));
            }
            12 => publisher = hand_over(ring, publisher),
            _ => {
                if let Ok(lease) = reader.try_latest() {
                    read += 1;
                    examine(&lease);
                    riscv::asm::delay(roll(5000));
                    examine(&lease);
                } else if reader.has_ended() {
                    drop(reader);
                    reader = ring.subscribe(Follow::Live).unwrap();
                }
            }
        }
    }
    critical_section::with(|cs| PLACE.borrow(cs).take()); // The interrupt does nothing any more.
    let in_interrupts = take(&READ).unwrap();
    let enough = published > ROUNDS / 10 && read > ROUNDS / 100 && in_interrupts > ROUNDS / 100;
    assert!(enough, "{published} published, {read} read, {in_interrupts} in interrupts");
    drop((take(&GRANT), take(&READER), reader));
    publisher.clear();
    let all = [(); SLOTS].map(|()| publisher.try_grant());
    assert!(all.iter().all(Result::is_ok), "a slot was lost");
}

/// To another publisher, of the same stream or of the next.
fn hand_over(
    ring: &'static Ring<'static, Tag>,
    mut publisher: Publisher<'static, Tag>,
) -> Publisher<'static, Tag> {
    match roll(4) {
        0 => {
            publisher.close();
            drop(publisher);
        }
        _ => publisher.detach(),
    }
    ring.publisher().unwrap()
}

fn interrupt() {
    let Some(ring) = critical_section::with(|cs| *PLACE.borrow_ref(cs)) else { return };
    let reader = take(&READER);
    let mut reader = reader.unwrap_or_else(|| ring.subscribe(Follow::Ordered).unwrap());
    let is_over = match roll(8) {
        0 => {
            drop(take(&GRANT));
            false
        }
        1 => {
            // A second one, which sees what is there and leaves.
            let mut other = ring.subscribe(Follow::Live).unwrap();
            let _ = other.try_latest().map(|lease| examine(&lease));
            false
        }
        2 => true,
        3 => {
            reader.rewind();
            false
        }
        4 => {
            let _ = reader.repeat().map(|lease| examine(&lease));
            false
        }
        _ => {
            if let Ok(lease) = reader.try_next() {
                examine(&lease);
                critical_section::with(|cs| *READ.borrow_ref_mut(cs).as_mut().unwrap() += 1);
            }
            reader.has_ended()
        }
    };
    if is_over {
        drop(reader);
    } else {
        replace(&READER, reader);
    }
    board::interrupt_again_in(2 + roll(40), interrupt);
}

fn examine(lease: &Lease<'_, '_, Tag>) {
    let tag = lease.info().to_le_bytes();
    assert!(lease.len() == 64 && lease.as_chunks::<8>().0.iter().all(|word| *word == tag), "torn");
}

fn roll(sides: u32) -> u32 {
    critical_section::with(|cs| {
        let mut dice = DICE.borrow_ref_mut(cs);
        let next = dice.unwrap_or(1).wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *dice = Some(next);
        (next >> 16) % sides
    })
}

fn take<T>(shared: &Shared<T>) -> Option<T> {
    critical_section::with(|cs| shared.borrow_ref_mut(cs).take())
}

fn replace<T>(shared: &Shared<T>, value: T) -> Option<T> {
    critical_section::with(|cs| shared.borrow_ref_mut(cs).replace(value))
}
