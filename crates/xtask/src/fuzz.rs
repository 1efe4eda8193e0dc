//! The fuzz targets of `fuzz/`, by cargo-fuzz.

use crate::{
    job::Job,
    runner::{Outcome, Problem, Tally},
    tools,
};
use std::{fs, path::Path};
use xshell::cmd;

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
    tools::cargo_tool(job, "cargo-fuzz")?;
    let (sh, folder) = (&job.sh, job.context.target.join("fuzz"));
    // Sanitizers are an unstable option.
    sh.set_var("RUSTC_BOOTSTRAP", "1");
    job.run(cmd!(sh, "cargo fuzz build --target-dir {folder}"))?;
    let host = cmd!(sh, "rustc --print host-tuple").read()?;
    let seeds = folder.join(host).join("release/seeds");
    job.run(cmd!(sh, "{seeds} {corpus}"))?;
    let (names, mut failures) = (targets(job)?, Vec::new());
    for name in &names {
        let corpus = corpus.join(name);
        let inputs = fs::read_dir(&corpus).map_or(0, Iterator::count);
        if inputs < SEEDS {
            failures.push(format!("{name} has {inputs} seeds: add some in fuzz/src/bin/seeds.rs"));
        }
        fs::create_dir_all(&corpus)?;
        let fuzz = cmd!(sh, "cargo fuzz run --target-dir {folder} {name} {corpus} -- -timeout=30");
        let output = job.output(fuzz.arg(format!("-max_total_time={seconds}")))?;
        if !output.success {
            failures.push(output.text);
        }
    }
    Problem::if_any(&failures).map(|()| Tally::passed(names.len()))
}

/// The names of the targets: files in fuzz/fuzz_targets, each with its entry in the manifest.
fn targets(job: &Job<'_>) -> Result<Vec<String>, Problem> {
    let names = cmd!(job.sh, "cargo fuzz list").read()?;
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    for path in job.sh.read_dir("fuzz/fuzz_targets")? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !names.iter().any(|declared| *declared == name) {
            return Err(Problem::failed(format!(
                "add to fuzz/Cargo.toml:\n[[bin]]\nname = \"{name}\"\npath = \
                 \"fuzz_targets/{name}.rs\"\ntest = false\ndoc = false\nbench = false"
            )));
        }
    }
    Ok(names)
}
