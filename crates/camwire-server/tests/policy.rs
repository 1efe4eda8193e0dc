//! Every answer but the page forbids scripts. (And the harness looks at each answer of each test.)

mod harness;

use std::collections::BTreeSet;

use camwire_server::{
    Answer, Answered, Application, Config, Cors, Disconnect, Exchange, Read, Server, StreamBody,
    WriteVectored,
};
use harness::camera::{Obedience, Outcome};
use harness::http::policy;
use harness::wire::wire;
use harness::{Plan, RANDOM, World, every, ms, secs};

const SANDBOX: &str = "default-src 'none'; sandbox";
const AGENT: &str = "Host: camera.local\r\nAccept: */*\r\n";
const UPGRADE: &str = "Host: camera.local\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What a server answers, with the status of each answer.
#[derive(Default)]
struct Answers(BTreeSet<u16>);

impl Answers {
    /// Asks for it in each way, and looks at each answer.
    fn check(&mut self, world: &mut World, target: &str, fields: &str) {
        for method in ["GET", "HEAD", "POST", "BREW"] {
            let client = world.connect();
            client.peer.send(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n"));
            // Until a capture has its frame, or will not get one any more.
            world.sim.advance(secs(12));
            client.peer.close();
            world.sim.run();
            self.look_at(&client.peer.answer(), &format!("{method} {target} {fields}"));
        }
    }

    fn look_at(&mut self, answer: &[u8], request: &str) {
        let start = answer.strip_prefix(b"HTTP/1.1 ").unwrap_or_else(|| panic!("{request}"));
        let status = std::str::from_utf8(&start[..3]).unwrap().parse().unwrap();
        self.0.insert(status);
        match policy(answer) {
            Some(policy) if policy == SANDBOX => {}
            Some(policy) => panic!("{request}: {policy}"),
            None => assert_eq!(status, 101, "{request}: an answer that has no body"),
        }
    }
}

struct Own;

impl Application for Own {
    fn owns(&self, path: &str) -> bool {
        path.starts_with("/own")
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: camwire_frame::Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        let status = if exchange.path() == "/own/improper" { "" } else { "200 OK" };
        exchange.answer(&Answer { status, body: b"<html>", ..Answer::default() }).await
    }
}

#[test]
fn every_answer_but_the_page_forbids_scripts() {
    let mut answers = Answers::default();
    for cors in [Cors::SameOrigin, Cors::AnyOrigin] {
        let plan = || Plan::configured(|config| config.cors = cors);

        // With a camera, and with none.
        for has_camera in [true, false] {
            let mut world = plan().build();
            if has_camera {
                world.camera(every(40, 100));
            }
            for target in [
                "/stream",
                "/stream?mode=all",
                "/stream?advance_headers=1",
                "/stream?fps=many",
                "/mjpeg/1",
                "/capture",
                "/jpg",
                "/ws",
                "/ingest",
                "/stats",
                "/healthz",
                "/status",
                "/control",
                "/control?var=quality&val=9",
                "/control?var=quality&val=900",
                "/control?var=agc_gain&val=1",
                "/nothing",
                "*",
                "",
            ] {
                for fields in [AGENT, UPGRADE, "Host : camera.local\r\n", "no field\r\n"] {
                    answers.check(&mut world, target, fields);
                }
                for fields in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"]
                {
                    answers.check(&mut world, target, &format!("{UPGRADE}{fields}"));
                }
                let long = format!("Host: {}\r\n", "a".repeat(600));
                answers.check(&mut world, target, &long);
                let old = UPGRADE.replace("Version: 13", "Version: 8");
                answers.check(&mut world, target, &old);
            }
            if has_camera {
                // The page is the exception, and nothing but the page: not its refusals.
                let page = world.fetch("/");
                assert!(page.field("Content-Security-Policy").unwrap().contains("script-src"));
            }
            for target in ["/?mode=some", "/"] {
                answers.check(&mut world, target, &UPGRADE.replace("Host", "X-Host"));
            }
        }

        // A camera that fails, hangs, and gives nothing.
        let mut world = plan().build();
        let camera = world.camera(every(40, 100));
        camera.obeys(Obedience::Failure);
        answers.check(&mut world, "/control?var=quality&val=9", AGENT);
        camera.obeys(Obedience::Hang);
        answers.check(&mut world, "/control?var=quality&val=9", AGENT);
        let mut world = plan().build();
        world.camera(Outcome::Hang);
        let _viewer = world.get("/stream");
        world.sim.advance(secs(60));
        answers.check(&mut world, "/healthz", AGENT);

        // No place for another viewer.
        let mut world = Plan { viewers: 1, ..plan() }.build();
        let _viewer = world.get("/stream");
        for (target, fields) in [("/stream", AGENT), ("/ws", UPGRADE), ("/", UPGRADE)] {
            answers.check(&mut world, target, fields);
        }

        // Not with these credentials, by this name, or from there.
        let mut world = Plan::configured(|config| {
            config.cors = cors;
            config.credentials.basic = Some("a:b");
            config.credentials.token = Some("secret");
            config.hosts = &["camera.local"];
            #[cfg(feature = "ingest")]
            {
                config.ingest_token = Some("T");
            }
        })
        .build();
        for target in ["/", "/stream", "/ws", "/ingest", "/stats", "/nothing", "/?token=wrong"] {
            answers.check(&mut world, target, AGENT);
            answers.check(&mut world, target, UPGRADE);
            answers.check(&mut world, &format!("{target}?token=secret"), "Host: evil.example\r\n");
        }

        // Cameras that push: one, and another one meanwhile.
        #[cfg(feature = "ingest")]
        {
            let mut world = Plan::configured(|config| {
                config.cors = cors;
                config.ingest_token = Some("T");
            })
            .build();
            let _first = world.publisher();
            for token in ["T", "U"] {
                answers.check(&mut world, &format!("/ingest?token={token}"), UPGRADE);
                answers.check(&mut world, &format!("/ingest?token={token}"), AGENT);
            }
        }

        // What an application says by default.
        let World { ring, status, clock, mut sim, .. } = plan().build();
        let mut config = Config::default();
        config.cors = cors;
        let server = Server::new(ring, status, &[], clock, RANDOM, config).with_application(Own);
        let server: &'static _ = Box::leak(Box::new(server));
        for request in ["GET /own", "POST /own", "HEAD /own", "GET /own/improper", "GET /status"] {
            let (read, write, peer) = wire();
            sim.spawn(async move { server.serve(read, write, None).await });
            peer.send(format!("{request} HTTP/1.1\r\n\r\n"));
            sim.advance(ms(10));
            answers.look_at(&peer.answer(), request);
        }
    }

    // All that there are, so that none was forgotten.
    let mut all = BTreeSet::from([101, 200, 400, 401, 403, 404, 405, 426, 431, 500, 503]);
    if cfg!(feature = "ingest") {
        all.insert(409);
    }
    assert_eq!(answers.0, all);
}

/// The words are those of an application's answer, and of the body for another server.
#[test]
fn body_for_another_server_comes_with_the_same_fields() {
    let world = World::new();
    let body = StreamBody::new(world.server.hub(), Default::default(), None).unwrap();
    let fields = body.fields();
    assert!(fields.contains(&("Content-Security-Policy", SANDBOX)));
    assert_eq!(Answer::SANDBOX, SANDBOX);
    // Whatever else of such a kind a stream of this server has, it has, too.
    drop(body);
    let mut world = World::new();
    let response = world.get("/stream").response();
    let others = response.fields.iter().filter(|(name, _)| {
        !["content-type", "connection"].contains(&name.to_lowercase().as_str())
    });
    let others: BTreeSet<_> = others.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(others, BTreeSet::from(fields));
}
