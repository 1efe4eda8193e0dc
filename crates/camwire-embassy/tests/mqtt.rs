//! The camera on an MQTT broker that is written here, packet by packet (MQTT 5.0). No time passes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use camwire_capture::{FrameRing, Policy, Settings};
use camwire_embassy::{EmbassyClock, MqttCamera, MqttConfig, MqttNetwork};
use camwire_mqtt::{ControlTopics, Dialect, Prefix};
use embedded_io_async::{ErrorType, Read, Write};

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
        self.outgoing.push(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// One connection, and no other.
struct Network(Option<Socket>);

impl MqttNetwork for Network {
    type Transport<'t> = Socket;

    async fn connect(&mut self) -> Option<(Socket, Option<Ipv4Addr>)> {
        self.0.take().map(|socket| (socket, None))
    }
}

/// What the camera has sent, and what is sent to it.
#[derive(Default)]
struct Broker {
    from_camera: Pipe,
    to_camera: Pipe,
    /// Bytes of the largest packet that it takes, if there is a limit.
    largest: Option<u32>,
    /// The filters, by packet.
    subscriptions: Vec<Vec<String>>,
    /// The packets that are not confirmed yet.
    unconfirmed: VecDeque<Vec<u8>>,
    published: Vec<(String, Vec<u8>)>,
}

impl Broker {
    fn handle(&mut self) {
        while let Some((kind, packet)) = self.from_camera.packet() {
            if let Some(largest) = self.largest {
                assert!(packet.len() + 2 <= largest as usize, "a packet that is too large");
            }
            match kind {
                0x10 => {
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

    /// What the camera has published to `PREFIX/refused`.
    fn refusals(&self) -> Vec<String> {
        let refused = self.published.iter().filter(|(topic, _)| topic.ends_with("/refused"));
        refused.map(|(_, payload)| String::from_utf8(payload.clone()).unwrap()).collect()
    }
}

fn text(bytes: &[u8]) -> (String, &[u8]) {
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (text, rest) = rest.split_at(u16::from_be_bytes(*length).into());
    (String::from_utf8(text.to_vec()).unwrap(), rest)
}

/// Runs a camera with so much memory for packets. `script` is called each time that the camera waits,
/// until it returns true; its second argument is whether frames are wanted.
fn run(
    config: MqttConfig<'_>,
    packet_bytes: usize,
    mut broker: Broker,
    mut script: impl FnMut(&mut Broker, bool) -> bool,
) {
    let ring = FrameRing::leak(3, 1024, 2, Policy::DropOldest).unwrap();
    let publisher = ring.publisher().unwrap();
    let settings = Settings::new();
    let socket =
        Socket { incoming: broker.to_camera.clone(), outgoing: broker.from_camera.clone() };
    let mut network = Network(Some(socket));
    let (mut hooks, mut packet) = ((), vec![0; packet_bytes]);
    let camera = MqttCamera::new(ring, &settings, EmbassyClock, config);
    let mut running = pin!(camera.run(&mut network, &mut hooks, &mut packet));
    for _ in 0..1000 {
        let polled = running.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "{polled:?}");
        broker.handle();
        if script(&mut broker, publisher.has_demand()) {
            return;
        }
    }
    panic!("it does not come to an end: {:?}", broker.subscriptions);
}

fn expected(config: &MqttConfig<'_>) -> Vec<String> {
    let topics = ControlTopics::new(config.control, config.dialect);
    topics.filters().map(|filter| filter.to_string()).collect()
}

/// Everything is subscribed to, packet after packet. Returns the packets.
fn subscriptions(
    config: MqttConfig<'_>,
    packet_bytes: usize,
    largest: Option<u32>,
) -> Vec<Vec<String>> {
    let expected = expected(&config);
    let mut subscriptions = Vec::new();
    run(config, packet_bytes, Broker { largest, ..Broker::default() }, |broker, is_wanted| {
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

fn prefix(text: &str) -> Prefix<'_> {
    Prefix::new(text).unwrap()
}

#[test]
fn command_topics_are_subscribed_to_eight_at_once() {
    let config = MqttConfig::new(prefix("camwire/camera"), 1);
    let packets = subscriptions(config, 4096, None);
    assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 8, 8, 3]);
    let mut config = MqttConfig::new(prefix("esp32cam/50"), 1);
    (config.control, config.dialect) = (prefix("esp32auto/50"), Dialect::Esp32Cam);
    let packets = subscriptions(config, 4096, None);
    assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [8, 2]);
}

#[test]
fn fewer_topics_are_subscribed_to_at_once_where_packets_are_small() {
    // The longest prefix that leaves room for a client identifier of 64 bytes.
    let long = "a".repeat(121);
    let mut config = MqttConfig::new(prefix(&long), 1);
    config.client = "camera";
    for (packet_bytes, largest, most) in
        [(4096, None, 4), (700, None, 3), (4096, Some(400), 3), (4096, Some(200), 1)]
    {
        let packets = subscriptions(config, packet_bytes, largest);
        let len = packets.iter().map(Vec::len).max();
        assert!(len <= Some(most), "{len:?} with {packet_bytes} and {largest:?}");
    }
    let config = MqttConfig::new(prefix("camwire/camera"), 1);
    for packet_bytes in [220, 256, 300] {
        subscriptions(config, packet_bytes, None);
    }
}

#[test]
fn messages_on_other_topics_get_no_reply() {
    let config = MqttConfig::new(prefix("cam"), 1);
    let all = expected(&config).len();
    let mut is_said = false;
    run(config, 4096, Broker::default(), |broker, _| {
        broker.confirm();
        if broker.subscriptions.concat().len() < all {
            return false;
        }
        if !is_said {
            is_said = true;
            for topic in ["cam/camera/frame", "cam/set/nonsense", "cam/frame", "cam", "set/fps"] {
                for retained in [false, true] {
                    broker.publish(topic, b"1", retained);
                }
            }
            broker.publish("cam/set/fps", b"many", false);
            broker.publish("cam/camera/shot", b"", true);
        }
        broker.refusals().len() == 2 && {
            assert_eq!(
                broker.refusals(),
                [
                    "cam/set/fps: fps is a number from 0.001 to 1000",
                    "cam/camera/shot: it was retained, and only settings may be",
                ]
            );
            true
        }
    });
}
