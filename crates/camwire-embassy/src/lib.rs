#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod clock;
mod serve;

pub use clock::EmbassyClock;
pub use serve::serve;
