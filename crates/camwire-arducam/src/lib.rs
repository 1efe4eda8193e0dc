#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

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
