//! Random frames, random cuts, and tungstenite as a second opinion.

mod common;

use std::io::{self, Read, Write};

use camwire_websocket::{
    Client, Close, CloseCode, Connection, DecodeErrorKind, EncodeError, Encoder, Fin, Kind, Limits,
    Mask, Phase, Role, Server,
};
use common::{Seen, cut, decode, frame, frame_in_form, naive};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::Message;
use tungstenite::protocol::{Role as Their, WebSocket, WebSocketConfig};

/// Text that is likely to be right, wrong, or cut in the middle.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,20}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..4),
        1 => prop::sample::select(vec![&b"\xe2\x82"[..], b"\xac", b"\xf0\x9f", b"\x98\x80", b""])
            .prop_map(<[u8]>::to_vec),
    ]
}

/// A frame that has as few mistakes as is good for finding them.
fn any_frame(masked: bool) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02]),
        8 => prop::sample::select(vec![0x00, 0x80]),
        4 => prop::sample::select(vec![0x89, 0x8A]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        8 => text(),
        1 => vec(any::<u8>(), 120..140),
        1 => (65530..65540_usize).prop_map(|size| vec![b'*'; size]),
    ];
    let close = (prop_oneof![990..1020_u16, any::<u16>()], text())
        .prop_map(|(code, reason)| [&code.to_be_bytes()[..], &reason].concat());
    let key = any::<[u8; 4]>();
    let right = (first, key, payload)
        .prop_map(move |(first, key, payload)| frame(first, masked.then_some(key), &payload));
    let close =
        (key, close).prop_map(move |(key, payload)| frame(0x88, masked.then_some(key), &payload));
    let form = (prop::sample::select(vec![2, 8]), prop::sample::select(vec![0, 125, 126, 65535]));
    let long = (key, form).prop_map(move |(key, (form, size))| {
        frame_in_form(0x82, masked.then_some(key), &vec![0; size], form)
    });
    let wrong_way = key.prop_map(move |key| frame(0x82, (!masked).then_some(key), b"x"));
    prop_oneof![40 => right, 2 => close, 1 => long, 1 => wrong_way, 1 => vec(any::<u8>(), 0..20)]
}

fn limits() -> impl Strategy<Value = Limits> {
    let message_bytes = prop_oneof![Just(Limits::DEFAULT.message_bytes), 0..50_u64];
    message_bytes.prop_map(|message_bytes| Limits { message_bytes })
}

/// A socket with bytes in it.
struct Wire {
    input: Vec<u8>,
    at: usize,
    sent: Vec<u8>,
}

impl Wire {
    fn new(input: &[u8]) -> Self {
        Self { input: input.to_vec(), at: 0, sent: Vec::new() }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let size = buf.len().min(self.input.len() - self.at);
        buf[..size].copy_from_slice(&self.input[self.at..][..size]);
        self.at += size;
        Ok(size)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sent.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite says of these bytes, and whether it found a fault.
fn tungstenite(bytes: &[u8], role: Their) -> (Vec<Seen>, bool) {
    // Its limits are others, for control frames, too. Without any it would reserve whatever a head
    // declares; with this one it stops where otherwise the bytes would end.
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(Some(1 << 20));
    let mut socket = WebSocket::from_raw_socket(Wire::new(bytes), role, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Data(Kind::Text, text.as_bytes().to_vec(), Fin::Last),
            Ok(Message::Binary(bytes)) => Seen::Data(Kind::Binary, bytes.to_vec(), Fin::Last),
            Ok(Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Seen::Pong(bytes.to_vec()),
            Ok(Message::Close(close)) => {
                seen.push(Seen::Close(
                    close.map(|close| (close.code.into(), close.reason.as_str().to_owned())),
                ));
                // It takes offence at what follows; here that does not count.
                return (seen, false);
            }
            Ok(Message::Frame(_)) => unreachable!("not when reading"),
            // The end of the bytes.
            Err(
                tungstenite::Error::Capacity(_)
                | tungstenite::Error::Protocol(
                    tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
                ),
            ) => return (seen, false),
            Err(_) => return (seen, true),
        });
    }
}

/// What tungstenite tells: whole messages, in the place of their last frame.
fn whole_messages(seen: &[Seen]) -> Vec<Seen> {
    let mut whole = Vec::new();
    let mut message = Vec::new();
    for one in seen {
        match one {
            Seen::Data(kind, bytes, fin) => {
                message.extend_from_slice(bytes);
                if *fin == Fin::Last {
                    whole.push(Seen::Data(*kind, std::mem::take(&mut message), Fin::Last));
                }
            }
            Seen::Failed(..) => {}
            other => whole.push(other.clone()),
        }
    }
    whole
}

fn like_the_others<R: Role>(
    bytes: &[u8],
    limits: Limits,
    cuts: &[usize],
    peer_masks: bool,
    their: Their,
) -> Result<(), TestCaseError> {
    let seen = decode::<R>(limits, [bytes]);
    prop_assert_eq!(&decode::<R>(limits, bytes.chunks(1)), &seen);
    prop_assert_eq!(&decode::<R>(limits, cut(bytes, cuts)), &seen);
    prop_assert_eq!(&naive::decode(bytes, peer_masks, limits.message_bytes), &seen);

    let failed = match seen.last() {
        Some(Seen::Failed(kind, _)) => Some(*kind),
        _ => None,
    };
    match failed {
        // These it does not look for, or not as soon.
        Some(
            DecodeErrorKind::LengthNotShortest
            | DecodeErrorKind::LengthTopBit
            | DecodeErrorKind::InvalidUtf8
            | DecodeErrorKind::CloseCode { .. }
            | DecodeErrorKind::ControlTooLong
            | DecodeErrorKind::MessageTooBig { .. },
        ) => {}
        _ => {
            let (theirs, fault) = tungstenite(bytes, their);
            let mut ours = whole_messages(&seen);
            // It does not know 1014 (Bad Gateway) yet.
            if let Some(Seen::Close(Some(close @ (1014, _)))) = ours.last_mut() {
                *close = (1002, "Protocol violation".to_owned());
            }
            prop_assert_eq!(ours, theirs);
            // A frame that is not whole yet may be wrong already.
            prop_assert!(failed.is_some() || !fault);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_server_decodes_like_the_others(
        frames in vec(any_frame(true), 0..8),
        limits in limits(),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        like_the_others::<Server>(&frames.concat(), limits, &cuts, true, Their::Server)?;
    }

    #[test]
    fn a_client_decodes_like_the_others(
        frames in vec(any_frame(false), 0..8),
        limits in limits(),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        like_the_others::<Client>(&frames.concat(), limits, &cuts, false, Their::Client)?;
    }

    /// tungstenite and the decoder read what the encoder wrote.
    #[test]
    fn what_the_encoder_writes_comes_back(sent in vec(sent(), 0..8), keys: [u8; 4]) {
        let (bytes, expected) = write::<Server>(&sent, || (), |()| None);
        prop_assert_eq!(whole_messages(&decode::<Client>(Limits::default(), [&bytes[..]])), &expected[..]);
        prop_assert_eq!(tungstenite(&bytes, Their::Client), (expected, false));

        let mut key = u32::from_be_bytes(keys);
        let next = move || {
            key = key.wrapping_mul(0x9E37_79B9).wrapping_add(1);
            key.to_be_bytes()
        };
        let (bytes, expected) = write::<Client>(&sent, next, Some);
        prop_assert_eq!(whole_messages(&decode::<Server>(Limits::default(), [&bytes[..]])), &expected[..]);
        prop_assert_eq!(tungstenite(&bytes, Their::Server), (expected, false));
    }

    /// The decoder reads what tungstenite wrote.
    #[test]
    fn what_tungstenite_writes_is_understood(sent in vec(sent(), 0..8), cuts in vec(any::<usize>(), 0..4)) {
        for role in [Their::Server, Their::Client] {
            let mut socket = WebSocket::from_raw_socket(Wire::new(&[]), role, None);
            let mut expected = Vec::new();
            for one in &sent {
                let (message, seen) = match one {
                    Sent::Message(Kind::Text, pieces) => {
                        let text = pieces.concat();
                        (Message::text(text.clone()), Seen::Data(Kind::Text, text.into_bytes(), Fin::Last))
                    }
                    Sent::Message(Kind::Binary, pieces) => {
                        let bytes = pieces.concat().into_bytes();
                        (Message::binary(bytes.clone()), Seen::Data(Kind::Binary, bytes, Fin::Last))
                    }
                    Sent::Ping(payload) => (Message::Ping(payload.clone().into()), Seen::Ping(payload.clone())),
                    Sent::Pong(payload) => (Message::Pong(payload.clone().into()), Seen::Pong(payload.clone())),
                };
                socket.send(message).unwrap();
                expected.push(seen);
            }
            socket.close(None).unwrap();
            expected.push(Seen::Close(None));
            let bytes = &socket.get_ref().sent;
            let pieces = cut(bytes, &cuts);
            let seen = match role {
                Their::Server => decode::<Client>(Limits::default(), pieces),
                Their::Client => decode::<Server>(Limits::default(), pieces),
            };
            prop_assert_eq!(whole_messages(&seen), expected);
        }
    }

    /// Whatever is called in whatever order, what leaves is what the peer may get.
    #[test]
    fn a_connection_cannot_be_driven_wrong(steps in vec(step(), 0..40)) {
        drive(&steps)?;
    }
}

#[derive(Clone, Debug)]
enum Sent {
    /// In fragments.
    Message(Kind, Vec<String>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let piece =
        prop_oneof![8 => "\\PC{0,40}", 1 => (65530..65540_usize).prop_map(|size| "*".repeat(size))];
    let kind = prop::sample::select(vec![Kind::Text, Kind::Binary]);
    prop_oneof![
        4 => (kind, vec(piece, 1..4)).prop_map(|(kind, pieces)| Sent::Message(kind, pieces)),
        1 => vec(any::<u8>(), 0..126).prop_map(Sent::Ping),
        1 => vec(any::<u8>(), 0..126).prop_map(Sent::Pong),
    ]
}

fn write<R: Role>(
    sent: &[Sent],
    mut key: impl FnMut() -> R::Key,
    mask: fn(R::Key) -> Option<[u8; 4]>,
) -> (Vec<u8>, Vec<Seen>) {
    let mut encoder = Encoder::<R>::new();
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for one in sent {
        match one {
            Sent::Message(kind, pieces) => {
                for (n, piece) in pieces.iter().enumerate() {
                    let fin = if n + 1 == pieces.len() { Fin::Last } else { Fin::More };
                    let key = key();
                    let head = if pieces.len() == 1 {
                        encoder.message(*kind, piece.len(), key).unwrap()
                    } else {
                        encoder.fragment(*kind, piece.len(), fin, key).unwrap()
                    };
                    bytes.extend_from_slice(head.as_bytes());
                    let start = bytes.len();
                    bytes.extend_from_slice(piece.as_bytes());
                    if let Some(key) = mask(key) {
                        Mask::new(key).apply(&mut bytes[start..]);
                    }
                }
                expected.push(Seen::Data(*kind, pieces.concat().into_bytes(), Fin::Last));
            }
            Sent::Ping(payload) => {
                bytes.extend_from_slice(encoder.ping(payload, key()).unwrap().as_bytes());
                expected.push(Seen::Ping(payload.clone()));
            }
            Sent::Pong(payload) => {
                bytes.extend_from_slice(encoder.pong(payload, key()).unwrap().as_bytes());
                expected.push(Seen::Pong(payload.clone()));
            }
        }
    }
    let close = Close::with_reason(CloseCode::NORMAL, "that was all");
    bytes.extend_from_slice(encoder.close(Some(close), key()).unwrap().as_bytes());
    expected.push(Seen::Close(Some((1000, "that was all".to_owned()))));
    (bytes, expected)
}

#[derive(Clone, Debug)]
enum Step {
    Receive(Vec<u8>),
    Answer,
    Message(Kind, u8),
    Fragment(Kind, u8, Fin),
    Ping(u8),
    Close(Option<u16>),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = || prop::sample::select(vec![Kind::Text, Kind::Binary]);
    let fin = prop::sample::select(vec![Fin::More, Fin::Last]);
    prop_oneof![
        6 => any_frame(true).prop_map(Step::Receive),
        4 => Just(Step::Answer),
        2 => (kind(), any::<u8>()).prop_map(|(kind, len)| Step::Message(kind, len)),
        3 => (kind(), any::<u8>(), fin).prop_map(|(kind, len, fin)| Step::Fragment(kind, len, fin)),
        1 => (0..=130_u8).prop_map(Step::Ping),
        1 => prop::option::of(1000..1003_u16).prop_map(Step::Close),
    ]
}

fn drive(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut connection = Connection::<Server>::new(Limits { message_bytes: 1000 });
    let mut sent = Vec::new();
    let (mut pings, mut closed_by_peer, mut failed) = (Vec::new(), None, None);
    let mut pong_owed = None;
    for step in steps {
        let phase = connection.phase();
        let refused = match step {
            Step::Receive(bytes) => {
                let mut bytes = bytes.clone();
                let mut rest = &mut bytes[..];
                loop {
                    match connection.next(&mut rest) {
                        Ok(None) => break,
                        Ok(Some(event)) => match Seen::of(event) {
                            Seen::Ping(payload) => {
                                pings.push(payload.clone());
                                pong_owed = Some(payload);
                            }
                            Seen::Close(close) => closed_by_peer = Some(close),
                            _ => {}
                        },
                        Err(error) => {
                            failed = Some(error.close_code().get());
                            break;
                        }
                    }
                }
                None
            }
            Step::Answer => {
                let owed = connection.owes_answer();
                let answer = connection.answer(());
                prop_assert_eq!(owed, answer.is_some());
                if let Some(answer) = answer {
                    sent.extend_from_slice(answer.as_bytes());
                    if answer.as_bytes()[0] == 0x8A {
                        let payload = pong_owed.take();
                        prop_assert_eq!(payload.as_deref(), Some(&answer.as_bytes()[2..]));
                    }
                }
                None
            }
            Step::Message(kind, len) => {
                let head = connection.message(*kind, (*len).into(), ());
                Some(head.map(|head| {
                    sent.extend_from_slice(head.as_bytes());
                    sent.extend(std::iter::repeat_n(b'*', (*len).into()));
                }))
            }
            Step::Fragment(kind, len, fin) => {
                let head = connection.fragment(*kind, (*len).into(), *fin, ());
                Some(head.map(|head| {
                    sent.extend_from_slice(head.as_bytes());
                    sent.extend(std::iter::repeat_n(b'*', (*len).into()));
                }))
            }
            Step::Ping(len) => {
                let frame = connection.ping(&vec![7; (*len).into()], ());
                prop_assert_eq!(*len <= 125 && phase == Phase::Open, frame.is_ok());
                frame.map(|frame| sent.extend_from_slice(frame.as_bytes())).ok();
                None
            }
            Step::Close(code) => {
                let code = code.map(|code| Close::new(CloseCode::new(code).unwrap()));
                let frame = connection.close(code, ());
                let may = matches!(phase, Phase::Open | Phase::CloseOwed);
                prop_assert_eq!(frame.is_ok(), may);
                frame.map(|frame| sent.extend_from_slice(frame.as_bytes())).ok();
                None
            }
        };
        if let Some(refused) = refused {
            let closed = refused == Err(EncodeError::Closed);
            prop_assert_eq!(closed, phase != Phase::Open);
        }
    }
    // The other end finds no fault with it, and nothing after a Close but Pongs.
    let seen = decode::<Client>(Limits::default(), [&sent[..]]);
    prop_assert!(!matches!(seen.last(), Some(Seen::Failed(..))), "{seen:?}");
    let close = naive_closes(&sent);
    prop_assert!(close.len() <= 1);
    let over = closed_by_peer.is_some() || failed.is_some();
    let phase = match (over, close.len()) {
        (false, 0) => Phase::Open,
        (false, _) => Phase::CloseSent,
        (true, 0) => Phase::CloseOwed,
        (true, _) => Phase::Closed,
    };
    prop_assert_eq!(connection.phase(), phase);
    Ok(())
}

/// The Close frames among frames without a mask. Whatever follows the first is a Pong.
fn naive_closes(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut closes = Vec::new();
    while let [first, len, rest @ ..] = bytes {
        let (len, rest) = match (len, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(*a) << 8 | usize::from(*b), rest),
            (len, rest) => ((*len).into(), rest),
        };
        assert!(closes.is_empty() || *first == 0x8A, "after a Close");
        if *first == 0x88 {
            closes.push(&rest[..len]);
        }
        bytes = &rest[len..];
    }
    closes
}
