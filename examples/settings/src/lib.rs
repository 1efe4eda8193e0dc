//! The settings of the example firmwares: environment variables of the build, whose names start with
//! `CAMWIRE_`. For the build scripts of `examples/esp32` and `examples/esp32-idf`.
//!
//! A missing or wrong setting ends the build with a line that says what to do. The others become
//! `settings.rs`, which the firmware includes.

mod bare_metal;
mod esp_idf;
#[cfg(test)]
mod tests;

pub use bare_metal::bare_metal;
pub use esp_idf::esp_idf;

use std::env;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::path::Path;

/// A piece of settings.rs, or what is wrong.
pub type Setting = Result<String, String>;

/// Where settings come from.
pub trait Variables {
    /// The value of a variable, if it is set.
    ///
    /// # Errors
    ///
    /// A text that says why the value cannot be read.
    fn get(&self, name: &str) -> Result<Option<String>, String>;
}

/// The environment of a build script, which cargo runs again when a variable changes that was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment;

impl Variables for Environment {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        println!("cargo::rerun-if-env-changed={name}");
        match env::var(name) {
            Ok(text) => Ok(Some(text)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
        }
    }
}

/// Writes settings.rs, or reports all that is wrong as errors of the build.
///
/// # Panics
///
/// Outside of a build script, or if the file cannot be written.
pub fn write(settings: &[Setting]) {
    let mut text = String::new();
    for setting in settings {
        match setting {
            Ok(line) => text += line,
            Err(what) => println!("cargo::error={what}"),
        }
    }
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&folder).join("settings.rs"), text).expect("a file can be written");
}

/// What all firmwares have.
fn shared(env: &dyn Variables) -> Vec<Setting> {
    let settings: [fn(&dyn Variables) -> Setting; 10] =
        [ssid, password, address, gateway, ports, auth, token, origins, push, mqtt];
    settings.map(|setting| setting(env)).into()
}

fn ssid(env: &dyn Variables) -> Setting {
    let name =
        needed(env, "CAMWIRE_SSID", "the name of your Wi-Fi network, for instance 'My network'")?;
    if name.is_empty() || name.len() > 32 {
        return Err(format!("CAMWIRE_SSID has 1 to 32 bytes; this has {}", name.len()));
    }
    Ok(format!("/// The Wi-Fi network.\npub const SSID: &str = {name:?};\n"))
}

fn password(env: &dyn Variables) -> Setting {
    let word = needed(env, "CAMWIRE_PASSWORD", "that of the Wi-Fi network; '' if it has none")?;
    let key = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    // The value itself is nobody's business, not even in an error.
    if !word.is_empty() && !(8..=63).contains(&word.len()) && !key {
        return Err(format!(
            "CAMWIRE_PASSWORD has 8 to 63 bytes, or 64 hexadecimal digits, or none for an open \
             network; this has {} bytes",
            word.len()
        ));
    }
    if !word.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("CAMWIRE_PASSWORD can only have printable ASCII characters".to_owned());
    }
    Ok(format!("/// Empty for an open network.\npub const PASSWORD: &str = {word:?};\n"))
}

/// One of several names; without a default it must be given.
fn one_of(
    env: &dyn Variables,
    variable: &str,
    what: &str,
    names: &[&str],
    default: Option<&str>,
) -> Result<String, String> {
    let known = names.join(" or ");
    let name = match (env.get(variable)?, default) {
        (Some(name), _) => name,
        (None, Some(default)) => default.to_owned(),
        (None, None) => return Err(format!("set {variable} in the environment: {what}: {known}")),
    };
    if names.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(format!("{variable} is {known}; this is {name:?}"))
    }
}

fn address(env: &dyn Variables) -> Setting {
    let about = "/// A static address and the bits of its network; without one, DHCP gives it.";
    let value = match network(env)? {
        None => "None".to_owned(),
        Some((address, bits)) => format!("Some(({}, {bits}))", constant(address)),
    };
    Ok(format!("{about}\npub const ADDRESS: Option<(Ipv4Addr, u8)> = {value};\n"))
}

fn gateway(env: &dyn Variables) -> Setting {
    let about = "/// The router, for viewers outside the network of a static address.";
    let value = match env.get("CAMWIRE_GATEWAY")? {
        None => "None".to_owned(),
        Some(_) if env.get("CAMWIRE_ADDRESS")?.is_none() => {
            return Err("CAMWIRE_GATEWAY belongs to CAMWIRE_ADDRESS; DHCP tells both".to_owned());
        }
        Some(text) => {
            let Some(gateway) = host(&text) else {
                return Err(format!(
                    "CAMWIRE_GATEWAY is an address, for instance 192.168.1.1; this is {text:?}"
                ));
            };
            // What is wrong with the address itself, address() has said.
            if let Ok(Some((address, bits))) = network(env)
                && !(same_network(gateway, address, bits) && is_machine(gateway, bits))
            {
                return Err(format!(
                    "CAMWIRE_GATEWAY is a machine in the network of CAMWIRE_ADDRESS, \
                     {address}/{bits}; {gateway} is not"
                ));
            }
            format!("Some({})", constant(gateway))
        }
    };
    Ok(format!("{about}\npub const GATEWAY: Option<Ipv4Addr> = {value};\n"))
}

/// The static address, with the bits of its network.
fn network(env: &dyn Variables) -> Result<Option<(Ipv4Addr, u8)>, String> {
    let Some(text) = env.get("CAMWIRE_ADDRESS")? else { return Ok(None) };
    let parsed = text.split_once('/').and_then(|(address, bits)| {
        let (address, bits) = (host(address)?, bits.parse::<u8>().ok()?);
        (1..=30).contains(&bits).then_some((address, bits))
    });
    match parsed {
        Some((address, bits)) if is_machine(address, bits) => Ok(Some((address, bits))),
        Some((_, bits)) => Err(format!(
            "CAMWIRE_ADDRESS is that of a machine; {text} is the network itself, or all of it: \
             with /{bits}, the first and the last address are not for machines"
        )),
        None => Err(format!(
            "CAMWIRE_ADDRESS is an address and the bits of its network, for instance \
             192.168.1.50/24; this is {text:?}"
        )),
    }
}

/// An address that one machine can have, in some network.
fn host(text: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text.parse().ok()?;
    let many = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
    (!many).then_some(address)
}

/// Neither the network's own address nor its broadcast.
fn is_machine(address: Ipv4Addr, bits: u8) -> bool {
    let all = u32::MAX >> bits;
    let number = address.to_bits() & all;
    number != 0 && number != all
}

fn same_network(one: Ipv4Addr, other: Ipv4Addr, bits: u8) -> bool {
    (one.to_bits() ^ other.to_bits()) >> (32 - bits) == 0
}

fn constant(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("Ipv4Addr::new({a}, {b}, {c}, {d})")
}

/// The most ports: each needs connections of its own.
const PORTS_MAX: usize = 3;

fn ports(env: &dyn Variables) -> Setting {
    let about = "/// The ports that the server listens on, if it was said.";
    let value = match env.get("CAMWIRE_PORTS")? {
        None => "None".to_owned(),
        Some(text) => {
            let ports =
                text.split(',').map(str::parse::<NonZeroU16>).collect::<Result<Vec<_>, _>>();
            match ports {
                Ok(ports) if ports.len() <= PORTS_MAX && is_a_set(&ports) => {
                    format!("Some(&{ports:?})")
                }
                _ => {
                    return Err(format!(
                        "CAMWIRE_PORTS has up to {PORTS_MAX} ports, such as 80,81; this is {text:?}"
                    ));
                }
            }
        }
    };
    Ok(format!("{about}\npub const PORTS: Option<&[u16]> = {value};\n"))
}

fn is_a_set(ports: &[NonZeroU16]) -> bool {
    ports.iter().enumerate().all(|(at, port)| !ports[..at].contains(port))
}

/// More does not fit into the lines that the server reads.
const SECRET_MAX: usize = 256;

/// What whoever watches must know. None of it is in an error.
fn auth(env: &dyn Variables) -> Setting {
    let auth = env.get("CAMWIRE_AUTH")?;
    if let Some(text) = &auth
        && (text.len() > SECRET_MAX
            || text.contains(char::is_control)
            || !text
                .split_once(':')
                .is_some_and(|(user, word)| !user.is_empty() && !word.is_empty()))
    {
        return Err(format!(
            "CAMWIRE_AUTH is a user, a colon and a password, such as anna:secret, of up to \
             {SECRET_MAX} bytes; this has {} bytes",
            text.len()
        ));
    }
    Ok(format!(
        "/// The user and the password that the server asks for.\n\
         pub const AUTH: Option<&str> = {auth:?};\n"
    ))
}

/// As [`auth`].
fn token(env: &dyn Variables) -> Setting {
    let token = secret_token(env, "CAMWIRE_TOKEN")?;
    Ok(format!(
        "/// The token that the server asks for.\npub const TOKEN: Option<&str> = {token:?};\n"
    ))
}

fn secret_token(env: &dyn Variables, variable: &str) -> Result<Option<String>, String> {
    let token = env.get(variable)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if let Some(text) = &token
        && !((1..=SECRET_MAX).contains(&text.len()) && text.bytes().all(is_plain))
    {
        return Err(format!(
            "{variable} has 1 to {SECRET_MAX} letters, digits, and any of -._~; this has {} bytes",
            text.len()
        ));
    }
    Ok(token)
}

fn origins(env: &dyn Variables) -> Setting {
    let about = "/// Besides its own, pages of these may open a WebSocket to the server.";
    let text = env.get("CAMWIRE_ORIGINS")?;
    let origins: Vec<&str> = text.iter().flat_map(|text| text.split(',')).collect();
    for origin in &origins {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let is_right = |host: &str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        };
        if !host.is_some_and(is_right) {
            return Err(format!(
                "CAMWIRE_ORIGINS has origins as browsers write them, such as \
                 https://a.example,http://b.example:8080; this has {origin:?}"
            ));
        }
    }
    Ok(format!("{about}\npub const ORIGINS: &[&str] = &{origins:?};\n"))
}

fn push(env: &dyn Variables) -> Setting {
    let uri = env.get("CAMWIRE_PUSH")?;
    if let Some(text) = &uri {
        if text.starts_with("wss://") {
            return Err("CAMWIRE_PUSH begins with ws://: the firmware has no TLS".to_owned());
        }
        // What is wrong may hold a password, so it is not repeated.
        if text.contains('@') {
            return Err("CAMWIRE_PUSH has no user and password in it: the relay is sent \
                        CAMWIRE_PUSH_TOKEN"
                .to_owned());
        }
        if text.len() > SECRET_MAX || !is_relay(text) {
            return Err("CAMWIRE_PUSH is the address of a relay, such as \
                        ws://relay.example:8080/ingest"
                .to_owned());
        }
    }
    let token = secret_token(env, "CAMWIRE_PUSH_TOKEN")?;
    if uri.is_none() && token.is_some() {
        return Err("CAMWIRE_PUSH_TOKEN belongs to CAMWIRE_PUSH".to_owned());
    }
    Ok(format!(
        "/// A relay, which gets the pictures, too.\npub const PUSH: Option<&str> = {uri:?};\n\
         /// What it asks for.\npub const PUSH_TOKEN: Option<&str> = {token:?};\n"
    ))
}

/// Whether it is `ws://HOST[:PORT]/PATH`, with a name or an IPv4 address.
fn is_relay(text: &str) -> bool {
    let Some((authority, path)) = text.strip_prefix("ws://").and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    !host.is_empty()
        && host.bytes().all(is_host)
        && port.parse::<NonZeroU16>().is_ok()
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Where the pictures go by MQTT, if anywhere; and how.
fn mqtt(env: &dyn Variables) -> Setting {
    let broker = env.get("CAMWIRE_MQTT")?;
    let layout = one_of(env, "CAMWIRE_MQTT_LAYOUT", "", &MQTT_LAYOUTS, Some("framed"))?;
    let (prefix, control) = (env.get("CAMWIRE_MQTT_PREFIX")?, env.get("CAMWIRE_MQTT_CONTROL")?);
    let auth = env.get("CAMWIRE_MQTT_AUTH")?;
    let address = broker.as_deref().map(|text| {
        let (address, port) = text.split_once(':').unwrap_or((text, "1883"));
        // A URL would perhaps have a password in it, so what is wrong is not repeated.
        host(address).zip(port.parse::<NonZeroU16>().ok()).ok_or(
            "CAMWIRE_MQTT is the address of a broker, and its port if that is not 1883, for \
             instance 192.168.1.10 or 192.168.1.10:1884; user and password are CAMWIRE_MQTT_AUTH",
        )
    });
    let value = match address.transpose()? {
        None if prefix.is_some() || control.is_some() || auth.is_some() => {
            return Err("CAMWIRE_MQTT is the broker's address; the other CAMWIRE_MQTT variables \
                        are nothing without it"
                .to_owned());
        }
        None => "None".to_owned(),
        Some((address, port)) => format!("Some(({}, {port}))", constant(address)),
    };
    // Those that the existing camera has. Every other has its own, by the number of its chip.
    let theirs = layout == "indexed" && prefix.is_none();
    let prefix = prefix.or(theirs.then(|| "esp32cam/50".to_owned()));
    let control = control.or(theirs.then(|| "esp32auto/50".to_owned()));
    let discovery = env.get("CAMWIRE_MQTT_DISCOVERY")?;
    if discovery.is_some() && layout != "whole" {
        return Err("CAMWIRE_MQTT_DISCOVERY belongs to CAMWIRE_MQTT_LAYOUT=whole: Home Assistant \
                    shows whole frames"
            .to_owned());
    }
    for (name, text) in [("PREFIX", &prefix), ("CONTROL", &control), ("DISCOVERY", &discovery)] {
        let Some(text) = text else { continue };
        let forbidden = |c: char| matches!(c, '+' | '#') || c.is_control();
        if !(1..=64).contains(&text.len())
            || text.contains(forbidden)
            || text.starts_with('$')
            || text.ends_with('/')
        {
            return Err(format!(
                "CAMWIRE_MQTT_{name} is what topics begin with, such as garden/cam: 1 to 64 bytes, \
                 without + and #, no $ at the start and no / at the end; this is {text:?}"
            ));
        }
    }
    let discovery = discovery.unwrap_or("homeassistant".to_owned());
    if prefix.as_ref() == Some(&discovery) {
        return Err(
            "CAMWIRE_MQTT_PREFIX and CAMWIRE_MQTT_DISCOVERY are the same: so would be the \
                    status topics of the camera and of Home Assistant"
                .to_owned(),
        );
    }
    let auth = match auth.as_deref().map(|text| text.split_once(':')) {
        None => None,
        Some(Some((user, word))) if !user.is_empty() => Some((user, word)),
        Some(_) => {
            return Err("CAMWIRE_MQTT_AUTH is a user, a colon and a password, such as \
                        anna:secret"
                .to_owned());
        }
    };
    Ok(format!(
        "/// The MQTT broker.\npub const MQTT: Option<(Ipv4Addr, u16)> = {value};\n\
         /// How frames become messages.\npub const MQTT_LAYOUT: &str = {layout:?};\n\
         /// What the topics of frames begin with; by default `camwire/` and the chip's number.\n\
         pub const MQTT_PREFIX: Option<&str> = {prefix:?};\n\
         /// And those of commands, if that is something else.\n\
         pub const MQTT_CONTROL: Option<&str> = {control:?};\n\
         /// Where Home Assistant looks for cameras; or `off` or `remove`.\n\
         pub const MQTT_DISCOVERY: &str = {discovery:?};\n\
         /// User and password.\npub const MQTT_AUTH: Option<(&str, &str)> = {auth:?};\n"
    ))
}

/// What `CAMWIRE_MQTT_LAYOUT` may be.
const MQTT_LAYOUTS: [&str; 3] = ["framed", "indexed", "whole"];

/// A variable that must be set.
fn needed(env: &dyn Variables, variable: &str, what: &str) -> Result<String, String> {
    env.get(variable)?.ok_or_else(|| format!("set {variable} in the environment: {what}"))
}
