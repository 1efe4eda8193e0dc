//! `cargo xtask size`: what camwire takes of a chip, as a table beside the budgets of the design.

use crate::{
    check::{Context, Problem},
    elf::Elf,
    esp32,
    instructions::{self, Instructions},
    riscv,
    toolchain::{TARGETS, compiler},
};
use std::fs;

/// Firmwares of `outside/size`, by the features that choose what is in them.
const PARTS: &[Part] = &[
    Part { name: "frame: JPEG structure", features: "jpeg", budget: None },
    Part { name: "ring", features: "ring", budget: Some(4096) },
    Part { name: "ring, with the capture loop", features: "ring,capture_loop", budget: None },
    Part { name: "multipart: encoder", features: "encoder", budget: Some(2560) },
    Part { name: "multipart: decoder", features: "decoder", budget: None },
    Part { name: "multipart: both", features: "encoder,decoder", budget: Some(6144) },
    Part { name: "multipart: a stream as a source", features: "source", budget: None },
    Part { name: "mqtt: sender", features: "mqtt_sender", budget: None },
    Part { name: "mqtt: receiver", features: "mqtt_receiver", budget: None },
    Part { name: "mqtt: control", features: "mqtt_control", budget: None },
    Part {
        name: "mqtt: sender and receiver",
        features: "mqtt_sender,mqtt_receiver",
        budget: Some(6144),
    },
    Part { name: "websocket: server", features: "ws_server", budget: Some(10_240) },
    Part { name: "websocket: client", features: "ws_client", budget: Some(10_240) },
    Part { name: "websocket: both", features: "ws_server,ws_client", budget: Some(10_240) },
    Part { name: "websocket: over a reader and a writer", features: "ws_socket", budget: None },
    Part { name: "server, with all it needs of the above", features: "server", budget: None },
];

struct Part {
    name: &'static str,
    features: &'static str,
    /// Bytes of flash, as design.md says. A door that comes later is one more line here.
    budget: Option<usize>,
}

/// The target that the budgets are for.
const TARGET: &str = TARGETS[0];

/// Bytes of RAM for each connection, as design.md says.
const CONNECTION_BUDGET: usize = 2048;

/// The picture whose instructions are counted, and over how many of it.
const PICTURE_BYTES: usize = 8192;
const PICTURES: usize = 10;

/// Prints the tables. An error is something that could not be measured; a budget that is missed is
/// none.
pub(crate) fn print(context: &Context) -> Result<(), Problem> {
    parts(context)?;
    firmwares(context)?;
    let firmware = riscv::example(context, TARGET)?;
    let count = |viewers| {
        instructions::count(context, (&firmware, TARGET), PICTURE_BYTES, PICTURES, viewers)
    };
    let (one, two) = (count(1)?, count(2)?);
    memory(&part(context, "server")?, one.bytes_per_connection)?;
    per_picture(one.instructions, two.instructions);
    Ok(())
}

fn parts(context: &Context) -> Result<(), Problem> {
    println!("Flash on {TARGET}:\n\n| part | bytes | budget |\n|---|--:|--:|");
    let empty = part(context, "")?.flash();
    for Part { name, features, budget } in PARTS {
        let bytes = part(context, features)?.flash() - empty;
        println!("| {name} | {} | {} |", thousands(bytes), against(bytes, *budget));
    }
    Ok(())
}

fn firmwares(context: &Context) -> Result<(), Problem> {
    println!("\nFirmware:\n\n| example | flash | static RAM |\n|---|--:|--:|");
    let row = |name: &str, flash, ram| {
        println!("| {name} | {} | {} |", thousands(flash), thousands(ram));
    };
    for target in TARGETS {
        let elf = Elf::read(&riscv::example(context, target)?)?;
        row(&format!("qemu-riscv, {target}"), elf.flash(), elf.static_ram());
    }
    for (name, firmware, image) in esp32::all(context)? {
        let flash = fs::metadata(image)?.len() as usize;
        row(&format!("esp32, {name}"), flash, Elf::read(&firmware)?.static_ram());
    }
    Ok(())
}

fn memory(server: &Elf, bytes_per_connection: usize) -> Result<(), Problem> {
    println!("\nRAM on {TARGET}:\n\n| what | bytes | budget |\n|---|--:|--:|");
    let row = |name, bytes, budget| {
        println!("| {name} | {} | {} |", thousands(bytes), against(bytes, budget));
    };
    let name = "each connection: the future of `Server::serve`";
    row(name, bytes_per_connection, Some(CONNECTION_BUDGET));
    for (name, symbol) in [
        ("each viewer: `ViewerSlot`", "VIEWER_SLOT"),
        ("each reader of the ring: `ReaderSlot`", "READER_SLOT"),
        ("each picture, besides its bytes: `Slot`", "SLOT"),
    ] {
        let unknown = || Problem::failed(format!("outside/size has no symbol {symbol}"));
        row(name, server.size_of(symbol).ok_or_else(unknown)?, None);
    }
    Ok(())
}

fn per_picture(one_viewer: Instructions, two_viewers: Instructions) {
    println!("\nInstructions for a picture of {PICTURE_BYTES} bytes on {TARGET}:\n");
    println!("| | all | memcpy | checksums | beyond these |\n|---|--:|--:|--:|--:|");
    for (name, count) in [
        ("captured, and sent to one viewer", one_viewer),
        ("sent to one viewer more", two_viewers - one_viewer),
    ] {
        let Instructions { all, memcpy, checksum } = count;
        let columns = [all, memcpy, checksum, all - memcpy - checksum].map(thousands);
        println!("| {name} | {} |", columns.join(" | "));
    }
}

/// The firmware with these parts.
fn part(context: &Context, features: &str) -> Result<Elf, Problem> {
    let args = ["build", "--release", "--features", features];
    let folder = context.root.join("crates/xtask/outside/size");
    // The versions that the workspace was tested with.
    fs::copy(context.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let mut command = context.cargo_apart("riscv-size", &args).dir(&folder);
    for (name, value) in &compiler(context, TARGET)? {
        command = command.env(name, value);
    }
    command.run()?;
    let folder = context.target.join("riscv-size").join(TARGET).join("release");
    Elf::read(&folder.join("camwire-size"))
}

fn against(bytes: usize, budget: Option<usize>) -> String {
    match budget {
        Some(budget) if bytes > budget => {
            format!("{}: **{} over**", thousands(budget), thousands(bytes - budget))
        }
        Some(budget) => thousands(budget),
        None => String::new(),
    }
}

/// `12345` as `12,345`.
fn thousands(number: usize) -> String {
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
    fn a_missed_budget_is_marked() {
        assert_eq!(against(5000, None), "");
        assert_eq!(against(4096, Some(4096)), "4,096");
        assert_eq!(against(5000, Some(4096)), "4,096: **904 over**");
    }
}
