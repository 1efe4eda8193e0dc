//! The camera on an MQTT broker, as the `CAMWIRE_MQTT` variables say.

use crate::network::{LINK, RANDOM};
use crate::settings::{MQTT, MQTT_AUTH, MQTT_CONTROL, MQTT_LAYOUT, MQTT_PREFIX};
use camwire::capture::{FrameRing, Settings};
use camwire::embassy::{Broker, Layout, MqttCamera, MqttConfig, MqttEvent, MqttHooks};
use camwire::mqtt::{Prefix, Retain};
use core::net::Ipv4Addr;
use embassy_executor::Spawner;
use embassy_net::Stack;
use esp_println::println;

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

/// Publishes the pictures of the ring, which has a reader's place for it, and obeys. The stack has
/// a socket for it, and `packet` is as large as [`packet_bytes`] says.
///
/// # Panics
///
/// If it has been called before.
pub fn start(
    spawner: Spawner,
    broker: (Ipv4Addr, u16),
    ring: &'static FrameRing<'static>,
    settings: &'static Settings,
    stack: Stack<'static>,
    packet: &'static mut [u8],
) {
    spawner.spawn(publish(broker, ring, settings, stack, packet).expect("it is spawned once"));
}

#[embassy_executor::task]
async fn publish(
    broker: (Ipv4Addr, u16),
    ring: &'static FrameRing<'static>,
    settings: &'static Settings,
    stack: Stack<'static>,
    packet: &'static mut [u8],
) {
    let (received, sent) = (&mut [0; RECEIVE_BYTES], &mut [0; SEND_BYTES]);
    let (address, port) = broker;
    let mut broker = Broker::new(stack, address, port, received, sent);
    let camera = MqttCamera::new(ring, settings, LINK.clock(), config());
    let Err(error) = camera.run(&mut broker, &mut Console, packet).await;
    println!("mqtt: {error}");
}

fn config() -> MqttConfig<'static> {
    let prefix = |text| Prefix::new(text).expect("build.rs has looked at it");
    let (pictures, control) = (prefix(MQTT_PREFIX), prefix(MQTT_CONTROL));
    let mut config = match MQTT_LAYOUT {
        "indexed" => MqttConfig::like_esp32cam(pictures, control),
        // Random once Wi-Fi runs: the radio's noise feeds it.
        _ => MqttConfig::new(pictures, RANDOM.word()),
    };
    if MQTT_LAYOUT == "whole" {
        config.layout = Layout::Whole(Retain::No);
    }
    config.control = control;
    config.login = MQTT_AUTH;
    config
}

/// Says how it goes. A board has no motors; if yours has, [`MqttHooks::obey`] is their place.
struct Console;

impl MqttHooks for Console {
    fn told(&mut self, event: MqttEvent) {
        match event {
            MqttEvent::Connected => println!("mqtt: connected, topics {MQTT_PREFIX}/#"),
            MqttEvent::Lost(why) => println!("mqtt: {why}"),
            event => println!("mqtt: {event:?}"),
        }
    }
}
