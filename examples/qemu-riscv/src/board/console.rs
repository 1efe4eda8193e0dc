//! The serial port, the end of the emulation, and what a panic does.

use super::register::Register;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// The 16550's data register and line status.
// SAFETY: they are there.
const DATA: Register<u8> = unsafe { Register::at(0x1000_0000) };
// SAFETY: as above.
const STATUS: Register<u8> = unsafe { Register::at(0x1000_0005) };
const READY: u8 = 1 << 5;

/// The device that ends the emulation.
// SAFETY: it is there; it ends the emulation, which does not touch memory.
const TEST: Register<u32> = unsafe { Register::at(0x10_0000) };

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while STATUS.read() & READY == 0 {}
            DATA.write(byte);
        }
        Ok(())
    }
}

pub fn print(text: fmt::Arguments<'_>) {
    let _ = Console.write_fmt(text); // The console itself never fails.
}

/// A line to the serial port.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::board::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(crate) use println;

/// Ends QEMU, with this as its exit code.
pub fn exit(code: u16) -> ! {
    TEST.write(match code {
        0 => 0x5555,
        code => u32::from(code) << 16 | 0x3333,
    });
    loop {
        riscv::asm::wfi();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    exit(101)
}
