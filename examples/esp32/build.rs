//! Turns the settings of the build into `settings.rs`.

fn main() {
    camwire_settings::write(&camwire_settings::bare_metal(&camwire_settings::Environment));
    // After all others of the linker's scripts.
    println!("cargo::rustc-link-arg-bins=-Tlinkall.x");
    println!("cargo::rerun-if-changed=build.rs");
}
