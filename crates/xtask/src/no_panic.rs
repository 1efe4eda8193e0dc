//! The proof that no panic can be reached in the codecs and the ring: `outside/no_panic` calls all
//! of their public functions, and links only if its panic handler is not part of it. What is
//! asynchronous does have a panic, so there the linked program shows which ones it has.
//!
//! The one exception is httparse, which camwire-server reads a request's line with.
//!
//! That the compiler leaves a panic out says that it has proved it unreachable, for any input and
//! any state. So one compiler is enough, and one target for all chips of 32 bits. It says nothing
//! of computers: their `usize` has other limits, and there the decoder searches with memchr.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    elf::Elf,
    public_functions,
    toolchain::{TARGETS, compiler},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const CRATES: [&str; 5] =
    ["camwire-frame", "camwire-mqtt", "camwire-multipart", "camwire-ring", "camwire-websocket"];

/// Public functions that the program does not call.
const LEFT_OUT: [&str; 6] = [
    // It takes memory from the heap, and it is for the heap's owner to say what happens when there
    // is none.
    "FrameRing::leak",
    // These need the standard library.
    "FrameLease::to_bytes",
    "Publisher::grant_blocking",
    "Reader::latest_blocking",
    "Reader::next_blocking",
    "block_on",
];

pub(crate) fn checks() -> Vec<Check> {
    vec![Check::new("no-panic", "no panic can be reached in the codecs and the ring", no_panic)]
}

fn no_panic(context: &Context) -> Outcome {
    let program = context.root.join("crates/xtask/outside/no_panic");
    // The versions that the workspace was tested with.
    fs::copy(context.root.join("Cargo.lock"), program.join("Cargo.lock"))?;
    every_function_is_called(context, &program)?;
    a_panic_is_found(context, &program)?;
    for overflow_checks in [false, true] {
        // The test pattern is no codec. Its indices are proved, but not its arithmetic.
        let pattern = if overflow_checks { "" } else { "pattern" };
        let mut build = Build { context, program: &program, overflow_checks, features: pattern };
        if let Err(Problem::Failed { tally, output }) = build.link(&[]) {
            let output = match build.panics() {
                Ok(panics) if !panics.is_empty() => list(&panics),
                _ => output,
            };
            return Err(Problem::Failed { tally, output });
        }
        let futures = format!("futures,{pattern}");
        build.features = &futures;
        let mut panics = build.panics()?;
        panics.retain(|panic| !panic.is_poll_after_the_end(&program));
        if !panics.is_empty() {
            return Err(Problem::failed(list(&panics)));
        }
        build.features = "requests";
        let (httparse, others): (Vec<_>, Vec<_>) =
            build.panics()?.into_iter().partition(|panic| panic.file.contains("/httparse-"));
        if !others.is_empty() {
            return Err(Problem::failed(list(&others)));
        }
        if httparse.is_empty() {
            return Err(Problem::failed("httparse has no panic any more: the proof can have it"));
        }
    }
    Ok(Tally::ONE)
}

/// Whether the program calls each public function of the crates.
fn every_function_is_called(context: &Context, program: &Path) -> Result<(), Problem> {
    let mut text = String::new();
    for file in fs::read_dir(program.join("src"))? {
        text += &fs::read_to_string(file?.path())?;
    }
    let mut missing = Vec::new();
    let mut left_out = LEFT_OUT.to_vec();
    for name in CRATES {
        let sources = context.root.join("crates").join(name).join("src");
        for function in public_functions::all_in(&sources)? {
            let path = function.path();
            match left_out.iter().position(|&left_out| left_out == path) {
                Some(at) => _ = left_out.remove(at),
                None if function.is_called_in(&text) => {}
                None => missing.push(format!("{name}: {path}")),
            }
        }
    }
    if !missing.is_empty() {
        let missing = missing.join("\n");
        return Err(Problem::failed(format!("not called in outside/no_panic:\n{missing}")));
    }
    if !left_out.is_empty() {
        return Err(Problem::failed(format!("left out, but there is no such thing: {left_out:?}")));
    }
    Ok(())
}

/// Whether a panic that is there stops the linker, and is found.
fn a_panic_is_found(context: &Context, program: &Path) -> Result<(), Problem> {
    let build = Build { context, program, overflow_checks: false, features: "panic" };
    match build.link(&[]) {
        Ok(_) => return Err(Problem::failed("it links with a panic in it, so it proves nothing")),
        Err(Problem::Failed { output, .. }) if output.contains(HANDLER) => {}
        Err(other) => return Err(other),
    }
    let panics = build.panics()?;
    if !panics.iter().any(|panic| panic.file.ends_with("src/main.rs")) {
        return Err(Problem::failed(format!("a panic in main.rs is not found\n{}", list(&panics))));
    }
    Ok(())
}

/// What the panic handler calls, and nobody defines.
const HANDLER: &str = "a_panic_can_be_reached";

struct Build<'a> {
    context: &'a Context,
    program: &'a Path,
    overflow_checks: bool,
    features: &'a str,
}

impl Build<'_> {
    /// Links the program and says where it is.
    fn link(&self, arguments: &[&str]) -> Result<PathBuf, Problem> {
        let target = TARGETS[0];
        let mut command = self
            .context
            .cargo_apart("no-panic", &["rustc", "--release", "--target", target])
            .args(["--features", self.features, "--"])
            .args(arguments)
            .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", self.overflow_checks.to_string())
            .dir(self.program);
        for (name, value) in &compiler(self.context, target)? {
            command = command.env(name, value);
        }
        command.run()?;
        let folder = self.context.target.join("no-panic").join(target).join("release");
        Ok(folder.join("camwire-no-panic"))
    }

    /// Where the program can panic: it is linked nevertheless, and then holds the place of each
    /// panic as a [`Location`](std::panic::Location).
    fn panics(&self) -> Result<Vec<Place>, Problem> {
        let define = format!("-Clink-arg=--defsym={HANDLER}=0");
        let elf = Elf::read(&self.link(&[&define])?)?;
        let words: Vec<usize> = elf.words().collect();
        let mut places: Vec<Place> = words
            .windows(4)
            .filter_map(|location| {
                // A text's address and length, a line and a column.
                let [address, length, line, column] = *location else { return None };
                let file = str::from_utf8(elf.at(address, length)?).ok()?;
                let file = file.trim_end_matches('\0').to_owned();
                let is_location = file.ends_with(".rs") && line > 0 && column > 0;
                is_location.then_some(Place { file, line, column })
            })
            .collect();
        places.sort();
        places.dedup();
        Ok(places)
    }
}

/// A place in a source, counted from 1.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    line: usize,
    column: usize,
}

impl Place {
    /// Whether this is the panic that every asynchronous function has, for being polled after its
    /// end, which nobody does: its place is the body.
    fn is_poll_after_the_end(&self, program: &Path) -> bool {
        let text = fs::read_to_string(program.join(&self.file)).unwrap_or_default();
        is_async_body(&text, self.line, self.column)
    }
}

/// Whether an asynchronous function or block has its body at this place of a source.
fn is_async_body(source: &str, line: usize, column: usize) -> bool {
    let mut lines: Vec<&str> = source.lines().take(line).collect();
    let Some(last) = lines.pop() else { return false };
    let Some((column, '{')) = last.char_indices().nth(column - 1) else { return false };
    lines.push(&last[..column]);
    // A comment may well speak of an async function.
    let code: Vec<&str> = lines.iter().filter_map(|line| line.split("//").next()).collect();
    let code = code.join("\n");
    let Some((_, between)) = code.rsplit_once("async ") else { return false };
    let block = matches!(between.trim(), "" | "move");
    let function = between.starts_with("fn ") || between.starts_with("unsafe fn ");
    // The semicolon of an array's type ends nothing.
    let mut brackets = 0;
    let is_one_signature = between.chars().all(|character| {
        brackets += i32::from(character == '[') - i32::from(character == ']');
        !matches!(character, '{' | '}') && (character != ';' || brackets > 0)
    });
    block || function && is_one_signature
}

fn list(panics: &[Place]) -> String {
    let mut text = "a panic can be reached in:\n".to_owned();
    for Place { file, line, column } in panics {
        text += &format!("{file}:{line}:{column}\n");
    }
    text + "Who calls a place that is not camwire's shows when calls in outside/no_panic are left out."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_are_async() {
        let bodies = [
            "async fn f() ^{}",
            "pub async unsafe fn f(\n    buf: &mut [u8; 4],\n) -> [u8; 2]\nwhere\n    T: FnOnce() -> u8,\n^{",
            "let future = async ^{ 1 };",
            "let future = async move ^{ 1 };",
            "/* äöü */ async fn f() ^{}",
        ];
        let others = [
            "async fn f() { let x = ^{ &*buf }[7]; }",
            "async fn f() {\n    g();\n    let x = ^{ &*buf }[7];\n}",
            "async fn f();\nfn g() ^{}",
            "fn g() {\n    // as an async fn does\n    f(^{ &*buf }[7])\n}",
            "f(\"async \", ^{ &*buf }[7])",
            "async fn f() { ^x }",
        ];
        for (sources, expected) in [(&bodies[..], true), (&others[..], false)] {
            for source in sources {
                let (before, after) = source.split_once('^').expect("a place");
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
                let source = format!("{before}{after}");
                assert_eq!(is_async_body(&source, line, column), expected, "{source}");
            }
        }
    }
}
