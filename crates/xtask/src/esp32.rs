//! examples/esp32: its flash images, and what is checked of them.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    command::Command,
    toolchain::{TARGETS, compiler},
    tools,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

struct Chip {
    name: &'static str,
    /// The alias in the example's .cargo/config.toml.
    build: &'static str,
    target: &'static str,
    /// What an image says that it is for.
    id: &'static str,
}

const CHIPS: [Chip; 2] = [
    Chip { name: "esp32c3", build: "build-c3", target: TARGETS[0], id: "5 (ESP32-C3)" },
    Chip { name: "esp32c6", build: "build-c6", target: TARGETS[1], id: "13 (ESP32-C6)" },
];

const BINARIES: [&str; 4] = ["mjpeg", "websocket", "mqtt", "camera"];

/// What CAMWIRE_SOURCE may be, and CAMWIRE_DELIVERY.
const SOURCES: [&str; 2] = ["test-pattern", "arducam"];
const DELIVERIES: [&str; 3] = ["together", "newest", "every"];

/// Settings that are not the user's own: there is no password in what is made with them.
const SETTINGS: [(&str, &str); 6] = [
    ("CAMWIRE_SSID", "not a network"),
    ("CAMWIRE_PASSWORD", "not a password"),
    ("CAMWIRE_SOURCE", "test-pattern"),
    ("CAMWIRE_ADDRESS", "192.0.2.2/24"),
    ("CAMWIRE_GATEWAY", "192.0.2.1"),
    ("CAMWIRE_MQTT", "192.0.2.3"),
];

/// An application is smaller.
const APPLICATION_BYTES: u64 = 1 << 20;
/// Where the application lies in the flash, after the bootloader and the table of partitions.
const APPLICATION_AT: usize = 0x1_0000;

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check::new("esp32-images", "esptool accepts the images for ESP32-C3 and C6", images),
        Check::new("esp32-settings", "a firmware without its settings is not built", settings),
    ]
}

/// Builds every image with the settings of the environment, and says how large they are.
pub(crate) fn firmware(context: &Context) -> Result<(), Problem> {
    let complaints = complaints(context, [])?;
    if !complaints.is_empty() {
        return Err(Problem::failed(complaints.join("\n")));
    }
    let folder = context.target.join("firmware");
    for chip in &CHIPS {
        for binary in BINARIES {
            let image = image(context, chip, binary, &folder, &[])?;
            let whole = (&image.flash, "for the flash from 0");
            for (file, what) in [whole, (&image.application, "the application in it")] {
                let bytes = fs::metadata(file)?.len();
                let file = file.strip_prefix(&context.root).unwrap_or(file);
                println!("{}: {bytes} bytes, {what}", file.display());
            }
        }
    }
    Ok(())
}

fn images(context: &Context) -> Outcome {
    let python = tools::python_with_packages(context)?;
    let mut tally = Tally::default();
    for variant in variants() {
        let image = checked_image(context, variant)?;
        verify(&python, variant.0, &image)?;
        anonymous(context, &image)?;
        tally.add(Tally::ONE);
    }
    Ok(tally)
}

/// Every binary for every chip, and the first with every source: its name, the firmware as it was
/// linked, and the application's image.
pub(crate) fn all(context: &Context) -> Result<Vec<(String, PathBuf, PathBuf)>, Problem> {
    variants()
        .map(|variant| {
            let (chip, binary, source) = variant;
            let image = checked_image(context, variant)?;
            let name = format!("{binary} of {source}, {}", chip.name);
            Ok((name, image.firmware, image.application))
        })
        .collect()
}

/// A chip, a binary and a source.
type Variant = (&'static Chip, &'static str, &'static str);

fn variants() -> impl Iterator<Item = Variant> {
    CHIPS.iter().flat_map(|chip| {
        let [first, others @ ..] = &BINARIES;
        let sources = SOURCES.iter().map(|source| (*first, *source));
        let pairs = sources.chain(others.iter().map(|binary| (*binary, SOURCES[0])));
        pairs.map(move |(binary, source)| (chip, binary, source))
    })
}

fn checked_image(context: &Context, (chip, binary, source): Variant) -> Result<Image, Problem> {
    let folder = context.target.join("esp32-firmware/images").join(source);
    // The last value counts.
    let more = [("CAMWIRE_SOURCE", source), ("CAMWIRE_DELIVERY", "newest")];
    let settings = [SETTINGS.as_slice(), &more].concat();
    let mut image = image(context, chip, binary, &folder, &settings)?;
    // The next one is built in the same place.
    let built = image.firmware;
    image.firmware = folder.join(format!("{binary}-{}.elf", chip.name));
    fs::copy(built, &image.firmware)?;
    Ok(image)
}

/// A flash image: the whole, and the application in it.
struct Image {
    /// What it was made from.
    firmware: PathBuf,
    flash: PathBuf,
    application: PathBuf,
}

/// Builds a firmware and makes its image.
fn image(
    context: &Context,
    chip: &Chip,
    binary: &str,
    folder: &Path,
    settings: &[(&str, &str)],
) -> Result<Image, Problem> {
    let path = tools::path_with(tools::cargo_tool(context, &tools::ESPFLASH)?.as_deref());
    let mut build = cargo(context, chip, binary)?;
    for (name, value) in settings {
        build = build.env(name, value);
    }
    build.run()?;
    let firmware =
        context.target.join("esp32-firmware").join(chip.target).join("release").join(binary);
    fs::create_dir_all(folder)?;
    let name = format!("camwire-{binary}-{}", chip.name);
    let image = Image {
        firmware,
        flash: folder.join(format!("{name}.bin")),
        application: folder.join(format!("{name}-app.bin")),
    };
    let whole = ["--merge", "--skip-padding"].as_slice();
    for (file, options) in [(&image.flash, whole), (&image.application, &[])] {
        Command::new("espflash")
            .args(["save-image", "--chip", chip.name, "--flash-size", "4mb"])
            .args(options)
            .args([&image.firmware, file])
            .env("PATH", &path)
            .run()?;
    }
    let bytes = fs::metadata(&image.application)?.len();
    if bytes >= APPLICATION_BYTES {
        return Err(Problem::failed(format!("{name} has {bytes} bytes: too large")));
    }
    Ok(image)
}

/// What cargo does for a person who types the alias; but the image says nothing of the machine and
/// the time that it was made.
fn cargo(context: &Context, chip: &Chip, binary: &str) -> Result<Command, Problem> {
    let mut command = context
        .cargo_apart("esp32-firmware", &[chip.build, binary, "--locked"])
        .args(["--config", &without_paths(context, chip)])
        .dir(&context.root.join("examples/esp32"));
    for (name, value) in &compiler(context, chip.target)? {
        command = command.env(name, value);
    }
    let commit = Command::new("git").args(["log", "-1", "--format=%ct"]).dir(&context.root);
    if let Ok(seconds) = commit.read() {
        command = command.env("SOURCE_DATE_EPOCH", seconds.trim());
    }
    Ok(command)
}

/// A configuration for cargo. Its flags are added to those of the example's own.
fn without_paths(context: &Context, chip: &Chip) -> String {
    let flags = folders(context).map(|(folder, name)| {
        format!("{:?}", format!("--remap-path-prefix={}={name}", folder.display()))
    });
    format!("target.{}.rustflags=[{}]", chip.target, flags.join(","))
}

/// Where what is compiled lies on this machine, and what to call it. The last that fits counts: the
/// target folder may lie in the checkout.
fn folders(context: &Context) -> [(PathBuf, &'static str); 3] {
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    [(cargo, "cargo"), (context.root.clone(), "camwire"), (context.target.clone(), "target")]
}

fn verify(python: &Path, chip: &Chip, image: &Image) -> Result<(), Problem> {
    let application = fs::read(&image.application)?;
    if fs::read(&image.flash)?.get(APPLICATION_AT..) != Some(&application) {
        return Err(Problem::failed(format!("not the same in both images for {}", chip.name)));
    }
    // Of the whole image, esptool looks at the bootloader, which is its beginning.
    for file in [&image.application, &image.flash] {
        let esptool = Command::new(python).args(["-m", "esptool", "image-info"]).args([file]);
        let text = esptool.run()?;
        let says = |field: &str, value: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(field));
            lines.next().is_some_and(|rest| rest.trim().ends_with(value))
        };
        if !says("Checksum:", "(valid)")
            || !says("Validation hash:", "(valid)")
            || !says("Chip ID:", chip.id)
        {
            return Err(Problem::failed(text));
        }
    }
    Ok(())
}

/// An image that is given away does not tell where it was made.
fn anonymous(context: &Context, image: &Image) -> Result<(), Problem> {
    let application = fs::read(&image.application)?;
    for (folder, _) in folders(context) {
        let path = folder.as_os_str().as_encoded_bytes();
        if application.windows(path.len()).any(|bytes| bytes == path) {
            let image = image.application.display();
            return Err(Problem::failed(format!("{image} has {} in it", folder.display())));
        }
    }
    Ok(())
}

/// What a firmware says to whoever builds it, when something is missing or wrong.
fn settings(context: &Context) -> Outcome {
    let [chip, _] = &CHIPS;
    let missing = SETTINGS
        .iter()
        .fold(cargo(context, chip, "mjpeg")?, |build, (name, _)| build.without(name));
    refused(missing, &["set CAMWIRE_SSID", "set CAMWIRE_PASSWORD", "set CAMWIRE_SOURCE"])?;

    let folder = context.root.join("examples/esp32");
    let check = || context.cargo_apart("esp32-firmware", &["check", "--locked"]).dir(&folder);
    refused(check(), &["no chip"])?;
    refused(check().args(["--features", "esp32c3,esp32c6"]), &["two chips"])?;
    refused(check().args(["--features", "esp32c6"]), &["riscv32imac"])?;

    let sources = SOURCES.map(|source| ("CAMWIRE_SOURCE", source));
    let deliveries = DELIVERIES.map(|delivery| ("CAMWIRE_DELIVERY", delivery));
    let right = [
        ("CAMWIRE_PORTS", "80,81,8080"),
        ("CAMWIRE_AUTH", "anna:s: \u{e4}"),
        ("CAMWIRE_TOKEN", "mF_9.B5f-4~"),
        ("CAMWIRE_ORIGINS", "https://a.example,http://b.example:8080"),
        ("CAMWIRE_PUSH", "ws://relay.example:8080/ingest"),
        ("CAMWIRE_RECEIVE_QUEUE", "5"),
        ("CAMWIRE_RECEIVE_QUEUE", "32"),
    ];
    let right = sources.into_iter().chain(deliveries).chain(right);
    let rights = right.clone().count();
    for (name, value) in right {
        let said = complaints(context, SETTINGS.into_iter().chain([(name, value)]))?;
        if !said.is_empty() {
            return Err(Problem::failed(format!("{name}={value}: {said:?}")));
        }
    }

    let wrong = [
        ("CAMWIRE_SSID", "thirty-three bytes: one too many!", "1 to 32 bytes"),
        ("CAMWIRE_PASSWORD", "short", "8 to 63 bytes"),
        ("CAMWIRE_PASSWORD", "Geb\u{fc}hrenfrei", "printable ASCII"),
        ("CAMWIRE_SOURCE", "tea leaves", "test-pattern or arducam"),
        ("CAMWIRE_DELIVERY", "tomorrow", "together or newest or every"),
        ("CAMWIRE_ADDRESS", "192.0.2.2", "/24"),
        ("CAMWIRE_ADDRESS", "192.0.2.0/24", "not for machines"),
        ("CAMWIRE_ADDRESS", "192.0.2.255/24", "not for machines"),
        ("CAMWIRE_GATEWAY", "?", "192.168.1.1;"),
        ("CAMWIRE_GATEWAY", "192.0.3.1", "in the network of CAMWIRE_ADDRESS"),
        ("CAMWIRE_GATEWAY", "192.0.2.255", "in the network of CAMWIRE_ADDRESS"),
        ("CAMWIRE_MQTT", "my broker", "the address of a broker"),
        ("CAMWIRE_MQTT", "192.0.2.3:0", "the address of a broker"),
        ("CAMWIRE_MQTT_LAYOUT", "loose", "framed or indexed or whole"),
        ("CAMWIRE_MQTT_PREFIX", "garden/#", "without + and #"),
        ("CAMWIRE_MQTT_CONTROL", "garden/", "no / at the end"),
        ("CAMWIRE_MQTT_AUTH", "anna", "a user, a colon and a password"),
        ("CAMWIRE_PORTS", "", "such as 80,81"),
        ("CAMWIRE_PORTS", "0", "such as 80,81"),
        ("CAMWIRE_PORTS", "80,80", "such as 80,81"),
        ("CAMWIRE_PORTS", "1,2,3,4", "up to 3 ports"),
        ("CAMWIRE_AUTH", "anna", "a user, a colon and a password"),
        ("CAMWIRE_AUTH", ":secret", "a user, a colon and a password"),
        ("CAMWIRE_TOKEN", "", "1 to 256 letters"),
        ("CAMWIRE_TOKEN", "a b", "letters, digits"),
        ("CAMWIRE_ORIGINS", "a.example", "such as https://a.example"),
        ("CAMWIRE_ORIGINS", "https://a.example/", "such as https://a.example"),
        ("CAMWIRE_PUSH", "relay.example:8080/ingest", "such as ws://relay.example"),
        ("CAMWIRE_PUSH", "ws://relay.example:0/ingest", "such as ws://relay.example"),
        ("CAMWIRE_PUSH", "ws://relay.example", "such as ws://relay.example"),
        ("CAMWIRE_PUSH", "ws://T@relay.example/ingest", "such as ws://relay.example"),
        ("CAMWIRE_PUSH", "wss://relay.example/ingest", "no TLS"),
        ("CAMWIRE_PUSH_TOKEN", "T", "belongs to CAMWIRE_PUSH"),
        ("CAMWIRE_RECEIVE_QUEUE", "", "5 to 32"),
        ("CAMWIRE_RECEIVE_QUEUE", "4", "5 to 32"),
        ("CAMWIRE_RECEIVE_QUEUE", "33", "5 to 32"),
    ];
    for (name, value, words) in wrong {
        let all = SETTINGS.into_iter().chain([(name, value)]); // The last one counts.
        let said = complaints(context, all)?;
        if !matches!(&*said, [line] if line.contains(words)) {
            return Err(Problem::failed(format!("{name}={value}: {said:?}, without {words:?}")));
        }
    }
    Ok(Tally { passed: 4 + rights + wrong.len(), ..Tally::default() })
}

/// What build.rs does not like in the environment with these settings. It is asked by itself: cargo
/// would first compile for minutes.
fn complaints<'a>(
    context: &Context,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<String>, Problem> {
    let [chip, _] = &CHIPS;
    let folder = context.target.join("esp32-firmware/build-rs");
    fs::create_dir_all(&folder)?;
    let program = folder.join("build");
    let source = context.root.join("examples/esp32/build.rs");
    let compile = Command::new("rustc").args(["--edition=2024", "-o"]).args([&program, &source]);
    compile.run()?;
    let build = Command::new(&program)
        .env("OUT_DIR", &folder)
        .env("TARGET", chip.target)
        .env(&format!("CARGO_FEATURE_{}", chip.name.to_uppercase()), "1");
    let build = settings.into_iter().fold(build, |build, (name, value)| build.env(name, value));
    let text = build.read()?;
    Ok(text.lines().filter_map(|l| l.strip_prefix("cargo::error=")).map(str::to_owned).collect())
}

/// The build ends with an error, which says all of this.
fn refused(build: Command, what: &[&str]) -> Result<(), Problem> {
    let output = build.output()?;
    let errors: Vec<&str> = output.text.lines().filter(|l| l.starts_with("error: ")).collect();
    let said = |what: &&str| errors.iter().any(|line| line.contains(what));
    if output.success || !what.iter().all(said) {
        return Err(Problem::failed(format!("{}\nit should say: {what:?}", output.text)));
    }
    Ok(())
}
