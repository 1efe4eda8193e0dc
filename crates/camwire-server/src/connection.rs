use core::fmt::{self, Write as _};
use core::net::SocketAddr;
use core::time::Duration;

use camwire_capture::FrameRevocation;
use camwire_frame::{Clock, Instant};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;

use crate::io::{WriteVectored, advance};
use crate::viewers::Viewer;
use crate::{Answer, Config, Cors};

/// Why a connection ended before its answer was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect<E> {
    /// The transport failed, which is how most viewers leave.
    #[error("{0}")]
    Transport(E),
    /// The peer has closed its end, or the transport takes no more bytes.
    #[error("closed by the peer")]
    Closed,
    /// No request came within [`Config::head_timeout`].
    #[error("no request within its time")]
    NoRequest,
    /// Nothing was taken for [`Config::progress_timeout`].
    #[error("stalled")]
    Stalled,
    /// One picture took longer than [`Config::picture_timeout`].
    #[error("too slow for a picture")]
    TooSlow,
    /// The ring needed the slot of the picture that was being sent.
    #[error("too slow: the ring needs its slot")]
    Revoked,
    /// No Ping was answered for [`Config::pong_timeout`].
    #[error("no sign of life")]
    Silent,
    /// The peer broke the rules of WebSocket, and was told so.
    #[error("the peer broke the WebSocket protocol")]
    Protocol,
}

impl<E> From<E> for Disconnect<E> {
    fn from(error: E) -> Self {
        Self::Transport(error)
    }
}

/// One connection, its two halves apart: while one waits the other is used.
pub(crate) struct Connection<'c, R, W, C> {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) read: R,
    pub(crate) out: Outlet<'c, W, C>,
}

/// The sending half of a connection, with its deadlines.
#[derive(Debug)]
pub(crate) struct Outlet<'c, W, C> {
    pub(crate) write: W,
    /// False for HEAD, whose answers end with their head, refusals too (RFC 9110, 9.3.2).
    pub(crate) with_body: bool,
    pub(crate) clock: &'c C,
    pub(crate) config: &'c Config,
}

/// Text in a small buffer: heads, short bodies, a piece of a long one.
pub(crate) type Text = heapless::String<512>;

impl<W: WriteVectored, C: Clock> Outlet<'_, W, C> {
    /// Sends all of `pieces`, for as long as there is progress, `by` at the latest; gives up when
    /// the lease of what it sends is asked back. A viewer's bytes are counted as they go.
    pub(crate) async fn send(
        &mut self,
        pieces: &mut [&[u8]],
        by: Instant,
        mut revocation: Option<&mut FrameRevocation<'_>>,
        viewer: Option<&Viewer<'_>>,
    ) -> Result<(), Disconnect<W::Error>> {
        // Transports that take only so many pieces at once must not be given the empty ones first.
        while let Some(first) = pieces.iter().position(|piece| !piece.is_empty()) {
            let pieces = pieces.get_mut(first..).unwrap_or_default();
            // Timer and revocation are looked at only if the transport does not take the bytes at
            // once, which for most viewers it does.
            let stalled = async {
                let stalled_at = self.clock.now() + self.config.progress_timeout;
                self.clock.deadline(stalled_at.min(by)).await;
                if by < stalled_at { Disconnect::TooSlow } else { Disconnect::Stalled }
            };
            let revoked = async {
                match &mut revocation {
                    Some(revocation) => revocation.revoked().await,
                    None => core::future::pending().await,
                }
            };
            let written = match select3(self.write.write_vectored(pieces), stalled, revoked).await {
                Either3::First(written) => written?,
                Either3::Second(end) => return Err(end),
                Either3::Third(()) => return Err(Disconnect::Revoked),
            };
            if written == 0 {
                return Err(Disconnect::Closed);
            }
            if let Some(viewer) = viewer {
                viewer.sent_bytes(written);
            }
            advance(pieces, written);
        }
        Ok(())
    }

    /// Sends text, by the time that one picture may take.
    pub(crate) async fn send_text(&mut self, text: &str) -> Result<(), Disconnect<W::Error>> {
        let by = self.picture_deadline();
        self.send(&mut [text.as_bytes()], by, None, None).await
    }

    pub(crate) fn picture_deadline(&self) -> Instant {
        self.clock.now() + self.config.picture_timeout
    }

    /// Sends what is still buffered below. A transport that buffers must not keep a picture.
    pub(crate) async fn flush(&mut self) -> Result<(), Disconnect<W::Error>> {
        let stalled = async {
            self.clock.deadline(self.clock.now() + self.config.progress_timeout).await;
        };
        match select(self.write.flush(), stalled).await {
            Either::First(flushed) => Ok(flushed?),
            Either::Second(()) => Err(Disconnect::Stalled),
        }
    }

    /// A whole answer. Its head must fit a [`Text`].
    pub(crate) async fn answer(&mut self, answer: &Answer<'_>) -> Result<(), Disconnect<W::Error>> {
        let Answer { status, content_type, policy, fields, body } = *answer;
        let length = body.len();
        let head = self.head(
            status,
            content_type,
            policy,
            format_args!("Content-Length: {length}\r\n{fields}"),
        );
        let by = self.picture_deadline();
        let body = if self.with_body { body } else { &[] };
        self.send(&mut [head.as_bytes(), body], by, None, None).await?;
        self.flush().await
    }

    /// The head of an answer that goes on, with its first bytes. A viewer's are counted.
    pub(crate) async fn begin(
        &mut self,
        content_type: &str,
        opening: &[u8],
        viewer: Option<&Viewer<'_>>,
    ) -> Result<(), Disconnect<W::Error>> {
        let head = self.head("200 OK", content_type, Answer::SANDBOX, format_args!(""));
        let by = self.picture_deadline();
        self.send(&mut [head.as_bytes(), opening], by, None, viewer).await?;
        self.flush().await
    }

    /// The head of an answer, with its `Content-Security-Policy`. Every head is written here, so no
    /// route can forget it.
    pub(crate) fn head(
        &self,
        status: &str,
        content_type: &str,
        policy: &str,
        fields: fmt::Arguments<'_>,
    ) -> Text {
        let mut head = Text::new();
        let cors = match self.config.cors {
            Cors::SameOrigin => "",
            Cors::AnyOrigin => {
                "Access-Control-Allow-Origin: *\r\n\
                 Access-Control-Expose-Headers: X-Timestamp, X-Frame\r\n"
            }
        };
        // An Upgrade that is asked for is an option of the connection (RFC 9110, section 7.8).
        let upgrade = if status.starts_with("426 ") { "Upgrade, " } else { "" };
        // Content-Type first: some clients of streams read no further than they must. What is
        // written here always fits.
        let _ = write!(
            head,
            "HTTP/1.1 {status}\r\n\
             Content-Type: {content_type}\r\n\
             Cache-Control: no-store\r\n\
             Connection: {upgrade}close\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: {policy}\r\n\
             {cors}{fields}\r\n"
        );
        head
    }
}

/// Returns when the peer has closed its end, or broke the connection. A viewer has nothing to say
/// after its request; what it says all the same is thrown away.
///
/// A client that closes only its sending half counts as gone: nobody who watches does that, and
/// this way a viewer who leaves is noticed at once, even while no picture comes.
pub(crate) async fn gone(read: &mut impl Read) {
    let mut scrap = [0; 32];
    while !matches!(read.read(&mut scrap).await, Ok(0) | Err(_)) {}
}

impl<R: Read, W, C: Clock> Connection<'_, R, W, C> {
    /// After a refusal, takes what the peer is still sending, for a second at most: if the
    /// connection were closed on unread bytes, many systems would throw the answer away.
    pub(crate) async fn drain(&mut self) {
        let clock = self.out.clock;
        let until = clock.deadline(clock.now() + Duration::from_secs(1));
        let _ = select(gone(&mut self.read), until).await;
    }
}
