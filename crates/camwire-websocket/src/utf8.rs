/// Tells whether bytes that come in pieces are UTF-8 (RFC 3629), and says so at the first byte that
/// cannot be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utf8 {
    /// Bytes that are still missing of the character under way.
    missing: u8,
    /// Where the next of them must lie. The first one of some characters has narrower limits, which
    /// keep out surrogates, what is beyond U+10FFFF, and longer forms than needed.
    low: u8,
    high: u8,
}

impl Utf8 {
    pub(crate) const START: Self = Self { missing: 0, low: 0x80, high: 0xBF };

    /// Takes a piece. An error is the number of bytes before the first that cannot be.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut rest = bytes;
        loop {
            if self.missing == 0 {
                rest = without_ascii(rest);
            }
            let Some((&byte, after)) = rest.split_first() else { return Ok(()) };
            if !self.step(byte) {
                return Err(bytes.len().saturating_sub(rest.len()));
            }
            rest = after;
        }
    }

    /// Whether no character is under way.
    pub(crate) const fn is_complete(self) -> bool {
        self.missing == 0
    }

    fn step(&mut self, byte: u8) -> bool {
        let next = match (self.missing, byte) {
            (0, 0x00..=0x7F) => Self::START,
            (0, 0xC2..=0xDF) => Self { missing: 1, ..Self::START },
            (0, 0xE0) => Self { missing: 2, low: 0xA0, high: 0xBF },
            (0, 0xED) => Self { missing: 2, low: 0x80, high: 0x9F },
            (0, 0xE1..=0xEF) => Self { missing: 2, ..Self::START },
            (0, 0xF0) => Self { missing: 3, low: 0x90, high: 0xBF },
            (0, 0xF4) => Self { missing: 3, low: 0x80, high: 0x8F },
            (0, 0xF1..=0xF3) => Self { missing: 3, ..Self::START },
            (1.., _) if (self.low..=self.high).contains(&byte) => {
                Self { missing: self.missing.saturating_sub(1), ..Self::START }
            }
            _ => return false,
        };
        *self = next;
        true
    }
}

/// What is left when ASCII is taken off the front, in whole blocks.
fn without_ascii(mut bytes: &[u8]) -> &[u8] {
    // A microcontroller would load the blocks byte by byte.
    while cfg!(target_pointer_width = "64")
        && let Some((block, rest)) = bytes.split_first_chunk::<16>()
        && u128::from_ne_bytes(*block) & u128::from_ne_bytes([0x80; 16]) == 0
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// By the standard library, byte by byte: a byte is impossible if no text that begins with what
    /// has come up to it could be right.
    fn naive(bytes: &[u8]) -> (Result<(), usize>, bool) {
        for end in 1..=bytes.len() {
            if let Err(error) = str::from_utf8(&bytes[..end])
                && error.error_len().is_some()
            {
                return (Err(end - 1), false);
            }
        }
        (Ok(()), str::from_utf8(bytes).is_ok())
    }

    fn check(bytes: &[u8]) {
        let expected = naive(bytes);
        let mut utf8 = Utf8::START;
        let result = utf8.push(bytes);
        assert_eq!((result, result.is_ok() && utf8.is_complete()), expected, "{bytes:x?}");
        let mut utf8 = Utf8::START;
        let bytewise = bytes
            .iter()
            .enumerate()
            .find_map(|(i, byte)| utf8.push(core::slice::from_ref(byte)).is_err().then_some(i));
        assert_eq!(bytewise.map_or(Ok(()), Err), expected.0, "{bytes:x?}");
    }

    #[test]
    fn every_two_bytes_and_what_follows_critical_ones() {
        for a in 0..=255 {
            check(&[a]);
            for b in 0..=255 {
                check(&[a, b]);
                for c in [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF] {
                    check(&[a, b, c]);
                    check(&[a, b, c, 0x80]);
                    check(&[a, b, 0x80, c]);
                }
            }
        }
    }

    #[test]
    fn every_character() {
        let text: Vec<u8> = ('\0'..=char::MAX).flat_map(|c| c.to_string().into_bytes()).collect();
        let mut utf8 = Utf8::START;
        assert_eq!((utf8.push(&text), utf8.is_complete()), (Ok(()), true));
    }

    use std::string::ToString;

    proptest! {
        #[test]
        fn like_std(
            text in "\\PC{0,40}",
            junk in proptest::collection::vec(any::<u8>(), 0..4),
            at: prop::sample::Index,
        ) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, junk);
            check(&bytes);
        }
    }
}
