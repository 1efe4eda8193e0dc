//! A relay that a camera pushes to, played by the test.

use camwire_server::{Authorization, Push, PushError};
use camwire_websocket as ws;

use super::World;
use super::time::Spawned;
use super::websocket::Got;
use super::wire::{Broken, Peer, wire};

pub type PushEnd = Result<(), PushError<Broken>>;

/// The other end of a push, or of another client.
pub struct Relay<T = PushEnd> {
    pub peer: Peer,
    pub pushed: Spawned<T>,
    socket: ws::Connection<ws::Server>,
    /// What the camera asked.
    pub request: String,
    read: usize,
    message: Vec<u8>,
    /// Whether Pings and Closes are answered.
    pub answers: bool,
}

pub const URI: &str = "ws://relay.example:8080/ingest";

/// What `push` pushes to.
pub fn push_to(options: &str) -> Push<'static> {
    let mut push = Push::to(ws::Uri::parse(URI).unwrap());
    push.authorization = Authorization::bearer("T").ok();
    push.options = options.parse().unwrap();
    push
}

impl World {
    /// A push that nobody has answered.
    pub fn push_with<const N: usize>(&mut self, to: Push<'static>) -> Relay {
        let (read, write, peer) = wire();
        let server = self.server;
        let pushed =
            self.sim.spawn(async move { to.run(server.hub(), read, write, &mut [0; N]).await });
        Relay::new(peer, pushed)
    }

    /// A push that was let in.
    pub fn push(&mut self, options: &str) -> Relay {
        let mut relay = self.push_with::<1024>(push_to(options));
        self.sim.run();
        relay.accept(&["camwire.v1"], b"");
        self.sim.run();
        relay
    }
}

impl<T> Relay<T> {
    pub fn new(peer: Peer, pushed: Spawned<T>) -> Self {
        let socket = ws::Connection::new(ws::Limits::default());
        let (request, message) = (String::new(), Vec::new());
        Self { peer, pushed, socket, request, read: 0, message, answers: true }
    }

    /// Lets the camera in; with the answer comes `first`.
    pub fn accept(&mut self, protocols: &[&str], first: &[u8]) {
        let answer = self.acceptance(protocols);
        self.peer.send([&answer, first].concat());
    }

    pub fn acceptance(&mut self, protocols: &[&str]) -> Vec<u8> {
        let asked = self.peer.answer();
        assert!(asked.ends_with(b"\r\n\r\n"), "it sends nothing before it is let in");
        self.read = asked.len();
        self.request = String::from_utf8(asked.clone()).unwrap();
        let accepted = ws::Request::parse(&asked).unwrap().accept(protocols).unwrap();
        accepted.response().concat()
    }

    /// What has come since it was last asked.
    pub fn take(&mut self) -> Vec<Got> {
        let mut input = self.peer.answer()[self.read..].to_vec();
        self.read += input.len();
        let mut rest = &mut input[..];
        let mut got = Vec::new();
        while let Some(event) = self.socket.next(&mut rest).unwrap() {
            match event {
                ws::Event::Data(data) => {
                    self.message.extend_from_slice(data.bytes);
                    if data.fin == ws::Fin::Last {
                        assert_eq!(data.kind, ws::Kind::Binary);
                        got.push(Got::Binary(std::mem::take(&mut self.message)));
                    }
                }
                ws::Event::Ping(payload) => got.push(Got::Ping(payload.to_vec())),
                ws::Event::Pong(payload) => got.push(Got::Pong(payload.to_vec())),
                ws::Event::Close(close) => {
                    got.push(Got::Close(close.map(|close| close.code().get())));
                }
            }
        }
        while self.answers
            && let Some(answer) = self.socket.answer(())
        {
            self.peer.send(answer.as_bytes());
        }
        got
    }

    /// The messages that have come; there must be nothing else but Pings.
    pub fn messages(&mut self) -> Vec<Vec<u8>> {
        let got = self.take().into_iter();
        got.filter_map(|got| match got {
            Got::Binary(message) => Some(message),
            Got::Ping(_) => None,
            other => panic!("{other:?}"),
        })
        .collect()
    }

    pub fn close(&mut self) {
        self.peer.send(self.socket.close(None, ()).unwrap().as_bytes());
    }

    pub fn frame(&mut self, message: &[u8]) -> Vec<u8> {
        let head = self.socket.message(ws::Kind::Binary, message.len(), ()).unwrap();
        [head.as_bytes(), message].concat()
    }

    pub fn send(&mut self, message: &[u8]) {
        let frame = self.frame(message);
        self.peer.send(frame);
    }

    pub fn credit(&mut self, credit: u8) {
        self.send(&[2, credit]);
    }

    pub fn acknowledge(&mut self, number: u64) {
        self.send(&[&[1], &number.to_be_bytes()[..]].concat());
    }

    pub fn ping(&mut self, payload: &[u8]) {
        self.peer.send(self.socket.ping(payload, ()).unwrap().as_bytes());
    }

    /// How the push ended; panics if it has not.
    pub fn end(&self) -> T {
        self.pushed.take().expect("still pushing")
    }
}
