//! Streams and their ends, what errors say, and what is counted.
#![cfg(all(not(loom), feature = "std"))]

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use camwire_ring::{
    CommitError, Follow, GrantError, LeaseError, Policy, Publisher, PublisherError, Reader, Ring,
    SubscribeError, Uncommitted,
};

fn ring(slots: usize, readers: usize, policy: Policy) -> &'static Ring<'static> {
    Ring::leak(slots, 8, readers, policy).unwrap()
}

fn publish(publisher: &mut Publisher<'_>) -> u64 {
    let grant = publisher.try_grant().unwrap();
    publisher.commit(grant, 0, ()).unwrap()
}

fn next(reader: &mut Reader<'_>) -> Result<(u64, u64), LeaseError> {
    reader.try_next().map(|lease| (lease.sequence(), lease.missed()))
}

fn latest(reader: &mut Reader<'_>) -> Result<(u64, u64), LeaseError> {
    reader.try_latest().map(|lease| (lease.sequence(), lease.missed()))
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

use Follow::{Live, Ordered};
use LeaseError::{Empty, Ended};

#[test]
fn a_reader_gets_the_end_of_its_stream_although_the_next_has_begun() {
    for publishers in 1..4 {
        let ring = ring(8, 4, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let [mut all, mut newest] = [(); 2].map(|()| ring.subscribe(Ordered).unwrap());
        let mut waits = ring.subscribe(Live).unwrap();
        let mut waiting = pin!(async { waits.next().await.map(|lease| lease.sequence()) });
        assert_eq!(poll(waiting.as_mut()), Poll::Pending);
        assert_eq!([publish(&mut publisher), publish(&mut publisher)], [1, 2]);
        for _ in 0..publishers {
            drop(publisher);
            publisher = ring.publisher().unwrap();
            publish(&mut publisher);
        }
        assert_eq!(poll(waiting.as_mut()), Poll::Ready(Some(1)));
        assert_eq!([latest(&mut newest), latest(&mut newest)], [Ok((2, 0)), Err(Ended)]);
        assert!(all.has_ended() && newest.has_ended() && !ring.has_ended());
        let got = [(); 4].map(|()| next(&mut all));
        assert_eq!(got, [Ok((1, 0)), Ok((2, 0)), Err(Ended), Err(Ended)]);
        publish(&mut publisher);
        assert_eq!((next(&mut all), latest(&mut newest)), (Err(Ended), Err(Ended)));
        assert!(poll(pin!(async { all.next().await.is_none() })).is_ready());
        // Who comes now follows the new stream, and gets nothing of the old ones.
        let mut new = ring.subscribe(Live).unwrap();
        new.rewind();
        assert_eq!(next(&mut new), Ok((2 + publishers, 0)));
        assert_eq!((next(&mut new), next(&mut new)), (Ok((3 + publishers, 0)), Err(Empty)));
    }
}

#[test]
fn a_reader_of_an_ended_stream_holds_nobody_back() {
    let ring = ring(3, 2, Policy::KeepAll);
    let mut publisher = ring.publisher().unwrap();
    let mut old = ring.subscribe(Ordered).unwrap();
    publish(&mut publisher);
    drop(publisher);
    let mut publisher = ring.publisher().unwrap();
    let mut new = ring.subscribe(Ordered).unwrap();
    assert_eq!(
        (next(&mut old), next(&mut old), next(&mut new)),
        (Ok((1, 0)), Err(Ended), Err(Empty))
    );
    for number in 2..10 {
        assert_eq!(publish(&mut publisher), number);
        assert_eq!(next(&mut new), Ok((number, 0)));
    }
    assert!(new.try_next().is_err() && !new.has_ended());
}

#[test]
fn a_publisher_that_detaches_hands_its_stream_on() {
    let ring = ring(4, 1, Policy::DropOldest);
    let mut reader = ring.subscribe(Live).unwrap();
    for number in 1..=3 {
        let mut publisher = ring.publisher().unwrap();
        assert!(ring.has_publisher());
        assert_eq!(publish(&mut publisher), number);
        publisher.detach();
        assert!(!ring.has_publisher());
        assert_eq!((next(&mut reader), next(&mut reader)), (Ok((number, 0)), Err(Empty)));
    }
    // Unless it has ended it.
    let mut publisher = ring.publisher().unwrap();
    publisher.close();
    publisher.detach();
    assert_eq!(next(&mut reader), Err(Ended));
    let _publisher = ring.publisher().unwrap();
    assert_eq!(next(&mut reader), Err(Ended));
}

#[test]
fn a_closed_ring_stays_closed() {
    for has_publisher in [false, true] {
        let ring = ring(4, 2, Policy::DropOldest);
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Live).unwrap();
        publish(&mut publisher);
        let publisher = if has_publisher {
            Some(publisher)
        } else {
            publisher.detach();
            None
        };
        ring.close();
        assert!(ring.has_ended() && reader.has_ended());
        if let Some(mut publisher) = publisher {
            let mut grant = publisher.try_grant().unwrap();
            grant[0] = 7;
            let Uncommitted { error, grant } = publisher.commit(grant, 0, ()).unwrap_err();
            assert_eq!((error, grant[0]), (CommitError::Closed, 7));
            assert_eq!(ring.publisher().err(), Some(PublisherError::Closed));
        }
        assert_eq!(ring.publisher().err(), Some(PublisherError::Closed));
        let mut late = ring.subscribe(Live).unwrap();
        for reader in [&mut reader, &mut late] {
            assert_eq!((next(reader), next(reader)), (Ok((1, 0)), Err(Ended)));
        }
    }
}

#[test]
fn not_yet_and_never_are_told_apart() {
    let ring = ring(3, 1, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Live).unwrap();
    assert_eq!((next(&mut reader), latest(&mut reader)), (Err(Empty), Err(Empty)));
    let short = Duration::from_millis(1);
    assert_eq!(reader.next_blocking(short).err(), Some(Empty));
    assert_eq!(reader.latest_blocking(short).err(), Some(Empty));
    let _grants = [(); 3].map(|()| publisher.try_grant().unwrap());
    assert_eq!(publisher.grant_blocking(short).err(), Some(GrantError::Full));
    publisher.close();
    assert_eq!((next(&mut reader), latest(&mut reader)), (Err(Ended), Err(Ended)));
    assert_eq!(reader.next_blocking(Duration::MAX).err(), Some(Ended));
    assert_eq!(reader.latest_blocking(Duration::MAX).err(), Some(Ended));
    assert_eq!(ring.subscribe(Live).err(), Some(SubscribeError::TooManyReaders));
}

#[test]
fn a_wait_that_is_over_says_nothing_more() {
    let ring = ring(3, 1, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Live).unwrap();
    publish(&mut publisher);
    let mut waiting = pin!(reader.next());
    let Poll::Ready(Some(lease)) = poll(waiting.as_mut()) else { panic!("one was published") };
    assert_eq!(lease.sequence(), 1);
    drop(lease);
    publish(&mut publisher);
    assert!(poll(waiting.as_mut()).is_pending());
}

#[test]
fn a_grant_that_cannot_be_committed_is_given_back() {
    let [here, there] = [(); 2].map(|()| ring(2, 1, Policy::DropOldest));
    let mut publisher = here.publisher().unwrap();
    let mut grant = publisher.try_grant().unwrap();
    grant.fill(5);
    let Uncommitted { error, grant } = publisher.commit(grant, 9, ()).unwrap_err();
    assert_eq!(error, CommitError::TooLong);
    let mut elsewhere = there.publisher().unwrap();
    let uncommitted = elsewhere.commit(grant, 8, ()).unwrap_err();
    assert_eq!(uncommitted.to_string(), "the grant is of another ring");
    assert_eq!(CommitError::from(publisher.commit(uncommitted.grant, 9, ()).unwrap_err()), error);
    let grant = publisher.try_grant().expect("that one was given up");
    assert_eq!(publisher.commit(grant, 8, ()).unwrap(), 1, "a refusal uses up no number");
}

#[test]
fn what_is_missed_is_counted_once() {
    for policy in [Policy::DropOldest, Policy::DropNewest] {
        let ring = ring(3, 2, policy);
        let mut publisher = ring.publisher().unwrap();
        let mut other = ring.subscribe(Live).unwrap();
        let mut reader = ring.subscribe(Live).unwrap();
        publish(&mut publisher);
        assert_eq!(next(&mut reader), Ok((1, 0)));
        // Another reader has all, so that there is room for what comes.
        let mut publish = || {
            let number = publish(&mut publisher);
            assert!(other.try_latest().is_ok());
            number
        };
        while publish() < 6 {}
        reader.rewind();
        assert_eq!(next(&mut reader), Ok((4, 2)), "the second and the third");
        assert_eq!(latest(&mut reader), Ok((6, 1)));
        reader.rewind();
        let again = [(); 4].map(|()| next(&mut reader));
        assert_eq!(again, [Ok((4, 0)), Ok((5, 0)), Ok((6, 0)), Err(Empty)]);
        reader.rewind();
        assert_eq!(next(&mut reader), Ok((4, 0)));
        while publish() < 10 {}
        assert_eq!(next(&mut reader), Ok((8, 1)), "only the seventh was never offered to it");
        assert_eq!(reader.repeat().map(|lease| (lease.sequence(), lease.missed())), Some((8, 0)));
    }
}

#[test]
fn a_skipped_number_is_missed() {
    let ring = ring(3, 1, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Live).unwrap();
    publish(&mut publisher);
    assert_eq!(next(&mut reader), Ok((1, 0)));
    publisher.skip();
    publisher.skip();
    assert_eq!((publish(&mut publisher), ring.dropped()), (4, 2));
    assert_eq!(next(&mut reader), Ok((4, 2)));
}

#[test]
fn items_had_before_rewinding_are_not_missed() {
    let ring = ring(4, 1, Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Live).unwrap();
    let mut publish = || {
        let grant = publisher.try_grant().unwrap();
        publisher.commit(grant, 0, ()).unwrap()
    };
    assert_eq!([publish(), publish(), publish()], [1, 2, 3]);
    let numbers = |lease: camwire_ring::Lease<'_, '_>| (lease.sequence(), lease.missed());
    assert_eq!(reader.try_latest().map(numbers), Ok((3, 0)));
    reader.rewind();
    assert_eq!(reader.try_next().map(numbers), Ok((1, 0)));
    assert_eq!(reader.try_latest().map(numbers), Ok((3, 0)), "the second is no loss");
    assert_eq!(publish(), 4);
    assert_eq!(publish(), 5);
    assert_eq!(reader.try_latest().map(numbers), Ok((5, 1)), "the fourth is");
}
