//! Any bytes as frames, for both roles: however they are cut, the events are the same, and they are
//! those of the naive decoder.
#![no_main]

#[path = "../../crates/camwire-websocket/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use camwire_websocket::{Client, Limits, Server};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// The usual one if not given.
    limit: Option<u8>,
    server: bool,
    cuts: [u16; 4],
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let Input { bytes, server, .. } = input;
    let usual = Limits::default().message_bytes;
    let limits = Limits { message_bytes: input.limit.map_or(usual, u64::from) };
    let decode = |pieces: Vec<&[u8]>| match server {
        true => common::decode::<Server>(limits, pieces),
        false => common::decode::<Client>(limits, pieces),
    };
    let cuts = input.cuts.map(usize::from);
    let seen = decode(vec![bytes]);
    assert_eq!(decode(common::cut(bytes, &cuts)), seen);
    assert_eq!(decode(bytes.chunks(1).collect()), seen);
    assert_eq!(common::naive::decode(bytes, server, limits.message_bytes), seen);
});
