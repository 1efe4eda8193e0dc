use crate::Quirks;
use crate::boundary::{MAX_BOUNDARY, is_boundary_char};

/// Why the value of a response's `Content-Type` field announces no body to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentTypeError {
    /// It is no `multipart/` type at all.
    #[error("the content type is not multipart")]
    NotMultipart,
    /// It has no boundary, and [`Quirks::missing_boundary`] is not set.
    #[error("the content type has no boundary parameter")]
    NoBoundary,
    /// Its boundary is empty, longer than 70 characters, holds a character that it must not, or
    /// has a quote with no end. The place is where its value begins.
    #[error("the boundary at byte {at} of the content type is invalid")]
    BadBoundary {
        /// Where, counted from 0.
        at: usize,
    },
}

/// A boundary as a header gave it. It may hold characters that a [`Boundary`](crate::Boundary)
/// may not; a decoder need not care.
pub(crate) struct Announced {
    bytes: [u8; MAX_BOUNDARY],
    len: usize,
}

impl Announced {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) -> bool {
        let room = self.bytes.get_mut(self.len);
        self.len = self.len.saturating_add(1);
        room.map(|to| *to = byte).is_some()
    }
}

/// The `boundary` parameter of a Content-Type value (RFC 2045, 5.1), wherever it stands among the
/// parameters. Empty if there is none and that is tolerated.
pub(crate) fn boundary(value: &[u8], quirks: &Quirks) -> Result<Announced, ContentTypeError> {
    let mut announced = Announced { bytes: [0; MAX_BOUNDARY], len: 0 };
    let mut rest = value;
    let media = until(&mut rest, |b| b == b';').trim_ascii();
    if !media.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/")) {
        return Err(ContentTypeError::NotMultipart);
    }
    while !rest.is_empty() {
        rest = rest.get(1..).unwrap_or_default(); // the semicolon
        let name = until(&mut rest, |b| matches!(b, b'=' | b';')).trim_ascii();
        if rest.first() != Some(&b'=') {
            continue;
        }
        rest = rest.get(1..).unwrap_or_default().trim_ascii_start();
        let at = value.len().saturating_sub(rest.len());
        let wanted = name.eq_ignore_ascii_case(b"boundary");
        let ok = if rest.first() == Some(&b'"') {
            quoted(&mut rest, |b| !wanted || announced.push(b))
        } else {
            let token = until(&mut rest, |b| b == b';').trim_ascii_end();
            // RFC 2045: a token holds no tspecials and no space.
            let plain = |b: u8| {
                is_boundary_char(b) && !matches!(b, b'(' | b')' | b',' | b'/' | b':' | b'=' | b'?')
            };
            let loose = quirks.loose_boundary;
            !wanted || token.iter().all(|&b| (loose || plain(b)) && announced.push(b))
        };
        if wanted {
            let text = announced.as_bytes();
            let fine = |&b: &u8| {
                is_boundary_char(b) || b == b' ' || quirks.loose_boundary && b.is_ascii_graphic()
            };
            let valid = ok && !text.is_empty() && !text.ends_with(b" ") && text.iter().all(fine);
            return if valid { Ok(announced) } else { Err(ContentTypeError::BadBoundary { at }) };
        }
        // What is between the value and the next semicolon is not ours to judge.
        until(&mut rest, |b| b == b';');
    }
    if quirks.missing_boundary { Ok(announced) } else { Err(ContentTypeError::NoBoundary) }
}

/// Cuts off what comes before the first byte that `ends` says yes to.
fn until<'v>(rest: &mut &'v [u8], ends: impl Fn(u8) -> bool) -> &'v [u8] {
    let at = rest.iter().position(|&b| ends(b)).unwrap_or(rest.len());
    let (before, after) = rest.split_at_checked(at).unwrap_or_default();
    *rest = after;
    before
}

/// Gives the characters of a quoted string, its quotes and backslashes removed, to `take`.
fn quoted(rest: &mut &[u8], mut take: impl FnMut(u8) -> bool) -> bool {
    let mut bytes = rest.get(1..).unwrap_or_default().iter();
    let mut ok = true;
    loop {
        let byte = match bytes.next() {
            None => {
                *rest = &[];
                return false;
            }
            Some(b'"') => {
                *rest = bytes.as_slice();
                return ok;
            }
            Some(b'\\') => bytes.next(),
            byte => byte,
        };
        ok = ok && byte.is_some_and(|&b| take(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, quirks: &Quirks) -> Result<std::string::String, ContentTypeError> {
        let announced = boundary(value.as_bytes(), quirks)?;
        Ok(std::string::String::from_utf8(announced.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn what_servers_send() {
        for (value, strict, text) in [
            ("multipart/x-mixed-replace;boundary=frame", true, "frame"),
            ("multipart/x-mixed-replace; boundary=FRAME", true, "FRAME"),
            ("Multipart/X-Mixed-Replace ; BOUNDARY = x ; y=z", true, "x"),
            ("multipart/x-mixed-replace; charset=\"a;boundary=no\"; boundary=x", true, "x"),
            ("multipart/x-mixed-replace; boundary=\"+++===1===+++\"", true, "+++===1===+++"),
            ("multipart/x-mixed-replace; boundary=+++===1===+++", false, "+++===1===+++"),
            ("multipart/x-mixed-replace; boundary=\"a\\b c\"; d", true, "ab c"),
            ("multipart/x-mixed-replace;boundary=--frameboundary", true, "--frameboundary"),
            ("multipart/x-mixed-replace; boundary=a@b", false, "a@b"),
            ("multipart/mixed;;;boundary=a;boundary=b", true, "a"),
        ] {
            assert_eq!(read(value, &Quirks::CAMERAS).as_deref(), Ok(text), "{value}");
            let expected = if strict { Some(text) } else { None };
            assert_eq!(read(value, &Quirks::NONE).ok().as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn what_is_refused() {
        use ContentTypeError::{BadBoundary, NoBoundary, NotMultipart};
        let long = std::format!("multipart/x;boundary={}", "x".repeat(71));
        for (value, error) in [
            ("", NotMultipart),
            ("image/jpeg", NotMultipart),
            ("multipart", NotMultipart),
            ("multipart/x-mixed-replace", NoBoundary),
            ("multipart/x-mixed-replace; boundary", NoBoundary),
            ("multipart/x-mixed-replace; xboundary=b", NoBoundary),
            ("multipart/x-mixed-replace; boundary=", BadBoundary { at: 36 }),
            ("multipart/x-mixed-replace; boundary=\"\"", BadBoundary { at: 36 }),
            ("multipart/x-mixed-replace; boundary=\"x", BadBoundary { at: 36 }),
            ("multipart/x-mixed-replace; boundary=\"x ", BadBoundary { at: 36 }),
            ("multipart/x-mixed-replace; boundary=\"x \"", BadBoundary { at: 36 }),
            ("multipart/x-mixed-replace; boundary=\"x\u{7f}\"", BadBoundary { at: 36 }),
            (&long, BadBoundary { at: 21 }),
        ] {
            let strict = Quirks { loose_boundary: true, ..Quirks::NONE };
            assert_eq!(read(value, &strict), Err(error), "{value}");
        }
        assert_eq!(read("multipart/x", &Quirks::CAMERAS).as_deref(), Ok(""));
    }
}
