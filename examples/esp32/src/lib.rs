//! What the binaries of this firmware share; they are in `src/bin`, and each is a firmware of its
//! own. Begin with [`camera`]: yours goes there.

#![no_std]

pub mod arducam;
pub mod board;
pub mod camera;
pub mod delivery;
pub mod mqtt;
pub mod network;
pub mod push;
pub mod test_pattern;
pub mod web;

/// What build.rs has read from the `CAMWIRE_` variables.
pub mod settings {
    use core::net::Ipv4Addr;
    include!(concat!(env!("OUT_DIR"), "/settings.rs"));
}
