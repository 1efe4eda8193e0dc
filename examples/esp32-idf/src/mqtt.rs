//! The camera on an MQTT broker, as the `CAMWIRE_MQTT` variables say.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream};
use std::pin::pin;
use std::{io, thread};

use async_io_mini::Async;
use camwire::capture::{FrameRing, Settings};
use camwire::mqtt::{Command, Prefix, Retain};
use camwire_embassy::{Layout, MqttCamera, MqttConfig, MqttEvent, MqttHooks, MqttNetwork};
use futures_lite::future::block_on;

use crate::clock::Clock;
use crate::motors::Wheels;
use crate::platform::{self, Motors};
use crate::settings::{MQTT, MQTT_AUTH, MQTT_CONTROL, MQTT_LAYOUT, MQTT_PREFIX};
use crate::socket::Socket;

/// The stack of the thread.
const STACK_BYTES: usize = 16 * 1024;

/// The broker, for a binary that cannot be without one.
///
/// # Panics
///
/// If there is none: to be called when the firmware is compiled.
pub const fn broker() -> SocketAddrV4 {
    match MQTT {
        Some((address, port)) => SocketAddrV4::new(address, port),
        None => panic!("set CAMWIRE_MQTT in the environment: the address of the MQTT broker"),
    }
}

/// Publishes the pictures of the ring, which has a reader's place for it, and obeys, on a thread of
/// its own.
///
/// # Errors
///
/// If a thread cannot be had.
pub fn start(
    broker: SocketAddrV4,
    ring: &'static FrameRing<'static>,
    settings: &'static Settings,
    clock: Clock,
    motors: Option<Motors>,
) -> io::Result<()> {
    let mut firmware = Firmware { wheels: motors.map(|m| Wheels::new(m, clock)).transpose()? };
    let mut packet = vec![0; packet_bytes(ring)];
    let run = move || {
        let camera = MqttCamera::new(ring, settings, clock, config());
        // A board has no environment; a computer may have another broker each time.
        let other = std::env::var("CAMWIRE_MQTT").ok().and_then(|address| address.parse().ok());
        let mut broker = Broker(other.unwrap_or(broker));
        // Where it stays: moving it would take its size of the stack once more.
        let future = pin!(camera.run(&mut broker, &mut firmware, &mut packet));
        let Err(error) = block_on(future);
        println!("mqtt: {error}");
    };
    let thread = thread::Builder::new().name("mqtt".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(run).map(drop)
}

/// The largest packet: in the layout `whole` that is one with a picture in it.
fn packet_bytes(ring: &FrameRing<'_>) -> usize {
    match MQTT_LAYOUT {
        "whole" => ring.slot_bytes() + 256,
        _ => 8192,
    }
}

fn config() -> MqttConfig<'static> {
    let prefix = |text| Prefix::new(text).expect("build.rs has looked at it");
    let (pictures, control) = (prefix(MQTT_PREFIX), prefix(MQTT_CONTROL));
    let mut config = match MQTT_LAYOUT {
        "indexed" => MqttConfig::like_esp32cam(pictures, control),
        _ => MqttConfig::new(pictures, platform::RANDOM.word()),
    };
    if MQTT_LAYOUT == "whole" {
        config.layout = Layout::Whole(Retain::No);
    }
    config.control = control;
    config.login = MQTT_AUTH;
    config
}

/// The way to the broker.
struct Broker(SocketAddrV4);

impl MqttNetwork for Broker {
    type Transport<'t> = Socket;

    async fn connect(&mut self) -> Option<(Socket, Option<Ipv4Addr>)> {
        let socket = Async::<TcpStream>::connect(self.0).await.ok()?;
        platform::prepare(socket.get_ref()).ok()?;
        let own = match socket.get_ref().local_addr().ok()?.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        Some((Socket(socket), own))
    }
}

/// What this firmware has besides its camera.
struct Firmware {
    wheels: Option<Wheels<Motors>>,
}

impl MqttHooks for Firmware {
    fn obey(&mut self, command: Command) -> Result<(), &'static str> {
        match (&self.wheels, command) {
            (Some(wheels), Command::Motor(..) | Command::Heartbeat) => {
                wheels.obey(command).map_err(|_| "no heartbeat, so the motors stand still")
            }
            (None, Command::Motor(..) | Command::Heartbeat) => {
                Err("this camera was built without motors")
            }
            _ => Err("this camera has nothing like that"),
        }
    }

    fn told(&mut self, event: MqttEvent) {
        match event {
            MqttEvent::Connected => println!("mqtt: connected, topics {MQTT_PREFIX}/#"),
            MqttEvent::Lost(why) => println!("mqtt: {why}"),
            event => println!("mqtt: {event:?}"),
        }
    }
}
