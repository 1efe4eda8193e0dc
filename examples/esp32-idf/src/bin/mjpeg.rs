//! A camera in the browser: MJPEG, snapshots, settings, statistics and a page, over Wi-Fi.
//!
//! What it consists of, from the board's start to the server, is `web.rs` in the library beside it.

use std::convert::Infallible;
use std::error::Error;

use camwire_esp32_idf::settings::PORTS;
use camwire_esp32_idf::{network, platform, web};

fn main() {
    let Err(error) = run();
    println!("{error}");
    platform::restart()
}

fn run() -> Result<Infallible, Box<dyn Error>> {
    let mut web = web::start(PORTS.unwrap_or(&[80]))?;
    network::stay(&mut web.station, &web.ports)
}
