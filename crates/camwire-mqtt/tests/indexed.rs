//! The indexed layout, between this crate and programs that do what the existing camera and its
//! viewer do.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use camwire_frame::Instant;
use camwire_mqtt::{Chunker, Counts, Delivery, Event, Reassembler, Refused, Retain};
use common::{PREFIX, Random, Sent, messages, picture};
use proptest::prelude::*;

fn ms(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn chunker() -> Chunker<'static> {
    Chunker::indexed(PREFIX, Retain::Yes, 8192).unwrap()
}

fn part(index: usize, payload: &[u8]) -> Sent {
    (format!("cam/1/image/part/{index}"), payload.to_vec(), true)
}

fn complete(count: usize) -> Sent {
    ("cam/1/image_complete".into(), count.to_string().into_bytes(), false)
}

/// What the existing camera publishes of a picture.
fn camera(picture: &[u8]) -> Vec<Sent> {
    let count = picture.len() / 8000 + 1;
    let mut left = picture;
    let mut sent = Vec::new();
    for index in 0..count {
        let (payload, rest) = left.split_at(left.len().min(8000));
        sent.push(part(index, payload));
        left = rest;
    }
    sent.push(complete(count));
    sent
}

/// What the existing viewer does: it keeps the last of each part for ever.
#[derive(Default)]
struct Viewer(BTreeMap<usize, Vec<u8>>);

impl Viewer {
    fn take(&mut self, (topic, payload, _): &Sent) -> Option<Vec<u8>> {
        if let Some(index) = topic.strip_prefix("cam/1/image/part/") {
            self.0.insert(index.parse().unwrap(), payload.clone());
            return None;
        }
        let count: usize = String::from_utf8_lossy(payload).parse().unwrap();
        Some((0..count).flat_map(|index| self.0[&index].clone()).collect())
    }
}

struct Receiver {
    reassembler: Reassembler<'static, Vec<u8>>,
    pictures: Vec<Vec<u8>>,
    lost: u64,
}

impl Receiver {
    fn new() -> Self {
        let mut reassembler = Reassembler::indexed(PREFIX);
        reassembler.supply(vec![0; 40_000]).unwrap();
        reassembler.supply(vec![0; 40_000]).unwrap();
        Self { reassembler, pictures: Vec::new(), lost: 0 }
    }

    fn take(&mut self, (topic, payload, _): &Sent, now: Instant) -> Result<(), Refused> {
        // To those who have subscribed already, the broker sends what is retained without the flag.
        let result = self.reassembler.push(topic, payload, Delivery::Live, now);
        self.poll(now);
        result
    }

    fn poll(&mut self, now: Instant) {
        while let Some(event) = self.reassembler.poll(now) {
            match event {
                Event::Picture(picture) => {
                    self.pictures.push(picture.buffer[..picture.info.len].to_vec());
                    self.reassembler.supply(picture.buffer).unwrap();
                }
                Event::Lost(lost) => self.lost += lost.count(),
            }
        }
    }
}

#[test]
fn the_existing_camera_is_understood() {
    let mut receiver = Receiver::new();
    let lengths = [21, 7999, 8000, 8001, 15_999, 16_000, 16_001, 24_000, 39_999];
    for (n, &len) in lengths.iter().enumerate() {
        let picture = picture(n as u64, len);
        let sent = camera(&picture);
        assert_eq!(sent.len(), len / 8000 + 2);
        assert_eq!(sent, messages(&chunker(), &picture, 0), "and we send the same");
        for message in &sent {
            receiver.take(message, ms(n as u64)).unwrap();
        }
        assert_eq!(receiver.pictures.last(), Some(&picture));
        assert_eq!(receiver.pictures.len(), n + 1);
    }
    assert_eq!(receiver.lost, 0);
    let filters: Vec<String> = receiver.reassembler.filters().map(|f| f.to_string()).collect();
    assert_eq!(filters, ["cam/1/image/part/+", "cam/1/image_complete"]);
}

#[test]
fn the_existing_viewer_understands_us() {
    let mut viewer = Viewer::default();
    for len in [21, 8000, 30_000, 16_000, 100] {
        let picture = picture(len as u64, len);
        let sent = messages(&chunker(), &picture, 0);
        let shown: Vec<_> = sent.iter().filter_map(|message| viewer.take(message)).collect();
        assert_eq!(shown, [picture]);
    }
}

#[test]
fn padding_after_the_picture_is_cut_off() {
    let picture = picture(1, 9000);
    let mut receiver = Receiver::new();
    for message in camera(&[&picture[..], &[0; 100]].concat()) {
        receiver.take(&message, ms(0)).unwrap();
    }
    assert_eq!(receiver.pictures, [picture]);
}

#[test]
fn the_parts_may_come_in_any_order_before_the_end() {
    let picture = picture(1, 30_000);
    let mut random = Random(1);
    for _ in 0..20 {
        let mut sent = camera(&picture);
        let end = sent.pop().unwrap();
        sent.sort_by_cached_key(|_| random.next());
        let mut receiver = Receiver::new();
        for message in sent.iter().chain([&end]) {
            receiver.take(message, ms(0)).unwrap();
        }
        assert_eq!(receiver.pictures, std::slice::from_ref(&picture));
    }
}

#[test]
fn what_the_broker_had_kept_never_counts() {
    let (old, new) = (picture(1, 20_000), picture(2, 20_000));
    let mut receiver = Receiver::new();
    for (topic, payload, _) in &camera(&old)[..3] {
        let result = receiver.reassembler.push(topic, payload, Delivery::Retained, ms(0));
        assert_eq!(result, Err(Refused::Retained));
    }
    // We came when the first part of a picture was gone already.
    for message in &camera(&new)[1..] {
        let _ = receiver.take(message, ms(0));
    }
    assert!(receiver.pictures.is_empty());
    for message in camera(&new) {
        receiver.take(&message, ms(100)).unwrap();
    }
    assert_eq!(receiver.pictures, [new]);
    assert_eq!(receiver.reassembler.counts().retained, 3);
}

#[test]
fn a_lost_part_costs_its_picture_and_never_leaves_a_stale_one() {
    for lost in 0..3 {
        let mut receiver = Receiver::new();
        let pictures: Vec<_> = (0..3).map(|n| picture(n, 20_000)).collect();
        for (n, picture) in pictures.iter().enumerate() {
            let mut sent = camera(picture);
            if n == 1 {
                sent.remove(lost);
            }
            for message in sent {
                let _ = receiver.take(&message, ms(n as u64 * 100));
            }
        }
        assert_eq!(receiver.pictures, [pictures[0].clone(), pictures[2].clone()]);
        let counts = receiver.reassembler.counts();
        assert_eq!((receiver.lost, counts.incomplete, counts.broken), (1, 1, 0));
    }
}

#[test]
fn a_lost_end_costs_its_picture() {
    let mut receiver = Receiver::new();
    let pictures: Vec<_> = (0..3).map(|n| picture(n, 20_000 + n as usize)).collect();
    for (n, picture) in pictures.iter().enumerate() {
        let mut sent = camera(picture);
        if n == 1 {
            sent.pop();
        }
        for message in sent {
            receiver.take(&message, ms(n as u64 * 100)).unwrap();
        }
    }
    assert_eq!(receiver.pictures, [pictures[0].clone(), pictures[2].clone()]);
    assert_eq!(receiver.lost, 1);
}

#[test]
fn a_picture_that_was_broken_off_leaves_nothing_behind() {
    // The camera failed after any number of parts; the next picture has more or fewer parts.
    for sent_parts in 1..4 {
        for len in [4000, 8000, 12_000, 16_000, 20_000, 38_000] {
            let (one, two) = (picture(1, 24_100), picture(2, len));
            let mut receiver = Receiver::new();
            for message in camera(&one).iter().take(sent_parts).chain(&camera(&two)) {
                receiver.take(message, ms(0)).unwrap();
            }
            assert_eq!(receiver.pictures, [two]);
        }
    }
}

/// Of a short picture a part and the end are lost, of the longer one after it those parts that
/// would have replaced the short one's. The short one's last part has a hole behind it then.
#[test]
fn parts_that_cannot_be_of_one_picture() {
    let (one, two) = (camera(&picture(1, 20_000)), camera(&picture(2, 38_000)));
    let mut receiver = Receiver::new();
    for message in [&one[0], &one[2], &two[1], &two[3], &two[4], &two[5]] {
        let _ = receiver.take(message, ms(0));
    }
    assert!(receiver.pictures.is_empty());
    // And the other way round: the last part of a shorter one, while there are parts beyond it.
    let mut receiver = Receiver::new();
    for message in [&two[0], &two[3], &two[4], &one[1], &one[2], &one[3]] {
        let _ = receiver.take(message, ms(0));
    }
    assert!(receiver.pictures.is_empty());
}

#[test]
fn repetitions_are_harmless() {
    let pictures: Vec<_> = (0..3).map(|n| picture(n, 20_000)).collect();
    let mut receiver = Receiver::new();
    for picture in &pictures {
        for message in camera(picture) {
            receiver.take(&message, ms(0)).unwrap();
            let again = receiver.take(&message, ms(0));
            assert!(matches!(again, Err(Refused::Duplicate | Refused::Late)));
        }
    }
    assert_eq!((receiver.pictures, receiver.lost), (pictures, 0));
}

#[test]
fn nonsense_is_refused_and_counted() {
    let mut receiver = Receiver::new();
    let mut take = |message: Sent| receiver.take(&message, ms(0));
    for index in ["00", "01", "1024", "65536", "4294967296"] {
        let message = (format!("cam/1/image/part/{index}"), vec![1; 10], false);
        assert_eq!(take(message), Err(Refused::Malformed), "{index}");
    }
    assert_eq!(take(part(0, &[1; 8001])), Err(Refused::Malformed));
    for count in ["", "x", "-1", "1025", "65536", "3.0", "99999999999999999999"] {
        let message = ("cam/1/image_complete".to_owned(), count.into(), false);
        assert_eq!(take(message), Err(Refused::Malformed), "{count}");
    }
    assert_eq!(take(complete(3)), Err(Refused::Late));
    assert_eq!(take(part(1023, &[1; 8000])), Err(Refused::TooLarge { needed: 1024 * 8000 }));
    assert_eq!(take(part(5, &[1; 1])), Err(Refused::TooLarge { needed: 40_001 }));
    let counts = receiver.reassembler.counts();
    assert_eq!((counts.malformed, counts.too_large, counts.late), (13, 2, 1));

    // All parts, but no picture.
    for index in 0..2 {
        receiver.take(&part(index, &[1; 8000]), ms(0)).unwrap();
    }
    receiver.take(&part(2, &[1; 5]), ms(0)).unwrap();
    assert_eq!(receiver.take(&complete(3), ms(0)), Err(Refused::Broken));
    assert!(receiver.pictures.is_empty());
}

#[test]
fn topics_of_other_devices_are_not_counted() {
    let mut receiver = Receiver::new();
    for topic in [
        "cam/1/image",
        "cam/1/image/part",
        "cam/1/image_completed",
        "cam/1/frame",
        // Those of a device whose prefix is `cam/1/image/part`, which the filter matches, too.
        "cam/1/image/part/",
        "cam/1/image/part/frame",
        "cam/1/image/part/image",
        "cam/1/image/part/image_complete",
        "cam/1/image/part/status",
        "cam/1/image/part/state",
        "cam/1/image/part/-1",
        "cam/1/image/part/0 ",
        "cam/1/image/part/0/1",
    ] {
        for payload in [&b""[..], b"1", b"online", &[1; 9000]] {
            let taken = receiver.take(&(topic.into(), payload.into(), false), ms(0));
            assert_eq!(taken, Err(Refused::OtherTopic), "{topic}");
        }
    }
    assert_eq!(receiver.reassembler.counts(), Counts::default());
}

#[test]
fn without_an_end_it_is_lost_in_time() {
    let mut receiver = Receiver::new();
    for message in camera(&picture(1, 100)) {
        receiver.take(&message, ms(0)).unwrap();
    }
    receiver.take(&camera(&picture(2, 100))[0], ms(100)).unwrap();
    assert_eq!(receiver.reassembler.deadline(), Some(ms(2100)));
    receiver.poll(ms(2099));
    assert_eq!(receiver.lost, 0);
    receiver.poll(ms(2100));
    assert_eq!(receiver.lost, 1);
}

#[test]
fn without_a_buffer() {
    let mut reassembler = Reassembler::<Vec<u8>, 1>::indexed(PREFIX);
    let sent = camera(&picture(1, 100));
    let push = |reassembler: &mut Reassembler<'_, _, 1>| {
        let (topic, payload, _) = &sent[0];
        reassembler.push(topic, payload, Delivery::Live, ms(0))
    };
    assert_eq!(push(&mut reassembler), Err(Refused::NoBuffer));
    reassembler.supply(vec![0; 100]).unwrap();
    assert_eq!(reassembler.supply(vec![]), Err(vec![]));
    assert_eq!(push(&mut reassembler), Ok(()));
}

/// Nothing overtakes anything, and either parts get lost or pictures are broken off, but not both:
/// then no wrong picture is ever given, and every one is whose parts all arrived.
#[test]
fn losses_in_order() {
    for seed in 1..=100 {
        let mut random = Random(seed);
        let (lost, broken_off) = if seed % 2 == 0 { (5, 0) } else { (0, 20) };
        let mut receiver = Receiver::new();
        let mut due = Vec::new();
        for n in 0..30 {
            let picture = picture(seed << 32 | n, 100 + random.below(35_000) as usize);
            let mut sent = camera(&picture);
            let parts = sent.len() - 1;
            if random.percent(broken_off) {
                sent.truncate(random.below(sent.len() as u64) as usize);
            }
            let (mut arrived, mut ended) = (0, false);
            for (index, message) in sent.iter().enumerate() {
                if index < parts && random.percent(lost) {
                    continue;
                }
                let _ = receiver.take(message, ms(n * 100));
                arrived += 1;
                ended = index == parts;
                if random.percent(5) {
                    let _ = receiver.take(message, ms(n * 100));
                }
            }
            if ended && arrived == parts + 1 {
                due.push(picture);
            }
        }
        assert!(due.len() > 15);
        assert!(receiver.pictures == due, "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    /// Whatever comes: what is given back is a whole JPEG picture, made of parts that arrived
    /// since the one before.
    #[test]
    fn any_messages(
        steps in proptest::collection::vec((0usize..4, 0usize..6, 0u8..20, 0u64..300), 0..60),
    ) {
        let all: Vec<_> = (0..4).map(|of| camera(&picture(of as u64, 1000 + of * 6000))).collect();
        let mut receiver = Receiver::new();
        let mut since: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let mut now = 0;
        for (of, index, what, wait) in steps {
            now += wait;
            let sent = &all[of];
            let message = match what {
                0..3 => complete(index),
                3..6 => sent[sent.len() - 1].clone(),
                _ => sent[index % (sent.len() - 1)].clone(),
            };
            if let Some(index) = message.0.strip_prefix("cam/1/image/part/") {
                since.entry(index.parse().unwrap()).or_default().insert(message.1.clone());
            }
            let before = receiver.pictures.len();
            let result = receiver.take(&message, ms(now));
            for picture in &receiver.pictures[before..] {
                prop_assert!(camwire_frame::jpeg::inspect(picture).is_ok());
                for (index, part) in picture.chunks(8000).enumerate() {
                    prop_assert!(since[&index].contains(part));
                }
            }
            if message.0.ends_with("image_complete") && result != Err(Refused::Malformed) {
                since.clear();
            }
        }
    }
}
