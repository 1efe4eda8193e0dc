//! A sound goes through a ring to two readers: one measures every block, the other looks at the
//! newest now and then, like a level meter on a slow display.
//!
//! `cargo run -p camwire-ring --features std --example audio`

use std::f32::consts::TAU;
use std::thread;
use std::time::Duration;

use camwire_ring::{Follow, LeaseError, Policy, Ring};

const SAMPLES_PER_SECOND: u32 = 16_000;
const BLOCK: usize = 256;
const BLOCKS: u32 = 250;

/// What is known of a block besides its samples.
#[derive(Clone, Copy, Debug)]
struct Block {
    first_sample: u32,
    is_clipped: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // With KeepAll the microphone waits for the recorder, never for the meter.
    let ring = Ring::<Block>::leak(8, 2 * BLOCK, 2, Policy::KeepAll)?;
    let mut publisher = ring.publisher()?;
    let mut recorder = ring.subscribe(Follow::Ordered)?;
    let mut meter = ring.subscribe(Follow::Live)?;

    let recording = thread::spawn(move || {
        let (mut samples, mut clipped) = (0, 0);
        while let Ok(block) = recorder.next_blocking(Duration::from_secs(1)) {
            assert_eq!(block.info().first_sample, samples, "none is missing");
            samples += (block.len() / 2) as u32;
            clipped += u32::from(block.info().is_clipped);
        }
        (samples, clipped)
    });
    let metering = thread::spawn(move || {
        loop {
            match meter.latest_blocking(Duration::from_secs(1)) {
                Ok(block) => println!("{:5.1} dB, {} blocks unseen", level(&block), block.missed()),
                Err(LeaseError::Ended) => return,
                Err(error) => panic!("{error}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    });

    for number in 0..BLOCKS {
        let first_sample = number * BLOCK as u32;
        let mut bytes = publisher.grant_blocking(Duration::from_secs(1))?;
        let is_clipped = record(&mut bytes, first_sample);
        publisher.commit(bytes, 2 * BLOCK, Block { first_sample, is_clipped })?;
        thread::sleep(Duration::from_micros(200));
    }
    drop(publisher);

    let (samples, clipped) = recording.join().expect("the recorder");
    metering.join().expect("the meter");
    println!("{samples} samples recorded, {clipped} blocks of {BLOCKS} clipped");
    assert_eq!(samples, BLOCKS * BLOCK as u32);
    Ok(())
}

/// A tone that swells beyond what 16 bits can hold. Says whether it was cut.
fn record(bytes: &mut [u8], first_sample: u32) -> bool {
    let mut is_clipped = false;
    for (sample, bytes) in (first_sample..).zip(bytes.as_chunks_mut::<2>().0) {
        let seconds = sample as f32 / SAMPLES_PER_SECOND as f32;
        let value = 1.2 * (TAU * 0.2 * seconds).sin().abs() * (TAU * 440.0 * seconds).sin();
        is_clipped |= value.abs() > 1.0;
        *bytes = ((value.clamp(-1.0, 1.0) * f32::from(i16::MAX)) as i16).to_le_bytes();
    }
    is_clipped
}

/// The level of a block in decibels below the loudest possible.
fn level(bytes: &[u8]) -> f32 {
    let samples = bytes.as_chunks::<2>().0;
    let square = |bytes: &[u8; 2]| (f32::from(i16::from_le_bytes(*bytes)) / 32768.0).powi(2);
    let mean = samples.iter().map(square).sum::<f32>() / samples.len() as f32;
    10.0 * mean.max(1e-9).log10()
}
