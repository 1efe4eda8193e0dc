#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test, loom))]
extern crate std;

// What many places use is inlined on 64-bit machines, where calls cost more than code, and not on
// 32-bit ones, where flash is scarce: hence the attributes with `target_pointer_width`.

#[cfg(feature = "std")]
mod blocking;
mod life;
mod memory;
mod publisher;
mod reader;
mod ring;
mod slot;
mod sync;
mod wait;
mod waker;

#[cfg(feature = "std")]
pub use blocking::block_on;
pub use life::PublisherError;
#[cfg(not(loom))]
pub use memory::StaticRing;
pub use memory::{MemoryError, RingMemory, SLOT_ALIGN};
pub use publisher::{CommitError, Grant, GrantError, Publisher, Uncommitted};
pub use reader::{Lease, LeaseError, Reader, Revocation, SubscribeError};
pub use ring::{Follow, Policy, ReaderSlot, Ring};
pub use slot::Slot;
pub use wait::{WaitList, WaitListFull};
