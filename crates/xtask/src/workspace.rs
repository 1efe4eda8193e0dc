//! What is in the repository, as cargo and git know it: a new crate, feature or workspace is found
//! here, and nobody keeps a list.

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
    // `publish = false` is an empty list of registries.
    let published =
        packages(job, "Cargo.toml")?.into_iter().filter(|it| it["publish"] != json!([]));
    let mut libraries = Vec::from_iter(published.map(|package| {
        let features = package["features"].as_object().into_iter().flatten();
        let features = features.map(|(name, _)| name.clone()).filter(|name| name != "default");
        Library {
            name: text(&package["name"]),
            manifest: text(&package["manifest_path"]).into(),
            features: features.collect(),
        }
    }));
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(libraries)
}

/// What `cargo metadata` says of the packages of a workspace.
pub(crate) fn packages(job: &Job<'_>, manifest: &str) -> Result<Vec<Value>, Problem> {
    let sh = &job.sh;
    let metadata = cmd!(sh, "cargo metadata --quiet --no-deps --format-version 1");
    let json = metadata.args(["--manifest-path", manifest]).read()?;
    let mut metadata: Value =
        serde_json::from_str(&json).map_err(|error| Problem::failed(error.to_string()))?;
    Ok(metadata["packages"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The manifest of every workspace: the one with the libraries first, then those that are built in
/// their own way.
pub(crate) fn manifests(job: &Job<'_>) -> Result<Vec<PathBuf>, Problem> {
    let sh = &job.sh;
    let files = cmd!(sh, "git ls-files --cached --others --exclude-standard *Cargo.toml").read()?;
    let mut manifests: Vec<PathBuf> =
        files.lines().map(|file| job.context.root.join(file)).filter(is_root).collect();
    manifests.sort_by_key(|manifest| (manifest.components().count(), manifest.clone()));
    Ok(manifests)
}

fn is_root(manifest: &PathBuf) -> bool {
    fs::read_to_string(manifest).is_ok_and(|text| text.contains("[workspace]\n"))
}
