#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

mod board;
mod camera;
mod config;
mod control;
#[allow(unsafe_code)]
mod driver;
mod error;
mod restart;
#[allow(unsafe_code)]
mod sys;

pub use board::Board;
pub use camera::{Camera, Frame};
pub use config::{BufferMemory, Config, GrabMode, Pins, Sccb};
pub use driver::now;
pub use error::{CameraError, ConfigError, EspError, StartError};
pub use restart::RestartingCamera;
