use camwire::frame::Random;
use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng as _, SeedableRng};
use core::cell::RefCell;
use critical_section::Mutex;
use hermit_dtb::Dtb;

/// Numbers that nobody can predict. A chip has hardware for them; here they follow from what QEMU
/// gives the firmware.
pub const RANDOM: Random = Random::new(|| {
    critical_section::with(|cs| {
        let mut generator = GENERATOR.borrow_ref_mut(cs);
        generator.as_mut().expect("the board has been started").next_u32()
    })
});

static GENERATOR: Mutex<RefCell<Option<ChaCha8Rng>>> = Mutex::new(RefCell::new(None));

pub(super) fn start(tree: &Dtb<'_>) {
    let seed = tree.get_property("/chosen", "rng-seed").and_then(|seed| seed.first_chunk());
    // Without a seed the numbers would always be the same.
    let seed = seed.expect("no random numbers: QEMU gives them from version 7.2 on");
    critical_section::with(|cs| GENERATOR.replace(cs, Some(ChaCha8Rng::from_seed(*seed))));
}
