//! The end-to-end tests of `e2e/`, by pytest, and the programs that they run.

use crate::{
    checks, chips,
    job::Job,
    runner::{Outcome, Tally},
};
use xshell::cmd;

/// The host program, and the echo examples of camwire-websocket.
pub(crate) fn programs(job: &Job<'_>) -> Outcome {
    job.cargo("build --release --package camwire-host")?;
    job.cargo("build --release --package camwire-websocket --examples")
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

/// Runs the tests with the programs of this profile.
pub(crate) fn pytest(job: &Job<'_>, arguments: &[&str], profile: &str) -> Outcome {
    let target = &job.context.target;
    let mut pytest = checks::pytest(job, "e2e")?
        .args(arguments)
        .env("CAMWIRE_HOST", target.join(profile).join("camwire-host"))
        .env("CAMWIRE_WEBSOCKET_EXAMPLES", target.join("release/examples"))
        .env("CAMWIRE_E2E_DIR", target.join("e2e"));
    // What is not there, the tests skip.
    for (target, name) in chips::RISCV.into_iter().zip(["CAMWIRE_BOARD_IMC", "CAMWIRE_BOARD_IMAC"])
    {
        if chips::compiler(job, target).is_ok() {
            let folder = job.context.target.join("riscv-board").join(target);
            pytest = pytest.env(name, folder.join("release/camwire-qemu-riscv"));
        }
    }
    if job.context.install {
        // Or let fail.
        pytest = pytest.env("CAMWIRE_E2E_INSTALL", "1");
    }
    job.tests(pytest)
}
