//! Waiting for a peer that may be stuck.

use core::cell::Cell;
use core::future::Future;
use core::time::Duration;

use camwire_frame::{Clock, Instant};
use embassy_futures::select::{Select, select};
use embedded_io_async::{ErrorType, Read, Write};

/// What the future gives, unless it takes longer than `limit`. Not an async fn, which would hold the
/// future twice.
pub(crate) fn in_time<C: Clock, F: Future>(
    clock: &C,
    limit: Duration,
    future: F,
) -> Select<F, impl Future<Output = ()> + use<'_, C, F>> {
    select(future, clock.deadline(clock.now() + limit))
}

/// A transport that notes when bytes were last taken or came. A large packet on a slow line takes
/// long; what tells a broker that is stuck is that no byte moves.
pub(crate) struct Watched<'a, T, C> {
    pub(crate) transport: T,
    pub(crate) clock: &'a C,
    pub(crate) moved: &'a Cell<Instant>,
}

impl<T, C: Clock> Watched<'_, T, C> {
    fn note(&self, count: usize) {
        if count > 0 {
            self.moved.set(self.clock.now());
        }
    }
}

impl<T: ErrorType, C> ErrorType for Watched<'_, T, C> {
    type Error = T::Error;
}

impl<T: Read, C: Clock> Read for Watched<'_, T, C> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, T::Error> {
        let count = self.transport.read(buf).await?;
        self.note(count);
        Ok(count)
    }
}

impl<T: Write, C: Clock> Write for Watched<'_, T, C> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, T::Error> {
        let count = self.transport.write(buf).await?;
        self.note(count);
        Ok(count)
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        self.transport.flush().await
    }
}
