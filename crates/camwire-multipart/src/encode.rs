use crate::Boundary;
use crate::boundary::MAX_BOUNDARY;

/// Everything of a `multipart/x-mixed-replace` body that is the same for every picture.
///
/// One encoder serves all viewers: it has no state, and can be a `static`. What differs from
/// picture to picture is [`PartHead`](crate::PartHead). A body is [`opening`](Self::opening),
/// then for each picture head, picture, [`tail`](Self::tail). The delimiter is thus written
/// right after a picture, not before the next one, so that the viewer knows at once that the
/// picture is whole.
///
/// ```
/// use camwire_multipart::{Boundary, Encoder, PartHead};
///
/// static ENCODER: Encoder = Encoder::new(&Boundary::DEFAULT);
///
/// fn send_picture(send: &mut impl FnMut(&[&[u8]]), jpeg: &[u8]) {
///     let head = PartHead { content_length: Some(jpeg.len() as u64), ..PartHead::default() };
///     // One vectored write; the picture is not touched.
///     send(&[head.encode(&mut [0; PartHead::MAX_LEN]), jpeg, ENCODER.tail()]);
/// }
/// # let mut body = Vec::new();
/// # let mut send = |pieces: &[&[u8]]| body.extend(pieces.concat());
/// # send(&[ENCODER.opening()]);
/// # send_picture(&mut send, b"JPEG");
/// # let text = "--BContent-Type: image/jpegContent-Length: 4JPEG--B";
/// # let body = String::from_utf8(body).unwrap().replace("\r\n", "");
/// # assert_eq!(body.replace(Boundary::DEFAULT.as_str(), "B"), text);
/// ```
#[derive(Clone, Debug)]
pub struct Encoder {
    /// `CRLF --B CRLF`, then the head of a part without a length.
    delimiter: Text<{ 4 + MAX_BOUNDARY + 2 + ADVANCE_HEAD.len() }>,
    /// `CRLF --B-- CRLF`
    closing: Text<{ 4 + MAX_BOUNDARY + 4 }>,
    content_type: Text<{ CONTENT_TYPE.len() + 2 + MAX_BOUNDARY }>,
}

/// The parameter comes first, directly after the semicolon: that is where Firefox looks for it.
const CONTENT_TYPE: &[u8] = b"multipart/x-mixed-replace;boundary=";

/// All that can be said of a picture which does not exist yet.
const ADVANCE_HEAD: &[u8] = b"Content-Type: image/jpeg\r\n\r\n";

impl Encoder {
    /// An encoder that separates the pictures by `boundary`.
    #[must_use]
    pub const fn new(boundary: &Boundary) -> Self {
        let quote: &[u8] = if boundary.needs_quotes() { b"\"" } else { b"" };
        let mut encoder =
            Self { delimiter: Text::new(), closing: Text::new(), content_type: Text::new() };
        encoder.delimiter.push(b"\r\n--");
        encoder.delimiter.push(boundary.as_bytes());
        encoder.delimiter.push(b"\r\n");
        encoder.delimiter.push(ADVANCE_HEAD);
        encoder.closing.push(b"\r\n--");
        encoder.closing.push(boundary.as_bytes());
        encoder.closing.push(b"--\r\n");
        encoder.content_type.push(CONTENT_TYPE);
        encoder.content_type.push(quote);
        encoder.content_type.push(boundary.as_bytes());
        encoder.content_type.push(quote);
        encoder
    }

    /// The value of the response's `Content-Type` field; always ASCII.
    #[must_use]
    pub const fn content_type(&self) -> &[u8] {
        self.content_type.get(0, 0)
    }

    /// What a body begins with: `--B CRLF`, with no blank line before it.
    #[must_use]
    pub const fn opening(&self) -> &[u8] {
        self.delimiter.get(2, ADVANCE_HEAD.len())
    }

    /// What follows each picture: `CRLF --B CRLF`. It also begins the next part.
    #[must_use]
    pub const fn tail(&self) -> &[u8] {
        self.delimiter.get(0, ADVANCE_HEAD.len())
    }

    /// What ends a body: `CRLF --B-- CRLF`, in place of the last picture's tail or after it.
    #[must_use]
    pub const fn closing(&self) -> &[u8] {
        self.closing.get(0, 0)
    }

    /// The opening for a viewer that gets heads in advance; see
    /// [`advance_tail`](Self::advance_tail).
    #[must_use]
    pub const fn advance_opening(&self) -> &[u8] {
        self.delimiter.get(2, 0)
    }

    /// What follows each picture for a viewer that gets heads in advance: the delimiter, and at
    /// once the head of the part to come, without a `Content-Length` since nobody knows it yet.
    /// A body is then [`advance_opening`](Self::advance_opening), and for each picture the
    /// picture and this.
    ///
    /// Chromium draws a picture only when the whole head of the next part has arrived, so
    /// without this it is always one picture late. Only for viewers that asked for it: others
    /// (go2rtc) cannot do without a `Content-Length`.
    #[must_use]
    pub const fn advance_tail(&self) -> &[u8] {
        self.delimiter.get(0, 0)
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(&Boundary::DEFAULT)
    }
}

/// Text in a fixed room, which each use below chooses large enough.
#[derive(Clone, Debug)]
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    const fn push(&mut self, mut text: &[u8]) {
        while let [first, rest @ ..] = text {
            if self.len < N {
                self.bytes[self.len] = *first;
                self.len = self.len.wrapping_add(1);
            }
            text = rest;
        }
    }

    /// All but so many bytes at the start and at the end.
    const fn get(&self, start: usize, end: usize) -> &[u8] {
        match self.bytes.split_at_checked(self.len.saturating_sub(end)) {
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

    #[test]
    fn the_bytes() {
        let encoder = Encoder::new(&Boundary::new("FRAME").unwrap());
        assert_eq!(encoder.content_type(), b"multipart/x-mixed-replace;boundary=FRAME");
        assert_eq!(encoder.opening(), b"--FRAME\r\n");
        assert_eq!(encoder.tail(), b"\r\n--FRAME\r\n");
        assert_eq!(encoder.closing(), b"\r\n--FRAME--\r\n");
        let head = b"Content-Type: image/jpeg\r\n\r\n";
        assert_eq!(encoder.advance_opening(), [encoder.opening(), head].concat());
        assert_eq!(encoder.advance_tail(), [encoder.tail(), head].concat());
    }

    #[test]
    fn the_longest_boundary_fits_everywhere() {
        let text = "=".repeat(70);
        let encoder = Encoder::new(&Boundary::new(&text).unwrap());
        assert_eq!(
            encoder.content_type(),
            std::format!("multipart/x-mixed-replace;boundary=\"{text}\"").as_bytes()
        );
        assert!(encoder.advance_tail().ends_with(b"jpeg\r\n\r\n"));
        assert!(encoder.closing().ends_with(b"=--\r\n"));
    }
}
