//! Every path, and what is said to requests that are refused.

mod harness;

use std::time::Duration;

use camwire_capture::Policy;
use camwire_frame::Instant;
use camwire_server::{Config, Cors, Disconnect, HEAD_MAX, LINE_MAX};
use harness::camera::Outcome;
use harness::http::Response;
use harness::{Plan, UNIX, World, every, ms, request, secs};

/// What the server answers at once to bytes that come in these pieces.
fn answer_to(config: Config, pieces: &[&[u8]]) -> Vec<u8> {
    let mut world = Plan { config, ..Plan::default() }.build();
    let mut hand = world.publisher();
    hand.publish(100);
    let client = world.connect();
    for piece in pieces {
        client.peer.send(piece);
        world.sim.run();
    }
    // A refusal waits for what the peer still sends; a capture waits for its picture.
    world.sim.advance(ms(100));
    hand.publish(200);
    world.sim.run();
    client.peer.close();
    world.sim.run();
    client.peer.answer()
}

fn cors() -> Config {
    let mut config = Config::default();
    config.cors = Cors::AnyOrigin;
    config
}

const TARGETS: [&str; 9] = [
    "/",
    "/stream",
    "/mjpeg/1",
    "/stream?fps=5&advance_headers=1",
    "/capture",
    "/jpg",
    "/stats",
    "/healthz",
    "/nothing",
];

mod heads {
    use super::*;

    #[test]
    fn every_cut_gets_the_same_answer() {
        for target in TARGETS {
            let head = format!(
                "\r\nGET {target} HTTP/1.1\r\nHost: camera.local:8080\r\n\
                 User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n\r\n"
            );
            let head = head.as_bytes();
            let whole = answer_to(Config::default(), &[head]);
            assert!(!whole.is_empty());
            let bytes: Vec<_> = head.chunks(1).collect();
            assert_eq!(answer_to(Config::default(), &bytes), whole, "{target} byte by byte");
            for at in 1..head.len() {
                let (a, b) = head.split_at(at);
                assert_eq!(answer_to(Config::default(), &[a, b]), whole, "{target} cut at {at}");
            }
        }
    }

    #[test]
    fn refusals_are_the_same_at_every_cut() {
        let long_line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LINE_MAX));
        for head in [
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "POST /stream HTTP/1.1\r\nHost: a\r\n\r\n",
            "\x16\x03\x01\x02\0\x01\0\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            &long_line,
        ] {
            let head = head.as_bytes();
            let whole = answer_to(Config::default(), &[head]);
            assert!(Response::parse(&whole).status >= 400);
            let bytes: Vec<_> = head.chunks(1).collect();
            assert_eq!(answer_to(Config::default(), &bytes), whole);
            for at in 1..head.len() {
                let (a, b) = head.split_at(at);
                assert_eq!(answer_to(Config::default(), &[a, b]), whole, "cut at {at}");
            }
        }
    }

    #[test]
    fn line_feeds_alone_and_the_absolute_form_will_do() {
        let usual = answer_to(Config::default(), &[b"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n"]);
        for head in [
            "GET /healthz HTTP/1.0\n\n",
            "GET /healthz?cache=no HTTP/1.1\nHost: a\n\n",
            "GET http://camera.local/healthz HTTP/1.1\r\nHost: camera.local\r\n\r\n",
        ] {
            assert_eq!(answer_to(Config::default(), &[head.as_bytes()]), usual, "{head:?}");
        }
    }

    #[test]
    fn the_largest_head_is_taken_and_a_larger_one_refused() {
        let line = "GET /healthz HTTP/1.1\r\nHost: a\r\n";
        let fill = |len: usize| format!("{line}A: {}\r\n\r\n", "b".repeat(len - line.len() - 7));
        let most = fill(HEAD_MAX);
        assert_eq!(most.len(), HEAD_MAX);
        let response = Response::parse(&answer_to(Config::default(), &[most.as_bytes()]));
        assert_eq!(response.status, 200);
        let more = fill(HEAD_MAX + 1);
        let response = Response::parse(&answer_to(Config::default(), &[more.as_bytes()]));
        assert_eq!((response.status, response.text()), (431, "the request's head is too large"));
        let longest = format!("GET /healthz?{} HTTP/1.1\r\n", "a".repeat(LINE_MAX - 24));
        assert_eq!(longest.len(), LINE_MAX);
        let head = format!("{longest}Host: a\r\n\r\n");
        assert_eq!(Response::parse(&answer_to(Config::default(), &[head.as_bytes()])).status, 200);
        let head = format!("{}\r\n", longest.replace("/healthz?", "/healthz?a"));
        assert_eq!(Response::parse(&answer_to(Config::default(), &[head.as_bytes()])).status, 431);
    }
}

mod answers {
    use super::*;

    #[test]
    fn the_page() {
        let response = World::new().fetch("/");
        assert_eq!((response.status, response.reason.as_str()), (200, "OK"));
        assert_eq!(response.field("Content-Type"), Some("text/html; charset=utf-8"));
        assert_eq!(response.number("Content-Length"), response.body.len() as u64);
        assert_eq!(response.body, include_bytes!("../src/routes/page.html"));
        let policy = response.field("Content-Security-Policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"));
        for outside in ["http:", "https:", "//", "*"] {
            assert!(!policy.contains(outside), "{policy}");
        }
    }

    /// No request leaves the page's own server.
    #[test]
    fn the_page_names_no_other_server() {
        let page =
            include_str!("../src/routes/page.html").replace("http://www.w3.org/2000/svg", "");
        for outside in
            ["http:", "https:", "src=\"//", "href=\"//", "url(", "@import", "ws:", "wss:"]
        {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn head_says_the_same_without_a_body() {
        for target in ["/", "/stream", "/stream?mode=all", "/stats", "/healthz"] {
            let mut world = World::new();
            let head = world.ask("HEAD", target);
            assert_eq!(head.end(), Ok(()), "{target}");
            let (head, flushed) = (head.response(), head.peer.flushed());
            assert_eq!(flushed, head.head_len, "{target}");
            let get = world.get(target).response();
            // Only the boundary is another one.
            let fields = |response: &Response| {
                let kind = response.field("Content-Type").unwrap();
                let boundary = kind.split_once("boundary=").map_or("no boundary", |(_, b)| b);
                let fields = response.fields.iter();
                fields.map(|(n, v)| (n.clone(), v.replace(boundary, "B"))).collect::<Vec<_>>()
            };
            assert_eq!((head.status, fields(&head)), (get.status, fields(&get)), "{target}");
            assert_eq!(head.body, b"", "{target}");
            assert_eq!(world.ring.readers(), usize::from(target.starts_with("/stream")));
        }
    }

    #[test]
    fn head_of_a_capture() {
        let mut world = World::new();
        world.camera(every(50, 1000));
        let client = world.ask("HEAD", "/capture");
        world.sim.advance(ms(60));
        assert_eq!(client.end(), Ok(()));
        let response = client.response();
        assert_eq!((response.status, response.number("Content-Length")), (200, 1000));
        assert_eq!(response.body, b"");
    }

    /// RFC 9110, section 9.3.2: a server must not send content in answer to HEAD, and that
    /// includes the text of a refusal.
    #[test]
    fn head_of_a_refusal_has_no_body() {
        for target in ["/nothing", "/stream?fps=0", "/capture"] {
            let mut world = World::new();
            let client = world.ask("HEAD", target);
            world.sim.advance(secs(12));
            assert!(client.is_served());
            let response = client.response();
            assert!(response.status >= 400);
            assert_eq!(response.text(), "", "{target}");
        }
    }

    #[test]
    fn head_of_a_stream_that_has_no_place() {
        let mut world = Plan { viewers: 1, ..Plan::default() }.build();
        let _watching = world.get("/stream");
        let response = world.ask("HEAD", "/stream").response();
        assert_eq!((response.status, response.number("Retry-After")), (503, 5));
        assert_eq!(response.text(), "");
    }

    #[test]
    fn both_names_of_a_path_are_the_same() {
        for (one, other) in [("/stream", "/mjpeg/1"), ("/capture", "/jpg")] {
            let [one, other] = [one, other]
                .map(|target| answer_to(Config::default(), &[request("GET", target).as_bytes()]));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn the_connection_ends_with_the_answer() {
        let mut world = World::new();
        for target in ["/", "/stats", "/healthz"] {
            let client = world.get(target);
            assert_eq!(client.end(), Ok(()));
            assert!(client.peer.is_hung_up());
            assert_eq!(client.peer.flushed(), client.peer.written());
            assert_eq!(client.response().field("Connection"), Some("close"));
        }
    }

    #[test]
    fn every_answer_forbids_caching_and_guessing() {
        for config in [Config::default(), cors()] {
            for target in TARGETS {
                let answer = answer_to(config.clone(), &[request("GET", target).as_bytes()]);
                let response = Response::parse(&answer);
                assert_eq!(response.field("Cache-Control"), Some("no-store"), "{target}");
                assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"), "{target}");
                assert_eq!(response.fields[0].0, "Content-Type", "{target}");
            }
        }
    }

    #[test]
    fn other_origins_may_read_only_if_that_is_set() {
        for target in TARGETS {
            let request = request("GET", target);
            let closed = Response::parse(&answer_to(Config::default(), &[request.as_bytes()]));
            assert_eq!(closed.field("Access-Control-Allow-Origin"), None, "{target}");
            assert_eq!(closed.field("Access-Control-Expose-Headers"), None, "{target}");
            let open = Response::parse(&answer_to(cors(), &[request.as_bytes()]));
            assert_eq!(open.field("Access-Control-Allow-Origin"), Some("*"), "{target}");
            let exposed = open.field("Access-Control-Expose-Headers").unwrap();
            assert!(exposed.contains("X-Timestamp") && exposed.contains("X-Frame"));
            assert_eq!(open.body, closed.body, "{target}");
        }
    }

    /// A head is written into 512 bytes. With everything as long as it can be, none is cut: each
    /// ends with its blank line, and its last field is whole.
    #[test]
    fn no_head_is_ever_cut() {
        let mut config = cors();
        config.retry_after = Duration::MAX;
        let plan = || {
            let config = config.clone();
            let slot_bytes = 1 << 20;
            // Microseconds of Unix time at their largest.
            Plan { config, slot_bytes, unix: Some(u64::MAX), slots: 2, ..Plan::default() }
        };
        let mut longest = 0;
        for method in ["GET", "HEAD", "POST"] {
            for target in TARGETS {
                let mut world = plan().build();
                world.camera(every(400, 1 << 20));
                let client = world.ask(method, target);
                world.sim.advance(ms(450));
                let answer = client.peer.answer();
                let response = Response::parse(&answer);
                // A page's policy is not written into these 512 bytes.
                let is_page = target == "/" && response.status == 200;
                if !is_page {
                    longest = longest.max(response.head_len);
                    assert!(response.head_len <= 512, "{method} {target}");
                }
                let last = response.fields.last().unwrap();
                let whole = match last.0.as_str() {
                    "Content-Length" | "X-Frame" => last.1.parse::<u64>().is_ok(),
                    "Content-Security-Policy" if is_page => last.1.ends_with(" 'self'"),
                    "Allow" => last.1 == "GET, HEAD",
                    "Access-Control-Expose-Headers" => last.1.ends_with("X-Frame"),
                    _ => false,
                };
                assert!(whole, "{method} {target} ends with {last:?}");
                if let Some(length) = response.field("Content-Length").filter(|_| method != "HEAD")
                {
                    assert_eq!(length, response.body.len().to_string(), "{method} {target}");
                }
            }
        }
        // When nothing comes, and when it is full.
        let mut world = Plan { viewers: 0, ..plan() }.build();
        for (target, reason) in [("/stream", "too many viewers"), ("/capture", "no frame came")] {
            let client = world.get(target);
            world.sim.advance(secs(12));
            let response = client.response();
            assert_eq!((response.status, response.text()), (503, reason));
            assert_eq!(response.number("Retry-After"), u64::MAX);
            longest = longest.max(response.head_len);
        }
        println!("the longest head has {longest} bytes");
        assert!(longest <= 512 - 40, "no room for the next field: {longest}");
    }
}

mod refusals {
    use super::*;

    /// The answer, after the second that is left to the peer to stop talking.
    fn refused(request: &str) -> Response {
        let mut world = World::new();
        let client = world.connect();
        client.peer.send(request);
        world.sim.run();
        let response = client.response();
        assert!(!client.is_served(), "it waits for what the peer still sends");
        assert_eq!(client.peer.flushed(), client.peer.written());
        world.sim.advance(secs(1));
        assert_eq!(client.end(), Ok(()));
        assert_eq!(client.response(), response);
        assert_eq!(response.number("Content-Length"), response.body.len() as u64);
        assert_eq!(response.field("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_eq!(world.ring.readers(), 0);
        response
    }

    #[test]
    fn what_is_not_there() {
        for target in ["/favicon.ico", "/stream/", "/%73tream", "/../stats", "*"] {
            let response = refused(&request("GET", target));
            assert_eq!((response.status, response.text()), (404, "there is nothing here"));
            assert_eq!(response.field("Allow"), None);
        }
        assert_eq!(refused(&request("POST", "/nothing")).status, 404);
    }

    #[test]
    fn wrong_methods() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", "BREW"] {
            for target in ["/", "/stream", "/capture", "/stats", "/healthz"] {
                let response = refused(&request(method, target));
                assert_eq!((response.status, response.text()), (405, "only GET and HEAD"));
                assert_eq!(response.reason, "Method Not Allowed");
                assert_eq!(response.field("Allow"), Some("GET, HEAD"));
            }
        }
    }

    #[test]
    fn bad_requests_say_what_is_bad() {
        for (target, reason) in [
            ("/stream?fps=0", "fps must be a number from 0.001 to 1000"),
            ("/stream?fps=", "fps must be a number from 0.001 to 1000"),
            ("/stream?fps=-1", "fps must be a number from 0.001 to 1000"),
            ("/stream?mode=some", "mode must be live or all"),
            ("/stream?fps=5&mode=all", "fps cannot be combined with mode=all"),
            ("/mjpeg/1?mode=all&fps=5", "fps cannot be combined with mode=all"),
            ("/stream?advance_headers=2", "advance_headers must be 0 or 1"),
        ] {
            let response = refused(&request("GET", target));
            assert_eq!((response.status, response.text()), (400, reason), "{target}");
        }
        for junk in ["\x16\x03\x01\x02\0\x01\0\n\n", "GET /\r\n\r\n", "GET / HTTP/2.0\r\n\r\n"] {
            let response = refused(junk);
            assert_eq!((response.status, response.text()), (400, "not an HTTP/1 request"));
        }
        let response = refused("GET / HTTP/1.1\r\n folded\r\n\r\n");
        assert_eq!((response.status, response.text()), (400, "the request's head is malformed"));
    }

    #[test]
    fn heads_that_are_too_large() {
        for head in [
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(600)),
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(10_000)),
            format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "a".repeat(100_000)),
            "\r\n".repeat(10_000),
        ] {
            let response = refused(&head);
            assert_eq!(response.status, 431);
            assert_eq!(response.reason, "Request Header Fields Too Large");
            assert_eq!(response.text(), "the request's head is too large");
        }
    }

    #[test]
    fn after_a_refusal_the_rest_is_read_until_the_peer_closes() {
        let mut world = World::new();
        let client = world.connect();
        client.peer.send("POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
        world.sim.advance(ms(500));
        client.peer.send([b'x'; 5000]);
        world.sim.advance(ms(100));
        assert_eq!(client.peer.unread(), 0);
        client.peer.close();
        world.sim.run();
        assert_eq!(client.end(), Ok(()), "at once, not after its second");
    }

    #[test]
    fn a_viewer_too_many_is_told_when_to_come_again() {
        let mut config = Config::default();
        config.retry_after = secs(17);
        let mut world = Plan { viewers: 3, config, ..Plan::default() }.build();
        let viewers = [(); 3].map(|()| world.get("/stream"));
        let refused = world.get("/stream");
        let response = refused.response();
        assert_eq!((response.status, response.reason.as_str()), (503, "Service Unavailable"));
        assert_eq!((response.number("Retry-After"), response.text()), (17, "too many viewers"));
        assert_eq!(world.ring.readers(), 3, "while it is told so it takes no reader's place");
        world.sim.advance(secs(1));
        assert_eq!(refused.end(), Ok(()));
        // A place is free at once when a viewer leaves.
        viewers[1].peer.close();
        world.sim.run();
        assert_eq!(world.get("/stream").response().status, 200);
    }

    #[test]
    fn without_a_reader_s_place_it_is_full_too() {
        let mut world = Plan { viewers: 3, spare: 0, ..Plan::default() }.build();
        let _taken = [(); 3].map(|()| world.ring.subscribe(camwire_capture::Follow::Live).unwrap());
        for target in ["/stream", "/capture"] {
            let response = world.get(target).response();
            assert_eq!((response.status, response.text()), (503, "too many viewers"));
        }
        assert_eq!(world.stats()["viewers"], serde_json::json!([]), "and takes no viewer's place");
    }

    #[test]
    fn when_it_is_full_of_viewers_the_rest_is_still_answered() {
        for policy in [Policy::DropOldest, Policy::DropNewest, Policy::KeepAll] {
            let mut world = Plan { viewers: 3, spare: 1, ..Plan::policy(policy) }.build();
            world.camera(every(50, 1000));
            let _viewers = [(); 3].map(|()| world.get("/stream"));
            world.sim.advance(secs(1));
            let capture = world.get("/capture");
            assert_eq!(world.stats()["viewers"].as_array().unwrap().len(), 3);
            for target in ["/", "/healthz"] {
                assert_eq!(world.fetch(target).status, 200);
            }
            world.sim.advance(ms(60));
            assert_eq!(capture.end(), Ok(()));
            assert_eq!(capture.response().status, 200);
        }
    }
}

mod capture {
    use super::*;
    use camwire_frame::Clock;

    #[test]
    fn the_picture_was_captured_after_it_was_asked_for() {
        for streams in [0, 3] {
            let mut world = World::new();
            world.camera(every(50, 1000));
            let _streams: Vec<_> = (0..streams).map(|_| world.get("/stream")).collect();
            world.sim.advance(ms(1020)); // In the middle of a capture.
            let asked_at = world.now();
            let client = world.get("/capture");
            assert!(!client.is_served(), "the newest picture is too old");
            world.sim.advance(ms(60));
            assert_eq!(client.end(), Ok(()));
            let response = client.response();
            assert_eq!(response.status, 200);
            assert_eq!(response.field("Content-Type"), Some("image/jpeg"));
            assert_eq!(response.number("Content-Length"), 1000);
            assert_eq!(response.body.len(), 1000);
            assert!(response.timestamp_us() >= asked_at.as_micros() + UNIX);
            let number = response.number("X-Frame");
            // The camera numbers what it draws as the ring does.
            assert_eq!(response.body, harness::camera::picture(1000, number));
        }
    }

    #[test]
    fn also_after_an_idle_hour() {
        let mut world = World::new();
        world.camera(every(50, 1000));
        for _ in 0..3 {
            world.sim.advance(secs(3600));
            let asked_at = world.now();
            let client = world.get("/capture");
            world.sim.advance(ms(60));
            assert!(client.response().timestamp_us() >= asked_at.as_micros() + UNIX);
        }
        assert_eq!(world.ring.readers(), 0);
    }

    #[test]
    fn time_counts_from_boot_where_no_other_is_known() {
        let mut world = Plan { unix: None, ..Plan::default() }.build();
        world.camera(every(50, 1000));
        let client = world.get("/capture");
        world.sim.advance(ms(60));
        assert_eq!(client.response().field("X-Timestamp"), Some("5000.050000"));
    }

    #[test]
    fn when_none_comes_it_says_so() {
        let mut world = World::new();
        world.camera(Outcome::Hang);
        let client = world.get("/capture");
        world.sim.advance(ms(9_999));
        assert_eq!(client.peer.written(), 0);
        world.sim.advance(ms(1));
        let response = client.response();
        assert_eq!((response.status, response.text()), (503, "no frame came"));
        assert_eq!(response.number("Retry-After"), 5);
        assert_eq!(world.ring.readers(), 0, "its demand ends with the refusal, not a second later");
        world.sim.advance(secs(1));
        assert_eq!(client.end(), Ok(()));
    }

    #[test]
    fn old_pictures_do_not_count_however_many_come() {
        let mut world = World::new();
        let clock = world.clock;
        let mut publisher = world.ring.publisher().unwrap();
        let client = world.get("/capture");
        for _ in 0..50 {
            let before = Instant::from_micros(harness::START.as_micros() - 1);
            let grant = publisher.try_grant().unwrap();
            publisher.commit(grant, 10, harness::camera::info(10, before)).unwrap();
            world.sim.advance(ms(100));
        }
        assert_eq!(client.peer.written(), 0);
        let grant = publisher.try_grant().unwrap();
        publisher.commit(grant, 10, harness::camera::info(10, clock.now())).unwrap();
        world.sim.run();
        assert_eq!(client.response().number("X-Frame"), 51);
    }

    #[test]
    fn when_the_source_has_ended_it_says_so_at_once() {
        let mut world = World::new();
        let hand = world.publisher();
        let client = world.get("/capture");
        drop(hand);
        world.sim.run();
        assert_eq!(client.response().status, 503);
    }

    #[test]
    fn who_leaves_before_the_picture_wants_none() {
        let mut world = World::new();
        world.camera(Outcome::Hang);
        let client = world.get("/capture");
        assert_eq!(world.ring.readers(), 1);
        client.peer.close();
        world.sim.run();
        assert_eq!(client.end(), Err(Disconnect::Closed));
        assert_eq!(world.ring.readers(), 0);
    }
}
