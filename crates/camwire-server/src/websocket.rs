use core::num::NonZeroU8;
use core::time::Duration;

use camwire_frame::{Clock, Instant};
use camwire_websocket::{
    Acceptance, Close, CloseCode, Connection as Socket, ControlFrame, Data, Event, Fin, Kind,
    Limits, Phase, Refusal, Server as ServerRole, ServerHandshake,
};
use embedded_io_async::Read;

use crate::connection::{Connection, Disconnect, Outlet};
use crate::io::WriteVectored;
use crate::origin::OriginCheck;
use crate::request::CREDIT_MAX;
use crate::server::{Server, Upgraded};
use crate::stream::{FULL, Framing, Heard};
use crate::viewers::{Transport, Viewer};
use crate::{Application, Config, Mode, StreamOptions};

/// Most bytes of a message of a viewer. Nothing is kept of it.
const MESSAGE_MAX: u64 = 4096;

/// The subprotocol in which pictures have a head, and are acknowledged.
const PROTOCOL: &str = "camwire.v1";

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
        let v1 = acceptance.protocol().map(|_| V1::new(options.credit));
        let messages = Messages::new(self.clock.now(), &self.config, viewer.mode, v1);
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
        let Some(frame) = messages.answer() else { return Ok(()) };
        let by = out.picture_deadline();
        out.send(&mut [frame.as_bytes()], by, None, Some(viewer)).await?;
        out.flush().await?;
        match (messages.fault, messages.is_open()) {
            (Some(_), _) => Err(Disconnect::Protocol),
            (None, true) => Ok(()),
            (None, false) => Err(Disconnect::Closed),
        }
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
        if messages.stalls_at.is_some_and(|at| now >= at) {
            return Err(Disconnect::Stalled);
        }
        if now < messages.ping_at {
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
    /// With the subprotocol.
    v1: Option<V1>,
    fault: Option<Fault>,
    ping_at: Instant,
    /// When the first Ping was sent since the last sign of life.
    asked_at: Option<Instant>,
    /// How long a viewer of all pictures, who may hold the camera back, may be without credit.
    patience: Option<Duration>,
    /// When it runs out.
    stalls_at: Option<Instant>,
}

/// What a viewer did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It broke a rule of WebSocket; the codec has the Close.
    Protocol,
    /// It broke one of the subprotocol.
    Policy,
}

impl Messages {
    fn new(now: Instant, config: &Config, mode: Mode, v1: Option<V1>) -> Self {
        Self {
            socket: Socket::new(Limits { message_bytes: MESSAGE_MAX }),
            v1,
            fault: None,
            ping_at: now + config.ping_interval,
            asked_at: None,
            patience: (mode == Mode::All).then_some(config.progress_timeout),
            stalls_at: None,
        }
    }

    /// When to [look after](Server::look_after) the viewer next.
    pub(crate) fn due(&self) -> Instant {
        self.stalls_at.map_or(self.ping_at, |at| at.min(self.ping_at))
    }

    /// Whether a picture more may be on its way.
    pub(crate) fn has_credit(&self) -> bool {
        self.v1.as_ref().is_none_or(V1::has_credit)
    }

    /// What the viewer is owed.
    fn answer(&mut self) -> Option<ControlFrame> {
        match self.fault {
            Some(Fault::Policy) => {
                self.socket.close(Some(Close::new(CloseCode::POLICY_VIOLATION)), ()).ok()
            }
            _ => self.socket.answer(()),
        }
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
            let fault = match (self.socket.next(&mut input), &mut self.v1) {
                (Ok(Some(Event::Data(data))), Some(v1)) => v1.take(data).err(),
                (Ok(Some(_)), _) => None,
                (Ok(None), _) => break,
                (Err(_), _) => Some(Fault::Protocol),
            };
            if fault.is_some() {
                self.fault = self.fault.or(fault);
                break;
            }
        }
        if self.has_credit() {
            self.stalls_at = None;
        }
        Heard::Message
    }

    /// What comes before the bytes of a picture, of which there are `len`, unless the connection is
    /// closing. The picture counts as sent.
    pub(crate) fn head<'m>(
        &mut self,
        len: usize,
        picture: &PictureHead,
        now: Instant,
        memory: &'m mut [u8],
    ) -> Option<&'m [u8]> {
        let v1 = self.v1.as_mut().map(|v1| {
            v1.sent(picture.sequence);
            picture.encode()
        });
        let v1 = v1.as_ref().map_or(&[][..], |head| head);
        let frame = self.socket.message(Kind::Binary, len.saturating_add(v1.len()), ()).ok()?;
        if !self.has_credit() {
            self.stalls_at = self.patience.map(|patience| now + patience);
        }
        let frame = frame.as_bytes();
        let room = memory.get_mut(..frame.len().saturating_add(v1.len()))?;
        room.iter_mut().zip(frame.iter().chain(v1)).for_each(|(to, from)| *to = *from);
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

/// What stands before a picture in `camwire.v1`. README.md has the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureHead {
    pub(crate) clock: PictureClock,
    pub(crate) missed: u64,
    pub(crate) sequence: u64,
    pub(crate) captured_us: u64,
}

/// Since when the time of a picture is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PictureClock {
    Boot,
    Unix,
}

impl PictureHead {
    const LEN: u8 = 24;

    fn encode(&self) -> [u8; Self::LEN as usize] {
        let flags = match self.clock {
            PictureClock::Boot => 0,
            PictureClock::Unix => 1,
        };
        let missed = u32::try_from(self.missed).unwrap_or(u32::MAX);
        let fields: [&[u8]; 4] = [
            &[1, flags, 0, Self::LEN],
            &missed.to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &self.captured_us.to_be_bytes(),
        ];
        let mut head = [0; Self::LEN as usize];
        head.iter_mut().zip(fields.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
        head
    }
}

/// A viewer that speaks `camwire.v1`.
#[derive(Debug)]
struct V1 {
    credit: Option<NonZeroU8>,
    /// The numbers of the pictures that are not acknowledged, if there is a limit for them.
    in_flight: heapless::Deque<u64, { CREDIT_MAX.get() as usize }>,
    /// The number of the last picture that was sent.
    last: u64,
    /// The acknowledgement that is coming: what it is, and the number of a picture.
    message: heapless::Vec<u8, 9>,
}

impl V1 {
    const fn new(credit: Option<NonZeroU8>) -> Self {
        Self { credit, in_flight: heapless::Deque::new(), last: 0, message: heapless::Vec::new() }
    }

    fn has_credit(&self) -> bool {
        self.credit.is_none_or(|credit| self.in_flight.len() < usize::from(credit.get()))
    }

    fn sent(&mut self, sequence: u64) {
        self.last = sequence;
        if self.credit.is_some() {
            let _ = self.in_flight.push_back(sequence); // There was credit, so there is room.
        }
    }

    /// A piece of a message. There are none but acknowledgements, each for all pictures up to it.
    fn take(&mut self, data: Data<'_>) -> Result<(), Fault> {
        if data.kind != Kind::Binary || self.message.extend_from_slice(data.bytes).is_err() {
            return Err(Fault::Policy);
        }
        if data.fin == Fin::More {
            return Ok(());
        }
        let Some((1, number)) = self.message.split_first() else { return Err(Fault::Policy) };
        let number = <[u8; 8]>::try_from(number).map_err(|_| Fault::Policy)?;
        let number = u64::from_be_bytes(number);
        if number > self.last {
            return Err(Fault::Policy);
        }
        self.message.clear();
        while self.in_flight.front().is_some_and(|sequence| *sequence <= number) {
            self.in_flight.pop_front();
        }
        Ok(())
    }
}
