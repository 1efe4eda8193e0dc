//! Sequences of operations on the ring, compared with a naive model of it.
#![no_main]

#[path = "../../crates/camwire-ring/tests/model/mod.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|operations: &[u8]| model::run(operations));
