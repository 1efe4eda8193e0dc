//! An output from outside: the example over plain TCP, with real sockets, has its place among the
//! viewers, and obeys logins, limits and the drop policy.

#[path = "../examples/tcp_output.rs"]
mod tcp_output;

use std::time::Duration;

use camwire_capture::{FramePublisher, FrameRing, Policy, SourceStatus};
use camwire_frame::{Clock, FrameInfo, Random};
use camwire_server::{Config, Sequential, Server, ViewerSlot};
use embedded_io_adapters::tokio_1::FromTokio;
use serde_json::Value;
use tcp_output::TokioClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// More than the kernel's buffers of a connection hold in a few hundred of them.
const FRAME_BYTES: usize = 100_000;

type Camera = &'static Server<'static, TokioClock>;

struct World {
    server: Camera,
    publisher: FramePublisher<'static>,
    address: std::net::SocketAddr,
}

/// A server with one place for viewers, which asks for the token `T`.
async fn world() -> World {
    let clock = TokioClock(tokio::time::Instant::now());
    let ring = FrameRing::leak(4, FRAME_BYTES, 3, Policy::DropOldest).unwrap();
    let status: &'static SourceStatus = Box::leak(Box::new(SourceStatus::new("test")));
    let places: &'static [ViewerSlot] = Box::leak(Box::new([ViewerSlot::new()]));
    let mut config = Config::default();
    config.credentials.token = Some("T");
    let random = Random::new(|| 1);
    let server = Server::new(ring, status, places, clock, random, config);
    let server: Camera = Box::leak(Box::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(tcp_output::serve(server.hub(), listener));
    World { server, publisher: ring.publisher().unwrap(), address }
}

impl World {
    async fn connect(&self, line: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(line.as_bytes()).await.unwrap();
        client
    }

    /// A client that has its place.
    async fn viewer(&self) -> TcpStream {
        let client = self.connect("T\n").await;
        while self.publisher.ring().readers() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client
    }

    fn publish(&mut self, fill: u8) {
        let Ok(mut grant) = self.publisher.try_grant() else { return self.publisher.skip() };
        grant.fill(fill);
        let captured_at = self.server.hub().clock().now();
        let info = FrameInfo { len: grant.len(), captured_at, ..FrameInfo::default() };
        self.publisher.commit(grant, info.len, info).unwrap();
    }

    async fn stats(&self) -> Value {
        let mut answer = Vec::new();
        let request = &b"GET /stats?token=T HTTP/1.1\r\nHost: a\r\n\r\n"[..];
        let (read, write) = (FromTokio::new(request), Sequential(FromTokio::new(&mut answer)));
        self.server.serve(read, write, None).await.unwrap();
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        serde_json::from_slice(&answer[body..]).unwrap()
    }
}

async fn frame(client: &mut TcpStream) -> Vec<u8> {
    let len = timeout(LONG, client.read_u32()).await.unwrap().unwrap();
    let mut frame = vec![0; len as usize];
    timeout(LONG, client.read_exact(&mut frame)).await.unwrap().unwrap();
    frame
}

async fn is_closed(client: &mut TcpStream) -> bool {
    matches!(timeout(LONG, client.read(&mut [0])).await.unwrap(), Ok(0) | Err(_))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(test));
}

#[test]
fn tcp_viewer_gets_frames_and_is_shown_in_stats() {
    run(async {
        let mut world = world().await;
        let mut client = world.viewer().await;
        for fill in 1..=3 {
            world.publish(fill);
            assert_eq!(frame(&mut client).await, vec![fill; FRAME_BYTES]);
        }
        let stats = world.stats().await;
        let viewer = &stats["viewers"][0];
        assert_eq!(viewer["transport"], "tcp");
        assert_eq!(viewer["peer"], client.local_addr().unwrap().to_string());
        assert_eq!((&viewer["sent"], &viewer["missed"]), (&3.into(), &0.into()));
        assert_eq!(viewer["bytes"], 3 * (4 + FRAME_BYTES));
        world.publisher.close();
        assert!(is_closed(&mut client).await, "the source has ended");
    });
}

#[test]
fn tcp_client_without_the_token_is_disconnected() {
    run(async {
        let world = world().await;
        for line in ["\n", "wrong\n", "TT\n", &"T".repeat(600)] {
            let mut client = world.connect(line).await;
            assert!(is_closed(&mut client).await, "{line:?}");
        }
        assert_eq!(world.publisher.ring().readers(), 0, "nobody has caused demand");
        assert_eq!(world.stats().await["viewers"], Value::Array(vec![]));
    });
}

#[test]
fn tcp_client_beyond_the_limit_is_disconnected() {
    run(async {
        let mut world = world().await;
        let mut first = world.viewer().await;
        let mut second = world.connect("T\n").await;
        assert!(is_closed(&mut second).await);
        world.publish(7);
        assert_eq!(frame(&mut first).await[0], 7);
        drop(first);
        while world.publisher.ring().readers() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.viewer().await; // The place is free again.
    });
}

#[test]
fn slow_tcp_viewer_misses_frames_and_goes_on_with_the_newest() {
    run(async {
        let mut world = world().await;
        let mut client = world.viewer().await;
        for _ in 0..300 {
            world.publish(1);
            tokio::task::yield_now().await;
        }
        let stats = world.stats().await;
        assert!(stats["viewers"][0]["sent"].as_u64().unwrap() < 200, "30 MB do not fit the kernel");
        world.publish(2);
        let mut read = 1;
        while frame(&mut client).await[0] != 2 {
            read += 1;
        }
        assert!(read < 200, "{read}");
        let stats = world.stats().await;
        assert!(stats["viewers"][0]["missed"].as_u64().unwrap() > 100);
    });
}
