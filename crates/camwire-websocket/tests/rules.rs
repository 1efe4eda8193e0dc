//! Each rule of RFC 6455, section 5, kept and broken.

mod common;

use camwire_websocket::{
    Client, CloseCode, DecodeError, DecodeErrorKind, Decoder, Event, Fin, Kind, Limits, Server,
};
use common::{Seen, decode, frame, frame_in_form, naive};

const KEY: Option<[u8; 4]> = Some([0x12, 0xF0, 0x80, 0x7F]);

/// What a server says of it, which must be the same at every cut, and what the naive decoder says.
fn server(bytes: &[u8]) -> Vec<Seen> {
    let limits = Limits { message_bytes: 1 << 20 };
    let seen = decode::<Server>(limits, [bytes]);
    assert_eq!(decode::<Server>(limits, bytes.chunks(1)), seen);
    for at in 0..bytes.len().min(300) {
        let (a, b) = bytes.split_at(at);
        assert_eq!(decode::<Server>(limits, [a, b]), seen, "cut at {at}");
    }
    assert_eq!(naive::decode(bytes, true, limits.message_bytes), seen);
    seen
}

fn failed(bytes: &[u8]) -> DecodeErrorKind {
    match server(bytes).last() {
        Some(Seen::Failed(kind, _)) => *kind,
        other => panic!("not failed: {other:?}"),
    }
}

fn data(kind: Kind, bytes: &[u8]) -> Seen {
    Seen::Data(kind, bytes.to_vec(), Fin::Last)
}

#[test]
fn the_examples_of_the_specification() {
    let hello = data(Kind::Text, b"Hello");
    // Section 5.7.
    assert_eq!(decode::<Client>(Limits::default(), [&b"\x81\x05Hello"[..]]), vec![hello.clone()]);
    assert_eq!(server(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), vec![hello.clone()]);
    let fragments = b"\x01\x03Hel\x80\x02lo";
    assert_eq!(decode::<Client>(Limits::default(), [&fragments[..]]), [hello]);
    let ping = decode::<Client>(Limits::default(), [&b"\x89\x05Hello"[..]]);
    assert_eq!(ping, [Seen::Ping(b"Hello".to_vec())]);
    assert_eq!(
        server(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        [Seen::Pong(b"Hello".to_vec())]
    );
    for (size, head) in [(256, &b"\x82\x7e\x01\x00"[..]), (65536, b"\x82\x7f\0\0\0\0\0\x01\0\0")] {
        let message = [head, &vec![7; size]].concat();
        let seen = decode::<Client>(Limits::default(), [&message[..]]);
        assert_eq!(seen, [data(Kind::Binary, &vec![7; size])]);
    }
}

#[test]
fn messages_of_critical_lengths() {
    for size in [0, 1, 125, 126, 127, 128, 65535, 65536, 65537] {
        for (first, kind) in [(0x81, Kind::Text), (0x82, Kind::Binary)] {
            let payload = vec![b'*'; size];
            assert_eq!(server(&frame(first, KEY, &payload)), [data(kind, &payload)]);
        }
    }
}

#[test]
fn control_frames_between_fragments() {
    let bytes = [
        frame(0x01, KEY, b"a"),
        frame(0x89, KEY, b"1"),
        frame(0x00, KEY, b""),
        frame(0x8A, KEY, &[0xFF; 125]),
        frame(0x00, KEY, b"b"),
        frame(0x80, KEY, b""),
        frame(0x82, KEY, b""),
        frame(0x88, KEY, b""),
        frame(0x81, KEY, b"after the end"),
    ];
    assert_eq!(
        server(&bytes.concat()),
        [
            Seen::Data(Kind::Text, b"a".to_vec(), Fin::More),
            Seen::Ping(b"1".to_vec()),
            Seen::Pong(vec![0xFF; 125]),
            Seen::Data(Kind::Text, b"b".to_vec(), Fin::Last),
            data(Kind::Binary, b""),
            Seen::Close(None),
        ]
    );
}

#[test]
fn reserved_bits_and_opcodes() {
    for bits in 1..8 {
        for opcode in [0x81, 0x89, 0x88, 0x01] {
            let bytes = frame(bits << 4 | opcode, KEY, b"x");
            assert_eq!(server(&bytes), [Seen::Failed(DecodeErrorKind::ReservedBits, 0)]);
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for fin in [0, 0x80] {
            let kind = DecodeErrorKind::ReservedOpcode { opcode };
            assert_eq!(server(&frame(fin | opcode, KEY, b"")), [Seen::Failed(kind, 0)]);
        }
    }
    // What was right before it is told.
    let bytes = [frame(0x81, KEY, b"x"), frame(0xC2, KEY, b"y")].concat();
    let failed = Seen::Failed(DecodeErrorKind::ReservedBits, 7);
    assert_eq!(server(&bytes), [data(Kind::Text, b"x"), failed]);
}

#[test]
fn mask_and_direction() {
    for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8A] {
        for payload in [&b""[..], b"x"] {
            let bytes = frame(first, None, payload);
            assert_eq!(server(&bytes), [Seen::Failed(DecodeErrorKind::NotMasked, 1)]);
            let bytes = frame(first, KEY, payload);
            let seen = decode::<Client>(Limits::default(), [&bytes[..]]);
            assert_eq!(seen, [Seen::Failed(DecodeErrorKind::Masked, 1)]);
        }
    }
}

#[test]
fn lengths_in_their_shortest_form() {
    for (size, form) in [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)] {
        let bytes = frame_in_form(0x82, KEY, &vec![0; size], form);
        assert_eq!(failed(&bytes), DecodeErrorKind::LengthNotShortest, "{size} in {form}");
    }
    for high in [0x80, 0xFF] {
        let bytes = [0x82, 0xFF, high, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(failed(&bytes), DecodeErrorKind::LengthTopBit);
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        assert_eq!(failed(&frame(opcode, KEY, b"")), DecodeErrorKind::ControlFragmented);
        for size in [126, 65536] {
            let bytes = frame(0x80 | opcode, KEY, &vec![0; size]);
            assert_eq!(failed(&bytes), DecodeErrorKind::ControlTooLong);
        }
    }
}

#[test]
fn continuations() {
    assert_eq!(failed(&frame(0x80, KEY, b"x")), DecodeErrorKind::NothingToContinue);
    assert_eq!(failed(&frame(0x00, KEY, b"x")), DecodeErrorKind::NothingToContinue);
    let whole = [frame(0x82, KEY, b"x"), frame(0x80, KEY, b"x")].concat();
    assert_eq!(failed(&whole), DecodeErrorKind::NothingToContinue);
    for first in [0x01, 0x02] {
        for second in [0x01, 0x02, 0x81, 0x82] {
            let bytes = [frame(first, KEY, b"x"), frame(second, KEY, b"x")].concat();
            assert_eq!(failed(&bytes), DecodeErrorKind::MessageUnfinished);
        }
    }
}

#[test]
fn text_fails_at_the_first_impossible_byte() {
    let text = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
    // A character beyond U+10FFFF is impossible at its second byte. The rest of the frame never
    // comes.
    let bytes = frame(0x81, KEY, &[text, &b"\xf4\x90\x80\x80edited"[..]].concat());
    let expected = [
        Seen::Data(Kind::Text, [text, &b"\xf4"[..]].concat(), Fin::More),
        Seen::Failed(DecodeErrorKind::InvalidUtf8, 6 + 12),
    ];
    assert_eq!(server(&bytes), expected);
    assert_eq!(server(&bytes[..6 + 13]), expected);
    // A character may be cut by fragments and by control frames.
    let bytes = [
        frame(0x01, KEY, &text[..3]),
        frame(0x89, KEY, b""),
        frame(0x00, KEY, &text[3..4]),
        frame(0x00, KEY, b""),
        frame(0x80, KEY, &text[4..]),
    ];
    let seen = server(&bytes.concat());
    assert_eq!(seen.last(), Some(&Seen::Data(Kind::Text, text[3..].to_vec(), Fin::Last)));
    // But not by the end of the message.
    for last in [frame(0x80, KEY, b""), frame(0x80, KEY, b"\xce")] {
        let bytes = [frame(0x01, KEY, &text[..3]), last].concat();
        assert_eq!(failed(&bytes), DecodeErrorKind::InvalidUtf8);
    }
    // The next text begins anew, and binary may be anything.
    let bytes = [frame(0x82, KEY, b"\xce"), frame(0x81, KEY, b"\xba")].concat();
    let failed = Seen::Failed(DecodeErrorKind::InvalidUtf8, 13);
    assert_eq!(server(&bytes), [data(Kind::Binary, b"\xce"), failed]);
}

#[test]
fn closes() {
    let close = |payload: &[u8]| server(&frame(0x88, KEY, payload)).pop().unwrap();
    assert_eq!(close(b""), Seen::Close(None));
    assert_eq!(close(b"\x03\xe8"), Seen::Close(Some((1000, String::new()))));
    assert_eq!(
        close("\u{3}\u{0}".as_bytes()),
        Seen::Failed(DecodeErrorKind::CloseCode { code: 768 }, 8)
    );
    let reason = "\u{fc}".repeat(61);
    let payload = [&4999_u16.to_be_bytes()[..], reason.as_bytes()].concat();
    assert_eq!(close(&payload), Seen::Close(Some((4999, reason))));
    assert_eq!(close(b"\x03"), Seen::Failed(DecodeErrorKind::CloseLength, 7));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let kind = DecodeErrorKind::CloseCode { code };
        assert_eq!(close(&code.to_be_bytes()), Seen::Failed(kind, 8));
    }
    assert_eq!(close(b"\x03\xe8\xce\xba\xe1"), Seen::Failed(DecodeErrorKind::InvalidUtf8, 11));
}

#[test]
fn the_limit_is_for_the_sum_and_before_anything_is_taken() {
    let limits = Limits { message_bytes: 10 };
    let too_big = |bytes: &[u8], declared, offset| {
        let kind = DecodeErrorKind::MessageTooBig { declared, limit: 10 };
        let seen = decode::<Server>(limits, [bytes]);
        assert_eq!(seen.last(), Some(&Seen::Failed(kind, offset)));
        assert_eq!(naive::decode(bytes, true, 10), seen);
    };
    assert_eq!(decode::<Server>(limits, [&frame(0x82, KEY, &[7; 10])[..]]).len(), 1);
    // The head alone, without its key.
    too_big(&[0x82, 0x80 | 11], 11, 1);
    too_big(&[0x82, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255], i64::MAX as u64, 9);
    let sum = [frame(0x02, KEY, &[7; 6]), frame(0x89, KEY, &[7; 100]), frame(0x00, KEY, &[7; 5])];
    too_big(&sum.concat(), 11, 12 + 106 + 1);
    // The next message begins at nothing.
    let two = [frame(0x82, KEY, &[7; 10]), frame(0x82, KEY, &[7; 10])].concat();
    assert_eq!(decode::<Server>(limits, [&two[..]]).len(), 2);
}

#[test]
fn each_error_has_its_close_code() {
    let code = |kind| DecodeError { kind, offset: 0 }.close_code();
    assert_eq!(code(DecodeErrorKind::InvalidUtf8), CloseCode::INVALID_PAYLOAD);
    let too_big = DecodeErrorKind::MessageTooBig { declared: 2, limit: 1 };
    assert_eq!(code(too_big), CloseCode::MESSAGE_TOO_BIG);
    for kind in [
        DecodeErrorKind::ReservedBits,
        DecodeErrorKind::ReservedOpcode { opcode: 3 },
        DecodeErrorKind::NotMasked,
        DecodeErrorKind::Masked,
        DecodeErrorKind::LengthNotShortest,
        DecodeErrorKind::LengthTopBit,
        DecodeErrorKind::ControlTooLong,
        DecodeErrorKind::ControlFragmented,
        DecodeErrorKind::NothingToContinue,
        DecodeErrorKind::MessageUnfinished,
        DecodeErrorKind::CloseLength,
        DecodeErrorKind::CloseCode { code: 0 },
    ] {
        assert_eq!(code(kind), CloseCode::PROTOCOL_ERROR);
    }
}

/// A picture is read to where it belongs, and nothing is copied.
#[test]
fn payload_can_be_read_to_its_place() {
    let picture: Vec<u8> = (0..100_000_u32).map(|i| (i * 7) as u8).collect();
    let mut bytes = &[frame(0x82, KEY, &picture), frame(0x89, KEY, b"x")].concat()[..];
    let mut decoder = Decoder::<Server>::new(Limits::default());
    let mut slot = vec![0; picture.len()];
    let mut filled = 0;
    while !bytes.is_empty() {
        let ahead = decoder.payload_ahead() as usize;
        let mut small = [0; 7];
        let direct = ahead > 0;
        let memory = if direct { &mut slot[filled..][..ahead.min(4000)] } else { &mut small[..] };
        let size = memory.len().min(bytes.len());
        let mut input = &mut memory[..size];
        input.copy_from_slice(&bytes[..size]);
        bytes = &bytes[size..];
        let mut copied = Vec::new();
        while let Some(event) = decoder.next(&mut input).unwrap() {
            match event {
                Event::Data(data) if direct => filled += data.bytes.len(),
                Event::Data(data) => copied.extend_from_slice(data.bytes),
                other => assert_eq!(other, Event::Ping(b"x")),
            }
        }
        slot[filled..][..copied.len()].copy_from_slice(&copied);
        filled += copied.len();
    }
    assert!(filled == picture.len() && slot == picture);
    assert_eq!(decoder.payload_ahead(), 0);
}
