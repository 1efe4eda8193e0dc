//! Everything at once, on threads: two publishers that take turns, grants that are filled and dropped
//! by another thread, readers of both kinds that come and go, leases that end on another thread, items
//! cleared, leases asked back, streams that end.
//!
//! A shadow of each slot, outside of the ring, counts its writer or its readers.
//!
//! `CAMWIRE_RING_SECONDS` says for how long, at most 60 s; by default 10 s.
#![cfg(all(not(loom), feature = "std", feature = "bytes"))]

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use camwire_ring::{
    Follow, Grant, Lease, LeaseError, Policy, Publisher, Reader, Ring, SLOT_ALIGN, Uncommitted,
};

const SLOTS: usize = 6;
const LEN: usize = 2 * SLOT_ALIGN;
const READERS: usize = 3;
const ENOUGH: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is written in each word of an item is also its metadata.
type Tag = u64;

struct Stage {
    ring: &'static Ring<'static, Tag>,
    start: usize,
    /// For each slot: -1 while it is written, else how many read it.
    shadows: [AtomicI32; SLOTS],
    next_tag: AtomicU64,
    published: AtomicU64,
    read: AtomicU64,
    revoked: AtomicU64,
    ends: Instant,
}

impl Stage {
    fn new(policy: Policy, time: Duration) -> Self {
        let ring = Ring::<Tag>::leak(SLOTS, LEN, READERS, policy).unwrap();
        // Slots lie one after the other, so the first one granted is that with the lowest address.
        let mut publisher = ring.publisher().unwrap();
        let grants = [(); SLOTS].map(|()| publisher.try_grant().unwrap());
        let start = grants.iter().map(|grant| grant.as_ptr().addr()).min().unwrap();
        drop(grants);
        publisher.detach();
        Self {
            ring,
            start,
            shadows: [const { AtomicI32::new(0) }; SLOTS],
            next_tag: AtomicU64::new(1),
            published: AtomicU64::new(0),
            read: AtomicU64::new(0),
            revoked: AtomicU64::new(0),
            ends: Instant::now() + time,
        }
    }

    /// On a busy machine threads may get little of the time, so it goes on until enough has happened.
    fn is_over(&self) -> bool {
        let is_enough =
            [&self.published, &self.read].iter().all(|count| count.load(SeqCst) > ENOUGH);
        Instant::now() > self.ends && (is_enough || Instant::now() > self.ends + PATIENCE)
    }

    fn shadow(&self, bytes: &[u8]) -> &AtomicI32 {
        assert_eq!(bytes.as_ptr().addr() % SLOT_ALIGN, 0);
        &self.shadows[(bytes.as_ptr().addr() - self.start) / LEN]
    }

    fn begins_to_write(&self, bytes: &[u8]) {
        let before = self.shadow(bytes).compare_exchange(0, -1, SeqCst, SeqCst);
        assert_eq!(before, Ok(0), "somebody has the slot of a grant");
    }

    fn ends_to_write(&self, bytes: &[u8]) {
        assert_eq!(self.shadow(bytes).swap(0, SeqCst), -1, "somebody came to a grant");
    }

    fn begins_to_read(&self, bytes: &[u8]) {
        assert!(self.shadow(bytes).fetch_add(1, SeqCst) >= 0, "a leased slot is written");
    }

    fn ends_to_read(&self, bytes: &[u8]) {
        assert!(self.shadow(bytes).fetch_sub(1, SeqCst) > 0, "a leased slot was written");
    }

    fn check(&self, bytes: &[u8], tag: Tag) {
        let words = bytes.as_chunks::<8>().0;
        assert!(words.iter().all(|word| u64::from_le_bytes(*word) == tag), "item {tag} is torn");
    }
}

/// Random enough to mix what threads do, and the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Fills or drops the grants that come, and returns those that it has filled.
fn fill_grants(
    stage: &Stage,
    from: &Receiver<Grant<'static, Tag>>,
    to: &SyncSender<(Tag, Grant<'static, Tag>)>,
) {
    for mut grant in from {
        let tag = stage.next_tag.fetch_add(1, SeqCst);
        for word in grant.as_chunks_mut::<8>().0 {
            *word = tag.to_le_bytes();
        }
        if tag.is_multiple_of(17) {
            stage.ends_to_write(&grant);
        } else if to.send((tag, grant)).is_err() {
            return;
        }
    }
}

/// Publishes until the time is over, in turns with another thread that does the same.
fn publish(stage: &Stage, seed: u64) {
    let mut dice = Dice(seed);
    let (to_filler, for_filler) = sync_channel(1);
    let (from_filler, filled) = sync_channel(2);
    thread::scope(|scope| {
        scope.spawn(move || fill_grants(stage, &for_filler, &from_filler));
        let began = Instant::now();
        while !stage.is_over() {
            let Ok(mut publisher) = stage.ring.publisher() else {
                thread::yield_now();
                continue;
            };
            for _ in 0..dice.roll(200) {
                step(stage, &mut publisher, &mut dice, began, &to_filler);
                for (tag, grant) in filled.try_iter() {
                    commit(stage, &mut publisher, tag, grant);
                }
            }
            if dice.roll(8) == 0 { drop(publisher) } else { publisher.detach() }
        }
        drop(to_filler);
        for (_, grant) in &filled {
            stage.ends_to_write(&grant);
        }
    });
}

fn step(
    stage: &Stage,
    publisher: &mut Publisher<'static, Tag>,
    dice: &mut Dice,
    began: Instant,
    to_filler: &SyncSender<Grant<'static, Tag>>,
) {
    match dice.roll(100) {
        0..90 => {
            let grant = match dice.roll(2) {
                0 => publisher.try_grant(),
                _ => publisher.grant_blocking(Duration::from_millis(1)),
            };
            match grant {
                Ok(grant) => {
                    stage.begins_to_write(&grant);
                    to_filler.send(grant).expect("it goes on until this end is dropped");
                }
                Err(_) => {
                    publisher.revoke_oldest(began.elapsed(), Duration::from_millis(3));
                }
            }
        }
        90..95 => publisher.skip(),
        95..97 => publisher.clear(),
        97 => publisher.close(),
        _ => thread::yield_now(),
    }
}

fn commit(
    stage: &Stage,
    publisher: &mut Publisher<'static, Tag>,
    tag: Tag,
    grant: Grant<'static, Tag>,
) {
    stage.ends_to_write(&grant);
    match publisher.commit(grant, LEN, tag) {
        Ok(_) => _ = stage.published.fetch_add(1, SeqCst),
        Err(Uncommitted { grant, .. }) => drop(grant), // The stream has ended.
    }
}

/// Reads until the time is over, with one reader after the other.
fn read(stage: &Stage, seed: u64, to_keeper: &SyncSender<(Tag, Bytes)>) {
    let mut dice = Dice(seed);
    while !stage.is_over() {
        let follow = if dice.roll(2) == 0 { Follow::Live } else { Follow::Ordered };
        let mut reader = stage.ring.subscribe(follow).expect("there is a place for each thread");
        let (mut last, mut is_rewound) = (0, false);
        for _ in 0..dice.roll(500) {
            if dice.roll(50) == 0 {
                reader.rewind();
                is_rewound |= stage.ring.policy() != Policy::KeepAll;
            }
            let next = dice.roll(2) == 0;
            let lease = match take(&mut reader, next, &mut dice) {
                Ok(lease) => lease,
                Err(LeaseError::Ended) => break,
                Err(_) => continue,
            };
            stage.begins_to_read(&lease);
            stage.read.fetch_add(1, SeqCst);
            let sequence = lease.sequence();
            assert!(sequence > last || is_rewound, "in order, none twice");
            last = sequence;
            look_at(stage, lease, &mut dice, to_keeper);
            if dice.roll(10) == 0
                && let Some(again) = reader.repeat()
            {
                stage.begins_to_read(&again);
                assert_eq!((again.sequence(), again.missed()), (sequence, 0));
                stage.check(&again, again.info());
                stage.ends_to_read(&again);
            }
        }
    }
}

fn take<'a>(
    reader: &'a mut Reader<'static, Tag>,
    next: bool,
    dice: &mut Dice,
) -> Result<Lease<'a, 'static, Tag>, LeaseError> {
    let patience = Duration::from_millis(2);
    match (dice.roll(2) == 0, next) {
        (true, true) => reader.try_next(),
        (true, false) => reader.try_latest(),
        (false, true) => reader.next_blocking(patience),
        (false, false) => reader.latest_blocking(patience),
    }
}

fn look_at(
    stage: &Stage,
    lease: Lease<'_, 'static, Tag>,
    dice: &mut Dice,
    to_keeper: &SyncSender<(Tag, Bytes)>,
) {
    stage.check(&lease, lease.info());
    match dice.roll(40) {
        0 => {
            let until = Instant::now() + Duration::from_millis(10);
            while Instant::now() < until && !lease.is_revoked() {
                thread::yield_now();
            }
            stage.revoked.fetch_add(u64::from(lease.is_revoked()), SeqCst);
        }
        1 => {
            // It ends on another thread, at any time after this one.
            let bytes = lease.to_bytes().expect("so many leases there are not");
            stage.begins_to_read(&bytes);
            if let Err(error) = to_keeper.try_send((lease.info(), bytes)) {
                let (std::sync::mpsc::TrySendError::Full((_, bytes))
                | std::sync::mpsc::TrySendError::Disconnected((_, bytes))) = error;
                stage.ends_to_read(&bytes);
            }
        }
        2..8 => thread::yield_now(),
        _ => {}
    }
    stage.check(&lease, lease.info());
    stage.ends_to_read(&lease);
}

fn run(policy: Policy) {
    let seconds = std::env::var("CAMWIRE_RING_SECONDS").ok();
    let seconds: u64 = seconds.map_or(10, |seconds| seconds.parse().expect("a number"));
    let stage = &Stage::new(policy, Duration::from_secs(seconds.min(60)) / 3);
    thread::scope(|scope| {
        let (to_keeper, kept) = sync_channel::<(Tag, Bytes)>(1);
        scope.spawn(move || {
            for (tag, bytes) in kept {
                stage.check(&bytes, tag);
                thread::sleep(Duration::from_micros(300));
                stage.check(&bytes, tag);
                stage.ends_to_read(&bytes);
            }
        });
        for seed in 0..READERS as u64 {
            let to_keeper = to_keeper.clone();
            scope.spawn(move || read(stage, seed, &to_keeper));
        }
        drop(to_keeper);
        for seed in [100, 200] {
            scope.spawn(move || publish(stage, seed));
        }
    });
    assert!(
        stage.shadows.iter().all(|shadow| shadow.load(SeqCst) == 0),
        "everything was given back"
    );
    let [published, read, revoked] =
        [&stage.published, &stage.read, &stage.revoked].map(|count| count.load(SeqCst));
    println!("{policy:?}: {published} published, {read} read, {revoked} asked back");
    assert!(published > ENOUGH && read > ENOUGH);
    // Nothing was lost: every slot can be granted.
    let mut publisher = stage.ring.publisher().unwrap();
    publisher.clear();
    let grants: Vec<_> = std::iter::from_fn(|| publisher.try_grant().ok()).collect();
    assert_eq!(grants.len(), SLOTS);
}

#[test]
fn everything_at_once_on_a_ring_that_drops_the_oldest() {
    run(Policy::DropOldest);
}

#[test]
fn everything_at_once_on_a_ring_that_drops_the_newest() {
    run(Policy::DropNewest);
}

#[test]
fn everything_at_once_on_a_ring_that_keeps_all() {
    run(Policy::KeepAll);
}
