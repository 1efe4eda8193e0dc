use camwire::multipart::{
    Config, Decoder, DropReason, Dropped, Encoder, Event, PartHead, Quirks, WrongLength,
};
use heapless::Vec;

static ENCODER: Encoder = Encoder::new(*b"16 bytes, random");

/// The second one holds what looks like a delimiter, and is none.
const PICTURES: [&[u8]; 3] = [b"\xFF\xD8 one \xFF\xD9", b"\r\n--camwire\r\n--\r\n", b""];

type Body = Vec<u8, 1024>;

pub fn every_cut_of_a_body_with_lengths() {
    at_every_cut(&body(|picture| Some(picture.len() as u64)));
}

pub fn every_cut_of_a_body_without_lengths() {
    at_every_cut(&body(|_| None));
}

pub fn bodies_at_every_alignment() {
    for length in [|picture: &[u8]| Some(picture.len() as u64), |_: &[u8]| None] {
        let body = body(length);
        for offset in 0..8 {
            let mut moved = Vec::<u8, 1032>::new();
            moved.resize(offset, 0).unwrap();
            moved.extend_from_slice(&body).unwrap();
            check([&moved[offset..]]);
        }
    }
}

pub fn lengths_beyond_32_bits() {
    // Whoever cuts these to 32 bits believes that 4 bytes follow, and all is well.
    for length in [1 << 32 | 4, 1 << 63 | 4] {
        let head = PartHead { content_length: Some(length), ..PartHead::default() };
        let quirks = Quirks { wrong_length: WrongLength::Refuse, ..Quirks::CAMERAS };
        let mut decoder = decoder_by(Config { quirks, ..Config::default() });
        let limit = Config::default().limits.part_bytes;
        assert_eq!(decoder.feed(ENCODER.opening()).next(), Ok(None));
        let mut room = [0; PartHead::MAX_LEN];
        match decoder.feed(head.encode(&mut room)).next() {
            Ok(Some(Event::PartDropped(Dropped { reason, .. }))) => {
                assert_eq!(reason, DropReason::TooLarge { needed: length, limit });
            }
            other => panic!("{length}: {other:?}"),
        }
    }
    // Everything else may be as large as that.
    let number = Some(1 << 63);
    let sent = PartHead {
        content_length: Some(4),
        timestamp_us: number,
        sequence: number,
        missed: number,
    };
    let mut room = [0; PartHead::MAX_LEN];
    let mut decoder = decoder();
    assert_eq!(decoder.feed(ENCODER.opening()).next(), Ok(None));
    match decoder.feed(sent.encode(&mut room)).next() {
        Ok(Some(Event::PartStart { head, .. })) => assert_eq!(head, sent),
        other => panic!("{other:?}"),
    }
}

fn decoder() -> Decoder {
    decoder_by(Config::default())
}

fn decoder_by(config: Config) -> Decoder {
    Decoder::from_content_type(ENCODER.content_type().as_bytes(), config).unwrap()
}

fn body(length: fn(&[u8]) -> Option<u64>) -> Body {
    let mut body = Body::from_slice(ENCODER.opening()).unwrap();
    for (number, picture) in (1..).zip(PICTURES) {
        let head = PartHead {
            content_length: length(picture),
            sequence: Some(number),
            ..PartHead::default()
        };
        for piece in [head.encode(&mut [0; PartHead::MAX_LEN]), picture, ENCODER.tail()] {
            body.extend_from_slice(piece).unwrap();
        }
    }
    for piece in ENCODER.closing() {
        body.extend_from_slice(piece).unwrap();
    }
    body
}

fn at_every_cut(body: &[u8]) {
    for at in 0..=body.len() {
        let (one, two) = body.split_at(at);
        check([one, two]);
    }
    for size in 1..=8 {
        check(body.chunks(size));
    }
}

/// Decodes a body and looks whether it is [`PICTURES`].
fn check<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) {
    let mut decoder = decoder();
    let (mut expected, mut rest) = ((1..).zip(PICTURES), &[][..]);
    let mut ended = false;
    for piece in pieces {
        let mut events = decoder.feed(piece);
        while let Some(event) = events.next().unwrap() {
            match event {
                Event::PartStart { head, .. } => {
                    let (number, picture) = expected.next().unwrap();
                    assert_eq!(head.sequence, Some(number));
                    rest = picture;
                }
                Event::Payload(payload) => rest = rest.strip_prefix(payload).unwrap(),
                Event::PartEnd => assert_eq!(rest, b""),
                Event::BodyEnd => ended = true,
                Event::PartDropped(dropped) => panic!("{dropped}"),
            }
        }
    }
    assert!(ended && expected.next().is_none());
}
