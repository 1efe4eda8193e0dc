use crate::accept;
use crate::head::{self, Fields, Writer};
use crate::server::own_field;

/// What a client asks a server for (RFC 6455, section 4.1).
///
/// ```
/// use camwire_websocket::{ClientHandshake, ClientRequest, Uri};
///
/// let uri = Uri::parse("ws://relay.example:8080/ingest")?;
/// let request = ClientRequest { fields: &[("Authorization", "Bearer T")], ..uri.request() };
/// let nonce = [7; 16]; // random
/// let mut memory = [0; 512];
/// let head = request.write(nonce, &mut memory)?; // is sent; then comes the answer
///
/// # let answer = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: CdXSYUsvsaMthlEXWDNURGWA/1o=\r\n\r\n";
/// assert_eq!(ClientHandshake::new(nonce, &[]).read(answer)?, None);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'r> {
    /// The server's name, with its port unless that is the usual one.
    pub host: &'r str,
    /// Path and query. An empty path means `/`.
    pub target: &'r str,
    /// For a client that acts for a page.
    pub origin: Option<&'r str>,
    /// Subprotocols that the client speaks, the preferred one first. All different.
    pub protocols: &'r [&'r str],
    /// Other fields, `Authorization` for example.
    pub fields: &'r [(&'r str, &'r str)],
}

impl<'r> ClientRequest<'r> {
    /// A request without anything that is not needed.
    #[must_use]
    pub const fn new(host: &'r str, target: &'r str) -> Self {
        Self { host, target, origin: None, protocols: &[], fields: &[] }
    }

    /// Writes the request into `memory`, and returns it. The nonce is 16 random bytes, new for each
    /// connection.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if it does not fit, or if something cannot be sent as it is.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn write<'m>(
        &self,
        nonce: [u8; 16],
        memory: &'m mut [u8],
    ) -> Result<&'m [u8], RequestError> {
        self.check()?;
        let mut out = Writer::new(memory);
        out.push(b"GET ");
        if !self.target.as_bytes().starts_with(b"/") {
            out.push(b"/");
        }
        out.push(self.target.as_bytes());
        out.push(b" HTTP/1.1\r\nHost: ");
        out.push(self.host.as_bytes());
        out.push(b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
        out.push(&accept::key(&nonce));
        out.push(b"\r\nSec-WebSocket-Version: 13");
        if let Some(origin) = self.origin {
            field(&mut out, "Origin", origin);
        }
        let mut before: &[u8] = b"\r\nSec-WebSocket-Protocol: ";
        for protocol in self.protocols {
            out.push(before);
            out.push(protocol.as_bytes());
            before = b", ";
        }
        for (name, value) in self.fields {
            field(&mut out, name, value);
        }
        out.push(b"\r\n\r\n");
        out.finish().ok_or(RequestError::TooLong)
    }

    /// Nothing of it may end its line, or be taken for something else.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn check(&self) -> Result<(), RequestError> {
        let visible = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7E));
        let is_value = |text: &str| text.bytes().all(head::is_of_value);
        let is_target = |text: &str| {
            head::is_target(text.as_bytes())
                && matches!(text.as_bytes().first(), None | Some(b'/' | b'?'))
        };
        if self.host.is_empty() || !visible(self.host) {
            return Err(RequestError::Host);
        }
        if !is_target(self.target) {
            return Err(RequestError::Target);
        }
        if !self.origin.is_none_or(is_value) {
            return Err(RequestError::Field);
        }
        if !self.protocols.iter().all(|protocol| head::is_token(protocol.as_bytes())) {
            return Err(RequestError::Protocol);
        }
        let mut fields = self.fields.iter();
        if !fields.all(|(name, value)| head::is_token(name.as_bytes()) && is_value(value)) {
            return Err(RequestError::Field);
        }
        Ok(())
    }
}

fn field(out: &mut Writer<'_>, name: &str, value: &str) {
    for text in ["\r\n", name, ": ", value] {
        out.push(text.as_bytes());
    }
}

/// Why a request cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The memory is too small.
    #[error("the request does not fit into its memory")]
    TooLong,
    /// The host is empty, or has characters that no host has.
    #[error("the host is malformed")]
    Host,
    /// The target begins with neither `/` nor `?`, or has characters that must be escaped.
    #[error("the path is malformed")]
    Target,
    /// A subprotocol is no token.
    #[error("a subprotocol is no token")]
    Protocol,
    /// A field's name is no token, or its value has control characters.
    #[error("a field is malformed")]
    Field,
}

/// The client's side of the opening handshake: takes the server's response line by line, or as a
/// whole, and says whether it is the right one (RFC 6455, section 4.1).
#[derive(Clone, Debug)]
pub struct ClientHandshake<'r> {
    accept: accept::AcceptText,
    protocols: &'r [&'r str],
    protocol: Option<&'r str>,
    status: Option<u16>,
    upgrade: Seen,
    connection: bool,
    accepted: Seen,
    /// The first of the other faults.
    fault: Option<ResponseError>,
}

/// Whether a field is there and right, each time that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    No,
    Right,
    Wrong,
}

impl Seen {
    const fn again(self, right: bool) -> Self {
        if matches!(self, Self::Wrong) || !right { Self::Wrong } else { Self::Right }
    }
}

impl<'r> ClientHandshake<'r> {
    /// For the response to a request with this nonce and these subprotocols.
    #[must_use]
    pub fn new(nonce: [u8; 16], protocols: &'r [&'r str]) -> Self {
        Self {
            accept: accept::accept(&accept::key(&nonce)),
            protocols,
            protocol: None,
            status: None,
            upgrade: Seen::No,
            connection: false,
            accepted: Seen::No,
            fault: None,
        }
    }

    /// The status line, with or without its line end.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn status_line(&mut self, line: &[u8]) {
        self.status = status(line);
    }

    /// A field line, each in turn.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let value = head::trim(value);
        if head::is(name, b"upgrade") {
            self.upgrade = self.upgrade.again(head::is(value, b"websocket"));
        } else if head::is(name, b"connection") {
            self.connection |= head::lists(value, b"upgrade");
        } else if let Some(name) = own_field(name) {
            if head::is(name, b"accept") {
                // Section 11.3.3: not more than once.
                let first = self.accepted == Seen::No;
                self.accepted = self.accepted.again(first && value == self.accept);
            } else if head::is(name, b"protocol") {
                self.chosen(value);
            } else if head::is(name, b"extensions") {
                // None was asked for.
                self.fault = self.fault.or(Some(ResponseError::Extension));
            }
        }
    }

    fn chosen(&mut self, value: &[u8]) {
        let mut offered = self.protocols.iter();
        let chosen = offered.find(|offered| offered.as_bytes() == value).copied();
        // Section 11.3.4: not more than once.
        if chosen.is_none() || self.protocol.is_some() {
            self.fault = self.fault.or(Some(ResponseError::Protocol));
        }
        self.protocol = chosen;
    }

    /// All lines have come: the subprotocol that the server chose, if it chose one.
    ///
    /// # Errors
    ///
    /// [`ResponseError`] if there is no WebSocket connection.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn finish(&self) -> Result<Option<&'r str>, ResponseError> {
        match self.status {
            Some(101) => {}
            Some(status) => return Err(ResponseError::Status { status }),
            None => return Err(ResponseError::Malformed),
        }
        if self.upgrade != Seen::Right {
            return Err(ResponseError::Upgrade);
        }
        if !self.connection {
            return Err(ResponseError::Connection);
        }
        if self.accepted != Seen::Right {
            return Err(ResponseError::Accept);
        }
        match self.fault {
            None => Ok(self.protocol),
            Some(fault) => Err(fault),
        }
    }

    /// A whole head, its blank line included, in place of its lines.
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish).
    pub fn read(mut self, head: &[u8]) -> Result<Option<&'r str>, ResponseError> {
        let (line, rest) = head::first_line(head);
        self.status_line(line);
        for field in (Fields { rest }) {
            let (name, value) = field.ok_or(ResponseError::Malformed)?;
            self.field(name, value);
        }
        self.finish()
    }
}

/// The status of a status line of HTTP/1.1.
fn status(line: &[u8]) -> Option<u16> {
    let (line, _) = head::first_line(line);
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', a, b, c, rest @ ..] = line else {
        return None;
    };
    if !minor.is_ascii_digit() || !matches!(rest, [] | [b' ', ..]) {
        return None;
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte.wrapping_sub(b'0')));
    let (hundreds, tens, ones) = (digit(a)?, digit(b)?, digit(c)?);
    let status = hundreds.wrapping_mul(100).wrapping_add(tens.wrapping_mul(10)).wrapping_add(ones);
    // HTTP/1.0 has no upgrades.
    (status != 101 || *minor != b'0').then_some(status)
}

/// Why a server's response makes no WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// It is no head of HTTP/1.1.
    #[error("the response is malformed")]
    Malformed,
    /// The server refuses, or points somewhere else.
    #[error("the server answers with status {status}")]
    Status {
        /// Not 101.
        status: u16,
    },
    /// `Upgrade` is not `websocket`.
    #[error("Upgrade must be websocket")]
    Upgrade,
    /// No `Connection: Upgrade`.
    #[error("Connection must name Upgrade")]
    Connection,
    /// `Sec-WebSocket-Accept` is missing, or not the one for the nonce.
    #[error("Sec-WebSocket-Accept is wrong")]
    Accept,
    /// A subprotocol that the client did not offer, or two.
    #[error("the server chose a subprotocol that was not offered")]
    Protocol,
    /// An extension, and none was asked for.
    #[error("the server chose an extension that was not offered")]
    Extension,
}
