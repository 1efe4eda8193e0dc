use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng as _, SeedableRng};
use hermit_dtb::Dtb;

/// Numbers that nobody can predict. A chip has hardware for them.
pub struct Random(ChaCha8Rng);

impl Random {
    /// They follow from what QEMU gives the firmware. Before version 7.2 that is nothing, and they
    /// are always the same.
    pub(super) fn start(tree: &Dtb<'_>) -> Self {
        let seed = tree.get_property("/chosen", "rng-seed").and_then(|seed| seed.first_chunk());
        Self(ChaCha8Rng::from_seed(seed.copied().unwrap_or_default()))
    }

    pub fn word(&mut self) -> u32 {
        self.0.next_u32()
    }
}
