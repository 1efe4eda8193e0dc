//! Leases that outlive their reader, as `Bytes`.
#![cfg(feature = "bytes")]

use camwire_ring::{Follow, Grant, Lease, Policy, Publisher, Reader, Ring};

fn publish(publisher: &mut Publisher<'_>, number: u8) -> bool {
    let Ok(mut grant) = publisher.try_grant() else { return false };
    grant[..3].fill(number);
    publisher.commit(grant, 3, ()).is_ok()
}

#[test]
fn bytes_are_a_lease_of_their_own() {
    let ring = Ring::<()>::leak(2, 8, 1, Policy::DropOldest).unwrap();
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    assert!(publish(&mut publisher, 1));
    let bytes = reader.try_latest().unwrap().to_bytes().unwrap();
    drop(reader);
    let clone = bytes.clone();
    assert!(publish(&mut publisher, 2), "the other slot is free");
    assert!(!publish(&mut publisher, 3), "the first is leased, the second holds the newest");
    drop(bytes);
    assert!(!publish(&mut publisher, 3), "still leased by the clone");
    assert_eq!(*clone, [1; 3]);
    drop(clone);
    assert!(publish(&mut publisher, 3));
}

/// They may all cross threads.
#[test]
fn threads() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<Ring<'_>>();
    is_sync::<Ring<'_>>();
    is_send::<Publisher<'_>>();
    is_send::<Grant<'_>>();
    is_send::<Reader<'_>>();
    is_send::<Lease<'_, '_>>();
    is_sync::<Lease<'_, '_>>();
}
