//! What the binaries of this firmware share; they are in `src/bin`, and each is a firmware of its
//! own.
//!
//! All of it but one file is code for any machine that has threads and sockets, so all of it but
//! that file is compiled and tested on a computer: [`platform`] says how.

pub mod camera;
pub mod clock;
pub mod delivery;
pub mod lamp;
pub mod motors;
pub mod mqtt;
pub mod network;
pub mod platform;
pub mod push;
mod socket;
pub mod web;

pub use delivery::Delivery;

/// What build.rs has read from the `CAMWIRE_` variables.
pub mod settings {
    use std::net::Ipv4Addr;
    include!(concat!(env!("OUT_DIR"), "/settings.rs"));
}
