//! The adapter over embedded-io-async: in memory, with a transport that lets nobody through at
//! once, and futures that are dropped whenever they wait.

mod common;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use camwire_websocket::{
    AcceptError, Client, ClientRequest, Close, CloseCode, ConnectError, DecodeErrorKind,
    EncodeError, Error, Event, Fin, HeadTooLong, Kind, Limits, Phase, Refusal, RequestError,
    ResponseError, Server, WebSocket,
};
use common::{Seen, add, decode, frame};
use embassy_futures::block_on;
use embassy_futures::join::join;
use embedded_io_async::{ErrorType, Read, Write};
use proptest::prelude::*;

/// One direction of a connection.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    /// All that was ever written.
    written: Vec<u8>,
    ended: bool,
    /// How many bytes go through at once, in turn; 0 lets the caller wait once.
    sizes: Vec<usize>,
    read_turn: usize,
    write_turn: usize,
    /// It takes nothing any more.
    full: bool,
}

impl Pipe {
    fn with(bytes: &[u8], sizes: &[usize]) -> Self {
        let pipe = Self::default();
        pipe.0.borrow_mut().bytes.extend(bytes);
        pipe.0.borrow_mut().sizes = sizes.to_vec();
        pipe
    }

    fn end(self) -> Self {
        self.0.borrow_mut().ended = true;
        self
    }

    fn written(&self) -> Vec<u8> {
        self.0.borrow().written.clone()
    }
}

/// Reader and writer have turns of their own, or each could always get the other's zeros.
fn size(sizes: &[usize], turn: &mut usize) -> usize {
    let Some(&size) = sizes.get(*turn) else { return usize::MAX };
    *turn = (*turn + 1) % sizes.len();
    size
}

impl ErrorType for Pipe {
    type Error = Infallible;
}

impl Read for Pipe {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        assert!(!buf.is_empty(), "an empty buffer tells nothing");
        poll_fn(|cx| {
            let state = &mut *self.0.borrow_mut();
            let size = size(&state.sizes, &mut state.read_turn);
            let size = size.min(buf.len()).min(state.bytes.len());
            if size == 0 && !(state.bytes.is_empty() && state.ended) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            for (place, byte) in buf.iter_mut().zip(state.bytes.drain(..size)) {
                *place = byte;
            }
            Poll::Ready(Ok(size))
        })
        .await
    }
}

impl Write for Pipe {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        poll_fn(|cx| {
            let state = &mut *self.0.borrow_mut();
            if state.full {
                return Poll::Ready(Ok(0));
            }
            let size = size(&state.sizes, &mut state.write_turn).min(buf.len());
            if size == 0 && !buf.is_empty() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            state.bytes.extend(&buf[..size]);
            state.written.extend(&buf[..size]);
            Poll::Ready(Ok(size))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const KEY: Option<[u8; 4]> = Some(*b"keys");

type ServerSocket<'b> = WebSocket<'b, Pipe, Pipe, Server, fn()>;

/// A server whose client sends these frames, and what the server has written after its response.
fn server<'b, const N: usize>(
    memory: &'b mut [u8; N],
    frames: &[u8],
    sizes: &[usize],
) -> (ServerSocket<'b>, Pipe) {
    let reader = Pipe::with(&[REQUEST, frames].concat(), &[]).end();
    let writer = Pipe::default();
    let limits = Limits { message_bytes: 100_000 };
    let accepted =
        WebSocket::accept(reader.clone(), writer.clone(), memory, limits, &[], |request| {
            assert_eq!(request.target(), "/chat");
            Ok(())
        });
    let (socket, protocol) = block_on(accepted).unwrap();
    assert_eq!(protocol, None);
    assert!(writer.written().starts_with(b"HTTP/1.1 101 "));
    writer.0.borrow_mut().written.clear();
    for pipe in [&reader, &writer] {
        pipe.0.borrow_mut().sizes = sizes.to_vec();
    }
    (socket, writer)
}

/// Polls a future that is made anew each time, and dropped when it waits.
fn with_patience<T>(mut make: impl FnMut() -> Option<T>) -> T {
    (0..100_000).find_map(|_| make()).expect("it comes to an end")
}

fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn client_frames() -> Vec<u8> {
    [
        frame(0x01, KEY, b"Hel"),
        frame(0x89, KEY, b"one"),
        frame(0x80, KEY, b"lo"),
        frame(0x82, KEY, &[7; 3000]),
        frame(0x89, KEY, &[8; 125]),
        frame(0x8A, KEY, b""),
        frame(0x88, KEY, b"\x03\xe9bye"),
    ]
    .concat()
}

fn expected() -> Vec<Seen> {
    vec![
        Seen::Data(Kind::Text, b"Hel".to_vec(), Fin::More),
        Seen::Ping(b"one".to_vec()),
        Seen::Data(Kind::Text, b"lo".to_vec(), Fin::Last),
        Seen::Data(Kind::Binary, vec![7; 3000], Fin::Last),
        Seen::Ping(vec![8; 125]),
        Seen::Pong(vec![]),
        Seen::Close(Some((1001, "bye".to_owned()))),
    ]
}

fn answers() -> Vec<u8> {
    [frame(0x8A, None, b"one"), frame(0x8A, None, &[8; 125]), frame(0x88, None, b"\x03\xe9")]
        .concat()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_is_lost_when_receive_is_dropped(
        sizes in proptest::collection::vec(0..40_usize, 0..20),
    ) {
        prop_assume!(sizes.is_empty() || sizes.iter().any(|&size| size > 0));
        let mut memory = [0; 512];
        let (mut socket, writer) = server(&mut memory, &client_frames(), &sizes);
        let mut seen = Vec::new();
        loop {
            let next = with_patience(|| {
                poll_once(async { socket.receive().await.map(|event| event.map(Seen::of)) })
            });
            match next.unwrap() {
                Some(one) => add(&mut seen, one),
                None => break,
            }
        }
        prop_assert_eq!(seen, expected());
        prop_assert_eq!(writer.written(), answers());
        prop_assert_eq!(socket.phase(), Phase::Closed);
        prop_assert_eq!(block_on(socket.receive()), Ok(None), "again and again");
    }

    #[test]
    fn small_messages_are_sent_whole_or_not_at_all(
        sizes in proptest::collection::vec(0..40_usize, 0..20),
        small in 0..200_usize,
        polls in 1..20_usize,
    ) {
        prop_assume!(sizes.is_empty() || sizes.iter().any(|&size| size > 0));
        let mut memory = [0; 512];
        let (mut socket, writer) = server(&mut memory, &[], &sizes);
        let payload = vec![7; small];
        let mut sent = false;
        {
            let mut future = pin!(socket.send(Kind::Binary, &payload));
            for _ in 0..polls {
                let mut context = Context::from_waker(Waker::noop());
                if future.as_mut().poll(&mut context).is_ready() {
                    sent = true;
                    break;
                }
            }
        }
        block_on(socket.ping(b"then")).unwrap();
        let seen = decode::<Client>(Limits::default(), [&writer.written()[..]]);
        let ping = Seen::Ping(b"then".to_vec());
        let whole = [Seen::Data(Kind::Binary, payload, Fin::Last), ping.clone()];
        prop_assert!(seen == whole || !sent && seen == [ping]);
    }

    #[test]
    fn a_client_and_a_server(
        sizes in proptest::collection::vec(0..2000_usize, 0..9),
        messages in proptest::collection::vec((any::<bool>(), 0..5000_usize), 0..5),
    ) {
        prop_assume!(sizes.is_empty() || sizes.iter().any(|&size| size > 0));
        let (up, down) = (Pipe::with(&[], &sizes), Pipe::with(&[], &sizes));
        let serve = async {
            let mut memory = [0; 1024];
            let accepted = WebSocket::accept(
                up.clone(), down.clone(), &mut memory, Limits::default(), &["a", "b"], |_| Ok(()),
            );
            let (mut socket, protocol) = accepted.await.unwrap();
            assert_eq!(protocol, Some("b"));
            let (mut message, mut pings) = (Vec::new(), 0);
            while let Some(event) = socket.receive().await.unwrap() {
                match event {
                    Event::Data(data) => {
                        message.extend_from_slice(data.bytes);
                        let (kind, fin) = (data.kind, data.fin);
                        // In fragments as they come, and as a whole at the end.
                        let piece = data.bytes.to_vec();
                        socket.send_fragment(kind, &piece, fin).await.unwrap();
                        if fin == Fin::Last {
                            socket.send(kind, &message).await.unwrap();
                            message.clear();
                        }
                    }
                    Event::Ping(_) => pings += 1,
                    _ => {}
                }
            }
            pings
        };
        let ask = async {
            let mut memory = [0; 1024];
            let request =
                ClientRequest { protocols: &["b"], ..ClientRequest::new("x", "/") };
            let mut key = 0_u32;
            let keys = || {
                key += 1;
                key.to_be_bytes()
            };
            let connected = WebSocket::connect(
                down.clone(), up.clone(), &mut memory, Limits::default(), &request, keys,
            );
            let (mut socket, protocol) = connected.await.unwrap();
            assert_eq!(protocol, Some("b"));
            for &(text, size) in &messages {
                let kind = if text { Kind::Text } else { Kind::Binary };
                let payload: Vec<u8> = (0..size).map(|n| (n % 100) as u8).collect();
                socket.ping(b"?").await.unwrap();
                socket.send(kind, &payload).await.unwrap();
                let mut seen = Vec::new();
                while seen.iter().filter(|one| matches!(one, Seen::Data(_, _, Fin::Last))).count() < 2 {
                    add(&mut seen, Seen::of(socket.receive().await.unwrap().unwrap()));
                }
                let back = Seen::Data(kind, payload, Fin::Last);
                assert_eq!(seen, [Seen::Pong(b"?".to_vec()), back.clone(), back]);
            }
            let close = Close::with_reason(CloseCode::GOING_AWAY, "done");
            socket.close(Some(close)).await.unwrap();
            assert_eq!(socket.phase(), Phase::CloseSent);
            let echoed = Some(Close::new(CloseCode::GOING_AWAY));
            assert_eq!(socket.receive().await, Ok(Some(Event::Close(echoed))));
            assert_eq!(socket.receive().await, Ok(None));
            assert_eq!(socket.send(Kind::Text, b"x").await, Err(Error::Send(EncodeError::Closed)));
            assert_eq!(socket.close(None).await, Err(Error::Send(EncodeError::Closed)));
        };
        let (pings, ()) = block_on(join(serve, ask));
        prop_assert_eq!(pings, messages.len());
    }
}

#[test]
fn a_send_that_is_dropped_in_the_middle_is_the_end() {
    let mut memory = [0; 512];
    let (mut socket, writer) = server(&mut memory, &frame(0x89, KEY, b""), &[100, 0]);
    assert_eq!(poll_once(socket.send(Kind::Binary, &[7; 3000])), None);
    let written = writer.written();
    assert!(written.starts_with(&[0x82, 126]) && written.len() < 3000);
    assert_eq!(block_on(socket.receive()), Err(Error::Torn));
    assert_eq!(block_on(socket.send(Kind::Text, b"")), Err(Error::Torn));
    assert_eq!(block_on(socket.ping(b"")), Err(Error::Torn));
    assert_eq!(block_on(socket.close(None)), Err(Error::Torn));
    assert_eq!(writer.written(), written, "nothing more");
}

#[test]
fn a_broken_rule_is_told_to_both() {
    for (bytes, code, kind) in [
        (frame(0xC1, KEY, b""), 1002_u16, DecodeErrorKind::ReservedBits),
        (frame(0x81, KEY, b"\xff"), 1007, DecodeErrorKind::InvalidUtf8),
        (
            frame(0x82, KEY, &[0; 100_001]),
            1009,
            DecodeErrorKind::MessageTooBig { declared: 100_001, limit: 100_000 },
        ),
    ] {
        let mut memory = [0; 512];
        let (mut socket, writer) = server(&mut memory, &bytes, &[1, 0]);
        for _ in 0..3 {
            match block_on(socket.receive()) {
                Err(Error::Protocol(error)) => assert_eq!(error.kind, kind),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(writer.written(), frame(0x88, None, &code.to_be_bytes()));
        assert_eq!(socket.phase(), Phase::Closed);
        assert_eq!(block_on(socket.send(Kind::Text, b"")), Err(Error::Send(EncodeError::Closed)));
    }
}

#[test]
fn ends_of_the_transport() {
    let mut memory = [0; 512];
    let (mut socket, _) = server(&mut memory, &frame(0x82, KEY, &[7; 30])[..20], &[]);
    assert!(matches!(block_on(socket.receive()), Ok(Some(Event::Data(_)))));
    assert_eq!(block_on(socket.receive()), Err(Error::Ended));
    assert_eq!(block_on(socket.receive()), Err(Error::Ended));

    let (mut socket, writer) = server(&mut memory, &[], &[]);
    writer.0.borrow_mut().full = true;
    assert_eq!(block_on(socket.ping(b"")), Err(Error::WriteZero));
    assert_eq!(block_on(socket.send(Kind::Text, &[7; 3000])), Err(Error::WriteZero));

    // The peer closes without waiting for this end's Close.
    let (mut socket, _) = server(&mut memory, &frame(0x88, KEY, b""), &[]);
    assert_eq!(block_on(socket.receive()), Ok(Some(Event::Close(None))));
    let _ = socket.into_parts();
}

#[test]
fn a_close_of_ones_own_is_the_answer() {
    let mut memory = [0; 512];
    let (mut socket, writer) = server(&mut memory, &frame(0x88, KEY, b"\x03\xe8"), &[]);
    assert!(matches!(block_on(socket.receive()), Ok(Some(Event::Close(Some(_))))));
    assert_eq!(socket.phase(), Phase::CloseOwed);
    let close = Close::with_reason(CloseCode::GOING_AWAY, "so be it");
    block_on(socket.close(Some(close))).unwrap();
    assert_eq!(block_on(socket.receive()), Ok(None));
    assert_eq!(writer.written(), frame(0x88, None, b"\x03\xe9so be it"));
}

fn refused(request: &[u8], verdict: Result<(), Refusal>) -> (Refusal, Vec<u8>) {
    let (reader, writer) = (Pipe::with(request, &[3]).end(), Pipe::with(&[], &[7]));
    let mut memory = [0; 512];
    let accepted =
        WebSocket::accept(reader, writer.clone(), &mut memory, Limits::default(), &[], |_| verdict);
    match block_on(accepted) {
        Err(AcceptError::Refused(refusal)) => (refusal, writer.written()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    }
}

#[test]
fn clients_that_are_not_let_in() {
    let replace = |from: &str, to: &str| {
        String::from_utf8(REQUEST.to_vec()).unwrap().replace(from, to).into_bytes()
    };
    for (request, verdict, refusal) in [
        (replace("13", "8"), Ok(()), Refusal::Version),
        (replace("GET", "PUT"), Ok(()), Refusal::Method),
        (replace("Host", "H st"), Ok(()), Refusal::Malformed),
        (replace("", ""), Err(Refusal::Forbidden), Refusal::Forbidden),
        // Whether it is allowed matters only for what could be.
        (replace("13", "8"), Err(Refusal::Forbidden), Refusal::Version),
        (replace("Host", &"x".repeat(256)), Ok(()), Refusal::HeadTooLong),
    ] {
        assert_eq!(refused(&request, verdict), (refusal, refusal.response().concat()));
    }
    let (reader, writer) = (Pipe::with(&REQUEST[..50], &[]).end(), Pipe::default());
    let mut memory = [0; 512];
    let accepted =
        WebSocket::accept(reader, writer, &mut memory, Limits::default(), &[], |_| Ok(()));
    assert!(matches!(block_on(accepted), Err(AcceptError::Connection(Error::Ended))));
}

#[test]
fn servers_that_do_not_answer_rightly() {
    let connect = |response: &[u8], path: &str| {
        let (reader, writer) = (Pipe::with(response, &[3]).end(), Pipe::with(&[], &[7]));
        let mut memory = [0; 512];
        let request = ClientRequest::new("x", path);
        let keys = || [0; 4];
        let limits = Limits::default();
        let connected = WebSocket::connect(reader, writer, &mut memory, limits, &request, keys);
        block_on(connected).map(|_| ()).unwrap_err()
    };
    let status = ConnectError::Refused(ResponseError::Status { status: 403 });
    assert_eq!(connect(Refusal::Forbidden.response().concat().as_slice(), "/"), status);
    let response = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(connect(response, "/"), ConnectError::Refused(ResponseError::Accept));
    assert_eq!(connect(&[b'x'; 300], "/"), ConnectError::HeadTooLong(HeadTooLong));
    assert_eq!(connect(b"HTTP/1.1 101", "/"), ConnectError::Connection(Error::Ended));
    assert_eq!(connect(b"", "/ "), ConnectError::Request(RequestError::Target));
    let long = format!("/{}", "x".repeat(256));
    assert_eq!(connect(b"", &long), ConnectError::Request(RequestError::TooLong));
}
