//! Several cameras in one server, each at its name.
#![cfg(feature = "cameras")]

mod harness;

use camwire_capture::{FramePublisher, FrameRing, Policy, Settings, SourceStatus};
use camwire_frame::{Clock, Instant};
use camwire_server::{CameraName, Config, Hub, Server, ViewerSlot};
use harness::camera::{info, picture};
use harness::http::Response;
use harness::time::VirtualClock;
use harness::wire::wire;
use harness::{Client, RANDOM, World, request, secs};

type Cameras = Server<'static, &'static VirtualClock>;

struct Several {
    world: World,
    server: &'static Cameras,
    publishers: Vec<FramePublisher<'static>>,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn hub(
    name: Option<&'static str>,
    clock: &'static VirtualClock,
    config: &Config,
) -> Hub<'static, &'static VirtualClock> {
    let ring = leak(FrameRing::leak(8, 4096, 6, Policy::DropOldest).unwrap());
    let viewers = leak([const { ViewerSlot::new() }; 2]);
    let status = leak(SourceStatus::new("test"));
    let hub = Hub::new(ring, status, viewers, clock, RANDOM, config.clone());
    match name {
        Some(name) => hub.with_name(CameraName::new(name).unwrap()),
        None => hub,
    }
}

impl Several {
    fn new(names: &[&'static str], config: Config) -> Self {
        let world = World::new();
        let hubs = names.iter().map(|name| hub(Some(name), world.clock, &config));
        let hubs: &'static [_] = hubs.collect::<Vec<_>>().leak();
        let publishers = hubs.iter().map(|hub| hub.ring().publisher().unwrap()).collect();
        Self { world, server: leak(Server::of_cameras(hubs).unwrap()), publishers }
    }

    fn send(&mut self, request: impl AsRef<[u8]>) -> Client {
        let (read, write, peer) = wire();
        let server = self.server;
        let served = self.world.sim.spawn(async move { server.serve(read, write, None).await });
        peer.send(request);
        self.world.sim.run();
        Client { peer, served }
    }

    fn get(&mut self, target: &str) -> Client {
        self.send(request("GET", target))
    }

    fn fetch(&mut self, target: &str) -> Response {
        let client = self.get(target);
        client.response()
    }

    /// A frame of that camera, of `len` bytes.
    fn publish(&mut self, camera: usize, len: usize) {
        let publisher = &mut self.publishers[camera];
        let mut grant = publisher.try_grant().unwrap();
        let now = self.world.clock.now();
        grant[..len].copy_from_slice(&picture(len, now.as_micros()));
        publisher.commit(grant, len, info(len, now)).unwrap();
        self.world.sim.run();
    }
}

#[test]
fn every_camera_has_its_streams_at_its_name() {
    let mut several = Several::new(&["front", "back"], Config::default());
    let front = several.get("/front/stream");
    let back = several.get("/back/mjpeg/1");
    let snapshot = several.get("/back/?action=snapshot");
    several.publish(0, 100);
    several.publish(1, 200);
    several.publish(1, 300);
    let sizes = |client: &Client| {
        client.stream().parts.iter().map(|part| part.picture.len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&front), [100]);
    assert_eq!(sizes(&back), [200, 300]);
    assert_eq!(snapshot.response().body.len(), 200);
    let stats = several.fetch("/stats").json();
    let cameras = stats["cameras"].as_array().unwrap();
    assert_eq!(cameras.len(), 2);
    for (camera, name) in cameras.iter().zip(["front", "back"]) {
        assert_eq!(camera["name"], name);
        assert_eq!(camera["viewers"].as_array().unwrap().len(), 1);
        assert_eq!(camera["source"]["kind"], "test");
    }
    assert!(stats["uptime_s"].is_number());
    let of_one = several.fetch("/front/stats").json();
    assert_eq!(of_one["name"], "front");
    assert_eq!(of_one["viewers"].as_array().unwrap().len(), 1);
}

#[test]
fn each_camera_has_places_of_its_own() {
    let mut several = Several::new(&["front", "back"], Config::default());
    let _viewers = [several.get("/front/stream"), several.get("/front/stream")];
    assert_eq!(several.fetch("/front/stream").status, 503);
    let back = several.get("/back/stream");
    assert!(!back.is_served());
}

#[test]
fn root_shows_all_cameras_and_streams_none() {
    let mut several = Several::new(&["front", "back"], Config::default());
    let page = several.fetch("/");
    assert_eq!((page.status, page.field("Content-Type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("<title>Cameras</title>"));
    let own = several.fetch("/front/");
    assert!(own.text().contains("camwire"), "the page of one camera");
    for target in
        ["/stream", "/capture", "/ws", "/side/stream", "/frontx/stream", "/front/x", "/jpg"]
    {
        assert_eq!(several.fetch(target).status, 404, "{target}");
    }
    let moved = several.fetch("/front");
    assert_eq!((moved.status, moved.field("Location")), (308, Some("front/")));
    assert_eq!(several.send(request("POST", "/stats")).response().status, 405);
    assert_eq!(several.send(request("HEAD", "/metrics")).response().body, b"");
}

#[test]
fn health_is_that_of_all_cameras() {
    let mut several = Several::new(&["front", "back"], Config::default());
    assert_eq!(several.fetch("/healthz").status, 200);
    let _viewer = several.get("/back/stream");
    several.server.hubs()[1].status().starting(several.world.now());
    several.world.sim.advance(secs(6));
    let health = several.fetch("/healthz");
    assert_eq!((health.status, health.text()), (503, "back: frames are wanted and none come\n"));
    assert_eq!(several.fetch("/front/healthz").status, 200);
    assert_eq!(several.fetch("/back/healthz").status, 503);
    assert_eq!(several.fetch("/stats").json()["cameras"][1]["source"]["state"], "stalled");
}

#[test]
fn metrics_name_the_camera() {
    let mut several = Several::new(&["front", "back"], Config::default());
    let _viewer = several.get("/front/stream");
    several.publish(0, 100);
    let metrics = several.fetch("/metrics");
    assert_eq!(metrics.field("Content-Type"), Some("text/plain; version=0.0.4"));
    let text = metrics.text();
    assert!(text.contains("\ncamwire_viewers{camera=\"front\"} 1\n"), "{text}");
    assert!(text.contains("\ncamwire_viewers{camera=\"back\"} 0\n"), "{text}");
    assert!(text.contains("\ncamwire_state{camera=\"back\",state=\"idle\"} 1\n"), "{text}");
    // The format: each family is announced once, and its samples follow.
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap();
            assert_eq!(text.matches(&format!("# TYPE {family} ")).count(), 1);
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(sample.starts_with(&format!("{family}{{camera=\"")), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn login_is_required_everywhere() {
    let mut config = Config::default();
    config.credentials.token = Some("T");
    let mut several = Several::new(&["front", "back"], config);
    for target in ["/", "/stats", "/metrics", "/healthz", "/front", "/front/", "/back/stream", "/x"]
    {
        assert_eq!(several.fetch(target).status, 401, "{target}");
    }
    assert_eq!(several.fetch("/stats?token=T").status, 200);
    assert_eq!(several.fetch("/back/stats?token=T").status, 200);
}

#[test]
fn only_cameras_with_settings_have_their_routes() {
    let world = World::new();
    let with = hub(Some("with"), world.clock, &Config::default());
    let hubs = vec![
        with.with_settings(leak(Settings::new())),
        hub(Some("without"), world.clock, &Config::default()),
    ];
    let server = leak(Server::of_cameras(hubs.leak()).unwrap());
    let mut several = Several { world, server, publishers: Vec::new() };
    assert_eq!(several.fetch("/with/status").status, 200);
    assert_eq!(several.fetch("/without/status").status, 404);
    assert_eq!(several.fetch("/without/control?var=quality&val=10").status, 404);
}

#[test]
fn single_camera_with_a_name_has_the_usual_paths_too() {
    let world = World::new();
    let server = leak(Server::from(hub(Some("front"), world.clock, &Config::default())));
    let mut several = Several { world, server, publishers: Vec::new() };
    for target in ["/", "/stats", "/healthz", "/front/", "/front/stats", "/front/healthz"] {
        assert_eq!(several.fetch(target).status, 200, "{target}");
    }
    assert_eq!(several.fetch("/stats").json()["name"], "front");
    assert_eq!(several.fetch("/front").status, 308);
    assert!(several.fetch("/metrics").text().contains("{camera=\"front\"}"));
}

#[test]
fn cameras_need_names_of_their_own() {
    let clock = leak(VirtualClock::new(Instant::ZERO, None));
    let several = |names: &[Option<&'static str>]| {
        let hubs = names.iter().map(|name| hub(*name, clock, &Config::default()));
        Server::of_cameras(hubs.collect::<Vec<_>>().leak()).is_some()
    };
    assert!(several(&[Some("a")]));
    assert!(several(&[Some("a"), Some("b"), Some("A")]));
    for names in [&[][..], &[None], &[Some("a"), None], &[Some("a"), Some("b"), Some("a")]] {
        assert!(!several(names), "{names:?}");
    }
}

#[cfg(feature = "ingest")]
#[test]
fn cameras_push_to_their_names() {
    let mut config = Config::default();
    config.ingest_token = Some("P");
    let mut several = Several::new(&["front", "back"], config);
    several.publishers.clear();
    for hub in several.server.hubs() {
        hub.ring().publisher().map(FramePublisher::detach).unwrap();
    }
    let mut push = |target: &str, token: &str| {
        several.send(format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        ))
    };
    let status = |client: &Client| {
        let answer = client.peer.answer();
        String::from_utf8_lossy(&answer[9..12]).into_owned()
    };
    let (front, back) = (push("/front/ingest", "P"), push("/back/ingest", "P"));
    assert_eq!((status(&front), status(&back)), ("101".into(), "101".into()));
    assert_eq!(status(&push("/front/ingest", "P")), "409");
    assert_eq!(status(&push("/front/ingest", "wrong")), "401");
    assert_eq!(status(&push("/ingest", "P")), "404");
}

#[cfg(feature = "ingest")]
#[test]
fn only_cameras_with_a_token_take_pushes() {
    let world = World::new();
    let mut config = Config::default();
    let captured = hub(Some("captured"), world.clock, &config);
    config.ingest_token = Some("P");
    let hubs = vec![captured, hub(Some("pushed"), world.clock, &config)];
    let server = leak(Server::of_cameras(hubs.leak()).unwrap());
    let mut several = Several { world, server, publishers: Vec::new() };
    let mut ingest = |name: &str| {
        let head = "Host: a\r\nAuthorization: Bearer P\r\n\r\n";
        several.send(format!("GET /{name}/ingest HTTP/1.1\r\n{head}")).response().status
    };
    assert_eq!((ingest("captured"), ingest("pushed")), (404, 426), "no Upgrade");
    assert_eq!(several.fetch("/pushed/ingest").status, 401);
}
