//! Frames pushed to a relay: the camera is the client.

use core::net::SocketAddr;
use core::time::Duration;

use camwire_frame::{Backoff, Clock};
use camwire_websocket::{Client, RequestError, ResponseError, Uri};
use embassy_futures::select::{Either, select};
use embedded_io_async::Read;

use crate::http::authorization::Authorization;
use crate::hub::Hub;
use crate::relay::client::{self, Protocol, Response};
use crate::sender::{Disconnect, Sender, drain};
use crate::transport::WriteVectored;
use crate::viewer::options::StreamOptions;
use crate::viewer::slot::Transport;
use crate::viewer::stream::Channel;
use crate::viewer::v1::{Credits, SendWindow};
use crate::viewer::websocket::{ClientMasking, WebSocket};
use crate::viewer::wire::Wire as _;

/// Where frames are pushed to, and which: the camera is the client, so it may be behind a router
/// that lets nobody in.
///
/// ```
/// use camwire_frame::Clock;
/// use camwire_server::{Authorization, Hub, Push, Sequential};
/// use camwire_websocket::Uri;
/// use embedded_io_async::{Read, Write};
///
/// /// A task of its own. `connect` opens a connection to a host and port.
/// async fn push<R: Read, W: Write<Error = R::Error>>(
///     hub: &Hub<'_, impl Clock>,
///     connect: impl AsyncFn(&str, u16) -> Option<(R, W)>,
/// ) {
///     let mut to = Push::to(Uri::parse("ws://relay.example:8080/ingest").expect("it is one"));
///     to.authorization = Authorization::bearer("T").ok();
///     let mut memory = [0; 1024];
///     let mut backoff = Push::BACKOFF;
///     loop {
///         let wait = match connect(to.uri.host, to.uri.port).await {
///             None => backoff.next(hub.random().word()),
///             Some((read, write)) => {
///                 let end = to.run(hub, read, Sequential(write), &mut memory).await;
///                 let Err(error) = end else { return }; // The source has ended.
///                 error.back_off(&mut backoff, hub.random().word())
///             }
///         };
///         hub.clock().sleep_until(hub.clock().now() + wait).await;
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Push<'p> {
    /// Where the relay is. The caller does TLS, if any.
    pub uri: Uri<'p>,
    /// What the relay asks for, if it asks: another camwire server asks for a token.
    pub authorization: Option<Authorization<'p>>,
    /// Which frames: the mode and the rate. The other options are for viewers.
    pub options: StreamOptions,
    /// The relay's address, for the statistics.
    pub peer: Option<SocketAddr>,
}

impl<'p> Push<'p> {
    /// To there, without a login, with the mode of [`Config`](crate::Config).
    #[must_use]
    pub const fn to(uri: Uri<'p>) -> Self {
        let (mode, rate, credit) = (None, None, None);
        let options = StreamOptions { mode, rate, advance_headers: false, credit };
        Self { uri, authorization: None, options, peer: None }
    }
}

/// Why a push has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError<E> {
    /// The relay answers with an error: 401 if the login is wrong or missing, 404 if it takes no frames
    /// there, 409 if another camera pushes.
    #[error("the relay answers with status {status}")]
    Refused {
        /// Of HTTP; not 101.
        status: u16,
    },
    /// The address does not belong to a WebSocket server.
    #[error(transparent)]
    Response(ResponseError),
    /// The address cannot be sent, or does not fit into the memory together with the login.
    #[error(transparent)]
    Request(RequestError),
    /// There is no place among the viewers, or for a reader in the ring.
    #[error("no place among the viewers")]
    TooManyViewers,
    /// The connection was lost before the relay had accepted the camera.
    #[error("no answer: {0}")]
    NoAnswer(Disconnect<E>),
    /// The connection was lost.
    #[error("{0}")]
    Lost(Disconnect<E>),
}

/// Least bytes of memory: a request of a usual length fits.
const MEMORY_MIN: usize = 512;

impl Push<'_> {
    /// How long to wait between connections: half a second at first, up to 30 s. See
    /// [`PushError::back_off`].
    pub const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

    /// Pushes the camera's frames over one connection, for as long as it holds. Afterwards the caller
    /// closes the transport.
    ///
    /// It is a viewer like others, with a place among them, the deadlines of
    /// [`Config`](crate::Config), and the newest frame after a stall. A relay that speaks
    /// `camwire.v1` grants credits: while nobody watches there, this reads nothing from the ring, so
    /// that the camera may rest. A server that does not speak it gets bare frames, all the time.
    ///
    /// Each message is masked with a key that nobody can predict (RFC 6455, section 10.3), by the
    /// generator that the hub was given. `memory` holds the handshake, and then each piece of a
    /// frame while it is masked, since the ring's bytes are shared: one copy of each byte, one
    /// write for each `N` bytes. With 1 KiB that is one write for each segment of TCP or less; on a
    /// computer take 16 KiB.
    ///
    /// `Ok` says that the ring's publisher was dropped, and that the relay was sent a Close.
    ///
    /// # Errors
    ///
    /// [`PushError`]. Connect again after [`PushError::back_off`].
    ///
    /// # Cancel safety
    ///
    /// As that of [`Server::serve`](crate::Server::serve).
    pub async fn run<R, W, C, const N: usize>(
        &self,
        hub: &Hub<'_, C>,
        mut read: R,
        write: W,
        memory: &mut [u8; N],
    ) -> Result<(), PushError<R::Error>>
    where
        R: Read,
        W: WriteVectored<Error = R::Error>,
        C: Clock,
    {
        const { assert!(N >= MEMORY_MIN, "512 bytes are needed") };
        const { assert!(MEMORY_MIN >= WebSocket::<Client>::MEMORY) };
        let viewer = hub.claim_slot(Transport::PUSH, &self.options, self.peer);
        let mut viewer = viewer.map_err(|_| PushError::TooManyViewers)?;
        let clock = hub.clock();
        let mut sender = Sender::new(write, clock, hub.config());
        sender.count(viewer.bytes());
        let late = clock.deadline(clock.now() + hub.config().head_timeout);
        let opened = self.open(hub, &mut read, &mut sender, memory);
        let mut wire = match select(opened, late).await {
            Either::First(opened) => opened?,
            Either::Second(()) => return Err(PushError::NoAnswer(Disconnect::Silent)),
        };
        // A reader is taken when the relay wants frames.
        let (reader, read, sink, wire) = (&mut None, &mut read, &mut sender, &mut wire);
        let mut channel = Channel { hub, read, sink, wire, memory };
        let ended = channel.send_frames(&mut viewer, reader, |_| {}).await;
        if matches!(ended, Err(Disconnect::Protocol)) {
            *reader = None; // There is no demand any more.
            drop(viewer);
            drain(read, clock).await; // Or it might not get the Close.
        }
        ended.map_err(|end| match end {
            Disconnect::NoReader => PushError::TooManyViewers,
            end => PushError::Lost(end),
        })
    }

    /// The opening handshake. What came behind it has been taken.
    async fn open<'h, R, W, C>(
        &self,
        hub: &'h Hub<'_, C>,
        read: &mut R,
        sender: &mut Sender<'_, W, C>,
        memory: &mut [u8],
    ) -> Result<WebSocket<'h, Client>, PushError<R::Error>>
    where
        R: Read,
        W: WriteVectored<Error = R::Error>,
        C: Clock,
    {
        let nonce = hub.random().bytes();
        let len = client::write_request(&self.uri, self.authorization.as_ref(), nonce, memory);
        let request = memory.get(..len.map_err(PushError::Request)?).unwrap_or_default();
        sender.send(&mut [request]).await.map_err(PushError::NoAnswer)?;
        sender.flush().await.map_err(PushError::NoAnswer)?;
        let mut response = Response::new(nonce);
        let mut buffer = [0; 64];
        loop {
            let lost = |error| PushError::NoAnswer(Disconnect::Transport(error));
            let count = read.read(&mut buffer).await.map_err(lost)?;
            let input = buffer.get_mut(..count).unwrap_or_default();
            if input.is_empty() {
                return Err(PushError::NoAnswer(Disconnect::Closed));
            }
            let answered = response.feed(input).map_err(|error| match error {
                ResponseError::Status { status } => PushError::Refused { status },
                error => PushError::Response(error),
            });
            let Some((used, protocol)) = answered? else { continue };
            let v1 = match protocol {
                Protocol::V1 => Some(SendWindow::new(Credits::Granted(None))),
                Protocol::Bare => None,
            };
            // A relay acknowledges at once, so one that does not is out of reach: routers forget
            // connections without a word.
            let config = hub.config();
            let (masking, now) = (ClientMasking::new(hub.random()), hub.clock().now());
            let mut wire = WebSocket::new(masking, now, config, true, v1);
            wire.handle_input(input.get_mut(used..).unwrap_or_default(), now);
            return Ok(wire);
        }
    }
}

impl<E> PushError<E> {
    /// How long to wait before the next connection, with `random` from the platform's generator.
    ///
    /// If the relay had accepted the camera, the waits begin anew; if it has refused it, or breaks the
    /// protocol, they are 5 s at least, since time alone will hardly change that.
    pub fn back_off(&self, backoff: &mut Backoff, random: u32) -> Duration {
        match self {
            Self::Refused { .. }
            | Self::Response(_)
            | Self::Request(_)
            | Self::Lost(Disconnect::Protocol) => backoff.at_least(Duration::from_secs(5)),
            Self::Lost(_) => backoff.reset(),
            Self::TooManyViewers | Self::NoAnswer(_) => {}
        }
        backoff.next(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    #[test]
    fn waits_are_longer_after_a_refusal_and_begin_anew_after_a_loss() {
        let ms = |millis| Duration::from_millis(millis);
        let mut backoff = Push::BACKOFF;
        for wait in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert_eq!(backoff.next(0), ms(wait));
        }
        let lost = PushError::<Infallible>::Lost(Disconnect::Closed);
        assert_eq!(lost.back_off(&mut backoff, u32::MAX), ms(251));
        assert_eq!(
            PushError::<Infallible>::NoAnswer(Disconnect::Closed).back_off(&mut backoff, 0),
            ms(1000)
        );
        let refused = PushError::<Infallible>::Refused { status: 409 };
        assert_eq!(refused.back_off(&mut backoff, 0), ms(5000));
        assert_eq!(refused.back_off(&mut backoff, 1 << 31), ms(7500));
        assert_eq!(refused.back_off(&mut backoff, 0), ms(20_000));
        assert_eq!(refused.back_off(&mut backoff, 0), ms(30_000));
        assert_eq!(lost.back_off(&mut backoff, 0), ms(500));
        assert_eq!(backoff.next(0), ms(1000));
    }
}
