use embedded_hal::{delay, spi};
use embedded_hal_async as asynchronous;

/// Makes an `embedded-hal` SPI device or delay an `embedded-hal-async` one whose futures are ready
/// when they are first polled, having blocked until then.
#[derive(Clone, Copy, Debug)]
pub struct Blocked<T>(pub T);

impl<T: spi::ErrorType> spi::ErrorType for Blocked<T> {
    type Error = T::Error;
}

impl<T: spi::SpiDevice> asynchronous::spi::SpiDevice for Blocked<T> {
    async fn transaction(
        &mut self,
        operations: &mut [spi::Operation<'_, u8>],
    ) -> Result<(), T::Error> {
        self.0.transaction(operations)
    }
}

impl<T: delay::DelayNs> asynchronous::delay::DelayNs for Blocked<T> {
    async fn delay_ns(&mut self, ns: u32) {
        self.0.delay_ns(ns);
    }

    async fn delay_us(&mut self, us: u32) {
        self.0.delay_us(us);
    }

    async fn delay_ms(&mut self, ms: u32) {
        self.0.delay_ms(ms);
    }
}
