use camwire_frame::jpeg::{JpegError, Picture, Scanner};
use camwire_frame::{
    BlockingFrameSource, CaptureError, Clock, Flow, FrameInfo, FrameSource, Instant, RepeatFilter,
    Upstream,
};

use crate::{ContentType, DecodeError, Decoder, DropReason, Event, PartHead};

/// An MJPEG stream on a reader, as a source of pictures.
///
/// `R` reads the body of the response; who connects, sends the request and reads the response's
/// head gives its `Content-Type` to [`Decoder::from_content_type`]. With an
/// [`embedded_io_async::Read`] this is a [`FrameSource`], with an [`embedded_io::Read`] a
/// [`BlockingFrameSource`].
///
/// - A picture is returned with the last byte of its EOI, and does not wait for the delimiter,
///   which many servers send with the next picture only.
/// - Where a `Content-Length` is given, what is not read together with the head goes from the
///   reader straight into the slot. `N` is the size of the buffer for everything else.
/// - What comes before the SOI, up to 1 KiB, and after the EOI within the part is cut off. If more
///   bytes were declared than the frame has, or it is damaged, the part ends at the next delimiter,
///   whatever its length says. So a length that is too large costs no other frame, unless it is too
///   large by more than `N`.
/// - Once a length was wrong, all parts are searched for delimiters, until 16 in a row were right.
///   This takes time for each byte, and works whatever the lengths say.
/// - A frame that lacks nothing but its EOI gets one ([`MissingEoi`]). A frame that ends before its
///   length, which is usually right, was cut. It is [`CaptureError::Broken`], as is any part that is
///   no whole frame, and the next capture goes on behind it. A part of another content type is
///   passed over. [`counts`](Self::counts) reports how often what happened.
/// - A frame that the server sends again is [`CaptureError::Repeat`]: its `X-Frame`, its
///   `X-Timestamp` and its bytes are those of the frame before, as [`RepeatFilter`] has it. Of a
///   server that sends neither field, every frame is new.
/// - [`CaptureError::TooLarge`] names the frame's length, as it has come; into no memory at all, the
///   declared one.
/// - `captured_at` is when the read that completed the part's head returned.
/// - At the end of the body or of the stream the error is [`CaptureError::Ended`], forever. To
///   connect again is the caller's work: make a new source, and hand it the
///   [`repeat_filter`](Self::repeat_filter) of the old one.
/// - It is a [`Flow::Stream`] until the body or the stream has ended, or reading has failed.
///
/// # Pause and resume
///
/// What is queued in the network cannot be flushed: disconnect for a long pause. After a pause, the
/// last frame counts as new if the server sends it again, since those who come then have not had it.
///
/// # Cancel safety
///
/// If [`capture`](FrameSource::capture) is dropped, the picture under way is lost and the next
/// capture returns the one after it, provided that the reader's `read` loses no bytes when
/// dropped. If it does lose some, the decoder finds the next delimiter as after any other damage.
#[derive(Debug)]
pub struct MultipartSource<R, C, const N: usize = 1024> {
    reader: R,
    clock: C,
    intake: Intake<N>,
}

/// What became of the parts that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Frames returned.
    pub pictures: u64,
    /// Parts that were no whole picture, or given up by the decoder.
    pub broken: u64,
    /// Pictures larger than the slot, or than [`Limits::part_bytes`](crate::Limits::part_bytes).
    pub too_large: u64,
    /// Parts that are no JPEG pictures and do not say that they are.
    pub not_jpeg: u64,
    /// Parts whose `Content-Length` was wrong, whether the frame could be saved or not.
    pub wrong_length: u64,
    /// Frames that lacked their EOI and were returned with one.
    pub no_eoi: u64,
    /// Frames that the server sent again.
    pub repeats: u64,
}

/// Why a stream brings no more pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError<E> {
    /// The reader failed. It may be asked again.
    #[error("{0}")]
    Read(E),
    /// It is no multipart stream any more. The same error comes forever.
    #[error(transparent)]
    Decode(DecodeError),
}

/// What to do with a frame that is whole but for the EOI at its end.
///
/// A frame that ends before its `Content-Length` is reached was cut, and is always
/// [`CaptureError::Broken`], unless the server's lengths are known to be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingEoi {
    /// It is [`CaptureError::Broken`].
    Broken,
    /// It gets one, if the slot has room, and is [counted](SourceCounts::no_eoi). Browsers draw
    /// such frames.
    #[default]
    Append,
}

impl<R, C, const N: usize> MultipartSource<R, C, N> {
    /// A source of the pictures that `decoder` finds in what `reader` reads.
    #[must_use]
    pub const fn new(reader: R, decoder: Decoder, clock: C) -> Self {
        const { assert!(N > 0, "a buffer is needed") };
        let intake = Intake {
            decoder,
            buffer: [0; N],
            start: 0,
            end: 0,
            arrived: Instant::ZERO,
            ended: false,
            failed: false,
            part: Part::NONE,
            lengths: Lengths::Unknown(0),
            phase: Phase::Between,
            counts: SourceCounts {
                pictures: 0,
                broken: 0,
                too_large: 0,
                not_jpeg: 0,
                wrong_length: 0,
                no_eoi: 0,
                repeats: 0,
            },
            missing_eoi: MissingEoi::Append,
            repeat_filter: RepeatFilter::new(),
        };
        Self { reader, clock, intake }
    }

    /// What to do with a frame without EOI. The default is [`MissingEoi::Append`].
    #[must_use]
    pub const fn missing_eoi(mut self, missing_eoi: MissingEoi) -> Self {
        self.intake.missing_eoi = missing_eoi;
        self
    }

    /// Goes on after a connection that was lost: the frame that was its last is not new. By
    /// default every first frame is.
    #[must_use]
    pub const fn with_repeat_filter(mut self, filter: RepeatFilter) -> Self {
        self.intake.repeat_filter = filter;
        self
    }

    /// What is known of the last frame, for the next connection.
    #[must_use]
    pub const fn repeat_filter(&self) -> RepeatFilter {
        self.intake.repeat_filter
    }

    /// What became of the parts up to now.
    #[must_use]
    pub const fn counts(&self) -> SourceCounts {
        self.intake.counts
    }

    /// The reader.
    #[must_use]
    pub const fn reader(&self) -> &R {
        &self.reader
    }

    /// Gives the reader back. What had been read ahead is lost.
    #[must_use]
    pub fn into_reader(self) -> R {
        self.reader
    }
}

impl<R: embedded_io_async::Read, C: Clock, const N: usize> FrameSource
    for MultipartSource<R, C, N>
{
    type Error = SourceError<R::Error>;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>> {
        self.intake.begin();
        loop {
            if let Some(result) = self.intake.decode(buf) {
                return result.map_err(with_read_error);
            }
            let read = self.reader.read(self.intake.room(buf)).await;
            let read = read.map_err(|error| self.intake.read_failed(error))?;
            if let Some(result) = self.intake.filled(buf, read, self.clock.now()) {
                return result.map_err(with_read_error);
            }
        }
    }

    fn flow(&self) -> Flow {
        self.intake.flow()
    }

    async fn pause(&mut self) {
        self.intake.repeat_filter = RepeatFilter::new();
    }
}

impl<R: embedded_io::Read, C: Clock, const N: usize> BlockingFrameSource
    for MultipartSource<R, C, N>
{
    type Error = SourceError<R::Error>;

    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>> {
        self.intake.begin();
        loop {
            if let Some(result) = self.intake.decode(buf) {
                return result.map_err(with_read_error);
            }
            let read = self.reader.read(self.intake.room(buf));
            let read = read.map_err(|error| self.intake.read_failed(error))?;
            if let Some(result) = self.intake.filled(buf, read, self.clock.now()) {
                return result.map_err(with_read_error);
            }
        }
    }

    fn flow(&self) -> Flow {
        self.intake.flow()
    }

    fn pause(&mut self) {
        self.intake.repeat_filter = RepeatFilter::new();
    }
}

type Captured = Result<FrameInfo, CaptureError<DecodeError>>;

fn with_read_error<E>(error: CaptureError<DecodeError>) -> CaptureError<SourceError<E>> {
    match error {
        CaptureError::TooLarge { needed } => CaptureError::TooLarge { needed },
        CaptureError::Repeat => CaptureError::Repeat,
        CaptureError::Ended => CaptureError::Ended,
        CaptureError::Source(error) => CaptureError::Source(SourceError::Decode(error)),
        _ => CaptureError::Broken,
    }
}

/// All of a source but the reading.
#[derive(Debug)]
struct Intake<const N: usize> {
    decoder: Decoder,
    buffer: [u8; N],
    /// What of the buffer is still to be decoded.
    start: usize,
    end: usize,
    /// When it was read.
    arrived: Instant,
    ended: bool,
    /// Nothing more can be read, or decoded.
    failed: bool,
    part: Part,
    lengths: Lengths,
    phase: Phase,
    counts: SourceCounts,
    missing_eoi: MissingEoi,
    repeat_filter: RepeatFilter,
}

/// The part under way.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Its `Content-Length`, if that may be believed.
    declared: Option<u64>,
    /// Bytes of it that have come.
    arrived: u64,
    /// It ends at a delimiter, whatever its length says.
    is_scanned: bool,
    /// The frame in it is whole.
    is_whole: bool,
}

impl Part {
    const NONE: Self = Self { declared: None, arrived: 0, is_scanned: false, is_whole: false };

    /// So many bytes of line ends may stand before a delimiter.
    const LINE_ENDS: u64 = 16;

    fn is_as_declared(&self) -> bool {
        let Some(declared) = self.declared else { return true };
        // Where the length decides, the line ends are not counted.
        let more = if self.is_scanned { Self::LINE_ENDS } else { 0 };
        (declared..=declared.saturating_add(more)).contains(&self.arrived)
    }

    /// It ended before its length was reached, and what has come is no whole frame.
    fn is_cut(&self) -> bool {
        !self.is_whole && self.declared.is_some_and(|declared| self.arrived < declared)
    }
}

/// What is known of the lengths that this server declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// Nothing; so many frames in a row were shorter than declared, and had no EOI.
    Unknown(u8),
    /// They are right. A frame that is shorter was cut.
    Right,
    /// They are wrong, but for the last so many. All parts are searched for delimiters.
    Wrong(u8),
}

impl Lengths {
    /// After so many frames that are shorter than declared and without EOI, of a server of which no
    /// other is known, its lengths are wrong.
    const CUT_TO_BE_WRONG: u8 = 3;

    /// After so many that are right, lengths are believed again.
    const RIGHT_TO_BE_RIGHT: u8 = 16;

    fn learn(&mut self, part: &Part) {
        *self = match *self {
            Self::Unknown(_) if part.is_as_declared() && part.declared.is_some() => Self::Right,
            Self::Wrong(right) if part.is_as_declared() => match right.saturating_add(1) {
                Self::RIGHT_TO_BE_RIGHT.. => Self::Right,
                right => Self::Wrong(right),
            },
            lengths if part.is_as_declared() => lengths,
            Self::Unknown(cut) if part.is_cut() => match cut.saturating_add(1) {
                Self::CUT_TO_BE_WRONG.. => Self::Wrong(0),
                cut => Self::Unknown(cut),
            },
            Self::Right if part.is_cut() => Self::Right,
            _ => Self::Wrong(0),
        };
    }
}

#[derive(Clone, Debug)]
enum Phase {
    /// No part is under way.
    Between,
    /// A frame goes into the slot.
    Taking(Taking),
    /// What comes of this part is of no use.
    Ignoring,
}

#[derive(Clone, Debug)]
struct Taking {
    /// Bytes of the frame that have come. More than the slot has if it is too small.
    filled: usize,
    scanner: Scanner,
    /// What comes before the frame, until it begins.
    lead: Option<Lead>,
    content_type: ContentType,
    captured_at: Instant,
    upstream: Upstream,
}

impl Taking {
    /// The next bytes of the frame, which are in the slot already or find no room there.
    fn store(&mut self, bytes: &[u8], slot: &mut [u8]) {
        let room = slot.get_mut(self.filled..);
        if let Some(room) = room.and_then(|room| room.get_mut(..bytes.len())) {
            room.copy_from_slice(bytes);
        }
        self.filled = self.filled.saturating_add(bytes.len());
    }

    /// Takes payload that is not in the slot yet.
    fn take(&mut self, mut bytes: &[u8], slot: &mut [u8]) -> Result<Option<Picture>, JpegError> {
        if let Some(lead) = &mut self.lead {
            let start = loop {
                let [byte, rest @ ..] = bytes else { return Ok(None) };
                bytes = rest;
                if let Some(start) = lead.find(*byte)? {
                    break start;
                }
            };
            self.lead = None;
            self.store(&start, slot);
            self.scanner.push(&start)?; // Too short to be whole.
        }
        self.store(bytes, slot);
        self.scanner.push(bytes)
    }
}

/// Bytes before the SOI: some cameras send zeros there, line ends, fill bytes or a second SOI.
#[derive(Clone, Copy, Debug)]
struct Lead {
    last: [u8; 4],
    bytes: u16,
}

impl Lead {
    const NONE: Self = Self { last: [0; 4], bytes: 0 };
    /// More than this, and it is no JPEG frame.
    const MAX: u16 = 1024;

    /// The start of the frame, if this byte is the last of it.
    fn find(&mut self, byte: u8) -> Result<Option<[u8; 4]>, JpegError> {
        let [_, b, c, d] = self.last;
        self.last = [b, c, d, byte];
        self.bytes = self.bytes.saturating_add(1);
        match self.last {
            // A second SOI begins the frame anew.
            [0xFF, 0xD8, 0xFF, marker] if marker != 0xD8 => Ok(Some(self.last)),
            _ if self.bytes >= Self::MAX => Err(JpegError::NotJpeg),
            _ => Ok(None),
        }
    }
}

/// How far before the end of `bytes` a line begins with two dashes, line end included: the last.
fn last_dashed_line(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(3).rposition(|window| window == b"\n--")?;
    let has_cr = at.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'\r');
    bytes.len().checked_sub(at)?.checked_add(usize::from(has_cr))
}

impl<const N: usize> Intake<N> {
    /// A capture begins. The slot may be another than that of one that was dropped.
    fn begin(&mut self) {
        if matches!(self.phase, Phase::Taking(_)) {
            self.phase = Phase::Ignoring;
        }
    }

    fn flow(&self) -> Flow {
        if self.ended || self.failed { Flow::OnDemand } else { Flow::Stream }
    }

    fn read_failed<E>(&mut self, error: E) -> SourceError<E> {
        self.failed = true;
        SourceError::Read(error)
    }

    /// Decodes what was read. `None`: more must be read, to where [`room`](Self::room) says.
    fn decode(&mut self, slot: &mut [u8]) -> Option<Captured> {
        loop {
            let mut input = self.buffer.get(self.start..self.end).unwrap_or_default();
            let event = match self.decoder.next(&mut input) {
                Ok(event) => event,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(CaptureError::Source(error)));
                }
            };
            self.start = self.end.saturating_sub(input.len());
            let result = match event {
                Some(Event::Payload(bytes)) => {
                    self.part.arrived = self.part.arrived.saturating_add(bytes.len() as u64);
                    match &mut self.phase {
                        Phase::Taking(taking) => {
                            let scanned = taking.take(bytes, slot);
                            self.scanned(scanned, slot)
                        }
                        Phase::Ignoring | Phase::Between => None,
                    }
                }
                Some(Event::PartStart { head, content_type }) => {
                    self.part_start(&head, content_type, slot.len())
                }
                Some(Event::PartEnd) => self.part_end(slot),
                Some(Event::PartDropped(dropped)) => self.part_dropped(dropped.reason),
                Some(Event::BodyEnd) => {
                    self.ended = true;
                    Some(Err(CaptureError::Ended))
                }
                None if self.ended => match self.decoder.finish() {
                    Some(Event::PartEnd) => self.part_end(slot),
                    Some(Event::PartDropped(dropped)) => self.part_dropped(dropped.reason),
                    _ => Some(Err(CaptureError::Ended)),
                },
                None => return None,
            };
            if result.is_some() {
                return result;
            }
        }
    }

    /// Where to read to; never empty.
    fn room<'s>(&'s mut self, slot: &'s mut [u8]) -> &'s mut [u8] {
        // Where a frame has not ended with its length, the next part may have begun in it. Half of
        // the buffer is kept for what must be decoded again then.
        let may_be_cut = matches!(self.phase, Phase::Taking(_))
            && self.decoder.payload_ahead().is_some_and(|ahead| ahead == 0);
        match self.direct(slot) {
            Some(room) => room,
            None if may_be_cut => self.buffer.get_mut(..N.div_ceil(2)).unwrap_or_default(),
            None => &mut self.buffer,
        }
    }

    /// The place in the slot for payload that certainly comes next, if there is such.
    fn direct<'s>(&self, slot: &'s mut [u8]) -> Option<&'s mut [u8]> {
        let Phase::Taking(taking @ Taking { lead: None, .. }) = &self.phase else { return None };
        let to = taking.filled.checked_add(self.decoder.payload_ahead()?)?;
        slot.get_mut(taking.filled..to).filter(|room| !room.is_empty())
    }

    /// So many bytes have been read to there.
    fn filled(&mut self, slot: &mut [u8], read: usize, now: Instant) -> Option<Captured> {
        self.failed = false;
        self.arrived = now;
        if read == 0 {
            self.ended = true;
            return None;
        }
        let Some(room) = self.direct(slot) else {
            self.start = 0;
            self.end = read.min(N);
            return None;
        };
        let bytes = room.get(..read).unwrap_or(room);
        self.decoder.skip(bytes.len());
        self.part.arrived = self.part.arrived.saturating_add(bytes.len() as u64);
        let Phase::Taking(taking) = &mut self.phase else { return None };
        taking.filled = taking.filled.saturating_add(bytes.len());
        let scanned = taking.scanner.push(bytes);
        self.scanned(scanned, slot)
    }

    fn part_start(
        &mut self,
        head: &PartHead,
        content_type: ContentType,
        size: usize,
    ) -> Option<Captured> {
        self.phase = Phase::Ignoring;
        let declared = head.content_length.filter(|_| self.decoder.believes_lengths());
        self.part = Part { declared, ..Part::NONE };
        if matches!(self.lengths, Lengths::Wrong(_)) {
            self.distrust_length(0);
        }
        if content_type == ContentType::Other {
            self.counts.not_jpeg = self.counts.not_jpeg.saturating_add(1);
            return None;
        }
        let upstream = Upstream { sequence: head.sequence, timestamp_us: head.timestamp_us };
        if let Some(declared) = declared
            && declared > size as u64
        {
            if size == 0 {
                return self.does_not_fit(upstream, declared);
            }
            // The frame may be smaller than that.
            self.distrust_length(0);
        }
        self.phase = Phase::Taking(Taking {
            filled: 0,
            scanner: Scanner::new(),
            lead: Some(Lead::NONE),
            content_type,
            captured_at: self.arrived,
            upstream,
        });
        None
    }

    /// What the scanner says of the bytes that have come.
    fn scanned(
        &mut self,
        scanned: Result<Option<Picture>, JpegError>,
        slot: &[u8],
    ) -> Option<Captured> {
        match scanned {
            Ok(None) => None,
            Ok(Some(picture)) => self.picture(picture, slot),
            Err(error) => self.broken(error, slot),
        }
    }

    /// The frame under way is whole.
    fn picture(&mut self, picture: Picture, slot: &[u8]) -> Option<Captured> {
        let Picture { width, height, len } = picture;
        self.part.is_whole = true;
        let Phase::Taking(taking) = self.ignore_rest(slot, len) else { return None };
        let Taking { captured_at, upstream, .. } = taking;
        let Some(frame) = slot.get(..len) else { return self.does_not_fit(upstream, len as u64) };
        if self.repeat_filter.is_repeat(upstream, frame) {
            return self.repeat();
        }
        self.counts.pictures = self.counts.pictures.saturating_add(1);
        Some(Ok(FrameInfo { len, width, height, captured_at, upstream }))
    }

    fn broken(&mut self, error: JpegError, slot: &[u8]) -> Option<Captured> {
        let Phase::Taking(Taking { filled, .. }) = &self.phase else { return None };
        // If it was cut off, the next part has begun in it.
        let taken = slot.get(..*filled).unwrap_or_default();
        let next = last_dashed_line(taken.get(taken.len().saturating_sub(N)..).unwrap_or_default());
        let from = filled.saturating_sub(next.unwrap_or_default());
        let Phase::Taking(taking) = self.ignore_rest(slot, from) else { return None };
        let Taking { content_type, .. } = taking;
        if error == JpegError::NotJpeg && content_type == ContentType::Unknown {
            self.counts.not_jpeg = self.counts.not_jpeg.saturating_add(1);
            return None;
        }
        self.counts.broken = self.counts.broken.saturating_add(1);
        Some(Err(CaptureError::Broken))
    }

    /// What comes of this part is of no use from there on. If its length goes beyond, it may be
    /// wrong, and must not take the next parts along: what has come of them already is decoded
    /// again, if the buffer has room for it.
    fn ignore_rest(&mut self, slot: &[u8], from: usize) -> Phase {
        if let Phase::Taking(taking) = &self.phase {
            let again = slot.get(from..taking.filled).unwrap_or_default();
            let room = N.saturating_sub(self.end.saturating_sub(self.start));
            let again = if again.len() > room { &[] } else { again };
            if self.distrust_length(again.len()) {
                self.push_front(again);
            }
        }
        core::mem::replace(&mut self.phase, Phase::Ignoring)
    }

    /// As [`Decoder::distrust_length`].
    fn distrust_length(&mut self, again: usize) -> bool {
        let is_distrusted = self.decoder.distrust_length(again);
        if is_distrusted {
            self.part.is_scanned = true;
            self.part.arrived = self.part.arrived.saturating_sub(again as u64);
        }
        is_distrusted
    }

    /// Puts bytes for which there is room before those that are to be decoded.
    fn push_front(&mut self, bytes: &[u8]) {
        let shift = bytes.len().saturating_sub(self.start);
        // From the back, since the places overlap.
        for at in (self.start..self.end).rev() {
            let byte = self.buffer.get(at).copied();
            if let (Some(to), Some(byte)) = (self.buffer.get_mut(at.saturating_add(shift)), byte) {
                *to = byte;
            }
        }
        self.end = self.end.saturating_add(shift);
        self.start = self.start.saturating_add(shift).saturating_sub(bytes.len());
        let room = self.buffer.get_mut(self.start..).unwrap_or_default();
        room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// A frame of `len` bytes finds no room.
    fn does_not_fit(&mut self, upstream: Upstream, len: u64) -> Option<Captured> {
        let needed = usize::try_from(len).unwrap_or(usize::MAX);
        if self.repeat_filter.may_be_repeat(upstream, needed) {
            return self.repeat();
        }
        self.too_large(len)
    }

    fn repeat(&mut self) -> Option<Captured> {
        self.counts.repeats = self.counts.repeats.saturating_add(1);
        Some(Err(CaptureError::Repeat))
    }

    fn too_large(&mut self, needed: u64) -> Option<Captured> {
        self.counts.too_large = self.counts.too_large.saturating_add(1);
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        Some(Err(CaptureError::TooLarge { needed }))
    }

    /// The part has ended. If the frame in it has not, it was cut, or lacks its EOI.
    fn part_end(&mut self, slot: &mut [u8]) -> Option<Captured> {
        self.lengths.learn(&self.part);
        if !self.part.is_as_declared() {
            self.counts.wrong_length = self.counts.wrong_length.saturating_add(1);
        }
        let was_cut = self.part.is_cut() && !matches!(self.lengths, Lengths::Wrong(_));
        let result = match &mut self.phase {
            Phase::Taking(taking) => match taking.lead {
                Some(_) => self.broken(JpegError::NotJpeg, slot),
                None if was_cut => self.broken(JpegError::Truncated { size: None }, slot),
                None => self.without_eoi(slot),
            },
            Phase::Ignoring | Phase::Between => None,
        };
        self.phase = Phase::Between;
        result
    }

    /// A frame has come, but not its EOI.
    fn without_eoi(&mut self, slot: &mut [u8]) -> Option<Captured> {
        const EOI: [u8; 2] = [0xFF, 0xD9];
        let Phase::Taking(taking) = &mut self.phase else { return None };
        let completed = match self.missing_eoi {
            MissingEoi::Append => taking.take(&EOI, slot),
            MissingEoi::Broken => Ok(None),
        };
        let Ok(Some(picture)) = completed else {
            return self.broken(JpegError::Truncated { size: None }, slot);
        };
        self.counts.no_eoi = self.counts.no_eoi.saturating_add(1);
        self.picture(picture, slot)
    }

    fn part_dropped(&mut self, reason: DropReason) -> Option<Captured> {
        let result = match (&self.phase, reason) {
            // Told already, or of no interest.
            (Phase::Ignoring, _) => None,
            (_, DropReason::TooLarge { needed, .. }) => {
                self.too_large(self.part.declared.map_or(needed, |declared| declared.max(needed)))
            }
            _ => {
                self.counts.broken = self.counts.broken.saturating_add(1);
                Some(Err(CaptureError::Broken))
            }
        };
        self.phase = Phase::Between;
        result
    }
}
