//! The firmwares of `examples/`: those of examples/esp32 as images for the flash, and that of
//! examples/esp32-idf on this computer, with a simulated camera.

use crate::{
    Context, chips,
    job::{Job, Output},
    runner::{Outcome, Problem, Tally},
    tools,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};
use xshell::{Cmd, cmd};

struct Chip {
    name: &'static str,
    /// The alias in the example's .cargo/config.toml.
    build: &'static str,
    target: &'static str,
    /// What esptool says that an image is for.
    id: &'static str,
}

const C3: Chip =
    Chip { name: "esp32c3", build: "build-c3", target: chips::IMC, id: "5 (ESP32-C3)" };
const C6: Chip =
    Chip { name: "esp32c6", build: "build-c6", target: chips::IMAC, id: "13 (ESP32-C6)" };

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

/// An application is smaller.
const APPLICATION_MAX: u64 = 1 << 20;
/// Where the application is in the flash, after the bootloader and the table of partitions.
const APPLICATION_AT: usize = 0x1_0000;

/// Each binary on one of the chips, and each source.
pub(crate) fn images(job: &Job<'_>) -> Outcome {
    check_images(job, &C3, "arducam", &["camera", "mqtt"])?;
    check_images(job, &C6, "test-pattern", &["mjpeg", "websocket"])?;
    Ok(Tally::passed(BINARIES.len()))
}

/// Each binary on each chip with each source.
pub(crate) fn all_images(job: &Job<'_>) -> Outcome {
    for chip in [&C3, &C6] {
        for source in ["test-pattern", "arducam"] {
            check_images(job, chip, source, &BINARIES)?;
        }
    }
    Ok(Tally::passed(4 * BINARIES.len()))
}

fn check_images(
    job: &Job<'_>,
    chip: &Chip,
    source: &str,
    binaries: &[&str],
) -> Result<(), Problem> {
    let (sh, python) = (&job.sh, tools::python(job)?);
    let folder = job.context.target.join("firmware/test");
    fs::create_dir_all(&folder)?;
    // The last value counts.
    let settings = [&SETTINGS[..], &[("CAMWIRE_SOURCE", source)]].concat();
    let firmwares = build(job, chip, binaries, &settings)?;
    for (binary, firmware) in binaries.iter().zip(firmwares) {
        let image = folder.join(format!("{binary}-{source}-{}.bin", chip.name));
        let esptool = cmd!(sh, "{python} -m esptool --chip").arg(chip.name).arg("elf2image");
        let options = ["--flash-mode", "dio", "--flash-size", "4MB", "--output"];
        job.run(esptool.args(options).args([&image, &firmware]))?;
        check_application(job, &python, chip, &image)?;
    }
    Ok(())
}

/// What esptool says of an application's image, its size, and that it does not say where it was made.
fn check_application(
    job: &Job<'_>,
    python: &Path,
    chip: &Chip,
    image: &Path,
) -> Result<(), Problem> {
    let text = check_image(job, python, chip, image)?;
    if !text.contains("Application Information") || !text.contains("Project name: camwire-esp32") {
        return Err(Problem::failed(format!(
            "the bootloader would not find its description\n{text}"
        )));
    }
    let bytes = fs::read(image)?;
    if bytes.len() as u64 >= APPLICATION_MAX {
        return Err(Problem::failed(format!("{} bytes are too many\n{text}", bytes.len())));
    }
    for (folder, _) in folders(job.context) {
        let path = folder.as_os_str().as_encoded_bytes();
        if bytes.windows(path.len()).any(|window| window == path) {
            return Err(Problem::failed(format!("{image:?} has {} in it", folder.display())));
        }
    }
    Ok(())
}

/// Of an image of the whole flash, esptool looks at the bootloader, which is its beginning.
fn check_image(job: &Job<'_>, python: &Path, chip: &Chip, image: &Path) -> Result<String, Problem> {
    let sh = &job.sh;
    let text = job.run(cmd!(sh, "{python} -m esptool image-info {image}"))?;
    let says = |field: &str, value: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(field));
        lines.next().is_some_and(|rest| rest.trim().ends_with(value))
    };
    let is_valid = says("Checksum:", "(valid)") && says("Validation hash:", "(valid)");
    if is_valid && says("Chip ID:", chip.id) { Ok(text) } else { Err(Problem::failed(text)) }
}

/// `cargo xtask firmware`: builds every binary with the settings of the environment, and makes and
/// checks the images with which a board is flashed.
pub(crate) fn flash_images(job: &Job<'_>) -> Result<(), Problem> {
    tools::cargo_tool(job, "espflash")?;
    let (sh, python) = (&job.sh, tools::python(job)?);
    let folder = job.context.target.join("firmware");
    fs::create_dir_all(&folder)?;
    for chip in [&C3, &C6] {
        for (binary, firmware) in BINARIES.iter().zip(build(job, chip, &BINARIES, &[])?) {
            let [flash, application] = ["", "-app"]
                .map(|part| folder.join(format!("camwire-{binary}-{}{part}.bin", chip.name)));
            let merged = ["--merge", "--skip-padding"];
            for (image, options) in [(&flash, &merged[..]), (&application, &[])] {
                let espflash = cmd!(sh, "espflash save-image --flash-size 4mb --chip");
                job.run(espflash.arg(chip.name).args(options).args([&firmware, image]))?;
            }
            check_image(job, &python, chip, &flash)?;
            check_application(job, &python, chip, &application)?;
            if fs::read(&flash)?.get(APPLICATION_AT..) != Some(&*fs::read(&application)?) {
                return Err(Problem::failed(format!("{flash:?} has not {application:?} in it")));
            }
            println!("{}: for the flash from 0", flash.display());
            println!("{}: the application in it", application.display());
        }
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
    type Variant = (&'static [&'static str], &'static [(&'static str, &'static str)]);
    const VARIANTS: [Variant; 4] = [
        // With all of its tests.
        (&[], &[("CAMWIRE_DELIVERY", "newest")]),
        (&["--test", "firmware"], &[("CAMWIRE_DELIVERY", "together")]),
        (
            &["--test", "firmware"],
            &[
                ("CAMWIRE_DELIVERY", "every"),
                ("CAMWIRE_AUTH", "anna:secret"),
                ("CAMWIRE_TOKEN", "T-1"),
                ("CAMWIRE_ORIGINS", "https://a.example"),
            ],
        ),
        // As esp32_mqtt_livestream does it, and with motors.
        (&["--test", "mqtt"], &[("CAMWIRE_MQTT_LAYOUT", "indexed"), ("CAMWIRE_MOTORS", "yes")]),
    ];
    tools::need(job, &["mosquitto", "mosquitto_pub"])?;
    let (sh, target) = (&job.sh, job.context.target.join("esp32-idf"));
    let _in_its_folder = sh.push_dir(job.context.root.join("examples/esp32-idf"));
    let mut tally = Tally::ONE;
    let clippy =
        cmd!(sh, "cargo clippy --locked --all-targets --target-dir {target} -- -D warnings");
    job.run(clippy.envs(SETTINGS))?;
    for (arguments, settings) in VARIANTS {
        let test = cmd!(sh, "cargo test --locked --target-dir {target}").args(arguments);
        tally.add(job.tests(test.envs(SETTINGS).envs(settings.iter().copied()))?);
    }
    Ok(tally)
}

/// What is compiled of examples/esp32-idf for a chip: a manifest, and the settings. The board with a
/// name has one of the chips only.
pub(crate) fn settings_of_any_board() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.into_iter().chain([("CAMWIRE_BOARD", "own")])
}
