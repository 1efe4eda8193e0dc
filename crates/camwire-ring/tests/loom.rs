//! All interleavings of small cases:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p camwire-ring --features alloc --test loom`
#![cfg(loom)]

use camwire_frame::{FrameInfo, Instant};
use camwire_ring::{Follow, FrameLease, FrameRing, LeaseError, Policy, Publisher};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

const LEN: usize = 4;

fn ring(slots: usize, readers: usize, policy: Policy) -> &'static FrameRing<'static> {
    FrameRing::leak(slots, LEN, readers, policy).unwrap()
}

fn info() -> FrameInfo {
    FrameInfo { len: LEN, captured_at: Instant::ZERO, ..FrameInfo::default() }
}

/// Runs a case in all interleavings with at most so many preemptions, and says how many those were.
///
/// The first number is for every run; the second, for when `CAMWIRE_DEEP` is set, takes up to half
/// an hour. Without a bound all but the smallest cases would take days.
fn model(bounds: (usize, usize), case: impl Fn() + Send + Sync + 'static) {
    use std::sync::{Arc, atomic};
    let mut builder = loom::model::Builder::new();
    let is_deep = std::env::var_os("CAMWIRE_DEEP").is_some();
    let bound = if is_deep { bounds.1 } else { bounds.0 };
    builder.preemption_bound = Some(bound);
    builder.max_branches = 10_000;
    let (cases, began) = (Arc::new(atomic::AtomicUsize::new(0)), std::time::Instant::now());
    let count = cases.clone();
    builder.check(move || {
        count.fetch_add(1, atomic::Ordering::Relaxed);
        case();
    });
    let (name, cases) = (std::thread::current(), cases.load(atomic::Ordering::Relaxed));
    let name = name.name().unwrap_or_default().to_owned();
    println!("{name}: {bound} preemptions, {cases} cases, {:.1?}", began.elapsed());
}

/// Publishes a picture that is its own sequence number in each byte.
fn publish(publisher: &mut Publisher<'_>, number: u8) -> bool {
    let Ok(mut grant) = publisher.try_grant() else { return false };
    grant.fill(number);
    assert_eq!(publisher.commit(grant, info()).unwrap(), u64::from(number));
    true
}

fn check(lease: &FrameLease<'_, '_>) -> u64 {
    let sequence = lease.sequence();
    thread::yield_now();
    assert_eq!(**lease, [sequence as u8; LEN]);
    sequence
}

/// Two slots, one lease: the newest is never torn, and a slot that is leased is not reused.
#[test]
fn latest_is_whole() {
    model((2, 3), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        let thread = thread::spawn(move || {
            let mut last = 0;
            for _ in 0..2 {
                if let Ok(lease) = reader.try_latest() {
                    let sequence = check(&lease);
                    assert_eq!(lease.missed(), if last == 0 { 0 } else { sequence - last - 1 });
                    assert!(sequence > last);
                    last = sequence;
                }
            }
        });
        let mut number = 1;
        for _ in 0..3 {
            if publish(&mut publisher, number) {
                number += 1;
            }
        }
        thread.join().unwrap();
    });
}

/// A reader that sleeps is woken, however publication and sleep interleave.
#[test]
fn no_wake_is_lost() {
    model((2, 3), || {
        let ring = ring(3, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        let thread = thread::spawn(move || {
            let first = block_on(reader.next()).map(|lease| check(&lease));
            assert_eq!(first, Some(1));
            // The publisher is gone after two, so this ends too.
            let second = block_on(reader.next()).map(|lease| check(&lease));
            assert_eq!(second, Some(2));
            assert!(block_on(reader.next()).is_none());
        });
        assert!(publish(&mut publisher, 1));
        assert!(publish(&mut publisher, 2));
        drop(publisher);
        thread.join().unwrap();
    });
}

/// With two slots the publisher must wait for the reader, and the reader for the publisher.
#[test]
fn keep_all_keeps_all() {
    model((2, 3), || {
        let ring = ring(2, 1, Policy::KeepAll);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Ordered).unwrap();
        let thread = thread::spawn(move || {
            for number in 1..=3 {
                let lease = block_on(reader.next()).unwrap();
                assert_eq!((check(&lease), lease.missed()), (number, 0));
            }
        });
        for number in 1..=3 {
            let mut grant = block_on(publisher.grant());
            grant.fill(number);
            publisher.commit(grant, info()).unwrap();
        }
        thread.join().unwrap();
    });
}

/// A reader that comes while pictures are published is either waited for, or starts later.
#[test]
fn keep_all_and_a_late_reader() {
    model((2, 3), || {
        let ring = ring(3, 1, Policy::KeepAll);
        let mut publisher = ring.publisher().unwrap();
        assert!(publish(&mut publisher, 1));
        let thread = thread::spawn(move || {
            let mut reader = ring.subscribe(Follow::Ordered).unwrap();
            let mut last = None;
            while let Ok(lease) = reader.try_next() {
                let sequence = check(&lease);
                assert_eq!(lease.missed(), 0);
                if let Some(last) = last.replace(sequence) {
                    assert_eq!(sequence, last + 1);
                }
            }
        });
        let mut number = 2;
        for _ in 0..2 {
            if publish(&mut publisher, number) {
                number += 1;
            }
        }
        thread.join().unwrap();
    });
}

/// Two readers of one picture; the last to let go frees the slot.
#[test]
fn two_readers_share_a_slot() {
    model((2, 3), || {
        let ring = ring(2, 2, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        assert!(publish(&mut publisher, 1));
        let threads = [(), ()].map(|()| {
            let mut reader = ring.subscribe(Follow::Live).unwrap();
            thread::spawn(move || {
                if let Ok(lease) = reader.try_latest() {
                    check(&lease);
                }
            })
        });
        assert!(publish(&mut publisher, 2), "the second slot is free");
        let number = if publish(&mut publisher, 3) { 4 } else { 3 };
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(publish(&mut publisher, number), "every lease has ended");
    });
}

/// The publisher sleeps until there is demand, and until there is none.
#[test]
fn demand_comes_and_goes() {
    model((2, 3), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let thread = thread::spawn(move || {
            let reader = ring.subscribe(Follow::Live).unwrap();
            thread::yield_now();
            drop(reader);
        });
        // Demand that came and went unseen must not be waited for again.
        if publisher.has_demand() {
            block_on(publisher.no_demand());
        }
        thread.join().unwrap();
        assert!(!publisher.has_demand());
        let reader = ring.subscribe(Follow::Live).unwrap();
        block_on(publisher.demand());
        drop(reader);
    });
}

#[test]
fn the_first_reader_wakes_the_publisher() {
    model((2, 3), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let thread = thread::spawn(move || ring.subscribe(Follow::Live).unwrap());
        block_on(publisher.demand());
        drop(thread.join().unwrap());
    });
}

/// A holder of the oldest lease that sleeps until it is asked for it is woken.
#[test]
fn a_lease_is_asked_back() {
    model((2, 3), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1));
        let mut lease = reader.try_latest().unwrap();
        let thread = thread::spawn(move || {
            assert!(publish(&mut publisher, 2));
            assert!(!publish(&mut publisher, 3), "both slots are taken");
            assert_eq!(publisher.revoke_oldest(Instant::ZERO, core::time::Duration::ZERO), 1);
            publisher
        });
        block_on(lease.revoked());
        check(&lease);
        drop(lease);
        let mut publisher = thread.join().unwrap();
        assert!(publish(&mut publisher, 3));
    });
}

/// One lease at a time and three slots: there is always a slot for the next picture, even while the
/// lease moves from one slot to another.
#[test]
fn a_lease_and_two_more_slots_are_enough() {
    model((3, 4), || {
        let ring = ring(3, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        for number in 1..=3 {
            assert!(publish(&mut publisher, number));
        }
        let thread = thread::spawn(move || {
            drop(reader.try_next());
            // Kept until the end.
            std::mem::forget(reader.try_next());
        });
        for number in 4..=5 {
            assert!(publish(&mut publisher, number), "no slot for {number}");
        }
        thread.join().unwrap();
    });
}

/// A reader goes from the one picture to the newest while the publisher asks for the first.
#[test]
fn the_newest_picture_is_not_asked_back_in_place_of_another() {
    model((3, 5), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1));
        let leased = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let leased = leased.clone();
            move || {
                let lease = reader.try_next();
                leased.store(true, Ordering::Release);
                drop(lease);
                if let Ok(lease) = reader.try_latest() {
                    assert!(!lease.is_revoked());
                }
            }
        });
        while !leased.load(Ordering::Acquire) {
            thread::yield_now();
        }
        assert!(publish(&mut publisher, 2));
        publisher.revoke_oldest(Instant::ZERO, core::time::Duration::ZERO);
        thread.join().unwrap();
    });
}

/// A reader leases the same picture once more while the publisher asks for those who have had it for
/// long.
#[test]
fn a_fresh_lease_is_not_asked_back_in_place_of_another() {
    const GRACE: core::time::Duration = core::time::Duration::from_secs(1);
    model((3, 5), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1));
        // The reader leases; the publisher looks.
        let steps = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let thread = thread::spawn({
            let steps = steps.clone();
            move || {
                let lease = reader.try_next();
                steps[0].store(true, Ordering::Release);
                drop(lease);
                let is_fresh = steps[1].load(Ordering::Acquire);
                if let Some(lease) = reader.repeat() {
                    assert!(!is_fresh || !lease.is_revoked());
                }
            }
        });
        while !steps[0].load(Ordering::Acquire) {
            thread::yield_now();
        }
        assert!(publish(&mut publisher, 2));
        publisher.revoke_oldest(Instant::ZERO, GRACE);
        steps[1].store(true, Ordering::Release);
        publisher.revoke_oldest(Instant::ZERO + 2 * GRACE, GRACE);
        thread.join().unwrap();
    });
}

/// Where the publisher may have to wait for readers, a reader that passes pictures by gives it their
/// slots, although it leases only the newest.
fn pictures_passed_by_make_room(policy: Policy) {
    model((3, 5), move || {
        let ring = ring(2, 1, policy);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Ordered).unwrap();
        assert!(publish(&mut publisher, 1) && publish(&mut publisher, 2));
        let thread = thread::spawn(move || {
            let lease = reader.try_latest().unwrap();
            assert_eq!(check(&lease), 2);
            // It does not end.
            std::mem::forget(lease);
            reader
        });
        let grant = block_on(publisher.grant());
        publisher.commit(grant, info()).unwrap();
        drop(thread.join().unwrap());
    });
}

#[test]
fn pictures_passed_by_make_room_on_a_ring_that_keeps_all() {
    pictures_passed_by_make_room(Policy::KeepAll);
}

#[test]
fn pictures_passed_by_make_room_on_a_ring_that_drops_the_newest() {
    pictures_passed_by_make_room(Policy::DropNewest);
}

/// A publisher is replaced while a reader waits: the reader gets what the first has published, and
/// the end.
#[test]
fn a_reader_gets_the_end_although_another_publisher_comes() {
    model((3, 4), || {
        let ring = ring(3, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        let thread = thread::spawn(move || {
            let first = block_on(reader.next()).map(|lease| check(&lease));
            assert_eq!(first, Some(1));
            assert!(block_on(reader.next()).is_none());
        });
        assert!(publish(&mut publisher, 1));
        drop(publisher);
        let mut publisher = ring.publisher().unwrap();
        assert!(publish(&mut publisher, 2));
        thread.join().unwrap();
    });
}

/// The ring is closed by a third thread, while a publisher publishes and a reader waits.
#[test]
fn a_third_thread_closes_the_ring() {
    model((2, 3), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        let waiting = thread::spawn(move || {
            let mut last = 0;
            while let Some(lease) = block_on(reader.latest()) {
                last = check(&lease);
            }
            assert_eq!(reader.try_latest().err(), Some(LeaseError::Ended));
            last
        });
        let closing = thread::spawn(move || ring.close());
        let mut grant = publisher.try_grant().unwrap();
        grant.fill(1);
        let is_published = publisher.commit(grant, info()).is_ok();
        closing.join().unwrap();
        let last = waiting.join().unwrap();
        assert!(is_published || last == 0);
    });
}
