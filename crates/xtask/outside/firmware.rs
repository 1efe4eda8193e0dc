//! A firmware author's program, without the firmware: a picture goes into the ring, out of it as
//! MJPEG, and back through the decoder. It is linked, not run.
#![no_std]
#![no_main]

use camwire::{
    frame::{FrameInfo, Instant, Quality, Resolution, TestPattern},
    multipart::{Boundary, Config, Decoder, Encoder, Event, PartHead},
    ring::{Follow, Policy, RingMemory},
};
use core::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use portable_atomic as _;

static ENCODER: Encoder = Encoder::new(&Boundary::DEFAULT);

/// Sends a picture through everything, and says whether it came out as it was.
fn round_trip(memory: &mut RingMemory<3, 16384, 2>) -> Option<bool> {
    let ring = memory.ring(Policy::DropOldest);
    let mut publisher = ring.publisher().ok()?;
    let mut reader = ring.subscribe(Follow::Live).ok()?;

    let pattern = TestPattern::new(Resolution::QVGA, Quality::new(12)?);
    let mut grant = publisher.try_grant().ok()?;
    let len = pattern.encode(1, Duration::from_millis(black_box(40)), &mut grant).ok()?;
    let info = FrameInfo { len, width: 320, height: 240, ..FrameInfo::default() };
    publisher.commit(grant, FrameInfo { captured_at: Instant::from_micros(40_000), ..info }).ok()?;

    let lease = reader.try_latest().ok()?;
    let head = PartHead {
        content_length: Some(lease.len() as u64),
        timestamp_us: Some(lease.info().captured_at.as_micros()),
        sequence: Some(lease.sequence()),
        missed: Some(lease.missed()),
    };
    let mut room = [0; PartHead::MAX_LEN];
    let body = [ENCODER.opening(), head.encode(&mut room), &*lease, ENCODER.tail()];

    let mut decoder =
        Decoder::from_content_type(ENCODER.content_type(), Config::default()).ok()?;
    let mut rest = &*lease;
    let mut whole = false;
    for mut input in body {
        while let Some(event) = decoder.next(&mut input).ok()? {
            match event {
                Event::Payload(payload) => rest = rest.strip_prefix(payload)?,
                Event::PartEnd => whole = rest.is_empty(),
                _ => {}
            }
        }
    }
    Some(whole)
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    static mut MEMORY: RingMemory<3, 16384, 2> = RingMemory::new();
    static WELL: AtomicBool = AtomicBool::new(false);
    // SAFETY: the one reference to it, in the function that runs once.
    let memory = unsafe { &mut *&raw mut MEMORY };
    WELL.store(round_trip(memory).unwrap_or(false), Ordering::Relaxed);
    loop {
        black_box(&WELL);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// What portable-atomic needs of the binary: here one core and no interrupts.
struct OneCore;
critical_section::set_impl!(OneCore);

// SAFETY: nothing can interrupt a program that switches no interrupt on.
unsafe impl critical_section::Impl for OneCore {
    unsafe fn acquire() {}
    unsafe fn release((): ()) {}
}
