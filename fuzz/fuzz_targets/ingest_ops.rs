//! A camera that pushes to `/ingest`, while viewers come and go: whatever it sends, and however that
//! is cut, the ring has whole pictures only, nobody is told of more than was sent, and the place
//! is free again afterwards.
#![no_main]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use camwire_capture::{Follow, FrameReader, FrameRingMemory, Policy, SourceStatus};
use camwire_frame::{Clock, Instant, Random, jpeg};
use camwire_server::{Config, Sequential, Server};
use camwire_websocket::{
    Client, ClientHandshake, ClientRequest, Connection, Event, Fin, Kind, Limits, Mask,
};
use embedded_io_async::{ErrorType, Read, Write};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Op {
    /// A picture of so many bytes, more or less, in so many fragments.
    Picture {
        len: u16,
        fragments: u8,
    },
    /// A message that is none.
    Message(Vec<u8>),
    /// Bytes that may be no frame.
    Noise(Vec<u8>),
    Ping,
    /// The server reads at most so many bytes at a time from now on.
    Cut(u8),
    Come,
    Take,
    Leave,
    /// Time passes, in units of 100 ms.
    Wait(u8),
}

#[derive(Arbitrary, Debug)]
struct Story {
    is_v1: bool,
    policy: u8,
    ops: Vec<Op>,
}

#[derive(Default)]
struct Wire {
    incoming: VecDeque<u8>,
    is_closed: bool,
    cut: usize,
    outgoing: Vec<u8>,
}

#[derive(Clone)]
struct Half(Rc<RefCell<Wire>>);

impl ErrorType for Half {
    type Error = Infallible;
}

impl Read for Half {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let wire = &mut *self.0.borrow_mut();
            let count = wire.incoming.len().min(buf.len()).min(wire.cut.max(1));
            if count == 0 && !wire.is_closed {
                return Poll::Pending;
            }
            buf.iter_mut().zip(wire.incoming.drain(..count)).for_each(|(to, from)| *to = from);
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Half {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().outgoing.extend(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct Time<'t>(&'t Cell<u64>);

impl Clock for Time<'_> {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.get())
    }

    async fn sleep_until(&self, at: Instant) {
        poll_fn(|_| if self.now() >= at { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// The smallest thing that has the structure of a JPEG picture.
fn picture(len: usize) -> Vec<u8> {
    let mut jpeg = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00".to_vec();
    jpeg.extend(b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00");
    jpeg.resize(jpeg.len() + len, b'x');
    jpeg.extend(b"\xff\xd9");
    jpeg
}

const NONCE: [u8; 16] = *b"the sample nonce";
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const PROTOCOLS: &[&str] = &["camwire.v1"];

fuzz_target!(|story: Story| {
    let policy =
        [Policy::DropOldest, Policy::DropNewest, Policy::KeepAll][story.policy as usize % 3];
    let mut memory = FrameRingMemory::<3, 1024, 3>::new();
    let ring = memory.ring(policy);
    let status = SourceStatus::new("fuzz");
    let now = Cell::new(1_000_000);
    let mut config = Config::default();
    config.ingest_token = Some("T");
    let server = Server::new(&ring, &status, &[], Time(&now), Random::new(|| 4), config);

    let wire = Rc::new(RefCell::new(Wire { cut: usize::MAX, ..Wire::default() }));
    let protocols = if story.is_v1 { PROTOCOLS } else { &[] };
    let fields = &[("Authorization", "Bearer T")];
    let request = ClientRequest { protocols, fields, ..ClientRequest::new("a", "/ingest") };
    wire.borrow_mut().incoming.extend(request.write(NONCE, &mut [0; 512]).unwrap().iter());

    let (read, write) = (Half(wire.clone()), Sequential(Half(wire.clone())));
    let mut serving = Some(Box::pin(server.serve(read, write, None)));
    let mut context = Context::from_waker(Waker::noop());
    // Without wakers: until nothing changes any more.
    let mut run = || {
        let polls = 4 * wire.borrow().incoming.len() + 64;
        for _ in 0..polls {
            let Some(future) = &mut serving else { return };
            if future.as_mut().poll(&mut context).is_ready() {
                serving = None;
            }
        }
    };
    run();
    let answer = std::mem::take(&mut wire.borrow_mut().outgoing);
    let protocol = ClientHandshake::new(NONCE, protocols).read(&answer).expect("it is let in");
    assert_eq!(protocol.is_some(), story.is_v1);

    let mut client = Connection::<Client>::new(Limits::default());
    let mut readers: Vec<FrameReader<'_>> = Vec::new();
    let mut sent = 0_u64;
    let mut is_noisy = false;
    let send = |client: &mut Connection<Client>, message: &[u8], fragments: usize| {
        let size = message.len().div_ceil(fragments.max(1)).max(1);
        let mut pieces = message.chunks(size).peekable();
        let mut empty = message.is_empty().then_some(&[][..]);
        while let Some(piece) = pieces.next().or_else(|| empty.take()) {
            let fin = if pieces.peek().is_some() { Fin::More } else { Fin::Last };
            let Ok(head) = client.fragment(Kind::Binary, piece.len(), fin, KEY) else { return };
            let mut piece = piece.to_vec();
            Mask::new(KEY).apply(&mut piece);
            wire.borrow_mut().incoming.extend(head.as_bytes().iter().chain(&piece));
        }
    };
    for op in story.ops {
        match op {
            Op::Picture { len, fragments } => {
                sent += 1;
                let mut message = Vec::new();
                if story.is_v1 {
                    message.extend([1, 0, 0, 24, 0, 0, 0, 0]);
                    message.extend(sent.to_be_bytes());
                    message.extend([0; 8]);
                }
                message.extend(picture(usize::from(len % 1200)));
                send(&mut client, &message, usize::from(fragments));
            }
            Op::Message(message) => {
                is_noisy = true;
                send(&mut client, &message, 1);
            }
            Op::Noise(noise) => {
                is_noisy = true;
                wire.borrow_mut().incoming.extend(noise);
            }
            Op::Ping => {
                if let Ok(frame) = client.ping(b"x", KEY) {
                    wire.borrow_mut().incoming.extend(frame.as_bytes());
                }
            }
            Op::Cut(cut) => wire.borrow_mut().cut = usize::from(cut),
            Op::Come => readers.extend(ring.subscribe(Follow::Ordered)),
            Op::Take => {
                for reader in &mut readers {
                    if let Ok(lease) = reader.try_next() {
                        let whole = jpeg::inspect(&lease).expect("a whole picture");
                        assert_eq!(whole.len, lease.len());
                    }
                }
            }
            Op::Leave => drop(readers.pop()),
            Op::Wait(tenths) => now.set(now.get() + 100_000 * u64::from(tenths)),
        }
        run();
        let mut said = std::mem::take(&mut wire.borrow_mut().outgoing);
        let mut rest = &mut said[..];
        while let Some(event) = client.next(&mut rest).expect("the server keeps the rules") {
            if let Event::Data(data) = event {
                assert!(story.is_v1 && data.fin == Fin::Last);
                match data.bytes {
                    [2, 0..=8] => {}
                    [1, number @ ..] => {
                        let number = u64::from_be_bytes(number.try_into().expect("a number"));
                        assert!(is_noisy || number <= sent);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        while let Some(frame) = client.answer(KEY) {
            wire.borrow_mut().incoming.extend(frame.as_bytes());
        }
    }
    drop(readers);
    run();
    wire.borrow_mut().is_closed = true;
    run();
    now.set(now.get() + 100_000_000);
    run();
    assert!(serving.is_none() && !ring.has_publisher());
});
