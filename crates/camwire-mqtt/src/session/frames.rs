use camwire_frame::{FrameRate, Instant, Pacer};

use super::{CameraSession, Publishing, SessionConfig};
use crate::{Chunker, ChunkerError, Message, Messages, SplitError, Stamp};

/// What is known of a frame besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// When it was captured, on the clock of the session's other times.
    pub at: Instant,
    /// How many frames were captured since the last that was read, and not read.
    pub missed: u64,
    /// Microseconds from the zero of that clock to Unix time's, where Unix time is known.
    pub unix_offset: Option<u64>,
}

/// One layout in which frames are published.
#[derive(Clone, Debug)]
pub(super) struct Output<'a> {
    chunker: Chunker<'a>,
    pacer: Option<Pacer>,
    /// The last frame's number; 0 before the first.
    number: u64,
}

impl<'a> Output<'a> {
    pub(super) const fn of(config: &SessionConfig<'a>) -> Result<[Option<Self>; 3], ChunkerError> {
        let prefix = config.prefix;
        let packet = config.largest_packet;
        let framed_packet =
            if packet < config.framed_packet { packet } else { config.framed_packet };
        let framed = match config.framed {
            Some(stream) => Some(Chunker::framed(prefix, stream, framed_packet)),
            None => None,
        };
        let indexed = match config.indexed {
            Some(retain) => Some(Chunker::indexed(prefix, retain, packet)),
            None => None,
        };
        let whole = match config.whole {
            Some(retain) => Some(Chunker::whole(prefix, retain, packet)),
            None => None,
        };
        let whole_rate = match (config.rate, config.announces()) {
            (None, Some(_)) => FrameRate::from_millihertz(CameraSession::DISCOVERY_RATE),
            (rate, _) => rate,
        };
        Ok([
            match Self::new(framed, config.rate) {
                Ok(output) => output,
                Err(error) => return Err(error),
            },
            match Self::new(indexed, config.rate) {
                Ok(output) => output,
                Err(error) => return Err(error),
            },
            match Self::new(whole, whole_rate) {
                Ok(output) => output,
                Err(error) => return Err(error),
            },
        ])
    }

    const fn new(
        chunker: Option<Result<Chunker<'a>, ChunkerError>>,
        rate: Option<FrameRate>,
    ) -> Result<Option<Self>, ChunkerError> {
        let pacer = match rate {
            Some(rate) => Some(Pacer::new(rate)),
            None => None,
        };
        match chunker {
            None => Ok(None),
            Some(Ok(chunker)) => Ok(Some(Self { chunker, pacer, number: 0 })),
            Some(Err(error)) => Err(error),
        }
    }

    /// Takes the chunker of another output of the same layout.
    pub(super) fn limit(&mut self, other: &Self) {
        self.chunker = other.chunker;
    }

    pub(super) fn set_rate(&mut self, rate: FrameRate) {
        self.pacer = Some(Pacer::new(rate));
    }

    /// When the next frame is due; `None` for at once.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pacer.as_ref().and_then(Pacer::due)
    }

    /// Whether it is time for a frame, which then counts.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        self.pacer.as_mut().is_none_or(|pacer| pacer.admit(now).is_some())
    }

    pub(super) fn split<'p>(
        &mut self,
        frame: &'p [u8],
        captured: Captured,
    ) -> Result<Messages<'a, 'p>, SplitError> {
        // Receivers take a gap for lost frames. Those that the rate leaves out are not lost.
        let missed = if self.pacer.is_some() || self.number == 0 { 0 } else { captured.missed };
        self.number = self.number.wrapping_add(1).wrapping_add(missed);
        let since = captured.unix_offset.unwrap_or(0);
        let timestamp_us = captured.at.as_micros().checked_add(since);
        self.chunker.split(frame, Stamp { sequence: self.number, timestamp_us, checksum: None })
    }
}

/// The messages of a frame, in all layouts: see [`CameraSession::publish`]. The session can be
/// used between two of them.
#[derive(Clone, Debug)]
pub struct FrameMessages<'a, 'p> {
    layouts: [Option<Messages<'a, 'p>>; 3],
    rejected: Option<SplitError>,
}

impl<'a, 'p> FrameMessages<'a, 'p> {
    pub(super) const fn none() -> Self {
        Self { layouts: [None, None, None], rejected: None }
    }

    pub(super) fn push(&mut self, messages: Result<Messages<'a, 'p>, SplitError>) {
        let place = self.layouts.iter_mut().find(|place| place.is_none());
        match (messages, place) {
            (Ok(messages), Some(place)) => *place = Some(messages),
            // There are as many places as layouts.
            (Ok(_), None) => {}
            (Err(error), _) => self.rejected = Some(error),
        }
    }

    /// Why the frame is not published in one of the layouts, if it is not.
    #[must_use]
    pub const fn rejected(&self) -> Option<SplitError> {
        self.rejected
    }
}

impl<'a, 'p> Iterator for FrameMessages<'a, 'p> {
    type Item = Message<'a, 'p>;

    fn next(&mut self) -> Option<Message<'a, 'p>> {
        self.layouts.iter_mut().flatten().find_map(Iterator::next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.layouts.iter().flatten().map(|messages| messages.size_hint().0);
        // No layout has more than 1025.
        let left = left.fold(0, usize::saturating_add);
        (left, Some(left))
    }
}

impl core::iter::FusedIterator for FrameMessages<'_, '_> {}

impl Publishing {
    /// As on a switch.
    #[must_use]
    pub const fn from_on(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}
