//! A camera server as firmware, on bare metal: riscv32, embassy, no allocator.
//!
//! This file is what your own firmware would be. What belongs to the board (here one that QEMU
//! makes up) is in [`board`]; on a real one a HAL such as esp-hal does that.

#![no_std]
#![no_main]

mod arguments;
mod board;
mod mqtt;
mod pictures;
mod robot;

use arguments::Arguments;
use board::{Board, RANDOM, println};
use camwire::capture::{
    CaptureConfig, FrameRing, Policy, Settings, SourceStatus, StaticFrameRing,
    capture_loop_with_settings,
};
use camwire::embassy::{EmbassyClock, HeldLink, Link, LinkClock, PushEnd, PushMemory, push, serve};
use camwire::frame::{FrameRate, Quality, Resolution};
use camwire::pattern::TestSource;
use camwire::server::{Credentials, Push, Server, Unflushed, ViewerSlot};
use core::time::Duration;
use embassy_executor::{Executor, Spawner};
use embassy_futures::yield_now;
use embassy_net::tcp::TcpSocket;
use embassy_net::{Stack, StackResources};
use embassy_time::Timer;
use pictures::Pictures;
use robot::Robot;
use static_cell::StaticCell;

/// How many can watch at once.
const VIEWERS: usize = 10;
/// One socket for each, and some to spare: for snapshots, figures, and for saying that it is full.
const SOCKETS: usize = VIEWERS + 2;
/// Pictures in memory: the newest, the one being captured, and those that slow viewers still hold.
const SLOTS: usize = 6;
/// The largest picture.
const SLOT_BYTES: usize = 16 * 1024;

/// The server with the routes of the robot.
type CameraServer = Server<'static, LinkClock<'static>, Robot>;

/// For each viewer, and for DHCP, DNS, the relay and the broker.
const ALL_SOCKETS: usize = SOCKETS + 4;

/// The network, which keeps connections while its link is down for a while.
type Network = HeldLink<'static, board::Network, ALL_SOCKETS>;

#[riscv_rt::entry]
fn main(_hart: usize, device_tree: usize) -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let board = board::start(device_tree);
    let executor = EXECUTOR.init(Executor::new());
    executor.run(|spawner| spawner.spawn(firmware(spawner, board).expect("it is the first task")))
}

#[embassy_executor::task]
async fn firmware(spawner: Spawner, board: Board) {
    static RING: StaticFrameRing<SLOTS, SLOT_BYTES, { SOCKETS + 1 }> = StaticFrameRing::new();
    static STATUS: SourceStatus = SourceStatus::new("qemu");
    static SETTINGS: Settings = Settings::new();
    static PLACES: [ViewerSlot; VIEWERS] = [const { ViewerSlot::new() }; VIEWERS];
    static SERVER: StaticCell<CameraServer> = StaticCell::new();
    static SOCKET_SET: StaticCell<StackResources<ALL_SOCKETS>> = StaticCell::new();
    static LINK: StaticCell<Link> = StaticCell::new();

    let arguments = Arguments::parse(board.arguments);
    let link = &*LINK.init(Link::with_hold(arguments.hold));
    spawner.spawn(robot::walk().expect("one task"));

    // The camera, the ring it fills, and the server of what is in it.
    let ring = RING.take(Policy::DropOldest).expect("this runs once");
    spawner.spawn(
        camera(ring, &STATUS, &SETTINGS, arguments.rate, arguments.pictures).expect("one task"),
    );
    if arguments.server.credentials == Credentials::default() {
        println!("there is no password: whoever reaches this can watch");
    }
    let server = Server::new(ring, &STATUS, &PLACES, link.clock(), RANDOM, arguments.server);
    let server = &*SERVER.init(server.with_settings(&SETTINGS).with_application(Robot));

    let network = embassy_net::Config::dhcpv4(Default::default());
    let sockets = SOCKET_SET.init(StackResources::new());
    let seed = u64::from_ne_bytes(RANDOM.bytes());
    let driver = Network::new(board.network, link);
    let (stack, runner) = embassy_net::new(driver, network, sockets, seed);
    spawner.spawn(network_task(runner).expect("one task"));
    stack.wait_config_up().await;
    if arguments.mqtt.broker.is_some() {
        let (clock, stream) = (link.clock(), RANDOM.word());
        let publish = mqtt::publish(ring, &SETTINGS, &STATUS, stack, clock, arguments.mqtt, stream);
        spawner.spawn(publish.expect("one task"));
    }
    println!("serve: {} bytes of state per connection", bytes_of_serve(server, stack));
    // Each port has its share of the sockets.
    for port in arguments.ports.iter().cycle().take(SOCKETS) {
        spawner.spawn(connection(server, stack, *port).expect("the pool has one for each socket"));
    }
    yield_now().await; // Now each of them listens.
    if let Some(config) = stack.config_v4() {
        let address = config.address.address();
        for port in &arguments.ports {
            println!("listening on http://{address}:{port}/");
        }
    }

    if let Some(to) = arguments.push {
        spawner.spawn(relay(server, stack, to).expect("one task"));
    }

    if let Some(seconds) = arguments.seconds {
        Timer::after_secs(seconds).await;
        robot::report();
        board::exit(0);
    }
}

/// Captures pictures while anybody watches. Your camera's driver goes here: any
/// [`FrameSource`](camwire::frame::FrameSource).
#[embassy_executor::task]
async fn camera(
    ring: &'static FrameRing<'static>,
    status: &'static SourceStatus,
    settings: &'static Settings,
    rate: FrameRate,
    pictures: Option<usize>,
) {
    let publisher = &mut ring.publisher().expect("only this task publishes");
    let clock = &EmbassyClock;
    let mut config = CaptureConfig::default();
    config.rate = Some(rate);
    match pictures {
        None => {
            let quality = Quality::new(12).expect("in range");
            let source = &mut TestSource::new(clock, Resolution::QVGA, quality);
            capture_loop_with_settings(publisher, source, clock, &config, status, settings).await;
        }
        Some(bytes) => {
            let source = &mut Pictures::new(clock, board::injected(bytes));
            capture_loop_with_settings(publisher, source, clock, &config, status, settings).await;
        }
    }
}

/// Serves one connection after another.
#[embassy_executor::task(pool_size = SOCKETS)]
async fn connection(server: &'static CameraServer, stack: Stack<'static>, port: u16) {
    // What is sent waits in the second buffer until the viewer has confirmed it.
    serve(server, stack, port, &mut [0; 1024], &mut [0; 4096]).await;
}

/// Pushes pictures to a relay. It has one of the places for viewers.
#[embassy_executor::task]
async fn relay(server: &'static CameraServer, stack: Stack<'static>, to: Push<'static>) {
    let told =
        |end: PushEnd, wait: Duration| println!("push: {end}; again in {} ms", wait.as_millis());
    push(server, stack, to, &mut PushMemory::<4096>::new(), told).await;
}

#[embassy_executor::task]
async fn network_task(mut runner: embassy_net::Runner<'static, Network>) {
    runner.run().await;
}

/// What a viewer costs besides its socket and its place in the ring.
fn bytes_of_serve(server: &CameraServer, stack: Stack<'_>) -> usize {
    let (mut received, mut sent) = ([0; 1], [0; 1]);
    let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
    let (read, write) = socket.split();
    size_of_val(&server.serve(read, Unflushed(write), None))
}
