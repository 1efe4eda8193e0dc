//! The camera on an MQTT broker, as the `CAMWIRE_MQTT` variables say.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream};
use std::pin::pin;
use std::{io, thread};

use async_io_mini::Async;
use camwire::capture::{FrameRing, Settings, SourceStatus};
use camwire::minimq::{CameraClient, ClientConfig, ClientEvent, Hooks, Network};
use camwire::mqtt::{Device, Discovery, Outputs, Prefix, Retain, SessionConfig};
use futures_lite::future::block_on;

use crate::clock::Clock;
use crate::motors::Wheels;
use crate::platform::{self, Motors};
use crate::settings::{
    BOARD, MQTT, MQTT_AUTH, MQTT_CONTROL, MQTT_DISCOVERY, MQTT_LAYOUT, MQTT_PREFIX,
};
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

/// What the camera of this firmware is on its broker.
pub struct Camera {
    /// With a reader's place for it.
    pub ring: &'static FrameRing<'static>,
    pub settings: &'static Settings,
    pub status: &'static SourceStatus,
    pub clock: Clock,
    pub motors: Option<Motors>,
    /// The port of its page, if there is one.
    pub web_port: Option<u16>,
}

/// Publishes the frames of the ring, and applies commands, on a thread of its own.
///
/// # Errors
///
/// If a thread cannot be had, or packets are too small for the layout.
pub fn start(broker: SocketAddrV4, camera: Camera) -> io::Result<()> {
    let Camera { ring, settings, status, clock, motors, web_port } = camera;
    let wheels = motors.map(|motors| Wheels::new(motors, clock)).transpose()?;
    let config = config(web_port, wheels.is_some());
    let mut firmware = Firmware { wheels, prefix: config.session.prefix };
    let mut packet = vec![0; packet_bytes(ring)];
    let camera = CameraClient::new(ring, settings, clock, config).map_err(io::Error::other)?;
    let mut camera = Box::new(camera);
    camera.set_status(status);
    let run = move || {
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

/// The largest packet: in the layout `whole` that is one with a frame in it.
fn packet_bytes(ring: &FrameRing<'_>) -> usize {
    match MQTT_LAYOUT {
        "whole" => ring.slot_bytes() + 256,
        _ => 8192,
    }
}

/// What the topics begin with, of frames and of commands. By default `camwire/` and the number of
/// the chip, which no other chip has.
pub fn prefixes() -> (Prefix<'static>, Prefix<'static>) {
    let prefix = |text| Prefix::new(text).expect("build.rs has looked at it");
    let own = || {
        let digits: String =
            platform::chip_number().iter().map(|byte| format!("{byte:02x}")).collect();
        prefix(format!("camwire/{digits}").leak())
    };
    let frames = MQTT_PREFIX.map_or_else(own, prefix);
    (frames, MQTT_CONTROL.map_or(frames, prefix))
}

fn config(web_port: Option<u16>, has_motors: bool) -> ClientConfig<'static> {
    let (frames, control) = prefixes();
    let mut config = match MQTT_LAYOUT {
        "indexed" => SessionConfig::like_esp32cam(frames, control),
        _ => SessionConfig::new(frames),
    };
    (config.control, config.has_motors) = (control, has_motors);
    match MQTT_LAYOUT {
        "framed" => config.framed = Some(platform::RANDOM.word()),
        "whole" => config.whole = Some(Retain::No),
        _ => {}
    }
    let home = |topic| Prefix::new(topic).expect("build.rs has looked at it");
    config.discovery = match MQTT_DISCOVERY {
        "off" => Discovery::Off,
        "remove" => Discovery::Remove(home("homeassistant")),
        topic => {
            let mut device = Device::new(home(topic), frames);
            (device.model, device.web_port) = (BOARD, web_port);
            Discovery::Announce(device)
        }
    };
    let mut config = ClientConfig::new(config);
    config.login = MQTT_AUTH;
    config
}

/// The way to the broker.
struct Broker(SocketAddrV4);

impl Network for Broker {
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
    prefix: Prefix<'static>,
}

impl Hooks for Firmware {
    fn drive(&mut self, outputs: Outputs) {
        if let Some(wheels) = &self.wheels {
            wheels.drive(outputs);
        }
    }

    fn log(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected => {
                println!("mqtt: connected, topics {}/#", self.prefix.as_str());
            }
            ClientEvent::Disconnected(error) => println!("mqtt: {error}"),
            event => println!("mqtt: {event:?}"),
        }
    }
}
