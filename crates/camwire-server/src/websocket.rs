use core::fmt::Write as _;
use core::time::Duration;

use camwire_frame::{Clock, Instant};
use camwire_websocket::{
    Acceptance, Close, CloseCode, Connection as Socket, ControlFrame, Event, Kind, Limits, Phase,
    Refusal, Role, ServerHandshake,
};
use embedded_io_async::Read;

use crate::connection::{Connection, Disconnect, Outlet};
use crate::io::WriteVectored;
use crate::origin::OriginCheck;
use crate::server::{Server, Upgraded};
use crate::stream::{FULL, Framing, Heard};
use crate::v1::{Credit, Flight, PROTOCOL, PictureHead, Violation};
use crate::viewers::{Transport, Viewer};
use crate::{Application, Config, Mode, StreamOptions};

/// Most bytes of a message of a viewer. Nothing is kept of it.
const MESSAGE_MAX: u64 = 4096;

/// The opening handshake, while the head of a request is read.
#[derive(Debug)]
pub(crate) struct Upgrade<'c> {
    handshake: ServerHandshake<'static>,
    origin: OriginCheck<'c>,
}

impl<'c> Upgrade<'c> {
    pub(crate) const fn new(config: &'c Config) -> Self {
        Self { handshake: ServerHandshake::new(&[PROTOCOL]), origin: OriginCheck::new(config) }
    }

    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.handshake.field(name, value);
        self.origin.field(name, value);
    }

    /// The head is complete. So many bytes have come after it, which must be none: a client waits
    /// for the answer before it sends frames (RFC 6455, section 4.1).
    pub(crate) fn finish(mut self, request_line: &[u8], early: usize) -> Upgraded {
        if !self.handshake.is_wanted() {
            return None;
        }
        self.handshake.request_line(request_line);
        Some(match self.handshake.finish() {
            Ok(_) if !self.origin.is_allowed() => Err(Refusal::Forbidden),
            Ok(_) if early > 0 => Err(Refusal::Body),
            finished => finished,
        })
    }
}

impl<C: Clock, A: Application> Server<'_, C, A> {
    /// `/ws`: a message for each picture, for as long as the viewer takes them.
    pub(crate) async fn web_socket<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        options: StreamOptions,
        acceptance: &Acceptance<'_>,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let Some(viewer) = self.enter(options, Transport::WebSocket, connection.peer) else {
            return self.unavailable(connection, FULL).await;
        };
        let Ok(reader) = self.read(viewer.mode) else {
            drop(viewer);
            return self.unavailable(connection, FULL).await;
        };
        let Connection { read, out, .. } = connection;
        let by = out.picture_deadline();
        out.send(&mut acceptance.response(), by, None, Some(&viewer)).await?;
        out.flush().await?;
        let v1 = acceptance.protocol().map(|_| Flight::new(Credit::Asked(options.credit)));
        // A viewer of all pictures may hold the camera back. Others may take their time.
        let patience = (viewer.mode == Mode::All).then_some(self.config.progress_timeout);
        let messages = Messages::new(self.clock.now(), &self.config, patience, v1);
        let mut framing = Framing::Messages(messages);
        let ended = self.pictures(out, read, &mut framing, viewer, reader, |_| {}).await;
        if matches!(ended, Err(Disconnect::Protocol)) {
            connection.drain().await; // Or it might not get the Close.
        }
        ended
    }

    /// The answer to a client that must not come in.
    pub(crate) async fn refuse_upgrade<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        refusal: Refusal,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let mut reason = heapless::String::<64>::new();
        let _ = write!(reason, "{refusal}");
        self.refuse(connection, refusal.status_text(), refusal.fields(), &reason).await
    }

    /// Sends what the viewer is owed: a Pong, or a Close, which is the end.
    pub(crate) async fn reply<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        framing: &mut Framing,
        viewer: &Viewer<'_>,
    ) -> Result<(), Disconnect<W::Error>> {
        let Framing::Messages(messages) = framing else { return Ok(()) };
        let Some(frame) = messages.answer(()) else { return Ok(()) };
        let by = out.picture_deadline();
        out.send(&mut [frame.as_bytes()], by, None, Some(viewer)).await?;
        out.flush().await?;
        messages.check_open()
    }

    /// Asks for a sign of life when that is due, and lets go of who gives none.
    pub(crate) async fn look_after<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        framing: &mut Framing,
        viewer: &Viewer<'_>,
        now: Instant,
    ) -> Result<(), Disconnect<W::Error>> {
        let Framing::Messages(messages) = framing else { return Ok(()) };
        let Some(frame) = messages.ping(now, &self.config, ())? else { return Ok(()) };
        let by = out.picture_deadline();
        out.send(&mut [frame.as_bytes()], by, None, Some(viewer)).await?;
        out.flush().await
    }
}

/// The two directions of a WebSocket by which pictures are sent: to a viewer, or as a client to a
/// relay.
#[derive(Debug)]
pub(crate) struct Messages<O> {
    socket: Socket<O>,
    /// With the subprotocol.
    v1: Option<Flight>,
    fault: Option<Fault>,
    ping_at: Instant,
    /// When the first Ping was sent since the last sign of life.
    asked_at: Option<Instant>,
    /// How long the peer may leave pictures unacknowledged, and so be without credit.
    patience: Option<Duration>,
    /// When it runs out.
    stalls_at: Option<Instant>,
}

/// What the peer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It broke a rule of WebSocket; the codec has the Close.
    Protocol,
    /// It broke one of the subprotocol.
    Policy,
}

impl<O: Role> Messages<O> {
    pub(crate) fn new(
        now: Instant,
        config: &Config,
        patience: Option<Duration>,
        v1: Option<Flight>,
    ) -> Self {
        Self {
            socket: Socket::new(Limits { message_bytes: MESSAGE_MAX }),
            v1,
            fault: None,
            ping_at: now + config.ping_interval,
            asked_at: None,
            patience,
            stalls_at: None,
        }
    }

    /// When to [look after](Server::look_after) the viewer next.
    pub(crate) fn due(&self) -> Instant {
        self.stalls_at.map_or(self.ping_at, |at| at.min(self.ping_at))
    }

    /// The Ping that is due, if one is; an error if the peer gives no sign of life, or holds the
    /// camera back for too long.
    pub(crate) fn ping<E>(
        &mut self,
        now: Instant,
        config: &Config,
        key: O::Key,
    ) -> Result<Option<ControlFrame>, Disconnect<E>> {
        if self.stalls_at.is_some_and(|at| now >= at) {
            return Err(Disconnect::Stalled);
        }
        if now < self.ping_at {
            return Ok(None);
        }
        if self.asked_at.is_some_and(|at| now >= at + config.pong_timeout) {
            return Err(Disconnect::Silent);
        }
        let Ok(frame) = self.socket.ping(&[], key) else { return Ok(None) };
        self.asked_at = self.asked_at.or(Some(now));
        self.ping_at = now + config.ping_interval;
        Ok(Some(frame))
    }

    /// Whether pictures have heads.
    pub(crate) fn is_v1(&self) -> bool {
        self.v1.is_some()
    }

    /// Whether anybody wants pictures.
    pub(crate) fn is_wanted(&self) -> bool {
        self.v1.as_ref().is_none_or(Flight::is_wanted)
    }

    /// Whether a picture more may be on its way.
    pub(crate) fn has_credit(&self) -> bool {
        self.v1.as_ref().is_none_or(Flight::has_credit)
    }

    /// What the peer is owed: a Pong, or a Close.
    pub(crate) fn answer(&mut self, key: O::Key) -> Option<ControlFrame> {
        match self.fault {
            Some(Fault::Policy) => {
                self.socket.close(Some(Close::new(CloseCode::POLICY_VIOLATION)), key).ok()
            }
            _ => self.socket.answer(key),
        }
    }

    /// Waits until something has come. Of messages nothing is kept.
    pub(crate) async fn hear(&mut self, read: &mut impl Read) -> Heard {
        let mut memory = [0; 32];
        match read.read(&mut memory).await {
            Ok(0) | Err(_) => Heard::Gone,
            Ok(count) => {
                self.take(memory.get_mut(..count).unwrap_or_default());
                Heard::Message
            }
        }
    }

    /// What has come.
    pub(crate) fn take(&mut self, mut input: &mut [u8]) {
        self.asked_at = None;
        loop {
            let fault = match (self.socket.next(&mut input), &mut self.v1) {
                (Ok(Some(Event::Data(data))), Some(v1)) => {
                    v1.take(data).err().map(|Violation| Fault::Policy)
                }
                (Ok(Some(_)), _) => None,
                (Ok(None), _) => break,
                (Err(_), _) => Some(Fault::Protocol),
            };
            if fault.is_some() {
                self.fault = self.fault.or(fault);
                break;
            }
        }
        if self.has_credit() || !self.is_wanted() {
            self.stalls_at = None;
        }
    }

    /// What comes before the bytes of a picture, of which there are `len`, unless the connection is
    /// closing. The picture counts as sent.
    pub(crate) fn head<'m>(
        &mut self,
        len: usize,
        picture: &PictureHead,
        now: Instant,
        key: O::Key,
        memory: &'m mut [u8],
    ) -> Option<&'m [u8]> {
        let v1 = self.v1.as_mut().map(|v1| {
            v1.sent(picture.sequence);
            picture.encode()
        });
        let v1 = v1.as_ref().map_or(&[][..], |head| head);
        let frame = self.socket.message(Kind::Binary, len.saturating_add(v1.len()), key).ok()?;
        if !self.has_credit() {
            self.stalls_at = self.patience.map(|patience| now + patience);
        }
        let frame = frame.as_bytes();
        let room = memory.get_mut(..frame.len().saturating_add(v1.len()))?;
        room.iter_mut().zip(frame.iter().chain(v1)).for_each(|(to, from)| *to = *from);
        Some(room)
    }

    /// The Close when the source has ended.
    pub(crate) fn going_away(&mut self, key: O::Key) -> Option<ControlFrame> {
        self.socket.close(Some(Close::new(CloseCode::GOING_AWAY)), key).ok()
    }

    /// After an answer: whether the connection goes on.
    pub(crate) fn check_open<E>(&self) -> Result<(), Disconnect<E>> {
        match (self.fault, self.is_open()) {
            (Some(_), _) => Err(Disconnect::Protocol),
            (None, true) => Ok(()),
            (None, false) => Err(Disconnect::Closed),
        }
    }

    /// Whether something may still come from the peer.
    pub(crate) fn is_open(&self) -> bool {
        self.socket.phase() != Phase::Closed
    }
}
