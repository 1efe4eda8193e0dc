//! What is said to the firmware when it is built: which chip, and the `CAMWIRE_` variables.
//!
//! What is missing or wrong ends the build with a line that says what to do. What is right becomes
//! `settings.rs`, which src/lib.rs includes.

use std::env;
use std::net::Ipv4Addr;
use std::path::Path;

/// What `CAMWIRE_SOURCE` may be. For one more, add it here and in src/camera.rs.
const SOURCES: &[&str] = &["test-pattern", "arducam"];
/// What `CAMWIRE_DELIVERY` may be, and what it is if nothing is said; see src/delivery.rs.
const DELIVERIES: &[&str] = &["together", "newest", "every"];
const DELIVERY: &str = "newest";

fn main() {
    let settings = [chip(), ssid(), password(), source(), delivery(), address(), gateway()];
    let mut text = String::new();
    for setting in settings {
        match setting {
            Ok(line) => text += &line,
            Err(what) => println!("cargo::error={what}"),
        }
    }
    let folder = env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&folder).join("settings.rs"), text).expect("a file can be written");
    // After all others of the linker's scripts.
    println!("cargo::rustc-link-arg-bins=-Tlinkall.x");
    println!("cargo::rerun-if-changed=build.rs");
}

/// A piece of settings.rs, or what is wrong.
type Setting = Result<String, String>;

fn chip() -> Setting {
    let chosen = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let (name, target) = match (chosen("ESP32C3"), chosen("ESP32C6")) {
        (true, false) => ("esp32c3", "riscv32imc-unknown-none-elf"),
        (false, true) => ("esp32c6", "riscv32imac-unknown-none-elf"),
        (false, false) => {
            return Err("no chip: build with `cargo build-c3 mjpeg` or `cargo build-c6 mjpeg`, \
                        which choose the feature esp32c3 or esp32c6, and its target"
                .to_owned());
        }
        (true, true) => {
            return Err("two chips: choose one of the features esp32c3 and esp32c6".to_owned());
        }
    };
    if env::var("TARGET").as_deref() != Ok(target) {
        return Err(format!("not the target of this chip: {name} needs --target {target}"));
    }
    Ok(String::new())
}

fn ssid() -> Setting {
    let name = needed("CAMWIRE_SSID", "the name of your Wi-Fi network, for instance 'My network'")?;
    if name.is_empty() || name.len() > 32 {
        return Err(format!("CAMWIRE_SSID has 1 to 32 bytes; this has {}", name.len()));
    }
    Ok(format!("/// The Wi-Fi network.\npub const SSID: &str = {name:?};\n"))
}

fn password() -> Setting {
    let word = needed("CAMWIRE_PASSWORD", "that of the Wi-Fi network; '' if it has none")?;
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

fn source() -> Setting {
    let known = SOURCES.join(" or ");
    let name = needed("CAMWIRE_SOURCE", &format!("where the pictures come from: {known}"))?;
    choose("CAMWIRE_SOURCE", "source", SOURCES, &name)?;
    Ok(format!("/// What the camera is.\npub const SOURCE: &str = {name:?};\n"))
}

fn delivery() -> Setting {
    let name = given("CAMWIRE_DELIVERY")?;
    let name = name.as_deref().unwrap_or(DELIVERY);
    choose("CAMWIRE_DELIVERY", "delivery", DELIVERIES, name)?;
    Ok(String::new())
}

/// Says to the compiler which of the names it is.
fn choose(variable: &str, cfg: &str, known: &[&str], name: &str) -> Result<(), String> {
    println!("cargo::rustc-check-cfg=cfg({cfg}, values(\"{}\"))", known.join("\", \""));
    if !known.contains(&name) {
        return Err(format!("{variable} is {}; this is {name:?}", known.join(" or ")));
    }
    println!("cargo::rustc-cfg={cfg}={name:?}");
    Ok(())
}

fn address() -> Setting {
    let about = "/// A static address and the bits of its network; without one, DHCP gives it.";
    let value = match network()? {
        None => "None".to_owned(),
        Some((address, bits)) => format!("Some(({}, {bits}))", constant(address)),
    };
    Ok(format!("{about}\npub const ADDRESS: Option<(Ipv4Addr, u8)> = {value};\n"))
}

fn gateway() -> Setting {
    let about = "/// The router, for viewers outside the network of a static address.";
    let value = match given("CAMWIRE_GATEWAY")? {
        None => "None".to_owned(),
        Some(_) if given("CAMWIRE_ADDRESS")?.is_none() => {
            return Err("CAMWIRE_GATEWAY belongs to CAMWIRE_ADDRESS; DHCP tells both".to_owned());
        }
        Some(text) => {
            let Some(gateway) = host(&text) else {
                return Err(format!(
                    "CAMWIRE_GATEWAY is an address, for instance 192.168.1.1; this is {text:?}"
                ));
            };
            // What is wrong with the address itself, address() has said.
            if let Ok(Some((address, bits))) = network()
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
fn network() -> Result<Option<(Ipv4Addr, u8)>, String> {
    let Some(text) = given("CAMWIRE_ADDRESS")? else { return Ok(None) };
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

/// A variable that must be set.
fn needed(variable: &str, what: &str) -> Result<String, String> {
    given(variable)?.ok_or_else(|| format!("set {variable} in the environment: {what}"))
}

/// A variable that may be set.
fn given(variable: &str) -> Result<Option<String>, String> {
    println!("cargo::rerun-if-env-changed={variable}");
    match env::var(variable) {
        Ok(text) => Ok(Some(text)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{variable} is not UTF-8")),
    }
}
