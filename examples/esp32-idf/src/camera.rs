//! The camera: how large its pictures can be, and the thread that captures them.

use std::fmt::Display;
use std::{io, thread};

use camwire::esp32cam::{Board, BufferMemory, Config, GrabMode, RestartingCamera};
use camwire::frame::{Blocking, BlockingFrameSource, Control, Resolution, Setting};
use camwire::ring::{CaptureConfig, FrameRing, Settings, SourceStatus, capture_loop_with_settings};
use futures_lite::future::block_on;

use crate::clock::Clock;
use crate::delivery::Delivery;
use crate::settings::BOARD;

/// The board. For one that is not in the list, write its `Pins` here and call it what you like in
/// build.rs.
const WIRING: Board = Board::named(BOARD).expect("build.rs has looked at it");

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
    /// Of the external RAM; 0 where there is none.
    pub psram: usize,
    /// Of the chip itself.
    pub internal: usize,
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
    pub fn of(free: Memory, delivery: Delivery) -> Option<Self> {
        // Wi-Fi and the sockets take theirs later.
        let (memory, buffers, room) = match free.psram {
            0 => (BufferMemory::Internal, 1, free.internal.checked_sub(120 * 1024)?),
            psram => (BufferMemory::Psram, 2, psram.checked_sub(256 * 1024)?),
        };
        let pictures = delivery.slots() + usize::from(buffers);
        let fits = |size: &&Resolution| size.jpeg_bytes() * pictures <= room;
        let largest = *SIZES.iter().rev().find(fits)?;
        Some(Self { memory, buffers, largest })
    }

    /// The camera of this board.
    pub fn camera(&self) -> RestartingCamera {
        let grab = if self.buffers > 1 { GrabMode::Latest } else { GrabMode::WhenEmpty };
        let config = Config::new(WIRING.pins)
            .largest(self.largest)
            .buffers(self.buffers, self.memory)
            .grab(grab);
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
    let thread = thread::Builder::new().name("camera".to_owned()).stack_size(STACK_BYTES);
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
            let free = Memory { psram: psram << 10, internal: internal << 10 };
            Plan::of(free, delivery).map(|plan| {
                let pictures = delivery.slots() + usize::from(plan.buffers);
                let room = if psram > 0 { free.psram } else { free.internal };
                assert!(pictures * plan.largest.jpeg_bytes() < room);
                plan.largest.name()
            })
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
        // Without PSRAM.
        assert_eq!(largest(0, 220, Delivery::Together), Some("CIF"));
        assert_eq!(largest(0, 220, Delivery::Newest), Some("QQVGA"));
        assert_eq!(largest(0, 150, Delivery::Newest), None);
        assert_eq!(largest(0, 10, Delivery::Together), None);
    }
}
