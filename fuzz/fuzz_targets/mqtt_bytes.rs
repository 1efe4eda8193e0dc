//! Any messages to the reassembler, in each layout: what it gives back is a whole picture, and
//! what becomes of every message is counted.
#![no_main]

use arbitrary::Arbitrary;
use camwire_frame::{Instant, jpeg};
use camwire_mqtt::{Delivery, Event, PartHeader, Prefix, Reassembler, Refused, checksum};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Topic {
    Frame,
    Image,
    Part(u16),
    Complete,
    Text(String),
}

#[derive(Arbitrary, Debug)]
struct Message {
    topic: Topic,
    retained: bool,
    /// Milliseconds after the one before.
    wait: u8,
    payload: Vec<u8>,
    /// A header is put in front, so that it need not be guessed.
    header: Option<(u8, u8, u16, u16, u16, u16, bool)>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    layout: u8,
    buffers: [u8; 2],
    messages: Vec<Message>,
}

fuzz_target!(|input: Input| {
    let prefix = Prefix::new("cam/1").expect("it is one");
    let (mut reassembler, framed) = match input.layout % 3 {
        0 => (Reassembler::<Vec<u8>>::framed(prefix), true),
        1 => (Reassembler::indexed(prefix), false),
        _ => (Reassembler::whole(prefix), false),
    };
    for len in input.buffers {
        reassembler.supply(vec![0; usize::from(len) * 64]).expect("there is room for two");
    }
    let mut now = 0;
    let (mut messages, mut counted) = (0, 0);
    for message in &input.messages {
        now += u64::from(message.wait) * 10_000;
        let at = Instant::from_micros(now);
        let topic = match &message.topic {
            Topic::Frame => "cam/1/frame".to_owned(),
            Topic::Image => "cam/1/image".to_owned(),
            Topic::Part(index) => format!("cam/1/image/part/{index}"),
            Topic::Complete => "cam/1/image_complete".to_owned(),
            Topic::Text(text) => format!("cam/1/{text}"),
        };
        let mut payload = Vec::new();
        if let Some((stream, sequence, total, offset, index, count, right)) = message.header {
            let header = PartHeader {
                stream: stream.into(),
                sequence: sequence.into(),
                timestamp_us: None,
                total: total.into(),
                offset: offset.into(),
                index,
                count,
                checksum: if right { checksum(&message.payload) } else { 0 },
            };
            payload.extend_from_slice(&header.encode());
        }
        payload.extend_from_slice(&message.payload);
        let delivery = Delivery::from_retain_flag(message.retained);
        match reassembler.push(&topic, &payload, delivery, at) {
            Err(Refused::OtherTopic) => {}
            Err(_) => messages += 1,
            Ok(()) => assert!(!message.retained),
        }
        let before = reassembler.counts();
        let mut events = 0;
        while let Some(event) = reassembler.poll(at) {
            events += 1;
            match event {
                Event::Picture(picture) => {
                    let bytes = &picture.buffer[..picture.info.len];
                    let size = (picture.info.width, picture.info.height);
                    if !framed {
                        let found = jpeg::inspect(bytes).expect("it is whole");
                        assert_eq!((found.len, (found.width, found.height)), (bytes.len(), size));
                    }
                    assert!(size.0 > 0 && size.1 > 0);
                    assert_eq!(picture.info.upstream.sequence.is_some(), framed);
                    reassembler.supply(picture.buffer).expect("its place is free");
                }
                Event::Lost(lost) => assert!(lost.first <= lost.last && lost.count() > 0),
            }
            assert!(events < 10);
        }
        assert!(reassembler.deadline().is_none_or(|deadline| deadline > at));
        assert!(!reassembler.wants_buffer());
        counted = before.malformed
            + before.inconsistent
            + before.duplicate
            + before.late
            + before.retained
            + before.too_large
            + before.no_buffer
            + before.broken
            + before.incomplete;
    }
    // Those that were given up in time count, too.
    assert!(counted >= messages);
});
