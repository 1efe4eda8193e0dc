//! A compiler for riscv32imc and riscv32imac: rustup's, or Debian's in the cache.

use crate::{
    cache,
    check::{Context, Problem},
    command::Command,
    tools,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// No atomic instructions (ESP32-C2, C3), and with them (C5, C6, H2).
pub(crate) const TARGETS: [&str; 2] =
    ["riscv32imc-unknown-none-elf", "riscv32imac-unknown-none-elf"];

/// The variables that make cargo compile for the target.
pub(crate) fn compiler(
    context: &Context,
    target: &str,
) -> Result<Vec<(String, OsString)>, Problem> {
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
