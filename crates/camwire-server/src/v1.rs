//! The subprotocol `camwire.v1`: a head before each picture, and what is said back. README.md has
//! the layout.

use core::num::NonZeroU8;

use camwire_websocket::{Data, Fin, Kind};

use crate::request::CREDIT_MAX;

/// Its name.
pub(crate) const PROTOCOL: &str = "camwire.v1";

/// What stands before a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureHead {
    pub(crate) clock: PictureClock,
    pub(crate) missed: u64,
    pub(crate) sequence: u64,
    pub(crate) captured_us: u64,
}

/// Since when the time of a picture is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PictureClock {
    Boot,
    Unix,
}

impl PictureHead {
    pub(crate) const LEN: usize = 24;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let flags = match self.clock {
            PictureClock::Boot => 0,
            PictureClock::Unix => 1,
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

/// The acknowledgement of all pictures up to that number.
#[cfg(feature = "ingest")]
pub(crate) fn acknowledgement(sequence: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    [1, a, b, c, d, e, f, g, h]
}

/// A rule of the subprotocol was broken: a Close with 1008.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// The sender's view: how many pictures may be on their way.
#[derive(Debug)]
pub(crate) struct Flight {
    credit: Credit,
    /// The numbers of the pictures that are not acknowledged, if there is a limit for them.
    in_flight: heapless::Deque<u64, { CREDIT_MAX.get() as usize }>,
    /// The number of the last picture that was sent.
    last: u64,
    /// The message that is coming: what it is, and the number of a picture, for example.
    message: heapless::Vec<u8, 9>,
}

/// Most pictures that may be unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credit {
    /// A viewer has said it when it came; if it has not, nothing is waited for.
    Asked(Option<NonZeroU8>),
    /// A relay says it by messages, at any time. None at all says that nobody watches.
    Granted(Option<NonZeroU8>),
}

impl Flight {
    pub(crate) const fn new(credit: Credit) -> Self {
        Self { credit, in_flight: heapless::Deque::new(), last: 0, message: heapless::Vec::new() }
    }

    pub(crate) fn has_credit(&self) -> bool {
        match self.credit {
            Credit::Asked(None) => true,
            Credit::Granted(None) => false,
            Credit::Asked(Some(credit)) | Credit::Granted(Some(credit)) => {
                self.in_flight.len() < usize::from(credit.get())
            }
        }
    }

    /// Whether anybody wants pictures.
    pub(crate) fn is_wanted(&self) -> bool {
        self.credit != Credit::Granted(None)
    }

    pub(crate) fn sent(&mut self, sequence: u64) {
        self.last = sequence;
        if self.credit != Credit::Asked(None) {
            let _ = self.in_flight.push_back(sequence); // There was credit, so there is room.
        }
    }

    /// A piece of a message.
    pub(crate) fn take(&mut self, data: Data<'_>) -> Result<(), Violation> {
        if data.kind != Kind::Binary || self.message.extend_from_slice(data.bytes).is_err() {
            return Err(Violation);
        }
        if data.fin == Fin::More {
            return Ok(());
        }
        match (self.message.split_first(), self.credit) {
            // An acknowledgement, of all pictures up to that number.
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
            (Some((2, &[credit])), Credit::Granted(_)) if credit <= CREDIT_MAX.get() => {
                self.credit = Credit::Granted(NonZeroU8::new(credit));
            }
            _ => return Err(Violation),
        }
        self.message.clear();
        Ok(())
    }
}
