use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::Instant;

use crate::{Grant, GrantError, Lease, LeaseError, Publisher, Reader};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `future` on this thread until it is done; sleeps while it waits.
///
/// For instance a publisher that waits for its slots on a thread of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    match block_on_until(future, None) {
        Some(output) => output,
        None => unreachable!("without a deadline the future ends"),
    }
}

/// As [`block_on`], but gives up at `deadline` and drops the future.
fn block_on_until<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        match deadline {
            None => thread::park(),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                None | Some(Duration::ZERO) => return None,
                Some(left) => thread::park_timeout(left),
            },
        }
    }
}

impl<'r, M: Copy> Reader<'r, M> {
    /// As [`next`](Self::next), but blocks the thread, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`LeaseError`] says.
    pub fn next_blocking(&mut self, timeout: Duration) -> Result<Lease<'_, 'r, M>, LeaseError> {
        lease(self.next(), timeout)
    }

    /// As [`latest`](Self::latest), but blocks the thread, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`LeaseError`] says.
    pub fn latest_blocking(&mut self, timeout: Duration) -> Result<Lease<'_, 'r, M>, LeaseError> {
        lease(self.latest(), timeout)
    }
}

fn lease<L>(lease: impl Future<Output = Option<L>>, timeout: Duration) -> Result<L, LeaseError> {
    block_on_until(lease, Instant::now().checked_add(timeout))
        .ok_or(LeaseError::Empty)?
        .ok_or(LeaseError::Ended)
}

impl<'r, M: Copy> Publisher<'r, M> {
    /// As [`grant`](Self::grant), but blocks the thread, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`GrantError::Full`] if no slot has become free within that time.
    pub fn grant_blocking(&mut self, timeout: Duration) -> Result<Grant<'r, M>, GrantError> {
        block_on_until(self.grant(), Instant::now().checked_add(timeout)).ok_or(GrantError::Full)
    }
}
