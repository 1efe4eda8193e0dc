//! A camera in the browser: MJPEG, snapshots, settings, statistics and a page, over Wi-Fi.
//!
//! This file is the whole of it, from top to bottom; what it calls is in the library beside it.

#![no_std]
#![no_main]

use camwire::embassy::EmbassyClock;
use camwire::ring::{
    CaptureConfig, FrameRing, RingMemory, Settings, SourceStatus, capture_loop,
    capture_loop_with_settings,
};
use camwire::server::{Config, Server, ViewerSlot};
use camwire_esp32::board::{self, Port};
use camwire_esp32::camera::{self, Missing};
use camwire_esp32::delivery::{self, CONNECTIONS, SLOTS, VIEWERS};
use camwire_esp32::{network, settings};
use core::future::pending;
use embassy_executor::Spawner;
use embassy_net::StackResources;
use embassy_time::{Duration, with_timeout};
use esp_backtrace as _;
use esp_println::println;
use static_cell::{ConstStaticCell, StaticCell};

/// How long to wait before a camera is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

// What the bootloader wants to know of an image.
esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    static MEMORY: ConstStaticCell<RingMemory<SLOTS, { camera::SLOT_BYTES }, CONNECTIONS>> =
        ConstStaticCell::new(RingMemory::new());
    static RING: StaticCell<FrameRing<'static>> = StaticCell::new();
    static STATUS: SourceStatus = SourceStatus::new(settings::SOURCE);
    static SETTINGS: Settings = Settings::new();
    static PLACES: [ViewerSlot; VIEWERS] = [const { ViewerSlot::new() }; VIEWERS];
    static SERVER: StaticCell<Server<'static, EmbassyClock>> = StaticCell::new();
    static SOCKETS: StaticCell<StackResources<{ CONNECTIONS + 1 }>> = StaticCell::new(); // and DHCP

    let board = board::start();
    board::start_scheduler(board.timer, board.interrupt);
    board::start_watchdog(spawner, board.watchdog);

    // The camera, the ring it fills, and the server of what is in it.
    let ring = &*RING.init(MEMORY.take().ring(delivery::POLICY));
    spawner.spawn(capture(board.camera, ring, &STATUS, &SETTINGS).expect("it is spawned once"));
    let mut config = Config::default();
    config.mode = delivery::MODE;
    let server = Server::new(ring, &STATUS, &PLACES, EmbassyClock, config);
    let server = &*SERVER.init(server.with_settings(&SETTINGS));

    let stack = network::start(spawner, board.wifi, SOCKETS.init(StackResources::new()));
    delivery::start(spawner, server, stack);
    pending().await // What your firmware is really for can go here.
}

/// Captures pictures while anybody watches, and sets the camera to what they wish.
#[embassy_executor::task]
async fn capture(
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
