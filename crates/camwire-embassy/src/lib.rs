#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

#[cfg(feature = "mqtt")]
mod broker;
mod clock;
#[cfg(feature = "net")]
mod link;
#[cfg(feature = "push")]
mod push;
#[cfg(feature = "net")]
mod serve;

#[cfg(feature = "mqtt")]
pub use broker::{Broker, BrokerSocket};
pub use clock::EmbassyClock;
#[cfg(feature = "net")]
pub use link::{HeldLink, HeldReceive, HeldTransmit, Link, LinkClock};
#[cfg(feature = "push")]
pub use push::{PushEnd, PushMemory, push};
#[cfg(feature = "net")]
pub use serve::serve;
