//! `camwire-websocket` beside its peers, on the same bytes in the same run.
//!
//! One operation is one picture of 20 KiB: its head encoded, its mask put on, or all bytes of its
//! message decoded. Who decodes gets the bytes as a socket gives them, copied to where they are
//! decoded, so that is part of every figure, and of the limits.

use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use camwire_websocket::{Client, Decoder, Encoder, Event, Fin, Kind, Limits, Mask, Role, Server};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PICTURE: usize = 20 << 10;
/// Enough that its start and end do not matter.
const PICTURES: usize = 64;
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

#[derive(Clone, Copy, PartialEq)]
enum From {
    Server,
    Client,
}

/// The messages of one end, each as one frame.
fn messages(from: From) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..PICTURES {
        let start = match from {
            From::Server => {
                let head = Encoder::<Server>::new().message(Kind::Binary, PICTURE, ()).unwrap();
                bytes.extend_from_slice(head.as_bytes());
                bytes.len()
            }
            From::Client => {
                let head = Encoder::<Client>::new().message(Kind::Binary, PICTURE, KEY).unwrap();
                bytes.extend_from_slice(head.as_bytes());
                bytes.len()
            }
        };
        bytes.extend((0..PICTURE).map(|i| (i * 7 + n) as u8));
        if from == From::Client {
            Mask::new(KEY).apply(&mut bytes[start..]);
        }
    }
    bytes
}

/// A socket that gives its bytes in pieces.
struct Wire<'b> {
    bytes: &'b [u8],
    piece: usize,
}

impl io::Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let size = self.piece.min(buf.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(size);
        buf[..size].copy_from_slice(now);
        self.bytes = later;
        Ok(size)
    }
}

impl io::Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        black_box(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.piece.min(buf.remaining()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(size);
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl embedded_io_async::ErrorType for Wire<'_> {
    type Error = core::convert::Infallible;
}

impl embedded_io_async::Read for Wire<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(io::Read::read(self, buf).unwrap_or_default())
    }
}

/// What never waits.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

fn camwire<R: Role>(mut wire: Wire<'_>, buffer: &mut [u8]) -> usize {
    let mut decoder = Decoder::<R>::new(Limits::default());
    let (mut messages, mut bytes) = (0, 0);
    loop {
        let size = io::Read::read(&mut wire, buffer).unwrap();
        if size == 0 {
            assert_eq!(messages, PICTURES);
            return bytes;
        }
        let mut input = &mut buffer[..size];
        while let Some(event) = decoder.next(&mut input).unwrap() {
            if let Event::Data(data) = event {
                bytes += black_box(data.bytes).len();
                messages += usize::from(data.fin == Fin::Last);
            }
        }
    }
}

/// What anyone must do to have the picture.
fn memcpy(mut wire: Wire<'_>, buffer: &mut [u8]) {
    while io::Read::read(&mut wire, buffer).unwrap() > 0 {
        black_box(&buffer);
    }
}

/// The same, and the mask taken off as simply as can be.
fn memcpy_and_xor(mut wire: Wire<'_>, buffer: &mut [u8]) {
    loop {
        let size = io::Read::read(&mut wire, buffer).unwrap();
        if size == 0 {
            return;
        }
        xor(&mut buffer[..size], KEY);
        black_box(&buffer);
    }
}

/// Word by word.
fn xor(bytes: &mut [u8], key: [u8; 4]) {
    let word = u64::from_ne_bytes([key, key].concat().try_into().unwrap());
    let mut words = bytes.chunks_exact_mut(8);
    for bytes in &mut words {
        let masked = u64::from_ne_bytes((&*bytes).try_into().unwrap()) ^ word;
        bytes.copy_from_slice(&masked.to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

fn tungstenite(wire: Wire<'_>, from: From) -> usize {
    use tungstenite::protocol::{Role, WebSocket};
    let role = if from == From::Client { Role::Server } else { Role::Client };
    let mut socket = WebSocket::from_raw_socket(wire, role, None);
    let mut bytes = 0;
    while let Ok(message) = socket.read() {
        bytes += black_box(message).len();
    }
    bytes
}

fn fastwebsockets(wire: Wire<'_>, from: From) -> usize {
    use fastwebsockets::{Role, WebSocket};
    let role = if from == From::Client { Role::Server } else { Role::Client };
    let mut socket = WebSocket::after_handshake(wire, role);
    let mut bytes = 0;
    while let Ok(frame) = ready(socket.read_frame()) {
        bytes += black_box(&frame.payload).len();
    }
    bytes
}

fn websocket_sans_io(mut wire: Wire<'_>, buffer: &mut [u8]) -> usize {
    use websocket_sans_io::{WebsocketFrameDecoder, WebsocketFrameEvent};
    let mut decoder = WebsocketFrameDecoder::new();
    let mut bytes = 0;
    loop {
        let size = io::Read::read(&mut wire, buffer).unwrap();
        if size == 0 {
            return bytes;
        }
        let mut input = &mut buffer[..size];
        loop {
            let result = decoder.add_data(input).unwrap();
            if let Some(WebsocketFrameEvent::PayloadChunk { .. }) = result.event {
                bytes += black_box(&input[..result.consumed_bytes]).len();
            }
            input = &mut input[result.consumed_bytes..];
            if input.is_empty() && result.event.is_none() {
                break;
            }
        }
    }
}

fn embedded_websocket(mut wire: Wire<'_>, from: From, buffer: &mut [u8], slot: &mut [u8]) -> usize {
    use embedded_websocket::{Error, WebSocketServer, WebSocketState};
    // What a client does with frames of a server is the same.
    black_box(from);
    let mut socket = WebSocketServer::new_server();
    socket.state = WebSocketState::Open;
    let (mut bytes, mut kept) = (0, 0);
    loop {
        // The rest of a head that was cut remains at the front.
        let size = kept + io::Read::read(&mut wire, &mut buffer[kept..]).unwrap();
        if size == kept {
            return bytes;
        }
        let mut input = &buffer[..size];
        kept = 0;
        while !input.is_empty() {
            match socket.read(input, slot) {
                Ok(result) => {
                    bytes += black_box(&slot[..result.len_to]).len();
                    input = &input[result.len_from..];
                }
                Err(Error::ReadFrameIncomplete) => {
                    kept = input.len();
                    break;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        buffer.copy_within(size - kept..size, 0);
    }
}

fn edge_ws(mut wire: Wire<'_>, slot: &mut [u8]) -> usize {
    let mut bytes = 0;
    while let Ok((_, size)) = ready(edge_ws::io::recv(&mut wire, slot)) {
        bytes += black_box(&slot[..size]).len();
    }
    bytes
}

fn decoding(c: &mut Criterion) {
    for from in [From::Client, From::Server] {
        let name = if from == From::Client { "masked" } else { "not masked" };
        let mut group = c.benchmark_group(format!("websocket decode {name}"));
        group.throughput(Throughput::Elements(PICTURES as u64));
        let bytes = messages(from);
        let all = PICTURES * PICTURE;
        let mut slot = vec![0; PICTURE];
        for piece in [1460, 64 << 10] {
            let wire = || Wire { bytes: black_box(&bytes), piece };
            let mut buffer = vec![0; piece];
            let id = |who: &str| BenchmarkId::new(who, piece);
            let ours = |wire: Wire<'_>, buffer: &mut [u8]| match from {
                From::Client => camwire::<Server>(wire, buffer),
                From::Server => camwire::<Client>(wire, buffer),
            };
            assert_eq!(ours(wire(), &mut buffer), all);
            group.bench_function(id("camwire"), |b| b.iter(|| ours(wire(), &mut buffer)));
            group.bench_function(id("limit: memcpy"), |b| b.iter(|| memcpy(wire(), &mut buffer)));
            if from == From::Client {
                group.bench_function(id("limit: memcpy and XOR"), |b| {
                    b.iter(|| memcpy_and_xor(wire(), &mut buffer));
                });
            }
            assert_eq!(tungstenite(wire(), from), all);
            group.bench_function(id("tungstenite"), |b| b.iter(|| tungstenite(wire(), from)));
            assert_eq!(fastwebsockets(wire(), from), all);
            group.bench_function(id("fastwebsockets"), |b| b.iter(|| fastwebsockets(wire(), from)));
            assert_eq!(websocket_sans_io(wire(), &mut buffer), all);
            group.bench_function(id("websocket-sans-io"), |b| {
                b.iter(|| websocket_sans_io(wire(), &mut buffer));
            });
            let mut buffer = vec![0; piece + 14];
            assert_eq!(embedded_websocket(wire(), from, &mut buffer, &mut slot), all);
            group.bench_function(id("embedded-websocket"), |b| {
                b.iter(|| embedded_websocket(wire(), from, &mut buffer, &mut slot));
            });
            assert_eq!(edge_ws(wire(), &mut slot), all);
            group.bench_function(id("edge-ws"), |b| b.iter(|| edge_ws(wire(), &mut slot)));
        }
        group.finish();
    }
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("websocket mask");
    group.throughput(Throughput::Bytes(PICTURE as u64));
    let mut picture = vec![7; PICTURE];
    group.bench_function("camwire", |b| {
        b.iter(|| Mask::new(black_box(KEY)).apply(black_box(&mut picture)));
    });
    group.bench_function("limit: XOR", |b| b.iter(|| xor(black_box(&mut picture), black_box(KEY))));
    group.bench_function("fastwebsockets", |b| {
        b.iter(|| {
            use fastwebsockets::{Frame, OpCode, Payload};
            let payload = Payload::BorrowedMut(black_box(&mut picture));
            Frame::new(true, OpCode::Binary, Some(black_box(KEY)), payload).unmask();
        });
    });
    group.bench_function("websocket-sans-io", |b| {
        b.iter(|| websocket_sans_io::apply_mask(black_box(KEY), black_box(&mut picture), 0));
    });
    group.bench_function("edge-ws", |b| {
        let key = Some(u32::from_be_bytes(KEY));
        b.iter(|| edge_ws::FrameHeader::mask_with(black_box(&mut picture), black_box(key), 0));
    });
    group.finish();
}

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("websocket head");
    group.bench_function("camwire", |b| {
        let mut encoder = Encoder::<Server>::new();
        b.iter(|| {
            let head = encoder.message(Kind::Binary, black_box(PICTURE), ()).unwrap();
            black_box(head.as_bytes().len())
        });
    });
    group.bench_function("websocket-sans-io", |b| {
        use websocket_sans_io::{FrameInfo, Opcode, WebsocketFrameEncoder};
        let mut encoder = WebsocketFrameEncoder::new();
        b.iter(|| {
            let head = FrameInfo {
                opcode: Opcode::Binary,
                payload_length: black_box(PICTURE) as u64,
                mask: None,
                fin: true,
                reserved: 0,
            };
            black_box(encoder.start_frame(&head).as_slice().len())
        });
    });
    let picture = vec![7; PICTURE];
    group.bench_function("fastwebsockets", |b| {
        use fastwebsockets::{Frame, Payload};
        let mut memory = [0; 14];
        b.iter(|| {
            let payload = Payload::Borrowed(black_box(&picture));
            black_box(Frame::binary(payload).fmt_head(&mut memory))
        });
    });
    group.bench_function("edge-ws", |b| {
        use edge_ws::{FrameHeader, FrameType};
        let mut memory = [0; 14];
        b.iter(|| {
            let head = FrameHeader {
                frame_type: FrameType::Binary(false),
                payload_len: black_box(PICTURE) as u64,
                mask_key: None,
            };
            black_box(head.serialize(&mut memory).unwrap())
        });
    });
    // These two write the payload, too, to where they want it.
    group.bench_function("tungstenite, with payload", |b| {
        use tungstenite::protocol::{Role, WebSocket};
        let wire = Wire { bytes: &[], piece: 0 };
        let mut socket = WebSocket::from_raw_socket(wire, Role::Server, None);
        let picture = bytes::Bytes::from(picture.clone());
        b.iter(|| socket.send(tungstenite::Message::Binary(black_box(&picture).clone())).unwrap());
    });
    group.bench_function("embedded-websocket, with payload", |b| {
        use embedded_websocket::{WebSocketSendMessageType, WebSocketServer, WebSocketState};
        let mut socket = WebSocketServer::new_server();
        socket.state = WebSocketState::Open;
        let mut memory = vec![0; PICTURE + 14];
        b.iter(|| {
            let kind = WebSocketSendMessageType::Binary;
            black_box(socket.write(kind, true, black_box(&picture), &mut memory).unwrap())
        });
    });
    group.finish();
}

criterion_group!(benches, heads, masking, decoding);
criterion_main!(benches);
