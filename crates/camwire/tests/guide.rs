//! What the guide shows of the examples' firmware, which is compiled for its chip, is word for word
//! what stands there.

use std::fs;
use std::path::Path;

/// The blocks of a page that are not compiled, each with the file that the text before it names.
fn excerpts(page: &str) -> Vec<(String, String)> {
    let mut excerpts = Vec::new();
    let mut file = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if line == "```text" {
                let file = file.clone().expect("the text says where it is from");
                excerpts.push((file, block.join("\n")));
            }
            continue;
        }
        // Such as `examples/esp32/src/board.rs`.
        let code = line.split('`').skip(1).step_by(2);
        let named = code.filter(|code| code.starts_with("examples/") && code.contains('.'));
        file = named.last().map(str::to_owned).or(file);
    }
    excerpts
}

fn check(page: &str, count: usize) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(repository.join("crates/camwire/src/guide").join(page)).unwrap();
    let excerpts = excerpts(&page);
    assert_eq!(excerpts.len(), count);
    for (file, excerpt) in excerpts {
        let text = fs::read_to_string(repository.join(&file)).unwrap();
        assert!(text.contains(&format!("\n{excerpt}\n")), "this is not in {file}:\n{excerpt}");
    }
}

#[test]
fn embassy() {
    check("embassy.md", 6);
}

#[test]
fn esp_idf() {
    check("esp_idf.md", 9);
}

#[test]
fn what_is_an_excerpt() {
    let page =
        "From `examples/a/src/b.rs`:\n\n```text\nfn one\n\n  two\n```\n\n```rust\nthree\n```\n";
    assert_eq!(excerpts(page), [("examples/a/src/b.rs".to_owned(), "fn one\n\n  two".to_owned())]);
}
