//! The opening handshake of a WebSocket.

use camwire_websocket::{Acceptance, Refusal, ServerHandshake};

use crate::http::origin::Page;

/// What became of the WebSocket that a client asks for; `None` if it asks for none.
pub(crate) type Upgraded = Option<Result<Acceptance<'static>, Refusal>>;

/// The opening handshake, while the head of a request is read.
#[derive(Debug)]
pub(crate) struct Upgrade {
    handshake: ServerHandshake<'static>,
}

impl Upgrade {
    pub(crate) const fn new(protocols: &'static [&'static str]) -> Self {
        Self { handshake: ServerHandshake::new(protocols) }
    }

    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.handshake.field(name, value);
    }

    /// The head is complete. So many bytes have come after it, which must be none: a client waits
    /// for the answer before it sends frames (RFC 6455, section 4.1). `origin` is the page that asks,
    /// if it is one.
    pub(crate) fn finish(mut self, request_line: &[u8], early: usize, origin: Page) -> Upgraded {
        if !self.handshake.is_wanted() {
            return None;
        }
        self.handshake.request_line(request_line);
        Some(match self.handshake.finish() {
            Ok(_) if origin == Page::Foreign => Err(Refusal::Forbidden),
            Ok(_) if early > 0 => Err(Refusal::Body),
            finished => finished,
        })
    }
}
