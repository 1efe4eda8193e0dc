//! QEMU's riscv32 machine, for a firmware of either target.

use crate::{toolchain::TARGETS, tools::Program};

pub(crate) const QEMU: Program =
    Program { names: &["qemu-system-riscv32"], packages: "qemu-system-misc" };

/// The arguments for a machine that runs `target`: on a CPU that has no atomic instructions, if
/// the target has none.
pub(crate) fn machine(target: &str) -> impl Iterator<Item = &'static str> {
    let cpu = if target == TARGETS[0] {
        "rv32,a=off,f=off,d=off,s=off,h=off"
    } else {
        "rv32,f=off,d=off,s=off,h=off"
    };
    let rest = "-M virt -m 32M -bios none -display none -monitor none -serial stdio -no-reboot";
    ["-cpu", cpu].into_iter().chain(rest.split(' '))
}
