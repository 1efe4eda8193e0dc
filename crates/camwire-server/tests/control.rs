//! `/status` and `/control`, as Espressif's CameraWebServer has them.

mod harness;

use camwire_capture::CaptureConfig;
use camwire_frame::{Resolution, SettingName};
use camwire_server::{Config, Server};
use harness::camera::{Call, Camera, Obedience};
use harness::wire::wire;
use harness::{Client, Plan, RANDOM, World, every, ms, request, secs};

fn world() -> (World, Camera) {
    // Room for a picture of SVGA, by the driver's reckoning, and not for one of XGA.
    let mut world = Plan { slot_bytes: 100_000, ..Plan::default() }.build();
    let camera = world.camera(every(50, 1000));
    world.sim.run();
    (world, camera)
}

/// What the camera was told, in order.
fn told(camera: &Camera) -> Vec<(&'static str, i16)> {
    let set = camera.calls().into_iter().filter_map(|(_, call)| match call {
        Call::Set(setting) => Some((setting.name().as_str(), setting.number())),
        _ => None,
    });
    set.collect()
}

#[test]
fn status_is_what_the_camera_is_set_to() {
    let (mut world, _camera) = world();
    let response = world.fetch("/status");
    assert_eq!(response.field("Content-Type"), Some("application/json"));
    assert_eq!(response.text(), "{\"framesize\":1,\"quality\":12,\"vflip\":0}\n");
}

#[test]
fn before_a_camera_has_shown_anything_it_is_empty() {
    assert_eq!(World::new().fetch("/status").text(), "{}\n");
}

#[test]
fn control_is_answered_with_nothing_when_it_is_done() {
    let (mut world, camera) = world();
    for (query, wanted) in [
        ("var=quality&val=10", ("quality", 10)),
        ("val=1&var=vflip&_=7", ("vflip", 1)),
        ("var=framesize&val=6", ("framesize", 6)),
        ("var=framesize&val=svga", ("framesize", 11)),
        ("var=quality&var=vflip&val=0", ("vflip", 0)),
    ] {
        let response = world.fetch(&format!("/control?{query}"));
        assert_eq!((response.status, response.body.len()), (200, 0), "{query}");
        assert_eq!(told(&camera).last(), Some(&wanted));
    }
    let status = world.fetch("/status").json();
    assert_eq!(status, serde_json::json!({ "framesize": 11, "quality": 10, "vflip": 0 }));
}

#[test]
fn bad_names_and_values_change_nothing() {
    let (mut world, camera) = world();
    for (query, reason) in [
        ("", "var must name a setting, as in /control?var=quality&val=12"),
        ("var=&val=1", "var must name a setting, as in /control?var=quality&val=12"),
        ("var=nonsense&val=1", "var must name a setting, as in /control?var=quality&val=12"),
        ("var=quality", "quality is a number from 0 to 63"),
        ("var=quality&val=64", "quality is a number from 0 to 63"),
        ("var=quality&val=-1", "quality is a number from 0 to 63"),
        ("var=quality&val=1.5", "quality is a number from 0 to 63"),
        ("var=quality&val=99999999999999999999", "quality is a number from 0 to 63"),
        ("var=vflip&val=2", "vflip is a number from 0 to 1"),
        ("var=ae_level&val=6", "ae_level is a number from -5 to 5"),
        ("var=framesize&val=25", "framesize is a number from 0 to 24"),
    ] {
        let client = world.get(&format!("/control?{query}"));
        let response = client.response();
        assert_eq!((response.status, response.text()), (400, reason), "{query}");
    }
    assert_eq!(told(&camera), []);
}

#[test]
fn what_this_camera_has_not_is_refused() {
    let (mut world, _camera) = world();
    let response = world.get("/control?var=agc_gain&val=1").response();
    assert_eq!((response.status, response.text()), (400, "the source cannot be set to that"));
    let response = world.get("/control?var=framesize&val=XGA").response();
    let reason = "frames of that size may need 157286 bytes, which is more than there is for one";
    assert_eq!((response.status, response.text()), (400, reason));
}

#[test]
fn only_get_and_post_change_anything() {
    let (mut world, camera) = world();
    for method in ["HEAD", "PUT", "OPTIONS"] {
        let response = world.ask(method, "/control?var=vflip&val=1").response();
        assert_eq!((response.status, response.field("Allow")), (405, Some("GET, POST")));
    }
    assert_eq!(told(&camera), []);
    let client = world.ask("POST", "/control?var=vflip&val=1");
    assert_eq!(client.response().status, 200);
    assert_eq!(told(&camera), [("vflip", 1)]);
    client.peer.close();
    world.sim.run();
    assert!(client.is_served());
    assert_eq!(world.ask("HEAD", "/status").response().body, b"");
}

#[test]
fn two_at_once_are_done_one_after_the_other() {
    let (mut world, camera) = world();
    camera.obeys(Obedience::After(ms(30)));
    let one = world.get("/control?var=quality&val=1");
    let other = world.get("/control?var=quality&val=2");
    world.sim.advance(ms(30));
    assert_eq!(one.response().status, 200);
    assert_eq!(other.peer.written(), 0);
    world.sim.advance(ms(50));
    assert_eq!(other.response().status, 200);
    assert_eq!(told(&camera), [("quality", 1), ("quality", 2)]);
}

#[test]
fn a_camera_that_fails_or_hangs_is_told() {
    let (mut world, camera) = world();
    camera.obeys(Obedience::Failure);
    let response = world.get("/control?var=quality&val=1").response();
    assert_eq!((response.status, response.text()), (500, "the source failed"));
    camera.obeys(Obedience::Hang);
    let first = world.get("/control?var=quality&val=1");
    let second = world.get("/control?var=quality&val=1");
    // The capture loop gives the driver up at the same moment as the server does.
    world.sim.advance(CaptureConfig::default().timeout.max(Config::default().control_timeout));
    assert!(matches!(first.response().status, 500 | 503));
    let response = second.response();
    assert_eq!((response.status, response.field("Retry-After")), (503, Some("5")));
    // It is well again.
    camera.obeys(Obedience::After(ms(1)));
    let again = world.get("/control?var=quality&val=3");
    world.sim.advance(ms(100));
    assert_eq!(again.response().status, 200);
}

#[test]
fn without_a_capture_loop_there_is_no_source() {
    let mut world = World::new();
    let response = world.get("/control?var=quality&val=3").response();
    assert_eq!((response.status, response.text()), (503, "there is no source"));
    let camera = world.camera(every(50, 1000));
    world.sim.advance(secs(1));
    assert_eq!(told(&camera), []);
}

#[test]
fn a_stream_goes_on_and_shows_it() {
    let (mut world, camera) = world();
    let viewer = world.get("/stream");
    world.sim.advance(ms(220));
    let control = world.get("/control?var=vflip&val=1");
    world.sim.advance(ms(300));
    assert_eq!(control.response().status, 200);
    assert_eq!(viewer.stream().numbers(), (1..=10).collect::<Vec<_>>());
    assert_eq!(camera.times_of(Call::Cancelled), []);
}

#[test]
fn a_server_without_settings_has_neither() {
    let world = World::new();
    let server = Server::new(world.ring, world.status, &[], world.clock, RANDOM, Config::default());
    let server = Box::leak(Box::new(server));
    let mut sim = world.sim;
    for target in ["/status", "/control?var=quality&val=1", "/control", "/control?var=x"] {
        let (read, write, peer) = wire();
        let server = &*server;
        let served = sim.spawn(async move { server.serve(read, write, None).await });
        peer.send(request("GET", target));
        sim.run();
        assert_eq!(Client { peer, served }.response().status, 404);
    }
}

/// Every setting there is, each at its longest, still fits.
#[test]
fn the_longest_status() {
    let mut text = String::from("{");
    for name in SettingName::ALL {
        let (min, max) = name.range();
        let longest = [min, max].map(|n| n.to_string()).into_iter().max_by_key(String::len);
        text += &format!("\"{}\":{},", name.as_str(), longest.unwrap());
    }
    assert!(text.len() < 512, "{}", text.len());
}

/// The page has a list of its own.
#[test]
fn the_page_offers_every_size() {
    let page = include_str!("../src/routes/page.html").replace("\" +\n    \"", "");
    let sizes =
        Resolution::ALL.iter().map(|r| format!("{} {}x{}", r.name(), r.width(), r.height()));
    assert!(page.contains(&format!("\"{}\"", sizes.collect::<Vec<_>>().join(","))));
}
