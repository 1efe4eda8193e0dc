use crate::{ContentType, PartHead};

/// What a [`Decoder`](crate::Decoder) has found.
///
/// A part is `PartStart`, any number of `Payload`, and `PartEnd`. Only `PartEnd` says that the
/// part was whole. In its place may come `PartDropped`, which may also come between two parts,
/// for one whose head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The head of a part has ended.
    PartStart {
        /// What it says, as far as it is known here.
        head: PartHead,
        /// What it says the part is.
        content_type: ContentType,
    },
    /// The next bytes of the part; never empty.
    Payload(&'a [u8]),
    /// The part is whole.
    PartEnd,
    /// A part was no good: what `Payload` brought of it must be forgotten. The decoder goes on
    /// with the next part.
    PartDropped(Dropped),
    /// The closing delimiter. What comes after it is ignored.
    BodyEnd,
}

/// A part that was given up, while the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("part given up at byte {offset}: {reason}")]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// Where in the body that was found out.
    pub offset: u64,
}

/// Why a part was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DropReason {
    /// [`Limits::head_bytes`](crate::Limits::head_bytes)
    #[error("its head is longer than {limit} bytes")]
    HeadTooLong {
        /// The limit.
        limit: u32,
    },
    /// [`Limits::head_fields`](crate::Limits::head_fields)
    #[error("its head has more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: u16,
    },
    /// A line of the head is no field, and [`Quirks::junk_in_head`](crate::Quirks::junk_in_head)
    /// or [`Quirks::lf_line_ends`](crate::Quirks::lf_line_ends) is not set.
    #[error("a line of its head is malformed")]
    BadHead,
    /// A delimiter came before the head had ended.
    #[error("its head has no end")]
    HeadUnfinished,
    /// The `Content-Length` is no number, or there are two that differ, and
    /// [`WrongLength::Refuse`](crate::WrongLength::Refuse) is set.
    #[error("its Content-Length is no number")]
    BadLength,
    /// [`Limits::part_bytes`](crate::Limits::part_bytes)
    #[error("it has {needed} bytes or more, the limit is {limit}")]
    TooLarge {
        /// The declared length, if it is believed; else one more than the limit.
        needed: u64,
        /// The limit.
        limit: u32,
    },
    /// The input ended inside of it.
    #[error("the stream ended inside of it")]
    Truncated,
}

/// Why a stream was given up. From then on the decoder gives the same error forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("multipart stream given up at byte {offset}: {kind}")]
pub struct DecodeError {
    /// Why.
    pub kind: DecodeErrorKind,
    /// Where in the body.
    pub offset: u64,
}

/// Why a stream was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// [`Limits::preamble_bytes`](crate::Limits::preamble_bytes)
    #[error("no delimiter within {limit} bytes")]
    PreambleTooLong {
        /// The limit.
        limit: u32,
    },
    /// [`Limits::resync_bytes`](crate::Limits::resync_bytes)
    #[error("no delimiter within {limit} bytes of a part that was given up")]
    ResyncTooLong {
        /// The limit.
        limit: u32,
    },
    /// A mistake of the caller: an input was fed before all events of the one before were taken, or
    /// its [rest](crate::Events::rest).
    #[error("the events of an input were not taken to their end")]
    Unfinished,
    /// A part had another length than it declared, and
    /// [`WrongLength::Refuse`](crate::WrongLength::Refuse) is set.
    #[error("a part's Content-Length of {declared} is wrong")]
    LengthMismatch {
        /// The `Content-Length`.
        declared: u64,
    },
}
