use crate::ring::is_after;
use crate::sync::{AtomicU32, Ordering};

/// Why there is no publisher for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublisherError {
    /// There is one already.
    #[error("the ring has a publisher already")]
    Taken,
    /// The ring was closed for good.
    #[error("the ring is closed")]
    Closed,
}

/// The items of one publisher, or of several of which each but the last was detached.
///
/// A reader follows the stream it was made in. So it gets the end of that stream, even if another
/// publisher has begun another before it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stream(u32);

impl Stream {
    pub(crate) const FIRST: Self = Self(0);

    /// Whether this stream began later, if they are less than 2^28 apart.
    pub(crate) fn is_after(self, other: Self) -> bool {
        is_after(self.0, other.0)
    }
}

/// What becomes of the ring, in one word:
///
/// ```text
///  31      3      2       1          0
/// +---------+--------+-------+---------------+
/// | stream  | CLOSED | ENDED | HAS_PUBLISHER |
/// +---------+--------+-------+---------------+
/// ```
///
/// - `ENDED`: no more items of this stream.
/// - `CLOSED`: nor of any other.
/// - stream: the number of the stream, which may wrap around.
#[derive(Debug)]
pub(crate) struct Life(AtomicU32);

const HAS_PUBLISHER: u32 = 1 << 0;
const ENDED: u32 = 1 << 1;
const CLOSED: u32 = 1 << 2;
const FLAGS: u32 = HAS_PUBLISHER | ENDED | CLOSED;
const STREAM: u32 = 1 << 3;

impl Life {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(Stream::FIRST.0))
    }

    /// A publisher comes.
    pub(crate) fn claim(&self) -> Result<Stream, PublisherError> {
        let stream = |life: u32| match life & ENDED {
            0 => life & !FLAGS,
            _ => (life & !FLAGS).wrapping_add(STREAM),
        };
        let claim = |life: u32| match life & (HAS_PUBLISHER | CLOSED) {
            0 => Some(stream(life) | HAS_PUBLISHER),
            _ => None,
        };
        // Acquire: what the one before did happened before what this one does.
        match self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, claim) {
            Ok(before) => Ok(Stream(stream(before))),
            Err(life) if life & CLOSED != 0 => Err(PublisherError::Closed),
            Err(_) => Err(PublisherError::Taken),
        }
    }

    /// The publisher leaves.
    pub(crate) fn leave(&self) {
        // Release: see `claim`.
        self.0.fetch_and(!HAS_PUBLISHER, Ordering::Release);
    }

    /// The stream ends.
    pub(crate) fn end(&self) {
        // Release: who finds the end finds the last item.
        self.0.fetch_or(ENDED, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        self.0.fetch_or(ENDED | CLOSED, Ordering::Release);
    }

    pub(crate) fn has_publisher(&self) -> bool {
        self.0.load(Ordering::Relaxed) & HAS_PUBLISHER != 0
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ENDED != 0
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream(self.0.load(Ordering::Relaxed) & !FLAGS)
    }

    /// Whether items of this stream may still come.
    #[inline]
    pub(crate) fn goes_on(&self, stream: Stream) -> bool {
        // Acquire: see `end`.
        self.0.load(Ordering::Acquire) & !HAS_PUBLISHER == stream.0
    }
}
