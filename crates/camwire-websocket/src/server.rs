use crate::accept::{self, AcceptText, KeyText};
use crate::head::{self, Fields};

/// The server's side of the opening handshake (RFC 6455, section 4.2): takes the request of a client
/// line by line, and keeps of it only what decides whether it is a right one.
///
/// For a server that reads heads itself and throws away what it does not need. Who has the whole
/// head in memory uses [`Request`].
///
/// ```
/// use camwire_websocket::{Refusal, ServerHandshake};
///
/// let mut handshake = ServerHandshake::new(&["camwire.v1"]);
/// handshake.request_line(b"GET /ws HTTP/1.1");
/// for (name, value) in [
///     ("Host", "camera.local"),
///     ("Upgrade", "websocket"),
///     ("Connection", "keep-alive, Upgrade"),
///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
///     ("Sec-WebSocket-Version", "13"),
///     ("Sec-WebSocket-Protocol", "camwire.v2, camwire.v1"),
/// ] {
///     handshake.field(name.as_bytes(), value.as_bytes());
/// }
/// let acceptance = handshake.finish()?;
/// assert_eq!(acceptance.protocol(), Some("camwire.v1"));
/// # let response = acceptance.response().concat();
/// # assert!(response.ends_with(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: camwire.v1\r\n\r\n"));
/// # Ok::<_, Refusal>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerHandshake<'p> {
    protocols: &'p [&'p str],
    protocol: Option<&'p str>,
    key: KeyText,
    line: Line,
    upgrade: Seen,
    connection: Seen,
    host: Seen,
    has_key: Seen,
    version: Version,
    /// The first of the faults that are not about one of the above.
    fault: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Missing,
    Malformed,
    OtherMethod,
    Get,
}

/// Whether a field is there and right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    No,
    Once,
    /// Twice where that is not allowed, or with a wrong value.
    Wrong,
}

impl Seen {
    const fn again(self, right: bool) -> Self {
        match (self, right) {
            (Self::No, true) => Self::Once,
            _ => Self::Wrong,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Missing,
    Thirteen,
    Other,
    Twice,
}

impl<'p> ServerHandshake<'p> {
    /// For a server that speaks these subprotocols. Of those that the client names the first one
    /// that is among them is chosen, or none.
    #[must_use]
    pub const fn new(protocols: &'p [&'p str]) -> Self {
        Self {
            protocols,
            protocol: None,
            key: [0; 24],
            line: Line::Missing,
            upgrade: Seen::No,
            connection: Seen::No,
            host: Seen::No,
            has_key: Seen::No,
            version: Version::Missing,
            fault: None,
        }
    }

    /// The request line, with or without its line end.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn request_line(&mut self, line: &[u8]) {
        self.line = match request_line(line) {
            None => Line::Malformed,
            Some((b"GET", _)) => Line::Get,
            Some(_) => Line::OtherMethod,
        };
    }

    /// A field line, each in turn. Those that do not matter to the handshake may be left out, or
    /// given; which ones do is its own affair, and no line that is a field's is too strange for it.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let value = head::trim(value);
        if head::is(name, b"host") {
            let visible = !value.is_empty() && value.iter().all(|byte| matches!(byte, 0x21..=0x7E));
            self.host = self.host.again(visible);
        } else if head::is(name, b"upgrade") {
            if head::lists(value, b"websocket") {
                self.upgrade = Seen::Once;
            }
        } else if head::is(name, b"connection") {
            if head::lists(value, b"upgrade") {
                self.connection = Seen::Once;
            }
        } else if head::is(name, b"content-length") {
            if value.is_empty() || value.iter().any(|&digit| digit != b'0') {
                self.fault(Refusal::Body);
            }
        } else if head::is(name, b"transfer-encoding") {
            self.fault(Refusal::Body);
        } else if let Some(name) = own_field(name) {
            self.own(name, value);
        }
    }

    /// A field whose name begins with `Sec-WebSocket-`.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn own(&mut self, name: &[u8], value: &[u8]) {
        if head::is(name, b"key") {
            let key = accept::parse_key(value);
            self.has_key = self.has_key.again(key.is_some());
            self.key = key.unwrap_or(self.key);
        } else if head::is(name, b"version") {
            self.version = match (self.version, value) {
                (Version::Missing, b"13") => Version::Thirteen,
                (Version::Missing, _) => Version::Other,
                _ => Version::Twice,
            };
        } else if head::is(name, b"protocol") {
            self.protocol_list(value);
        } else if head::is(name, b"extensions") && !head::is_extension_list(value) {
            self.fault(Refusal::Extensions);
        }
    }

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn protocol_list(&mut self, value: &[u8]) {
        let mut any = false;
        for member in head::members(value) {
            any = true;
            if !head::is_token(member) {
                self.fault(Refusal::Protocol);
            }
            if self.protocol.is_none() {
                let mut ours = self.protocols.iter();
                self.protocol = ours.find(|ours| ours.as_bytes() == member).copied();
            }
        }
        if !any {
            self.fault(Refusal::Protocol);
        }
    }

    fn fault(&mut self, refusal: Refusal) {
        self.fault = self.fault.or(Some(refusal));
    }

    /// Whether an `Upgrade` field named `websocket` up to now. A server that has something else at
    /// the same path decides by this.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        matches!(self.upgrade, Seen::Once)
    }

    /// All lines have come.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the client must not be let in.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn finish(&self) -> Result<Acceptance<'p>, Refusal> {
        match self.line {
            Line::Get => {}
            Line::OtherMethod => return Err(Refusal::Method),
            Line::Missing | Line::Malformed => return Err(Refusal::Malformed),
        }
        let require = |seen, refusal| if seen == Seen::Once { Ok(()) } else { Err(refusal) };
        require(self.upgrade, Refusal::NoUpgrade)?;
        require(self.host, Refusal::Host)?;
        require(self.connection, Refusal::Connection)?;
        match self.version {
            Version::Thirteen => {}
            Version::Missing | Version::Other => return Err(Refusal::Version),
            Version::Twice => return Err(Refusal::TwoVersions),
        }
        require(self.has_key, Refusal::Key)?;
        match self.fault {
            None => Ok(Acceptance { accept: accept::accept(&self.key), protocol: self.protocol }),
            Some(fault) => Err(fault),
        }
    }
}

/// What follows `Sec-WebSocket-` in a field's name.
pub(crate) fn own_field(name: &[u8]) -> Option<&[u8]> {
    let (start, rest) = name.split_first_chunk::<14>()?;
    head::is(start, b"sec-websocket-").then_some(rest)
}

/// Method and target of a request line. The version must be 1.1, or higher (RFC 6455, section
/// 4.2.1), which HTTP/2 is not, since it has no such lines.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, _) = head::first_line(line);
    let (method, rest) = head::cut(line, b' ')?;
    let (target, version) = head::cut(rest, b' ')?;
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] = version else { return None };
    let right = head::is_token(method) && !target.is_empty() && head::is_target(target);
    right.then_some((method, target))
}

/// The head of a request for a WebSocket connection.
///
/// [`HeadFinder`](crate::HeadFinder) tells where it ends. What is said here about who asks for what,
/// the caller must look at before it accepts: [`origin`](Self::origin) and [`host`](Self::host)
/// above all, since a browser lets every page connect to every server (RFC 6455, section 10.2).
#[derive(Clone, Copy, Debug)]
pub struct Request<'h> {
    head: &'h [u8],
    target: &'h [u8],
}

impl<'h> Request<'h> {
    /// Reads a head, its blank line included.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`] if it is not one of HTTP/1.1.
    pub fn parse(head: &'h [u8]) -> Result<Self, Refusal> {
        let (line, rest) = head::first_line(head);
        let (_, target) = request_line(line).ok_or(Refusal::Malformed)?;
        match (Fields { rest }).all(|field| field.is_some()) {
            true => Ok(Self { head, target }),
            false => Err(Refusal::Malformed),
        }
    }

    /// What is asked for: a path and perhaps a query, as they were sent; never empty.
    #[must_use]
    pub fn target(&self) -> &'h str {
        // It is ASCII.
        str::from_utf8(self.target).unwrap_or_default()
    }

    /// The value of the first field of this name; case does not matter.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'h [u8]> {
        self.fields().find_map(|(n, value)| head::is(n, name.as_bytes()).then_some(value))
    }

    /// All field lines, as names and values.
    pub fn fields(&self) -> impl Iterator<Item = (&'h [u8], &'h [u8])> + use<'h> {
        let (_, rest) = head::first_line(self.head);
        Fields { rest }.flatten()
    }

    /// The page that opens the connection, if it is a browser that asks.
    #[must_use]
    pub fn origin(&self) -> Option<&'h [u8]> {
        self.field("origin")
    }

    /// The name by which the client knows this server.
    #[must_use]
    pub fn host(&self) -> Option<&'h [u8]> {
        self.field("host")
    }

    /// Checks all that [`ServerHandshake`] checks. The subprotocols are those of
    /// [`ServerHandshake::new`].
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the client must not be let in.
    pub fn accept<'p>(&self, protocols: &'p [&'p str]) -> Result<Acceptance<'p>, Refusal> {
        let mut handshake = ServerHandshake::new(protocols);
        handshake.request_line(head::first_line(self.head).0);
        for (name, value) in self.fields() {
            handshake.field(name, value);
        }
        handshake.finish()
    }
}

/// The answer to a client that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acceptance<'p> {
    accept: AcceptText,
    protocol: Option<&'p str>,
}

impl<'p> Acceptance<'p> {
    /// The subprotocol that both speak from now on.
    #[must_use]
    pub const fn protocol(&self) -> Option<&'p str> {
        self.protocol
    }

    /// The whole response, in pieces to be sent one after the other; some may be empty. Frames
    /// follow it directly.
    #[must_use]
    pub fn response(&self) -> [&[u8]; 5] {
        let (name, protocol): (&[u8], _) = match self.protocol {
            Some(protocol) => (b"\r\nSec-WebSocket-Protocol: ", protocol),
            None => (b"", ""),
        };
        [
            b"HTTP/1.1 101 Switching Protocols\r\n\
              Upgrade: websocket\r\n\
              Connection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
            &self.accept,
            name,
            protocol.as_bytes(),
            b"\r\n\r\n",
        ]
    }
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no head of HTTP/1.1: 400.
    #[error("the request is malformed")]
    Malformed,
    /// The method is not GET: 405.
    #[error("the method must be GET")]
    Method,
    /// No `Upgrade: websocket`: 426.
    #[error("Upgrade must name websocket")]
    NoUpgrade,
    /// `Host` is missing, there are two, or it is no name: 400.
    #[error("there must be one Host")]
    Host,
    /// No `Connection: Upgrade`: 400.
    #[error("Connection must name Upgrade")]
    Connection,
    /// The version is not 13, the only one there is: 426.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// More than one version: 400.
    #[error("there must be one Sec-WebSocket-Version")]
    TwoVersions,
    /// The key is missing, there are two, or it is not base64 of 16 bytes: 400.
    #[error("there must be one Sec-WebSocket-Key of 16 bytes")]
    Key,
    /// `Sec-WebSocket-Protocol` is no list of tokens: 400.
    #[error("Sec-WebSocket-Protocol is malformed")]
    Protocol,
    /// `Sec-WebSocket-Extensions` is no list of extensions: 400.
    #[error("Sec-WebSocket-Extensions is malformed")]
    Extensions,
    /// The request has a body, whose bytes would be taken for frames: 400.
    #[error("the request must have no body")]
    Body,
    /// The head is longer than the server allows: 431.
    #[error("the request's head is too long")]
    HeadTooLong,
    /// For the caller: a page of this `Origin`, or a client that calls the server by this `Host`,
    /// is not let in: 403.
    #[error("not allowed")]
    Forbidden,
    /// For the caller: there is no such path: 404.
    #[error("there is nothing at this path")]
    NotFound,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed
            | Self::Host
            | Self::Connection
            | Self::TwoVersions
            | Self::Key
            | Self::Protocol
            | Self::Extensions
            | Self::Body => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::NoUpgrade | Self::Version => 426,
            Self::HeadTooLong => 431,
        }
    }

    /// The status of the answer with its reason phrase, such as `400 Bad Request`. For a server that
    /// writes the head itself.
    #[must_use]
    pub const fn status_text(self) -> &'static str {
        match self.status() {
            403 => "403 Forbidden",
            404 => "404 Not Found",
            405 => "405 Method Not Allowed",
            426 => "426 Upgrade Required",
            431 => "431 Request Header Fields Too Large",
            _ => "400 Bad Request",
        }
    }

    /// The header lines that belong to this answer, each with its line end; perhaps none. If `Upgrade`
    /// is among them, `Connection` must name it.
    #[must_use]
    pub const fn fields(self) -> &'static str {
        match self.status() {
            405 => "Allow: GET\r\n",
            426 => "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n",
            _ => "",
        }
    }

    /// A whole answer, without a body, in pieces to be sent one after the other. The connection is
    /// closed after it.
    #[must_use]
    pub const fn response(self) -> [&'static [u8]; 5] {
        let end: &[u8] = match self.status() {
            426 => b"Content-Length: 0\r\nConnection: Upgrade, close\r\n\r\n",
            _ => b"Content-Length: 0\r\nConnection: close\r\n\r\n",
        };
        [b"HTTP/1.1 ", self.status_text().as_bytes(), b"\r\n", self.fields().as_bytes(), end]
    }
}
