//! The loop on two network stacks in one process, between which packets can be lost.

mod network;

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::MutexGuard;
use std::time::Duration;

use camwire_capture::{FrameRing, Policy, SourceStatus};
use camwire_embassy::{EmbassyClock, serve};
#[cfg(feature = "push")]
use camwire_embassy::{PushEnd, PushMemory, push};
use camwire_frame::{Clock, Random};
use camwire_server::{
    Answer, Answered, Application, Config, Disconnect, Exchange, Read, Server, ViewerSlot,
    WriteVectored,
};
#[cfg(feature = "push")]
use camwire_server::{Authorization, Push, PushError};
#[cfg(feature = "push")]
use camwire_websocket::Uri;
use embassy_futures::join::join_array;
use embassy_net::Stack;
#[cfg(feature = "push")]
use embassy_net::tcp::TcpSocket;
#[cfg(feature = "push")]
use embassy_net::udp::{PacketMetadata, UdpSocket};

use network::{
    Afterwards, Client, FRAME_BYTES, Hub, Tasks, address_of, camera, is_tcp, is_to, payload,
    static_config,
};

const SERVER: Ipv4Addr = address_of(SERVER_END);

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
    assert!(viewer.frames() > 0);
}

#[test]
fn one_task_can_serve_several() {
    let mut world = World::together::<3>(Config::default());
    let healthy = [world.connect("/stream"), world.connect("/stream")];
    let stalled = world.ghost("/stream");
    world.advance(Duration::from_secs(1));
    world.lose(|from, packet| from == GHOST_END || is_to(packet, GHOST_END));
    world.advance(Duration::from_secs(5));
    let [one, other] = healthy.map(|viewer| viewer.frames());
    assert!(one >= 55 && other >= 55, "{one} and {other} of 60");
    assert!(stalled.frames() <= 11);
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
    assert!(viewer.frames() > 10);
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
        let alone = network::take_time();
        let mut tasks = Tasks::default();
        let hub = Hub::new();
        let mut stack = |number| {
            let (plug, config) = (Hub::plug(&hub, number), static_config(number, CLIENT_END));
            network::stack(&mut tasks, plug, config, number.into())
        };
        let (server_stack, client, ghost) =
            (stack(SERVER_END), stack(CLIENT_END), stack(GHOST_END));

        let ring = FrameRing::leak(3, FRAME_BYTES, 4, Policy::DropOldest).unwrap();
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
        self.hub.borrow_mut().lose(loses);
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
        self.tasks.spawn(client.clone().run(stack, SERVER, path.map(str::to_owned), afterwards));
        self.tasks.run();
        client
    }
}

/// A route that is answered after a minute.
struct Slow;

impl Application for Slow {
    fn owns(&self, path: &str) -> bool {
        path == "/slow"
    }

    async fn answer<R: Read, W: WriteVectored<Error = R::Error>, C: Clock>(
        &self,
        exchange: Exchange<'_, R, W, C>,
    ) -> Result<Answered, Disconnect<W::Error>> {
        EmbassyClock.sleep_until(EmbassyClock.now() + Duration::from_secs(60)).await;
        exchange.answer(&Answer { body: b"at last", ..Answer::default() }).await
    }
}
