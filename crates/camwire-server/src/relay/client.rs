//! The opening handshake of a client (RFC 6455, section 4.1), over the server's transports.

use camwire_websocket::{ClientHandshake, ClientRequest, RequestError, ResponseError, Uri};

use crate::http::authorization::Authorization;
use crate::http::head::HEAD_MAX;
use crate::viewer::v1::PROTOCOLS;

/// Writes the request into `memory`; says how long it is.
pub(crate) fn write_request(
    uri: &Uri<'_>,
    authorization: Option<&Authorization<'_>>,
    nonce: [u8; 16],
    memory: &mut [u8],
) -> Result<usize, RequestError> {
    let mut value = [0; Authorization::MAX_LEN];
    let field = authorization.map(|known| ("Authorization", known.encode(&mut value)));
    let request = ClientRequest { protocols: PROTOCOLS, fields: field.as_slice(), ..uri.request() };
    request.write(nonce, memory).map(<[u8]>::len)
}

/// Whether the server speaks `camwire.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    V1,
    /// It does not know it: a message is a frame.
    Bare,
}

/// The server's response, while it comes. Lines that are longer than any that matters are not kept.
#[derive(Debug)]
pub(crate) struct Response {
    handshake: ClientHandshake<'static>,
    line: heapless::Vec<u8, 128>,
    /// The line under way is too long.
    is_cut: bool,
    /// The status line has come.
    has_status: bool,
    left: usize,
}

impl Response {
    pub(crate) fn new(nonce: [u8; 16]) -> Self {
        let handshake = ClientHandshake::new(nonce, PROTOCOLS);
        let (is_cut, has_status) = (false, false);
        Self { handshake, line: heapless::Vec::new(), is_cut, has_status, left: HEAD_MAX }
    }

    /// Takes bytes. When the head is complete, says how many of them belong to it, and what the
    /// server speaks.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
    ) -> Result<Option<(usize, Protocol)>, ResponseError> {
        for (at, byte) in (1_usize..).zip(input) {
            self.left = self.left.checked_sub(1).ok_or(ResponseError::Malformed)?;
            if *byte != b'\n' {
                self.is_cut |= self.line.push(*byte).is_err();
            } else if self.end_line()? {
                let protocol = match self.handshake.finish()? {
                    Some(_) => Protocol::V1,
                    None => Protocol::Bare,
                };
                return Ok(Some((at, protocol)));
            }
        }
        Ok(None)
    }

    /// A line has come; says whether it is the blank one at the end.
    fn end_line(&mut self) -> Result<bool, ResponseError> {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if !self.has_status {
            self.handshake.status_line(line);
            self.has_status = true;
        } else if line.is_empty() {
            return Ok(true);
        } else {
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = match colon.and_then(|at| line.split_at_checked(at)) {
                Some((name, [_, value @ ..])) => (name, value),
                _ if self.is_cut => (&[][..], &[][..]), // A name of more than 128 bytes.
                _ => return Err(ResponseError::Malformed),
            };
            if !self.is_cut {
                self.handshake.field(name, value);
            }
        }
        self.line.clear();
        self.is_cut = false;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    const NONCE: [u8; 16] = *b"the sample nonce"; // of RFC 6455, section 1.3

    fn head(fields: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{fields}\r\n"
        )
    }

    fn feed(pieces: &[&[u8]]) -> Result<Option<(usize, Protocol)>, ResponseError> {
        let mut response = Response::new(NONCE);
        let mut before = 0;
        for piece in pieces {
            if let Some((at, protocol)) = response.feed(piece)? {
                return Ok(Some((before + at, protocol)));
            }
            before += piece.len();
        }
        Ok(None)
    }

    #[test]
    fn responses_at_every_cut() {
        let v1 = "Sec-WebSocket-Protocol: camwire.v1\r\n";
        let long = format!("X-Long: {}\r\n", "a".repeat(500));
        let long_name = format!("{}: x\r\n", "a".repeat(500));
        let many = "X-Many: a\r\n".repeat(800);
        let status = |text: &str| format!("HTTP/1.1 {text}\r\nContent-Length: 0\r\n\r\n");
        let cases = [
            (head(""), Ok(Protocol::Bare)),
            (head(v1), Ok(Protocol::V1)),
            (head(&format!("{long}{v1}{long_name}")), Ok(Protocol::V1)),
            (head(v1).replace("\r\n", "\n"), Ok(Protocol::V1)),
            (head("Sec-WebSocket-Protocol: chat\r\n"), Err(ResponseError::Protocol)),
            (head("no colon\r\n"), Err(ResponseError::Malformed)),
            (head(&many), Err(ResponseError::Malformed)),
            (head("").replace("s3p", "S3p"), Err(ResponseError::Accept)),
            (status("401 Unauthorized"), Err(ResponseError::Status { status: 401 })),
            (status("409 Conflict"), Err(ResponseError::Status { status: 409 })),
            ("\r\n\r\n".into(), Err(ResponseError::Malformed)),
        ];
        for (head, expected) in cases {
            let expected = expected.map(|protocol| Some((head.len(), protocol)));
            let bytes = [head.as_bytes(), b"\x82\x00"].concat();
            assert_eq!(feed(&[&bytes]), expected, "{head}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(feed(&single), expected, "{head}");
            for cut in 0..head.len().min(400) {
                let (a, b) = bytes.split_at(cut);
                assert_eq!(feed(&[a, b]), expected, "{head} at {cut}");
            }
        }
        assert_eq!(feed(&[&head("").as_bytes()[..100]]), Ok(None));
    }

    #[test]
    fn requests() {
        let uri = Uri::parse("ws://relay.example:8080/ingest?a=b").unwrap();
        let mut memory = [0; 512];
        let bearer = Authorization::bearer("T").unwrap();
        let len = write_request(&uri, Some(&bearer), NONCE, &mut memory).unwrap();
        let text = str::from_utf8(&memory[..len]).unwrap();
        assert!(text.starts_with("GET /ingest?a=b HTTP/1.1\r\nHost: relay.example:8080\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Protocol: camwire.v1\r\n"));
        assert!(text.ends_with("\r\nAuthorization: Bearer T\r\n\r\n"));
        let none = write_request(&uri, None, NONCE, &mut memory).unwrap();
        assert_eq!(none + "Authorization: Bearer T\r\n".len(), len);
        let basic = Authorization::basic("anna", "\u{e4}:").unwrap();
        let len_of_basic = write_request(&uri, Some(&basic), NONCE, &mut memory).unwrap();
        let text = str::from_utf8(&memory[..len_of_basic]).unwrap();
        assert!(text.ends_with("\r\nAuthorization: Basic YW5uYTrDpDo=\r\n\r\n"));
        assert_eq!(
            write_request(&uri, Some(&bearer), NONCE, &mut memory[..len - 1]),
            Err(RequestError::TooLong)
        );
    }
}
