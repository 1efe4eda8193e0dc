//! The echo server and the echo client, over sockets, with a peer that keeps or breaks the rules:
//! the case classes of the Autobahn test suite by their numbers, and what it does not look at. Where
//! that suite leaves a choice, the strict one is demanded.

mod common;
#[path = "../examples/echo/mod.rs"]
mod echo;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use camwire_websocket::{ClientRequest, Fin, Kind, WebSocket};
use common::{Seen, frame_in_form, naive};
use echo::{LIMITS, Memory};

/// Which end is tested; the peer is the other one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Testee {
    Server,
    Client,
}

const BOTH: [Testee; 2] = [Testee::Server, Testee::Client];

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

impl Testee {
    /// What its peer masks with.
    fn key(self) -> Option<[u8; 4]> {
        (self == Self::Server).then_some(KEY)
    }

    fn frame(self, first: u8, payload: &[u8]) -> Vec<u8> {
        common::frame(first, self.key(), payload)
    }

    /// A socket to it, after the opening handshake.
    fn connect(self) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = match self {
            Self::Server => {
                thread::spawn(move || testee(serve(listener.accept().unwrap().0)));
                let mut stream = TcpStream::connect(address).unwrap();
                stream
                    .write_all(
                        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                          Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                    )
                    .unwrap();
                stream
            }
            Self::Client => {
                thread::spawn(move || testee(ask(TcpStream::connect(address).unwrap())));
                listener.accept().unwrap().0
            }
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = read_head(&mut stream);
        if self == Self::Client {
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let accept = tungstenite::handshake::derive_accept_key(key.unwrap().as_bytes());
            let response = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(response.as_bytes()).unwrap();
        } else {
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        }
        stream
    }

    /// Sends these pieces, and decodes all that comes until the testee hangs up.
    fn exchange(self, pieces: &[Vec<u8>]) -> Vec<Seen> {
        let mut stream = self.connect();
        let mut writer = stream.try_clone().unwrap();
        let mut bytes = Vec::new();
        thread::scope(|scope| {
            scope.spawn(move || {
                for piece in pieces {
                    // It may have hung up before the end.
                    if writer.write_all(piece).is_err() {
                        return;
                    }
                }
            });
            stream.read_to_end(&mut bytes).unwrap();
        });
        let seen = naive::decode(&bytes, self == Self::Client, u64::MAX);
        assert!(!matches!(seen.last(), Some(Seen::Failed(..))), "{seen:?}");
        seen
    }

    /// The same, and at the end this peer closes as it should be. Returned is what came before
    /// that was answered.
    fn survives(self, frames: &[(u8, &[u8])]) -> Vec<Seen> {
        let mut bytes: Vec<u8> =
            frames.iter().flat_map(|(first, payload)| self.frame(*first, payload)).collect();
        bytes.extend(self.frame(0x88, &1000_u16.to_be_bytes()));
        let mut seen = self.exchange(std::slice::from_ref(&bytes));
        // Byte by byte it must be the same.
        if bytes.len() < 2000 {
            let chopped: Vec<_> = bytes.chunks(1).map(<[u8]>::to_vec).collect();
            assert_eq!(self.exchange(&chopped), seen);
        }
        assert_eq!(seen.pop(), Some(Seen::Close(Some((1000, String::new())))));
        seen
    }

    /// The testee fails the connection with this code. Returned is what came before that.
    fn fails(self, frames: &[(u8, &[u8])], code: u16) -> Vec<Seen> {
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(first, payload)| self.frame(*first, payload)).collect();
        self.fails_on(&bytes, code)
    }

    fn fails_on(self, bytes: &[u8], code: u16) -> Vec<Seen> {
        let mut seen = self.exchange(&[bytes.to_vec()]);
        assert_eq!(seen.pop(), Some(Seen::Close(Some((code, String::new())))), "{self:?}");
        seen
    }
}

fn testee(run: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run);
}

fn tokio_stream(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

async fn serve(stream: TcpStream) {
    let mut halves = echo::halves(tokio_stream(stream)).unwrap();
    let (reader, writer) = &mut halves;
    let mut memory: Box<Memory> = Box::new([0; _]);
    let accepted = WebSocket::accept(reader, writer, &mut memory, LIMITS, &[], |_| Ok(()));
    if let Ok((mut socket, _)) = accepted.await {
        _ = echo::echo(&mut socket).await;
    }
    echo::hang_up(halves).await;
}

async fn ask(stream: TcpStream) {
    let (reader, writer) = echo::halves(tokio_stream(stream)).unwrap();
    let mut memory: Box<Memory> = Box::new([0; _]);
    let request = ClientRequest::new("x", "/");
    let keys = || *b"keys";
    let connected = WebSocket::connect(reader, writer, &mut memory, LIMITS, &request, keys);
    let (mut socket, _) = connected.await.unwrap();
    _ = echo::echo(&mut socket).await;
    echo::hang_up(socket.into_parts()).await;
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn text(text: impl AsRef<[u8]>) -> Seen {
    Seen::Data(Kind::Text, text.as_ref().to_vec(), Fin::Last)
}

fn binary(bytes: impl AsRef<[u8]>) -> Seen {
    Seen::Data(Kind::Binary, bytes.as_ref().to_vec(), Fin::Last)
}

#[test]
fn case_1_messages() {
    for testee in BOTH {
        for size in [0, 125, 126, 127, 128, 65535, 65536] {
            let payload = vec![b'*'; size];
            assert_eq!(testee.survives(&[(0x81, &payload)]), [text(&payload)]);
            assert_eq!(testee.survives(&[(0x82, &payload)]), [binary(&payload)]);
        }
        let payload = vec![0xFE; 65536];
        let mut bytes = testee.frame(0x82, &payload);
        bytes.extend(testee.frame(0x88, b""));
        let pieces: Vec<_> = bytes.chunks(997).map(<[u8]>::to_vec).collect();
        assert_eq!(testee.exchange(&pieces), [binary(&payload), Seen::Close(None)]);
    }
}

#[test]
fn case_2_pings_and_pongs() {
    for testee in BOTH {
        for payload in [&b""[..], b"Hello, world!", &[0x00, 0xFF, 0xFE], &[0xFE; 125]] {
            let pong = Seen::Pong(payload.to_vec());
            assert_eq!(testee.survives(&[(0x89, payload)]), [pong]);
        }
        assert_eq!(testee.fails(&[(0x89, &[0xFE; 126])], 1002), []);
        let pongs = [(0x8A, &b""[..]), (0x8A, b"unsolicited"), (0x89, b"ping")];
        assert_eq!(testee.survives(&pongs), [Seen::Pong(b"ping".to_vec())]);
        let payloads: Vec<_> = (0..10_u8).map(|n| vec![n; 20]).collect();
        let pings: Vec<_> = payloads.iter().map(|payload| (0x89, &payload[..])).collect();
        let pongs: Vec<_> = payloads.iter().cloned().map(Seen::Pong).collect();
        assert_eq!(testee.survives(&pings), pongs);
    }
}

#[test]
fn case_3_reserved_bits() {
    for testee in BOTH {
        for bits in 1..8_u8 {
            for opcode in [0x81, 0x82, 0x89, 0x8A, 0x88] {
                let frames = [(0x81, &b"before"[..]), (opcode | bits << 4, b"x"), (0x89, b"after")];
                assert_eq!(testee.fails(&frames, 1002), [text("before")]);
            }
        }
    }
}

#[test]
fn case_4_reserved_opcodes() {
    for testee in BOTH {
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            for payload in [&b""[..], b"reserved"] {
                let frames = [(0x81, &b"before"[..]), (0x80 | opcode, payload), (0x89, b"after")];
                assert_eq!(testee.fails(&frames, 1002), [text("before")]);
            }
        }
    }
}

#[test]
fn case_5_fragments() {
    for testee in BOTH {
        // 5.1, 5.2: control frames in fragments.
        for opcode in [0x09, 0x0A, 0x08] {
            assert_eq!(testee.fails(&[(opcode, b"frag"), (0x80, b"ment")], 1002), []);
        }
        // 5.3 to 5.8: a text in fragments, with a Ping between them.
        let fragments = [(0x01, &b"frag"[..]), (0x80, b"ment")];
        assert_eq!(testee.survives(&fragments), [text("fragment")]);
        let with_ping = [(0x01, &b"frag"[..]), (0x89, b"ping"), (0x80, b"ment")];
        let expected = [Seen::Pong(b"ping".to_vec()), text("fragment")];
        assert_eq!(testee.survives(&with_ping), expected);
        // 5.9 to 5.14: a continuation of nothing.
        for first in [0x80, 0x00] {
            let frames = [(first, &b"nothing"[..]), (0x81, b"Hello")];
            assert_eq!(testee.fails(&frames, 1002), []);
        }
        let frames = [(0x01, &b"a"[..]), (0x80, b"b"), (0x00, b"c"), (0x81, b"d")];
        assert_eq!(testee.fails(&frames, 1002), [text("ab")]);
        // 5.15 to 5.18: a message in a message.
        let frames = [(0x01, &b"a"[..]), (0x81, b"b")];
        assert_eq!(testee.fails(&frames, 1002), []);
        let frames = [(0x01, &b"a"[..]), (0x01, b"b"), (0x80, b"c")];
        assert_eq!(testee.fails(&frames, 1002), []);
        // 5.19, 5.20: several fragments and Pings.
        let frames = [
            (0x01, &b"1"[..]),
            (0x00, b"2"),
            (0x89, b"first"),
            (0x00, b"3"),
            (0x00, b"4"),
            (0x89, b"second"),
            (0x80, b"5"),
        ];
        let pongs = [b"first".to_vec(), b"second".to_vec()].map(Seen::Pong);
        assert_eq!(testee.survives(&frames), [&pongs[..], &[text("12345")]].concat());
    }
}

/// What is UTF-8: 6.2, and the valid ones of 6.5 to 6.11, 6.22 and 6.23.
const TEXTS: [&[u8]; 15] = [
    b"",
    "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!".as_bytes(),
    "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes(),
    b"\0",
    b"\x7F",
    b"\xC2\x80",
    b"\xDF\xBF",
    b"\xE0\xA0\x80",
    b"\xED\x9F\xBF",
    b"\xEE\x80\x80",
    b"\xEF\xBF\xBD",
    b"\xEF\xBF\xBF",
    b"\xF0\x90\x80\x80",
    b"\xF0\x9F\xBF\xBE",
    b"\xF4\x8F\xBF\xBF",
];

/// What is not, and at which byte that is certain: 6.3, and the rest.
const NO_TEXTS: [(&[u8], usize); 30] = [
    (b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited", 12),
    (b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xF4\x90\x80\x80edited", 12),
    // 6.8: five and six bytes.
    (b"\xF8\x88\x80\x80\x80", 0),
    (b"\xFC\x84\x80\x80\x80\x80", 0),
    (b"\xF7\xBF\xBF\xBF", 0),
    (b"\xF4\x90\x80\x80", 1),
    // 6.12: continuations of nothing.
    (b"\x80", 0),
    (b"\xBF", 0),
    (b"\x80\xBF\x80", 0),
    // 6.13: first bytes without the others.
    (b"\xC0 \xC1 ", 0),
    (b"\xC2 \xC3 ", 1),
    (b"\xE0 \xE1 ", 1),
    (b"\xF0 \xF1 ", 1),
    // 6.14: the last byte missing, at the end of the message.
    (b"\xDF", 1),
    (b"\xE0\xA0", 2),
    (b"\xEF\xBF", 2),
    (b"\xF0\x90\x80", 3),
    (b"\xF4\x8F\xBF", 3),
    // 6.16, 6.17: bytes that are never right.
    (b"\xFE", 0),
    (b"\xFF", 0),
    (b"\xFE\xFE\xFF\xFF", 0),
    // 6.18, 6.19: longer forms than needed.
    (b"\xC0\xAF", 0),
    (b"\xE0\x80\xAF", 1),
    (b"\xF0\x80\x80\xAF", 1),
    (b"\xC1\xBF", 0),
    (b"\xE0\x9F\xBF", 1),
    (b"\xF0\x8F\xBF\xBF", 1),
    // 6.20, 6.21: surrogates.
    (b"\xED\xA0\x80", 1),
    (b"\xED\xBF\xBF", 1),
    (b"\xED\xA0\x80\xED\xB0\x80", 1),
];

#[test]
fn case_6_utf_8() {
    for testee in BOTH {
        for payload in TEXTS {
            assert_eq!(testee.survives(&[(0x81, payload)]), [text(payload)]);
            // Each byte is a fragment.
            let mut frames: Vec<_> = payload.chunks(1).map(|byte| (0x00, byte)).collect();
            frames.insert(0, (0x01, b""));
            frames.push((0x80, b""));
            assert_eq!(testee.survives(&frames), [text(payload)]);
        }
        for (payload, _) in NO_TEXTS {
            assert_eq!(testee.fails(&[(0x81, payload)], 1007), []);
            let mut frames: Vec<_> = payload.chunks(1).map(|byte| (0x00, byte)).collect();
            frames.insert(0, (0x01, b""));
            frames.push((0x80, b""));
            assert_eq!(testee.fails(&frames, 1007), []);
            // As binary it is fine.
            assert_eq!(testee.survives(&[(0x82, payload)]), [binary(payload)]);
        }
    }
}

#[test]
fn case_6_4_fails_fast() {
    for testee in BOTH {
        for (payload, wrong) in NO_TEXTS {
            let Some(sent) = payload.get(..=wrong) else { continue };
            // In one frame of which the rest never comes; the length says that it would.
            let whole = testee.frame(0x81, &[payload, b"and much more"].concat());
            let missing = payload.len() - sent.len() + b"and much more".len();
            assert_eq!(testee.fails_on(&whole[..whole.len() - missing], 1007), []);
            // In fragments of which the last never comes.
            assert_eq!(testee.fails(&[(0x01, &sent[..wrong]), (0x00, &sent[wrong..])], 1007), []);
        }
    }
}

#[test]
fn case_7_closes() {
    let codes = [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    for testee in BOTH {
        let close = |payload: &[u8]| testee.exchange(&[testee.frame(0x88, payload)]);
        // 7.1: messages, Closes and Pings after a Close do not count.
        let after = [(0x88, &b"\x03\xe8"[..]), (0x81, b"late"), (0x88, b""), (0x89, b"")];
        assert_eq!(testee.fails(&after, 1000), []);
        // 7.1.5: a Close in a message that is unfinished.
        let within = [(0x01, &b"frag"[..]), (0x88, b"\x03\xe8"), (0x80, b"ment")];
        assert_eq!(testee.fails(&within, 1000), []);
        // 7.1.6: what came before it is answered before it.
        let large = vec![b'*'; 256 << 10];
        let before = [(0x81, &large[..]), (0x81, b"x"), (0x88, b"\x03\xe8"), (0x89, b"")];
        assert_eq!(testee.fails(&before, 1000), [text(&large), text("x")]);
        // 7.3: lengths.
        assert_eq!(close(b""), [Seen::Close(None)]);
        assert_eq!(testee.fails(&[(0x88, b"\x03")], 1002), []);
        assert_eq!(testee.fails(&[(0x88, b"\x03\xe8Hello")], 1000), []);
        let longest = [&b"\x03\xe8"[..], &[b'*'; 123]].concat();
        assert_eq!(testee.fails(&[(0x88, &longest)], 1000), []);
        let too_long = [&b"\x03\xe8"[..], &[b'*'; 124]].concat();
        assert_eq!(testee.fails(&[(0x88, &too_long)], 1002), []);
        // 7.5: a reason that is no UTF-8.
        for (reason, _) in NO_TEXTS {
            let payload = [b"\x03\xe8", reason].concat();
            assert_eq!(testee.fails(&[(0x88, &payload)], 1007), []);
        }
        // 7.7: codes that come back.
        for code in codes.into_iter().chain([3000, 3999, 4000, 4999]) {
            assert_eq!(testee.fails(&[(0x88, &code.to_be_bytes())], code), []);
        }
        // 7.9, 7.13: and codes that nobody sends.
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16] {
            assert_eq!(testee.fails(&[(0x88, &code.to_be_bytes())], 1002), []);
        }
    }
}

#[test]
fn case_9_and_10_limits_and_fragments() {
    for testee in BOTH {
        // 9.1, 9.2: large messages. 9.3, 9.4, 10.1: in fragments. 9.5, 9.6: in pieces.
        let large: Vec<u8> = (0..1 << 20).map(|i: u32| b'A' + (i % 50) as u8).collect();
        for (kind, opcode) in [(Kind::Text, 1), (Kind::Binary, 2)] {
            let expected = [
                Seen::Data(kind, large.clone(), Fin::Last),
                Seen::Close(Some((1000, String::new()))),
            ];
            for fragment in [256, 1300, 65536, large.len()] {
                let mut frames: Vec<_> = large.chunks(fragment).map(|piece| (0, piece)).collect();
                frames[0].0 = opcode;
                frames.last_mut().unwrap().0 |= 0x80;
                let mut bytes: Vec<u8> =
                    frames.iter().flat_map(|(first, piece)| testee.frame(*first, piece)).collect();
                bytes.extend(testee.frame(0x88, b"\x03\xe8"));
                let pieces: Vec<_> = bytes.chunks(2048).map(<[u8]>::to_vec).collect();
                let seen = testee.exchange(&pieces);
                assert!(seen == expected, "fragments of {fragment}");
            }
        }
        // 9.7, 9.8: many messages.
        for size in [0, 16, 256] {
            let payload = vec![b'*'; size];
            let frames = vec![(0x81, &payload[..]); 1000];
            assert_eq!(testee.survives(&frames), vec![text(&payload); 1000]);
        }
    }
}

/// 9.1.6 and beyond: as large as the examples promise.
#[test]
fn messages_of_16_and_64_mebibytes() {
    for size in [16 << 20, 64 << 20] {
        let mut stream = Testee::Server.connect();
        let mut writer = stream.try_clone().unwrap();
        let thread = thread::spawn(move || {
            // A mask of zeros, so that it is quick.
            writer.write_all(&[0x82, 0xFF]).unwrap();
            writer.write_all(&(size as u64).to_be_bytes()).unwrap();
            writer.write_all(&[0; 4]).unwrap();
            for n in 0..size >> 16 {
                writer.write_all(&vec![n as u8; 1 << 16]).unwrap();
            }
        });
        let mut head = [0; 10];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[..2], [0x82, 127]);
        assert_eq!(head[2..], (size as u64).to_be_bytes());
        let mut piece = vec![0; 1 << 16];
        for n in 0..size >> 16 {
            stream.read_exact(&mut piece).unwrap();
            assert!(piece.iter().all(|byte| *byte == n as u8));
        }
        thread.join().unwrap();
    }
}

/// What the Autobahn test suite does not look at.
#[test]
fn beyond_the_suite() {
    for testee in BOTH {
        // A mask in the wrong direction.
        let wrong_way = if testee == Testee::Server { None } else { Some(KEY) };
        for first in [0x81, 0x82, 0x89, 0x8A, 0x88] {
            assert_eq!(testee.fails_on(&common::frame(first, wrong_way, b""), 1002), []);
        }
        // Lengths that are not in their shortest form, or have their top bit set.
        for (size, form) in [(0, 2), (125, 2), (125, 8), (126, 8), (65535, 8)] {
            let bytes = frame_in_form(0x82, testee.key(), &vec![0; size], form);
            assert_eq!(testee.fails_on(&bytes, 1002), []);
        }
        let mask = if testee == Testee::Server { 0x80 } else { 0 };
        let head = |length: u64| [&[0x82, mask | 127][..], &length.to_be_bytes()].concat();
        assert_eq!(testee.fails_on(&head(1 << 63), 1002), []);
        // The limit, on the head alone, and on the sum of the fragments.
        for length in [(64 << 20) + 1, u64::MAX >> 1] {
            assert_eq!(testee.fails_on(&head(length), 1009), []);
        }
        let mut bytes = testee.frame(0x02, b"x");
        bytes.extend(testee.frame(0x89, b"x"));
        bytes.push(0x80);
        bytes.extend(&head(64 << 20)[1..]);
        assert_eq!(testee.fails_on(&bytes, 1009), [Seen::Pong(b"x".to_vec())]);
    }
}

#[test]
fn malformed_upgrades_get_their_status() {
    let good = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let long = format!("X: {}\r\n\r\n", "x".repeat(size_of::<Memory>() / 2));
    for (from, to, status) in [
        ("", "", 101),
        ("GET", "POST", 405),
        ("HTTP/1.1", "HTTP/1.0", 400),
        ("Host: x\r\n", "", 400),
        ("websocket", "h2c", 426),
        ("Upgrade\r\n", "keep-alive\r\n", 400),
        ("13", "8", 426),
        ("Q==\r\n", "\r\n", 400),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Kex", 400),
        ("\r\nHost", "\r\n Host", 400),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", 400),
        ("\r\n\r\n", &long, 431),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || testee(serve(listener.accept().unwrap().0)));
        let mut stream = TcpStream::connect(address).unwrap();
        let request = if from.is_empty() { good.to_owned() } else { good.replace(from, to) };
        // It may have answered, and hung up, before the end.
        _ = stream.write_all(request.as_bytes());
        let head = read_head(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{from} {to}: {head}");
        _ = stream.shutdown(Shutdown::Write);
        server.join().unwrap();
    }
}
