//! QEMU's machine, with interrupts that a test can time.

#[path = "../../../../examples/qemu-riscv/src/board/console.rs"]
mod console;
#[path = "../../../../examples/qemu-riscv/src/board/register.rs"]
mod register;

pub(crate) use console::println;
pub use console::{exit, print};

use core::cell::Cell;
use core::pin::pin;
use core::ptr;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use critical_section::Mutex;
use portable_atomic::{AtomicBool, Ordering};
use register::Register;
use riscv::interrupt::Interrupt;
use riscv::register::{mcause, mepc, mie, mstatus, mtval};

/// Behind the firmware's memory; QEMU's loader device has put the number of a test there.
// SAFETY: it is there, and nothing else is.
const ARGUMENT: Register<u32> = unsafe { Register::at(0x8040_0000) };
/// The low half of `mtime`, which counts at 10 MHz.
// SAFETY: it is there.
const TIME: Register<u32> = unsafe { Register::at(0x0200_bff8) };
/// `mtimecmp`: there is an interrupt for as long as the time is not before it.
// SAFETY: as above.
const ALARM: [Register<u32>; 2] = unsafe { [Register::at(0x0200_4000), Register::at(0x0200_4004)] };

/// `msip`: there is a software interrupt for as long as it is 1.
// SAFETY: as above.
const SOFTWARE: Register<u32> = unsafe { Register::at(0x0200_0000) };

static HANDLER: Mutex<Cell<Option<fn()>>> = Mutex::new(Cell::new(None));
static SOFTWARE_HANDLER: Mutex<Cell<Option<fn()>>> = Mutex::new(Cell::new(None));

/// What QEMU was told.
pub fn argument() -> usize {
    ARGUMENT.read() as usize
}

/// Tenths of a microsecond since the start; no test takes the seven minutes after which they wrap.
pub fn ticks() -> u32 {
    TIME.read()
}

/// Calls `handler` in an interrupt, once, so many ticks from now.
pub fn interrupt_in(ticks: u32, handler: fn()) {
    interrupt_again_in(ticks, handler);
    // SAFETY: no critical section is under way in a test, and the handler is there.
    unsafe {
        mie::set_mtimer();
        mstatus::set_mie();
    }
}

/// The same for a handler, which must not be interrupted itself.
pub fn interrupt_again_in(ticks: u32, handler: fn()) {
    critical_section::with(|cs| HANDLER.borrow(cs).set(Some(handler)));
    let [low, high] = ALARM;
    low.write(TIME.read() + ticks); // Not the other way round: the old one is in the past.
    high.write(0);
}

/// Whether the interrupt has been.
pub fn was_interrupted() -> bool {
    critical_section::with(|cs| HANDLER.borrow(cs).get().is_none())
}

#[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
fn timer() {
    let [_, high] = ALARM;
    high.write(u32::MAX);
    let handler = critical_section::with(|cs| HANDLER.borrow(cs).take());
    handler.expect("an interrupt that was asked for")();
}

/// From now on calls `handler` in an interrupt after each [`pend`].
pub fn on_software_interrupt(handler: fn()) {
    critical_section::with(|cs| SOFTWARE_HANDLER.borrow(cs).set(Some(handler)));
    // SAFETY: no critical section is under way in a test, and the handler is there.
    unsafe {
        mie::set_msoft();
        mstatus::set_mie();
    }
}

/// Makes a software interrupt: at once, or as soon as interrupts are allowed.
pub fn pend() {
    SOFTWARE.write(1);
}

#[riscv_rt::core_interrupt(Interrupt::MachineSoft)]
fn software() {
    SOFTWARE.write(0);
    let handler = critical_section::with(|cs| SOFTWARE_HANDLER.borrow(cs).get());
    handler.expect("nobody pends it before")();
}

/// A trap that nobody expects: a stray pointer, or an instruction that the CPU does not have.
#[unsafe(export_name = "ExceptionHandler")]
fn exception(_frame: &riscv_rt::TrapFrame) -> ! {
    let (cause, at, value) = (mcause::read().code(), mepc::read(), mtval::read());
    println!("trap: cause {cause}, at {at:#010x}, value {value:#010x}");
    exit(102)
}

/// Drives a future: polls it when it was woken, and not otherwise.
pub fn wait<F: Future>(future: F) -> F::Output {
    static WOKEN: AtomicBool = AtomicBool::new(false);
    const VTABLE: RawWakerVTable =
        RawWakerVTable::new(|_| RawWaker::new(ptr::null(), &VTABLE), wake, wake, |_| {});
    fn wake(_: *const ()) {
        WOKEN.store(true, Ordering::Relaxed);
    }
    // SAFETY: the functions of the table make no use of the pointer.
    let waker = unsafe { Waker::new(ptr::null(), &VTABLE) };
    let mut future = pin!(future);
    loop {
        WOKEN.store(false, Ordering::Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let asleep_since = ticks();
        while !WOKEN.load(Ordering::Relaxed) {
            assert!(ticks() - asleep_since < 10_000, "nobody has woken it for a millisecond");
        }
    }
}
