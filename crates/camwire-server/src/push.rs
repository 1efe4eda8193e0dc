use core::future::pending;
use core::net::SocketAddr;
use core::pin::pin;
use core::time::Duration;

use camwire_capture::{FrameLease, FrameReader};
use camwire_frame::{Clock, Pacer};
use camwire_websocket::{Client as ClientRole, Mask, RequestError, ResponseError, Uri};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;

use crate::client::{self, Protocol, Response};
use crate::connection::{Disconnect, Outlet};
use crate::io::WriteVectored;
use crate::server::Server;
use crate::stream::Heard;
use crate::v1::{Credit, Flight, PictureHead};
use crate::viewers::{Transport, Viewer};
use crate::websocket::Messages;
use crate::{Application, Authorization, Mode, StreamOptions};

/// Where pictures are pushed to, and which: the camera is the client, so it may be behind a router
/// that lets nobody in.
///
/// ```
/// use camwire_frame::Clock;
/// use camwire_server::{Authorization, Backoff, Push, Sequential, Server};
/// use camwire_websocket::Uri;
/// use embedded_io_async::{Read, Write};
///
/// /// A task of its own. `connect` opens a connection to a host and port.
/// async fn push<R: Read, W: Write<Error = R::Error>>(
///     server: &Server<'_, impl Clock>,
///     clock: impl Clock,
///     connect: impl AsyncFn(&str, u16) -> Option<(R, W)>,
/// ) {
///     let mut to = Push::to(Uri::parse("ws://relay.example:8080/ingest").expect("it is one"));
///     to.authorization = Authorization::bearer("T").ok();
///     let mut memory = [0; 1024];
///     let mut backoff = Backoff::new();
///     loop {
///         let wait = match connect(to.uri.host, to.uri.port).await {
///             None => backoff.failed(server.random().word()),
///             Some((read, write)) => {
///                 let end = server.push(read, Sequential(write), &to, &mut memory).await;
///                 let Err(error) = end else { return }; // There will be no more pictures.
///                 backoff.after(&error, server.random().word())
///             }
///         };
///         clock.sleep_until(clock.now() + wait).await;
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Push<'p> {
    /// Where the relay is. TLS, if it is wanted, is for the caller to do.
    pub uri: Uri<'p>,
    /// What the relay asks for, if it asks: another camwire server asks for a token.
    pub authorization: Option<Authorization<'p>>,
    /// Which pictures: the mode and the rate. The others are for viewers.
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
    /// The relay answers with an error: 401 if the login is wrong or missing, 404 if it takes no pictures
    /// there, 409 if another camera pushes.
    #[error("the relay answers with status {status}")]
    Refused {
        /// Of HTTP; not 101.
        status: u16,
    },
    /// What is there is no WebSocket server.
    #[error(transparent)]
    Response(ResponseError),
    /// The address cannot be sent, or does not fit into the memory together with the login.
    #[error(transparent)]
    Request(RequestError),
    /// There is no place among the viewers, or for a reader in the ring.
    #[error("no place among the viewers")]
    TooManyViewers,
    /// The connection was lost before the relay had let the camera in.
    #[error("no answer: {0}")]
    NoAnswer(Disconnect<E>),
    /// The connection was lost.
    #[error("{0}")]
    Lost(Disconnect<E>),
}

/// Least bytes of memory: a request of a usual length fits.
const MEMORY_MIN: usize = 512;

impl<C: Clock, A: Application> Server<'_, C, A> {
    /// Pushes pictures over one connection, for as long as it holds. Afterwards the caller closes
    /// the transport.
    ///
    /// It is a viewer like others, with a place among them, the deadlines of
    /// [`Config`](crate::Config), and the newest picture after a stall. A relay that speaks
    /// `camwire.v1` says how many pictures it takes: while nobody watches there, this reads nothing
    /// from the ring, so that the camera may rest. A server that does not speak it gets bare
    /// pictures, all the time.
    ///
    /// Each message is masked with a key that nobody can predict (RFC 6455, section 10.3), by the
    /// generator that the server was given. `memory` holds the handshake, and then each piece of a
    /// picture while it is masked, since the ring's bytes are shared: one copy of each byte, one
    /// write for each `N` bytes. With 1 KiB that is one write for each segment of TCP or less; on a
    /// computer take 16 KiB.
    ///
    /// `Ok` says that the ring's publisher was dropped, and the relay was told.
    ///
    /// # Errors
    ///
    /// [`PushError`]. Connect again after [`Backoff::after`].
    ///
    /// # Cancel safety
    ///
    /// As that of [`serve`](Self::serve).
    pub async fn push<R, W, const N: usize>(
        &self,
        mut read: R,
        write: W,
        to: &Push<'_>,
        memory: &mut [u8; N],
    ) -> Result<(), PushError<R::Error>>
    where
        R: Read,
        W: WriteVectored<Error = R::Error>,
    {
        const { assert!(N >= MEMORY_MIN, "512 bytes are needed") };
        let viewer = self.enter(to.options, Transport::Push, to.peer);
        let viewer = viewer.ok_or(PushError::TooManyViewers)?;
        let out = Outlet { write, with_body: true, clock: &self.clock, config: &self.config };
        let mut pushing = Pushing { server: self, out, viewer, memory };
        let late = self.clock.deadline(self.clock.now() + self.config.head_timeout);
        let opened = match select(pushing.open(&mut read, to), late).await {
            Either::First(opened) => opened?,
            Either::Second(()) => return Err(PushError::NoAnswer(Disconnect::Silent)),
        };
        pushing.pictures(&mut read, opened).await
    }
}

/// The sending half of a push.
struct Pushing<'p, 's, W, C, A> {
    server: &'p Server<'s, C, A>,
    out: Outlet<'p, W, C>,
    viewer: Viewer<'p>,
    memory: &'p mut [u8],
}

impl<'p, W: WriteVectored, C: Clock, A: Application> Pushing<'p, '_, W, C, A> {
    /// The opening handshake. What came behind it is taken already.
    async fn open<R: Read<Error = W::Error>>(
        &mut self,
        read: &mut R,
        to: &Push<'_>,
    ) -> Result<Messages<ClientRole>, PushError<W::Error>> {
        let nonce = self.server.random.bytes();
        let len = client::write_request(&to.uri, to.authorization.as_ref(), nonce, self.memory);
        let request = self.memory.get(..len.map_err(PushError::Request)?).unwrap_or_default();
        let by = self.out.picture_deadline();
        let sent = self.out.send(&mut [request], by, None, Some(&self.viewer)).await;
        sent.map_err(PushError::NoAnswer)?;
        self.out.flush().await.map_err(PushError::NoAnswer)?;
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
            let Server { clock, config, .. } = self.server;
            let v1 = match protocol {
                Protocol::V1 => Some(Flight::new(Credit::Granted(None))),
                Protocol::Bare => None,
            };
            // A relay acknowledges at once, so one that does not is out of reach: routers forget
            // connections without a word.
            let patience = Some(config.progress_timeout);
            let mut messages = Messages::new(clock.now(), config, patience, v1);
            messages.take(input.get_mut(used..).unwrap_or_default());
            return Ok(messages);
        }
    }

    /// Sends pictures until the source has ended, or the connection is lost.
    async fn pictures<R: Read>(
        &mut self,
        read: &mut R,
        mut messages: Messages<ClientRole>,
    ) -> Result<(), PushError<W::Error>> {
        let server = self.server;
        let clock = &server.clock;
        // There is demand while there is a reader.
        let mut reader: Option<FrameReader<'p>> = None;
        let mut pacer = self.viewer.cap.map(Pacer::new);
        let mut missed = 0;
        let mut timer = pin!(clock.deadline(messages.due()));
        loop {
            let answered = self.answer(&mut messages).await;
            if matches!(answered, Err(Disconnect::Protocol)) {
                // Or it might not get the Close.
                let second = clock.deadline(clock.now() + Duration::from_secs(1));
                let _ = select(crate::connection::gone(read), second).await;
            }
            answered.map_err(PushError::Lost)?;
            if !messages.is_wanted() {
                (reader, missed) = (None, 0);
            } else if reader.is_none() {
                let subscribed = server.read(self.viewer.mode);
                reader = Some(subscribed.map_err(|_| PushError::TooManyViewers)?);
            }
            let may_send = messages.has_credit();
            let reader = reader.as_mut().filter(|_| may_send);
            let picture = async {
                let Some(reader) = reader else { return pending().await };
                match self.viewer.mode {
                    Mode::Live => reader.latest().await,
                    Mode::All => reader.next().await,
                }
            };
            match select3(picture, messages.hear(read), timer.as_mut()).await {
                Either3::First(Some(lease)) => {
                    missed += lease.missed();
                    if let Some(pacer) = &mut pacer {
                        let Some(empty) = pacer.admit(lease.info().captured_at) else { continue };
                        // What the cap would have skipped anyway was not missed.
                        missed = missed.min(empty);
                    }
                    let sent = self.send_picture(read, &mut messages, (lease, missed));
                    sent.await.map_err(PushError::Lost)?;
                    missed = 0;
                }
                Either3::First(None) => {
                    let ended = self.end(read, &mut messages).await;
                    return ended.map_err(PushError::Lost);
                }
                Either3::Second(Heard::Gone) => return Err(PushError::Lost(Disconnect::Closed)),
                Either3::Second(Heard::Message) => {}
                // Without credit no picture is waited for, so the end is seen here.
                Either3::Third(()) if server.ring.has_ended() => {
                    let ended = self.end(read, &mut messages).await;
                    return ended.map_err(PushError::Lost);
                }
                Either3::Third(()) => {
                    let ping = messages.ping(clock.now(), &server.config, self.key());
                    if let Some(frame) = ping.map_err(PushError::Lost)? {
                        self.send(frame.as_bytes()).await.map_err(PushError::Lost)?;
                    }
                    timer.set(clock.deadline(messages.due()));
                }
            }
        }
    }

    /// The masking key of the next frame.
    fn key(&self) -> [u8; 4] {
        self.server.random.bytes()
    }

    /// Sends what the relay is owed: a Pong, or a Close, which is the end.
    async fn answer(
        &mut self,
        messages: &mut Messages<ClientRole>,
    ) -> Result<(), Disconnect<W::Error>> {
        let Some(frame) = messages.answer(self.key()) else { return Ok(()) };
        self.send(frame.as_bytes()).await?;
        messages.check_open()
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Disconnect<W::Error>> {
        let by = self.out.picture_deadline();
        self.out.send(&mut [bytes], by, None, Some(&self.viewer)).await?;
        self.out.flush().await
    }

    /// One picture, masked piece by piece. With it comes how many were missed before it.
    async fn send_picture<R: Read>(
        &mut self,
        read: &mut R,
        messages: &mut Messages<ClientRole>,
        (mut lease, missed): (FrameLease<'_, '_>, u64),
    ) -> Result<(), Disconnect<W::Error>> {
        let (now, key) = (self.server.clock.now(), self.key());
        let by = now + self.server.config.picture_timeout;
        let captured_at = lease.info().captured_at;
        let head = self.server.picture_head(&lease, missed);
        let head = messages.head(lease.len(), &head, now, key, self.memory);
        let mut filled = head.ok_or(Disconnect::Closed)?.len();
        // The head of the frame is not masked, that of the picture is.
        let masked = if messages.is_v1() { PictureHead::LEN } else { 0 };
        let mut mask = Mask::new(key);
        let head = self.memory.get_mut(filled.saturating_sub(masked)..filled);
        mask.apply(head.unwrap_or_default());
        {
            let Self { out, viewer, memory, .. } = self;
            let sending = async {
                let (mut rest, mut revocation) = lease.split();
                loop {
                    let room = memory.get_mut(filled..).unwrap_or_default();
                    let fits = room.len().min(rest.len());
                    let (piece, after) = rest.split_at_checked(fits).unwrap_or_default();
                    let room = room.get_mut(..fits).unwrap_or_default();
                    room.copy_from_slice(piece);
                    mask.apply(room);
                    let bytes = memory.get(..filled.saturating_add(fits)).unwrap_or_default();
                    out.send(&mut [bytes], by, Some(&mut revocation), Some(viewer)).await?;
                    if after.is_empty() {
                        return Ok::<_, Disconnect<W::Error>>(());
                    }
                    (rest, filled) = (after, 0);
                }
            };
            let mut sending = pin!(sending);
            // What the relay says meanwhile is answered afterwards.
            loop {
                match select(sending.as_mut(), messages.hear(read)).await {
                    Either::First(sent) => break sent?,
                    Either::Second(Heard::Gone) => return Err(Disconnect::Closed),
                    Either::Second(Heard::Message) => {}
                }
            }
        }
        drop(lease);
        self.out.flush().await?;
        self.viewer.sent_picture(missed, captured_at, now);
        Ok(())
    }

    /// The source has ended.
    async fn end<R: Read>(
        &mut self,
        read: &mut R,
        messages: &mut Messages<ClientRole>,
    ) -> Result<(), Disconnect<W::Error>> {
        if let Some(close) = messages.going_away(self.key()) {
            self.send(close.as_bytes()).await?;
        }
        // If the connection were closed on unread bytes, many systems would throw the Close away.
        let clock = &self.server.clock;
        let mut until = pin!(clock.deadline(clock.now() + Duration::from_secs(1)));
        while messages.is_open()
            && let Either::First(Heard::Message) = select(messages.hear(read), until.as_mut()).await
        {
        }
        Ok(())
    }
}

/// How long to wait before connecting again: half a second at first, twice as long after each
/// further failure, up to 30 s. Of that, a random part of up to a half is left out, so that many
/// cameras do not come back at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The first wait, and the one after a connection that worked.
    const FIRST: Duration = Duration::from_millis(500);
    /// The first one after a refusal, which time alone will hardly undo.
    const REFUSED: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(30);

    /// Nothing has failed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// There was no connection at all.
    pub fn failed(&mut self, random: u32) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(Self::LONGEST);
        // At most 15 s, so the product fits.
        let half = (wait / 2).as_millis() as u64;
        wait.saturating_sub(Duration::from_millis((half * u64::from(random)) >> 32))
    }

    /// A push has ended. If the relay had let the camera in, the waits begin anew; if it has
    /// refused it, or they do not understand each other, they are 5 s at least.
    pub fn after<E>(&mut self, error: &PushError<E>, random: u32) -> Duration {
        match error {
            PushError::Refused { .. }
            | PushError::Response(_)
            | PushError::Request(_)
            | PushError::Lost(Disconnect::Protocol) => self.next = self.next.max(Self::REFUSED),
            PushError::Lost(_) => self.next = Self::FIRST,
            PushError::TooManyViewers | PushError::NoAnswer(_) => {}
        }
        self.failed(random)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    #[test]
    fn waits_grow_and_begin_anew() {
        let ms = |millis| Duration::from_millis(millis);
        let mut backoff = Backoff::new();
        let waits = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
        for wait in waits {
            assert_eq!(backoff.failed(0), ms(wait));
        }
        let lost = PushError::<Infallible>::Lost(Disconnect::Closed);
        assert_eq!(backoff.after(&lost, u32::MAX), ms(251));
        assert_eq!(
            backoff.after(&PushError::<Infallible>::NoAnswer(Disconnect::Closed), 0),
            ms(1000)
        );
        let refused = PushError::<Infallible>::Refused { status: 409 };
        assert_eq!(backoff.after(&refused, 0), ms(5000));
        assert_eq!(backoff.after(&refused, 1 << 31), ms(7500));
        assert_eq!(backoff.after(&refused, 0), ms(20_000));
        assert_eq!(backoff.after(&refused, 0), ms(30_000));
        assert_eq!(backoff.after(&lost, 0), ms(500));
        assert_eq!(backoff.failed(0), ms(1000));
    }
}
