//! The end-to-end tests of `e2e/`, by pytest, and the programs that they run.

use crate::{
    chips,
    job::{Job, Output},
    runner::{Outcome, Problem, Tally},
    tools,
};
use std::{fs, path::PathBuf};
use xshell::cmd;

/// Most tests wait for something: more of them run at once than there are cores.
const WORKERS: &str = "4";

/// The host program, and the echo examples of camwire-websocket.
pub(crate) fn programs(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    job.run(cmd!(sh, "cargo build --release --package camwire-host"))?;
    job.run(cmd!(sh, "cargo build --release --package camwire-websocket --examples"))?;
    Ok(Tally::passed(2))
}

/// The firmware of examples/qemu-riscv.
pub(crate) fn board(job: &Job<'_>) -> Outcome {
    let (sh, folder) = (&job.sh, job.context.target.join("riscv-board"));
    let _in_its_folder = sh.push_dir(job.context.root.join("examples/qemu-riscv"));
    for target in chips::RISCV {
        let build = cmd!(sh, "cargo build --release --locked --target-dir {folder}");
        job.run(build.envs(chips::compiler(job, target)?))?;
    }
    Ok(Tally::passed(chips::RISCV.len()))
}

fn firmware(job: &Job<'_>, target: &str) -> PathBuf {
    job.context.target.join("riscv-board").join(target).join("release/camwire-qemu-riscv")
}

/// Everything but the tests that take long.
pub(crate) fn test(job: &Job<'_>) -> Outcome {
    pytest(job, &["-n", WORKERS], "release")
}

/// The tests that take long.
pub(crate) fn long(job: &Job<'_>) -> Outcome {
    pytest(job, &["-m", "deep"], "release")
}

/// One test of the host program as `cargo build` makes it.
pub(crate) fn smoke(job: &Job<'_>) -> Outcome {
    tools::need(job, &["ffmpeg"])?;
    pytest(job, &["-m", "smoke"], "debug")
}

fn pytest(job: &Job<'_>, arguments: &[&str], profile: &str) -> Outcome {
    let (sh, target) = (&job.sh, &job.context.target);
    let python = tools::python(job)?;
    let report = target.join("xtask/e2e.xml");
    let pytest = cmd!(sh, "{python} -B -m pytest crates/xtask/e2e --junitxml {report}");
    let mut pytest = pytest
        .args(arguments)
        .args(&job.context.pytest)
        .env("CAMWIRE_HOST", target.join(profile).join("camwire-host"))
        .env("CAMWIRE_WEBSOCKET_EXAMPLES", target.join("release/examples"))
        .env("CAMWIRE_E2E_DIR", target.join("e2e"));
    // What is not there, the tests skip.
    if let Ok(packages) = tools::node_packages(job) {
        pytest = pytest.env("NODE_PATH", packages);
    }
    for (target, name) in chips::RISCV.into_iter().zip(["CAMWIRE_BOARD_IMC", "CAMWIRE_BOARD_IMAC"])
    {
        if chips::compiler(job, target).is_ok() {
            pytest = pytest.env(name, firmware(job, target));
        }
    }
    if job.context.install {
        // Or let fail.
        pytest = pytest.env("CAMWIRE_E2E_INSTALL", "1");
    }
    let Output { text, success } = job.output(pytest)?;
    let xml = fs::read_to_string(&report).unwrap_or_default();
    let tally = junit_tally(&xml);
    if success && tally.passed + tally.skipped > 0 {
        return Ok(tally);
    }
    Err(Problem::Failed { tally: Tally { failed: tally.failed.max(1), ..tally }, output: text })
}

/// The counts in pytest's report: `<testsuite name="pytest" errors="0" failures="0" skipped="1" ...`.
fn junit_tally(xml: &str) -> Tally {
    let suite = xml.split_once("<testsuite ").and_then(|(_, rest)| rest.split('>').next());
    let count = |name: &str| -> usize {
        let value = suite.and_then(|suite| suite.split_once(&format!("{name}=\"")));
        value.and_then(|(_, rest)| rest.split('"').next()?.parse().ok()).unwrap_or(0)
    };
    let (failed, skipped) = (count("failures") + count("errors"), count("skipped"));
    Tally { passed: count("tests").saturating_sub(failed + skipped), failed, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_pytest() {
        let xml = "<?xml version=\"1.0\"?><testsuites name=\"pytest tests\"><testsuite \
                   name=\"pytest\" errors=\"1\" failures=\"2\" skipped=\"3\" tests=\"10\" \
                   time=\"0.1\"><testcase/></testsuite>";
        assert_eq!(junit_tally(xml), Tally { passed: 4, failed: 3, skipped: 3 });
        assert_eq!(junit_tally(""), Tally::default());
    }
}
