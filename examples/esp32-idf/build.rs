//! What is said to the firmware when it is built: the board, the network, and the way of delivery.

#[path = "../settings.rs"]
mod settings;

use settings::{Setting, one_of};
use std::env;

/// The boards that `camwire-esp32cam` has pins of, each with its chip; a test sees to it that these
/// are all of them.
const BOARDS: &[(&str, &str)] = &[
    ("ai-thinker", "esp32"),
    ("esp-eye", "esp32"),
    ("wrover-kit", "esp32"),
    ("m5stack-psram", "esp32"),
    ("m5stack-wide", "esp32"),
    ("t-journal", "esp32"),
    ("t-camera-plus", "esp32"),
    ("t-camera-pir", "esp32"),
    ("xiao-esp32s3-sense", "esp32s3"),
    ("esp32-s3-eye", "esp32s3"),
    ("freenove-esp32s3", "esp32s3"),
];

/// One of your own, on any chip. Its pins are in src/camera.rs.
const OWN: &str = "own";

fn main() {
    settings::write(&[
        settings::ssid(),
        settings::password(),
        board(),
        delivery(),
        settings::address(),
        settings::gateway(),
        settings::ports(),
        settings::auth(),
        settings::token(),
        settings::origins(),
        settings::push(),
        settings::mqtt(),
        motors(),
    ]);
    // Where ESP-IDF is, and with what to link it.
    #[cfg(feature = "esp-idf")]
    embuild::espidf::sysenv::output();
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../settings.rs");
}

fn board() -> Setting {
    let known = BOARDS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let names = [&known[..], &[OWN]].concat();
    let name = one_of("CAMWIRE_BOARD", "the board", &names, None)?;
    // A computer may stand in for any of them.
    let target = env::var("TARGET").unwrap_or_default();
    let chip = BOARDS.iter().find_map(|(board, chip)| (*board == name).then_some(*chip));
    if let Some(chip) = chip
        && target.ends_with("-espidf")
        && target != format!("xtensa-{chip}-espidf")
    {
        return Err(format!("CAMWIRE_BOARD={name} has an {chip}: `cargo +esp {chip} mjpeg`"));
    }
    Ok(format!(
        "/// What the board is called.\npub const BOARD: &str = {name:?};\n\
         /// All boards that have a name.\npub const BOARDS: &[&str] = &{known:?};\n"
    ))
}

fn delivery() -> Setting {
    let names = ["together", "newest", "every"];
    let name = match one_of("CAMWIRE_DELIVERY", "", &names, Some("newest"))?.as_str() {
        "together" => "Together",
        "every" => "Every",
        _ => "Newest",
    };
    Ok(format!(
        "/// How pictures get to those who watch.\n\
         pub const DELIVERY: crate::Delivery = crate::Delivery::{name};\n"
    ))
}

fn motors() -> Setting {
    let built_in = one_of("CAMWIRE_MOTORS", "", &["no", "yes"], Some("no"))? == "yes";
    let has_pins = matches!(env::var("CAMWIRE_BOARD").as_deref(), Ok("ai-thinker" | OWN) | Err(_));
    if built_in && !has_pins {
        return Err("CAMWIRE_MOTORS=yes is for CAMWIRE_BOARD=ai-thinker, or for a board of your \
                    own: on others their pins are the camera's"
            .to_owned());
    }
    Ok(format!(
        "/// Whether two motors are driven: src/platform/esp_idf.rs has their pins.\n\
         pub const MOTORS: bool = {built_in};\n"
    ))
}
