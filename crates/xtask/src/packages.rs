//! What `cargo package` puts into the packages that are published.

use crate::{
    job::Job,
    runner::{Outcome, Problem, Tally},
    workspace::{self, Library},
};
use std::{fs, path::Path};
use xshell::cmd;

/// The licence texts, in the root and in every published package.
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Each published package carries both licence texts, the same as in the root.
pub(crate) fn licences(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    let libraries = workspace::libraries(job)?;
    let mut faults = Vec::new();
    for Library { name, manifest, .. } in &libraries {
        // A file may be there and be left out, by `include` or `exclude` in the manifest.
        let packed =
            cmd!(sh, "cargo package --list --allow-dirty --quiet --package {name}").read()?;
        for licence in LICENCES {
            if !packed.lines().any(|line| line == licence) {
                faults.push(format!("the package of {name} lacks {licence}"));
            } else if let Some(fault) =
                differs(&job.context.root.join(licence), &manifest.with_file_name(licence))?
            {
                faults.push(fault);
            }
        }
    }
    if faults.is_empty() {
        return Ok(Tally::passed(libraries.len()));
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

#[cfg(test)]
mod tests {
    use super::*;

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
