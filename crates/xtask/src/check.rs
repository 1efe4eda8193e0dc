//! What a check is, and the loop that runs them and counts.

use crate::command::Command;
use std::{
    cell::Cell,
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// How many tests a check was, and how they ended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// A check that is one yes or no.
    pub(crate) const ONE: Self = Self { passed: 1, failed: 0, skipped: 0 };

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Why a check did not pass.
pub(crate) enum Problem {
    /// This machine lacks something: what, and how to get it.
    Missing(String),
    /// It ran and failed; the output is shown whole.
    Failed { tally: Tally, output: String },
}

impl Problem {
    /// A failure that is not of a counted test.
    pub(crate) fn failed(output: impl Into<String>) -> Self {
        Self::Failed { tally: Tally { failed: 1, ..Tally::default() }, output: output.into() }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

pub(crate) type Outcome = Result<Tally, Problem>;

/// One line of the report.
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) about: &'static str,
    run: Box<dyn Fn(&Context) -> Outcome>,
}

impl Check {
    pub(crate) fn new(
        name: impl Into<String>,
        about: &'static str,
        run: impl Fn(&Context) -> Outcome + 'static,
    ) -> Self {
        Self { name: name.into(), about, run: Box::new(run) }
    }
}

/// Where everything is, and what may be done to the machine.
pub(crate) struct Context {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// What is missing is fetched, or fails the check.
    pub(crate) install: bool,
    /// `apt-get update` has been done in this run.
    pub(crate) apt_is_fresh: Cell<bool>,
}

impl Context {
    pub(crate) fn new(install: bool) -> Self {
        // crates/xtask is two levels below the root, also when the checkout has been moved.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.ancestors().nth(2).expect("crates/xtask lies in crates").to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        Self { root, target, install, apt_is_fresh: Cell::new(false) }
    }

    /// A cargo command in the workspace's root.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo).args(args).dir(&self.root);
        if self.install {
            command = command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }

    /// The same with a target folder of its own, for flags that differ from everyone else's: in
    /// the common one they would compile everything again and again.
    pub(crate) fn cargo_apart(&self, folder: &str, args: &[&str]) -> Command {
        self.cargo(args).args(["--target-dir".as_ref(), self.target.join(folder).as_os_str()])
    }
}

/// Runs the checks in order, one line each, and ends with the line that counts.
pub(crate) fn run(context: &Context, checks: &[Check]) -> ExitCode {
    let mut total = Tally::default();
    let mut failures = Vec::new();
    for check in checks {
        print!("{:<28} ", check.name);
        let _ = std::io::stdout().flush();
        let start = Instant::now();
        let outcome = (check.run)(context);
        let time = seconds(start.elapsed());
        match outcome {
            Ok(tally) => {
                println!("ok   {time}{}", details(tally));
                total.add(tally);
            }
            Err(Problem::Missing(what)) if !context.install => {
                println!("skip {time}  {what}");
                total.skipped += 1;
            }
            Err(Problem::Missing(what)) => {
                println!("FAIL {time}  {what}");
                total.failed += 1;
                failures.push(&check.name);
            }
            Err(Problem::Failed { tally, output }) => {
                println!("FAIL {time}{}", details(tally));
                for line in output.trim_end().lines() {
                    println!("    | {line}");
                }
                total.add(tally);
                failures.push(&check.name);
            }
        }
    }
    println!();
    for name in &failures {
        println!("failed: {name}    (again: cargo xtask test {name})");
    }
    let Tally { passed, failed, skipped } = total;
    print!("{passed} passed, {failed} failed");
    println!("{}", if skipped > 0 { format!(", {skipped} skipped") } else { String::new() });
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seconds(time: Duration) -> String {
    format!("{:>7.1} s", time.as_secs_f64())
}

/// The counts of a check that is more than one yes or no.
fn details(Tally { passed, failed, skipped }: Tally) -> String {
    if passed + failed + skipped <= 1 {
        return String::new();
    }
    let mut text = format!("  {passed} passed");
    for (count, word) in [(failed, "failed"), (skipped, "skipped")] {
        if count > 0 {
            text += &format!(", {count} {word}");
        }
    }
    text
}
