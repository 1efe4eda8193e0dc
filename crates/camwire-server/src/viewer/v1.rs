//! The subprotocol `camwire.v1`: a head before each frame, and acknowledgements and credits in the
//! other direction. README.md has the layout.

use core::num::NonZeroU8;

use camwire_websocket::{Data, Fin, Kind};

use crate::viewer::options::CREDIT_MAX;
use crate::viewer::wire::{OutgoingFrame, TimeBase};

/// Its name, in the list of those that are offered or accepted.
pub(crate) const PROTOCOLS: &[&str] = &["camwire.v1"];

/// What stands before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHead {
    time_base: TimeBase,
    missed: u64,
    sequence: u64,
    captured_us: u64,
}

impl MessageHead {
    pub(crate) const LEN: usize = 24;

    pub(crate) const fn of(frame: &OutgoingFrame) -> Self {
        let OutgoingFrame { time_base, missed, sequence, timestamp_us, .. } = *frame;
        Self { time_base, missed, sequence, captured_us: timestamp_us }
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let flags = match self.time_base {
            TimeBase::Boot => 0,
            TimeBase::Unix => 1,
        };
        let missed = u32::try_from(self.missed).unwrap_or(u32::MAX);
        let fields: [&[u8]; 4] = [
            &[1, flags, 0, Self::LEN as u8],
            &missed.to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &self.captured_us.to_be_bytes(),
        ];
        let mut head = [0; Self::LEN];
        head.iter_mut().zip(fields.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
        head
    }
}

/// The acknowledgement of all frames up to that number.
#[cfg(feature = "ingest")]
pub(crate) fn acknowledgement(sequence: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    [1, a, b, c, d, e, f, g, h]
}

/// A rule of the subprotocol was broken: a Close with 1008.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// The sender's view: how many frames may be unacknowledged.
#[derive(Debug)]
pub(crate) struct SendWindow {
    credits: Credits,
    /// The numbers of the frames that are not acknowledged, if there is a limit for them.
    in_flight: heapless::Deque<u64, { CREDIT_MAX.get() as usize }>,
    /// The number of the last frame that was sent.
    last: u64,
    /// The message under way: its kind, and the number of a frame, for example.
    message: heapless::Vec<u8, 9>,
}

/// Most frames that may be unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credits {
    /// A viewer names them in its request; without them, nothing is waited for.
    Requested(Option<NonZeroU8>),
    /// A relay grants them by messages, at any time. Without any, nobody watches.
    Granted(Option<NonZeroU8>),
}

impl SendWindow {
    pub(crate) const fn new(credits: Credits) -> Self {
        Self { credits, in_flight: heapless::Deque::new(), last: 0, message: heapless::Vec::new() }
    }

    pub(crate) fn has_credit(&self) -> bool {
        match self.credits {
            Credits::Requested(None) => true,
            Credits::Granted(None) => false,
            Credits::Requested(Some(credit)) | Credits::Granted(Some(credit)) => {
                self.in_flight.len() < usize::from(credit.get())
            }
        }
    }

    /// Whether the peer wants frames.
    pub(crate) fn is_wanted(&self) -> bool {
        self.credits != Credits::Granted(None)
    }

    pub(crate) fn sent(&mut self, sequence: u64) {
        self.last = sequence;
        if self.credits != Credits::Requested(None) {
            let _ = self.in_flight.push_back(sequence); // There was credit, so there is room.
        }
    }

    /// A piece of a message.
    pub(crate) fn handle_input(&mut self, data: Data<'_>) -> Result<(), Violation> {
        if data.kind != Kind::Binary || self.message.extend_from_slice(data.bytes).is_err() {
            return Err(Violation);
        }
        if data.fin == Fin::More {
            return Ok(());
        }
        match (self.message.split_first(), self.credits) {
            // An acknowledgement of all frames up to that number.
            (Some((1, number)), _) => {
                let number = <[u8; 8]>::try_from(number).map_err(|_| Violation)?;
                let number = u64::from_be_bytes(number);
                if number > self.last {
                    return Err(Violation);
                }
                while self.in_flight.front().is_some_and(|sequence| *sequence <= number) {
                    self.in_flight.pop_front();
                }
            }
            (Some((2, &[credit])), Credits::Granted(_)) if credit <= CREDIT_MAX.get() => {
                self.credits = Credits::Granted(NonZeroU8::new(credit));
            }
            _ => return Err(Violation),
        }
        self.message.clear();
        Ok(())
    }
}
