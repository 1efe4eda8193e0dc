//! The opening handshake of a WebSocket.

use camwire_websocket::{Acceptance, Refusal, ServerHandshake};

use crate::config::Config;
use crate::http::origin::OriginCheck;

/// What became of the WebSocket that a client asks for; `None` if it asks for none.
pub(crate) type Upgraded = Option<Result<Acceptance<'static>, Refusal>>;

/// The opening handshake, while the head of a request is read.
#[derive(Debug)]
pub(crate) struct Upgrade<'c> {
    handshake: ServerHandshake<'static>,
    origin: OriginCheck<'c>,
}

impl<'c> Upgrade<'c> {
    pub(crate) const fn new(config: &'c Config, protocols: &'static [&'static str]) -> Self {
        Self { handshake: ServerHandshake::new(protocols), origin: OriginCheck::new(config) }
    }

    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.handshake.field(name, value);
        self.origin.field(name, value);
    }

    /// The head is complete. So many bytes have come after it, which must be none: a client waits
    /// for the answer before it sends frames (RFC 6455, section 4.1).
    pub(crate) fn finish(mut self, request_line: &[u8], early: usize) -> Upgraded {
        if !self.handshake.is_wanted() {
            return None;
        }
        self.handshake.request_line(request_line);
        Some(match self.handshake.finish() {
            Ok(_) if !self.origin.is_allowed() => Err(Refusal::Forbidden),
            Ok(_) if early > 0 => Err(Refusal::Body),
            finished => finished,
        })
    }
}
