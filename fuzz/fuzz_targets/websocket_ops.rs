//! A client and a server that do anything in any order, over a line that cuts as it likes: neither
//! ever finds fault with the other, and what is sent before a Close arrives.
#![no_main]

#[path = "../../crates/camwire-websocket/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use camwire_websocket::{
    Client, Close, CloseCode, Connection, EncodeError, Fin, Kind, Limits, Mask, Phase, Role, Server,
};
use common::{Seen, add};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Message {
        text: bool,
        payload: &'a str,
    },
    Fragment {
        text: bool,
        payload: &'a str,
        last: bool,
    },
    Ping {
        payload: &'a [u8],
    },
    Close {
        code: Option<u16>,
        reason: &'a str,
    },
    Answer,
    /// So many bytes arrive.
    Receive {
        bytes: u16,
    },
}

/// One end, what it has sent that has not arrived, what it told, and what it must tell.
struct End<R: Role> {
    connection: Connection<R>,
    key: fn(u32) -> R::Key,
    mask: fn(R::Key) -> Option<[u8; 4]>,
    keys: u32,
    sent: Vec<u8>,
    seen: Vec<Seen>,
    owed: Vec<Seen>,
}

impl<R: Role> End<R> {
    fn new(key: fn(u32) -> R::Key, mask: fn(R::Key) -> Option<[u8; 4]>) -> Self {
        let connection = Connection::new(Limits::default());
        let (sent, seen, owed) = (Vec::new(), Vec::new(), Vec::new());
        Self { connection, key, mask, keys: 0, sent, seen, owed }
    }

    fn key(&mut self) -> R::Key {
        self.keys = self.keys.wrapping_mul(0x9E37_79B9).wrapping_add(1);
        (self.key)(self.keys)
    }

    /// Returns what the other end must tell of it.
    fn act(&mut self, op: &Op<'_>) -> Option<Seen> {
        let key = self.key();
        let open = self.connection.phase() == Phase::Open;
        let kind = |text| if text { Kind::Text } else { Kind::Binary };
        let (kind, payload, fin, head) = match *op {
            Op::Message { text, payload } => {
                let head = self.connection.message(kind(text), payload.len(), key);
                (kind(text), payload, Fin::Last, head)
            }
            Op::Fragment { text, payload, last } => {
                let fin = if last { Fin::Last } else { Fin::More };
                let head = self.connection.fragment(kind(text), payload.len(), fin, key);
                (kind(text), payload, fin, head)
            }
            Op::Ping { payload } => {
                let frame = self.connection.ping(payload, key);
                assert_eq!(frame.is_ok(), open && payload.len() <= 125);
                self.sent.extend_from_slice(frame.ok()?.as_bytes());
                return Some(Seen::Ping(payload.to_vec()));
            }
            Op::Close { code, reason } => {
                let code = code.and_then(CloseCode::new);
                let close = code.map(|code| Close::with_reason(code, reason));
                let frame = self.connection.close(close, key).ok()?;
                self.sent.extend_from_slice(frame.as_bytes());
                return Some(Seen::Close(
                    close.map(|it| (it.code().get(), it.reason().to_owned())),
                ));
            }
            Op::Answer => {
                let frame = self.connection.answer(key)?;
                self.sent.extend_from_slice(frame.as_bytes());
                return self.owed.pop();
            }
            Op::Receive { .. } => return None,
        };
        assert_eq!(head.as_ref().err() == Some(&EncodeError::Closed), !open);
        self.sent.extend_from_slice(head.ok()?.as_bytes());
        let start = self.sent.len();
        self.sent.extend_from_slice(payload.as_bytes());
        if let Some(key) = (self.mask)(key) {
            Mask::new(key).apply(&mut self.sent[start..]);
        }
        // A fragment without payload is not told, unless it is the last one.
        let told = !payload.is_empty() || fin == Fin::Last;
        told.then(|| Seen::Data(kind, payload.as_bytes().to_vec(), fin))
    }

    fn receive(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while let Some(event) = self.connection.next(&mut rest).expect("no fault") {
            let one = Seen::of(event);
            match &one {
                Seen::Ping(payload) => self.owed = vec![Seen::Pong(payload.clone())],
                // With the code alone.
                Seen::Close(close) => {
                    let code = close.as_ref().map(|(code, _)| (*code, String::new()));
                    self.owed = vec![Seen::Close(code)];
                }
                _ => {}
            }
            add(&mut self.seen, one);
        }
    }
}

fn step<A: Role, B: Role>(
    from: &mut End<A>,
    to: &mut End<B>,
    expected: &mut Vec<Seen>,
    op: &Op<'_>,
) {
    if let Op::Receive { bytes } = op {
        let size = usize::from(*bytes).min(from.sent.len());
        let mut bytes: Vec<u8> = from.sent.drain(..size).collect();
        to.receive(&mut bytes);
    } else if let Some(seen) = from.act(op) {
        // Nothing is told after a Close.
        if !matches!(expected.last(), Some(Seen::Close(_))) {
            add(expected, seen);
        }
    }
}

fuzz_target!(|ops: Vec<(bool, Op<'_>)>| {
    let mut server = End::<Server>::new(|_| (), |()| None);
    let mut client = End::<Client>::new(u32::to_be_bytes, Some);
    let (mut of_server, mut of_client) = (Vec::new(), Vec::new());
    for (by_server, op) in &ops {
        if *by_server {
            step(&mut server, &mut client, &mut of_server, op);
        } else {
            step(&mut client, &mut server, &mut of_client, op);
        }
    }
    for _ in 0..2 {
        let all = Op::Receive { bytes: u16::MAX };
        while !server.sent.is_empty() || !client.sent.is_empty() {
            step(&mut server, &mut client, &mut of_server, &all);
            step(&mut client, &mut server, &mut of_client, &all);
        }
        // In the second round nothing is left that is owed.
        step(&mut server, &mut client, &mut of_server, &Op::Answer);
        step(&mut client, &mut server, &mut of_client, &Op::Answer);
    }
    assert_eq!(client.seen, of_server);
    assert_eq!(server.seen, of_client);
    let closed = |seen: &[Seen]| matches!(seen.last(), Some(Seen::Close(_)));
    assert_eq!(closed(&client.seen), closed(&server.seen));
    let phase = if closed(&client.seen) { Phase::Closed } else { Phase::Open };
    assert_eq!((client.connection.phase(), server.connection.phase()), (phase, phase));
});
