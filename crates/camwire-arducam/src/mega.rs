use camwire_frame::{
    BlockingFrameSource, CaptureError, Clock, Control, ControlError, FrameInfo, FrameSource,
    Resolution, Setting, SettingName, jpeg,
};
use embassy_futures::block_on;
use embedded_hal::{delay::DelayNs as BlockingDelay, spi::SpiDevice as BlockingSpi};
use embedded_hal_async::{delay::DelayNs, spi::SpiDevice};

use crate::bus::Bus;
use crate::registers as reg;
use crate::settings::Present;
use crate::{Blocked, Error, Firmware, Model};

/// Milliseconds from a reset until automatic exposure and white balance have settled somewhat.
const SETTLE_MS: u32 = 500;

/// An Arducam Mega on an SPI device of its own.
///
/// It is made with [`new`](Self::new), or from parts that block with
/// [`new_blocking`](Mega::new_blocking). From then on it is a [`FrameSource`] (or
/// [`BlockingFrameSource`]) and a [`Control`].
///
/// After anything that leaves in doubt what the camera was told (an error of the bus, a camera that
/// did not answer in time, a setting whose future was dropped), the next use first resets the
/// camera and tells it its settings again, which takes about a second.
#[derive(Debug)]
pub struct Mega<S, D, C> {
    bus: Bus<S, D>,
    clock: C,
    model: Model,
    firmware: Firmware,
    present: Present,
    state: State,
    paused: bool,
}

/// What is known of the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing: it must be reset and told everything.
    Unknown,
    Awake,
    Asleep,
    /// It was asked for a picture, which is not known to be finished.
    Capturing,
}

impl<S: SpiDevice, D: DelayNs, C> Mega<S, D, C> {
    /// Resets the camera, finds out what it is, and sets it to JPEG frames of that size and of
    /// quality 12, with everything else in the middle and automatic.
    ///
    /// `spi` is in mode 0 and drives chip select; `clock` is the one that the capture loop and the
    /// server have, and gives pictures their time.
    ///
    /// # Errors
    ///
    /// [`ControlError::Unsupported`] if this camera has no such resolution.
    pub async fn new(
        spi: S,
        delay: D,
        clock: C,
        resolution: Resolution,
    ) -> Result<Self, ControlError<Error<S::Error>>> {
        let mut bus = Bus::new(spi, delay);
        let model = bus.reset().await.map_err(ControlError::Source)?;
        let firmware = bus.firmware().await.map_err(ControlError::Source)?;
        let present = Present::new(resolution);
        if present.writes(model, Setting::Resolution(resolution)).is_none() {
            return Err(ControlError::Unsupported);
        }
        let state = State::Unknown;
        let mut mega = Self { bus, clock, model, firmware, present, state, paused: false };
        mega.configure().await.map_err(ControlError::Source)?;
        mega.state = State::Awake;
        Ok(mega)
    }

    /// Which camera it is.
    #[must_use]
    pub const fn model(&self) -> Model {
        self.model
    }

    /// What it says of its firmware.
    #[must_use]
    pub const fn firmware(&self) -> Firmware {
        self.firmware
    }

    /// Gives back what the driver was made from. The camera stays as it is.
    pub fn release(self) -> (S, D, C) {
        (self.bus.spi, self.bus.delay, self.clock)
    }

    /// Whatever was before: then the camera is awake, has its settings, and is doing nothing.
    async fn make_ready(&mut self) -> Result<(), Error<S::Error>> {
        let before = self.state;
        let result = match before {
            State::Awake => return Ok(()),
            // To begin a picture while another is under way might give the older one. The state
            // stays meanwhile, in case that this future is dropped too.
            State::Capturing => match self.bus.until_captured().await {
                // It may never have heard of that picture.
                Err(Error::NoPicture) => {
                    self.state = State::Unknown;
                    self.start_again().await
                }
                result => result,
            },
            State::Asleep => {
                self.state = State::Unknown;
                self.bus.wake(self.model).await
            }
            State::Unknown => self.start_again().await,
        };
        self.state = if result.is_ok() { State::Awake } else { State::Unknown };
        result
    }

    async fn start_again(&mut self) -> Result<(), Error<S::Error>> {
        if self.bus.reset().await? != self.model {
            return Err(Error::OtherModel);
        }
        self.configure().await
    }

    /// Tells a camera that was reset everything.
    async fn configure(&mut self) -> Result<(), Error<S::Error>> {
        self.bus.tell(reg::DEVICE_ADDRESS, reg::SENSOR_ADDRESS).await?;
        self.bus.tell(reg::FORMAT, reg::JPEG).await?;
        let present = self.present;
        for setting in present.after_reset() {
            self.apply(setting).await?;
        }
        self.bus.delay.delay_ms(SETTLE_MS).await;
        Ok(())
    }

    /// Writes what sets `setting`, if this camera has it.
    async fn apply(&mut self, setting: Setting) -> Result<(), Error<S::Error>> {
        let writes = self.present.writes(self.model, setting);
        for (register, value) in writes.into_iter().flatten().flatten() {
            self.bus.tell(register, value).await?;
        }
        Ok(())
    }

    async fn fall_asleep(&mut self) {
        self.state = State::Unknown;
        if self.bus.sleep(self.model).await.is_ok() {
            self.state = State::Asleep;
        }
    }

    /// Takes a picture and reads it into `buf`; the answer is how much the camera sent.
    async fn take(&mut self, buf: &mut [u8]) -> Result<usize, CaptureError<Error<S::Error>>> {
        self.bus.clear().await?;
        self.state = State::Capturing;
        self.bus.start().await?;
        self.bus.until_captured().await?;
        self.state = State::Awake;
        let Some(length) = self.bus.length().await? else {
            self.bus.clear().await?;
            return Err(CaptureError::Broken);
        };
        let Some(picture) = buf.get_mut(..length) else {
            self.bus.clear().await?;
            return Err(CaptureError::TooLarge { needed: length });
        };
        self.bus.burst(picture).await?;
        Ok(length)
    }
}

/// A dropped [`capture`](FrameSource::capture) leaves the camera at work; the next one waits until
/// it has finished, and takes a new picture.
impl<S: SpiDevice, D: DelayNs, C: Clock> FrameSource for Mega<S, D, C> {
    type Error = Error<S::Error>;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>> {
        self.make_ready().await?;
        let captured_at = self.clock.now();
        let taken = self.take(buf).await;
        if let Err(CaptureError::Source(_)) = taken {
            self.state = State::Unknown;
        }
        // The camera fills its pictures up behind their end.
        let sent = buf.get(..taken?).unwrap_or_default();
        let picture = jpeg::inspect(sent).map_err(|_| CaptureError::Broken)?;
        Ok(FrameInfo {
            len: picture.len,
            width: picture.width,
            height: picture.height,
            captured_at,
            ..FrameInfo::default()
        })
    }

    /// Puts the camera to sleep. What goes wrong here shows when it is next used.
    async fn pause(&mut self) {
        self.paused = true;
        if self.state != State::Asleep && self.make_ready().await.is_ok() {
            self.fall_asleep().await;
        }
    }

    /// Wakes the camera. What goes wrong here shows when it is next used.
    async fn resume(&mut self) {
        self.paused = false;
        let _ = self.make_ready().await;
    }
}

/// A camera that sleeps is woken for it, and then put to sleep again.
impl<S: SpiDevice, D: DelayNs, C> Control for Mega<S, D, C> {
    type Error = Error<S::Error>;

    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<Self::Error>> {
        if self.present.writes(self.model, setting).is_none() {
            return Err(ControlError::Unsupported);
        }
        self.make_ready().await.map_err(ControlError::Source)?;
        // Until all of it is written, nobody knows what the camera has.
        self.state = State::Unknown;
        self.apply(setting).await.map_err(ControlError::Source)?;
        self.state = State::Awake;
        self.present.put(setting);
        if self.paused {
            self.fall_asleep().await;
        }
        Ok(())
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        let setting = self.present.get(name)?;
        self.present.writes(self.model, setting).map(|_| setting)
    }
}

impl<S: BlockingSpi, D: BlockingDelay, C> Mega<Blocked<S>, Blocked<D>, C> {
    /// As [`new`](Self::new), from parts that block. So does this function.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_blocking(
        spi: S,
        delay: D,
        clock: C,
        resolution: Resolution,
    ) -> Result<Self, ControlError<Error<S::Error>>> {
        block_on(Self::new(Blocked(spi), Blocked(delay), clock, resolution))
    }
}

impl<S: BlockingSpi, D: BlockingDelay, C: Clock> BlockingFrameSource
    for Mega<Blocked<S>, Blocked<D>, C>
{
    type Error = Error<S::Error>;

    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>> {
        block_on(FrameSource::capture(self, buf))
    }

    fn pause(&mut self) {
        block_on(FrameSource::pause(self));
    }

    fn resume(&mut self) {
        block_on(FrameSource::resume(self));
    }
}
