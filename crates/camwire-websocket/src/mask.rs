/// Masks payload, or takes a mask off it, in place (RFC 6455, section 5.3). It is the same
/// operation.
///
/// The payload may come in pieces: the mask goes on where the last piece ended.
///
/// ```
/// use camwire_websocket::Mask;
///
/// let mut payload = *b"Hello";
/// Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut payload);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// The key, turned so that its lowest byte is for the next byte of payload.
    key: u32,
}

/// Bytes that are masked at once. The compiler makes vectors of them where there are such.
const BLOCK: usize = if cfg!(target_pointer_width = "64") { 64 } else { 8 };

impl Mask {
    /// A mask for a payload that begins.
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self { key: u32::from_le_bytes(key) }
    }

    /// Masks the next bytes of the payload.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let (blocks, tail) = bytes.as_chunks_mut::<BLOCK>();
        let mut key = [0; BLOCK];
        for bytes in key.as_chunks_mut().0 {
            *bytes = self.key.to_le_bytes();
        }
        for block in blocks {
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
        }
        self.key = self.key.rotate_right(tail.len() as u32 % 4 * 8);
        for (byte, key) in tail.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        /// As section 5.3 says it: octet i is combined with octet i modulo 4 of the key.
        #[test]
        fn like_the_definition(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            key: [u8; 4],
            cuts in proptest::collection::vec(0usize..20, 0..8),
        ) {
            let naive: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut masked = payload;
            let mut mask = Mask::new(key);
            let mut rest = &mut masked[..];
            for cut in cuts {
                let (piece, after) = rest.split_at_mut(cut.min(rest.len()));
                mask.apply(piece);
                rest = after;
            }
            mask.apply(rest);
            prop_assert_eq!(masked, naive);
        }
    }
}
