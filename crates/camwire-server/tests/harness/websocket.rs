//! A client that speaks WebSocket, and keeps what it got.

use camwire_server::Disconnect;
use camwire_websocket as ws;

use super::http::Response;
use super::wire::Broken;
use super::{Client, World};

const NONCE: [u8; 16] = *b"the sample nonce";
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Something that came, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Binary(Vec<u8>),
    Text(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// The other side of a WebSocket.
pub struct Viewer {
    pub client: Client,
    pub protocol: Option<&'static str>,
    socket: ws::Connection<ws::Client>,
    read: usize,
    message: Vec<u8>,
    got: Vec<Got>,
    /// Whether Pings and Closes are answered.
    pub answers: bool,
}

/// A request that asks for nothing but a WebSocket.
pub fn request(target: &str) -> ws::ClientRequest<'_> {
    ws::ClientRequest::new("camera.local", target)
}

/// Its bytes.
pub fn bytes(request: &ws::ClientRequest<'_>) -> Vec<u8> {
    request.write(NONCE, &mut [0; 2048]).unwrap().to_vec()
}

impl World {
    /// A viewer that was let in.
    pub fn watch(&mut self, target: &str) -> Viewer {
        self.watch_as(&request(target))
    }

    pub fn watch_as(&mut self, request: &ws::ClientRequest<'_>) -> Viewer {
        let client = self.connect();
        client.peer.send(bytes(request));
        self.sim.run();
        Viewer::of(client, request)
    }
}

impl Viewer {
    pub fn of(client: Client, request: &ws::ClientRequest<'_>) -> Self {
        let answer = client.peer.answer();
        let response = Response::parse(&answer);
        assert_eq!(response.status, 101, "{response:?}");
        let offered: Vec<&'static str> = request
            .protocols
            .iter()
            .filter(|one| **one == "camwire.v1")
            .map(|_| "camwire.v1")
            .collect();
        let handshake = ws::ClientHandshake::new(NONCE, offered.leak());
        let protocol = handshake.read(&answer[..response.head_len]).unwrap();
        let socket = ws::Connection::new(ws::Limits::default());
        let (read, message, got) = (response.head_len, Vec::new(), Vec::new());
        Self { client, protocol, socket, read, message, got, answers: true }
    }

    /// What has come since it was last asked.
    pub fn take(&mut self) -> Vec<Got> {
        let mut input = self.client.peer.answer()[self.read..].to_vec();
        self.read += input.len();
        let mut rest = &mut input[..];
        while let Some(event) = self.socket.next(&mut rest).unwrap() {
            match event {
                ws::Event::Data(data) => {
                    assert_eq!(data.offset, self.message.len() as u64);
                    self.message.extend_from_slice(data.bytes);
                    if data.fin == ws::Fin::Last {
                        let message = std::mem::take(&mut self.message);
                        self.got.push(match data.kind {
                            ws::Kind::Binary => Got::Binary(message),
                            ws::Kind::Text => Got::Text(message),
                        });
                    }
                }
                ws::Event::Ping(payload) => self.got.push(Got::Ping(payload.to_vec())),
                ws::Event::Pong(payload) => self.got.push(Got::Pong(payload.to_vec())),
                ws::Event::Close(close) => {
                    self.got.push(Got::Close(close.map(|close| close.code().get())));
                }
            }
        }
        while self.answers
            && let Some(answer) = self.socket.answer(KEY)
        {
            self.client.peer.send(answer.as_bytes());
        }
        std::mem::take(&mut self.got)
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

    pub fn send(&mut self, kind: ws::Kind, message: &[u8]) {
        let head = self.socket.message(kind, message.len(), KEY).unwrap();
        let mut message = message.to_vec();
        ws::Mask::new(KEY).apply(&mut message);
        self.client.peer.send([head.as_bytes(), &message].concat());
    }

    pub fn ping(&mut self, payload: &[u8]) {
        self.client.peer.send(self.socket.ping(payload, KEY).unwrap().as_bytes());
    }

    pub fn close(&mut self, code: ws::CloseCode) {
        let close = self.socket.close(Some(ws::Close::new(code)), KEY).unwrap();
        self.client.peer.send(close.as_bytes());
    }

    /// How the connection ended; panics if it has not.
    pub fn end(&self) -> Result<(), Disconnect<Broken>> {
        self.client.end()
    }

    pub fn is_served(&self) -> bool {
        self.client.is_served()
    }
}
