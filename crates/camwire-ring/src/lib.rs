#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test, loom))]
extern crate std;

// What many places use is inlined on 64-bit machines, where calls cost more than code, and not on
// 32-bit ones, where flash is scarce: hence the attributes with `target_pointer_width`.

mod atomic_waker;
#[cfg(feature = "std")]
mod blocking;
mod capture;
mod life;
mod publisher;
mod reader;
mod ring;
mod settings;
mod slot;
mod status;
mod sync;
mod waker;

#[cfg(feature = "std")]
pub use blocking::block_on;
pub use capture::{CaptureConfig, capture_loop, capture_loop_with_settings};
pub use life::PublisherError;
pub use publisher::{CommitError, Grant, GrantError, Publisher, Uncommitted};
pub use reader::{FrameLease, LeaseError, Reader, Revocation, SubscribeError};
pub use ring::{Follow, FrameRing, MemoryError, Policy, ReaderSlot, RingMemory};
pub use settings::{SetError, Settings};
pub use slot::Slot;
pub use status::{SourceState, SourceStatus};
