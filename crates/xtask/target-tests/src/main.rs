//! Tests of camwire's libraries where they differ from those on a computer: 32-bit numbers, a CPU
//! that may have no atomic instructions, interrupts.
//!
//! Each test is run in an emulator of its own, which is told the number of the test; without one,
//! the firmware prints the names. A test that fails panics, which ends the emulator.

#![no_std]
#![no_main]
// A test that is not in the list.
#![deny(dead_code)]

mod board;
mod executors;
mod frame;
mod multipart;
mod ring;
mod server;
mod stress;
mod websocket;

macro_rules! tests {
    ($($test:path),* $(,)?) => { &[$((stringify!($test), $test)),*] };
}

const TESTS: &[(&str, fn())] = tests![
    executors::reader_above_publisher,
    executors::publisher_above_reader,
    frame::the_test_pattern_is_that_of_the_computer,
    frame::pictures_are_found_however_they_are_cut,
    frame::time_goes_on_after_32_bits,
    frame::a_schedule_goes_on_after_32_bits,
    multipart::every_cut_of_a_body_with_lengths,
    multipart::every_cut_of_a_body_without_lengths,
    multipart::bodies_at_every_alignment,
    multipart::lengths_beyond_32_bits,
    ring::a_reader_in_an_interrupt,
    ring::a_publisher_in_an_interrupt,
    ring::a_grant_dropped_in_an_interrupt,
    ring::readers_that_come_and_go_in_an_interrupt,
    ring::a_wait_that_an_interrupt_ends,
    ring::a_demand_that_comes_in_an_interrupt,
    ring::leases_grow_old_after_32_bits,
    server::a_picture_captured_in_an_interrupt,
    server::a_stalled_viewer_as_time_goes_beyond_32_bits,
    stress::everything_at_once_on_a_ring_that_drops_the_oldest,
    stress::everything_at_once_on_a_ring_that_drops_the_newest,
    stress::everything_at_once_on_a_ring_that_keeps_all,
    websocket::every_cut_of_frames,
    websocket::masks_at_every_alignment,
    websocket::messages_beyond_32_bits,
    websocket::both_ends_of_a_handshake,
];

#[riscv_rt::entry]
fn main() -> ! {
    match board::argument().checked_sub(1) {
        None => TESTS.iter().for_each(|(name, _)| board::println!("{name}")),
        Some(number) => (TESTS[number].1)(),
    }
    board::exit(0)
}
