//! An output that is not built in: frames over plain TCP, each after its length in four bytes.
//!
//! ```sh
//! cargo run -p camwire-server --example tcp_output
//! ```
//!
//! A client sends one line with the token and gets frames:
//! `(echo T; cat) | nc 127.0.0.1 8081 | xxd | head`. It has a place among the viewers, so it is shown
//! in <http://127.0.0.1:8080/stats?token=T> and counts for the limit; a slow one misses frames, and
//! one that takes nothing for ten seconds is disconnected.
#![allow(dead_code, unreachable_pub)] // A test includes this file, and runs no main.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use camwire_capture::{CaptureConfig, FrameRing, Policy, SourceStatus, capture_loop};
use camwire_frame::{Clock, Instant, Quality, Random, Resolution};
use camwire_pattern::TestSource;
use camwire_server::{
    Config, Disconnect, Hub, Login, OutgoingFrame, Part, Sequential, Server, StreamOptions,
    Transport, ViewerSlot, Wire, WireError, stream,
};
use embedded_io_adapters::tokio_1::FromTokio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The name in `/stats`.
const TCP: Transport = Transport::new("tcp").unwrap();

/// Each frame after its length.
struct LengthPrefixed;

impl Wire for LengthPrefixed {
    const MEMORY: usize = 4;

    fn part<'m>(
        &mut self,
        _frame: &OutgoingFrame,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Result<Part<'m>, WireError> {
        let head = memory.first_chunk_mut().ok_or(WireError::Closed)?;
        *head = (bytes.len() as u32).to_be_bytes();
        Ok(Part { head, ..Part::rest(bytes, at) })
    }
}

/// Accepts connections for ever.
pub async fn serve<C: Clock + Sync>(hub: &'static Hub<'static, C>, listener: TcpListener) {
    while let Ok((socket, peer)) = listener.accept().await {
        // Not spawned, since only some clocks have futures that are `Send`.
        tokio::task::spawn_local(async move {
            let ended = connection(hub, socket, peer).await;
            println!("{peer}: {ended:?}");
        });
    }
}

/// Logs a client in, and sends it frames until it leaves.
async fn connection<C: Clock>(
    hub: &Hub<'static, C>,
    mut socket: TcpStream,
    peer: SocketAddr,
) -> Result<(), Disconnect<io::Error>> {
    socket.set_nodelay(true)?;
    let (read, write) = socket.split();
    // The login has the deadline of a request's head.
    let (mut read, mut token) = (BufReader::new(read), Vec::new());
    let line = async { (&mut read).take(512).read_until(b'\n', &mut token).await };
    let received = tokio::time::timeout(hub.config().head_timeout, line).await;
    received.map_err(|_| Disconnect::NoRequest)??;
    if !hub.config().credentials.allow(Some(Login::Token(token.trim_ascii()))) {
        return Err(Disconnect::Protocol);
    }
    let viewer = hub.claim_slot(TCP, &StreamOptions::default(), Some(peer));
    let viewer = viewer.map_err(|_| Disconnect::NoReader)?;
    let reader = hub.subscribe(viewer.mode()).map_err(|_| Disconnect::NoReader)?;
    let halves = (FromTokio::new(read), Sequential(FromTokio::new(write)));
    stream(hub, viewer, reader, halves, &mut LengthPrefixed, &mut [0; LengthPrefixed::MEMORY]).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    static STATUS: SourceStatus = SourceStatus::new("test card");
    static PLACES: [ViewerSlot; 4] = [const { ViewerSlot::new() }; 4];
    let clock = TokioClock(tokio::time::Instant::now());
    let ring = FrameRing::leak(8, 128 * 1024, 6, Policy::DropOldest).map_err(io::Error::other)?;
    let random = Random::new(|| getrandom::u32().expect("the system has random numbers"));
    let mut config = Config::default();
    config.credentials.token = Some("T");
    let server = Server::new(ring, &STATUS, &PLACES, clock, random, config);
    let server: &'static _ = Box::leak(Box::new(server));

    let capture = async {
        let source = &mut TestSource::new(clock, Resolution::VGA, Quality::new(12).unwrap());
        let mut config = CaptureConfig::default();
        config.rate = "15".parse().ok();
        let publisher = &mut ring.publisher().expect("nobody else publishes");
        capture_loop(publisher, source, &clock, &config, &STATUS).await;
    };
    let http = async {
        let listener = TcpListener::bind("127.0.0.1:8080").await?;
        loop {
            let (mut socket, peer) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                let (read, write) = socket.split();
                let (read, write) = (FromTokio::new(read), Sequential(FromTokio::new(write)));
                let _ = server.serve(read, write, Some(peer)).await;
            });
        }
    };
    let frames = serve(server.hub(), TcpListener::bind("127.0.0.1:8081").await?);
    let all = async { tokio::join!(capture, http, frames) };
    let (_, ended, ()) = tokio::task::LocalSet::new().run_until(all).await;
    ended
}

/// Time since the program's start.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock(pub tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.0.elapsed().as_micros() as u64)
    }

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(self.0 + Duration::from_micros(at.as_micros())).await;
    }
}
