//! ESP-IDF: that what runs on it compiles for it. Linking takes ESP-IDF itself, so what calls into
//! it by way of esp-idf-svc is not checked here.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    checks, esp32_idf,
    toolchain::{ESPIDF_CFG, ESPIDF_TARGETS, espidf_compiler},
};
use std::ffi::OsString;

/// What is checked besides the libraries: a manifest, and what more `cargo check` is told.
const PACKAGES: &[(&str, &[&str])] = &[("examples/esp32-idf/Cargo.toml", &["--lib", "--bins"])];

pub(crate) fn checks() -> Vec<Check> {
    vec![Check::new(
        "espidf-libraries",
        "every library crate type-checks for ESP-IDF on ESP32, ESP32-S3 and RISC-V",
        libraries,
    )]
}

fn libraries(context: &Context) -> Outcome {
    let names = checks::libraries(context);
    let libraries = names.iter().flat_map(|name| ["--package", name]);
    let libraries: Vec<&str> = ["--all-features"].into_iter().chain(libraries).collect();
    for target in ESPIDF_TARGETS {
        let compiler = espidf_compiler(context, target)?;
        check(context, &compiler, "Cargo.toml", &libraries)?;
        for (manifest, arguments) in PACKAGES {
            check(context, &compiler, manifest, arguments)?;
        }
    }
    Ok(Tally::ONE)
}

fn check(
    context: &Context,
    compiler: &[(String, OsString)],
    manifest: &str,
    arguments: &[&str],
) -> Result<(), Problem> {
    // The release profile: without optimisation this compiler cannot do Xtensa.
    let mut command = context
        .cargo_apart("espidf", &["check", "--release", "--locked", "--manifest-path", manifest])
        .args(arguments)
        .env("RUSTFLAGS", format!("{ESPIDF_CFG} -Dwarnings"));
    for (name, value) in esp32_idf::SETTINGS {
        command = command.env(name, value);
    }
    // The board with a name has one of these chips only.
    command = command.env("CAMWIRE_BOARD", "own");
    for (name, value) in compiler {
        command = command.env(name, value);
    }
    command.run()?;
    Ok(())
}
