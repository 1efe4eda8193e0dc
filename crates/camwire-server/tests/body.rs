//! The body of a stream for programs that have an HTTP server of their own: the same as that of
//! `/stream`, byte for byte, and with the same deadlines.

mod harness;

use camwire_server::{
    BlockingWriter, Disconnect, RequestError, StreamBody, StreamOptions, TooManyViewers,
};
use harness::http::{Response, Stream, boundary};
use harness::time::Spawned;
use harness::wire::{Broken, Fault, Peer, wire};
use harness::{Ending, Plan, World, every, ms, secs};

const QUERIES: [&str; 5] =
    ["", "mode=all", "fps=5", "advance_headers=1", "fps=7&advance_headers=1"];

/// A viewer whose head some other server has sent.
struct Mounted {
    content_type: String,
    peer: Peer,
    sent: Spawned<Ending>,
}

impl Mounted {
    fn stream(&self) -> Stream {
        Stream::parse(&self.content_type, &self.peer.answer())
    }
}

fn mount(world: &mut World, query: &str) -> Mounted {
    let (_read, write, peer) = wire();
    let body = StreamBody::new(world.server.hub(), query.parse().unwrap(), None).unwrap();
    let content_type = body.content_type().to_string();
    let sent = world.sim.spawn(async move { body.send_to(write).await });
    world.sim.run();
    Mounted { content_type, peer, sent }
}

/// A body with `B` in place of its boundary, so that it can be compared with another.
fn comparable(body: &[u8], content_type: &str) -> Vec<u8> {
    let boundary = boundary(content_type);
    let (mut comparable, mut rest) = (Vec::new(), body);
    while let Some(at) = rest.windows(boundary.len()).position(|w| w == boundary.as_bytes()) {
        comparable.extend([&rest[..at], b"B"].concat());
        rest = &rest[at + boundary.len()..];
    }
    [&comparable, rest].concat()
}

fn comparable_body(response: &Response) -> Vec<u8> {
    comparable(&response.body, response.field("Content-Type").unwrap())
}

#[test]
fn is_that_of_a_stream() {
    for query in QUERIES {
        let mut world = World::new();
        let camera = world.camera(harness::camera::Outcome::End);
        camera.first((1..=40).map(|n| every(n, 100 * n as usize)));
        let direct = world.get(&format!("/stream?{query}"));
        let mounted = mount(&mut world, query);
        let Mounted { content_type, peer, .. } = &mounted;
        assert_ne!(boundary(content_type), direct.response().boundary());
        // Long enough for the last picture to come again.
        for _ in 0..30 {
            let body = comparable(&peer.answer(), content_type);
            assert_eq!(body, comparable_body(&direct.response()), "{query}");
            assert_eq!(peer.flushed(), peer.written());
            world.sim.advance(ms(100));
        }
        assert_eq!(mounted.sent.take(), Some(Ok(())), "{query}");
        let stream = mounted.stream();
        assert!(stream.closed && stream.parts.len() > 3, "{query}");
    }
}

#[test]
fn its_viewers_are_counted_and_shown() {
    let mut world = Plan { viewers: 2, ..Plan::default() }.build();
    world.camera(every(40, 100));
    let mounted = mount(&mut world, "fps=5");
    world.sim.advance(secs(2));
    let stats = world.stats();
    let viewer = &stats["viewers"][0];
    assert_eq!(viewer["bytes"], mounted.peer.written());
    assert_eq!(viewer["sent"], mounted.stream().parts.len());
    let other = world.get("/stream");
    assert!(matches!(
        StreamBody::new(world.server.hub(), StreamOptions::default(), None),
        Err(TooManyViewers)
    ));
    assert_eq!(world.get("/stream").response().status, 503);
    other.peer.close();
    world.sim.run();
    assert!(StreamBody::new(world.server.hub(), StreamOptions::default(), None).is_ok());
}

#[test]
fn without_a_place_in_the_ring_there_is_none_among_the_viewers() {
    let world = Plan { viewers: 2, spare: 0, ..Plan::default() }.build();
    let readers = [(); 2].map(|()| world.ring.subscribe(camwire_capture::Follow::Live).unwrap());
    let body = || StreamBody::new(world.server.hub(), StreamOptions::default(), None);
    for _ in 0..5 {
        assert!(matches!(body(), Err(TooManyViewers)));
    }
    drop(readers);
    let bodies = [body().unwrap(), body().unwrap()];
    assert!(matches!(body(), Err(TooManyViewers)));
    drop(bodies);
    assert_eq!(world.ring.readers(), 0);
}

#[test]
fn a_stalled_viewer_loses_its_place() {
    let mut world = World::new();
    world.camera(every(40, 1000));
    let Mounted { peer, sent, .. } = mount(&mut world, "");
    world.sim.advance(ms(100));
    assert!(!sent.is_done());
    peer.set_capacity(peer.written() + 500);
    world.sim.advance(secs(11));
    assert_eq!(sent.take(), Some(Err(Disconnect::Stalled)));
    assert_eq!(world.ring.readers(), 0);
}

/// Nobody reads here, and no picture comes: what is sent again finds out.
#[test]
fn a_viewer_that_has_left_is_noticed() {
    let mut world = World::new();
    let mut hand = world.publisher();
    let Mounted { peer, sent, .. } = mount(&mut world, "");
    hand.publish(100);
    world.sim.run();
    peer.fail_after(peer.written(), Fault::Error);
    world.sim.advance(ms(1000));
    assert_eq!(sent.take(), Some(Err(Disconnect::Transport(Broken))));
}

#[test]
fn a_query_in_words() {
    for (query, error) in [
        ("fps=0", RequestError::Rate),
        ("mode=some", RequestError::Mode),
        ("mode=all&fps=5", RequestError::RateOfAll),
        ("advance_headers=yes", RequestError::AdvanceHeaders),
    ] {
        assert_eq!(query.parse::<StreamOptions>(), Err(error));
    }
    assert_eq!("".parse(), Ok(StreamOptions::default()));
    assert_eq!("_=17&x".parse(), Ok(StreamOptions::default()));
}

/// What `tokio::spawn` wants, and how large it is.
#[test]
fn sending_is_send() {
    fn send<T: Send + 'static>(_: &T) {}
    let world = World::new();
    let body = StreamBody::new(world.server.hub(), StreamOptions::default(), None).unwrap();
    send(&body);
    let (_read, write, _peer) = wire();
    let sending = body.send_to(write);
    send(&sending);
    println!("a body's future has {} bytes here", size_of_val(&sending));
}

/// A transport that blocks, and counts what it is made to send.
struct Plain(Vec<u8>, usize);

impl embedded_io::ErrorType for Plain {
    type Error = Broken;
}

impl embedded_io::Write for Plain {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Broken> {
        assert!(!buf.is_empty(), "which some take for the end");
        let count = buf.len().min(70);
        self.0.extend(&buf[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.1 = self.0.len();
        Ok(())
    }
}

#[test]
fn a_writer_that_blocks_will_do() {
    let mut world = World::new();
    let camera = world.camera(harness::camera::Outcome::End);
    camera.first([every(40, 100), every(40, 200)]);
    let body = StreamBody::new(world.server.hub(), StreamOptions::default(), None).unwrap();
    let content_type = body.content_type();
    let sent = world.sim.spawn(async move {
        let mut to = BlockingWriter(Plain(Vec::new(), 0));
        body.send_to(&mut to).await.map(|()| to.0)
    });
    world.sim.advance(secs(1));
    let Plain(body, flushed) = sent.take().unwrap().unwrap();
    assert_eq!(flushed, body.len());
    let stream = Stream::parse(content_type.as_str(), &body);
    assert_eq!(stream.numbers(), [1, 2]);
    assert!(stream.closed);
}

#[cfg(feature = "bytes")]
mod pulled {
    use super::*;
    use bytes::Bytes;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::time::Duration;

    type Piece = Result<Bytes, Disconnect<Infallible>>;
    type Pieces = Pin<Box<dyn futures_core::Stream<Item = Piece> + Send>>;

    /// The pieces of a body, and its content type.
    fn pieces(world: &World, query: &str) -> (Pieces, String) {
        let body = StreamBody::new(world.server.hub(), query.parse().unwrap(), None).unwrap();
        let content_type = body.content_type().to_string();
        (Box::pin(body.into_stream()), content_type)
    }

    async fn next(pieces: &mut Pieces) -> Option<Piece> {
        poll_fn(|cx| pieces.as_mut().poll_next(cx)).await
    }

    /// What a server has taken and not yet got rid of.
    type Held = Rc<RefCell<VecDeque<Bytes>>>;

    /// A server that takes whatever it gets and keeps it.
    fn keep(world: &mut World, query: &str) -> (Held, Spawned<Option<Disconnect<Infallible>>>) {
        let (pieces, _) = pieces(world, query);
        keep_pieces(world, pieces)
    }

    fn keep_pieces(
        world: &mut World,
        mut pieces: Pieces,
    ) -> (Held, Spawned<Option<Disconnect<Infallible>>>) {
        let held = Held::default();
        let to = Rc::clone(&held);
        let ended = world.sim.spawn(async move {
            loop {
                match next(&mut pieces).await {
                    Some(Ok(piece)) => to.borrow_mut().push_back(piece),
                    Some(Err(error)) => return Some(error),
                    None => return None,
                }
            }
        });
        world.sim.run();
        (held, ended)
    }

    #[test]
    fn is_that_of_a_stream() {
        for query in QUERIES {
            let mut world = World::new();
            let camera = world.camera(harness::camera::Outcome::End);
            camera.first((1..=40).map(|n| every(n, 100 * n as usize)));
            let direct = world.get(&format!("/stream?{query}"));
            let (pieces, content_type) = pieces(&world, query);
            let (held, ended) = keep_pieces(&mut world, pieces);
            let mut body = Vec::new();
            let mut written = |world: &mut World| {
                // Now the socket has it, and the next one comes if it is there.
                while !held.borrow().is_empty() {
                    held.borrow_mut().drain(..).for_each(|piece| body.extend(&piece));
                    world.sim.run();
                }
                body.clone()
            };
            let mut compared = (0, 0);
            for _ in 0..3000 {
                let (body, response) = (written(&mut world), direct.response());
                // Both only grow, so what has the lengths of before has been compared.
                let lengths = (body.len(), response.body.len());
                if lengths != compared {
                    let body = comparable(&body, &content_type);
                    assert_eq!(body, comparable_body(&response), "{query}");
                    compared = lengths;
                }
                world.sim.advance(ms(1));
            }
            assert_eq!(ended.take(), Some(None), "{query}");
            assert!(Stream::parse(&content_type, &body).closed, "{query}");
        }
    }

    #[test]
    fn the_next_picture_is_taken_when_the_last_is_dropped() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let (held, _ended) = keep(&mut world, "");
        assert_eq!(held.borrow_mut().drain(..).count(), 1, "the opening");
        for _ in 0..6 {
            hand.publish(1000);
            world.sim.advance(ms(40));
        }
        let first: Vec<Bytes> = held.borrow_mut().drain(..).collect();
        assert_eq!(first.len(), 3, "head, picture, tail");
        assert_eq!(first[1].len(), 1000);
        let part = first[1].slice(10..20);
        drop(first);
        world.sim.advance(ms(40));
        assert!(held.borrow().is_empty(), "a part of it is still there");
        drop(part);
        world.sim.run();
        let second: Vec<Bytes> = held.borrow_mut().drain(..).collect();
        let head = String::from_utf8(second[0].to_vec()).unwrap();
        assert!(head.contains("X-Frame: 6\r\n") && head.contains("X-Missed: 4\r\n"), "{head}");
    }

    /// The piece lies in the ring: while it lives its slot is not free, and the same picture has
    /// the same address for everybody.
    #[test]
    fn a_picture_is_not_copied() {
        let mut world = Plan { slots: 4, ..Plan::default() }.build();
        let mut hand = world.publisher();
        let (one, _one) = keep(&mut world, "");
        let (two, _two) = keep(&mut world, "");
        hand.publish(100);
        world.sim.run();
        assert_eq!(one.borrow()[2].as_ptr(), two.borrow()[2].as_ptr());
        assert_eq!(one.borrow()[2].len(), 100);
    }

    #[test]
    fn a_stalled_viewer_loses_its_place() {
        let mut world = World::new();
        world.camera(every(40, 1000));
        let (held, ended) = keep(&mut world, "");
        world.sim.advance(secs(29));
        assert_eq!(ended.take(), None);
        assert_eq!(held.borrow().len(), 4);
        world.sim.advance(secs(2));
        assert_eq!(ended.take(), Some(Some(Disconnect::TooSlow)));
        assert_eq!(world.ring.readers(), 0);
    }

    /// One that does not even ask for pieces is found by nobody but its server; it keeps its place,
    /// and one slot.
    #[test]
    fn nothing_happens_unasked() {
        let mut world = World::new();
        let (stream, _) = pieces(&world, "");
        let camera = world.camera(every(40, 1000));
        world.sim.advance(secs(5));
        assert!(!camera.calls().is_empty(), "there is demand");
        assert_eq!(world.ring.readers(), 1);
        drop(stream);
        assert_eq!(world.ring.readers(), 0);
    }

    #[test]
    fn the_ring_gets_its_slot_back() {
        let mut world = Plan { slots: 2, ..Plan::default() }.build();
        world.camera(every(40, 1000));
        let (_held, ended) = keep(&mut world, "");
        let healthy = world.get("/stream");
        let after = world.sim.advance_until(secs(10), || ended.is_done());
        assert_eq!(ended.take(), Some(Some(Disconnect::Revoked)));
        assert!(after > Duration::from_secs(1) && after < Duration::from_secs(3), "{after:?}");
        assert!(!healthy.is_served());
    }

    #[test]
    fn its_bytes_are_counted() {
        let mut world = World::new();
        world.camera(every(40, 1000));
        let (mut pieces, _) = pieces(&world, "");
        let total = Rc::new(RefCell::new(0));
        let sum = Rc::clone(&total);
        let _task = world.sim.spawn(async move {
            while let Some(Ok(piece)) = next(&mut pieces).await {
                *sum.borrow_mut() += piece.len();
            }
        });
        world.sim.advance(secs(1));
        let stats = world.stats();
        assert_eq!(stats["viewers"][0]["bytes"], *total.borrow());
        assert!(*total.borrow() > 20_000);
    }
}
