//! The ring against a naive model, driven by bytes: shared by the property test and the fuzzer.

use std::collections::VecDeque;

use camwire_ring::{
    CommitError, Follow, Grant, LeaseError, Policy, Publisher, PublisherError, Reader, Ring,
    RingMemory, Uncommitted,
};

const SLOTS: usize = 3;
const LEN: usize = 16;
const READERS: usize = 3;

/// What the ring should be, written down as simply as it can be: items are numbers, each with
/// the number of its stream.
struct Model {
    policy: Policy,
    /// What the ring offers, oldest first.
    offered: VecDeque<(u64, u64)>,
    /// What is leased, once for each lease.
    leased: Vec<u64>,
    grants: usize,
    next: u64,
    dropped: u32,
    stream: u64,
    has_ended: bool,
    /// Under DropNewest, the last item that some reader took or passed by.
    passed: u64,
    readers: [Option<ModelReader>; READERS],
}

#[derive(Clone, Copy)]
struct ModelReader {
    ordered: bool,
    stream: u64,
    has_ended: bool,
    /// It wants what comes after this one.
    after: u64,
    /// The last that it was lent, and the highest; 0 for none.
    last: u64,
    highest: u64,
    leases: bool,
}

impl Model {
    fn used_slots(&self) -> usize {
        let mut items: Vec<u64> = self.leased.clone();
        items.extend(self.offered.iter().map(|(number, _)| number));
        items.sort_unstable();
        items.dedup();
        items.len() + self.grants
    }

    fn try_grant(&mut self) -> bool {
        while self.used_slots() == SLOTS {
            let Some(&(oldest, _)) = self.offered.front() else { return false };
            // With what it leases a reader is not done.
            let is_done = |r: &ModelReader| r.after > oldest || (r.after == oldest && !r.leases);
            let kept = self.offered.len() == 1
                || match self.policy {
                    Policy::DropOldest => false,
                    Policy::DropNewest => oldest > self.passed,
                    Policy::KeepAll => {
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

    fn commit(&mut self) -> Option<u64> {
        if self.has_ended {
            return None;
        }
        self.grants -= 1;
        self.offered.push_back((self.next, self.stream));
        self.next += 1;
        Some(self.next - 1)
    }

    fn subscribe(&mut self, reader: usize, ordered: bool) {
        let newest = self.offered.back();
        self.readers[reader] = Some(ModelReader {
            ordered,
            stream: self.stream,
            has_ended: false,
            after: newest.map_or(self.next - 1, |(newest, _)| newest - 1),
            last: 0,
            highest: 0,
            leases: false,
        });
    }

    /// What a reader gets next, and how many it missed.
    fn take(&mut self, reader: usize, latest: bool) -> Result<(u64, u64), LeaseError> {
        let state = self.readers[reader].as_mut().expect("there is such a reader");
        if state.has_ended {
            return Err(LeaseError::Ended);
        }
        let mut fresh: VecDeque<(u64, u64)> =
            self.offered.iter().copied().filter(|(number, _)| *number > state.after).collect();
        let is_over = fresh.back().is_some_and(|(_, stream)| *stream > state.stream);
        // Nothing of a later stream is for this reader, and what is of an earlier one it passes by.
        while fresh.pop_back_if(|(_, stream)| *stream > state.stream).is_some() {}
        loop {
            let item = if latest { fresh.pop_back() } else { fresh.pop_front() };
            let Some((number, stream)) = item else {
                if is_over || self.has_ended || self.stream > state.stream {
                    (state.has_ended, state.ordered) = (true, false);
                    return Err(LeaseError::Ended);
                }
                return Err(LeaseError::Empty);
            };
            state.after = number;
            if stream < state.stream {
                if latest {
                    fresh.clear();
                }
                continue;
            }
            let missed = if state.highest == 0 || number <= state.highest {
                0
            } else {
                number - state.highest - 1
            };
            (state.last, state.leases) = (number, true);
            state.highest = state.highest.max(number);
            self.passed = self.passed.max(number);
            self.leased.push(number);
            return Ok((number, missed));
        }
    }

    fn release(&mut self, reader: usize, item: u64) {
        if let Some(state) = self.readers[reader].as_mut() {
            state.leases = false;
        }
        let at = self.leased.iter().position(|p| *p == item).expect("it was leased");
        self.leased.swap_remove(at);
    }

    fn rewind(&mut self, reader: usize) {
        let Some(state) = self.readers[reader].as_mut() else { return };
        if self.policy != Policy::KeepAll {
            state.after = self.offered.front().map_or(self.next, |(oldest, _)| *oldest) - 1;
        }
    }
}

struct Run<'r, 'b> {
    model: Model,
    ring: &'r Ring<'r, u64>,
    publisher: Option<Publisher<'r, u64>>,
    grants: Vec<Grant<'r, u64>>,
    readers: [Option<Reader<'r, u64>>; READERS],
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
    let mut memory = Box::new(RingMemory::<SLOTS, LEN, READERS, u64>::new());
    let ring = memory.ring(policy);
    let model = Model {
        policy,
        offered: VecDeque::new(),
        leased: Vec::new(),
        grants: 0,
        next: 1,
        dropped: 0,
        stream: 0,
        has_ended: false,
        passed: 0,
        readers: [None; READERS],
    };
    let publisher = Some(ring.publisher().expect("the first"));
    assert_eq!(ring.publisher().err(), Some(PublisherError::Taken));
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
            let publisher = self.publisher.as_mut().expect("it is put back");
            match operation & 15 {
                0..=2 => {
                    let expected = self.model.try_grant();
                    let grant = publisher.try_grant();
                    assert_eq!(grant.is_ok(), expected, "a grant");
                    self.grants.extend(grant);
                }
                3..=6 if !self.grants.is_empty() => {
                    let mut grant = self.grants.swap_remove(which % self.grants.len());
                    let number = self.model.next;
                    grant.fill(number as u8);
                    let len = number as usize % LEN;
                    match (publisher.commit(grant, len, number), self.model.commit()) {
                        (Ok(number), expected) => assert_eq!(Some(number), expected),
                        (Err(Uncommitted { error, grant }), expected) => {
                            assert_eq!((error, expected), (CommitError::Closed, None));
                            self.grants.push(grant);
                        }
                    }
                }
                7 if !self.grants.is_empty() => {
                    drop(self.grants.swap_remove(which % self.grants.len()));
                    self.model.grants -= 1;
                }
                8 => {
                    publisher.skip();
                    self.model.next += 1;
                    self.model.dropped += 1;
                }
                9 if self.readers[reader].is_none() && self.model.readers[reader].is_none() => {
                    let ordered = which & 8 != 0;
                    let follow = if ordered { Follow::Ordered } else { Follow::Live };
                    self.readers[reader] = Some(self.ring.subscribe(follow).expect("a place"));
                    self.model.subscribe(reader, ordered);
                }
                10 if self.readers[reader].is_some() => {
                    self.readers[reader] = None;
                    self.model.readers[reader] = None;
                }
                11..=13 => self.lease(reader, operation & 1 != 0),
                14 => return,
                15 => match which {
                    0..=2 => {
                        publisher.clear();
                        self.model.offered.clear();
                    }
                    3..=5 => {
                        publisher.close();
                        self.model.has_ended = true;
                    }
                    6..=7 => self.replace_publisher(|publisher| drop(publisher), true),
                    8..=9 => self.replace_publisher(|publisher| publisher.detach(), false),
                    _ => {
                        if let Some(state) = &mut self.readers[reader] {
                            state.rewind();
                            self.model.rewind(reader);
                        }
                    }
                },
                _ => {}
            }
            assert_eq!(self.ring.dropped(), self.model.dropped);
            assert_eq!(self.ring.has_ended(), self.model.has_ended);
            for (reader, model) in self.readers.iter().zip(&self.model.readers) {
                if let (Some(reader), Some(state)) = (reader, model) {
                    let is_over = self.model.has_ended || self.model.stream != state.stream;
                    assert_eq!(reader.has_ended(), is_over);
                }
            }
        }
    }

    /// A publisher leaves, and another comes.
    fn replace_publisher(&mut self, leave: fn(Publisher<'_, u64>), ends: bool) {
        self.publisher.take().map(leave);
        self.publisher = self.ring.publisher().ok();
        if ends || self.model.has_ended {
            self.model.stream += 1;
            self.model.has_ended = false;
        }
    }

    /// A reader takes an item and keeps it while other things go on.
    fn lease(&mut self, number: usize, latest: bool) {
        let Some(mut reader) = self.readers[number].take() else { return };
        let expected = self.model.take(number, latest);
        let had = match if latest { reader.try_latest() } else { reader.try_next() } {
            Err(error) => Err(error),
            Ok(lease) => {
                let (sequence, missed) = (lease.sequence(), lease.missed());
                assert_eq!(Ok((sequence, missed)), expected);
                self.go();
                let length = sequence as usize % LEN;
                assert_eq!(*lease, vec![sequence as u8; length][..], "it stayed as it was");
                assert_eq!(lease.info(), sequence);
                self.model.release(number, sequence);
                Ok((sequence, missed))
            }
        };
        assert_eq!(had, expected);
        if let Ok((sequence, _)) = had {
            let again = reader.repeat().map(|lease| (lease.sequence(), lease.missed()));
            let offered = self.model.offered.iter().any(|(number, _)| *number == sequence);
            assert_eq!(again, offered.then_some((sequence, 0)), "once more");
        }
        self.readers[number] = Some(reader);
    }
}
