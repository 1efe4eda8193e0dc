//! A camera on an MQTT broker, from where its lamp and motors are driven, too; and nothing else: no
//! server, and memory for three pictures.
//!
//! This file is the whole of it, from top to bottom; what it calls is in the library beside it.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddrV4;

use camwire::capture::{FrameRing, Policy, Settings, SourceStatus};
use camwire::esp32cam;
use camwire_esp32_idf::camera::{self, Plan};
use camwire_esp32_idf::clock::Clock;
use camwire_esp32_idf::lamp::WithLamp;
use camwire_esp32_idf::settings::BOARD;
use camwire_esp32_idf::{Delivery, mqtt, network, platform};

/// With as little memory as one task needs: the newest picture, the one being captured, and the one
/// on its way.
const DELIVERY: Delivery = Delivery::Together;

/// Without one, this is not compiled.
const BROKER: SocketAddrV4 = mqtt::broker();

fn main() {
    let Err(error) = run();
    println!("{error}");
    platform::restart()
}

fn run() -> Result<Infallible, Box<dyn Error>> {
    static STATUS: SourceStatus = SourceStatus::new(BOARD);
    static SETTINGS: Settings = Settings::new();

    let mut board = platform::start();
    let plan = Plan::of(board.memory, DELIVERY).ok_or("there is too little memory")?;
    println!("{BOARD}: pictures up to {}", plan.largest);

    // The camera, and the ring that it fills.
    let slot_bytes = plan.largest.jpeg_bytes();
    let ring = FrameRing::leak(DELIVERY.slots(), slot_bytes, 1, Policy::DropOldest)?;
    let clock = Clock::agreeing_with(esp32cam::now());
    let source = WithLamp::new(plan.camera(), board.lamp.take());
    camera::capture(source, ring, clock, &STATUS, &SETTINGS)?;

    let (settings, status, motors) = (&SETTINGS, &STATUS, board.motors);
    mqtt::start(BROKER, mqtt::Camera { ring, settings, status, clock, motors, web_port: None })?;
    network::stay(&mut board.station, &[])
}
