//! Finding the delimiter between two parts.

use crate::boundary::{MAX_BOUNDARY, is_boundary_char};

/// The delimiter of one body: CR LF `--` boundary, and two dashes more for the last one.
#[derive(Clone, Debug)]
pub(crate) struct Delimiter {
    /// `\r\n--` boundary `--`
    bytes: [u8; 4 + MAX_BOUNDARY + 2],
    /// Bytes of that without the last two dashes.
    len: u8,
    /// Where the first two dashes are missing if the header's value already had them: the place
    /// behind the last of the leading dashes, less two. 0 if that is not possible or decided.
    short_at: u8,
    lf: bool,
}

/// How much of the delimiter the bytes up to now may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Where the match began: 0 at the CR, 1 at the LF, 2 at the dashes, with the line end
    /// already gone.
    start: u8,
    /// Where in the delimiter it stands; 0 for no match under way.
    at: u8,
    /// It is without the first two dashes.
    short: bool,
}

impl Partial {
    /// The next byte is the first of a line.
    pub(crate) const LINE_START: Self = Self { start: 2, at: 2, short: false };

    pub(crate) const fn is_none(self) -> bool {
        self.at == 0
    }

    /// Forgets the match. These parts of the delimiter's bytes were no delimiter.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn give_up(&mut self) -> [(u8, u8); 2] {
        let Self { start, at, short } = core::mem::take(self);
        if short { [(start, 2), (4, at)] } else { [(0, 0), (start, at)] }
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
    pub(crate) fn new(boundary: &[u8], lf: bool, dashed: bool) -> Self {
        let mut new = Self { bytes: [0; 4 + MAX_BOUNDARY + 2], len: 0, short_at: 0, lf };
        let text = b"\r\n--".iter().chain(boundary.iter().take(MAX_BOUNDARY));
        for (to, from) in new.bytes.iter_mut().zip(text.chain(b"--")) {
            *to = *from;
        }
        let len = boundary.len().min(MAX_BOUNDARY);
        new.len = 4 + len as u8;
        let dashes = boundary.iter().take(MAX_BOUNDARY).take_while(|&&b| b == b'-').count();
        if dashed && dashes >= 2 && dashes < len {
            new.short_at = 2 + dashes as u8;
        }
        new
    }

    pub(crate) const fn is_known(&self) -> bool {
        self.len > 4
    }

    /// Takes the rest of a line that began with two dashes as the boundary.
    pub(crate) fn learn(&mut self, line: &[u8]) -> bool {
        let boundary = line.trim_ascii_end();
        let fits = !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY;
        let learned = fits && boundary.iter().all(|&b| is_boundary_char(b));
        if learned {
            *self = Self::new(boundary, self.lf, false);
        }
        learned
    }

    /// A piece of `\r\n--` boundary `--`.
    pub(crate) fn bytes(&self, (from, to): (u8, u8)) -> &[u8] {
        self.bytes.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }

    /// Whether a delimiter whose end is still out has all of its boundary.
    pub(crate) const fn is_whole(&self, partial: Partial) -> bool {
        partial.at >= self.len
    }

    /// Goes on with a match by one byte. No part of a delimiter but its start can be the start of
    /// one, so after a mismatch nothing but this byte needs to be looked at again.
    pub(crate) fn step(&mut self, partial: &mut Partial, byte: u8) -> Step {
        let at = partial.at;
        if at == 0 {
            *partial = match byte {
                b'\r' => Partial { start: 0, at: 1, short: false },
                b'\n' if self.lf => Partial { start: 1, at: 2, short: false },
                _ => return Step::Mismatch,
            };
            return Step::More;
        }
        let expected = |at: u8| self.bytes.get(usize::from(at)).copied();
        if at < self.len {
            if expected(at) == Some(byte) {
                partial.at = at.saturating_add(1);
                if partial.at == 4 && self.len == 4 {
                    return Step::Unknown;
                }
                return Step::More;
            }
            let skipped = at.saturating_add(2);
            if at == self.short_at && !partial.short && expected(skipped) == Some(byte) {
                *partial =
                    Partial { start: partial.start, at: skipped.saturating_add(1), short: true };
                return Step::More;
            }
            return Step::Mismatch;
        }
        match byte {
            b'-' if at == self.len => {
                partial.at = at.saturating_add(1);
                Step::More
            }
            b'-' => {
                self.decide(partial);
                Step::Close
            }
            b' ' | b'\t' | b'\r' if at == self.len => {
                self.decide(partial);
                Step::Delimiter
            }
            b'\n' if at == self.len && self.lf => {
                self.decide(partial);
                Step::Delimiter
            }
            _ => Step::Mismatch,
        }
    }

    /// Goes on with a match by all that is left of the boundary, if `input` begins with it, and
    /// says how many bytes that is. The same as so many [`steps`](Self::step), but faster.
    #[inline]
    pub(crate) fn leap(&self, partial: &mut Partial, input: &[u8]) -> usize {
        let from = match (partial.at, input) {
            (0, [b'\n', ..]) if self.lf => 1,
            (at, _) => at,
        };
        let rest = self.bytes((from, self.len));
        if rest.is_empty() || !self.is_known() || !input.starts_with(rest) {
            return 0;
        }
        let start = if partial.at == 0 { from } else { partial.start };
        *partial = Partial { start, at: self.len, short: partial.short };
        rest.len()
    }

    /// A whole delimiter has been seen, so it is known whether its first dashes are missing.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
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

/// Finds line ends that two dashes follow. Nothing else can begin a delimiter, and hardly anything
/// else does: in a picture there is one in 2^24 bytes, so it pays to search for that and not for
/// the boundary. It is a constant, too, so the finder does not borrow from the decoder.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    dashes: memchr::memmem::Finder<'static>,
}

const DASHES: &[u8; 3] = b"\n--";

impl Finder {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            dashes: memchr::memmem::Finder::new(DASHES),
        }
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline]
    fn find(&self, input: &[u8]) -> Option<usize> {
        self.dashes.find(input)
    }

    /// Without vector instructions `memmem` is no faster than this, but large, and can panic as
    /// far as the linker can see.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn find(&self, input: &[u8]) -> Option<usize> {
        find_by_line_end(input)
    }

    /// How many bytes at the start of `input` are certainly no part of a delimiter, if the byte
    /// before them is neither. At that place one may begin.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn before_delimiter(&self, input: &[u8], delimiter: &Delimiter) -> usize {
        let lf = delimiter.lf;
        let mut from = 0usize;
        while let Some(at) = input.get(from..).and_then(|rest| self.find(rest)) {
            let at = from.saturating_add(at);
            let cr = at.checked_sub(1).filter(|&before| input.get(before) == Some(&b'\r'));
            match cr {
                Some(cr) => return cr,
                None if lf => return at,
                None => from = at.saturating_add(1),
            }
        }
        let begun = match input {
            [.., b'\r', b'\n', b'-'] => 3,
            [.., b'\r', b'\n'] => 2,
            [.., b'\n', b'-'] if lf => 2,
            [.., b'\r'] => 1,
            [.., b'\n'] if lf => 1,
            _ => 0,
        };
        input.len().saturating_sub(begun)
    }
}

#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn find_by_line_end(input: &[u8]) -> Option<usize> {
    let mut from = 0usize;
    loop {
        let rest = input.get(from..)?;
        let at = find_byte(b'\n', rest)?;
        if rest.get(at..)?.starts_with(DASHES) {
            return Some(from.saturating_add(at));
        }
        from = from.saturating_add(at).saturating_add(1);
    }
}

/// Where the byte is first.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn find_byte(byte: u8, input: &[u8]) -> Option<usize> {
    memchr::memchr(byte, input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_to_find(input in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'-'), any::<u8>()], 0..200)
        ) {
            let naive = input.windows(3).position(|w| w == DASHES);
            prop_assert_eq!(find_by_line_end(&input), naive);
            prop_assert_eq!(Finder::new().find(&input), naive);
        }
    }

    #[test]
    fn lines() {
        let mut delimiter = Delimiter::new(b"x-", true, true);
        for (line, step) in [
            (&b"--x-"[..], Step::Delimiter),
            (b"--x- \t ", Step::Delimiter),
            (b"--x---", Step::Close),
            (b"--x--", Step::Mismatch),
            (b"--x-y", Step::Mismatch),
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
            let mut delimiter = Delimiter::new(b"--x", true, true);
            assert_eq!(delimiter.line(first.as_bytes()), Step::Delimiter);
            assert_eq!(delimiter.line(other.as_bytes()), Step::Mismatch);
            assert_eq!(delimiter.line(first.as_bytes()), Step::Delimiter);
            assert_eq!(delimiter.line(std::format!("{first}--").as_bytes()), Step::Close);
        }
        // Only dashes: nothing to tell them apart by.
        let mut delimiter = Delimiter::new(b"--", true, true);
        assert_eq!(delimiter.line(b"----"), Step::Delimiter);
    }
}
