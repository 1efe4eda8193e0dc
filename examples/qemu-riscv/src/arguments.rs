use crate::mqtt::Mqtt;
use camwire::embassy::Link;
use camwire::frame::FrameRate;
use camwire::server::{Authorization, Config, Push};
use camwire::websocket::Uri;
use core::time::Duration;
use heapless::Vec;
use static_cell::StaticCell;

/// The most ports.
const PORTS: usize = 3;

/// What can be said to the firmware when it starts: words such as `fps=20`.
#[derive(Debug)]
pub struct Arguments {
    /// `seconds=N`: end after so long; without it, never.
    pub seconds: Option<u64>,
    /// `fps=N`: the most pictures a second.
    pub rate: FrameRate,
    /// `pictures=N`: show the JPEG pictures in the N bytes that QEMU's loader has put into memory.
    pub pictures: Option<usize>,
    /// `ports=N,N`: where the server listens; 80.
    pub ports: Vec<u16, PORTS>,
    /// `hold=N`: how many seconds the network's link may be down before connections end; 30.
    pub hold: Duration,
    /// `auth=USER:PASSWORD` and `token=TOKEN`: what the server asks for; either will do.
    /// `origin=http://HOST:PORT`: pages from there may open WebSockets and change settings, too.
    pub server: Config,
    /// `push=ws://HOST[:PORT]/PATH`: a relay, which gets the pictures, too; and the token that it
    /// asks for, `push_token=TOKEN`.
    pub push: Option<Push<'static>>,
    /// `mqtt=ADDRESS:PORT` and what else begins with `mqtt`: the broker.
    pub mqtt: Mqtt,
}

impl Arguments {
    /// Panics at what it does not understand, so that no typing error goes unnoticed.
    pub fn parse(text: &'static str) -> Self {
        let mut arguments = Self {
            seconds: None,
            rate: "15".parse().expect("a rate"),
            pictures: None,
            ports: Vec::from_array([80]),
            hold: Link::HOLD,
            server: Config::default(),
            push: None,
            mqtt: Mqtt::default(),
        };
        let mut push_token = None;
        let credentials = &mut arguments.server.credentials;
        for word in text.split_whitespace() {
            let understood = match word.split_once('=') {
                Some(("seconds", n)) => n.parse().map(|n| arguments.seconds = Some(n)).is_ok(),
                Some(("fps", rate)) => rate.parse().map(|rate| arguments.rate = rate).is_ok(),
                Some(("pictures", n)) => n.parse().map(|n| arguments.pictures = Some(n)).is_ok(),
                Some(("ports", list)) => ports(list).map(|ports| arguments.ports = ports).is_some(),
                Some(("hold", n)) => {
                    n.parse().map(|n| arguments.hold = Duration::from_secs(n)).is_ok()
                }
                Some(("auth", pair)) if pair.contains(':') => {
                    credentials.basic = Some(pair);
                    true
                }
                Some(("token", token)) => {
                    credentials.token = Some(token);
                    true
                }
                Some(("origin", origin)) => {
                    static ORIGIN: StaticCell<[&str; 1]> = StaticCell::new();
                    arguments.server.origins = ORIGIN.init([origin]);
                    true
                }
                Some(("push", uri)) => {
                    Uri::parse(uri).map(|uri| arguments.push = Some(Push::to(uri))).is_ok()
                }
                Some(("push_token", token)) => {
                    Authorization::bearer(token).map(|token| push_token = Some(token)).is_ok()
                }
                Some((name, value)) => arguments.mqtt.understand(name, value),
                None => false,
            };
            // Its value may be a secret.
            let (name, _) = word.split_once('=').unwrap_or((word, ""));
            assert!(understood, "not an argument of this firmware: {name}");
        }
        if let Some(push) = &mut arguments.push {
            push.authorization = push_token;
        }
        arguments
    }
}

fn ports(list: &str) -> Option<Vec<u16, PORTS>> {
    let mut ports = Vec::new();
    for port in list.split(',') {
        ports.push(port.parse().ok()?).ok()?;
    }
    Some(ports)
}
