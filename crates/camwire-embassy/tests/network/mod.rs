//! Network stacks in one process, between which packets and links can be lost, and time that moves
//! only when a test says so.

#![allow(dead_code)] // Each file of tests uses a part of it.

pub(crate) mod dhcp;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use camwire_capture::FrameRing;
use camwire_embassy::EmbassyClock;
use camwire_frame::{Clock, FrameInfo, Upstream};
use embassy_net::tcp::{Error, State, TcpSocket};
use embassy_net::{Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::MockDriver;

pub(crate) const FRAME_BYTES: usize = 8000;

/// Ten frames a second, each of the same bytes.
pub(crate) async fn camera(ring: &'static FrameRing<'static>) {
    let mut publisher = ring.publisher().unwrap();
    loop {
        let captured_at = EmbassyClock.now();
        EmbassyClock.sleep_until(captured_at + Duration::from_millis(100)).await;
        let mut frame = publisher.try_grant().unwrap();
        for (to, from) in frame.iter_mut().zip(b"P i c t u r e ".iter().cycle()) {
            *to = *from;
        }
        let (len, upstream) = (FRAME_BYTES, Upstream::default());
        let info = FrameInfo { len, width: 64, height: 48, captured_at, upstream };
        publisher.commit(frame, info.len, info).unwrap();
    }
}

/// Takes the one time that the process has, and sets it to zero.
pub(crate) fn take_time() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    MockDriver::get().reset();
    alone
}

/// The address of an end of the hub, unless it is given another.
pub(crate) const fn address_of(end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, end)
}

pub(crate) fn static_config(end: u8, dns_server: u8) -> embassy_net::Config {
    embassy_net::Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(address_of(end), 24),
        gateway: None,
        dns_servers: [address_of(dns_server)].into_iter().collect(),
    })
}

/// A network stack that runs in a task.
pub(crate) fn stack<D: Driver + 'static>(
    tasks: &mut Tasks,
    driver: D,
    config: embassy_net::Config,
    seed: u64,
) -> Stack<'static> {
    let resources = Box::leak(Box::new(StackResources::<6>::new()));
    let (stack, mut runner) = embassy_net::new(driver, config, resources, seed);
    tasks.spawn(async move { runner.run().await });
    stack
}

#[derive(Clone, Copy)]
pub(crate) enum Afterwards {
    HangsUp,
    StaysOpen,
}

/// What a client has got.
#[derive(Clone, Default)]
pub(crate) struct Client(Rc<RefCell<Received>>);

#[derive(Default)]
struct Received {
    received: Vec<u8>,
    ending: Option<Result<(), Error>>,
}

impl Client {
    /// Connects and sends a request, if there is one, and then only listens.
    pub(crate) async fn run(
        self,
        stack: Stack<'static>,
        server: Ipv4Addr,
        path: Option<String>,
        afterwards: Afterwards,
    ) {
        let (mut received, mut sent) = ([0; 4096], [0; 1024]);
        let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
        if socket.connect((server, 80)).await.is_err() {
            return;
        }
        let Some(path) = path else { return std::future::pending().await };
        let request = format!("GET {path} HTTP/1.1\r\nHost: camera\r\n\r\n");
        assert_eq!(socket.write(request.as_bytes()).await, Ok(request.len()));
        let ending = loop {
            let mut piece = [0; 1000];
            match socket.read(&mut piece).await {
                Ok(0) => break Ok(()),
                Ok(count) => self.0.borrow_mut().received.extend(&piece[..count]),
                Err(error) => break Err(error),
            }
        };
        self.0.borrow_mut().ending = Some(ending);
        if let Afterwards::StaysOpen = afterwards {
            return std::future::pending().await;
        }
        socket.close();
        while socket.state() != State::Closed {
            EmbassyClock.sleep_until(EmbassyClock.now() + Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        self.0.borrow().received.clone()
    }

    pub(crate) fn received_len(&self) -> usize {
        self.0.borrow().received.len()
    }

    /// How many frames of a stream have begun.
    pub(crate) fn frames(&self) -> usize {
        self.received().windows(6).filter(|bytes| bytes == b"\r\n\r\nP ").count()
    }

    /// How many frames of a stream have come as a whole; and nothing else has, from its begin on.
    pub(crate) fn assert_whole(&self) -> usize {
        let received = self.received();
        let after = |text: &[u8], start: usize| {
            let found = received[start..].windows(text.len()).position(|bytes| bytes == text);
            found.map(|at| start + at + text.len())
        };
        let (mut at, mut frames) = (after(b"\r\n\r\n", 0).unwrap(), 0);
        let mut last = 0;
        while let Some(body) = after(b"\r\n\r\n", at) {
            let head = str::from_utf8(&received[at..body]).unwrap();
            let number = head.split("X-Frame: ").nth(1).unwrap().split("\r\n").next().unwrap();
            let number: u32 = number.parse().unwrap();
            assert!(number >= last, "frame {number} after {last}");
            last = number;
            assert!(head.contains(&format!("Content-Length: {FRAME_BYTES}\r\n")), "{head}");
            let frame = &received[body..received.len().min(body + FRAME_BYTES)];
            let pattern = b"P i c t u r e ".iter().cycle();
            assert!(frame.iter().zip(pattern).all(|(byte, right)| byte == right));
            if frame.len() < FRAME_BYTES {
                break;
            }
            (at, frames) = (body + FRAME_BYTES, frames + 1);
        }
        frames
    }

    /// How the server's side ended; `None` while it has not.
    pub(crate) fn ending(&self) -> Option<Result<(), Error>> {
        self.0.borrow().ending
    }
}

/// Where every packet reaches every other end; the stacks take those that are for them.
pub(crate) struct Hub {
    ends: Vec<End>,
    loses: Loses,
}

struct End {
    number: u8,
    is_up: bool,
    queue: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

/// Whether a packet of that end is lost.
type Loses = Box<dyn FnMut(u8, &[u8]) -> bool>;

/// An end of the hub, as a driver and for tasks.
pub(crate) struct Plug {
    hub: Rc<RefCell<Hub>>,
    number: u8,
}

impl Hub {
    pub(crate) fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { ends: Vec::new(), loses: Box::new(|_, _| false) }))
    }

    pub(crate) fn plug(hub: &Rc<RefCell<Self>>, number: u8) -> Plug {
        let end = End { number, is_up: true, queue: VecDeque::new(), waker: None };
        hub.borrow_mut().ends.push(end);
        Plug { hub: hub.clone(), number }
    }

    /// From now on, packets are lost of which `loses` says so, given which end has sent them.
    pub(crate) fn lose(&mut self, loses: impl FnMut(u8, &[u8]) -> bool + 'static) {
        self.loses = Box::new(loses);
    }

    /// An end's link comes up or goes down.
    pub(crate) fn set_link(&mut self, number: u8, is_up: bool) {
        let end = self.end(number);
        end.is_up = is_up;
        end.wake();
    }

    fn end(&mut self, number: u8) -> &mut End {
        self.ends.iter_mut().find(|end| end.number == number).unwrap()
    }

    /// An end sends a packet.
    pub(crate) fn send(&mut self, from: u8, packet: &[u8]) {
        if !self.end(from).is_up || (self.loses)(from, packet) {
            return;
        }
        for end in self.ends.iter_mut().filter(|end| end.number != from && end.is_up) {
            end.queue.push_back(packet.to_vec());
            end.wake();
        }
    }
}

impl End {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Plug {
    /// Sends a packet as if this end did.
    pub(crate) fn send(&self, packet: &[u8]) {
        self.hub.borrow_mut().send(self.number, packet);
    }

    /// The next packet of any other end.
    pub(crate) async fn receive_any(&self) -> Vec<u8> {
        std::future::poll_fn(|cx| match self.poll_receive(cx) {
            Some(packet) => Poll::Ready(packet),
            None => Poll::Pending,
        })
        .await
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Option<Vec<u8>> {
        let mut hub = self.hub.borrow_mut();
        let end = hub.end(self.number);
        end.waker = Some(cx.waker().clone());
        end.queue.pop_front()
    }
}

pub(crate) struct Coming(Vec<u8>);
pub(crate) struct Going<'a>(&'a Plug);

impl Driver for Plug {
    type RxToken<'a> = Coming;
    type TxToken<'a> = Going<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Coming, Going<'_>)> {
        Some((Coming(self.poll_receive(cx)?), Going(self)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Going<'_>> {
        Some(Going(self))
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        let mut hub = self.hub.borrow_mut();
        let end = hub.end(self.number);
        end.waker = Some(cx.waker().clone());
        if end.is_up { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet([2, 0, 0, 0, 0, self.number])
    }
}

impl RxToken for Coming {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, read: F) -> R {
        read(&mut self.0)
    }
}

impl TxToken for Going<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.send(&packet);
        result
    }
}

pub(crate) fn is_to(packet: &[u8], end: u8) -> bool {
    packet[..6] == [2, 0, 0, 0, 0, end]
}

/// And not of ARP, without which nobody knows where to send anything.
pub(crate) fn is_tcp(packet: &[u8]) -> bool {
    packet[12..14] == [8, 0] && packet[23] == 6
}

/// Bytes of TCP's payload in a packet; none in those of other protocols.
pub(crate) fn payload(packet: &[u8]) -> usize {
    if !is_tcp(packet) {
        return 0;
    }
    let whole = usize::from(u16::from_be_bytes([packet[16], packet[17]]));
    whole - 20 - usize::from(packet[46] >> 4) * 4
}

/// Tasks, and the time.
#[derive(Default)]
pub(crate) struct Tasks(Vec<Option<Task>>);

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Tasks {
    pub(crate) fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.0.push(Some(Task { future: Box::pin(future), woken }));
    }

    /// Until no task has anything to do at this moment.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            let mut idle = true;
            for place in &mut self.0 {
                let Some(task) = place else { continue };
                if task.woken.0.swap(false, Ordering::Relaxed) {
                    idle = false;
                    let waker = Waker::from(task.woken.clone());
                    if let Poll::Ready(()) =
                        task.future.as_mut().poll(&mut Context::from_waker(&waker))
                    {
                        *place = None;
                    }
                }
            }
            if idle {
                return;
            }
        }
        panic!("a task spins");
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.advance_by(Duration::from_millis(5), time);
    }

    /// In steps, of which a task sleeps whole ones.
    pub(crate) fn advance_by(&mut self, step: Duration, time: Duration) {
        self.run();
        for _ in 0..time.as_millis() / step.as_millis() {
            MockDriver::get().advance(embassy_time::Duration::from_micros(step.as_micros() as u64));
            self.run();
        }
    }
}
