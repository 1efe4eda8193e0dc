//! What is costly to make is made once and kept outside the checkout.

use crate::check::{Context, Problem};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder for what outlives a checkout.
fn folder() -> Result<PathBuf, Problem> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("CAMWIRE_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("camwire")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/camwire")))
        .ok_or_else(|| Problem::Missing("no cache folder: set CAMWIRE_CACHE or HOME".to_owned()))
}

/// Whether there is an entry `key`.
pub(crate) fn has(key: &str) -> bool {
    folder().is_ok_and(|folder| folder.join(key).exists())
}

/// The entry `key`, made by `make` in the folder it is given if it is not there yet.
///
/// An entry is made under another name and renamed when whole, so one that exists is whole.
/// Without leave to install, one that is missing is `missing`.
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
        return Err(Problem::Missing(missing.to_owned()));
    }
    let prefix = format!(".{key}.partial.");
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&folder)?.flatten() {
        // What a run that was ended left behind.
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let partial = folder.join(format!("{prefix}{}", std::process::id()));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
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
