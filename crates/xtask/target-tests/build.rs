//! Draws on the computer what `frame::the_test_pattern_is_that_of_the_computer` draws on the
//! target.

use camwire_frame::{Quality, Resolution};
use camwire_pattern::TestPattern;
use std::{env, fs, path::Path, time::Duration};

fn main() {
    let pattern = TestPattern::new(Resolution::QQVGA, Quality::new(12).expect("in range"));
    let mut bytes = vec![0; 64 * 1024];
    let len = pattern.encode(u64::MAX, Duration::from_millis(86_399_999), &mut bytes);
    bytes.truncate(len.expect("it fits"));
    let folder = env::var("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&folder).join("pattern.jpg"), bytes).expect("it can be written");
    println!("cargo::rerun-if-changed=build.rs");
}
