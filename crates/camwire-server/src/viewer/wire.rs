//! What differs between outputs that stream.

use camwire_frame::{FrameInfo, Instant};

use crate::sender::Disconnect;

/// The protocol of an output that streams frames: what stands around a frame, what the peer may
/// send, and when a frame may be sent. It does no I/O and has no clock.
///
/// [`stream`](crate::stream) drives it: it waits for frames, paces them, counts missed ones, sends
/// the parts, reads what the peer sends, and ends a connection whose deadlines have passed. The
/// transport is a pair of halves of `embedded-io-async`. One write is made for each part where the
/// transport can ([`WriteVectored`](crate::WriteVectored)), so over UDP each part can be a datagram:
/// such a transport never stalls, and the wire itself ends a stream whose peer is silent, by
/// [`poll_timeout`](Self::poll_timeout) and [`handle_timeout`](Self::handle_timeout).
///
/// An output that only puts something around each frame implements [`part`](Self::part) alone:
///
/// ```
/// use camwire_server::{OutgoingFrame, Part, Wire, WireError};
///
/// /// Each frame after its length, in four bytes.
/// struct LengthPrefixed;
///
/// impl Wire for LengthPrefixed {
///     const MEMORY: usize = 4;
///
///     fn part<'m>(
///         &mut self,
///         _frame: &OutgoingFrame,
///         bytes: &[u8],
///         _at: usize,
///         memory: &'m mut [u8],
///     ) -> Result<Part<'m>, WireError> {
///         let head = memory.first_chunk_mut().ok_or(WireError::Closed)?;
///         *head = (bytes.len() as u32).to_be_bytes();
///         Ok(Part { head, ..Part::rest(bytes, 0) })
///     }
/// }
/// ```
pub trait Wire {
    /// Bytes of memory that it needs at least, for what it writes around a frame. They hold nothing
    /// from one call to the next.
    const MEMORY: usize;

    /// Whether a frame is sent again when no other comes within
    /// [`Config::repeat_after`](crate::Config::repeat_after). By default it is not.
    ///
    /// That is for protocols in which a frame is complete only when the next one begins. For others,
    /// a peer that is gone must be found in another way.
    fn repeats(&self) -> bool {
        false
    }

    /// Whether the peer wants frames at all; by default it does. While it does not, there is no
    /// demand from it, so the camera may rest.
    fn wants_frames(&self) -> bool {
        true
    }

    /// Whether another frame may be sent now; by default always. While it may not, frames are
    /// skipped, or with [`Mode::All`](crate::Mode::All) kept as long as the ring keeps them.
    fn may_send(&self) -> bool {
        true
    }

    /// The part of the frame that begins at byte `at` of its `bytes`; the first one at 0. Parts are
    /// asked for until they have covered the frame.
    ///
    /// # Errors
    ///
    /// A [`WireError`] if no frame can be sent any more. The connection ends.
    fn part<'m>(
        &mut self,
        frame: &OutgoingFrame,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Result<Part<'m>, WireError>;

    /// Takes bytes that came from the peer, which it may change. It is also called while a part is
    /// being sent. By default they are ignored.
    fn handle_input(&mut self, input: &mut [u8], now: Instant) {
        let _ = (input, now);
    }

    /// What is to be sent besides frames: an answer, or a sign of life. It is called before each
    /// wait until it returns `None`, which is the default.
    fn poll_transmit<'m>(&mut self, memory: &'m mut [u8]) -> Option<&'m [u8]> {
        let _ = memory;
        None
    }

    /// Whether the stream goes on after what [`poll_transmit`](Self::poll_transmit) gave was sent.
    ///
    /// # Errors
    ///
    /// Why it does not.
    fn check(&self) -> Result<(), WireError> {
        Ok(())
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next. The call may be late by
    /// [`Config::repeat_after`](crate::Config::repeat_after). By default there is nothing to do.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due at `now`. It may be called early.
    ///
    /// # Errors
    ///
    /// Why the stream ends, for instance because the peer was silent for too long.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), WireError> {
        let _ = now;
        Ok(())
    }

    /// What ends a stream whose source has ended; by default nothing.
    fn close<'m>(&mut self, memory: &'m mut [u8]) -> &'m [u8] {
        let _ = memory;
        &[]
    }

    /// After [`close`](Self::close), whether the peer has still to answer it. It has a second for
    /// that. By default it need not.
    fn awaits_close(&self) -> bool {
        false
    }
}

/// What is known of a frame that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutgoingFrame {
    /// The ring's number of the frame. A frame that is sent again keeps it.
    pub sequence: u64,
    /// How many frames this viewer missed just before this one.
    pub missed: u64,
    /// When the frame was captured, in microseconds since the start of `time_base`.
    pub timestamp_us: u64,
    /// Since when `timestamp_us` counts.
    pub time_base: TimeBase,
    /// When sending began.
    pub sent_at: Instant,
    /// What its source says of it.
    pub info: FrameInfo,
}

/// Since when a timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeBase {
    /// Since the platform's start.
    Boot,
    /// Since 1970: Unix time.
    Unix,
}

/// A part of a frame, with what stands around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part<'m> {
    /// What is sent before the frame's bytes.
    pub head: &'m [u8],
    /// How many bytes of the frame are sent as they are, from where the part begins. They are not
    /// copied.
    pub frame: usize,
    /// What is sent after the frame's bytes.
    pub tail: &'m [u8],
    /// How many bytes of the frame the part covers: `frame`, or more where `head` has some of them in
    /// another form, such as masked. At least one, unless the frame has no more.
    pub covered: usize,
}

impl Part<'_> {
    /// All that is left of a frame, with nothing around it.
    #[must_use]
    pub const fn rest(bytes: &[u8], at: usize) -> Self {
        let frame = bytes.len().saturating_sub(at);
        Self { head: &[], frame, tail: &[], covered: frame }
    }
}

/// Why a [`Wire`] ends its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The peer has ended the stream.
    #[error("closed by the peer")]
    Closed,
    /// The peer broke the rules of the protocol.
    #[error("the peer broke the protocol")]
    Protocol,
    /// The peer held the stream up for too long.
    #[error("stalled")]
    Stalled,
    /// The peer gave no sign of life for too long.
    #[error("no sign of life")]
    Silent,
}

impl WireError {
    pub(crate) const fn disconnect<E>(self) -> Disconnect<E> {
        match self {
            Self::Closed => Disconnect::Closed,
            Self::Protocol => Disconnect::Protocol,
            Self::Stalled => Disconnect::Stalled,
            Self::Silent => Disconnect::Silent,
        }
    }
}

/// Puts `pieces` into the start of `memory`, one after another; empty if they do not fit.
pub(crate) fn write<'m>(memory: &'m mut [u8], pieces: &[&[u8]]) -> &'m [u8] {
    let len = pieces.iter().map(|piece| piece.len()).sum();
    let Some(room) = memory.get_mut(..len) else { return &[] };
    room.iter_mut().zip(pieces.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    room
}
