//! JPEG structure (ITU-T T.81, Annex B) without decoding: where a picture ends, and how large
//! it is.
//!
//! - [`inspect`] looks at a whole picture in memory and trims what follows it.
//! - [`Scanner`] does the same for a picture that arrives in pieces.
//! - [`Splitter`] takes a stream of pictures one after another apart.
//!
//! All three are the same state machine, so they agree on every input. It walks from marker to
//! marker: segments are skipped by their length (a thumbnail in an APPn segment is never
//! entered), entropy-coded data is searched for the next real marker past stuffed bytes and
//! restart markers, until the EOI. It keeps a few bytes of state, allocates nothing, and no
//! input makes it panic.
//!
//! What it takes on trust: it does not decode, so a picture whose structure is whole may still
//! hold damaged data. Bytes between two segments that are no marker are passed over, as libjpeg
//! does. The size is that of the first SOF; hierarchical files, where it may differ from the
//! whole picture's, are not in use.

use memchr::memchr;

/// The bytes every picture begins with: the SOI marker.
const SOI: [u8; 2] = [0xFF, marker::SOI];

/// The second bytes of the markers that matter here (T.81, table B.1).
mod marker {
    pub(super) const TEM: u8 = 0x01;
    pub(super) const SOF0: u8 = 0xC0;
    pub(super) const DHT: u8 = 0xC4;
    pub(super) const JPG: u8 = 0xC8;
    pub(super) const DAC: u8 = 0xCC;
    pub(super) const SOF15: u8 = 0xCF;
    pub(super) const RST0: u8 = 0xD0;
    pub(super) const RST7: u8 = 0xD7;
    pub(super) const SOI: u8 = 0xD8;
    pub(super) const EOI: u8 = 0xD9;
    pub(super) const SOS: u8 = 0xDA;
}

/// What is known of a picture whose structure is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels, from the SOF (T.81, B.2.2); never zero.
    pub width: u16,
    /// Height in pixels, likewise.
    pub height: u16,
    /// Bytes from the first of the SOI to the last of the EOI. What a sensor or a file put after
    /// it does not belong to the picture.
    pub len: usize,
}

/// Why bytes are no whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// They do not begin with an SOI that a marker follows (T.81, B.2.1).
    #[error("not a JPEG picture")]
    NotJpeg,
    /// They end, or the next picture begins, before the EOI.
    #[error("the picture is cut off")]
    Truncated {
        /// Width and height in pixels, if the SOF had arrived.
        size: Option<(u16, u16)>,
    },
    /// A scan or the EOI comes before any SOF, so there is no size and nothing to see: for
    /// instance a file of tables only (T.81, B.5).
    #[error("the picture has no frame header")]
    NoFrameHeader,
    /// The EOI comes before any scan.
    #[error("the picture has no scan")]
    NoScan,
    /// The SOF gives a width or height of zero. For the height that is legal: a DNL segment
    /// after the first scan may give it later (T.81, B.2.5). No camera does so and common
    /// decoders refuse it; so does this one.
    #[error("the picture's width or height is zero")]
    ZeroSize {
        /// As the SOF says.
        width: u16,
        /// As the SOF says.
        height: u16,
    },
    /// A marker that T.81 reserves (FF02 to FFBF): damaged data, or not JPEG.
    #[error("reserved marker {marker:#04x} at byte {at}")]
    ReservedMarker {
        /// The marker's second byte.
        marker: u8,
        /// Where that byte is, counted from the SOI.
        at: usize,
    },
    /// A segment's length is too small for what it must hold: its own two bytes, or 11 bytes
    /// for an SOF (T.81, B.1.1.4 and B.2.2).
    #[error("impossible segment length {length} at byte {at}")]
    BadLength {
        /// The length, as it stands there.
        length: u16,
        /// Where its second byte is, counted from the SOI.
        at: usize,
    },
}

/// Looks at the picture at the start of `bytes`.
///
/// ```
/// # fn main() -> Result<(), camwire_frame::jpeg::JpegError> {
/// use camwire_frame::jpeg;
///
/// // A sensor's buffer: SOI, SOF, scan and EOI, and what was in the memory after them.
/// let slot = b"\xFF\xD8\xFF\xC0\x00\x0B\x08\x00\x78\x00\xA0\x01\x01\x11\x00\
///              \xFF\xDA\x00\x08\x01\x01\x00\x00\x3F\x00\x12\x34\x56\xFF\xD9\xA5\xA5\xA5";
///
/// let picture = jpeg::inspect(slot)?;
/// assert_eq!((picture.width, picture.height, picture.len), (160, 120, slot.len() - 3));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`JpegError`] says. [`JpegError::Truncated`] if there is no EOI.
pub fn inspect(bytes: &[u8]) -> Result<Picture, JpegError> {
    let mut scanner = Scanner::new();
    match scanner.push(bytes)? {
        Some(picture) => Ok(picture),
        None => Err(scanner.cut()),
    }
}

/// Finds the end of one picture that arrives in pieces of any size.
///
/// It sees the bytes and keeps none: collecting them is the caller's work. The result is the
/// same however the bytes are cut.
///
/// ```
/// # fn main() -> Result<(), camwire_frame::jpeg::JpegError> {
/// # use camwire_frame::jpeg::Scanner;
/// # let stream = b"\xFF\xD8\xFF\xC0\x00\x0B\x08\x00\x78\x00\xA0\x01\x01\x11\x00\
/// #     \xFF\xDA\x00\x08\x01\x01\x00\x00\x3F\x00\x12\x34\x56\xFF\xD9\xA5\xA5\xA5";
/// # let len = stream.len() - 3;
/// let mut slot = [0; 8192];
/// let mut filled = 0;
/// let mut scanner = Scanner::new();
/// for piece in stream.chunks(10) {
///     slot[filled..][..piece.len()].copy_from_slice(piece);
///     filled += piece.len();
///     if let Some(picture) = scanner.push(piece)? {
///         // The picture is `slot[..picture.len]`; the rest belongs to what comes next.
///         assert_eq!(picture.len, len);
///         break;
///     }
/// }
/// # assert!(filled >= len);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Scanner {
    state: State,
    /// Bytes accepted so far.
    position: usize,
    /// Width and height, once the SOF was seen.
    size: Option<(u16, u16)>,
    scan_seen: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the first byte of the SOI.
    Start,
    /// Between the two bytes of the SOI.
    HalfSoi,
    /// After the SOI, where a marker must follow.
    AfterSoi,
    /// Where a marker may come: after a segment, and in entropy-coded data.
    Seek,
    /// After FF.
    Marker,
    LengthHigh {
        marker: u8,
    },
    LengthLow {
        marker: u8,
        high: u8,
    },
    /// In a segment, with so many bytes to go.
    Skip(u16),
    /// In an SOF, at byte `index` after its length, with `left` bytes to go.
    Sof {
        index: u8,
        left: u16,
        width: u16,
        height: u16,
    },
}

/// How far [`Scanner::advance`] came.
enum Step {
    More,
    Done(Picture),
    /// The next byte, which was not taken, cannot be.
    Fault(JpegError),
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// Before the first byte of a picture.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Start, position: 0, size: None, scan_seen: false }
    }

    /// Takes the next bytes, and says what the picture is if they hold its end.
    ///
    /// [`Picture::len`] counts from the first byte ever pushed, so bytes past it belong to
    /// whatever follows. After the end and after an error, the scanner is as new.
    ///
    /// # Errors
    ///
    /// As [`JpegError`] says; whatever follows can no longer be told from picture data. To find
    /// the next picture in it, use a [`Splitter`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Picture>, JpegError> {
        match self.advance(bytes).1 {
            Step::More => Ok(None),
            Step::Done(picture) => {
                *self = Self::new();
                Ok(Some(picture))
            }
            Step::Fault(error) => {
                *self = Self::new();
                Err(error)
            }
        }
    }

    /// Width and height in pixels, as soon as the SOF has arrived.
    #[must_use]
    pub const fn size(&self) -> Option<(u16, u16)> {
        self.size
    }

    /// There are no more bytes: forgets the picture under way.
    ///
    /// # Errors
    ///
    /// [`JpegError::Truncated`] if there was one, that is, if bytes were pushed since the last
    /// picture ended.
    pub fn finish(&mut self) -> Result<(), JpegError> {
        let result = if self.position == 0 { Ok(()) } else { Err(self.cut()) };
        *self = Self::new();
        result
    }

    /// What is wrong if this was all.
    const fn cut(&self) -> JpegError {
        match self.state {
            State::Start | State::HalfSoi => JpegError::NotJpeg,
            _ => JpegError::Truncated { size: self.size },
        }
    }

    /// Takes bytes up to the end of the picture or the first that cannot be, and says how many.
    fn advance(&mut self, bytes: &[u8]) -> (usize, Step) {
        let mut rest = bytes;
        let step = loop {
            // The two states that can pass over many bytes at once.
            match self.state {
                State::Seek => match memchr(0xFF, rest) {
                    Some(at) => {
                        rest = after(rest, at.saturating_add(1));
                        self.state = State::Marker;
                    }
                    None => rest = &[],
                },
                State::Skip(left) => {
                    let here = u16::try_from(rest.len()).unwrap_or(u16::MAX).min(left);
                    rest = after(rest, usize::from(here));
                    self.state = match left.saturating_sub(here) {
                        0 => State::Seek,
                        left => State::Skip(left),
                    };
                    if !rest.is_empty() {
                        continue;
                    }
                }
                _ => {}
            }
            let Some((&byte, tail)) = rest.split_first() else { break Step::More };
            let at = self.position.saturating_add(bytes.len().saturating_sub(rest.len()));
            match self.accept(byte, at) {
                Ok(None) => rest = tail,
                Ok(Some(picture)) => {
                    rest = tail;
                    break Step::Done(picture);
                }
                Err(error) => break Step::Fault(error),
            }
        };
        let taken = bytes.len().saturating_sub(rest.len());
        self.position = self.position.saturating_add(taken);
        (taken, step)
    }

    /// Takes one byte, the one at `at`, in any state but `Seek` and `Skip`.
    fn accept(&mut self, byte: u8, at: usize) -> Result<Option<Picture>, JpegError> {
        self.state = match (self.state, byte) {
            (State::Start, 0xFF) => State::HalfSoi,
            (State::HalfSoi, marker::SOI) => State::AfterSoi,
            (State::AfterSoi, 0xFF) => State::Marker,
            (State::Start | State::HalfSoi | State::AfterSoi, _) => return Err(JpegError::NotJpeg),

            // Fill bytes (B.1.1.2).
            (State::Marker, 0xFF) => State::Marker,
            // A stuffed byte (F.1.2.3), a restart in entropy-coded data, a marker without
            // a segment (B.1.1.3).
            (State::Marker, 0x00 | marker::TEM | marker::RST0..=marker::RST7) => State::Seek,
            (State::Marker, marker::SOI) => return Err(JpegError::Truncated { size: self.size }),
            (State::Marker, marker::EOI) => {
                let Some((width, height)) = self.size else { return Err(JpegError::NoFrameHeader) };
                if !self.scan_seen {
                    return Err(JpegError::NoScan);
                }
                return Ok(Some(Picture { width, height, len: at.saturating_add(1) }));
            }
            (State::Marker, 0x02..=0xBF) => {
                return Err(JpegError::ReservedMarker { marker: byte, at });
            }
            (State::Marker, marker) => {
                if marker == marker::SOS {
                    if self.size.is_none() {
                        return Err(JpegError::NoFrameHeader);
                    }
                    self.scan_seen = true;
                }
                State::LengthHigh { marker }
            }

            (State::LengthHigh { marker }, high) => State::LengthLow { marker, high },
            (State::LengthLow { marker, high }, low) => {
                let length = u16::from_be_bytes([high, low]);
                // The length counts itself.
                let Some(left) = length.checked_sub(2) else {
                    return Err(JpegError::BadLength { length, at });
                };
                if !is_sof(marker) || self.size.is_some() {
                    State::Skip(left)
                } else if length < 11 {
                    return Err(JpegError::BadLength { length, at });
                } else {
                    State::Sof { index: 0, left, width: 0, height: 0 }
                }
            }

            (State::Sof { index, left, mut width, mut height }, byte) => {
                match index {
                    1 | 2 => height = height << 8 | u16::from(byte),
                    3 | 4 => width = width << 8 | u16::from(byte),
                    _ => {} // Bits per sample.
                }
                let left = left.saturating_sub(1);
                if index < 4 {
                    State::Sof { index: index.saturating_add(1), left, width, height }
                } else if width == 0 || height == 0 {
                    return Err(JpegError::ZeroSize { width, height });
                } else {
                    self.size = Some((width, height));
                    State::Skip(left)
                }
            }

            // `advance` leaves neither while there are bytes.
            (state @ (State::Seek | State::Skip(_)), _) => state,
        };
        Ok(None)
    }
}

/// SOF0 to SOF15, without the three other markers among them (T.81, table B.1).
const fn is_sof(marker: u8) -> bool {
    matches!(marker, marker::SOF0..=marker::SOF15)
        && !matches!(marker, marker::DHT | marker::JPG | marker::DAC)
}

/// `bytes` from `at` on.
fn after(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// A piece of a stream of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The next bytes of a picture; never empty. The first after [`End`](Self::End),
    /// [`Broken`](Self::Broken) or the start of the stream begins a new one, with its SOI.
    Data(&'a [u8]),
    /// The picture is whole: [`Picture::len`] bytes of data since it began.
    End(Picture),
    /// The picture under way is broken off; its data is worth nothing.
    Broken(JpegError),
}

/// Takes a stream of JPEG pictures apart: files of pictures one after another, multipart streams
/// without lengths.
///
/// Between pictures it looks for an SOI and the marker that must follow it (FF D8 FF), and passes
/// over everything else without a word. A picture that breaks off where the next begins costs
/// only itself. Pieces are slices of the input (or, where an SOI was cut in two, of a constant);
/// joined together they are the same however the input is cut.
///
/// It has no limit of its own, since it keeps nothing: how long a picture may be is decided by
/// whoever collects the data.
///
/// ```
/// use camwire_frame::jpeg::{Piece, Splitter};
///
/// # let jpeg = b"\xFF\xD8\xFF\xC0\0\x0B\x08\0\x10\0\x20\x01\x01\x11\0\xFF\xDA\0\x02!\xFF\xD9";
/// let stream = [b"garbage", &jpeg[..], &[0; 100], &jpeg[..]].concat();
/// let mut splitter = Splitter::new();
/// let (mut picture, mut count) = (Vec::new(), 0);
/// for mut input in stream.chunks(10) {
///     while let Some(piece) = splitter.next(&mut input) {
///         match piece {
///             Piece::Data(data) => picture.extend_from_slice(data),
///             Piece::End(_) => {
///                 assert_eq!(picture, jpeg);
///                 count += 1;
///                 picture.clear();
///             }
///             Piece::Broken(_) => picture.clear(),
///         }
///     }
/// }
/// assert_eq!(count, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Splitter {
    state: Split,
    scanner: Scanner,
}

#[derive(Clone, Copy, Debug)]
enum Split {
    /// Between pictures, with so many bytes of an SOI seen: 0, 1 or 2.
    Hunt(u8),
    /// In a picture.
    Inside,
    /// After a picture whose end is still to be told, with so many bytes of an SOI seen.
    Ended(Result<Picture, JpegError>, u8),
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// At the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: Split::Hunt(0), scanner: Scanner::new() }
    }

    /// The next piece in `input`, from which it is taken off; `None` when all of it is used up
    /// and more is needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            match self.state {
                Split::Hunt(0) => {
                    let Some(at) = memchr(0xFF, input) else {
                        *input = &[];
                        return None;
                    };
                    *input = after(input, at);
                    self.state = if input.starts_with(&[0xFF, marker::SOI, 0xFF]) {
                        Split::Inside
                    } else {
                        *input = after(input, 1);
                        Split::Hunt(1)
                    };
                }
                Split::Hunt(1) => {
                    let (&byte, tail) = input.split_first()?;
                    *input = tail;
                    self.state = match byte {
                        0xFF => Split::Hunt(1),
                        marker::SOI => Split::Hunt(2),
                        _ => Split::Hunt(0),
                    };
                }
                Split::Hunt(_) => {
                    if *input.first()? == 0xFF {
                        self.state = Split::Inside;
                        self.scanner.advance(&SOI);
                        return Some(Piece::Data(&SOI));
                    }
                    self.state = Split::Hunt(0);
                }
                Split::Inside => {
                    let (taken, step) = self.scanner.advance(input);
                    let data = input.get(..taken).unwrap_or_default();
                    *input = after(input, taken);
                    match step {
                        Step::More => {}
                        Step::Done(picture) => self.end(Ok(picture), 0),
                        Step::Fault(error) => {
                            // The byte at fault is passed over, unless it is of the SOI that
                            // cuts this picture off: that one begins the next.
                            *input = after(input, 1);
                            let cut = matches!(error, JpegError::Truncated { .. });
                            self.end(Err(error), if cut { 2 } else { 0 });
                        }
                    }
                    if !data.is_empty() {
                        return Some(Piece::Data(data));
                    }
                    if matches!(self.state, Split::Inside) {
                        return None;
                    }
                }
                Split::Ended(result, seen) => {
                    self.state = Split::Hunt(seen);
                    return Some(match result {
                        Ok(picture) => Piece::End(picture),
                        Err(error) => Piece::Broken(error),
                    });
                }
            }
        }
    }

    /// Width and height in pixels of the picture under way, as soon as its SOF has arrived.
    #[must_use]
    pub const fn size(&self) -> Option<(u16, u16)> {
        self.scanner.size()
    }

    /// The stream has ended: forgets the picture under way. To be called when
    /// [`next`](Self::next) has returned `None`.
    ///
    /// # Errors
    ///
    /// [`JpegError::Truncated`] if a picture was under way; its data is worth nothing.
    pub fn finish(&mut self) -> Result<(), JpegError> {
        self.state = Split::Hunt(0);
        self.scanner.finish()
    }

    fn end(&mut self, result: Result<Picture, JpegError>, seen: u8) {
        self.state = Split::Ended(result, seen);
        self.scanner = Scanner::new();
    }
}
