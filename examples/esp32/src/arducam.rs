//! An Arducam Mega on SPI.

use crate::board::Port;
use camwire::arducam::{Error, Mega};
use camwire::embassy::EmbassyClock;
use camwire::frame::{ControlError, Resolution};
use embassy_time::Delay;
use embedded_hal::spi::{ErrorType, Operation};
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::spi::SpiDevice;
use esp_hal::Async;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::spi;
use esp_hal::spi::master::{Config, Spi, SpiDma};
use esp_hal::time::Rate;

/// What it is set to at first. Its larger sizes need more memory than there is for a picture.
const RESOLUTION: Resolution = Resolution::QVGA;

/// As in Arducam's own examples.
const FREQUENCY: Rate = Rate::from_mhz(8);

/// Shorter transfers, those of the camera's registers, are over before DMA would have begun.
const DMA_FROM_BYTES: usize = 64;

/// Resets the camera, which takes a second or two.
pub async fn find(
    port: &mut Port,
) -> Result<Mega<Device<'_>, Delay, EmbassyClock>, ControlError<Error<spi::Error>>> {
    let config = Config::default()
        .with_frequency(FREQUENCY)
        .with_mode(spi::Mode::_0)
        .with_min_async_transfer_size(DMA_FROM_BYTES);
    let bus = Spi::new(port.spi.reborrow(), config)
        .expect("the chip has this frequency")
        .with_sck(port.sck.reborrow())
        .with_miso(port.miso.reborrow())
        .with_mosi(port.mosi.reborrow())
        .with_dma(port.dma.reborrow())
        .into_async();
    let select = Output::new(port.select.reborrow(), Level::High, OutputConfig::default());
    Mega::new(Device { bus, select }, Delay, EmbassyClock, RESOLUTION).await
}

/// The camera, alone on its bus. A picture goes by DMA straight into its slot; meanwhile the
/// processor is free.
pub struct Device<'d> {
    bus: SpiDma<'d, Async>,
    select: Output<'d>,
}

impl ErrorType for Device<'_> {
    type Error = spi::Error;
}

impl SpiDevice for Device<'_> {
    async fn transaction(
        &mut self,
        operations: &mut [Operation<'_, u8>],
    ) -> Result<(), spi::Error> {
        let _selected = Selected::new(&mut self.select);
        for operation in operations {
            match operation {
                Operation::Read(words) => self.bus.read_async(words).await?,
                Operation::Write(words) => self.bus.write_async(words).await?,
                Operation::Transfer(read, write) => self.bus.transfer_async(read, write).await?,
                Operation::TransferInPlace(words) => {
                    self.bus.transfer_in_place_async(words).await?
                }
                Operation::DelayNs(ns) => Delay.delay_ns(*ns).await,
            }
        }
        Ok(())
    }
}

/// Chip select is active. It ends with this, also when the transaction is dropped half-way, as the
/// capture loop does when nobody wants the picture any more.
struct Selected<'s, 'd>(&'s mut Output<'d>);

impl<'s, 'd> Selected<'s, 'd> {
    fn new(select: &'s mut Output<'d>) -> Self {
        select.set_low();
        Self(select)
    }
}

impl Drop for Selected<'_, '_> {
    fn drop(&mut self) {
        self.0.set_high();
    }
}
