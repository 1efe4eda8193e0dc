use camwire_frame::Instant;

use crate::PartHeader;

/// What is known of a picture of which parts have arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) stream: u32,
    pub(super) sequence: u64,
    pub(super) timestamp_us: Option<u64>,
    pub(super) checksum: u32,
    /// Bytes of the whole picture; 0 if not known yet.
    pub(super) total: u32,
    /// Bytes of all parts but the last.
    pub(super) part_bytes: u32,
    /// Number of parts; 0 if not known yet.
    pub(super) count: u16,
    /// How many have arrived.
    arrived: u16,
    /// Which, one bit for each.
    parts: [u32; WORDS],
    /// Known when it is whole.
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) first_at: Instant,
    /// When it is lost if no part comes; or, when it is whole, until when it waits for older ones.
    pub(super) until: Instant,
}

const WORDS: usize = PartHeader::MAX_COUNT as usize / 32;

impl Assembly {
    pub(super) const NONE: Self = Self {
        stream: 0,
        sequence: 0,
        timestamp_us: None,
        checksum: 0,
        total: 0,
        part_bytes: 0,
        count: 0,
        arrived: 0,
        parts: [0; WORDS],
        width: 0,
        height: 0,
        first_at: Instant::ZERO,
        until: Instant::ZERO,
    };

    /// Nothing of it has arrived, and nothing is known but its number.
    pub(super) fn begin(&mut self, stream: u32, sequence: u64, now: Instant) {
        *self = Self { stream, sequence, first_at: now, until: now, ..Self::NONE };
    }

    pub(super) fn has(&self, index: u16) -> bool {
        let word = self.parts.get(usize::from(index / 32)).copied().unwrap_or_default();
        word & bit(index) != 0
    }

    /// A part that had not arrived before has. The next may come until then.
    pub(super) fn note(&mut self, index: u16, until: Instant) {
        if let Some(word) = self.parts.get_mut(usize::from(index / 32)) {
            *word |= bit(index);
        }
        self.arrived = self.arrived.saturating_add(1);
        self.until = until;
    }

    /// Whether any part with a higher index has arrived.
    pub(super) fn has_beyond(&self, index: u16) -> bool {
        let mut words = self.parts.iter().skip(usize::from(index / 32));
        // In the first of them, only the bits above count.
        let above = (u32::MAX << (index % 32)) << 1;
        words.next().is_some_and(|word| word & above != 0) || words.any(|word| *word != 0)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.count != 0 && self.arrived == self.count
    }
}

fn bit(index: u16) -> u32 {
    1 << (index % 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn like_a_set(indices in proptest::collection::vec(0u16..1024, 0..50), probe in 0u16..1024) {
            let mut assembly = Assembly::NONE;
            let mut naive = BTreeSet::new();
            for index in indices {
                prop_assert_eq!(assembly.has(index), naive.contains(&index));
                if naive.insert(index) {
                    assembly.note(index, Instant::ZERO);
                }
            }
            prop_assert_eq!(usize::from(assembly.arrived), naive.len());
            for probe in naive.iter().copied().chain([probe, 0, 1023]) {
                prop_assert_eq!(assembly.has(probe), naive.contains(&probe));
                prop_assert_eq!(assembly.has_beyond(probe), naive.last() > Some(&probe));
            }
        }
    }
}
