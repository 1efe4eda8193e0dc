//! What `cargo package` puts into the packages that are published.

use crate::check::{Context, Outcome, Problem, Tally};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The licence texts, in the root and in every published package.
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Each published package carries both licence texts, the same as in the root.
pub(crate) fn licences(context: &Context) -> Outcome {
    let metadata = ["metadata", "--no-deps", "--format-version", "1", "--quiet"];
    let manifests = published(&context.cargo(&metadata).read()?);
    if manifests.is_empty() {
        return Err(Problem::failed("cargo metadata names no published package"));
    }
    let mut faults = Vec::new();
    for manifest in &manifests {
        // A file may be there and be left out, by `include` or `exclude` in the manifest.
        let list = ["package", "--list", "--allow-dirty", "--quiet", "--manifest-path"];
        let packed = context.cargo(&list).args([manifest]).read()?;
        for name in LICENCES {
            if !packed.lines().any(|line| line == name) {
                faults.push(format!("the package of {} lacks {name}", manifest.display()));
            } else if let Some(fault) =
                differs(&context.root.join(name), &manifest.with_file_name(name))?
            {
                faults.push(fault);
            }
        }
    }
    if faults.is_empty() {
        return Ok(Tally { passed: manifests.len(), ..Tally::default() });
    }
    faults.push("copy LICENSE-APACHE and LICENSE-MIT from the root into the package".to_owned());
    Err(Problem::failed(faults.join("\n")))
}

/// What is wrong with a copy, if anything is. A symbolic link would do on Unix only.
fn differs(original: &Path, copy: &Path) -> Result<Option<String>, Problem> {
    let is_link = fs::symlink_metadata(copy)?.is_symlink();
    let is_same = fs::read(original)? == fs::read(copy)?;
    Ok(match (is_link, is_same) {
        (true, _) => Some(format!("{} is a link; a checkout on Windows has none", copy.display())),
        (false, false) => Some(format!("{} differs from the root's", copy.display())),
        (false, true) => None,
    })
}

/// The manifests of the packages that may be published, in the output of `cargo metadata`.
fn published(metadata: &str) -> Vec<PathBuf> {
    // Each package is an object in which `manifest_path` comes before `publish`, and neither is in
    // an object of its own. `publish = false` is the empty list of registries.
    let packages = metadata.split(r#""manifest_path":""#).skip(1);
    let published = packages.filter_map(|package| {
        let (manifest, rest) = package.split_once('"')?;
        let (_, publish) = rest.split_once(r#""publish":"#)?;
        (!publish.starts_with("[]")).then(|| PathBuf::from(manifest.replace(r"\\", r"\")))
    });
    published.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_published_unless_their_manifest_forbids_it() {
        let package = |name: &str, publish: &str| {
            format!(
                r#"{{"name":"{name}","dependencies":[{{"name":"x","path":"/x"}}],"features":{{}},"manifest_path":"/w/{name}/Cargo.toml","metadata":null,"publish":{publish},"authors":[]}}"#
            )
        };
        let packages = [package("a", "null"), package("b", "[]"), package("c", r#"["own"]"#)];
        let metadata = format!(r#"{{"packages":[{}],"version":1}}"#, packages.join(","));
        let expected = ["/w/a/Cargo.toml", "/w/c/Cargo.toml"].map(PathBuf::from);
        assert_eq!(published(&metadata), expected);
        assert!(published("").is_empty());
    }

    #[test]
    fn copies_are_compared_byte_by_byte() {
        let folder = std::env::temp_dir().join(format!("camwire-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let root = file("root", "MIT\n");
        let fault = |copy: &Path| match differs(&root, copy) {
            Ok(fault) => fault.map(|fault| fault.replace(&*folder.to_string_lossy(), "")),
            Err(_) => Some("an error".to_owned()),
        };
        assert_eq!(fault(&file("same", "MIT\n")), None);
        assert_eq!(fault(&file("other", "MIT")).as_deref(), Some("/other differs from the root's"));
        assert_eq!(fault(&folder.join("missing")).as_deref(), Some("an error"));
        #[cfg(unix)]
        {
            let link = folder.join("link");
            std::os::unix::fs::symlink(&root, &link).unwrap();
            assert!(fault(&link).is_some_and(|fault| fault.starts_with("/link is a link")));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
