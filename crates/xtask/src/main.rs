//! `cargo xtask`: the checks of camwire, one command for a person and for CI.
//!
//! ```text
//! cargo xtask test                 every check; what a machine lacks is skipped, and said
//! cargo xtask test --install      fetches what is missing; what is still missing then fails (CI)
//! cargo xtask test e2e loom       the checks whose name contains one of the words
//! cargo xtask test --list         their names
//! cargo xtask fuzz                every fuzz target for 20 seconds
//! cargo xtask fuzz decoder 600    the targets whose name contains the word, each for 600 seconds
//! cargo xtask firmware            the flash images of examples/esp32, in target/firmware
//! cargo xtask size                flash, RAM and instructions on a microcontroller
//! ```
//!
//! Only the standard library: it is compiled first, on every machine.

mod cache;
mod check;
mod checks;
mod command;
mod debian;
mod e2e;
mod elf;
mod emulator;
mod esp32;
mod esp32_idf;
mod espidf;
mod fuzz;
mod instructions;
mod no_panic;
mod packages;
mod public_functions;
mod riscv;
mod size;
mod target_tests;
mod toolchain;
mod tools;
mod xtensa;

use check::{Check, Context, Problem};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask test [--list] [--install] [FILTER]...
       cargo xtask fuzz [TARGET] [SECONDS]
       cargo xtask firmware
       cargo xtask size

  --list      print the names of the checks and end
  --install   fetch what is missing (apt, cargo, pip), and fail where that is not enough;
              without it, a check whose program is missing is skipped. CI=true implies it.
  FILTER      run only the checks whose name contains one of these words

What is costly to make is kept in a folder of its own, outside the checkout:
$CAMWIRE_CACHE, else $XDG_CACHE_HOME/camwire, else ~/.cache/camwire.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.split_first() {
        Some((&"test", rest)) => test(rest),
        Some((&"fuzz", rest)) => fuzz(rest),
        // As for fuzzing: who asks for them by name wants the tools fetched.
        Some((&"firmware", [])) => ended(esp32::firmware(&Context::new(true))),
        Some((&"size", [])) => ended(size::print(&Context::new(true))),
        Some((&"--help" | &"-h" | &"help", _)) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => usage("say what to do"),
    }
}

fn test(args: &[&str]) -> ExitCode {
    let mut install = std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1");
    let mut list = false;
    let mut filters = Vec::new();
    for &arg in args {
        match arg {
            "--install" => install = true,
            "--list" => list = true,
            _ if arg.starts_with('-') => return usage(&format!("there is no option {arg}")),
            _ => filters.push(arg),
        }
    }
    let context = Context::new(install);
    let chosen: Vec<Check> = checks::all(&context)
        .into_iter()
        .filter(|check| filters.is_empty() || filters.iter().any(|f| check.name.contains(f)))
        .collect();
    if chosen.is_empty() {
        return usage("no check has such a name; --list prints them");
    }
    if list {
        for check in &chosen {
            println!("{:<28} {}", check.name, check.about);
        }
        return ExitCode::SUCCESS;
    }
    check::run(&context, &chosen)
}

fn fuzz(args: &[&str]) -> ExitCode {
    let (target, seconds) = match args {
        [] => ("", "20"),
        [target] => (*target, "20"),
        [target, seconds] => (*target, *seconds),
        _ => return usage("fuzz takes a target and a number of seconds"),
    };
    let Ok(seconds) = seconds.parse() else {
        return usage(&format!("{seconds:?} is not a number of seconds"));
    };
    // Who asks for fuzzing by name wants the tool fetched.
    let context = Context::new(true);
    let chosen: Vec<Check> =
        fuzz::checks(&context, seconds).into_iter().filter(|c| c.name.contains(target)).collect();
    if chosen.is_empty() {
        return usage(&format!("no fuzz target's name contains {target:?}"));
    }
    check::run(&context, &chosen)
}

fn ended(result: Result<(), Problem>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Problem::Missing(what) | Problem::Failed { output: what, .. }) => {
            eprintln!("{}", what.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn usage(what: &str) -> ExitCode {
    eprintln!("{what}\n\n{USAGE}");
    ExitCode::from(2)
}
