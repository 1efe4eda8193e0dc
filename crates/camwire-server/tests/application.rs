//! Routes of the application's own, beside those of the server.

mod harness;

use camwire_frame::Clock;
use camwire_server::{
    Answer, Answered, Application, Config, Cors, Disconnect, Exchange, Server, WriteVectored,
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

    async fn answer<W: WriteVectored, C: Clock>(
        &self,
        exchange: Exchange<'_, W, C>,
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
