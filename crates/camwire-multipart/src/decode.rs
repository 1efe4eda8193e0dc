use crate::content_type::{self, ContentTypeError};
use crate::delimiter::{Delimiter, Finder, Partial, Step};
use crate::event::{DecodeError, DecodeErrorKind, DropReason, Dropped, Event};
use crate::field::Head;
use crate::text::{LINE, Line, find_byte};
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
    /// A delimiter that has begun. Its bytes are used up, and held in the line.
    partial: Partial,
    /// The line of a head that has begun, or bytes of which it is not known yet what they are. In
    /// [`State::Scanned`], those that may be a delimiter, or, if none has begun, that turned out to be
    /// payload and are still to be told.
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
    /// There may be more events of the input that was fed last.
    is_unfinished: bool,
    /// What is wrong with the part that was dropped last.
    dropped: Dropped,
    /// Why, if the state is `Failed`.
    failure: DecodeError,
}

/// The events of one input: see [`Decoder::feed`].
///
/// It is no [`Iterator`], since an event may borrow from the decoder.
#[derive(Debug)]
#[must_use = "the input is decoded as its events are taken"]
pub struct Events<'d, 'i> {
    decoder: &'d mut Decoder,
    rest: &'i [u8],
}

impl<'i> Events<'_, 'i> {
    /// The next event. `None` says that all of the input is used up.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the rest of the stream is lost, the same for every later call and every
    /// later input. Parts that are dropped while the stream goes on are events.
    #[expect(clippy::should_implement_trait, reason = "an event borrows from the decoder")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, DecodeError> {
        self.decoder.next(&mut self.rest)
    }

    /// Leaves the input where the last event ended. What comes back is to be fed later.
    #[must_use]
    #[inline]
    pub fn rest(self) -> &'i [u8] {
        self.decoder.is_unfinished = false;
        self.rest
    }
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

/// What [`Decoder::advance`] came to. It fits into registers, as an [`Event`] does not: what else
/// there is to tell is in the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The state has changed, or input was used up.
    Again,
    /// All input is used up.
    Hungry,
    PartStart,
    /// So many bytes of the line, or, if that is empty, of the input. They are not taken yet.
    Payload(usize),
    PartEnd,
    PartDropped,
    BodyEnd,
    Failed,
}

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
        Ok(Self::with_boundary(boundary.get().0, config))
    }

    fn with_boundary(boundary: &[u8], config: Config) -> Self {
        let Config { quirks, .. } = &config;
        Self {
            delimiter: Delimiter::new(boundary, quirks),
            config,
            finder: Finder::new(),
            state: State::Start,
            partial: Partial::default(),
            line: Line::new(),
            head: Head::default(),
            announced: false,
            taken: 0,
            left: 0,
            spent: 0,
            offset: 0,
            is_unfinished: false,
            dropped: Dropped { reason: DropReason::BadHead, offset: 0 },
            failure: DecodeError {
                kind: DecodeErrorKind::LengthMismatch { declared: 0 },
                offset: 0,
            },
        }
    }

    /// Takes the next bytes of the body, as many as have arrived, and returns the events in them.
    ///
    /// However a body is cut into inputs, the events are the same, except that a `Payload` may come
    /// as several.
    ///
    /// ```
    /// # use camwire_multipart::{Boundary, Config, DecodeError, Decoder, Event};
    /// fn bytes_of_payload(decoder: &mut Decoder, chunk: &[u8]) -> Result<usize, DecodeError> {
    ///     let mut bytes = 0;
    ///     let mut events = decoder.feed(chunk);
    ///     while let Some(event) = events.next()? {
    ///         if let Event::Payload(payload) = event {
    ///             bytes += payload.len();
    ///         }
    ///     }
    ///     Ok(bytes)
    /// }
    /// # let mut decoder = Decoder::new(&Boundary::new("x").unwrap(), Config::default());
    /// # assert_eq!(bytes_of_payload(&mut decoder, b"--x\r\n\r\nabc\r\n--x").unwrap(), 3);
    /// ```
    ///
    /// All of an input's events, or its [rest](Events::rest), must be taken before the next input.
    /// Otherwise bytes would be lost or decoded twice, and all that comes is
    /// [`DecodeErrorKind::Unfinished`].
    #[inline]
    pub fn feed<'d, 'i>(&'d mut self, input: &'i [u8]) -> Events<'d, 'i> {
        if core::mem::replace(&mut self.is_unfinished, true) && self.state != State::Failed {
            self.fail(DecodeErrorKind::Unfinished, self.offset);
        }
        Events { decoder: self, rest: input }
    }

    /// Finds the next event in `input`, and takes the bytes that led to it off its front. `None` says
    /// that all of `input` is used up and more is needed. Some events need no bytes.
    #[inline]
    pub(crate) fn next<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'d>>, DecodeError> {
        // Nearly all calls are in the middle of a part. They are kept apart, since moving the other
        // outcomes around costs more than all there is to do then.
        if self.is_plain() {
            if input.is_empty() {
                self.is_unfinished = false;
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
        let progress = loop {
            match self.advance(input) {
                Progress::Again => {}
                progress => break progress,
            }
        };
        Ok(Some(match progress {
            Progress::Again | Progress::Hungry => {
                self.is_unfinished = false;
                return Ok(None);
            }
            Progress::Failed => return Err(self.failure),
            Progress::Payload(bytes) if self.line.left() > 0 => {
                Event::Payload(self.line.tell(bytes))
            }
            Progress::Payload(bytes) => Event::Payload(self.consume(input, bytes)),
            Progress::PartStart => {
                let Head { head, content_type, .. } = self.head;
                Event::PartStart { head, content_type }
            }
            Progress::PartEnd => Event::PartEnd,
            Progress::PartDropped => Event::PartDropped(self.dropped),
            Progress::BodyEnd => Event::BodyEnd,
        }))
    }

    /// How many bytes of payload certainly come next: a part has begun, its length is known, and
    /// so many bytes of it are still out.
    ///
    /// The caller may read up to so many bytes to where it wants to have them, and say so with
    /// [`skip`](Self::skip), instead of [feeding](Self::feed) them.
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

    /// Whether a `Content-Length` can mean anything.
    pub(crate) fn believes_lengths(&self) -> bool {
        self.config.quirks.wrong_length != WrongLength::Ignore
    }

    /// From here on, the part under way ends at the next delimiter, whatever its `Content-Length`
    /// says.
    ///
    /// For a caller that sees from the payload that the length may be wrong: a picture has ended
    /// although more bytes were declared, or is damaged. A length that is too large would take the
    /// parts behind it along. If they have begun already, in the last `again` bytes of payload, the
    /// caller [feeds](Self::feed) those bytes again.
    ///
    /// Says whether it does so. It does not if there is neither payload
    /// [ahead](Self::payload_ahead) nor any `again`, and with [`WrongLength::Refuse`].
    pub fn distrust_length(&mut self, again: usize) -> bool {
        let is_possible = match self.state {
            State::Counted => self.left > 0 || again > 0,
            // It goes on beyond its length already.
            State::Scanned => again > 0 && self.announced && self.line.left() == 0,
            _ => false,
        };
        let is_distrusted = is_possible && self.config.quirks.wrong_length != WrongLength::Refuse;
        if is_distrusted {
            self.state = State::Scanned;
            if self.config.quirks.glued_delimiter {
                self.partial = Partial::LINE_START;
            }
            let again = again.min(self.taken);
            self.taken = self.taken.saturating_sub(again);
            self.offset = self.offset.wrapping_sub(again as u64);
        }
        is_distrusted
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
            State::Scanned if self.announced => Some(self.delimiter.is_whole(&self.partial)),
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

    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn advance(&mut self, input: &mut &[u8]) -> Progress {
        match self.state {
            // Its payload is plain, so it is over.
            State::Counted => {
                self.spent = 0;
                self.state = State::AfterCounted;
                Progress::Again
            }
            State::Scanned => self.scanned(input),
            State::Padding | State::Head => self.in_head(input),
            State::AfterCounted => self.after_counted(input),
            State::Start | State::AfterBlank => self.sniff(input),
            State::Preamble | State::Lost => self.search(input),
            State::Learn => self.learn(input),
            State::Closing => {
                self.state = State::Closed;
                Progress::BodyEnd
            }
            State::Closed => {
                self.consume(input, input.len());
                Progress::Hungry
            }
            State::Failed => Progress::Failed,
        }
    }

    // --- Payload ---

    /// The next byte belongs to a part that has been told of, and nothing is held back.
    #[inline]
    fn is_plain(&self) -> bool {
        match self.state {
            State::Counted => self.left > 0,
            State::Scanned => self.announced && self.partial.is_none() && self.line.left() == 0,
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
            let bytes = bytes.min(limit.saturating_sub(self.taken));
            self.frame_may_end(input, bytes);
            bytes
        };
        self.taken = self.taken.wrapping_add(bytes);
        bytes
    }

    /// So many bytes of `input` are payload of a part that a delimiter ends, or that was dropped.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn frame_may_end(&mut self, input: &[u8], bytes: usize) {
        if self.delimiter.may_follow(input.get(..bytes).unwrap_or_default()) {
            self.partial = Partial::LINE_START;
        }
    }

    /// The delimiter must follow. If it does not, the length was wrong.
    fn after_counted(&mut self, input: &mut &[u8]) -> Progress {
        let Some(&byte) = input.first() else { return Progress::Hungry };
        if self.config.quirks.loose_part_end && self.partial.is_none() {
            match byte {
                b'\r' | b'\n' if self.spent < LOOSE_LINE_END_BYTES => {
                    let piece = self.consume(input, 1);
                    self.line.push(piece); // It may be payload.
                    self.spent = self.spent.saturating_add(1);
                    return Progress::Again;
                }
                b'-' => self.partial = Partial::LINE_START,
                _ => return self.length_mismatch(),
            }
        }
        match self.step(input) {
            Step::Mismatch => self.length_mismatch(),
            step => self.part_end(step),
        }
    }

    fn length_mismatch(&mut self) -> Progress {
        if self.config.quirks.wrong_length == WrongLength::Refuse {
            let declared = self.head.head.content_length.unwrap_or_default();
            return self.fail(DecodeErrorKind::LengthMismatch { declared }, self.offset);
        }
        self.state = State::Scanned;
        self.partial = Partial::default();
        Progress::Again
    }

    fn scanned(&mut self, input: &mut &[u8]) -> Progress {
        let held = self.line.left();
        if held > 0 && self.partial.is_none() {
            return self.payload(held);
        }
        if input.is_empty() {
            return Progress::Hungry;
        }
        if self.partial.is_none() {
            let bytes = self.finder.before_delimiter(input, &self.delimiter);
            if bytes > 0 {
                let progress = self.payload(bytes);
                if let Progress::Payload(granted) = progress {
                    self.frame_may_end(input, granted);
                }
                return progress;
            }
        }
        match self.step(input) {
            Step::Mismatch => {
                self.partial = Partial::default();
                Progress::Again
            }
            step => self.part_end(step),
        }
    }

    /// Of so many bytes, at least one, those that may be told as payload now, or what to tell
    /// instead.
    fn payload(&mut self, bytes: usize) -> Progress {
        if !self.announced {
            return self.part_start();
        }
        let limit = self.config.limits.part_bytes as usize;
        let granted = limit.saturating_sub(self.taken).min(bytes);
        if granted == 0 {
            return self.too_large();
        }
        self.taken = self.taken.wrapping_add(granted);
        Progress::Payload(granted)
    }

    /// More payload has come than there may be.
    fn too_large(&mut self) -> Progress {
        // What was held back is used up already. The place and the count must not depend on that.
        let held = self.line.left();
        let limit = self.config.limits.part_bytes;
        let needed = u64::from(limit).wrapping_add(1);
        let progress = self.drop_part(DropReason::TooLarge { needed, limit });
        self.dropped.offset = self.offset.wrapping_sub(held as u64);
        self.spent = held;
        progress
    }

    // --- Parts ---

    fn part_start(&mut self) -> Progress {
        self.announced = true;
        Progress::PartStart
    }

    /// After payload, what may be a delimiter has come to this.
    fn part_end(&mut self, step: Step) -> Progress {
        let next = match step {
            Step::Delimiter => State::Padding,
            Step::Close => State::Closing,
            Step::More | Step::Unknown | Step::Mismatch => return Progress::Hungry,
        };
        let announced = self.announced;
        self.between_parts(next);
        // A part without head and payload is none; it comes before a late closing delimiter.
        if announced { Progress::PartEnd } else { Progress::Again }
    }

    #[inline(never)]
    fn drop_part(&mut self, reason: DropReason) -> Progress {
        self.between_parts(State::Lost);
        self.dropped = Dropped { reason, offset: self.offset };
        Progress::PartDropped
    }

    #[inline(never)]
    fn between_parts(&mut self, next: State) {
        self.state = next;
        self.line.clear();
        self.head = Head::default();
        self.announced = false;
        self.taken = 0;
        self.spent = 0;
    }

    fn fail(&mut self, kind: DecodeErrorKind, offset: u64) -> Progress {
        self.state = State::Failed;
        self.failure = DecodeError { kind, offset };
        Progress::Failed
    }

    // --- Heads ---

    /// Takes input up to the next LF, within the limit of a head.
    fn in_head(&mut self, input: &mut &[u8]) -> Progress {
        if let (State::Padding, 0, Some(b'C' | b'c')) = (self.state, self.spent, input.first()) {
            self.state = State::Head; // The delimiter is glued to the field.
        }
        let end = find_byte(b'\n', input);
        let wanted = end.map_or(input.len(), |at| at.saturating_add(1));
        let limit = self.config.limits.head_bytes as usize;
        let left = limit.saturating_sub(self.spent);
        if wanted > left {
            self.consume(input, left);
            return self.head_too_long();
        }
        self.spent = self.spent.saturating_add(wanted);
        let piece = self.consume(input, wanted);
        // RFC 2046, 5.1.1: white space after the boundary is transport padding. Its first byte has
        // been looked at; what comes after it is passed over.
        let padding = self.state == State::Padding;
        match piece {
            [end @ .., b'\n'] if !padding => self.head_line_end(end),
            [.., b'\n'] => {
                self.state = State::Head;
                Progress::Again
            }
            _ => {
                if !padding {
                    self.line.push(piece);
                }
                Progress::Hungry
            }
        }
    }

    /// A line of the head ends with this and an LF.
    fn head_line_end(&mut self, end: &[u8]) -> Progress {
        let held;
        let (line, cut) = if self.line.left() == 0 {
            end.get(..LINE).map_or((end, false), |start| (start, end.len() > LINE))
        } else {
            self.line.push(end);
            held = self.line.clone();
            self.line.clear();
            held.get()
        };
        self.head_line(line, cut)
    }

    fn head_too_long(&mut self) -> Progress {
        let limit = self.config.limits.head_bytes;
        self.drop_part(DropReason::HeadTooLong { limit })
    }

    /// Looks at a line of the head without its LF, or, if it is `cut`, at the start of one.
    fn head_line(&mut self, line: &[u8], cut: bool) -> Progress {
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
    fn head_unfinished(&mut self, next: State) -> Progress {
        if self.head.fields == 0 {
            self.between_parts(next);
            return Progress::Again;
        }
        let progress = self.drop_part(DropReason::HeadUnfinished);
        self.state = next;
        progress
    }

    fn head_end(&mut self) -> Progress {
        let Config { quirks, limits } = &self.config;
        if self.head.fields == 0 {
            // RFC 2046, 5.1: a part need not have a head.
            self.state = State::AfterBlank;
            return Progress::Again;
        }
        if self.head.junk && !quirks.junk_in_head {
            return self.drop_line(DropReason::BadHead);
        }
        let refuses = quirks.wrong_length == WrongLength::Refuse;
        if self.head.bad_length {
            if refuses {
                return self.drop_line(DropReason::BadLength);
            }
            self.head.head.content_length = None;
        }
        // What is longer than it may be is dropped, whether its length is believed or not.
        let limit = limits.part_bytes;
        match self.head.head.content_length {
            Some(left)
                if left <= u64::from(limit) && quirks.wrong_length != WrongLength::Ignore =>
            {
                self.state = State::Counted;
                self.left = left as usize; // within the limit, which has 32 bits
            }
            Some(needed) if refuses => {
                return self.drop_line(DropReason::TooLarge { needed, limit });
            }
            _ => {
                self.state = State::Scanned;
                self.partial = Partial::LINE_START;
            }
        }
        self.part_start()
    }

    /// As [`drop_part`](Self::drop_part), at the start of a line: the next may be a delimiter.
    fn drop_line(&mut self, reason: DropReason) -> Progress {
        self.partial = Partial::LINE_START;
        self.drop_part(reason)
    }

    // --- Where it is not certain what comes ---

    /// At the start of the body, and after a blank line where a head should be: is it a head
    /// after all, or a picture without one, or a delimiter, or something else?
    fn sniff(&mut self, input: &mut &[u8]) -> Progress {
        let Some(&byte) = input.first() else { return Progress::Hungry };
        let quirks = &self.config.quirks;
        let (start, wanted) = match self.state {
            State::Start => (true, quirks.missing_first_delimiter && self.delimiter.is_known()),
            _ => (false, quirks.blank_line_before_head),
        };
        let begun = self.line.get().0;
        if wanted && begun.is_empty() && matches!(byte, b'\r' | b'\n') {
            self.consume(input, 1);
            return self.leading_line_end(start);
        }
        let picture = *begun.first().unwrap_or(&byte) == PICTURE_START[0];
        let expected = if picture { &PICTURE_START[..] } else { &FIELD_START[..] };
        match expected.get(begun.len()..) {
            Some([next, after @ ..]) if wanted && next.eq_ignore_ascii_case(&byte) => {
                if after.is_empty() {
                    self.state = if picture { State::Scanned } else { State::Head };
                    self.spent = expected.len();
                }
                let piece = self.consume(input, 1);
                self.line.push(piece);
                Progress::Again
            }
            _ => self.not_sniffed(start),
        }
    }

    fn leading_line_end(&mut self, start: bool) -> Progress {
        if start {
            return self.discard(1);
        }
        if self.spent >= self.config.limits.head_bytes as usize {
            return self.head_too_long();
        }
        self.spent = self.spent.saturating_add(1);
        Progress::Again
    }

    /// It is neither head nor picture. What has been held back of it is preamble or payload.
    fn not_sniffed(&mut self, start: bool) -> Progress {
        let bytes = self.line.left();
        if bytes == 0 {
            self.partial = Partial::LINE_START;
        }
        if !start {
            self.state = State::Scanned;
            return Progress::Again;
        }
        self.state = State::Preamble;
        self.line.clear();
        self.discard(bytes)
    }

    /// Searches for a delimiter; what comes before it is of no use.
    fn search(&mut self, input: &mut &[u8]) -> Progress {
        // What a part that was dropped had held back counts already.
        if self.discard(0) == Progress::Failed {
            return Progress::Failed;
        }
        if input.is_empty() {
            return Progress::Hungry;
        }
        if self.partial.is_none() {
            let certain = self.finder.before_delimiter(input, &self.delimiter);
            if certain > 0 {
                let piece = self.consume(input, certain);
                self.frame_may_end(piece, certain);
                return self.discard(certain);
            }
        }
        match self.step(input) {
            Step::More => return Progress::Hungry,
            Step::Delimiter => self.between_parts(State::Padding),
            Step::Close => self.between_parts(State::Closing),
            step @ (Step::Mismatch | Step::Unknown) => {
                if step == Step::Unknown {
                    self.state = State::Learn;
                }
                let bytes = self.line.left();
                self.line.clear();
                self.partial = Partial::default();
                return self.discard(bytes);
            }
        }
        Progress::Again
    }

    /// The line says what the boundary is, if it looks like one.
    fn learn(&mut self, input: &mut &[u8]) -> Progress {
        if input.is_empty() {
            return Progress::Hungry;
        }
        let end = find_byte(b'\n', input);
        let wanted = end.map_or(input.len(), |at| at.saturating_add(1));
        let piece = self.consume(input, wanted);
        self.line.push(piece.get(..end.unwrap_or(wanted)).unwrap_or_default());
        let progress = self.discard(wanted);
        if end.is_some() && progress == Progress::Again {
            let (line, cut) = self.line.get();
            if !cut && self.delimiter.learn(line) {
                self.between_parts(State::Head);
            } else {
                self.line.clear();
                self.partial = Partial::LINE_START;
                self.state = State::Preamble;
            }
        }
        progress
    }

    /// So many bytes, already used up, are neither delimiter nor part.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn discard(&mut self, bytes: usize) -> Progress {
        let limits = &self.config.limits;
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
        self.spent = self.spent.saturating_add(bytes);
        let beyond = self.spent.saturating_sub(limit as usize);
        if beyond > 0 {
            // Where the limit was passed, not where it was noticed: that depends on the cuts.
            return self.fail(kind, self.offset.wrapping_sub(beyond as u64));
        }
        Progress::Again
    }

    // --- Input ---

    /// Goes on with a delimiter as far as the input goes. What is used up is kept: it may be payload.
    fn step(&mut self, input: &mut &[u8]) -> Step {
        let leap = self.delimiter.leap(&mut self.partial, input);
        let piece = self.consume(input, leap);
        self.line.push(piece);
        while let Some(&byte) = input.first() {
            let step = self.delimiter.step(&mut self.partial, byte);
            if matches!(step, Step::Mismatch | Step::Delimiter) {
                return step;
            }
            let piece = self.consume(input, 1);
            self.line.push(piece);
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
const FIELD_START: [u8; 8] = *b"content-";

/// What a picture begins with.
const PICTURE_START: [u8; 2] = [0xFF, 0xD8];
