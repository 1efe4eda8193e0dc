//! The camera on an MQTT broker that is written here, packet by packet (MQTT 5.0), over a transport
//! in memory. Time passes only when a test says so.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use camwire_capture::{FramePublisher, FrameRing, Policy, Settings, SourceStatus};
use camwire_frame::{Clock, FrameInfo, Instant, Upstream};
use camwire_minimq::{
    CameraClient, ClientConfig, ClientEvent, ConfigError, ConnectionError, Hooks, Network,
};
use camwire_mqtt::{
    ControlTopics, Device, Dialect, Discovery, Outputs, Prefix, Publishing, Retain, SessionConfig,
    Speed, Stats,
};
use embassy_time::{Duration, MockDriver};
use embedded_io_async::{ErrorType, Read, Write};

/// The time of the mock driver, which all tests of this process share.
static TURN: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy)]
struct MockClock;

impl Clock for MockClock {
    fn now(&self) -> Instant {
        Instant::from_micros(embassy_time::Instant::now().as_micros())
    }

    async fn sleep_until(&self, at: Instant) {
        let at = embassy_time::Instant::from_micros(at.as_micros());
        embassy_time::Timer::at(at).await;
    }
}

/// What is on its way in one direction.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<VecDeque<u8>>>);

impl Pipe {
    fn push(&self, bytes: &[u8]) {
        self.0.borrow_mut().extend(bytes);
    }

    /// A whole packet: its first byte, and what is behind its length.
    fn packet(&self) -> Option<(u8, Vec<u8>)> {
        let mut bytes = self.0.borrow_mut();
        let mut length = 0;
        for at in 1.. {
            let byte = *bytes.get(at)?;
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            if byte < 0x80 {
                let end = at + 1 + length;
                return (bytes.len() >= end).then(|| {
                    let packet: Vec<u8> = bytes.drain(..end).collect();
                    (packet[0], packet[at + 1..].to_vec())
                });
            }
        }
        None
    }
}

/// The camera's end of a connection.
struct Socket {
    incoming: Pipe,
    outgoing: Pipe,
    /// Bytes that the network takes from now on; `None` for any number.
    room: Rc<RefCell<Option<usize>>>,
}

impl ErrorType for Socket {
    type Error = Infallible;
}

impl Read for Socket {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        std::future::poll_fn(|_| {
            let mut bytes = self.incoming.0.borrow_mut();
            if bytes.is_empty() {
                return Poll::Pending;
            }
            let count = buf.len().min(bytes.len());
            buf[..count].fill_with(|| bytes.pop_front().unwrap());
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Socket {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        std::future::poll_fn(|_| {
            let mut room = self.room.borrow_mut();
            let count = room.unwrap_or(buf.len()).min(buf.len());
            if count == 0 {
                return Poll::Pending;
            }
            *room = room.map(|room| room - count);
            self.outgoing.push(&buf[..count]);
            Ok(count).into()
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A network where each attempt to connect gets the next of these.
struct Sockets(Rc<RefCell<VecDeque<Option<Socket>>>>);

impl Network for Sockets {
    type Transport<'t> = Socket;

    async fn connect(&mut self) -> Option<(Socket, Option<Ipv4Addr>)> {
        let next = self.0.borrow_mut().pop_front().flatten();
        next.map(|socket| (socket, Some([192, 168, 1, 7].into())))
    }
}

/// What the camera has sent, and what is sent to it.
#[derive(Default)]
struct Broker {
    from_camera: Pipe,
    to_camera: Pipe,
    room: Rc<RefCell<Option<usize>>>,
    /// Bytes of the largest packet that it takes, if there is a limit.
    largest: Option<u32>,
    connections: usize,
    /// The filters, by packet.
    subscriptions: Vec<Vec<String>>,
    /// The packets that are not confirmed yet.
    unconfirmed: VecDeque<Vec<u8>>,
    published: Vec<(String, Vec<u8>)>,
}

impl Broker {
    fn socket(&self) -> Socket {
        let (incoming, outgoing) = (self.to_camera.clone(), self.from_camera.clone());
        Socket { incoming, outgoing, room: Rc::clone(&self.room) }
    }

    fn handle(&mut self) {
        while let Some((kind, packet)) = self.from_camera.packet() {
            if let Some(largest) = self.largest {
                assert!(packet.len() + 2 <= largest as usize, "a packet that is too large");
            }
            match kind {
                0x10 => {
                    self.connections += 1;
                    let limit = self.largest.map(u32::to_be_bytes);
                    let limit = limit.map(|limit| [&[0x27][..], &limit].concat());
                    let properties = limit.unwrap_or_default();
                    let length = properties.len() as u8;
                    self.to_camera.push(&[0x20, 3 + length, 0, 0, length]);
                    self.to_camera.push(&properties);
                }
                0x82 => {
                    let (id, mut rest) = (&packet[..2], &packet[3..]);
                    assert_eq!(packet[2], 0, "no properties");
                    let mut filters = Vec::new();
                    while !rest.is_empty() {
                        let (filter, after) = text(rest);
                        assert_eq!(after[0], 0, "quality of service 0, and no other option");
                        filters.push(filter);
                        rest = &after[1..];
                    }
                    let granted = vec![0; filters.len()];
                    let length = 3 + filters.len() as u8;
                    let answer = [&[0x90, length], id, &[0], &granted].concat();
                    self.subscriptions.push(filters);
                    self.unconfirmed.push_back(answer);
                }
                0x30 | 0x31 => {
                    let (topic, rest) = text(&packet);
                    self.published.push((topic, rest[1..].to_vec()));
                }
                0xC0 => self.to_camera.push(&[0xD0, 0]),
                kind => panic!("a packet {kind:#x}"),
            }
        }
    }

    fn confirm(&mut self) {
        for answer in self.unconfirmed.drain(..) {
            self.to_camera.push(&answer);
        }
    }

    fn publish(&self, topic: &str, payload: &[u8], retained: bool) {
        let length = 2 + topic.len() + 1 + payload.len();
        assert!(length < 128, "one byte is enough");
        self.to_camera.push(&[0x30 | u8::from(retained), length as u8, 0, topic.len() as u8]);
        self.to_camera.push(topic.as_bytes());
        self.to_camera.push(&[0]);
        self.to_camera.push(payload);
    }

    /// What was published to a topic.
    fn payloads(&self, topic: &str) -> Vec<&[u8]> {
        let all = self.published.iter().filter(|(name, _)| name == topic);
        all.map(|(_, payload)| &payload[..]).collect()
    }

    /// The same, as texts.
    fn texts(&self, topic: &str) -> Vec<&str> {
        self.payloads(topic).into_iter().map(|text| std::str::from_utf8(text).unwrap()).collect()
    }
}

fn text(bytes: &[u8]) -> (String, &[u8]) {
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (text, rest) = rest.split_at(u16::from_be_bytes(*length).into());
    (String::from_utf8(text.to_vec()).unwrap(), rest)
}

/// What happened, and what the motors do.
#[derive(Default)]
struct Log {
    events: Vec<ClientEvent>,
    motors: Vec<[i16; 2]>,
}

#[derive(Clone, Default)]
struct Firmware(Rc<RefCell<Log>>);

impl Hooks for Firmware {
    fn drive(&mut self, outputs: Outputs) {
        let speeds = outputs.speeds.map(Speed::as_thousandths);
        self.0.borrow_mut().motors.push(speeds);
    }

    fn fill_stats(&self, stats: &mut Stats) {
        stats.viewers = Some(3);
    }

    fn log(&mut self, event: ClientEvent) {
        self.0.borrow_mut().events.push(event);
    }
}

/// What a test has at hand each time that the camera waits.
struct Scene<'s> {
    broker: &'s mut Broker,
    publisher: &'s mut FramePublisher<'static>,
    status: &'s SourceStatus,
    sockets: &'s RefCell<VecDeque<Option<Socket>>>,
    log: &'s RefCell<Log>,
}

impl Scene<'_> {
    fn capture(&mut self, frame: &[u8]) {
        let mut grant = self.publisher.try_grant().unwrap();
        grant[..frame.len()].copy_from_slice(frame);
        let (len, captured_at) = (frame.len(), MockClock.now());
        let info =
            FrameInfo { len, width: 1, height: 1, captured_at, upstream: Upstream::default() };
        assert!(self.publisher.commit(grant, len, info).is_ok());
    }

    fn is_wanted(&self) -> bool {
        self.publisher.has_demand()
    }
}

fn pass(ms: u64) {
    MockDriver::get().advance(Duration::from_millis(ms));
}

/// Runs a camera with so much memory for packets. `script` is called each time that the camera
/// waits, until it returns true.
fn run(
    config: ClientConfig<'_>,
    packet_bytes: usize,
    mut broker: Broker,
    mut script: impl FnMut(&mut Scene<'_>) -> bool,
) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let ring = FrameRing::leak(3, 4096, 2, Policy::DropOldest).unwrap();
    let mut publisher = ring.publisher().unwrap();
    let (settings, status) = (Settings::new(), SourceStatus::new("test"));
    let sockets = Rc::new(RefCell::new(VecDeque::from([Some(broker.socket())])));
    let (mut network, mut hooks) = (Sockets(Rc::clone(&sockets)), Firmware::default());
    let log = Rc::clone(&hooks.0);
    let mut packet = vec![0; packet_bytes];
    let mut camera = CameraClient::new(ring, &settings, MockClock, config).unwrap();
    camera.set_status(&status);
    let running = camera.run(&mut network, &mut hooks, &mut packet);
    // It is on the stack of a task or thread. On a board it is about two thirds of that.
    assert!(size_of_val(&running) < 8192, "{}", size_of_val(&running));
    let mut running = pin!(running);
    for _ in 0..2000 {
        let polled = running.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "{polled:?}");
        broker.handle();
        let (publisher, broker) = (&mut publisher, &mut broker);
        let mut scene = Scene { broker, publisher, status: &status, sockets: &sockets, log: &log };
        if script(&mut scene) {
            return;
        }
    }
    panic!("it does not come to an end: {:?}", broker.published);
}

fn prefix(text: &str) -> Prefix<'_> {
    Prefix::new(text).unwrap()
}

fn framed(text: &str) -> ClientConfig<'_> {
    let mut config = SessionConfig::new(prefix(text));
    config.framed = Some(1);
    ClientConfig::new(config)
}

fn whole(text: &str) -> ClientConfig<'_> {
    let mut config = SessionConfig::new(prefix(text));
    config.whole = Some(Retain::No);
    ClientConfig::new(config)
}

fn expected(config: &ClientConfig<'_>) -> Vec<String> {
    let topics = ControlTopics::new(config.session.control, config.session.dialect);
    topics.filters().map(|filter| filter.to_string()).collect()
}

/// Everything is subscribed to, packet after packet. Returns the packets.
fn subscriptions(
    config: ClientConfig<'_>,
    packet_bytes: usize,
    largest: Option<u32>,
) -> Vec<Vec<String>> {
    let expected = expected(&config);
    let mut subscriptions = Vec::new();
    run(config, packet_bytes, Broker { largest, ..Broker::default() }, |scene| {
        let is_wanted = scene.is_wanted();
        let broker = &mut *scene.broker;
        assert!(broker.unconfirmed.len() <= 1, "one after another");
        let all: Vec<_> = broker.subscriptions.iter().flatten().collect();
        if all.len() < expected.len() || !broker.unconfirmed.is_empty() {
            assert!(!is_wanted, "frames need the memory that is not free yet");
            broker.confirm();
            return false;
        }
        subscriptions.clone_from(&broker.subscriptions);
        is_wanted
    });
    assert_eq!(subscriptions.concat(), expected);
    subscriptions
}

#[test]
fn command_topics_are_subscribed_to_eight_at_once() {
    let packets = subscriptions(framed("camwire/camera"), 4096, None);
    assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 8, 8, 4]);
    let mut config = framed("esp32cam/50");
    (config.session.control, config.session.dialect) = (prefix("esp32auto/50"), Dialect::Esp32Cam);
    let packets = subscriptions(config, 4096, None);
    assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [8, 2]);
}

#[test]
fn fewer_topics_are_subscribed_to_at_once_where_packets_are_small() {
    // The longest prefix for which there is a last will.
    let long = "a".repeat(121);
    let mut config = framed(&long);
    config.client_id = "camera";
    for (packet_bytes, largest, most) in
        [(4096, None, 4), (700, None, 3), (4096, Some(400), 3), (4096, Some(200), 1)]
    {
        let packets = subscriptions(config, packet_bytes, largest);
        let len = packets.iter().map(Vec::len).max();
        assert!(len <= Some(most), "{len:?} with {packet_bytes} and {largest:?}");
    }
    for packet_bytes in [220, 256, 300] {
        subscriptions(framed("camwire/camera"), packet_bytes, None);
    }
}

#[test]
fn configuration_that_cannot_work_is_an_error() {
    let long = "a".repeat(122);
    let mut prefix_too_long = framed(&long);
    prefix_too_long.client_id = "camera";
    let client_too_long = framed(&long[..100]);
    for (config, packet_bytes, is_expected) in [
        (prefix_too_long, 4096, (|e| e == ConfigError::PrefixTooLong) as fn(ConfigError) -> bool),
        (client_too_long, 4096, |e| e == ConfigError::ClientIdTooLong),
        (framed("cam"), 20, |e| matches!(e, ConfigError::Packet(_))),
    ] {
        let ring = FrameRing::leak(2, 64, 1, Policy::DropOldest).unwrap();
        let settings = Settings::new();
        let mut camera = CameraClient::new(ring, &settings, MockClock, config).unwrap();
        let mut network = Sockets(Rc::default());
        let (mut hooks, mut packet) = ((), vec![0; packet_bytes]);
        let mut running = pin!(camera.run(&mut network, &mut hooks, &mut packet));
        let polled = running.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = polled else { panic!("it runs") };
        assert!(is_expected(error), "{error}");
    }
}

#[test]
fn messages_on_other_topics_get_no_reply() {
    let config = framed("cam");
    let all = expected(&config).len();
    let mut is_sent = false;
    run(config, 4096, Broker::default(), |scene| {
        let broker = &mut *scene.broker;
        broker.confirm();
        if broker.subscriptions.concat().len() < all {
            return false;
        }
        if !is_sent {
            is_sent = true;
            for topic in ["cam/camera/frame", "cam/set/nonsense", "cam/frame", "cam", "set/fps"] {
                for retained in [false, true] {
                    broker.publish(topic, b"1", retained);
                }
            }
            broker.publish("cam/set/fps", b"many", false);
            broker.publish("cam/camera/shot", b"", true);
            broker.publish("cam/set/quality", b"12", false);
        }
        let refused = broker.texts("cam/refused");
        refused.len() == 3 && {
            let expected = [
                "cam/set/fps: fps is a number from 0.001 to 1000",
                "cam/camera/shot: it was retained, and only settings may be",
                "cam/set/quality: there is no source",
            ];
            assert_eq!(refused, expected);
            true
        }
    });
}

#[test]
fn frames_arrive_whole_as_long_as_they_are_wanted() {
    let mut config = whole("cam");
    config.session.publishing = Publishing::Off;
    let frame = [0xA5; 3000];
    let mut step = 0;
    run(config, 4096, Broker::default(), |scene| {
        scene.broker.confirm();
        let images = scene.broker.payloads("cam/image").len();
        match step {
            0 if scene.broker.subscriptions.concat().len() == 36 => {
                assert!(!scene.is_wanted());
                scene.broker.publish("cam/camera/shot", b"", false);
                step = 1;
            }
            1 if scene.is_wanted() => {
                pass(1);
                scene.capture(&frame);
                step = 2;
            }
            2 if images == 1 && !scene.is_wanted() => {
                scene.broker.publish("cam/camera/stream/set", b"on", false);
                step = 3;
            }
            3 if scene.is_wanted() => {
                scene.capture(&frame);
                step = 4;
            }
            4 if images == 2 => {
                assert_eq!(scene.broker.payloads("cam/image"), [frame, frame]);
                assert_eq!(
                    scene.broker.texts("cam/state"),
                    [r#"{"publishing":false}"#, r#"{"publishing":true}"#]
                );
                return true;
            }
            _ => {}
        }
        false
    });
}

#[test]
fn packets_become_smaller_until_the_broker_takes_them() {
    let broker = Broker { largest: Some(700), ..Broker::default() };
    run(framed("cam"), 4096, broker, |scene| {
        scene.broker.confirm();
        if scene.is_wanted() {
            scene.capture(&[1; 3000]);
        }
        let sizes: Vec<_> = scene.broker.payloads("cam/frame").iter().map(|p| p.len()).collect();
        sizes.len() >= 6 && {
            assert!(sizes.iter().all(|size| *size < 700), "{sizes:?}");
            true
        }
    });
}

#[test]
fn discovery_needs_no_more_than_a_whole_frame() {
    let mut config = whole("camwire/esp32-0a1b2c");
    let mut device = Device::new(prefix("homeassistant"), config.session.prefix);
    device.web_port = Some(80);
    config.session.discovery = Discovery::Announce(device);
    run(config, 4096, Broker::default(), |scene| {
        scene.broker.confirm();
        let stats = scene.broker.texts("camwire/esp32-0a1b2c/stats");
        stats == [r#"{"fps":0,"viewers":3}"#] && {
            let id = "camwire_camwire__esp32-0a1b2c";
            let camera = scene.broker.texts(&format!("homeassistant/camera/{id}/config"));
            assert!(camera[0].contains("http://192.168.1.7/"), "{camera:?}");
            let filters = scene.broker.subscriptions.concat();
            filters.contains(&"homeassistant/status".to_owned())
        }
    });
}

#[test]
fn motors_turn_after_a_heartbeat_and_stop_without_one() {
    let mut config = framed("cam");
    config.session.has_motors = true;
    let mut step = 0;
    run(config, 4096, Broker::default(), |scene| {
        scene.broker.confirm();
        let motors = scene.log.borrow().motors.clone();
        match step {
            0 if scene.broker.subscriptions.concat().len() == 36 => {
                scene.broker.publish("cam/motor/deadman/heartbeat", b"", false);
                scene.broker.publish("cam/motor/speed/a", b"0.5", false);
                step = 1;
            }
            1 if motors == [[500, 0]] => {
                // Not even a broker that takes nothing keeps them from it.
                *scene.broker.room.borrow_mut() = Some(0);
                scene.broker.publish("cam/set/fps", b"wrong", false);
                step = 2;
            }
            2 => {
                pass(999);
                step = 3;
            }
            3 => {
                assert_eq!(motors, [[500, 0]]);
                pass(1);
                step = 4;
            }
            4 if motors.len() > 1 => {
                assert_eq!(motors, [[500, 0], [0, 0]]);
                return true;
            }
            _ => {}
        }
        false
    });
}

#[test]
fn broker_that_takes_nothing_is_given_up_and_one_that_is_slow_is_not() {
    let mut begun = None;
    let mut is_slow = true;
    run(whole("cam"), 4096, Broker::default(), |scene| {
        scene.broker.confirm();
        let now = MockClock.now();
        if scene.is_wanted() && begun.is_none() {
            *scene.broker.room.borrow_mut() = Some(0);
            scene.capture(&[1; 3000]);
            begun = Some(now);
        }
        let Some(begun) = begun else { return false };
        pass(1000);
        let lost = ClientEvent::Disconnected(ConnectionError::Stalled);
        if is_slow {
            // A quarter of a kilobyte each second: 12 s for the frame.
            *scene.broker.room.borrow_mut() = Some(256);
            assert_eq!(scene.log.borrow().events, [ClientEvent::Connected]);
            if scene.broker.payloads("cam/image").len() == 1 {
                assert!(now.saturating_since(begun).as_secs() >= 10);
                is_slow = false;
                *scene.broker.room.borrow_mut() = Some(0);
                scene.capture(&[2; 3000]);
            }
            return false;
        }
        scene.log.borrow().events.contains(&lost)
    });
}

#[test]
fn lost_connection_is_made_again_and_everything_is_published_again() {
    // Not before its turn, since all tests share the clock.
    let mut start = None;
    run(framed("cam"), 4096, Broker::default(), |scene| {
        let start = *start.get_or_insert_with(|| MockClock.now());
        scene.broker.confirm();
        if scene.is_wanted() && scene.broker.connections == 1 {
            // The broker closes the connection: a DISCONNECT packet.
            scene.broker.to_camera.push(&[0xE0, 2, 0x8B, 0]);
            let socket = scene.broker.socket();
            scene.sockets.borrow_mut().extend([None, None, None, Some(socket)]);
        }
        if scene.log.borrow().events.len() > 1 {
            pass(50);
        }
        let is_back = scene.broker.connections == 2
            && scene.broker.texts("cam/status") == ["online", "online"];
        is_back && {
            let events = &scene.log.borrow().events;
            let lost = ClientEvent::Disconnected(ConnectionError::Unreachable);
            assert_eq!(events.iter().filter(|event| **event == lost).count(), 3);
            let pause = MockClock.now().saturating_since(start).as_millis();
            assert!(pause < 5000, "{pause}");
            true
        }
    });
}

#[test]
fn source_that_gives_no_frames_is_reported_as_offline() {
    let mut step = 0;
    run(framed("cam"), 4096, Broker::default(), |scene| {
        scene.broker.confirm();
        let sources = scene.broker.texts("cam/source").len();
        match step {
            0 if sources == 1 => {
                scene.status.starting(MockClock.now());
                step = 1;
            }
            1 if sources == 1 => pass(500),
            1 => {
                let info = FrameInfo {
                    len: 1,
                    width: 1,
                    height: 1,
                    captured_at: MockClock.now(),
                    upstream: Upstream::default(),
                };
                scene.status.published(&info, None, MockClock.now());
                step = 2;
            }
            2 if sources == 2 => pass(100),
            2 => {
                assert_eq!(scene.broker.texts("cam/source"), ["online", "offline", "online"]);
                return true;
            }
            _ => {}
        }
        false
    });
}
