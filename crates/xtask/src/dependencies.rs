//! What may come in from outside: the rules of deny.toml that need no database, by `cargo metadata`.
//! `cargo deny`, which takes minutes to compile, checks them all in the deep run.

use crate::{
    job::Job,
    runner::{Outcome, Problem, Tally},
    tools, workspace,
};
use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use xshell::cmd;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences, sources and wildcards of all that each workspace depends on.
pub(crate) fn check(job: &Job<'_>) -> Outcome {
    let root = &job.context.root;
    let rules = tools::read(&root.join("deny.toml"))?;
    let allowed = allowed_licences(&rules);
    let mut faults = Vec::new();
    for manifest in workspace::manifests(job)? {
        let metadata = workspace::metadata(job, &manifest, &["--all-features"])?;
        let shipped = without_tests(&metadata);
        for package in metadata["packages"].as_array().into_iter().flatten() {
            // As for cargo-deny, the licences of what only tests use do not matter.
            let allowed = shipped.contains(&package["id"].as_str()).then_some(&*allowed);
            let fault = fault(package, root, allowed);
            let name = (&package["name"], &package["version"]);
            faults.extend(fault.map(|fault| format!("{} {}: {fault}", name.0, name.1)));
        }
    }
    faults.sort();
    faults.dedup();
    if faults.is_empty() { Ok(Tally::ONE) } else { Err(Problem::failed(faults.join("\n"))) }
}

/// All rules of deny.toml, by cargo-deny.
pub(crate) fn deny(job: &Job<'_>) -> Outcome {
    let path = tools::path_with(job, &tools::CARGO_DENY)?;
    let sh = &job.sh;
    for manifest in workspace::manifests(job)? {
        let deny = cmd!(sh, "cargo deny --manifest-path {manifest} --config deny.toml");
        job.run(deny.args(["check", "bans", "licenses", "sources"]).env("PATH", &path))?;
    }
    Ok(Tally::ONE)
}

/// Known vulnerabilities of the dependencies. Their database is on the network.
pub(crate) fn advisories(job: &Job<'_>) -> Outcome {
    let path = tools::path_with(job, &tools::CARGO_DENY)?;
    let sh = &job.sh;
    let deny =
        |args: &[&str]| cmd!(sh, "cargo deny --config deny.toml").args(args).env("PATH", &path);
    if !job.output(deny(&["fetch", "db"]))?.success {
        return Err(Problem::Skipped("the database of advisories cannot be fetched".to_owned()));
    }
    for manifest in workspace::manifests(job)? {
        let args = ["--manifest-path".as_ref(), manifest.as_os_str()];
        job.run(deny(&[]).args(args).args(["check", "--disable-fetch", "advisories"]))?;
    }
    Ok(Tally::ONE)
}

/// The members of a workspace, and all that they depend on but for tests.
fn without_tests(metadata: &Value) -> BTreeSet<Option<&str>> {
    let members = metadata["workspace_members"].as_array().into_iter().flatten();
    let mut todo: Vec<Option<&str>> = members.map(Value::as_str).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let nodes: BTreeMap<_, _> = nodes.map(|node| (node["id"].as_str(), &node["deps"])).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if !found.insert(id) {
            continue;
        }
        let dependencies = nodes.get(&id).and_then(|deps| deps.as_array()).into_iter().flatten();
        let is_used = |dependency: &&Value| {
            let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            kinds.any(|kind| kind["kind"] != "dev")
        };
        todo.extend(dependencies.filter(is_used).map(|dependency| dependency["pkg"].as_str()));
    }
    found
}

/// What is wrong with a package, if anything. Without `allowed`, it may have any licence.
fn fault(package: &Value, root: &Path, allowed: Option<&[Licensee]>) -> Option<String> {
    let source = package["source"].as_str();
    let is_ours = Path::new(package["manifest_path"].as_str()?).starts_with(root);
    if source != Some(CRATES_IO) && !(source.is_none() && is_ours) {
        return Some(format!("comes from {}", source.unwrap_or("a folder outside")));
    }
    let licence = package["license"].as_str().unwrap_or("none");
    // Old packages write a slash for OR.
    let expression = Expression::parse_mode(licence, ParseMode::LAX);
    let is_allowed = |allowed: &[Licensee]| {
        expression.is_ok_and(|e| e.evaluate(|one| allowed.iter().any(|it| it.satisfies(one))))
    };
    if allowed.is_some_and(|allowed| !is_allowed(allowed)) {
        return Some(format!("has a licence that deny.toml does not allow: {licence}"));
    }
    let mut dependencies = package["dependencies"].as_array().into_iter().flatten();
    let wildcard = |d: &&Value| is_ours && d["req"] == "*" && d["path"].is_null();
    dependencies.find(wildcard).map(|d| format!("takes any version of {}", d["name"]))
}

/// `[licenses] allow` in deny.toml.
fn allowed_licences(rules: &str) -> Vec<Licensee> {
    let list = rules.split_once("\nallow = [").and_then(|(_, rest)| rest.split_once("\n]"));
    let lines = list.map_or("", |(list, _)| list).lines();
    let names = lines.filter_map(|line| line.trim().strip_prefix('"')?.split('"').next());
    names.filter_map(|name| Licensee::parse(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_of_packages() {
        let rules =
            "\nallow = [\n    \"MIT\", # \"why\"\n    \"Apache-2.0 WITH LLVM-exception\",\n]\n";
        let allowed = allowed_licences(rules);
        assert_eq!(allowed.len(), 2);
        let fault = |source: Value, manifest: &str, requirement: &str, licence: Value| {
            let dependencies = json!([{ "name": "a", "req": requirement, "path": null }]);
            let package = json!({
                "source": source, "license": licence, "manifest_path": manifest,
                "dependencies": dependencies,
            });
            fault(&package, Path::new("/here"), Some(&allowed)).unwrap_or_default()
        };
        let (ours, mit) = (json!(null), json!("MIT"));
        assert_eq!(fault(json!(CRATES_IO), "/there/Cargo.toml", "*", mit.clone()), "");
        for right in ["MIT", "GPL-3.0/MIT", "MIT OR GPL-3.0", "Apache-2.0 WITH LLVM-exception"] {
            assert_eq!(fault(ours.clone(), "/here/Cargo.toml", "^1", json!(right)), "", "{right}");
        }
        for wrong in ["GPL-3.0", "Apache-2.0", "MIT AND GPL-3.0", "(MIT", ""] {
            let fault = fault(ours.clone(), "/here", "^1", json!(wrong));
            assert!(fault.contains("does not allow"), "{wrong}: {fault}");
        }
        for (fault, expected) in [
            (fault(ours.clone(), "/here/Cargo.toml", "*", mit.clone()), "any version of \"a\""),
            (fault(ours.clone(), "/there/Cargo.toml", "^1", mit.clone()), "a folder outside"),
            (fault(json!("git+https://b"), "/there", "^1", mit), "git+https://b"),
            (fault(ours, "/here", "^1", json!(null)), "none"),
        ] {
            assert!(fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn what_only_tests_use_is_not_shipped() {
        let depends = |on: &str, kinds: Value| json!({ "pkg": on, "dep_kinds": kinds });
        let (normal, dev) = (json!({ "kind": null }), json!({ "kind": "dev" }));
        let deps = json!([depends("b", json!([dev, normal])), depends("c", json!([dev]))]);
        let nodes = json!([{ "id": "a", "deps": deps }, { "id": "b", "deps": [] }, { "id": "c", "deps": [] }]);
        let metadata = json!({ "workspace_members": ["a"], "resolve": { "nodes": nodes } });
        assert_eq!(without_tests(&metadata), BTreeSet::from([Some("a"), Some("b")]));
    }
}
