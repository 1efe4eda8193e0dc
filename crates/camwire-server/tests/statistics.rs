//! `/stats` and `/healthz`: what they say is exactly what happened.

mod harness;

use std::net::SocketAddr;

use camwire_capture::{CaptureConfig, Policy};
use camwire_server::{Config, Cors};
use harness::camera::Outcome;
use harness::http::Part;
use harness::{Client, Plan, RANDOM, World, every, ms, request, secs};
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// `/stats` of viewers must say what the peers saw.
fn check_viewer(viewer: &Value, client: &Client) {
    let stream = client.stream();
    assert_eq!(viewer["sent"], stream.distinct().len());
    assert_eq!(viewer["missed"], stream.parts.iter().map(Part::missed).sum::<u64>());
    assert_eq!(viewer["bytes"], client.peer.written());
}

mod stats {
    use super::*;

    #[test]
    fn before_anything_has_happened() {
        let mut world = World::new();
        let response = world.fetch("/stats");
        assert_eq!(response.field("Content-Type"), Some("application/json"));
        let expected = json!({
            "source": {
                "kind": "plan", "state": "idle", "fps": 0.0, "quiet_ms": 0, "captured": 0, "dropped": 0,
                "width": 0, "slot_bytes": 4096, "height": 0, "errors": 0, "error": null
            },
            "viewers": [],
            "uptime_s": 0.0,
            "time_s": 1_700_005_000.0,
            "clock": "unix"
        });
        assert_eq!(response.json(), expected);
        let mut world = Plan { unix: None, ..Plan::default() }.build();
        let stats = world.stats();
        assert_eq!((&stats["clock"], &stats["time_s"]), (&json!("boot"), &json!(5000.0)));
    }

    #[test]
    fn the_shape_is_the_agreed_one() {
        let mut world = World::new();
        world.camera(every(40, 1000));
        let _viewer = world.get("/stream?fps=5");
        world.sim.advance(secs(10));
        let stats = world.stats();
        for key in ["source", "viewers", "uptime_s"] {
            assert!(keys(&stats).contains(&key), "{key}");
        }
        let source = &stats["source"];
        for key in ["kind", "state", "fps", "quiet_ms", "captured", "dropped", "width", "height"] {
            assert!(keys(source).contains(&key), "{key}");
        }
        let viewer = &stats["viewers"][0];
        for key in ["id", "peer", "transport", "mode", "fps", "sent", "missed", "bytes", "age_ms"] {
            assert!(keys(viewer).contains(&key), "{key}");
        }
        assert_eq!(source["state"], "streaming");
        assert_eq!((&source["width"], &source["height"]), (&json!(640), &json!(480)));
        assert_eq!((&source["fps"], &source["captured"]), (&json!(25.0), &json!(250)));
        assert_eq!((&viewer["transport"], &viewer["mode"]), (&json!("mjpeg"), &json!("live")));
        assert_eq!((&viewer["fps_cap"], &viewer["peer"]), (&json!(5), &Value::Null));
        let fps = viewer["fps"].as_f64().unwrap();
        assert!((4.9..=5.1).contains(&fps), "{fps}");
        assert_eq!(stats["uptime_s"], 10.0);
    }

    #[test]
    fn peers_and_modes() {
        let mut world = World::new();
        let peers = ["192.168.4.7:50123", "[2001:db8::1]:443", "[fe80::1234:5678:9abc:def0]:65535"];
        let targets = ["/stream", "/stream?mode=all", "/stream?fps=29.97"];
        let mut clients = Vec::new();
        for (peer, target) in peers.iter().zip(targets) {
            let client = world.connect_from(Some(peer.parse().unwrap()));
            client.peer.send(request("GET", target));
            world.sim.run();
            clients.push(client);
        }
        let viewers = &world.stats()["viewers"];
        for (n, peer) in peers.iter().enumerate() {
            assert_eq!((&viewers[n]["peer"], &viewers[n]["id"]), (&json!(peer), &json!(n + 1)));
            assert_eq!(viewers[n]["mode"], ["live", "all", "live"][n]);
            assert_eq!(viewers[n]["fps_cap"], [json!(null), json!(null), json!(29.97)][n]);
            assert_eq!(viewers[n]["age_ms"], Value::Null, "it has had none");
        }
        // Who comes later has a place that was left, and a number of its own.
        clients.remove(1).peer.close();
        world.sim.run();
        let _fourth = world.get("/stream");
        let ids: Vec<_> =
            world.stats()["viewers"].as_array().unwrap().iter().map(|v| v["id"].clone()).collect();
        assert_eq!(ids, [json!(1), json!(4), json!(3)]);
    }

    #[test]
    fn counters_are_exact() {
        for policy in [Policy::DropOldest, Policy::DropNewest, Policy::KeepAll] {
            let mut world = Plan::policy(policy).build();
            world.camera(every(33, 3000));
            let clients = [
                world.get("/stream"),
                world.get("/stream?mode=all"),
                world.get("/stream?fps=7"),
                world.get("/stream?advance_headers=1"),
                world.slow("/stream", 1500, 1000, ms(100)),
                world.slow("/stream?fps=10", 1500, 1000, ms(70)),
            ];
            for _ in 0..7 {
                world.sim.advance(ms(3_456));
                let stats = world.stats();
                assert_eq!(stats["source"]["captured"], world.status.captured());
                assert_eq!(stats["source"]["dropped"], world.ring.dropped());
                for (n, client) in clients.iter().enumerate() {
                    let viewer = &stats["viewers"][n];
                    assert_eq!(viewer["bytes"], client.peer.written(), "{policy:?} {n}");
                    if n == 3 {
                        continue; // Its parts carry no numbers.
                    }
                    if client.stream().torn {
                        let missed: u64 = client.stream().parts.iter().map(Part::missed).sum();
                        assert_eq!(viewer["missed"], missed, "{policy:?} {n}");
                        assert_eq!(viewer["sent"], client.stream().distinct().len());
                    } else {
                        check_viewer(viewer, client);
                    }
                }
            }
        }
    }

    #[test]
    fn a_viewer_is_counted_from_zero_in_a_place_that_was_used() {
        let mut world = Plan { viewers: 1, ..Plan::default() }.build();
        world.camera(every(33, 1000));
        for _ in 0..3 {
            let client = world.get("/stream");
            assert_eq!(world.stats()["viewers"][0]["sent"], 0);
            world.sim.advance(secs(1));
            check_viewer(&world.stats()["viewers"][0], &client);
            client.peer.close();
            world.sim.advance(ms(100));
            assert_eq!(world.stats()["viewers"], json!([]));
        }
    }

    #[test]
    fn the_age_is_of_the_picture_not_of_the_sending() {
        let mut world = World::new();
        let camera = world.camera(Outcome::Hang);
        camera.first([every(40, 1000)]);
        let _client = world.get("/stream");
        world.sim.advance(ms(7_040));
        let viewer = &world.stats()["viewers"][0];
        assert_eq!(viewer["age_ms"], 7000, "sending it again makes it no younger");
        assert_eq!(viewer["fps"], 0.0);
    }

    #[test]
    fn whoever_is_no_viewer_is_not_in_the_list() {
        let mut world = World::new();
        world.camera(Outcome::Hang);
        let _silent = world.connect();
        let _capture = world.get("/capture");
        let _refused = world.get("/nothing");
        let _stats = world.get("/stats");
        assert_eq!(world.stats()["viewers"], json!([]));
        assert_eq!(world.stats()["source"]["state"], "starting", "but a capture is demand");
    }

    #[test]
    fn every_state_of_the_source() {
        let mut world = World::new();
        let camera = world.camera(Outcome::Failure(ms(10), "no route".into()));
        let state = |world: &mut World| world.stats()["source"]["state"].clone();
        assert_eq!(state(&mut world), "idle");
        let client = world.get("/stream");
        assert_eq!(state(&mut world), "starting");
        world.sim.advance(ms(50));
        assert_eq!(state(&mut world), "failed");
        assert_eq!(world.stats()["source"]["error"], "no route");
        camera.then_always(every(10, 100));
        world.sim.advance(secs(1));
        assert_eq!(state(&mut world), "streaming");
        client.peer.close();
        world.sim.run();
        assert_eq!(state(&mut world), "idle");
        camera.then_always(Outcome::End);
        let _client = world.get("/stream");
        assert_eq!(state(&mut world), "ended");
    }

    /// Also when its driver hangs and nobody has told the status.
    #[test]
    fn a_source_without_pictures_does_not_pass_for_a_good_one() {
        let mut world = World::new();
        let camera = world.camera(every(40, 1000));
        let _client = world.get("/stream");
        world.sim.advance(secs(10));
        camera.then_always(Outcome::Hang);
        let mut seen = Vec::new();
        for _ in 0..=12 {
            let source = &world.stats()["source"];
            seen.push((source["quiet_ms"].clone(), source["state"].as_str().unwrap().to_owned()));
            world.sim.advance(secs(1));
        }
        for (second, (quiet, state)) in seen.into_iter().enumerate() {
            // The picture that was under way when the camera was told to hang still came.
            assert_eq!(quiet, (second * 1000).saturating_sub(40));
            let expected = match second {
                0..=5 => "streaming",
                6..=10 => "stalled",
                _ => "failed", // The capture loop has given up the first attempt.
            };
            assert_eq!(state, expected, "{second}");
        }
        camera.then_always(every(40, 1000));
        world.sim.advance(secs(20));
        let source = &world.stats()["source"];
        assert_eq!(source["state"], "streaming");
        assert!(source["quiet_ms"].as_u64().unwrap() < 40);
    }

    #[test]
    fn any_error_text_makes_valid_json() {
        let everything: String = (0..=0x7f).map(char::from).collect();
        for text in [
            "say \"no\"",
            "C:\\camera\\1",
            "\\\"",
            "line\r\nbreak\ttab\0nul\u{7f}",
            "\u{e4}\u{20ac}\u{1f4f7}\u{2028}",
            &"\"".repeat(96),
            &"\\".repeat(200),
            &"\u{1f4f7}".repeat(50),
            &everything,
        ] {
            let mut world = World::new();
            world.camera(Outcome::Failure(ms(10), text.into()));
            let _client = world.get("/stream");
            world.sim.advance(ms(10));
            let error = world.stats()["source"]["error"].as_str().unwrap().to_owned();
            let mut expected: String =
                text.chars().map(|c| if c < ' ' { ' ' } else { c }).collect();
            expected.truncate(expected.floor_char_boundary(96));
            assert_eq!(error, expected);
        }
    }

    /// It is given by the program, but a program may name its source after a device or a file.
    #[test]
    fn any_kind_makes_valid_json() {
        use camwire_capture::{FrameRing, SourceStatus};
        use camwire_frame::Instant;
        use camwire_server::Server;
        use harness::time::{Sim, VirtualClock};
        for kind in ["ov2640", "", "file \"a\\b\"", "tab\t", "\u{e4}"] {
            let clock = VirtualClock::new(Instant::ZERO, None);
            let ring = FrameRing::leak(2, 8, 1, Policy::DropOldest).unwrap();
            let status = SourceStatus::new(kind);
            let server = Server::new(ring, &status, &[], &clock, RANDOM, Config::default());
            let (read, write, peer) = harness::wire::wire();
            let mut sim = Sim::new(&clock);
            let _served = sim.spawn(server.serve(read, write, None));
            peer.send(request("GET", "/stats"));
            sim.run();
            let json = harness::http::Response::parse(&peer.answer()).json();
            assert_eq!(json["source"]["kind"], kind.replace('\t', " "));
        }
    }

    /// The pieces that `/stats` is sent in are written into 512 bytes each, and a viewer's line
    /// into what is left of it. Nothing is cut when everything is as long as it can be: what
    /// cannot be brought about here is reckoned from what can.
    #[test]
    fn the_longest_values_fit() {
        /// How much longer a text would be if its numbers were the longest there are.
        fn growth(object: &Value, longest: &[(&str, &str)]) -> usize {
            longest.iter().map(|(key, most)| most.len() - object[key].to_string().len()).sum()
        }
        let most = u32::MAX.to_string();
        let mut config = Config::default();
        config.cors = Cors::AnyOrigin;
        let mut world = Plan { config, viewers: 40, ..Plan::default() }.build();
        let camera = world.camera(every(10, 1000));
        camera.first([Outcome::Failure(ms(1), "\"".repeat(96))]);
        let peer: SocketAddr = "[1234:5678:9abc:def0:1234:5678:9abc:def0]:65535".parse().unwrap();
        let _clients: Vec<_> = (0..40)
            .map(|_| {
                let client = world.connect_from(Some(peer));
                client.peer.send(request("GET", "/stream?fps=999.999"));
                client
            })
            .collect();
        world.sim.advance(secs(20));
        let client = world.get("/stats");
        let stats = client.response().json();
        assert_eq!(stats["viewers"].as_array().unwrap().len(), 40, "of viewers none is cut");
        assert_eq!(stats["source"]["error"], "\"".repeat(96));

        let body = client.response().body;
        let text = std::str::from_utf8(&body).unwrap();
        let (source, rest) = text.split_once("\"viewers\":[").unwrap();
        let source_longest = source.len() + "\"viewers\":[".len()
            + growth(&stats["source"], &[
                ("fps", "1000.0"),
                ("quiet_ms", &most),
                ("captured", &most),
                ("dropped", &most),
                ("width", "65535"),
                ("height", "65535"),
                ("errors", &most),
            ])
            // A name for people, in place of this one; and the longest state.
            + ("esp32-camera ov2640".len() - "plan".len());
        println!("source: at most {source_longest} of 512 bytes");
        assert!(source_longest <= 512);

        // The separator stands before it.
        let line = rest.lines().nth(1).unwrap();
        let viewer_longest = 1
            + line.len()
            + growth(
                &stats["viewers"][0],
                &[
                    ("id", &most),
                    ("fps", "1000.0"),
                    ("sent", &most),
                    ("missed", &most),
                    ("bytes", &u64::MAX.to_string()),
                    ("age_ms", &most),
                ],
            );
        println!("viewer: at most {viewer_longest} bytes");
        assert!(viewer_longest <= 256, "{viewer_longest}: what stats.rs reckons with");
    }

    #[test]
    fn any_number_of_viewers_gives_valid_json() {
        for viewers in 0..30 {
            let mut world = Plan { viewers, ..Plan::default() }.build();
            world.camera(every(10, 1000));
            let _clients: Vec<_> = (0..viewers).map(|_| world.get("/stream")).collect();
            world.sim.advance(ms(viewers as u64 * 37));
            assert_eq!(world.stats()["viewers"].as_array().unwrap().len(), viewers);
        }
    }

    /// While it is sent to somebody slow, viewers come and go.
    #[test]
    fn it_is_valid_json_however_slowly_it_is_taken() {
        let mut world = World::new();
        world.camera(every(33, 1000));
        let mut viewers: Vec<_> = (0..8).map(|_| world.get("/stream")).collect();
        let slow = world.slow("/stats", 10, 7, ms(10));
        for _ in 0..8 {
            world.sim.advance(ms(300));
            viewers.remove(0).peer.close();
            world.sim.run();
            viewers.push(world.get("/stream?mode=all"));
        }
        world.sim.advance(secs(10));
        assert_eq!(slow.end(), Ok(()));
        assert_eq!(keys(&slow.response().json()).len(), 5);
    }

    #[test]
    fn a_rate_that_cannot_be_is_not_said_to_be_none() {
        // Faster than any rate one may ask for: a file read without pacing.
        let mut world = World::new();
        world.camera(Outcome::Picture(std::time::Duration::from_micros(500), 100));
        let _client = world.get("/stream");
        world.sim.advance(secs(1));
        let fps = world.stats()["source"]["fps"].as_f64().unwrap();
        assert!(fps >= 1000.0, "2000 pictures a second, but fps is {fps}");
    }
}

mod health {
    use super::*;

    fn health(world: &mut World) -> (u16, String) {
        let response = world.get("/healthz").response();
        assert_eq!(response.number("Content-Length"), response.body.len() as u64);
        (response.status, response.text().to_owned())
    }

    fn well() -> (u16, String) {
        (200, "ok\n".into())
    }

    fn ill() -> (u16, String) {
        (503, "frames are wanted and none come\n".into())
    }

    #[test]
    fn it_is_well_when_nobody_wants_pictures() {
        let mut world = World::new();
        let camera = world.camera(Outcome::Hang);
        world.sim.advance(secs(3600));
        assert_eq!(health(&mut world), well());
        // Also if there was something wrong when somebody wanted some.
        let client = world.get("/stream");
        world.sim.advance(secs(60));
        assert_eq!(health(&mut world), ill());
        client.peer.close();
        world.sim.run();
        assert_eq!(health(&mut world), well());
        assert_eq!(camera.times_of(harness::camera::Call::Pause).len(), 1);
        assert_eq!(world.ring.readers(), 0, "asking is no demand");
    }

    #[test]
    fn it_is_ill_after_the_deadline_and_well_with_the_next_picture() {
        let mut world = World::new();
        let camera = world.camera(every(33, 1000));
        let _client = world.get("/stream");
        world.sim.advance(secs(60));
        assert_eq!(health(&mut world), well());
        camera.then_always(Outcome::Failure(ms(10), "no route".into()));
        world.sim.advance(ms(4_900));
        assert_eq!(health(&mut world), well());
        world.sim.advance(ms(150));
        assert_eq!(health(&mut world), ill());
        world.sim.advance(secs(3600));
        assert_eq!(health(&mut world), ill());
        camera.then_always(every(33, 1000));
        world.sim.advance(secs(6));
        assert_eq!(health(&mut world), well());
    }

    #[test]
    fn a_camera_that_never_starts_is_ill() {
        for outcome in [Outcome::Hang, Outcome::Broken, Outcome::TooLarge(1 << 20)] {
            let mut world = World::new();
            world.camera(outcome);
            let _client = world.get("/stream");
            world.sim.advance(ms(5_000));
            assert_eq!(health(&mut world), well(), "it has until the deadline");
            world.sim.advance(ms(1));
            assert_eq!(health(&mut world), ill());
        }
    }

    #[test]
    fn the_deadline_can_be_set() {
        let mut world = Plan::configured(|config| config.health_deadline = ms(700)).build();
        world.camera(Outcome::Hang);
        let _client = world.get("/stream");
        world.sim.advance(ms(700));
        assert_eq!(health(&mut world), well());
        world.sim.advance(ms(1));
        assert_eq!(health(&mut world), ill());
    }

    #[test]
    fn a_viewer_that_comes_after_an_idle_hour_has_the_whole_deadline() {
        let mut world = World::new();
        let camera = world.camera(every(33, 1000));
        let client = world.get("/stream");
        world.sim.advance(secs(1));
        client.peer.close();
        camera.then_always(Outcome::Hang);
        world.sim.advance(secs(3600));
        let _client = world.get("/stream");
        assert_eq!(health(&mut world), well());
        world.sim.advance(ms(5_001));
        assert_eq!(health(&mut world), ill());
    }

    #[test]
    fn slots_that_are_all_leased_do_not_make_it_ill() {
        let mut world = Plan { slots: 2, ..Plan::default() }.build();
        world.camera_with(every(33, 3000), CaptureConfig::default());
        let _good = world.get("/stream");
        for _ in 0..20 {
            let bad = world.connect();
            bad.peer.set_capacity(1000);
            bad.peer.send(request("GET", "/stream"));
            world.sim.advance(ms(1000));
            assert_eq!(health(&mut world), well());
        }
    }

    /// `quiet()` is zero if nobody wants any, says its documentation.
    #[test]
    fn a_source_that_has_ended_is_not_ill_while_nobody_wants_it() {
        let mut world = World::new();
        world.camera(Outcome::End);
        let client = world.get("/stream");
        assert_eq!(client.end(), Ok(()));
        world.sim.advance(secs(60));
        assert_eq!(health(&mut world), well());
    }
}
