//! Compilers for the chips: the installed one, Espressif's, or Debian's in the cache.

use crate::{
    job::Job,
    runner::{Outcome, Problem, Tally},
    tools,
};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// Without atomic instructions (ESP32-C2, C3), and with them (C5, C6, H2).
pub(crate) const RISCV: [&str; 2] = [IMC, IMAC];
pub(crate) const IMC: &str = "riscv32imc-unknown-none-elf";
pub(crate) const IMAC: &str = "riscv32imac-unknown-none-elf";

/// The ESP32 of the ESP32-CAM, and the S3.
pub(crate) const XTENSA: [&str; 2] = ["xtensa-esp32-none-elf", "xtensa-esp32s3-none-elf"];

/// The same with ESP-IDF, and one of its RISC-V chips.
pub(crate) const ESPIDF: [&str; 3] =
    ["riscv32imc-esp-espidf", "xtensa-esp32-espidf", "xtensa-esp32s3-espidf"];

/// Sees to it that there is a compiler for every chip.
pub(crate) fn compilers(job: &Job<'_>) -> Outcome {
    for target in RISCV.into_iter().chain(XTENSA).chain(ESPIDF) {
        compiler(job, target)?;
    }
    Ok(Tally::ONE)
}

/// The variables that make cargo compile for one of the targets above. Xtensa is compiled and not
/// linked, ESP-IDF only checked.
pub(crate) fn compiler(
    job: &Job<'_>,
    target: &str,
) -> Result<Vec<(&'static str, String)>, Problem> {
    let sh = &job.sh;
    let by_name = ("CARGO_BUILD_TARGET", target.to_owned());
    if RISCV.contains(&target) {
        let libraries = cmd!(sh, "rustc --print target-libdir --target {target}").read();
        if libraries.is_ok_and(|folder| Path::new(&folder).is_dir()) {
            return Ok(vec![by_name]);
        }
        let toolchain = debian_toolchain(job, &format!("rustup target add {IMC} {IMAC}"))?;
        let mut variables = vec![by_name, ("RUSTC", text(toolchain.join("rustc")))];
        // Debian's compiler comes without the linker that these targets ask for.
        let host_libraries = cmd!(sh, "rustc --print target-libdir").read()?;
        let linker = Path::new(&host_libraries).with_file_name("bin/rust-lld");
        if linker.exists() {
            let name = match target {
                IMC => "CARGO_TARGET_RISCV32IMC_UNKNOWN_NONE_ELF_LINKER",
                _ => "CARGO_TARGET_RISCV32IMAC_UNKNOWN_NONE_ELF_LINKER",
            };
            variables.push((name, text(linker)));
        }
        return Ok(variables);
    }
    let toolchains = cmd!(sh, "rustup toolchain list").ignore_stderr().read();
    if toolchains.is_ok_and(|list| list.lines().any(|name| name.split(' ').next() == Some("esp"))) {
        // It builds the standard library itself.
        let library = if ESPIDF.contains(&target) { "std,panic_abort" } else { "core,alloc" };
        return Ok(vec![
            by_name,
            ("RUSTUP_TOOLCHAIN", "esp".to_owned()),
            ("CARGO_UNSTABLE_BUILD_STD", library.to_owned()),
        ]);
    }
    let toolchain = debian_toolchain(job, "cargo install espup --locked && espup install")?;
    let specification = toolchain.join(target).with_extension("json");
    let target = if specification.exists() { text(specification) } else { target.to_owned() };
    Ok(vec![
        ("CARGO_BUILD_TARGET", target),
        ("RUSTC", text(toolchain.join("rustc"))),
        ("RUSTC_BOOTSTRAP", "1".to_owned()),
        ("CARGO_UNSTABLE_JSON_TARGET_SPEC", "true".to_owned()),
    ])
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

/// The folder that `debian-toolchain/build.sh` has made. `how` is what else brings a compiler.
fn debian_toolchain(job: &Job<'_>, how: &str) -> Result<PathBuf, Problem> {
    // A newer Rust is asked for: a newer one is fetched.
    let script = (env!("CARGO_PKG_RUST_VERSION"), include_str!("../debian-toolchain/build.sh"));
    let key = format!("chips-{:016x}", tools::hash(script));
    tools::cached(job.context, &key, &format!("a compiler for the chip ({how})"), |folder| {
        tools::apt_update(job)?;
        let sh = &job.sh;
        let targets = RISCV.into_iter().chain(XTENSA).chain(ESPIDF);
        job.run(cmd!(sh, "crates/xtask/debian-toolchain/build.sh {folder} {targets...}")).map(drop)
    })
}
