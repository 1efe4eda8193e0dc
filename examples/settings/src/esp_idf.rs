use crate::{Setting, Variables, one_of, shared};

/// The boards that `camwire-esp32cam` has pins of, each with its chip. A test of examples/esp32-idf
/// checks that these are all of them.
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

/// A board of one's own, on any chip. Its pins are in examples/esp32-idf/src/camera.rs.
const OWN: &str = "own";

/// The settings of examples/esp32-idf. Cargo's own variable says the target.
pub fn esp_idf(env: &dyn Variables) -> Vec<Setting> {
    let mut settings = shared(env);
    settings.extend([board(env), delivery(env), motors(env)]);
    settings
}

fn board(env: &dyn Variables) -> Setting {
    let known = BOARDS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let names = [&known[..], &[OWN]].concat();
    let name = one_of(env, "CAMWIRE_BOARD", "the board", &names, None)?;
    // A computer may stand in for any of them.
    let target = env.get("TARGET")?.unwrap_or_default();
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

fn delivery(env: &dyn Variables) -> Setting {
    let names = ["together", "newest", "every"];
    let name = match one_of(env, "CAMWIRE_DELIVERY", "", &names, Some("newest"))?.as_str() {
        "together" => "Together",
        "every" => "Every",
        _ => "Newest",
    };
    Ok(format!(
        "/// How frames get to viewers.\n\
         pub const DELIVERY: crate::Delivery = crate::Delivery::{name};\n"
    ))
}

fn motors(env: &dyn Variables) -> Setting {
    let built_in = one_of(env, "CAMWIRE_MOTORS", "", &["no", "yes"], Some("no"))? == "yes";
    let has_pins = matches!(env.get("CAMWIRE_BOARD")?.as_deref(), Some("ai-thinker" | OWN) | None);
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
