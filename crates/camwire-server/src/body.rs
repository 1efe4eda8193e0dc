use core::convert::Infallible;
use core::future::pending;
use core::net::SocketAddr;

use camwire_frame::Clock;
use camwire_ring::{FrameLease, Reader};
use embedded_io_async::{ErrorType, Read};

use crate::connection::{Disconnect, Outlet};
use crate::io::WriteVectored;
use crate::server::Server;
use crate::stream::{CONTENT_TYPE, FULL, Framing};
use crate::viewers::{Transport, Viewer};
use crate::{Application, Config, StreamOptions};

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
///     let fields = ["HTTP/1.1 200 OK\r\nContent-Type: ", body.content_type(), "\r\n\r\n"];
///     for text in fields {
///         let Ok(()) = to.write_all(text.as_bytes()).await else { return };
///     }
///     let _ = body.send_to(Sequential(to)).await; // Viewers leave; so be it.
/// }
/// ```
#[derive(Debug)]
#[must_use = "a body that nobody gets"]
pub struct StreamBody<'s, C, A = ()> {
    pub(crate) server: &'s Server<'s, C, A>,
    pub(crate) options: StreamOptions,
    pub(crate) viewer: Viewer<'s>,
    pub(crate) reader: Reader<'s>,
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
        Ok(StreamBody { server: self, options, viewer, reader })
    }
}

impl<C: Clock, A: Application> StreamBody<'_, C, A> {
    /// The value of the answer's `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        CONTENT_TYPE
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
        let Self { server, options, viewer, reader } = self;
        let mut framing = Framing::of_parts(options);
        let mut out = Outlet { write, with_body: true, clock: &server.clock, config };
        let by = out.picture_deadline();
        out.send(&mut [framing.opening()], by, None, Some(&viewer)).await?;
        out.flush().await?;
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
