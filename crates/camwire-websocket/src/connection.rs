use crate::decode::{ControlPayload, Progress, take};
use crate::event::{DecodeError, Event, Fin, Kind};
use crate::{
    Close, CloseCode, ControlFrame, Decoder, EncodeError, Encoder, FrameHead, Limits, Role,
};

/// Both directions of a connection, and what one owes the other: Pongs for Pings, a Close for a
/// Close, and a Close with the right code for a broken rule.
///
/// After each event, or at the latest before its next message, the caller asks for
/// [`answer`](Self::answer) and sends what that gives. The closing handshake then comes out right
/// whatever the caller and the peer do: [`phase`](Self::phase) says how far it is, and what must
/// not be sent any more cannot be had.
#[derive(Clone, Debug)]
pub struct Connection<R: Role> {
    decoder: Decoder<R>,
    encoder: Encoder<R>,
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
        Self {
            decoder: Decoder::new(limits),
            encoder: Encoder::new(),
            ping: ControlPayload::new(),
            owed: Owed::Nothing,
        }
    }

    /// As [`Decoder::next`].
    ///
    /// # Errors
    ///
    /// As [`Decoder::next`]. [`answer`](Self::answer) then gives the Close with which the
    /// connection is failed.
    #[inline]
    pub fn next<'c, 'i: 'c>(
        &'c mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'c>>, DecodeError> {
        let (used, progress) = self.advance(input);
        take(input, used);
        let payload = take(input, progress.payload());
        self.decoder.told(progress, payload)
    }

    /// As [`Decoder::advance`].
    #[inline]
    pub(crate) fn advance(&mut self, input: &mut [u8]) -> (usize, Progress) {
        let (used, progress) = self.decoder.advance(input);
        if !matches!(progress, Progress::Hungry | Progress::Data { .. }) {
            self.note(progress);
        }
        (used, progress)
    }

    /// As [`Decoder::told`].
    pub(crate) fn told<'a>(
        &'a self,
        progress: Progress,
        bytes: &'a [u8],
    ) -> Result<Option<Event<'a>>, DecodeError> {
        self.decoder.told(progress, bytes)
    }

    /// Notes what is owed for it.
    fn note(&mut self, progress: Progress) {
        let code = match self.decoder.told(progress, &[]) {
            Ok(Some(Event::Ping(payload))) => {
                self.ping.clear();
                self.ping.push(payload);
                self.owed = Owed::Pong;
                return;
            }
            Ok(Some(Event::Close(close))) => close.map(|close| close.code),
            Err(error) => Some(error.close_code()),
            _ => return,
        };
        // The peer waits for no Pong any more.
        self.owed = if self.encoder.is_closed() { Owed::Nothing } else { Owed::Close(code) };
    }

    /// What the protocol wants to be sent next, before anything else.
    ///
    /// It counts as sent: the next call gives what is owed after it.
    pub fn answer(&mut self, key: R::Key) -> Option<ControlFrame> {
        match core::mem::replace(&mut self.owed, Owed::Nothing) {
            Owed::Nothing => None,
            Owed::Pong => self.encoder.pong(self.ping.get(), key).ok(),
            Owed::Close(code) => self.encoder.close(code.map(Close::new), key).ok(),
        }
    }

    /// Whether [`answer`](Self::answer) has something to send.
    #[must_use]
    pub const fn owes_answer(&self) -> bool {
        !matches!(self.owed, Owed::Nothing)
    }

    /// As [`Encoder::message`].
    ///
    /// # Errors
    ///
    /// As [`Encoder::message`]. [`EncodeError::Closed`] also if the peer has closed.
    #[inline]
    pub fn message(
        &mut self,
        kind: Kind,
        len: usize,
        key: R::Key,
    ) -> Result<FrameHead, EncodeError> {
        self.open()?;
        self.encoder.message(kind, len, key)
    }

    /// As [`Encoder::fragment`].
    ///
    /// # Errors
    ///
    /// As [`Encoder::fragment`]. [`EncodeError::Closed`] also if the peer has closed.
    pub fn fragment(
        &mut self,
        kind: Kind,
        len: usize,
        fin: Fin,
        key: R::Key,
    ) -> Result<FrameHead, EncodeError> {
        self.open()?;
        self.encoder.fragment(kind, len, fin, key)
    }

    /// As [`Encoder::ping`].
    ///
    /// # Errors
    ///
    /// As [`Encoder::ping`]. [`EncodeError::Closed`] also if the peer has closed.
    pub fn ping(&mut self, payload: &[u8], key: R::Key) -> Result<ControlFrame, EncodeError> {
        self.open()?;
        self.encoder.ping(payload, key)
    }

    /// As [`Encoder::close`]. If the peer has closed, this is the answer, in place of the one that
    /// [`answer`](Self::answer) would have given.
    ///
    /// # Errors
    ///
    /// As [`Encoder::close`].
    pub fn close(
        &mut self,
        close: Option<Close<'_>>,
        key: R::Key,
    ) -> Result<ControlFrame, EncodeError> {
        let frame = self.encoder.close(close, key)?;
        if matches!(self.owed, Owed::Close(_)) {
            self.owed = Owed::Nothing;
        }
        Ok(frame)
    }

    /// How far the closing handshake is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        let over = self.decoder.is_closed() || self.decoder.has_failed();
        match (over, self.encoder.is_closed()) {
            (false, false) => Phase::Open,
            (false, true) => Phase::CloseSent,
            (true, false) => Phase::CloseOwed,
            (true, true) => Phase::Closed,
        }
    }

    /// As [`Decoder::payload_ahead`].
    #[must_use]
    pub const fn payload_ahead(&self) -> u64 {
        self.decoder.payload_ahead()
    }

    fn open(&self) -> Result<(), EncodeError> {
        match self.phase() {
            Phase::Open => Ok(()),
            _ => Err(EncodeError::Closed),
        }
    }
}
