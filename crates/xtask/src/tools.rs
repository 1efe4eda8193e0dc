//! The programs that checks need: found, fetched, or said to be missing.

use crate::{
    cache,
    check::{Context, Problem},
    command::Command,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A program that `cargo install` makes, in a version that is known to work here.
pub(crate) struct CargoTool {
    name: &'static str,
    version: &'static str,
    /// What makes it faster to compile.
    options: &'static [&'static str],
}

pub(crate) const CARGO_DENY: CargoTool =
    CargoTool { name: "cargo-deny", version: "0.20.2", options: &[] };
pub(crate) const CARGO_FUZZ: CargoTool =
    CargoTool { name: "cargo-fuzz", version: "0.13.2", options: &[] };
/// Optimised and with its search for updates, it would take five times as long to compile.
pub(crate) const ESPFLASH: CargoTool = CargoTool {
    name: "espflash",
    version: "4.7.0",
    options: &["--debug", "--no-default-features", "--features", "cli"],
};

/// A program known by one of several names, and the Debian packages that bring it.
pub(crate) struct Program {
    pub(crate) names: &'static [&'static str],
    pub(crate) packages: &'static str,
}

/// The first of `names` on the PATH.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(|program| program.is_file()))
}

/// Sees to it that the programs are there; all that are missing are fetched at once.
pub(crate) fn need(context: &Context, programs: &[&Program]) -> Result<(), Problem> {
    let missing = |programs: &[&Program]| -> BTreeSet<&'static str> {
        {
            let missing = programs.iter().filter(|program| find(program.names).is_none());
            missing.flat_map(|program| program.packages.split(' ')).collect()
        }
    };
    let mut packages = missing(programs);
    if !packages.is_empty() && context.install {
        apt_install(context, packages)?;
        packages = missing(programs);
    }
    if packages.is_empty() {
        return Ok(());
    }
    let packages = Vec::from_iter(packages).join(" ");
    Err(Problem::Missing(format!("missing: {packages} (apt install {packages})")))
}

/// `apt-get update`, once in a run.
pub(crate) fn apt_update(context: &Context) -> Result<(), Problem> {
    if find(&["apt-get"]).is_none() {
        return Err(Problem::Missing("missing: apt-get, to fetch packages with".to_owned()));
    }
    if !context.apt_is_fresh.replace(true) {
        Command::new("apt-get").args(["update"]).run()?;
    }
    Ok(())
}

fn apt_install(
    context: &Context,
    packages: impl IntoIterator<Item = &'static str>,
) -> Result<(), Problem> {
    apt_update(context)?;
    Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
        .map(drop)
}

/// A program made by cargo: the folder to put first on the PATH, if it is not there.
pub(crate) fn cargo_tool(context: &Context, tool: &CargoTool) -> Result<Option<PathBuf>, Problem> {
    let CargoTool { name, version, options } = tool;
    if !context.install && find(&[name]).is_some() {
        return Ok(None);
    }
    let how = format!("missing: {name} (cargo install {name} --locked)");
    let dir = cache::entry(context, &format!("{name}-{version}"), &how, |dir| {
        let build = dir.join("build");
        context
            .cargo(&["install", name, "--version", version, "--locked"])
            .args(*options)
            .args(["--root".as_ref(), dir.as_os_str()])
            .env("CARGO_TARGET_DIR", &build)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .run()?;
        Ok(std::fs::remove_dir_all(build)?)
    })?;
    Ok(Some(dir.join("bin")))
}

/// The PATH with a folder before it.
pub(crate) fn path_with(dir: Option<&Path>) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = dir.map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).unwrap_or(path)
}

/// Python 3 with the packages of `e2e/requirements.txt`, in an environment of its own.
pub(crate) fn python_with_packages(context: &Context) -> Result<PathBuf, Problem> {
    const REQUIREMENTS: &str = include_str!("../e2e/requirements.txt");
    let version = Command::new("python3").args(["--version"]).read()?;
    let key = format!("python-{:016x}", fnv(&[version.as_bytes(), REQUIREMENTS.as_bytes()]));
    let how = "missing: Python packages (cargo xtask test --install e2e puts them in a cache)";
    let dir = cache::entry(context, &key, how, |dir| {
        let venv = || Command::new("python3").args(["-m", "venv", "--clear"]).args([dir]).run();
        if venv().is_err() {
            // Debian packs this part of Python apart.
            apt_install(context, ["python3-venv"])?;
            venv()?;
        }
        let requirements = dir.join("requirements.txt");
        std::fs::write(&requirements, REQUIREMENTS)?;
        Command::new(dir.join("bin/python"))
            .args(["-m", "pip", "install", "--only-binary=:all:", "--requirement"])
            .args([requirements])
            .run()
            .map(drop)
    })?;
    Ok(dir.join("bin/python"))
}

/// A folder with the packages for Node that tests use.
pub(crate) fn node_packages(context: &Context) -> Result<PathBuf, Problem> {
    const PACKAGE: &str = "ws@8.23.0";
    let how =
        format!("missing: Node's {PACKAGE} (cargo xtask test --install e2e puts it in a cache)");
    let dir = cache::entry(context, &format!("node-{PACKAGE}"), &how, |dir| {
        Command::new("npm")
            .args(["install", "--prefix", ".", "--no-fund", "--no-audit", PACKAGE])
            .dir(dir)
            .run()
            .map(drop)
    })?;
    Ok(dir.join("node_modules"))
}

/// FNV-1a: a name for a cache entry, nothing more.
fn fnv(parts: &[&[u8]]) -> u64 {
    parts.iter().flat_map(|part| part.iter()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
