//! What proves that a server has read the request and speaks WebSocket (RFC 6455, section 4.2.2).

use sha1::block_api::compress;

/// A key or an accept value as it is sent: base64 of 16 and of 20 bytes.
pub(crate) type KeyText = [u8; 24];
pub(crate) type AcceptText = [u8; 28];

const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The accept value for a key.
///
/// Key and GUID together always have 60 bytes, so SHA-1 is taken as its two blocks, without what
/// the hash of any length would need.
pub(crate) fn accept(key: &KeyText) -> AcceptText {
    let mut blocks = [[0; 64]; 2];
    let text = key.iter().chain(GUID).copied().chain([0x80]);
    for (place, byte) in blocks.as_flattened_mut().iter_mut().zip(text) {
        *place = byte;
    }
    let bits = 8 * (key.len() + GUID.len()) as u16;
    if let Some(end) = blocks.as_flattened_mut().last_chunk_mut() {
        *end = bits.to_be_bytes();
    }
    let mut state = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    compress(&mut state, &blocks);
    let mut hash = [0; 20];
    for (place, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *place = word.to_be_bytes();
    }
    let mut text = [b'='; 28];
    encode(&hash, &mut text);
    text
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
