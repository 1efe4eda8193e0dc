//! What the tests and the fuzz targets share: events that can be compared, and a decoder that is
//! too simple to be wrong.
#![allow(dead_code, unreachable_pub)] // Each test, and each fuzz target, uses its part of it.

pub mod naive;

use camwire_multipart::{ContentType, DecodeError, Decoder, Dropped, Event, PartHead};

/// An [`Event`] that owns its payload. Payloads in a row are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Start(PartHead, ContentType),
    Payload(Vec<u8>),
    End,
    Dropped(Dropped),
    BodyEnd,
    Failed(DecodeError),
}

/// Decodes `pieces` and, if `finish`, ends the stream.
pub fn decode<'p>(
    mut decoder: Decoder,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    finish: bool,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut offset = 0;
    for mut piece in pieces {
        loop {
            let before = piece.len();
            let mut events = decoder.feed(piece);
            let more = match events.next() {
                Ok(Some(event)) => {
                    push(&mut seen, event);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    assert_eq!(events.next(), Err(error));
                    assert_eq!(decoder.feed(piece).next(), Err(error));
                    seen.push(Seen::Failed(error));
                    return seen;
                }
            };
            piece = events.rest();
            offset += (before - piece.len()) as u64;
            assert_eq!(decoder.offset(), offset);
            if !more {
                break;
            }
        }
        assert!(piece.is_empty());
    }
    if finish {
        if let Some(event) = decoder.finish() {
            push(&mut seen, event);
        }
        assert!(decoder.is_closed());
    }
    check_grammar(&seen);
    seen
}

fn push(seen: &mut Vec<Seen>, event: Event<'_>) {
    match event {
        Event::PartStart { head, content_type } => seen.push(Seen::Start(head, content_type)),
        Event::Payload(payload) => {
            assert!(!payload.is_empty());
            match seen.last_mut() {
                Some(Seen::Payload(before)) => before.extend(payload),
                _ => seen.push(Seen::Payload(payload.to_vec())),
            }
        }
        Event::PartEnd => seen.push(Seen::End),
        Event::PartDropped(dropped) => seen.push(Seen::Dropped(dropped)),
        Event::BodyEnd => seen.push(Seen::BodyEnd),
    }
}

/// The order of events is as [`Event`] promises.
fn check_grammar(seen: &[Seen]) {
    let mut in_part = false;
    for (n, event) in seen.iter().enumerate() {
        match event {
            Seen::Start(..) => assert!(!std::mem::replace(&mut in_part, true)),
            Seen::Payload(_) => assert!(in_part),
            Seen::End => assert!(std::mem::replace(&mut in_part, false)),
            Seen::Dropped(_) => in_part = false,
            Seen::BodyEnd => assert!(!in_part && n + 1 == seen.len()),
            Seen::Failed(_) => assert_eq!(n + 1, seen.len()),
        }
    }
}

/// Whole parts only: what a caller that collects pictures has in the end.
pub fn pictures(seen: &[Seen]) -> Vec<Vec<u8>> {
    let mut pictures = Vec::new();
    let mut picture = Vec::new();
    for event in seen {
        match event {
            Seen::Start(..) => picture.clear(),
            Seen::Payload(payload) => picture.extend_from_slice(payload),
            Seen::End => pictures.push(std::mem::take(&mut picture)),
            _ => {}
        }
    }
    pictures
}

/// Demands the same events for `body` in one piece, one byte at a time, and cut in two at every
/// place; the same as the naive decoder's. Returns them.
pub fn decode_every_way(decoder: &Decoder, body: &[u8]) -> Vec<Seen> {
    let seen = decode(decoder.clone(), [body], true);
    assert_eq!(decode(decoder.clone(), body.chunks(1), true), seen);
    for n in [2, 3, 7] {
        assert_eq!(decode(decoder.clone(), body.chunks(n), true), seen, "pieces of {n}");
    }
    for at in 0..=body.len() {
        let (a, b) = body.split_at(at);
        assert_eq!(decode(decoder.clone(), [a, b], true), seen, "cut at {at}");
    }
    seen
}
