use crate::Upstream;

/// Recognises a frame that its upstream sends again.
///
/// Servers send their last frame again while no new one comes: so that browsers draw it, or to find
/// dead viewers. Such a frame must not be recorded or relayed twice. It is a repeat if all of this
/// holds:
///
/// - Its upstream gives it a number, a time, or both.
/// - Each of them is what the upstream gave the frame before; what was missing is missing again.
/// - Its bytes are those of the frame before.
///
/// So no frame is lost to a server whose numbers or times are constant, wrong, or start anew: its
/// frames differ in their bytes. Frames of a server that gives neither number nor time are all new,
/// also those with the same bytes, because a camera that looks at a still scene is no repeat.
///
/// Bytes are compared by their length and a 32-bit digest, so the filter keeps 40 bytes, and no
/// frame. The digest takes a pass over each frame that has a number or a time.
///
/// ```
/// use camwire_frame::{RepeatFilter, Upstream};
///
/// let mut filter = RepeatFilter::new();
/// let upstream = Upstream { sequence: Some(7), timestamp_us: Some(1_000_000) };
/// assert!(!filter.is_repeat(upstream, b"one frame"));
/// assert!(filter.is_repeat(upstream, b"one frame"));
/// assert!(!filter.is_repeat(upstream, b"another"), "whatever its number says");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepeatFilter {
    /// The last frame, if its upstream marked it.
    last: Option<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    upstream: Upstream,
    len: usize,
    digest: u32,
}

impl RepeatFilter {
    /// A filter that has seen no frame.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Whether `frame` is the frame of the last call again. If it is not, it takes its place.
    pub fn is_repeat(&mut self, upstream: Upstream, frame: &[u8]) -> bool {
        if upstream == Upstream::default() {
            self.last = None;
            return false;
        }
        let mark = Mark { upstream, len: frame.len(), digest: digest(frame) };
        self.last.replace(mark) == Some(mark)
    }

    /// Whether a frame of `len` bytes is likely to be the frame of the last call again: all but its
    /// bytes are the same. For frames whose bytes are not kept, since they do not fit.
    #[must_use]
    pub fn may_be_repeat(&self, upstream: Upstream, len: usize) -> bool {
        self.last.is_some_and(|last| last.upstream == upstream && last.len == len)
    }
}

/// A digest in the manner of XXH32: four lanes of a word each, so that a multiplication need not
/// wait for the one before. It tells frames apart that differ by chance, not by malice.
fn digest(bytes: &[u8]) -> u32 {
    let mut lanes = [PRIME_1.wrapping_add(PRIME_2), PRIME_2, 0, PRIME_1.wrapping_neg()];
    let (stripes, rest) = bytes.as_chunks::<16>();
    for stripe in stripes {
        for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<4>().0) {
            *lane = mix(*lane, u32::from_le_bytes(*word));
        }
    }
    let digest = lanes.into_iter().fold(bytes.len() as u32, mix);
    let digest = rest.iter().fold(digest, |digest, byte| mix(digest, u32::from(*byte)));
    // The last words must reach every bit, too.
    let digest = (digest ^ digest >> 15).wrapping_mul(PRIME_2);
    (digest ^ digest >> 13).wrapping_mul(PRIME_3)
}

fn mix(lane: u32, word: u32) -> u32 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2)).rotate_left(13).wrapping_mul(PRIME_1)
}

const PRIME_1: u32 = 0x9E37_79B1;
const PRIME_2: u32 = 0x85EB_CA77;
const PRIME_3: u32 = 0xC2B2_AE3D;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn upstream(sequence: Option<u64>, timestamp_us: Option<u64>) -> Upstream {
        Upstream { sequence, timestamp_us }
    }

    /// Which of these frames are repeats.
    fn repeats(frames: &[(Option<u64>, Option<u64>, &str)]) -> std::vec::Vec<bool> {
        let mut filter = RepeatFilter::new();
        let frames = frames.iter();
        frames.map(|(n, t, bytes)| filter.is_repeat(upstream(*n, *t), bytes.as_bytes())).collect()
    }

    #[test]
    fn a_repeat_has_the_same_number_time_and_bytes() {
        let (a, b) = (Some(1), Some(2));
        assert_eq!(repeats(&[(a, a, "x"), (a, a, "x"), (a, a, "x")]), [false, true, true]);
        assert_eq!(repeats(&[(a, a, "x"), (b, b, "x"), (b, b, "x")]), [false, false, true]);
        // Each difference alone makes a new frame.
        for other in [(b, a, "x"), (a, b, "x"), (a, a, "y"), (a, a, "xx"), (None, a, "x")] {
            assert_eq!(repeats(&[(a, a, "x"), other]), [false, false], "{other:?}");
        }
        // After another frame, the first one is new again.
        assert_eq!(repeats(&[(a, a, "x"), (b, b, "y"), (a, a, "x")]), [false; 3]);
    }

    #[test]
    fn a_number_or_a_time_is_enough() {
        let a = Some(0);
        assert_eq!(repeats(&[(a, None, "x"), (a, None, "x")]), [false, true]);
        assert_eq!(repeats(&[(None, a, "x"), (None, a, "x")]), [false, true]);
        assert_eq!(repeats(&[(None, None, "x"), (None, None, "x")]), [false, false]);
        assert_eq!(repeats(&[(a, a, "x"), (None, None, "x"), (a, a, "x")]), [false; 3]);
    }

    #[test]
    fn without_bytes_the_length_decides() {
        let mut filter = RepeatFilter::new();
        let seven = upstream(Some(7), None);
        assert!(!filter.may_be_repeat(seven, 4));
        assert!(!filter.is_repeat(seven, b"four"));
        assert!(filter.may_be_repeat(seven, 4));
        assert!(!filter.may_be_repeat(seven, 5));
        assert!(!filter.may_be_repeat(upstream(Some(8), None), 4));
        assert!(!RepeatFilter::new().may_be_repeat(Upstream::default(), 0));
    }

    proptest! {
        /// One changed byte, or one more or less, changes the digest.
        #[test]
        fn every_byte_counts(
            bytes in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<proptest::sample::Index>(),
            change in 1u8..,
        ) {
            let mut other = bytes.clone();
            other[at.index(bytes.len())] ^= change;
            prop_assert_ne!(digest(&bytes), digest(&other));
            other.clone_from(&bytes);
            other.push(0);
            prop_assert_ne!(digest(&bytes), digest(&other));
            other.truncate(bytes.len() - 1);
            prop_assert_ne!(digest(&bytes), digest(&other));
        }
    }
}
