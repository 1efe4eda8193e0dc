//! A camera by all doors from one capture: the browser, with MJPEG and WebSocket, and an MQTT
//! broker, from where its lamp and motors are driven, too.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddrV4;

use camwire_esp32_idf::settings::PORTS;
use camwire_esp32_idf::web::Web;
use camwire_esp32_idf::{mqtt, network, platform, web};

/// Without one, this is not compiled.
const BROKER: SocketAddrV4 = mqtt::broker();

fn main() {
    let Err(error) = run();
    println!("{error}");
    platform::restart()
}

fn run() -> Result<Infallible, Box<dyn Error>> {
    let mut web = web::start(PORTS.unwrap_or(&[80]))?;
    let web_port = web.ports.first().copied();
    let Web { ring, settings, status, clock, motors, .. } = web;
    mqtt::start(BROKER, mqtt::Camera { ring, settings, status, clock, motors, web_port })?;
    network::stay(&mut web.station, &web.ports)
}
