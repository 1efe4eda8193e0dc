//! A camera in the browser: MJPEG, snapshots, settings, statistics and a page, over Wi-Fi.
//!
//! This file is the whole of it, from top to bottom; what it calls is in the library beside it.

#![no_std]
#![no_main]

use camwire::embassy::EmbassyClock;
use camwire::ring::{
    CaptureConfig, FrameRing, Policy, RingMemory, Settings, SourceStatus,
    capture_loop_with_settings,
};
use camwire::server::{Config, Server, ViewerSlot};
use camwire_esp32::connection::{self, CONNECTIONS};
use camwire_esp32::{board, camera, network, settings};
use core::future::pending;
use embassy_executor::Spawner;
use embassy_net::StackResources;
use esp_backtrace as _;
use static_cell::{ConstStaticCell, StaticCell};

/// How many can watch at once. Two connections remain for snapshots, figures, and for saying that
/// it is full.
const VIEWERS: usize = CONNECTIONS - 2;
/// Pictures in memory: the newest, the one being captured, and one for each slow viewer.
const SLOTS: usize = VIEWERS + 2;
/// The largest picture.
const SLOT_BYTES: usize = 16 * 1024;

// What the bootloader wants to know of an image.
esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    static MEMORY: ConstStaticCell<RingMemory<SLOTS, SLOT_BYTES, CONNECTIONS>> =
        ConstStaticCell::new(RingMemory::new());
    static RING: StaticCell<FrameRing<'static>> = StaticCell::new();
    static STATUS: SourceStatus = SourceStatus::new(settings::SOURCE);
    static SETTINGS: Settings = Settings::new();
    static PLACES: [ViewerSlot; VIEWERS] = [const { ViewerSlot::new() }; VIEWERS];
    static SERVER: StaticCell<Server<'static, EmbassyClock>> = StaticCell::new();
    static SOCKETS: StaticCell<StackResources<{ CONNECTIONS + 1 }>> = StaticCell::new(); // and DHCP

    let chip = board::start();
    board::start_scheduler(chip.TIMG0, chip.FROM_CPU_INTR0);
    board::start_watchdog(spawner, chip.RTC_TIMER);

    // The camera, the ring it fills, and the server of what is in it.
    let ring = &*RING.init(MEMORY.take().ring(Policy::DropOldest));
    spawner.spawn(capture(ring, &STATUS, &SETTINGS).expect("it is spawned once"));
    let server = Server::new(ring, &STATUS, &PLACES, EmbassyClock, Config::default());
    let server = &*SERVER.init(server.with_settings(&SETTINGS));

    let stack = network::start(spawner, chip.WIFI, SOCKETS.init(StackResources::new()));
    for _ in 0..CONNECTIONS {
        spawner.spawn(connection::serve(server, stack).expect("there are as many"));
    }
    pending().await // What your firmware is really for can go here.
}

/// Captures pictures while anybody watches, and sets the camera to what they wish.
#[embassy_executor::task]
async fn capture(
    ring: &'static FrameRing<'static>,
    status: &'static SourceStatus,
    settings: &'static Settings,
) {
    let publisher = &mut ring.publisher().expect("only this task publishes");
    let mut config = CaptureConfig::default();
    config.rate = Some(camera::rate());
    let source = &mut camera::source();
    capture_loop_with_settings(publisher, source, &EmbassyClock, &config, status, settings).await;
}
