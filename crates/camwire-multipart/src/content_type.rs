use crate::Quirks;
use crate::boundary::{MAX_BOUNDARY, is_boundary_char};
use crate::text::{Line, same, trim, trim_end, trim_start};

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

/// The `boundary` parameter of a Content-Type value (RFC 2045, 5.1), wherever it stands among the
/// parameters. Empty if there is none and that is tolerated. It may hold characters that a
/// [`Boundary`](crate::Boundary) may not; a decoder need not care.
pub(crate) fn boundary(value: &[u8], quirks: &Quirks) -> Result<Line, ContentTypeError> {
    let mut rest = value;
    let media = trim(until(&mut rest, b';', b';'));
    if !media.get(..10).is_some_and(|kind| same(kind, b"multipart/")) {
        return Err(ContentTypeError::NotMultipart);
    }
    let mut text = Line::new();
    while !rest.is_empty() {
        rest = rest.get(1..).unwrap_or_default(); // the semicolon
        let name = trim(until(&mut rest, b'=', b';'));
        if rest.first() != Some(&b'=') {
            continue;
        }
        rest = trim_start(rest.get(1..).unwrap_or_default());
        let at = value.len().saturating_sub(rest.len());
        let quoted = rest.first() == Some(&b'"');
        text.clear();
        let whole = if quoted {
            unquote(&mut rest, &mut text)
        } else {
            text.push(trim_end(until(&mut rest, b';', b';')));
            true
        };
        if same(name, b"boundary") {
            let valid = whole && is_valid(&text, quoted, quirks.loose_boundary);
            return if valid { Ok(text) } else { Err(ContentTypeError::BadBoundary { at }) };
        }
        // What is between the value and the next semicolon is not ours to judge.
        until(&mut rest, b';', b';');
    }
    text.clear();
    if quirks.missing_boundary { Ok(text) } else { Err(ContentTypeError::NoBoundary) }
}

fn is_valid(text: &Line, quoted: bool, loose: bool) -> bool {
    let allowed = |&b: &u8| match b {
        b' ' => quoted || loose,
        // RFC 2045: without quotes there are no tspecials.
        b'(' | b')' | b',' | b'/' | b':' | b'=' | b'?' => quoted || loose,
        _ => is_boundary_char(b) || loose && b.is_ascii_graphic(),
    };
    match text.get().0 {
        [] | [.., b' '] => false,
        text => text.len() <= MAX_BOUNDARY && text.iter().all(allowed),
    }
}

/// Cuts off what comes before the first of these bytes.
#[cfg_attr(target_pointer_width = "32", inline(never))]
fn until<'v>(rest: &mut &'v [u8], end: u8, other_end: u8) -> &'v [u8] {
    let at = rest.iter().position(|&b| b == end || b == other_end).unwrap_or(rest.len());
    let (before, after) = rest.split_at_checked(at).unwrap_or_default();
    *rest = after;
    before
}

/// Takes a quoted string, without its quotes and backslashes. The answer is whether it has an end.
fn unquote(rest: &mut &[u8], text: &mut Line) -> bool {
    let mut bytes = rest.get(1..).unwrap_or_default().iter();
    loop {
        let byte = match bytes.next() {
            Some(b'"') => break,
            Some(b'\\') => bytes.next(),
            byte => byte,
        };
        let Some(&byte) = byte else {
            *rest = &[];
            return false;
        };
        text.push(&[byte]);
    }
    *rest = bytes.as_slice();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, quirks: &Quirks) -> Result<std::string::String, ContentTypeError> {
        let text = boundary(value.as_bytes(), quirks)?;
        Ok(std::string::String::from_utf8(text.get().0.to_vec()).unwrap())
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
