//! The loop on two network stacks in one process, between which packets can be lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use camwire_embassy::{EmbassyClock, serve};
#[cfg(feature = "push")]
use camwire_embassy::{PushEnd, PushMemory, push};
use camwire_frame::{Clock, FrameInfo, Random, Upstream};
use camwire_ring::{FrameRing, Policy, SourceStatus};
use camwire_server::{
    Answer, Answered, Application, Config, Disconnect, Exchange, Server, ViewerSlot, WriteVectored,
};
#[cfg(feature = "push")]
use camwire_server::{Authorization, Push, PushError};
#[cfg(feature = "push")]
use camwire_websocket::Uri;
use embassy_futures::join::join_array;
use embassy_net::tcp::{Error, State, TcpSocket};
#[cfg(feature = "push")]
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::MockDriver;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PICTURE_BYTES: usize = 8000;

#[test]
fn one_request_after_another_is_answered_on_one_socket() {
    let mut world = World::new(Config::default());
    for _ in 0..3 {
        let page = world.fetch("/");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(page.trim_end().ends_with("</html>"), "{page}");
    }
    assert!(world.fetch("/nothing").starts_with("HTTP/1.1 404 "));
}

#[test]
fn the_server_knows_who_asks() {
    let mut world = World::with_sockets(2, Config::default());
    let viewer = world.connect("/stream");
    world.advance(Duration::from_secs(1));
    let stats = world.fetch("/stats");
    assert!(stats.contains(r#""peer":"10.0.0.2:"#), "{stats}");
    assert!(viewer.pictures() > 0);
}

#[test]
fn one_task_can_serve_several() {
    let mut world = World::together::<3>(Config::default());
    let healthy = [world.connect("/stream"), world.connect("/stream")];
    let stalled = world.ghost("/stream");
    world.advance(Duration::from_secs(1));
    world.lose(|from, packet| from == GHOST_END || is_to(packet, GHOST_END));
    world.advance(Duration::from_secs(5));
    let [one, other] = healthy.map(|viewer| viewer.pictures());
    assert!(one >= 55 && other >= 55, "{one} and {other} of 60");
    assert!(stalled.pictures() <= 11);
}

#[test]
fn an_answer_arrives_though_its_end_was_lost_at_first() {
    let mut world = World::new(Config::default());
    let len = world.fetch("/").len();
    // From shortly before the end on, nothing of the server's arrives for 2.5 seconds.
    let (mut sent, mut silent_until) = (0, None);
    world.lose(move |from, packet| {
        if from == SERVER_END {
            sent += payload(packet);
            if sent > len - 1000 {
                let until =
                    silent_until.get_or_insert(EmbassyClock.now() + Duration::from_millis(2500));
                return EmbassyClock.now() < *until;
            }
        }
        false
    });
    let client = world.connect("/");
    world.advance(Duration::from_secs(2));
    assert!(client.received().len() < len);
    world.advance(Duration::from_secs(2));
    assert_eq!((client.received().len(), client.ending()), (len, Some(Ok(()))));
}

#[test]
fn a_client_that_does_not_hang_up_keeps_the_socket_for_a_second() {
    let mut world = World::new(Config::default());
    let client = world.connect_and("/", Afterwards::StaysOpen);
    world.advance(Duration::from_millis(500));
    assert!(client.received().ends_with(b"</html>\n"));
    assert_eq!(client.ending(), Some(Ok(())));
    assert!(world.try_fetch("/").is_none(), "the socket is not free yet");
    world.advance(Duration::from_secs(1));
    assert!(world.fetch("/").ends_with("</html>\n"));
}

#[test]
fn an_application_may_take_its_time() {
    let mut world = World::new(Config::default());
    let client = world.connect("/slow");
    world.advance(Duration::from_secs(59));
    assert_eq!(client.received(), b"");
    world.advance(Duration::from_secs(2));
    assert!(client.received().ends_with(b"at last"));
}

/// When the peer is gone without a word, the socket serves somebody else within `limit`.
fn freed(world: &mut World, limit: Duration) {
    assert!(world.try_fetch("/").is_none(), "the one who is gone did not have the socket");
    world.advance(limit);
    assert!(world.fetch("/").starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_peer_that_vanishes_while_it_connects() {
    let mut world = World::new(Config::default());
    // It asks for a connection, and never hears the answer.
    world.lose(|_, packet| is_to(packet, GHOST_END) && is_tcp(packet));
    world.ghost("/");
    freed(&mut world, Duration::from_secs(11));
}

#[test]
fn a_peer_that_vanishes_before_it_asks() {
    let mut world = World::new(Config::default());
    world.ghost_connects();
    world.lose(|from, packet| from == GHOST_END || is_to(packet, GHOST_END));
    freed(&mut world, Duration::from_secs(12));
}

#[test]
fn a_peer_that_vanishes_while_it_watches() {
    let mut world = World::new(Config::default());
    let viewer = world.ghost("/stream");
    world.advance(Duration::from_secs(5));
    assert!(viewer.pictures() > 10);
    world.lose(|from, packet| from == GHOST_END || is_to(packet, GHOST_END));
    freed(&mut world, Duration::from_secs(13));
}

#[test]
fn a_peer_that_vanishes_at_the_end_of_its_answer() {
    let mut world = World::new(Config::default());
    let mut rest = world.fetch("/").len() - 1000;
    world.lose(move |from, packet| {
        if from == SERVER_END && is_to(packet, GHOST_END) {
            rest = rest.saturating_sub(payload(packet));
        }
        rest == 0 && (from == GHOST_END || is_to(packet, GHOST_END))
    });
    world.ghost("/");
    freed(&mut world, Duration::from_secs(12));
}

/// What keeps the camera from pushing is told, and it waits ever longer.
#[cfg(feature = "push")]
#[test]
fn a_relay_that_is_known_by_its_name() {
    let told = Rc::new(RefCell::new(Vec::new()));
    let tell = told.clone();
    let mut world = World::build(Config::default(), |tasks, server, stack| {
        let mut to = Push::to(Uri::parse("ws://relay.example:8080/ingest").unwrap());
        to.authorization = Authorization::bearer("T").ok();
        let told = move |end, wait: Duration| tell.borrow_mut().push((end, wait.as_millis()));
        tasks.spawn(async move {
            push(server, stack, to, &mut PushMemory::<5760>::new(), told).await;
        });
    });
    let next = |world: &mut World| {
        for _ in 0..200 {
            if let Some(end) = told.borrow_mut().pop() {
                return end;
            }
            world.advance(Duration::from_millis(100));
        }
        panic!("nothing is told");
    };
    assert_eq!(next(&mut world), (PushEnd::Name, 500));
    world.tasks.spawn(names(world.client));
    assert_eq!(next(&mut world), (PushEnd::Unreachable, 1000));
    let asked = Rc::new(RefCell::new(String::new()));
    world.tasks.spawn(unfriendly_relay(world.client, asked.clone()));
    let refused = PushEnd::Ended(PushError::Refused { status: 401 });
    assert_eq!(next(&mut world), (refused, 5000));
    let asked = asked.borrow();
    let lines = ["GET /ingest HTTP/1.1", "Host: relay.example:8080", "Authorization: Bearer T"];
    for line in lines {
        assert!(asked.lines().any(|one| one == line), "{asked}");
    }
}

/// Tells everybody that the relay is here.
#[cfg(feature = "push")]
async fn names(stack: Stack<'static>) {
    let (mut received, mut sent) = ([0; 512], [0; 512]);
    let (mut from, mut to) = ([PacketMetadata::EMPTY; 4], [PacketMetadata::EMPTY; 4]);
    let mut socket = UdpSocket::new(stack, &mut from, &mut received, &mut to, &mut sent);
    socket.bind(53).unwrap();
    loop {
        let mut query = [0; 512];
        let (len, peer) = socket.recv_from(&mut query).await.unwrap();
        let name = b"\x05relay\x07example\0";
        assert_eq!(&query[12..12 + name.len()], name);
        // The question again, and one answer to it (RFC 1035, section 4.1).
        let mut answer = query[..len].to_vec();
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, CLIENT_END]);
        socket.send_to(&answer, peer).await.unwrap();
    }
}

#[cfg(feature = "push")]
async fn unfriendly_relay(stack: Stack<'static>, asked: Rc<RefCell<String>>) {
    let (mut received, mut sent) = ([0; 1024], [0; 1024]);
    let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
    socket.accept(8080).await.unwrap();
    while !asked.borrow().ends_with("\r\n\r\n") {
        let mut piece = [0; 256];
        let count = socket.read(&mut piece).await.unwrap();
        asked.borrow_mut().push_str(str::from_utf8(&piece[..count]).unwrap());
    }
    let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(socket.write(answer).await, Ok(answer.len()));
    socket.flush().await.unwrap();
}

#[test]
fn deadlines_may_be_endless() {
    let mut config = Config::default();
    config.head_timeout = Duration::MAX;
    config.progress_timeout = Duration::MAX;
    let mut world = World::new(config);
    assert!(world.fetch("/").ends_with("</html>\n"));
}

// The world: a hub with three ends, the server, a client, and a second client for what goes wrong.

const SERVER_END: u8 = 1;
const CLIENT_END: u8 = 2;
const GHOST_END: u8 = 3;

type CameraServer = Server<'static, EmbassyClock, Slow>;

struct World {
    tasks: Tasks,
    hub: Rc<RefCell<Hub>>,
    client: Stack<'static>,
    ghost: Stack<'static>,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    fn new(config: Config) -> Self {
        Self::with_sockets(1, config)
    }

    /// With a task for each socket.
    fn with_sockets(sockets: usize, config: Config) -> Self {
        Self::build(config, |tasks, server, stack| {
            for _ in 0..sockets {
                tasks.spawn(async move {
                    serve(server, stack, 80, &mut [0; 1024], &mut [0; 5760]).await
                });
            }
        })
    }

    /// With one task for all sockets.
    fn together<const N: usize>(config: Config) -> Self {
        Self::build(config, |tasks, server, stack| {
            tasks.spawn(async move {
                let mut buffers = [([0; 1024], [0; 5760]); N];
                let all = buffers.each_mut().map(|(r, s)| serve(server, stack, 80, r, s));
                join_array(all).await;
            });
        })
    }

    fn build(
        config: Config,
        start: impl FnOnce(&mut Tasks, &'static CameraServer, Stack<'static>),
    ) -> Self {
        // There is one time for the whole process.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        MockDriver::get().reset();
        let mut tasks = Tasks::default();
        let hub = Rc::new(RefCell::new(Hub { ends: Vec::new(), loses: Box::new(|_, _| false) }));
        let mut stack = |number| {
            let address = Ipv4Addr::new(10, 0, 0, number);
            let config = embassy_net::Config::ipv4_static(StaticConfigV4 {
                address: Ipv4Cidr::new(address, 24),
                gateway: None,
                dns_servers: [Ipv4Addr::new(10, 0, 0, CLIENT_END)].into_iter().collect(),
            });
            let resources = Box::leak(Box::new(StackResources::<4>::new()));
            let plug = Hub::plug(&hub, number);
            let (stack, mut runner) = embassy_net::new(plug, config, resources, number.into());
            tasks.spawn(async move { runner.run().await });
            stack
        };
        let (server_stack, client, ghost) =
            (stack(SERVER_END), stack(CLIENT_END), stack(GHOST_END));

        let ring = FrameRing::leak(3, PICTURE_BYTES, 4, Policy::DropOldest).unwrap();
        let viewers = Box::leak(Box::new([const { ViewerSlot::new() }; 3]));
        let status = Box::leak(Box::new(SourceStatus::new("test")));
        let server = Server::new(ring, status, viewers, EmbassyClock, Random::new(|| 4), config);
        let server = Box::leak(Box::new(server.with_application(Slow)));
        tasks.spawn(camera(ring));
        start(&mut tasks, server, server_stack);
        let mut world = Self { tasks, hub, client, ghost, _alone: alone };
        world.advance(Duration::from_millis(100));
        world
    }

    fn advance(&mut self, time: Duration) {
        self.tasks.advance(time);
    }

    /// From now on, packets are lost of which `loses` says so, given which end has sent them.
    fn lose(&mut self, loses: impl FnMut(u8, &[u8]) -> bool + 'static) {
        self.hub.borrow_mut().loses = Box::new(loses);
    }

    /// The whole answer, which comes soon.
    fn fetch(&mut self, path: &str) -> String {
        self.fetch_within(Duration::from_millis(1500), path).expect("it is answered")
    }

    /// The whole answer, if there is one at once.
    fn try_fetch(&mut self, path: &str) -> Option<String> {
        self.fetch_within(Duration::from_millis(100), path)
    }

    fn fetch_within(&mut self, time: Duration, path: &str) -> Option<String> {
        let client = self.connect(path);
        self.advance(time);
        let received = String::from_utf8(client.received()).unwrap();
        (client.ending() == Some(Ok(()))).then_some(received)
    }

    fn connect(&mut self, path: &str) -> Client {
        self.connect_and(path, Afterwards::HangsUp)
    }

    fn connect_and(&mut self, path: &str, afterwards: Afterwards) -> Client {
        self.client_on(self.client, Some(path), afterwards)
    }

    /// A request of the client for what goes wrong.
    fn ghost(&mut self, path: &str) -> Client {
        self.client_on(self.ghost, Some(path), Afterwards::HangsUp)
    }

    /// It connects and says nothing.
    fn ghost_connects(&mut self) {
        self.client_on(self.ghost, None, Afterwards::HangsUp);
    }

    fn client_on(
        &mut self,
        stack: Stack<'static>,
        path: Option<&str>,
        afterwards: Afterwards,
    ) -> Client {
        let client = Client::default();
        let (exchange, path) = (client.0.clone(), path.map(str::to_owned));
        self.tasks.spawn(async move {
            let (mut received, mut sent) = ([0; 4096], [0; 1024]);
            let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
            if socket.connect((SERVER, 80)).await.is_err() {
                return;
            }
            let Some(path) = path else { return std::future::pending().await };
            let request = format!("GET {path} HTTP/1.1\r\nHost: camera\r\n\r\n");
            assert_eq!(socket.write(request.as_bytes()).await, Ok(request.len()));
            let ending = loop {
                let mut piece = [0; 1000];
                match socket.read(&mut piece).await {
                    Ok(0) => break Ok(()),
                    Ok(count) => exchange.borrow_mut().received.extend(&piece[..count]),
                    Err(error) => break Err(error),
                }
            };
            exchange.borrow_mut().ending = Some(ending);
            if let Afterwards::StaysOpen = afterwards {
                return std::future::pending().await;
            }
            socket.close();
            while socket.state() != State::Closed {
                EmbassyClock.sleep_until(EmbassyClock.now() + Duration::from_millis(10)).await;
            }
        });
        self.tasks.run();
        client
    }
}

#[derive(Clone, Copy)]
enum Afterwards {
    HangsUp,
    StaysOpen,
}

#[derive(Default)]
struct Client(Rc<RefCell<Received>>);

#[derive(Default)]
struct Received {
    received: Vec<u8>,
    ending: Option<Result<(), Error>>,
}

impl Client {
    fn received(&self) -> Vec<u8> {
        self.0.borrow().received.clone()
    }

    /// How many pictures of a stream have begun.
    fn pictures(&self) -> usize {
        self.received().windows(6).filter(|bytes| bytes == b"\r\n\r\nP ").count()
    }

    /// How the server's side ended; `None` while it has not.
    fn ending(&self) -> Option<Result<(), Error>> {
        self.0.borrow().ending
    }
}

/// Ten pictures a second.
async fn camera(ring: &'static FrameRing<'static>) {
    let mut publisher = ring.publisher().unwrap();
    loop {
        let captured_at = EmbassyClock.now();
        EmbassyClock.sleep_until(captured_at + Duration::from_millis(100)).await;
        let mut picture = publisher.try_grant().unwrap();
        for (to, from) in picture.iter_mut().zip(b"P i c t u r e ".iter().cycle()) {
            *to = *from;
        }
        let (len, upstream) = (PICTURE_BYTES, Upstream::default());
        let info = FrameInfo { len, width: 64, height: 48, captured_at, upstream };
        publisher.commit(picture, info).unwrap();
    }
}

/// A route that is answered after a minute.
struct Slow;

impl Application for Slow {
    fn owns(&self, path: &str) -> bool {
        path == "/slow"
    }

    async fn answer<W: WriteVectored, C: Clock>(
        &self,
        exchange: Exchange<'_, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        EmbassyClock.sleep_until(EmbassyClock.now() + Duration::from_secs(60)).await;
        exchange.answer(&Answer { body: b"at last", ..Answer::default() }).await
    }
}

/// Where every packet reaches every other end; the stacks take those that are for them.
struct Hub {
    ends: Vec<(u8, VecDeque<Vec<u8>>, Option<Waker>)>,
    loses: Loses,
}

/// Whether a packet of that end is lost.
type Loses = Box<dyn FnMut(u8, &[u8]) -> bool>;

struct Plug {
    hub: Rc<RefCell<Hub>>,
    number: u8,
}

impl Hub {
    fn plug(hub: &Rc<RefCell<Self>>, number: u8) -> Plug {
        hub.borrow_mut().ends.push((number, VecDeque::new(), None));
        Plug { hub: hub.clone(), number }
    }

    fn send(&mut self, from: u8, packet: &[u8]) {
        if (self.loses)(from, packet) {
            return;
        }
        for (_, queue, waker) in self.ends.iter_mut().filter(|(number, ..)| *number != from) {
            queue.push_back(packet.to_vec());
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }
}

struct Coming(Vec<u8>);
struct Going<'a>(&'a Plug);

impl Driver for Plug {
    type RxToken<'a> = Coming;
    type TxToken<'a> = Going<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Coming, Going<'_>)> {
        let mut hub = self.hub.borrow_mut();
        let mut ends = hub.ends.iter_mut();
        let (_, queue, waker) = ends.find(|(number, ..)| *number == self.number).unwrap();
        *waker = Some(cx.waker().clone());
        let packet = queue.pop_front()?;
        drop(hub);
        Some((Coming(packet), Going(self)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Going<'_>> {
        Some(Going(self))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
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
        self.0.hub.borrow_mut().send(self.0.number, &packet);
        result
    }
}

fn is_to(packet: &[u8], end: u8) -> bool {
    packet[..6] == [2, 0, 0, 0, 0, end]
}

/// And not of ARP, without which nobody knows where to send anything.
fn is_tcp(packet: &[u8]) -> bool {
    packet[12..14] == [8, 0] && packet[23] == 6
}

/// Bytes of TCP's payload in a packet; none in those of other protocols.
fn payload(packet: &[u8]) -> usize {
    if !is_tcp(packet) {
        return 0;
    }
    let whole = usize::from(u16::from_be_bytes([packet[16], packet[17]]));
    whole - 20 - usize::from(packet[46] >> 4) * 4
}

/// Tasks, and time that moves only when a test says so.
#[derive(Default)]
struct Tasks(Vec<Option<Task>>);

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
    fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.0.push(Some(Task { future: Box::pin(future), woken }));
    }

    /// Until nobody has anything to do at this moment.
    fn run(&mut self) {
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

    fn advance(&mut self, time: Duration) {
        self.run();
        for _ in 0..time.as_millis() / 5 {
            MockDriver::get().advance(embassy_time::Duration::from_millis(5));
            self.run();
        }
    }
}
