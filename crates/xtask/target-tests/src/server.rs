use crate::board::{self, wait};
use camwire::capture::{FramePublisher, FrameRing, FrameRingMemory, Policy, SourceStatus};
use camwire::frame::{Clock, FrameInfo, Instant, Random};
use camwire::server::{Config, Disconnect, Sequential, Server, ViewerSlot};
use core::cell::RefCell;
use core::convert::Infallible;
use core::future::{pending, poll_fn};
use core::task::Poll;
use core::time::Duration;
use critical_section::Mutex;
use embedded_io_async::{ErrorType, Read, Write};
use heapless::Vec;
use static_cell::{ConstStaticCell, StaticCell};

/// What an interrupt publishes.
const PICTURE: &[u8] = b"\xFF\xD8 a picture \xFF\xD9";

static CAMERA: Mutex<RefCell<Option<(FramePublisher<'static>, Machine)>>> =
    Mutex::new(RefCell::new(None));

pub fn a_picture_captured_in_an_interrupt() {
    let server = server(Machine::started_at(0), Config::default());
    let mut answer = Vec::<u8, 512>::new();
    board::interrupt_in(10_000, publish);
    let request = Request(b"GET /capture HTTP/1.1\r\nHost: a\r\n\r\n");
    let served = wait(server.serve(request, Sequential(Taking(&mut answer)), None));
    assert_eq!(served, Ok(()));
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(answer.strip_suffix(PICTURE).unwrap().ends_with(b"\r\n\r\n"));
}

pub fn a_stalled_viewer_as_time_goes_beyond_32_bits() {
    let mut config = Config::default();
    config.progress_timeout = Duration::from_millis(20);
    // In the middle of the 20 ms.
    let clock = Machine::started_at((1 << 32) - 11_000);
    let server = server(clock, config);
    board::interrupt_in(10_000, publish);
    let request = Request(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    let served = wait(server.serve(request, Sequential(Taking(&mut Vec::<u8, 320>::new())), None));
    assert_eq!(served, Err(Disconnect::Stalled));
    let now = clock.now().as_micros() - (1 << 32);
    assert!((10_000..12_000).contains(&now), "dropped at {now} us");
}

fn server(clock: Machine, config: Config) -> Server<'static, Machine> {
    static MEMORY: ConstStaticCell<FrameRingMemory<3, 1024, 1>> =
        ConstStaticCell::new(FrameRingMemory::new());
    static RING: StaticCell<FrameRing<'static>> = StaticCell::new();
    static STATUS: SourceStatus = SourceStatus::new("interrupt");
    static PLACES: [ViewerSlot; 1] = [ViewerSlot::new()];
    let ring = RING.init(MEMORY.take().ring(Policy::DropOldest));
    let camera = (ring.publisher().unwrap(), clock);
    critical_section::with(|cs| CAMERA.replace(cs, Some(camera)));
    Server::new(ring, &STATUS, &PLACES, clock, Random::new(|| 4), config)
}

fn publish() {
    critical_section::with(|cs| {
        let mut camera = CAMERA.borrow_ref_mut(cs);
        let (publisher, clock) = camera.as_mut().unwrap();
        let mut grant = publisher.try_grant().unwrap();
        grant[..PICTURE.len()].copy_from_slice(PICTURE);
        let (len, captured_at) = (PICTURE.len(), clock.now());
        publisher
            .commit(grant, len, FrameInfo { len, captured_at, ..FrameInfo::default() })
            .unwrap();
    });
}

/// The machine's clock, as if the machine had been on for longer.
#[derive(Clone, Copy)]
struct Machine {
    at_start: Instant,
    /// The machine's own time then.
    ticks: u32,
}

impl Machine {
    fn started_at(micros: u64) -> Self {
        Self { at_start: Instant::from_micros(micros), ticks: board::ticks() }
    }
}

impl Clock for Machine {
    fn now(&self) -> Instant {
        self.at_start + Duration::from_micros(u64::from((board::ticks() - self.ticks) / 10))
    }

    async fn sleep_until(&self, at: Instant) {
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if self.now() < at { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

/// A viewer that says this, and no more.
struct Request(&'static [u8]);

impl ErrorType for Request {
    type Error = Infallible;
}

impl Read for Request {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        if self.0.is_empty() {
            pending::<()>().await;
        }
        self.0.read(buf).await
    }
}

/// A viewer that takes what it is sent, as far as there is room.
struct Taking<'a, const N: usize>(&'a mut Vec<u8, N>);

impl<const N: usize> ErrorType for Taking<'_, N> {
    type Error = Infallible;
}

impl<const N: usize> Write for Taking<'_, N> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let len = buf.len().min(self.0.capacity() - self.0.len());
        if len == 0 {
            pending::<()>().await;
        }
        self.0.extend_from_slice(&buf[..len]).unwrap();
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
