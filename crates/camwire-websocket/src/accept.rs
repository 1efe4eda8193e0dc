//! What proves that a server has read the request and speaks WebSocket (RFC 6455, section 4.2.2).

/// A key or an accept value as it is sent: base64 of 16 and of 20 bytes.
pub(crate) type KeyText = [u8; 24];
pub(crate) type AcceptText = [u8; 28];

const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The accept value for a key.
pub(crate) fn accept(key: &KeyText) -> AcceptText {
    // Key and GUID always have 60 bytes, so with the bit and the length that SHA-1 adds to its
    // input there are always two blocks.
    let mut blocks = [[0; 16]; 2];
    let words = blocks.as_flattened_mut();
    let text = key.as_chunks().0.iter().chain(GUID.as_chunks().0);
    for (word, bytes) in words.iter_mut().zip(text.chain([&[0x80, 0, 0, 0]])) {
        *word = u32::from_be_bytes(*bytes);
    }
    if let [.., bits] = words {
        *bits = 8 * (key.len() + GUID.len()) as u32;
    }
    let mut state = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    for block in blocks {
        sha1_block(&mut state, block);
    }
    let mut hash = [0; 20];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    let mut text = [b'='; 28];
    encode(&hash, &mut text);
    text
}

/// SHA-1 of one block (FIPS 180-4, section 6.1.3), in 300 bytes of code. Nothing depends on it being
/// hard to break (RFC 6455, section 10.8), and it is needed once for a connection; the crates that
/// have it are made for speed, and take ten times as much flash.
fn sha1_block(state: &mut [u32; 5], mut words: [u32; 16]) {
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for t in 0..80_usize {
        // The last sixteen of the eighty words are kept, in a circle.
        let word = |at: usize| words.get(at % 16).copied().unwrap_or_default();
        let w = match t {
            0..16 => word(t),
            _ => (word(t + 13) ^ word(t + 8) ^ word(t + 2) ^ word(t)).rotate_left(1),
        };
        if let Some(word) = words.get_mut(t % 16) {
            *word = w;
        }
        let (f, k) = match t {
            0..20 => (b & c | !b & d, 0x5A82_7999_u32),
            20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
            40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC),
            _ => (b ^ c ^ d, 0xCA62_C1D6),
        };
        let sum = f.wrapping_add(k).wrapping_add(w).wrapping_add(e);
        (a, b, c, d, e) = (a.rotate_left(5).wrapping_add(sum), a, b.rotate_left(30), c, d);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(add);
    }
}

/// A key from its 16 bytes.
pub(crate) fn key(nonce: &[u8; 16]) -> KeyText {
    let mut text = [b'='; 24];
    encode(nonce, &mut text);
    text
}

/// The text of a key, if it is base64 of 16 bytes: 22 digits and two signs that fill it up. Of the
/// last digit only the upper two bits count; who decodes need not look at the others (RFC 4648,
/// section 3.5).
pub(crate) fn parse_key(value: &[u8]) -> Option<KeyText> {
    let text: &KeyText = value.try_into().ok()?;
    let [digits @ .., b'=', b'='] = text else { return None };
    digits.iter().all(|byte| digit_of(*byte)).then_some(*text)
}

fn digit_of(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// Base64, without what fills up the end.
fn encode(bytes: &[u8], text: &mut [u8]) {
    let digits = bytes.len().saturating_mul(8).div_ceil(6);
    for (at, place) in text.iter_mut().take(digits).enumerate() {
        // Six bits: some of one byte, and the rest of the next one.
        let bit = at.wrapping_mul(6);
        let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let two = u16::from_be_bytes([byte(bit / 8), byte((bit / 8).wrapping_add(1))]);
        *place = digit((two >> (10 - bit % 8)) as u8 & 0x3F);
    }
}

fn digit(six_bits: u8) -> u8 {
    match six_bits {
        0..=25 => b'A'.wrapping_add(six_bits),
        26..=51 => b'a'.wrapping_add(six_bits).wrapping_sub(26),
        52..=61 => b'0'.wrapping_add(six_bits).wrapping_sub(52),
        62 => b'+',
        _ => b'/',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    #[test]
    fn the_example_of_the_specification() {
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&key(b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn what_is_no_key() {
        for text in
            ["", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZA=A"]
        {
            assert_eq!(parse_key(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_key(b"dGhlIHNhbXBsZSBub25j\xC3\xA4=="), None);
        assert_eq!(parse_key(b"dGhlIHNhbXBsZSBub25jZSBhbG9uZw=="), None);
        assert!(parse_key(b"dGhlIHNhbXBsZSBub25jZQ==").is_some());
    }

    proptest! {
        #[test]
        fn like_tungstenite(nonce: [u8; 16]) {
            let key = key(&nonce);
            prop_assert_eq!(parse_key(&key), Some(key));
            let accepted = tungstenite::handshake::derive_accept_key(&key);
            prop_assert_eq!(String::from_utf8(accept(&key).to_vec()), Ok(accepted));
        }
    }
}
