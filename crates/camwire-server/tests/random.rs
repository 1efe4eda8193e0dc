//! Transports and viewers of any kind: whatever the pieces and the pauses, the bytes are those of
//! a stream, and the numbers add up.

mod harness;

use camwire_capture::Policy;
use camwire_server::Disconnect;
use harness::http::Part;
use harness::{Client, Plan, World, every, ms, request, secs};
use proptest::prelude::*;

/// Sizes used one after the other, over and over.
fn portions(sizes: Vec<usize>) -> impl FnMut(usize) -> usize + Send + 'static {
    let mut sizes = sizes.into_iter().cycle();
    move |most| sizes.next().unwrap_or(most).min(most)
}

fn sizes(max: usize) -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..=max, 1..20)
}

#[derive(Clone, Debug)]
struct Viewer {
    target: &'static str,
    /// Unread bytes the wire holds.
    capacity: usize,
    /// Bytes it takes, and the pause before each, over and over.
    takes: Vec<(usize, u64)>,
    writes: Vec<usize>,
    reads: Vec<usize>,
}

fn viewer() -> impl Strategy<Value = Viewer> {
    let targets = ["/stream", "/stream?mode=all", "/mjpeg/1", "/stream?fps=9"].as_slice();
    let takes = proptest::collection::vec((50usize..5000, 1u64..300), 1..10);
    (prop::sample::select(targets), 50usize..6000, takes, sizes(4000), sizes(200)).prop_map(
        |(target, capacity, takes, writes, reads)| Viewer {
            target,
            capacity,
            takes,
            writes,
            reads,
        },
    )
}

fn watch(world: &mut World, viewer: &Viewer) -> Client {
    let client = world.connect();
    client.peer.set_capacity(viewer.capacity);
    client.peer.portion_writes(portions(viewer.writes.clone()));
    client.peer.portion_reads(portions(viewer.reads.clone()));
    client.peer.send(request("GET", viewer.target));
    let (peer, clock, takes) = (client.peer.clone(), world.clock, viewer.takes.clone());
    world.sim.spawn(async move {
        for (bytes, pause) in takes.into_iter().cycle() {
            clock.sleep(ms(pause)).await;
            peer.take(bytes);
            if peer.is_hung_up() {
                return;
            }
        }
    });
    client
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::sample::select(&[Policy::DropOldest, Policy::DropNewest, Policy::KeepAll][..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Enough slots for all: nobody is cut off, and nobody is told anything wrong.
    #[test]
    fn viewers_of_any_speed(
        policy in policies(),
        viewers in proptest::collection::vec(viewer(), 1..4),
        period in 15u64..120,
        len in 8usize..3000,
    ) {
        let mut world = Plan { slots: 6, ..Plan::policy(policy) }.build();
        world.camera(every(period, len));
        let clients: Vec<_> = viewers.iter().map(|viewer| watch(&mut world, viewer)).collect();
        world.sim.advance(secs(8));
        for (viewer, client) in viewers.iter().zip(&clients) {
            // The slowest takes 50 bytes in 300 ms: no stall, and a picture in its time.
            let ending = client.served.take();
            prop_assert!(ending.is_none(), "{ending:?}");
            let stream = client.stream();
            stream.parts.iter().for_each(|part| { part.check_drawing(); });
            if viewer.target != "/stream?fps=9" {
                stream.check_numbers();
            }
            if policy == Policy::KeepAll && viewer.target == "/stream?mode=all" {
                prop_assert!(stream.parts.iter().all(|part| part.missed() == 0));
            }
        }
        // What the server counts is what the peers got.
        let stats = world.stats();
        for (n, client) in clients.iter().enumerate() {
            let seen = &stats["viewers"][n];
            prop_assert_eq!(&seen["bytes"], client.peer.written());
            // The last picture may have arrived while the delimiter behind it is still on its way:
            // then the server has not counted it yet.
            let stream = client.stream();
            let sent = seen["sent"].as_u64().unwrap() as usize;
            let arrived = stream.distinct().len();
            prop_assert!(sent == arrived || sent + 1 == arrived, "{sent} of {arrived}");
            let counted = &stream.parts[..stream.parts.len() - (arrived - sent)];
            let missed: u64 = counted.iter().map(Part::missed).sum();
            prop_assert_eq!(&seen["missed"], missed);
        }
        prop_assert_eq!(world.status.errors(), 0);
    }

    /// Too few slots: some are cut off, and those alone. Whoever stays sees a true stream.
    #[test]
    fn viewers_of_any_speed_on_few_slots(
        viewers in proptest::collection::vec(viewer(), 1..6),
        period in 15u64..120,
        len in 8usize..3000,
    ) {
        let mut world = Plan { slots: 2, ..Plan::default() }.build();
        world.camera(every(period, len));
        let healthy = world.get("/stream");
        let clients: Vec<_> = viewers.iter().map(|viewer| watch(&mut world, viewer)).collect();
        world.sim.advance(secs(8));
        for (viewer, client) in viewers.iter().zip(&clients) {
            let ending = client.served.take();
            prop_assert!(matches!(ending, None | Some(Err(Disconnect::Revoked))), "{ending:?}");
            if client.peer.written() < 300 {
                continue;
            }
            let stream = client.stream();
            stream.parts.iter().for_each(|part| { part.check_drawing(); });
            if viewer.target != "/stream?fps=9" {
                stream.check_numbers();
            }
        }
        prop_assert!(healthy.served.take().is_none());
        let stream = healthy.stream();
        stream.check_numbers();
        // A picture a second at the very least: the grace of a lease, and its end.
        prop_assert!(stream.distinct().len() >= 5, "{:?}", stream.numbers());
        let numbers = u64::from(world.status.captured()) + u64::from(world.ring.dropped());
        prop_assert!(*stream.numbers().last().unwrap() <= numbers);
    }

    /// The same bytes, whatever the transport makes of them. (Not `/stats`: it tells the time.)
    #[test]
    fn answers_are_the_same_over_any_transport(
        target in prop::sample::select(
            &["/", "/healthz", "/nothing", "/stream?fps=x", "/capture"][..]
        ),
        reads in sizes(100),
        writes in sizes(1000),
        capacity in 1usize..3000,
    ) {
        let ask = |smooth: bool| {
            let mut world = World::new();
            world.camera(every(50, 1000));
            let client = world.connect();
            if !smooth {
                client.peer.portion_reads(portions(reads.clone()));
                client.peer.portion_writes(portions(writes.clone()));
                client.peer.set_capacity(capacity);
            }
            client.peer.send(request("GET", target));
            world.sim.advance(ms(100));
            while client.peer.take(usize::MAX) > 0 {
                world.sim.run();
            }
            world.sim.advance(secs(1));
            (client.peer.answer(), client.served.take())
        };
        prop_assert!(ask(false) == ask(true));
    }

    /// Any bytes at all: an answer or none, and never a panic or a place that is not given back.
    #[test]
    fn any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        start in prop::sample::select(&["", "GET /stream", "GET / HTTP/1.1\r\n", "GET /capture HTTP/1.1\r\nA:"][..]),
        reads in sizes(100),
    ) {
        let mut world = World::new();
        let client = world.connect();
        client.peer.portion_reads(portions(reads));
        client.peer.send(start);
        client.peer.send(&bytes);
        world.sim.run();
        client.peer.close();
        world.sim.advance(secs(12));
        prop_assert!(client.is_served());
        prop_assert_eq!(world.ring.readers(), 0);
        if client.peer.written() > 0 {
            client.response();
        }
    }
}
