//! Interrupts, and what must not happen.

use super::{exit, network, println, time};
use riscv::interrupt::Interrupt;
use riscv::register::{mcause, mepc, mie, mstatus, mtval};

pub fn enable() {
    // SAFETY: the handlers below are ready, and no critical section is under way.
    unsafe {
        mie::set_mtimer();
        mie::set_mext();
        mstatus::set_mie();
    }
}

#[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
fn timer() {
    time::on_interrupt();
}

#[riscv_rt::core_interrupt(Interrupt::MachineExternal)]
fn external() {
    network::on_interrupt();
}

/// A trap that nobody expects: a stray pointer, or an instruction that the CPU does not have.
#[unsafe(export_name = "ExceptionHandler")]
fn exception(_frame: &riscv_rt::TrapFrame) -> ! {
    println!(
        "trap: cause {}, at {:#010x}, value {:#010x}",
        mcause::read().code(),
        mepc::read(),
        mtval::read(),
    );
    exit(102)
}
