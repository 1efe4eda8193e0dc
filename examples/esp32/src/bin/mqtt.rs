//! A camera on an MQTT broker, and nothing else: no server, and memory for three pictures.
//!
//! This file is the whole of it, from top to bottom; what it calls is in the library beside it.

#![no_std]
#![no_main]

use camwire::capture::{Policy, Settings, SourceStatus, StaticFrameRing};
use camwire_esp32::{board, camera, mqtt, network, settings, web};
use core::future::pending;
use core::net::Ipv4Addr;
use embassy_executor::Spawner;
use embassy_net::StackResources;
use esp_backtrace as _;
use static_cell::{ConstStaticCell, StaticCell};

/// The newest picture, the one being captured, and the one on its way.
const SLOTS: usize = 3;
/// For the broker, and for DHCP and DNS.
const SOCKETS: usize = 3;

/// A picture is in one packet, if it must be.
const PACKET_BYTES: usize = mqtt::packet_bytes(camera::SLOT_BYTES + 256);

/// Without one, this is not compiled.
const BROKER: (Ipv4Addr, u16) = mqtt::broker();

// What the bootloader wants to know of an image.
esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    static RING: StaticFrameRing<SLOTS, { camera::SLOT_BYTES }, 1> = StaticFrameRing::new();
    static STATUS: SourceStatus = SourceStatus::new(settings::SOURCE);
    static SETTINGS: Settings = Settings::new();
    static PACKET: ConstStaticCell<[u8; PACKET_BYTES]> = ConstStaticCell::new([0; PACKET_BYTES]);
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();

    let board = board::start();
    board::start_scheduler(board.timer, board.interrupt);
    board::start_watchdog(spawner, board.watchdog);

    // The camera, the ring it fills, and the broker that gets what is in it.
    let ring = RING.take(Policy::DropOldest).expect("this runs once");
    let capture = web::capture(board.camera, ring, &STATUS, &SETTINGS);
    spawner.spawn(capture.expect("it is spawned once"));
    let stack = network::start(spawner, board.wifi, RESOURCES.init(StackResources::new()), &[]);
    let camera = mqtt::Camera { ring, settings: &SETTINGS, status: &STATUS, web_port: None };
    mqtt::start(spawner, BROKER, camera, stack, PACKET.take());
    pending().await // What your firmware is really for can go here.
}
