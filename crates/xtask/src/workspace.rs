//! What is in the repository, as cargo and the folders know it: a new crate, feature or workspace is
//! found here, and nobody keeps a list.

use crate::{job::Job, runner::Problem};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
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
    let metadata = metadata(job, &job.context.root.join("Cargo.toml"), &["--no-deps"])?;
    let published = metadata["packages"].as_array().into_iter().flatten();
    // `publish = false` is an empty list of registries.
    let published = published.filter(|package| package["publish"] != json!([]));
    let mut libraries: Vec<Library> = published
        .map(|package| {
            let features = package["features"].as_object().into_iter().flatten();
            let features = features.map(|(name, _)| name.clone()).filter(|name| name != "default");
            Library {
                name: text(&package["name"]),
                manifest: text(&package["manifest_path"]).into(),
                features: features.collect(),
            }
        })
        .collect();
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(libraries)
}

/// What `cargo metadata` says of a workspace.
pub(crate) fn metadata(job: &Job<'_>, manifest: &Path, more: &[&str]) -> Result<Value, Problem> {
    let sh = &job.sh;
    let metadata =
        cmd!(sh, "cargo metadata --quiet --format-version 1 --manifest-path {manifest} {more...}");
    let json = metadata.read()?;
    serde_json::from_str(&json).map_err(|error| Problem::failed(error.to_string()))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The manifest of every workspace: the one with the libraries first, then those that are built in
/// their own way.
pub(crate) fn manifests(job: &Job<'_>) -> Result<Vec<PathBuf>, Problem> {
    let mut manifests = Vec::new();
    let mut folders = vec![job.context.root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name == "Cargo.toml" && fs::read_to_string(&path)?.contains("[workspace]\n") {
                manifests.push(path);
            }
        }
    }
    manifests.sort_by_key(|manifest| (manifest.components().count(), manifest.clone()));
    Ok(manifests)
}
