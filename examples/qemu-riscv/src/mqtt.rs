//! The camera on an MQTT broker, if there is said to be one.

use crate::board::println;
use camwire::capture::{FrameRing, Settings, SourceStatus};
use camwire::embassy::{Broker, LinkClock};
use camwire::minimq::{CameraClient, ClientConfig, ClientEvent, Hooks};
use camwire::mqtt::{Device, Discovery, Outputs, Prefix, Publishing, Retain, SessionConfig, Speed};
use core::net::{Ipv4Addr, SocketAddrV4};
use embassy_net::Stack;
use static_cell::ConstStaticCell;

/// Memory for the largest packet: enough for a picture in one piece.
const PACKET_BYTES: usize = crate::SLOT_BYTES + 256;

/// What of the firmware's arguments is about the broker.
#[derive(Clone, Copy, Debug)]
pub struct Mqtt {
    /// `mqtt=ADDRESS:PORT`
    pub broker: Option<SocketAddrV4>,
    /// `mqtt-prefix=PREFIX`, by default `camwire/qemu`
    prefix: &'static str,
    /// `mqtt-control=PREFIX`, by default the same
    control: Option<&'static str>,
    /// `mqtt-layout=framed`, `indexed` or `whole`
    layout: &'static str,
    /// `mqtt-login=USER:PASSWORD`
    login: Option<(&'static str, &'static str)>,
    /// `mqtt-packet=N`: bytes of the largest packet
    packet: usize,
    /// `mqtt-start=off`: nothing is published before it is requested
    start: Publishing,
    /// `mqtt-discovery=TOPIC`: where Home Assistant looks for cameras
    discovery: Option<&'static str>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            broker: None,
            prefix: "camwire/qemu",
            control: None,
            layout: "framed",
            login: None,
            packet: 8448,
            start: Publishing::On,
            discovery: None,
        }
    }
}

impl Mqtt {
    /// Takes an argument; false if it is none of these.
    pub fn understand(&mut self, name: &str, value: &'static str) -> bool {
        match (name, value) {
            ("mqtt", address) => address.parse().map(|at| self.broker = Some(at)).is_ok(),
            ("mqtt-prefix", prefix) => Prefix::new(prefix).map(|_| self.prefix = prefix).is_ok(),
            ("mqtt-control", prefix) => {
                Prefix::new(prefix).map(|_| self.control = Some(prefix)).is_ok()
            }
            ("mqtt-layout", "framed" | "indexed" | "whole") => {
                self.layout = value;
                true
            }
            ("mqtt-login", pair) => pair.split_once(':').map(|l| self.login = Some(l)).is_some(),
            ("mqtt-packet", bytes) => {
                bytes.parse().map(|n| self.packet = PACKET_BYTES.min(n)).is_ok()
            }
            ("mqtt-start", "on" | "off") => {
                self.start = Publishing::from_on(value == "on");
                true
            }
            ("mqtt-discovery", topic) => {
                Prefix::new(topic).map(|_| self.discovery = Some(topic)).is_ok()
            }
            _ => false,
        }
    }

    /// `stream` is a number that is another after each start.
    fn config(&self, stream: u32) -> ClientConfig<'static> {
        let prefix = |text| Prefix::new(text).expect("it was looked at");
        let (data, control) = (prefix(self.prefix), prefix(self.control.unwrap_or(self.prefix)));
        let mut config = SessionConfig::new(data);
        config.publishing = self.start;
        match self.layout {
            "indexed" => config = SessionConfig::like_esp32cam(data, control),
            "whole" => config.whole = Some(Retain::No),
            _ => config.framed = Some(stream),
        }
        config.control = control;
        config.has_motors = true;
        if let Some(home) = self.discovery {
            let mut device = Device::new(prefix(home), data);
            device.model = "QEMU";
            config.discovery = Discovery::Announce(device);
        }
        let mut config = ClientConfig::new(config);
        config.login = self.login;
        config
    }
}

/// Publishes the frames, and applies commands.
#[embassy_executor::task]
pub async fn publish(
    ring: &'static FrameRing<'static>,
    settings: &'static Settings,
    status: &'static SourceStatus,
    stack: Stack<'static>,
    clock: LinkClock<'static>,
    mqtt: Mqtt,
    stream: u32,
) {
    static PACKET: ConstStaticCell<[u8; PACKET_BYTES]> = ConstStaticCell::new([0; PACKET_BYTES]);
    let packet = &mut PACKET.take()[..mqtt.packet];
    let Some(broker) = mqtt.broker else { return };
    let (address, port): (Ipv4Addr, u16) = (*broker.ip(), broker.port());
    let (mut received, mut sent) = ([0; 512], [0; 4096]);
    let mut broker = Broker::new(stack, address, port, &mut received, &mut sent);
    let camera = CameraClient::new(ring, settings, clock, mqtt.config(stream));
    let mut camera = camera.expect("packets are large enough");
    camera.set_status(status);
    let Err(error) = camera.run(&mut broker, &mut Wheels::default(), packet).await;
    panic!("{error}");
}

/// Two motors that only print what they would do. Real ones need something that stops them at
/// [`Outputs::until`] even if the network is stuck: see `motors.rs` of `examples/esp32-idf`.
#[derive(Default)]
struct Wheels([Speed; 2]);

impl Hooks for Wheels {
    fn drive(&mut self, outputs: Outputs) {
        if outputs.speeds != self.0 {
            self.0 = outputs.speeds;
            println!("motors: {:?}", self.0.map(Speed::as_thousandths));
        }
    }

    fn log(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected => println!("mqtt: connected"),
            ClientEvent::Disconnected(error) => println!("mqtt: {error}"),
            event => println!("mqtt: {event:?}"),
        }
    }
}
