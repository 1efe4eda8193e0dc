//! A camera for pages that open a WebSocket to port 81 and draw what comes, as those of the older
//! demo for Arduino do. Everything else is at port 80, and there is a WebSocket, too.

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
    let mut web = web::start(PORTS.unwrap_or(&[80, 81]))?;
    network::stay(&mut web.station, &web.ports)
}
