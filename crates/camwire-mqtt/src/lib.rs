#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(any(feature = "std", test))]
extern crate std;

mod checksum;
mod chunk;
mod control;
mod greeting;
mod header;
mod motor;
mod number;
mod reassemble;
mod session;
mod topic;

pub use checksum::checksum;
pub use chunk::{Chunker, ChunkerError, Message, Messages, Retain, SplitError, Stamp};
pub use control::{Command, CommandError, CommandMessage, ControlTopics, Dialect, Led};
pub use greeting::{Greeting, GreetingError};
pub use header::{HeaderError, PartHeader};
pub use motor::{Motor, MotorWatchdog, NoHeartbeatError, Outputs, Speed};
pub use reassemble::{Counts, Event, Lost, Patience, Picture, Reassembler, Refused};
pub use session::{
    CameraSession, Captured, Device, Discovery, FrameMessages, Outcome, Publishing, Refusal,
    RefusalReason, SessionConfig, Stats, Transmit,
};
pub use topic::{Delivery, Prefix, PrefixError, Topic};
