//! What is said to the firmware when it is built: the board, the network, and the way of delivery.

#[path = "../settings.rs"]
mod settings;

use settings::{Setting, one_of};

/// The boards that `camwire-esp32cam` has pins of; a test sees to it that this is all of them. For
/// one of your own, see src/camera.rs.
const BOARDS: &[&str] = &[
    "ai-thinker",
    "esp-eye",
    "wrover-kit",
    "m5stack-psram",
    "m5stack-wide",
    "t-journal",
    "t-camera-plus",
    "t-camera-pir",
    "xiao-esp32s3-sense",
    "esp32-s3-eye",
    "freenove-esp32s3",
];

fn main() {
    settings::write(&[
        settings::ssid(),
        settings::password(),
        board(),
        delivery(),
        settings::address(),
        settings::gateway(),
    ]);
    // Where ESP-IDF is, and with what to link it.
    #[cfg(feature = "esp-idf")]
    embuild::espidf::sysenv::output();
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../settings.rs");
}

fn board() -> Setting {
    let name = one_of("CAMWIRE_BOARD", "the board", BOARDS, None)?;
    Ok(format!(
        "/// What the board is called.\npub const BOARD: &str = {name:?};\n\
         /// All that it could be called.\npub const BOARDS: &[&str] = &{BOARDS:?};\n"
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
