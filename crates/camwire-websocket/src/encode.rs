use core::marker::PhantomData;

use crate::decode::CONTROL_MAX;
use crate::event::{Fin, Kind};
use crate::role::sealed::Key;
use crate::{Close, Mask, Role};

/// Writes the heads of frames, in an order that RFC 6455 allows. It never touches a message.
///
/// What is sent is the head and then the message's bytes: those of a server as they are, those of a
/// client masked with the key of the head, by [`Mask`]. Text must be UTF-8; whoever has it as a
/// `str` need not do more.
///
/// ```
/// use camwire_websocket::{Client, Encoder, Kind, Mask, Server};
///
/// let jpeg = [0xFF; 300];
/// let mut encoder = Encoder::<Server>::new();
/// let head = encoder.message(Kind::Binary, jpeg.len(), ())?;
/// assert_eq!(head.as_bytes(), [0x82, 126, 300_u16.to_be_bytes()[0], 300_u16.to_be_bytes()[1]]);
///
/// let mut text = *b"Hello";
/// let key = [0x37, 0xfa, 0x21, 0x3d]; // random, and never the same twice
/// let mut encoder = Encoder::<Client>::new();
/// let head = encoder.message(Kind::Text, text.len(), key)?;
/// Mask::new(key).apply(&mut text);
/// assert_eq!([head.as_bytes(), &text].concat(), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
/// # Ok::<_, camwire_websocket::EncodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Encoder<R> {
    outgoing: Outgoing,
    role: PhantomData<R>,
}

impl<R: Role> Encoder<R> {
    /// An encoder for what is sent after the opening handshake.
    #[must_use]
    pub const fn new() -> Self {
        Self { outgoing: Outgoing::new(), role: PhantomData }
    }

    /// The head of a message that is sent as one frame.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Closed`], [`EncodeError::MessageUnfinished`], or [`EncodeError::TooLong`].
    #[inline]
    pub fn message(
        &mut self,
        kind: Kind,
        len: usize,
        key: R::Key,
    ) -> Result<FrameHead, EncodeError> {
        self.outgoing.message(kind, len, key.bytes())
    }

    /// The head of the next fragment of a message: the first one, if no message is under way.
    /// Control frames may be sent between fragments.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Closed`], [`EncodeError::TooLong`], or, if the message under way is of
    /// another kind, [`EncodeError::MessageUnfinished`].
    pub fn fragment(
        &mut self,
        kind: Kind,
        len: usize,
        fin: Fin,
        key: R::Key,
    ) -> Result<FrameHead, EncodeError> {
        self.outgoing.fragment(kind, len, fin, key.bytes())
    }

    /// A Ping, which the peer must answer with a Pong of the same payload.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Closed`], or [`EncodeError::TooLong`] for more than 125 bytes.
    pub fn ping(&mut self, payload: &[u8], key: R::Key) -> Result<ControlFrame, EncodeError> {
        self.outgoing.ping(payload, key.bytes())
    }

    /// A Pong: the answer to a Ping with this payload, or a sign of life.
    ///
    /// It may also be sent after a Close: a Ping must be answered until the peer has sent its Close
    /// (section 5.5.2).
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] for more than 125 bytes.
    pub fn pong(&mut self, payload: &[u8], key: R::Key) -> Result<ControlFrame, EncodeError> {
        self.outgoing.pong(payload, key.bytes())
    }

    /// A Close. After it no other frame can be had, except for Pongs.
    ///
    /// It answers a Close of the peer, or else asks for one. A message whose fragments are under
    /// way remains unfinished.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Closed`], or [`EncodeError::TooLong`] for a reason of more than
    /// [`Close::REASON_MAX`] bytes.
    pub fn close(
        &mut self,
        close: Option<Close<'_>>,
        key: R::Key,
    ) -> Result<ControlFrame, EncodeError> {
        self.outgoing.close(close, key.bytes())
    }

    /// Whether a Close was made.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.outgoing.closed
    }
}

impl<R: Role> Default for Encoder<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// All of an encoder but its role's type, so that a program with both roles has it once. Frames are
/// masked if there is a key.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The fragmented message under way.
    message: Option<Kind>,
    pub(crate) closed: bool,
}

pub(crate) type MaskKey = Option<[u8; 4]>;

impl Outgoing {
    pub(crate) const fn new() -> Self {
        Self { message: None, closed: false }
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn message(
        &mut self,
        kind: Kind,
        len: usize,
        key: MaskKey,
    ) -> Result<FrameHead, EncodeError> {
        if self.message.is_some() && !self.closed {
            return Err(EncodeError::MessageUnfinished);
        }
        self.fragment(kind, len, Fin::Last, key)
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn fragment(
        &mut self,
        kind: Kind,
        len: usize,
        fin: Fin,
        key: MaskKey,
    ) -> Result<FrameHead, EncodeError> {
        self.open()?;
        let opcode = match (self.message, kind) {
            (None, Kind::Text) => 1,
            (None, Kind::Binary) => 2,
            (Some(message), kind) if message == kind => 0,
            _ => return Err(EncodeError::MessageUnfinished),
        };
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if len > i64::MAX as u64 {
            return Err(EncodeError::TooLong);
        }
        self.message = (fin == Fin::More).then_some(kind);
        let fin = if fin == Fin::Last { 0x80 } else { 0 };
        Ok(FrameHead::new(fin | opcode, len, key))
    }

    pub(crate) fn ping(
        &mut self,
        payload: &[u8],
        key: MaskKey,
    ) -> Result<ControlFrame, EncodeError> {
        self.open()?;
        ControlFrame::new(0x89, &[payload], key)
    }

    pub(crate) fn pong(
        &mut self,
        payload: &[u8],
        key: MaskKey,
    ) -> Result<ControlFrame, EncodeError> {
        ControlFrame::new(0x8A, &[payload], key)
    }

    pub(crate) fn close(
        &mut self,
        close: Option<Close<'_>>,
        key: MaskKey,
    ) -> Result<ControlFrame, EncodeError> {
        self.open()?;
        let payload = close.as_ref().map(Close::payload);
        let (code, reason) = match &payload {
            Some((code, reason)) => (&code[..], *reason),
            None => (&[][..], &[][..]),
        };
        let frame = ControlFrame::new(0x88, &[code, reason], key)?;
        self.closed = true;
        Ok(frame)
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    fn open(&self) -> Result<(), EncodeError> {
        if self.closed { Err(EncodeError::Closed) } else { Ok(()) }
    }
}

/// Why a frame must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A Close has been sent, or must be sent now.
    #[error("the connection is closing")]
    Closed,
    /// The fragments of another message are under way.
    #[error("another message is unfinished")]
    MessageUnfinished,
    /// A control frame of more than 125 bytes, or a frame of 2^63 or more.
    #[error("a frame cannot be as long as that")]
    TooLong,
}

/// What a frame begins with: 2 to 14 bytes, and the payload directly after them.
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl FrameHead {
    /// Bytes of the longest head.
    pub const MAX_LEN: usize = 14;

    #[cfg_attr(target_pointer_width = "64", inline)]
    fn new(first: u8, len: u64, key: MaskKey) -> Self {
        let (masked, [k0, k1, k2, k3]) = key.map_or((0, [0; 4]), |key| (0x80, key));
        let [l0, l1, l2, l3, l4, l5, l6, l7] = len.to_be_bytes();
        let (bytes, len) = match len {
            0..=125 => ([first, masked | l7, k0, k1, k2, k3, 0, 0, 0, 0, 0, 0, 0, 0], 2),
            126..=0xFFFF => ([first, masked | 126, l6, l7, k0, k1, k2, k3, 0, 0, 0, 0, 0, 0], 4),
            _ => ([first, masked | 127, l0, l1, l2, l3, l4, l5, l6, l7, k0, k1, k2, k3], 10),
        };
        Self { bytes, len: if key.is_some() { len + 4 } else { len } }
    }

    /// The bytes to send.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A whole control frame, masked if it is a client's.
#[derive(Clone, Copy, Debug)]
pub struct ControlFrame {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl ControlFrame {
    /// Bytes of the longest control frame.
    pub const MAX_LEN: usize = 2 + 4 + CONTROL_MAX as usize;

    fn new(first: u8, payload: &[&[u8]], key: MaskKey) -> Result<Self, EncodeError> {
        let len = payload.iter().fold(0_usize, |len, piece| len.saturating_add(piece.len()));
        if len > usize::from(CONTROL_MAX) {
            return Err(EncodeError::TooLong);
        }
        let mut frame = Self { bytes: [0; Self::MAX_LEN], len: 0 };
        frame.push(FrameHead::new(first, len as u64, key).as_bytes());
        let start = usize::from(frame.len);
        for piece in payload {
            frame.push(piece);
        }
        if let (Some(key), Some(payload)) = (key, frame.bytes.get_mut(start..)) {
            Mask::new(key).apply(payload);
        }
        Ok(frame)
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.len = append(&mut self.bytes, self.len, bytes);
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Puts `bytes` into `memory` from `len` on, if they fit, and returns how much is in use then.
#[inline]
fn append(memory: &mut [u8], len: u8, bytes: &[u8]) -> u8 {
    let room = memory.get_mut(usize::from(len)..).unwrap_or_default();
    let Some(room) = room.get_mut(..bytes.len()) else { return len };
    room.copy_from_slice(bytes);
    len.saturating_add(bytes.len() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, CloseCode, Server};

    #[test]
    fn lengths_take_the_shortest_form() {
        for (len, head) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xFFFF, &[0x82, 126, 0xFF, 0xFF]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut server = Encoder::<Server>::new();
            assert_eq!(server.message(Kind::Binary, len, ()).unwrap().as_bytes(), head);
            let mut masked = head.to_vec();
            masked[1] |= 0x80;
            masked.extend_from_slice(b"key!");
            let mut client = Encoder::<Client>::new();
            assert_eq!(client.message(Kind::Binary, len, *b"key!").unwrap().as_bytes(), masked);
        }
        let too_long = Encoder::<Server>::new().message(Kind::Binary, usize::MAX, ());
        assert!(cfg!(not(target_pointer_width = "64")) || too_long.is_err());
    }

    #[test]
    fn fragments_are_one_message() {
        let mut encoder = Encoder::<Server>::new();
        let mut first = |kind, fin| encoder.fragment(kind, 1, fin, ()).map(|h| h.as_bytes()[0]);
        assert_eq!(first(Kind::Text, Fin::More), Ok(0x01));
        assert_eq!(first(Kind::Binary, Fin::More), Err(EncodeError::MessageUnfinished));
        assert_eq!(first(Kind::Text, Fin::More), Ok(0x00));
        assert_eq!(first(Kind::Text, Fin::Last), Ok(0x80));
        assert_eq!(first(Kind::Binary, Fin::Last), Ok(0x82));
        assert_eq!(first(Kind::Binary, Fin::More), Ok(0x02));
        let message = encoder.message(Kind::Binary, 1, ()).map(|_| ());
        assert_eq!(message, Err(EncodeError::MessageUnfinished));
        assert_eq!(encoder.ping(b"", ()).unwrap().as_bytes(), [0x89, 0]);
        assert_eq!(encoder.fragment(Kind::Binary, 0, Fin::Last, ()).unwrap().as_bytes(), [0x80, 0]);
    }

    #[test]
    fn nothing_but_pongs_after_a_close() {
        let mut encoder = Encoder::<Server>::new();
        let close = Close::with_reason(CloseCode::NORMAL, "bye");
        assert_eq!(encoder.close(Some(close), ()).unwrap().as_bytes(), b"\x88\x05\x03\xe8bye");
        assert!(encoder.is_closed());
        assert_eq!(encoder.message(Kind::Text, 0, ()).err(), Some(EncodeError::Closed));
        let fragment = encoder.fragment(Kind::Text, 0, Fin::More, ());
        assert_eq!(fragment.err(), Some(EncodeError::Closed));
        assert_eq!(encoder.ping(b"", ()).err(), Some(EncodeError::Closed));
        assert_eq!(encoder.close(None, ()).err(), Some(EncodeError::Closed));
        assert_eq!(encoder.pong(b"x", ()).unwrap().as_bytes(), b"\x8a\x01x");
    }

    #[test]
    fn control_frames_have_125_bytes_at_most() {
        let mut encoder = Encoder::<Client>::new();
        let key = [1, 2, 3, 4];
        assert_eq!(encoder.ping(&[7; 125], key).unwrap().as_bytes().len(), ControlFrame::MAX_LEN);
        assert_eq!(encoder.ping(&[7; 126], key).err(), Some(EncodeError::TooLong));
        let reason = &"x".repeat(124);
        let mut close = Close::with_reason(CloseCode::NORMAL, reason);
        assert_eq!(encoder.close(Some(close), key).err(), Some(EncodeError::TooLong));
        assert!(!encoder.is_closed());
        close = Close::with_reason(CloseCode::NORMAL, &reason[..Close::REASON_MAX]);
        let frame = encoder.close(Some(close), key).unwrap();
        assert_eq!(frame.as_bytes()[..8], [0x88, 0xFD, 1, 2, 3, 4, 3 ^ 1, 0xE8 ^ 2]);
    }
}
