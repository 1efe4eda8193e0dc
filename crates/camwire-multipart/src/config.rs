/// How a [`Decoder`](crate::Decoder) reads: what it tolerates, and what it refuses as too much.
///
/// The default is for relaying cameras as they are; [`strict`](Self::strict) is RFC 2046.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Deviations from RFC 2046 that are understood.
    pub quirks: Quirks,
    /// What is too much.
    pub limits: Limits,
}

impl Config {
    /// No quirk is tolerated; the limits are the usual ones.
    #[must_use]
    pub const fn strict() -> Self {
        Self { quirks: Quirks::NONE, limits: Limits::DEFAULT }
    }
}

/// Deviations from RFC 2046 (and, for heads, RFC 5322) that are found in the wild, each
/// understood if its flag is set. What each one means is in the table in the crate's
/// documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// A line may end in LF alone. One before a delimiter belongs to the delimiter then.
    pub lf_line_ends: bool,
    /// The first delimiter may be missing, if the body begins with a field whose name begins
    /// with `Content-`, or with a JPEG picture.
    pub missing_first_delimiter: bool,
    /// `boundary=--x` may mean the delimiter `--x`, not only `----x`. Which of the two is
    /// decided by the first delimiter in the body.
    pub dashed_boundary: bool,
    /// The `boundary` parameter may be missing; the boundary is then what the first line that
    /// begins with two dashes says. Of use to [`Decoder::from_content_type`] only.
    ///
    /// [`Decoder::from_content_type`]: crate::Decoder::from_content_type
    pub missing_boundary: bool,
    /// The parameter's value may hold characters that need quotes, without the quotes, and the
    /// boundary any visible ASCII character. Of use to [`Decoder::from_content_type`] only.
    ///
    /// [`Decoder::from_content_type`]: crate::Decoder::from_content_type
    pub loose_boundary: bool,
    /// After a part with a length, the line end before the delimiter may be missing, or there
    /// may be several.
    pub loose_part_end: bool,
    /// There may be blank lines between a delimiter and the head, if the head's first field has a
    /// name that begins with `Content-`.
    pub blank_line_before_head: bool,
    /// The line end between a frame's last bytes, FF D9, and the delimiter may be missing, also where
    /// no length says where the frame ends; and so may the one between the delimiter and the first
    /// field, if that field's name begins with C.
    pub glued_delimiter: bool,
    /// A line of a head that is no field (has no colon, or no name before it) is passed over.
    /// Otherwise its part is dropped.
    pub junk_in_head: bool,
    /// What a `Content-Length` that is not the length of its part does.
    pub wrong_length: WrongLength,
}

/// What to do about the `Content-Length` of a part, given that some are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WrongLength {
    /// The first part whose length is wrong ends the stream with
    /// [`DecodeErrorKind::LengthMismatch`](crate::DecodeErrorKind::LengthMismatch).
    Refuse,
    /// A part whose length is too small goes on to the next delimiter, as browsers have it, and so
    /// does one whose length is no number, or beyond [`Limits::part_bytes`]. Parts whose length is
    /// right cost nothing per byte. A length that is too large takes what follows along, unless the caller notices:
    /// [`Decoder::distrust_length`](crate::Decoder::distrust_length).
    Continue,
    /// No length is believed: each part ends at the next delimiter, so each byte is looked at.
    /// For cameras that are always wrong, and never send their own boundary in a picture.
    Ignore,
}

impl Quirks {
    /// None at all.
    pub const NONE: Self = Self {
        lf_line_ends: false,
        missing_first_delimiter: false,
        dashed_boundary: false,
        missing_boundary: false,
        loose_boundary: false,
        loose_part_end: false,
        blank_line_before_head: false,
        glued_delimiter: false,
        junk_in_head: false,
        wrong_length: WrongLength::Refuse,
    };

    /// All that can be told apart from what is right; [`WrongLength::Continue`].
    pub const CAMERAS: Self = Self {
        lf_line_ends: true,
        missing_first_delimiter: true,
        dashed_boundary: true,
        missing_boundary: true,
        loose_boundary: true,
        loose_part_end: true,
        blank_line_before_head: true,
        glued_delimiter: true,
        junk_in_head: true,
        wrong_length: WrongLength::Continue,
    };
}

impl Default for Quirks {
    /// [`Quirks::CAMERAS`].
    fn default() -> Self {
        Self::CAMERAS
    }
}

/// What is too much. A decoder's own memory is fixed and does not depend on these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one head, from the end of the boundary on. Beyond, the part is dropped.
    pub head_bytes: u32,
    /// Fields in one head. Beyond, the part is dropped.
    pub head_fields: u16,
    /// Bytes of one part without its head: arrived ones, and with [`WrongLength::Refuse`] declared
    /// ones, before any is taken. Beyond, the part is dropped.
    pub part_bytes: u32,
    /// Bytes before the first delimiter. Beyond, the stream is given up.
    pub preamble_bytes: u32,
    /// Bytes between a dropped part and the next delimiter. Beyond, the stream is given up.
    pub resync_bytes: u32,
}

impl Limits {
    /// 4 KiB and 64 fields for a head, 8 MiB for a part, 4 KiB before the first delimiter,
    /// 64 MiB to resynchronise.
    pub const DEFAULT: Self = Self {
        head_bytes: 4 << 10,
        head_fields: 64,
        part_bytes: 8 << 20,
        preamble_bytes: 4 << 10,
        resync_bytes: 64 << 20,
    };
}

impl Default for Limits {
    /// [`Limits::DEFAULT`].
    fn default() -> Self {
        Self::DEFAULT
    }
}
