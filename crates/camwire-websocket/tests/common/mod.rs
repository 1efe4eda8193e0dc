//! A decoder driven as a caller does it, and one that is so simple that it must be right. The fuzz
//! targets use them, too.

#![allow(dead_code)] // Not every test needs everything.

pub(crate) mod naive;

use camwire_websocket::{DecodeErrorKind, Decoder, Event, Fin, Kind, Limits, Role};

/// What a decoder told, however it was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Pieces of a message that no other event stood between.
    Data(Kind, Vec<u8>, Fin),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Failed(DecodeErrorKind, u64),
}

impl Seen {
    pub(crate) fn of(event: Event<'_>) -> Self {
        match event {
            Event::Data(data) => Self::Data(data.kind, data.bytes.to_vec(), data.fin),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(close) => {
                Self::Close(close.map(|close| (close.code().get(), close.reason().to_owned())))
            }
        }
    }
}

/// Adds to what was seen. Pieces of one message become one.
pub(crate) fn add(seen: &mut Vec<Seen>, next: Seen) {
    match (seen.last_mut(), next) {
        (Some(Seen::Data(kind, bytes, fin @ Fin::More)), Seen::Data(k, more, f)) => {
            assert_eq!(*kind, k);
            bytes.extend(more);
            *fin = f;
        }
        (_, next) => seen.push(next),
    }
}

/// All that a decoder says of these pieces.
pub(crate) fn decode<'p, R: Role>(
    limits: Limits,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Vec<Seen> {
    let mut decoder = Decoder::<R>::new(limits);
    let mut seen = Vec::new();
    let mut offset = 0;
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            match decoder.next(&mut rest) {
                Ok(None) => break assert!(rest.is_empty()),
                Ok(Some(event)) => {
                    if let Event::Data(data) = event {
                        assert_eq!(data.offset, offset, "without a gap");
                        assert!(!data.bytes.is_empty() || data.fin == Fin::Last);
                        offset += data.bytes.len() as u64;
                        if data.fin == Fin::Last {
                            offset = 0;
                        }
                    }
                    add(&mut seen, Seen::of(event));
                }
                Err(error) => {
                    assert_eq!(decoder.next(&mut rest), Err(error), "for ever");
                    assert_eq!(decoder.next(&mut &mut [][..]), Err(error), "for ever");
                    add(&mut seen, Seen::Failed(error.kind, error.offset));
                    return seen;
                }
            }
        }
    }
    seen
}

/// `bytes` cut at these places.
pub(crate) fn cut<'b>(bytes: &'b [u8], at: &[usize]) -> Vec<&'b [u8]> {
    let mut at: Vec<_> = at.iter().map(|at| at % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}

/// A frame written by hand: the first byte, the length in the shortest form, and a mask or none.
pub(crate) fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let form = match payload.len() {
        0..=125 => 1,
        126..=65535 => 2,
        _ => 8,
    };
    frame_in_form(first, key, payload, form)
}

/// The same with a length of one, two, or eight bytes.
pub(crate) fn frame_in_form(first: u8, key: Option<[u8; 4]>, payload: &[u8], form: u8) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match form {
        1 => frame.push(mask | payload.len() as u8),
        2 => {
            frame.push(mask | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(key.unwrap_or_default().iter().take(if key.is_some() { 4 } else { 0 }));
    let key = key.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
