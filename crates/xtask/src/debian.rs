//! Debian's second Rust toolchain, unpacked in the cache beside the installed one, with the standard
//! library for the chips. Nothing is installed over anything.

use crate::{
    cache,
    check::{Context, Problem},
    command::Command,
    toolchain::{ESPIDF_CFG, ESPIDF_TARGETS, TARGETS},
    tools,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The toolchain's folder: `rustc`, and for each Xtensa target its specification. For bare metal it
/// has core and alloc; for ESP-IDF it has std, to check against and not to link. Without it, and
/// without leave to fetch it, the problem is `missing`.
pub(crate) fn toolchain(context: &Context, missing: &str) -> Result<PathBuf, Problem> {
    let missing_here = || Problem::Missing(missing.to_owned());
    if tools::find(&["apt-get"]).is_none() || tools::find(&["dpkg"]).is_none() {
        return Err(missing_here());
    }
    let mut key = key();
    if context.install && !key.as_deref().is_some_and(cache::has) {
        tools::apt_update(context)?;
        key = self::key();
    }
    let key = key.ok_or_else(missing_here)?;
    cache::entry(context, &key, missing, |dir| {
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
        let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        fs::write(
            &rustc,
            format!(
                "#!/bin/sh\n\
                 # Where this stands is asked each time, so that the folder can be moved.\n\
                 root=$(dirname \"$(readlink -f \"$0\")\")/root\n\
                 export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu\n\
                 \"$root/usr/bin/rustc\" \"$@\" || exit\n\
                 # By this, cargo tells compilers apart: two must not mix the cores made for them.\n\
                 test \"$*\" != -vV || echo camwire: {made}\n"
            ),
        )?;
        Command::new("chmod").args(["+x".as_ref(), rustc.as_os_str()]).run()?;
        let known = TARGETS.into_iter().chain(ESPIDF_TARGETS).filter(|t| t.starts_with("riscv"));
        for target in known {
            build_library(context, dir, &rustc, Path::new(target))?;
        }
        for (target, cpu, features) in XTENSA {
            let specification = dir.join(target).with_extension("json");
            fs::write(&specification, xtensa_specification(&rustc, target, cpu, features)?)?;
            build_library(context, dir, &rustc, &specification)?;
        }
        // The sources are most of it, and have done their work.
        Ok(fs::remove_dir_all(root.join("usr/src"))?)
    })
}

/// The cache's key for the version that can be had.
fn key() -> Option<String> {
    let show = Command::new("apt-cache").args(["show", "--no-all-versions", "rustc-web"]);
    let text = show.read().ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("Version: "))?;
    Some(format!("chips-{}", version.replace(|c: char| !c.is_ascii_alphanumeric(), "-")))
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

/// The Xtensa targets, with the names that LLVM has for their processor and its parts.
const XTENSA: [(&str, &str, &str); 4] = [
    ("xtensa-esp32-none-elf", "esp32", ""),
    ("xtensa-esp32s3-none-elf", "generic", ESP32S3),
    ("xtensa-esp32-espidf", "esp32", ""),
    ("xtensa-esp32s3-espidf", "generic", ESP32S3),
];

/// LLVM does not know this processor. What it has less than this does not matter here, but without
/// `s32c1i` there would be no compare-and-swap.
const ESP32S3: &str = "+bool,+clamps,+density,+div32,+loop,+mac16,+minmax,+mul16,+mul32,\
                       +mul32high,+nsa,+s32c1i,+sext,+threadptr,+windowed,";

/// What the compiler says of the ESP32 as a target, changed so that Debian's LLVM can do it.
fn xtensa_specification(
    rustc: &Path,
    target: &str,
    cpu: &str,
    features: &str,
) -> Result<String, Problem> {
    let specification = Command::new(rustc)
        .args(["-Zunstable-options", "--print", "target-spec-json", "--target"])
        .args([target.replace("esp32s3", "esp32")])
        .env("RUSTC_BOOTSTRAP", "1")
        .read()?;
    let mut lines = Vec::new();
    for line in specification.lines() {
        lines.push(match line.trim().split(':').next() {
            Some("\"cpu\"") => format!("\"cpu\": \"{cpu}\","),
            // The layout is that of another LLVM, and with `fp` this one cannot compile core.
            Some("\"data-layout\"") => format!(
                "\"data-layout\": \"e-m:e-p:32:32-i8:8:32-i16:16:32-i64:64-n32\",\n\
                 \"features\": \"{features}-fp\","
            ),
            _ => line.to_owned(),
        });
    }
    Ok(lines.join("\n"))
}

/// Builds the standard library for a target, known by its name or described in a file of its name,
/// and puts it where that compiler looks for it.
///
/// For bare metal that is core and alloc. For ESP-IDF it is std, but only what is needed to check
/// what uses it: linking would take ESP-IDF itself.
fn build_library(
    context: &Context,
    dir: &Path,
    rustc: &Path,
    target: &Path,
) -> Result<(), Problem> {
    let empty = dir.join("empty");
    let usr = dir.join("root/usr");
    fs::create_dir_all(empty.join("src"))?;
    fs::write(
        empty.join("Cargo.toml"),
        "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n[profile.release]\npanic = \"abort\"\n",
    )?;
    fs::write(empty.join("src/lib.rs"), "#![no_std]\n")?;
    let name = target.file_stem().expect("a target has a name");
    let (command, parts, flags, extension) = if name.to_string_lossy().ends_with("-espidf") {
        ("check", "std,panic_abort", format!("{ESPIDF_CFG}\x1f-Zno-codegen"), "rmeta")
    } else {
        // Bitcode, so that firmware can be linked with LTO over core.
        ("build", "core,alloc", "-Cembed-bitcode=yes".to_owned(), "rlib")
    };
    context
        .cargo(&[command, "--release", "-Zjson-target-spec", &format!("-Zbuild-std={parts}")])
        .args(["--target".as_ref(), target.as_os_str()])
        .args(["--target-dir".as_ref(), empty.join("target").as_os_str()])
        .env("RUSTC", rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        // Panics of core name its sources; where these lay on this machine is nobody's business.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("{flags}\x1f--remap-path-prefix={}=/usr", usr.display()),
        )
        .dir(&empty)
        .run()?;
    let libraries = dir.join("root/usr/lib/rustlib").join(name).join("lib");
    fs::create_dir_all(&libraries)?;
    for file in fs::read_dir(empty.join("target").join(name).join("release/deps"))? {
        let file = file?.path();
        let is_empty = file.file_name().is_some_and(|n| n.to_string_lossy().contains("empty"));
        if file.extension().is_some_and(|found| found == extension) && !is_empty {
            fs::copy(&file, libraries.join(file.file_name().expect("a file has a name")))?;
        }
    }
    Ok(fs::remove_dir_all(empty)?)
}
