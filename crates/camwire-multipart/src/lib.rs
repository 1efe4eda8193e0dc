#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(any(feature = "std", test))]
extern crate std;

// What many places use is inlined on 64-bit machines, where calls cost more than code, and not on
// 32-bit ones, where flash is scarce: hence the attributes with `target_pointer_width`.

mod boundary;
mod config;
mod content_type;
mod decode;
mod delimiter;
mod encode;
mod event;
mod field;
mod head;
mod source;
mod text;

pub use boundary::{Boundary, BoundaryError};
pub use config::{Config, Limits, Quirks, WrongLength};
pub use content_type::ContentTypeError;
pub use decode::{Decoder, Events};
pub use encode::{Encoder, MediaType};
pub use event::{DecodeError, DecodeErrorKind, DropReason, Dropped, Event};
pub use field::ContentType;
pub use head::PartHead;
pub use source::{MissingEoi, MultipartSource, SourceCounts, SourceError};
