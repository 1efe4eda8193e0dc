use camwire_frame::{Clock, Instant};
use camwire_ring::FrameLease;
use camwire_websocket::{
    Acceptance, Close, CloseCode, Connection as Socket, ControlFrame, Kind, Limits, Phase, Refusal,
    Server as ServerRole, ServerHandshake,
};
use embedded_io_async::Read;

use crate::connection::{Connection, Disconnect, Outlet};
use crate::io::WriteVectored;
use crate::origin::OriginCheck;
use crate::server::{Server, Upgraded};
use crate::stream::{FULL, Framing, Heard};
use crate::viewers::{Transport, Viewer};
use crate::{Application, Config, StreamOptions};

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
        Self { handshake: ServerHandshake::new(&[]), origin: OriginCheck::new(config) }
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
        let mut framing = Framing::Messages(Messages::new(self.clock.now(), &self.config));
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
        let by = connection.out.picture_deadline();
        connection.out.send(&mut refusal.response(), by, None, None).await?;
        connection.out.flush().await?;
        connection.drain().await;
        Ok(())
    }

    /// Sends what the viewer is owed: a Pong, or a Close, which is the end.
    pub(crate) async fn reply<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        framing: &mut Framing,
        viewer: &Viewer<'_>,
    ) -> Result<(), Disconnect<W::Error>> {
        let Framing::Messages(messages) = framing else { return Ok(()) };
        let Some(frame) = messages.socket.answer(()) else { return Ok(()) };
        let by = out.picture_deadline();
        out.send(&mut [frame.as_bytes()], by, None, Some(viewer)).await?;
        out.flush().await?;
        match (messages.is_open(), messages.is_broken) {
            (true, _) => Ok(()),
            (false, false) => Err(Disconnect::Closed),
            (false, true) => Err(Disconnect::Protocol),
        }
    }

    /// Asks for a sign of life when that is due.
    pub(crate) async fn ping<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        framing: &mut Framing,
        viewer: &Viewer<'_>,
        now: Instant,
    ) -> Result<(), Disconnect<W::Error>> {
        let Framing::Messages(messages) = framing else { return Ok(()) };
        if now < messages.ping_at() {
            return Ok(());
        }
        if messages.asked_at.is_some_and(|at| now >= at + self.config.pong_timeout) {
            return Err(Disconnect::Silent);
        }
        let Ok(frame) = messages.socket.ping(&[], ()) else { return Ok(()) };
        messages.asked_at = messages.asked_at.or(Some(now));
        messages.ping_at = now + self.config.ping_interval;
        let by = out.picture_deadline();
        out.send(&mut [frame.as_bytes()], by, None, Some(viewer)).await?;
        out.flush().await
    }
}

/// The two directions of a viewer's WebSocket.
#[derive(Debug)]
pub(crate) struct Messages {
    socket: Socket<ServerRole>,
    /// The peer broke a rule.
    is_broken: bool,
    ping_at: Instant,
    /// When the first Ping was sent since the last sign of life.
    asked_at: Option<Instant>,
}

impl Messages {
    fn new(now: Instant, config: &Config) -> Self {
        Self {
            socket: Socket::new(Limits { message_bytes: MESSAGE_MAX }),
            is_broken: false,
            ping_at: now + config.ping_interval,
            asked_at: None,
        }
    }

    /// When to [`ping`](Server::ping) next.
    pub(crate) const fn ping_at(&self) -> Instant {
        self.ping_at
    }

    /// Waits until something has come. Of messages nothing is kept.
    pub(crate) async fn hear(&mut self, read: &mut impl Read) -> Heard {
        let mut memory = [0; 32];
        let mut input = match read.read(&mut memory).await {
            Ok(0) | Err(_) => return Heard::Gone,
            Ok(count) => memory.get_mut(..count).unwrap_or_default(),
        };
        self.asked_at = None;
        loop {
            match self.socket.next(&mut input) {
                Ok(Some(_)) => {}
                Ok(None) => return Heard::Message,
                Err(_) => {
                    self.is_broken = true;
                    return Heard::Message;
                }
            }
        }
    }

    /// The head of a message for a picture, unless the connection is closing.
    pub(crate) fn head<'m>(
        &mut self,
        lease: &FrameLease<'_, '_>,
        memory: &'m mut [u8],
    ) -> Option<&'m [u8]> {
        let head = self.socket.message(Kind::Binary, lease.len(), ()).ok()?;
        let head = head.as_bytes();
        let room = memory.get_mut(..head.len())?;
        room.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        Some(room)
    }

    /// The Close for a viewer whose source has ended.
    pub(crate) fn going_away(&mut self) -> Option<ControlFrame> {
        self.socket.close(Some(Close::new(CloseCode::GOING_AWAY)), ()).ok()
    }

    /// Whether something may still come from the peer.
    pub(crate) fn is_open(&self) -> bool {
        self.socket.phase() != Phase::Closed
    }
}
