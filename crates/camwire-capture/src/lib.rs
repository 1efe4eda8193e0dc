#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(any(feature = "std", test, loom))]
extern crate std;

mod capture;
mod frames;
mod settings;
mod status;
mod sync;

pub use capture::{CaptureConfig, capture_loop, capture_loop_with_settings};
#[cfg(not(loom))]
pub use frames::StaticFrameRing;
pub use frames::{
    FrameGrant, FrameLease, FramePublisher, FrameReader, FrameRevocation, FrameRing,
    FrameRingMemory, FrameSlot,
};
pub use settings::{SetError, Settings};
pub use status::{SourceState, SourceStatus};

#[cfg(feature = "std")]
pub use camwire_ring::block_on;
/// The ring's own types, of which some take part in the names above.
pub use camwire_ring::{
    CommitError, Follow, GrantError, LeaseError, MemoryError, Policy, PublisherError, ReaderSlot,
    SubscribeError, Uncommitted, WaitListFull,
};
