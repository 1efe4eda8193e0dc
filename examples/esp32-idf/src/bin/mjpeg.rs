//! A camera in the browser: MJPEG, snapshots, settings, statistics and a page, over Wi-Fi.
//!
//! This file is the whole of it, from top to bottom; what it calls is in the library beside it.

use std::convert::Infallible;
use std::error::Error;
use std::net::TcpListener;

use camwire::esp32cam;
use camwire::ring::{FrameRing, Settings, SourceStatus};
use camwire::server::{Config, Server, ViewerSlot};
use camwire_esp32_idf::camera::{self, Plan};
use camwire_esp32_idf::clock::Clock;
use camwire_esp32_idf::delivery::{self, CONNECTIONS, VIEWERS};
use camwire_esp32_idf::lamp::WithLamp;
use camwire_esp32_idf::settings::{BOARD, DELIVERY};
use camwire_esp32_idf::{network, platform};

fn main() {
    let Err(error) = run();
    println!("{error}");
    platform::restart()
}

fn run() -> Result<Infallible, Box<dyn Error>> {
    static STATUS: SourceStatus = SourceStatus::new(BOARD);
    static SETTINGS: Settings = Settings::new();
    static PLACES: [ViewerSlot; VIEWERS] = [const { ViewerSlot::new() }; VIEWERS];

    let mut board = platform::start();
    let plan = Plan::of(board.memory, DELIVERY).ok_or("there is too little memory")?;
    println!("{BOARD}: pictures up to {}, delivery {DELIVERY:?}", plan.largest);

    // The camera, and the ring that it fills. All of this lives as long as the firmware runs.
    let slot_bytes = plan.largest.jpeg_bytes();
    let ring = FrameRing::leak(DELIVERY.slots(), slot_bytes, CONNECTIONS, DELIVERY.policy())?;
    let clock = Clock::agreeing_with(esp32cam::now());
    let source = WithLamp::new(plan.camera(), board.lamp.take());
    camera::capture(source, ring, clock, &STATUS, &SETTINGS)?;

    // The server of what is in it.
    let mut config = Config::default();
    config.mode = DELIVERY.mode();
    config.progress_timeout = DELIVERY.patience();
    let server = Server::new(ring, &STATUS, &PLACES, clock, config).with_settings(&SETTINGS);
    let door = TcpListener::bind(platform::door())?;
    let port = door.local_addr()?.port();
    delivery::serve(DELIVERY, door, Box::leak(Box::new(server)))?;

    network::stay(&mut board.station, port)
}
