use crate::content_type::{self, ContentTypeError};
use crate::delimiter::{Delimiter, Finder, Partial, Step, find_byte};
use crate::event::{DecodeError, DecodeErrorKind, DropReason, Dropped, Event};
use crate::field::Head;
use crate::{Boundary, Config, WrongLength};

/// Takes a `multipart/x-mixed-replace` body apart that arrives in pieces of any size.
///
/// It does no I/O and keeps no payload; its size is fixed. See the crate's documentation for the
/// loop around it.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: Config,
    delimiter: Delimiter,
    finder: Finder,
    state: State,
    /// A delimiter that has begun. Its bytes are used up and not part of any event yet.
    partial: Partial,
    /// Pieces of the delimiter that turned out to be payload, still to be told.
    replay: [(u8, u8); 2],
    /// The line of a head that has begun, or bytes of which it is not known yet what they are.
    line: Line,
    head: Head,
    /// `PartStart` has been told.
    announced: bool,
    /// Payload bytes of this part that have been told.
    taken: usize,
    /// Payload bytes that are still out, if that is known.
    left: usize,
    /// Bytes that count for the limit of the present state.
    spent: usize,
    /// Bytes of the body that are used up.
    offset: u64,
    /// Why, if the state is `Failed`.
    failure: DecodeError,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first of the body, or after a leading line end.
    Start,
    /// Before the first delimiter.
    Preamble,
    /// The name of the boundary: the line that began with two dashes.
    Learn,
    /// Between a boundary and the end of its line.
    Padding,
    /// In a head.
    Head,
    /// After a head that was but a blank line.
    AfterBlank,
    /// In a part whose length is known.
    Counted,
    /// After that part.
    AfterCounted,
    /// In a part that ends at the next delimiter.
    Scanned,
    /// In a part that was dropped.
    Lost,
    /// After the closing delimiter; `BodyEnd` is still to be told.
    Closing,
    /// After the body.
    Closed,
    /// The stream was given up.
    Failed,
}

/// What [`Decoder::advance`] came to.
enum Progress<'i> {
    /// The state has changed, or input was used up.
    Again,
    /// All input is used up.
    Hungry,
    /// What the head says is in the decoder.
    PartStart,
    Payload(&'i [u8]),
    /// The payload is a piece of the delimiter.
    PayloadOfDelimiter((u8, u8)),
    /// The payload is in the line buffer.
    PayloadOfLine(usize, usize),
    PartEnd,
    PartDropped(Dropped),
    BodyEnd,
}

type Advance<'i> = Result<Progress<'i>, DecodeError>;

impl Decoder {
    /// A decoder for a body whose parts are separated by `boundary`.
    #[must_use]
    pub fn new(boundary: &Boundary, config: Config) -> Self {
        Self::with_boundary(boundary.as_bytes(), config)
    }

    /// A decoder for the body of a response whose `Content-Type` field has this value.
    ///
    /// # Errors
    ///
    /// As [`ContentTypeError`] says.
    pub fn from_content_type(value: &[u8], config: Config) -> Result<Self, ContentTypeError> {
        let boundary = content_type::boundary(value, &config.quirks)?;
        Ok(Self::with_boundary(boundary.as_bytes(), config))
    }

    fn with_boundary(boundary: &[u8], config: Config) -> Self {
        let Config { quirks, .. } = config;
        Self {
            config,
            delimiter: Delimiter::new(boundary, quirks.lf_line_ends, quirks.dashed_boundary),
            finder: Finder::new(),
            state: State::Start,
            partial: Partial::default(),
            replay: [(0, 0); 2],
            line: Line::new(),
            head: Head::default(),
            announced: false,
            taken: 0,
            left: 0,
            spent: 0,
            offset: 0,
            failure: DecodeError {
                kind: DecodeErrorKind::LengthMismatch { declared: 0 },
                offset: 0,
            },
        }
    }

    /// Finds the next event in `input`, and takes the bytes that led to it off its front.
    ///
    /// `None` says that all of `input` is used up and more is needed. Call it until then: some
    /// events need no bytes. However a body is cut into inputs, the events are the same, except
    /// that a `Payload` may come as several.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the rest of the stream is lost, the same for every later call. Parts
    /// that are dropped while the stream goes on are events.
    #[inline]
    pub fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'d>>, DecodeError> {
        // Nearly all calls are in the middle of a part. They are kept apart, since moving the other
        // outcomes around costs more than all there is to do then.
        if self.is_plain() {
            if input.is_empty() {
                return Ok(None);
            }
            let bytes = self.plain_payload(input);
            if bytes > 0 {
                return Ok(Some(Event::Payload(self.consume(input, bytes))));
            }
        }
        self.next_of_all(input)
    }

    /// As [`next`](Self::next), in all cases.
    #[inline(never)]
    fn next_of_all<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'d>>, DecodeError> {
        loop {
            match self.advance(input) {
                Ok(Progress::Again) => {}
                Ok(progress) => return Ok(self.event(progress)),
                Err(error) => {
                    self.state = State::Failed;
                    self.failure = error;
                    return Err(error);
                }
            }
        }
    }

    #[inline]
    fn event<'d>(&'d self, progress: Progress<'d>) -> Option<Event<'d>> {
        Some(match progress {
            Progress::Again | Progress::Hungry => return None,
            Progress::Payload(payload) => Event::Payload(payload),
            Progress::PayloadOfDelimiter(piece) => Event::Payload(self.delimiter.bytes(piece)),
            Progress::PayloadOfLine(from, to) => {
                Event::Payload(self.line.bytes.get(from..to).unwrap_or_default())
            }
            Progress::PartStart => {
                let Head { head, content_type, .. } = self.head;
                Event::PartStart { head, content_type }
            }
            Progress::PartEnd => Event::PartEnd,
            Progress::PartDropped(dropped) => Event::PartDropped(dropped),
            Progress::BodyEnd => Event::BodyEnd,
        })
    }

    /// How many bytes of payload certainly come next: a part has begun, its length is known, and
    /// so many bytes of it are still out.
    ///
    /// The caller may read up to so many bytes to where it wants to have them, and say so with
    /// [`skip`](Self::skip), instead of giving them to [`next`](Self::next).
    #[must_use]
    pub const fn payload_ahead(&self) -> Option<usize> {
        match self.state {
            State::Counted => Some(self.left),
            State::AfterCounted if self.partial.is_none() => Some(0),
            _ => None,
        }
    }

    /// The caller has itself taken this many bytes of payload from the stream. Not more than
    /// [`payload_ahead`](Self::payload_ahead); the return value says how many were counted.
    pub fn skip(&mut self, bytes: usize) -> usize {
        if self.state != State::Counted {
            return 0;
        }
        let bytes = bytes.min(self.left);
        self.left = self.left.saturating_sub(bytes);
        self.taken = self.taken.saturating_add(bytes);
        self.offset = self.offset.wrapping_add(bytes as u64);
        bytes
    }

    /// The stream has ended: what becomes of the part that was under way, if one was.
    ///
    /// A part whose length was known and is reached is whole, and so is one that a boundary
    /// follows, even if that boundary's line is not whole. Anything else is
    /// [`DropReason::Truncated`]. The decoder is closed then.
    pub fn finish(&mut self) -> Option<Event<'static>> {
        let whole = match self.state {
            State::Counted => Some(self.left == 0),
            State::AfterCounted => Some(true),
            State::Scanned if self.announced => Some(self.delimiter.is_whole(self.partial)),
            State::Head if self.head.fields > 0 => Some(false),
            State::Failed => return None,
            _ => None,
        };
        self.state = State::Closed;
        let dropped = Dropped { reason: DropReason::Truncated, offset: self.offset };
        Some(if whole? { Event::PartEnd } else { Event::PartDropped(dropped) })
    }

    /// Whether the closing delimiter has come, or [`finish`](Self::finish) was called.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// How many bytes of the body are used up.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    #[inline]
    fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Advance<'i> {
        if self.replay != [(0, 0); 2] {
            return Ok(self.replay());
        }
        match self.state {
            // Its payload is plain, so it is over.
            State::Counted => {
                self.spent = 0;
                self.state = State::AfterCounted;
                Ok(Progress::Again)
            }
            State::Scanned => Ok(self.scanned(input)),
            State::Head => Ok(self.in_head(input)),
            State::AfterCounted => self.after_counted(input),
            State::Padding => Ok(self.padding(input)),
            State::Start | State::AfterBlank => self.sniff(input),
            State::Preamble | State::Lost => self.search(input),
            State::Learn => self.learn(input),
            State::Closing => {
                self.state = State::Closed;
                Ok(Progress::BodyEnd)
            }
            State::Closed => {
                self.consume(input, input.len());
                Ok(Progress::Hungry)
            }
            State::Failed => Err(self.failure),
        }
    }

    // --- Payload ---

    /// The next byte belongs to a part that has been told of, and nothing is held back.
    #[inline]
    fn is_plain(&self) -> bool {
        match self.state {
            State::Counted => self.left > 0,
            State::Scanned => {
                let held = self.line.len > 0 || self.replay != [(0, 0); 2];
                self.announced && self.partial.is_none() && !held
            }
            _ => false,
        }
    }

    /// How many bytes at the start of `input` are payload and within the limit. They are counted.
    #[inline]
    fn plain_payload(&mut self, input: &[u8]) -> usize {
        let bytes = if self.state == State::Counted {
            let bytes = input.len().min(self.left);
            self.left = self.left.wrapping_sub(bytes);
            bytes
        } else {
            let limit = self.config.limits.part_bytes as usize;
            let bytes = self.finder.before_delimiter(input, &self.delimiter);
            bytes.min(limit.saturating_sub(self.taken))
        };
        self.taken = self.taken.wrapping_add(bytes);
        bytes
    }

    /// The delimiter must follow. If it does not, the length was wrong.
    fn after_counted<'i>(&mut self, input: &mut &'i [u8]) -> Advance<'i> {
        let Some(&byte) = input.first() else { return Ok(Progress::Hungry) };
        if self.config.quirks.loose_part_end && self.partial.is_none() {
            match byte {
                b'\r' | b'\n' if self.spent < LOOSE_LINE_END_BYTES => {
                    self.consume(input, 1);
                    self.spent = self.spent.saturating_add(1);
                    return Ok(Progress::Again);
                }
                b'-' => self.partial = Partial::LINE_START,
                _ => return self.length_mismatch(),
            }
        }
        match self.step(input) {
            Step::More | Step::Unknown => Ok(Progress::Hungry),
            Step::Mismatch => self.length_mismatch(),
            Step::Delimiter => Ok(self.part_end(State::Padding)),
            Step::Close => Ok(self.part_end(State::Closing)),
        }
    }

    fn length_mismatch<'i>(&mut self) -> Advance<'i> {
        let declared = self.head.head.content_length.unwrap_or_default();
        if self.config.quirks.wrong_length == WrongLength::Refuse {
            return self.fail(DecodeErrorKind::LengthMismatch { declared });
        }
        self.partial = Partial::default();
        Ok(self.drop_part(DropReason::LengthMismatch { declared }))
    }

    fn scanned<'i>(&mut self, input: &mut &'i [u8]) -> Progress<'i> {
        if self.line.len > 0 {
            return self.payload_of_line();
        }
        if input.is_empty() {
            return Progress::Hungry;
        }
        if self.partial.is_none() {
            let bytes = self.finder.before_delimiter(input, &self.delimiter);
            if bytes > 0 {
                return match self.grant(bytes) {
                    Ok(granted) => Progress::Payload(self.consume(input, granted)),
                    Err(progress) => progress,
                };
            }
        }
        match self.step(input) {
            Step::More | Step::Unknown => Progress::Hungry,
            Step::Mismatch => {
                self.replay = self.partial.give_up();
                Progress::Again
            }
            Step::Delimiter => self.part_end(State::Padding),
            Step::Close => self.part_end(State::Closing),
        }
    }

    /// What was held back as a possible delimiter is payload.
    fn replay<'i>(&mut self) -> Progress<'i> {
        let [(from, to), second] = self.replay;
        if from >= to {
            self.replay = [second, (0, 0)];
            return Progress::Again;
        }
        match self.grant(usize::from(to.saturating_sub(from))) {
            Ok(granted) => {
                let end = from.saturating_add(u8::try_from(granted).unwrap_or(u8::MAX));
                self.replay = [(end, to), second];
                Progress::PayloadOfDelimiter((from, end))
            }
            Err(progress) => progress,
        }
    }

    /// What was held back as a possible head, or as the start of a picture, is payload.
    fn payload_of_line<'i>(&mut self) -> Progress<'i> {
        let Line { told, len, .. } = self.line;
        match self.grant(len.saturating_sub(told)) {
            Ok(granted) => {
                let to = told.saturating_add(granted);
                if to == len {
                    self.line.clear();
                } else {
                    self.line.told = to;
                }
                Progress::PayloadOfLine(told, to)
            }
            Err(progress) => progress,
        }
    }

    /// How many of so many bytes, at least one, may be told as payload now, or what to tell instead.
    fn grant<'i>(&mut self, bytes: usize) -> Result<usize, Progress<'i>> {
        if !self.announced {
            return Err(self.part_start());
        }
        let limit = self.config.limits.part_bytes as usize;
        let granted = limit.saturating_sub(self.taken).min(bytes);
        if granted == 0 {
            return Err(self.too_large());
        }
        self.taken = self.taken.wrapping_add(granted);
        Ok(granted)
    }

    /// More payload has come than there may be.
    fn too_large<'i>(&mut self) -> Progress<'i> {
        // What was held back is used up already. The place and the count must not depend on that.
        let line = self.line.len.saturating_sub(self.line.told);
        let held = total(self.replay).saturating_add(line);
        let limit = self.config.limits.part_bytes;
        let reason = DropReason::TooLarge { needed: u64::from(limit).wrapping_add(1), limit };
        let offset = self.offset.wrapping_sub(held as u64);
        self.between_parts(State::Lost);
        self.spent = held;
        Progress::PartDropped(Dropped { reason, offset })
    }

    // --- Parts ---

    fn part_start<'i>(&mut self) -> Progress<'i> {
        self.announced = true;
        Progress::PartStart
    }

    /// A delimiter has come after payload.
    fn part_end<'i>(&mut self, next: State) -> Progress<'i> {
        let announced = self.announced;
        self.between_parts(next);
        // A part without head and payload is none; it comes before a late closing delimiter.
        if announced { Progress::PartEnd } else { Progress::Again }
    }

    #[inline(never)]
    fn drop_part<'i>(&mut self, reason: DropReason) -> Progress<'i> {
        self.between_parts(State::Lost);
        Progress::PartDropped(Dropped { reason, offset: self.offset })
    }

    #[inline(never)]
    fn between_parts(&mut self, next: State) {
        self.state = next;
        self.replay = [(0, 0); 2];
        self.line.clear();
        self.head = Head::default();
        self.announced = false;
        self.taken = 0;
        self.spent = 0;
    }

    fn fail<'i>(&mut self, kind: DecodeErrorKind) -> Advance<'i> {
        Err(DecodeError { kind, offset: self.offset })
    }

    // --- Heads ---

    /// RFC 2046, 5.1.1: white space after the boundary is transport padding. The first byte has
    /// been looked at; what comes after it is passed over.
    fn padding<'i>(&mut self, input: &mut &'i [u8]) -> Progress<'i> {
        match self.take_line(input) {
            Taken::Some(_) => Progress::Hungry,
            Taken::TooLong => self.head_too_long(),
            Taken::Line(_) => {
                self.state = State::Head;
                Progress::Again
            }
        }
    }

    fn in_head<'i>(&mut self, input: &mut &'i [u8]) -> Progress<'i> {
        match self.take_line(input) {
            Taken::Some(piece) => {
                self.line.push(piece);
                Progress::Hungry
            }
            Taken::TooLong => self.head_too_long(),
            Taken::Line(line) if self.line.len == 0 => match line.get(..LINE) {
                Some(start) if line.len() > LINE => self.head_line(start, true),
                _ => self.head_line(line, false),
            },
            Taken::Line(end) => {
                self.line.push(end);
                let line = self.line.clone();
                self.line.clear();
                let (line, cut) = line.get();
                self.head_line(line, cut)
            }
        }
    }

    /// Takes input up to the next LF, within the limit of a head.
    fn take_line<'i>(&mut self, input: &mut &'i [u8]) -> Taken<'i> {
        let end = find_byte(b'\n', input);
        let wanted = end.map_or(input.len(), |at| at.saturating_add(1));
        let limit = self.config.limits.head_bytes as usize;
        let left = limit.saturating_sub(self.spent);
        if wanted > left {
            self.consume(input, left);
            return Taken::TooLong;
        }
        self.spent = self.spent.saturating_add(wanted);
        match self.consume(input, wanted) {
            [line @ .., b'\n'] => Taken::Line(line),
            piece => Taken::Some(piece),
        }
    }

    fn head_too_long<'i>(&mut self) -> Progress<'i> {
        let limit = self.config.limits.head_bytes;
        self.drop_part(DropReason::HeadTooLong { limit })
    }

    /// Looks at a line of the head without its LF, or, if it is `cut`, at the start of one.
    fn head_line<'i>(&mut self, line: &[u8], cut: bool) -> Progress<'i> {
        let line = match line {
            [line @ .., b'\r'] if !cut => line,
            _ if !cut && !self.config.quirks.lf_line_ends => {
                return self.drop_line(DropReason::BadHead);
            }
            line => line,
        };
        if line.is_empty() {
            return self.head_end();
        }
        if line.starts_with(b"--") {
            let next = match self.delimiter.line(line) {
                Step::Delimiter => Some(State::Head),
                Step::Close => Some(State::Closing),
                _ => None,
            };
            if let Some(next) = next {
                return self.head_unfinished(next);
            }
        }
        let limit = self.config.limits.head_fields;
        if self.head.fields >= limit {
            return self.drop_line(DropReason::TooManyFields { limit });
        }
        self.head.fields = self.head.fields.saturating_add(1);
        self.head.line(line, cut);
        Progress::Again
    }

    /// A delimiter instead of a field.
    fn head_unfinished<'i>(&mut self, next: State) -> Progress<'i> {
        if self.head.fields == 0 {
            self.between_parts(next);
            return Progress::Again;
        }
        let progress = self.drop_part(DropReason::HeadUnfinished);
        self.state = next;
        progress
    }

    fn head_end<'i>(&mut self) -> Progress<'i> {
        let Config { quirks, limits } = self.config;
        if self.head.fields == 0 {
            // RFC 2046, 5.1: a part need not have a head.
            self.state = State::AfterBlank;
            return Progress::Again;
        }
        if self.head.junk && !quirks.junk_in_head {
            return self.drop_line(DropReason::BadHead);
        }
        let length = match quirks.wrong_length {
            WrongLength::Ignore => None,
            _ if self.head.bad_length => return self.drop_line(DropReason::BadLength),
            _ => self.head.head.content_length,
        };
        match length {
            Some(needed) if needed > u64::from(limits.part_bytes) => {
                let limit = limits.part_bytes;
                return self.drop_line(DropReason::TooLarge { needed, limit });
            }
            Some(left) => {
                self.state = State::Counted;
                self.left = left as usize; // within the limit, which has 32 bits
            }
            None => {
                self.state = State::Scanned;
                self.partial = Partial::LINE_START;
            }
        }
        self.part_start()
    }

    /// As [`drop_part`](Self::drop_part), at the start of a line: the next may be a delimiter.
    fn drop_line<'i>(&mut self, reason: DropReason) -> Progress<'i> {
        self.partial = Partial::LINE_START;
        self.drop_part(reason)
    }

    // --- Where it is not certain what comes ---

    /// At the start of the body, and after a blank line where a head should be: is it a head
    /// after all, or a picture without one, or a delimiter, or something else?
    fn sniff<'i>(&mut self, input: &mut &'i [u8]) -> Advance<'i> {
        let Some(&byte) = input.first() else { return Ok(Progress::Hungry) };
        let quirks = self.config.quirks;
        let (start, wanted) = match self.state {
            State::Start => (true, quirks.missing_first_delimiter && self.delimiter.is_known()),
            _ => (false, quirks.blank_line_before_head),
        };
        let expected = match self.line.get().0 {
            [] => match byte {
                b'\r' | b'\n' if wanted => {
                    self.consume(input, 1);
                    return self.leading_line_end(start);
                }
                b'c' | b'C' | 0xFF if wanted => byte,
                _ => return Ok(self.not_sniffed(start)),
            },
            [0xFF, ..] => 0xD8,
            begun => FIELD_START.get(begun.len()).copied().unwrap_or_default(),
        };
        if !byte.eq_ignore_ascii_case(&expected) {
            return self.sniffed_nothing(start);
        }
        let piece = self.consume(input, 1);
        self.line.push(piece);
        match self.line.get().0 {
            [0xFF, 0xD8] => self.state = State::Scanned,
            line if line.len() == FIELD_START.len() => {
                self.state = State::Head;
                self.spent = FIELD_START.len();
            }
            _ => {}
        }
        Ok(Progress::Again)
    }

    fn leading_line_end<'i>(&mut self, start: bool) -> Advance<'i> {
        if start {
            return self.discard(1);
        }
        if self.spent >= self.config.limits.head_bytes as usize {
            return Ok(self.head_too_long());
        }
        self.spent = self.spent.saturating_add(1);
        Ok(Progress::Again)
    }

    /// The first byte of the line already says that it is neither head nor picture.
    fn not_sniffed<'i>(&mut self, start: bool) -> Progress<'i> {
        self.partial = Partial::LINE_START;
        self.state = if start { State::Preamble } else { State::Scanned };
        Progress::Again
    }

    /// A later byte says so. Those before it, in the line buffer, are preamble or payload.
    fn sniffed_nothing<'i>(&mut self, start: bool) -> Advance<'i> {
        if !start {
            self.state = State::Scanned;
            return Ok(Progress::Again);
        }
        self.state = State::Preamble;
        let bytes = self.line.get().0.len();
        self.line.clear();
        self.discard(bytes)
    }

    /// Searches for a delimiter; what comes before it is of no use.
    fn search<'i>(&mut self, input: &mut &'i [u8]) -> Advance<'i> {
        // What a part that was dropped had held back counts already.
        self.discard(0)?;
        if input.is_empty() {
            return Ok(Progress::Hungry);
        }
        if self.partial.is_none() {
            let certain = self.finder.before_delimiter(input, &self.delimiter);
            if certain > 0 {
                self.consume(input, certain);
                return self.discard(certain);
            }
        }
        match self.step(input) {
            Step::More => return Ok(Progress::Hungry),
            Step::Delimiter => self.between_parts(State::Padding),
            Step::Close => self.between_parts(State::Closing),
            Step::Mismatch => {
                let held = self.partial.give_up();
                return self.discard(total(held));
            }
            Step::Unknown => {
                self.state = State::Learn;
                let held = self.partial.give_up();
                return self.discard(total(held));
            }
        }
        Ok(Progress::Again)
    }

    /// The line says what the boundary is, if it looks like one.
    fn learn<'i>(&mut self, input: &mut &'i [u8]) -> Advance<'i> {
        if input.is_empty() {
            return Ok(Progress::Hungry);
        }
        let end = find_byte(b'\n', input);
        let wanted = end.map_or(input.len(), |at| at.saturating_add(1));
        let piece = self.consume(input, wanted);
        self.line.push(piece.get(..end.unwrap_or(wanted)).unwrap_or_default());
        let progress = self.discard(wanted)?;
        if end.is_some() {
            let (line, cut) = self.line.get();
            if !cut && self.delimiter.learn(line) {
                self.between_parts(State::Head);
            } else {
                self.line.clear();
                self.partial = Partial::LINE_START;
                self.state = State::Preamble;
            }
        }
        Ok(progress)
    }

    /// So many bytes, already used up, are neither delimiter nor part.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn discard<'i>(&mut self, bytes: usize) -> Advance<'i> {
        let limits = self.config.limits;
        let (limit, kind) = match self.state {
            State::Lost => {
                let limit = limits.resync_bytes;
                (limit, DecodeErrorKind::ResyncTooLong { limit })
            }
            _ => {
                let limit = limits.preamble_bytes;
                (limit, DecodeErrorKind::PreambleTooLong { limit })
            }
        };
        let (spent, limit) = (self.spent.saturating_add(bytes), limit as usize);
        if spent > limit {
            // Where the limit was passed, not where it was noticed: that depends on the cuts.
            let offset = self.offset.wrapping_sub(spent.saturating_sub(limit) as u64);
            return Err(DecodeError { kind, offset });
        }
        self.spent = spent;
        Ok(Progress::Again)
    }

    // --- Input ---

    /// Goes on with a delimiter as far as the input goes.
    fn step(&mut self, input: &mut &[u8]) -> Step {
        let leap = self.delimiter.leap(&mut self.partial, input);
        self.consume(input, leap);
        while let Some(&byte) = input.first() {
            let step = self.delimiter.step(&mut self.partial, byte);
            if matches!(step, Step::Mismatch | Step::Delimiter) {
                return step;
            }
            self.consume(input, 1);
            if step != Step::More {
                return step;
            }
        }
        Step::More
    }

    /// Takes the first so many bytes, or all if there are fewer.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn consume<'i>(&mut self, input: &mut &'i [u8], bytes: usize) -> &'i [u8] {
        let (taken, rest) = input.split_at_checked(bytes).unwrap_or((input, &[]));
        *input = rest;
        self.offset = self.offset.wrapping_add(taken.len() as u64);
        taken
    }
}

/// How many bytes of line ends may stand between a counted part and the delimiter, if several may.
const LOOSE_LINE_END_BYTES: usize = 16;

/// What every head begins with that is recognised without a delimiter before it.
const FIELD_START: &[u8; 8] = b"content-";

fn total([(a, b), (c, d)]: [(u8, u8); 2]) -> usize {
    usize::from(b.saturating_sub(a)).saturating_add(usize::from(d.saturating_sub(c)))
}

/// What [`Decoder::take_line`] has done.
enum Taken<'i> {
    /// The line has not ended; this is all of the input.
    Some(&'i [u8]),
    /// The line ends with this and an LF.
    Line(&'i [u8]),
    /// The head's limit has been reached.
    TooLong,
}

/// How much of a line of a head is kept. The fields that matter are short.
const LINE: usize = 128;

/// A line, or the start of one that is longer.
#[derive(Clone, Debug)]
struct Line {
    bytes: [u8; LINE],
    /// Of the whole line; may be more than `LINE`.
    len: usize,
    /// How much of it has been told as payload.
    told: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; LINE], len: 0, told: 0 }
    }

    fn clear(&mut self) {
        self.len = 0;
        self.told = 0;
    }

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn push(&mut self, piece: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let fits = room.len().min(piece.len());
        if let (Some(to), Some(from)) = (room.get_mut(..fits), piece.get(..fits)) {
            to.copy_from_slice(from);
        }
        self.len = self.len.saturating_add(piece.len());
    }

    /// What is kept, and whether that is not all.
    fn get(&self) -> (&[u8], bool) {
        match self.bytes.get(..self.len) {
            Some(line) => (line, false),
            None => (&self.bytes, true),
        }
    }
}
