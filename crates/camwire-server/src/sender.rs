//! The sending half of a connection, with its deadlines.

use core::time::Duration;

use camwire_capture::FrameRevocation;
use camwire_frame::{Clock, Instant};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;
use portable_atomic::{AtomicU32, Ordering};

use crate::config::Config;
use crate::transport::{WriteVectored, advance};

/// Why a connection ended before its answer was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect<E> {
    /// The transport failed, which is how most viewers leave.
    #[error("{0}")]
    Transport(E),
    /// The peer has closed its end, or the transport takes no more bytes.
    #[error("closed by the peer")]
    Closed,
    /// No request came within [`Config::head_timeout`].
    #[error("no request within its time")]
    NoRequest,
    /// Nothing was taken for [`Config::progress_timeout`].
    #[error("stalled")]
    Stalled,
    /// One frame took longer than [`Config::frame_timeout`].
    #[error("too slow for a frame")]
    TooSlow,
    /// The ring needed the slot of the frame that was being sent.
    #[error("too slow: the ring needs its slot")]
    Revoked,
    /// The peer gave no sign of life: no Ping was answered for [`Config::pong_timeout`].
    #[error("no sign of life")]
    Silent,
    /// The peer broke the rules of the protocol. Where that protocol has a message for it, the peer
    /// was sent one.
    #[error("the peer broke the protocol")]
    Protocol,
    /// The ring has no place for another reader.
    #[error("no place for a reader in the ring")]
    NoReader,
}

impl<E> From<E> for Disconnect<E> {
    fn from(error: E) -> Self {
        Self::Transport(error)
    }
}

/// Counts bytes, up to 64 bits, on chips that have atomics of 32 bits. One task adds, any reads.
#[derive(Debug)]
pub(crate) struct ByteCounter {
    low: AtomicU32,
    high: AtomicU32,
}

impl ByteCounter {
    pub(crate) const fn new() -> Self {
        Self { low: AtomicU32::new(0), high: AtomicU32::new(0) }
    }

    pub(crate) fn reset(&self) {
        self.low.store(0, Ordering::Relaxed);
        self.high.store(0, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, count: usize) {
        let (sum, carry) = self.low.load(Ordering::Relaxed).overflowing_add(count as u32);
        if carry {
            self.high.store(self.high.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
        self.low.store(sum, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        let before = self.high.load(Ordering::Relaxed);
        let low = self.low.load(Ordering::Relaxed);
        let after = self.high.load(Ordering::Relaxed);
        // A carry in between: the low half is near zero, or was near its end.
        let high = if before != after && low > u32::MAX / 2 { before } else { after };
        u64::from(high) << 32 | u64::from(low)
    }
}

/// The sending half of a connection. Every send ends within the deadlines of [`Config`].
#[derive(Debug)]
pub(crate) struct Sender<'c, W, C> {
    write: W,
    clock: &'c C,
    config: &'c Config,
    /// Counts the bytes that the transport has taken.
    counter: Option<&'c ByteCounter>,
}

impl<'c, W, C> Sender<'c, W, C> {
    pub(crate) const fn new(write: W, clock: &'c C, config: &'c Config) -> Self {
        Self { write, clock, config, counter: None }
    }

    /// Counts the bytes from here on.
    pub(crate) const fn count(&mut self, counter: &'c ByteCounter) {
        self.counter = Some(counter);
    }

    pub(crate) const fn clock(&self) -> &'c C {
        self.clock
    }

    pub(crate) const fn config(&self) -> &'c Config {
        self.config
    }

    /// The same half, lent.
    pub(crate) const fn reborrow(&mut self) -> Sender<'_, &mut W, C> {
        let Self { write, clock, config, counter } = self;
        Sender { write, clock, config, counter: *counter }
    }
}

impl<W: WriteVectored, C: Clock> Sender<'_, W, C> {
    /// By when something must have been sent that begins now.
    pub(crate) fn frame_deadline(&self) -> Instant {
        self.clock.now() + self.config.frame_timeout
    }

    /// Sends all of `pieces`, for as long as there is progress, `by` at the latest; ends early when
    /// the lease of what it sends is asked back.
    pub(crate) async fn send_by(
        &mut self,
        pieces: &mut [&[u8]],
        by: Instant,
        mut revocation: Option<&mut FrameRevocation<'_>>,
    ) -> Result<(), Disconnect<W::Error>> {
        // Transports that take only so many pieces at once must not be given the empty ones first.
        while let Some(first) = pieces.iter().position(|piece| !piece.is_empty()) {
            let pieces = pieces.get_mut(first..).unwrap_or_default();
            // Timer and revocation are polled only if the transport does not take the bytes at
            // once, which for most viewers it does.
            let stalled = async {
                let stalled_at = self.clock.now() + self.config.progress_timeout;
                self.clock.deadline(stalled_at.min(by)).await;
                if by < stalled_at { Disconnect::TooSlow } else { Disconnect::Stalled }
            };
            let revoked = async {
                match &mut revocation {
                    Some(revocation) => revocation.revoked().await,
                    None => core::future::pending().await,
                }
            };
            let written = match select3(self.write.write_vectored(pieces), stalled, revoked).await {
                Either3::First(written) => written?,
                Either3::Second(end) => return Err(end),
                Either3::Third(()) => return Err(Disconnect::Revoked),
            };
            if written == 0 {
                return Err(Disconnect::Closed);
            }
            if let Some(counter) = self.counter {
                counter.add(written);
            }
            advance(pieces, written);
        }
        Ok(())
    }

    /// Sends all of `pieces` within the time that one frame may take.
    pub(crate) fn send(
        &mut self,
        pieces: &mut [&[u8]],
    ) -> impl Future<Output = Result<(), Disconnect<W::Error>>> {
        let by = self.frame_deadline();
        self.send_by(pieces, by, None)
    }

    /// Sends what is still buffered below. A transport that buffers must not keep a frame.
    pub(crate) async fn flush(&mut self) -> Result<(), Disconnect<W::Error>> {
        let stalled = async {
            self.clock.deadline(self.clock.now() + self.config.progress_timeout).await;
        };
        match select(self.write.flush(), stalled).await {
            Either::First(flushed) => Ok(flushed?),
            Either::Second(()) => Err(Disconnect::Stalled),
        }
    }
}

/// Returns when the peer has closed its end, or the connection is broken. What the peer still sends
/// is thrown away.
///
/// A client that closes only its sending half counts as gone: no viewer does that, and this way one
/// that leaves is noticed at once, even while no frame comes.
pub(crate) async fn closed(read: &mut impl Read) {
    let mut scrap = [0; 32];
    while !matches!(read.read(&mut scrap).await, Ok(0) | Err(_)) {}
}

/// After a refusal, takes what the peer is still sending, for a second at most: if the connection
/// were closed on unread bytes, many systems would throw the answer away.
pub(crate) async fn drain(read: &mut impl Read, clock: &impl Clock) {
    let _ = select(closed(read), clock.deadline(clock.now() + DRAIN_TIME)).await;
}

/// How long a peer has to take the end of a connection.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::ByteCounter;

    #[test]
    fn byte_counter_carries_into_its_upper_half() {
        let counter = ByteCounter::new();
        for n in 1..=5_u64 {
            counter.add(1 << 31);
            assert_eq!(counter.get(), n << 31);
        }
        counter.reset();
        assert_eq!(counter.get(), 0);
    }
}
