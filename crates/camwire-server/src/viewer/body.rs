//! The body of `/stream` for other HTTP servers.

use core::convert::Infallible;
use core::future::pending;
use core::net::SocketAddr;

use camwire_capture::{FrameLease, FrameReader};
use camwire_frame::Clock;
use camwire_multipart::MediaType;
use embedded_io_async::{ErrorType, Read};

use crate::http::response::Answer;
use crate::hub::{Hub, TooManyViewers};
use crate::sender::{Disconnect, Sender};
use crate::transport::WriteVectored;
use crate::viewer::mjpeg::Mjpeg;
use crate::viewer::options::StreamOptions;
use crate::viewer::sink::Sink;
use crate::viewer::slot::{Transport, Viewer};
use crate::viewer::stream::Channel;
use crate::viewer::wire::Wire as _;

/// The body of `/stream`, for a program that has an HTTP server of its own: that one reads the
/// request and sends the head of the answer, and this is what follows.
///
/// The client has a place among the viewers until this is dropped, and is shown in `/stats`.
/// Everything else is as with [`Server::serve`](crate::Server::serve): which frames, their fields,
/// the last one again when no other comes, the deadlines of [`Config`](crate::Config), and the
/// closing delimiter when the ring's publisher is dropped.
///
/// A body without a length that ends with its connection is the simplest answer; a chunked one works,
/// too.
///
/// ```
/// use camwire_frame::Clock;
/// use camwire_server::{Hub, Sequential, StreamBody};
/// use embedded_io_async::Write;
///
/// /// Called by an HTTP server for `GET /stream`, with what follows the question mark.
/// async fn stream<W: Write>(hub: &Hub<'_, impl Clock>, query: &str, mut to: W) {
///     let Ok(options) = query.parse() else { return }; // 400
///     let Ok(body) = StreamBody::new(hub, options, None) else { return }; // 503
///     let (start, content_type) = ("HTTP/1.1 200 OK", body.content_type());
///     let mut fields = vec![("Content-Type", content_type.as_str()), ("Connection", "close")];
///     fields.extend(body.fields());
///     let lines = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
///     let head = format!("{start}\r\n{}\r\n", lines.collect::<String>());
///     let Ok(()) = to.write_all(head.as_bytes()).await else { return };
///     let _ = body.send_to(Sequential(to)).await; // Viewers leave at any time.
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent until the body is used"]
pub struct StreamBody<'s, C> {
    pub(crate) hub: &'s Hub<'s, C>,
    wire: Mjpeg,
    viewer: Viewer<'s>,
    reader: FrameReader<'s>,
}

impl<'s, C: Clock> StreamBody<'s, C> {
    /// The body of a stream for a client of another HTTP server. `options` are parsed from the query
    /// of the request, `peer` is for the statistics.
    ///
    /// From here on there is demand, so the camera starts.
    ///
    /// # Errors
    ///
    /// If every place for viewers, or for readers in the ring, is taken.
    pub fn new(
        hub: &'s Hub<'s, C>,
        options: StreamOptions,
        peer: Option<SocketAddr>,
    ) -> Result<Self, TooManyViewers> {
        let viewer = hub.claim_slot(Transport::MJPEG, &options, peer)?;
        let reader = hub.subscribe(viewer.mode())?;
        Ok(Self { hub, wire: Mjpeg::new(options, hub.random()), viewer, reader })
    }

    /// The value of the answer's `Content-Type`, with the boundary, which is this body's own.
    #[must_use]
    pub fn content_type(&self) -> MediaType {
        self.wire.content_type()
    }

    /// Further fields that belong into the head of the answer, as names and values: that it is not
    /// stored, and that it is not a page, whatever a frame holds.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &'static str); 3] {
        [
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", Answer::SANDBOX),
        ]
    }

    /// Sends frames for as long as the viewer takes them.
    ///
    /// A viewer that has left is noticed by what is sent, after a second at most even if no frame
    /// comes. An HTTP server that notices it by reading drops this future.
    ///
    /// # Errors
    ///
    /// A [`Disconnect`] if the stream could not be completed, which is how most end. A frame may
    /// have been sent in part, so close the connection.
    ///
    /// # Cancel safety
    ///
    /// As that of [`Server::serve`](crate::Server::serve).
    pub async fn send_to<W: WriteVectored>(self, write: W) -> Result<(), Disconnect<W::Error>> {
        let mut sender = Sender::new(write, self.hub.clock(), self.hub.config());
        sender.count(self.viewer.bytes());
        self.send(&mut sender, |_| {}).await
    }

    /// Where its bytes are counted.
    #[cfg(feature = "bytes")]
    pub(crate) const fn counter(&self) -> &'s crate::sender::ByteCounter {
        self.viewer.bytes()
    }

    /// Sends it all. Each frame is shown to `lend` before it is sent.
    pub(crate) async fn send<S: Sink>(
        self,
        sink: &mut S,
        lend: impl Fn(&FrameLease<'_, 's>),
    ) -> Result<(), Disconnect<S::Error>> {
        let Self { hub, mut wire, mut viewer, reader } = self;
        sink.send(&mut [wire.opening()]).await?;
        sink.flush().await?;
        let (read, wire, memory) = (&mut Silence, &mut wire, &mut [0; Mjpeg::MEMORY]);
        let mut channel = Channel { hub, read, sink, wire, memory };
        channel.send_frames(&mut viewer, &mut Some(reader), lend).await
    }
}

/// The other direction, which the HTTP server reads.
struct Silence;

impl ErrorType for Silence {
    type Error = Infallible;
}

impl Read for Silence {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, Infallible> {
        pending().await
    }
}
