//! MQTT: the frames published at a broker, and commands applied from there.

mod address;
mod client;
mod output;
mod packet;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use camwire::frame::FrameRate;
use camwire::mqtt::{ChunkerError, Prefix};
use clap::{Args, ValueEnum};

pub(crate) use address::{Broker, MqttUrl};
pub(crate) use client::{BrokerError, ClientOptions, Connection, Connector};
pub(crate) use output::{Host, MqttOutput, web_port};
pub(crate) use packet::Packet;

use crate::cli::SourceArg;
use crate::dial::Trust;
use crate::login::{Login, Secret};

/// What is said of MQTT on the command line of `serve`.
#[derive(Debug, Args)]
#[command(next_help_heading = "MQTT")]
pub(crate) struct MqttArgs {
    /// Publish the frames to an MQTT broker and apply the commands from there:
    /// mqtt://[USER:PASSWORD@]HOST[:PORT], mqtts:// with TLS, or off
    #[arg(long, default_value = "off", value_name = "BROKER")]
    pub(crate) mqtt: BrokerArg,

    /// What the topics of the frames begin with; another one for each camera at a broker. camwire/
    /// and the name of this machine, unless said otherwise
    #[arg(long, default_value_t = own_prefix(), hide_default_value = true, value_name = "TOPIC", value_parser = prefix)]
    pub(crate) mqtt_prefix: String,

    /// What the topics of commands begin with; as those of the frames, unless said otherwise
    #[arg(long, value_name = "TOPIC", value_parser = prefix)]
    pub(crate) mqtt_control_prefix: Option<String>,

    /// How a picture becomes messages: whole (one message, for Home Assistant and other tools),
    /// framed (parts for camwire's own programs), indexed (as the ESP32 camera
    /// esp32_mqtt_livestream); several with commas between them
    #[arg(long, default_value = "whole", value_name = "LAYOUT", value_delimiter = ',')]
    pub(crate) mqtt_layout: Vec<Layout>,

    /// Whether pictures are published from the start, or only after camera/stream/start
    #[arg(long, default_value = "on", value_name = "on|off", value_parser = switch, action = clap::ArgAction::Set)]
    pub(crate) mqtt_publish: bool,

    /// Most frames a second that are published; all of the source's, unless said otherwise, but two
    /// whole ones where Home Assistant discovers the camera: it shows no more
    #[arg(long, value_name = "RATE")]
    pub(crate) mqtt_fps: Option<FrameRate>,

    /// Bytes of the largest packet. 64 KiB in the framed layout and 2,000,000 in the others,
    /// unless said otherwise
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(256..=LARGEST_PACKET))]
    pub(crate) mqtt_packet: Option<u32>,

    /// Have the broker keep the last picture, or in the indexed layout its parts, for those who
    /// come later
    #[arg(long)]
    pub(crate) mqtt_retain: bool,

    /// User at the broker, in place of the one in its URL
    #[arg(long, value_name = "NAME", requires = "mqtt_password")]
    pub(crate) mqtt_user: Option<String>,

    /// Password at the broker
    #[arg(long, value_name = "PASSWORD", requires = "mqtt_user", value_parser = secret)]
    pub(crate) mqtt_password: Option<Secret>,

    /// Where Home Assistant looks for cameras, if the layout is whole; off announces nothing; remove
    /// makes it forget the camera, remove=TOPIC if it looks elsewhere
    #[arg(long, default_value = "homeassistant", value_name = "TOPIC|off|remove")]
    pub(crate) mqtt_discovery: DiscoveryArg,
}

/// How connections to brokers are encrypted, of `--mqtt` and of sources.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct MqttTlsArgs {
    /// With mqtts://, the certificates of the authorities to trust, in PEM, in place of the system's
    #[arg(long, value_name = "FILE")]
    mqtt_ca: Option<PathBuf>,

    /// With mqtts://, the certificate to present to the broker, in PEM
    #[arg(long, value_name = "FILE", requires = "mqtt_key")]
    mqtt_cert: Option<PathBuf>,

    /// The private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "mqtt_cert")]
    mqtt_key: Option<PathBuf>,
}

impl MqttTlsArgs {
    /// Sets up the encryption of a broker, if it has any.
    pub(crate) fn apply(&self, broker: &mut Broker) {
        if let Some(trust) = &mut broker.tls {
            let identity = self.mqtt_cert.clone().zip(self.mqtt_key.clone());
            *trust = Trust { ca: self.mqtt_ca.clone(), identity };
        }
    }
}

/// MQTT's own limit.
const LARGEST_PACKET: i64 = (1 << 28) + 4;

impl MqttArgs {
    /// What the topics of Home Assistant begin with, if the camera announces itself there.
    fn discovery(&self) -> Option<&str> {
        match &self.mqtt_discovery {
            DiscoveryArg::At(topic) if self.mqtt_layout.contains(&Layout::Whole) => Some(topic),
            _ => None,
        }
    }

    fn login(&self) -> Option<Login> {
        let (user, Secret(password)) = (self.mqtt_user.clone()?, self.mqtt_password.clone()?);
        Some(Login { user, password })
    }
}

/// What `--mqtt` names.
#[derive(Clone, Debug)]
pub(crate) enum BrokerArg {
    Off,
    At(Broker),
}

impl FromStr for BrokerArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            url => {
                let url: MqttUrl = url.parse()?;
                if !url.path.is_empty() || !url.query.is_empty() {
                    return Err("the topics are said by --mqtt-prefix, not in the URL".to_owned());
                }
                Ok(Self::At(url.broker))
            }
        }
    }
}

/// What `--mqtt-discovery` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiscoveryArg {
    Off,
    /// What Home Assistant's topics begin with.
    At(String),
    Remove(String),
}

impl FromStr for DiscoveryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').unwrap_or((text, "homeassistant")) {
            ("off", _) => Ok(Self::Off),
            ("remove", topic) => prefix(topic).map(Self::Remove),
            _ => prefix(text).map(Self::At),
        }
    }
}

/// `camwire/` and the name of this machine.
fn own_prefix() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let name: String = name.chars().filter(|c| is_plain(*c)).take(64).collect();
    format!("camwire/{}", if name.is_empty() { "host" } else { &name })
}

/// How frames become messages: see the README of camwire-mqtt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    Framed,
    Indexed,
    Whole,
}

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MqttError {
    #[error("--mqtt-packet {packet} is too small: {1}", packet = .0)]
    Packet(u32, ChunkerError),
    #[error("source and --mqtt have the same topics: the frames would go round in a circle")]
    Circle,
    #[error(
        "--mqtt-prefix and --mqtt-discovery are the same: so would be the status topics of the \
         camera and of Home Assistant"
    )]
    Discovery,
}

/// Publishes what `args` say, until it is closed. `None` if they say nothing.
pub(crate) fn open(
    args: &MqttArgs,
    tls: &MqttTlsArgs,
    source: &SourceArg,
    host: Host,
) -> Result<Option<MqttOutput>, MqttError> {
    if let SourceArg::Mqtt(camera) = source
        && camera.is_at(&args.mqtt, &args.mqtt_prefix)
    {
        return Err(MqttError::Circle);
    }
    let is_off = matches!(args.mqtt, BrokerArg::Off);
    if !is_off && args.discovery().is_some_and(|topic| topic == args.mqtt_prefix) {
        return Err(MqttError::Discovery);
    }
    let broker = match &args.mqtt {
        BrokerArg::Off => return Ok(None),
        BrokerArg::At(broker) => {
            let mut broker = broker.clone();
            tls.apply(&mut broker);
            broker.login = args.login().or(broker.login);
            broker
        }
    };
    MqttOutput::open(args, broker, host).map(Some)
}

pub(crate) fn prefix(text: &str) -> Result<String, String> {
    Prefix::new(text).map(|prefix| prefix.as_str().to_owned()).map_err(|error| error.to_string())
}

#[allow(clippy::unnecessary_wraps)] // As all parsers of values.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret(text.to_owned()))
}

fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off"),
    }
}

/// A number for what must be another after each start. Nothing secret depends on it.
pub(crate) fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as u32
}

/// How long a warning that repeats itself is left out.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_is_a_topic_off_or_remove() {
        let at = |topic: &str| Ok(DiscoveryArg::At(topic.to_owned()));
        let remove = |topic: &str| Ok(DiscoveryArg::Remove(topic.to_owned()));
        for (text, expected) in [
            ("homeassistant", at("homeassistant")),
            ("ha/2", at("ha/2")),
            ("off", Ok(DiscoveryArg::Off)),
            ("remove", remove("homeassistant")),
            ("remove=ha", remove("ha")),
        ] {
            assert_eq!(text.parse(), expected);
        }
        for text in ["", "ha/", "ha/#", "remove=", "remove=+"] {
            assert!(text.parse::<DiscoveryArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn own_prefix_is_that_of_this_machine() {
        let prefix = own_prefix();
        assert!(Prefix::new(&prefix).is_ok());
        assert!(prefix.len() > "camwire/".len());
        assert_eq!(prefix, own_prefix());
    }
}
