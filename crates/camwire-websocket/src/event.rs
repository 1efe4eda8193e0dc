use crate::{Close, CloseCode};

/// What a [`Decoder`](crate::Decoder) has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next bytes of a message.
    Data(Data<'a>),
    /// A Ping. A Pong with the same payload must be sent; [`Connection`](crate::Connection) has it
    /// ready.
    Ping(&'a [u8]),
    /// A Pong, whether it answers a Ping or not.
    Pong(&'a [u8]),
    /// The peer closes the connection, and may say why. A Close must be sent if none was;
    /// [`Connection`](crate::Connection) has it ready. Nothing more comes.
    Close(Option<Close<'a>>),
}

/// Bytes of a message, and which ones.
///
/// The pieces of a message come in order and without gaps. A message without any bytes is one
/// empty piece. Only where a piece is [`Fin::Last`] is the message whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// What the message is.
    pub kind: Kind,
    /// How many of its bytes came before these.
    pub offset: u64,
    /// The bytes, without a mask. Of a text they are right as far as they go, but a piece may end
    /// within a character.
    pub bytes: &'a [u8],
    /// Whether the message ends with them.
    pub fin: Fin,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// Whether more of a message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fin {
    /// More follows.
    More,
    /// This is the end of it.
    Last,
}

/// Why a connection must be failed (RFC 6455, section 7.1.7). From then on the decoder gives the
/// same error forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WebSocket connection failed at byte {offset}: {kind}")]
pub struct DecodeError {
    /// Why.
    pub kind: DecodeErrorKind,
    /// How many bytes of the peer's frames were right.
    pub offset: u64,
}

impl DecodeError {
    /// What the Close frame is to say that should be sent now, before the connection is dropped.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self.kind {
            DecodeErrorKind::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            DecodeErrorKind::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// Which rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// RSV1, RSV2 or RSV3 is set, and no extension gives them a meaning (section 5.2).
    #[error("a reserved bit is set")]
    ReservedBits,
    /// An opcode without a meaning (section 5.2).
    #[error("opcode {opcode} is reserved")]
    ReservedOpcode {
        /// The opcode: 3 to 7, or 11 to 15.
        opcode: u8,
    },
    /// A frame of a client is not masked (section 5.1).
    #[error("a client's frame is not masked")]
    NotMasked,
    /// A frame of a server is masked (section 5.1).
    #[error("a server's frame is masked")]
    Masked,
    /// A length is written longer than needed (section 5.2).
    #[error("a length is not in its shortest form")]
    LengthNotShortest,
    /// The top bit of a length of 64 bits is set (section 5.2).
    #[error("a length has its top bit set")]
    LengthTopBit,
    /// A control frame has more than 125 bytes (section 5.5).
    #[error("a control frame has more than 125 bytes")]
    ControlTooLong,
    /// A control frame is fragmented (section 5.5).
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// There is no message that could be continued (section 5.4).
    #[error("a continuation of nothing")]
    NothingToContinue,
    /// A message begins before the one before it has ended (section 5.4).
    #[error("a message begins within another one")]
    MessageUnfinished,
    /// [`Limits::message_bytes`](crate::Limits::message_bytes)
    #[error("a message of {declared} bytes or more, the limit is {limit}")]
    MessageTooBig {
        /// The lengths of its frames up to now.
        declared: u64,
        /// The limit.
        limit: u64,
    },
    /// A text, or the reason of a Close frame, is no UTF-8 (sections 5.5.1 and 8.1).
    #[error("a text is no UTF-8")]
    InvalidUtf8,
    /// A Close frame has one byte, which is half a code (section 5.5.1).
    #[error("a Close frame has half a code")]
    CloseLength,
    /// A Close frame has a code that is never sent (section 7.4).
    #[error("close code {code} must not be sent")]
    CloseCode {
        /// The code.
        code: u16,
    },
}
