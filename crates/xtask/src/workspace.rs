//! What is in the repository, as cargo and the folders know it: a new crate, feature or workspace is
//! found here, and nobody keeps a list.

use crate::{job::Job, runner::Problem};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};
use xshell::cmd;

/// A published crate.
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) manifest: PathBuf,
    /// Without `default`.
    pub(crate) features: Vec<String>,
}

/// The published crates, by name.
pub(crate) fn libraries(job: &Job<'_>) -> Result<Vec<Library>, Problem> {
    let sh = &job.sh;
    let metadata = cmd!(sh, "cargo metadata --quiet --no-deps --format-version 1").read()?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    // `publish = false` is an empty list of registries.
    let published = packages.filter(|package| package["publish"] != json!([]));
    let mut libraries = Vec::from_iter(published.map(|package| {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let features = package["features"].as_object().into_iter().flatten();
        let features = features.map(|(name, _)| name.clone()).filter(|name| name != "default");
        Library {
            name: text("name"),
            manifest: text("manifest_path").into(),
            features: features.collect(),
        }
    }));
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(libraries)
}

/// The manifest of every workspace: the one with the libraries first, then those that are built in
/// their own way.
pub(crate) fn manifests(job: &Job<'_>) -> Result<Vec<PathBuf>, Problem> {
    let files = cmd!(job.sh, "find . -name Cargo.toml -not -path */target/*").read()?;
    let files = files.lines().map(|file| job.context.root.join(file.trim_start_matches("./")));
    let is_root = |file: &PathBuf| {
        fs::read_to_string(file).is_ok_and(|manifest| manifest.contains("[workspace]\n"))
    };
    let mut manifests = Vec::from_iter(files.filter(is_root));
    manifests.sort_by_key(|manifest| (manifest.components().count(), manifest.clone()));
    Ok(manifests)
}
