//! A camera by all doors from one capture: the browser, with MJPEG and WebSocket, and an MQTT
//! broker.

#![no_std]
#![no_main]

use camwire_esp32::web::Web;
use camwire_esp32::{mqtt, settings, web};
use core::future::pending;
use core::net::Ipv4Addr;
use embassy_executor::Spawner;
use esp_backtrace as _;
use static_cell::ConstStaticCell;

/// Beside the server there is not the memory for the largest picture in one packet. In the layout
/// `whole`, those that do not fit are not published.
const PACKET_BYTES: usize = mqtt::packet_bytes(8192);

/// Without one, this is not compiled.
const BROKER: (Ipv4Addr, u16) = mqtt::broker();

// What the bootloader wants to know of an image.
esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    static PACKET: ConstStaticCell<[u8; PACKET_BYTES]> = ConstStaticCell::new([0; PACKET_BYTES]);
    let ports = settings::PORTS.unwrap_or(&[80]);
    let Web { ring, settings, status, stack } = web::start(spawner, ports);
    let camera = mqtt::Camera { ring, settings, status, web_port: ports.first().copied() };
    mqtt::start(spawner, BROKER, camera, stack, PACKET.take());
    pending().await // What your firmware is really for can go here.
}
