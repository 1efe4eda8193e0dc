use core::fmt;

use crate::Boundary;
use crate::boundary::{MAX_BOUNDARY, needs_quotes};

/// Everything of a `multipart/x-mixed-replace` body that is the same for all of its frames.
///
/// Each response has an encoder of its own, with a boundary of its own. What differs from frame to
/// frame is [`PartHead`](crate::PartHead). A body is [`opening`](Self::opening), then for each frame
/// head, frame, [`tail`](Self::tail). The delimiter is thus written right after a frame, not before
/// the next one, so that the viewer knows at once that the frame is whole.
///
/// ```
/// use camwire_multipart::{Encoder, PartHead};
/// # mod getrandom {
/// #     pub fn fill(bytes: &mut [u8]) -> Result<(), core::fmt::Error> { bytes.fill(0xA5); Ok(()) }
/// # }
///
/// fn begin(send: &mut impl FnMut(&[&[u8]])) -> Encoder {
///     let mut random = [0; 16];
///     getrandom::fill(&mut random).expect("the system has random numbers");
///     let encoder = Encoder::new(random);
///     // After the response's head, with `encoder.content_type()` in it.
///     send(&[encoder.opening()]);
///     encoder
/// }
///
/// fn send_frame(encoder: &Encoder, send: &mut impl FnMut(&[&[u8]]), jpeg: &[u8]) {
///     let head = PartHead { content_length: Some(jpeg.len() as u64), ..PartHead::default() };
///     // One vectored write; the frame is not touched.
///     send(&[head.encode(&mut [0; PartHead::MAX_LEN]), jpeg, encoder.tail()]);
/// }
/// # let mut body = Vec::new();
/// # let mut send = |pieces: &[&[u8]]| body.extend(pieces.concat());
/// # let encoder = begin(&mut send);
/// # send_frame(&encoder, &mut send, b"JPEG");
/// # let text = "--BContent-Type: image/jpegContent-Length: 4JPEG--B";
/// # let body = String::from_utf8(body).unwrap().replace("\r\n", "");
/// # assert_eq!(body.replace(&"a5".repeat(16), "B"), text);
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    /// `CRLF --B CRLF`, then the head of a part without a length.
    delimiter: Text<{ BEFORE.len() + MAX_BOUNDARY + AFTER.len() + ADVANCE_HEAD.len() }>,
}

const BEFORE: &[u8] = b"\r\n--";
const AFTER: &[u8] = b"\r\n";

/// All that can be said of a frame which does not exist yet.
const ADVANCE_HEAD: &[u8] = b"Content-Type: image/jpeg\r\n\r\n";

/// The parameter comes first, directly after the semicolon: that is where Firefox looks for it.
const CONTENT_TYPE: &[u8] = b"multipart/x-mixed-replace;boundary=";

impl Encoder {
    /// An encoder with a boundary that is made of these bytes: 32 letters and digits.
    ///
    /// `random` is 16 unpredictable bytes, new ones for each response. Browsers look for the boundary
    /// inside a part, too, whatever its length says. Firefox then believes the `Content-Type` that
    /// follows, so whoever knows the boundary in advance can have a script run in the server's origin,
    /// by a comment in a JPEG. One that cannot be guessed makes that impossible.
    #[must_use]
    pub const fn new(random: [u8; 16]) -> Self {
        let mut delimiter = Text::new();
        delimiter.push(BEFORE);
        let mut rest: &[u8] = &random;
        while let [first, more @ ..] = rest {
            delimiter.push(&[hex_digit(*first >> 4), hex_digit(*first)]);
            rest = more;
        }
        Self::with_end(delimiter)
    }

    /// An encoder whose boundary is known in advance: **dangerous, unless all frames are trusted**.
    ///
    /// Whoever makes a frame can put this boundary into it, and after it a page with a script, which
    /// runs in the browser of everybody who watches with Firefox, with all that the server lets
    /// them do ([`new`](Self::new) says why). It is for tests, and for bodies that no browser gets.
    #[must_use]
    pub const fn with_predictable_boundary(boundary: &Boundary) -> Self {
        let mut delimiter = Text::new();
        delimiter.push(BEFORE);
        delimiter.push(boundary.as_bytes());
        Self::with_end(delimiter)
    }

    const fn with_end(
        mut delimiter: Text<{ BEFORE.len() + MAX_BOUNDARY + AFTER.len() + ADVANCE_HEAD.len() }>,
    ) -> Self {
        delimiter.push(AFTER);
        delimiter.push(ADVANCE_HEAD);
        Self { delimiter }
    }

    const fn boundary(&self) -> &[u8] {
        self.delimiter.get(BEFORE.len(), AFTER.len() + ADVANCE_HEAD.len())
    }

    /// The value of the response's `Content-Type` field.
    #[must_use]
    pub const fn content_type(&self) -> MediaType {
        let boundary = self.boundary();
        let quote: &[u8] = if needs_quotes(boundary) { b"\"" } else { b"" };
        let mut text = Text::new();
        text.push(CONTENT_TYPE);
        text.push(quote);
        text.push(boundary);
        text.push(quote);
        MediaType { text }
    }

    /// What a body begins with: `--B CRLF`, with no blank line before it.
    #[must_use]
    pub const fn opening(&self) -> &[u8] {
        self.delimiter.get(2, ADVANCE_HEAD.len())
    }

    /// What follows each frame: `CRLF --B CRLF`. It also begins the next part.
    #[must_use]
    pub const fn tail(&self) -> &[u8] {
        self.delimiter.get(0, ADVANCE_HEAD.len())
    }

    /// What ends a body: `CRLF --B-- CRLF`, in pieces to be sent one after the other, in place of
    /// the last frame's tail or after it.
    #[must_use]
    pub const fn closing(&self) -> [&[u8]; 2] {
        [self.delimiter.get(0, AFTER.len() + ADVANCE_HEAD.len()), b"--\r\n"]
    }

    /// The opening for a viewer that gets heads in advance; see
    /// [`advance_tail`](Self::advance_tail).
    #[must_use]
    pub const fn advance_opening(&self) -> &[u8] {
        self.delimiter.get(2, 0)
    }

    /// What follows each frame for a viewer that gets heads in advance: the delimiter, and at
    /// once the head of the part to come, without a `Content-Length` since nobody knows it yet.
    /// A body is then [`advance_opening`](Self::advance_opening), and for each frame the
    /// frame and this.
    ///
    /// Chromium draws a frame only when the whole head of the next part has arrived, so
    /// without this it is always one frame late. Only for viewers that asked for it: others
    /// (go2rtc) cannot do without a `Content-Length`.
    #[must_use]
    pub const fn advance_tail(&self) -> &[u8] {
        self.delimiter.get(0, 0)
    }
}

/// The lower four bits as a letter or digit.
const fn hex_digit(bits: u8) -> u8 {
    b"0123456789abcdef"[(bits & 15) as usize]
}

/// The media type of a response with its boundary, as [`Encoder::content_type`] returns it: ASCII, and
/// 107 bytes at most.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MediaType {
    // With two quotation marks.
    text: Text<{ CONTENT_TYPE.len() + 2 + MAX_BOUNDARY }>,
}

impl MediaType {
    /// The text, as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        self.text.get(0, 0)
    }

    /// The text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        // Always ASCII, so the fallback is never taken.
        match core::str::from_utf8(self.as_bytes()) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MediaType").field(&format_args!("{self}")).finish()
    }
}

/// Text in a fixed room, which each use above chooses large enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text<const N: usize> {
    // Zero beyond `len`, so that the derived comparison is right.
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        const { assert!(N <= u8::MAX as usize) };
        Self { bytes: [0; N], len: 0 }
    }

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    const fn push(&mut self, mut text: &[u8]) {
        while let [first, rest @ ..] = text {
            if (self.len as usize) < N {
                self.bytes[self.len as usize] = *first;
                self.len = self.len.wrapping_add(1);
            }
            text = rest;
        }
    }

    /// All but so many bytes at the start and at the end.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    const fn get(&self, start: usize, end: usize) -> &[u8] {
        match self.bytes.split_at_checked((self.len as usize).saturating_sub(end)) {
            Some((text, _)) => match text.split_at_checked(start) {
                Some((_, text)) => text,
                None => &[],
            },
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::string::String;

    fn boundary(random: [u8; 16]) -> String {
        let media_type = Encoder::new(random).content_type();
        let (_, boundary) = media_type.as_str().split_once("boundary=").unwrap();
        boundary.into()
    }

    #[test]
    fn bytes_of_a_body_with_a_predictable_boundary() {
        let encoder = Encoder::with_predictable_boundary(&Boundary::new("FRAME").unwrap());
        assert_eq!(encoder.content_type().as_str(), "multipart/x-mixed-replace;boundary=FRAME");
        assert_eq!(encoder.opening(), b"--FRAME\r\n");
        assert_eq!(encoder.tail(), b"\r\n--FRAME\r\n");
        assert_eq!(encoder.closing().concat(), b"\r\n--FRAME--\r\n");
        let head = b"Content-Type: image/jpeg\r\n\r\n";
        assert_eq!(encoder.advance_opening(), [encoder.opening(), head].concat());
        assert_eq!(encoder.advance_tail(), [encoder.tail(), head].concat());
    }

    #[test]
    fn random_boundary_is_letters_and_digits_and_unquoted() {
        for random in [[0; 16], [0xFF; 16], [b'-'; 16], *b"\r\n\"=?/:() ,;\x7f\x80\0-"] {
            let boundary = boundary(random);
            assert_eq!(boundary.len(), 32);
            assert!(boundary.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{boundary}");
            let fixed = Boundary::new(&boundary).unwrap();
            let (random, fixed) =
                (Encoder::new(random), Encoder::with_predictable_boundary(&fixed));
            assert_eq!(random.content_type(), fixed.content_type());
            assert_eq!(random.advance_tail(), fixed.advance_tail());
            assert_eq!(random.closing(), fixed.closing());
        }
    }

    /// None of the 128 bits is lost.
    #[test]
    fn each_random_bit_makes_another_boundary() {
        let mut seen = HashSet::from([boundary([0; 16])]);
        for bit in 0..128 {
            assert!(seen.insert(boundary((1u128 << bit).to_ne_bytes())), "bit {bit}");
        }
    }

    #[test]
    fn longest_boundary_fits_everywhere() {
        let text = "=".repeat(70);
        let encoder = Encoder::with_predictable_boundary(&Boundary::new(&text).unwrap());
        assert_eq!(
            encoder.content_type().as_str(),
            std::format!("multipart/x-mixed-replace;boundary=\"{text}\"")
        );
        assert!(encoder.advance_tail().ends_with(b"jpeg\r\n\r\n"));
        assert!(encoder.closing().concat().ends_with(b"=--\r\n"));
    }

    #[test]
    fn encoder_is_small_enough_for_each_viewer_to_have_one() {
        assert!(size_of::<Encoder>() <= 105, "{}", size_of::<Encoder>());
    }
}
