//! The body of a request.

use camwire_frame::{Clock, Instant};
use embassy_futures::select::{Either, select};
use embedded_io::ErrorKind;
use embedded_io_async::{ErrorType, Read};

use crate::http::chunks::Chunks;
use crate::http::response::{Answer, ResponseWriter};
use crate::sender::Disconnect;
use crate::transport::WriteVectored;

/// How the fields of a request frame its body (RFC 9112, section 6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyFields {
    framing: Framing,
    /// The client waits for a `100 Continue` before it sends the body.
    awaits_continue: bool,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    /// So many bytes; 0 without any field.
    Length(u64),
    Chunked(Chunks),
    /// The fields contradict each other, or name something unknown.
    Invalid,
}

impl BodyFields {
    pub(crate) const fn new() -> Self {
        Self { framing: Framing::Length(0), awaits_continue: false }
    }

    /// A field line. Those of other names do not matter.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            self.framing = match (self.framing, length(value)) {
                (Framing::Length(0), Some(length)) => Framing::Length(length),
                (Framing::Length(before), Some(length)) if before == length => self.framing,
                _ => Framing::Invalid,
            };
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.framing = match self.framing {
                Framing::Length(0) if value.eq_ignore_ascii_case(b"chunked") => {
                    Framing::Chunked(Chunks::new())
                }
                _ => Framing::Invalid,
            };
        } else if name.eq_ignore_ascii_case(b"expect") {
            self.awaits_continue |= value.eq_ignore_ascii_case(b"100-continue");
        }
    }
}

/// Digits only, unlike what `parse` takes.
fn length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

/// Why the body of a request could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError<E> {
    /// It is longer than the application allows.
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Its length is contradictory or malformed, or it comes in an unknown encoding.
    #[error("the body has no valid length")]
    Malformed,
    /// Nothing came for [`Config::progress_timeout`](crate::Config::progress_timeout), or it took
    /// longer than [`Config::body_timeout`](crate::Config::body_timeout).
    #[error("the body came too slowly")]
    TooSlow,
    /// The client closed the connection before the end.
    #[error("the connection ended before the body did")]
    Ended,
    /// The transport failed.
    #[error("{0}")]
    Transport(E),
}

impl<E> BodyError<E> {
    /// What the client is answered: 413, 408, or 400.
    #[must_use]
    pub const fn answer(&self) -> Answer<'static> {
        let (status, body): (_, &[u8]) = match self {
            Self::TooLarge { .. } => ("413 Content Too Large", b"the body is too large\n"),
            Self::TooSlow => ("408 Request Timeout", b"the body came too slowly\n"),
            _ => ("400 Bad Request", b"the body is malformed or incomplete\n"),
        };
        Answer { status, body, ..Answer::PLAIN }
    }
}

impl<E: embedded_io::Error> embedded_io::Error for BodyError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::OutOfMemory,
            Self::Malformed => ErrorKind::InvalidData,
            Self::TooSlow => ErrorKind::TimedOut,
            Self::Ended => ErrorKind::BrokenPipe,
            Self::Transport(error) => error.kind(),
        }
    }
}

/// The receiving half of an exchange.
#[derive(Debug)]
pub(crate) struct Incoming<'x, R> {
    pub(crate) read: &'x mut R,
    /// What of the body came together with the head.
    pub(crate) early: &'x [u8],
    pub(crate) fields: BodyFields,
}

/// The body of a request as a stream of bytes, from [`Exchange::body`](crate::Exchange::body). It
/// ends, as usual, with a read of 0 bytes.
///
/// Nothing is buffered here: while the application does not read, TCP holds the client back.
#[derive(Debug)]
pub struct RequestBody<'b, 'x, R, W, C> {
    incoming: &'b mut Incoming<'x, R>,
    out: &'b mut ResponseWriter<'x, &'x mut W, C>,
    limit: u64,
    /// How many bytes may still come.
    left: u64,
    by: Instant,
}

impl<'b, 'x, R: Read, W: WriteVectored, C: Clock> RequestBody<'b, 'x, R, W, C> {
    pub(crate) fn new(
        incoming: &'b mut Incoming<'x, R>,
        out: &'b mut ResponseWriter<'x, &'x mut W, C>,
        limit: u64,
    ) -> Self {
        let (clock, config) = (out.sender.clock(), out.sender.config());
        Self { incoming, limit, left: limit, by: clock.now() + config.body_timeout, out }
    }

    /// How many bytes the client has announced and not yet sent; `None` of a chunked body.
    #[must_use]
    pub const fn announced(&self) -> Option<u64> {
        match self.incoming.fields.framing {
            Framing::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The bytes that came with the head, or the next ones; 0 at the end of the connection.
    async fn receive(&mut self, buf: &mut [u8]) -> Result<usize, BodyError<R::Error>> {
        let Incoming { read, early, .. } = &mut *self.incoming;
        if !early.is_empty() {
            let count = early.len().min(buf.len());
            let (now, later) = early.split_at_checked(count).unwrap_or_default();
            buf.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            *early = later;
            return Ok(count);
        }
        let clock = self.out.sender.clock();
        let stalls_at = clock.now() + self.out.sender.config().progress_timeout;
        let late = clock.deadline(stalls_at.min(self.by));
        match select(read.read(buf), late).await {
            Either::First(count) => count.map_err(BodyError::Transport),
            Either::Second(()) => Err(BodyError::TooSlow),
        }
    }
}

impl<R: Read, W, C> ErrorType for RequestBody<'_, '_, R, W, C> {
    type Error = BodyError<R::Error>;
}

impl<R, W, C> Read for RequestBody<'_, '_, R, W, C>
where
    R: Read,
    W: WriteVectored<Error = R::Error>,
    C: Clock,
{
    /// # Errors
    ///
    /// [`BodyError`]. The rest of the body is then of no use.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost if the transport's `read` loses nothing, except while a `100 Continue` is sent
    /// for the first read.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let limit = self.limit;
        let most = match self.incoming.fields.framing {
            Framing::Invalid => return Err(BodyError::Malformed),
            Framing::Length(left) if left > self.left => return Err(BodyError::TooLarge { limit }),
            Framing::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Framing::Chunked(chunks) if chunks.is_ended() => 0,
            Framing::Chunked(_) => usize::MAX,
        };
        let most = most.min(buf.len());
        let buf = buf.get_mut(..most).unwrap_or_default();
        if buf.is_empty() {
            return Ok(0);
        }
        if core::mem::take(&mut self.incoming.fields.awaits_continue)
            && self.incoming.early.is_empty()
        {
            let sender = &mut self.out.sender;
            let sent = sender.send(&mut [b"HTTP/1.1 100 Continue\r\n\r\n"]).await;
            let flushed = if sent.is_ok() { sender.flush().await } else { sent };
            flushed.map_err(|error| match error {
                Disconnect::Transport(error) => BodyError::Transport(error),
                Disconnect::Closed => BodyError::Ended,
                _ => BodyError::TooSlow,
            })?;
        }
        loop {
            let received = self.receive(buf).await?;
            if received == 0 {
                return Err(BodyError::Ended);
            }
            let bytes = buf.get_mut(..received).unwrap_or_default();
            let count = match &mut self.incoming.fields.framing {
                Framing::Length(left) => {
                    *left = left.saturating_sub(received as u64);
                    received
                }
                Framing::Chunked(chunks) => {
                    let count = chunks.unwrap(bytes).map_err(|_| BodyError::Malformed)?;
                    if count == 0 && !chunks.is_ended() {
                        continue;
                    }
                    count
                }
                Framing::Invalid => return Err(BodyError::Malformed),
            };
            self.left = self.left.checked_sub(count as u64).ok_or(BodyError::TooLarge { limit })?;
            return Ok(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(fields: &[(&str, &str)]) -> Option<Option<u64>> {
        let mut body = BodyFields::new();
        fields.iter().for_each(|(name, value)| body.field(name.as_bytes(), value.as_bytes()));
        match body.framing {
            Framing::Length(length) => Some(Some(length)),
            Framing::Chunked(_) => Some(None),
            Framing::Invalid => None,
        }
    }

    #[test]
    fn contradictory_lengths_are_invalid() {
        assert_eq!(framing(&[]), Some(Some(0)));
        assert_eq!(framing(&[("content-LENGTH", "17")]), Some(Some(17)));
        assert_eq!(framing(&[("Content-Length", "17"), ("Content-Length", "17")]), Some(Some(17)));
        assert_eq!(framing(&[("Transfer-Encoding", "Chunked")]), Some(None));
        for invalid in [
            &[("Content-Length", "17"), ("Content-Length", "18")][..],
            &[("Content-Length", "17"), ("Transfer-Encoding", "chunked")],
            &[("Transfer-Encoding", "chunked"), ("Content-Length", "17")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
            &[("Transfer-Encoding", "gzip, chunked")],
            &[("Content-Length", "")],
            &[("Content-Length", "+17")],
            &[("Content-Length", "-1")],
            &[("Content-Length", "1 7")],
            &[("Content-Length", "99999999999999999999")],
        ] {
            assert_eq!(framing(invalid), None, "{invalid:?}");
        }
    }
}
