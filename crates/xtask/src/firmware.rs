//! The firmwares of `examples/`: those of examples/esp32 as images for the flash, and that of
//! examples/esp32-idf on this computer, with a simulated camera.

use crate::{
    Context, checks, chips,
    job::{Job, Output},
    runner::{Outcome, Problem, Tally},
    tools,
};
use std::{env, fs, path::PathBuf};
use xshell::{Cmd, cmd};

struct Chip {
    name: &'static str,
    /// The alias in the example's .cargo/config.toml.
    build: &'static str,
    target: &'static str,
}

const C3: Chip = Chip { name: "esp32c3", build: "build-c3", target: chips::IMC };
const C6: Chip = Chip { name: "esp32c6", build: "build-c6", target: chips::IMAC };

const BINARIES: [&str; 4] = ["mjpeg", "websocket", "mqtt", "camera"];

/// Settings of nobody: what is made with them holds no password.
const SETTINGS: [(&str, &str); 8] = [
    ("CAMWIRE_SSID", "not a network"),
    ("CAMWIRE_PASSWORD", "not a password"),
    ("CAMWIRE_SOURCE", "test-pattern"),
    ("CAMWIRE_BOARD", "ai-thinker"),
    ("CAMWIRE_DELIVERY", "newest"),
    ("CAMWIRE_ADDRESS", "192.0.2.2/24"),
    ("CAMWIRE_GATEWAY", "192.0.2.1"),
    ("CAMWIRE_MQTT", "192.0.2.3"),
];

/// Each binary on one of the chips, and each source.
pub(crate) fn images(job: &Job<'_>) -> Outcome {
    let mut tally = check_images(job, &C3, "arducam", &["camera", "mqtt"])?;
    tally.add(check_images(job, &C6, "test-pattern", &["mjpeg", "websocket"])?);
    Ok(tally)
}

/// Each binary on each chip with each source.
pub(crate) fn all_images(job: &Job<'_>) -> Outcome {
    let mut tally = Tally::default();
    for (chip, source) in
        [(&C3, "test-pattern"), (&C3, "arducam"), (&C6, "test-pattern"), (&C6, "arducam")]
    {
        tally.add(check_images(job, chip, source, &BINARIES)?);
    }
    Ok(tally)
}

fn check_images(job: &Job<'_>, chip: &Chip, source: &str, binaries: &[&str]) -> Outcome {
    // The last value counts.
    let settings = [&SETTINGS[..], &[("CAMWIRE_SOURCE", source)]].concat();
    look_at(job, chip, &build(job, chip, binaries, &settings)?)
}

/// The tests of `images/`, of firmwares or images.
fn look_at(job: &Job<'_>, chip: &Chip, files: &[PathBuf]) -> Outcome {
    let pytest = checks::pytest(job, "images")?.env("CAMWIRE_CHIP", chip.name);
    let pytest =
        pytest.env("CAMWIRE_FOLDERS", env::join_paths(folders(job.context).map(|(path, _)| path))?);
    job.tests(pytest.env("CAMWIRE_FIRMWARES", env::join_paths(files)?))
}

/// `cargo xtask firmware`: builds every binary with the settings of the environment, and makes and
/// checks the images with which a board is flashed.
pub(crate) fn flash_images(job: &Job<'_>) -> Result<(), Problem> {
    tools::cargo_tool(job, "espflash")?;
    let (sh, folder) = (&job.sh, job.context.target.join("firmware"));
    fs::create_dir_all(&folder)?;
    for chip in [&C3, &C6] {
        let mut images = Vec::new();
        for (binary, firmware) in BINARIES.iter().zip(build(job, chip, &BINARIES, &[])?) {
            for (part, what, options) in [
                ("", "for the flash from 0", &["--merge", "--skip-padding"][..]),
                ("-app", "the application in it", &[]),
            ] {
                let image = folder.join(format!("camwire-{binary}-{}{part}.bin", chip.name));
                let espflash = cmd!(sh, "espflash save-image --flash-size 4mb --chip");
                job.run(espflash.arg(chip.name).args(options).args([&firmware, &image]))?;
                println!("{}: {} bytes, {what}", image.display(), fs::metadata(&image)?.len());
                images.push(image);
            }
        }
        look_at(job, chip, &images)?;
    }
    Ok(())
}

/// Builds firmwares, and returns where they are.
fn build(
    job: &Job<'_>,
    chip: &Chip,
    binaries: &[&str],
    settings: &[(&str, &str)],
) -> Result<Vec<PathBuf>, Problem> {
    let _in_its_folder = job.sh.push_dir(job.context.root.join("examples/esp32"));
    job.run(cargo(job, chip, binaries)?.envs(settings.iter().copied()))?;
    let folder = job.context.target.join("esp32").join(chip.target).join("release");
    Ok(binaries.iter().map(|binary| folder.join(binary)).collect())
}

/// What cargo does, in the example's folder, for a person who types the alias; but the firmware does
/// not say where and when it was built.
fn cargo<'j>(job: &'j Job<'_>, chip: &Chip, binaries: &[&str]) -> Result<Cmd<'j>, Problem> {
    let (sh, target) = (&job.sh, job.context.target.join("esp32"));
    let time = cmd!(sh, "git log -1 --format=%ct").ignore_stderr().read().unwrap_or_default();
    let flags = folders(job.context).map(|(folder, name)| {
        format!("{:?}", format!("--remap-path-prefix={}={name}", folder.display()))
    });
    // They are added to those of the example.
    let flags = format!("target.{}.rustflags=[{}]", chip.target, flags.join(","));
    let (alias, binaries) = (chip.build, binaries.join(" --bin "));
    let binaries = binaries.split(' ');
    let build =
        cmd!(sh, "cargo {alias} {binaries...} --locked --target-dir {target} --config {flags}");
    Ok(build.envs(chips::compiler(job, chip.target)?).env("SOURCE_DATE_EPOCH", time))
}

/// Where what is compiled lies on this machine, and what to call it. The last that fits counts: the
/// target folder may lie in the checkout.
fn folders(context: &Context) -> [(PathBuf, &'static str); 3] {
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    [(cargo, "cargo"), (context.root.clone(), "camwire"), (context.target.clone(), "target")]
}

/// A firmware without its settings is not built, and the error says which are missing. What is wrong
/// with a setting, the tests of examples/settings look at.
pub(crate) fn settings(job: &Job<'_>) -> Outcome {
    let (sh, target) = (&job.sh, job.context.target.join("esp32-idf"));
    let ask = |example: &str, cargo: Cmd<'_>, needed: [&str; 3]| -> Result<(), Problem> {
        let _in_its_folder = sh.push_dir(job.context.root.join("examples").join(example));
        let cargo = SETTINGS.iter().fold(cargo, |cargo, (name, _)| cargo.env_remove(name));
        let Output { text, success } = job.output(cargo)?;
        let asks = |name: &str| text.contains(&format!("set CAMWIRE_{name} in the environment"));
        if success || !needed.iter().all(|name| asks(name)) {
            return Err(Problem::failed(format!("{text}it should ask for {needed:?}")));
        }
        Ok(())
    };
    // Both as they were compiled before, so that only the build script is left to run.
    let esp_idf = cmd!(sh, "cargo test --no-run --locked --target-dir {target}");
    ask("esp32-idf", esp_idf, ["SSID", "PASSWORD", "BOARD"])?;
    ask("esp32", cargo(job, &C3, &["mjpeg"])?, ["SSID", "PASSWORD", "SOURCE"])?;
    Ok(Tally::passed(2))
}

/// examples/esp32-idf in each delivery, and with all that its settings can ask for.
pub(crate) fn esp_idf(job: &Job<'_>) -> Outcome {
    /// Arguments of `cargo test`, and settings.
    const VARIANTS: [(&str, &str); 4] = [
        // With all of its tests.
        ("", "DELIVERY=newest"),
        ("--test firmware", "DELIVERY=together"),
        ("--test firmware", "DELIVERY=every AUTH=anna:secret TOKEN=T-1 ORIGINS=https://a.example"),
        // As esp32_mqtt_livestream does it, and with motors.
        ("--test mqtt", "MQTT_LAYOUT=indexed MOTORS=yes"),
    ];
    tools::need(job, &["mosquitto", "mosquitto_pub"])?;
    let (sh, target) = (&job.sh, job.context.target.join("esp32-idf"));
    let _in_its_folder = sh.push_dir(job.context.root.join("examples/esp32-idf"));
    let mut tally = Tally::ONE;
    let clippy =
        cmd!(sh, "cargo clippy --locked --all-targets --target-dir {target} -- -D warnings");
    job.run(clippy.envs(SETTINGS))?;
    for (arguments, settings) in VARIANTS {
        let test = cmd!(sh, "cargo test --locked --target-dir {target}");
        let settings = settings.split(' ').filter_map(|setting| setting.split_once('='));
        let settings = settings.map(|(name, value)| (format!("CAMWIRE_{name}"), value));
        tally
            .add(job.tests(test.args(arguments.split_whitespace()).envs(SETTINGS).envs(settings))?);
    }
    Ok(tally)
}

/// What is compiled of examples/esp32-idf for a chip: a manifest, and the settings. The board with a
/// name has one of the chips only.
pub(crate) fn settings_of_any_board() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.into_iter().chain([("CAMWIRE_BOARD", "own")])
}
