use camwire_websocket::{
    Client, ClientHandshake, ClientRequest, DecodeErrorKind, Decoder, Encoder, Event, Fin, Kind,
    Limits, Mask, Request, Server,
};
use heapless::Vec;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const TEXT: &str = "Gr\u{fc}\u{df}e \u{1F600}";

/// A client's Ping, and a text in two fragments, the cut within a character.
fn frames() -> Vec<u8, 128> {
    let mut encoder = Encoder::<Client>::new();
    let mut frames = Vec::new();
    let ping = encoder.ping(b"ping", KEY).unwrap();
    frames.extend_from_slice(ping.as_bytes()).unwrap();
    let (one, two) = TEXT.as_bytes().split_at(3);
    for (piece, fin) in [(one, Fin::More), (two, Fin::Last)] {
        let head = encoder.fragment(Kind::Text, piece.len(), fin, KEY).unwrap();
        frames.extend_from_slice(head.as_bytes()).unwrap();
        let start = frames.len();
        frames.extend_from_slice(piece).unwrap();
        Mask::new(KEY).apply(&mut frames[start..]);
    }
    frames
}

pub fn every_cut_of_frames() {
    let frames = frames();
    for at in 0..=frames.len() {
        let (one, two) = frames.split_at(at);
        check([one, two]);
    }
    for size in 1..=8 {
        check(frames.chunks(size));
    }
}

fn check<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) {
    let mut decoder = Decoder::<Server>::new(Limits::default());
    let (mut pings, mut text, mut whole) = (0, Vec::<u8, 32>::new(), false);
    for piece in pieces {
        let mut memory = Vec::<u8, 128>::from_slice(piece).unwrap();
        let mut input = &mut memory[..];
        while let Some(event) = decoder.next(&mut input).unwrap() {
            match event {
                Event::Ping(payload) => {
                    assert_eq!(payload, b"ping");
                    pings += 1;
                }
                Event::Data(data) => {
                    assert_eq!((data.kind, data.offset), (Kind::Text, text.len() as u64));
                    text.extend_from_slice(data.bytes).unwrap();
                    whole = data.fin == Fin::Last;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(whole && pings == 1 && text == TEXT.as_bytes());
}

pub fn masks_at_every_alignment() {
    for offset in 0..8 {
        for size in 0..40 {
            let mut memory = [0; 48];
            let (one, two) = memory[offset..][..size].split_at_mut(size / 3);
            let mut mask = Mask::new(KEY);
            mask.apply(one);
            mask.apply(two);
            for (place, byte) in memory.iter().enumerate() {
                let inside = (offset..offset + size).contains(&place);
                let expected = if inside { KEY[(place - offset) % 4] } else { 0 };
                assert_eq!(*byte, expected);
            }
        }
    }
}

pub fn messages_beyond_32_bits() {
    // Whoever cuts these to 32 bits believes that 4 bytes follow, and all is well.
    for length in [1_u64 << 32 | 4, 1 << 62 | 4] {
        let mut head = [0; 14];
        head[..2].copy_from_slice(&[0x82, 0xFF]);
        head[2..10].copy_from_slice(&length.to_be_bytes());
        let limit = Limits::default().message_bytes;
        let error = Decoder::<Server>::new(Limits::default()).next(&mut &mut head[..]).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::MessageTooBig { declared: length, limit });
        // Where they are allowed, they are waited for.
        let mut decoder = Decoder::<Server>::new(Limits { message_bytes: u64::MAX });
        assert_eq!(decoder.next(&mut &mut head[..]), Ok(None));
        assert_eq!(decoder.payload_ahead(), length);
        let mut piece = [7; 8];
        match decoder.next(&mut &mut piece[..]) {
            Ok(Some(Event::Data(data))) => assert_eq!((data.bytes.len(), data.fin), (8, Fin::More)),
            other => panic!("{other:?}"),
        }
        assert_eq!(decoder.payload_ahead(), length - 8);
    }
}

pub fn both_ends_of_a_handshake() {
    let nonce = *b"the sample nonce";
    let mut memory = [0; 256];
    let head = ClientRequest::new("camera", "/ws").write(nonce, &mut memory).unwrap();
    let request = Request::parse(head).unwrap();
    assert_eq!((request.target(), request.host()), ("/ws", Some(&b"camera"[..])));
    let mut response = Vec::<u8, 256>::new();
    for piece in request.accept(&[]).unwrap().response() {
        response.extend_from_slice(piece).unwrap();
    }
    assert!(response.ends_with(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
    assert_eq!(ClientHandshake::new(nonce, &[]).read(&response), Ok(None));
}
