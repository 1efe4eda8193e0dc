//! The checks, in the order in which they run. A check that is more than some commands has a module
//! of its own.

use crate::{
    chips, dependencies, e2e, firmware, fuzz,
    job::Job,
    no_panic, packages,
    runner::{Check, Outcome, Problem, Tally, Tier},
    target_tests, tools, workspace,
};
use xshell::{Cmd, cmd};

pub(crate) const CHECKS: &[Check] = &[
    // What each commit passes.
    Check::new("fmt", "rustfmt over every workspace", fmt).tier(Tier::Quick),
    Check::new("clippy", "clippy over the workspace with all features", clippy).tier(Tier::Quick),
    Check::new("test", "tests of units, properties and documentation", test).tier(Tier::Quick),
    Check::new("smoke", "one end-to-end test of the host program", e2e::smoke)
        .tier(Tier::QuickOnly)
        .after(&["test"]),
    // What others need.
    Check::new("tools", "programs that checks run are there, or installed", tools::all)
        .beside_builds(),
    Check::new("compilers", "a compiler for each chip is there, or made", chips::compilers)
        .after(&["tools"]),
    Check::new("programs", "what the end-to-end tests run compiles, optimised", e2e::programs),
    Check::new("board", "examples/qemu-riscv compiles for both RISC-V targets", e2e::board)
        .after(&["compilers"]),
    Check::new("e2e", "end-to-end tests: curl, ffmpeg, browsers, brokers, an emulator", e2e::test)
        .beside_builds()
        .after(&["tools", "programs", "board"]),
    // The libraries.
    Check::new("words", "no misspelt words; workflows and forms for issues are valid", words)
        .after(&["tools"]),
    Check::new("docs", "the documentation builds without a warning", docs),
    Check::new("features", "each feature of each library compiles alone", features),
    Check::new("ring-optimised", "the ring's threads, optimised", ring_optimised),
    Check::new("loom", "the ring in every interleaving of small cases", loom).beside_builds(),
    Check::new("fuzz", "every fuzz target: its seeds, and 2 seconds more", fuzz::short)
        .beside_builds(),
    Check::new("packages", "published packages carry the licence texts", packages::licences),
    Check::new("dependencies", "licences and sources of dependencies", dependencies::check),
    // The chips.
    Check::new("chips", "every library compiles for RISC-V, ESP32 and ESP-IDF", chips)
        .after(&["compilers"]),
    Check::new("no-panic", "no panic can be reached in the codecs and the ring", no_panic::check)
        .after(&["compilers"]),
    Check::new("target-tests", "tests of the libraries in an emulator", target_tests::check)
        .beside_builds()
        .after(&["tools", "compilers"]),
    Check::new("esp32-images", "esptool accepts images for ESP32-C3 and C6", firmware::images)
        .after(&["tools", "compilers"]),
    Check::new("esp32-idf", "the ESP-IDF firmware on this computer", firmware::esp_idf)
        .after(&["tools"]),
    Check::new("settings", "a firmware without its settings is not built", firmware::settings)
        .after(&["esp32-images", "esp32-idf"]),
    // What searches for defects, or takes long to install.
    Check::new("ring-long", "the ring's threads, optimised, for an hour", ring_long)
        .tier(Tier::Deep),
    Check::new("e2e-long", "end-to-end tests that take longer than 20 seconds", e2e::long)
        .tier(Tier::Deep)
        .after(&["programs", "board", "tools"])
        .beside_builds(),
    Check::new("loom-long", "the ring in more interleavings", loom_long)
        .tier(Tier::Deep)
        .beside_builds(),
    Check::new("fuzz-long", "every fuzz target for 5 minutes", fuzz::long)
        .tier(Tier::Deep)
        .beside_builds(),
    Check::new("benches", "the benchmarks run", benches).tier(Tier::Deep),
    Check::new("feature-sets", "combinations of features compile, by cargo-hack", feature_sets)
        .tier(Tier::Deep),
    Check::new("deny", "licences, sources and bans, by cargo-deny", dependencies::deny)
        .tier(Tier::Deep),
    Check::new("advisories", "known faults of dependencies", dependencies::advisories)
        .tier(Tier::Deep),
    Check::new("all-chips", "every library compiles for the other chips", all_chips)
        .tier(Tier::Deep)
        .after(&["compilers"]),
    Check::new("all-images", "every firmware of examples/esp32", firmware::all_images)
        .tier(Tier::Deep)
        .after(&["tools", "compilers"]),
];

fn fmt(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    job.run(cmd!(sh, "cargo fmt --all --check -- --color=never"))?;
    for manifest in &workspace::manifests(job)?[1..] {
        job.run(cmd!(sh, "cargo fmt --manifest-path {manifest} --check -- --color=never"))?;
    }
    Ok(Tally::ONE)
}

fn clippy(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    job.run(cmd!(sh, "cargo clippy --workspace --all-targets --all-features -- -D warnings"))?;
    Ok(Tally::ONE)
}

fn test(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    // With the host program, for `smoke`, from the same compilation of everything.
    job.run(cmd!(sh, "cargo build --workspace --all-features --bins --tests"))?;
    job.cargo_test(cmd!(sh, "cargo test --workspace --all-features --no-fail-fast"))
}

fn words(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    let python = tools::python(job)?;
    let (typos, zizmor) = (python.with_file_name("typos"), python.with_file_name("zizmor"));
    job.run(cmd!(sh, "{typos} --color never"))?;
    job.run(cmd!(sh, "{zizmor} --offline --no-progress .github"))?;
    let config = ".github/ISSUE_TEMPLATE/config.yml";
    let mut forms = sh.read_dir(".github/ISSUE_TEMPLATE")?;
    forms.retain(|form| !form.ends_with("config.yml"));
    for (kind, files) in [
        ("github-workflows", sh.read_dir(".github/workflows")?),
        ("dependabot", vec![".github/dependabot.yml".into()]),
        ("github-issue-forms", forms),
        ("github-issue-config", vec![config.into()]),
    ] {
        job.run(cmd!(
            sh,
            "{python} -m check_jsonschema --builtin-schema vendor.{kind} {files...}"
        ))?;
    }
    Ok(Tally::passed(3))
}

fn docs(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    let doc = cmd!(sh, "cargo doc --workspace --no-deps --all-features");
    job.run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Tally::ONE)
}

/// The workspace with default features, the host program without any, and each library without any
/// and with each alone. All of it by clippy, so that dependencies are those of `clippy`.
fn features(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    job.run(cmd!(sh, "cargo clippy --workspace --all-targets -- -D warnings"))?;
    let host = cmd!(sh, "cargo clippy --package camwire-host --all-targets --no-default-features");
    job.run(host.args(["--", "-D", "warnings"]))?;
    let mut tally = Tally::passed(2);
    for library in workspace::libraries(job)? {
        let name = &library.name;
        for feature in ["".to_owned()].into_iter().chain(library.features) {
            let clippy = cmd!(sh, "cargo clippy --package {name} --no-default-features");
            job.run(clippy.args(["--features", &feature, "--", "-D", "warnings"]))?;
            tally.passed += 1;
        }
    }
    Ok(tally)
}

/// Every combination of a library's features; of many features, every pair.
fn feature_sets(job: &Job<'_>) -> Outcome {
    let (sh, path) = (&job.sh, tools::path_with(job, &tools::CARGO_HACK)?);
    for library in workspace::libraries(job)? {
        let name = &library.name;
        let depth = if library.features.len() > 6 { "2" } else { "6" };
        let hack =
            cmd!(sh, "cargo hack clippy --package {name} --feature-powerset --depth {depth}");
        job.run(hack.args(["--", "-D", "warnings"]).env("PATH", &path))?;
    }
    Ok(Tally::ONE)
}

fn ring_optimised(job: &Job<'_>) -> Outcome {
    ring_with(job, &[])
}

fn ring_long(job: &Job<'_>) -> Outcome {
    ring_with(job, &[DEEP, ("CAMWIRE_RING_SECONDS", "3600")])
}

/// With this, models and tests of threads search as long as the deep run has time for.
const DEEP: (&str, &str) = ("CAMWIRE_DEEP", "1");

fn ring_with(job: &Job<'_>, variables: &[(&str, &str)]) -> Outcome {
    let sh = &job.sh;
    let test = cmd!(sh, "cargo test --release --package camwire-ring --all-features --tests");
    job.cargo_test(test.envs(variables.iter().copied()))
}

fn loom(job: &Job<'_>) -> Outcome {
    loom_with(job, &[])
}

fn loom_long(job: &Job<'_>) -> Outcome {
    loom_with(job, &[DEEP])
}

fn loom_with(job: &Job<'_>, variables: &[(&str, &str)]) -> Outcome {
    let (sh, folder) = (&job.sh, job.context.target.join("loom"));
    let loom = cmd!(sh, "cargo test --release --package camwire-ring --package camwire-capture");
    let loom = loom.args(["--lib", "--test", "loom", "--features", "alloc", "--target-dir"]);
    let loom = loom.arg(folder);
    job.cargo_test(loom.envs(variables.iter().copied()).env("RUSTFLAGS", "--cfg loom"))
}

fn benches(job: &Job<'_>) -> Outcome {
    let sh = &job.sh;
    job.run(cmd!(sh, "cargo bench --package camwire-benches -- --test"))?;
    Ok(Tally::ONE)
}

fn chips(job: &Job<'_>) -> Outcome {
    const TARGETS: [&str; 4] = [chips::IMC, chips::IMAC, chips::XTENSA[0], chips::ESPIDF[0]];
    libraries_on(job, &TARGETS)
}

fn all_chips(job: &Job<'_>) -> Outcome {
    const TARGETS: [&str; 3] = [chips::XTENSA[1], chips::ESPIDF[1], chips::ESPIDF[2]];
    libraries_on(job, &TARGETS)
}

/// The libraries for each target, with the features that need no operating system, or for ESP-IDF
/// with all.
fn libraries_on(job: &Job<'_>, targets: &[&str]) -> Outcome {
    const OF_AN_OPERATING_SYSTEM: [&str; 2] = ["bytes", "std"];
    let libraries = workspace::libraries(job)?;
    let packages: Vec<String> = libraries.iter().map(|l| format!("--package={}", l.name)).collect();
    let features = libraries.iter().flat_map(|library| {
        let here = library.features.iter().filter(|f| !OF_AN_OPERATING_SYSTEM.contains(&&***f));
        here.map(|feature| format!("{}/{feature}", library.name))
    });
    let features = format!("--features={}", Vec::from_iter(features).join(","));
    let (sh, folder) = (&job.sh, job.context.target.join("chips"));
    let run = |cargo: Cmd<'_>, target: &str, flags: &str| -> Result<(), Problem> {
        let cargo = cargo.args(["--release", "--locked", "--target-dir"]).arg(&folder);
        let cargo = cargo.envs(chips::compiler(job, target)?);
        job.run(cargo.env("RUSTFLAGS", format!("-Dwarnings {flags}"))).map(drop)
    };
    for &target in targets {
        if chips::ESPIDF.contains(&target) {
            let flags = "--cfg=espidf_time64";
            run(cmd!(sh, "cargo check --all-features").args(&packages), target, flags)?;
            let manifest = "examples/esp32-idf/Cargo.toml";
            let firmware = cmd!(sh, "cargo check --lib --bins --manifest-path {manifest}");
            run(firmware.envs(firmware::settings_of_any_board()), target, flags)?;
        } else if chips::XTENSA.contains(&target) {
            // No other check generates code for it. Debian's compiler needs optimisation to do it.
            run(cmd!(sh, "cargo build {features}").args(&packages), target, "")?;
        } else {
            // A program says how compare-and-swap is emulated. Here none does.
            let flags = "--cfg=portable_atomic_unsafe_assume_single_core";
            run(cmd!(sh, "cargo check {features}").args(&packages), target, flags)?;
        }
    }
    Ok(Tally::passed(targets.len()))
}
