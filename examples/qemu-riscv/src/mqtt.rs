//! The camera on an MQTT broker, if there is said to be one.

use crate::board::println;
use camwire::capture::{FrameRing, Settings};
use camwire::embassy::{
    Broker, EmbassyClock, Layout, LinkClock, MqttCamera, MqttConfig, MqttEvent, MqttHooks,
    Publishing,
};
use camwire::frame::Clock;
use camwire::mqtt::{Command, Dialect, Motors, Prefix, Retain, Speed};
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
    /// `mqtt-start=off`: nothing is published before somebody asks
    start: Publishing,
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
                self.start = if value == "on" { Publishing::On } else { Publishing::Off };
                true
            }
            _ => false,
        }
    }

    /// `stream` is a number that is another after each start.
    fn config(&self, stream: u32) -> MqttConfig<'static> {
        let prefix = |text| Prefix::new(text).expect("it was looked at");
        let (data, control) = (prefix(self.prefix), prefix(self.control.unwrap_or(self.prefix)));
        let mut config = MqttConfig::new(data, stream);
        match self.layout {
            "indexed" => config = MqttConfig::like_esp32cam(data, control),
            "whole" => config.layout = Layout::Whole(Retain::No),
            _ => {}
        }
        config.control = control;
        config.login = self.login;
        if config.dialect == Dialect::Camwire {
            config.at_start = self.start;
        }
        config
    }
}

/// Publishes the pictures, and obeys.
#[embassy_executor::task]
pub async fn publish(
    ring: &'static FrameRing<'static>,
    settings: &'static Settings,
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
    let camera = MqttCamera::new(ring, settings, clock, mqtt.config(stream));
    let Err(error) = camera.run(&mut broker, &mut Wheels::default(), packet).await;
    panic!("{error}");
}

/// Two motors that only tell what they would do when something is said. Whoever turns real ones has
/// a task besides, which stops them in time: see `motors.rs` of `examples/esp32-idf`.
#[derive(Default)]
struct Wheels {
    motors: Motors,
    told: [Speed; 2],
}

impl MqttHooks for Wheels {
    fn obey(&mut self, command: Command) -> Result<(), &'static str> {
        let now = EmbassyClock.now();
        let done = match command {
            Command::Heartbeat => {
                self.motors.heartbeat(now);
                Ok(())
            }
            Command::Motor(motor, speed) => self.motors.set(motor, speed, now),
            _ => return Err("this camera has nothing like that"),
        };
        // Whatever it was: if it came late, both motors stop.
        let speeds = self.motors.outputs(now).speeds;
        if speeds != self.told {
            self.told = speeds;
            println!("motors: {:?}", speeds.map(Speed::as_thousandths));
        }
        done.map_err(|_| "no heartbeat, so the motors stand")
    }

    fn told(&mut self, event: MqttEvent) {
        match event {
            MqttEvent::Connected => println!("mqtt: connected"),
            MqttEvent::Lost(why) => println!("mqtt: {why}"),
            event => println!("mqtt: {event:?}"),
        }
    }
}
