//! Viewers that stall, trickle, vanish and lie, and peers that never become viewers.

mod harness;

use camwire_capture::{CaptureConfig, Policy};
use camwire_server::{Disconnect, HEAD_MAX, Unflushed};
use harness::camera::Outcome;
use harness::wire::{Broken, Fault, wire};
use harness::{Client, Plan, World, every, ms, request, secs};

/// A viewer with room for `capacity` bytes that reads nothing.
fn stalled(world: &mut World, target: &str, capacity: usize) -> Client {
    let client = world.connect();
    client.peer.set_capacity(capacity);
    client.peer.send(request("GET", target));
    world.sim.run();
    client
}

mod deadlines {
    use super::*;

    #[test]
    fn a_stalled_viewer_is_dropped_after_its_time_without_progress() {
        for target in ["/stream", "/stream?fps=5", "/stream?mode=all", "/capture", "/", "/stats"] {
            let mut world = World::new();
            world.camera(every(33, 3000));
            let bad = stalled(&mut world, target, 100);
            let good = world.get("/stream");
            world.sim.advance(ms(9_999));
            assert!(!bad.is_served(), "{target}");
            world.sim.advance(ms(34)); // For a capture the time begins with the picture.
            assert_eq!(bad.end(), Err(Disconnect::Stalled), "{target}");
            assert_eq!(bad.peer.written(), 100);
            assert_eq!(world.ring.readers(), 1, "{target}");
            good.stream().check_numbers();
            assert_eq!(good.stream().parts.len(), 304);
        }
    }

    #[test]
    fn any_progress_counts() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let bad = stalled(&mut world, "/stream", 1000);
        hand.publish(2000);
        for _ in 0..3 {
            world.sim.advance(ms(9_900));
            assert_eq!(bad.peer.take(1), 1);
        }
        world.sim.run();
        assert!(!bad.is_served());
    }

    #[test]
    fn one_that_trickles_is_dropped_after_the_time_for_a_picture() {
        let mut world = World::new();
        world.camera(every(33, 3000));
        let opening = world.get("/stream").peer.written();
        // A byte every 100 ms, from the first byte of the picture on.
        let bad = world.slow("/stream", opening, 1, ms(100));
        let good = world.get("/stream");
        world.sim.advance(secs(30));
        assert!(!bad.is_served());
        world.sim.advance(ms(200));
        assert_eq!(bad.end(), Err(Disconnect::TooSlow));
        let stream = good.stream();
        stream.check_numbers();
        assert!(stream.parts.iter().all(|part| part.missed() == 0));
    }

    #[test]
    fn one_that_is_merely_slow_stays() {
        let mut world = World::new();
        world.camera(every(33, 3000));
        // 25 s for a picture.
        let slow = world.slow("/stream", 200, 13, ms(100));
        world.sim.advance(secs(300));
        assert!(!slow.is_served());
        assert!(slow.stream().parts.len() >= 10);
        slow.stream().check_numbers();
    }

    #[test]
    fn other_times_can_be_set() {
        let mut world = Plan::configured(|config| {
            config.progress_timeout = ms(500);
            config.frame_timeout = ms(2000);
        })
        .build();
        world.camera(every(33, 3000));
        let opening = world.get("/stream").peer.written();
        let still = stalled(&mut world, "/stream", opening);
        let trickling = world.slow("/stream", opening, 1, ms(100));
        world.sim.advance(ms(600));
        assert_eq!(still.end(), Err(Disconnect::Stalled));
        world.sim.advance(ms(1600));
        assert_eq!(trickling.end(), Err(Disconnect::TooSlow));
    }

    #[test]
    fn a_flush_that_does_not_end_counts_as_a_stall() {
        for target in ["/stream", "/", "/stats", "/nothing"] {
            let mut world = World::new();
            world.camera(every(33, 3000));
            let bad = world.connect();
            bad.peer.stall_flushes(true);
            bad.peer.send(request("GET", target));
            world.sim.advance(ms(10_100));
            assert_eq!(bad.end(), Err(Disconnect::Stalled), "{target}");
            assert_eq!(world.ring.readers(), 0);
        }
    }

    /// embassy-net's flush takes a round trip; no picture has to wait for it.
    #[test]
    fn unflushed_transports_are_never_asked_to() {
        let mut world = World::new();
        world.camera(every(33, 3000));
        let (read, write, peer) = wire();
        let server = world.server;
        let served =
            world.sim.spawn(async move { server.serve(read, Unflushed(write), None).await });
        let client = Client { peer, served };
        client.peer.stall_flushes(true);
        client.peer.send(request("GET", "/stream"));
        world.sim.advance(secs(20));
        assert!(client.stream().parts.len() > 500);
        assert_eq!(client.peer.flushed(), 0);
    }
}

mod slots {
    use super::*;

    fn scarce(policy: Policy) -> World {
        Plan { slots: 2, ..Plan::policy(policy) }.build()
    }

    /// The camera and a healthy viewer go on, though each slot is with one that stands still.
    #[test]
    fn more_stalled_viewers_than_slots_stop_nobody() {
        for policy in [Policy::DropOldest, Policy::DropNewest] {
            let mut world = Plan { slots: 3, viewers: 20, ..Plan::policy(policy) }.build();
            world.camera(every(33, 3000));
            let good = world.get("/stream");
            let bad: Vec<_> = (0..12)
                .map(|_| {
                    world.sim.advance(ms(70));
                    stalled(&mut world, "/stream", 1000)
                })
                .collect();
            world.sim.advance(secs(15));
            assert!(bad.iter().all(Client::is_served), "{policy:?}");
            let (stream, before) = (good.stream(), good.stream().distinct().len());
            stream.check_numbers();
            assert!(before > 250, "{policy:?}: {before} pictures in 16 s");
            world.sim.advance(secs(1));
            assert!(good.stream().distinct().len() >= before + 29);
            assert_eq!(world.ring.readers(), 1);
        }
    }

    #[test]
    fn a_revoked_picture_ends_its_connection_in_the_middle() {
        let mut world = scarce(Policy::DropOldest);
        world.camera(every(33, 3000));
        let good = world.get("/stream");
        let bad = stalled(&mut world, "/stream", 1500);
        world.sim.advance(ms(990));
        assert!(!bad.is_served(), "its grace is a second");
        world.sim.advance(ms(200));
        assert_eq!(bad.end(), Err(Disconnect::Revoked));
        let stream = bad.stream();
        assert!(stream.parts.is_empty() && stream.torn, "a torn picture is never ended");
        world.sim.advance(secs(5));
        let stream = good.stream();
        stream.check_numbers();
        for part in &stream.parts {
            part.check_drawing();
        }
        let numbers = world.status.captured() + world.ring.dropped();
        assert_eq!(stream.parts.last().unwrap().number(), u64::from(numbers));
    }

    /// A transport that buffers waits in its flush, which for TCP in small systems lasts until
    /// the peer has acknowledged. The picture is not leased meanwhile, so nobody needs it back.
    #[test]
    fn a_flush_holds_no_slot() {
        let mut world = scarce(Policy::DropOldest);
        world.camera(every(33, 3000));
        let _good = world.get("/stream");
        let bad = world.get("/stream");
        world.sim.advance(ms(100));
        bad.peer.stall_flushes(true);
        world.sim.advance(secs(9));
        assert_eq!(world.ring.dropped(), 0);
        assert!(!bad.is_served());
        world.sim.advance(secs(2));
        assert_eq!(bad.end(), Err(Disconnect::Stalled));
    }

    #[test]
    fn the_grace_can_be_set() {
        let mut world = scarce(Policy::DropOldest);
        let mut config = CaptureConfig::default();
        config.lease_grace = ms(300);
        world.camera_with(every(33, 3000), config);
        let _good = world.get("/stream");
        let bad = stalled(&mut world, "/stream", 1500);
        world.sim.advance(ms(500));
        assert_eq!(bad.end(), Err(Disconnect::Revoked));
    }

    #[test]
    fn a_capture_can_be_revoked_too() {
        let mut world = scarce(Policy::DropOldest);
        world.camera(every(33, 3000));
        let _good = world.get("/stream");
        let bad = stalled(&mut world, "/capture", 1500);
        world.sim.advance(ms(1200));
        assert_eq!(bad.end(), Err(Disconnect::Revoked));
    }

    #[test]
    fn with_enough_slots_nobody_is_revoked() {
        let mut world = Plan { slots: 6, ..Plan::default() }.build();
        world.camera(every(33, 3000));
        let good = world.get("/stream");
        let bad: Vec<_> = (0..4)
            .map(|_| {
                world.sim.advance(ms(70));
                stalled(&mut world, "/stream", 1000)
            })
            .collect();
        world.sim.advance(secs(9));
        assert!(bad.iter().all(|viewer| !viewer.is_served()));
        assert_eq!(world.ring.dropped(), 0);
        assert!(good.stream().parts.iter().all(|part| part.missed() == 0));
    }

    /// It takes six seconds for a picture, but leases one of six slots. Under drop-newest the
    /// ring is full of what nobody has taken yet, which is not the lease's fault.
    #[test]
    fn a_slow_viewer_with_slots_to_spare_is_not_revoked() {
        for policy in [Policy::DropOldest, Policy::DropNewest, Policy::KeepAll] {
            let mut world = Plan { slots: 6, ..Plan::policy(policy) }.build();
            world.camera(every(33, 1000));
            let slow = world.slow("/stream", 50, 50, ms(300));
            world.sim.advance(secs(60));
            assert_eq!(slow.served.take(), None, "{policy:?}");
            slow.stream().check_numbers();
            assert!(slow.stream().parts.len() >= 7);
        }
    }
}

mod leaving {
    use super::*;

    #[test]
    fn who_closes_is_noticed_at_once_even_while_no_picture_comes() {
        for target in ["/stream", "/stream?mode=all", "/stream?fps=1", "/stream?advance_headers=1"]
        {
            for outcome in [Outcome::Hang, every(33, 1000)] {
                let mut world = World::new();
                world.camera(outcome);
                let client = world.get(target);
                world.sim.advance(ms(3333));
                client.peer.close();
                world.sim.run();
                assert_eq!(client.end(), Err(Disconnect::Closed), "{target}");
                assert_eq!(world.ring.readers(), 0);
            }
        }
    }

    #[test]
    fn a_reset_is_noticed_at_once() {
        let mut world = World::new();
        world.camera(every(33, 3000));
        let waiting = world.get("/stream");
        let sending = stalled(&mut world, "/stream", 1500);
        world.sim.advance(ms(340));
        waiting.peer.reset();
        sending.peer.reset();
        world.sim.run();
        assert!(matches!(waiting.end(), Err(Disconnect::Closed | Disconnect::Transport(Broken))));
        assert_eq!(sending.end(), Err(Disconnect::Transport(Broken)));
        assert_eq!(world.ring.readers(), 0);
    }

    #[test]
    fn errors_of_the_transport_are_handed_on_wherever_they_come() {
        for target in
            ["/stream", "/stream?advance_headers=1", "/capture", "/", "/stats", "/nothing"]
        {
            let mut world = World::new();
            world.camera(every(33, 3000));
            let whole = world.get(target);
            world.sim.advance(ms(100));
            let whole = whole.peer.written();
            for at in (0..whole).step_by(61) {
                let client = world.connect();
                client.peer.fail_after(at, Fault::Error);
                client.peer.send(request("GET", target));
                world.sim.advance(ms(100));
                assert_eq!(client.end(), Err(Disconnect::Transport(Broken)), "{target} at {at}");
                assert_eq!(client.peer.written(), at);
            }
        }
    }

    #[test]
    fn a_write_of_nothing_ends_the_connection_and_does_not_spin() {
        for target in
            ["/stream", "/stream?advance_headers=1", "/capture", "/", "/stats", "/nothing"]
        {
            let mut world = World::new();
            world.camera(every(33, 3000));
            let whole = world.get(target);
            world.sim.advance(ms(100));
            let whole = whole.peer.written();
            for at in (0..whole).step_by(61) {
                let client = world.connect();
                client.peer.fail_after(at, Fault::Zero);
                client.peer.send(request("GET", target));
                world.sim.advance(ms(100));
                assert_eq!(client.end(), Err(Disconnect::Closed), "{target} at {at}");
                assert!(client.peer.attempts() < 30);
            }
        }
    }

    #[test]
    fn what_a_viewer_says_after_its_request_is_thrown_away() {
        let mut world = World::new();
        world.camera(every(33, 1000));
        let client = world.get("/stream");
        for _ in 0..100 {
            client.peer.send(request("GET", "/stats"));
            client.peer.send([b'x'; 1000]);
            world.sim.advance(ms(33));
        }
        assert_eq!(client.peer.unread(), 0);
        client.stream().check_numbers();
        assert_eq!(client.stream().parts.len(), 100);
    }

    #[test]
    fn dropping_the_connection_frees_its_places() {
        let mut world = Plan { viewers: 1, spare: 0, ..Plan::default() }.build();
        world.camera(every(33, 3000));
        for _ in 0..5 {
            let client = stalled(&mut world, "/stream", 1500);
            world.sim.advance(ms(100));
            assert_eq!((world.ring.readers(), client.is_served()), (1, false));
            world.sim.abort(client.served);
            assert_eq!(world.ring.readers(), 0);
        }
        world.sim.run();
        assert_eq!(world.status.state(), camwire_capture::SourceState::Idle);
    }

    #[test]
    fn who_never_reads_after_closing_its_end_is_gone_in_time() {
        let mut world = World::new();
        world.camera(every(33, 3000));
        let client = stalled(&mut world, "/stream", 1500);
        world.sim.advance(ms(100));
        client.peer.close();
        world.sim.advance(ms(10_000));
        assert!(client.is_served());
    }
}

mod requests {
    use super::*;

    #[test]
    fn a_head_has_its_time() {
        let mut world = World::new();
        let silent = world.connect();
        let trickling = world.connect();
        for byte in 0..99 {
            trickling.peer.send([b"GET /stream HTTP/1.1\r\nA: bbbb"[byte.min(28)]]);
            world.sim.advance(ms(100));
            assert!(!silent.is_served() && !trickling.is_served());
        }
        world.sim.advance(ms(100));
        for client in [silent, trickling] {
            assert_eq!(client.end(), Err(Disconnect::NoRequest));
            assert_eq!(client.peer.written(), 0);
        }
    }

    #[test]
    fn an_endless_head_costs_no_more_than_the_largest_one() {
        let mut world = World::new();
        let client = world.connect();
        client.peer.portion_reads(|most| most.min(100));
        client.peer.send(b"GET / HTTP/1.1\r\nA: ");
        client.peer.send(vec![b'a'; 10 * HEAD_MAX]);
        let mut fed = 0;
        while client.peer.written() == 0 {
            world.sim.run();
            client.peer.send(b"A: b\r\n");
            fed += 1;
            assert!(fed < 10);
        }
        assert_eq!(client.response().status, 431);
        // It goes on, as if nobody had answered.
        for _ in 0..20 {
            client.peer.send(vec![b'a'; 1000]);
            world.sim.advance(ms(100));
        }
        assert_eq!(client.end(), Ok(()), "a second later it is over");
    }

    #[test]
    fn who_leaves_before_the_end_of_the_head() {
        let whole = request("GET", "/stream");
        for sent in 0..whole.len() {
            let mut world = World::new();
            let client = world.connect();
            client.peer.send(&whole[..sent]);
            client.peer.close();
            world.sim.run();
            assert_eq!(client.end(), Err(Disconnect::Closed));
            assert_eq!(client.peer.written(), 0);
        }
    }

    #[test]
    fn a_thousand_connections_that_say_nothing() {
        let mut world = World::new();
        world.camera(every(33, 1000));
        let viewer = world.get("/stream");
        world.sim.advance(secs(1));
        let idle: Vec<_> = (0..1000).map(|_| world.connect()).collect();
        world.sim.advance(secs(1));
        assert_eq!(world.stats()["viewers"].as_array().unwrap().len(), 1);
        let left = &idle[..500];
        left.iter().for_each(|client| client.peer.close());
        world.sim.run();
        assert!(left.iter().all(|client| client.end() == Err(Disconnect::Closed)));
        world.sim.advance(ms(9_000));
        let rest = &idle[500..];
        assert!(rest.iter().all(|client| client.end() == Err(Disconnect::NoRequest)));
        viewer.stream().check_numbers();
        assert_eq!(viewer.stream().parts.len(), 333);
        assert_eq!(world.sim.alive(), 2, "the camera and the viewer");
    }

    #[test]
    fn a_thousand_viewers() {
        let mut world = Plan { viewers: 1000, slot_bytes: 512, ..Plan::default() }.build();
        world.camera(every(33, 500));
        let viewers: Vec<_> = (0..1000).map(|_| world.get("/stream")).collect();
        assert_eq!(world.get("/stream").response().status, 503);
        world.sim.advance(ms(340));
        for viewer in &viewers {
            assert_eq!(viewer.stream().numbers(), (1..=10).collect::<Vec<_>>());
        }
        assert_eq!(world.stats()["viewers"].as_array().unwrap().len(), 1000);
        viewers.iter().for_each(|viewer| viewer.peer.close());
        world.sim.run();
        assert_eq!(world.ring.readers(), 0);
    }

    /// A waiting connection sleeps: it costs polls for its events only.
    #[test]
    fn waiting_costs_nothing() {
        let mut world = World::new();
        world.camera(Outcome::Hang);
        let _viewers = [(); 8].map(|()| world.get("/stream"));
        world.sim.advance(secs(1));
        let before = world.sim.polls();
        world.sim.advance(secs(60));
        let polls = world.sim.polls() - before;
        assert!(polls <= 8 * 66 + 60, "{polls} polls in a minute");
    }
}
