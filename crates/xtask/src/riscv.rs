//! A compiler for riscv32imc and riscv32imac: rustup's, or Debian's in the cache.

use crate::{
    cache,
    check::{Check, Context, Outcome, Problem, Tally},
    command::Command,
    e2e,
    tools::{self, Program},
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// No atomic instructions (ESP32-C2, C3), and with them (C5, C6, H2).
const TARGETS: [&str; 2] = ["riscv32imc-unknown-none-elf", "riscv32imac-unknown-none-elf"];

const QEMU: Program = Program { names: &["qemu-system-riscv32"], packages: "qemu-system-misc" };

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
        Check::new("riscv-board", "examples/qemu-riscv serves, in the emulator", board),
    ]
}

fn libraries(context: &Context) -> Outcome {
    // Whether compare-and-swap is emulated is for the binary to say, so a crate outside the
    // workspace stands in for one: `portable-atomic/critical-section` is its word.
    let manifest = package(
        context,
        "libraries",
        &[
            ("camwire", r#"features = ["server", "alloc"]"#),
            ("camwire-frame", ""),
            ("camwire-ring", r#"features = ["alloc"]"#),
            ("camwire-multipart", ""),
            ("camwire-server", ""),
        ],
    );
    let main = include_str!("../outside/libraries.rs");
    for target in TARGETS {
        build(context, "libraries", &manifest, ("lib.rs", main), target)?;
    }
    Ok(Tally::ONE)
}

fn firmware(context: &Context) -> Outcome {
    let manifest = package(context, "firmware", &[("camwire", "")]);
    let main = include_str!("../outside/firmware.rs");
    build(context, "firmware", &manifest, ("main.rs", main), TARGETS[0])?;
    Ok(Tally::ONE)
}

/// Builds the example for both targets, and lets `e2e/test_board.py` run it.
fn board(context: &Context) -> Outcome {
    e2e::need(context, &[&QEMU])?;
    let folder = context.root.join("examples/qemu-riscv");
    let mut tests = e2e::python(context, "board");
    for (target, variable) in TARGETS.iter().zip(["CAMWIRE_BOARD_IMC", "CAMWIRE_BOARD_IMAC"]) {
        let arguments = ["build", "--release", "--locked", "--target", target];
        // No RUSTFLAGS here: they would replace those of the example, which name its memory.
        let mut command = context.cargo_apart("riscv-board", &arguments).dir(&folder);
        for (name, value) in &compiler(context, target)? {
            command = command.env(name, value);
        }
        command.run()?;
        let firmware = context.target.join("riscv-board").join(target).join("release");
        tests = tests.env(variable, firmware.join("camwire-qemu-riscv"));
    }
    e2e::outcome(tests)
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
    target: &str,
) -> Result<(), Problem> {
    let compiler = compiler(context, target)?;
    let dir = std::env::temp_dir().join(format!("camwire-{name}-{}", std::process::id()));
    fs::create_dir_all(dir.join("src"))?;
    fs::write(dir.join("Cargo.toml"), manifest)?;
    fs::write(dir.join("src").join(file), source)?;
    // The versions that the workspace was tested with.
    if context.root.join("Cargo.lock").exists() {
        fs::copy(context.root.join("Cargo.lock"), dir.join("Cargo.lock"))?;
    }
    let mut command = context
        .cargo_apart("riscv", &["build", "--release", "--target", target])
        .env("RUSTFLAGS", "-Dwarnings")
        .dir(&dir);
    for (name, value) in &compiler {
        command = command.env(name, value);
    }
    let output = command.output()?;
    fs::remove_dir_all(&dir)?;
    if output.success { Ok(()) } else { Err(Problem::failed(output.text)) }
}

/// The variables that make cargo compile for the target.
fn compiler(context: &Context, target: &str) -> Result<Vec<(String, OsString)>, Problem> {
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .read()
        .is_ok_and(|dir| Path::new(dir.trim()).is_dir());
    if installed {
        return Ok(Vec::new());
    }
    let toolchain = debian_toolchain(context)?;
    let mut variables = vec![("RUSTC".to_owned(), toolchain.join("rustc").into_os_string())];
    // Debian's compiler comes without the linker that these targets ask for.
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).read()?;
    let bundled = format!("{}/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld", sysroot.trim());
    if Path::new(&bundled).exists() {
        let name = target.replace('-', "_").to_uppercase();
        variables.push((format!("CARGO_TARGET_{name}_LINKER"), bundled.into()));
    }
    Ok(variables)
}

/// Debian's second Rust toolchain, unpacked in the cache beside the installed one, with core
/// and alloc built for the targets. Nothing is installed over anything.
fn debian_toolchain(context: &Context) -> Result<PathBuf, Problem> {
    let how = format!("missing: targets (rustup target add {})", TARGETS.join(" "));
    if tools::find(&["apt-get"]).is_none() || tools::find(&["dpkg"]).is_none() {
        return Err(Problem::Missing(how));
    }
    let mut key = debian_key();
    if context.install && !key.as_deref().is_some_and(cache::has) {
        tools::apt_update(context)?;
        key = debian_key();
    }
    let key = key.ok_or_else(|| Problem::Missing(how.clone()))?;
    cache::entry(context, &key, &how, |dir| {
        let root = dir.join("root");
        let packages = dir.join("packages");
        fs::create_dir_all(&packages)?;
        Command::new("apt-get")
            .args(["download"])
            .args(missing_packages(&["rustc-web", "rust-web-src"])?)
            .dir(&packages)
            .run()?;
        for package in fs::read_dir(&packages)? {
            Command::new("dpkg")
                .args(["-x".as_ref(), package?.path().as_os_str(), root.as_os_str()])
                .run()?;
        }
        fs::remove_dir_all(&packages)?;
        let rustc = dir.join("rustc");
        fs::write(
            &rustc,
            "#!/bin/sh\n\
             # Where this stands is asked each time, so that the folder can be moved.\n\
             root=$(dirname \"$(readlink -f \"$0\")\")/root\n\
             LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu exec \"$root/usr/bin/rustc\" \"$@\"\n",
        )?;
        Command::new("chmod").args(["+x".as_ref(), rustc.as_os_str()]).run()?;
        build_core(context, dir, &rustc)?;
        // The sources are most of it, and have done their work.
        Ok(fs::remove_dir_all(root.join("usr/src"))?)
    })
}

/// The cache's key for the version that can be had.
fn debian_key() -> Option<String> {
    let show = Command::new("apt-cache").args(["show", "--no-all-versions", "rustc-web"]);
    let text = show.read().ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("Version: "))?;
    Some(format!("riscv-{}", version.replace(|c: char| !c.is_ascii_alphanumeric(), "-")))
}

/// The packages with all they depend on, less what is installed already.
fn missing_packages(wanted: &[&str]) -> Result<BTreeSet<String>, Problem> {
    let mut todo: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
    let mut missing = BTreeSet::new();
    while let Some(name) = todo.pop() {
        let status = Command::new("dpkg-query").args(["-W", "-f=${Status}", &name]).output()?;
        if status.text.ends_with("ok installed") || !missing.insert(name.clone()) {
            continue;
        }
        let depends = Command::new("apt-cache").args(["depends", "--important", &name]).read()?;
        for line in depends.lines() {
            // Not the alternatives ("|Depends") nor what only exists by name ("<libc-dev>").
            if let Some(name) = line.trim().strip_prefix("Depends: ")
                && !name.starts_with('<')
            {
                todo.push(name.to_owned());
            }
        }
    }
    Ok(missing)
}

/// Builds core and alloc, and puts them where that compiler looks for them.
fn build_core(context: &Context, dir: &Path, rustc: &Path) -> Result<(), Problem> {
    let empty = dir.join("empty");
    fs::create_dir_all(empty.join("src"))?;
    fs::write(
        empty.join("Cargo.toml"),
        "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n[profile.release]\npanic = \"abort\"\n",
    )?;
    fs::write(empty.join("src/lib.rs"), "#![no_std]\n")?;
    for target in TARGETS {
        context
            .cargo(&["build", "--release", "-Zbuild-std=core,alloc", "--target", target])
            .args(["--target-dir".as_ref(), empty.join("target").as_os_str()])
            .env("RUSTC", rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            // Bitcode, so that firmware can be linked with LTO over core.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes")
            .dir(&empty)
            .run()?;
        let libraries = dir.join("root/usr/lib/rustlib").join(target).join("lib");
        fs::create_dir_all(&libraries)?;
        for file in fs::read_dir(empty.join("target").join(target).join("release/deps"))? {
            let file = file?.path();
            let is_empty = file.file_name().is_some_and(|n| n.to_string_lossy().contains("empty"));
            if file.extension().is_some_and(|extension| extension == "rlib") && !is_empty {
                fs::copy(&file, libraries.join(file.file_name().expect("a file has a name")))?;
            }
        }
    }
    Ok(fs::remove_dir_all(empty)?)
}
