#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod clock;
#[cfg(feature = "push")]
mod push;
mod serve;

pub use clock::EmbassyClock;
#[cfg(feature = "push")]
pub use push::{PushEnd, PushMemory, push};
pub use serve::serve;
