use core::marker::PhantomData;

use crate::decode::{ControlPayload, Incoming, Progress, take};
use crate::encode::{MaskKey, Outgoing};
use crate::event::{DecodeError, Event, Fin, Kind};
use crate::role::sealed::Key;
use crate::{Close, CloseCode, ControlFrame, EncodeError, FrameHead, Limits, Role};

/// Both directions of a connection, and what one owes the other: Pongs for Pings, a Close for a
/// Close, and a Close with the right code for a broken rule.
///
/// After each event, or at the latest before its next message, the caller asks for
/// [`answer`](Self::answer) and sends what that gives. The closing handshake then comes out right
/// whatever the caller and the peer do: [`phase`](Self::phase) says how far it is, and what must
/// not be sent any more cannot be had.
#[derive(Clone, Debug)]
pub struct Connection<R> {
    ends: Ends,
    role: PhantomData<R>,
}

/// How far the closing handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has closed.
    Open,
    /// This end has sent its Close and waits for the peer's. Messages may come until then, and
    /// nobody says for how long.
    CloseSent,
    /// The peer has sent its Close, or broken a rule: this end must send its Close.
    CloseOwed,
    /// Both have sent their Close, or this end has failed the connection and said so. A server
    /// closes the transport now; a client waits for that a while, then closes it, too
    /// (section 7.1.1).
    Closed,
}

impl<R: Role> Connection<R> {
    /// A connection whose opening handshake is done.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { ends: Ends::new(limits, R::PEER_MASKS), role: PhantomData }
    }

    /// As [`Decoder::next`](crate::Decoder::next).
    ///
    /// # Errors
    ///
    /// As [`Decoder::next`](crate::Decoder::next). [`answer`](Self::answer) then gives the Close
    /// with which the connection is failed.
    #[inline]
    pub fn next<'c, 'i: 'c>(
        &'c mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'c>>, DecodeError> {
        if let Some(event) = self.ends.incoming.plain(input) {
            return Ok(event);
        }
        self.ends.next_of_all(input)
    }

    /// What the protocol wants to be sent next, before anything else.
    ///
    /// It counts as sent: the next call gives what is owed after it.
    pub fn answer(&mut self, key: R::Key) -> Option<ControlFrame> {
        self.ends.answer(key.bytes())
    }

    /// Whether [`answer`](Self::answer) has something to send.
    #[must_use]
    pub const fn owes_answer(&self) -> bool {
        self.ends.owes_answer()
    }

    /// As [`Encoder::message`](crate::Encoder::message).
    ///
    /// # Errors
    ///
    /// As [`Encoder::message`](crate::Encoder::message). [`EncodeError::Closed`] also if the peer
    /// has closed.
    #[inline]
    pub fn message(
        &mut self,
        kind: Kind,
        len: usize,
        key: R::Key,
    ) -> Result<FrameHead, EncodeError> {
        self.ends.open()?.message(kind, len, key.bytes())
    }

    /// As [`Encoder::fragment`](crate::Encoder::fragment).
    ///
    /// # Errors
    ///
    /// As [`Encoder::fragment`](crate::Encoder::fragment). [`EncodeError::Closed`] also if the peer
    /// has closed.
    pub fn fragment(
        &mut self,
        kind: Kind,
        len: usize,
        fin: Fin,
        key: R::Key,
    ) -> Result<FrameHead, EncodeError> {
        self.ends.open()?.fragment(kind, len, fin, key.bytes())
    }

    /// As [`Encoder::ping`](crate::Encoder::ping).
    ///
    /// # Errors
    ///
    /// As [`Encoder::ping`](crate::Encoder::ping). [`EncodeError::Closed`] also if the peer has
    /// closed.
    pub fn ping(&mut self, payload: &[u8], key: R::Key) -> Result<ControlFrame, EncodeError> {
        self.ends.open()?.ping(payload, key.bytes())
    }

    /// As [`Encoder::close`](crate::Encoder::close). If the peer has closed, this is the answer, in
    /// place of the one that [`answer`](Self::answer) would have given.
    ///
    /// # Errors
    ///
    /// As [`Encoder::close`](crate::Encoder::close).
    pub fn close(
        &mut self,
        close: Option<Close<'_>>,
        key: R::Key,
    ) -> Result<ControlFrame, EncodeError> {
        self.ends.close(close, key.bytes())
    }

    /// How far the closing handshake is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.ends.phase()
    }

    /// As [`Decoder::payload_ahead`](crate::Decoder::payload_ahead).
    #[must_use]
    pub const fn payload_ahead(&self) -> u64 {
        self.ends.incoming.payload_ahead()
    }
}

/// All of a connection but its role's type.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) incoming: Incoming,
    outgoing: Outgoing,
    /// The payload of the last Ping, as long as it is not answered. Only the last one needs an
    /// answer (RFC 6455, section 5.5.3).
    ping: ControlPayload,
    owed: Owed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Nothing,
    Pong,
    /// With a code, unless the peer gave none.
    Close(Option<CloseCode>),
}

impl Ends {
    pub(crate) const fn new(limits: Limits, peer_masks: bool) -> Self {
        Self {
            incoming: Incoming::new(limits, peer_masks),
            outgoing: Outgoing::new(),
            ping: ControlPayload::new(),
            owed: Owed::Nothing,
        }
    }

    /// As [`Connection::next`], in all cases.
    #[inline(never)]
    fn next_of_all<'c, 'i: 'c>(
        &'c mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'c>>, DecodeError> {
        let (used, progress) = self.advance(input);
        take(input, used);
        let payload = take(input, progress.payload());
        self.incoming.told(progress, payload)
    }

    /// As [`Incoming::advance`].
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn advance(&mut self, input: &mut [u8]) -> (usize, Progress) {
        let (used, progress) = self.incoming.advance(input);
        if !matches!(progress, Progress::Hungry | Progress::Data { .. }) {
            self.note(progress);
        }
        (used, progress)
    }

    /// Notes what is owed for it.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn note(&mut self, progress: Progress) {
        let code = match self.incoming.told(progress, &[]) {
            Ok(Some(Event::Ping(payload))) => {
                self.ping.clear();
                self.ping.push(payload);
                self.owed = Owed::Pong;
                return;
            }
            Ok(Some(Event::Close(close))) => close.map(|close| close.code()),
            Err(error) => Some(error.close_code()),
            _ => return,
        };
        // The peer waits for no Pong any more.
        self.owed = if self.outgoing.closed { Owed::Nothing } else { Owed::Close(code) };
    }

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn answer(&mut self, key: MaskKey) -> Option<ControlFrame> {
        match core::mem::replace(&mut self.owed, Owed::Nothing) {
            Owed::Nothing => None,
            Owed::Pong => self.outgoing.pong(self.ping.get(), key).ok(),
            Owed::Close(code) => self.outgoing.close(code.map(Close::new), key).ok(),
        }
    }

    pub(crate) const fn owes_answer(&self) -> bool {
        !matches!(self.owed, Owed::Nothing)
    }

    /// What messages and Pings are sent with, as long as nobody has closed.
    pub(crate) fn open(&mut self) -> Result<&mut Outgoing, EncodeError> {
        match self.phase() {
            Phase::Open => Ok(&mut self.outgoing),
            _ => Err(EncodeError::Closed),
        }
    }

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn close(
        &mut self,
        close: Option<Close<'_>>,
        key: MaskKey,
    ) -> Result<ControlFrame, EncodeError> {
        let frame = self.outgoing.close(close, key)?;
        if matches!(self.owed, Owed::Close(_)) {
            self.owed = Owed::Nothing;
        }
        Ok(frame)
    }

    pub(crate) const fn phase(&self) -> Phase {
        let over = self.incoming.is_closed() || self.incoming.has_failed();
        match (over, self.outgoing.closed) {
            (false, false) => Phase::Open,
            (false, true) => Phase::CloseSent,
            (true, false) => Phase::CloseOwed,
            (true, true) => Phase::Closed,
        }
    }
}
