//! A camera that pushes to a relay: the handshake, the pictures, the credit, and how it ends.

mod harness;

use camwire_capture::Policy;
use camwire_server::{Authorization, Disconnect, PushError};
use camwire_websocket::{RequestError, ResponseError};
use harness::camera::{Call, Outcome, picture};
use harness::relay::{Relay, push_to};
use harness::websocket::Got;
use harness::wire::{Broken, Fault};
use harness::{Plan, UNIX, World, every, ms, secs};
use proptest::prelude::*;

/// Number and missed count of each message; the picture behind the head is whole.
fn numbers(relay: &mut Relay) -> Vec<(u64, u32)> {
    relay.messages().iter().map(|message| number(message)).collect()
}

fn number(message: &[u8]) -> (u64, u32) {
    let (head, drawn) = message.split_at(24);
    let number = u64::from_be_bytes(*drawn.first_chunk().expect("it has a number"));
    assert!(drawn == picture(drawn.len(), number), "picture {number} is torn");
    assert_eq!(&head[..4], [1, 1, 0, 24]);
    let sequence = u64::from_be_bytes(head[8..16].try_into().unwrap());
    (sequence, u32::from_be_bytes(head[4..8].try_into().unwrap()))
}

mod the_handshake {
    use super::*;

    #[test]
    fn asks_for_what_it_needs() {
        let mut world = World::new();
        let relay = world.push("");
        let mut lines = relay.request.lines();
        assert_eq!(lines.next(), Some("GET /ingest HTTP/1.1"));
        for line in [
            "Host: relay.example:8080",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: camwire.v1",
            "Authorization: Bearer T",
        ] {
            assert!(relay.request.lines().any(|one| one == line), "{line}");
        }
        assert_eq!(relay.peer.flushed(), relay.request.len());
    }

    #[test]
    fn a_refusal_says_why() {
        for status in [401, 404, 409, 503, 200] {
            let mut world = World::new();
            let relay = world.push_with::<512>(push_to(""));
            world.sim.run();
            relay.peer.send(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n"));
            world.sim.run();
            assert_eq!(relay.end(), Err(PushError::Refused { status }));
            assert_eq!(world.stats()["viewers"].as_array().unwrap().len(), 0);
        }
    }

    #[test]
    fn what_is_no_answer_ends_it() {
        let end = |answer: Option<&[u8]>| {
            let mut world = World::new();
            let relay = world.push_with::<512>(push_to(""));
            world.sim.run();
            match answer {
                Some(answer) => relay.peer.send(answer),
                None => relay.peer.close(),
            }
            world.sim.advance(secs(10));
            relay.end()
        };
        assert_eq!(end(None), Err(PushError::NoAnswer(Disconnect::Closed)));
        assert_eq!(end(Some(b"")), Err(PushError::NoAnswer(Disconnect::Silent)));
        assert_eq!(
            end(Some(b"SSH-2.0\r\n\r\n")),
            Err(PushError::Response(ResponseError::Malformed))
        );
        let other = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(end(Some(other)), Err(PushError::Response(ResponseError::Accept)));
        let mut world = World::new();
        let mut to = push_to("");
        to.authorization = Authorization::basic("anna", "a".repeat(251).leak()).ok();
        assert!(to.authorization.is_some());
        let relay = world.push_with::<512>(to);
        world.sim.run();
        assert_eq!(relay.end(), Err(PushError::Request(RequestError::TooLong)));
        assert_eq!(relay.peer.written(), 0);
    }

    #[test]
    fn it_needs_a_place() {
        let mut world = Plan { viewers: 1, ..Plan::default() }.build();
        let _viewer = world.get("/stream");
        let relay = world.push_with::<512>(push_to(""));
        world.sim.run();
        assert_eq!(relay.end(), Err(PushError::TooManyViewers));
        assert_eq!(relay.peer.written(), 0);
    }

    /// Credit may come together with the answer, and in pieces of any size.
    #[test]
    fn at_every_cut() {
        let length = {
            let mut world = World::new();
            let mut relay = world.push_with::<512>(push_to(""));
            world.sim.run();
            relay.acceptance(&["camwire.v1"]).len() + 4
        };
        for cut in 0..=length {
            let mut world = World::new();
            world.camera(every(40, 100));
            let mut relay = world.push_with::<512>(push_to(""));
            world.sim.run();
            let answer = relay.acceptance(&["camwire.v1"]);
            let bytes = [answer, relay.frame(&[2, 2])].concat();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                relay.peer.send(piece);
                world.sim.run();
            }
            world.sim.advance(ms(200));
            assert_eq!(numbers(&mut relay), [(1, 0), (2, 0)], "{cut}");
        }
    }
}

mod pictures {
    use super::*;

    #[test]
    fn come_as_to_a_viewer() {
        for unix in [Some(UNIX), None] {
            let mut world = Plan { unix, ..Plan::default() }.build();
            let mut hand = world.publisher();
            let mut relay = world.push("");
            relay.credit(1);
            world.sim.run();
            for (number, missed, len) in
                [(1_u64, 0_u32, 1000), (2, 0, 0), (3, 0, 102), (6, 2, 4096), (7, 0, 1024 - 32)]
            {
                world.sim.advance(ms(40));
                (0..missed).for_each(|_| hand.publisher.skip());
                assert_eq!(hand.publish(len), number);
                let now = world.now().as_micros();
                world.sim.advance(ms(7));
                let head = [
                    &[1, u8::from(unix.is_some()), 0, 24][..],
                    &missed.to_be_bytes(),
                    &number.to_be_bytes(),
                    &(now + unix.unwrap_or(0)).to_be_bytes(),
                ];
                assert_eq!(relay.messages(), [[&head.concat()[..], &picture(len, now)].concat()]);
                assert_eq!(relay.peer.flushed(), relay.peer.written());
                relay.acknowledge(number);
            }
            let stats = world.stats();
            let viewer = &stats["viewers"][0];
            assert_eq!(viewer["transport"], "push");
            assert_eq!((&viewer["sent"], &viewer["missed"]), (&5.into(), &2.into()));
        }
    }

    /// A relay that is somebody's own script.
    #[test]
    fn are_bare_without_the_subprotocol() {
        let mut world = World::new();
        world.camera(every(40, 1000));
        let mut relay = world.push_with::<512>(push_to(""));
        world.sim.run();
        relay.accept(&[], b"");
        world.sim.advance(ms(200));
        let messages = relay.messages();
        assert_eq!(messages.len(), 5);
        for (message, number) in messages.iter().zip(1..) {
            assert_eq!(*message, picture(1000, number));
        }
        relay.send(b"whatever");
        world.sim.advance(ms(40));
        assert_eq!(relay.messages().len(), 1);
    }

    #[test]
    fn are_masked_with_a_new_key_each_time() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let mut relay = world.push("");
        relay.credit(8);
        world.sim.run();
        let mut keys = Vec::new();
        for _ in 0..8 {
            let before = relay.peer.written();
            hand.publish(200);
            world.sim.run();
            let frame = &relay.peer.answer()[before..];
            assert_eq!(frame[..4], [0x82, 0x80 | 126, 0, 224]);
            keys.push(frame[4..8].to_vec());
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 8);
        assert_eq!(relay.messages().len(), 8);
    }

    #[test]
    fn at_a_rate_and_in_a_mode() {
        for (options, got) in [("", 51), ("fps=5", 11), ("mode=all", 51)] {
            let mut world = World::new();
            world.camera(every(40, 100));
            let mut relay = world.push(options);
            relay.credit(8);
            let mut all = Vec::new();
            for _ in 0..2040 {
                world.sim.advance(ms(1));
                for (number, missed) in numbers(&mut relay) {
                    relay.acknowledge(number);
                    all.push((number, missed));
                }
            }
            assert_eq!(all.len(), got, "{options}");
            assert!(all.iter().all(|(_, missed)| *missed == 0), "{options}");
        }
    }
}

mod credit {
    use super::*;

    #[test]
    fn nothing_is_wanted_before_it() {
        let mut world = World::new();
        let camera = world.camera(every(40, 100));
        let mut relay = world.push("");
        world.sim.advance(secs(20));
        assert_eq!(numbers(&mut relay), []);
        assert_eq!(camera.times_of(Call::Capture).len(), 0);
        assert_eq!(world.stats()["source"]["state"], "idle");
    }

    /// Nobody watches: the camera rests. Somebody does: the next picture is a new one.
    #[test]
    fn is_demand() {
        let mut world = World::new();
        let camera = world.camera(every(40, 100));
        let mut relay = world.push("");
        relay.credit(2);
        world.sim.advance(ms(100));
        assert_eq!(numbers(&mut relay), [(1, 0), (2, 0)]);
        relay.credit(0);
        world.sim.run();
        assert_eq!(world.ring.readers(), 0);
        assert_eq!(camera.times_of(Call::Pause).len(), 1);
        for _ in 0..100 {
            world.sim.advance(secs(1));
            assert_eq!(numbers(&mut relay), []);
        }
        let captures = camera.times_of(Call::Capture).len();
        // Those that were on their way are acknowledged whenever they arrive.
        relay.acknowledge(2);
        relay.credit(1);
        world.sim.advance(ms(100));
        assert_eq!(numbers(&mut relay), [(3, 0)]);
        assert!(camera.times_of(Call::Capture).len() > captures);
        assert!(!relay.pushed.is_done());
    }

    #[test]
    fn is_never_exceeded() {
        for credit in 1..=8 {
            let mut world = World::new();
            world.camera(every(40, 100));
            let mut relay = world.push("");
            relay.credit(credit);
            world.sim.advance(secs(2));
            let all: Vec<_> = (1..=u64::from(credit)).map(|number| (number, 0)).collect();
            assert_eq!(numbers(&mut relay), all);
            // After the stall comes the newest.
            relay.acknowledge(1);
            world.sim.run();
            let (newest, missed) = numbers(&mut relay)[0];
            assert_eq!((newest, missed), (50, 49 - u32::from(credit)));
            world.sim.advance(secs(1));
            assert_eq!(numbers(&mut relay), []);
            // Less credit than is on its way, and then more.
            if credit > 1 {
                relay.credit(1);
                relay.acknowledge(2);
                world.sim.advance(secs(1));
                assert_eq!(numbers(&mut relay), []);
                relay.acknowledge(newest);
                world.sim.advance(ms(20));
                assert_eq!(numbers(&mut relay).len(), 1);
            }
        }
    }

    proptest! {
        #[test]
        fn is_never_exceeded_whatever_happens(
            orders in prop::collection::vec((0u8..=8, 0usize..4, 1u64..200), 1..60),
            cuts in prop::collection::vec(1usize..9, 1..5),
        ) {
            let mut world = World::new();
            world.camera(every(25, 700));
            let mut relay = world.push("");
            let mut cuts = cuts.into_iter().cycle();
            relay.peer.portion_reads(move |most| cuts.next().unwrap().min(most));
            let (mut flying, mut last) = (Vec::new(), 0);
            for (credit, acknowledged, pause) in orders {
                // In this order: the other way round there is a moment of the old credit.
                relay.credit(credit);
                if let Some(&number) = flying.get(acknowledged) {
                    relay.acknowledge(number);
                    flying.retain(|one| *one > number);
                }
                world.sim.run();
                let room = usize::from(credit).saturating_sub(flying.len());
                let at_once: Vec<_> = numbers(&mut relay).iter().map(|(n, _)| *n).collect();
                world.sim.advance(ms(pause));
                let later: Vec<_> = numbers(&mut relay).iter().map(|(n, _)| *n).collect();
                prop_assert!(at_once.len() + later.len() <= room);
                for number in at_once.into_iter().chain(later) {
                    prop_assert!(number > last);
                    last = number;
                    flying.push(number);
                }
                prop_assert_eq!(world.ring.readers(), usize::from(credit > 0));
            }
            prop_assert!(!relay.pushed.is_done());
        }
    }

    #[test]
    fn who_holds_the_camera_back_is_let_go() {
        let mut world = Plan::policy(Policy::KeepAll).build();
        world.camera(every(40, 100));
        let mut relay = world.push("mode=all");
        relay.credit(2);
        for _ in 0..12 {
            world.sim.advance(ms(500));
            relay.take();
        }
        assert!(!relay.pushed.is_done());
        // Not while nobody watches.
        relay.credit(0);
        for _ in 0..60 {
            world.sim.advance(ms(500));
            relay.take();
        }
        relay.acknowledge(2);
        relay.credit(1);
        world.sim.advance(ms(9_900));
        assert!(!relay.pushed.is_done());
        world.sim.advance(ms(200));
        assert_eq!(relay.end(), Err(PushError::Lost(Disconnect::Stalled)));
    }
}

mod the_end {
    use super::*;

    #[test]
    fn what_must_not_be_said() {
        let number = |n: u64| [&[1], &n.to_be_bytes()[..]].concat();
        for message in [
            number(4),
            number(u64::MAX),
            vec![2, 9],
            vec![2],
            vec![2, 1, 1],
            vec![1],
            vec![3, 1],
            vec![],
            vec![1; 10],
        ] {
            let mut world = World::new();
            world.camera(every(40, 100));
            let mut relay = world.push("");
            relay.credit(3);
            world.sim.advance(secs(1));
            assert_eq!(numbers(&mut relay).len(), 3);
            relay.send(&message);
            world.sim.run();
            assert_eq!(relay.take(), [Got::Close(Some(1008))], "{message:?}");
            relay.peer.close();
            world.sim.run();
            assert_eq!(relay.end(), Err(PushError::Lost(Disconnect::Protocol)));
            assert_eq!(world.ring.readers(), 0);
        }
    }

    #[test]
    fn broken_rules_of_websocket() {
        let frames: [(&[u8], u16); 3] =
            [(b"\x82\x80keys", 1002), (b"\x83\x00", 1002), (b"\x81\x01\xff", 1007)];
        for (frame, code) in frames {
            let mut world = World::new();
            let mut relay = world.push("");
            relay.peer.send(frame);
            world.sim.run();
            assert_eq!(relay.take(), [Got::Close(Some(code))], "{frame:02x?}");
        }
    }

    #[test]
    fn pings_and_closes_are_answered() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let mut relay = world.push("");
        relay.credit(1);
        world.sim.run();
        relay.peer.take(usize::MAX >> 1);
        relay.peer.set_capacity(100);
        hand.publish(4000);
        world.sim.run();
        relay.ping(b"now");
        relay.peer.send(b"\x88\x02\x03\xe9");
        world.sim.run();
        assert_eq!(relay.peer.unread(), 0, "it is read while a picture is on its way");
        relay.peer.set_capacity(usize::MAX);
        world.sim.run();
        let got = relay.take();
        assert!(matches!(&got[0], Got::Binary(message) if message.len() == 4024));
        assert_eq!(got[1..], [Got::Close(Some(1001))]);
        assert_eq!(relay.end(), Err(PushError::Lost(Disconnect::Closed)));
    }

    #[test]
    fn a_relay_that_vanishes() {
        // Without pictures it is known by Pings, else sooner, by pictures not acknowledged.
        for (credit, latest, end) in
            [(0, 35_000, Disconnect::Silent), (8, 10_400, Disconnect::Stalled)]
        {
            let mut world = World::new();
            world.camera(every(40, 100));
            let mut relay = world.push("");
            relay.answers = false;
            relay.credit(credit);
            world.sim.advance(ms(latest - 400));
            assert!(!relay.pushed.is_done());
            world.sim.advance(ms(400));
            assert_eq!(relay.end(), Err(PushError::Lost(end)));
            assert_eq!(world.ring.readers(), 0);
        }
    }

    #[test]
    fn a_relay_that_takes_nothing() {
        let mut world = World::new();
        world.camera(every(40, 3000));
        let mut relay = world.push("");
        relay.credit(2);
        world.sim.run();
        relay.peer.take(usize::MAX >> 1);
        relay.peer.set_capacity(1000);
        world.sim.advance(ms(10_039));
        assert!(!relay.pushed.is_done());
        world.sim.advance(ms(1));
        assert_eq!(relay.end(), Err(PushError::Lost(Disconnect::Stalled)));
    }

    #[test]
    fn faults_of_the_transport() {
        for (fault, expected) in
            [(Fault::Error, Disconnect::Transport(Broken)), (Fault::Zero, Disconnect::Closed)]
        {
            for after in [0, 10, 300] {
                let mut world = World::new();
                world.camera(every(40, 100));
                let mut relay = world.push("");
                let written = relay.peer.written();
                relay.peer.fail_after(written + after, fault);
                relay.credit(8);
                world.sim.advance(secs(1));
                assert_eq!(relay.end(), Err(PushError::Lost(expected)));
            }
        }
        let mut world = World::new();
        let relay = world.push("");
        relay.peer.close();
        world.sim.run();
        assert_eq!(relay.end(), Err(PushError::Lost(Disconnect::Closed)));
    }

    #[test]
    fn of_the_source_is_told() {
        for credit in [0, 8] {
            let mut world = World::new();
            let mut hand = world.publisher();
            let mut relay = world.push("");
            relay.credit(credit);
            world.sim.run();
            hand.publish(100);
            drop(hand);
            world.sim.run();
            if credit == 0 {
                // It has no reader, so it is seen when the next Ping would be due.
                assert_eq!(relay.take(), []);
                world.sim.advance(secs(5));
            }
            let got = relay.take();
            assert_eq!(got.last(), Some(&Got::Close(Some(1001))));
            world.sim.run();
            assert_eq!(relay.end(), Ok(()));
        }
    }

    #[test]
    fn of_the_camera_is_none_for_the_relay() {
        let mut world = World::new();
        world.camera(Outcome::Hang);
        let mut relay = world.push("");
        relay.credit(2);
        for _ in 0..100 {
            world.sim.advance(secs(1));
            relay.take();
        }
        assert!(!relay.pushed.is_done());
    }
}
