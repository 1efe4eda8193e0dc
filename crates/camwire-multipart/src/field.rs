//! The lines of a part's head.

use crate::PartHead;
use crate::delimiter::find_byte;

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
    /// `image/jpeg`, or `image/jpg`, which is not registered but sent.
    Jpeg,
    /// Anything else.
    Other,
    /// There is none.
    #[default]
    Missing,
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
            Some((name, value)) => (known(name), value),
            None => (Name::Invalid, line),
        };
        match name {
            Name::ContentType => self.content_type = content_type(value),
            Name::ContentLength => {
                let length = if cut { None } else { number(value) };
                let before = self.head.content_length;
                self.bad_length |= length.is_none() || (before.is_some() && before != length);
                self.head.content_length = length;
            }
            // No picture is refused for what its server says about it, so these are `None` if
            // they make no sense.
            Name::Timestamp if !cut => self.head.timestamp_us = seconds(value),
            Name::Frame if !cut => self.head.sequence = exact_number(value),
            Name::Missed if !cut => self.head.missed = exact_number(value),
            Name::Invalid => self.junk = true,
            _ => {}
        }
    }
}

/// Name and value of a field, without the white space around the value.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(find_byte(b':', line)?)?;
    Some((name, value.get(1..)?.trim_ascii()))
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
    if name.eq_ignore_ascii_case(known) {
        return field;
    }
    // RFC 5322, 2.2: printable, and no colon, which is out already.
    if name.iter().all(u8::is_ascii_graphic) { Name::Unknown } else { Name::Invalid }
}

fn content_type(value: &[u8]) -> ContentType {
    if value.eq_ignore_ascii_case(b"image/jpeg") {
        return ContentType::Jpeg; // As all but a few say it.
    }
    let media = value.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let jpeg = [&b"image/jpeg"[..], b"image/jpg"].iter().any(|j| media.eq_ignore_ascii_case(j));
    if jpeg { ContentType::Jpeg } else { ContentType::Other }
}

/// One digit or more; `u64::MAX` stands for anything above.
#[inline(never)] // Four times would be too much for a small chip's flash.
fn number(digits: &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n = match n {
            0..FULL => n.wrapping_mul(10).wrapping_add(u64::from(digit)),
            _ => u64::MAX,
        };
    }
    (!digits.is_empty()).then_some(n)
}

/// From here on another digit might not fit.
const FULL: u64 = u64::MAX / 10;

fn exact_number(digits: &[u8]) -> Option<u64> {
    number(digits).filter(|&n| n != u64::MAX)
}

/// Seconds, with or without decimals, as microseconds.
fn seconds(value: &[u8]) -> Option<u64> {
    let mut parts = value.splitn(2, |&b| b == b'.');
    let whole = exact_number(parts.next()?)?;
    let decimals = parts.next().unwrap_or(b"0");
    number(decimals)?;
    let mut micros = 0u64;
    for place in 0..6 {
        let digit = decimals.get(place).map_or(0, |digit| digit.wrapping_sub(b'0'));
        micros = micros.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    whole.checked_mul(1_000_000)?.checked_add(micros)
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
            ("image/jpeg2000", ContentType::Other),
            ("text/plain", ContentType::Other),
            ("", ContentType::Other),
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
            let std = text.parse::<u64>().ok().filter(|_| !text.contains('+'));
            match number(text.as_bytes()) {
                Some(u64::MAX) => prop_assert!(std.is_none_or(|n| n == u64::MAX)),
                ours => prop_assert_eq!(ours, std),
            }
        }
    }
}
