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

/// Answers `/control` with these fields, by GET.
fn set(world: &mut World, fields: &[&str]) -> u16 {
    status(world, "/control?var=quality&val=20", fields)
}

#[test]
fn only_the_servers_own_pages_set_the_camera() {
    let own = "Origin: http://camera.local";
    for (fields, expected) in [
        (&[own][..], 200),
        (&["Origin: http://evil.example"], 403),
        (&["origin: null"], 403),
        (&["Origin: http://camera.local.evil.example"], 403),
        (&["Referer: http://camera.local/page?a=b"], 200),
        (&["Referer: http://camera.local@evil.example/"], 403),
        (&["referer: https://evil.example/http://camera.local/"], 403),
        (&["Sec-Fetch-Site: same-origin"], 200),
        (&["sec-fetch-site: cross-site"], 403),
        (&["Sec-Fetch-Site: same-site"], 403),
        (&["Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"], 403),
        (&["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin"], 403),
        (&["Sec-Fetch-Site: of-the-future"], 403),
        // Each counts more than those behind it.
        (&[own, "Sec-Fetch-Site: cross-site", "Referer: http://evil.example/"], 200),
        (&["Origin: null", "Sec-Fetch-Site: same-origin", "X-Camwire: 1"], 403),
        (&["Referer: http://camera.local/", "Sec-Fetch-Site: same-site"], 403),
        (&["Referer: http://evil.example/", "Sec-Fetch-Site: same-origin"], 200),
        (&["Referer: http://evil.example/", "Sec-Fetch-Site: none"], 403),
    ] {
        for cors in [camwire_server::Cors::SameOrigin, camwire_server::Cors::AnyOrigin] {
            for control_get in [false, true] {
                let plan = Plan::configured(|config| {
                    config.cors = cors;
                    config.control_get = control_get;
                });
                let mut world = plan.build();
                world.camera(every(40, 100));
                assert_eq!(set(&mut world, fields), expected, "{fields:?} {cors:?}");
                let browser = [fields, &["User-Agent: Mozilla/5.0", "Accept: text/html"]].concat();
                assert_eq!(set(&mut world, &browser), expected, "{browser:?} {cors:?}");
            }
        }
    }
    let mut world = Plan::configured(|config| config.origins = &["https://a.example"]).build();
    world.camera(every(40, 100));
    assert_eq!(set(&mut world, &["Origin: https://a.example"]), 200);
    assert_eq!(set(&mut world, &["Referer: https://a.example/b"]), 200);
    assert_eq!(set(&mut world, &["Origin: https://a.example:81"]), 403);
}

#[test]
fn browser_that_hides_its_page_does_not_set_the_camera() {
    let mut plain = world(None, None);
    let mut lifted = Plan::configured(|config| config.control_get = true).build();
    lifted.camera(every(40, 100));
    let mut locked = world(Some("user:pass"), Some("secret"));
    for browser in [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "user-agent: Opera/9.80 mozilla/",
        "Accept-Language: de-CH",
        "accept: image/avif,image/webp,*/*;q=0.8",
        "Accept: text/HTML",
    ] {
        assert_eq!(set(&mut plain, &[browser]), 403, "{browser}");
        assert_eq!(set(&mut plain, &[browser, "Sec-Fetch-Site: none"]), 403, "{browser}");
        assert_eq!(set(&mut plain, &[browser, "X-Camwire: 1"]), 200, "{browser}");
        assert_eq!(set(&mut lifted, &[browser]), 200, "{browser}");
        // A browser adds a password by itself, and no token.
        assert_eq!(set(&mut locked, &[browser, BASIC]), 403, "{browser}");
        assert_eq!(set(&mut locked, &[browser, BEARER]), 200, "{browser}");
        let by_token = "/control?var=quality&val=20&token=secret";
        assert_eq!(status(&mut locked, by_token, &[browser]), 200, "{browser}");
        let wrong = "/control?var=quality&val=20&token=wrong";
        assert_eq!(status(&mut locked, wrong, &[browser, BASIC]), 403, "{browser}");
        // Frames are for every page.
        assert_eq!(status(&mut plain, "/capture", &[browser, "Origin: http://b.example"]), 200);
    }
    for script in ["User-Agent: curl/8.5.0", "User-Agent: okhttp/4.9", "Accept: */*"] {
        assert_eq!(set(&mut plain, &[script]), 200, "{script}");
        assert_eq!(set(&mut locked, &[script, BASIC]), 200, "{script}");
    }
}

#[test]
fn web_socket_elsewhere_than_at_its_paths_is_refused() {
    let upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"];
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let mut world = world(None, None);
    for path in ["/control?var=quality&val=20", "/stream", "/capture", "/stats", "/status"] {
        assert_eq!(status(&mut world, path, &upgrade), 400, "{path}");
        assert_eq!(status(&mut world, path, &[&upgrade[..], &[key]].concat()), 400, "{path}");
    }
    assert_eq!(status(&mut world, "/ws", &[&upgrade[..], &[key]].concat()), 101);
    assert_eq!(status(&mut world, "/", &[&upgrade[..], &[key]].concat()), 101);
    assert_eq!(status(&mut world, "/nothing", &upgrade), 404);
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
    }
}

#[test]
fn request_has_one_host_or_an_absolute_target() {
    let mut world = Plan::configured(|config| config.hosts = &["localhost", "[::1]"]).build();
    world.camera(every(40, 100));
    let mut status = |head: &str| {
        let client = world.connect();
        client.peer.send(format!("{head}\r\n\r\n"));
        world.sim.run();
        client.response().status
    };
    for (head, expected) in [
        ("GET /healthz HTTP/1.1\r\nA: b", 400),
        ("GET /healthz HTTP/1.1\nX-Host: localhost", 400),
        ("GET /healthz HTTP/1.0\r\nA: b", 200),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: b\r\nhost: evil.example", 400),
        ("GET /healthz HTTP/1.0\r\nHOST: localhost\r\nHost:", 400),
        ("GET http://localhost/healthz HTTP/1.1\r\nHost: localhost", 200),
        ("GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example", 200),
        ("GET http://[::1]:8080/healthz HTTP/1.1\r\nHost: evil.example", 200),
        ("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost", 403),
        ("GET http://evil.example:80/healthz HTTP/1.0\r\nA: b", 403),
        ("GET http://localhost/healthz HTTP/1.1\r\nA: b", 400),
        // No page sends two names. A name in the target does not make a page elsewhere the server's.
        (
            "GET http://localhost/control?var=quality&val=9 HTTP/1.1\r\nHost: localhost\r\n\
             Origin: http://localhost",
            200,
        ),
        (
            "GET http://localhost/control?var=quality&val=9 HTTP/1.1\r\nHost: evil.example\r\n\
             Origin: http://evil.example",
            403,
        ),
        (
            "GET http://localhost:81/control?var=quality&val=9 HTTP/1.1\r\nHost: localhost\r\n\
             Origin: http://localhost",
            403,
        ),
    ] {
        assert_eq!(status(head), expected, "{head:?}");
    }
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
