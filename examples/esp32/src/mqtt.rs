//! The camera on an MQTT broker, as the `CAMWIRE_MQTT` variables say.

use crate::network::{LINK, RANDOM};
use crate::settings::{MQTT, MQTT_AUTH, MQTT_CONTROL, MQTT_DISCOVERY, MQTT_LAYOUT, MQTT_PREFIX};
use camwire::capture::{FrameRing, Settings, SourceStatus};
use camwire::embassy::Broker;
use camwire::minimq::{CameraClient, ClientConfig, ClientEvent, Hooks};
use camwire::mqtt::{Device, Discovery, Prefix, Retain, SessionConfig};
use core::net::Ipv4Addr;
use embassy_executor::Spawner;
use embassy_net::Stack;
use esp_println::println;
use static_cell::ConstStaticCell;

/// Memory for the largest packet: in the layout `whole` that is one with a picture in it, for which
/// there are `whole` bytes.
pub const fn packet_bytes(whole: usize) -> usize {
    match MQTT_LAYOUT.as_bytes() {
        b"framed" => 4096,
        b"indexed" => 8192,
        _ => whole,
    }
}

/// What the broker has said until it is read.
const RECEIVE_BYTES: usize = 512;
/// What waits for the broker's confirmation: four packets of the network.
const SEND_BYTES: usize = 4 * 1440;

/// The broker, for a binary that cannot be without one.
///
/// # Panics
///
/// If there is none: to be called when the firmware is compiled.
pub const fn broker() -> (Ipv4Addr, u16) {
    match MQTT {
        Some(broker) => broker,
        None => panic!("set CAMWIRE_MQTT in the environment: the address of the MQTT broker"),
    }
}

/// What the camera of this firmware is on its broker.
#[derive(Clone, Copy)]
pub struct Camera {
    /// With a reader's place for it.
    pub ring: &'static FrameRing<'static>,
    pub settings: &'static Settings,
    pub status: &'static SourceStatus,
    /// The port of its page, if there is one.
    pub web_port: Option<u16>,
}

/// Publishes the frames of the ring, and applies commands. The stack has a socket for it, and
/// `packet` is as large as [`packet_bytes`] says.
///
/// # Panics
///
/// If it has been called before.
pub fn start(
    spawner: Spawner,
    broker: (Ipv4Addr, u16),
    camera: Camera,
    stack: Stack<'static>,
    packet: &'static mut [u8],
) {
    spawner.spawn(publish(broker, camera, stack, packet).expect("it is spawned once"));
}

#[embassy_executor::task]
async fn publish(
    broker: (Ipv4Addr, u16),
    camera: Camera,
    stack: Stack<'static>,
    packet: &'static mut [u8],
) {
    let (received, sent) = (&mut [0; RECEIVE_BYTES], &mut [0; SEND_BYTES]);
    let (address, port) = broker;
    let mut broker = Broker::new(stack, address, port, received, sent);
    let config = config(camera.web_port);
    let mut client = CameraClient::new(camera.ring, camera.settings, LINK.clock(), config)
        .expect("packets are large enough for each layout");
    client.set_status(camera.status);
    let Err(error) = client.run(&mut broker, &mut Console(config.session.prefix), packet).await;
    println!("mqtt: {error}");
}

fn config(web_port: Option<u16>) -> ClientConfig<'static> {
    let prefix = |text| Prefix::new(text).expect("build.rs has looked at it");
    let frames = prefix(MQTT_PREFIX.unwrap_or_else(own_prefix));
    let control = MQTT_CONTROL.map_or(frames, prefix);
    let mut config = match MQTT_LAYOUT {
        "indexed" => SessionConfig::like_esp32cam(frames, control),
        _ => SessionConfig::new(frames),
    };
    config.control = control;
    match MQTT_LAYOUT {
        // Random once Wi-Fi runs: the radio's noise feeds it.
        "framed" => config.framed = Some(RANDOM.word()),
        "whole" => config.whole = Some(Retain::No),
        _ => {}
    }
    config.discovery = match MQTT_DISCOVERY {
        "off" => Discovery::Off,
        "remove" => Discovery::Remove(prefix("homeassistant")),
        topic => {
            let mut device = Device::new(prefix(topic), frames);
            (device.model, device.web_port) = ("ESP32", web_port);
            Discovery::Announce(device)
        }
    };
    let mut config = ClientConfig::new(config);
    config.login = MQTT_AUTH;
    config
}

/// `camwire/` and the chip's number, which no other chip has.
fn own_prefix() -> &'static str {
    static TEXT: ConstStaticCell<[u8; 20]> = ConstStaticCell::new(*b"camwire/............");
    let text = TEXT.take();
    let number = esp_hal::efuse::base_mac_address();
    for (digits, byte) in text[8..].chunks_exact_mut(2).zip(number.as_bytes()) {
        let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
        digits.copy_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
    }
    str::from_utf8(text).expect("it is ASCII")
}

/// Logs what happens. A board has no motors; if yours has, [`Hooks::drive`] is their place.
struct Console(Prefix<'static>);

impl Hooks for Console {
    fn log(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected => println!("mqtt: connected, topics {}/#", self.0.as_str()),
            ClientEvent::Disconnected(error) => println!("mqtt: {error}"),
            event => println!("mqtt: {event:?}"),
        }
    }
}
