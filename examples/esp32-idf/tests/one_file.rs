//! What cannot be compiled without a board's toolchain is one file, and a short one.

use std::fs;
use std::path::{Path, PathBuf};

const THE_FILE: &str = "src/platform/esp_idf.rs";
const MOST_LINES: usize = 210;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let nested = entries.map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    nested.flatten().collect()
}

#[test]
fn what_needs_the_toolchain_is_one_short_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lines = fs::read_to_string(root.join(THE_FILE)).unwrap().lines().count();
    assert!((1..=MOST_LINES).contains(&lines), "{THE_FILE} has {lines} lines");

    // Nothing else names ESP-IDF's crates, or is left out on a computer.
    let files = sources(&root.join("src"));
    assert!(files.len() > 8, "{files:?}");
    for path in files.iter().filter(|path| !path.ends_with(THE_FILE)) {
        let text = fs::read_to_string(path).unwrap();
        let switch = path.ends_with("src/platform/mod.rs");
        assert!(!text.contains("esp_idf_svc"), "{}", path.display());
        for word in ["feature = \"esp-idf\"", "target_arch"] {
            assert!(switch || !text.contains(word), "{word} in {}", path.display());
        }
        assert!(!text.contains("cfg(target_os = \"espidf\")"), "{}", path.display());
    }
}
