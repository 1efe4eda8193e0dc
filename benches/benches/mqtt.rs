//! `camwire-mqtt`: pictures to messages and back, beside what nobody can do without: copying the
//! picture, and its checksum.
//!
//! One operation is one picture of 27 KB in packets of that size.

use std::hint::black_box;

use camwire_frame::Instant;
use camwire_mqtt::{Chunker, Delivery, Event, Prefix, Reassembler, Retain, Stamp, checksum};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const PICTURE: usize = 27_000;
const TOPIC: &str = "garden/cam/frame";

/// As random as a picture's entropy-coded data, with the head of one.
fn picture() -> Vec<u8> {
    let mut picture =
        b"\xFF\xD8\xFF\xC0\0\x0B\x08\0\x10\0\x20\x01\x01\x11\0\xFF\xDA\0\x02".to_vec();
    let mut state = 0x9E37_79B9_u32;
    picture.resize_with(PICTURE - 2, || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1] & 0x7F
    });
    picture.extend_from_slice(&[0xFF, 0xD9]);
    picture
}

fn prefix() -> Prefix<'static> {
    Prefix::new("garden/cam").expect("it is one")
}

fn sending(c: &mut Criterion) {
    let mut group = c.benchmark_group("mqtt send");
    let picture = picture();
    let known = Stamp { checksum: Some(checksum(&picture)), ..Stamp::default() };
    for packet in [1024, 8192, 65_536] {
        let chunker = Chunker::framed(prefix(), 1, packet).expect("there is room");
        for (name, stamp) in [("framed, checksum known", known), ("framed", Stamp::default())] {
            group.bench_function(BenchmarkId::new(name, packet), |b| {
                b.iter(|| {
                    let messages = chunker.split(black_box(&picture), stamp).expect("it fits");
                    messages.map(|message| black_box(&message).payload_len()).sum::<usize>()
                });
            });
        }
    }
    let chunker = Chunker::indexed(prefix(), Retain::No, 8192).expect("there is room");
    group.bench_function(BenchmarkId::new("indexed", 8192), |b| {
        b.iter(|| {
            let messages = chunker.split(black_box(&picture), Stamp::default()).expect("it fits");
            messages.map(|message| black_box(&message).payload_len()).sum::<usize>()
        });
    });
    group.bench_function("limit: checksum", |b| b.iter(|| checksum(black_box(&picture))));
    group.finish();
}

fn receiving(c: &mut Criterion) {
    let mut group = c.benchmark_group("mqtt receive");
    group.throughput(Throughput::Bytes(PICTURE as u64));
    let picture = picture();
    for packet in [1024, 8192, 65_536] {
        let chunker = Chunker::framed(prefix(), 1, packet).expect("there is room");
        let stamp = Stamp { sequence: 1, ..Stamp::default() };
        let messages = chunker.split(&picture, stamp).expect("it fits");
        let mut messages: Vec<Vec<u8>> =
            messages.map(|message| [message.head(), message.body()].concat()).collect();
        let mut reassembler = Reassembler::<_, 2>::framed(prefix());
        for _ in 0..2 {
            reassembler.supply(vec![0; 65_536]).expect("there is room for two");
        }
        let (mut sequence, mut given) = (0u64, 0u64);
        group.bench_function(BenchmarkId::new("framed", packet), |b| {
            b.iter(|| {
                sequence += 1;
                let now = Instant::from_micros(sequence);
                for message in &mut messages {
                    // The next picture of the same stream: bytes 8 to 15 are its number.
                    message[8..16].copy_from_slice(&sequence.to_be_bytes());
                    let result = reassembler.push(TOPIC, black_box(message), Delivery::Live, now);
                    assert_eq!(result, Ok(()));
                }
                if let Some(Event::Picture(picture)) = reassembler.poll(now) {
                    given += 1;
                    black_box(&picture.buffer[..picture.info.len]);
                    reassembler.supply(picture.buffer).expect("its place is free");
                }
            });
        });
        assert_eq!(given, sequence);
        for (name, summed) in [("limit: memcpy and checksum", true), ("limit: memcpy", false)] {
            // In turns into two buffers, as above.
            let mut slots = [vec![0; 65_536], vec![0; 65_536]];
            group.bench_function(BenchmarkId::new(name, packet), |b| {
                b.iter(|| {
                    slots.swap(0, 1);
                    let slot = &mut slots[0];
                    let mut filled = 0;
                    for message in &messages {
                        let body = &black_box(message)[40..];
                        slot[filled..][..body.len()].copy_from_slice(body);
                        filled += body.len();
                    }
                    let picture = black_box(&slot[..filled]);
                    if summed { checksum(picture) } else { 0 }
                });
            });
        }
    }

    let chunker = Chunker::indexed(prefix(), Retain::No, 8192).expect("there is room");
    let messages = chunker.split(&picture, Stamp::default()).expect("it fits");
    let messages: Vec<(String, Vec<u8>)> = messages
        .map(|message| (message.topic().to_string(), [message.head(), message.body()].concat()))
        .collect();
    let mut reassembler = Reassembler::<_, 2>::indexed(prefix());
    reassembler.supply(vec![0; 65_536]).expect("there is room for two");
    group.bench_function(BenchmarkId::new("indexed", 8192), |b| {
        b.iter(|| {
            for (topic, payload) in &messages {
                let now = Instant::ZERO;
                let _ = black_box(reassembler.push(topic, payload, Delivery::Live, now));
            }
            let Some(Event::Picture(picture)) = reassembler.poll(Instant::ZERO) else {
                panic!("nothing was lost");
            };
            reassembler.supply(picture.buffer).expect("its place is free");
        });
    });
    group.bench_function("limit: JPEG structure", |b| {
        b.iter(|| camwire_frame::jpeg::inspect(black_box(&picture)).is_ok());
    });
    group.finish();
}

criterion_group!(benches, sending, receiving);
criterion_main!(benches);
