//! `camwire-multipart` beside its peers, on the same bytes in the same run.
//!
//! One operation is one picture of 20 KiB: its head encoded, or all bytes of its part decoded.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use camwire_multipart::{Boundary, Config, Decoder, Encoder, Event, PartHead};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::Stream;

const PICTURE: usize = 20 << 10;
/// Enough that its start and end do not matter.
const PICTURES: usize = 64;
/// As long as the server's.
const BOUNDARY: &str = "3f9a1c5e7b2d8046e1f09a6c4d7b5382";

/// As random as a picture's entropy-coded data.
fn picture(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    let mut picture: Vec<u8> = (0..PICTURE).map(|_| next()).collect();
    picture[..2].copy_from_slice(&[0xFF, 0xD8]);
    picture[PICTURE - 2..].copy_from_slice(&[0xFF, 0xD9]);
    picture
}

fn body(with_length: bool) -> Vec<u8> {
    let encoder = Encoder::with_predictable_boundary(&Boundary::new(BOUNDARY).unwrap());
    let mut body = encoder.opening().to_vec();
    for n in 0..PICTURES {
        let picture = picture(n as u32 + 1);
        let head = PartHead {
            content_length: with_length.then_some(PICTURE as u64),
            timestamp_us: Some(1_700_000_000_123_456 + n as u64 * 33_333),
            ..PartHead::default()
        };
        body.extend_from_slice(head.encode(&mut [0; PartHead::MAX_LEN]));
        body.extend_from_slice(&picture);
        body.extend_from_slice(encoder.tail());
    }
    body
}

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("multipart head");
    let mut memory = [0; PartHead::MAX_LEN];
    let full = PartHead {
        content_length: Some(20_480),
        timestamp_us: Some(1_700_000_000_123_456),
        sequence: Some(123_456),
        missed: Some(0),
    };
    // What rusty_esp writes, too: a length and a time.
    let short = PartHead { sequence: None, missed: None, ..full };
    group.bench_function("camwire, length and time", |b| {
        b.iter(|| black_box(black_box(&short).encode(&mut memory).len()));
    });
    group.bench_function("camwire, all fields", |b| {
        b.iter(|| black_box(black_box(&full).encode(&mut memory).len()));
    });

    use rusty_esp_video_core::esp_core::{Error, Micros};
    use rusty_esp_video_core::mjpeg_http::Multipart;
    use rusty_esp_video_core::{Codec, MediaPacket, PacketSink};
    struct Memory([u8; 256], usize);
    impl PacketSink for &mut Memory {
        fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
            self.0[self.1..][..bytes.len()].copy_from_slice(bytes);
            self.1 += bytes.len();
            Ok(())
        }
    }
    let packet = MediaPacket::new(Codec::Jpeg, true, Micros(1_700_000_000_123_456), b"JPEG");
    group.bench_function("rusty_esp, length and time", |b| {
        let mut memory = Memory([0; 256], 0);
        b.iter(|| {
            memory.1 = 0;
            Multipart::with_boundary(&mut memory, BOUNDARY).push(black_box(&packet)).unwrap();
            black_box(memory.1)
        });
    });

    let jpeg = Bytes::from_static(b"\xFF\xD8\xFF\xD9");
    group.bench_function("multipart-stream, length and time", |b| {
        b.iter(|| {
            let mut headers = http::HeaderMap::with_capacity(3);
            headers.insert("content-type", http::HeaderValue::from_static("image/jpeg"));
            headers.insert("x-timestamp", http::HeaderValue::from_static("1700000000.123456"));
            let part = multipart_stream::Part { headers, body: jpeg.clone() };
            let parts = Ready([Ok::<_, Infallible>(part)].into_iter());
            let stream = multipart_stream::serialize(parts, BOUNDARY);
            black_box(drain(stream, |piece| piece.unwrap().len()))
        });
    });
    group.finish();
}

/// A stream that never waits.
struct Ready<I>(I);

impl<I: Iterator + Unpin> Stream for Ready<I> {
    type Item = I::Item;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

fn drain<S: Stream>(stream: S, mut size: impl FnMut(S::Item) -> usize) -> usize {
    let mut stream = pin!(stream);
    let mut context = Context::from_waker(Waker::noop());
    let mut total = 0;
    while let Poll::Ready(Some(item)) = stream.as_mut().poll_next(&mut context) {
        total += size(item);
    }
    total
}

fn camwire(decoder: &Decoder, body: &[u8], piece: usize) -> usize {
    let mut decoder = decoder.clone();
    let (mut parts, mut bytes) = (0, 0);
    for input in body.chunks(piece) {
        let mut events = decoder.feed(input);
        while let Some(event) = events.next().unwrap() {
            match event {
                Event::Payload(payload) => bytes += black_box(payload).len(),
                Event::PartEnd => parts += 1,
                _ => {}
            }
        }
    }
    assert_eq!((parts, bytes), (PICTURES, PICTURES * PICTURE));
    bytes
}

/// What anyone must do to have the picture in a slot.
fn memcpy(body: &[u8], slot: &mut [u8], piece: usize) {
    for pieces in body.chunks(PICTURE) {
        let mut filled = 0;
        for piece in pieces.chunks(piece) {
            slot[filled..][..piece.len()].copy_from_slice(black_box(piece));
            filled += piece.len();
        }
        black_box(&slot);
    }
}

fn memmem(finder: &memchr::memmem::Finder<'_>, body: &[u8], piece: usize) -> usize {
    body.chunks(piece).map(|piece| finder.find_iter(black_box(piece)).count()).sum()
}

fn multer(pieces: &[Bytes]) -> usize {
    let pieces = Ready(pieces.iter().cloned().map(Ok::<_, Infallible>));
    let mut multipart = multer::Multipart::new(pieces, BOUNDARY);
    let mut context = Context::from_waker(Waker::noop());
    let mut total = 0;
    while let Poll::Ready(Ok(Some(field))) = multipart.poll_next_field(&mut context) {
        total += drain(field, |piece| piece.unwrap().len());
    }
    total
}

fn multipart_stream(pieces: &[Bytes]) -> usize {
    let pieces = Ready(pieces.iter().cloned().map(Ok::<_, Infallible>));
    let parts = multipart_stream::parse(pieces, BOUNDARY);
    drain(parts, |part| part.map_or(0, |part| part.body.len()))
}

fn rusty_esp(memory: &mut [u8], body: &[u8], piece: usize) -> usize {
    let mut reader = rusty_esp_video_core::mjpeg_reader::Reader::new(memory);
    let mut total = 0;
    for piece in body.chunks(piece) {
        reader.push(piece).unwrap();
        while let Some(part) = reader.next_part().unwrap() {
            total += black_box(reader.part(&part)).len();
            reader.release(&part);
        }
    }
    total
}

fn decoding(c: &mut Criterion) {
    for with_length in [true, false] {
        let name = if with_length { "with length" } else { "without length" };
        let mut group = c.benchmark_group(format!("multipart decode {name}"));
        group.throughput(Throughput::Elements(PICTURES as u64));
        let body = body(with_length);
        let boundary = Boundary::new(BOUNDARY).unwrap();
        let decoder = Decoder::new(&boundary, Config::default());
        let needle = format!("\r\n--{BOUNDARY}");
        let finder = memchr::memmem::Finder::new(&needle);
        let all = PICTURES * PICTURE;
        for piece in [1460, 64 << 10] {
            let pieces: Vec<Bytes> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
            let id = |who: &str| BenchmarkId::new(who, piece);
            group.bench_function(id("camwire"), |b| {
                b.iter(|| camwire(&decoder, black_box(&body), piece));
            });
            let mut slot = vec![0; PICTURE];
            group.bench_function(id("limit: memcpy"), |b| {
                b.iter(|| memcpy(black_box(&body), &mut slot, piece));
            });
            group.bench_function(id("limit: memmem"), |b| {
                b.iter(|| memmem(&finder, black_box(&body), piece));
            });
            assert_eq!(multer(&pieces), all);
            group.bench_function(id("multer"), |b| b.iter(|| multer(black_box(&pieces))));
            if with_length {
                // These two cannot do without.
                assert_eq!(multipart_stream(&pieces), all);
                group.bench_function(id("multipart-stream"), |b| {
                    b.iter(|| multipart_stream(black_box(&pieces)));
                });
                let mut memory = vec![0; 256 << 10];
                assert_eq!(rusty_esp(&mut memory, &body, piece), all);
                group.bench_function(id("rusty_esp"), |b| {
                    b.iter(|| rusty_esp(&mut memory, black_box(&body), piece));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, heads, decoding);
criterion_main!(benches);
