//! RFC 4648, section 4.

use core::iter::repeat_n;

/// The text, with its padding.
pub(crate) fn base64(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.chunks(3).flat_map(|three| {
        let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let missing = 3_usize.saturating_sub(three.len());
        let word = word << (8 * missing as u32);
        let digits = [word >> 18, word >> 12, word >> 6, word].map(digit);
        let digits = digits.into_iter().take(4_usize.saturating_sub(missing));
        digits.chain(repeat_n(b'=', missing))
    })
}

fn digit(six: u32) -> u8 {
    let six = (six & 63) as u8;
    match six {
        0..26 => b'A' + six,
        26..52 => b'a' + (six - 26),
        52..62 => b'0' + (six - 52),
        62 => b'+',
        _ => b'/',
    }
}

#[cfg(test)]
mod tests {
    use super::base64;
    use std::string::String;

    fn encoded(text: &str) -> String {
        base64(text.as_bytes()).map(char::from).collect()
    }

    #[test]
    fn text_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{3e}\u{3f}\u{fb}~~~", "Pj/Du35+fg=="),
        ] {
            assert_eq!(encoded(text), expected);
        }
    }
}
