//! What every binary begins with: the board, the camera, the ring it fills, and the server of what
//! is in it.

use std::error::Error;
use std::net::TcpListener;

use camwire::capture::{FrameRing, Settings, SourceStatus};
use camwire::esp32cam;
use camwire::server::{Config, Credentials, Server, ViewerSlot};

use crate::camera::{self, Plan};
use crate::clock::Clock;
use crate::delivery::{self, CONNECTIONS, VIEWERS};
use crate::lamp::WithLamp;
use crate::platform::{self, Motors, Station};
use crate::push;
use crate::settings::{AUTH, BOARD, DELIVERY, ORIGINS, TOKEN};

/// What reads the ring besides: one that pushes, and what a binary may add.
const EXTRAS: usize = 2;

/// What there is once all of it runs. It lives as long as the firmware does.
pub struct Web {
    pub ring: &'static FrameRing<'static>,
    pub status: &'static SourceStatus,
    pub settings: &'static Settings,
    pub clock: Clock,
    /// Where the firmware was built with them.
    pub motors: Option<Motors>,
    /// To [stay](crate::network::stay) in the network.
    pub station: Station,
    /// Where the server listens.
    pub ports: Vec<u16>,
}

/// Starts it, with the server on these ports.
///
/// # Errors
///
/// If memory, a thread or a port cannot be had.
///
/// # Panics
///
/// If it has been called before.
pub fn start(ports: &[u16]) -> Result<Web, Box<dyn Error>> {
    static STATUS: SourceStatus = SourceStatus::new(BOARD);
    static SETTINGS: Settings = Settings::new();
    static PLACES: [ViewerSlot; VIEWERS] = [const { ViewerSlot::new() }; VIEWERS];

    let mut board = platform::start();
    let plan = Plan::of(board.memory, DELIVERY).ok_or("there is too little memory")?;
    println!("{BOARD}: pictures up to {}, delivery {DELIVERY:?}", plan.largest);

    // The camera, and the ring that it fills.
    let (slots, slot_bytes) = (DELIVERY.slots(), plan.largest.jpeg_bytes());
    let ring = FrameRing::leak(slots, slot_bytes, CONNECTIONS + EXTRAS, DELIVERY.policy())?;
    let clock = Clock::agreeing_with(esp32cam::now());
    let source = WithLamp::new(plan.camera(), board.lamp.take());
    camera::capture(source, ring, clock, &STATUS, &SETTINGS)?;

    // The server of what is in it.
    let server = Server::new(ring, &STATUS, &PLACES, clock, platform::RANDOM, config());
    let server = server.with_settings(&SETTINGS);
    let doors = platform::doors(ports).into_iter().map(TcpListener::bind);
    let doors = doors.collect::<Result<Vec<_>, _>>()?;
    let ports = doors.iter().map(|door| Ok(door.local_addr()?.port()));
    let ports = ports.collect::<Result<_, Box<dyn Error>>>()?;
    let server = Box::leak(Box::new(server));
    delivery::serve(DELIVERY, doors, server)?;
    if let Some(to) = push::relay() {
        push::start(server, to)?;
    }
    let (motors, station) = (board.motors, board.station);
    Ok(Web { ring, status: &STATUS, settings: &SETTINGS, clock, motors, station, ports })
}

/// How the server behaves, and who may.
fn config() -> Config {
    let mut config = Config::default();
    config.mode = DELIVERY.mode();
    config.progress_timeout = DELIVERY.patience();
    config.origins = ORIGINS;
    config.credentials.basic = AUTH;
    config.credentials.token = TOKEN;
    if config.credentials == Credentials::default() {
        println!("there is no password: whoever is in the network can watch");
    }
    config
}
