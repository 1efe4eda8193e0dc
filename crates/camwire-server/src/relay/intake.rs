//! Frames that come as messages of a WebSocket, decoded into the memory where they belong.

use camwire_frame::jpeg::{self, JpegError};
use camwire_frame::{FrameInfo, Instant, RepeatFilter, Upstream};
use camwire_websocket::{
    Close, CloseCode, Connection as Socket, ControlFrame, Data, Event, Fin, Kind, Limits, Phase,
    Role,
};

use crate::relay::client::Protocol;
use crate::viewer::v1::{MessageHead, Violation};

/// Most bytes of a message. One that does not fit its slot is read to its end and thrown away, so
/// this is no more than a bound for that.
const MESSAGE_MAX: u64 = 64 << 20;

/// The receiving end: one message after another becomes a frame in a slot.
#[derive(Debug)]
pub(crate) struct Intake<O> {
    socket: Socket<O>,
    protocol: Protocol,
    fault: Option<Violation>,
    message: Option<Message>,
    repeat_filter: RepeatFilter,
}

/// The message under way.
#[derive(Debug)]
struct Message {
    /// What stands before the frame, as far as it has come.
    head: heapless::Vec<u8, { MessageHead::LEN }>,
    fate: Fate,
    /// When its first bytes came.
    arrived: Instant,
    /// Bytes of the frame that have come. More than the slot has if that is too small.
    filled: usize,
    /// Bytes of a longer head, which belong to no frame.
    ignored: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes into the slot.
    Taken,
    /// There was no slot for it when it began, or that was taken away.
    Unwanted,
    /// It is text.
    NoFrame,
}

/// A message has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// What the peer waits to have acknowledged.
    pub(crate) sequence: Option<u64>,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The slot has a whole frame.
    Frame(FrameInfo),
    /// The peer sent its last frame again.
    Repeat,
    Broken(JpegError),
    /// It has so many bytes.
    TooLarge(usize),
    /// There was no slot.
    Unwanted,
    /// Something else than a frame, from a peer that may send such.
    Other,
}

/// The peer broke a rule. The next [`poll_transmit`](Intake::poll_transmit) has the Close for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broke;

impl<O: Role> Intake<O> {
    pub(crate) fn new(protocol: Protocol) -> Self {
        let socket = Socket::new(Limits { message_bytes: MESSAGE_MAX });
        let repeat_filter = RepeatFilter::new();
        Self { socket, protocol, fault: None, message: None, repeat_filter }
    }

    /// What is known of the last frame.
    pub(crate) fn repeat_filter(&self) -> RepeatFilter {
        self.repeat_filter
    }

    /// What is known of the last frame is from elsewhere.
    pub(crate) fn set_repeat_filter(&mut self, filter: RepeatFilter) {
        self.repeat_filter = filter;
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What is owed to the peer: a Pong, or a Close.
    pub(crate) fn poll_transmit(&mut self, key: O::Key) -> Option<ControlFrame> {
        match self.fault {
            Some(Violation) => {
                self.socket.close(Some(Close::new(CloseCode::POLICY_VIOLATION)), key).ok()
            }
            None => self.socket.answer(key),
        }
    }

    /// The other direction.
    pub(crate) fn socket(&mut self) -> &mut Socket<O> {
        &mut self.socket
    }

    pub(crate) fn is_open(&self) -> bool {
        self.socket.phase() == Phase::Open
    }

    /// Whether no message is under way, so that another slot may be given.
    pub(crate) fn is_between(&self) -> bool {
        self.message.is_none()
    }

    /// The slot is taken away: the message under way is read to its end and dropped.
    pub(crate) fn abandon(&mut self) {
        if let Some(message) = &mut self.message
            && message.fate == Fate::Taken
        {
            message.fate = Fate::Unwanted;
        }
    }

    /// The place in the slot for bytes that certainly come next, if there is such; never empty.
    pub(crate) fn room<'s>(&self, slot: &'s mut [u8]) -> Option<&'s mut [u8]> {
        let message = self.message.as_ref().filter(|message| {
            message.fate == Fate::Taken && message.head_left(self.protocol) == Some(0)
        })?;
        let ahead = usize::try_from(self.socket.payload_ahead()).ok()?;
        let to = message.filled.checked_add(ahead)?;
        slot.get_mut(message.filled..to).filter(|room| !room.is_empty())
    }

    /// So many bytes were read to [`room`](Self::room).
    pub(crate) fn filled(
        &mut self,
        slot: &mut [u8],
        count: usize,
    ) -> Result<Option<Arrival>, Broke> {
        let room = self.room(slot).and_then(|room| room.get_mut(..count));
        let mut input = room.unwrap_or_default();
        // It is one piece of payload, which stands where it belongs.
        match self.socket.next(&mut input) {
            Ok(Some(Event::Data(Data { bytes, fin, .. }))) => {
                let count = bytes.len();
                if let Some(message) = &mut self.message {
                    message.filled = message.filled.saturating_add(count);
                }
                Ok(if fin == Fin::Last { self.end(Some(slot)) } else { None })
            }
            Ok(_) => Ok(None),
            Err(_) => Err(Broke),
        }
    }

    /// Takes bytes that were read to elsewhere, at `now`. `None`: all are used up. The slot, if there
    /// is one, is the same from the first byte of a message to its last.
    pub(crate) fn handle_input(
        &mut self,
        input: &mut &mut [u8],
        mut slot: Option<&mut [u8]>,
        now: Instant,
    ) -> Result<Option<Arrival>, Broke> {
        loop {
            let (data, fin) = match self.socket.next(input) {
                Ok(Some(Event::Data(data))) => (data, data.fin),
                Ok(Some(_)) => continue,
                Ok(None) => return Ok(None),
                Err(_) => return Err(Broke),
            };
            let fate = match (data.kind, self.protocol, &slot) {
                (Kind::Text, Protocol::V1, _) => {
                    self.fault = Some(Violation);
                    return Err(Broke);
                }
                (Kind::Text, Protocol::Bare, _) => Fate::NoFrame,
                (Kind::Binary, _, Some(_)) => Fate::Taken,
                (Kind::Binary, _, None) => Fate::Unwanted,
            };
            let message = self.message.get_or_insert_with(|| Message {
                head: heapless::Vec::new(),
                fate,
                arrived: now,
                filled: 0,
                ignored: 0,
            });
            if message.push(data.bytes, self.protocol, slot.as_deref_mut()).is_err()
                || (fin == Fin::Last && message.head_left(self.protocol) != Some(0))
            {
                self.fault = Some(Violation);
                return Err(Broke);
            }
            if fin == Fin::Last {
                return Ok(self.end(slot.as_deref_mut()));
            }
        }
    }

    /// The message under way has ended.
    fn end(&mut self, slot: Option<&mut [u8]>) -> Option<Arrival> {
        let message = self.message.take()?;
        let upstream = message.upstream(self.protocol);
        let outcome = match (message.fate, slot) {
            (Fate::NoFrame, _) => Outcome::Other,
            (Fate::Taken, Some(slot)) => self.frame(&message, upstream, slot),
            (Fate::Unwanted | Fate::Taken, _) => Outcome::Unwanted,
        };
        Some(Arrival { sequence: upstream.sequence, outcome })
    }

    /// What has come as a message of its own into the slot.
    fn frame(&mut self, message: &Message, upstream: Upstream, slot: &[u8]) -> Outcome {
        let Some(bytes) = slot.get(..message.filled) else {
            return if self.repeat_filter.may_be_repeat(upstream, message.filled) {
                Outcome::Repeat
            } else {
                Outcome::TooLarge(message.filled)
            };
        };
        let jpeg::Picture { width, height, len } = match jpeg::inspect(bytes) {
            Ok(picture) => picture,
            Err(error) => return Outcome::Broken(error),
        };
        if self.repeat_filter.is_repeat(upstream, bytes.get(..len).unwrap_or_default()) {
            return Outcome::Repeat;
        }
        let captured_at = message.arrived;
        Outcome::Frame(FrameInfo { len, width, height, captured_at, upstream })
    }
}

impl Message {
    /// How many bytes are missing before the frame begins; `None` if it is not a head.
    fn head_left(&self, protocol: Protocol) -> Option<usize> {
        if protocol == Protocol::Bare || self.fate == Fate::NoFrame {
            return Some(0);
        }
        let Some(&[version, _, a, b]) = self.head.first_chunk() else {
            return MessageHead::LEN.checked_sub(self.head.len());
        };
        let length = usize::from(u16::from_be_bytes([a, b]));
        if version != 1 || length < MessageHead::LEN {
            return None;
        }
        length.checked_sub(self.head.len())?.checked_sub(self.ignored)
    }

    /// What the head says.
    fn upstream(&self, protocol: Protocol) -> Upstream {
        let number = |at: usize| {
            let bytes = self.head.get(at..)?.first_chunk()?;
            Some(u64::from_be_bytes(*bytes))
        };
        match protocol {
            Protocol::V1 => Upstream { sequence: number(8), timestamp_us: number(16) },
            Protocol::Bare => Upstream::default(),
        }
    }

    fn push(
        &mut self,
        mut bytes: &[u8],
        protocol: Protocol,
        slot: Option<&mut [u8]>,
    ) -> Result<(), Violation> {
        loop {
            let left = self.head_left(protocol).ok_or(Violation)?;
            if left == 0 || bytes.is_empty() {
                break;
            }
            // First the part that is kept.
            let room = self.head.capacity().saturating_sub(self.head.len());
            let most = if room > 0 { room.min(left) } else { left };
            let (head, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
            if room > 0 {
                let _ = self.head.extend_from_slice(head); // There is room.
            } else {
                self.ignored = self.ignored.saturating_add(head.len());
            }
            bytes = rest;
        }
        if self.fate == Fate::Taken
            && let Some(room) = slot.and_then(|slot| slot.get_mut(self.filled..))
            && let Some(room) = room.get_mut(..bytes.len())
        {
            room.copy_from_slice(bytes);
        }
        self.filled = self.filled.saturating_add(bytes.len());
        Ok(())
    }
}
