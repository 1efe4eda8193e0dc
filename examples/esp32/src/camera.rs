//! Where the pictures come from: `CAMWIRE_SOURCE` chooses, when the firmware is built.
//!
//! **Your camera goes here.** It is whatever implements [`FrameSource`], where one method must be
//! written: capture the next picture into the memory it is given. Name it in build.rs, make it in
//! a function [`source`] of its own, and give it its pins and its bus from `main`, which has them.
//!
//! What can be set on it, [`Control`] says. A camera without settings answers
//! `Err(ControlError::Unsupported)` to `set` and `None` to `get`; the page then shows none.

use camwire::embassy::EmbassyClock;
use camwire::frame::{Control, FrameRate, FrameSource, Quality, Resolution, TestSource};
use core::fmt::Display;

/// Computed, and sent by a chip without a camera.
#[cfg(source = "test-pattern")]
pub fn source() -> impl FrameSource<Error: Display> + Control {
    TestSource::new(EmbassyClock, Resolution::QVGA, Quality::new(12).expect("in range"))
}

/// The most pictures a second. The test pattern is drawn and coded by the chip, which must have
/// time for Wi-Fi as well; a camera that makes JPEG itself leaves much more.
pub fn rate() -> FrameRate {
    "5".parse().expect("a rate")
}
