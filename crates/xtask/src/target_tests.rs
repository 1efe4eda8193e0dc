//! The tests of `outside/target-tests`, each in an emulator of its own.
//!
//! There are crates for this. embedded-test wants an unstable compiler flag where panics abort, and
//! a runner to be installed; a list of functions wants neither, and leaves interrupts to the tests.

use crate::{
    check::{Context, Outcome, Problem, Tally},
    command::Command,
    emulator,
    toolchain::{TARGETS, compiler},
    tools,
};
use std::path::{Path, PathBuf};

/// Runs every test on both targets.
pub(crate) fn run(context: &Context) -> Outcome {
    tools::need(context, &[&emulator::QEMU])?;
    let mut tally = Tally::default();
    let mut failures = String::new();
    for target in TARGETS {
        let firmware = build(context, target)?;
        let names = emulate(&firmware, target, 0).read()?;
        for (number, name) in (1..).zip(names.lines()) {
            let output = emulate(&firmware, target, number).output()?;
            if output.success {
                tally.passed += 1;
            } else {
                tally.failed += 1;
                failures += &format!("{name}, {target}\n{}\n", output.text);
            }
        }
    }
    if tally.passed > 0 && tally.failed == 0 {
        return Ok(tally);
    }
    // A firmware without tests is no success either.
    let tally = Tally { failed: tally.failed.max(1), ..tally };
    Err(Problem::Failed { tally, output: failures })
}

fn build(context: &Context, target: &str) -> Result<PathBuf, Problem> {
    let args = ["build", "--release", "--locked"];
    let folder = context.root.join("crates/xtask/outside/target-tests");
    // No RUSTFLAGS here: they would replace those of the package, which name its memory.
    let mut command = context.cargo_apart("riscv-tests", &args).dir(&folder);
    for (name, value) in &compiler(context, target)? {
        command = command.env(name, value);
    }
    command.run()?;
    let folder = context.target.join("riscv-tests").join(target).join("release");
    Ok(folder.join("camwire-target-tests"))
}

/// Runs a test; number 0 prints the names of all.
fn emulate(firmware: &Path, target: &str, number: usize) -> Command {
    Command::new("qemu-system-riscv32")
        .args(emulator::machine(target))
        // A nanosecond for each instruction: interrupts come where a test wants them.
        .args(["-icount", "shift=0"])
        .args(["-device", &format!("loader,addr=0x80400000,data={number},data-len=4"), "-kernel"])
        .args([firmware])
        .limit(60)
}
