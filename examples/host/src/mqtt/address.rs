//! URLs of brokers and of what is there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::dial::Trust;
use crate::login::{Login, percent_decode};

/// A broker, and who one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    /// An IPv6 address is in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) login: Option<Login>,
    /// Whom to trust, if the connection is encrypted.
    pub(crate) tls: Option<Trust>,
}

/// For messages: without the password.
impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Broker {
    /// The host without brackets.
    pub(crate) fn plain_host(&self) -> &str {
        without_brackets(&self.host).unwrap_or(&self.host)
    }

    /// Whether this is at the same place, as far as that can be told without asking a name server.
    pub(crate) fn is_at(&self, host: &str, port: u16) -> bool {
        self.port == port && Host::of(&self.host) == Host::of(host)
    }
}

fn without_brackets(host: &str) -> Option<&str> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']'))
}

/// What a host is told apart by.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    /// This computer, by any of the names and addresses that no other has.
    Here,
    At(IpAddr),
    Named(String),
}

impl Host {
    fn of(host: &str) -> Self {
        match without_brackets(host)
            .unwrap_or(host)
            .parse()
            .map(|address: IpAddr| address.to_canonical())
        {
            // Who connects to no address at all comes to this computer.
            Ok(address) if address.is_loopback() || address.is_unspecified() => Self::Here,
            Ok(address) => Self::At(address),
            Err(_) => match host.trim_end_matches('.').to_ascii_lowercase() {
                name if name == "localhost" => Self::Here,
                name => Self::Named(name),
            },
        }
    }
}

/// `mqtt://[USER:PASSWORD@]HOST[:PORT][/PATH][?NAME=VALUE&...]`, or `mqtts://` with TLS. Other
/// programs call them `tcp://` and `ssl://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MqttUrl {
    pub(crate) broker: Broker,
    /// Without the slash before it.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
}

const NO_URL: &str = "not a URL like mqtt://[USER:PASSWORD@]HOST[:PORT]";

/// As registered with IANA: without TLS, and with it.
const PORTS: [u16; 2] = [1883, 8883];

impl FromStr for MqttUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, login) = Login::split(text).map_err(|error| error.to_string())?;
        let decode = |text: &str| percent_decode(text).map_err(|error| error.to_string());
        let (scheme, rest) = text.split_once("://").ok_or(NO_URL)?;
        let is_tls = match scheme {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" if cfg!(feature = "tls") => true,
            "mqtts" | "ssl" => return Err("this program was built without TLS".to_owned()),
            _ => return Err(NO_URL.to_owned()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match address.rsplit_once(':') {
            // Not the colons of an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (address, None),
        };
        let port = match port.map(str::parse) {
            None => PORTS[usize::from(is_tls)],
            Some(Ok(port @ 1..)) => port,
            Some(_) => return Err("a port is a number from 1 to 65535".to_owned()),
        };
        if host.is_empty() || without_brackets(host).is_none() && host.contains([':', '[', ']']) {
            return Err(NO_URL.to_owned());
        }
        let tls = is_tls.then(Trust::default);
        let broker = Broker { host: host.to_owned(), port, login, tls };
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { broker, path: decode(path)?, query: pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let broker = |host: &str| Broker { host: host.to_owned(), port: 1, login: None, tls: None };
        let here = ["localhost", "LocalHost.", "127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0"];
        for host in here {
            for other in here {
                assert!(broker(host).is_at(other, 1), "{host} {other}");
            }
            assert!(!broker(host).is_at(host, 2));
            assert!(!broker(host).is_at("192.168.1.1", 1) && !broker(host).is_at("broker", 1));
        }
        assert!(broker("[::ffff:10.0.0.1]").is_at("10.0.0.1", 1));
        assert!(broker("Broker").is_at("broker", 1) && !broker("a").is_at("b", 1));
    }

    #[test]
    fn urls() {
        let parse = |text: &str| text.parse::<MqttUrl>();
        let plain = parse("mqtt://broker").unwrap();
        assert_eq!(
            plain.broker,
            Broker { host: "broker".into(), port: 1883, login: None, tls: None }
        );
        assert_eq!((plain.path.as_str(), plain.query.len()), ("", 0));

        let full = parse("mqtt://an%40na:se:c%2Fret@[::1]:99/a/b%20c?layout=whole&control=x%2Fy");
        let full = full.unwrap();
        let login = Login { user: "an@na".into(), password: "se:c/ret".into() };
        assert_eq!(
            full.broker,
            Broker { host: "[::1]".into(), port: 99, login: Some(login), tls: None }
        );
        assert_eq!(full.path, "a/b c");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(full.query, [pair("layout", "whole"), pair("control", "x/y")]);
        assert_eq!(full.broker.to_string(), "[::1]:99");
        for secret in ["an@na", "an%40na", "ret"] {
            assert!(!format!("{full:?}").contains(secret), "a login in a debug text");
        }
        assert_eq!(parse("mqtt://@broker").unwrap().broker, plain.broker);
        let v6 = parse("mqtt://[::1]").unwrap().broker;
        assert_eq!((v6.host.as_str(), v6.plain_host()), ("[::1]", "::1"));
        assert_eq!(parse("tcp://broker").unwrap().broker, plain.broker);
        for text in ["mqtts://broker", "ssl://broker"] {
            let encrypted = parse(text).map(|url| (url.broker.port, url.broker.tls.is_some()));
            assert_eq!(encrypted.is_ok(), cfg!(feature = "tls"));
            assert!(encrypted.is_err() || encrypted == Ok((8883, true)));
        }

        for text in [
            "",
            "mqtt:",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://a:0",
            "mqtt://a:x",
            "mqtt://a:65536",
            "mqtt://::1",
            "mqtt://[::1",
            "mqtt://a/%",
            "mqtt://a/%2",
            "mqtt://a/%+1",
            "mqtt://a/%ff",
            "mqtt://anna:12/34@a/cam",
            "mqtt://anna:%0a@a/cam",
            "http://a",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
