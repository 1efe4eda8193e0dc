//! The library on bare-metal riscv32: that it compiles, links and runs there.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    target_tests,
    toolchain::{TARGETS, compiler},
};
use std::{ffi::OsString, fs, path::PathBuf};

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check::new(
            "riscv-libraries",
            "every library crate compiles for riscv32imc and riscv32imac",
            libraries,
        ),
        Check::new(
            "riscv-firmware",
            "a program outside the workspace that depends on camwire links for riscv32imc",
            firmware,
        ),
        Check::new("riscv-tests", "tests of the libraries, in the emulator", target_tests::run),
    ]
}

fn libraries(context: &Context) -> Outcome {
    for target in TARGETS {
        build_libraries(context, &compiler(context, target)?)?;
    }
    Ok(Tally::ONE)
}

/// Compiles every library crate with a compiler of [`toolchain`](crate::toolchain).
pub(crate) fn build_libraries(
    context: &Context,
    compiler: &[(String, OsString)],
) -> Result<(), Problem> {
    // Whether compare-and-swap is emulated is for the binary to say, so a crate outside the
    // workspace stands in for one: `portable-atomic/critical-section` is its word.
    let manifest = package(
        context,
        "libraries",
        &[
            (
                "camwire",
                r#"features = ["alloc", "arducam", "embassy", "esp32cam", "mqtt", "push", "server", "websocket"]"#,
            ),
            ("camwire-arducam", ""),
            ("camwire-embassy", r#"features = ["mqtt", "push"]"#),
            ("camwire-esp32cam", ""),
            ("camwire-frame", ""),
            ("camwire-ring", r#"features = ["alloc"]"#),
            ("camwire-mqtt", ""),
            ("camwire-multipart", ""),
            ("camwire-server", ""),
            ("camwire-websocket", ""),
        ],
    );
    let main = include_str!("../outside/libraries.rs");
    build(context, "libraries", &manifest, ("lib.rs", main), compiler)
}

fn firmware(context: &Context) -> Outcome {
    let manifest = package(context, "firmware", &[("camwire", "")]);
    let main = include_str!("../outside/firmware.rs");
    build(context, "firmware", &manifest, ("main.rs", main), &compiler(context, TARGETS[0])?)?;
    Ok(Tally::ONE)
}

/// Builds examples/qemu-riscv for a target; the answer is where the firmware is.
pub(crate) fn example(context: &Context, target: &str) -> Result<PathBuf, Problem> {
    let arguments = ["build", "--release", "--locked", "--target", target];
    // No RUSTFLAGS here: they would replace those of the example, which name its memory.
    let mut command = context
        .cargo_apart("riscv-board", &arguments)
        .dir(&context.root.join("examples/qemu-riscv"));
    for (name, value) in &compiler(context, target)? {
        command = command.env(name, value);
    }
    command.run()?;
    let folder = context.target.join("riscv-board").join(target).join("release");
    Ok(folder.join("camwire-qemu-riscv"))
}

/// The manifest of a package outside the workspace, with what every binary must bring.
fn package(context: &Context, name: &str, dependencies: &[(&str, &str)]) -> String {
    let mut text = format!(
        r#"# Made by cargo xtask test.
[package]
name = "outside-{name}"
version = "0.0.0"
edition = "2024"

[workspace]

[profile.dev]
panic = "abort"

[profile.release]
panic = "abort"
opt-level = "s"

[dependencies]
critical-section = "1.2"
portable-atomic = {{ version = "1", default-features = false, features = ["critical-section"] }}
"#
    );
    for (dependency, more) in dependencies {
        let path = context.root.join("crates").join(dependency);
        let comma = if more.is_empty() { "" } else { ", " };
        text += &format!("{dependency} = {{ path = {path:?}{comma}{more} }}\n");
    }
    text
}

fn build(
    context: &Context,
    name: &str,
    manifest: &str,
    (file, source): (&str, &str),
    compiler: &[(String, OsString)],
) -> Result<(), Problem> {
    let dir = std::env::temp_dir().join(format!("camwire-{name}-{}", std::process::id()));
    fs::create_dir_all(dir.join("src"))?;
    fs::write(dir.join("Cargo.toml"), manifest)?;
    fs::write(dir.join("src").join(file), source)?;
    // The versions that the workspace was tested with.
    if context.root.join("Cargo.lock").exists() {
        fs::copy(context.root.join("Cargo.lock"), dir.join("Cargo.lock"))?;
    }
    let mut command = context
        .cargo_apart("riscv", &["build", "--release"])
        .env("RUSTFLAGS", "-Dwarnings")
        .dir(&dir);
    for (name, value) in compiler {
        command = command.env(name, value);
    }
    let output = command.output()?;
    fs::remove_dir_all(&dir)?;
    if output.success { Ok(()) } else { Err(Problem::failed(output.text)) }
}
