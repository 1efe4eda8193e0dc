//! Reads an MJPEG stream just far enough to count its pictures: a part with `Content-Length` is
//! skipped over, not looked at. It takes what the servers of the field send (no or padded
//! lengths, dashed and quoted boundaries, LF line ends, a missing first delimiter, a preamble).
//!
//! Where the server answers with 101 it reads WebSocket frames, each a picture, in the same way.

use std::fmt;

use memchr::{memchr, memmem};

use crate::pictures::{TAG_LEN, tag_number};

/// The longest line of a head.
const MAX_LINE: usize = 8 * 1024;
/// The largest picture from a server that does not tell its length.
const MAX_UNSIZED: usize = 16 * 1024 * 1024;
/// A line end and the dashes before a boundary, which itself has at most 70 characters.
const MAX_DASHES: usize = 80;

/// The head of an unmasked WebSocket frame (RFC 6455, section 5.2).
const FRAME_HEAD_MAX: usize = 10;

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
    /// A WebSocket frame that is no whole binary message, and no Ping.
    Frame(u8),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(line) => write!(f, "the response begins with {line:?}"),
            Self::Chunked => f.write_str("the response is chunked"),
            Self::TooLong => f.write_str("a line or a part of the stream does not end"),
            Self::Frame(first) => write!(f, "a frame begins with {first:#04x}"),
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
    ResponseHead {
        next: After,
    },
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
    /// The head of a WebSocket frame from a server, as much of it as has come.
    FrameHead {
        head: [u8; FRAME_HEAD_MAX],
        filled: usize,
    },
    Frame {
        is_picture: bool,
        remaining: usize,
    },
}

/// What follows the head of a response.
#[derive(Clone, Copy, Debug)]
enum After {
    Parts,
    Frames,
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
                State::FrameHead { head, filled } => {
                    head[*filled] = input[0];
                    *filled += 1;
                    input = &input[1..];
                    if let Some((is_picture, remaining)) = frame(&head[..*filled])? {
                        self.part.bytes = remaining;
                        self.state = State::Frame { is_picture, remaining };
                        self.end_frame(on_picture);
                    }
                }
                State::Frame { is_picture, remaining } => {
                    let (payload, rest) = input.split_at(input.len().min(*remaining));
                    *remaining -= payload.len();
                    input = rest;
                    if *is_picture {
                        self.keep_tag(payload);
                    }
                    self.end_frame(on_picture);
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
                let next = match words.next() {
                    Some(b"200") if http => After::Parts,
                    Some(b"101") if http => After::Frames,
                    _ => {
                        let line = String::from_utf8_lossy(line).into_owned();
                        return Err(StreamError::Status(line));
                    }
                };
                self.state = State::ResponseHead { next };
            }
            State::ResponseHead { next } if line.is_empty() => {
                self.state = match next {
                    After::Parts => State::PartHead { begun: false },
                    After::Frames => FRAME_BEGINS,
                };
            }
            State::ResponseHead { .. } => {
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
            State::Sized { .. }
            | State::Unsized { .. }
            | State::FrameHead { .. }
            | State::Frame { .. } => {}
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
        self.length = None;
        self.state = State::PartHead { begun: false };
        self.report(on_picture);
    }

    /// Ends the frame if nothing of it is left.
    fn end_frame(&mut self, on_picture: &mut impl FnMut(Part)) {
        if let State::Frame { is_picture, remaining: 0 } = self.state {
            self.state = FRAME_BEGINS;
            if is_picture {
                self.report(on_picture);
            }
        }
    }

    fn report(&mut self, on_picture: &mut impl FnMut(Part)) {
        self.part.number = tag_number(&self.tag[..self.tag_filled]);
        self.tag_filled = 0;
        on_picture(std::mem::take(&mut self.part));
    }
}

const FRAME_BEGINS: State = State::FrameHead { head: [0; FRAME_HEAD_MAX], filled: 0 };

/// Whether the frame of this head is a picture, and its length; `None` if more of the head is
/// needed. Pings are passed over: the server misses the answer only half a minute later.
fn frame(head: &[u8]) -> Result<Option<(bool, usize)>, StreamError> {
    const BINARY: u8 = 0x82;
    const PING: u8 = 0x89;
    let is_picture = match head {
        [BINARY, ..] => true,
        [PING, ..] => false,
        [first, ..] => return Err(StreamError::Frame(*first)),
        [] => return Ok(None),
    };
    let length = match *head {
        [_, 126, a, b] => Some(usize::from(u16::from_be_bytes([a, b]))),
        [_, 127, a, b, c, d, e, f, g, h] => {
            let length = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            Some(usize::try_from(length).map_err(|_| StreamError::TooLong)?)
        }
        [_, length @ 0..=125] => Some(length.into()),
        // Masked, which a server must not.
        [_, length, ..] if length >= 128 => return Err(StreamError::Frame(length)),
        _ => None,
    };
    Ok(length.map(|length| (is_picture, length)))
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
    fn frames() {
        let mut input = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        let mut expected = Vec::new();
        for (number, padding) in [(1, 0), (2, 200), (3, 70_000)] {
            let mut picture = picture(number);
            picture.resize(picture.len() + padding, 0);
            match picture.len() {
                len @ ..=125 => input.extend_from_slice(&[0x82, len as u8]),
                len @ 126..=0xffff => {
                    input.extend_from_slice(&[0x82, 126]);
                    input.extend_from_slice(&(len as u16).to_be_bytes());
                }
                len => {
                    input.extend_from_slice(&[0x82, 127]);
                    input.extend_from_slice(&(len as u64).to_be_bytes());
                }
            }
            input.extend_from_slice(&picture);
            input.extend_from_slice(b"\x89\x02hi\x89\0");
            expected.push(Part { number: Some(number), bytes: picture.len(), ..Part::default() });
        }
        assert_eq!(parts(&[&input]).as_deref(), Ok(expected.as_slice()));
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(parts(&bytes).as_deref(), Ok(expected.as_slice()));
        for at in 0..600 {
            let (a, b) = input.split_at(at);
            assert_eq!(parts(&[a, b]).as_deref(), Ok(expected.as_slice()), "cut at {at}");
        }
        for wrong in [b"\x81\x01a".as_slice(), b"\x02\x01a", b"\x82\x81abcd.", b"\x88\0"] {
            let input = [b"HTTP/1.1 101 \r\n\r\n", wrong].concat();
            assert!(matches!(parts(&[&input]), Err(StreamError::Frame(_))), "{wrong:?}");
        }
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
