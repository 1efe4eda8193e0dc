//! Sequences of operations on the camera, over a simulated driver that notices when it is misused.
#![no_main]

#[path = "../../crates/camwire-esp32cam/tests/session/mod.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|operations: &[u8]| session::run(operations));
