//! What is costly to make is made once and kept outside the checkout.

use crate::{Context, runner::Problem};
use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// The entry `key`, made by `make` in the folder that it is given if it is not there yet. Without
/// `--install`, an entry that is not there is a problem, which `missing` says.
///
/// An entry is made under another name and renamed when whole, so one that exists is whole.
pub(crate) fn entry(
    context: &Context,
    key: &str,
    missing: &str,
    make: impl FnOnce(&Path) -> Result<(), Problem>,
) -> Result<PathBuf, Problem> {
    let folder = folder()?;
    let whole = folder.join(key);
    if whole.exists() {
        return Ok(whole);
    }
    if !context.install {
        return Err(Problem::Missing(format!("missing: {missing}")));
    }
    fs::create_dir_all(&folder)?;
    remove_abandoned(&folder)?;
    let partial = folder.join(format!("{PARTIAL}{}.{key}", std::process::id()));
    fs::create_dir_all(&partial)?;
    let made = make(&partial).and_then(|()| match fs::rename(&partial, &whole) {
        // Another run was faster: its entry is as good.
        Err(_) if whole.exists() => Ok(()),
        renamed => Ok(renamed?),
    });
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    made.map(|()| whole)
}

/// A number for the key of an entry, by what the entry is made from.
pub(crate) fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The folder for what outlives a checkout.
fn folder() -> Result<PathBuf, Problem> {
    let from = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("CAMWIRE_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("camwire")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/camwire")))
        .ok_or_else(|| Problem::Missing("no cache folder: set CAMWIRE_CACHE or HOME".to_owned()))
}

const PARTIAL: &str = ".partial.";

/// Removes what runs that were killed have left behind.
fn remove_abandoned(folder: &Path) -> Result<(), Problem> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PARTIAL)?.split('.').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
