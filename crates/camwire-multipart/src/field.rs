//! The lines of a part's head.

use crate::PartHead;
use crate::text::{find_byte, same, trim, trim_end};

/// A field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    ContentType,
    ContentLength,
    Timestamp,
    Frame,
    Missed,
    Unknown,
    Invalid,
}

/// What a part's `Content-Type` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentType {
    /// `image/jpeg`, or `image/jpg` or `image/pjpeg`, which are not registered but sent.
    Jpeg,
    /// Text or sound.
    Other,
    /// There is none, or another. JPEG frames are sent with many types, such as
    /// `application/octet-stream`.
    #[default]
    Unknown,
}

/// A head as far as it has arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    pub(crate) fields: u16,
    pub(crate) content_type: ContentType,
    pub(crate) head: PartHead,
    /// There was a `Content-Length` that is no number, or two that differ.
    pub(crate) bad_length: bool,
    /// There was a line that is no field.
    pub(crate) junk: bool,
}

impl Head {
    /// Takes a line that is not empty and has no line end. `cut` says that its end is missing.
    pub(crate) fn line(&mut self, line: &[u8], cut: bool) {
        // Folded lines (RFC 5322, 2.2.3) belong to the field before them. None of the fields
        // that matter is ever folded within what matters of it.
        if matches!(line, [b' ' | b'\t', ..]) {
            return;
        }
        let (name, value) = match split(line) {
            Some((name, value)) => {
                // RFC 9112, 5.1, forbids white space before the colon.
                let trimmed = trim_end(name);
                self.junk |= trimmed.len() < name.len();
                (known(trimmed), value)
            }
            None => (Name::Invalid, line),
        };
        // No picture is refused for what its server says about it, so these are `None` if they make
        // no sense.
        let number_of = match name {
            Name::ContentType => {
                self.content_type = content_type(value);
                return;
            }
            Name::ContentLength => return self.content_length(value, cut),
            Name::Timestamp if !cut => {
                self.head.timestamp_us = seconds(value);
                return;
            }
            Name::Frame if !cut => &mut self.head.sequence,
            Name::Missed if !cut => &mut self.head.missed,
            Name::Invalid => {
                self.junk = true;
                return;
            }
            _ => return,
        };
        *number_of = number(0, value);
    }

    fn content_length(&mut self, value: &[u8], cut: bool) {
        let length = match number(0, value) {
            _ if cut => None,
            // More than any limit, and so too large rather than malformed.
            None if is_digits(value) => Some(u64::MAX),
            length => length,
        };
        let before = self.head.content_length;
        self.bad_length |= length.is_none() || (before.is_some() && before != length);
        self.head.content_length = length;
    }
}

/// Name and value of a field, without the white space around the value.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(find_byte(b':', line)?)?;
    Some((name, trim(value.get(1..)?)))
}

fn known(name: &[u8]) -> Name {
    let (known, field) = match name.len() {
        7 => (&b"x-frame"[..], Name::Frame),
        8 => (&b"x-missed"[..], Name::Missed),
        11 => (&b"x-timestamp"[..], Name::Timestamp),
        12 => (&b"content-type"[..], Name::ContentType),
        14 => (&b"content-length"[..], Name::ContentLength),
        _ => (&b""[..], Name::Invalid),
    };
    if same(name, known) {
        return field;
    }
    // RFC 5322, 2.2: printable, and no colon, which is out already.
    if name.iter().all(u8::is_ascii_graphic) { Name::Unknown } else { Name::Invalid }
}

fn content_type(value: &[u8]) -> ContentType {
    let end = find_byte(b';', value).unwrap_or(value.len());
    let media = trim(value.get(..end).unwrap_or_default());
    let start = media.get(..5).unwrap_or_default();
    if same(start, b"text/") || same(start, b"audio") {
        return ContentType::Other;
    }
    let is_jpeg =
        [&b"image/jpeg"[..], b"image/jpg", b"image/pjpeg"].iter().any(|jpeg| same(media, jpeg));
    if is_jpeg { ContentType::Jpeg } else { ContentType::Unknown }
}

/// The number that has these digits, one or more, behind those of `n`, if 64 bits are enough.
#[inline(never)] // Four times would be too much for a small chip's flash.
fn number(mut n: u64, digits: &[u8]) -> Option<u64> {
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 || n > u64::MAX / 10 {
            return None;
        }
        n = n.wrapping_mul(10).checked_add(u64::from(digit))?;
    }
    (!digits.is_empty()).then_some(n)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Seconds, with or without decimals, as microseconds.
fn seconds(value: &[u8]) -> Option<u64> {
    let point = find_byte(b'.', value).unwrap_or(value.len());
    let (whole, decimals) = value.split_at_checked(point)?;
    let mut micros = *b"000000";
    if let [_, decimals @ ..] = decimals {
        if !is_digits(decimals) {
            return None;
        }
        for (to, from) in micros.iter_mut().zip(decimals) {
            *to = *from;
        }
    }
    number(number(0, whole)?, &micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> Head {
        let mut head = Head::default();
        for line in lines {
            head.line(line.as_bytes(), false);
        }
        head
    }

    #[test]
    fn what_servers_send() {
        for (line, length) in [
            ("Content-Length: 1234", Some(1234)),
            ("Content-Length:      1234", Some(1234)),
            ("content-length:1234 \t", Some(1234)),
            ("CONTENT-LENGTH: 00001234", Some(1234)),
            ("Content-Length: 18446744073709551616", Some(u64::MAX)),
            ("Content-Length: 99999999999999999999999999999", Some(u64::MAX)),
        ] {
            let head = read(&[line]);
            assert_eq!(head.head.content_length, length, "{line}");
            assert!(!head.bad_length && !head.junk, "{line}");
        }
        for line in ["", "-1", "+1", "0x10", "1 2", "1,1", "12a", "1.0"] {
            let head = read(&[&std::format!("Content-Length: {line}")]);
            assert!(head.bad_length, "{line}");
        }
        for (line, us) in [
            ("12.000345", Some(12_000_345)),
            ("12.5", Some(12_500_000)),
            ("12", Some(12_000_000)),
            ("0.1234567890", Some(123_456)),
            ("18446744073709.551615", Some(u64::MAX)),
            ("18446744073709.551616", None),
            ("-1.0", None),
            ("1.", None),
            (".5", None),
            ("1.2.3", None),
            ("now", None),
        ] {
            let head = read(&[&std::format!("X-Timestamp: {line}")]);
            assert_eq!(head.head.timestamp_us, us, "{line}");
        }
        for (line, content_type) in [
            ("image/jpeg", ContentType::Jpeg),
            ("IMAGE/JPEG; name=x", ContentType::Jpeg),
            ("image/jpg", ContentType::Jpeg),
            ("image/pjpeg", ContentType::Jpeg),
            ("image/jpeg2000", ContentType::Unknown),
            ("Image/png", ContentType::Unknown),
            ("video/x-motion-jpeg; a=b", ContentType::Unknown),
            ("Application/Octet-Stream", ContentType::Unknown),
            ("", ContentType::Unknown),
            ("; a=b", ContentType::Unknown),
            ("image", ContentType::Unknown),
            ("text/plain", ContentType::Other),
            ("audio/basic", ContentType::Other),
        ] {
            let head = read(&[&std::format!("Content-type: {line}")]);
            assert_eq!(head.content_type, content_type, "{line}");
        }
    }

    #[test]
    fn two_lengths() {
        assert!(!read(&["Content-Length: 5", "Content-Length: 05"]).bad_length);
        assert!(read(&["Content-Length: 5", "Content-Length: 6"]).bad_length);
        assert!(read(&["Content-Length: x", "Content-Length: 6"]).bad_length);
    }

    #[test]
    fn junk() {
        for line in ["no colon", ": no name", "a b: c", "Content-Length : 5", "\u{fc}: x"] {
            assert!(read(&[line]).junk, "{line}");
        }
        // It is junk, but it is clear what it says.
        assert_eq!(read(&["Content-Length \t: 5"]).head.content_length, Some(5));
        assert!(!read(&[" folded", "\tfolded", "X-Any:", "X-Any::"]).junk);
    }

    proptest! {
        /// Whatever httparse takes as a field, is taken as the same field.
        #[test]
        fn like_httparse(line in "([!-~]{1,9}|X-Frame|Content-Length)[ ]?:[ \t]*[ -~]{0,12}[ \t]*") {
            let block = std::format!("{line}\r\n\r\n");
            let mut fields = [httparse::EMPTY_HEADER];
            if let Ok(httparse::Status::Complete((_, [field]))) =
                httparse::parse_headers(block.as_bytes(), &mut fields)
            {
                let (name, value) = split(line.as_bytes()).unwrap();
                prop_assert_eq!((name, value), (field.name.as_bytes(), field.value));
                prop_assert_ne!(known(name), Name::Invalid);
            }
        }

        #[test]
        fn numbers_like_std(text in "[0-9]{1,22}|[0-9 +-]{0,5}") {
            let std = text.parse::<u64>().ok().filter(|_| is_digits(text.as_bytes()));
            prop_assert_eq!(number(0, text.as_bytes()), std);
        }
    }
}
