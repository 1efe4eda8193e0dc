use core::marker::PhantomData;

use crate::event::{Data, DecodeError, DecodeErrorKind, Event, Fin, Kind};
use crate::utf8::Utf8;
use crate::{Close, Mask, Role};

/// Takes apart the frames that a peer sends, in pieces of any size.
///
/// It does no I/O and keeps no payload but that of a control frame, 125 bytes at most; its size is
/// fixed. `R` is the role of this end: a [`Server`](crate::Server) decodes what a client sends.
///
/// ```
/// use camwire_websocket::{Decoder, Event, Limits, Server};
///
/// let mut decoder = Decoder::<Server>::new(Limits::default());
/// let mut input = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
/// let mut rest = &mut input[..];
/// let mut text = Vec::new();
/// while let Some(event) = decoder.next(&mut rest)? {
///     if let Event::Data(data) = event {
///         text.extend_from_slice(data.bytes);
///     }
/// }
/// assert_eq!(text, b"Hello");
/// # Ok::<_, camwire_websocket::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder<R> {
    incoming: Incoming,
    role: PhantomData<R>,
}

impl<R: Role> Decoder<R> {
    /// A decoder for what comes after the opening handshake.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { incoming: Incoming::new(limits, R::PEER_MASKS), role: PhantomData }
    }
}

impl<R> Decoder<R> {
    /// Finds the next event in `input`, and takes the bytes that led to it off its front. The mask
    /// is taken off payload where it stands.
    ///
    /// `None` says that all of `input` is used up and more is needed. Call it until then: some
    /// events need no bytes. However the peer's bytes are cut into inputs, the events are the same,
    /// except that the [`Data`] of a message may come as other pieces.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the connection must be failed, the same for every later call. What was
    /// right before it has been told.
    #[inline]
    pub fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'d>>, DecodeError> {
        self.incoming.next(input)
    }

    /// How many bytes of payload certainly come next, in the frame under way.
    ///
    /// The caller may read up to so many bytes to where it wants to have them, and give
    /// [`next`](Self::next) that memory as input: what it tells of as payload then stands where it
    /// belongs.
    #[must_use]
    pub const fn payload_ahead(&self) -> u64 {
        self.incoming.payload_ahead()
    }

    /// Whether a Close frame has come.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.incoming.is_closed()
    }

    /// How many bytes of the peer's frames are used up.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.incoming.offset
    }
}

/// What is too much. A decoder's own memory is fixed and does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, all its fragments together. A frame whose declared length leads beyond
    /// it fails the connection, before any of its payload is taken.
    pub message_bytes: u64,
}

impl Limits {
    /// 8 MiB for a message.
    pub const DEFAULT: Self = Self { message_bytes: 8 << 20 };
}

impl Default for Limits {
    /// [`Limits::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// All of a decoder but its role's type, so that a program with both roles has it once.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    peer_masks: bool,
    limits: Limits,
    state: State,
    /// Of the frame under way.
    opcode: Opcode,
    fin: Fin,
    mask: Mask,
    /// Its length, while that is being read; then its bytes that are still out.
    left: u64,
    /// The message under way, how many of its bytes have been told, and whether they are text.
    message: Option<Kind>,
    told: u64,
    utf8: Utf8,
    /// The payload of a control frame.
    control: ControlPayload,
    /// Bytes that are used up.
    offset: u64,
    /// What is wrong, if the state is `Failed`.
    failure: DecodeError,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// FIN, reserved bits, opcode.
    First,
    /// Whether there is a mask, and the length or its form.
    Second,
    /// Of a length of so many bytes, with so many still out.
    Length { of: u8, left: u8 },
    /// Of a key, with so many bytes still out.
    Key { key: [u8; 4], left: u8 },
    /// Of the payload, or, if none is left, the head of the next frame.
    Payload,
    /// After a Close frame.
    Closed,
    /// After what must not be.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Data,
    Close,
    Ping,
    Pong,
}

/// What [`Incoming::advance`] came to. What else there is to tell is in the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All input is used up.
    Hungry,
    /// So many bytes at the start of what is left of the input are payload.
    Data {
        kind: Kind,
        offset: u64,
        bytes: usize,
        fin: Fin,
    },
    Ping,
    Pong,
    Close,
    Failed,
}

impl Progress {
    /// Bytes of payload that are to be told.
    #[inline]
    pub(crate) const fn payload(self) -> usize {
        match self {
            Self::Data { bytes, .. } => bytes,
            _ => 0,
        }
    }
}

impl Incoming {
    pub(crate) const fn new(limits: Limits, peer_masks: bool) -> Self {
        Self {
            peer_masks,
            limits,
            state: State::First,
            opcode: Opcode::Data,
            fin: Fin::Last,
            mask: Mask::new([0; 4]),
            left: 0,
            message: None,
            told: 0,
            utf8: Utf8::START,
            control: ControlPayload::new(),
            offset: 0,
            failure: DecodeError { kind: DecodeErrorKind::NothingToContinue, offset: 0 },
        }
    }

    /// As [`Decoder::next`].
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(crate) fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'d>>, DecodeError> {
        // Nearly all calls are in the middle of a frame. They are kept apart, since moving the
        // other outcomes around costs more than all there is to do then.
        if let Some(event) = self.plain(input) {
            return Ok(event);
        }
        self.next_of_all(input)
    }

    /// As [`next`](Self::next), in all cases.
    #[inline(never)]
    fn next_of_all<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'d>>, DecodeError> {
        let (used, progress) = self.advance(input);
        take(input, used);
        let payload = take(input, progress.payload());
        self.told(progress, payload)
    }

    /// What `next` gives if all of `input` is payload of a binary message whose frame goes on after
    /// it.
    #[inline]
    pub(crate) fn plain<'i>(&mut self, input: &mut &'i mut [u8]) -> Option<Option<Event<'i>>> {
        let bytes = input.len() as u64;
        let in_the_middle = matches!((self.state, self.opcode), (State::Payload, Opcode::Data))
            && self.message == Some(Kind::Binary)
            && bytes < self.left;
        // A microcontroller does without, for the sake of its flash.
        if !in_the_middle || cfg!(target_pointer_width = "32") {
            return None;
        }
        if bytes == 0 {
            return Some(None);
        }
        if self.peer_masks {
            self.mask.apply(input);
        }
        let offset = self.told;
        self.left = self.left.wrapping_sub(bytes);
        self.told = self.told.wrapping_add(bytes);
        self.offset = self.offset.wrapping_add(bytes);
        let bytes: &'i mut [u8] = core::mem::take(input);
        Some(Some(Event::Data(Data { kind: Kind::Binary, offset, bytes, fin: Fin::More })))
    }

    /// As [`Decoder::payload_ahead`].
    pub(crate) const fn payload_ahead(&self) -> u64 {
        match (self.state, self.opcode) {
            (State::Payload, Opcode::Data) => self.left,
            _ => 0,
        }
    }

    /// Whether a Close frame has come.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether the connection was failed.
    pub(crate) const fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// What is to be told, and how many bytes at the start of `input` are used up, not counting the
    /// payload that is to be told.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn advance(&mut self, input: &mut [u8]) -> (usize, Progress) {
        let mut used = 0;
        loop {
            let Some(rest) = input.get_mut(used..) else { return (used, Progress::Hungry) };
            match self.state {
                State::Payload => match self.opcode {
                    Opcode::Data => {
                        if let Some(progress) = self.data(rest) {
                            return (used, progress);
                        }
                    }
                    _ => {
                        let (taken, progress) = self.control(rest);
                        return (used.saturating_add(taken), progress);
                    }
                },
                State::Failed => return (used, Progress::Failed),
                State::Closed => return (input.len(), Progress::Hungry),
                _ if rest.is_empty() => return (used, Progress::Hungry),
                _ => used = used.saturating_add(self.head(rest)),
            }
        }
    }

    /// What [`advance`](Self::advance) came to, with the payload that it found.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn told<'a>(
        &'a self,
        progress: Progress,
        bytes: &'a [u8],
    ) -> Result<Option<Event<'a>>, DecodeError> {
        let control = self.control.get();
        Ok(Some(match progress {
            Progress::Hungry => return Ok(None),
            Progress::Failed => return Err(self.failure),
            Progress::Data { kind, offset, fin, .. } => {
                Event::Data(Data { kind, offset, bytes, fin })
            }
            Progress::Ping => Event::Ping(control),
            Progress::Pong => Event::Pong(control),
            // It has been looked at before.
            Progress::Close => Event::Close(Close::parse(control).unwrap_or_default()),
        }))
    }

    // --- Heads ---

    /// Reads a head as far as it has come, and returns how many bytes of it there were. It is read
    /// byte by byte, so that a mistake is found at the same byte however the input is cut.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn head(&mut self, input: &[u8]) -> usize {
        let mut used = 0_usize;
        for &byte in input {
            self.state = match self.state {
                State::First => self.first(byte),
                State::Second => self.second(byte),
                State::Length { of, left } => self.length(of, left, byte),
                State::Key { key: [_, b, c, d], left } => self.key([b, c, d, byte], left),
                State::Payload | State::Closed | State::Failed => break,
            };
            if self.has_failed() {
                break;
            }
            self.offset = self.offset.wrapping_add(1);
            used = used.saturating_add(1);
        }
        used
    }

    fn first(&mut self, byte: u8) -> State {
        if byte & 0x70 != 0 {
            return self.fail(DecodeErrorKind::ReservedBits);
        }
        self.fin = if byte & 0x80 != 0 { Fin::Last } else { Fin::More };
        let (opcode, begins) = match byte & 0x0F {
            0 => (Opcode::Data, None),
            1 => (Opcode::Data, Some(Kind::Text)),
            2 => (Opcode::Data, Some(Kind::Binary)),
            8 => (Opcode::Close, None),
            9 => (Opcode::Ping, None),
            10 => (Opcode::Pong, None),
            opcode => return self.fail(DecodeErrorKind::ReservedOpcode { opcode }),
        };
        self.opcode = opcode;
        if opcode != Opcode::Data {
            return match self.fin {
                Fin::Last => State::Second,
                Fin::More => self.fail(DecodeErrorKind::ControlFragmented),
            };
        }
        match (self.message, begins) {
            (Some(_), None) => {}
            (None, Some(_)) => {
                self.message = begins;
                self.told = 0;
            }
            (None, None) => return self.fail(DecodeErrorKind::NothingToContinue),
            (Some(_), Some(_)) => return self.fail(DecodeErrorKind::MessageUnfinished),
        }
        State::Second
    }

    fn second(&mut self, byte: u8) -> State {
        match (byte & 0x80 != 0, self.peer_masks) {
            (true, false) => return self.fail(DecodeErrorKind::Masked),
            (false, true) => return self.fail(DecodeErrorKind::NotMasked),
            _ => {}
        }
        let length = byte & 0x7F;
        if length > CONTROL_MAX && self.opcode != Opcode::Data {
            return self.fail(DecodeErrorKind::ControlTooLong);
        }
        self.left = 0;
        match length {
            126 => State::Length { of: 2, left: 2 },
            127 => State::Length { of: 8, left: 8 },
            _ => {
                self.left = u64::from(length);
                self.declared()
            }
        }
    }

    fn length(&mut self, of: u8, left: u8, byte: u8) -> State {
        self.left = self.left << 8 | u64::from(byte);
        let left = left.saturating_sub(1);
        if left > 0 {
            return State::Length { of, left };
        }
        // The longest that the next shorter form can hold.
        let shorter = if of == 2 { u64::from(CONTROL_MAX) } else { u64::from(u16::MAX) };
        if self.left > i64::MAX as u64 {
            return self.fail(DecodeErrorKind::LengthTopBit);
        }
        if self.left <= shorter {
            return self.fail(DecodeErrorKind::LengthNotShortest);
        }
        self.declared()
    }

    /// The length is known.
    fn declared(&mut self) -> State {
        if self.opcode == Opcode::Data {
            let declared = self.told.saturating_add(self.left);
            let limit = self.limits.message_bytes;
            if declared > limit {
                return self.fail(DecodeErrorKind::MessageTooBig { declared, limit });
            }
        } else {
            self.control.clear();
        }
        if self.peer_masks { State::Key { key: [0; 4], left: 4 } } else { State::Payload }
    }

    fn key(&mut self, key: [u8; 4], left: u8) -> State {
        let left = left.saturating_sub(1);
        if left > 0 {
            return State::Key { key, left };
        }
        self.mask = Mask::new(key);
        State::Payload
    }

    #[cold]
    fn fail(&mut self, kind: DecodeErrorKind) -> State {
        self.failure = DecodeError { kind, offset: self.offset };
        self.state = State::Failed;
        State::Failed
    }

    // --- Payload ---

    /// Takes the mask off what of `input` is payload of the frame under way, and counts it.
    #[inline]
    fn unmasked<'i>(&mut self, input: &'i mut [u8]) -> &'i [u8] {
        let bytes = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let Some(payload) = input.get_mut(..bytes) else { return &[] };
        if self.peer_masks {
            self.mask.apply(payload);
        }
        self.left = self.left.wrapping_sub(bytes as u64);
        payload
    }

    /// Nothing is to be told if the frame has ended, but not the message, and nothing came.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn data(&mut self, input: &mut [u8]) -> Option<Progress> {
        let Some(kind) = self.message else {
            self.state = State::First;
            return None;
        };
        let payload = self.unmasked(input);
        let (mut bytes, mut fin) = (payload.len(), Fin::More);
        let impossible = match kind {
            Kind::Text => self.utf8.push(payload).err(),
            Kind::Binary => None,
        };
        if let Some(right) = impossible {
            bytes = right;
        }
        self.offset = self.offset.wrapping_add(bytes as u64);
        if impossible.is_some() {
            self.fail(DecodeErrorKind::InvalidUtf8);
        } else if self.left == 0 {
            self.state = State::First;
            if self.fin == Fin::Last && kind == Kind::Text && !self.utf8.is_complete() {
                self.fail(DecodeErrorKind::InvalidUtf8);
            } else if self.fin == Fin::Last {
                self.message = None;
                fin = Fin::Last;
            }
        }
        let offset = self.told;
        self.told = offset.wrapping_add(bytes as u64);
        if bytes > 0 || fin == Fin::Last {
            return Some(Progress::Data { kind, offset, bytes, fin });
        }
        match self.state {
            State::Payload => Some(Progress::Hungry),
            _ => None,
        }
    }

    /// How many bytes of `input` belong to the control frame under way, and what comes of it.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn control(&mut self, input: &mut [u8]) -> (usize, Progress) {
        let payload = self.unmasked(input);
        let bytes = payload.len();
        self.control.push(payload);
        self.offset = self.offset.wrapping_add(bytes as u64);
        if self.left > 0 {
            return (bytes, Progress::Hungry);
        }
        self.state = State::First;
        let progress = match self.opcode {
            Opcode::Ping => Progress::Ping,
            Opcode::Close => {
                self.state = State::Closed;
                match Close::parse(self.control.get()) {
                    Ok(_) => Progress::Close,
                    Err(kind) => {
                        self.fail(kind);
                        Progress::Failed
                    }
                }
            }
            Opcode::Pong | Opcode::Data => Progress::Pong,
        };
        (bytes, progress)
    }
}

/// Takes so many bytes off the front.
#[inline]
pub(crate) fn take<'i>(input: &mut &'i mut [u8], bytes: usize) -> &'i [u8] {
    let all = core::mem::take(input);
    let bytes = bytes.min(all.len());
    let Some((taken, rest)) = all.split_at_mut_checked(bytes) else { return &[] };
    *input = rest;
    taken
}

/// Most bytes of a control frame's payload.
pub(crate) const CONTROL_MAX: u8 = 125;

/// The payload of a control frame, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlPayload {
    bytes: [u8; CONTROL_MAX as usize],
    len: u8,
}

impl ControlPayload {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CONTROL_MAX as usize], len: 0 }
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes no more than there is room for.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(usize::from(self.len)..).unwrap_or_default();
        let fits = room.len().min(bytes.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..fits), bytes.get(..fits)) {
            room.copy_from_slice(bytes);
            self.len = self.len.saturating_add(fits as u8);
        }
    }

    pub(crate) fn get(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
