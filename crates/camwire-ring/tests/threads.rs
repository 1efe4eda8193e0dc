//! Real threads, many items: no lease ever sees a torn or recycled item, and no count is
//! off by one. Run it in release mode for millions of items.
#![cfg(feature = "std")]

use std::thread;
use std::time::Duration;

use camwire_ring::{Follow, Policy, Ring};

const ITEMS: u64 = if cfg!(debug_assertions) { 100_000 } else { 3_000_000 };
const LEN: usize = 96;
const PATIENCE: Duration = Duration::from_secs(20);

/// Fills an item so that every word tells which item it is of, and where.
fn draw(item: &mut [u8], number: u64) {
    for (place, word) in item.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = (number << 8 | place as u64).to_le_bytes();
    }
}

fn check(item: &[u8], number: u64) {
    for (place, word) in item.as_chunks::<8>().0.iter().enumerate() {
        assert_eq!(u64::from_le_bytes(*word), number << 8 | place as u64);
    }
}

/// One publisher against readers of both kinds. Returns how many items were published.
fn run(slots: usize, policy: Policy, follows: &[Follow], items: u64) {
    let ring = Ring::<()>::leak(slots, LEN, follows.len(), policy).unwrap();
    let mut publisher = ring.publisher().unwrap();
    thread::scope(|scope| {
        for (number, follow) in follows.iter().copied().enumerate() {
            let mut reader = ring.subscribe(follow).unwrap();
            scope.spawn(move || {
                let (mut first, mut last, mut missed, mut had) = (0, 0, 0, 0);
                loop {
                    let lease = match follow {
                        Ordered => reader.next_blocking(PATIENCE),
                        Live => reader.latest_blocking(PATIENCE),
                    };
                    let Ok(lease) = lease else { break };
                    let sequence = lease.sequence();
                    assert!(sequence > last, "in order, none twice");
                    check(&lease, sequence);
                    if sequence % 64 == number as u64 {
                        thread::yield_now();
                        check(&lease, sequence);
                    }
                    if first == 0 {
                        first = sequence;
                    }
                    if follow == Ordered && policy == Policy::KeepAll {
                        assert_eq!(lease.missed(), 0);
                    }
                    (last, missed, had) = (sequence, missed + lease.missed(), had + 1);
                }
                assert_eq!(last, items, "the newest stays until everyone had it");
                assert_eq!(first + had + missed, last + 1, "what was had and missed adds up");
            });
        }
        let mut number = 0;
        while number < items {
            let grant = match policy {
                Policy::KeepAll => publisher.grant_blocking(PATIENCE).ok(),
                _ => publisher.try_grant().ok(),
            };
            number += 1;
            match grant {
                Some(mut grant) => {
                    draw(&mut grant, number);
                    assert_eq!(publisher.commit(grant, LEN, ()).unwrap(), number);
                }
                // The last one must get through, so that everyone can tell the end.
                None if number == items => {
                    number -= 1;
                    thread::yield_now();
                }
                None => publisher.skip(),
            }
        }
        drop(publisher);
    });
}

use Follow::{Live, Ordered};

#[test]
fn drop_oldest() {
    run(4, Policy::DropOldest, &[Live, Ordered], ITEMS);
}

#[test]
fn drop_oldest_with_more_leases_than_slots() {
    run(3, Policy::DropOldest, &[Live, Ordered, Live, Ordered], ITEMS);
}

#[test]
fn drop_newest() {
    run(4, Policy::DropNewest, &[Live, Ordered], ITEMS);
}

#[test]
fn keep_all() {
    run(4, Policy::KeepAll, &[Ordered, Live, Ordered], ITEMS / 10);
}

/// Readers that come and go while items are published.
#[test]
fn readers_come_and_go() {
    let ring = Ring::<()>::leak(5, LEN, 3, Policy::DropOldest).unwrap();
    let mut publisher = ring.publisher().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..ITEMS / 100 {
                    let mut reader = ring.subscribe(Live).unwrap();
                    for _ in 0..round % 3 {
                        let lease = reader.latest_blocking(PATIENCE).unwrap();
                        check(&lease, lease.sequence());
                    }
                }
            });
        }
        // Two leases at most, and five slots: there is always one.
        let mut watch = ring.subscribe(Live).unwrap();
        let mut number = 0;
        while ring.readers() > 1 || number < ITEMS {
            number += 1;
            let mut grant = publisher.try_grant().expect("leases + 2 slots stop nobody");
            draw(&mut grant, number);
            publisher.commit(grant, LEN, ()).unwrap();
            check(&watch.try_latest().unwrap(), number);
        }
    });
}
