//! Leases that are asked back.
#![cfg(all(not(loom), feature = "alloc"))]

use std::time::Duration;

use camwire_ring::{Follow, Policy, Publisher, Ring};

const GRACE: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ring(slots: usize, readers: usize, policy: Policy) -> &'static Ring<'static> {
    Ring::leak(slots, 8, readers, policy).unwrap()
}

fn publish(publisher: &mut Publisher<'_>) -> bool {
    let grant = publisher.try_grant().ok();
    grant.is_some_and(|grant| publisher.commit(grant, 0, ()).is_ok())
}

#[test]
fn a_lease_that_is_not_given_back_protects_no_other() {
    let ring = ring(4, 3, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut readers = [(); 3].map(|()| ring.subscribe(Follow::Live).unwrap());
    let [mut first, mut second, mut third] = readers.each_mut().map(|reader| {
        assert!(publish(&mut publisher));
        reader.try_latest().unwrap()
    });
    assert!(publish(&mut publisher));
    assert!(!publish(&mut publisher), "three slots are leased, the fourth has the newest");
    let mut asked = Vec::new();
    for time in (0..6000).step_by(100) {
        if publisher.revoke_oldest(at(time), GRACE) > 0 {
            asked.push(time);
        }
    }
    assert_eq!(asked, [1000, 2000, 3000], "one after the other, each after its grace");
    assert!([&mut first, &mut second, &mut third].iter().all(|lease| lease.is_revoked()));
    assert!([first, second, third].iter_mut().all(|lease| lease.split().1.is_revoked()));
}

#[test]
fn the_next_lease_is_asked_back_at_once_when_the_one_before_has_ended() {
    let ring = ring(3, 2, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let [mut one, mut two] = [(); 2].map(|()| ring.subscribe(Follow::Live).unwrap());
    assert!(publish(&mut publisher));
    let first = one.try_latest().unwrap();
    assert!(publish(&mut publisher));
    let second = two.try_latest().unwrap();
    assert!(publish(&mut publisher));
    assert_eq!(publisher.revoke_oldest(at(0), GRACE), 0);
    assert_eq!(publisher.revoke_oldest(at(1000), GRACE), 1);
    assert!(first.is_revoked() && !second.is_revoked());
    drop(first);
    assert_eq!(publisher.revoke_oldest(at(1001), GRACE), 0, "there is a slot");
    assert!(publish(&mut publisher));
    let newest = one.try_latest().unwrap();
    assert_eq!((newest.sequence(), newest.is_revoked()), (4, false), "it has the same slot");
    assert_eq!(publisher.revoke_oldest(at(1002), GRACE), 0, "the third item can make room");
    assert!(publish(&mut publisher));
    assert_eq!(publisher.revoke_oldest(at(1003), GRACE), 1);
    assert!(second.is_revoked() && !newest.is_revoked());
}

#[test]
fn no_lease_is_asked_back_while_a_cleared_slot_is_free() {
    let ring = ring(2, 1, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    assert!(publish(&mut publisher));
    let lease = reader.try_latest().unwrap();
    assert!(publish(&mut publisher));
    publisher.clear();
    for time in [0, 5000] {
        assert_eq!(publisher.revoke_oldest(at(time), GRACE), 0, "the other slot is free");
    }
    assert!(!lease.is_revoked());
    assert!(publish(&mut publisher));
    assert_eq!(publisher.revoke_oldest(at(5001), GRACE), 1, "now it is not");
}

#[test]
fn every_lease_of_the_slot_is_asked_back() {
    let ring = ring(2, 3, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut readers = [(); 3].map(|()| ring.subscribe(Follow::Live).unwrap());
    assert!(publish(&mut publisher));
    let leases = readers.each_mut().map(|reader| reader.try_latest().unwrap());
    assert!(publish(&mut publisher));
    assert_eq!(publisher.revoke_oldest(at(7), Duration::ZERO), 3);
    assert!(leases.iter().all(|lease| lease.is_revoked()));
}

/// The newest item stays, so its lease costs no slot.
#[test]
fn a_lease_of_the_newest_is_not_asked_back() {
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::KeepAll] {
        let ring = ring(2, 2, policy);
        let mut publisher = ring.publisher().unwrap();
        let mut readers = [(); 2].map(|()| ring.subscribe(Follow::Live).unwrap());
        assert!(publish(&mut publisher));
        let [older, newest] = readers.each_mut().map(|reader| {
            let lease = reader.try_latest().unwrap();
            publish(&mut publisher);
            lease
        });
        assert_eq!((older.sequence(), newest.sequence()), (1, 2));
        for time in (0..5000).step_by(100) {
            publisher.revoke_oldest(at(time), GRACE);
        }
        assert!(older.is_revoked() && !newest.is_revoked());
    }
}

/// While the slowest reader of all has not had the oldest item, that reader is waited for, not
/// for those who happen to lease items.
#[test]
fn on_a_ring_that_keeps_all_only_live_leases_are_asked_back() {
    let ring = ring(3, 2, Policy::KeepAll);
    let mut publisher = ring.publisher().unwrap();
    let mut ordered = ring.subscribe(Follow::Ordered).unwrap();
    let mut live = ring.subscribe(Follow::Live).unwrap();
    for _ in 0..3 {
        assert!(publish(&mut publisher));
    }
    let leased_by_both = ordered.try_next().unwrap();
    let lease = live.try_next().unwrap();
    assert_eq!((leased_by_both.sequence(), lease.sequence()), (1, 1));
    assert_eq!(publisher.revoke_oldest(at(0), GRACE), 0);
    assert_eq!(publisher.revoke_oldest(at(5000), GRACE), 0, "the ordered one is waited for");
    drop(leased_by_both);
    let second = ordered.try_next().unwrap();
    assert_eq!(publisher.revoke_oldest(at(5001), GRACE), 0, "its grace begins");
    assert_eq!(publisher.revoke_oldest(at(9000), GRACE), 1);
    assert!(lease.is_revoked() && !second.is_revoked());
    drop(lease);
    assert!(publish(&mut publisher));
}

/// A slot that was wanted back long ago is not, once it has another item.
#[test]
fn lease_of_a_slot_that_is_used_again_has_its_own_grace() {
    let ring = ring(2, 1, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    assert!(publish(&mut publisher));
    let lease = reader.try_latest().unwrap();
    assert!(publish(&mut publisher));
    assert_eq!(publisher.revoke_oldest(at(0), GRACE), 0, "from now on it is wanted back");
    drop(lease);
    assert!(publish(&mut publisher));
    let lease = reader.try_latest().unwrap();
    assert_eq!(lease.sequence(), 3);
    assert!(publish(&mut publisher));
    for (time, asked) in [(5000, 0), (5999, 0), (6000, 1)] {
        assert_eq!(publisher.revoke_oldest(at(time), GRACE), asked, "{time}");
    }
}

/// Times of 64 bits have no limit that a program could meet.
#[test]
fn leases_grow_old_at_any_time() {
    for start in [0, (1 << 31) - 500, (1 << 32) - 500, u64::MAX / 1000 - 2000] {
        let ring = ring(2, 1, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Live).unwrap();
        assert!(publish(&mut publisher));
        let lease = reader.try_latest().unwrap();
        assert!(publish(&mut publisher));
        for (after, asked) in [(0, 0), (600, 0), (999, 0), (1001, 1)] {
            assert_eq!(publisher.revoke_oldest(at(start + after), GRACE), asked, "{start}+{after}");
        }
        drop(lease);
    }
    // A lease of two months is not a young one.
    let ring = ring(2, 1, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    assert!(publish(&mut publisher));
    let _lease = reader.try_latest().unwrap();
    assert!(publish(&mut publisher));
    assert_eq!(publisher.revoke_oldest(at(0), GRACE), 0);
    assert_eq!(publisher.revoke_oldest(at((1 << 32) + 10), Duration::from_secs(3600)), 1);
    let later = Duration::MAX;
    assert_eq!(publisher.revoke_oldest(later, Duration::MAX), 0, "no time is that long");
}
