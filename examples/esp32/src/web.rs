//! What every binary begins with: the chip, the camera, the ring it fills, the server of what is in
//! it, and the network.

use crate::board::{self, Port};
use crate::camera::{self, Missing};
use crate::delivery::{self, CONNECTIONS, SLOTS, VIEWERS};
use crate::settings::{AUTH, ORIGINS, SOURCE, TOKEN};
use crate::{network, push};
use camwire::capture::{
    CaptureConfig, FrameRing, Settings, SourceStatus, StaticFrameRing, capture_loop,
    capture_loop_with_settings,
};
use camwire::embassy::{EmbassyClock, LinkClock};
use camwire::server::{Config, Credentials, Server, ViewerSlot};
use embassy_executor::Spawner;
use embassy_net::{Stack, StackResources};
use embassy_time::{Duration, with_timeout};
use esp_println::println;
use static_cell::StaticCell;

/// How long to wait before a camera is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What reads the ring besides, each on a socket of its own: one that pushes, and what a binary may
/// add.
const EXTRAS: usize = 2;
/// Besides those of the connections: for DHCP and DNS.
const SOCKETS: usize = CONNECTIONS + EXTRAS + 2;

/// What there is once all of it runs.
pub struct Web {
    pub ring: &'static FrameRing<'static>,
    pub status: &'static SourceStatus,
    pub settings: &'static Settings,
    pub stack: Stack<'static>,
}

/// Starts it, with the server on these ports.
///
/// # Panics
///
/// If it has been called before.
pub fn start(spawner: Spawner, ports: &'static [u16]) -> Web {
    static RING: StaticFrameRing<SLOTS, { camera::SLOT_BYTES }, { CONNECTIONS + EXTRAS }> =
        StaticFrameRing::new();
    static STATUS: SourceStatus = SourceStatus::new(SOURCE);
    static SETTINGS: Settings = Settings::new();
    static PLACES: [ViewerSlot; VIEWERS] = [const { ViewerSlot::new() }; VIEWERS];
    static SERVER: StaticCell<Server<'static, LinkClock<'static>>> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();

    let board = board::start();
    board::start_scheduler(board.timer, board.interrupt);
    board::start_watchdog(spawner, board.watchdog);

    // The camera, the ring it fills, and the server of what is in it.
    let ring = RING.take(delivery::POLICY).expect("this runs once");
    spawner.spawn(capture(board.camera, ring, &STATUS, &SETTINGS).expect("it is spawned once"));
    let server =
        Server::new(ring, &STATUS, &PLACES, network::LINK.clock(), network::RANDOM, config());
    let server = &*SERVER.init(server.with_settings(&SETTINGS));

    let sockets = RESOURCES.init(StackResources::new());
    let stack = network::start(spawner, board.wifi, sockets, ports);
    delivery::start(spawner, server, stack, ports);
    push::start(spawner, server, stack);
    Web { ring, status: &STATUS, settings: &SETTINGS, stack }
}

/// How the server behaves, and who may.
fn config() -> Config {
    let mut config = Config::default();
    config.mode = delivery::MODE;
    config.origins = ORIGINS;
    config.credentials.basic = AUTH;
    config.credentials.token = TOKEN;
    if config.credentials == Credentials::default() {
        println!("there is no password: whoever is in the network can watch");
    }
    config
}

/// Captures pictures while anybody watches, and sets the camera to what they wish.
#[embassy_executor::task]
pub async fn capture(
    mut port: Port,
    ring: &'static FrameRing<'static>,
    status: &'static SourceStatus,
    settings: &'static Settings,
) {
    let publisher = &mut ring.publisher().expect("only this task publishes");
    let clock = &EmbassyClock;
    let mut config = CaptureConfig::default();
    config.rate = Some(camera::rate());
    loop {
        match camera::find(&mut port).await {
            Ok(mut camera) => {
                let camera = &mut camera;
                capture_loop_with_settings(publisher, camera, clock, &config, status, settings)
                    .await;
            }
            Err(error) => {
                println!("camera: {error}");
                // Meanwhile /stats and /healthz say so, too.
                let missing = &mut Missing(error);
                let told = capture_loop(publisher, missing, clock, &config, status);
                let _ = with_timeout(LOOK_AGAIN, told).await;
            }
        }
    }
}
