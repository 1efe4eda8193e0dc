//! A camera that pushes to this server: who may, what becomes of its pictures, and what it is told.
#![cfg(feature = "ingest")]

mod harness;

use camwire_capture::{Follow, Policy};
use camwire_server::Disconnect;
use camwire_websocket::{ClientRequest, Kind};
use harness::camera::{jpeg, message};
use harness::websocket::{Got, Viewer, bytes, request};
use harness::{Plan, World, ms, secs};
use proptest::prelude::*;

const BEARER: (&str, &str) = ("Authorization", "Bearer T");

fn plan() -> Plan {
    Plan::configured(|config| config.ingest_token = Some("T"))
}

fn relay() -> World {
    plan().build()
}

fn asking<'r>(fields: &'r [(&'r str, &'r str)]) -> ClientRequest<'r> {
    ClientRequest { fields, protocols: &["camwire.v1"], ..request("/ingest") }
}

/// A camera that was let in, and speaks `camwire.v1`.
fn camera(world: &mut World) -> Viewer {
    let camera = world.watch_as(&asking(&[BEARER]));
    assert_eq!(camera.protocol, Some("camwire.v1"));
    camera
}

/// A camera that has not heard of it.
fn bare(world: &mut World) -> Viewer {
    world.watch_as(&ClientRequest { fields: &[BEARER], ..request("/ingest") })
}

fn push(camera: &mut Viewer, number: u64, len: usize) {
    camera.send(Kind::Binary, &message(number, &jpeg(len, number)));
}

const NOTHING: [Vec<u8>; 0] = [];

/// What the camera was told: credit, and acknowledgements.
fn told(camera: &mut Viewer) -> Vec<Vec<u8>> {
    camera.messages()
}

fn credit(credit: u8) -> Vec<u8> {
    vec![2, credit]
}

fn acknowledged(number: u64) -> Vec<u8> {
    [&[1], &number.to_be_bytes()[..]].concat()
}

mod the_door {
    use super::*;

    /// Status and text of the answer.
    fn status(world: &mut World, head: impl AsRef<[u8]>) -> (u16, String) {
        let client = world.connect();
        client.peer.send(head);
        world.sim.run();
        client.peer.close();
        world.sim.run();
        assert_eq!(client.end(), Ok(()));
        let text = String::from_utf8(client.peer.answer()).unwrap();
        (text[9..12].parse().unwrap(), text)
    }

    #[test]
    fn is_closed_without_a_token() {
        let mut world = World::new();
        for fields in [&[][..], &[BEARER]] {
            assert_eq!(status(&mut world, bytes(&asking(fields))).0, 404);
        }
        assert_eq!(status(&mut world, harness::request("GET", "/ingest")).0, 404);
    }

    #[test]
    fn wants_its_own_token() {
        let set = |config: &mut camwire_server::Config| {
            config.ingest_token = Some("T");
            config.credentials.token = Some("viewers");
            config.credentials.basic = Some("a:b");
        };
        let mut world = Plan::configured(set).build();
        for wrong in ["Bearer U", "Bearer ", "Bearer TT", "Bearer viewers", "Basic YTpi", "T"] {
            let answer = status(&mut world, bytes(&asking(&[("Authorization", wrong)])));
            assert_eq!(answer.0, 401, "{wrong}");
            assert!(answer.1.contains("\r\nWWW-Authenticate: Bearer realm=\"camwire\"\r\n"));
        }
        assert_eq!(status(&mut world, bytes(&asking(&[]))).0, 401);
        let wrong = ClientRequest { target: "/ingest?token=viewers", ..asking(&[]) };
        assert_eq!(status(&mut world, bytes(&wrong)).0, 401);
        assert!(!world.ring.has_publisher());
        let in_query = ClientRequest { target: "/ingest?token=T", ..asking(&[]) };
        let viewer = world.watch_as(&in_query);
        assert!(world.ring.has_publisher());
        drop(viewer);
        // And the token of cameras is none for viewers.
        let viewer = ClientRequest { fields: &[BEARER], ..request("/ws") };
        assert_eq!(status(&mut world, bytes(&viewer)).0, 401);
    }

    #[test]
    fn is_for_websocket_only() {
        let mut world = relay();
        let get = |method: &str| {
            format!("{method} /ingest HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer T\r\n\r\n")
        };
        assert_eq!(status(&mut world, get("GET")).0, 426);
        assert_eq!(status(&mut world, get("POST")).0, 405);
        assert_eq!(status(&mut world, get("HEAD")).0, 405);
        let page = [BEARER, ("Origin", "http://evil.example")];
        assert_eq!(status(&mut world, bytes(&asking(&page))).0, 403);
    }

    #[test]
    fn is_for_one_at_a_time() {
        let mut world = relay();
        let mut first = camera(&mut world);
        let second = status(&mut world, bytes(&asking(&[BEARER])));
        assert_eq!(second.0, 409);
        // The first has not noticed.
        let viewer = world.watch("/ws");
        world.sim.run();
        assert_eq!(told(&mut first), [credit(4)]);
        first.client.peer.close();
        world.sim.run();
        assert_eq!(first.end(), Err(Disconnect::Closed));
        assert!(!viewer.is_served());
        camera(&mut world);
    }

    #[test]
    fn who_has_the_place_may_say_nothing_for_ten_seconds() {
        let mut world = relay();
        let mut dead = camera(&mut world);
        dead.answers = false;
        world.sim.advance(ms(9_999));
        assert_eq!(status(&mut world, bytes(&asking(&[BEARER]))).0, 409);
        world.sim.advance(ms(1));
        assert_eq!(dead.end(), Err(Disconnect::Silent));
        let mut alive = camera(&mut world);
        for _ in 0..60 {
            world.sim.advance(secs(1));
            alive.take();
        }
        assert!(!alive.is_served());
    }
}

mod pictures {
    use super::*;

    #[test]
    fn pass_through() {
        let mut world = relay();
        let mut camera = camera(&mut world);
        assert_eq!(told(&mut camera), NOTHING);
        let mut viewer = world.watch("/ws");
        let mut reader = world.ring.subscribe(Follow::Live).unwrap();
        for (number, len) in [(7, 60), (8, 4096), (12, 200), (13, 256 - 24), (14, 1000)] {
            push(&mut camera, number, len);
            world.sim.run();
            assert_eq!(viewer.messages(), [jpeg(len, number)]);
            let lease = reader.try_latest().unwrap();
            let info = lease.info();
            assert_eq!((info.width, info.height), (32, 16));
            assert_eq!(info.upstream.sequence, Some(number));
            assert_eq!(info.upstream.timestamp_us, Some(77));
            assert_eq!(info.captured_at, world.now());
            drop(lease);
            world.sim.advance(ms(40));
        }
        let mut expected = vec![credit(4)];
        expected.extend([7, 8, 12, 13, 14].map(acknowledged));
        assert_eq!(told(&mut camera), expected);
        let stats = world.stats();
        assert_eq!(stats["source"]["state"], "streaming");
        assert_eq!(stats["source"]["captured"], 5);
    }

    #[test]
    fn at_every_cut() {
        let frame = {
            let mut world = relay();
            let mut camera = camera(&mut world);
            let before = camera.client.peer.unread();
            assert_eq!(before, 0);
            push(&mut camera, 5, 500);
            camera.ping(b"now");
            push(&mut camera, 6, 60);
            let sent = camera.client.peer.unread_bytes();
            assert!(sent.len() > 600);
            sent
        };
        for cut in (0..frame.len()).chain([usize::MAX]) {
            let mut world = relay();
            let mut camera = camera(&mut world);
            let mut viewer = world.watch("/ws?mode=all");
            if cut == usize::MAX {
                camera.client.peer.portion_reads(|_| 1);
                camera.client.peer.send(&frame);
            } else {
                camera.client.peer.send(&frame[..cut]);
                world.sim.run();
                camera.client.peer.send(&frame[cut..]);
            }
            world.sim.run();
            assert_eq!(viewer.messages(), [jpeg(500, 5), jpeg(60, 6)], "{cut}");
            let mut got = camera.take();
            let pong = got.iter().position(|got| *got == Got::Pong(b"now".to_vec()));
            got.remove(pong.expect("a Pong"));
            assert_eq!(got, [credit(4), acknowledged(5), acknowledged(6)].map(Got::Binary));
        }
    }

    #[test]
    fn in_fragments_with_a_longer_head() {
        let mut world = relay();
        let camera = camera(&mut world);
        let mut viewer = world.watch("/ws");
        let mut message = message(5, &jpeg(1000, 5));
        message[3] = 30;
        message.splice(24..24, *b"future");
        let mut first = 0x02;
        for piece in message.chunks(7) {
            camera.client.peer.send([first, 0x80 | piece.len() as u8, 0, 0, 0, 0]);
            camera.client.peer.send(piece);
            camera.client.peer.send(b"\x89\x80keys");
            first = 0;
            world.sim.run();
        }
        assert_eq!(viewer.messages(), NOTHING);
        camera.client.peer.send(b"\x80\x80keys");
        world.sim.run();
        assert_eq!(viewer.messages(), [jpeg(1000, 5)]);
    }

    /// As a script would push them.
    #[test]
    fn bare() {
        let mut world = relay();
        let mut camera = super::bare(&mut world);
        assert_eq!(camera.protocol, None);
        camera.send(Kind::Binary, &jpeg(100, 1)); // Nobody watches.
        world.sim.run();
        let mut viewer = world.watch("/ws");
        camera.send(Kind::Text, "hello \u{e4}".as_bytes());
        camera.send(Kind::Binary, &jpeg(4096, 2));
        world.sim.run();
        assert_eq!(viewer.messages(), [jpeg(4096, 2)]);
        assert_eq!(camera.take(), [], "it is told nothing");
    }

    #[test]
    fn that_are_none_are_skipped_and_counted() {
        let mut world = relay();
        let mut camera = camera(&mut world);
        let mut viewer = world.watch("/ws");
        told(&mut camera);
        let whole = jpeg(1000, 3);
        for (errors, bad) in [
            &b""[..],
            b"no picture",
            &whole[..999],
            &whole[..30],
            &jpeg(4097, 1),
            &jpeg(100_000, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let number = 10 * errors as u64;
            camera.send(Kind::Binary, &message(number, bad));
            world.sim.run();
            assert_eq!(viewer.messages(), NOTHING);
            let stats = world.stats();
            assert_eq!(stats["source"]["errors"], errors as u64 + 1);
            assert_eq!(stats["source"]["state"], "failed");
            push(&mut camera, number + 1, 200);
            world.sim.run();
            assert_eq!(viewer.messages(), [jpeg(200, number + 1)]);
            assert_eq!(told(&mut camera), [acknowledged(number), acknowledged(number + 1)]);
        }
        let error = world.stats()["source"]["error"].as_str().unwrap().to_owned();
        assert_eq!(error, "a frame needs 100000 bytes, a slot has 4096");
    }

    #[test]
    fn that_are_sent_again_are_not_published_again() {
        let mut world = relay();
        let mut camera = camera(&mut world);
        let mut viewer = world.watch("/ws?mode=all");
        told(&mut camera);
        for number in 1..=3 {
            push(&mut camera, number, 200);
            // One more in each second: the camera is slow, but not silent.
            for _ in 0..20 {
                world.sim.advance(secs(1));
                push(&mut camera, number, 200);
                world.sim.run();
                assert_eq!(world.stats()["source"]["state"], "streaming");
                assert_eq!(world.stats()["source"]["quiet_ms"], 0);
            }
            assert_eq!(viewer.messages(), [jpeg(200, number)]);
            assert_eq!(told(&mut camera), vec![acknowledged(number); 21]);
        }
        let stats = world.stats();
        assert_eq!(
            (&stats["source"]["captured"], &stats["source"]["errors"]),
            (&3.into(), &0.into())
        );
        // Who comes after a pause has not had it.
        drop(viewer);
        world.sim.advance(secs(1));
        let mut viewer = world.watch("/ws");
        push(&mut camera, 3, 200);
        world.sim.run();
        assert_eq!(viewer.messages(), [jpeg(200, 3)]);
    }

    #[test]
    fn what_is_behind_the_picture_is_cut_off() {
        let mut world = relay();
        let mut camera = camera(&mut world);
        let mut viewer = world.watch("/ws");
        camera.send(Kind::Binary, &message(1, &[&jpeg(100, 1)[..], &[0; 50]].concat()));
        world.sim.run();
        assert_eq!(viewer.messages(), [jpeg(100, 1)]);
    }

    #[test]
    fn a_full_ring_drops_them_or_waits() {
        for policy in [Policy::DropOldest, Policy::KeepAll] {
            let mut world = Plan { slots: 2, policy, ..plan() }.build();
            let mut camera = camera(&mut world);
            let mut readers: Vec<_> =
                (0..2).map(|_| world.ring.subscribe(Follow::Ordered).unwrap()).collect();
            let mut leases = Vec::new();
            world.sim.run();
            for (number, reader) in (1..).zip(&mut readers) {
                push(&mut camera, number, 100);
                world.sim.run();
                leases.push(reader.try_latest().unwrap());
            }
            push(&mut camera, 3, 100);
            world.sim.run();
            let keeps = policy == Policy::KeepAll;
            assert_eq!(world.ring.dropped(), u32::from(!keeps));
            let mut expected = vec![credit(4), acknowledged(1), acknowledged(2)];
            if !keeps {
                expected.push(acknowledged(3));
            }
            assert_eq!(told(&mut camera), expected);
            drop(leases);
            let _ = readers[0].try_latest();
            world.sim.advance(secs(30)); // It is not silent while it waits.
            drop(readers);
        }
    }
}

mod demand {
    use super::*;

    #[test]
    fn is_told() {
        let mut world = relay();
        let mut camera = camera(&mut world);
        world.sim.advance(secs(1));
        assert_eq!(told(&mut camera), NOTHING);
        assert_eq!(world.stats()["source"]["state"], "idle");
        for _ in 0..3 {
            let viewer = world.watch("/ws");
            world.sim.run();
            assert_eq!(told(&mut camera), [credit(4)]);
            assert_eq!(world.stats()["source"]["state"], "starting");
            viewer.client.peer.close();
            world.sim.run();
            assert_eq!(told(&mut camera), [credit(0)]);
            assert_eq!(world.stats()["source"]["state"], "idle");
        }
    }

    /// Nobody gets a picture that began to arrive before it was wanted.
    #[test]
    fn nothing_old_is_shown() {
        for cut in [0, 10, 30, 300] {
            let mut world = relay();
            let mut camera = camera(&mut world);
            let before = world.watch("/ws");
            world.sim.run();
            push(&mut camera, 1, 100);
            push(&mut camera, 2, 500);
            let bytes = camera.client.peer.unread_bytes();
            let last = bytes.len() - 532 + cut;
            camera.client.peer.send(&bytes[..last]);
            world.sim.run();
            before.client.peer.close();
            world.sim.run();
            let mut after = world.watch("/ws");
            world.sim.run();
            camera.client.peer.send(&bytes[last..]);
            world.sim.run();
            let expected = if cut == 0 { vec![jpeg(500, 2)] } else { vec![] };
            assert_eq!(after.messages(), expected, "{cut}");
            let acks = [acknowledged(1), credit(0), credit(4), acknowledged(2)];
            assert_eq!(told(&mut camera)[1..], acks);
            push(&mut camera, 3, 500);
            world.sim.run();
            assert_eq!(after.messages(), [jpeg(500, 3)]);
        }
    }

    #[test]
    fn a_capture_is_demand() {
        let mut world = relay();
        let mut camera = camera(&mut world);
        let client = world.get("/capture");
        assert_eq!(told(&mut camera), [credit(4)]);
        world.sim.advance(ms(1));
        push(&mut camera, 1, 100);
        world.sim.run();
        assert_eq!(client.response().body, jpeg(100, 1));
        assert_eq!(told(&mut camera), [acknowledged(1), credit(0)]);
    }
}

mod cameras_come_and_go {
    use super::*;

    #[test]
    fn and_viewers_stay() {
        let mut world = relay();
        let mut viewer = world.watch("/ws");
        let mjpeg = world.get("/stream");
        assert_eq!(world.stats()["source"]["state"], "waiting");
        assert_eq!(world.fetch("/healthz").status, 503);
        for round in 0..5 {
            let mut camera = camera(&mut world);
            world.sim.run();
            assert_eq!(told(&mut camera), [credit(4)]);
            assert_eq!(world.stats()["source"]["state"], "starting");
            assert_eq!(world.fetch("/healthz").status, 200);
            push(&mut camera, 1, 100 + round);
            world.sim.run();
            assert_eq!(viewer.messages(), [jpeg(100 + round, 1)]);
            if round % 2 == 0 {
                camera.client.peer.reset();
            } else {
                camera.send(Kind::Binary, &message(2, &jpeg(500, 2))[..200]);
                camera.client.peer.close();
            }
            world.sim.run();
            assert!(camera.is_served());
            assert_eq!(world.stats()["source"]["state"], "waiting");
            assert_eq!(world.fetch("/healthz").status, 200, "not at once");
            for _ in 0..6 {
                world.sim.advance(secs(1));
                viewer.messages();
            }
            assert_eq!(world.fetch("/healthz").status, 503);
        }
        assert!(!mjpeg.is_served());
        assert_eq!(mjpeg.stream().distinct().len(), 5);
        assert_eq!(world.status.captured(), 5);
        mjpeg.peer.close();
        viewer.client.peer.close();
        world.sim.run();
        assert_eq!(world.fetch("/healthz").status, 200, "nobody wants any");
        // The picture of the last camera is for nobody who comes now.
        let mut late = world.watch("/ws");
        world.sim.run();
        assert_eq!(late.messages(), NOTHING);
    }

    #[test]
    fn who_breaks_a_rule_is_told_so() {
        let whole = message(1, &jpeg(100, 1));
        let version = [&[2][..], &whole[1..]].concat();
        let length = [&[1, 0, 0, 23][..], &whole[4..]].concat();
        let cases = [
            (Kind::Text, &b"hello"[..], 1008),
            (Kind::Binary, b"", 1008),
            (Kind::Binary, &whole[..23], 1008),
            (Kind::Binary, &version, 1008),
            (Kind::Binary, &length, 1008),
        ];
        for (kind, message, code) in cases {
            let mut world = relay();
            let mut camera = camera(&mut world);
            camera.send(kind, message);
            world.sim.run();
            assert_eq!(camera.take(), [Got::Close(Some(code))]);
            assert!(!world.ring.has_publisher(), "another one may come");
            world.sim.advance(secs(1));
            assert_eq!(camera.end(), Err(Disconnect::Protocol));
        }
        for (frame, code) in [
            (&b"\x82\x00"[..], 1002),
            (b"\x82\xff\x00\x00\x00\x01\x00\x00\x00\x00", 1009), // 4 GiB
        ] {
            let mut world = relay();
            let mut camera = camera(&mut world);
            camera.client.peer.send(frame);
            world.sim.run();
            assert_eq!(camera.take(), [Got::Close(Some(code))]);
        }
    }

    #[test]
    fn with_a_close() {
        let mut world = relay();
        let mut camera = camera(&mut world);
        camera.close(camwire_websocket::CloseCode::GOING_AWAY);
        world.sim.run();
        assert_eq!(camera.take(), [Got::Close(Some(1001))]);
        assert_eq!(camera.end(), Err(Disconnect::Closed));
        assert!(!world.ring.has_publisher());
    }

    /// A future that is dropped gives the place back, and viewers stay.
    #[test]
    fn and_may_be_dropped() {
        let mut world = relay();
        let mut viewer = world.watch("/ws");
        let camera = camera(&mut world);
        world.sim.run();
        world.sim.abort(camera.client.served);
        world.sim.run();
        assert!(!world.ring.has_publisher() && !viewer.is_served());
        let mut camera = super::camera(&mut world);
        push(&mut camera, 1, 100);
        world.sim.run();
        assert_eq!(viewer.messages(), [jpeg(100, 1)]);
    }
}

proptest! {
    /// Whatever comes, viewers get whole pictures in order or nothing, and stay.
    #[test]
    fn any_input(
        pieces in prop::collection::vec(
            prop_oneof![
                (0usize..700).prop_map(|len| Err(vec![b'x'; len])),
                (60usize..5000).prop_map(Ok),
            ],
            1..20,
        ),
        cuts in prop::collection::vec(1usize..900, 1..6),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        is_bare in any::<bool>(),
    ) {
        let mut world = relay();
        let mut camera = if is_bare { bare(&mut world) } else { camera(&mut world) };
        let mut viewer = world.watch("/ws?mode=all");
        let mut cuts = cuts.into_iter().cycle();
        camera.client.peer.portion_reads(move |most| cuts.next().unwrap().min(most));
        let mut expected = Vec::new();
        for (number, piece) in (1..).zip(pieces) {
            let picture = match piece {
                Ok(len) => jpeg(len, number),
                Err(junk) => junk,
            };
            if picture.starts_with(b"\xff") && picture.len() <= 4096 {
                expected.push(picture.clone());
            }
            let message = if is_bare { picture } else { message(number, &picture) };
            camera.send(Kind::Binary, &message);
            world.sim.run();
        }
        prop_assert_eq!(viewer.messages(), expected);
        camera.client.peer.send(&noise);
        camera.client.peer.close();
        world.sim.advance(secs(2));
        prop_assert!(camera.is_served());
        prop_assert!(!viewer.is_served());
        prop_assert!(!world.ring.has_publisher());
    }
}
