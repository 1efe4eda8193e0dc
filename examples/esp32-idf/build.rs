//! Turns the settings of the build into `settings.rs`.

fn main() {
    camwire_settings::write(&camwire_settings::esp_idf(&camwire_settings::Environment));
    // Where ESP-IDF is, and with what to link it.
    #[cfg(feature = "esp-idf")]
    embuild::espidf::sysenv::output();
    println!("cargo::rerun-if-changed=build.rs");
}
