//! Reads an MJPEG stream just far enough to count its pictures: a part with `Content-Length` is
//! skipped over, not looked at. It takes what the servers of the field send (no or padded
//! lengths, dashed and quoted boundaries, LF line ends, a missing first delimiter, a preamble).

use std::fmt;

use memchr::{memchr, memmem};

use crate::pictures::{TAG_LEN, tag_number};

/// The longest line of a head.
const MAX_LINE: usize = 8 * 1024;
/// The largest picture from a server that does not tell its length.
const MAX_UNSIZED: usize = 16 * 1024 * 1024;
/// A line end and the dashes before a boundary, which itself has at most 70 characters.
const MAX_DASHES: usize = 80;

/// What one part said of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// The number that [`crate::pictures`] wrote into the picture.
    pub(crate) number: Option<u32>,
    /// `X-Timestamp`, in seconds.
    pub(crate) timestamp: Option<f64>,
    /// `X-Missed`: how many pictures the server says this viewer missed before this one.
    pub(crate) missed: Option<u64>,
    /// Bytes of the picture.
    pub(crate) bytes: usize,
}

/// Why a stream cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamError {
    /// The first line was not that of a 200 response.
    Status(String),
    /// The response is chunked: to be asked again with HTTP/1.0.
    Chunked,
    /// A line, or a part without length, that does not end.
    TooLong,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(line) => write!(f, "the response begins with {line:?}"),
            Self::Chunked => f.write_str("the response is chunked"),
            Self::TooLong => f.write_str("a line or a part of the stream does not end"),
        }
    }
}

/// The incremental reader of one viewer.
#[derive(Debug)]
pub(crate) struct StreamReader {
    state: State,
    line: Vec<u8>,
    /// The boundary without its leading dashes.
    boundary: Vec<u8>,
    part: Part,
    length: Option<usize>,
    tag: [u8; TAG_LEN],
    tag_filled: usize,
}

#[derive(Debug)]
enum State {
    StatusLine,
    ResponseHead,
    /// `begun`: a delimiter or a field line has been seen, so that an empty line ends the head.
    PartHead {
        begun: bool,
    },
    Sized {
        remaining: usize,
    },
    Unsized {
        body: Vec<u8>,
    },
}

impl StreamReader {
    pub(crate) fn new() -> Self {
        Self {
            state: State::StatusLine,
            line: Vec::new(),
            boundary: Vec::new(),
            part: Part::default(),
            length: None,
            tag: [0; TAG_LEN],
            tag_filled: 0,
        }
    }

    /// Takes the next bytes and reports each picture that ends in them.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        on_picture: &mut impl FnMut(Part),
    ) -> Result<(), StreamError> {
        while !input.is_empty() {
            match &mut self.state {
                State::Sized { remaining } => {
                    let taken = input.len().min(*remaining);
                    let (payload, rest) = input.split_at(taken);
                    *remaining -= taken;
                    let ended = *remaining == 0;
                    input = rest;
                    self.keep_tag(payload);
                    if ended {
                        self.end_part(on_picture);
                    }
                }
                State::Unsized { body } => {
                    let searched = body.len().saturating_sub(self.boundary.len() + MAX_DASHES);
                    body.extend_from_slice(input);
                    let Some(at) = delimiter(&body[searched..], &self.boundary) else {
                        if body.len() > MAX_UNSIZED {
                            return Err(StreamError::TooLong);
                        }
                        return Ok(());
                    };
                    let mut picture = std::mem::take(body);
                    let rest = picture.split_off(searched + at);
                    picture.truncate(picture.len() - 1);
                    self.part.bytes = picture.strip_suffix(b"\r").unwrap_or(&picture).len();
                    self.keep_tag(&picture);
                    self.end_part(on_picture);
                    return self.push(&rest, on_picture);
                }
                _ => {
                    let Some(end) = memchr(b'\n', input) else {
                        self.line.extend_from_slice(input);
                        if self.line.len() > MAX_LINE {
                            return Err(StreamError::TooLong);
                        }
                        return Ok(());
                    };
                    let (line, rest) = input.split_at(end + 1);
                    input = rest;
                    if self.line.is_empty() {
                        self.take_line(line.trim_ascii(), on_picture)?;
                    } else {
                        let mut whole = std::mem::take(&mut self.line);
                        whole.extend_from_slice(line);
                        self.take_line(whole.trim_ascii(), on_picture)?;
                        whole.clear();
                        self.line = whole;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_line(
        &mut self,
        line: &[u8],
        on_picture: &mut impl FnMut(Part),
    ) -> Result<(), StreamError> {
        match self.state {
            State::StatusLine => {
                let mut words = line.split(|&b| b == b' ');
                let http = words.next().is_some_and(|word| word.starts_with(b"HTTP/1."));
                if !http || words.next() != Some(b"200") {
                    return Err(StreamError::Status(String::from_utf8_lossy(line).into_owned()));
                }
                self.state = State::ResponseHead;
            }
            State::ResponseHead if line.is_empty() => self.state = State::PartHead { begun: false },
            State::ResponseHead => {
                if let Some(value) = field(line, b"content-type") {
                    self.boundary = boundary_of(value).to_vec();
                } else if field(line, b"transfer-encoding").is_some() {
                    return Err(StreamError::Chunked);
                }
            }
            State::PartHead { begun: true } if line.is_empty() => {
                self.state = match self.length {
                    Some(remaining) => State::Sized { remaining },
                    None => State::Unsized { body: Vec::new() },
                };
                if self.length == Some(0) {
                    self.end_part(on_picture);
                }
            }
            State::PartHead { .. } if line.is_empty() => {}
            State::PartHead { .. } => self.take_part_line(line),
            State::Sized { .. } | State::Unsized { .. } => {}
        }
        Ok(())
    }

    fn take_part_line(&mut self, line: &[u8]) {
        if line.starts_with(b"--") {
            self.part = Part::default();
            self.length = None;
        } else if let Some(value) = field(line, b"content-length") {
            self.length = number(value);
            self.part.bytes = self.length.unwrap_or(0);
        } else if let Some(value) = field(line, b"x-timestamp") {
            self.part.timestamp = number(value);
        } else if let Some(value) = field(line, b"x-missed") {
            self.part.missed = number(value);
        } else if field(line, b"content-type").is_none() {
            // Another field, or a line of a preamble: neither begins a part.
            return;
        }
        self.state = State::PartHead { begun: true };
    }

    fn keep_tag(&mut self, payload: &[u8]) {
        let taken = payload.len().min(TAG_LEN - self.tag_filled);
        self.tag[self.tag_filled..self.tag_filled + taken].copy_from_slice(&payload[..taken]);
        self.tag_filled += taken;
    }

    fn end_part(&mut self, on_picture: &mut impl FnMut(Part)) {
        self.part.number = tag_number(&self.tag[..self.tag_filled]);
        self.tag_filled = 0;
        self.length = None;
        self.state = State::PartHead { begun: false };
        on_picture(std::mem::take(&mut self.part));
    }
}

/// The value of a field line, if it has this name (given in lower case).
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The boundary of a `Content-Type`, without quotes and leading dashes: what is left is in the
/// body's delimiter whichever way the server meant it.
fn boundary_of(content_type: &[u8]) -> &[u8] {
    let name = b"boundary=";
    let at = content_type.windows(name.len()).position(|w| w.eq_ignore_ascii_case(name));
    let Some(at) = at else { return &[] };
    let value = &content_type[at + name.len()..];
    let value = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|&b| b == b'"').next(),
        None => value.split(|&b| b == b';').next(),
    };
    let mut bare = value.unwrap_or_default().trim_ascii();
    while let [b'-', rest @ ..] = bare {
        bare = rest;
    }
    bare
}

/// Where a delimiter line begins, however many dashes it has.
fn delimiter(body: &[u8], boundary: &[u8]) -> Option<usize> {
    let is_delimiter = |&at: &usize| {
        let line = &body[at..];
        let dashes = line.iter().take_while(|&&b| b == b'-').count();
        line[dashes..].starts_with(boundary)
    };
    memmem::find_iter(body, b"\n--").map(|at| at + 1).find(is_delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::tagged;

    fn parts(pieces: &[&[u8]]) -> Result<Vec<Part>, StreamError> {
        let mut found = Vec::new();
        let mut reader = StreamReader::new();
        for piece in pieces {
            reader.push(piece, &mut |part| found.push(part))?;
        }
        Ok(found)
    }

    /// The same parts come out wherever the input is cut.
    fn same_at_every_split(input: &[u8], expected: &[Part]) {
        assert_eq!(parts(&[input]).as_deref(), Ok(expected));
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(parts(&bytes).as_deref(), Ok(expected));
        for at in 0..input.len() {
            let (a, b) = input.split_at(at);
            assert_eq!(parts(&[a, b]).as_deref(), Ok(expected), "cut at {at}");
        }
    }

    fn picture(number: u32) -> Vec<u8> {
        tagged(&[0xff, 0xd8, 1, 2, b'\r', b'\n', b'-', b'-', 3, 0xff, 0xd9], number, 0)
    }

    #[test]
    fn with_lengths_and_headers() {
        let mut input =
            b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n--frame\r\n"
                .to_vec();
        let mut expected = Vec::new();
        for number in 7..10 {
            let picture = picture(number);
            let head = format!(
                "Content-Type: image/jpeg\r\nContent-Length: {:>9}\r\nX-Timestamp: 12.500000\r\nX-Frame: 1\r\nX-Missed: {number}\r\n\r\n",
                picture.len()
            );
            input.extend_from_slice(head.as_bytes());
            input.extend_from_slice(&picture);
            input.extend_from_slice(b"\r\n--frame\r\n");
            expected.push(Part {
                number: Some(number),
                timestamp: Some(12.5),
                missed: Some(number.into()),
                bytes: picture.len(),
            });
        }
        same_at_every_split(&input, &expected);
    }

    #[test]
    fn without_lengths_and_with_a_dashed_boundary() {
        let mut input =
            b"HTTP/1.0 200 OK\nContent-Type: multipart/x-mixed-replace; boundary=\"--x\"\n\n"
                .to_vec();
        let mut expected = Vec::new();
        for number in 1..4 {
            input.extend_from_slice(b"----x\nContent-Type: image/jpeg\n\n");
            input.extend_from_slice(&picture(number));
            input.extend_from_slice(b"\r\n");
            let bytes = picture(number).len();
            expected.push(Part { number: Some(number), bytes, ..Part::default() });
        }
        input.extend_from_slice(b"----x\n");
        same_at_every_split(&input, &expected);
    }

    #[test]
    fn refusals() {
        let busy = parts(&[b"HTTP/1.1 503 Busy\r\n"]);
        assert_eq!(busy, Err(StreamError::Status("HTTP/1.1 503 Busy".into())));
        let chunked = parts(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"]);
        assert_eq!(chunked, Err(StreamError::Chunked));
        assert_eq!(parts(&[&[b'x'; 2 * MAX_LINE]]), Err(StreamError::TooLong));
    }
}
