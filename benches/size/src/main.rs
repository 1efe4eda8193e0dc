//! `cargo run -p camwire-size`: what camwire takes of a chip, as the tables of benches/README.md.
//! QEMU must be there; a budget that is missed is marked, not failed.

mod instructions;

use instructions::Instructions;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, elf::SHF_ALLOC};
use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};
use xshell::{Shell, cmd};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Firmwares of `firmware/`, by the features that choose what is in them, with their budgets of flash
/// in bytes.
const PARTS: &[(&str, &str, Option<u64>)] = &[
    ("frame: JPEG structure", "jpeg", None),
    ("ring", "ring", Some(5120)),
    ("ring, with the capture loop", "ring,capture_loop", None),
    ("multipart: encoder", "encoder", Some(2560)),
    ("multipart: decoder", "decoder", Some(7680)),
    ("multipart: both", "encoder,decoder", None),
    ("multipart: a stream as a source", "source", None),
    ("mqtt: sender", "mqtt_sender", Some(4096)),
    ("mqtt: receiver", "mqtt_receiver", Some(13_312)),
    ("mqtt: control", "mqtt_control", None),
    ("mqtt: sender and receiver", "mqtt_sender,mqtt_receiver", None),
    ("websocket: server", "ws_server", Some(10_240)),
    ("websocket: client", "ws_client", Some(10_240)),
    ("websocket: both", "ws_server,ws_client", None),
    ("websocket: over a reader and a writer", "ws_socket", None),
    ("server, with all it needs of the above", "server", None),
];

/// The target that the budgets are for, and the one with atomic instructions.
const IMC: &str = "riscv32imc-unknown-none-elf";
const IMAC: &str = "riscv32imac-unknown-none-elf";

/// Bytes of RAM for each connection.
const CONNECTION_BUDGET: u64 = 2048;

/// The frame whose instructions are counted, and over how many of it.
const FRAME_BYTES: usize = 8192;
const FRAMES: usize = 10;

fn main() -> Result<()> {
    let tool = Tool::new()?;
    tool.parts()?;
    tool.firmwares()?;
    let board = tool.board(IMC)?;
    let count = |viewers| instructions::count(&board, FRAME_BYTES, FRAMES, viewers);
    let (one, two) = (count(1)?, count(2)?);
    tool.memory(one.bytes_per_connection as u64)?;
    per_frame(one.instructions, two.instructions);
    Ok(())
}

struct Tool {
    sh: Shell,
    root: PathBuf,
    target: PathBuf,
}

impl Tool {
    fn new() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.ancestors().nth(2).ok_or("benches/size lies in benches")?.to_owned();
        let target = root.join("target");
        Ok(Self { sh: Shell::new()?, root, target })
    }

    fn parts(&self) -> Result<()> {
        println!("Flash on {IMC}:\n\n| part | bytes | budget |\n|---|--:|--:|");
        let empty = Elf::read(&self.part("")?)?.flash();
        for (name, features, budget) in PARTS {
            let bytes = Elf::read(&self.part(features)?)?.flash() - empty;
            println!("| {name} | {} | {} |", thousands(bytes), against(bytes, *budget));
        }
        Ok(())
    }

    fn firmwares(&self) -> Result<()> {
        println!("\nFirmware:\n\n| example | flash | static RAM |\n|---|--:|--:|");
        let row = |name: &str, path: &Path| -> Result<()> {
            let elf = Elf::read(path)?;
            let (flash, ram) = (thousands(elf.flash()), thousands(elf.static_ram()));
            println!("| {name} | {flash} | {ram} |");
            Ok(())
        };
        for target in [IMC, IMAC] {
            row(&format!("qemu-riscv, {target}"), &self.board(target)?)?;
        }
        for (chip, alias, target) in [("esp32c3", "build-c3", IMC), ("esp32c6", "build-c6", IMAC)] {
            for (binary, source) in [
                ("mjpeg", "test-pattern"),
                ("mjpeg", "arducam"),
                ("websocket", "test-pattern"),
                ("mqtt", "test-pattern"),
                ("camera", "test-pattern"),
            ] {
                let path = self.esp32(alias, target, binary, source)?;
                row(&format!("esp32, {binary} of {source}, {chip}"), &path)?;
            }
        }
        Ok(())
    }

    fn memory(&self, bytes_per_connection: u64) -> Result<()> {
        let elf = Elf::read(&self.part("server")?)?;
        println!("\nRAM on {IMC}:\n\n| what | bytes | budget |\n|---|--:|--:|");
        let row = |name, bytes, budget| {
            println!("| {name} | {} | {} |", thousands(bytes), against(bytes, budget));
        };
        let name = "each connection: the future of `Server::serve`";
        row(name, bytes_per_connection, Some(CONNECTION_BUDGET));
        for (name, symbol) in [
            ("each viewer: `ViewerSlot`", "VIEWER_SLOT"),
            ("each reader of the ring: `ReaderSlot`", "READER_SLOT"),
            ("each frame, besides its bytes: `Slot`", "SLOT"),
        ] {
            row(name, elf.size_of(symbol)?, None);
        }
        Ok(())
    }

    /// The firmware with these parts.
    fn part(&self, features: &str) -> Result<PathBuf> {
        let folder = self.root.join("benches/size/firmware");
        // The versions that the workspace was tested with.
        fs::copy(self.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let args = ["build", "--release", "--features", features];
        Ok(self.build("size", IMC, &folder, &args, &[])?.join("camwire-size-firmware"))
    }

    fn board(&self, target: &str) -> Result<PathBuf> {
        let folder = self.root.join("examples/qemu-riscv");
        let args = ["build", "--release", "--locked"];
        Ok(self.build("riscv-board", target, &folder, &args, &[])?.join("camwire-qemu-riscv"))
    }

    fn esp32(&self, alias: &str, target: &str, binary: &str, source: &str) -> Result<PathBuf> {
        let settings = [
            ("CAMWIRE_SSID", "not a network"),
            ("CAMWIRE_PASSWORD", "not a password"),
            ("CAMWIRE_ADDRESS", "192.0.2.2/24"),
            ("CAMWIRE_GATEWAY", "192.0.2.1"),
            ("CAMWIRE_MQTT", "192.0.2.3"),
            ("CAMWIRE_SOURCE", source),
        ];
        let folder = self.root.join("examples/esp32");
        let args = [alias, binary, "--locked"];
        Ok(self.build("esp32", target, &folder, &args, &settings)?.join(binary))
    }

    /// Compiles for a chip and returns the folder of the programs.
    fn build(
        &self,
        name: &str,
        target: &str,
        folder: &Path,
        args: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<PathBuf> {
        let sh = &self.sh;
        // The compiler may be another one: xtask knows where it is.
        let variables = cmd!(sh, "cargo xtask env {target}").quiet().read()?;
        let variables = variables.lines().filter_map(|line| line.split_once('='));
        let target_dir = self.target.join(name);
        let _in_its_folder = sh.push_dir(folder);
        let cargo = cmd!(sh, "cargo {args...} --quiet --target-dir {target_dir}");
        // `cargo run` sets it for this program.
        let cargo =
            cargo.envs(variables).envs(settings.iter().copied()).env_remove("LD_LIBRARY_PATH");
        cargo.quiet().run()?;
        Ok(target_dir.join(target).join("release"))
    }
}

/// A firmware as it was linked.
struct Elf(Vec<u8>);

impl Elf {
    fn read(path: &Path) -> Result<Self> {
        let elf = Self(fs::read(path)?);
        object::File::parse(&*elf.0)?;
        Ok(elf)
    }

    fn file(&self) -> object::File<'_> {
        object::File::parse(&*self.0).expect("it was read before")
    }

    /// Bytes that the chip's flash holds: code, constants, and what variables begin with.
    fn flash(&self) -> u64 {
        let file = self.file();
        let is_allocated = |flags| matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags.contains(SHF_ALLOC));
        let kept = file.sections().filter(|section| {
            is_allocated(section.flags()) && section.kind() != SectionKind::UninitializedData
        });
        kept.map(|section| section.size()).sum()
    }

    /// Bytes of RAM that variables take.
    fn static_ram(&self) -> u64 {
        let file = self.file();
        let is_variable = |name: &str| name.starts_with(".data") || name.starts_with(".bss");
        let sections = file.sections().filter(|section| section.name().is_ok_and(is_variable));
        sections.map(|section| section.size()).sum()
    }

    /// The size of what a symbol stands for.
    fn size_of(&self, name: &str) -> Result<u64> {
        let file = self.file();
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        Ok(symbol.ok_or_else(|| format!("benches/size/firmware has no symbol {name}"))?.size())
    }
}

fn per_frame(one_viewer: Instructions, two_viewers: Instructions) {
    println!("\nInstructions for a frame of {FRAME_BYTES} bytes on {IMC}:\n");
    println!("| | all | memcpy | checksums | beyond these |\n|---|--:|--:|--:|--:|");
    for (name, count) in [
        ("captured, and sent to one viewer", one_viewer),
        ("sent to one viewer more", two_viewers - one_viewer),
    ] {
        let Instructions { all, memcpy, checksum } = count;
        let columns = [all, memcpy, checksum, all - memcpy - checksum];
        println!("| {name} | {} |", columns.map(|count| thousands(count as u64)).join(" | "));
    }
}

fn against(bytes: u64, budget: Option<u64>) -> String {
    match budget {
        Some(budget) if bytes > budget => {
            format!("{}: **{} over**", thousands(budget), thousands(bytes - budget))
        }
        Some(budget) => thousands(budget),
        None => String::new(),
    }
}

/// `12345` as `12,345`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 999, 1000, 12_345, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn missed_budget_is_marked() {
        assert_eq!(against(5000, None), "");
        assert_eq!(against(4096, Some(4096)), "4,096");
        assert_eq!(against(5000, Some(4096)), "4,096: **904 over**");
    }
}
