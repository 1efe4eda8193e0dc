//! Frames as messages of a WebSocket: to a viewer, or as a client to a relay.

use camwire_frame::{Instant, Random};
use camwire_websocket::{
    Client, Close, CloseCode, Connection as Socket, ControlFrame, Event, Kind, Limits, Mask, Phase,
    Role, Server,
};

use crate::config::Config;
use crate::viewer::v1::{MessageHead, SendWindow, Violation};
use crate::viewer::wire::{OutgoingFrame, Part, Wire, WireError, write};

/// Most bytes of a message of the peer. Nothing is kept of it.
const MESSAGE_MAX: u64 = 4096;

/// What a role needs to mask what it sends (RFC 6455, section 5.3).
pub(crate) trait Endpoint: Role + Sized {
    /// Where its keys come from, and the mask of the frame under way.
    type Masking: Masking<Self::Key>;
}

pub(crate) trait Masking<K> {
    /// The key of the next frame.
    fn key(&self) -> K;

    /// A frame with that key begins.
    fn begin(&mut self, key: K);

    /// The next piece of the frame that begins with `head`, in which the last `masked` bytes are to
    /// be masked, and its payload goes on with `bytes` at `at`.
    fn part<'m>(
        &mut self,
        head: usize,
        masked: usize,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Part<'m>;
}

impl Endpoint for Server {
    type Masking = ();
}

/// A server does not mask.
impl Masking<()> for () {
    fn key(&self) {}

    fn begin(&mut self, (): ()) {}

    fn part<'m>(
        &mut self,
        head: usize,
        _masked: usize,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Part<'m> {
        Part { head: memory.get(..head).unwrap_or_default(), ..Part::rest(bytes, at) }
    }
}

impl Endpoint for Client {
    type Masking = ClientMasking;
}

/// The ring's bytes are shared, so a client masks a copy, piece by piece.
#[derive(Debug)]
pub(crate) struct ClientMasking {
    random: Random,
    mask: Mask,
}

impl ClientMasking {
    pub(crate) const fn new(random: Random) -> Self {
        Self { random, mask: Mask::new([0; 4]) }
    }
}

impl Masking<[u8; 4]> for ClientMasking {
    fn key(&self) -> [u8; 4] {
        self.random.bytes()
    }

    fn begin(&mut self, key: [u8; 4]) {
        self.mask = Mask::new(key);
    }

    fn part<'m>(
        &mut self,
        head: usize,
        masked: usize,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Part<'m> {
        let rest = bytes.get(at..).unwrap_or_default();
        let room = memory.get_mut(head..).unwrap_or_default();
        let covered = room.len().min(rest.len());
        let piece = rest.get(..covered).unwrap_or_default();
        room.get_mut(..covered).unwrap_or_default().copy_from_slice(piece);
        let filled = head.saturating_add(covered);
        let payload = memory.get_mut(head.saturating_sub(masked)..filled);
        self.mask.apply(payload.unwrap_or_default());
        let head = memory.get(..filled).unwrap_or_default();
        Part { head, frame: 0, tail: &[], covered }
    }
}

/// The two directions of a WebSocket by which frames are sent.
#[derive(Debug)]
pub(crate) struct WebSocket<'c, O: Endpoint> {
    config: &'c Config,
    socket: Socket<O>,
    masking: O::Masking,
    /// With the subprotocol.
    v1: Option<SendWindow>,
    fault: Option<Fault>,
    ping_at: Instant,
    is_ping_due: bool,
    /// When the first Ping was sent since the last sign of life.
    asked_at: Option<Instant>,
    /// Whether the peer may be without credit, since it leaves frames unacknowledged, only for
    /// [`Config::progress_timeout`].
    must_acknowledge: bool,
    /// When that has passed.
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

impl<'c, O: Endpoint> WebSocket<'c, O> {
    /// `must_acknowledge`: the peer may be without credit for [`Config::progress_timeout`] at most.
    /// `v1` is there with the subprotocol.
    pub(crate) fn new(
        masking: O::Masking,
        now: Instant,
        config: &'c Config,
        must_acknowledge: bool,
        v1: Option<SendWindow>,
    ) -> Self {
        Self {
            config,
            socket: Socket::new(Limits { message_bytes: MESSAGE_MAX }),
            masking,
            v1,
            fault: None,
            ping_at: now + config.ping_interval,
            is_ping_due: false,
            asked_at: None,
            must_acknowledge,
            stalls_at: None,
        }
    }

    /// What is owed to the peer: a Pong or a Close, or a Ping that is due.
    fn control_frame(&mut self) -> Option<ControlFrame> {
        if self.fault.is_none() && !self.socket.owes_answer() && !self.is_ping_due {
            return None; // Keys are not drawn in vain.
        }
        let key = self.masking.key();
        let owed = match self.fault {
            Some(Fault::Policy) => {
                self.socket.close(Some(Close::new(CloseCode::POLICY_VIOLATION)), key).ok()
            }
            _ => self.socket.answer(key),
        };
        if owed.is_none() && core::mem::take(&mut self.is_ping_due) {
            let key = self.masking.key();
            return self.socket.ping(&[], key).ok();
        }
        owed
    }
}

impl<O: Endpoint> Wire for WebSocket<'_, O> {
    const MEMORY: usize = ControlFrame::MAX_LEN;

    fn wants_frames(&self) -> bool {
        self.v1.as_ref().is_none_or(SendWindow::is_wanted)
    }

    fn may_send(&self) -> bool {
        self.v1.as_ref().is_none_or(SendWindow::has_credit)
    }

    fn part<'m>(
        &mut self,
        frame: &OutgoingFrame,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Result<Part<'m>, WireError> {
        if at > 0 {
            return Ok(self.masking.part(0, 0, bytes, at, memory));
        }
        let v1 = self.v1.as_mut().map(|v1| {
            v1.sent(frame.sequence);
            MessageHead::of(frame).encode()
        });
        let v1 = v1.as_ref().map_or(&[][..], |head| head);
        let len = bytes.len().saturating_add(v1.len());
        let key = self.masking.key();
        // It fails if the connection is closing.
        let head = self.socket.message(Kind::Binary, len, key).map_err(|_| WireError::Closed)?;
        if !self.may_send() && self.must_acknowledge {
            self.stalls_at = Some(frame.sent_at + self.config.progress_timeout);
        }
        self.masking.begin(key);
        let head = write(memory, &[head.as_bytes(), v1]).len();
        Ok(self.masking.part(head, v1.len(), bytes, at, memory))
    }

    fn handle_input(&mut self, mut input: &mut [u8], _now: Instant) {
        self.asked_at = None;
        loop {
            let fault = match (self.socket.next(&mut input), &mut self.v1) {
                (Ok(Some(Event::Data(data))), Some(v1)) => {
                    v1.handle_input(data).err().map(|Violation| Fault::Policy)
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
        if self.may_send() || !self.wants_frames() {
            self.stalls_at = None;
        }
    }

    fn poll_transmit<'m>(&mut self, memory: &'m mut [u8]) -> Option<&'m [u8]> {
        let frame = self.control_frame()?;
        Some(write(memory, &[frame.as_bytes()]))
    }

    fn check(&self) -> Result<(), WireError> {
        match (self.fault, self.socket.phase()) {
            (Some(_), _) => Err(WireError::Protocol),
            (None, Phase::Closed) => Err(WireError::Closed),
            (None, _) => Ok(()),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.stalls_at.map_or(self.ping_at, |at| at.min(self.ping_at)))
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), WireError> {
        if self.stalls_at.is_some_and(|at| now >= at) {
            return Err(WireError::Stalled);
        }
        if now < self.ping_at {
            return Ok(());
        }
        if self.asked_at.is_some_and(|at| now >= at + self.config.pong_timeout) {
            return Err(WireError::Silent);
        }
        self.is_ping_due = true;
        self.asked_at = self.asked_at.or(Some(now));
        self.ping_at = now + self.config.ping_interval;
        Ok(())
    }

    fn close<'m>(&mut self, memory: &'m mut [u8]) -> &'m [u8] {
        let key = self.masking.key();
        let close = self.socket.close(Some(Close::new(CloseCode::GOING_AWAY)), key);
        close.map_or(&[], |frame| write(memory, &[frame.as_bytes()]))
    }

    fn awaits_close(&self) -> bool {
        self.socket.phase() != Phase::Closed
    }
}
