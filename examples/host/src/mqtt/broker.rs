//! A broker within the program, by rumqttd.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::MqttError;
use super::address::Broker;
use crate::login::Login;
use crate::serve::Because;

/// Bytes of the largest message that it passes on: any picture that the ring takes.
const LARGEST_MESSAGE: usize = 32 << 20;

/// For each filter that anybody has subscribed to, the broker keeps up to three segments of so
/// many bytes; a subscriber that is slower than that misses messages.
const SEGMENT: usize = 4 << 20;

/// How long the broker may take to answer at its port.
const START: Duration = Duration::from_secs(5);

/// Starts it, on a thread of its own that ends with the program. Returns where it is.
pub(super) fn start(listen: SocketAddr, login: Option<Login>) -> Result<Broker, MqttError> {
    // The broker would only write into the log that the port is taken.
    let probe = TcpListener::bind(listen).and_then(|probe| probe.local_addr());
    let listen = probe.map_err(|error| MqttError::Listen(listen, Because(error)))?;
    let is_open = login.is_none();
    let users = |login: &Login| HashMap::from([(login.user.clone(), login.password.clone())]);
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: LARGEST_MESSAGE,
        max_inflight_count: 100,
        auth: login.as_ref().map(users),
        external_auth: None,
        dynamic_filters: false,
    };
    let server = ServerSettings {
        name: "mqtt".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 1000,
        max_outgoing_packet_count: 200,
        max_segment_size: SEGMENT,
        max_segment_count: 2,
        ..RouterConfig::default()
    };
    let v4 = Some(HashMap::from([("mqtt".to_owned(), server)]));
    let config = Config { router, v4, ..Config::default() };
    let run = move || {
        if let Err(error) = rumqttd::Broker::new(config).start() {
            log::error!("the broker has ended: {error}");
        }
    };
    std::thread::Builder::new().name("broker".to_owned()).spawn(run).map_err(MqttError::Start)?;

    let mut reach = listen;
    if reach.ip().is_unspecified() {
        let loopback: [IpAddr; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
        reach.set_ip(loopback[usize::from(reach.is_ipv6())]);
    }
    let begun = Instant::now();
    while let Err(error) = TcpStream::connect(reach) {
        if begun.elapsed() > START {
            return Err(MqttError::Start(error));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    log::info!("MQTT broker on {listen}");
    if is_open && !listen.ip().is_loopback() {
        log::warn!("the broker has no password: whoever reaches {listen} can watch and command");
    }
    let address = reach.to_string();
    let host = address.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
    Ok(Broker { host, port: reach.port(), login })
}
