//! The boundary of each stream: unpredictable, since a frame that holds it could carry a page.

mod harness;

use std::cell::Cell;
use std::collections::HashSet;

use camwire_frame::Random;
use camwire_server::{Config, Server, StreamBody, ViewerSlot};
use harness::wire::wire;
use harness::{Client, World, every, ms, request};

const TARGETS: [&str; 5] =
    ["/stream", "/mjpeg/1", "/stream?mode=all", "/stream?fps=5", "/stream?advance_headers=1"];

fn boundary(client: &Client) -> String {
    client.response().boundary()
}

#[test]
fn each_response_has_another_boundary() {
    let mut world = World::new();
    let mut seen = HashSet::new();
    for _ in 0..20 {
        for target in TARGETS {
            for method in ["GET", "HEAD"] {
                let client = world.ask(method, target);
                assert!(seen.insert(boundary(&client)), "{method} {target}");
                client.peer.close();
                world.sim.run();
            }
            let query = target.split_once('?').map_or("", |(_, query)| query);
            let body = StreamBody::new(world.server.hub(), query.parse().unwrap(), None).unwrap();
            let content_type = body.content_type().to_string();
            assert!(seen.insert(harness::http::boundary(&content_type)), "a body for {target}");
        }
    }
    assert!(seen.iter().all(|boundary| (22..=70).contains(&boundary.len())), "{seen:?}");
}

#[test]
fn boundary_of_the_head_separates_the_frames_until_the_end() {
    for target in TARGETS {
        let mut world = World::new();
        let camera = world.camera(harness::camera::Outcome::End);
        camera.first((0..10).map(|_| every(40, 100)));
        // Others do not change it.
        let clients = [(); 3].map(|()| world.get(target));
        world.sim.advance(ms(1000));
        for client in &clients {
            let (b, body) = (boundary(client), client.response().body);
            assert!(body.starts_with(format!("--{b}\r\n").as_bytes()), "{target}");
            assert!(body.ends_with(format!("\r\n--{b}--\r\n").as_bytes()), "{target}");
            let stream = client.stream();
            assert!(stream.closed && stream.parts.len() > 1, "{target}");
            let text = String::from_utf8_lossy(&body);
            let frames = stream.parts.iter().filter(|part| !part.picture.is_empty()).count();
            assert_eq!(text.matches(&b).count(), 1 + frames + 1, "start, frames, end: {target}");
        }
    }
}

/// Each of 128 bits makes a difference, and each stream takes bits of its own.
#[test]
fn boundary_is_made_of_128_bits_of_the_platform() {
    thread_local! {
        static WORDS: Cell<[u32; 4]> = const { Cell::new([0; 4]) };
        static TAKEN: Cell<usize> = const { Cell::new(0) };
    }
    let random = Random::new(|| {
        TAKEN.set(TAKEN.get() + 1);
        WORDS.get()[(TAKEN.get() - 1) % 4]
    });
    let World { ring, status, clock, mut sim, .. } = World::new();
    let viewers: &'static _ = Box::leak(Box::new([ViewerSlot::new()]));
    let server = Server::new(ring, status, viewers, clock, random, Config::default());
    let server: &'static _ = Box::leak(Box::new(server));
    let mut seen = HashSet::new();
    for bit in 0..128 {
        let mut words = [0; 4];
        words[bit / 32] = 1 << (bit % 32);
        WORDS.set(words);
        let (read, write, peer) = wire();
        let served = sim.spawn(async move { server.serve(read, write, None).await });
        peer.send(request("GET", "/stream"));
        sim.run();
        peer.close();
        sim.run();
        let client = Client { peer, served };
        assert!(seen.insert(boundary(&client)), "bit {bit}");
        assert_eq!(TAKEN.get(), 4 * (bit + 1));
    }
}
