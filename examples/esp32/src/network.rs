//! Wi-Fi as a station, and the address in its network.

use crate::settings::{ADDRESS, GATEWAY, PASSWORD, RECEIVE_QUEUE, SSID};
use camwire::embassy::{HeldLink, Link};
use camwire::frame::{Backoff, Random};
use embassy_executor::Spawner;
use embassy_net::{Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use esp_hal::peripherals::WIFI;
use esp_hal::rng::Rng;
use esp_println::println;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, ConnectionError, ControllerConfig, Interface,
    WifiController,
};

/// The chip's generator. Nobody can predict it once Wi-Fi runs: the radio's noise feeds it.
pub const RANDOM: Random = Random::new(|| Rng::new().random());

/// How long to wait before connecting again.
const BACKOFF: Backoff =
    Backoff::new(core::time::Duration::from_secs(1), core::time::Duration::from_secs(60));
/// A connection that held for so long was good: the next wait is the first one again. A network
/// that accepts and then drops at once is tried ever more slowly.
const STABLE: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(30);
/// How often to look whether there still is a connection.
const LOOK: Duration = Duration::from_secs(5);

/// Wi-Fi's link. What it loses of the link for up to 30 seconds, no connection notices.
pub static LINK: Link = Link::new();

/// Wi-Fi as the network stack sees it.
type Wifi = HeldLink<'static, Interface>;

/// Starts Wi-Fi and the network stack. From then on they keep the connection by themselves, and say
/// where the server is to be found.
pub fn start<const SOCKETS: usize>(
    spawner: Spawner,
    wifi: WIFI<'static>,
    sockets: &'static mut StackResources<SOCKETS>,
    ports: &'static [u16],
) -> Stack<'static> {
    let authentication = match PASSWORD {
        "" => AuthenticationMethodConfig::Open,
        word => AuthenticationMethodConfig::Wpa2Personal(
            word.try_into().expect("build.rs has looked at it"),
        ),
    };
    let station = StationConfig::default()
        .with_ssid(SSID.try_into().expect("build.rs has looked at its length"))
        .with_authentication(authentication);
    let config = ControllerConfig::default()
        .with_initial_config(Config::Station(station))
        .with_rx_queue_size(RECEIVE_QUEUE);
    let controller = WifiController::new(wifi, config).expect("Wi-Fi starts");

    let address = match ADDRESS {
        None => embassy_net::Config::dhcpv4(Default::default()),
        Some((address, bits)) => embassy_net::Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(address, bits),
            gateway: GATEWAY,
            // Routers answer questions about names, too.
            dns_servers: GATEWAY.into_iter().collect(),
        }),
    };
    let seed = u64::from_ne_bytes(RANDOM.bytes());
    let driver = Wifi::new(Interface::station(), &LINK);
    let (stack, runner) = embassy_net::new(driver, address, sockets, seed);
    spawner.spawn(stay_connected(controller).expect("it is spawned once"));
    spawner.spawn(run(runner).expect("it is spawned once"));
    spawner.spawn(tell_address(stack, ports).expect("it is spawned once"));
    stack
}

/// Connects to the network, again and again.
#[embassy_executor::task]
async fn stay_connected(mut wifi: WifiController<'static>) {
    let mut backoff = BACKOFF;
    loop {
        println!("wifi: connecting to {SSID}");
        match with_timeout(CONNECTING, wifi.connect_async()).await {
            Ok(Err(ConnectionError::Failed(end))) => println!("wifi: refused: {:?}", end.reason),
            Ok(Err(error)) => println!("wifi: refused: {error:?}"),
            Err(_) if !wifi.is_connected() => {
                println!("wifi: no answer");
                let _ = with_timeout(LOOK, wifi.disconnect_async()).await;
            }
            // Or it is connected, and the event that says so was lost.
            Ok(Ok(_)) | Err(_) => {
                println!("wifi: connected");
                let since = Instant::now();
                disconnected(&wifi).await;
                if since.elapsed() >= STABLE {
                    backoff.reset();
                }
            }
        }
        let seconds = backoff.next(0).as_secs();
        println!("wifi: again in {seconds} s");
        Timer::after_secs(seconds).await;
    }
}

/// Waits for the end of a connection. The driver drops events when it has many, so this looks as
/// well.
async fn disconnected(wifi: &WifiController<'static>) {
    while wifi.is_connected() {
        if let Ok(Ok(end)) = with_timeout(LOOK, wifi.wait_for_disconnect_async()).await {
            println!("wifi: lost: {:?}", end.reason);
            return;
        }
    }
    println!("wifi: lost");
}

#[embassy_executor::task]
async fn run(mut runner: embassy_net::Runner<'static, Wifi>) {
    runner.run().await;
}

/// Says where to look, each time there is an address: at the server's ports.
#[embassy_executor::task]
async fn tell_address(stack: Stack<'static>, ports: &'static [u16]) {
    loop {
        stack.wait_link_up().await;
        stack.wait_config_up().await;
        if let Some(config) = stack.config_v4() {
            let address = config.address.address();
            ports.iter().for_each(|port| match port {
                80 => println!("open http://{address}/"),
                _ => println!("open http://{address}:{port}/"),
            });
        }
        stack.wait_config_down().await;
    }
}
