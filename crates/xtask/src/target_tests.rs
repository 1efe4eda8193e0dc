//! The tests of `target-tests/`, each in an emulator of its own: its README.md says how.

use crate::{
    chips::{self, IMC},
    job::Job,
    runner::{Outcome, Problem, Tally},
    tools,
};
use std::path::Path;
use xshell::{Cmd, cmd};

/// Every test on both targets.
pub(crate) fn check(job: &Job<'_>) -> Outcome {
    tools::need(job, &["qemu-system-riscv32"])?;
    let (sh, folder) = (&job.sh, job.context.target.join("target-tests"));
    let (mut tally, mut failures) = (Tally::default(), String::new());
    for target in chips::RISCV {
        let in_its_folder = sh.push_dir(job.context.root.join("crates/xtask/target-tests"));
        let build = cmd!(sh, "cargo build --release --locked --target-dir {folder}");
        job.run(build.envs(chips::compiler(job, target)?))?;
        drop(in_its_folder);
        let firmware = folder.join(target).join("release/camwire-target-tests");
        let names = emulate(job, &firmware, target, 0).read()?;
        for (number, name) in (1..).zip(names.lines()) {
            let output = job.output(emulate(job, &firmware, target, number))?;
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

/// Runs a test; number 0 prints the names of all.
fn emulate<'s>(job: &'s Job<'_>, firmware: &Path, target: &str, number: usize) -> Cmd<'s> {
    let sh = &job.sh;
    let atomics = if target == IMC { "a=off," } else { "" };
    let cpu = format!("rv32,{atomics}f=off,d=off,s=off,h=off");
    let argument = format!("loader,addr=0x80400000,data={number},data-len=4");
    let machine = "-M virt -m 32M -bios none -display none -monitor none -serial stdio -no-reboot";
    // A nanosecond for each instruction: interrupts come where a test wants them.
    cmd!(sh, "qemu-system-riscv32 -cpu {cpu} -icount shift=0 -device {argument} -kernel {firmware}")
        .args(machine.split(' '))
}
