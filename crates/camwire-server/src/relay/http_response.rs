//! Answers of other cameras and servers over HTTP, taken as browsers and ffmpeg take them.

use core::time::Duration;

use camwire_frame::{Backoff, Instant};
use embedded_io_async::{ErrorKind, ErrorType, Read};

use crate::http::chunks::{Chunks, move_down};

/// What another server answers to a request: its head, and the body as a reader.
///
/// It is for the answers of cameras, which many programs have taken for years although they break
/// the rules. Requests to the own [`Server`](crate::Server) are read strictly. Of the head
/// (RFC 9112) it takes:
///
/// - line ends of LF alone, and blank lines before the status;
/// - `HTTP/1.1 200OK`, `ICY 200`, a status without a reason, any version;
/// - lines without a colon or without a name, which are passed over; white space before the colon;
/// - folded fields, of which the line ends are left out;
/// - answers of 100 to 199 before the one that matters, but for 101.
///
/// A `Content-Length` is not looked at, whatever it says, and however often: the body ends when the
/// connection does, or with the last chunk of a chunked body. So ask for `Connection: close`, and
/// close the connection when a single frame is whole.
///
/// `N` is the size of its memory: what is read together with the head, and the longest field. Longer
/// ones are passed over. A head has at most 16 KiB.
///
/// ```
/// use camwire_multipart::{Config, Decoder, MultipartSource};
/// use camwire_server::{BodyKind, HttpResponse, HttpResponseError};
/// # use camwire_frame::Clock;
///
/// /// A connection to a camera, on which a GET request has been sent, as a source of frames.
/// async fn open<R: embedded_io_async::Read, C: Clock>(
///     connection: R,
///     clock: C,
/// ) -> Result<Option<MultipartSource<HttpResponse<R>, C>>, HttpResponseError<R::Error>> {
///     let mut decoder = None;
///     let mut body = HttpResponse::open(connection, |name, value| {
///         if name.eq_ignore_ascii_case(b"content-type") {
///             decoder = Decoder::from_content_type(value, Config::default()).ok();
///         }
///     })
///     .await?;
///     if body.status() != 200 {
///         return Ok(None);
///     }
///     // Some send a stream with another type, or with none. Its boundary is in the body, too.
///     if decoder.is_none() && body.kind().await? == BodyKind::Multipart {
///         let any = b"multipart/x-mixed-replace";
///         decoder = Decoder::from_content_type(any, Config::default()).ok();
///     }
///     Ok(decoder.map(|decoder| MultipartSource::new(body, decoder, clock)))
/// }
/// ```
#[derive(Debug)]
pub struct HttpResponse<R, const N: usize = 1024> {
    reader: R,
    buffer: [u8; N],
    /// What of the buffer belongs to the body and has not been read.
    start: usize,
    end: usize,
    status: u16,
    /// If the body is chunked.
    chunks: Option<Chunks>,
}

/// Why there is no answer, or its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpResponseError<E> {
    /// What comes is no HTTP.
    #[error("it does not answer with HTTP")]
    NotHttp,
    /// The head is too long.
    #[error("the head of its answer has more than {limit} bytes")]
    HeadTooLong {
        /// The limit.
        limit: u16,
    },
    /// The connection ended before the head did.
    #[error("the connection ended before its answer")]
    Ended,
    /// The body is said to be chunked, and is not.
    #[error("its chunked body is malformed")]
    Chunks,
    /// The transport failed.
    #[error("{0}")]
    Read(E),
}

impl<E: embedded_io_async::Error> embedded_io_async::Error for HttpResponseError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Ended => ErrorKind::BrokenPipe,
            _ => ErrorKind::InvalidData,
        }
    }
}

/// What the first bytes of a body show it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyKind {
    /// A delimiter, or a part's head.
    Multipart,
    /// A JPEG frame.
    Jpeg,
    /// Something else, or nothing.
    Other,
}

impl<R: Read, const N: usize> HttpResponse<R, N> {
    /// Reads the head of an answer. `field` gets the name and the value of each field.
    ///
    /// # Errors
    ///
    /// [`HttpResponseError`]
    ///
    /// # Cancel safety
    ///
    /// None. Close the connection.
    pub async fn open(
        reader: R,
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<Self, HttpResponseError<R::Error>> {
        const { assert!(N >= 64, "the fields that matter do not fit") };
        let (buffer, status, chunks) = ([0; N], 0, None);
        let mut this = Self { reader, buffer, start: 0, end: 0, status, chunks };
        let mut head = Head::<N>::new();
        loop {
            let count =
                this.reader.read(&mut this.buffer).await.map_err(HttpResponseError::Read)?;
            if count == 0 {
                return Err(HttpResponseError::Ended);
            }
            let input = this.buffer.get(..count).unwrap_or(&this.buffer);
            let used = head.push(input, &mut field).map_err(|error| match error {
                BadHead::NotHttp => HttpResponseError::NotHttp,
                BadHead::TooLong => HttpResponseError::HeadTooLong { limit: HEAD_BYTES },
            })?;
            if let Some(used) = used {
                this.status = head.status;
                this.chunks = head.is_chunked.then(Chunks::new);
                (this.start, this.end) = (used, count.min(N));
                this.unwrap_chunks()?;
                return Ok(this);
            }
        }
    }

    /// What the body begins with. It waits for the first bytes, and takes none away.
    ///
    /// # Errors
    ///
    /// [`HttpResponseError::Chunks`] and [`HttpResponseError::Read`]
    ///
    /// # Cancel safety
    ///
    /// It loses nothing when dropped, if the reader's `read` does not.
    pub async fn kind(&mut self) -> Result<BodyKind, HttpResponseError<R::Error>> {
        loop {
            let body = self.buffer.get(self.start..self.end).unwrap_or_default();
            let rest = body.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            let known = match rest.and_then(|at| body.get(at..)).unwrap_or_default() {
                [] | [b'-' | 0xFF] => None,
                [b'-', b'-', ..] => Some(BodyKind::Multipart),
                [0xFF, 0xD8 | 0xFF, ..] => Some(BodyKind::Jpeg),
                field => {
                    let expected = b"content-";
                    let begun = field.get(..expected.len()).unwrap_or(field);
                    match begun
                        .eq_ignore_ascii_case(expected.get(..begun.len()).unwrap_or_default())
                    {
                        true if begun.len() == expected.len() => Some(BodyKind::Multipart),
                        true => None,
                        false => Some(BodyKind::Other),
                    }
                }
            };
            if let Some(kind) = known {
                return Ok(kind);
            }
            if self.start > 0 {
                move_down(&mut self.buffer, self.start, self.end, 0);
                (self.start, self.end) = (0, self.end.saturating_sub(self.start));
            }
            let is_ended = self.is_ended();
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            if room.is_empty() || is_ended {
                return Ok(BodyKind::Other);
            }
            let count = self.reader.read(room).await.map_err(HttpResponseError::Read)?;
            if count == 0 {
                return Ok(BodyKind::Other);
            }
            let bytes = room.get_mut(..count).unwrap_or_default();
            let count = match &mut self.chunks {
                Some(chunks) => chunks.unwrap(bytes).map_err(|_| HttpResponseError::Chunks)?,
                None => bytes.len(),
            };
            self.end = self.end.saturating_add(count);
        }
    }

    /// The status code of the answer: 200 if it has what was asked for.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The last chunk has come.
    const fn is_ended(&self) -> bool {
        matches!(&self.chunks, Some(chunks) if chunks.is_ended())
    }

    /// Takes what stands around chunks out of the buffer.
    fn unwrap_chunks(&mut self) -> Result<(), HttpResponseError<R::Error>> {
        if let Some(chunks) = &mut self.chunks {
            let bytes = self.buffer.get_mut(self.start..self.end).unwrap_or_default();
            let count = chunks.unwrap(bytes).map_err(|_| HttpResponseError::Chunks)?;
            self.end = self.start.saturating_add(count);
        }
        Ok(())
    }
}

impl<R: Read, const N: usize> ErrorType for HttpResponse<R, N> {
    type Error = HttpResponseError<R::Error>;
}

/// The body. It loses nothing when dropped, if the reader's `read` does not.
impl<R: Read, const N: usize> Read for HttpResponse<R, N> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let rest = self.buffer.get(self.start..self.end).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buf.len());
                for (to, from) in buf.iter_mut().zip(rest) {
                    *to = *from;
                }
                self.start = self.start.saturating_add(count);
                return Ok(count);
            }
            if self.is_ended() {
                return Ok(0);
            }
            let count = self.reader.read(buf).await.map_err(HttpResponseError::Read)?;
            let Some(chunks) = &mut self.chunks else { return Ok(count) };
            let bytes = buf.get_mut(..count).unwrap_or_default();
            let payload = chunks.unwrap(bytes).map_err(|_| HttpResponseError::Chunks)?;
            if count == 0 || payload > 0 {
                return Ok(payload);
            }
        }
    }
}

/// Bytes of a whole head.
const HEAD_BYTES: u16 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadHead {
    NotHttp,
    TooLong,
}

/// A head while it comes. Bare CRs are no line ends, and all CRs are passed over.
#[derive(Debug)]
struct Head<const N: usize> {
    /// The field under way, with the lines that were folded into it.
    field: [u8; N],
    /// Bytes of it; more than `N` if it is too long.
    len: usize,
    /// Bytes of the line under way.
    line: usize,
    left: u16,
    has_status: bool,
    status: u16,
    is_chunked: bool,
}

impl<const N: usize> Head<N> {
    const fn new() -> Self {
        Self {
            field: [0; N],
            len: 0,
            line: 0,
            left: HEAD_BYTES,
            has_status: false,
            status: 0,
            is_chunked: false,
        }
    }

    /// Takes bytes. When the head is complete, says how many of them belong to it.
    fn push(
        &mut self,
        input: &[u8],
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<Option<usize>, BadHead> {
        for (used, &byte) in (1..).zip(input) {
            self.left = self.left.checked_sub(1).ok_or(BadHead::TooLong)?;
            match byte {
                b'\r' => {}
                b'\n' if self.end_line(field)? => return Ok(Some(used)),
                b'\n' => self.line = 0,
                _ => {
                    // Only now is it known that the line before was not folded.
                    let is_folded = matches!(byte, b' ' | b'\t') && self.len > 0;
                    if self.line == 0 && self.has_status && !is_folded {
                        self.end_field(field);
                    }
                    self.line = self.line.saturating_add(1);
                    if let Some(to) = self.field.get_mut(self.len) {
                        *to = byte;
                    }
                    self.len = self.len.saturating_add(1);
                }
            }
        }
        Ok(None)
    }

    /// A line has come; says whether it is the blank one at the end.
    fn end_line(&mut self, field: &mut impl FnMut(&[u8], &[u8])) -> Result<bool, BadHead> {
        match (self.has_status, self.line) {
            (false, 0) => {}
            (false, _) => {
                let line = self.field.get(..self.len).unwrap_or(&self.field);
                self.status = status(line).ok_or(BadHead::NotHttp)?;
                (self.has_status, self.len) = (true, 0);
            }
            (true, 0) => {
                self.end_field(field);
                // RFC 9110, 15.2: others come before the answer.
                self.has_status = !matches!(self.status, 100 | 102..=199);
                return Ok(self.has_status);
            }
            (true, _) => {}
        }
        Ok(false)
    }

    fn end_field(&mut self, field: &mut impl FnMut(&[u8], &[u8])) {
        let len = core::mem::take(&mut self.len);
        let Some(text) = self.field.get(..len) else { return }; // It is too long.
        let colon = text.iter().position(|&byte| byte == b':');
        let Some((name, [_, value @ ..])) = colon.and_then(|at| text.split_at_checked(at)) else {
            return;
        };
        let (name, value) = (name.trim_ascii(), value.trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let mut codings = value.split(|&byte| byte == b',');
            self.is_chunked |=
                codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        }
        if !name.is_empty() {
            field(name, value);
        }
    }
}

/// The code in a status line (RFC 9112, section 4).
fn status(line: &[u8]) -> Option<u16> {
    let version = [b"http".as_slice(), b"icy"].into_iter().find(|version| {
        line.get(..version.len()).is_some_and(|start| start.eq_ignore_ascii_case(version))
    })?;
    let rest = line.get(version.len()..)?;
    let space = rest.iter().position(|&byte| byte == b' ' || byte == b'\t')?;
    match rest.get(space..)?.trim_ascii_start() {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..]
            if !matches!(after, [b'0'..=b'9', ..]) =>
        {
            let digit = |byte: &u8| u16::from(byte.wrapping_sub(b'0'));
            Some(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        _ => None,
    }
}

/// When to connect to another server again, so that none is asked in a storm: not within a second
/// of the last attempt. While it brings nothing, the wait doubles up to 5 s, and it is a second
/// again only after a connection that has lasted for 10 s. A connection that brought frames and was
/// closed early leaves the wait as it was.
///
/// ```
/// use camwire_frame::Instant;
/// use camwire_server::Reconnect;
/// use core::time::Duration;
///
/// let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
/// let mut reconnect = Reconnect::new();
/// assert!(reconnect.due() <= at(0)); // at once
/// reconnect.opened(at(0));
/// reconnect.closed(at(0), false); // refused
/// assert_eq!(reconnect.due(), at(1));
/// reconnect.opened(at(1));
/// reconnect.closed(at(1), false);
/// assert_eq!(reconnect.due(), at(3));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Reconnect {
    backoff: Backoff,
    opened: Instant,
    due: Instant,
}

impl Reconnect {
    /// Between two attempts.
    const FLOOR: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(5);
    /// A connection that has lasted for so long was a good one.
    const LASTING: Duration = Duration::from_secs(10);

    /// Nothing has been tried yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            backoff: Backoff::new(Self::FLOOR, Self::LONGEST),
            opened: Instant::ZERO,
            due: Instant::ZERO,
        }
    }

    /// When the next attempt may begin.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// An attempt begins.
    pub fn opened(&mut self, now: Instant) {
        self.opened = now;
        self.due = now + Self::FLOOR;
    }

    /// The connection has ended, or the attempt has failed. `brought_frames`: at least one.
    pub fn closed(&mut self, now: Instant, brought_frames: bool) {
        if now.saturating_since(self.opened) >= Self::LASTING {
            self.backoff.reset();
        }
        if !brought_frames {
            self.due = now + self.backoff.next(0);
        }
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
