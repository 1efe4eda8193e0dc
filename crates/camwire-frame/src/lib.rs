#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(any(feature = "std", test))]
extern crate std;

mod backoff;
mod control;
pub mod jpeg;
mod pace;
mod random;
mod repeat;
mod resolution;
mod source;
mod time;

pub use backoff::Backoff;
pub use control::{
    Control, ControlError, ParseSettingNameError, Quality, Ranged, Setting, SettingName, ValueError,
};
pub use pace::{FrameRate, Pacer, ParseFrameRateError};
pub use random::Random;
pub use repeat::RepeatFilter;
pub use resolution::{ParseResolutionError, Resolution};
pub use source::{
    Blocking, BlockingFrameSource, CaptureError, Flow, FrameInfo, FrameSource, Upstream,
};
pub use time::{Clock, Instant};
