//! The chip: its start, and what happens when the firmware fails.

use embassy_executor::Spawner;
use embassy_time::Timer;
use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::gpio::AnyPin;
use esp_hal::peripherals::{DMA_CH0, FROM_CPU_INTR0, RTC_TIMER, SPI2, TIMG0, WIFI};
use esp_hal::ram;
use esp_hal::rtc_cntl::{Rtc, Rwdt, RwdtStage};
use esp_hal::time::Duration;
use esp_hal::timer::timg::TimerGroup;

/// A firmware whose tasks have not run for so long hangs.
const HANGS: Duration = Duration::from_secs(10);

/// What the firmware uses of the chip. What else there is, [`start`] has.
pub struct Board {
    pub timer: TIMG0<'static>,
    pub interrupt: FROM_CPU_INTR0<'static>,
    pub watchdog: RTC_TIMER<'static>,
    pub wifi: WIFI<'static>,
    pub camera: Port,
}

/// Where a camera on SPI is connected.
pub struct Port {
    pub spi: SPI2<'static>,
    pub dma: DMA_CH0<'static>,
    pub sck: AnyPin<'static>,
    pub miso: AnyPin<'static>,
    pub mosi: AnyPin<'static>,
    pub select: AnyPin<'static>,
}

/// Starts the chip at its full speed.
pub fn start() -> Board {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // The camera's pins; see the README. Any other will do that is free on your board.
    #[cfg(feature = "esp32c3")]
    let (sck, miso, mosi, select) = (chip.GPIO4, chip.GPIO5, chip.GPIO6, chip.GPIO1);
    #[cfg(feature = "esp32c6")]
    let (sck, miso, mosi, select) = (chip.GPIO21, chip.GPIO20, chip.GPIO19, chip.GPIO18);
    Board {
        timer: chip.TIMG0,
        interrupt: chip.FROM_CPU_INTR0,
        watchdog: chip.RTC_TIMER,
        wifi: chip.WIFI,
        camera: Port {
            spi: chip.SPI2,
            dma: chip.DMA_CH0,
            sck: sck.into(),
            miso: miso.into(),
            mosi: mosi.into(),
            select: select.into(),
        },
    }
}

/// Starts what Wi-Fi and embassy need: memory for the driver, and the scheduler.
pub fn start_scheduler(timer: TIMG0<'static>, interrupt: FROM_CPU_INTR0<'static>) {
    // Only the Wi-Fi driver allocates. This first part of the memory was the bootloader's, and
    // cannot be had for anything but a heap.
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(timer).timer0, interrupt);
}

/// Starts the watchdog, which restarts the chip when it hangs: when a task or the Wi-Fi driver keeps
/// the processor for itself. A task that only waits for ever is not noticed.
pub fn start_watchdog(spawner: Spawner, timer: RTC_TIMER<'static>) {
    let mut watchdog = Rtc::new(timer).rwdt;
    watchdog.set_timeout(RwdtStage::Stage0, HANGS);
    watchdog.enable();
    spawner.spawn(feed(watchdog).expect("it is spawned once"));
}

#[embassy_executor::task]
async fn feed(mut watchdog: Rwdt) {
    loop {
        watchdog.feed();
        Timer::after_secs(1).await;
    }
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
