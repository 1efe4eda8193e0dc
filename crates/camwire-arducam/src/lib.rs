#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod blocking;
mod bus;
mod mega;
mod model;
mod registers;
mod settings;

pub use blocking::Blocked;
pub use bus::Error;
pub use mega::Mega;
pub use model::{Firmware, Model};
