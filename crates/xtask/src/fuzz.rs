//! The fuzz targets of `fuzz/`, without cargo-fuzz: ordinary programs with libFuzzer in them, built
//! as `cargo fuzz` builds them.

use crate::{
    job::Job,
    runner::{Outcome, Problem, Tally},
    workspace,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use xshell::cmd;

/// libFuzzer finds its way by what the compiler tells of each branch taken; AddressSanitizer finds
/// what `unsafe` and C get wrong.
const FLAGS: &str = "--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1 \
                     -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address";

/// The fewest inputs that a target begins with.
const SEEDS: usize = 20;

/// Every target: its seeds, and 2 seconds more.
pub(crate) fn short(job: &Job<'_>) -> Outcome {
    let corpus = job.context.target.join("fuzz/seeds");
    job.sh.remove_path(&corpus)?;
    check(job, &corpus, 2)
}

/// Every target for 5 minutes, from what was found before.
pub(crate) fn long(job: &Job<'_>) -> Outcome {
    check(job, &job.context.root.join("fuzz/corpus"), 300)
}

fn check(job: &Job<'_>, corpus: &Path, seconds: u64) -> Outcome {
    let (sh, fuzz) = (&job.sh, job.context.root.join("fuzz"));
    let names = targets(job)?;
    let folder = job.context.target.join("fuzz");
    let host = cmd!(sh, "rustc --print host-tuple").read()?;
    // Sanitizers are an unstable option. `--target` keeps the flags from build scripts.
    let build = cmd!(sh, "cargo build --release --locked --manifest-path {fuzz}/Cargo.toml");
    let build = build.args(["--bins", "--target", &*host, "--target-dir"]).arg(&folder);
    job.run(build.env("RUSTFLAGS", FLAGS).env("RUSTC_BOOTSTRAP", "1"))?;
    let programs = folder.join(host).join("release");
    let seeds = programs.join("seeds");
    job.run(cmd!(sh, "{seeds} {corpus}"))?;
    let mut failures = Vec::new();
    for name in &names {
        let (program, corpus) = (programs.join(name), corpus.join(name));
        let inputs = fs::read_dir(&corpus).map_or(0, Iterator::count);
        if inputs < SEEDS {
            failures.push(format!("{name} has {inputs} seeds: add some in fuzz/src/bin/seeds.rs"));
        }
        // What fails is kept where `cargo fuzz` keeps it.
        let artifacts = format!("-artifact_prefix={}/artifacts/{name}/", fuzz.display());
        fs::create_dir_all(fuzz.join("artifacts").join(name))?;
        let time = format!("-max_total_time={seconds}");
        let output = job.output(cmd!(sh, "{program} {corpus} {time} {artifacts} -timeout=30"))?;
        if !output.success {
            failures.push(output.text);
        }
    }
    Problem::if_any(&failures).map(|()| Tally::passed(names.len()))
}

/// The names of the targets: files in fuzz/fuzz_targets, each with its entry in the manifest.
fn targets(job: &Job<'_>) -> Result<Vec<String>, Problem> {
    let fuzz = job.context.root.join("fuzz");
    let packages = workspace::packages(job, "fuzz/Cargo.toml")?;
    let programs = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let declared: Vec<PathBuf> =
        programs.map(|program| workspace::text(&program["src_path"]).into()).collect();
    let mut names = Vec::new();
    for path in job.sh.read_dir(fuzz.join("fuzz_targets"))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !declared.contains(&path) {
            return Err(Problem::failed(format!(
                "add to fuzz/Cargo.toml:\n[[bin]]\nname = \"{name}\"\npath = \
                 \"fuzz_targets/{name}.rs\"\ntest = false\ndoc = false\nbench = false"
            )));
        }
        names.push(name);
    }
    Ok(names)
}
