//! Routes of the application's own, beside those of the server.

mod harness;

use camwire_frame::Clock;
use camwire_server::{
    Answer, Answered, Application, Config, Cors, Disconnect, Exchange, Read, Server, WriteVectored,
};
use harness::http::Response;
use harness::time::VirtualClock;
use harness::wire::wire;
use harness::{Client, Plan, RANDOM, World, ms, request, secs};

/// It says back what it was asked, waits where that is wished, and has a page of its own.
struct Echo {
    clock: &'static VirtualClock,
}

impl Application for Echo {
    fn owns(&self, path: &str) -> bool {
        path == "/" || path.starts_with("/own")
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        let (path, method) = (exchange.path().to_owned(), exchange.method().to_owned());
        let number = |name| exchange.parameter(name).and_then(|n| n.parse().ok());
        if let Some(wait) = number("wait") {
            self.clock.sleep(ms(wait)).await;
        }
        let body = format!("{method} {path} {} a={:?}", exchange.query(), exchange.parameter("a"));
        let long = format!("X-Long: {}\r\n", "x".repeat(number("long").unwrap_or(0) as usize));
        let fields = if long.len() > 10 { &long } else { "X-Own: yes\r\n" };
        let mut answer = Answer { fields, body: body.as_bytes(), ..Answer::default() };
        if let Some(policy) = exchange.parameter("policy").map(|policy| policy.replace('+', " ")) {
            answer.content_type = "text/html";
            return exchange.answer(&Answer { policy: &policy, ..answer }).await;
        }
        exchange.answer(&answer).await
    }
}

/// A world whose server has the application, too.
struct Own {
    world: World,
    server: &'static Server<'static, &'static VirtualClock, Echo>,
}

impl Own {
    fn new(config: Config) -> Self {
        let world = Plan::default().build();
        let server = Server::new(world.ring, world.status, &[], world.clock, RANDOM, config);
        let server = Box::leak(Box::new(server.with_application(Echo { clock: world.clock })));
        Self { world, server }
    }

    fn send(&mut self, pieces: &[&[u8]]) -> Client {
        let (read, write, peer) = wire();
        let server = self.server;
        let served = self.world.sim.spawn(async move { server.serve(read, write, None).await });
        for piece in pieces {
            peer.send(piece);
            self.world.sim.run();
        }
        Client { peer, served }
    }

    fn ask(&mut self, method: &str, target: &str) -> Client {
        self.send(&[request(method, target).as_bytes()])
    }

    fn fetch(&mut self, target: &str) -> Response {
        let client = self.ask("GET", target);
        assert_eq!(client.served.take(), Some(Ok(())), "{target}");
        client.response()
    }
}

#[test]
fn it_is_told_what_was_asked() {
    let mut own = Own::new(Config::default());
    for (target, body) in [
        ("/own", "GET /own  a=None"),
        ("/own/more?", "GET /own/more  a=None"),
        ("/own?a", "GET /own a a=Some(\"\")"),
        ("/own?b=1&a=2&a=%203=", "GET /own b=1&a=2&a=%203= a=Some(\"%203=\")"),
        ("http://camera.local/own?a=b", "GET /own a=b a=Some(\"b\")"),
    ] {
        let response = own.fetch(target);
        assert_eq!((response.status, response.text()), (200, body));
        assert_eq!(response.field("X-Own"), Some("yes"));
        assert_eq!(response.field("Content-Length"), Some(&*body.len().to_string()));
        assert_eq!(response.field("Connection"), Some("close"));
    }
}

#[test]
fn it_comes_before_the_routes_of_the_server_and_leaves_the_others() {
    let mut own = Own::new(Config::default());
    assert_eq!(own.fetch("/?a=1").text(), "GET / a=1 a=Some(\"1\")");
    assert_eq!(own.fetch("/stats").json()["source"]["kind"], "plan");
    assert_eq!(own.fetch("/healthz").status, 200);
    let client = own.ask("GET", "/other");
    own.world.sim.advance(secs(1));
    assert_eq!(client.response().status, 404);
}

#[test]
fn every_cut_gets_the_same_answer() {
    let mut own = Own::new(Config::default());
    let head = request("GET", "/own?a=1");
    let whole = own.send(&[head.as_bytes()]).peer.answer();
    for cut in 0..head.len() {
        let (a, b) = head.as_bytes().split_at(cut);
        assert_eq!(own.send(&[a, b]).peer.answer(), whole, "{cut}");
    }
    assert_eq!(own.send(&head.as_bytes().chunks(1).collect::<Vec<_>>()).peer.answer(), whole);
}

#[test]
fn head_is_answered_without_the_body() {
    let mut own = Own::new(Config::default());
    let response = own.ask("HEAD", "/own").response();
    assert_eq!(response.field("Content-Length"), Some("17"));
    assert_eq!(response.body, b"");
}

/// A connection that is closed on unread bytes is often reset, and the answer lost with it.
#[test]
fn the_body_of_a_request_is_taken_and_thrown_away() {
    let mut own = Own::new(Config::default());
    let post = "POST /own HTTP/1.1\r\nContent-Length: 200\r\n\r\n";
    let client = own.send(&[post.as_bytes(), &[b'x'; 200]]);
    assert_eq!(client.response().text(), "POST /own  a=None");
    assert_eq!(client.served.take(), None);
    client.peer.close();
    own.world.sim.run();
    assert_eq!(client.served.take(), Some(Ok(())));
}

#[test]
fn while_it_waits_others_are_served() {
    let mut own = Own::new(Config::default());
    let waiting = own.ask("GET", "/own?wait=500");
    assert_eq!(own.fetch("/own").status, 200);
    own.world.sim.advance(ms(499));
    assert_eq!(waiting.peer.written(), 0);
    own.world.sim.advance(ms(1));
    assert_eq!(waiting.response().status, 200);
}

#[test]
fn a_peer_that_takes_nothing_is_dropped() {
    let mut own = Own::new(Config::default());
    let client = own.send(&[]);
    client.peer.set_capacity(10);
    client.peer.send(request("GET", "/own"));
    own.world.sim.advance(Config::default().progress_timeout);
    assert_eq!(client.served.take(), Some(Err(Disconnect::Stalled)));
}

#[test]
fn answer_is_in_a_sandbox_unless_the_application_says_otherwise() {
    let mut own = Own::new(Config::default());
    for (target, policy) in [
        ("/own", "default-src 'none'; sandbox"),
        ("/own?long=1000", "default-src 'none'; sandbox"), // An improper answer.
        ("/own?policy=default-src+'self'", "default-src 'self'"),
        ("/own?policy=", ""),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let response = own.ask(method, target).response();
            assert_eq!(response.field("Content-Security-Policy"), Some(policy), "{target}");
        }
    }
}

#[test]
fn a_head_has_its_limit() {
    let mut config = Config::default();
    config.cors = Cors::AnyOrigin;
    let mut own = Own::new(config);
    let Answer { status, content_type, policy, .. } = Answer::default();
    let rest = [status, content_type, policy, "X-Long: \r\n"].concat().len();
    let most = Answer::HEAD_MAX - rest;
    let response = own.fetch(&format!("/own?long={most}"));
    assert_eq!((response.status, response.field("X-Long").unwrap().len()), (200, most));
    assert_eq!(response.field("Access-Control-Allow-Origin"), Some("*"));
    let response = own.fetch(&format!("/own?long={}", most + 1));
    assert_eq!((response.status, response.text()), (500, "the answer has no proper head\n"));
}

/// What `tokio::spawn` wants, which an application does not spoil.
#[test]
fn serving_is_send_with_an_application() {
    fn assert_send<T: Send>(_: T) {}
    let own = Own::new(Config::default());
    let (read, write, _peer) = wire();
    assert_send(own.server.serve(read, write, None));
}

/// `/upload?limit=N&read=N&pause=MS&first=MS`: reads the body so, and answers with its length and sum.
struct Uploads {
    clock: &'static VirtualClock,
}

impl Application for Uploads {
    fn owns(&self, path: &str) -> bool {
        path == "/upload"
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
        &self,
        mut exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        let number = |name| exchange.parameter(name).and_then(|n| n.parse::<u64>().ok());
        let mut buffer = vec![0; number("read").unwrap_or(1000) as usize];
        let (pause, first) = (number("pause").unwrap_or(0), number("first").unwrap_or(0));
        if number("unread").is_some() {
            return exchange.answer(&Answer { body: b"unread", ..Answer::default() }).await;
        }
        let mut body = exchange.body(number("limit").unwrap_or(1 << 20));
        self.clock.sleep(ms(first)).await;
        let (mut len, mut sum) = (0, 0_u32);
        let error = loop {
            match body.read(&mut buffer).await {
                Ok(0) => break None,
                Ok(count) => {
                    len += count;
                    sum = buffer[..count].iter().fold(sum, |sum, byte| fold(sum, *byte));
                    self.clock.sleep(ms(pause)).await;
                }
                Err(error) => break Some(error),
            }
        };
        match error {
            Some(error) => exchange.answer(&error.answer()).await,
            None => {
                let text = format!("{len} {sum}");
                exchange.answer(&Answer { body: text.as_bytes(), ..Answer::default() }).await
            }
        }
    }
}

fn fold(sum: u32, byte: u8) -> u32 {
    sum.wrapping_mul(31).wrapping_add(u32::from(byte))
}

mod uploads {
    use super::*;
    use harness::wire::Fault;

    struct Upload {
        world: World,
        client: Client,
    }

    impl Upload {
        fn begin(query: &str) -> Self {
            let mut world = Plan::default().build();
            let server =
                Server::new(world.ring, world.status, &[], world.clock, RANDOM, Config::default());
            let server = server.with_application(Uploads { clock: world.clock });
            let server: &'static _ = Box::leak(Box::new(server));
            let (read, write, peer) = wire();
            let served = world.sim.spawn(async move { server.serve(read, write, None).await });
            peer.send(format!("POST /upload?{query} HTTP/1.1\r\nHost: a\r\n"));
            Self { world, client: Client { peer, served } }
        }

        fn send(&mut self, bytes: &[u8]) -> &mut Self {
            self.client.peer.send(bytes);
            self.world.sim.run();
            self
        }

        fn response(&mut self) -> Response {
            self.world.sim.run();
            self.client.response()
        }
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|n| ((n * n) >> 7) as u8).collect()
    }

    fn received(bytes: &[u8]) -> String {
        format!("{} {}", bytes.len(), bytes.iter().fold(0, |sum, byte| fold(sum, *byte)))
    }

    #[test]
    fn one_megabyte_is_received_whole() {
        let body = bytes(1 << 20);
        for read in [512, 100_000] {
            let mut upload = Upload::begin(&format!("read={read}"));
            upload.send(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            for piece in body.chunks(7000) {
                upload.send(piece);
            }
            let response = upload.response();
            assert_eq!((response.status, response.text()), (200, received(&body).as_str()));
        }
    }

    #[test]
    fn body_is_the_same_however_it_is_cut() {
        let body = bytes(200);
        let plain = [b"Content-Length: 200\r\n\r\n", &body[..]].concat();
        let (a, b) = body.split_at(70);
        let chunked = [
            &b"Transfer-Encoding: chunked\r\n\r\n46\r\n"[..],
            a,
            b"\r\n82;x=y\r\n",
            b,
            b"\r\n0\r\nTrailer: x\r\n\r\n",
        ]
        .concat();
        for request in [plain, chunked] {
            for cut in 0..request.len() {
                for read in [1, 3, 1000] {
                    let (first, second) = request.split_at(cut);
                    let mut upload = Upload::begin(&format!("read={read}"));
                    let response = upload.send(first).send(second).response();
                    let expected = received(&body);
                    assert_eq!((response.status, response.text()), (200, &*expected), "{cut}");
                }
            }
        }
    }

    #[test]
    fn body_beside_the_longest_request_line_is_kept() {
        let body = bytes(300);
        for len in 300..480 {
            let mut upload = Upload::begin(&"x".repeat(len));
            let head = b"Content-Length: 300\r\n\r\n";
            let response = upload.send(&[&head[..], &body].concat()).response();
            assert_eq!((response.status, response.text()), (200, &*received(&body)), "{len}");
        }
    }

    #[test]
    fn request_without_a_body_has_an_empty_one() {
        let response = Upload::begin("").send(b"\r\n").response();
        assert_eq!((response.status, response.text()), (200, "0 0"));
    }

    #[test]
    fn body_beyond_the_limit_is_refused() {
        let chunks =
            format!("Transfer-Encoding: chunked\r\n\r\n65\r\n{}\r\n0\r\n\r\n", "x".repeat(101));
        for request in ["Content-Length: 101\r\n\r\n", &chunks] {
            let response = Upload::begin("limit=100").send(request.as_bytes()).response();
            assert_eq!(response.status, 413, "{request}");
        }
        let request = [b"Content-Length: 100\r\n\r\n", &bytes(100)[..]].concat();
        assert_eq!(Upload::begin("limit=100").send(&request).response().status, 200);
    }

    #[test]
    fn malformed_and_incomplete_bodies_are_refused() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip\r\n\r\nhello",
            "Transfer-Encoding: chunked\r\n\r\nhello",
        ] {
            let response = Upload::begin("").send(fields.as_bytes()).response();
            assert_eq!(response.status, 400, "{fields}");
        }
        let mut upload = Upload::begin("");
        upload.send(b"Content-Length: 5\r\n\r\nhell");
        upload.client.peer.close();
        assert_eq!(upload.response().status, 400);
    }

    #[test]
    fn client_that_waits_for_100_continue_gets_it_with_the_first_read() {
        let mut upload = Upload::begin("first=500");
        upload.send(b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(upload.client.peer.answer(), b"");
        upload.world.sim.advance(ms(500));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(upload.client.peer.answer(), interim);
        upload.send(b"hello");
        let answer = upload.client.peer.answer();
        let response = Response::parse(&answer[interim.len()..]);
        assert_eq!((response.status, response.text()), (200, &*received(b"hello")));
        // A body that is too large is refused before it is sent.
        let mut upload = Upload::begin("limit=4");
        upload.send(b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(upload.response().status, 413);
    }

    #[test]
    fn body_has_a_deadline() {
        // Nothing for 10 s.
        let mut upload = Upload::begin("");
        upload.send(b"Content-Length: 5\r\n\r\nhell");
        upload.world.sim.advance(secs(10) - ms(1));
        assert_eq!(upload.client.peer.answer(), b"");
        upload.world.sim.advance(ms(1));
        assert_eq!(upload.response().status, 408);
        // A byte every 9 s, for a minute.
        let mut upload = Upload::begin("");
        upload.send(b"Content-Length: 50\r\n\r\n");
        for _ in 0..6 {
            upload.world.sim.advance(secs(9));
            upload.send(b"x");
            assert_eq!(upload.client.peer.answer(), b"");
        }
        upload.world.sim.advance(secs(6));
        assert_eq!(upload.response().status, 408);
    }

    #[test]
    fn client_is_held_back_while_the_application_does_not_read() {
        let mut upload = Upload::begin("read=100&pause=1000");
        upload.send(b"Content-Length: 400\r\n\r\n");
        upload.send(&bytes(400));
        assert_eq!(upload.client.peer.answer(), b"");
        upload.world.sim.advance(secs(4));
        assert_eq!(upload.response().text(), received(&bytes(400)));
    }

    #[test]
    fn body_that_is_not_read_does_not_cost_the_client_its_answer() {
        let mut upload = Upload::begin("unread=1");
        upload.send(b"Content-Length: 400\r\n\r\n").send(&bytes(400));
        assert_eq!(upload.response().text(), "unread");
        assert!(!upload.client.is_served(), "what still comes is read, for a second");
        upload.world.sim.advance(secs(1));
        assert_eq!(upload.client.end(), Ok(()));
    }

    #[test]
    fn transport_that_fails_ends_the_upload() {
        let mut upload = Upload::begin("");
        upload.send(b"Content-Length: 5\r\n\r\nhe");
        upload.client.peer.fail_after(0, Fault::Error);
        upload.client.peer.reset();
        upload.world.sim.run();
        assert!(upload.client.end().is_err());
    }
}
