//! The chip: its start, and what happens when the firmware fails.

use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::peripherals::{FROM_CPU_INTR0, Peripherals, TIMG0};
use esp_hal::ram;
use esp_hal::timer::timg::TimerGroup;

/// Starts the chip at its full speed. What it gives is all that the chip has, each once.
pub fn start() -> Peripherals {
    esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()))
}

/// Starts what Wi-Fi and embassy need: memory for the driver, and the scheduler.
pub fn start_scheduler(timer: TIMG0<'static>, interrupt: FROM_CPU_INTR0<'static>) {
    // Only the Wi-Fi driver allocates. This first part of the memory was the bootloader's, and
    // cannot be had for anything but a heap.
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(timer).timer0, interrupt);
}

/// After a panic, whose message and place esp-backtrace has printed: restart. A camera that hangs
/// on a wall until somebody comes by helps nobody, and one that panics at once starts over slowly
/// enough to be read.
// SAFETY: esp-backtrace calls this name, with this signature, and nobody else has it.
#[unsafe(no_mangle)]
extern "Rust" fn custom_halt() -> ! {
    esp_println::println!("restarting");
    Delay::new().delay_millis(1000); // The serial line sends what it still has.
    esp_hal::system::software_reset()
}
