#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

#[cfg(all(feature = "mqtt", feature = "net"))]
mod broker;
mod clock;
#[cfg(feature = "net")]
mod link;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "push")]
mod push;
#[cfg(feature = "net")]
mod serve;

#[cfg(all(feature = "mqtt", feature = "net"))]
pub use broker::{Broker, BrokerSocket};
pub use clock::EmbassyClock;
#[cfg(feature = "net")]
pub use link::{HeldLink, HeldReceive, HeldTransmit, Link, LinkClock};
#[cfg(feature = "mqtt")]
pub use mqtt::{
    Layout, MqttCamera, MqttConfig, MqttConfigError, MqttEnd, MqttEvent, MqttHooks, MqttNetwork,
    Publishing,
};
#[cfg(feature = "push")]
pub use push::{PushEnd, PushMemory, push};
#[cfg(feature = "net")]
pub use serve::serve;
