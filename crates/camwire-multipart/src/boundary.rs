use core::fmt;

/// Most characters a boundary can have (RFC 2046, 5.1.1).
pub(crate) const MAX_BOUNDARY: usize = 70;

/// What separates the parts of a body: 1 to 70 characters that RFC 2046 (5.1.1) allows, without
/// the dashes in front of it. A value of this type is always a valid boundary.
///
/// It is for bodies whose boundary is known: those that a [`Decoder`](crate::Decoder) reads. An
/// [`Encoder`](crate::Encoder) makes one of its own, which nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Boundary {
    // Zero beyond `len`, so that the derived comparison is right.
    bytes: [u8; MAX_BOUNDARY],
    len: u8,
}

impl Boundary {
    /// The boundary with this text.
    ///
    /// # Errors
    ///
    /// As [`BoundaryError`] says.
    pub const fn new(text: &str) -> Result<Self, BoundaryError> {
        let mut rest = text.as_bytes();
        let mut boundary = Self { bytes: [0; MAX_BOUNDARY], len: 0 };
        if rest.is_empty() {
            return Err(BoundaryError::Empty);
        }
        while let [first, more @ ..] = rest {
            let at = boundary.len as usize;
            if at >= MAX_BOUNDARY {
                return Err(BoundaryError::TooLong);
            }
            // bcharsnospace, except that a space may stand anywhere but last.
            let inner_space = *first == b' ' && !more.is_empty();
            if !is_boundary_char(*first) && !inner_space {
                return Err(BoundaryError::Character { at: boundary.len });
            }
            boundary.bytes[at] = *first;
            boundary.len = boundary.len.wrapping_add(1);
            rest = more;
        }
        Ok(boundary)
    }

    /// Its text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        // Always ASCII, so the fallback is never taken.
        match core::str::from_utf8(self.as_bytes()) {
            Ok(text) => text,
            Err(_) => "",
        }
    }

    /// Its text, as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self.bytes.split_at_checked(self.len as usize) {
            Some((text, _)) => text,
            None => &self.bytes,
        }
    }

    /// Whether it must stand in quotes in a header (RFC 2045, 5.1: not a `token`).
    #[must_use]
    pub const fn needs_quotes(&self) -> bool {
        needs_quotes(self.as_bytes())
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No character of a boundary needs to be escaped, as `str` would, with code that can panic.
        f.debug_tuple("Boundary").field(&format_args!("\"{self}\"")).finish()
    }
}

/// Why a text is no boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoundaryError {
    /// It has no characters.
    #[error("a boundary needs at least one character")]
    Empty,
    /// It has more than 70.
    #[error("a boundary has at most 70 characters")]
    TooLong,
    /// A character that RFC 2046 does not allow there.
    #[error("character {at} cannot be part of a boundary")]
    Character {
        /// Which, counted from 0.
        at: u8,
    },
}

/// Whether the text of a boundary is no `token` of RFC 2045, 5.1.
pub(crate) const fn needs_quotes(mut text: &[u8]) -> bool {
    while let [first, more @ ..] = text {
        if matches!(*first, b'(' | b')' | b',' | b'/' | b':' | b'=' | b'?' | b' ') {
            return true;
        }
        text = more;
    }
    false
}

/// `bcharsnospace` of RFC 2046, 5.1.1.
pub(crate) const fn is_boundary_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'\'' | b'(' | b')' | b'+' | b'_' | b',' | b'-' | b'.' | b'/' | b':' | b'=' | b'?'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_in_quotes() {
        let boundary = Boundary::new("it's -?").unwrap();
        assert_eq!(std::format!("{boundary:?}"), "Boundary(\"it's -?\")");
    }

    #[test]
    fn what_is_a_boundary() {
        let seventy = "x".repeat(70);
        for (text, quotes) in [
            ("FRAME", false),
            ("+++===123454321===+++", true),
            ("--dashed", false),
            ("a b", true),
            ("gc0p4Jq0M2Yt08jU534c0p", false),
            ("it's_(ok)+,-./:=?", true),
            (&seventy, false),
        ] {
            let boundary = Boundary::new(text).unwrap();
            assert_eq!(boundary.as_str(), text);
            assert_eq!(boundary.needs_quotes(), quotes, "{text}");
        }
        let long = "x".repeat(71);
        for (text, error) in [
            ("", BoundaryError::Empty),
            (&*long, BoundaryError::TooLong),
            ("a ", BoundaryError::Character { at: 1 }),
            ("a\"b", BoundaryError::Character { at: 1 }),
            ("\r\n", BoundaryError::Character { at: 0 }),
            ("grün", BoundaryError::Character { at: 2 }),
        ] {
            assert_eq!(Boundary::new(text), Err(error), "{text}");
        }
    }
}
