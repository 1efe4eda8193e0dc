//! What camwire meets in a firmware, as little of it as there can be.

use camwire_frame::{CaptureError, Clock, FrameInfo, FrameSource, Instant};
use core::convert::Infallible;
use core::hint::black_box;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use embedded_io_async::{ErrorType, Read, Write};
use portable_atomic as _;

/// A value of which the compiler knows nothing more, so that it can leave out no case.
pub fn opaque<T>(value: T) -> T {
    black_box(value)
}

/// Drives a future, perhaps to its end.
pub fn run<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while opaque(true) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

/// What becomes ready at some time.
async fn sometime<T>(value: T) -> T {
    core::future::poll_fn(|_| if opaque(true) { Poll::Ready(()) } else { Poll::Pending }).await;
    opaque(value)
}

pub struct AnyClock;

impl Clock for AnyClock {
    fn now(&self) -> Instant {
        Instant::from_micros(opaque(0))
    }

    async fn sleep_until(&self, _: Instant) {
        sometime(()).await;
    }

    fn unix_offset(&self) -> Option<u64> {
        opaque(None)
    }
}

/// A camera whose driver weighs nothing.
pub struct AnyCamera;

impl FrameSource for AnyCamera {
    type Error = Infallible;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Infallible>> {
        opaque(buf);
        sometime(Ok(FrameInfo::default())).await
    }
}

/// A connection whose network stack weighs nothing.
pub struct AnyConnection;

impl ErrorType for AnyConnection {
    type Error = embedded_io_async::ErrorKind;
}

impl Read for AnyConnection {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        sometime(Ok(opaque(buf).len())).await
    }
}

impl Write for AnyConnection {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        sometime(Ok(opaque(buf).len())).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        sometime(Ok(())).await
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        opaque(());
    }
}

/// What portable-atomic needs of the binary: here one core and no interrupts.
struct OneCore;
critical_section::set_impl!(OneCore);

// SAFETY: nothing can interrupt a program that switches no interrupt on.
unsafe impl critical_section::Impl for OneCore {
    unsafe fn acquire() {}
    unsafe fn release((): ()) {}
}
