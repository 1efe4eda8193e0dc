use core::convert::Infallible;
use core::future::pending;
use core::net::SocketAddr;

use camwire_capture::{FrameLease, FrameReader};
use camwire_frame::Clock;
use camwire_multipart::MediaType;
use embedded_io_async::{ErrorType, Read};

use crate::connection::{Disconnect, Outlet};
use crate::io::WriteVectored;
use crate::server::Server;
use crate::stream::{FULL, Framing, Parts};
use crate::viewers::{Transport, Viewer};
use crate::{Answer, Application, Config, StreamOptions};

/// There is no place for another viewer: 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FULL}")]
pub struct TooManyViewers;

/// The body of `/stream`, for a program that has an HTTP server of its own: that one reads the
/// request and sends the answer's head, and this is what follows.
///
/// Whoever watches has a place among the viewers until this is dropped, and is shown in `/stats`.
/// Everything else is as with [`Server::serve`]: which pictures, their fields, the last one again
/// when no other comes, the deadlines of [`Config`], and the closing delimiter when
/// the ring's publisher is dropped.
///
/// A body without a length that ends with its connection is the simplest answer; a chunked one will
/// do, too.
///
/// ```
/// use camwire_frame::Clock;
/// use camwire_server::{Sequential, Server};
/// use embedded_io_async::Write;
///
/// /// Called by an HTTP server for `GET /stream`, with what follows the question mark.
/// async fn stream<W: Write>(server: &Server<'_, impl Clock>, query: &str, mut to: W) {
///     let Ok(options) = query.parse() else { return }; // 400
///     let Ok(body) = server.stream_body(options, None) else { return }; // 503
///     let (start, content_type) = ("HTTP/1.1 200 OK", body.content_type());
///     let mut fields = vec![("Content-Type", content_type.as_str()), ("Connection", "close")];
///     fields.extend(body.fields());
///     let lines = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
///     let head = format!("{start}\r\n{}\r\n", lines.collect::<String>());
///     let Ok(()) = to.write_all(head.as_bytes()).await else { return };
///     let _ = body.send_to(Sequential(to)).await; // Viewers leave; so be it.
/// }
/// ```
#[derive(Debug)]
#[must_use = "a body that nobody gets"]
pub struct StreamBody<'s, C, A = ()> {
    pub(crate) server: &'s Server<'s, C, A>,
    parts: Parts,
    viewer: Viewer<'s>,
    reader: FrameReader<'s>,
}

impl<C: Clock, A: Application> Server<'_, C, A> {
    /// The body of a stream for somebody who has asked another HTTP server for it. `options` are
    /// parsed from the query of the request, `peer` is for the statistics.
    ///
    /// From here on there is demand, so the camera starts.
    ///
    /// # Errors
    ///
    /// If every place for viewers, or for readers in the ring, is taken.
    pub fn stream_body(
        &self,
        options: StreamOptions,
        peer: Option<SocketAddr>,
    ) -> Result<StreamBody<'_, C, A>, TooManyViewers> {
        let viewer = self.enter(options, Transport::Mjpeg, peer).ok_or(TooManyViewers)?;
        let reader = self.read(viewer.mode).map_err(|_| TooManyViewers)?;
        Ok(StreamBody { server: self, parts: Parts::new(options, self.random), viewer, reader })
    }
}

impl<C: Clock, A: Application> StreamBody<'_, C, A> {
    /// The value of the answer's `Content-Type`, with the boundary, which is this body's own.
    #[must_use]
    pub fn content_type(&self) -> MediaType {
        self.parts.content_type()
    }

    /// Further fields that belong into the answer's head, as names and values: that it is not kept, and
    /// that it is no page, whatever a frame holds.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &'static str); 3] {
        [
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", Answer::SANDBOX),
        ]
    }

    /// Sends pictures for as long as the viewer takes them.
    ///
    /// That the viewer has left is noticed by what is sent, after a second at most even if no
    /// picture comes. An HTTP server that notices it by reading drops this future.
    ///
    /// # Errors
    ///
    /// A [`Disconnect`] if the stream could not be completed, which is how most end. A picture may
    /// have been sent in part, so close the connection.
    ///
    /// # Cancel safety
    ///
    /// As that of [`Server::serve`].
    pub async fn send_to<W: WriteVectored>(self, write: W) -> Result<(), Disconnect<W::Error>> {
        let config = &self.server.config;
        self.send(write, config, |_| {}).await
    }
}

impl<'s, C: Clock, A: Application> StreamBody<'s, C, A> {
    /// Sends it all. Each picture is shown to `lend` before it is sent.
    pub(crate) async fn send<W: WriteVectored>(
        self,
        write: W,
        config: &Config,
        lend: impl Fn(&FrameLease<'_, 's>),
    ) -> Result<(), Disconnect<W::Error>> {
        let Self { server, parts, viewer, reader } = self;
        let mut out = Outlet { write, with_body: true, clock: &server.clock, config };
        let by = out.picture_deadline();
        out.send(&mut [parts.opening()], by, None, Some(&viewer)).await?;
        out.flush().await?;
        let mut framing = Framing::Parts(parts);
        server.pictures(&mut out, &mut Silence, &mut framing, viewer, reader, lend).await
    }
}

/// The other direction, which is the HTTP server's affair.
struct Silence;

impl ErrorType for Silence {
    type Error = Infallible;
}

impl Read for Silence {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, Infallible> {
        pending().await
    }
}
