use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::spi::{Operation, SpiDevice};

use crate::registers as reg;
use crate::{Firmware, Model};

/// How the driver fails. `E` is the error of the SPI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The SPI device failed.
    #[error("SPI: {0:?}")]
    Spi(E),
    /// The camera did not become idle in time, after a reset or a setting. Where no camera is
    /// connected, this or [`UnknownModel`](Self::UnknownModel) is what comes of it.
    #[error("the camera does not become idle")]
    Busy,
    /// The camera did not finish its picture in time.
    #[error("the camera does not finish its picture")]
    NoPicture,
    /// Nothing that this driver knows answers.
    #[error("no known camera: its sensor says {id:#04x}")]
    UnknownModel {
        /// What was read for the sensor's number.
        id: u8,
    },
    /// After a reset there was another model than at the start.
    #[error("another camera has taken its place")]
    OtherModel,
}

/// Milliseconds that the camera needs after a register was written.
const WRITE_MS: u32 = 1;
/// Milliseconds between two looks at the camera's state, and how many looks there are: at least
/// 3 s after a reset, 1 s after a setting, 4 s for a picture.
const POLL_MS: u32 = 2;
const RESET_POLLS: u32 = 1500;
const IDLE_POLLS: u32 = 500;
const CAPTURE_POLLS: u32 = 2000;
/// Bytes that no picture of these cameras has. A number as large as this in the length registers
/// means that there is no picture: such ones are seen after captures that failed.
const IMPOSSIBLE_LENGTH: usize = 5_000_000;

/// The camera's registers, and the waiting that belongs to them. It keeps nothing of what the
/// camera was told.
#[derive(Debug)]
pub(crate) struct Bus<S, D> {
    pub(crate) spi: S,
    pub(crate) delay: D,
    /// A register was written, and the camera has not had its time for that.
    written: bool,
}

impl<S: SpiDevice, D: DelayNs> Bus<S, D> {
    pub(crate) const fn new(spi: S, delay: D) -> Self {
        Self { spi, delay, written: false }
    }

    /// Resets the camera, whatever it is doing, and finds out what it is.
    pub(crate) async fn reset(&mut self) -> Result<Model, Error<S::Error>> {
        self.write(reg::RESET, reg::RESET_ALL).await?;
        self.until_idle(RESET_POLLS).await?;
        let id = self.read(reg::SENSOR_ID).await?;
        Model::from_id(id).ok_or(Error::UnknownModel { id })
    }

    pub(crate) async fn firmware(&mut self) -> Result<Firmware, Error<S::Error>> {
        Ok(Firmware {
            year: self.read(reg::YEAR).await? & 0x3F,
            month: self.read(reg::MONTH).await? & 0x0F,
            day: self.read(reg::DAY).await? & 0x1F,
            version: self.read(reg::VERSION).await?,
        })
    }

    /// Writes a register that concerns the sensor, and waits until the sensor has it.
    pub(crate) async fn tell(&mut self, register: u8, value: u8) -> Result<(), Error<S::Error>> {
        self.write(register, value).await?;
        self.until_idle(IDLE_POLLS).await
    }

    pub(crate) async fn sleep(&mut self, model: Model) -> Result<(), Error<S::Error>> {
        let (sleep, _) = model.power_codes();
        self.write(reg::POWER, sleep).await
    }

    pub(crate) async fn wake(&mut self, model: Model) -> Result<(), Error<S::Error>> {
        let (_, wake) = model.power_codes();
        self.write(reg::POWER, wake).await?;
        self.delay.delay_ms(model.wake_ms()).await;
        self.until_idle(IDLE_POLLS).await
    }

    pub(crate) async fn clear(&mut self) -> Result<(), Error<S::Error>> {
        self.write(reg::FIFO, reg::FIFO_CLEAR).await?;
        self.settle().await;
        Ok(())
    }

    /// Begins a picture; the last one must have been [cleared](Self::clear).
    pub(crate) async fn start(&mut self) -> Result<(), Error<S::Error>> {
        self.write(reg::FIFO, reg::FIFO_START).await
    }

    pub(crate) async fn until_captured(&mut self) -> Result<(), Error<S::Error>> {
        let done = |state| state & reg::STATE_DONE != 0;
        if self.poll_state(done, CAPTURE_POLLS).await? { Ok(()) } else { Err(Error::NoPicture) }
    }

    /// Bytes of the picture that was captured, with what the camera fills it up with; `None` if
    /// there is none.
    pub(crate) async fn length(&mut self) -> Result<Option<usize>, Error<S::Error>> {
        let mut length = [0; 4];
        let registers = [reg::LENGTH_7_0, reg::LENGTH_15_8, reg::LENGTH_23_16];
        for (byte, register) in length.iter_mut().zip(registers) {
            *byte = self.read(register).await?;
        }
        let length = u32::from_le_bytes(length) as usize;
        Ok(Some(length).filter(|length| (1..IMPOSSIBLE_LENGTH).contains(length)))
    }

    /// Reads the picture that was captured, all at once.
    pub(crate) async fn burst(&mut self, picture: &mut [u8]) -> Result<(), Error<S::Error>> {
        let operations = &mut [Operation::Write(&[reg::BURST, 0]), Operation::Read(picture)];
        self.spi.transaction(operations).await.map_err(Error::Spi)
    }

    async fn until_idle(&mut self, polls: u32) -> Result<(), Error<S::Error>> {
        let idle = |state| state & reg::STATE_BUSY_MASK == reg::STATE_IDLE;
        if self.poll_state(idle, polls).await? { Ok(()) } else { Err(Error::Busy) }
    }

    async fn poll_state(
        &mut self,
        wanted: impl Fn(u8) -> bool,
        polls: u32,
    ) -> Result<bool, Error<S::Error>> {
        for _ in 0..polls {
            if wanted(self.read(reg::STATE).await?) {
                return Ok(true);
            }
            self.delay.delay_ms(POLL_MS).await;
        }
        Ok(false)
    }

    async fn write(&mut self, register: u8, value: u8) -> Result<(), Error<S::Error>> {
        self.settle().await;
        self.written = true;
        self.spi.write(&[register | reg::WRITE, value]).await.map_err(Error::Spi)
    }

    async fn read(&mut self, register: u8) -> Result<u8, Error<S::Error>> {
        self.settle().await;
        let mut answer = [0; 2];
        let operations = &mut [Operation::Write(&[register]), Operation::Read(&mut answer)];
        self.spi.transaction(operations).await.map_err(Error::Spi)?;
        let [_dummy, value] = answer;
        Ok(value)
    }

    /// Gives the camera its time before the next access, not after the last one, whose future may
    /// have been dropped.
    async fn settle(&mut self) {
        if self.written {
            self.delay.delay_ms(WRITE_MS).await;
            self.written = false;
        }
    }
}
