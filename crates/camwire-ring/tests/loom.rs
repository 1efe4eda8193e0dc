//! All interleavings of small cases:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p camwire-ring --features alloc --test loom`
#![cfg(loom)]

use camwire_ring::{Follow, Lease, LeaseError, Policy, Publisher, Ring};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

const LEN: usize = 4;

fn ring(slots: usize, readers: usize, policy: Policy) -> &'static Ring<'static> {
    Ring::leak(slots, LEN, readers, policy).unwrap()
}

/// Runs a case in all interleavings with at most so many preemptions, and says how many those were.
///
/// The first number is for every run; the second, for when `CAMWIRE_DEEP` is set, takes up to half
/// an hour. Without a bound all but the smallest cases would take days. With a bound loom passes over
/// some cases within it, too, so where more is cheap, more is tried.
fn model(bounds: (usize, usize), case: impl Fn() + Send + Sync + 'static) {
    use std::sync::atomic::AtomicUsize;
    let mut builder = loom::model::Builder::new();
    let is_deep = std::env::var_os("CAMWIRE_DEEP").is_some();
    let bound = if is_deep { bounds.1 } else { bounds.0 };
    builder.preemption_bound = Some(bound);
    builder.max_branches = 10_000;
    let (cases, began) = (std::sync::Arc::new(AtomicUsize::new(0)), std::time::Instant::now());
    let count = cases.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        case();
    });
    let (name, cases) = (std::thread::current(), cases.load(Ordering::Relaxed));
    let name = name.name().unwrap_or_default().to_owned();
    println!("{name}: {bound} preemptions, {cases} cases, {:.1?}", began.elapsed());
}

/// Publishes an item that is its own sequence number in each byte.
fn publish(publisher: &mut Publisher<'_>, number: u8) -> bool {
    let Ok(mut grant) = publisher.try_grant() else { return false };
    grant.fill(number);
    assert_eq!(publisher.commit(grant, LEN, ()).unwrap(), u64::from(number));
    true
}

fn check(lease: &Lease<'_, '_>) -> u64 {
    let sequence = lease.sequence();
    thread::yield_now();
    assert_eq!(**lease, [sequence as u8; LEN]);
    sequence
}

/// Two slots, one lease: the newest is never torn, and a slot that is leased is not reused.
#[test]
fn latest_is_whole() {
    model((5, 9), || {
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
    model((6, 9), || {
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
            publisher.commit(grant, LEN, ()).unwrap();
        }
        thread.join().unwrap();
    });
}

/// A reader that comes while items are published is either waited for, or starts later.
#[test]
fn keep_all_and_a_late_reader() {
    model((9, 99), || {
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

/// Two readers of one item; the last to let go frees the slot.
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
    model((9, 99), || {
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
    model((9, 99), || {
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
    model((6, 9), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1));
        let mut lease = reader.try_latest().unwrap();
        let thread = thread::spawn(move || {
            assert!(publish(&mut publisher, 2));
            assert!(!publish(&mut publisher, 3), "both slots are taken");
            assert_eq!(
                publisher.revoke_oldest(core::time::Duration::ZERO, core::time::Duration::ZERO),
                1
            );
            publisher
        });
        block_on(lease.revoked());
        check(&lease);
        drop(lease);
        let mut publisher = thread.join().unwrap();
        assert!(publish(&mut publisher, 3));
    });
}

/// One lease at a time and three slots: there is always a slot for the next item, even while the
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

/// A reader goes from the one item to the newest while the publisher asks for the first.
#[test]
fn the_newest_item_is_not_asked_back_in_place_of_another() {
    model((5, 9), || {
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
        publisher.revoke_oldest(core::time::Duration::ZERO, core::time::Duration::ZERO);
        thread.join().unwrap();
    });
}

/// A reader leases the same item once more while the publisher asks for those who have had it for
/// long.
#[test]
fn a_fresh_lease_is_not_asked_back_in_place_of_another() {
    const GRACE: core::time::Duration = core::time::Duration::from_secs(1);
    model((5, 9), || {
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
        publisher.revoke_oldest(core::time::Duration::ZERO, GRACE);
        steps[1].store(true, Ordering::Release);
        publisher.revoke_oldest(2 * GRACE, GRACE);
        thread.join().unwrap();
    });
}

/// Where the publisher may have to wait for readers, a reader that passes items by gives it their
/// slots, although it leases only the newest.
fn items_passed_by_make_room(policy: Policy) {
    model((9, 99), move || {
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
        publisher.commit(grant, LEN, ()).unwrap();
        drop(thread.join().unwrap());
    });
}

#[test]
fn items_passed_by_make_room_on_a_ring_that_keeps_all() {
    items_passed_by_make_room(Policy::KeepAll);
}

#[test]
fn items_passed_by_make_room_on_a_ring_that_drops_the_newest() {
    items_passed_by_make_room(Policy::DropNewest);
}

/// A publisher is replaced while a reader waits: the reader gets what the first has published, and
/// the end.
#[test]
fn a_reader_gets_the_end_although_another_publisher_comes() {
    model((4, 6), || {
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
    model((3, 4), || {
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
        let is_published = publisher.commit(grant, LEN, ()).is_ok();
        closing.join().unwrap();
        let last = waiting.join().unwrap();
        assert!(is_published || last == 0);
    });
}

/// On a full ring that drops the oldest, a reader gets items in order, and counts those it missed.
#[test]
fn next_on_full_ring_is_whole_and_in_order() {
    model((3, 5), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1) && publish(&mut publisher, 2));
        let thread = thread::spawn(move || {
            let mut last = 0;
            for _ in 0..2 {
                if let Ok(lease) = reader.try_next() {
                    let sequence = check(&lease);
                    assert!(sequence > last);
                    assert_eq!(lease.missed(), if last == 0 { 0 } else { sequence - last - 1 });
                    last = sequence;
                }
            }
            assert!(last > 0, "there was one all the time");
        });
        let mut number = 3;
        for _ in 0..2 {
            number += u8::from(publish(&mut publisher, number));
        }
        thread.join().unwrap();
    });
}

/// What nobody has taken or passed by stays, and the new item is refused instead.
#[test]
fn drop_newest_keeps_what_nobody_has_taken() {
    model((6, 9), || {
        let ring = ring(2, 1, Policy::DropNewest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1) && publish(&mut publisher, 2));
        let reading = thread::spawn(move || {
            for number in 1..=2 {
                let lease = reader.try_next().expect("nobody has taken it");
                assert_eq!((check(&lease), lease.missed()), (number, 0));
            }
            reader
        });
        let publishing = thread::spawn(move || {
            let is_published = publish(&mut publisher, 3);
            (publisher, is_published)
        });
        let (mut publisher, is_published) = publishing.join().unwrap();
        let mut reader = reading.join().unwrap();
        assert!(is_published || publish(&mut publisher, 3), "both were taken");
        assert_eq!(reader.try_next().map(|lease| check(&lease)), Ok(3));
    });
}

/// A reader goes back while the oldest is withdrawn.
#[test]
fn rewound_reader_gets_what_ring_offers() {
    model((6, 9), || {
        let ring = ring(3, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        for number in 1..=3 {
            assert!(publish(&mut publisher, number));
        }
        let thread = thread::spawn(move || {
            assert!(reader.try_latest().is_ok());
            reader.rewind();
            let mut last = 0;
            while let Ok(lease) = reader.try_next() {
                let sequence = check(&lease);
                assert!(sequence > last);
                assert!(lease.missed() < 2, "what it had does not count");
                last = sequence;
            }
            assert!(last >= 3);
        });
        assert!(publish(&mut publisher, 4));
        thread.join().unwrap();
    });
}

/// A reader wants its last item once more while its slot may become another item's.
#[test]
fn repeated_item_is_the_same_or_gone() {
    model((9, 99), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1));
        assert!(reader.try_next().is_ok());
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                if let Some(lease) = reader.repeat() {
                    assert_eq!((check(&lease), lease.missed()), (1, 0));
                }
            }
        });
        assert!(publish(&mut publisher, 2));
        publish(&mut publisher, 3);
        thread.join().unwrap();
    });
}

/// The publisher clears the ring while a reader leases, and goes on.
#[test]
fn cleared_ring_leaves_leases_whole() {
    model((6, 9), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1) && publish(&mut publisher, 2));
        let thread = thread::spawn(move || {
            let had = reader.try_latest().map(|lease| check(&lease));
            assert!(matches!(had, Ok(2 | 3) | Err(LeaseError::Empty)), "{had:?}");
        });
        publisher.clear();
        assert!(publish(&mut publisher, 3), "one lease, two slots");
        thread.join().unwrap();
    });
}

/// Another thread takes over as publisher: it goes on where the first has stopped.
#[test]
fn next_publisher_goes_on_where_the_last_has_stopped() {
    model((9, 99), || {
        let ring = ring(3, 1, Policy::DropOldest);
        let mut first = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        let threads = [
            thread::spawn(move || {
                assert!(publish(&mut first, 1));
                first.detach();
            }),
            // It comes if there is room, so that nothing but the handover orders the two.
            thread::spawn(move || {
                if let Ok(mut second) = ring.publisher() {
                    assert!(publish(&mut second, 2), "its number is checked there");
                }
            }),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
        let mut last = 0;
        while let Ok(lease) = reader.try_next() {
            last += 1;
            assert_eq!(check(&lease), last);
        }
        assert!(last > 0);
    });
}

/// A grant is written and dropped by another thread. The publisher, which waits for its slot, is
/// woken, and writes after it.
#[test]
fn grant_dropped_by_another_thread_makes_room() {
    model((9, 99), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        assert!(publish(&mut publisher, 1));
        let mut grant = publisher.try_grant().unwrap();
        let thread = thread::spawn(move || {
            grant.fill(9);
            drop(grant);
        });
        let mut grant = block_on(publisher.grant());
        grant.fill(2);
        publisher.commit(grant, LEN, ()).unwrap();
        thread.join().unwrap();
    });
}

/// A wait is given up, and the next one is woken all the same: by an item, and for a slot.
#[test]
fn cancelled_wait_loses_nothing() {
    use core::future::Future;
    use core::task::{Context, Waker};
    model((2, 3), || {
        let ring = ring(2, 1, Policy::KeepAll);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Ordered).unwrap();
        let thread = thread::spawn(move || {
            let mut context = Context::from_waker(Waker::noop());
            let mut last = 0;
            {
                let waiting = core::pin::pin!(reader.next());
                if let core::task::Poll::Ready(Some(lease)) = waiting.poll(&mut context) {
                    last = check(&lease);
                }
            }
            while last < 3 {
                let lease = block_on(reader.next()).unwrap();
                assert_eq!(check(&lease), last + 1);
                last += 1;
            }
        });
        for number in 1..=3 {
            let mut context = Context::from_waker(Waker::noop());
            let early = match core::pin::pin!(publisher.grant()).poll(&mut context) {
                core::task::Poll::Ready(grant) => Some(grant),
                core::task::Poll::Pending => None,
            };
            let mut grant = match early {
                Some(grant) => grant,
                None => block_on(publisher.grant()),
            };
            grant.fill(number);
            publisher.commit(grant, LEN, ()).unwrap();
        }
        thread.join().unwrap();
    });
}

/// A reader leaves while it is being woken, and another takes its place.
#[test]
fn place_of_a_reader_is_used_again() {
    use core::future::Future;
    model((5, 9), || {
        let ring = ring(3, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut first = ring.subscribe(Follow::Live).unwrap();
        let thread = thread::spawn(move || {
            assert!(publish(&mut publisher, 1) && publish(&mut publisher, 2));
            publisher
        });
        {
            let mut context = core::task::Context::from_waker(core::task::Waker::noop());
            let _ = core::pin::pin!(first.next()).poll(&mut context).is_ready();
        }
        drop(first);
        let mut second = ring.subscribe(Follow::Live).unwrap();
        let had = block_on(second.latest()).map(|lease| check(&lease));
        assert!(matches!(had, Some(1 | 2)));
        drop(thread.join().unwrap());
    });
}

/// The publisher waits for the slower of two readers.
#[test]
fn keep_all_waits_for_both_readers() {
    model((1, 2), || {
        let ring = ring(2, 2, Policy::KeepAll);
        let mut publisher = ring.publisher().unwrap();
        let threads = [(), ()].map(|()| {
            let mut reader = ring.subscribe(Follow::Ordered).unwrap();
            thread::spawn(move || {
                for number in 1..=2 {
                    let lease = block_on(reader.next()).unwrap();
                    assert_eq!((check(&lease), lease.missed()), (number, 0));
                }
            })
        });
        for number in 1..=2 {
            let mut grant = block_on(publisher.grant());
            grant.fill(number);
            publisher.commit(grant, LEN, ()).unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A reader ends leases and takes new ones while the publisher asks for them: only a lease of an item
/// that the ring no longer offers is asked back, and no item that comes later bears the mark.
#[test]
fn leases_come_and_go_while_they_are_asked_back() {
    model((4, 6), || {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher, 1));
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                if let Ok(mut lease) = reader.try_next() {
                    let (bytes, revocation) = lease.split();
                    let number = bytes[0];
                    assert!(number < 3 || !revocation.is_revoked(), "nothing follows it");
                }
            }
        });
        assert!(publish(&mut publisher, 2));
        publisher.revoke_oldest(core::time::Duration::ZERO, core::time::Duration::ZERO);
        let is_third = publish(&mut publisher, 3);
        thread.join().unwrap();
        assert!(is_third || publish(&mut publisher, 3));
        let mut another = ring.subscribe(Follow::Live).unwrap();
        let lease = another.try_latest().expect("the third");
        assert_eq!((check(&lease), lease.is_revoked()), (3, false));
    });
}
