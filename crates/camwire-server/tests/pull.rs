//! Another server's pictures as a source, over WebSocket.
#![cfg(feature = "ingest")]

mod harness;

use std::cell::RefCell;
use std::rc::Rc;

use camwire_frame::{CaptureError, Flow, FrameInfo, FrameSource, RepeatFilter, Upstream};
use camwire_server::{Authorization, PullError, WebSocketSource};
use camwire_websocket::{ResponseError, Uri};
use embassy_futures::select::select;
use harness::camera::{jpeg, message};
use harness::relay::Relay;
use harness::websocket::Got;
use harness::wire::{Broken, Fault, wire};
use harness::{RANDOM, World, ms, secs};
use proptest::prelude::*;

type Error = CaptureError<PullError<Broken>>;
type Captured = Result<(FrameInfo, Vec<u8>), Error>;

/// The server, and what was captured from it.
struct Server {
    relay: Relay<PullError<Broken>>,
    captured: Rc<RefCell<Vec<Captured>>>,
}

/// A source that captures one picture after another. Each capture is dropped after `patience`.
fn pull(world: &mut World, login: Option<Authorization<'static>>, patience: u64) -> Server {
    let (read, write, peer) = wire();
    let captured = Rc::new(RefCell::new(Vec::new()));
    let (to, clock) = (captured.clone(), world.clock);
    let pulled = world.sim.spawn(async move {
        let uri = Uri::parse("ws://cam.example/ws?credit=2").unwrap();
        let mut source =
            match WebSocketSource::connect(read, write, &uri, login, clock, RANDOM).await {
                Ok(source) => source,
                Err(error) => return error,
            };
        let mut slots = [vec![0; 1000], vec![0; 1000]];
        for n in 0.. {
            let slot: &mut Vec<u8> = &mut slots[n % 2];
            slot.fill(0xee);
            let result = {
                let capture = source.capture(slot);
                match select(capture, clock.sleep(ms(patience))).await {
                    embassy_futures::select::Either::First(result) => result,
                    embassy_futures::select::Either::Second(()) => continue,
                }
            };
            if let Err(CaptureError::Source(error)) = result {
                return error;
            }
            to.borrow_mut().push(result.map(|info| (info, slot[..info.len].to_vec())));
        }
        unreachable!()
    });
    world.sim.run();
    Server { relay: Relay::new(peer, pulled), captured }
}

/// One that was let in.
fn pulling(world: &mut World, protocols: &[&str]) -> Server {
    let mut server = pull(world, Authorization::bearer("T").ok(), 1_000_000);
    server.relay.accept(protocols, b"");
    world.sim.run();
    server
}

impl Server {
    fn captured(&self) -> Vec<Captured> {
        self.captured.borrow_mut().drain(..).collect()
    }

    fn pictures(&self) -> Vec<Vec<u8>> {
        self.captured().into_iter().map(|captured| captured.unwrap().1).collect()
    }
}

fn acknowledged(number: u64) -> Got {
    Got::Binary([&[1], &number.to_be_bytes()[..]].concat())
}

const V1: &[&str] = &["camwire.v1"];

#[test]
fn of_camwire() {
    let mut world = World::new();
    let mut server = pulling(&mut world, V1);
    assert!(server.relay.request.starts_with("GET /ws?credit=2 HTTP/1.1\r\n"));
    assert!(server.relay.request.contains("\r\nAuthorization: Bearer T\r\n"));
    for (number, len) in [(3, 100), (4, 1000), (9, 60)] {
        world.sim.advance(ms(40));
        server.relay.send(&message(number, &jpeg(len, number)));
        world.sim.run();
        let [Ok((info, picture))] = &server.captured()[..] else { panic!("one picture") };
        assert_eq!(*picture, jpeg(len, number));
        assert_eq!((info.width, info.height, info.captured_at), (32, 16, world.now()));
        assert_eq!(info.upstream.sequence, Some(number));
        assert_eq!(info.upstream.timestamp_us, Some(77));
        assert_eq!(server.relay.take(), [acknowledged(number)]);
        assert_eq!(server.relay.peer.flushed(), server.relay.peer.written());
    }
    server.relay.ping(b"now");
    world.sim.run();
    assert_eq!(server.relay.take(), [Got::Pong(b"now".to_vec())]);
}

/// The older demo, for example.
#[test]
fn of_any_server() {
    let mut world = World::new();
    let mut server = pulling(&mut world, &[]);
    for number in 1..5 {
        server.relay.peer.send(b"\x81\x05hello");
        server.relay.send(&jpeg(500, number));
        world.sim.run();
        assert_eq!(server.pictures(), [jpeg(500, number)]);
    }
    assert_eq!(server.relay.take(), [], "nothing is acknowledged");
}

#[test]
fn at_every_cut() {
    let bytes = {
        let mut world = World::new();
        let mut server = pull(&mut world, None, 1_000_000);
        let answer = server.relay.acceptance(V1);
        let frames = [message(5, &jpeg(300, 5)), message(6, &jpeg(60, 6))];
        let frames = frames.map(|message| server.relay.frame(&message));
        [answer, frames[0].clone(), b"\x89\x03now".to_vec(), frames[1].clone()].concat()
    };
    for cut in 0..=bytes.len() {
        let mut world = World::new();
        let mut server = pull(&mut world, None, 1_000_000);
        let _ = server.relay.acceptance(V1);
        if cut == bytes.len() {
            server.relay.peer.portion_reads(|_| 1);
            server.relay.peer.portion_writes(|_| 1);
        }
        for piece in [&bytes[..cut], &bytes[cut..]] {
            server.relay.peer.send(piece);
            world.sim.run();
        }
        assert_eq!(server.pictures(), [jpeg(300, 5), jpeg(60, 6)], "{cut}");
        let got = server.relay.take();
        assert!(got.contains(&Got::Pong(b"now".to_vec())), "{cut}: {got:?}");
        assert!(got.contains(&acknowledged(5)) && got.contains(&acknowledged(6)));
        assert_eq!(got.len(), 3);
    }
}

#[test]
fn what_is_no_picture() {
    let mut world = World::new();
    let mut server = pulling(&mut world, V1);
    for (number, (bad, error)) in (1..).step_by(2).zip([
        (&b"no picture"[..], CaptureError::Broken),
        (&jpeg(200, 1)[..199], CaptureError::Broken),
        (&jpeg(1001, 1), CaptureError::TooLarge { needed: 1001 }),
        (&jpeg(70_000, 1), CaptureError::TooLarge { needed: 70_000 }),
    ]) {
        let good = jpeg(300, number + 1);
        server.relay.send(&message(number, bad));
        server.relay.send(&message(number + 1, &good));
        world.sim.run();
        let captured = server.captured();
        assert_eq!(captured.len(), 2);
        assert_eq!(captured[0], Err(error));
        assert_eq!(captured[1].as_ref().unwrap().1, good);
        assert_eq!(server.relay.take(), [acknowledged(number), acknowledged(number + 1)]);
    }
}

/// A frame as a message of `camwire.v1`, with this time.
fn message_of(number: u64, time: u64, picture: &[u8]) -> Vec<u8> {
    let mut message = message(number, picture);
    message[16..24].copy_from_slice(&time.to_be_bytes());
    message
}

#[test]
fn last_frame_sent_again_is_a_repeat() {
    let mut world = World::new();
    let mut server = pulling(&mut world, V1);
    let (one, other) = (jpeg(300, 1), jpeg(300, 2));
    for (number, time, picture, is_new) in [
        (1, 10, &one, true),
        (1, 10, &one, false),
        (1, 10, &one, false),
        (2, 20, &one, true), // a still scene
        (2, 30, &one, true),
        (1, 10, &one, true),   // it began anew
        (1, 10, &other, true), // whatever the number says
        (1, 10, &other, false),
    ] {
        server.relay.send(&message_of(number, time, picture));
        world.sim.run();
        let captured = server.captured();
        let expected = match &captured[..] {
            [Ok((_, got))] => is_new && got == picture,
            [Err(error)] => !is_new && *error == CaptureError::Repeat,
            _ => false,
        };
        assert!(expected, "{number} at {time}: {captured:?}");
        // Also a repeat is acknowledged, or the server would send no more.
        assert_eq!(server.relay.take(), [acknowledged(number)]);
    }
    // One that does not fit is no repeat of one that did.
    server.relay.send(&message_of(1, 10, &jpeg(1001, 2)));
    world.sim.run();
    assert_eq!(server.captured(), [Err(CaptureError::TooLarge { needed: 1001 })]);
}

#[test]
fn messages_without_a_number_are_all_new() {
    let mut world = World::new();
    let mut server = pulling(&mut world, &[]);
    for _ in 0..3 {
        server.relay.send(&jpeg(300, 1));
    }
    world.sim.run();
    assert_eq!(server.pictures(), vec![jpeg(300, 1); 3]);
}

#[test]
fn it_is_a_stream_until_the_connection_is_lost() {
    let mut world = World::new();
    let (read, write, peer) = wire();
    let clock = world.clock;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let to = seen.clone();
    let pulled = world.sim.spawn(async move {
        let uri = Uri::parse("ws://cam.example/ws").unwrap();
        let source = WebSocketSource::connect(read, write, &uri, None, clock, RANDOM).await;
        let mut source = source.unwrap();
        let mut slot = [0; 1000];
        for _ in 0..4 {
            let captured = source.capture(&mut slot).await.map(|info| info.len);
            to.borrow_mut().push((captured, source.flow()));
        }
        // For the next connection, and for those who come after a pause.
        let upstream = Upstream { sequence: Some(2), timestamp_us: Some(77) };
        let filter = source.repeat_filter();
        source.pause().await;
        (filter.may_be_repeat(upstream, 300), source.repeat_filter())
    });
    world.sim.run();
    let mut relay = Relay::new(peer, pulled);
    relay.accept(V1, b"");
    relay.send(&message(1, b"no picture"));
    relay.send(&message(2, &jpeg(300, 2)));
    relay.send(&message(3, &jpeg(1001, 3)));
    world.sim.run();
    relay.peer.close();
    world.sim.run();
    assert_eq!(relay.end(), (true, RepeatFilter::new()));
    assert_eq!(
        *seen.borrow(),
        [
            (Err(CaptureError::Broken), Flow::Stream),
            (Ok(300), Flow::Stream),
            (Err(CaptureError::TooLarge { needed: 1001 }), Flow::Stream),
            (Err(CaptureError::Source(PullError::Ended)), Flow::OnDemand),
        ]
    );
}

#[test]
fn a_capture_may_be_dropped() {
    let frame = {
        let mut world = World::new();
        let mut server = pulling(&mut world, V1);
        let frames = [1, 2].map(|n| server.relay.frame(&message(n, &jpeg(300, n))));
        frames.concat()
    };
    for cut in 0..frame.len() {
        let mut world = World::new();
        let mut server = pull(&mut world, None, 10);
        server.relay.accept(V1, &frame[..cut]);
        world.sim.advance(ms(10));
        server.relay.peer.send(&frame[cut..]);
        world.sim.run();
        let pictures = server.pictures();
        let expected = match cut {
            0 => 2,                           // nothing had come
            _ if cut >= frame.len() / 2 => 2, // the first was whole ...
            _ => 1,
        };
        // ... and of the second some bytes, or none.
        let expected = if cut > frame.len() / 2 { expected - 1 } else { expected };
        let got = server.relay.take();
        assert!(pictures.len() >= expected, "{cut}: {}", pictures.len());
        assert!(pictures.iter().all(|one| [jpeg(300, 1), jpeg(300, 2)].contains(one)));
        assert_eq!(got, [acknowledged(1), acknowledged(2)], "{cut}");
    }
}

#[test]
fn how_it_ends() {
    let end = |change: &dyn Fn(&mut Server)| {
        let mut world = World::new();
        let mut server = pulling(&mut world, V1);
        change(&mut server);
        world.sim.advance(secs(1));
        (server.relay.end(), server.relay.take())
    };
    assert_eq!(end(&|server| server.relay.peer.close()).0, PullError::Ended);
    assert_eq!(end(&|server| server.relay.peer.reset()).0, PullError::Transport(Broken));
    let (error, got) = end(&|server| server.relay.close());
    assert_eq!((error, &got[..]), (PullError::Ended, &[Got::Close(None)][..]));
    let (error, got) = end(&|server| server.relay.peer.send(b"\x81\x01a"));
    assert_eq!((error, &got[..]), (PullError::Protocol, &[Got::Close(Some(1008))][..]));
    let (error, got) = end(&|server| server.relay.peer.send(b"\x82\x80keys"));
    assert_eq!((error, &got[..]), (PullError::Protocol, &[Got::Close(Some(1002))][..]));
    let written = |fault| {
        end(&|server: &mut Server| {
            let at = server.relay.peer.written();
            server.relay.peer.fail_after(at, fault);
            server.relay.send(&message(1, &jpeg(100, 1)));
        })
        .0
    };
    assert_eq!(written(Fault::Error), PullError::Transport(Broken));
    assert_eq!(written(Fault::Zero), PullError::Ended);
}

#[test]
fn how_it_does_not_begin() {
    let end = |answer: &str| {
        let mut world = World::new();
        let server = pull(&mut world, None, 1_000_000);
        server.relay.peer.send(answer);
        server.relay.peer.close();
        world.sim.run();
        server.relay.end()
    };
    assert_eq!(end("HTTP/1.1 401 x\r\n\r\n"), PullError::Refused { status: 401 });
    assert_eq!(end("HTTP/1.1 200 OK\r\n\r\n"), PullError::Refused { status: 200 });
    assert_eq!(end("hello\r\n\r\n"), PullError::Response(ResponseError::Malformed));
    assert_eq!(end("HTTP/1.1 101"), PullError::Ended);
}

#[test]
fn login_goes_into_the_request() {
    for (login, expected) in [
        (Authorization::basic("anna", "p:@/?#%\u{e4}"), Some("Basic YW5uYTpwOkAvPyMlw6Q=")),
        (Authorization::basic("anna", ""), Some("Basic YW5uYTo=")),
        (Authorization::bearer("T"), Some("Bearer T")),
        (Authorization::bearer(""), None),
    ] {
        let mut world = World::new();
        let mut server = pull(&mut world, login.ok(), 1_000_000);
        server.relay.accept(&[], b"");
        let fields = server.relay.request.lines().filter_map(|line| line.split_once(": "));
        let of = |name| fields.clone().filter(move |field| field.0 == name).map(|field| field.1);
        assert_eq!(of("Authorization").collect::<Vec<_>>(), Vec::from_iter(expected));
        assert_eq!(of("Host").collect::<Vec<_>>(), ["cam.example"]);
    }
}

proptest! {
    /// Any input in any pieces: no panic, and whole pictures or none.
    #[test]
    fn any_input(
        input in prop::collection::vec(any::<u8>(), 0..200),
        pictures in 0u64..4,
        cuts in prop::collection::vec(1usize..900, 1..6),
        v1 in any::<bool>(),
    ) {
        let mut world = World::new();
        let mut server = pulling(&mut world, if v1 { V1 } else { &[] });
        let mut cuts = cuts.into_iter().cycle();
        server.relay.peer.portion_reads(move |most| cuts.next().unwrap().min(most));
        for number in 0..pictures {
            let picture = jpeg(700, number);
            server.relay.send(&if v1 { message(number, &picture) } else { picture });
        }
        server.relay.peer.send(&input);
        server.relay.peer.close();
        world.sim.run();
        let _ = server.relay.end();
        let captured = server.captured();
        prop_assert!(captured.len() as u64 >= pictures);
        for (number, captured) in (0..pictures).zip(captured) {
            prop_assert_eq!(captured.unwrap().1, jpeg(700, number));
        }
    }
}
