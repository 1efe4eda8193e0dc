//! What the tests of the server share: time, a camera, a wire, and eyes for HTTP.
#![allow(dead_code, unreachable_pub)] // Each test uses its part of it.

pub mod camera;
pub mod http;
pub mod relay;
pub mod time;
pub mod websocket;
pub mod wire;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use camwire_capture::{
    CaptureConfig, FramePublisher, FrameRing, Policy, Settings, SourceStatus,
    capture_loop_with_settings,
};
use camwire_frame::{Clock, Instant, Random};
use camwire_server::{Config, Disconnect, Server, ViewerSlot};

use self::camera::{Camera, Outcome, info, picture};
use self::http::{Response, Stream};
use self::time::{Sim, Spawned, VirtualClock};
use self::wire::{Broken, Peer, wire};

pub const START: Instant = Instant::from_micros(5_000_000_000);
pub const UNIX: u64 = 1_700_000_000_000_000;

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A picture of `len` bytes every so many milliseconds.
pub fn every(millis: u64, len: usize) -> Outcome {
    Outcome::Picture(ms(millis), len)
}

thread_local! {
    static DRAWN: Cell<u32> = const { Cell::new(0) };
}

/// Numbers that no test may see twice, and each new world gets again.
pub const RANDOM: Random = Random::new(|| {
    DRAWN.set(DRAWN.get() + 1);
    DRAWN.get().wrapping_mul(0x9E37_79B9)
});

pub type Ending = Result<(), Disconnect<Broken>>;

/// What a world is made of.
pub struct Plan {
    pub slots: usize,
    pub slot_bytes: usize,
    pub viewers: usize,
    /// Places for readers in the ring besides those of the viewers.
    pub spare: usize,
    pub policy: Policy,
    pub config: Config,
    pub unix: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            slots: 8,
            slot_bytes: 4096,
            viewers: 8,
            spare: 4,
            policy: Policy::DropOldest,
            config: Config::default(),
            unix: Some(UNIX),
        }
    }
}

impl Plan {
    pub fn policy(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    pub fn configured(set: impl FnOnce(&mut Config)) -> Self {
        let mut plan = Self::default();
        set(&mut plan.config);
        plan
    }

    pub fn build(self) -> World {
        let clock: &'static VirtualClock = leak(VirtualClock::new(START, self.unix));
        let readers = self.viewers + self.spare;
        let ring = FrameRing::leak(self.slots, self.slot_bytes, readers, self.policy).unwrap();
        let status: &'static SourceStatus = leak(SourceStatus::new("plan"));
        let viewers = (0..self.viewers).map(|_| ViewerSlot::new()).collect::<Vec<_>>().leak();
        let settings: &'static Settings = leak(Settings::new());
        DRAWN.set(0);
        let server = Server::new(ring, status, viewers, clock, RANDOM, self.config);
        let server = server.with_settings(settings);
        World { clock, ring, status, settings, server: leak(server), sim: Sim::new(clock) }
    }
}

/// Tests are short; what they leave behind does not matter, and borrowing is easier so.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// A server with its ring, and no camera yet.
pub struct World {
    pub clock: &'static VirtualClock,
    pub ring: &'static FrameRing<'static>,
    pub status: &'static SourceStatus,
    pub settings: &'static Settings,
    pub server: &'static Server<'static, &'static VirtualClock>,
    pub sim: Sim<'static>,
}

impl World {
    pub fn new() -> Self {
        Plan::default().build()
    }

    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A camera and its capture loop, at once.
    pub fn camera(&mut self, rest: Outcome) -> Camera {
        self.camera_with(rest, CaptureConfig::default())
    }

    pub fn camera_with(&mut self, rest: Outcome, config: CaptureConfig) -> Camera {
        let camera = Camera::new(self.clock, rest);
        let (ring, clock, status, settings) = (self.ring, self.clock, self.status, self.settings);
        let mut source = camera.clone();
        self.sim.spawn(async move {
            let publisher = &mut ring.publisher().unwrap();
            let source = &mut source;
            capture_loop_with_settings(publisher, source, clock, &config, status, settings).await;
        });
        camera
    }

    /// For tests that publish by hand.
    pub fn publisher(&self) -> Hand {
        Hand { publisher: self.ring.publisher().unwrap(), clock: self.clock }
    }

    /// A connection that has said nothing.
    pub fn connect(&mut self) -> Client {
        self.connect_from(None)
    }

    pub fn connect_from(&mut self, from: Option<SocketAddr>) -> Client {
        let (read, write, peer) = wire();
        let server = self.server;
        let served = self.sim.spawn(async move { server.serve(read, write, from).await });
        Client { peer, served }
    }

    /// A connection that has asked for `target`, and got what comes at once.
    pub fn get(&mut self, target: &str) -> Client {
        self.ask("GET", target)
    }

    pub fn ask(&mut self, method: &str, target: &str) -> Client {
        let client = self.connect();
        client.peer.send(request(method, target));
        self.sim.run();
        client
    }

    /// The whole answer to a request that is answered at once.
    pub fn fetch(&mut self, target: &str) -> Response {
        let client = self.get(target);
        assert_eq!(client.served.take(), Some(Ok(())), "{target}");
        client.response()
    }

    pub fn stats(&mut self) -> serde_json::Value {
        self.fetch("/stats").json()
    }

    /// A viewer of `target` that reads `bytes` bytes every `pause`, and has room for `capacity`
    /// bytes in between.
    pub fn slow(&mut self, target: &str, capacity: usize, bytes: usize, pause: Duration) -> Client {
        let client = self.connect();
        client.peer.set_capacity(capacity);
        client.peer.send(request("GET", target));
        let (peer, clock) = (client.peer.clone(), self.clock);
        self.sim.spawn(async move {
            while !peer.is_hung_up() {
                clock.sleep(pause).await;
                peer.take(bytes);
            }
        });
        self.sim.run();
        client
    }
}

/// A request as a usual client makes it.
pub fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: camera.local\r\nAccept: */*\r\n\r\n")
}

/// The other side of a connection.
pub struct Client {
    pub peer: Peer,
    pub served: Spawned<Ending>,
}

impl Client {
    pub fn response(&self) -> Response {
        Response::parse(&self.peer.answer())
    }

    pub fn stream(&self) -> Stream {
        self.response().stream()
    }

    pub fn is_served(&self) -> bool {
        self.served.is_done()
    }

    /// How the connection ended; panics if it has not.
    pub fn end(&self) -> Ending {
        self.served.take().expect("still connected")
    }
}

/// A publisher moved by hand.
pub struct Hand {
    pub publisher: FramePublisher<'static>,
    clock: &'static VirtualClock,
}

impl Hand {
    /// Publishes a picture of `len` bytes that was captured now; returns its number.
    pub fn publish(&mut self, len: usize) -> u64 {
        let mut grant = self.publisher.try_grant().unwrap();
        // Its number is only known afterwards, so the drawing tells the time instead.
        let now = self.clock.now();
        grant[..len].copy_from_slice(&picture(len, now.as_micros()));
        self.publisher.commit(grant, len, info(len, now)).unwrap()
    }
}
