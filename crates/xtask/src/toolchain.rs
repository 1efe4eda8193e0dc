//! Compilers for the chips: rustup's and espup's, or Debian's in the cache.

use crate::{
    check::{Context, Problem},
    command::Command,
    debian,
};
use std::{ffi::OsString, path::Path};

/// No atomic instructions (ESP32-C2, C3), and with them (C5, C6, H2).
pub(crate) const TARGETS: [&str; 2] =
    ["riscv32imc-unknown-none-elf", "riscv32imac-unknown-none-elf"];

/// The ESP32 of the ESP32-CAM, and the S3.
pub(crate) const XTENSA_TARGETS: [&str; 2] = ["xtensa-esp32-none-elf", "xtensa-esp32s3-none-elf"];

/// The same with ESP-IDF, and one of its RISC-V chips.
pub(crate) const ESPIDF_TARGETS: [&str; 3] =
    ["riscv32imc-esp-espidf", "xtensa-esp32-espidf", "xtensa-esp32s3-espidf"];

/// What every compilation for ESP-IDF 5 needs: its `time_t` has 64 bits.
pub(crate) const ESPIDF_CFG: &str = "--cfg=espidf_time64";

/// The variables that make cargo compile for the target, one of [`TARGETS`].
pub(crate) fn compiler(
    context: &Context,
    target: &str,
) -> Result<Vec<(String, OsString)>, Problem> {
    let mut variables = variables([("CARGO_BUILD_TARGET", target.into())]);
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .read()
        .is_ok_and(|dir| Path::new(dir.trim()).is_dir());
    if installed {
        return Ok(variables);
    }
    let how = format!("missing: targets (rustup target add {})", TARGETS.join(" "));
    let toolchain = debian::toolchain(context, &how)?;
    variables.push(("RUSTC".to_owned(), toolchain.join("rustc").into()));
    // Debian's compiler comes without the linker that these targets ask for.
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).read()?;
    let bundled = format!("{}/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld", sysroot.trim());
    if Path::new(&bundled).exists() {
        let name = target.replace('-', "_").to_uppercase();
        variables.push((format!("CARGO_TARGET_{name}_LINKER"), bundled.into()));
    }
    Ok(variables)
}

/// The variables that make cargo compile, but not link, for one of [`XTENSA_TARGETS`].
pub(crate) fn xtensa_compiler(
    context: &Context,
    target: &str,
) -> Result<Vec<(String, OsString)>, Problem> {
    espressif_compiler(context, target, "core,alloc")
}

/// The variables that make cargo check, and no more, for one of [`ESPIDF_TARGETS`].
pub(crate) fn espidf_compiler(
    context: &Context,
    target: &str,
) -> Result<Vec<(String, OsString)>, Problem> {
    espressif_compiler(context, target, "std,panic_abort")
}

/// Espressif's own compiler builds the standard library itself, of which it is told what to build.
fn espressif_compiler(
    context: &Context,
    target: &str,
    library: &str,
) -> Result<Vec<(String, OsString)>, Problem> {
    let toolchains = Command::new("rustup").args(["toolchain", "list"]).read();
    if toolchains.is_ok_and(|list| list.lines().any(|name| name.split(' ').next() == Some("esp"))) {
        return Ok(variables([
            ("RUSTUP_TOOLCHAIN", "esp".into()),
            ("CARGO_BUILD_TARGET", target.into()),
            ("CARGO_UNSTABLE_BUILD_STD", library.into()),
        ]));
    }
    let how = "missing: Espressif's compiler (cargo install espup --locked && espup install)";
    let toolchain = debian::toolchain(context, how)?;
    let specification = toolchain.join(target).with_extension("json");
    let known = !specification.exists();
    Ok(variables([
        ("RUSTC", toolchain.join("rustc").into()),
        ("RUSTC_BOOTSTRAP", "1".into()),
        ("CARGO_BUILD_TARGET", if known { target.into() } else { specification.into() }),
        ("CARGO_UNSTABLE_JSON_TARGET_SPEC", "true".into()),
    ]))
}

fn variables<const N: usize>(these: [(&str, OsString); N]) -> Vec<(String, OsString)> {
    these.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
