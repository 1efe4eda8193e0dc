//! QEMU's riscv32 machine `virt`: what a HAL would be for a chip.

mod console;
mod dma;
mod network;
mod random;
mod register;
mod time;
mod traps;

pub(crate) use console::println;
pub use console::{exit, print};
pub use network::Network;
pub use random::RANDOM;

use hermit_dtb::Dtb;

/// What the firmware is given.
pub struct Board {
    /// QEMU's `-append`.
    pub arguments: &'static str,
    pub network: Network,
}

/// Starts everything. `device_tree` is what the second argument of the entry point says.
pub fn start(device_tree: usize) -> Board {
    // SAFETY: QEMU has put the device tree there, outside the memory of memory.x, and nobody
    // writes to it.
    let tree = unsafe { Dtb::from_raw(device_tree as *const u8) }.expect("QEMU gives one");
    let text = tree.get_property("/chosen", "bootargs").unwrap_or_default();
    let text = core::str::from_utf8(text).expect("arguments are text");
    random::start(&tree);
    let network = Network::start().expect("no network card: see the README for QEMU's arguments");
    traps::enable();
    Board { arguments: text.trim_end_matches('\0'), network }
}

/// The first `count` bytes that QEMU's loader device has put behind the firmware's memory.
pub fn injected(count: usize) -> &'static [u8] {
    unsafe extern "C" {
        /// The end of the firmware's memory; see memory.x.
        static _pictures: [u8; 0];
    }
    // The device tree lies at the end of 32 MiB.
    assert!(count <= 24 << 20, "too many pictures");
    // SAFETY: QEMU has the memory (-m 32M), filled before the start, and nobody writes to it.
    unsafe { core::slice::from_raw_parts((&raw const _pictures).cast(), count) }
}
