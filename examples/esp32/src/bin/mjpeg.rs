//! A camera in the browser: MJPEG, snapshots, settings, statistics and a page, over Wi-Fi.
//!
//! What it consists of, from the chip's start to the server, is `web.rs` in the library beside it.

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
    web::start(spawner, settings::PORTS.unwrap_or(&[80]));
    pending().await // What your firmware is really for can go here.
}
