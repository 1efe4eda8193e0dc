//! Values of which the compiler knows nothing but their type.

use camwire_frame::{
    BlockingFrameSource, CaptureError, Clock, Control, ControlError, Flow, FrameInfo, FrameSource,
    Instant, Setting, SettingName, Upstream,
};
use core::{
    fmt::{self, Display, Write},
    future::{Future, poll_fn},
    hint::black_box,
    pin::pin,
    ptr,
    sync::atomic::{Ordering, compiler_fence},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Read and written as a device's registers are: any value may come out.
static mut DEVICE: [u64; 2] = [0; 2];

/// Types of which every pattern of bits is a value, of 16 bytes at most.
pub trait Bits {}
impl Bits for u8 {}
impl Bits for u16 {}
impl Bits for u32 {}
impl Bits for u64 {}
impl Bits for u128 {}
impl Bits for usize {}
impl Bits for i16 {}

pub fn any<T: Bits>() -> T {
    // SAFETY: it is large enough, aligned for all of them, and any bits will do.
    unsafe { ptr::read_volatile((&raw const DEVICE).cast()) }
}

pub fn perhaps<T>(value: T) -> Option<T> {
    (any::<u8>() != 0).then_some(value)
}

pub fn one_of<T: Copy, const N: usize>(choices: [T; N]) -> T {
    choices[any::<usize>() % N]
}

pub fn bytes<'a>() -> &'a mut [u8] {
    // SAFETY: this is never run. No slice is longer than that.
    unsafe {
        core::slice::from_raw_parts_mut(ptr::without_provenance_mut(any()), any::<usize>() >> 1)
    }
}

pub fn text<'a>() -> &'a str {
    // SAFETY: this is never run.
    unsafe { core::str::from_utf8_unchecked(bytes()) }
}

pub fn duration() -> Duration {
    Duration::from_secs(any()).saturating_add(Duration::from_nanos(any::<u32>().into()))
}

pub fn instant() -> Instant {
    Instant::from_micros(any())
}

/// From here on nothing is known of what is in it, also in its private fields.
pub fn changed<T: ?Sized>(value: &mut T) {
    black_box(value);
}

/// As an interrupt, another task or another core might do.
pub fn anything_may_have_happened() {
    compiler_fence(Ordering::SeqCst);
    black_box(any::<u8>());
    compiler_fence(Ordering::SeqCst);
}

/// Formats something with options of any kind, to where any write may fail.
pub fn formatted(write: impl Fn(&mut fmt::Formatter<'_>) -> fmt::Result) {
    struct Value<W>(W);
    impl<W: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> Display for Value<W> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (self.0)(f)
        }
    }
    let (width, precision) = (any::<u16>().into(), any::<u16>().into());
    black_box(write!(Peer, "{:>width$.precision$}", Value(write)).is_ok());
}

/// Polls a future until it is done.
pub fn poll<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(black_box(Waker::noop()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        anything_may_have_happened();
    }
}

/// Waits for something that may have come or not.
async fn wait() {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if any::<u8>() == 0 { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

/// The other end of everything: reader, writer, clock and camera, which do what they like.
#[derive(Clone, Copy, Debug)]
pub struct Peer;

/// What may be wrong with it.
#[derive(Clone, Copy, Debug)]
pub struct Fault;

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text())
    }
}

impl core::error::Error for Fault {}

impl embedded_io::Error for Fault {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::Other
    }
}

impl embedded_io::ErrorType for Peer {
    type Error = Fault;
}

impl embedded_io::Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        changed(buf);
        perhaps(any()).ok_or(Fault)
    }
}

impl embedded_io_async::Read for Peer {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        wait().await;
        embedded_io::Read::read(self, buf)
    }
}

impl embedded_io_async::Write for Peer {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        black_box(buf);
        wait().await;
        perhaps(any()).ok_or(Fault)
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        wait().await;
        perhaps(()).ok_or(Fault)
    }
}

impl Write for Peer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        black_box(text);
        perhaps(()).ok_or(fmt::Error)
    }
}

impl Clock for Peer {
    fn now(&self) -> Instant {
        instant()
    }

    async fn sleep_until(&self, at: Instant) {
        black_box(at);
        wait().await;
    }

    fn unix_offset(&self) -> Option<u64> {
        perhaps(any())
    }
}

pub fn info() -> FrameInfo {
    FrameInfo {
        len: any(),
        width: any(),
        height: any(),
        captured_at: instant(),
        upstream: upstream(),
    }
}

pub fn upstream() -> Upstream {
    Upstream { sequence: perhaps(any()), timestamp_us: perhaps(any()) }
}

pub fn capture_error() -> CaptureError<Fault> {
    one_of([
        CaptureError::TooLarge { needed: any() },
        CaptureError::Broken,
        CaptureError::Repeat,
        CaptureError::Ended,
        CaptureError::Source(Fault),
    ])
}

impl BlockingFrameSource for Peer {
    type Error = Fault;

    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Fault>> {
        changed(buf);
        perhaps(info()).ok_or(capture_error())
    }

    fn flow(&self) -> Flow {
        one_of([Flow::OnDemand, Flow::Stream])
    }
}

impl Control for Peer {
    type Error = Fault;

    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<Fault>> {
        black_box(setting);
        wait().await;
        perhaps(()).ok_or(one_of([ControlError::Unsupported, ControlError::Source(Fault)]))
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        SettingName::with_number(name, any())
    }
}

impl FrameSource for Peer {
    type Error = Fault;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Fault>> {
        wait().await;
        BlockingFrameSource::capture(self, buf)
    }

    fn flow(&self) -> Flow {
        BlockingFrameSource::flow(self)
    }
}

/// Has of each trait only what it must have. The rest is as the trait provides it.
pub struct Bare;

impl Clock for Bare {
    fn now(&self) -> Instant {
        instant()
    }

    async fn sleep_until(&self, at: Instant) {
        Peer.sleep_until(at).await;
    }
}

impl BlockingFrameSource for Bare {
    type Error = Fault;

    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Fault>> {
        BlockingFrameSource::capture(&mut Peer, buf)
    }
}

impl FrameSource for Bare {
    type Error = Fault;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Fault>> {
        FrameSource::capture(&mut Peer, buf).await
    }
}
