//! Pictures as messages of a WebSocket: who is let in, what comes, and how it ends.

mod harness;

use camwire_capture::Policy;
use camwire_server::{Cors, Disconnect};
use camwire_websocket::{ClientRequest, CloseCode, Kind};
use harness::camera::{Outcome, picture};
use harness::http::Response;
use harness::websocket::{Got, Viewer, bytes, request};
use harness::wire::Fault;
use harness::{Plan, UNIX, World, every, ms, secs};
use proptest::prelude::*;

/// The picture is whole; says which one the camera drew.
fn drawn(message: &[u8]) -> u64 {
    let number = u64::from_be_bytes(*message.first_chunk().expect("it has a number"));
    assert!(message == picture(message.len(), number), "picture {number} is torn");
    number
}

mod bytes_on_the_wire {
    use super::*;

    /// The request of RFC 6455, section 1.3, and frames made by hand.
    #[test]
    fn by_hand() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let client = world.connect();
        client.peer.send(
            "GET /ws HTTP/1.1\r\n\
             Host: server.example.com\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Origin: http://server.example.com\r\n\
             Sec-WebSocket-Protocol: chat, superchat\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n",
        );
        world.sim.run();
        let mut expected = b"HTTP/1.1 101 Switching Protocols\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_vec();
        assert_eq!(client.peer.answer(), expected);
        assert_eq!(client.peer.flushed(), expected.len());
        let frames: [(&[u8], usize); 4] = [
            (b"\x82\x00", 0),
            (b"\x82\x7d", 125),
            (b"\x82\x7e\x00\x7e", 126),
            (b"\x82\x7e\x10\x00", 4096),
        ];
        for (head, len) in frames {
            world.sim.advance(ms(40));
            hand.publish(len);
            world.sim.run();
            expected.extend(head);
            expected.extend(picture(len, world.now().as_micros()));
            assert_eq!(client.peer.answer(), expected);
            assert_eq!(client.peer.flushed(), expected.len());
        }
        // A Ping with "hi", byte by byte.
        for byte in *b"\x89\x82\x01\x02\x03\x04ik" {
            client.peer.send([byte]);
            world.sim.run();
        }
        expected.extend(b"\x8a\x02hi");
        assert_eq!(client.peer.answer(), expected);
        // The source ends.
        drop(hand);
        world.sim.run();
        expected.extend(b"\x88\x02\x03\xe9");
        assert_eq!(client.peer.answer(), expected);
        assert!(!client.is_served(), "it waits for the client's Close");
        client.peer.send(b"\x88\x82\x00\x00\x00\x00\x03\xe9");
        world.sim.run();
        assert_eq!(client.end(), Ok(()));
        assert_eq!(client.peer.answer(), expected);
    }

    #[test]
    fn a_picture_is_one_write() {
        let mut world = World::new();
        world.camera(every(40, 4096));
        let mut viewer = world.watch("/ws");
        let before = viewer.client.peer.attempts();
        world.sim.advance(ms(400));
        assert_eq!(viewer.messages().len(), 10);
        assert_eq!(viewer.client.peer.attempts() - before, 10);
    }
}

mod the_door {
    use super::*;

    /// The whole answer to a request that is refused.
    fn refused(world: &mut World, head: &[u8]) -> String {
        let client = world.connect();
        client.peer.send(head);
        world.sim.run();
        client.peer.close();
        world.sim.run();
        assert_eq!(client.end(), Ok(()));
        assert_eq!(world.ring.readers(), 0);
        String::from_utf8(client.peer.answer()).unwrap()
    }

    fn head(target: &str) -> String {
        String::from_utf8(bytes(&request(target))).unwrap()
    }

    #[test]
    fn is_at_ws_and_at_the_page_for_who_wants_one() {
        let mut world = World::new();
        world.camera(every(40, 100));
        for target in ["/ws", "/", "/?x=1", "/ws?fps=50", "/ws?mode=all&_cb=1"] {
            let mut viewer = world.watch(target);
            world.sim.advance(ms(400));
            assert!(viewer.messages().len() >= 9, "{target}");
        }
        assert!(world.fetch("/").text().contains("<html"), "the page is there as before");
        // Elsewhere it is refused: a page of any origin can open WebSockets to any address.
        let client = world.connect();
        client.peer.send(head("/healthz"));
        world.sim.run();
        assert_eq!(client.response().status, 400);
    }

    #[test]
    fn refuses_what_is_no_handshake() {
        let mut world = World::new();
        let upgrade = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n";
        let good = head("/ws");
        let without = |line: &str| {
            let cut = good.replace(&format!("{line}\r\n"), "");
            assert_ne!(cut, good);
            cut
        };
        for (head, status, fields, reason) in [
            (
                without("Upgrade: websocket"),
                "426 Upgrade Required",
                upgrade,
                "Upgrade must name websocket",
            ),
            (
                good.replace("Version: 13", "Version: 8"),
                "426 Upgrade Required",
                upgrade,
                "Sec-WebSocket-Version must be 13",
            ),
            (without("Connection: Upgrade"), "400 Bad Request", "", "Connection must name Upgrade"),
            (without("Host: camera.local"), "400 Bad Request", "", "there must be one Host"),
            (
                good.replace("Key: ", "Key: x"),
                "400 Bad Request",
                "",
                "there must be one Sec-WebSocket-Key of 16 bytes",
            ),
            (
                good.replace("HTTP/1.1", "HTTP/1.0"),
                "400 Bad Request",
                "",
                "the request is malformed",
            ),
            (
                good.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n"),
                "400 Bad Request",
                "",
                "the request must have no body",
            ),
            (
                good.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
                "400 Bad Request",
                "",
                "the request must have no body",
            ),
            (format!("{good}\u{1}"), "400 Bad Request", "", "the request must have no body"),
            // In answer to HEAD, the text is left out.
            (good.replace("GET /ws", "HEAD /"), "405 Method Not Allowed", "Allow: GET\r\n", ""),
            (
                good.replace("\r\n\r\n", "\r\nOrigin: http://evil.example\r\n\r\n"),
                "403 Forbidden",
                "",
                "not allowed",
            ),
        ] {
            let answer = refused(&mut world, head.as_bytes());
            let connection = if status.starts_with("426") { "Upgrade, close" } else { "close" };
            let length = if reason.is_empty() { "the method must be GET" } else { reason }.len();
            let expected = format!(
                "HTTP/1.1 {status}\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n\
                 Cache-Control: no-store\r\n\
                 Connection: {connection}\r\n\
                 X-Content-Type-Options: nosniff\r\n\
                 Content-Security-Policy: default-src 'none'; sandbox\r\n\
                 Content-Length: {length}\r\n\
                 {fields}\r\n\
                 {reason}"
            );
            assert_eq!(answer, expected, "{head}");
        }
        for (head, status) in [
            (good.replace("GET", "POST"), 405),
            (good.replace("GET", "HEAD"), 405),
            (head("/ws?fps=fast"), 400),
            (head("/?mode=some"), 400),
            (head("/wss"), 404),
            (good.replace("\r\n\r\n", &format!("\r\nSec-WebSocket-X: {:600}\r\n\r\n", "")), 431),
            (good.replace("Host: ", &format!("Host: {}", "a".repeat(600))), 431),
        ] {
            let answer = refused(&mut world, head.as_bytes());
            assert_eq!(Response::parse(answer.as_bytes()).status, status, "{head}");
        }
        assert_eq!(world.status.captured(), 0);
    }

    #[test]
    fn looks_at_where_the_page_comes_from() {
        let is_let_in = |world: &mut World, origin: &str| {
            let client = world.connect();
            client.peer.send(bytes(&request_from(origin)));
            world.sim.run();
            client.response().status == 101
        };
        let mut world = World::new();
        assert!(is_let_in(&mut world, "http://camera.local"));
        // `Host` has no port, perhaps since a proxy has left it out.
        assert!(is_let_in(&mut world, "https://camera.local:8443"));
        assert!(!is_let_in(&mut world, "http://evil.example"));
        assert!(!is_let_in(&mut world, "null"));
        let mut world = Plan::configured(|c| c.origins = &["http://evil.example"]).build();
        assert!(is_let_in(&mut world, "http://evil.example"));
        assert!(!is_let_in(&mut world, "http://other.example"));
        let mut world = Plan::configured(|c| c.cors = Cors::AnyOrigin).build();
        assert!(!is_let_in(&mut world, "http://other.example"), "that is for HTTP");
    }

    fn request_from(origin: &str) -> ClientRequest<'_> {
        ClientRequest { origin: Some(origin), ..request("/ws") }
    }

    #[test]
    fn is_shut_when_every_place_is_taken() {
        let mut world = Plan { viewers: 1, ..Plan::default() }.build();
        let first = world.watch("/ws");
        let second = world.connect();
        second.peer.send(bytes(&request("/ws")));
        world.sim.run();
        assert_eq!(second.response().status, 503);
        assert_eq!(second.response().field("Retry-After"), Some("5"));
        first.client.peer.close();
        world.sim.run();
        drop(world.watch("/ws"));
    }

    #[test]
    fn the_head_may_come_in_any_pieces() {
        let head = bytes(&request_from("http://camera.local"));
        for cut in 1..head.len() {
            let mut world = World::new();
            let client = world.connect();
            client.peer.portion_reads(move |most| most.min(1 + cut % 7));
            client.peer.send(&head[..cut]);
            world.sim.run();
            assert_eq!(client.peer.written(), 0);
            client.peer.send(&head[cut..]);
            world.sim.run();
            assert_eq!(client.response().status, 101);
        }
    }
}

mod pictures {
    use super::*;

    #[test]
    fn are_binary_messages_and_nothing_else() {
        let mut world = World::new();
        world.camera(every(40, 1000));
        let mut viewer = world.watch("/ws");
        world.sim.advance(ms(4000));
        let got = viewer.take();
        assert!(got.iter().all(|got| matches!(got, Got::Binary(_))), "no Ping before 5 s");
        let numbers: Vec<_> = got
            .iter()
            .map(|got| if let Got::Binary(picture) = got { drawn(picture) } else { 0 })
            .collect();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn of_a_slow_viewer_are_the_newest() {
        let mut world = World::new();
        world.camera(every(40, 1000));
        let mut viewer = world.watch("/ws");
        viewer.client.peer.take(usize::MAX >> 1);
        viewer.client.peer.set_capacity(500);
        world.sim.advance(ms(1010));
        assert!(viewer.messages().is_empty());
        viewer.client.peer.set_capacity(usize::MAX);
        world.sim.advance(ms(40));
        let numbers: Vec<_> = viewer.messages().iter().map(|message| drawn(message)).collect();
        assert_eq!(numbers, [1, 25, 26]);
        let stats = world.stats();
        assert_eq!(stats["viewers"][0]["missed"], 23);
    }

    #[test]
    fn come_as_they_were_asked_for() {
        let mut world = World::new();
        world.camera(every(40, 100));
        let mut capped = world.watch("/ws?fps=5");
        let mut all = world.watch("/?mode=all");
        world.sim.advance(secs(4));
        assert!((20..=21).contains(&capped.messages().len()));
        assert_eq!(all.messages().len(), 100);
        let stats = world.stats();
        let (a, b) = (&stats["viewers"][0], &stats["viewers"][1]);
        assert_eq!(a["transport"], "websocket");
        assert_eq!(a["fps_cap"].as_f64(), Some(5.0));
        assert_eq!((&b["mode"], &b["sent"]), (&"all".into(), &100.into()));
        assert_eq!(b["bytes"].as_u64().unwrap() as usize, all.client.peer.written());
    }

    #[test]
    fn are_not_sent_again() {
        let mut world = World::new();
        world.camera(Outcome::Hang).first([every(40, 100), every(40, 100)]);
        let mut viewer = world.watch("/ws");
        let mut capped = world.watch("/ws?fps=2");
        for _ in 0..20 {
            world.sim.advance(secs(1));
            let (got, capped) = (viewer.messages().len(), capped.messages().len());
            assert!(got == 0 || world.now() == harness::START + secs(1));
            assert!(capped == 0 || world.now() <= harness::START + secs(2));
        }
        let stats = world.stats();
        assert_eq!(
            (&stats["viewers"][0]["sent"], &stats["viewers"][1]["sent"]),
            (&2.into(), &2.into())
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        /// Whatever the transport takes at once, and whatever the viewer says meanwhile: messages
        /// are whole, and what is between them are answers.
        #[test]
        fn are_whole_over_any_transport(
            capacity in 20usize..3000,
            takes in proptest::collection::vec((20usize..4000, 1u64..100), 1..8),
            writes in proptest::collection::vec(1usize..3000, 1..8),
            reads in proptest::collection::vec(1usize..40, 1..8),
            len in 8usize..3000,
        ) {
            let mut world = Plan::policy(Policy::DropOldest).build();
            world.camera(every(30, len));
            let client = world.connect();
            client.peer.send(bytes(&request("/ws")));
            world.sim.run();
            let mut viewer = Viewer::of(client, &request("/ws"));
            let peer = viewer.client.peer.clone();
            peer.take(usize::MAX >> 1);
            peer.set_capacity(capacity);
            let (mut writes, mut reads) = (writes.into_iter().cycle(), reads.into_iter().cycle());
            peer.portion_writes(move |most| writes.next().unwrap().min(most));
            peer.portion_reads(move |most| reads.next().unwrap().min(most));
            let mut numbers = Vec::new();
            let mut pongs = 0;
            for (n, (bytes, pause)) in takes.into_iter().cycle().take(120).enumerate() {
                if n % 5 == 0 {
                    viewer.ping(&[b'a'; 100]);
                    viewer.send(Kind::Text, "plain \u{e4}".as_bytes());
                }
                world.sim.advance(ms(pause));
                peer.take(bytes);
                for got in viewer.take() {
                    match got {
                        Got::Binary(message) => numbers.push(drawn(&message)),
                        Got::Pong(payload) => {
                            prop_assert_eq!(payload, [b'a'; 100]);
                            pongs += 1;
                        }
                        Got::Ping(_) => {}
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
            }
            prop_assert!(numbers.is_sorted());
            prop_assert!(pongs <= 24);
            prop_assert!(!viewer.is_served());
        }
    }
}

mod the_other_direction {
    use super::*;

    #[test]
    fn is_read_while_a_picture_is_on_its_way() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let mut viewer = world.watch("/ws");
        viewer.client.peer.take(usize::MAX >> 1);
        viewer.client.peer.set_capacity(100);
        hand.publish(4000);
        world.sim.run();
        viewer.ping(b"first");
        viewer.ping(b"last");
        world.sim.run();
        assert_eq!(viewer.client.peer.unread(), 0);
        viewer.client.peer.set_capacity(usize::MAX);
        world.sim.run();
        let got = viewer.take();
        assert_eq!(got.len(), 2);
        assert!(matches!(&got[0], Got::Binary(message) if message.len() == 4000));
        assert_eq!(got[1], Got::Pong(b"last".to_vec()), "only the last one needs an answer");
    }

    #[test]
    fn messages_are_ignored_up_to_a_limit() {
        let mut world = World::new();
        world.camera(every(40, 100));
        let mut viewer = world.watch("/ws");
        for (kind, message) in [
            (Kind::Text, &b"hello"[..]),
            (Kind::Binary, &[0; 4096]),
            (Kind::Text, b""),
            (Kind::Text, "{\"type\":\"start\"}".as_bytes()),
        ] {
            viewer.send(kind, message);
            world.sim.advance(ms(40));
            assert_eq!(viewer.messages().len(), 1);
        }
        viewer.send(Kind::Binary, &[0; 4097]);
        world.sim.run();
        assert_eq!(viewer.take(), [Got::Close(Some(1009))]);
        viewer.client.peer.close();
        world.sim.run();
        assert_eq!(viewer.end(), Err(Disconnect::Protocol));
    }

    #[test]
    fn a_close_is_answered() {
        for (busy, code) in [(false, 1000), (true, 1001)] {
            let mut world = World::new();
            let mut hand = world.publisher();
            let mut viewer = world.watch("/ws");
            let mut expected = Vec::new();
            if busy {
                viewer.client.peer.take(usize::MAX >> 1);
                viewer.client.peer.set_capacity(50);
                hand.publish(1000);
                world.sim.run();
                expected.push(Got::Binary(picture(1000, world.now().as_micros())));
            }
            viewer.close(CloseCode::new(code).unwrap());
            world.sim.run();
            assert_eq!(viewer.is_served(), !busy, "a picture that has begun is finished");
            viewer.client.peer.set_capacity(usize::MAX);
            world.sim.run();
            hand.publish(10);
            world.sim.run();
            expected.push(Got::Close(Some(code)));
            assert_eq!(viewer.take(), expected);
            assert_eq!(viewer.end(), Err(Disconnect::Closed));
            assert_eq!(world.ring.readers(), 0);
        }
    }

    #[test]
    fn who_breaks_a_rule_is_told_so() {
        let cases: [(&[u8], u16); 5] = [
            (b"\x82\x00", 1002),                                 // not masked
            (b"\xc2\x80keys", 1002),                             // a reserved bit
            (b"\x83\x80keys", 1002),                             // a reserved opcode
            (b"\x81\x81\x00\x00\x00\x00\xff", 1007),             // no UTF-8
            (b"\x82\xff\x00\x00\x00\x01\x00\x00\x00\x00", 1009), // 4 GiB
        ];
        for (frame, code) in cases {
            for cut in 1..frame.len() {
                let mut world = World::new();
                world.camera(every(40, 100));
                let mut viewer = world.watch("/ws");
                viewer.client.peer.send(&frame[..cut]);
                world.sim.run();
                viewer.client.peer.send(&frame[cut..]);
                world.sim.run();
                assert_eq!(viewer.take(), [Got::Close(Some(code))], "{frame:02x?}");
                assert_eq!(world.ring.readers(), 0);
                assert!(!viewer.is_served(), "what still comes is read, for a second");
                world.sim.advance(secs(1));
                assert_eq!(viewer.end(), Err(Disconnect::Protocol));
            }
        }
    }

    #[test]
    fn who_leaves_is_noticed_at_once() {
        for len in [0, 3000] {
            let mut world = World::new();
            let mut hand = world.publisher();
            let viewer = world.watch("/ws");
            viewer.client.peer.take(usize::MAX >> 1);
            viewer.client.peer.set_capacity(100);
            hand.publish(len);
            world.sim.run();
            viewer.client.peer.close();
            world.sim.run();
            assert_eq!(viewer.end(), Err(Disconnect::Closed));
        }
    }

    #[test]
    fn who_answers_no_ping_is_gone() {
        for outcome in [Outcome::Hang, every(40, 100)] {
            let mut world = World::new();
            world.camera(outcome);
            let mut dead = world.watch("/ws");
            dead.answers = false;
            let mut alive = world.watch("/ws");
            let mut says_something = world.watch("/ws");
            says_something.answers = false;
            for second in 0..35 {
                assert!(!dead.is_served(), "at {second} s");
                world.sim.advance(secs(1));
                alive.take();
                if second % 20 == 0 {
                    says_something.send(Kind::Text, b"!");
                }
            }
            world.sim.run();
            assert_eq!(dead.end(), Err(Disconnect::Silent));
            let pings = dead.take().into_iter().filter(|got| matches!(got, Got::Ping(_))).count();
            assert_eq!(pings, 6);
            assert!(!alive.is_served() && !says_something.is_served());
        }
    }

    #[test]
    fn who_does_not_answer_the_close_is_waited_for_a_second() {
        let mut world = World::new();
        let hand = world.publisher();
        let mut viewer = world.watch("/ws");
        viewer.answers = false;
        drop(hand);
        world.sim.advance(ms(999));
        assert_eq!(viewer.take(), [Got::Close(Some(1001))]);
        assert!(!viewer.is_served());
        world.sim.advance(ms(1));
        assert_eq!(viewer.end(), Ok(()));
    }

    #[test]
    fn stalls_and_faults_end_it() {
        let mut world = World::new();
        world.camera(every(40, 3000));
        let stalled = world.watch("/ws");
        stalled.client.peer.take(usize::MAX >> 1);
        stalled.client.peer.set_capacity(1000);
        let broken = world.watch("/ws");
        let written = broken.client.peer.written();
        broken.client.peer.fail_after(written + 100, Fault::Error);
        world.sim.advance(ms(50));
        assert!(matches!(broken.end(), Err(Disconnect::Transport(_))));
        world.sim.advance(secs(10));
        assert_eq!(stalled.end(), Err(Disconnect::Stalled));
    }
}

mod camwire_v1 {
    use super::*;

    fn request_v1(target: &str) -> ClientRequest<'_> {
        ClientRequest { protocols: &["other", "camwire.v1"], ..request(target) }
    }

    fn watch(world: &mut World, target: &str) -> Viewer {
        let viewer = world.watch_as(&request_v1(target));
        assert_eq!(viewer.protocol, Some("camwire.v1"));
        viewer
    }

    fn acknowledge(viewer: &mut Viewer, number: u64) {
        viewer.send(Kind::Binary, &[&[1][..], &number.to_be_bytes()].concat());
    }

    /// Number and missed count of each message; the picture behind the head is whole.
    fn numbers(viewer: &mut Viewer) -> Vec<(u64, u32)> {
        let number = |message: &Vec<u8>| {
            let (head, picture) = message.split_at(24);
            drawn(picture);
            assert_eq!(&head[..4], [1, 1, 0, 24]);
            let sequence = u64::from_be_bytes(head[8..16].try_into().unwrap());
            (sequence, u32::from_be_bytes(head[4..8].try_into().unwrap()))
        };
        viewer.messages().iter().map(number).collect()
    }

    #[test]
    fn has_a_head_before_each_picture() {
        for unix in [Some(UNIX), None] {
            let mut world = Plan { unix, ..Plan::default() }.build();
            let mut hand = world.publisher();
            let mut viewer = watch(&mut world, "/ws");
            hand.publisher.skip();
            for (number, missed, len) in [(2_u64, 0_u32, 1000), (3, 0, 102), (6, 2, 4096)] {
                world.sim.advance(ms(40));
                if missed > 0 {
                    hand.publisher.skip();
                    hand.publisher.skip();
                }
                assert_eq!(hand.publish(len), number);
                let now = world.now().as_micros();
                world.sim.advance(ms(7));
                let head = [
                    &[1, u8::from(unix.is_some()), 0, 24][..],
                    &missed.to_be_bytes(),
                    &number.to_be_bytes(),
                    &(now + unix.unwrap_or(0)).to_be_bytes(),
                ];
                let got = viewer.messages();
                // What was skipped before the first picture was not missed by anybody.
                assert_eq!(got, [[&head.concat()[..], &picture(len, now)].concat()]);
            }
        }
    }

    #[test]
    fn is_only_for_who_asks() {
        let mut world = World::new();
        world.camera(every(40, 100));
        let other = ClientRequest { protocols: &["camwire.v2"], ..request("/ws?credit=1") };
        let mut viewer = world.watch_as(&other);
        assert_eq!(viewer.protocol, None);
        world.sim.advance(ms(200));
        let messages = viewer.messages();
        assert_eq!(messages.len(), 5, "and no credit without it");
        messages.iter().for_each(|message| assert!(drawn(message) > 0));
    }

    #[test]
    fn never_more_than_the_credit_is_in_flight() {
        for credit in 1..=8 {
            let mut world = World::new();
            world.camera(every(40, 100));
            let mut viewer = watch(&mut world, &format!("/ws?credit={credit}"));
            world.sim.advance(secs(2));
            let got = numbers(&mut viewer);
            assert_eq!(got, (1..=credit).map(|number| (number, 0)).collect::<Vec<_>>());
            // A minute later, alive but still busy.
            for _ in 0..60 {
                world.sim.advance(secs(1));
                assert_eq!(numbers(&mut viewer), []);
            }
            // It picks up with the newest: 62 s are 1550 pictures.
            acknowledge(&mut viewer, 1);
            world.sim.run();
            assert_eq!(numbers(&mut viewer), [(1550, 1549 - credit as u32)]);
            world.sim.advance(ms(400));
            assert_eq!(numbers(&mut viewer), []);
            // All at once.
            acknowledge(&mut viewer, 1550);
            world.sim.advance(ms(4000));
            assert_eq!(numbers(&mut viewer).len() as u64, credit);
        }
    }

    #[test]
    fn who_acknowledges_gets_all_there_are() {
        let mut world = World::new();
        world.camera(every(40, 1000));
        let mut viewer = watch(&mut world, "/ws?credit=1");
        let mut unlimited = watch(&mut world, "/ws");
        for number in 1..=50 {
            world.sim.advance(ms(40));
            assert_eq!(numbers(&mut viewer), [(number, 0)]);
            acknowledge(&mut viewer, number);
            acknowledge(&mut viewer, number); // Twice is no harm.
            world.sim.run();
        }
        assert_eq!(numbers(&mut unlimited).len(), 50);
        acknowledge(&mut unlimited, 7);
        world.sim.run();
        assert!(!unlimited.is_served());
    }

    #[test]
    fn who_has_no_credit_left_is_told_of_the_end() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let mut viewer = watch(&mut world, "/ws?credit=1");
        hand.publish(100);
        world.sim.run();
        assert_eq!(numbers(&mut viewer), [(1, 0)]);
        world.sim.advance(ms(100));
        drop(hand);
        world.sim.advance(ms(1000));
        assert_eq!(viewer.take(), [Got::Close(Some(1001))]);
        world.sim.advance(ms(1000));
        assert_eq!(viewer.end(), Ok(()));
    }

    #[test]
    fn an_acknowledgement_may_come_in_any_pieces_even_during_a_picture() {
        for cut in 0..15 {
            let mut world = World::new();
            let mut hand = world.publisher();
            let mut viewer = watch(&mut world, "/ws?credit=2");
            hand.publish(100);
            world.sim.run();
            viewer.client.peer.take(usize::MAX >> 1);
            viewer.client.peer.set_capacity(50);
            hand.publish(1000);
            world.sim.run();
            let frame = b"\x82\x89\0\0\0\0\x01\0\0\0\0\0\0\0\x01";
            viewer.client.peer.send(&frame[..cut]);
            world.sim.run();
            viewer.client.peer.send(&frame[cut..]);
            world.sim.run();
            assert_eq!(viewer.client.peer.unread(), 0);
            hand.publish(100);
            viewer.client.peer.set_capacity(usize::MAX);
            world.sim.run();
            assert_eq!(numbers(&mut viewer), [(1, 0), (2, 0), (3, 0)]);
            hand.publish(100);
            world.sim.run();
            assert_eq!(numbers(&mut viewer), []);
        }
    }

    #[test]
    fn whatever_else_is_said_is_against_the_rules() {
        let right = [&[1][..], &1_u64.to_be_bytes()].concat();
        let future = [&[1][..], &2_u64.to_be_bytes()].concat();
        let wrong: [(Kind, &[u8]); 7] = [
            (Kind::Text, b"hello"),
            (Kind::Binary, b""),
            (Kind::Binary, &right[..8]),
            (Kind::Binary, &[&right[..], b"x"].concat()),
            (Kind::Binary, &[0; 9]),
            (Kind::Binary, &future),
            (Kind::Text, &[1, 0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        for (kind, message) in wrong {
            for credit in ["", "?credit=2"] {
                let mut world = World::new();
                let mut hand = world.publisher();
                let mut viewer = watch(&mut world, &format!("/ws{credit}"));
                hand.publish(100);
                world.sim.run();
                assert_eq!(numbers(&mut viewer), [(1, 0)]);
                viewer.send(Kind::Binary, &right);
                world.sim.run();
                assert!(viewer.take().is_empty());
                viewer.send(kind, message);
                world.sim.run();
                assert_eq!(viewer.take(), [Got::Close(Some(1008))], "{message:?}");
                viewer.client.peer.close();
                world.sim.run();
                assert_eq!(viewer.end(), Err(Disconnect::Protocol));
            }
        }
    }

    /// Such a viewer holds the camera back, so not forever.
    #[test]
    fn who_wants_all_and_does_not_acknowledge_is_dropped() {
        let mut world = Plan::policy(Policy::KeepAll).build();
        world.camera(every(40, 100));
        let mut viewer = watch(&mut world, "/ws?mode=all&credit=2");
        let mut live = watch(&mut world, "/ws?credit=2");
        world.sim.advance(secs(9));
        assert_eq!(numbers(&mut viewer), [(1, 0), (2, 0)]);
        assert!(!viewer.is_served());
        acknowledge(&mut viewer, 1);
        world.sim.advance(secs(9));
        assert!(!viewer.is_served(), "it has made progress");
        assert_eq!(numbers(&mut viewer), [(3, 0)]);
        live.take();
        world.sim.advance(secs(2));
        assert_eq!(viewer.end(), Err(Disconnect::Stalled));
        assert!(!live.is_served());
    }
}
