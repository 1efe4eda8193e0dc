//! The framed layout over a link that loses, repeats, delays and reorders, and senders that start
//! anew.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use camwire_frame::{Instant, Upstream};
use camwire_mqtt::{
    Chunker, Delivery, Event, HeaderError, Lost, PartHeader, Patience, Reassembler, Refused,
};
use common::{LEAST, PREFIX, Random, messages, model, picture};
use proptest::prelude::*;

const TOPIC: &str = "cam/1/frame";

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn like_the_naive_one(operations in proptest::collection::vec(any::<u8>(), 0..300)) {
        // Two buffers to begin with, so that more happens.
        model::run(&[&[1, 2, 1, 2][..], &operations].concat());
    }
}

fn ms(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

/// The parts of a picture, in packets of 1000 bytes.
fn parts(stream: u32, sequence: u64, len: usize) -> Vec<Vec<u8>> {
    packets(1000, stream, sequence, len)
}

fn packets(largest: u32, stream: u32, sequence: u64, len: usize) -> Vec<Vec<u8>> {
    let chunker = Chunker::framed(PREFIX, stream, largest).unwrap();
    let picture = picture(u64::from(stream) << 32 | sequence, len);
    messages(&chunker, &picture, sequence).into_iter().map(|(_, payload, _)| payload).collect()
}

/// A reassembler with all of its buffers, and what it has told.
struct Receiver<const K: usize> {
    reassembler: Reassembler<'static, Vec<u8>, K>,
    pictures: Vec<(u64, Vec<u8>)>,
    lost: Vec<u64>,
}

impl<const K: usize> Receiver<K> {
    fn new(patience: Patience) -> Self {
        let mut reassembler = Reassembler::framed(PREFIX).patience(patience);
        for _ in 0..K {
            reassembler.supply(vec![0; 16 << 10]).unwrap();
        }
        Self { reassembler, pictures: Vec::new(), lost: Vec::new() }
    }

    fn push(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        let result = self.reassembler.push(TOPIC, payload, Delivery::Live, now);
        self.poll(now);
        result
    }

    fn poll(&mut self, now: Instant) {
        while let Some(event) = self.reassembler.poll(now) {
            match event {
                Event::Picture(picture) => {
                    let bytes = picture.buffer[..picture.info.len].to_vec();
                    self.pictures.push((picture.info.upstream.sequence.unwrap(), bytes));
                    self.reassembler.supply(picture.buffer).unwrap();
                }
                Event::Lost(Lost { first, last }) => self.lost.extend(first..=last),
            }
        }
    }

    fn sequences(&self) -> Vec<u64> {
        self.pictures.iter().map(|(sequence, _)| *sequence).collect()
    }
}

/// A message on its way.
struct OnTheWay {
    at: u64,
    sequence: u64,
    payload: Vec<u8>,
}

/// What arrives when, of so many pictures of each stream, a picture each 100 ms.
fn link(random: &mut Random, streams: &[u64], most_parts: u64, delay: u64) -> Vec<OnTheWay> {
    let mut sent = Vec::new();
    let mut time = 0;
    for (stream, &pictures) in (1..).zip(streams) {
        for sequence in 1..=pictures {
            time += 100;
            let len = LEAST + 8 + random.below(most_parts * 99) as usize;
            let parts = packets(160, stream, sequence, len);
            // The last picture of a stream is broken off.
            let count = if sequence == pictures { parts.len() / 2 } else { parts.len() };
            for (n, payload) in parts.into_iter().take(count).enumerate() {
                let copies = 1 + u64::from(random.percent(5)) - u64::from(random.percent(5)).min(1);
                for _ in 0..copies {
                    let at = time + n as u64 + random.below(delay);
                    sent.push(OnTheWay { at, sequence, payload: payload.clone() });
                }
            }
        }
    }
    sent.sort_by_key(|message| message.at);
    sent
}

fn expected(stream: u32, sequence: u64, given: &[u8]) -> bool {
    given == picture(u64::from(stream) << 32 | sequence, given.len())
}

const FOREVER: Duration = Duration::from_secs(1_000_000);

fn no_wrong_picture_and_none_too_few<const K: usize>(seed: u64, delay: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let arrivals = link(&mut random, &[60], 12, delay);
    let patience = Patience { for_older: FOREVER, for_parts: FOREVER };
    let mut receiver = Receiver::<K>::new(patience);
    // For each picture: when the first part arrived, the distinct parts, and when the last new one
    // did; all as the index of the arrival.
    let mut seen: BTreeMap<u64, (usize, HashSet<Vec<u8>>, usize)> = BTreeMap::new();
    let mut given_at: BTreeMap<u64, usize> = BTreeMap::new();
    for (n, message) in arrivals.iter().enumerate() {
        let entry = seen.entry(message.sequence).or_insert_with(|| (n, HashSet::new(), n));
        if entry.1.insert(message.payload.clone()) {
            entry.2 = n;
        }
        let _ = receiver.push(&message.payload, ms(message.at));
        for sequence in receiver.sequences() {
            given_at.entry(sequence).or_insert(n);
        }
    }
    // What is whole and waits for an older one need not wait for ever.
    receiver.poll(Instant::ZERO + 2 * FOREVER);
    for sequence in receiver.sequences() {
        given_at.entry(sequence).or_insert(arrivals.len());
    }
    for (sequence, bytes) in &receiver.pictures {
        assert!(expected(1, *sequence, bytes), "a wrong picture {sequence}");
    }
    let sequences = receiver.sequences();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");

    // Every picture of which all parts arrived in the window must have been given: while it was
    // put together, fewer than K newer ones had begun, and none of them was given before it began.
    let mut due = 0;
    for (&sequence, (begun, distinct, done)) in &seen {
        let header = PartHeader::decode(distinct.iter().next().unwrap()).unwrap().0;
        if distinct.len() < usize::from(header.count) {
            assert!(!given_at.contains_key(&sequence));
            continue;
        }
        let newer_begun = seen.range(sequence + 1..).filter(|(_, (b, ..))| b < done).count();
        let newer_given = given_at.range(sequence + 1..).any(|(_, at)| at < begun);
        if newer_begun < K && !newer_given {
            due += 1;
            assert!(given_at.contains_key(&sequence), "seed {seed}: {sequence} is missing");
        }
    }

    // From the first to the last, each is given or told as lost, once.
    let told: Vec<u64> = sequences.iter().chain(&receiver.lost).copied().collect();
    let distinct: BTreeSet<u64> = told.iter().copied().collect();
    assert_eq!(distinct.len(), told.len());
    if let (Some(first), Some(last)) = (distinct.first(), distinct.last()) {
        assert_eq!(distinct.len() as u64, last - first + 1);
    }
    (due, sequences.len())
}

#[test]
fn losses_repetitions_and_neighbours_mixed() {
    for seed in 1..=50 {
        // In order, neighbours mixed, and several mixed.
        for delay in [1, 120, 350] {
            let (due, given) = no_wrong_picture_and_none_too_few::<2>(seed, delay);
            assert!(given >= due);
            if delay < 350 {
                assert!(due >= 15, "{due} of 60: the check would be of no use");
            }
            no_wrong_picture_and_none_too_few::<1>(seed, delay);
            no_wrong_picture_and_none_too_few::<4>(seed, delay);
        }
    }
}

#[test]
fn with_the_usual_patience_in_order_nothing_is_left_out() {
    for seed in 1..=150 {
        let arrivals = link(&mut Random(seed), &[60], 12, 1);
        let mut receiver = Receiver::<2>::new(Patience::default());
        let mut whole: BTreeMap<u64, HashSet<&[u8]>> = BTreeMap::new();
        for message in &arrivals {
            whole.entry(message.sequence).or_default().insert(&message.payload);
            let _ = receiver.push(&message.payload, ms(message.at));
        }
        receiver.poll(ms(1_000_000));
        whole.retain(|_, parts| {
            let header = PartHeader::decode(parts.iter().next().unwrap()).unwrap().0;
            parts.len() == usize::from(header.count)
        });
        assert_eq!(receiver.sequences(), whole.keys().copied().collect::<Vec<_>>());
    }
}

#[test]
fn senders_that_start_anew() {
    for seed in 1..=150 {
        let mut random = Random(seed);
        let streams = [30, 1, 40, 30];
        let arrivals = link(&mut random, &streams, 8, 120);
        let mut receiver = Receiver::<2>::new(Patience::default());
        let mut told = Vec::new();
        for message in &arrivals {
            let before = receiver.pictures.len();
            let _ = receiver.push(&message.payload, ms(message.at));
            for (sequence, bytes) in &receiver.pictures[before..] {
                let stream = (1..=4).find(|&stream| expected(stream, *sequence, bytes));
                told.push((stream.expect("a wrong picture"), *sequence));
            }
        }
        // Never back to a former stream, never twice the same.
        assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
        // Each stream that lives long enough is seen, soon after it began.
        for stream in [1, 3, 4] {
            let first = told.iter().find(|(s, _)| *s == stream).expect("nothing of a stream").1;
            assert!(first <= 25, "seed {seed}: stream {stream} begins with {first}");
        }
    }
}

#[test]
fn what_the_caller_learns_of_a_picture() {
    let mut reassembler = Reassembler::<Vec<u8>>::framed(PREFIX);
    reassembler.supply(vec![0; 5000]).unwrap();
    let parts = parts(9, 77, 2000);
    for (n, part) in parts.iter().rev().enumerate() {
        let now = ms(10 + n as u64);
        assert_eq!(reassembler.push(TOPIC, part, Delivery::Live, now), Ok(()));
    }
    let Some(Event::Picture(picture)) = reassembler.poll(ms(20)) else { panic!() };
    let info = picture.info;
    assert_eq!((info.len, info.width, info.height, info.captured_at), (2000, 32, 16, ms(10)));
    let upstream = Upstream { sequence: Some(77), timestamp_us: Some(77_000) };
    assert_eq!(info.upstream, upstream);
    assert!(reassembler.poll(ms(20)).is_none());
    assert_eq!(reassembler.deadline(), None);
}

#[test]
fn a_hostile_header_costs_nothing_and_is_counted() {
    let mut receiver = Receiver::<2>::new(Patience::default());
    let good = parts(1, 5, 2000);
    receiver.push(&good[0], ms(0)).unwrap();
    receiver.push(&good[1], ms(0)).unwrap();

    let (header, _) = PartHeader::decode(&good[0]).unwrap();
    let of = |header: PartHeader, bytes: usize| [&header.encode()[..], &vec![1; bytes]].concat();
    let newer = PartHeader { sequence: 6, ..header };
    let cases = [
        // 4 GiB in parts that are too short for it; and in one that fits.
        (of(PartHeader { total: u32::MAX, ..newer }, 930), None),
        (of(PartHeader { total: u32::MAX, count: 1024, ..newer }, 1 << 22), Some(u32::MAX)),
        (of(PartHeader { count: u16::MAX, ..newer }, 930), None),
        (of(PartHeader { index: 7, ..newer }, 930), None),
        (of(PartHeader { total: 65_537, count: 71, ..newer }, 930), Some(65_537)),
    ];
    let before = receiver.reassembler.counts();
    for (message, needed) in &cases {
        let error = receiver.push(message, ms(1)).unwrap_err();
        match needed {
            Some(needed) => assert_eq!(error, Refused::TooLarge { needed: *needed as usize }),
            None => assert!(matches!(
                error,
                Refused::Header(
                    HeaderError::Count(u16::MAX)
                        | HeaderError::Index { index: 7, count: 3 }
                        | HeaderError::Lengths { total: u32::MAX, .. }
                )
            )),
        }
    }
    let after = receiver.reassembler.counts();
    assert_eq!(after.malformed - before.malformed, 3);
    assert_eq!(after.too_large - before.too_large, 2);

    // The picture that was under way is still there.
    receiver.push(&good[2], ms(2)).unwrap();
    assert_eq!(receiver.sequences(), [5]);
}

#[test]
fn what_is_not_for_it() {
    let mut receiver = Receiver::<2>::new(Patience::default());
    let part = parts(1, 1, 100).remove(0);
    let mut push = |topic: &str, delivery| receiver.reassembler.push(topic, &part, delivery, ms(0));
    for topic in ["cam/1", "cam/1/", "cam/1/frames", "cam/1/frame/0", "cam/2/frame", "frame", ""] {
        assert_eq!(push(topic, Delivery::Live), Err(Refused::OtherTopic));
        assert_eq!(push(topic, Delivery::Retained), Err(Refused::OtherTopic));
    }
    assert_eq!(push(TOPIC, Delivery::Retained), Err(Refused::Retained));
    assert_eq!(push(TOPIC, Delivery::Live), Ok(()));
    let counts = receiver.reassembler.counts();
    assert_eq!((counts.retained, counts.malformed), (1, 0));
    let filters: Vec<String> = receiver.reassembler.filters().map(|f| f.to_string()).collect();
    assert_eq!(filters, [TOPIC]);
}

#[test]
fn a_part_that_was_damaged_spoils_its_picture_only() {
    for len in [100, 3000] {
        let mut receiver = Receiver::<2>::new(Patience::default());
        for sequence in 1..=3 {
            for mut part in parts(1, sequence, len) {
                if sequence == 2 {
                    *part.last_mut().unwrap() ^= 1;
                }
                let _ = receiver.push(&part, ms(sequence));
            }
        }
        assert_eq!((receiver.sequences(), &receiver.lost[..]), (vec![1, 3], &[2][..]));
        assert_eq!(receiver.reassembler.counts().broken, 1);
    }
}

#[test]
fn without_more_messages_the_deadline_tells_all() {
    let mut receiver = Receiver::<2>::new(Patience::default());
    for part in parts(1, 1, 2000) {
        receiver.push(&part, ms(0)).unwrap();
    }
    // 2 has begun and 3 is whole: it waits 50 ms for 2.
    let two = parts(1, 2, 2000);
    receiver.push(&two[0], ms(100)).unwrap();
    for part in parts(1, 3, 2000) {
        receiver.push(&part, ms(110)).unwrap();
    }
    assert_eq!(receiver.sequences(), [1]);
    assert_eq!(receiver.reassembler.deadline(), Some(ms(160)));
    receiver.poll(ms(159));
    assert_eq!(receiver.sequences(), [1]);
    receiver.poll(ms(160));
    assert_eq!((receiver.sequences(), &receiver.lost[..]), (vec![1, 3], &[2][..]));
    assert_eq!(receiver.push(&two[1], ms(161)), Err(Refused::Late));

    // 4 never ends: after 2 s it is lost.
    receiver.push(&parts(1, 4, 2000)[0], ms(200)).unwrap();
    assert_eq!(receiver.reassembler.deadline(), Some(ms(2200)));
    receiver.poll(ms(2199));
    assert_eq!(receiver.lost, [2]);
    receiver.poll(ms(2200));
    assert_eq!(receiver.lost, [2, 4]);
    assert_eq!(receiver.reassembler.deadline(), None);
}

#[test]
fn a_sender_that_starts_anew_under_the_same_number() {
    let mut receiver = Receiver::<2>::new(Patience::default());
    let send = |receiver: &mut Receiver<2>, sequence, now| {
        parts(1, sequence, 100).iter().map(|part| receiver.push(part, now)).next_back().unwrap()
    };
    assert_eq!(send(&mut receiver, 1000, ms(0)), Ok(()));
    assert_eq!(send(&mut receiver, 1, ms(500)), Err(Refused::Late));
    assert_eq!(send(&mut receiver, 2, ms(1999)), Err(Refused::Late));
    assert_eq!(send(&mut receiver, 3, ms(2000)), Ok(()));
    assert_eq!(send(&mut receiver, 4, ms(2100)), Ok(()));
    assert_eq!((receiver.sequences(), receiver.lost.len()), (vec![1000, 3, 4], 0));
}

/// However long the sender does nothing else, which makes others believe that it began anew.
#[test]
fn last_frame_sent_again_is_given_back_once() {
    let mut receiver = Receiver::<2>::new(Patience::default());
    let mut now = ms(0);
    for sequence in [7, 8] {
        for part in parts(1, sequence, 2500) {
            receiver.push(&part, now).unwrap();
        }
        for pause in [10, 1000, 1999, 2000, 5000, 60_000] {
            now = now + Duration::from_millis(pause);
            for part in parts(1, sequence, 2500) {
                assert_eq!(receiver.push(&part, now), Err(Refused::Late), "after {pause} ms");
            }
        }
    }
    assert_eq!((receiver.sequences(), receiver.lost.len()), (vec![7, 8], 0));
    // The same number for another picture: it began anew, and is believed in the end.
    let mut header = PartHeader::decode(&parts(1, 8, 100)[0]).unwrap().0;
    header.timestamp_us = Some(1);
    let mut part = parts(1, 8, 100).remove(0);
    part[..PartHeader::LEN].copy_from_slice(&header.encode());
    assert_eq!(receiver.push(&part, now + Duration::from_millis(1999)), Err(Refused::Late));
    assert_eq!(receiver.push(&part, now + Duration::from_millis(2000)), Ok(()));
    assert_eq!(receiver.sequences(), [7, 8, 8]);
}

#[test]
fn two_senders_on_one_topic_do_not_take_turns() {
    let mut receiver = Receiver::<2>::new(Patience::default());
    let mut streams = Vec::new();
    for sequence in 1..=20 {
        for stream in [7, 8] {
            // Sender 8 is switched on later, and off again.
            if stream == 8 && !(5..=10).contains(&sequence) {
                continue;
            }
            let before = receiver.pictures.len();
            for part in parts(stream, sequence, 2000) {
                let _ = receiver.push(&part, ms(sequence * 500 + u64::from(stream)));
            }
            for (sequence, bytes) in &receiver.pictures[before..] {
                streams.push((7..=8).find(|&s| expected(s, *sequence, bytes)).unwrap());
            }
        }
    }
    let mut turns = streams.clone();
    turns.dedup();
    assert_eq!(turns, [7, 8, 7], "{streams:?}");
    // 5 is given twice, by each of them; 6 to 10 are 8's; then 8 must be silent for 2 s.
    assert_eq!(streams.len(), 5 + 6 + 6);
}

#[test]
fn nonsense_of_other_streams_does_not_stop_the_pictures() {
    let mut receiver = Receiver::<2>::new(Patience::default());
    let mut random = Random(5);
    for sequence in 1..=50 {
        for part in parts(1, sequence, 5000) {
            receiver.push(&part, ms(sequence * 50)).unwrap();
            let noise = parts(1000 + random.below(1_000_000) as u32, 1, 5000);
            let _ = receiver.push(&noise[0], ms(sequence * 50));
        }
    }
    assert_eq!(receiver.sequences(), (1..=50).collect::<Vec<_>>());
}

#[test]
fn sequences_at_the_end_of_their_range() {
    let mut receiver = Reassembler::<Vec<u8>>::framed(PREFIX);
    let mut events = Vec::new();
    for sequence in [1, u64::MAX - 1, u64::MAX, u64::MAX] {
        receiver.supply(vec![0; 1000]).unwrap();
        for part in parts(1, sequence, 100) {
            let _ = receiver.push(TOPIC, &part, Delivery::Live, ms(0));
        }
        while let Some(event) = receiver.poll(ms(0)) {
            events.push(match event {
                Event::Picture(picture) => (picture.info.upstream.sequence.unwrap(), 0),
                Event::Lost(lost) => (lost.first, lost.count()),
            });
        }
    }
    let expected = [(1, 0), (2, u64::MAX - 3), (u64::MAX - 1, 0), (u64::MAX, 0)];
    assert_eq!(events, expected);
    let counts = receiver.counts();
    assert_eq!((counts.pictures, counts.lost, counts.late), (3, u32::MAX, 1));
}
