//! Where the pictures come from: `CAMWIRE_SOURCE` chooses, when the firmware is built.
//!
//! **Your camera goes here.** It is whatever implements [`FrameSource`], where one method must be
//! written: capture the next picture into the memory it is given. Name it in build.rs, and make it
//! in a function `find` like the others, which has what it needs of the chip: [`arducam`] is one on
//! SPI, [`test_pattern`] needs nothing.
//!
//! What can be set on it, [`Control`](camwire::frame::Control) says. A camera without settings
//! answers `Err(ControlError::Unsupported)` to `set` and `None` to `get`; the page then shows none.
//!
//! [`arducam`]: crate::arducam
//! [`test_pattern`]: crate::test_pattern

use camwire::frame::{CaptureError, FrameInfo, FrameRate, FrameSource};

#[cfg(source = "arducam")]
pub use crate::arducam::find;
#[cfg(source = "test-pattern")]
pub use crate::test_pattern::find;

/// The largest picture. A fifth of a byte for each pixel is what most need at most, so 20 KiB are
/// enough for 320 by 320 of them; larger sizes are refused.
pub const SLOT_BYTES: usize = if cfg!(source = "test-pattern") { 16 * 1024 } else { 20 * 1024 };

/// The most pictures a second. The test pattern is drawn and coded by the chip, which must have
/// time for Wi-Fi as well; a camera that makes JPEG itself leaves much more.
pub fn rate() -> FrameRate {
    let rate = if cfg!(source = "test-pattern") { "5" } else { "15" };
    rate.parse().expect("a rate")
}

/// In place of a camera that was not found: there are no pictures, and this is why.
pub struct Missing<E>(pub E);

impl<E: Copy> FrameSource for Missing<E> {
    type Error = E;

    async fn capture(&mut self, _: &mut [u8]) -> Result<FrameInfo, CaptureError<E>> {
        Err(CaptureError::Source(self.0))
    }
}
