/// Most bytes of a request's head, its blank line included.
pub const HEAD_MAX: usize = 8 * 1024;

/// Most bytes of a line of the head that the server needs; of the request line with its line end.
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

/// Reads the head of a request from input in pieces of any size, in little memory: the request
/// line is kept, header fields are checked and told one by one.
///
/// Each byte is looked at once, however the input is cut. What remains is parsed once, by
/// [`Request::parse`](crate::Request::parse).
#[derive(Debug)]
pub struct HeadReader<'l> {
    request: &'l mut RequestLine,
    field: FieldLine,
    seen: usize,
    state: State,
}

/// Memory for the request line of a head, apart from that of the [`HeadReader`]: it is needed for
/// longer.
#[derive(Clone, Debug, Default)]
pub struct RequestLine {
    /// The line, and behind it what of the body has come together with the head.
    kept: Line,
    /// Where the line ends.
    len: usize,
}

impl RequestLine {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { kept: Line::new(), len: 0 }
    }

    /// Its bytes, the line end included, as far as it has come.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.kept.get(..self.len).unwrap_or_default()
    }

    /// How many bytes may be read at once so that those behind the head fit in here; at least one.
    pub(crate) fn room(&self) -> usize {
        // The last byte of the head is none of them.
        self.kept.capacity().saturating_sub(self.kept.len()).max(1)
    }

    /// Keeps what came behind the head.
    pub(crate) fn keep_early(&mut self, early: &[u8]) {
        let _ = self.kept.extend_from_slice(early); // As `room` says, it fits.
    }

    /// What was kept of that.
    pub(crate) fn early(&self) -> &[u8] {
        self.kept.get(self.len..).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.len = 0;
    }

    fn push(&mut self, byte: u8) -> Result<(), HeadError> {
        self.kept.push(byte).map_err(|_| HeadError::TooLarge)?;
        self.len = self.kept.len();
        Ok(())
    }
}

type Line = heapless::Vec<u8, LINE_MAX>;

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

impl<'l> HeadReader<'l> {
    /// A reader that has seen nothing, and keeps the request line there.
    #[must_use]
    pub fn new(request: &'l mut RequestLine) -> Self {
        request.clear();
        Self {
            request,
            field: FieldLine { kept: Line::new(), fate: Fate::Open },
            seen: 0,
            state: State::RequestLine,
        }
    }

    /// How many bytes to read at once, if those behind the head are to be
    /// [kept](RequestLine::keep_early).
    pub(crate) fn room(&self) -> usize {
        self.request.room()
    }

    /// Takes a piece of input. When the head is complete, returns how many bytes of the piece
    /// belong to it; `None` while it is not. Each field whose line has ended is given to `field`,
    /// name and value, the value without white space around it. Lines that are longer than
    /// [`LINE_MAX`] are left out.
    ///
    /// # Errors
    ///
    /// As [`HeadError`] says. The reader is of no use after that.
    pub fn feed(
        &mut self,
        input: &[u8],
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<Option<usize>, HeadError> {
        for (at, &byte) in input.iter().enumerate() {
            self.seen = self.seen.saturating_add(1);
            if self.seen > HEAD_MAX {
                return Err(HeadError::TooLarge);
            }
            match self.step(byte)? {
                Step::Inside => {}
                Step::FieldEnd => {
                    if let Some((name, value)) = self.field.parts() {
                        field(name, value);
                    }
                    self.field.clear();
                }
                Step::HeadEnd => return Ok(Some(at.saturating_add(1))),
            }
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<Step, HeadError> {
        self.state = match (self.state, byte) {
            // An empty line before the request is ignored (RFC 9112, section 2.2).
            (State::RequestLine, b'\r' | b'\n') if self.request.kept.is_empty() => {
                State::RequestLine
            }
            (State::RequestLine, _) => {
                self.request.push(byte)?;
                if byte == b'\n' { State::LineStart } else { State::RequestLine }
            }
            (State::LineStart, b'\r') => State::LastLine,
            (State::LineStart | State::LastLine, b'\n') => return Ok(Step::HeadEnd),
            (State::LineStart | State::Name, _) if is_token(byte) => {
                self.field.keep(byte)?;
                State::Name
            }
            (State::Name, b':') => {
                self.field.keep(byte)?;
                State::Value
            }
            (State::Value, b'\n') => {
                self.state = State::LineStart;
                return Ok(Step::FieldEnd);
            }
            // A CR counts as part of the line end, though alone it is none; then it is read as a
            // space (RFC 9112, section 2.2).
            (State::Value, b'\r') => {
                self.field.keep(b' ')?;
                State::Value
            }
            (State::Value, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.field.keep(byte)?;
                State::Value
            }
            _ => return Err(HeadError::Malformed),
        };
        Ok(Step::Inside)
    }
}

enum Step {
    Inside,
    FieldEnd,
    HeadEnd,
}

/// A field line, as far as it has come and fits.
#[derive(Debug)]
struct FieldLine {
    kept: Line,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It fits up to now.
    Open,
    /// It is too long, and nobody needs it.
    Dropped,
}

impl FieldLine {
    fn keep(&mut self, byte: u8) -> Result<(), HeadError> {
        if self.fate == Fate::Open && self.kept.push(byte).is_err() {
            // A name that has not ended by now is none that is needed.
            if self.parts().is_some_and(|(name, _)| is_needed(name)) {
                return Err(HeadError::TooLarge);
            }
            self.fate = Fate::Dropped;
        }
        Ok(())
    }

    /// Name and value.
    fn parts(&self) -> Option<(&[u8], &[u8])> {
        if self.fate == Fate::Dropped {
            return None;
        }
        let colon = self.kept.iter().position(|byte| *byte == b':')?;
        let (name, value) = self.kept.split_at_checked(colon)?;
        Some((name, value.get(1..)?.trim_ascii()))
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.fate = Fate::Open;
    }
}

/// Whether the server looks at fields of this name.
fn is_needed(name: &[u8]) -> bool {
    let names: [&[u8]; 7] = [
        b"host",
        b"origin",
        b"upgrade",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
    ];
    let of_web_sockets =
        name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case(b"sec-websocket-"));
    of_web_sockets || names.iter().any(|needed| name.eq_ignore_ascii_case(needed))
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

    /// The outcome with how many bytes it took, the request line, and the fields.
    type Outcome = (Result<Option<usize>, HeadError>, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

    fn read(pieces: &[&[u8]]) -> Outcome {
        let mut line = RequestLine::new();
        let mut reader = HeadReader::new(&mut line);
        let mut fields = Vec::new();
        let mut before = 0;
        for piece in pieces {
            match reader.feed(piece, &mut |name, value| fields.push((name.into(), value.into()))) {
                Ok(None) => before += piece.len(),
                Ok(Some(n)) => return (Ok(Some(before + n)), line.as_bytes().into(), fields),
                Err(error) => return (Err(error), Vec::new(), fields),
            }
        }
        (Ok(None), line.as_bytes().into(), fields)
    }

    #[test]
    fn every_cut_gives_the_same() {
        let whole = b"\r\nGET /stream?fps=5 HTTP/1.1\r\nHost: a\r\nX-Y:\r\nAccept: */*\t \xc3\xa4\r\n\r\nrest";
        let line = b"GET /stream?fps=5 HTTP/1.1\r\n".to_vec();
        let fields = [("Host", "a"), ("X-Y", ""), ("Accept", "*/*\t \u{e4}")];
        let fields = fields.map(|(name, value)| (name.into(), value.into())).to_vec();
        let expected = (Ok(Some(whole.len() - 4)), line, fields);
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
    fn long_lines_are_refused_if_they_are_needed_and_left_out_if_not() {
        let head = |name: &str, len: usize| {
            let value = "v".repeat(len - name.len() - 1);
            std::format!("GET / HTTP/1.1\r\n{name}:{value}\nB: c\n\n").into_bytes()
        };
        for name in
            ["Host", "ORIGIN", "sec-websocket-key", "Sec-WebSocket-Anything", "Authorization"]
        {
            assert_eq!(read(&[&head(name, LINE_MAX)]).2.len(), 2, "{name}");
            assert_eq!(read(&[&head(name, LINE_MAX + 1)]).0, Err(HeadError::TooLarge), "{name}");
        }
        for name in ["Cookie", "Hosts", "Sec-WebSocket", &"n".repeat(600)] {
            let (outcome, _, fields) = read(&[&head(name, 700)]);
            assert!(matches!(outcome, Ok(Some(_))));
            assert_eq!(fields, [(b"B".to_vec(), b"c".to_vec())], "{name}");
        }
    }

    #[test]
    fn a_lone_carriage_return_is_a_space() {
        let (_, _, fields) = read(&[b"GET / HTTP/1.1\r\nHost: a\rb \r\r\n\r\n"]);
        assert_eq!(fields, [(b"Host".to_vec(), b"a b".to_vec())]);
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
