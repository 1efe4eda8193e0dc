#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

mod card;
mod encoder;
mod font;
mod pattern;

pub use pattern::{TestPattern, TestSource};
