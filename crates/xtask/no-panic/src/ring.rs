//! camwire-ring

use crate::frame::setting_name;
use crate::opaque::{Peer, any, bytes, changed, duration, formatted, info, instant, one_of, poll};
use camwire_ring::{
    CommitError, Follow, FrameLease, FrameRing, Grant, LeaseError, Policy, Publisher, Reader,
    ReaderSlot, Revocation, RingMemory, Settings, Slot, SourceState, SourceStatus, Uncommitted,
};
use core::{
    fmt::Display,
    hint::black_box,
    ops::{Deref, DerefMut},
};

pub fn call_all() {
    memory();
    publisher_and_reader();
    status();
    settings();
}

pub fn policy() -> Policy {
    one_of([Policy::DropOldest, Policy::DropNewest, Policy::KeepAll])
}

fn memory() {
    let mut memory: RingMemory<3, 1024, 2> = RingMemory::new();
    changed(&mut memory);
    black_box(RingMemory::ring(&mut memory, policy()));
    black_box(<RingMemory<2, 16, 0> as Default>::default());
    black_box((<Slot as Default>::default(), <ReaderSlot as Default>::default()));
}

/// Slots and places for readers that nothing is known of, not even how many.
fn unknown<'a, T>(one: &'a mut T) -> &'a mut [T] {
    // SAFETY: this is never run.
    unsafe { core::slice::from_raw_parts_mut(one, any::<usize>() >> 8) }
}

fn publisher_and_reader() {
    let (mut slot, mut place) = (Slot::new(), ReaderSlot::new());
    let ring = FrameRing::new(unknown(&mut slot), unknown(&mut place), bytes(), policy());
    let mut ring = match ring {
        Ok(ring) => ring,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut ring);
    black_box((FrameRing::policy(&ring), FrameRing::slot_bytes(&ring)));
    black_box((FrameRing::slots(&ring), FrameRing::readers(&ring), FrameRing::dropped(&ring)));
    let mut publisher = match FrameRing::publisher(&ring) {
        Ok(publisher) => publisher,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    let follow = one_of([Follow::Live, Follow::Ordered]);
    let mut reader = match FrameRing::subscribe(&ring, follow) {
        Ok(reader) => reader,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut publisher);
    changed(&mut reader);
    publish(&mut publisher);
    Publisher::detach(publisher);
    read(&mut reader);
}

fn publish(publisher: &mut Publisher<'_>) {
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
    black_box(Publisher::revoke_oldest(publisher, instant(), duration()));
    Publisher::close(publisher);
    let ring = Publisher::ring(publisher);
    black_box((FrameRing::has_publisher(ring), FrameRing::has_ended(ring)));
    FrameRing::close(ring);
}

fn fill<'r>(publisher: &mut Publisher<'r>, mut grant: Grant<'r>) {
    changed(&mut grant);
    black_box(<Grant<'_> as Deref>::deref(&grant));
    changed(<Grant<'_> as DerefMut>::deref_mut(&mut grant));
    match Publisher::commit(publisher, grant, info().len, info()) {
        Ok(sequence) => _ = black_box(sequence),
        Err(uncommitted) => {
            formatted(|f| Display::fmt(&uncommitted, f));
            black_box(<CommitError as From<Uncommitted<'_>>>::from(uncommitted));
        }
    }
}

fn lent(lease: Result<FrameLease<'_, '_>, LeaseError>) {
    match lease {
        Ok(lease) => look_at(lease),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
}

fn read(reader: &mut Reader<'_>) {
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

fn look_at(mut lease: FrameLease<'_, '_>) {
    changed(&mut lease);
    black_box((FrameLease::info(&lease), FrameLease::sequence(&lease)));
    black_box(FrameLease::missed(&lease));
    black_box(<FrameLease<'_, '_> as Deref>::deref(&lease));
    black_box(FrameLease::is_revoked(&lease));
    poll(FrameLease::revoked(&mut lease));
    let (bytes, mut revocation) = FrameLease::split(&mut lease);
    black_box((bytes, Revocation::is_revoked(&revocation)));
    poll(Revocation::revoked(&mut revocation));
}

fn status() {
    let mut status = SourceStatus::new("camera");
    changed(&mut status);
    black_box(SourceState::as_str(SourceStatus::state(&status)));
    black_box(SourceStatus::kind(&status));
    black_box((SourceStatus::captured(&status), SourceStatus::errors(&status)));
    black_box(SourceStatus::size(&status));
    black_box(SourceStatus::millihertz(&status, instant()));
    black_box(SourceStatus::quiet(&status, instant()));
    SourceStatus::idle(&status);
    SourceStatus::starting(&status, instant());
    SourceStatus::published(&status, &info(), one_of([None, Some(instant())]), instant());
    SourceStatus::passed_over(&status, instant());
    SourceStatus::repeated(&status, instant());
    SourceStatus::failed(&status, format_args!("{}", any::<u32>()));
    black_box(SourceStatus::write_error(&status, &mut Peer).is_ok());
}

fn settings() {
    let mut settings = <Settings as Default>::default();
    changed(&mut settings);
    black_box(Settings::get(&settings, setting_name()));
    black_box(Settings::new());
}
