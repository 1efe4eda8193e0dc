//! Finding the delimiter between two parts.

use crate::Quirks;
use crate::boundary::{MAX_BOUNDARY, is_boundary_char};
use crate::text::trim_end;

/// The delimiter of one body: CR LF `--` boundary, and two dashes more for the last one.
#[derive(Clone, Debug)]
pub(crate) struct Delimiter {
    /// `\r\n--` boundary `--`, and more dashes that mean nothing.
    bytes: [u8; 4 + MAX_BOUNDARY + 2],
    /// Bytes of that without the last two dashes.
    len: u8,
    /// Where the first two dashes are missing if the header's value already had them: the place
    /// behind the last of the leading dashes, less two. 0 if that is not possible or decided.
    short_at: u8,
    lf: bool,
    glued: bool,
}

/// How much of the delimiter the bytes up to now may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Where in the delimiter it stands; 0 for no match under way.
    at: u8,
    /// It is without the first two dashes.
    short: bool,
}

impl Partial {
    /// The next byte is the first of a line.
    pub(crate) const LINE_START: Self = Self { at: 2, short: false };

    pub(crate) const fn is_none(&self) -> bool {
        self.at == 0
    }
}

/// What a byte means for a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It may still become a delimiter.
    More,
    /// It is none. The byte is not used up.
    Mismatch,
    /// The byte comes after a delimiter, and is not used up.
    Delimiter,
    /// The byte is the last of a closing delimiter.
    Close,
    /// The byte is the second dash of a line, and the boundary is not known yet.
    Unknown,
}

impl Delimiter {
    /// `boundary` has at most 70 bytes. If it is empty, any line that begins with two dashes is
    /// [`Step::Unknown`], until it is [learned](Self::learn).
    pub(crate) fn new(boundary: &[u8], quirks: &Quirks) -> Self {
        let mut bytes = [b'-'; 4 + MAX_BOUNDARY + 2];
        let [cr, lf_byte, _, _, room @ .., _, _] = &mut bytes;
        (*cr, *lf_byte) = (b'\r', b'\n');
        for (to, from) in room.iter_mut().zip(boundary) {
            *to = *from;
        }
        let len = boundary.len().min(MAX_BOUNDARY);
        let dashes = boundary.iter().take_while(|&&b| b == b'-').count();
        let short = quirks.dashed_boundary && dashes >= 2 && dashes < len;
        let short_at = if short { 2 + dashes as u8 } else { 0 };
        let (lf, glued) = (quirks.lf_line_ends, quirks.glued_delimiter);
        Self { bytes, len: 4 + len as u8, short_at, lf, glued }
    }

    /// The next byte may begin a delimiter that is glued to the frame before it, of which this is
    /// the end.
    #[inline]
    pub(crate) const fn may_follow(&self, frame: &[u8]) -> bool {
        self.glued && matches!(frame, [.., FRAME_END])
    }

    pub(crate) const fn is_known(&self) -> bool {
        self.len > 4
    }

    /// Takes the rest of a line that began with two dashes as the boundary.
    pub(crate) fn learn(&mut self, line: &[u8]) -> bool {
        let boundary = trim_end(line);
        let fits = !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY;
        let learned = fits && boundary.iter().all(|&b| is_boundary_char(b));
        if learned {
            let quirks =
                Quirks { lf_line_ends: self.lf, glued_delimiter: self.glued, ..Quirks::NONE };
            *self = Self::new(boundary, &quirks);
        }
        learned
    }

    /// A piece of `\r\n--` boundary `--`.
    fn bytes(&self, from: u8, to: u8) -> &[u8] {
        self.bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }

    /// Whether a delimiter whose end is still out has all of its boundary.
    pub(crate) const fn is_whole(&self, partial: &Partial) -> bool {
        partial.at >= self.len
    }

    /// Goes on with a match by one byte. No part of a delimiter but its start can be the start of
    /// one, so after a mismatch nothing but this byte needs to be looked at again.
    pub(crate) fn step(&mut self, partial: &mut Partial, byte: u8) -> Step {
        let at = partial.at;
        if at == 0 {
            *partial = match byte {
                b'\r' => Partial { at: 1, short: false },
                b'\n' if self.lf => Partial { at: 2, short: false },
                _ => return Step::Mismatch,
            };
            return Step::More;
        }
        let expected = |at: u8| self.bytes.get(usize::from(at)).copied();
        if at < self.len {
            if expected(at) == Some(byte) {
                partial.at = at.wrapping_add(1);
                if partial.at == 4 && self.len == 4 {
                    return Step::Unknown;
                }
                return Step::More;
            }
            let skipped = at.wrapping_add(2);
            if at == self.short_at && !partial.short && expected(skipped) == Some(byte) {
                *partial = Partial { at: skipped.wrapping_add(1), short: true };
                return Step::More;
            }
            return Step::Mismatch;
        }
        let step = match byte {
            b'-' if at == self.len => {
                partial.at = at.wrapping_add(1);
                return Step::More;
            }
            b'-' => Step::Close,
            b' ' | b'\t' | b'\r' if at == self.len => Step::Delimiter,
            b'\n' if at == self.len && self.lf => Step::Delimiter,
            b'C' | b'c' if at == self.len && self.glued => Step::Delimiter,
            _ => return Step::Mismatch,
        };
        self.decide(partial);
        step
    }

    /// Goes on with a match by all that is left of the boundary, if `input` begins with it, and
    /// says how many bytes that is. The same as so many [`steps`](Self::step), but faster.
    #[inline]
    pub(crate) fn leap(&self, partial: &mut Partial, input: &[u8]) -> usize {
        let from = match (partial.at, input) {
            (0, [b'\n', ..]) if self.lf => 1,
            (at, _) => at,
        };
        let rest = self.bytes(from, self.len);
        if rest.is_empty() || !self.is_known() || !input.starts_with(rest) {
            return 0;
        }
        *partial = Partial { at: self.len, short: partial.short };
        rest.len()
    }

    /// A whole delimiter has been seen, so it is known whether its first dashes are missing.
    fn decide(&mut self, partial: &mut Partial) {
        if partial.short {
            self.bytes.copy_within(4.., 2);
            self.len = self.len.saturating_sub(2);
        }
        self.short_at = 0;
        *partial = Partial::default();
    }

    /// What a line of a head, without its line end, is as a delimiter.
    pub(crate) fn line(&mut self, line: &[u8]) -> Step {
        let mut partial = Partial::LINE_START;
        for &byte in line {
            match self.step(&mut partial, byte) {
                Step::More => {}
                other => return other,
            }
        }
        self.step(&mut partial, b'\r')
    }
}

/// The last byte of a JPEG frame.
const FRAME_END: u8 = 0xD9;

/// Finds line ends, and ends of frames, that two dashes follow. Nothing else can begin a delimiter,
/// and hardly anything else does: in a frame there is one in 2^23 bytes, so it pays to search for
/// that and not for the boundary. It is a constant, too, so the finder does not borrow from the
/// decoder.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    dashes: memchr::memmem::Finder<'static>,
}

impl Finder {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            dashes: memchr::memmem::Finder::new(b"--"),
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline]
    fn find(&self, input: &[u8]) -> Option<usize> {
        let mut from = 1;
        loop {
            let at = self.dashes.find(input.get(from..)?)?.saturating_add(from);
            let before = at.saturating_sub(1);
            if let Some(b'\n' | &FRAME_END) = input.get(before) {
                return Some(before);
            }
            from = at.saturating_add(1);
        }
    }

    /// Without vector instructions `memmem` is no faster than this, but large, and can panic as
    /// far as the linker can see.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn find(&self, input: &[u8]) -> Option<usize> {
        find_by_threes(input)
    }

    /// How many bytes at the start of `input` are certainly no part of a delimiter, if the byte
    /// before them is neither. At that place one may begin.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn before_delimiter(&self, input: &[u8], delimiter: &Delimiter) -> usize {
        let mut from = 0usize;
        loop {
            let rest = input.get(from..).unwrap_or_default();
            // One that the input cuts off is at its end, and found nowhere else.
            let begun = match rest {
                [.., b'\n', b'-'] => 2,
                [.., b'\n'] | [.., b'\r'] => 1,
                [.., FRAME_END, b'-'] if delimiter.glued => 1,
                _ => 0,
            };
            let at = self.find(rest).unwrap_or(rest.len().saturating_sub(begun));
            let at = from.saturating_add(at);
            match (input.get(at.wrapping_sub(1)), input.get(at)) {
                (_, None | Some(b'\r')) => return at,
                (Some(&FRAME_END), Some(b'-')) => return at,
                (_, Some(&FRAME_END)) if delimiter.glued => return at.saturating_add(1),
                (_, Some(&FRAME_END)) => from = at.saturating_add(1),
                (Some(b'\r'), _) => return at.saturating_sub(1),
                _ if delimiter.lf => return at,
                _ => from = at.saturating_add(1),
            }
        }
    }
}

/// Looks at every third byte only, as long as these are neither what it searches for nor a dash.
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn find_by_threes(input: &[u8]) -> Option<usize> {
    let mut rest = input;
    while let [first, second, third, ..] = rest {
        let step = match third {
            b'-' if *second == b'-' && matches!(*first, b'\n' | FRAME_END) => {
                return Some(input.len().saturating_sub(rest.len()));
            }
            b'-' => 1,
            b'\n' | &FRAME_END => 2,
            _ => 3,
        };
        rest = rest.get(step..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_to_find(input in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'-'), Just(FRAME_END), any::<u8>()], 0..200)
        ) {
            let naive = input.windows(3).position(|w| w == b"\n--" || w == b"\xD9--");
            prop_assert_eq!(find_by_threes(&input), naive);
            prop_assert_eq!(Finder::new().find(&input), naive);
        }
    }

    #[test]
    fn lines() {
        let mut delimiter = Delimiter::new(b"x-", &Quirks::CAMERAS);
        for (line, step) in [
            (&b"--x-"[..], Step::Delimiter),
            (b"--x- \t ", Step::Delimiter),
            (b"--x---", Step::Close),
            (b"--x--", Step::Mismatch),
            (b"--x-y", Step::Mismatch),
            (b"--x-Content-Type: image/jpeg", Step::Delimiter),
            (b"--x", Step::Mismatch),
            (b"-", Step::Mismatch),
            (b"", Step::Mismatch),
        ] {
            assert_eq!(delimiter.line(line), step, "{line:?}");
        }
    }

    #[test]
    fn the_first_delimiter_decides_about_the_dashes() {
        for (first, other) in [("--x", "----x"), ("----x", "--x")] {
            let mut delimiter = Delimiter::new(b"--x", &Quirks::CAMERAS);
            assert_eq!(delimiter.line(first.as_bytes()), Step::Delimiter);
            assert_eq!(delimiter.line(other.as_bytes()), Step::Mismatch);
            assert_eq!(delimiter.line(first.as_bytes()), Step::Delimiter);
            assert_eq!(delimiter.line(std::format!("{first}--").as_bytes()), Step::Close);
        }
        // Only dashes: nothing to tell them apart by.
        let mut delimiter = Delimiter::new(b"--", &Quirks::CAMERAS);
        assert_eq!(delimiter.line(b"----"), Step::Delimiter);
    }
}
