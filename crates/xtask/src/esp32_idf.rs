//! examples/esp32-idf, as far as it can be had without Espressif's toolchain: it runs on this
//! machine, with a simulated camera.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    checks::cargo_test,
    command::Command,
    e2e::{MOSQUITTO, MOSQUITTO_CLIENTS},
    tools,
};
use std::fs;

/// Settings that are not the user's own.
pub(crate) const SETTINGS: [(&str, &str); 7] = [
    ("CAMWIRE_SSID", "not a network"),
    ("CAMWIRE_PASSWORD", "not a password"),
    ("CAMWIRE_BOARD", "ai-thinker"),
    ("CAMWIRE_DELIVERY", "newest"),
    ("CAMWIRE_ADDRESS", "192.0.2.2/24"),
    ("CAMWIRE_GATEWAY", "192.0.2.1"),
    ("CAMWIRE_MQTT", "192.0.2.3"),
];

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check::new("esp32-idf", "the ESP-IDF firmware on this machine, in each delivery", tests),
        Check::new("esp32-idf-clippy", "clippy over the ESP-IDF firmware", clippy),
        Check::new("esp32-idf-settings", "without its settings it is not built", settings),
    ]
}

fn tests(context: &Context) -> Outcome {
    tools::need(context, &[&MOSQUITTO, &MOSQUITTO_CLIENTS])?;
    let mut tally = cargo_test(cargo(context, &["test", "--locked"]))?;
    // The first run was one of them, and had the other tests.
    let test = || cargo(context, &["test", "--locked", "--test", "firmware"]);
    tally.add(cargo_test(test().env("CAMWIRE_DELIVERY", "together"))?);
    let every = test().env("CAMWIRE_DELIVERY", "every");
    // Together with all that is asked for.
    let every = every.env("CAMWIRE_AUTH", "anna:secret").env("CAMWIRE_TOKEN", "T-1");
    tally.add(cargo_test(every.env("CAMWIRE_ORIGINS", "https://a.example"))?);
    // As the existing camera on a broker does it, and with motors.
    let mqtt = cargo(context, &["test", "--locked", "--test", "mqtt"]);
    let mqtt = mqtt.env("CAMWIRE_MQTT_LAYOUT", "indexed").env("CAMWIRE_MOTORS", "yes");
    tally.add(cargo_test(mqtt)?);
    Ok(tally)
}

fn clippy(context: &Context) -> Outcome {
    cargo(context, &["clippy", "--all-targets"]).args(["--", "-D", "warnings"]).run()?;
    Ok(Tally::ONE)
}

/// What the firmware says to whoever builds it, when something is missing or wrong.
fn settings(context: &Context) -> Outcome {
    let check = || cargo(context, &["check", "--locked", "--lib"]);
    let missing = SETTINGS.iter().fold(check(), |check, (name, _)| check.without(name));
    let needed = ["SSID", "PASSWORD", "BOARD"];
    refused(missing, &needed.map(|name| format!("set CAMWIRE_{name} in the environment")))?;
    let wrong = [
        ("CAMWIRE_BOARD", "tea tray", "ai-thinker or esp-eye or "),
        ("CAMWIRE_DELIVERY", "all", "together or newest or every"),
        ("CAMWIRE_ADDRESS", "192.0.2.255/24", "not for machines"),
        ("CAMWIRE_MOTORS", "two", "no or yes"),
        ("CAMWIRE_PORTS", "80,80", "such as 80,81"),
        ("CAMWIRE_AUTH", "anna", "a user, a colon and a password"),
        ("CAMWIRE_TOKEN", "a b", "letters, digits"),
        ("CAMWIRE_ORIGINS", "a.example", "such as https://a.example"),
        ("CAMWIRE_PUSH", "ws://anna:b@relay.example/ingest", "no user and password in it"),
        ("CAMWIRE_MQTT_CONTROL", "$share/a/cam", "no $ at the start"),
    ];
    for (name, value, words) in wrong {
        refused(check().env(name, value), &[words.to_owned()])?;
    }
    chip(context)?;
    Ok(Tally { passed: 2 + wrong.len(), ..Tally::default() })
}

/// A board is not built for another chip than it has. The build script is asked by itself: the chips
/// cannot be built for here.
fn chip(context: &Context) -> Result<(), Problem> {
    let folder = context.target.join("esp32-idf/build-rs");
    fs::create_dir_all(&folder)?;
    let program = folder.join("build");
    let source = context.root.join("examples/esp32-idf/build.rs");
    let compile =
        Command::new("rustc").args(["--edition=2024", "--check-cfg=cfg(feature, values(any()))"]);
    compile.args(["-o".as_ref(), program.as_os_str(), source.as_os_str()]).run()?;
    for (board, target, right) in [
        ("ai-thinker", "xtensa-esp32-espidf", true),
        ("ai-thinker", "xtensa-esp32s3-espidf", false),
        ("esp32-s3-eye", "xtensa-esp32s3-espidf", true),
        ("esp32-s3-eye", "riscv32imc-esp-espidf", false),
        ("own", "xtensa-esp32s2-espidf", true),
    ] {
        let build = Command::new(&program).env("OUT_DIR", &folder).env("TARGET", target);
        let build = SETTINGS.iter().fold(build, |build, (name, value)| build.env(name, value));
        let text = build.env("CAMWIRE_BOARD", board).read()?;
        let said: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("cargo::error=")).collect();
        let expected = match said[..] {
            [] => right,
            [line] => !right && line.contains("cargo +esp"),
            _ => false,
        };
        if !expected {
            return Err(Problem::failed(format!("{board} for {target}: {said:?}")));
        }
    }
    Ok(())
}

fn cargo(context: &Context, args: &[&str]) -> Command {
    let cargo = context.cargo_apart("esp32-idf", args);
    let cargo = SETTINGS.iter().fold(cargo, |cargo, (name, value)| cargo.env(name, value));
    cargo.dir(&context.root.join("examples/esp32-idf"))
}

/// The build ends with an error for each of these, and with no other.
fn refused(build: Command, what: &[String]) -> Result<(), Problem> {
    let output = build.output()?;
    let errors = output.text.lines().filter_map(|line| line.strip_prefix("error: camwire"));
    let errors: Vec<&str> = errors.collect();
    let all_said = what.iter().all(|words| errors.iter().any(|line| line.contains(words)));
    if output.success || errors.len() != what.len() || !all_said {
        return Err(Problem::failed(format!("{}\nit should say: {what:?}", output.text)));
    }
    Ok(())
}
