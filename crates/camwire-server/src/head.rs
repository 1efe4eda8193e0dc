/// Most bytes of a request's head, its blank line included.
pub const HEAD_MAX: usize = 8 * 1024;

/// Most bytes of a line of the head that the server needs, its line end included.
pub const LINE_MAX: usize = 512;

/// Why a request's head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The head is longer than [`HEAD_MAX`], or a line that is needed is longer than
    /// [`LINE_MAX`]. The answer is 431.
    #[error("the request's head is too large")]
    TooLarge,
    /// A line is no field line (RFC 9112, section 5). The answer is 400.
    #[error("the request's head is malformed")]
    Malformed,
}

/// Collects the head of a request from input in pieces of any size, in little memory: the request
/// line is kept, header fields are checked and discarded as they arrive.
///
/// Each byte is looked at once, however the input is cut. What remains is parsed once, by
/// [`Request::parse`](crate::Request::parse).
#[derive(Debug)]
pub struct HeadReader {
    line: [u8; LINE_MAX],
    kept: usize,
    seen: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the request line, or in empty lines before it.
    RequestLine,
    /// At the start of a header line.
    LineStart,
    /// In the name of a field.
    Name,
    /// In the value of a field.
    Value,
    /// After the CR of a line that is no field: only a LF ends the head.
    LastLine,
}

impl HeadReader {
    /// A reader that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { line: [0; LINE_MAX], kept: 0, seen: 0, state: State::RequestLine }
    }

    /// Takes a piece of input. When the head is complete, returns how many bytes of the piece
    /// belong to it; `None` while it is not.
    ///
    /// # Errors
    ///
    /// As [`HeadError`] says. The reader is of no use after that.
    pub fn feed(&mut self, input: &[u8]) -> Result<Option<usize>, HeadError> {
        for (at, &byte) in input.iter().enumerate() {
            self.seen = self.seen.saturating_add(1);
            if self.seen > HEAD_MAX {
                return Err(HeadError::TooLarge);
            }
            if self.step(byte)? {
                return Ok(Some(at.saturating_add(1)));
            }
        }
        Ok(None)
    }

    /// True when the head is complete.
    fn step(&mut self, byte: u8) -> Result<bool, HeadError> {
        self.state = match (self.state, byte) {
            // An empty line before the request is ignored (RFC 9112, section 2.2).
            (State::RequestLine, b'\r' | b'\n') if self.kept == 0 => State::RequestLine,
            (State::RequestLine, b'\n') => {
                self.keep(byte)?;
                State::LineStart
            }
            (State::RequestLine, _) => {
                self.keep(byte)?;
                State::RequestLine
            }
            (State::LineStart, b'\r') => State::LastLine,
            (State::LineStart | State::LastLine, b'\n') => return Ok(true),
            (State::LineStart | State::Name, _) if is_token(byte) => State::Name,
            (State::Name, b':') => State::Value,
            (State::Value, b'\n') => State::LineStart,
            // A CR counts as part of the line end, though alone it is none; nothing is kept of it.
            (State::Value, b'\t' | b'\r' | 0x20..=0x7e | 0x80..) => State::Value,
            _ => return Err(HeadError::Malformed),
        };
        Ok(false)
    }

    fn keep(&mut self, byte: u8) -> Result<(), HeadError> {
        let place = self.line.get_mut(self.kept).ok_or(HeadError::TooLarge)?;
        *place = byte;
        self.kept = self.kept.saturating_add(1);
        Ok(())
    }

    /// The request line, its line end included, as far as it has come.
    #[must_use]
    pub fn request_line(&self) -> &[u8] {
        self.line.get(..self.kept).unwrap_or_default()
    }
}

impl Default for HeadReader {
    fn default() -> Self {
        Self::new()
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The outcome, and how many bytes it took.
    fn read(pieces: &[&[u8]]) -> (Result<Option<usize>, HeadError>, Vec<u8>) {
        let mut reader = HeadReader::new();
        let mut before = 0;
        for piece in pieces {
            match reader.feed(piece) {
                Ok(None) => before += piece.len(),
                Ok(Some(n)) => return (Ok(Some(before + n)), reader.request_line().into()),
                Err(error) => return (Err(error), Vec::new()),
            }
        }
        (Ok(None), reader.request_line().into())
    }

    #[test]
    fn every_cut_gives_the_same() {
        let whole = b"\r\nGET /stream?fps=5 HTTP/1.1\r\nHost: a\r\nX-Y:\r\nAccept: */*\t \xc3\xa4\r\n\r\nrest";
        let expected = (Ok(Some(whole.len() - 4)), b"GET /stream?fps=5 HTTP/1.1\r\n".to_vec());
        assert_eq!(read(&[whole]), expected);
        assert_eq!(read(&whole.chunks(1).collect::<Vec<_>>()), expected);
        for cut in 0..whole.len() {
            let (a, b) = whole.split_at(cut);
            assert_eq!(read(&[a, b]), expected);
        }
    }

    #[test]
    fn bare_line_feeds_will_do() {
        assert_eq!(read(&[b"GET / HTTP/1.0\nA: b\n\n"]).0, Ok(Some(21)));
    }

    #[test]
    fn limits() {
        let endless = b"a".repeat(600);
        assert_eq!(read(&[&endless]).0, Err(HeadError::TooLarge));
        let line = b"GET / HTTP/1.1\r\n";
        // A long line that nobody needs is fine, and so are many short ones, up to the limit.
        let long = [&line[..], b"A: ", &b"b".repeat(5000), b"\r\n\r\n"].concat();
        assert_eq!(read(&[&long]).0, Ok(Some(long.len())));
        let many = [&line[..], &b"A: b\r\n".repeat(10_000), b"\r\n"].concat();
        assert_eq!(read(&[&many]).0, Err(HeadError::TooLarge));
        let fits = [&line[..], &b"A: b\r\n".repeat((HEAD_MAX - 18) / 6), b"\r\n"].concat();
        assert!(fits.len() <= HEAD_MAX);
        assert_eq!(read(&[&fits]).0, Ok(Some(fits.len())));
    }

    #[test]
    fn nonsense_is_refused() {
        for header in ["no colon", " folded: line", ": no name", "a b: c", "a: \0", "\u{7f}: x"] {
            let head = std::format!("GET / HTTP/1.1\r\n{header}\r\n\r\n");
            assert_eq!(read(&[head.as_bytes()]).0, Err(HeadError::Malformed), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0usize..2000) {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(read(&[a, b]), read(&[&bytes]));
        }
    }
}
