//! The ring against a naive model, driven by bytes: shared by the property test and the fuzzer.

use std::collections::VecDeque;

use camwire_frame::{FrameInfo, Instant};
use camwire_ring::{Follow, FrameRing, Grant, Policy, Publisher, Reader, RingMemory};

const SLOTS: usize = 3;
const LEN: usize = 16;
const READERS: usize = 3;

/// What the ring should be, written down as simply as it can be: pictures are numbers.
struct Model {
    policy: Policy,
    /// What the ring offers, oldest first.
    offered: VecDeque<u64>,
    /// What is leased, once for each lease.
    leased: Vec<u64>,
    grants: usize,
    next: u64,
    dropped: u32,
    /// Under DropNewest, the last picture that some reader took or passed by.
    passed: u64,
    /// Each reader's last picture, and under KeepAll what it holds on to.
    readers: [Option<ModelReader>; READERS],
}

#[derive(Clone, Copy)]
struct ModelReader {
    ordered: bool,
    last: u64,
    started: bool,
    /// It leases `last`.
    leases: bool,
}

impl Model {
    fn used_slots(&self) -> usize {
        let mut pictures: Vec<u64> = self.leased.clone();
        pictures.extend(&self.offered);
        pictures.sort_unstable();
        pictures.dedup();
        pictures.len() + self.grants
    }

    fn try_grant(&mut self) -> bool {
        while self.used_slots() == SLOTS {
            let Some(&oldest) = self.offered.front() else { return false };
            let kept = self.offered.len() == 1
                || match self.policy {
                    Policy::DropOldest => false,
                    Policy::DropNewest => oldest > self.passed,
                    Policy::KeepAll => {
                        let is_done =
                            |r: &ModelReader| r.last > oldest || (r.last == oldest && !r.leases);
                        self.readers.iter().flatten().any(|r| r.ordered && !is_done(r))
                    }
                };
            if kept {
                return false;
            }
            self.offered.pop_front();
        }
        self.grants += 1;
        true
    }

    fn commit(&mut self) -> u64 {
        self.grants -= 1;
        self.offered.push_back(self.next);
        self.next += 1;
        self.next - 1
    }

    /// What a reader gets next, and how many it missed.
    fn take(&mut self, reader: usize, latest: bool) -> Option<(u64, u64)> {
        let state = self.readers[reader].as_mut()?;
        let mut fresh = self.offered.iter().copied().filter(|p| *p > state.last);
        let picture = if latest { fresh.next_back() } else { fresh.next() }?;
        let missed = if state.started { picture - state.last - 1 } else { 0 };
        (state.last, state.started, state.leases) = (picture, true, true);
        self.passed = self.passed.max(picture);
        self.leased.push(picture);
        Some((picture, missed))
    }

    fn release(&mut self, reader: usize, picture: u64) {
        if let Some(state) = self.readers[reader].as_mut() {
            state.leases = false;
        }
        let at = self.leased.iter().position(|p| *p == picture).expect("it was leased");
        self.leased.swap_remove(at);
    }
}

struct Run<'r, 'b> {
    model: Model,
    ring: &'r FrameRing<'r>,
    publisher: Publisher<'r>,
    grants: Vec<Grant<'r>>,
    readers: [Option<Reader<'r>>; READERS],
    operations: core::slice::Iter<'b, u8>,
}

/// Does what `operations` say to a ring and to the model, and compares.
pub(crate) fn run(operations: &[u8]) {
    let mut operations = operations.iter();
    let policy = match operations.next().map_or(0, |b| b % 3) {
        0 => Policy::DropOldest,
        1 => Policy::DropNewest,
        _ => Policy::KeepAll,
    };
    let mut memory = Box::new(RingMemory::<SLOTS, LEN, READERS>::new());
    let ring = memory.ring(policy);
    let model = Model {
        policy,
        offered: VecDeque::new(),
        leased: Vec::new(),
        grants: 0,
        next: 1,
        dropped: 0,
        passed: 0,
        readers: [None; READERS],
    };
    let publisher = ring.publisher().expect("the first");
    assert!(ring.publisher().is_none(), "there is one already");
    let readers = [const { None }; READERS];
    let ring = &ring;
    Run { model, ring, publisher, grants: Vec::new(), readers, operations }.go();
}

impl Run<'_, '_> {
    /// Goes on until the operations end or say that the innermost lease does.
    fn go(&mut self) {
        while let Some(&operation) = self.operations.next() {
            let which = usize::from(operation >> 4);
            let reader = which % READERS;
            match operation & 15 {
                0..=2 => {
                    let expected = self.model.try_grant();
                    let grant = self.publisher.try_grant();
                    assert_eq!(grant.is_ok(), expected, "a grant");
                    self.grants.extend(grant);
                }
                3..=6 if !self.grants.is_empty() => {
                    let mut grant = self.grants.swap_remove(which % self.grants.len());
                    let number = self.model.commit();
                    grant.fill(number as u8);
                    let info = FrameInfo {
                        len: number as usize % LEN,
                        captured_at: Instant::from_micros(number),
                        ..FrameInfo::default()
                    };
                    assert_eq!(self.publisher.commit(grant, info), Ok(number));
                }
                7 if !self.grants.is_empty() => {
                    drop(self.grants.swap_remove(which % self.grants.len()));
                    self.model.grants -= 1;
                }
                8 => {
                    self.publisher.skip();
                    self.model.next += 1;
                    self.model.dropped += 1;
                }
                9 if self.readers[reader].is_none() && self.model.readers[reader].is_none() => {
                    let ordered = which & 8 != 0;
                    let follow = if ordered { Follow::Ordered } else { Follow::Live };
                    self.readers[reader] = Some(self.ring.subscribe(follow).expect("a place"));
                    let newest = self.model.offered.back();
                    let last = newest.map_or(self.model.next - 1, |newest| newest - 1);
                    let (started, leases) = (false, false);
                    self.model.readers[reader] =
                        Some(ModelReader { ordered, last, started, leases });
                }
                10 if self.readers[reader].is_some() => {
                    self.readers[reader] = None;
                    self.model.readers[reader] = None;
                }
                11..=13 => self.lease(reader, operation & 1 != 0),
                14 => return,
                15 if which == 0 => {
                    self.publisher.clear();
                    self.model.offered.clear();
                }
                _ => {}
            }
            assert_eq!(self.ring.dropped(), self.model.dropped);
        }
    }

    /// A reader takes a picture and keeps it while other things go on.
    fn lease(&mut self, number: usize, latest: bool) {
        let Some(mut reader) = self.readers[number].take() else { return };
        let expected = self.model.take(number, latest);
        let had = match if latest { reader.try_latest() } else { reader.try_next() } {
            None => None,
            Some(lease) => {
                let (sequence, missed) = (lease.sequence(), lease.missed());
                assert_eq!(Some((sequence, missed)), expected);
                self.go();
                let length = sequence as usize % LEN;
                assert_eq!(*lease, vec![sequence as u8; length][..], "it stayed as it was");
                assert_eq!(lease.info().captured_at, Instant::from_micros(sequence));
                self.model.release(number, sequence);
                Some((sequence, missed))
            }
        };
        assert_eq!(had, expected);
        if let Some((sequence, _)) = had {
            let again = reader.repeat().map(|lease| (lease.sequence(), lease.missed()));
            let offered = self.model.offered.contains(&sequence);
            assert_eq!(again, offered.then_some((sequence, 0)), "once more");
        }
        self.readers[number] = Some(reader);
    }
}
