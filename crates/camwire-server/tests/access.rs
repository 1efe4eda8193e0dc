//! Who may: credentials for every path, and the names that the server answers to.

mod harness;

use camwire_server::{
    Answer, Answered, Application, Credentials, Disconnect, Exchange, Read, Server, WriteVectored,
};
use camwire_websocket::ClientRequest;
use harness::http::Response;
use harness::{Plan, RANDOM, World, every, ms};

/// `user:pass` and `secret`.
const BASIC: &str = "Authorization: Basic dXNlcjpwYXNz";
const BEARER: &str = "Authorization: Bearer secret";

const PATHS: [&str; 13] = [
    "/",
    "/stream",
    "/mjpeg/1",
    "/ws",
    "/capture",
    "/jpg",
    "/stats",
    "/healthz",
    "/status",
    "/control?var=quality&val=20",
    "/nothing",
    "/stream?fps=fast",
    "*",
];

fn world(basic: Option<&'static str>, token: Option<&'static str>) -> World {
    let mut world = Plan::configured(|config| {
        config.credentials.basic = basic;
        config.credentials.token = token;
    })
    .build();
    world.camera(every(40, 100));
    world
}

fn answer(world: &mut World, method: &str, target: &str, fields: &[&str]) -> Vec<u8> {
    let client = world.connect();
    client.peer.send(format!("{method} {target} HTTP/1.1\r\nHost: camera.local\r\n"));
    for field in fields {
        client.peer.send(format!("{field}\r\n"));
    }
    client.peer.send("\r\n");
    world.sim.advance(ms(100));
    client.peer.close();
    world.sim.run();
    client.peer.answer()
}

fn status(world: &mut World, target: &str, fields: &[&str]) -> u16 {
    let answer = answer(world, "GET", target, fields);
    let head = String::from_utf8_lossy(&answer);
    head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap()
}

#[test]
fn no_page_of_another_site_sets_the_camera() {
    let set = "/control?var=quality&val=20";
    let mut world = world(None, None);
    for site in ["same-origin", "same-site", "none"] {
        assert_eq!(status(&mut world, set, &[&format!("Sec-Fetch-Site: {site}")]), 200, "{site}");
    }
    assert_eq!(status(&mut world, set, &["sec-fetch-site: cross-site"]), 403);
    assert_eq!(status(&mut world, "/capture", &["Sec-Fetch-Site: cross-site"]), 200);
    let plan = Plan::configured(|config| config.cors = camwire_server::Cors::AnyOrigin);
    let mut open = plan.build();
    open.camera(every(40, 100));
    assert_eq!(status(&mut open, set, &["Sec-Fetch-Site: cross-site"]), 200);
}

#[test]
fn every_path_needs_credentials() {
    let mut free = world(None, None);
    for (basic, token) in
        [(Some("user:pass"), None), (None, Some("secret")), (Some("user:pass"), Some("secret"))]
    {
        let mut world = world(basic, token);
        for path in PATHS {
            let query = if path.contains('?') { '&' } else { '?' };
            let by_query = format!("{path}{query}token=secret");
            let right = status(&mut free, path, &[]);
            assert_ne!(right, 401);
            let either = |there: Option<_>| if there.is_some() { right } else { 401 };
            assert_eq!(status(&mut world, path, &[]), 401, "{path}");
            assert_eq!(status(&mut world, path, &[BASIC]), either(basic), "{path}");
            assert_eq!(status(&mut world, path, &[BEARER]), either(token), "{path}");
            if path != "*" {
                assert_eq!(status(&mut world, &by_query, &[]), either(token), "{path}");
            }
            for wrong in [
                "Authorization: Basic dXNlcjpwYXNt",
                "Authorization: Basic",
                "Authorization: Bearer secre",
                "Authorization: Digest secret",
                "X-Authorization: Bearer secret",
            ] {
                assert_eq!(status(&mut world, path, &[wrong]), 401, "{path}");
            }
            assert_eq!(status(&mut world, &format!("{path}{query}token=secret2"), &[]), 401);
        }
        assert_eq!(world.ring.readers(), 0);
    }
}

#[test]
fn nobody_without_credentials_has_the_camera_work() {
    let mut world = world(Some("user:pass"), None);
    for path in PATHS {
        for method in ["GET", "HEAD", "POST"] {
            let answer = answer(&mut world, method, path, &[]);
            assert!(answer.starts_with(b"HTTP/1.1 401 Unauthorized\r\n"), "{method} {path}");
        }
    }
    assert_eq!(world.status.captured(), 0);
}

#[test]
fn a_refusal_says_how() {
    let basic = "WWW-Authenticate: Basic realm=\"camwire\", charset=\"UTF-8\"\r\n";
    let bearer = "WWW-Authenticate: Bearer realm=\"camwire\"\r\n";
    let both = format!("{basic}{bearer}");
    for (user, token, challenge, explanation) in [
        (Some("user:pass"), None, basic, "a user and a password are needed"),
        (None, Some("secret"), bearer, "a token is needed: put ?token=... behind the address"),
        (
            Some("user:pass"),
            Some("secret"),
            &both,
            "a user and a password are needed, or ?token=...",
        ),
    ] {
        let mut world = world(user, token);
        let text = String::from_utf8(answer(&mut world, "GET", "/stats", &[])).unwrap();
        let end = text.find("\r\n\r\n").unwrap() + 2;
        let challenges = text[..end].split_inclusive("\r\n");
        let challenges: String = challenges.filter(|l| l.starts_with("WWW-Auth")).collect();
        assert_eq!(challenges, challenge);
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1, explanation);
        let head = answer(&mut world, "HEAD", "/stats", &[]);
        assert!(head.ends_with(b"\r\n\r\n"));
    }
}

#[test]
fn a_web_socket_is_no_way_around() {
    let mut world = world(Some("user:pass"), Some("secret"));
    let request = |fields| ClientRequest { fields, ..harness::websocket::request("/ws") };
    for fields in [&[][..], &[("Authorization", "Basic dXNlcjpwYXNt")]] {
        let client = world.connect();
        client.peer.send(harness::websocket::bytes(&request(fields)));
        world.sim.run();
        assert!(client.peer.answer().starts_with(b"HTTP/1.1 401 "));
    }
    let mut viewer = world.watch_as(&request(&[("Authorization", "Basic dXNlcjpwYXNz")]));
    let mut by_query = world.watch("/ws?fps=30&token=secret");
    world.sim.advance(ms(100));
    assert!(!viewer.messages().is_empty() && !by_query.messages().is_empty());
}

#[test]
fn other_names_are_refused_where_names_are_known() {
    let mut world =
        Plan::configured(|config| config.hosts = &["localhost", "127.0.0.1", "[::1]"]).build();
    let mut status = |host: &str| {
        let client = world.connect();
        client.peer.send(format!("GET /healthz HTTP/1.1\r\n{host}\r\n"));
        world.sim.run();
        client.response().status
    };
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080", "[::1]"] {
        assert_eq!(status(&format!("Host: {host}\r\n")), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "[::2]", ""]
    {
        assert_eq!(status(&format!("Host: {host}\r\n")), 403, "{host}");
        assert_eq!(status(&format!("Host: localhost\r\nHost: {host}\r\n")), 403, "{host}");
    }
    assert_eq!(status(""), 200, "a browser always has a Host");
}

struct Robot;

impl Application for Robot {
    fn owns(&self, path: &str) -> bool {
        path == "/robot"
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: camwire_frame::Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        exchange.answer(&Answer { body: b"robot", ..Answer::default() }).await
    }
}

#[test]
fn the_applications_own_routes_need_them_too() {
    let mut world = World::new();
    let mut config = camwire_server::Config::default();
    config.credentials.token = Some("secret");
    let server = Server::new(world.ring, world.status, &[], world.clock, RANDOM, config);
    let server: &'static _ = Box::leak(Box::new(server.with_application(Robot)));
    for (target, status) in [("/robot", 401), ("/robot?token=secret", 200)] {
        let (read, write, peer) = harness::wire::wire();
        world.sim.spawn(async move { server.serve(read, write, None).await });
        peer.send(harness::request("GET", target));
        world.sim.run();
        assert_eq!(Response::parse(&peer.answer()).status, status);
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut credentials = Credentials::default();
    credentials.basic = Some("user:pass");
    credentials.token = Some("secret");
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("user") && !shown.contains("pass") && !shown.contains("secret"));
}
