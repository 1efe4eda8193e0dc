use crate::{CommandError, Topic};

/// A command that is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The topic on which it came.
    pub topic: Topic<'a>,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a command is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The command is wrong.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Its payload is too long.
    #[error("the value is too long")]
    TooLong,
    /// Frames of that size do not fit the camera's memory.
    #[error("frames of that size may need {needed} bytes, which is more than there is for one")]
    NoMemory {
        /// Bytes of the largest frame of that size.
        needed: usize,
    },
    /// There are no motors.
    #[error("this camera has no motors")]
    NoMotors,
    /// No heartbeat has come within the last second.
    #[error("no heartbeat, so the motors stand still")]
    NoHeartbeat,
    /// Something else, in words for people.
    #[error("{0}")]
    Other(&'static str),
}

/// Refusals that are not reported yet. There is room for one of each command; more at once are a
/// mistake or mischief, and are only counted.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    waiting: [Option<(u8, RefusalReason)>; Self::MOST],
    more: u32,
}

impl Refusals {
    const MOST: usize = 36;

    pub(super) const fn new() -> Self {
        Self { waiting: [None; Self::MOST], more: 0 }
    }

    /// Whether there was room. `topic` is its place among the filters.
    pub(super) fn push(&mut self, topic: u8, reason: RefusalReason) -> bool {
        // As long as some are only counted, so are all that follow: the report keeps their order.
        let place = self.waiting.iter_mut().find(|place| place.is_none());
        match place {
            Some(place) if self.more == 0 => {
                *place = Some((topic, reason));
                true
            }
            _ => {
                self.more = self.more.saturating_add(1);
                false
            }
        }
    }

    /// The oldest; behind all of them, how many there were besides.
    pub(super) fn next(&mut self) -> Option<(Option<(u8, RefusalReason)>, u32)> {
        if let Some(first) = self.waiting.first_mut().and_then(Option::take) {
            self.waiting.rotate_left(1);
            return Some((Some(first), 0));
        }
        let more = core::mem::take(&mut self.more);
        (more > 0).then_some((None, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_their_order_and_none_is_forgotten() {
        let mut refusals = Refusals::new();
        let reported = (0..40).filter(|n| refusals.push(*n, RefusalReason::TooLong));
        assert_eq!(reported.count(), Refusals::MOST);
        assert_eq!(refusals.next(), Some((Some((0, RefusalReason::TooLong)), 0)));
        assert!(!refusals.push(30, RefusalReason::NoMotors), "those before it are not reported");
        for topic in 1..36 {
            assert_eq!(refusals.next(), Some((Some((topic, RefusalReason::TooLong)), 0)));
        }
        assert_eq!(refusals.next(), Some((None, 5)));
        assert_eq!(refusals.next(), None);
        assert!(refusals.push(30, RefusalReason::NoMotors));
        assert_eq!(refusals.next(), Some((Some((30, RefusalReason::NoMotors)), 0)));
    }
}
