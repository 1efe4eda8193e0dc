use camwire::frame::{
    CaptureError, Clock, Control, ControlError, FrameInfo, FrameSource, Setting, SettingName,
    Upstream, jpeg,
};
use core::convert::Infallible;

/// A camera that shows the JPEG pictures in memory in turn, one after the other.
///
/// It is also the pattern for a driver: whatever finds the bytes of the next picture, copies them
/// out and says what they are.
pub struct Pictures<C> {
    clock: C,
    all: &'static [u8],
    rest: &'static [u8],
}

impl<C: Clock> Pictures<C> {
    pub fn new(clock: C, all: &'static [u8]) -> Self {
        Self { clock, all, rest: all }
    }
}

impl<C: Clock> FrameSource for Pictures<C> {
    type Error = jpeg::JpegError;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>> {
        if self.rest.is_empty() {
            self.rest = self.all;
        }
        let captured_at = self.clock.now();
        // After what is no picture, from the beginning.
        let picture = jpeg::inspect(self.rest).inspect_err(|_| self.rest = &[])?;
        let (bytes, rest) = self.rest.split_at(picture.len);
        self.rest = rest;
        let place =
            buf.get_mut(..picture.len).ok_or(CaptureError::TooLarge { needed: picture.len })?;
        place.copy_from_slice(bytes);
        Ok(FrameInfo {
            len: picture.len,
            width: picture.width,
            height: picture.height,
            captured_at,
            upstream: Upstream::default(),
        })
    }
}

/// There is nothing to set.
impl<C> Control for Pictures<C> {
    type Error = Infallible;

    async fn set(&mut self, _: Setting) -> Result<(), ControlError<Infallible>> {
        Err(ControlError::Unsupported)
    }

    fn get(&self, _: SettingName) -> Option<Setting> {
        None
    }
}
