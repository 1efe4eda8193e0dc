//! Sequences of operations on the camera session, compared with a naive model of it.
#![no_main]

#[path = "../../crates/camwire-mqtt/tests/common/session.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|operations: &[u8]| model::run(operations));
