//! What the tests and the fuzz targets share: pictures, random numbers, and a reassembler that is
//! too simple to be wrong.
#![allow(dead_code, unreachable_pub)] // Each test, and each fuzz target, uses its part of it.

pub mod model;

use camwire_mqtt::{Chunker, Prefix, Stamp};

pub const PREFIX: Prefix<'static> = match Prefix::new("cam/1") {
    Ok(prefix) => prefix,
    Err(_) => panic!("it is a prefix"),
};

/// A picture of which the structure is whole, `len` bytes long, and that differs from those with
/// another seed in most places.
pub fn picture(seed: u64, len: usize) -> Vec<u8> {
    const HEAD: &[u8] = b"\xFF\xD8\xFF\xC0\0\x0B\x08\0\x10\0\x20\x01\x01\x11\0\xFF\xDA\0\x02";
    assert!(len >= LEAST);
    let mut random = Random(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut picture = HEAD.to_vec();
    // No FF, so no markers.
    picture.extend((HEAD.len()..len - 2).map(|_| (random.next() >> 24) as u8 & 0x7F));
    picture.extend_from_slice(b"\xFF\xD9");
    picture
}

/// Bytes of the smallest [`picture`].
pub const LEAST: usize = 21;

/// A message as a client sends it: topic, payload, RETAIN.
pub type Sent = (String, Vec<u8>, bool);

pub fn messages(chunker: &Chunker<'_>, picture: &[u8], sequence: u64) -> Vec<Sent> {
    let stamp = Stamp { sequence, timestamp_us: Some(sequence.wrapping_mul(1000)), checksum: None };
    let messages = chunker.split(picture, stamp).expect("it fits");
    messages
        .map(|message| {
            let payload = [message.head(), message.body()].concat();
            (message.topic().to_string(), payload, message.retain().flag())
        })
        .collect()
}

/// Xorshift: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
