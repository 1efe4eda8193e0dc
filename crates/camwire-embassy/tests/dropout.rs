//! A camera's link goes away, and comes back: with the same address, with another, or too late.

mod network;

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::MutexGuard;
use std::time::Duration;

#[cfg(feature = "mqtt")]
use camwire_capture::Settings;
use camwire_capture::{Follow, FrameRing, Policy, SourceStatus};
#[cfg(feature = "mqtt")]
use camwire_embassy::Broker;
use camwire_embassy::{EmbassyClock, HeldLink, Link, LinkClock, serve};
#[cfg(feature = "push")]
use camwire_embassy::{PushMemory, push};
use camwire_frame::{Clock, Random};
#[cfg(feature = "mqtt")]
use camwire_minimq::{CameraClient, ClientConfig};
#[cfg(feature = "mqtt")]
use camwire_mqtt::{Prefix, SessionConfig};
#[cfg(feature = "push")]
use camwire_server::Push;
use camwire_server::{Config, Server, ViewerSlot};
#[cfg(feature = "push")]
use camwire_websocket::{ServerHandshake, Uri};
use embassy_net::Stack;
use embassy_net::tcp::Error;
#[cfg(any(feature = "mqtt", feature = "push"))]
use embassy_net::tcp::TcpSocket;
use smoltcp::wire::{DhcpMessageType, TcpPacket, TcpSeqNumber};

use network::dhcp::{self, Manners};
use network::{
    Afterwards, Client, FRAME_BYTES, Hub, Tasks, address_of, camera, is_tcp, is_to, payload,
    static_config,
};

const CAMERA: u8 = 1;
const CLIENT: u8 = 2;
const ROUTER: u8 = 9;
const OTHER_ROUTER: u8 = 10;

const READERS: usize = 4;

const FIRST: Ipv4Addr = address_of(CAMERA);
const OTHER: Ipv4Addr = address_of(77);

/// A viewer that only listens is to know within this time after the link is back.
const VISIBLE: Duration = Duration::from_secs(5);
/// And a stream that goes on does so within this, on a network without delay.
const AT_ONCE: Duration = Duration::from_millis(50);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn stream_survives_a_dropout_if_the_address_is_the_same() {
    for (outage, before) in
        [1, 2, 3, 5, 10, 20, 29].map(seconds).into_iter().zip([0, 5, 30, 95, 250, 700, 1000])
    {
        let mut world = World::new();
        let viewer = world.watch();
        world.advance(seconds(2) + millis(before));
        let seen = viewer.assert_whole();
        world.link_down();
        world.advance(outage);
        let len = viewer.received_len();
        world.link_up();
        world.within(AT_ONCE, "the stream goes on", || viewer.received_len() > len);
        world.advance(seconds(5));
        let now_seen = viewer.assert_whole();
        assert!(now_seen >= seen + 45, "{now_seen} frames after {seen}, outage {outage:?}");
        assert_eq!(viewer.ending(), None);
        assert_eq!(world.camera.config_v4().unwrap().address.address(), FIRST);
    }
}

#[test]
fn stream_goes_on_at_once_though_packets_were_lost_before_the_link_was() {
    // For so long nothing arrives; for so long the driver knows that the link is down.
    for (silence, outage) in [(500, 20), (1200, 300), (6000, 700), (7500, 1000), (9000, 100)] {
        let mut world = World::new();
        let viewer = world.watch();
        world.advance(seconds(2));
        world.lose_everything();
        world.advance(millis(silence));
        world.link_down();
        world.advance(millis(outage));
        let len = viewer.received_len();
        world.lose_nothing();
        world.link_up();
        world.within(AT_ONCE, "the stream goes on", || viewer.received_len() > len);
        world.advance(seconds(2));
        viewer.assert_whole();
        assert_eq!(viewer.ending(), None);
    }
}

#[test]
fn stream_survives_many_dropouts_in_a_row() {
    let mut world = World::new();
    let viewer = world.watch();
    world.advance(seconds(1));
    for (up, down) in [(5, 3000), (10, 4000), (0, 2500), (300, 9000), (20, 9000), (15, 300)] {
        // What is sent in these short times is lost.
        world.lose_everything();
        world.advance(millis(up));
        world.link_down();
        world.advance(millis(down));
        world.link_up();
    }
    world.lose_nothing();
    world.link_down();
    world.advance(millis(50));
    let len = viewer.received_len();
    world.link_up();
    world.within(AT_ONCE, "the stream goes on", || viewer.received_len() > len);
    world.advance(seconds(3));
    viewer.assert_whole();
    assert_eq!(viewer.ending(), None);
}

#[test]
fn viewer_sees_the_end_if_the_address_is_another() {
    for manners in [Manners::Strict, Manners::Careless] {
        for outage in [millis(100), seconds(1), seconds(10), seconds(29)] {
            let mut world = World::new();
            let viewers = [world.watch(), world.watch()];
            world.advance(seconds(2));
            world.link_down();
            world.dhcp.borrow_mut().gives = OTHER;
            world.dhcp.borrow_mut().manners = manners;
            world.advance(outage);
            world.link_up();
            world.within(VISIBLE, "both see it", || {
                viewers.iter().all(|viewer| viewer.ending() == Some(Err(Error::ConnectionReset)))
            });
            world.advance(VISIBLE);
            assert_eq!(world.camera.config_v4().unwrap().address.address(), OTHER);
            // Both places are free, and the server is at the new address.
            let viewers = [world.watch_at(OTHER), world.watch_at(OTHER)];
            world.advance(seconds(1));
            assert!(viewers.iter().all(|viewer| viewer.frames() > 5));
        }
    }
}

#[test]
fn silent_server_is_asked_until_it_answers_and_meanwhile_the_stream_goes_on() {
    for (gives, ending) in [(FIRST, None), (OTHER, Some(Err(Error::ConnectionReset)))] {
        let mut world = World::new();
        let viewer = world.watch();
        world.advance(seconds(2));
        world.link_down();
        world.dhcp.borrow_mut().manners = Manners::Silent;
        world.advance(seconds(3));
        world.link_up();
        let frames = viewer.frames();
        world.dhcp.borrow_mut().asked.clear();
        world.advance(seconds(20));
        assert!(viewer.frames() > frames + 190);
        let asked = world.dhcp.borrow().asked.len();
        assert!((3..8).contains(&asked), "asked {asked} times");
        world.dhcp.borrow_mut().manners = Manners::Strict;
        world.dhcp.borrow_mut().gives = gives;
        world.advance(seconds(40));
        assert_eq!(viewer.ending(), ending, "{gives}");
        if ending.is_none() {
            // It has got its answer, and asks no more.
            world.dhcp.borrow_mut().asked.clear();
            world.advance(seconds(100));
            assert_eq!(world.dhcp.borrow().asked, []);
        }
    }
}

#[test]
fn another_server_may_offer_what_it_likes_if_one_has_the_same_address() {
    let mut world = World::new();
    let viewer = world.watch();
    world.advance(seconds(2));
    // Its offer comes first, since it was plugged in before.
    world.other_dhcp.borrow_mut().manners = Manners::Strict;
    world.dropout(seconds(2));
    world.advance(seconds(10));
    viewer.assert_whole();
    assert_eq!(viewer.ending(), None);
    assert_eq!(world.camera.config_v4().unwrap().address.address(), FIRST);

    world.dhcp.borrow_mut().manners = Manners::Silent;
    world.dropout(seconds(2));
    world.within(VISIBLE, "the viewer sees it", || viewer.ending().is_some());
}

#[test]
fn confirmed_lease_lasts_as_if_it_were_new() {
    let mut world = World::new();
    world.advance(seconds(2));
    world.dhcp.borrow_mut().asked.clear();
    world.dropout(seconds(2));
    world.advance(seconds(1));
    let kinds = |world: &World| world.dhcp.borrow().asked.iter().map(|(kind, _)| *kind).collect();
    let asked: Vec<_> = kinds(&world);
    assert_eq!(asked, [DhcpMessageType::Discover, DhcpMessageType::Request]);
    // The stack renews it half an hour after that, not after the first answer.
    world.dhcp.borrow_mut().asked.clear();
    world.jump(seconds(1796));
    assert_eq!(world.dhcp.borrow().asked, []);
    world.jump(seconds(10));
    assert_eq!(kinds(&world) as Vec<_>, [DhcpMessageType::Request]);
}

#[test]
fn viewer_sees_the_end_if_the_address_is_not_renewed() {
    for manners in [Manners::Strict, Manners::Careless] {
        let mut world = World::with_lease(40);
        let viewer = world.watch();
        world.advance(seconds(10));
        world.dhcp.borrow_mut().gives = OTHER;
        world.dhcp.borrow_mut().manners = manners;
        // Half of the lease's time is over.
        world.within(seconds(11), "the viewer sees it", || viewer.ending().is_some());
        assert_eq!(viewer.ending(), Some(Err(Error::ConnectionReset)));
        world.advance(VISIBLE);
        assert_eq!(world.camera.config_v4().unwrap().address.address(), OTHER);
    }
}

/// The stack may notice that before a server confirms the address, or not.
#[test]
fn no_viewer_waits_for_ever_if_the_lease_ends_while_the_link_is_down() {
    for (gives, outage) in [(FIRST, 12), (FIRST, 25), (OTHER, 12), (OTHER, 25)] {
        let mut world = World::with_lease(20);
        let viewer = world.watch();
        world.advance(seconds(9));
        world.link_down();
        world.dhcp.borrow_mut().gives = gives;
        world.advance(seconds(outage));
        let len = viewer.received_len();
        world.link_up();
        world.within(VISIBLE, "the viewer sees what has become of it", || {
            viewer.ending().is_some() || (gives == FIRST && viewer.received_len() > len)
        });
        world.advance(VISIBLE);
        assert!(viewer.ending().is_some() || viewer.received_len() > len + 40 * FRAME_BYTES);
        viewer.assert_whole();
        assert_eq!(world.camera.config_v4().unwrap().address.address(), gives);
    }
}

#[test]
fn viewer_sees_the_end_if_the_lease_ends_while_no_server_answers() {
    let mut world = World::with_lease(40);
    let viewer = world.watch();
    world.advance(seconds(10));
    world.dhcp.borrow_mut().manners = Manners::Silent;
    world.advance(seconds(28));
    assert_eq!(viewer.ending(), None);
    world.within(VISIBLE, "the viewer sees it", || viewer.ending().is_some());
}

#[test]
fn connections_end_when_the_link_is_away_for_longer_than_the_hold_time() {
    let mut world = World::new();
    let viewer = world.watch();
    world.advance(seconds(2));
    world.link_down();
    world.advance(seconds(29));
    assert_eq!(world.viewers(), 1);
    world.advance(seconds(2));
    assert_eq!(world.viewers(), 0, "its place is free while the link is down");
    world.advance(seconds(600));
    assert_eq!(viewer.ending(), None);
    world.link_up();
    world.within(VISIBLE, "the viewer sees it", || viewer.ending().is_some());
    assert_eq!(viewer.ending(), Some(Err(Error::ConnectionReset)));
    let viewer = world.watch();
    world.advance(seconds(1));
    assert!(viewer.frames() > 5, "the server is there");
}

#[test]
fn hold_time_is_the_firmwares() {
    for (hold, outage, survives) in [(0, 1, false), (5, 4, true), (5, 6, false), (90, 80, true)] {
        let mut world = World::build(Link::with_hold(seconds(hold)), Addressing::Dhcp, 3600);
        let viewer = world.watch();
        world.advance(seconds(2));
        world.dropout(seconds(outage));
        world.advance(VISIBLE);
        assert_eq!(viewer.ending().is_none(), survives, "{hold} s held, {outage} s away");
    }
}

#[test]
fn static_address_holds_its_connections_as_well() {
    let mut world = World::with_static_address();
    let viewer = world.watch();
    world.advance(seconds(2));
    for outage in [1, 10, 20] {
        world.link_down();
        world.advance(seconds(outage));
        assert!(!world.camera.is_link_up(), "the stack sees it");
        let len = viewer.received_len();
        world.link_up();
        world.within(AT_ONCE, "the stream goes on", || viewer.received_len() > len);
        world.advance(seconds(2));
        viewer.assert_whole();
    }
    assert_eq!(viewer.ending(), None);
    world.dropout(seconds(40));
    world.within(VISIBLE, "the viewer sees it", || viewer.ending().is_some());
    assert_eq!(world.dhcp.borrow().asked, [], "there is no DHCP here");
}

#[test]
fn dropout_while_the_address_is_asked_for_at_the_start() {
    // Between any two messages, and before and after all.
    for lost_at in 0..=4 {
        let mut world = World::build_down(Link::new());
        let hub = world.hub.clone();
        let messages = Rc::new(RefCell::new(0));
        let count = messages.clone();
        world.hub.borrow_mut().lose(move |_, packet| {
            *count.borrow_mut() += usize::from(is_dhcp(packet));
            *count.borrow() > lost_at
        });
        hub.borrow_mut().set_link(CAMERA, true);
        world.advance(millis(200));
        world.link_down();
        world.lose_nothing();
        world.advance(seconds(3));
        world.link_up();
        let camera = world.camera;
        world.within(seconds(1), "there is an address", || camera.is_config_up());
        let viewer = world.watch();
        world.advance(seconds(1));
        assert!(viewer.frames() > 5, "lost at {lost_at}");
    }
}

#[test]
fn dropout_while_a_viewer_connects_or_has_not_asked_yet() {
    for lost_at in 1..8 {
        for outage in [seconds(1), seconds(8)] {
            let mut world = World::new();
            world.advance(seconds(2));
            let packets = Rc::new(RefCell::new(0));
            let count = packets.clone();
            world.hub.borrow_mut().lose(move |_, packet| {
                *count.borrow_mut() += usize::from(is_tcp(packet));
                is_tcp(packet) && *count.borrow() >= lost_at
            });
            let viewer = world.watch();
            world.advance(millis(20));
            world.link_down();
            world.lose_nothing();
            world.advance(outage);
            world.link_up();
            // The client sends again when its own timeout, twice as long each time, is over.
            world.within(outage + seconds(2), "it is served", || viewer.frames() > 0);
            world.advance(seconds(1));
            viewer.assert_whole();
        }
    }
}

#[test]
fn silent_client_keeps_the_time_that_it_has_left() {
    // It has 10 s for its request.
    let mut world = World::new();
    world.connect(FIRST, None);
    world.connect(FIRST, None);
    world.advance(seconds(6));
    world.dropout(seconds(15));
    assert!(world.try_capture().is_none(), "both sockets are taken");
    world.advance(seconds(40));
    assert!(world.try_capture().is_some(), "both sockets are free");
}

#[test]
fn viewer_that_is_gone_is_dropped_after_the_dropout() {
    let mut world = World::new();
    let viewer = world.watch();
    world.advance(seconds(2));
    world.link_down();
    world.advance(seconds(9));
    world.link_up();
    world.lose_nothing();
    world.hub.borrow_mut().lose(|from, packet| from == CLIENT || is_to(packet, CLIENT));
    world.advance(seconds(8));
    assert_eq!(world.viewers(), 1, "it has time to come back");
    world.advance(seconds(22));
    assert_eq!(world.viewers(), 0);
    drop(viewer);
}

#[test]
fn deadline_moves_by_the_outage_and_the_recovery_after_it() {
    // In seconds: when it is set and for when, from when to when the link is down, when it is over.
    for (set_at, at, outages, over_at) in [
        (0, 10, &[][..], 10),
        (0, 10, &[(12, 14)], 10),
        (0, 10, &[(5, 9)], 18),
        (0, 10, &[(5, 40)], 75),
        (0, 10, &[(2, 4), (6, 7)], 16),
        (0, 10, &[(9, 11), (13, 14)], 16),
        (6, 10, &[(5, 9)], 13),
        (6, 16, &[(5, 9), (10, 12)], 23),
        (10, 15, &[(5, 9)], 15),
        // It is over already.
        (6, 5, &[(4, 20)], 6),
    ] {
        let mut world = World::new();
        let begin = EmbassyClock.now();
        let (clock, over) = (world.link.clock(), Rc::new(Cell::new(None)));
        for second in 0..90 {
            for (down, up) in outages {
                if second == *down {
                    world.link_down();
                }
                if second == *up {
                    world.link_up();
                }
            }
            if second == set_at {
                let over = over.clone();
                world.tasks.spawn(async move {
                    clock.deadline(begin + seconds(at)).await;
                    over.set(Some(clock.now().saturating_since(begin)));
                });
            }
            world.advance(seconds(1));
        }
        assert_eq!(over.get(), Some(seconds(over_at)), "{set_at}, {at}, {outages:?}");
    }
}

/// A peer that follows RFC 5961 (section 3.2) accepts a reset only with the number that it expects
/// next. If it has another number of the window, the peer asks.
#[test]
fn strict_peer_sees_the_end_however_much_it_has_got() {
    // So many of the last segments before the dropout have arrived, and no acknowledgement.
    for arrived in 0..=4 {
        let mut world = World::new();
        let viewer = world.watch();
        let expected = Rc::new(Cell::new(0));
        let latest = expected.clone();
        let (mut segments, begin) = (0, EmbassyClock.now() + seconds(2));
        world.hub.borrow_mut().lose(move |from, packet| {
            if from == CLIENT && is_tcp(packet) {
                latest.set(acknowledgement(packet));
                return segments > 0;
            }
            segments += usize::from(payload(packet) > 0 && EmbassyClock.now() >= begin);
            segments > arrived
        });
        world.advance(millis(2200));
        world.link_down();
        world.dhcp.borrow_mut().gives = OTHER;
        world.advance(seconds(2));

        // What is sent again is lost, so that the two do not agree before the end.
        let questions = Rc::new(RefCell::new(Vec::new()));
        let asks = questions.clone();
        world.hub.borrow_mut().lose(move |from, packet| {
            if from == CAMERA && is_reset(packet) {
                let ahead = sequence(packet).wrapping_sub(expected.get());
                if ahead > 0 && ahead < 4096 {
                    asks.borrow_mut().push(question(packet, expected.get()));
                }
                return ahead != 0;
            }
            from == CAMERA && is_tcp(packet)
        });
        world.link_up();
        for _ in 0..1000 {
            world.advance(millis(5));
            for question in questions.borrow_mut().drain(..) {
                world.hub.borrow_mut().send(CLIENT, &question);
            }
        }
        assert_eq!(viewer.ending(), Some(Err(Error::ConnectionReset)), "{arrived} arrived");
    }
}

/// A camera that pushes to a relay keeps its connection.
#[cfg(feature = "push")]
#[test]
fn push_survives_a_dropout() {
    let mut world = World::new();
    let relay = Peer::default();
    world.tasks.spawn(relay.clone().relay(world.client));
    world.tasks.spawn(push_to_client(world.server, world.camera));
    world.advance(seconds(2));
    for outage in [1, 10, 25] {
        world.link_down();
        world.advance(seconds(outage));
        let len = relay.len();
        world.link_up();
        world.within(AT_ONCE, "the push goes on", || relay.len() > len);
        world.advance(seconds(2));
        assert!(relay.len() > len + 15 * FRAME_BYTES);
    }
    assert_eq!(relay.connections(), 1);
    // With another address it comes again by itself.
    world.dhcp.borrow_mut().gives = OTHER;
    world.dropout(seconds(10));
    world.within(VISIBLE, "it is connected again", || relay.connections() == 2);
    let len = relay.len();
    world.advance(seconds(2));
    assert!(relay.len() > len + 15 * FRAME_BYTES);
}

#[cfg(feature = "push")]
async fn push_to_client(server: &'static CameraServer, stack: Stack<'static>) {
    let uri = Uri::parse("ws://10.0.0.2:8080/ingest").unwrap();
    let memory = &mut PushMemory::<5760>::new();
    push(server, stack, Push::to(uri), memory, |_, _| {}).await;
}

/// A camera at a broker publishes again at once: over the same connection, or over another one when
/// the dropout was longer than the client waits for the broker.
#[cfg(feature = "mqtt")]
#[test]
fn camera_publishes_again_at_once_after_a_dropout() {
    let mut world = World::new();
    let broker = Peer::default();
    for _ in 0..2 {
        world.tasks.spawn(broker.clone().broker(world.client));
    }
    world.tasks.spawn(publish(world.ring, world.link, world.camera));
    world.advance(seconds(2));
    assert!(broker.len() > 10 * FRAME_BYTES);
    for outage in [1, 3, 10, 20] {
        world.link_down();
        world.advance(seconds(outage));
        let len = broker.len();
        world.link_up();
        world.within(seconds(2), "it publishes", || broker.len() > len + FRAME_BYTES);
        world.advance(seconds(2));
        assert!(broker.len() > len + 15 * FRAME_BYTES);
        if outage <= 3 {
            assert_eq!(broker.connections(), 1);
        }
    }
}

#[cfg(feature = "mqtt")]
async fn publish(ring: &'static FrameRing<'static>, link: &'static Link, stack: Stack<'static>) {
    let settings = Box::leak(Box::new(Settings::new()));
    let mut config = SessionConfig::new(Prefix::new("camera").unwrap());
    config.framed = Some(1);
    let camera = CameraClient::new(ring, settings, link.clock(), ClientConfig::new(config));
    let mut camera = camera.unwrap();
    let (mut received, mut sent) = ([0; 512], [0; 5760]);
    let mut broker = Broker::new(stack, address_of(CLIENT), 1883, &mut received, &mut sent);
    camera.run(&mut broker, &mut (), &mut [0; 4096]).await.unwrap();
}

/// What a camera connects to, at the client's end.
#[cfg(any(feature = "mqtt", feature = "push"))]
#[derive(Clone, Default)]
struct Peer(Rc<Cell<(usize, usize)>>);

#[cfg(any(feature = "mqtt", feature = "push"))]
impl Peer {
    /// How many bytes have come, and over how many connections.
    fn len(&self) -> usize {
        self.0.get().0
    }

    fn connections(&self) -> usize {
        self.0.get().1
    }

    async fn read(&self, socket: &mut TcpSocket<'_>, memory: &mut [u8]) -> Option<usize> {
        let count = socket.read(memory).await.ok().filter(|count| *count > 0)?;
        let (len, connections) = self.0.get();
        self.0.set((len + count, connections));
        Some(count)
    }

    async fn accept(&self, socket: &mut TcpSocket<'_>, port: u16) {
        socket.abort();
        socket.flush().await.unwrap();
        socket.accept(port).await.unwrap();
        let (len, connections) = self.0.get();
        self.0.set((len, connections + 1));
    }

    #[cfg(feature = "push")]
    async fn relay(self, stack: Stack<'static>) {
        let (mut received, mut sent, mut memory) = ([0; 4096], [0; 1024], [0; 1024]);
        let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
        loop {
            self.accept(&mut socket, 8080).await;
            let mut head = String::new();
            while let Some(count) = self.read(&mut socket, &mut memory).await {
                if head.ends_with("\r\n\r\n") {
                    continue;
                }
                head.push_str(str::from_utf8(&memory[..count]).unwrap());
                if head.ends_with("\r\n\r\n") {
                    let mut handshake = ServerHandshake::new(&[]);
                    for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
                        let (name, value) = line.split_once(": ").unwrap();
                        handshake.field(name.as_bytes(), value.as_bytes());
                    }
                    handshake.request_line(head.lines().next().unwrap().as_bytes());
                    let acceptance = handshake.finish().unwrap();
                    let answer = acceptance.response().concat();
                    assert_eq!(socket.write(&answer).await, Ok(answer.len()));
                }
            }
        }
    }

    /// Accepts every request, and does not look at what is published.
    #[cfg(feature = "mqtt")]
    async fn broker(self, stack: Stack<'static>) {
        let (mut received, mut sent, mut memory) = ([0; 4096], [0; 1024], [0; 1024]);
        let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
        loop {
            self.accept(&mut socket, 1883).await;
            let mut input = Vec::new();
            while let Some(count) = self.read(&mut socket, &mut memory).await {
                input.extend(&memory[..count]);
                while let Some((kind, body)) = take_message(&mut input) {
                    let answer = match kind >> 4 {
                        1 => vec![0x20, 3, 0, 0, 0],
                        8 => vec![0x90, 6, body[0], body[1], 0, 0, 0, 0],
                        12 => vec![0xD0, 0],
                        _ => continue,
                    };
                    if socket.write(&answer).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
}

/// The first whole MQTT message of `input`.
#[cfg(feature = "mqtt")]
fn take_message(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut len, mut at) = (0, 1);
    loop {
        let byte = usize::from(*input.get(at)?);
        len |= (byte & 127) << (7 * (at - 1));
        at += 1;
        if byte < 128 {
            break;
        }
    }
    (input.len() >= at + len).then(|| {
        let message: Vec<u8> = input.drain(..at + len).collect();
        (message[0], message[at..].to_vec())
    })
}

fn is_dhcp(packet: &[u8]) -> bool {
    packet[12..14] == [8, 0] && packet[23] == 17 && matches!(packet[37], 67 | 68)
}

fn is_reset(packet: &[u8]) -> bool {
    is_tcp(packet) && packet[47] & 4 != 0
}

fn sequence(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[38..42].try_into().unwrap())
}

fn acknowledgement(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[42..46].try_into().unwrap())
}

/// What a peer asks that has got this reset, and expects another number.
fn question(reset: &[u8], expects: u32) -> Vec<u8> {
    let mut packet = reset.to_vec();
    let mut swap = |a: usize, b: usize, len: usize| {
        packet[a..a + len].copy_from_slice(&reset[b..b + len]);
        packet[b..b + len].copy_from_slice(&reset[a..a + len]);
    };
    swap(0, 6, 6);
    swap(26, 30, 4);
    swap(34, 36, 2);
    let (from, to) = (Ipv4Addr::from_octets(packet[26..30].try_into().unwrap()), FIRST);
    let mut segment = TcpPacket::new_unchecked(&mut packet[34..]);
    segment.set_seq_number(TcpSeqNumber(acknowledgement(reset) as i32));
    segment.set_ack_number(TcpSeqNumber(expects as i32));
    segment.set_rst(false);
    segment.fill_checksum(&from.into(), &to.into());
    packet
}

type CameraServer = Server<'static, LinkClock<'static>>;

/// A camera with two sockets, on a link that can go away; a client, and DHCP servers.
struct World {
    tasks: Tasks,
    hub: Rc<RefCell<Hub>>,
    dhcp: dhcp::Shared,
    /// It offers another address, and is silent at first.
    other_dhcp: dhcp::Shared,
    camera: Stack<'static>,
    client: Stack<'static>,
    ring: &'static FrameRing<'static>,
    link: &'static Link,
    #[cfg_attr(not(feature = "push"), expect(dead_code))]
    server: &'static CameraServer,
    _alone: MutexGuard<'static, ()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Addressing {
    Dhcp,
    Static,
}

impl World {
    fn new() -> Self {
        Self::with_lease(3600)
    }

    fn with_lease(seconds: u32) -> Self {
        Self::build(Link::new(), Addressing::Dhcp, seconds)
    }

    fn with_static_address() -> Self {
        Self::build(Link::new(), Addressing::Static, 3600)
    }

    fn build(link: Link, addressing: Addressing, lease_seconds: u32) -> Self {
        let mut world = Self::start(link, addressing, true);
        world.dhcp.borrow_mut().lease_seconds = lease_seconds;
        world.advance(millis(200));
        assert!(world.camera.is_config_up());
        world
    }

    /// With the camera's link down.
    fn build_down(link: Link) -> Self {
        let mut world = Self::start(link, Addressing::Dhcp, false);
        world.advance(millis(200));
        world
    }

    fn start(link: Link, addressing: Addressing, is_up: bool) -> Self {
        let alone = network::take_time();
        let mut tasks = Tasks::default();
        let hub = Hub::new();
        let mut router = |end, gives| {
            let dhcp = dhcp::giving(gives);
            tasks.spawn(dhcp::serve(Hub::plug(&hub, end), end, dhcp.clone()));
            dhcp
        };
        let other_dhcp = router(OTHER_ROUTER, OTHER);
        other_dhcp.borrow_mut().manners = Manners::Silent;
        let dhcp = router(ROUTER, FIRST);

        let link: &'static Link = Box::leak(Box::new(link));
        let driver: HeldLink<'_, _> = HeldLink::new(Hub::plug(&hub, CAMERA), link);
        hub.borrow_mut().set_link(CAMERA, is_up);
        let config = match addressing {
            Addressing::Dhcp => embassy_net::Config::dhcpv4(Default::default()),
            Addressing::Static => static_config(CAMERA, ROUTER),
        };
        let stack = network::stack(&mut tasks, driver, config, 1);
        let plug = Hub::plug(&hub, CLIENT);
        let client = network::stack(&mut tasks, plug, static_config(CLIENT, ROUTER), 2);

        let ring = FrameRing::leak(4, FRAME_BYTES, READERS, Policy::DropOldest).unwrap();
        let viewers = Box::leak(Box::new([const { ViewerSlot::new() }; 3]));
        let status = Box::leak(Box::new(SourceStatus::new("test")));
        let server =
            Server::new(ring, status, viewers, link.clock(), Random::new(|| 4), Config::default());
        let server = &*Box::leak(Box::new(server));
        tasks.spawn(camera(ring));
        for _ in 0..2 {
            tasks.spawn(async move {
                serve(server, stack, 80, &mut [0; 1024], &mut [0; 5760]).await;
            });
        }
        Self {
            tasks,
            hub,
            dhcp,
            other_dhcp,
            camera: stack,
            client,
            ring,
            link,
            server,
            _alone: alone,
        }
    }

    fn advance(&mut self, time: Duration) {
        self.tasks.advance(time);
    }

    /// Passes a time in which nothing happens in steps of a second.
    fn jump(&mut self, time: Duration) {
        self.tasks.advance_by(seconds(1), time);
    }

    fn within(&mut self, limit: Duration, what: &str, is_so: impl Fn() -> bool) {
        let mut passed = Duration::ZERO;
        while !is_so() {
            assert!(passed < limit, "not within {limit:?}: {what}");
            self.advance(millis(5));
            passed += millis(5);
        }
    }

    fn link_down(&mut self) {
        self.hub.borrow_mut().set_link(CAMERA, false);
    }

    fn link_up(&mut self) {
        self.hub.borrow_mut().set_link(CAMERA, true);
    }

    fn dropout(&mut self, outage: Duration) {
        self.link_down();
        self.advance(outage);
        self.link_up();
    }

    fn lose_everything(&mut self) {
        self.hub.borrow_mut().lose(|_, _| true);
    }

    fn lose_nothing(&mut self) {
        self.hub.borrow_mut().lose(|_, _| false);
    }

    /// A viewer that only listens.
    fn watch(&mut self) -> Client {
        self.watch_at(FIRST)
    }

    fn watch_at(&mut self, address: Ipv4Addr) -> Client {
        self.connect(address, Some("/stream"))
    }

    fn connect(&mut self, address: Ipv4Addr, path: Option<&str>) -> Client {
        let client = Client::default();
        let (stack, path) = (self.client, path.map(str::to_owned));
        self.tasks.spawn(client.clone().run(stack, address, path, Afterwards::HangsUp));
        client
    }

    fn try_capture(&mut self) -> Option<Vec<u8>> {
        let client = self.connect(FIRST, Some("/capture"));
        self.advance(millis(500));
        (client.ending() == Some(Ok(()))).then(|| client.received())
    }

    /// How many viewers the server knows of.
    fn viewers(&self) -> usize {
        let others = std::iter::from_fn(|| self.ring.subscribe(Follow::Live).ok());
        READERS - others.collect::<Vec<_>>().len()
    }
}
