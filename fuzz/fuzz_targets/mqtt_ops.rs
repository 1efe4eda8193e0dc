//! Sequences of operations on the reassembler, compared with a naive model of it.
#![no_main]

#[path = "../../crates/camwire-mqtt/tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|operations: &[u8]| common::model::run(operations));
