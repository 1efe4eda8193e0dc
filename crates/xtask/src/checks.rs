//! The checks that are plain cargo commands, and the list of all.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    command::Command,
    e2e, esp32, esp32_idf, espidf, fuzz, no_panic, packages, riscv, tools, xtensa,
};
use std::{collections::BTreeSet, fs, path::Path};

/// Seconds for each fuzz target within the test run.
const FUZZ_SECONDS: u64 = 20;

/// The workspaces: the one with the libraries, and those that are built in their own way.
const MANIFESTS: [&str; 8] = [
    "Cargo.toml",
    "crates/xtask/outside/no_panic/Cargo.toml",
    "crates/xtask/outside/size/Cargo.toml",
    "crates/xtask/outside/target-tests/Cargo.toml",
    "fuzz/Cargo.toml",
    "examples/qemu-riscv/Cargo.toml",
    "examples/esp32/Cargo.toml",
    "examples/esp32-idf/Cargo.toml",
];

/// Every check, the quick ones first.
pub(crate) fn all(context: &Context) -> Vec<Check> {
    let mut checks = vec![
        Check::new("fmt", "rustfmt: every workspace", fmt),
        Check::new("clippy", "clippy over everything with all features", |context| {
            clippy(context, &["--all-features"])
        }),
        Check::new("clippy-default", "clippy over everything with default features", |context| {
            clippy(context, &[])
        }),
        Check::new(
            "clippy-no-window",
            "clippy over the host program without its window",
            |context| {
                let package = ["clippy", "--package", "camwire-host", "--all-targets"];
                let clippy = context.cargo(&package).args(["--no-default-features"]);
                clippy.args(["--", "-D", "warnings"]).run()?;
                Ok(Tally::ONE)
            },
        ),
        Check::new("rustdoc", "the documentation builds without a warning", rustdoc),
        Check::new("deny", "licences, sources and duplicates of the dependencies", deny),
        Check::new("packages", "published packages carry the licence texts", packages::licences),
    ];
    for name in libraries(context) {
        checks.push(Check::new(
            format!("features-{name}"),
            "every combination of a library's features compiles; of many, every pair",
            move |context| features(context, &name),
        ));
    }
    checks.extend([
        Check::new("test", "cargo test: units, integration, documentation", |context| {
            cargo_test(context.cargo(&["test", "--workspace", "--all-features"]))
        }),
        Check::new("test-release-ring", "the ring's threads, optimised", |context| {
            let package = ["--package", "camwire-ring", "--all-features"];
            cargo_test(context.cargo(&["test", "--release"]).args(package))
        }),
        Check::new("loom", "the ring under every interleaving of small cases", |context| {
            let args =
                ["test", "--release", "--package", "camwire-ring", "--lib", "--test", "loom"];
            let loom = context.cargo_apart("loom", &args).args(["--features", "alloc"]);
            cargo_test(loom.env("RUSTFLAGS", "--cfg loom"))
        }),
        Check::new("benches", "the benchmarks compile", |context| {
            context.cargo(&["bench", "--package", "camwire-benches", "--no-run"]).run()?;
            Ok(Tally::ONE)
        }),
    ]);
    checks.extend(riscv::checks());
    checks.extend(xtensa::checks());
    checks.extend(espidf::checks());
    checks.extend(no_panic::checks());
    checks.extend(esp32::checks());
    checks.extend(esp32_idf::checks());
    checks.extend(e2e::checks(context));
    checks.extend(fuzz::checks(context, FUZZ_SECONDS));
    checks
}

fn fmt(context: &Context) -> Outcome {
    context.cargo(&["fmt", "--all", "--check", "--", "--color=never"]).run()?;
    for manifest in &MANIFESTS[1..] {
        let fmt = context.cargo(&["fmt", "--manifest-path", manifest]);
        fmt.args(["--check", "--", "--color=never"]).run()?;
    }
    Ok(Tally::ONE)
}

fn clippy(context: &Context, features: &[&str]) -> Outcome {
    let clippy = context.cargo(&["clippy", "--workspace", "--all-targets"]).args(features);
    clippy.args(["--", "-D", "warnings"]).run()?;
    Ok(Tally::ONE)
}

fn rustdoc(context: &Context) -> Outcome {
    let doc = context.cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    doc.env("RUSTDOCFLAGS", "-D warnings").run()?;
    Ok(Tally::ONE)
}

fn deny(context: &Context) -> Outcome {
    let path = tools::path_with(tools::cargo_tool(context, &tools::CARGO_DENY)?.as_deref());
    for manifest in MANIFESTS {
        Command::new("cargo")
            .args(["deny", "--manifest-path", manifest, "--config", "deny.toml"])
            .args(["check", "bans", "licenses", "sources"])
            .env("PATH", &path)
            .dir(&context.root)
            .run()?;
    }
    Ok(Tally::ONE)
}

/// Runs cargo test to its end and adds up what the test binaries counted.
pub(crate) fn cargo_test(command: Command) -> Outcome {
    let output = command.args(["--no-fail-fast"]).env("RUST_BACKTRACE", "1").output()?;
    let mut tally = Tally::default();
    for line in output.text.lines() {
        // "test result: ok. 3 passed; 0 failed; 1 ignored; ..."
        if let Some((_, counts)) = line.split_once("test result: ")
            && let Some((_, counts)) = counts.split_once(". ")
        {
            for count in counts.split("; ") {
                let Some((number, what)) = count.split_once(' ') else { continue };
                let number: usize = number.parse().unwrap_or(0);
                match what {
                    "passed" => tally.passed += number,
                    "failed" => tally.failed += number,
                    "ignored" => tally.skipped += number,
                    _ => {}
                }
            }
        }
    }
    if output.success && tally.passed > 0 {
        return Ok(tally);
    }
    // A test failed; or none was found, it did not compile, or a test binary died.
    tally.failed = tally.failed.max(1);
    Err(Problem::Failed { tally, output: output.text })
}

/// The published crates, by the name of their folder.
pub(crate) fn libraries(context: &Context) -> Vec<String> {
    let folders = fs::read_dir(context.root.join("crates")).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders
        .filter(|folder| folder.path().join("Cargo.toml").is_file())
        .filter_map(|folder| folder.file_name().into_string().ok())
        .filter(|name| name.starts_with("camwire"))
        .collect();
    names.sort();
    names
}

fn features(context: &Context, package: &str) -> Outcome {
    let manifest = context.root.join("crates").join(package).join("Cargo.toml");
    for set in feature_sets(&features_table(&manifest)?) {
        let set: Vec<&str> = set.into_iter().collect();
        context
            .cargo_apart("features", &["check", "--package", package, "--no-default-features"])
            .args(["--features", &set.join(",")])
            .env("RUSTFLAGS", "-Dwarnings")
            .run()?;
    }
    Ok(Tally::ONE)
}

/// Each feature with those of the same crate that it switches on, `default` left out.
fn features_table(manifest: &Path) -> Result<Vec<(String, Vec<String>)>, Problem> {
    let text = fs::read_to_string(manifest)?;
    let table = text.split_once("\n[features]\n").map_or("", |(_, rest)| rest);
    let table = table.split_once("\n[").map_or(table, |(table, _)| table);
    let table: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
    let mut features = Vec::new();
    // "name = [ ... ]", perhaps over several lines: what is quoted is what it switches on.
    for feature in table.join(" ").split(']') {
        let Some((name, values)) = feature.split_once('=') else { continue };
        let values = values.split('"').skip(1).step_by(2);
        let own = values.filter(|value| !value.contains([':', '/'])).map(str::to_owned);
        features.push((name.trim().to_owned(), own.collect()));
    }
    features.retain(|(name, _)| name != "default");
    Ok(features)
}

/// With more features than this, their combinations are too many.
const MANY_FEATURES: usize = 6;

/// Every set of features that differs from the others once what they imply is added; with many
/// features, those of at most two, and all.
fn feature_sets(features: &[(String, Vec<String>)]) -> BTreeSet<BTreeSet<&str>> {
    let close = |bits: usize| {
        let chosen = features.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
        let mut set: BTreeSet<&str> = chosen.map(|(_, (name, _))| name.as_str()).collect();
        loop {
            let on = features.iter().filter(|(name, _)| set.contains(name.as_str()));
            let implied: Vec<&str> =
                on.flat_map(|(_, more)| more.iter().map(String::as_str)).collect();
            let before = set.len();
            set.extend(implied);
            if set.len() == before {
                return set;
            }
        }
    };
    let all = (1 << features.len()) - 1;
    let few = |bits: &usize| features.len() <= MANY_FEATURES || bits.count_ones() <= 2;
    (0..all).filter(few).chain([all]).map(close).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_imply_each_other_are_one() {
        let feature = |name: &str, implied: &[&str]| {
            (name.to_owned(), implied.iter().map(|&name| name.to_owned()).collect())
        };
        let features = [feature("alloc", &[]), feature("std", &["alloc"])];
        let sets: Vec<Vec<&str>> =
            feature_sets(&features).into_iter().map(|set| set.into_iter().collect()).collect();
        assert_eq!(sets, [vec![], vec!["alloc"], vec!["alloc", "std"]]);
    }

    #[test]
    fn of_many_features_there_are_all_pairs() {
        let features: Vec<_> = (0..10).map(|number| (number.to_string(), vec![])).collect();
        let sets = feature_sets(&features);
        assert_eq!(sets.len(), 1 + 10 + 45 + 1);
        assert!(sets.iter().any(|set| set.len() == 10));
        assert_eq!(feature_sets(&features[..6]).len(), 64);
    }
}
