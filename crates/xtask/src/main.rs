//! `cargo xtask`: the checks of camwire, the same for developers and for CI. What is checked is in
//! `checks.rs`.

mod checks;
mod chips;
mod e2e;
mod firmware;
mod fuzz;
mod job;
mod runner;
mod tools;
mod workspace;

use job::Job;
use runner::{Check, Problem, Tier};
use std::{env, path::PathBuf, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask test [quick|deep] [--list] [--install] [NAME]... [-- PYTEST-ARGUMENT...]
       cargo xtask firmware
       cargo xtask env TARGET

test runs the checks that guard a change; `quick` those for each commit; `deep` those that search
for defects, before a release. It ends with the line that counts.
  --list      print the checks and exit
  --install   install what is missing (by apt and pip), and fail where that is not possible;
              without it, a check whose program is missing is skipped. CI=true implies it.
  NAME        run the check of this name, or those whose name contains it, of whatever run
  --          what follows is for pytest: cargo xtask test e2e -- -k relay

firmware makes the flash images of examples/esp32, in target/firmware.
env prints the variables with which cargo compiles for a chip.

The output of each check is in target/xtask/log, its time in target/xtask/times.json. What is costly
to make is kept in $CAMWIRE_CACHE, else $XDG_CACHE_HOME/camwire, else ~/.cache/camwire.";

/// Where everything is, and what may be done to the machine.
struct Context {
    /// The workspace's root.
    root: PathBuf,
    /// Cargo's target folder.
    target: PathBuf,
    /// What is missing is installed, or fails the check.
    install: bool,
    /// Further arguments of pytest.
    pytest: Vec<String>,
}

impl Context {
    fn new(install: bool) -> Self {
        // Cargo sets it, also when the checkout has been moved. crates/xtask is two levels below.
        let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
        let root = manifest.ancestors().nth(2).expect("run by cargo xtask").to_path_buf();
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        Self { root, target, install, pytest: Vec::new() }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match *args {
        ["test", ref rest @ ..] => test(rest),
        ["firmware"] => by_name(firmware::flash_images),
        ["env", target] => by_name(|job| {
            for (name, value) in chips::compiler(job, target)? {
                println!("{name}={value}");
            }
            Ok(())
        }),
        ["help" | "--help" | "-h", ..] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => usage("say what to do"),
    }
}

fn test(args: &[&str]) -> ExitCode {
    let ci = env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1");
    let mut context = Context::new(ci);
    let (mut list, mut names) = (false, Vec::new());
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        match arg {
            "--install" => context.install = true,
            "--list" => list = true,
            "--" => context.pytest = args.by_ref().map(str::to_owned).collect(),
            _ if arg.starts_with('-') => return usage(&format!("unknown option {arg}")),
            _ => names.push(arg),
        }
    }
    let tiers: &[Tier] = match names.first() {
        Some(&"quick") => &[Tier::Quick, Tier::QuickOnly],
        Some(&"deep") => &[Tier::Deep],
        _ => &[Tier::Quick, Tier::Ordinary],
    };
    names.retain(|name| !matches!(*name, "quick" | "deep"));
    let is_check = |name: &str| checks::CHECKS.iter().any(|check| check.name == name);
    let chosen = |check: &Check| match &names[..] {
        [] => tiers.contains(&check.tier),
        names => names.iter().any(|name| match is_check(name) {
            true => check.name == *name,
            false => check.name.contains(name),
        }),
    };
    let checks = runner::with_prerequisites(checks::CHECKS, chosen);
    if checks.is_empty() {
        return usage("no check has such a name; --list prints them");
    }
    if list {
        checks.iter().for_each(|check| println!("{:<20} {}", check.name, check.about));
        return ExitCode::SUCCESS;
    }
    runner::run(&context, &checks)
}

/// What is asked for by name may install its tools.
fn by_name(run: impl FnOnce(&Job<'_>) -> Result<(), Problem>) -> ExitCode {
    let context = Context::new(true);
    let job = Job::new(&context, "command", Tier::Ordinary.timeout());
    let Err(problem) = job.and_then(|job| run(&job)) else { return ExitCode::SUCCESS };
    let (Problem::Missing(why) | Problem::Skipped(why) | Problem::Failed { output: why, .. }) =
        problem;
    eprintln!("{}", why.trim_end());
    ExitCode::FAILURE
}

fn usage(what: &str) -> ExitCode {
    eprintln!("{what}\n\n{USAGE}");
    ExitCode::from(2)
}
