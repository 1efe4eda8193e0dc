//! Heads of HTTP messages (RFC 9112), as far as the opening handshake needs them.

/// Finds the end of a head that comes in pieces of any size: the blank line.
///
/// Each byte is looked at once. What was found is then read once, by
/// [`Request::parse`](crate::Request::parse) or [`ClientHandshake::read`](crate::ClientHandshake::read).
#[derive(Clone, Copy, Debug)]
pub struct HeadFinder {
    left: usize,
    /// Only CRs since the last line end.
    line_is_empty: bool,
    /// There was a line that was not empty. Empty ones before a request are ignored (RFC 9112,
    /// section 2.2).
    begun: bool,
}

impl HeadFinder {
    /// For a head of at most so many bytes, its blank line included.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { left: limit, line_is_empty: true, begun: false }
    }

    /// Takes a piece. When the head is complete, returns how many bytes of the piece belong to it;
    /// `None` while it is not.
    ///
    /// # Errors
    ///
    /// [`HeadTooLong`]. A server answers it with
    /// [`Refusal::HeadTooLong`](crate::Refusal::HeadTooLong).
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<usize>, HeadTooLong> {
        let mut used = 0_usize;
        for byte in piece {
            self.left = self.left.checked_sub(1).ok_or(HeadTooLong)?;
            used = used.saturating_add(1);
            match byte {
                b'\n' if self.line_is_empty && self.begun => return Ok(Some(used)),
                b'\n' => self.line_is_empty = true,
                b'\r' => {}
                _ => (self.line_is_empty, self.begun) = (false, true),
            }
        }
        Ok(None)
    }
}

/// A head is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the head of the opening handshake is too long")]
pub struct HeadTooLong;

/// The first line of a head, and the rest.
pub(crate) fn first_line(head: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = head;
    while let [b'\r' | b'\n', after @ ..] = rest {
        rest = after;
    }
    cut_line(rest)
}

fn cut_line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = cut(text, b'\n').unwrap_or((text, &[]));
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// What is before and behind the first such byte.
pub(crate) fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|byte| *byte == at)?;
    let (before, rest) = text.split_at_checked(place)?;
    Some((before, rest.get(1..)?))
}

/// The field lines of a head up to its blank line, as names and values; `None` for what is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'h> {
    pub(crate) rest: &'h [u8],
}

impl<'h> Iterator for Fields<'h> {
    type Item = Option<(&'h [u8], &'h [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, rest) = cut_line(self.rest);
        if line.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(field(line))
    }
}

/// Name and value of a field line (RFC 9112, section 5). Neither folding nor a space before the
/// colon is allowed.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = cut(line, b':')?;
    (is_token(name) && value.iter().all(|&byte| is_of_value(byte))).then(|| (name, trim(value)))
}

/// Whether a byte may be in a field's value: visible, a space or a tab, or beyond ASCII.
pub(crate) const fn is_of_value(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7E | 0x80..)
}

/// Whether two names are the same; case does not matter.
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn is(name: &[u8], other: &[u8]) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// Whether all bytes may be in a target: visible ASCII, and no fragment.
pub(crate) fn is_target(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, 0x21..=0x7E) && *byte != b'#')
}

/// Without spaces and tabs at both ends.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// `token` of RFC 9110, section 5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_of_token(byte))
}

fn is_of_token(byte: u8) -> bool {
    let signs =
        matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
    signs || byte.is_ascii_alphanumeric()
}

/// The members of a list that is separated by commas (RFC 9110, section 5.6.1); empty ones are left
/// out.
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    core::iter::from_fn(move || {
        let text = rest?;
        let (member, others) = cut(text, b',').map_or((text, None), |(a, b)| (a, Some(b)));
        rest = others;
        Some(trim(member))
    })
    .filter(|member| !member.is_empty())
}

/// Whether a list has this member; case does not matter.
pub(crate) fn lists(value: &[u8], member: &[u8]) -> bool {
    members(value).any(|one| is(one, member))
}

/// Whether a value of `Sec-WebSocket-Extensions` is formed as RFC 6455, section 9.1, says: what is
/// not fails the connection, also where no extension is wanted.
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn is_extension_list(value: &[u8]) -> bool {
    let mut rest = value;
    let mut any = false;
    loop {
        // `#extension` allows empty members.
        let Some(after) = token(trim(rest)) else {
            rest = trim(rest);
            match rest {
                [b',', after @ ..] => rest = after,
                rest => return any && rest.is_empty(),
            }
            continue;
        };
        any = true;
        rest = trim(after);
        while let [b';', after @ ..] = rest {
            let Some(after) = token(trim(after)) else { return false };
            rest = trim(after);
            if let [b'=', after @ ..] = rest {
                let Some(after) = parameter_value(trim(after)) else { return false };
                rest = trim(after);
            }
        }
        match rest {
            [] => return true,
            [b',', after @ ..] => rest = after,
            _ => return false,
        }
    }
}

/// What follows the token that the text begins with.
fn token(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|&byte| !is_of_token(byte)).unwrap_or(text.len());
    if end == 0 { None } else { text.get(end..) }
}

/// What follows the value of a parameter: a token, or one in quotes.
fn parameter_value(text: &[u8]) -> Option<&[u8]> {
    let [b'"', quoted @ ..] = text else { return token(text) };
    let (mut rest, mut any) = (quoted, false);
    loop {
        match rest {
            [b'"', after @ ..] => return any.then_some(after),
            [b'\\', byte, after @ ..] | [byte, after @ ..] if is_of_token(*byte) => rest = after,
            _ => return None,
        }
        any = true;
    }
}

/// Text in the caller's memory, as far as it fits.
#[derive(Debug)]
pub(crate) struct Writer<'m> {
    memory: &'m mut [u8],
    len: usize,
    fits: bool,
}

impl<'m> Writer<'m> {
    pub(crate) const fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0, fits: true }
    }

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn push(&mut self, text: &[u8]) {
        let room = self.memory.get_mut(self.len..).unwrap_or_default();
        match room.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                self.len = self.len.saturating_add(text.len());
            }
            None => self.fits = false,
        }
    }

    /// All that was written, if all of it fitted.
    pub(crate) fn finish(self) -> Option<&'m [u8]> {
        if self.fits { self.memory.get(..self.len) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut() {
        for (head, len) in [
            (&b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest"[..], Some(24)),
            (b"\r\n\r\n\nGET / HTTP/1.1\n\nrest", Some(21)),
            (b"GET / HTTP/1.1\r\n\r\r\n", Some(19)),
            (b"GET / HTTP/1.1\r\n \r\n", None),
            (b"\r\n\r\n", None),
        ] {
            assert_eq!(HeadFinder::new(100).push(head), Ok(len));
            let mut finder = HeadFinder::new(100);
            let found: Vec<_> = head.chunks(1).map(|byte| finder.push(byte).unwrap()).collect();
            let first = found.iter().position(Option::is_some).map(|at| at + 1);
            assert_eq!(first, len);
            if let Some(len) = len {
                assert_eq!(HeadFinder::new(len).push(head), Ok(Some(len)));
                assert_eq!(HeadFinder::new(len - 1).push(head), Err(HeadTooLong));
            }
        }
    }

    #[test]
    fn fields_of_a_head() {
        let head = b"HTTP/1.1 101 x\r\nA: b\r\nC:\t d e \nF:\r\n\r\nG: h";
        let (line, rest) = first_line(head);
        assert_eq!(line, b"HTTP/1.1 101 x");
        let fields: Vec<_> = Fields { rest }.collect();
        assert_eq!(fields, [Some((&b"A"[..], &b"b"[..])), Some((b"C", b"d e")), Some((b"F", b""))]);
        for line in ["no colon", ": x", " A: x", "A : x", "A: \0", "A: \rx", "A\u{e4}: x"] {
            assert_eq!(field(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn lists_of_tokens() {
        assert!(lists(b"keep-alive, Upgrade", b"upgrade"));
        assert!(lists(b" ,,\tupgrade ,", b"Upgrade"));
        assert!(!lists(b"upgrades", b"upgrade"));
        assert!(!lists(b"up grade", b"upgrade"));
        assert!(!lists(b"", b""));
    }

    #[test]
    fn extension_lists() {
        for list in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "a;b=c ; d=\"e\"\t, ,f",
            ", a",
            "a;b=\"\\c\"",
        ] {
            assert!(is_extension_list(list.as_bytes()), "{list}");
        }
        for list in [
            "",
            " ",
            ",",
            "a b",
            "a;",
            "a;=b",
            "a;b=",
            "a;b=\"\"",
            "a;b=\"c",
            "a;b=\"c d\"",
            "a=b",
            "\"a\"",
        ] {
            assert!(!is_extension_list(list.as_bytes()), "{list}");
        }
    }
}
