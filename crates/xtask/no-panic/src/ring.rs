//! camwire-ring

use crate::opaque::{any, bytes, changed, duration, formatted, info, one_of, perhaps, poll};
use camwire_frame::FrameInfo;
use camwire_ring::{
    CommitError, Follow, Grant, Lease, LeaseError, Policy, Publisher, Reader, ReaderSlot,
    Revocation, Ring, RingMemory, Slot, StaticRing, Uncommitted, WaitList,
};
use core::{
    fmt::{Debug, Display},
    hint::black_box,
    ops::{Deref, DerefMut},
};

pub fn call_all() {
    memory();
    publisher_and_reader();
    wait();
}

pub fn policy() -> Policy {
    one_of([Policy::DropOldest, Policy::DropNewest, Policy::KeepAll])
}

fn memory() {
    let mut memory: RingMemory<3, 1024, 2, FrameInfo> = RingMemory::new();
    changed(&mut memory);
    formatted(|f| <RingMemory<3, 1024, 2, FrameInfo> as Debug>::fmt(&memory, f));
    black_box(RingMemory::ring(&mut memory, policy()));
    black_box(<RingMemory<2, 16, 0> as Default>::default());
    black_box((<Slot as Default>::default(), <ReaderSlot as Default>::default()));
    static STATIC: StaticRing<3, 1024, 2, FrameInfo> = StaticRing::new();
    formatted(|f| <StaticRing<3, 1024, 2, FrameInfo> as Debug>::fmt(&STATIC, f));
    black_box(StaticRing::take(&STATIC, policy()).is_some());
    black_box(<StaticRing<2, 16, 0> as Default>::default());
}

fn wait() {
    let mut list: WaitList<2> = WaitList::new();
    changed(&mut list);
    match poll(WaitList::wait_until(&list, || perhaps(any::<u8>()))) {
        Ok(found) => _ = black_box(found),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    WaitList::wake(&list);
    black_box(<WaitList<1> as Default>::default());
}

/// Slots and places for readers that nothing is known of, not even how many.
fn unknown<'a, T>(one: &'a mut T) -> &'a mut [T] {
    // SAFETY: this is never run.
    unsafe { core::slice::from_raw_parts_mut(one, any::<usize>() >> 8) }
}

fn publisher_and_reader() {
    let (mut slot, mut place) = (Slot::new(), ReaderSlot::new());
    let ring = Ring::new(unknown(&mut slot), unknown(&mut place), bytes(), policy());
    let mut ring = match ring {
        Ok(ring) => ring,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut ring);
    black_box((Ring::policy(&ring), Ring::slot_bytes(&ring)));
    black_box((Ring::slots(&ring), Ring::readers(&ring), Ring::dropped(&ring)));
    let mut publisher = match Ring::publisher(&ring) {
        Ok(publisher) => publisher,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    let follow = one_of([Follow::Live, Follow::Ordered]);
    let mut reader = match Ring::subscribe(&ring, follow) {
        Ok(reader) => reader,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut publisher);
    changed(&mut reader);
    publish(&mut publisher);
    Publisher::detach(publisher);
    read(&mut reader);
}

fn publish(publisher: &mut Publisher<'_, FrameInfo>) {
    black_box(Publisher::ring(publisher));
    match Publisher::try_grant(publisher) {
        Ok(grant) => fill(publisher, grant),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    changed(publisher);
    let grant = poll(Publisher::grant(publisher));
    fill(publisher, grant);
    changed(publisher);
    poll(Publisher::demand(publisher));
    poll(Publisher::no_demand(publisher));
    black_box(Publisher::has_demand(publisher));
    Publisher::skip(publisher);
    changed(publisher);
    Publisher::clear(publisher);
    black_box(Publisher::revoke_oldest(publisher, duration(), duration()));
    Publisher::close(publisher);
    let ring = Publisher::ring(publisher);
    black_box((Ring::has_publisher(ring), Ring::has_ended(ring)));
    Ring::close(ring);
}

fn fill<'r>(publisher: &mut Publisher<'r, FrameInfo>, mut grant: Grant<'r, FrameInfo>) {
    changed(&mut grant);
    black_box(<Grant<'_, FrameInfo> as Deref>::deref(&grant));
    changed(<Grant<'_, FrameInfo> as DerefMut>::deref_mut(&mut grant));
    match Publisher::commit(publisher, grant, info().len, info()) {
        Ok(sequence) => _ = black_box(sequence),
        Err(uncommitted) => {
            formatted(|f| Display::fmt(&uncommitted, f));
            black_box(<CommitError as From<Uncommitted<'_, FrameInfo>>>::from(uncommitted));
        }
    }
}

fn lent(lease: Result<Lease<'_, '_, FrameInfo>, LeaseError>) {
    match lease {
        Ok(lease) => look_at(lease),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
}

fn read(reader: &mut Reader<'_, FrameInfo>) {
    black_box(Reader::ring(reader));
    black_box(Reader::has_ended(reader));
    lent(Reader::try_next(reader));
    changed(reader);
    lent(Reader::try_latest(reader));
    changed(reader);
    poll(Reader::next(reader)).map(look_at);
    changed(reader);
    poll(Reader::latest(reader)).map(look_at);
    changed(reader);
    Reader::repeat(reader).map(look_at);
    Reader::rewind(reader);
}

fn look_at(mut lease: Lease<'_, '_, FrameInfo>) {
    changed(&mut lease);
    black_box((Lease::info(&lease), Lease::sequence(&lease)));
    black_box(Lease::missed(&lease));
    black_box(<Lease<'_, '_, FrameInfo> as Deref>::deref(&lease));
    black_box(Lease::is_revoked(&lease));
    poll(Lease::revoked(&mut lease));
    let (bytes, mut revocation) = Lease::split(&mut lease);
    black_box((bytes, Revocation::is_revoked(&revocation)));
    poll(Revocation::revoked(&mut revocation));
}
