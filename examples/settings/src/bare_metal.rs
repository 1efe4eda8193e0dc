use crate::{Setting, Variables, one_of, shared};
use std::ops::RangeInclusive;

/// What `CAMWIRE_SOURCE` may be. For one more, add it here and in examples/esp32/src/camera.rs.
const SOURCES: &[&str] = &["test-pattern", "arducam"];

/// What `CAMWIRE_DELIVERY` may be, and its default; see examples/esp32/src/delivery.rs.
const DELIVERIES: &[&str] = &["together", "newest", "every"];
const DELIVERY: &str = "newest";

/// How many packets may wait for the network stack: `CAMWIRE_RECEIVE_QUEUE`. With 5, esp-radio's own
/// default, 502 of 2,402 were lost with four viewers; with 20 none of 1,465. There are 32 buffers.
const RECEIVE_QUEUE: usize = 20;
const RECEIVE_QUEUES: RangeInclusive<usize> = 5..=32;

/// The settings of examples/esp32. Cargo's own variables say the chip and the target.
pub fn bare_metal(env: &dyn Variables) -> Vec<Setting> {
    let mut settings = vec![chip(env)];
    settings.extend(shared(env));
    settings.extend([source(env), delivery(env), receive_queue(env)]);
    settings
}

fn chip(env: &dyn Variables) -> Setting {
    let chosen = |name: &str| env.get(&format!("CARGO_FEATURE_{name}")).is_ok_and(|v| v.is_some());
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
    if env.get("TARGET")?.as_deref() != Some(target) {
        return Err(format!("not the target of this chip: {name} needs --target {target}"));
    }
    Ok(String::new())
}

fn source(env: &dyn Variables) -> Setting {
    let name = one_of(env, "CAMWIRE_SOURCE", "where the frames come from", SOURCES, None);
    let name = chosen("source", SOURCES, name)?;
    Ok(format!("/// What the camera is.\npub const SOURCE: &str = {name:?};\n"))
}

fn delivery(env: &dyn Variables) -> Setting {
    let name = one_of(env, "CAMWIRE_DELIVERY", "", DELIVERIES, Some(DELIVERY));
    chosen("delivery", DELIVERIES, name).map(|_| String::new())
}

fn receive_queue(env: &dyn Variables) -> Setting {
    let packets = match env.get("CAMWIRE_RECEIVE_QUEUE")? {
        None => RECEIVE_QUEUE,
        Some(text) => match text.parse() {
            Ok(packets) if RECEIVE_QUEUES.contains(&packets) => packets,
            _ => {
                let (least, most) = (RECEIVE_QUEUES.start(), RECEIVE_QUEUES.end());
                return Err(format!(
                    "CAMWIRE_RECEIVE_QUEUE is a number of packets, {least} to {most}; this is \
                     {text:?}"
                ));
            }
        },
    };
    Ok(format!(
        "/// How many packets of the radio may wait for the network stack.\n\
         pub const RECEIVE_QUEUE: usize = {packets};\n"
    ))
}

/// Passes the chosen name to the compiler.
fn chosen(cfg: &str, known: &[&str], name: Result<String, String>) -> Result<String, String> {
    println!("cargo::rustc-check-cfg=cfg({cfg}, values(\"{}\"))", known.join("\", \""));
    let name = name?;
    println!("cargo::rustc-cfg={cfg}={name:?}");
    Ok(name)
}
