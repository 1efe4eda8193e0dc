//! A camera for pages that open a WebSocket to port 81 and draw what comes, as those of the older
//! demo for Arduino do. Everything else is at port 80, and there is a WebSocket, too.

#![no_std]
#![no_main]

use camwire_esp32::{settings, web};
use core::future::pending;
use embassy_executor::Spawner;
use esp_backtrace as _;

// What the bootloader wants to know of an image.
esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    web::start(spawner, settings::PORTS.unwrap_or(&[80, 81]));
    pending().await // What your firmware is really for can go here.
}
