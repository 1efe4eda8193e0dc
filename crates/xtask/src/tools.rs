//! The programs that checks run: found, installed, or reported as missing.

use crate::{
    cache,
    job::Job,
    runner::{Outcome, Problem, Tally},
};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};
use xshell::cmd;

/// The programs that the checks run, each with its Debian packages: the same list as for pytest.
const PROGRAMS: &str = include_str!("../e2e/apt.txt");

/// The Python packages of the end-to-end tests, esptool among them.
const REQUIREMENTS: &str = include_str!("../e2e/requirements.txt");

/// The Node package that the WebSocket examples are tested with.
const NODE_PACKAGE: &str = "ws@8.23.0";

/// All that the checks run.
pub(crate) fn all(job: &Job<'_>) -> Outcome {
    let programs = lines().filter_map(|(names, _)| names.split('|').next());
    let there = need(job, &Vec::from_iter(programs));
    python(job)?;
    node_packages(job)?;
    there.map(|()| Tally::ONE)
}

/// Sees to it that these programs of apt.txt are there; the problem says how to get those that are
/// not.
pub(crate) fn need(job: &Job<'_>, programs: &[&str]) -> Result<(), Problem> {
    let mut packages = missing_packages(programs);
    if !packages.is_empty() && job.context.install {
        apt_install(job, &packages)?;
        packages = missing_packages(programs);
    }
    if packages.is_empty() {
        return Ok(());
    }
    let packages = Vec::from_iter(packages).join(" ");
    Err(Problem::Missing(format!("missing: apt install {packages}")))
}

/// The packages of these programs, as far as they are not there.
fn missing_packages(programs: &[&str]) -> BTreeSet<&'static str> {
    let wanted = lines().filter(|(names, _)| names.split('|').any(|name| programs.contains(&name)));
    let missing = wanted.filter(|(names, _)| !names.split('|').any(is_there));
    missing.flat_map(|(_, packages)| packages.split_whitespace()).collect()
}

/// The names of each program, and its packages.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROGRAMS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '))
}

fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian puts servers where users do not look.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).any(|folder| folder.join(program).is_file())
}

/// Refreshes Debian's list of packages.
pub(crate) fn apt_update(job: &Job<'_>) -> Result<(), Problem> {
    if !is_there("apt-get") {
        return Err(Problem::Missing("missing: apt-get, to install packages".to_owned()));
    }
    job.run(cmd!(job.sh, "apt-get update")).map(drop)
}

fn apt_install(job: &Job<'_>, packages: &BTreeSet<&str>) -> Result<(), Problem> {
    apt_update(job)?;
    let options = ["--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
    let install = cmd!(job.sh, "apt-get install {options...}").args(packages);
    job.run(install.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// Python with the packages of requirements.txt, in an environment of its own.
pub(crate) fn python(job: &Job<'_>) -> Result<PathBuf, Problem> {
    let sh = &job.sh;
    need(job, &["python3"])?;
    let version = cmd!(sh, "python3 --version").read()?;
    let key = format!("python-{:016x}", cache::hash((version, REQUIREMENTS)));
    let how = "Python packages (cargo xtask test --install tools)";
    let folder = cache::entry(job.context, &key, how, |folder| {
        let venv = || job.run(cmd!(sh, "python3 -m venv --clear {folder}"));
        if venv().is_err() {
            // Debian packs this part of Python apart.
            apt_install(job, &["python3-venv"].into())?;
            venv()?;
        }
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, REQUIREMENTS)?;
        let python = folder.join("bin/python");
        job.run(cmd!(sh, "{python} -m pip install --only-binary=:all: -r {requirements}")).map(drop)
    })?;
    Ok(folder.join("bin/python"))
}

/// A folder with the packages for Node.
pub(crate) fn node_packages(job: &Job<'_>) -> Result<PathBuf, Problem> {
    let sh = &job.sh;
    need(job, &["npm"])?;
    let key = format!("node-{NODE_PACKAGE}");
    let how = format!("Node's {NODE_PACKAGE} (cargo xtask test --install tools)");
    let folder = cache::entry(job.context, &key, &how, |folder| {
        let npm = cmd!(sh, "npm install --prefix {folder} --no-fund --no-audit {NODE_PACKAGE}");
        job.run(npm).map(drop)
    })?;
    Ok(folder.join("node_modules"))
}

/// A program that `cargo install` makes, in a version that is known to work here.
pub(crate) struct CargoTool {
    pub(crate) name: &'static str,
    version: &'static str,
    /// What makes it faster to compile.
    options: &'static [&'static str],
}

pub(crate) const CARGO_DENY: CargoTool =
    CargoTool { name: "cargo-deny", version: "0.20.2", options: &[] };
pub(crate) const CARGO_HACK: CargoTool =
    CargoTool { name: "cargo-hack", version: "0.6.45", options: &["--debug"] };
/// Optimised and with its search for updates, it would take five times as long to compile.
pub(crate) const ESPFLASH: CargoTool = CargoTool {
    name: "espflash",
    version: "4.7.0",
    options: &["--debug", "--no-default-features", "--features", "cli"],
};

/// The PATH on which the tool is found. Without `--install`, any version of it will do.
pub(crate) fn path_with(job: &Job<'_>, tool: &CargoTool) -> Result<OsString, Problem> {
    let &CargoTool { name, version, options } = tool;
    let path = env::var_os("PATH").unwrap_or_default();
    if !job.context.install && is_there(name) {
        return Ok(path);
    }
    let how = format!("{name} (cargo install {name} --locked)");
    let folder = cache::entry(job.context, &format!("{name}-{version}"), &how, |folder| {
        let (sh, build) = (&job.sh, folder.join("build"));
        let install = cmd!(sh, "cargo install {name} --version {version} --locked {options...}");
        let install = install.arg("--root").arg(folder).env("CARGO_TARGET_DIR", &build);
        job.run(install.env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
        Ok(fs::remove_dir_all(build)?)
    })?;
    let folders = [folder.join("bin")].into_iter().chain(env::split_paths(&path));
    env::join_paths(folders).map_err(|error| Problem::failed(error.to_string()))
}

/// Reads a file that is there, or says which.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    fs::read_to_string(path).map_err(|e| Problem::failed(format!("{}: {e}", path.display())))
}
