//! The fuzz targets, by cargo-fuzz.

use crate::{
    check::{Check, Context, Problem, Tally},
    command::Command,
    tools,
};

/// One check for each `[[bin]]` of fuzz/Cargo.toml.
pub(crate) fn checks(context: &Context, seconds: u64) -> Vec<Check> {
    let targets = targets(context);
    if targets.is_empty() {
        let none = |_: &Context| Err(Problem::failed("fuzz/Cargo.toml names no target"));
        return vec![Check::new("fuzz", "fuzz targets", none)];
    }
    let check = |target: String| {
        Check::new(
            format!("fuzz-{target}"),
            "a libFuzzer target runs for a while without a finding",
            move |context| {
                run(context, &target, seconds)?;
                Ok(Tally::ONE)
            },
        )
    };
    targets.into_iter().map(check).collect()
}

/// The names of the binaries, read line by line: the manifest is our own.
fn targets(context: &Context) -> Vec<String> {
    let manifest = std::fs::read_to_string(context.root.join("fuzz/Cargo.toml"));
    let mut table = "";
    let mut names = Vec::new();
    for line in manifest.unwrap_or_default().lines().map(str::trim) {
        if line.starts_with('[') {
            table = if line == "[[bin]]" { "bin" } else { "" };
        } else if let ("bin", Some((key, value))) = (table, line.split_once('='))
            && key.trim() == "name"
        {
            names.push(value.trim().trim_matches('"').to_owned());
        }
    }
    names
}

fn run(context: &Context, target: &str, seconds: u64) -> Result<String, Problem> {
    let cargo_fuzz = tools::cargo_tool(context, &tools::CARGO_FUZZ)?;
    let toolchains = Command::new("rustup").args(["toolchain", "list"]).read().unwrap_or_default();
    let nightly = toolchains.lines().any(|line| line.starts_with("nightly"));
    // Sanitizers are an unstable option. Where there is no nightly compiler, the stable one
    // is told that it may.
    let command = if nightly {
        Command::new("cargo").args(["+nightly"])
    } else {
        Command::new("cargo").env("RUSTC_BOOTSTRAP", "1")
    };
    command
        .args(["fuzz", "run", target, "--fuzz-dir", "fuzz", "--target-dir"])
        .args([context.target.join("fuzz")])
        .args(["--", &format!("-max_total_time={seconds}"), "-print_final_stats=1"])
        .env("PATH", tools::path_with(cargo_fuzz.as_deref()))
        .dir(&context.root)
        .limit(seconds + 30 * 60)
        .run()
}
