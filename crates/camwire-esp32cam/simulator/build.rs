//! Compiles the simulated driver.

fn main() {
    println!("cargo::rerun-if-changed=c");
    cc::Build::new()
        .file("c/driver.c")
        .include("c")
        .std("c11")
        .warnings_into_errors(true)
        .extra_warnings(true)
        .compile("esp32_camera_simulator");
}
