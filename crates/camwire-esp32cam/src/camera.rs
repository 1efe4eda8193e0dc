use core::fmt;
use core::ops::Deref;

use camwire_frame::{BlockingFrameSource, CaptureError, FrameInfo, Instant, Upstream, jpeg};

use crate::{CameraError, Config, StartError, driver};

/// Broken pictures that one capture passes over before it says so.
const PATIENCE: u32 = 8;

/// The camera, initialised. The driver has only one, and so there is at most one of these; when it
/// is dropped, the driver is deinitialised.
///
/// It may move to a thread of its own, and is then used from there. For a
/// [`FrameSource`](camwire_frame::FrameSource) wrap it in [`Blocking`](camwire_frame::Blocking).
#[derive(Debug)]
pub struct Camera {
    pub(crate) driver: driver::Driver,
    /// What the driver's buffers hold.
    pub(crate) buffer_bytes: usize,
    /// Frames that began until then belong to the past.
    pub(crate) fresh_after: Instant,
    broken: u32,
}

impl Camera {
    /// Initialises the driver.
    ///
    /// # Errors
    ///
    /// As [`StartError`] says.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let driver = driver::Driver::start(&config.for_driver()?)?;
        let mut camera = Self { driver, buffer_bytes: 0, fresh_after: Instant::ZERO, broken: 0 };
        // The driver sizes its buffers for what it has set, which is less than was asked for where
        // the sensor is smaller.
        camera.buffer_bytes = camera.resolution().map_or(0, |size| size.jpeg_bytes());
        Ok(camera)
    }

    /// The next picture, in the driver's own buffer.
    ///
    /// A buffer that is held long freezes the sensor, so most programs want
    /// [`capture`](BlockingFrameSource::capture), which copies it out. Several may be out at once,
    /// as many as there are buffers.
    ///
    /// It blocks until there is one. The driver has seen an SOI and an EOI in it and no more: it may
    /// be broken, and it may be from before the last change of a setting.
    ///
    /// # Errors
    ///
    /// [`CameraError::Timeout`] after 4 seconds.
    pub fn frame(&self) -> Result<Frame<'_>, CameraError> {
        self.driver.frame().map(Frame).ok_or(CameraError::Timeout)
    }

    /// How many broken pictures [`capture`](BlockingFrameSource::capture) has passed over. It does
    /// not know of those without an EOI, which the driver drops.
    #[must_use]
    pub fn broken(&self) -> u32 {
        self.broken
    }
}

impl BlockingFrameSource for Camera {
    type Error = CameraError;

    /// Copies the next picture out and gives the driver's buffer back at once.
    ///
    /// Width and height are those of the picture's own SOF: the driver tells those of the setting,
    /// which are wrong while a change is under way. Pictures that began before the last
    /// [`resume`](Self::resume) or change of a setting are passed over. So are broken ones, which
    /// are counted; after eight in a row the answer is [`CaptureError::Broken`].
    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<CameraError>> {
        let mut broken_in_a_row = 0;
        while broken_in_a_row < PATIENCE {
            let frame = self.driver.frame().map(Frame).ok_or(CameraError::Timeout)?;
            let captured_at = frame.captured_at();
            if captured_at <= self.fresh_after {
                continue;
            }
            let Ok(picture) = jpeg::inspect(&frame) else {
                broken_in_a_row += 1;
                self.broken = self.broken.saturating_add(1);
                continue;
            };
            let bytes = frame.get(..picture.len).unwrap_or_default();
            let slot =
                buf.get_mut(..picture.len).ok_or(CaptureError::TooLarge { needed: picture.len })?;
            slot.copy_from_slice(bytes);
            return Ok(FrameInfo {
                len: picture.len,
                width: picture.width,
                height: picture.height,
                captured_at,
                upstream: Upstream::default(),
            });
        }
        Err(CaptureError::Broken)
    }

    // There is no `pause`: the driver has no stop but deinit, which would lose the sensor's
    // settings. It goes on filling its buffers.

    /// What the driver has queued, and the frame that is under way, are passed over.
    fn resume(&mut self) {
        self.fresh_after = driver::now();
    }
}

/// A picture in the driver's own buffer, which goes back when this is dropped.
#[must_use]
pub struct Frame<'a>(driver::Lent<'a>);

impl Frame<'_> {
    /// When it began, on the chip's timer (`esp_timer_get_time`).
    #[must_use]
    pub fn captured_at(&self) -> Instant {
        self.0.timestamp()
    }
}

/// The bytes, as the driver cut them: at the last EOI, which may be that of an older picture behind
/// the true one's; [`jpeg::inspect`] finds the true one.
impl Deref for Frame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut frame = f.debug_struct("Frame");
        frame.field("len", &self.len()).field("captured_at", &self.captured_at()).finish()
    }
}
