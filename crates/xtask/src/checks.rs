//! The checks, in the order in which they run. A check that is more than some commands has a module
//! of its own.

use crate::{
    chips, e2e, firmware, fuzz,
    job::Job,
    runner::{Check, Outcome, Problem, Tally, Tier},
    tools,
    workspace::{self, Library},
};
use std::fs;
use xshell::{Cmd, cmd};

pub(crate) const CHECKS: &[Check] = &[
    // What each commit passes.
    Check::new("fmt", "rustfmt over every workspace", fmt).tier(Tier::Quick),
    Check::new("clippy", "clippy over the workspace with all features", clippy).tier(Tier::Quick),
    Check::new("test", "tests of units, properties and documentation", test).tier(Tier::Quick),
    Check::new("smoke", "one end-to-end test of the host program", |job| {
        e2e::pytest(job, &["-m", "smoke"], "debug")
    })
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
    // Most tests wait for something: more of them run at once than there are cores.
    Check::new("e2e", "end-to-end tests: curl, ffmpeg, browsers, brokers, an emulator", |job| {
        e2e::pytest(job, &["-n", "4"], "release")
    })
    .beside_builds()
    .after(&["tools", "programs", "board"]),
    // The libraries.
    Check::new("words", "no misspelt words; workflows and forms for issues are valid", words)
        .after(&["tools"]),
    Check::new("docs", "the documentation builds without a warning", docs),
    Check::new("features", "each feature of each library compiles alone", features),
    Check::new("ring-optimised", "the ring's threads, optimised", |job| ring(job, &[])),
    Check::new("loom", "the ring in every interleaving of small cases", |job| loom(job, &[]))
        .beside_builds(),
    Check::new("fuzz", "every fuzz target: its seeds, and 2 seconds more", fuzz::short)
        .beside_builds()
        .after(&["tools"]),
    Check::new("packages", "published packages carry the licence texts", licences),
    Check::new("dependencies", "licences, sources and bans, by cargo-deny", dependencies)
        .after(&["tools"]),
    // The chips.
    Check::new("chips", "every library compiles for RISC-V, ESP32 and ESP-IDF", |job| {
        libraries_on(job, &[chips::IMC, chips::IMAC, chips::XTENSA[0], chips::ESPIDF[0]])
    })
    .after(&["compilers"]),
    Check::new("no-panic", "no panic can be reached in the codecs and the ring", no_panic)
        .beside_builds()
        .after(&["tools", "compilers"]),
    Check::new("target-tests", "tests of the libraries in an emulator", target_tests)
        .beside_builds()
        .after(&["tools", "compilers"]),
    Check::new("esp32-images", "esptool accepts images for ESP32-C3 and C6", firmware::images)
        .after(&["tools", "compilers"]),
    Check::new("esp32-idf", "the ESP-IDF firmware on this computer", firmware::esp_idf)
        .beside_builds()
        .after(&["tools"]),
    Check::new("settings", "a firmware without its settings is not built", firmware::settings)
        .after(&["esp32-images", "esp32-idf"]),
    // What searches for defects, or takes long to install.
    Check::new("ring-long", "the ring's threads, optimised, for an hour", |job| {
        ring(job, &[DEEP, ("CAMWIRE_RING_SECONDS", "3600")])
    })
    .tier(Tier::Deep),
    Check::new("ring-mutations", "tests find each defect put into the ring", |job| {
        job.tests(pytest(job, "ring-mutations")?)
    })
    .tier(Tier::Deep)
    .after(&["tools"]),
    Check::new("e2e-long", "end-to-end tests that take longer than 20 seconds", |job| {
        e2e::pytest(job, &["-m", "deep"], "release")
    })
    .tier(Tier::Deep)
    .after(&["programs", "board", "tools"])
    .beside_builds(),
    Check::new("loom-long", "the ring in more interleavings", |job| loom(job, &[DEEP]))
        .tier(Tier::Deep)
        .beside_builds(),
    Check::new("fuzz-long", "every fuzz target for 5 minutes", fuzz::long)
        .tier(Tier::Deep)
        .beside_builds()
        .after(&["tools"]),
    Check::new("benches", "the benchmarks run", |job| {
        job.cargo("bench --package camwire-benches -- --test")
    })
    .tier(Tier::Deep),
    Check::new("feature-sets", "combinations of features compile, by cargo-hack", feature_sets)
        .tier(Tier::Deep)
        .after(&["tools"]),
    Check::new("advisories", "known faults of dependencies", advisories)
        .tier(Tier::Deep)
        .after(&["tools"]),
    Check::new("all-chips", "every library compiles for the other chips", |job| {
        libraries_on(job, &[chips::XTENSA[1], chips::ESPIDF[1], chips::ESPIDF[2]])
    })
    .tier(Tier::Deep)
    .after(&["compilers"]),
    Check::new("all-images", "every firmware of examples/esp32", firmware::all_images)
        .tier(Tier::Deep)
        .after(&["tools", "compilers"]),
];

fn fmt(job: &Job<'_>) -> Outcome {
    job.cargo("fmt --all --check -- --color=never")?;
    for manifest in &workspace::manifests(job)?[1..] {
        // With `--all` it would go on to what they depend on.
        job.run(cmd!(job.sh, "cargo fmt --manifest-path {manifest} --check -- --color=never"))?;
    }
    Ok(Tally::ONE)
}

fn clippy(job: &Job<'_>) -> Outcome {
    job.cargo("clippy --workspace --all-targets --all-features -- -D warnings")
}

fn test(job: &Job<'_>) -> Outcome {
    // With the host program, for `smoke`, from the same compilation of everything.
    job.cargo("build --workspace --all-features --bins --tests")?;
    let test = cmd!(job.sh, "cargo test --workspace --all-features --no-fail-fast");
    // `ring-optimised` has more time for it.
    job.tests(test.env("CAMWIRE_RING_SECONDS", "2"))
}

fn words(job: &Job<'_>) -> Outcome {
    let (sh, python) = (&job.sh, tools::python(job)?);
    let (typos, zizmor) = (python.with_file_name("typos"), python.with_file_name("zizmor"));
    job.run(cmd!(sh, "{typos} --color never"))?;
    job.run(cmd!(sh, "{zizmor} --offline --no-progress .github"))?;
    let [workflows, forms] =
        ["workflows", "ISSUE_TEMPLATE"].map(|it| sh.read_dir(format!(".github/{it}")));
    let (config, forms): (Vec<_>, Vec<_>) =
        forms?.into_iter().partition(|form| form.ends_with("config.yml"));
    for (kind, files) in [
        ("github-workflows", workflows?),
        ("dependabot", vec![".github/dependabot.yml".into()]),
        ("github-issue-forms", forms),
        ("github-issue-config", config),
    ] {
        let schema = format!("vendor.{kind}");
        job.run(cmd!(sh, "{python} -m check_jsonschema --builtin-schema {schema} {files...}"))?;
    }
    Ok(Tally::passed(3))
}

fn docs(job: &Job<'_>) -> Outcome {
    job.sh.set_var("RUSTDOCFLAGS", "-D warnings");
    job.cargo("doc --workspace --no-deps --all-features")
}

/// The workspace with default features, the host program without any, and each library without any
/// and with each alone. All of it by clippy, so that dependencies are those of `clippy`.
fn features(job: &Job<'_>) -> Outcome {
    job.cargo("clippy --workspace --all-targets -- -D warnings")?;
    job.cargo("clippy --package camwire-host --all-targets --no-default-features -- -D warnings")?;
    let mut tally = Tally::passed(2);
    for Library { name, features, .. } in workspace::libraries(job)? {
        for feature in ["".to_owned()].into_iter().chain(features) {
            let clippy = format!("clippy --package {name} --no-default-features --features");
            tally.add(job.cargo(&format!("{clippy}={feature} -- -D warnings"))?);
        }
    }
    Ok(tally)
}

/// Every combination of a library's features; of many features, every pair.
fn feature_sets(job: &Job<'_>) -> Outcome {
    tools::cargo_tool(job, "cargo-hack")?;
    let mut tally = Tally::default();
    for Library { name, features, .. } in workspace::libraries(job)? {
        let depth = if features.len() > 6 { "2" } else { "6" };
        let hack = format!("hack clippy --package {name} --feature-powerset --depth {depth}");
        tally.add(job.cargo(&format!("{hack} -- -D warnings"))?);
    }
    Ok(tally)
}

/// With this, models and tests of threads search as long as the deep run has time for.
const DEEP: (&str, &str) = ("CAMWIRE_DEEP", "1");

fn ring(job: &Job<'_>, variables: &[(&str, &str)]) -> Outcome {
    let sh = &job.sh;
    let test = cmd!(sh, "cargo test --release --package camwire-ring --all-features --tests");
    job.tests(test.envs(variables.iter().copied()))
}

fn loom(job: &Job<'_>, variables: &[(&str, &str)]) -> Outcome {
    let (sh, folder) = (&job.sh, job.context.target.join("loom"));
    let loom = cmd!(sh, "cargo test --release --package camwire-ring --package camwire-capture");
    let loom = loom.args(["--lib", "--test", "loom", "--features", "alloc", "--target-dir"]);
    let loom = loom.arg(folder);
    job.tests(loom.envs(variables.iter().copied()).env("RUSTFLAGS", "--cfg loom"))
}

/// The proof of `no-panic/`: its README.md says how.
fn no_panic(job: &Job<'_>) -> Outcome {
    job.tests(pytest(job, "no-panic")?.envs(chips::compiler(job, chips::IMC)?))
}

/// The tests of `target-tests/`, each in an emulator: its README.md says how.
fn target_tests(job: &Job<'_>) -> Outcome {
    tools::need(job, &["qemu-system-riscv32"])?;
    let (sh, folder) = (&job.sh, job.context.target.join("target-tests"));
    for target in chips::RISCV {
        let _in_its_folder = sh.push_dir("crates/xtask/target-tests");
        let build = cmd!(sh, "cargo build --release --locked --target-dir {folder}");
        job.run(build.envs(chips::compiler(job, target)?))?;
    }
    job.tests(pytest(job, "target-tests")?)
}

/// Runs the Python tests in a folder of crates/xtask.
pub(crate) fn pytest<'j>(job: &'j Job<'_>, folder: &str) -> Result<Cmd<'j>, Problem> {
    let (sh, python) = (&job.sh, tools::python(job)?);
    let pytest = cmd!(sh, "{python} -B -m pytest -p no:cacheprovider crates/xtask/{folder}");
    Ok(pytest.args(&job.context.pytest).env("CAMWIRE_TARGET", &job.context.target))
}

/// Each published package carries both licence texts, the same as in the root.
fn licences(job: &Job<'_>) -> Outcome {
    let (sh, mut faults) = (&job.sh, Vec::new());
    let libraries = workspace::libraries(job)?;
    for Library { name, manifest, .. } in &libraries {
        // A file may be there and be left out, by `include` or `exclude` in the manifest.
        let package = cmd!(sh, "cargo package --list --allow-dirty --quiet --package {name}");
        let packed = package.read()?;
        for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
            let copy = manifest.with_file_name(licence);
            let is_right = packed.lines().any(|line| line == licence)
                && fs::read(&copy)? == fs::read(job.context.root.join(licence))?
                // A checkout on Windows has no links.
                && !fs::symlink_metadata(&copy)?.is_symlink();
            if !is_right {
                faults.push(format!("copy {licence} from the root into the package of {name}"));
            }
        }
    }
    Problem::if_any(&faults).map(|()| Tally::passed(libraries.len()))
}

/// The rules of deny.toml that need no database.
fn dependencies(job: &Job<'_>) -> Outcome {
    tools::cargo_tool(job, "cargo-deny")?;
    deny(job, &["check", "bans", "licenses", "sources"])
}

/// Known vulnerabilities of the dependencies. Their database is on the network.
fn advisories(job: &Job<'_>) -> Outcome {
    tools::cargo_tool(job, "cargo-deny")?;
    let sh = &job.sh;
    if !job.output(cmd!(sh, "cargo deny --config deny.toml fetch db"))?.success {
        return Err(Problem::Skipped("the database of advisories cannot be fetched".to_owned()));
    }
    deny(job, &["check", "--disable-fetch", "advisories"])
}

fn deny(job: &Job<'_>, check: &[&str]) -> Outcome {
    let (sh, manifests) = (&job.sh, workspace::manifests(job)?);
    for manifest in &manifests {
        job.run(cmd!(sh, "cargo deny --manifest-path {manifest} --config deny.toml {check...}"))?;
    }
    Ok(Tally::passed(manifests.len()))
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
