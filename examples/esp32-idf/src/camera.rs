//! The camera: how large its pictures can be, and the thread that captures them.

use std::fmt::Display;
use std::{io, thread};

use camwire::capture::{
    CaptureConfig, FrameRing, Settings, SourceStatus, capture_loop_with_settings,
};
use camwire::esp32cam::{Board, BufferMemory, Config, GrabMode, Pins, RestartingCamera};
use camwire::frame::{Blocking, BlockingFrameSource, Control, Resolution, Setting};
use futures_lite::future::block_on;

use crate::clock::Clock;
use crate::delivery::{self, Delivery};
use crate::platform;
use crate::settings::BOARD;

/// The pins of a board of your own, for `CAMWIRE_BOARD=own`: write them in place of these.
const OWN: Pins = Board::AI_THINKER.pins;

/// The pins of the board.
const PINS: Pins = match Board::named(BOARD) {
    Some(board) => board.pins,
    None => OWN,
};

/// The stack of the thread that captures.
const STACK_BYTES: usize = 8 * 1024;

/// The size at the start; the page has a knob for it.
const FIRST: Resolution = Resolution::VGA;

/// Sizes that the camera is given memory for.
const SIZES: [Resolution; 9] = [
    Resolution::QQVGA,
    Resolution::QVGA,
    Resolution::CIF,
    Resolution::HVGA,
    Resolution::VGA,
    Resolution::SVGA,
    Resolution::XGA,
    Resolution::SXGA,
    Resolution::UXGA,
];

/// Memory that nobody has, in bytes, when the firmware starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The largest piece of the external RAM; 0 where there is none.
    pub psram: usize,
    /// Of the chip itself, all pieces together.
    pub internal: usize,
    /// The largest of these.
    pub internal_piece: usize,
}

/// What of it the pictures get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the driver's own buffers are.
    pub memory: BufferMemory,
    /// How many buffers the driver has.
    pub buffers: u8,
    /// The largest pictures that there is room for.
    pub largest: Resolution,
}

impl Plan {
    /// The largest pictures of which the memory holds as many as the delivery needs. `None` if not
    /// even the smallest fit.
    ///
    /// The ring is one piece of memory; each of the driver's buffers is another.
    pub fn of(free: Memory, delivery: Delivery) -> Option<Self> {
        // Wi-Fi, the sockets and the threads take theirs later.
        let (memory, buffers, room, piece) = if free.psram > 0 {
            let room = free.psram.checked_sub(256 * 1024)?;
            (BufferMemory::Psram, 2, room, room)
        } else {
            let threads = delivery.threads() * delivery::STACK_BYTES + STACK_BYTES;
            let room = free.internal.checked_sub(96 * 1024 + threads)?;
            (BufferMemory::Internal, 1, room, free.internal_piece)
        };
        let fits = |size: &&Resolution| {
            let ring = size.jpeg_bytes() * delivery.slots();
            ring <= piece && ring + size.jpeg_bytes() * usize::from(buffers) <= room
        };
        let largest = *SIZES.iter().rev().find(fits)?;
        Some(Self { memory, buffers, largest })
    }

    /// The camera of this board.
    pub fn camera(&self) -> RestartingCamera {
        let grab = if self.buffers > 1 { GrabMode::Latest } else { GrabMode::WhenEmpty };
        let config =
            Config::new(PINS).largest(self.largest).buffers(self.buffers, self.memory).grab(grab);
        let smaller = |size: Resolution| size.jpeg_bytes() < self.largest.jpeg_bytes();
        let first = if smaller(FIRST) { FIRST } else { self.largest };
        RestartingCamera::new(config).with(Setting::Resolution(first))
    }
}

/// Captures pictures while anybody watches, and sets the camera to what they wish, on a thread of
/// its own: the driver blocks.
///
/// # Errors
///
/// If the thread cannot be had.
///
/// # Panics
///
/// If another captures into this ring.
pub fn capture<S>(
    source: S,
    ring: &'static FrameRing<'static>,
    clock: Clock,
    status: &'static SourceStatus,
    settings: &'static Settings,
) -> io::Result<()>
where
    S: BlockingFrameSource<Error: Display> + Control + Send + 'static,
{
    let mut publisher = ring.publisher().expect("only this thread publishes");
    let run = move || {
        let (source, config) = (&mut Blocking(source), CaptureConfig::default());
        let publisher = &mut publisher;
        block_on(capture_loop_with_settings(publisher, source, &clock, &config, status, settings));
    };
    let thread = thread::Builder::new().name("camera".to_owned());
    let thread = thread.stack_size(STACK_BYTES + platform::DRIVER_STACK_BYTES);
    thread.spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::BOARDS;

    #[test]
    fn the_build_knows_every_board() {
        let names: Vec<&str> = Board::ALL.iter().map(|board| board.name).collect();
        assert_eq!(BOARDS, names);
    }

    #[test]
    fn the_pictures_fit_the_memory() {
        let largest = |psram: usize, internal: usize, delivery| {
            let (psram, internal) = (psram << 10, internal << 10);
            // The chip's own memory is in pieces.
            let free = Memory { psram, internal, internal_piece: internal * 2 / 5 };
            Plan::of(free, delivery).map(|plan| plan.largest.name())
        };
        // An ESP32-CAM has 4 MiB of PSRAM that the chip can see, an ESP32-S3 often 8.
        for (psram, delivery, expected) in [
            (4000, Delivery::Together, "UXGA"),
            (4000, Delivery::Newest, "SXGA"),
            (4000, Delivery::Every, "SXGA"),
            (8100, Delivery::Newest, "UXGA"),
            (2000, Delivery::Together, "SXGA"),
            (2000, Delivery::Newest, "SVGA"),
        ] {
            assert_eq!(largest(psram, 280, delivery), Some(expected), "{psram} {delivery:?}");
        }
        // Without PSRAM: 280 KiB less 96 and the stacks, of which 112 are one piece.
        assert_eq!(largest(0, 280, Delivery::Together), Some("HVGA"));
        assert_eq!(largest(0, 280, Delivery::Newest), Some("QQVGA"));
        assert_eq!(largest(0, 200, Delivery::Newest), None);
        assert_eq!(largest(0, 10, Delivery::Together), None);
        // A piece that is too small for the ring decides, too.
        let free = Memory { psram: 0, internal: 280 << 10, internal_piece: 50 << 10 };
        let plan = Plan::of(free, Delivery::Together).expect("some fit");
        assert_eq!(plan.largest, Resolution::QVGA);
    }
}
