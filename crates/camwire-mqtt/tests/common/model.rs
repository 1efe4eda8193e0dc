//! The reassembler of the framed layout against a naive one, driven by bytes: shared by the
//! property test and the fuzzer.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use camwire_frame::Instant;
use camwire_mqtt::{
    Chunker, Delivery, Event, HeaderError, Lost, PartHeader, Patience, Reassembler, Refused,
    checksum,
};

use super::{LEAST, PREFIX, messages, picture};

const K: usize = 2;
const TOPIC: &str = "cam/1/frame";

/// The rules, written down with maps and without an eye to memory or speed.
struct Model {
    patience: Patience,
    /// Length of the buffer in each place.
    buffers: [Option<usize>; K],
    /// The picture in each place.
    pictures: HashMap<usize, Begun>,
    current: u32,
    adopted: bool,
    heard: Instant,
    former: VecDeque<u32>,
    settled: Option<u64>,
    /// The header of the last picture that was given back, but for what differs from part to part.
    given: Option<PartHeader>,
    /// Lost ones that are still to be told, one by one or in ranges.
    lost: Vec<Lost>,
}

struct Begun {
    /// The header of the first part that came, but for what differs from part to part.
    header: PartHeader,
    part_bytes: usize,
    parts: BTreeMap<u16, Vec<u8>>,
    last_at: Instant,
    first_at: Instant,
    whole_since: Option<Instant>,
}

impl Begun {
    fn id(&self) -> (u32, u64) {
        (self.header.stream, self.header.sequence)
    }

    fn joined(&self) -> Vec<u8> {
        self.parts.values().flatten().copied().collect()
    }
}

#[derive(Debug, PartialEq)]
enum Seen {
    Picture(Vec<u8>, Option<u64>, Instant),
    Lost(Lost),
}

impl Model {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            buffers: [None; K],
            pictures: HashMap::new(),
            current: 0,
            adopted: false,
            heard: Instant::ZERO,
            former: VecDeque::new(),
            settled: None,
            given: None,
            lost: Vec::new(),
        }
    }

    fn remove(&mut self, which: impl Fn(&Begun) -> bool) -> Vec<(u32, u64)> {
        let gone: Vec<usize> = self
            .pictures
            .iter()
            .filter(|(_, begun)| begun.whole_since.is_none() && which(begun))
            .map(|(&place, _)| place)
            .collect();
        gone.into_iter().map(|place| self.pictures.remove(&place).unwrap().id()).collect()
    }

    fn lose(&mut self, ids: &[(u32, u64)]) {
        let of_current = ids.iter().filter(|(stream, _)| *stream == self.current);
        let Some(last) = of_current.map(|(_, sequence)| *sequence).max() else { return };
        let older = |begun: &Begun| begun.id().0 == self.current && begun.id().1 < last;
        if !self.pictures.values().any(older) {
            self.settle(last);
        }
    }

    fn settle(&mut self, last: u64) {
        if let Some(settled) = self.settled.filter(|&settled| settled < last) {
            self.lost.push(Lost { first: settled + 1, last });
            self.settled = Some(last);
        }
    }

    fn expire(&mut self, now: Instant) {
        let patience = self.patience.for_parts;
        let gone = self.remove(|begun| now.saturating_since(begun.last_at) >= patience);
        self.lose(&gone);
    }

    fn push(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        self.expire(now);
        let (header, body) = PartHeader::decode(payload)?;
        let silent = now.saturating_since(self.heard) >= self.patience.for_parts;
        if header.stream != self.current && self.former.contains(&header.stream) && !silent {
            return Err(Refused::FormerStream);
        }
        if self.given == Some(of_picture(header)) {
            if header.stream == self.current {
                self.heard = now;
            }
            return Err(Refused::Late);
        }
        if header.stream == self.current && self.settled.is_some_and(|s| header.sequence <= s) {
            if !silent {
                return Err(Refused::Late);
            }
            self.settled = None;
        }
        let part_bytes = match header.count {
            1 => body.len(),
            count if header.index + 1 == count => header.offset as usize / usize::from(count - 1),
            _ => body.len(),
        };
        let id = (header.stream, header.sequence);
        let found = self.pictures.iter().find(|(_, begun)| begun.id() == id);
        let place = match found {
            Some((&place, _)) => place,
            None => {
                let place = self.place(&header)?;
                let begun = Begun {
                    header,
                    part_bytes,
                    parts: BTreeMap::new(),
                    last_at: now,
                    first_at: now,
                    whole_since: None,
                };
                self.pictures.insert(place, begun);
                place
            }
        };
        let begun = self.pictures.get_mut(&place).unwrap();
        if begun.whole_since.is_some() {
            return Err(Refused::Duplicate);
        }
        let alike = PartHeader { index: 0, offset: 0, ..header }
            == PartHeader { index: 0, offset: 0, ..begun.header };
        if !alike || begun.part_bytes != part_bytes {
            return Err(Refused::Inconsistent);
        }
        if begun.parts.contains_key(&header.index) {
            return Err(Refused::Duplicate);
        }
        begun.parts.insert(header.index, body.to_vec());
        begun.last_at = now;
        let complete = begun.parts.len() == usize::from(header.count);
        let right = checksum(&begun.joined()) == header.checksum
            && camwire_frame::jpeg::inspect(&begun.joined()).is_ok();
        if header.stream == self.current {
            self.heard = now;
        }
        if complete && !right {
            self.pictures.remove(&place);
            self.lose(&[id]);
            return Err(Refused::Broken);
        }
        if complete {
            begun_whole(&mut self.pictures, place, now);
            if header.stream != self.current {
                let former = self.current;
                self.remove(|begun| begun.id().0 == former);
                if self.adopted {
                    self.former.push_front(former);
                    self.former.truncate(4);
                }
                self.adopted = true;
                self.current = header.stream;
                self.heard = now;
                self.settled = None;
            }
        }
        Ok(())
    }

    fn place(&mut self, header: &PartHeader) -> Result<usize, Refused> {
        let needed = header.total as usize;
        match self.buffers.iter().flatten().max() {
            None => return Err(Refused::NoBuffer),
            Some(&largest) if largest < needed => return Err(Refused::TooLarge { needed }),
            Some(_) => {}
        }
        let free = (0..K).filter(|place| !self.pictures.contains_key(place));
        let free = free.filter(|&place| self.buffers[place].is_some());
        if let Some(place) = free.max_by_key(|&place| self.buffers[place])
            && self.buffers[place] >= Some(needed)
        {
            return Ok(place);
        }
        // Another must give way.
        let unfinished = || self.pictures.iter().filter(|(_, begun)| begun.whole_since.is_none());
        let of_current = unfinished().filter(|(_, begun)| begun.id().0 == self.current).count();
        let may_go = |begun: &Begun| {
            let (stream, sequence) = begun.id();
            if stream == header.stream {
                sequence < header.sequence
            } else {
                stream != self.current || of_current > 1
            }
        };
        // The order in which they have to.
        let rank = |begun: &Begun| {
            let (stream, sequence) = begun.id();
            let nonsense = stream != header.stream && stream != self.current;
            if nonsense && header.stream == self.current {
                (0, begun.last_at.as_micros())
            } else if stream == header.stream {
                (1, sequence)
            } else if nonsense {
                (2, begun.last_at.as_micros())
            } else {
                (3, sequence)
            }
        };
        let goes = unfinished()
            .filter(|(place, begun)| self.buffers[**place] >= Some(needed) && may_go(begun))
            .min_by_key(|(place, begun)| (rank(begun), **place));
        let Some((&place, _)) = goes else {
            let newer =
                |begun: &Begun| begun.id().0 == header.stream && begun.id().1 > header.sequence;
            let late = unfinished().any(|(_, begun)| newer(begun));
            return Err(if late { Refused::Late } else { Refused::NoBuffer });
        };
        let gone = self.pictures.remove(&place).unwrap().id();
        self.lose(&[gone]);
        Ok(place)
    }

    fn poll(&mut self, now: Instant) -> Option<Seen> {
        self.expire(now);
        let next = if self.lost.is_empty() { self.next(now) } else { None };
        if let Some(place) = next {
            let (stream, sequence) = self.pictures[&place].id();
            if stream == self.current {
                self.remove(|begun| begun.id().0 == stream && begun.id().1 < sequence);
                self.settle(sequence.saturating_sub(1));
            }
        }
        if let (Some(first), Some(last)) = (self.lost.first(), self.lost.last()) {
            let lost = Lost { first: first.first, last: last.last };
            self.lost.clear();
            return Some(Seen::Lost(lost));
        }
        let place = next?;
        let begun = self.pictures.remove(&place).unwrap();
        self.given = Some(of_picture(begun.header));
        self.buffers[place] = None;
        if begun.id().0 == self.current {
            self.settled = Some(begun.id().1);
        }
        Some(Seen::Picture(begun.joined(), Some(begun.id().1), begun.first_at))
    }

    fn next(&self, now: Instant) -> Option<usize> {
        let whole = self.pictures.iter().filter(|(_, begun)| begun.whole_since.is_some());
        let order = |begun: &Begun| (begun.id().0 == self.current, begun.id().1);
        let (&place, next) = whole.min_by_key(|(place, begun)| (order(begun), **place))?;
        let blocks = |begun: &&Begun| {
            begun.whole_since.is_none() && begun.id().0 == next.id().0 && begun.id().1 < next.id().1
        };
        let since = next.whole_since.unwrap();
        let waits = now.saturating_since(since) < self.patience.for_older;
        (!waits || !self.pictures.values().any(|begun| blocks(&begun))).then_some(place)
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = |begun: &Begun| match begun.whole_since {
            Some(since) => since + self.patience.for_older,
            None => begun.last_at + self.patience.for_parts,
        };
        self.pictures.values().map(deadline).min()
    }
}

fn of_picture(header: PartHeader) -> PartHeader {
    PartHeader { index: 0, offset: 0, count: 1, ..header }
}

fn begun_whole(pictures: &mut HashMap<usize, Begun>, place: usize, now: Instant) {
    if let Some(begun) = pictures.get_mut(&place) {
        begun.whole_since = Some(now);
    }
}

/// Does what the bytes say to both, and demands the same of both.
pub fn run(operations: &[u8]) {
    let patience =
        Patience { for_older: Duration::from_millis(50), for_parts: Duration::from_millis(400) };
    let mut model = Model::new(patience);
    let mut reassembler = Reassembler::<Vec<u8>, K>::framed(PREFIX).patience(patience);
    let mut now = Instant::ZERO;
    let mut bytes = operations.iter().copied();
    let mut counted = 0;
    while let Some(operation) = bytes.next() {
        let mut argument = || u64::from(bytes.next().unwrap_or_default());
        match operation % 16 {
            0 => now = now + Duration::from_millis(argument() * 4),
            1 => {
                let len = [64, 128, 256][argument() as usize % 3];
                let free = model.buffers.iter().position(Option::is_none);
                assert_eq!(reassembler.wants_buffer(), free.is_some());
                let given = reassembler.supply(vec![0; len]);
                assert_eq!(given.is_ok(), free.is_some());
                if let Some(free) = free {
                    model.buffers[free] = Some(len);
                }
            }
            2 => loop {
                let event = reassembler.poll(now).map(|event| match event {
                    Event::Picture(picture) => {
                        let info = picture.info;
                        let bytes = picture.buffer[..info.len].to_vec();
                        assert_eq!((info.width, info.height), (32, 16));
                        Seen::Picture(bytes, info.upstream.sequence, info.captured_at)
                    }
                    Event::Lost(lost) => Seen::Lost(lost),
                });
                assert_eq!(event, model.poll(now));
                if event.is_none() {
                    break;
                }
            },
            3 => {
                // Any header with a part of any length.
                let mut header = [0; PartHeader::LEN];
                header[..3].copy_from_slice(b"CW\x01");
                for _ in 0..argument() % 12 {
                    header[argument() as usize % PartHeader::LEN] = argument() as u8;
                }
                let message = [&header[..], &vec![7; argument() as usize]].concat();
                push(&mut reassembler, &mut model, &message, now);
            }
            _ => {
                // A part of one of a few pictures of three streams, perhaps with one byte wrong.
                let (stream, sequence) = (argument() % 3, argument() % 8);
                let len = LEAST + ((sequence * 37 + stream * 11) % 150) as usize;
                let chunker = Chunker::framed(PREFIX, stream as u32, 90).expect("it is enough");
                let picture = picture(stream * 8 + sequence, len);
                let mut parts = messages(&chunker, &picture, sequence);
                let index = argument() as usize % parts.len();
                let (_, mut message, _) = parts.swap_remove(index);
                if operation >= 240 {
                    let at = argument() as usize % message.len();
                    message[at] ^= argument() as u8;
                }
                push(&mut reassembler, &mut model, &message, now);
            }
        }
        assert_eq!(reassembler.deadline(), model.deadline());
        let counts = reassembler.counts();
        assert!(counts.pictures >= counted);
        counted = counts.pictures;
    }
}

fn push(
    reassembler: &mut Reassembler<'_, Vec<u8>, K>,
    model: &mut Model,
    message: &[u8],
    now: Instant,
) {
    let before = reassembler.counts();
    let result = reassembler.push(TOPIC, message, Delivery::Live, now);
    assert_eq!(result, model.push(message, now));
    let after = reassembler.counts();
    match result {
        Err(Refused::Header(error)) => {
            assert_eq!(after.malformed, before.malformed + 1);
            assert!(!matches!(error, HeaderError::Count(1..=1024)));
        }
        Err(Refused::Broken) => assert_eq!(after.broken, before.broken + 1),
        _ => {}
    }
}
