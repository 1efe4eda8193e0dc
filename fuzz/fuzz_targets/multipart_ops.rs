//! The decoder against the encoder, by operations: pictures, lies about their length, junk, cuts,
//! and a caller that reads some of the payload itself.
#![no_main]

use arbitrary::Arbitrary;
use camwire_multipart::{
    Config, Decoder, DropReason, Encoder, Event, PartHead, Quirks, WrongLength,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Op {
    /// A part with the right length, whatever it holds.
    Counted {
        payload: Vec<u8>,
        timestamp_us: Option<u64>,
        sequence: Option<u32>,
        missed: Option<u8>,
    },
    /// A part without a length.
    Scanned { payload: Vec<u8> },
    /// As for a viewer that gets heads in advance.
    Advance { payload: Vec<u8> },
    /// A part whose length is too small.
    Short { payload: Vec<u8>, by: u8 },
    /// A part whose length is too large, and which therefore takes its successors with it.
    Long { payload: Vec<u8>, by: u16 },
    /// A head that is no head.
    BadHead { head: Vec<u8> },
}

#[derive(Arbitrary, Debug)]
struct Input {
    /// What the boundary is made of.
    random: [u8; 16],
    ops: Vec<Op>,
    /// Sizes of the pieces, over and over.
    pieces: Vec<u8>,
    /// Whether the caller reads payload itself where it can: bit by bit, over and over.
    direct: u32,
    close: bool,
}

/// What must come back, in this order. After a lie that takes an unknown number of parts with it,
/// some of what follows may be missing.
#[derive(Debug, PartialEq)]
struct Part {
    head: PartHead,
    payload: Vec<u8>,
    /// It must come.
    certain: bool,
}

fn clean(payload: &[u8]) -> Vec<u8> {
    // What has no length must not hold line ends with dashes, which could be a delimiter, nor
    // end in half of one.
    payload.iter().map(|&b| if b == b'-' { b'+' } else { b }).collect()
}

fuzz_target!(|input: Input| {
    let encoder = Encoder::new(input.random);
    let content_type = encoder.content_type();
    let mut body = encoder.opening().to_vec();
    let mut expected = Vec::new();
    let mut certain = true;
    for op in &input.ops {
        let mut memory = [0; PartHead::MAX_LEN];
        let mut part = |head: PartHead, payload: &[u8]| {
            body.extend_from_slice(head.encode(&mut memory));
            body.extend_from_slice(payload);
            body.extend_from_slice(encoder.tail());
        };
        let with_length =
            |n: usize| PartHead { content_length: Some(n as u64), ..Default::default() };
        match op {
            Op::Counted { payload, timestamp_us, sequence, missed } => {
                let head = PartHead {
                    content_length: Some(payload.len() as u64),
                    timestamp_us: *timestamp_us,
                    sequence: sequence.map(u64::from),
                    missed: missed.map(u64::from),
                };
                part(head, payload);
                expected.push(Part { head, payload: payload.clone(), certain });
            }
            Op::Scanned { payload } => {
                let payload = clean(payload);
                part(PartHead::default(), &payload);
                expected.push(Part { head: PartHead::default(), payload, certain });
            }
            Op::Advance { payload } => {
                let payload = clean(payload);
                // The tail before it and its head are one in `advance_tail`.
                body.truncate(body.len() - encoder.tail().len().min(body.len()));
                if body.is_empty() {
                    body.extend_from_slice(encoder.advance_opening());
                } else {
                    body.extend_from_slice(encoder.advance_tail());
                }
                body.extend_from_slice(&payload);
                body.extend_from_slice(encoder.tail());
                expected.push(Part { head: PartHead::default(), payload, certain });
            }
            Op::Short { payload, by } => {
                let payload = clean(payload);
                let length = payload.len().saturating_sub(usize::from(*by).max(1));
                // What is cut off must not look like the line end before the delimiter.
                if payload.len() > length && !payload[length..].iter().all(|b| b"\r\n".contains(b))
                {
                    let head = with_length(length);
                    part(head, &payload);
                    expected.push(Part { head, payload, certain });
                }
            }
            Op::Long { payload, by } => {
                let by = usize::from(*by).max(3);
                part(with_length(payload.len() + by), payload);
                // It may be believed if it happens to end where another part does.
                certain = false;
            }
            Op::BadHead { head } => {
                // Without a blank line it has no end.
                let head: Vec<u8> =
                    head.iter().map(|&b| if b == b'\n' { b'+' } else { b }).collect();
                body.extend_from_slice(b"Content-Length: 1\r\nx");
                body.extend_from_slice(&clean(&head));
                body.extend_from_slice(encoder.tail());
            }
        }
    }
    if input.close {
        body.extend(encoder.closing().concat());
    }

    let mut decoder = Decoder::from_content_type(content_type.as_bytes(), Config::default())
        .expect("the encoder says what it writes");
    let mut sizes = input.pieces.iter().map(|&n| usize::from(n) + 1).cycle();
    let mut direct = input.direct;
    let mut rest = &body[..];
    let mut found = Vec::new();
    let mut current: Option<(PartHead, Vec<u8>)> = None;
    let mut closed = false;
    while !rest.is_empty() {
        direct = direct.rotate_left(1);
        if let (Some(ahead @ 1..), 1) = (decoder.payload_ahead(), direct & 1) {
            let n = rest.len().min(ahead).min(sizes.next().unwrap_or(usize::MAX));
            let (payload, after) = rest.split_at(n);
            assert_eq!(decoder.skip(n), n);
            current.as_mut().expect("a part has begun").1.extend_from_slice(payload);
            rest = after;
            continue;
        }
        let n = rest.len().min(sizes.next().unwrap_or(usize::MAX));
        let (piece, after) = rest.split_at(n);
        rest = after;
        let mut events = decoder.feed(piece);
        while let Some(event) = events.next().expect("nothing here is fatal") {
            match event {
                Event::PartStart { head, .. } => current = Some((head, Vec::new())),
                Event::Payload(payload) => {
                    current.as_mut().expect("a part has begun").1.extend_from_slice(payload);
                }
                Event::PartEnd => found.push(current.take().expect("a part has begun")),
                Event::PartDropped(dropped) => {
                    current = None;
                    assert!(!matches!(dropped.reason, DropReason::Truncated));
                }
                Event::BodyEnd => closed = true,
            }
        }
    }
    if certain {
        assert_eq!(closed, input.close);
    }

    // Everything certain has come, in order, with what may have come between.
    let mut found = found.into_iter();
    for part in expected.iter().filter(|part| part.certain) {
        assert_eq!(found.next().as_ref(), Some(&(part.head, part.payload.clone())));
    }
    if certain {
        assert_eq!(found.next(), None);
    }
});
