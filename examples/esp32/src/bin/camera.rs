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

/// Without one, this is not compiled.
const BROKER: (Ipv4Addr, u16) = mqtt::broker();

// What the bootloader wants to know of an image.
esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let Web { ring, settings, stack, .. } = web::start(spawner, settings::PORTS.unwrap_or(&[80]));
    mqtt::start(spawner, BROKER, ring, settings, stack);
    pending().await // What your firmware is really for can go here.
}
