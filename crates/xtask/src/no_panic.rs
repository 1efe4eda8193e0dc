//! The proof that no panic can be reached in the codecs and the ring: `no-panic/README.md`.

use crate::{
    chips::{self, IMC},
    job::Job,
    public_api,
    runner::{Outcome, Problem, Tally},
    tools, workspace,
};
use object::{Object, ObjectSegment};
use std::{
    fs,
    path::{Path, PathBuf},
};
use xshell::cmd;

/// Libraries that the proof does not cover, each with the reason.
const NOT_PROVED: [(&str, &str); 6] = [
    ("camwire", "it has no code of its own"),
    ("camwire-arducam", "a driver reads from its camera, not from a peer"),
    ("camwire-embassy", "embassy-net has panics"),
    ("camwire-minimq", "minimq has panics"),
    ("camwire-esp32cam", "a driver reads from its camera, not from a peer"),
    ("camwire-server", "httparse has panics; the feature `requests` shows that it has no other"),
];

/// Public functions that the program does not call, each with the reason.
const NOT_CALLED: [(&str, &str); 0] = [];

/// What the program's panic handler calls, and nothing defines.
const HANDLER: &str = "a_panic_can_be_reached";

pub(crate) fn check(job: &Job<'_>) -> Outcome {
    let program = job.context.root.join("crates/xtask/no-panic");
    // The versions that the workspace was tested with.
    fs::copy(job.context.root.join("Cargo.lock"), program.join("Cargo.lock"))?;
    every_library_is_considered(job, &program)?;
    every_function_is_called(job, &program)?;
    let build = |features: &str, overflow_checks| {
        let features = features.to_owned();
        Build { job, program: &program, overflow_checks, features }
    };
    a_panic_is_found(&build("panic", false))?;
    for overflow_checks in [false, true] {
        // The test pattern is no codec. Its indices are proved, but not its arithmetic.
        let pattern = if overflow_checks { "" } else { "pattern" };
        let codecs = build(pattern, overflow_checks);
        if let Err(Problem::Failed { tally, output }) = codecs.link(&[]) {
            let panics = codecs.panics().unwrap_or_default();
            let output = if panics.is_empty() { output } else { list(&panics) };
            return Err(Problem::Failed { tally, output });
        }
        let mut panics = build(&format!("futures,{pattern}"), overflow_checks).panics()?;
        panics.retain(|panic| !panic.is_poll_after_the_end(&program));
        let (httparse, others): (Vec<_>, Vec<_>) = build("requests", overflow_checks)
            .panics()?
            .into_iter()
            .partition(|panic| panic.file.contains("/httparse-"));
        panics.extend(others);
        if !panics.is_empty() {
            return Err(Problem::failed(list(&panics)));
        }
        if httparse.is_empty() {
            return Err(Problem::failed("httparse has no panic any more: the proof can have it"));
        }
    }
    Ok(Tally::ONE)
}

/// A library is part of the program, or of the list of those that are not.
fn every_library_is_considered(job: &Job<'_>, program: &Path) -> Result<(), Problem> {
    let manifest = tools::read(&program.join("Cargo.toml"))?;
    for library in workspace::libraries(job)? {
        let name = library.name;
        let is_proved = manifest.lines().any(|line| line.starts_with(&format!("{name} = ")));
        if !is_proved && !NOT_PROVED.iter().any(|(other, _)| *other == name) {
            return Err(Problem::failed(format!(
                "add {name} to [dependencies] of crates/xtask/no-panic/Cargo.toml and call its \
                 functions in crates/xtask/no-panic/src, or add it with the reason to NOT_PROVED in \
                 crates/xtask/src/no_panic.rs"
            )));
        }
    }
    Ok(())
}

/// The program calls each public function of the libraries that it proves.
fn every_function_is_called(job: &Job<'_>, program: &Path) -> Result<(), Problem> {
    let mut text = String::new();
    for file in fs::read_dir(program.join("src"))? {
        text += &fs::read_to_string(file?.path())?;
    }
    let libraries = workspace::libraries(job)?.into_iter().map(|library| library.name);
    let mut faults = Vec::new();
    for name in libraries.filter(|name| !NOT_PROVED.iter().any(|(other, _)| other == name)) {
        let functions = public_api::functions(job, &name)?;
        if functions.is_empty() {
            faults.push(format!("{name} has no public function, as rustdoc has it"));
        }
        for function in functions.iter().filter(|function| !function.is_called_in(&text)) {
            let path = function.path();
            if !NOT_CALLED.iter().any(|(other, _)| *other == path) {
                faults.push(format!("{path} of {name} is not called in crates/xtask/no-panic/src"));
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.push(
        "Call each by this path, or add it with the reason to NOT_CALLED in \
         crates/xtask/src/no_panic.rs."
            .to_owned(),
    );
    Err(Problem::failed(faults.join("\n")))
}

/// A panic that is there stops the linker, and is found.
fn a_panic_is_found(build: &Build<'_>) -> Result<(), Problem> {
    match build.link(&[]) {
        Ok(_) => return Err(Problem::failed("it links with a panic in it, so it proves nothing")),
        Err(Problem::Failed { output, .. }) if output.contains(HANDLER) => {}
        Err(other) => return Err(other),
    }
    let panics = build.panics()?;
    if panics.iter().any(|panic| panic.file.ends_with("src/main.rs")) {
        return Ok(());
    }
    Err(Problem::failed(format!("a panic in main.rs is not found\n{}", list(&panics))))
}

struct Build<'a> {
    job: &'a Job<'a>,
    program: &'a Path,
    overflow_checks: bool,
    features: String,
}

impl Build<'_> {
    /// Links the program and returns where it is.
    fn link(&self, arguments: &[&str]) -> Result<PathBuf, Problem> {
        let Self { job, program, features, .. } = self;
        let (sh, target) = (&job.sh, job.context.target.join("no-panic"));
        let _in_its_folder = sh.push_dir(program);
        let rustc = cmd!(sh, "cargo rustc --release --features {features} --target-dir {target}");
        let rustc = rustc.arg("--").args(arguments).envs(chips::compiler(job, IMC)?);
        let checks = self.overflow_checks.to_string();
        job.run(rustc.env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", checks))?;
        Ok(target.join(IMC).join("release/camwire-no-panic"))
    }

    /// Where the program can panic: it is linked nevertheless, and then holds the place of each panic
    /// as a [`Location`](std::panic::Location).
    fn panics(&self) -> Result<Vec<Place>, Problem> {
        let define = format!("-Clink-arg=--defsym={HANDLER}=0");
        let program = fs::read(self.link(&[&define])?)?;
        let not_elf = |error: object::Error| Problem::failed(error.to_string());
        let elf = object::File::parse(&*program).map_err(not_elf)?;
        let segments = elf.segments().map(|segment| Ok((segment.address(), segment.data()?)));
        Ok(places(&segments.collect::<Result<Vec<_>, _>>().map_err(not_elf)?))
    }
}

/// The locations in a 32-bit program's memory: of a text's address and length, a line and a column.
fn places(segments: &[(u64, &[u8])]) -> Vec<Place> {
    let text_at = |address: u32, length: u32| {
        segments.iter().find_map(|(start, bytes)| {
            let from = u64::from(address).checked_sub(*start)? as usize;
            str::from_utf8(bytes.get(from..from.checked_add(length as usize)?)?).ok()
        })
    };
    let words = segments.iter().flat_map(|(_, bytes)| bytes.as_chunks::<4>().0);
    let words: Vec<u32> = words.map(|word| u32::from_le_bytes(*word)).collect();
    let mut places: Vec<Place> = words
        .windows(4)
        .filter_map(|location| {
            let &[address, length, line, column] = location else { return None };
            let file = text_at(address, length)?.trim_end_matches('\0');
            let is_location = file.ends_with(".rs") && line > 0 && column > 0;
            is_location.then(|| Place { file: file.to_owned(), line, column })
        })
        .collect();
    places.sort();
    places.dedup();
    places
}

/// A place in a source, counted from 1.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    line: u32,
    column: u32,
}

impl Place {
    /// Whether this is the panic that every asynchronous function has, for being polled after its
    /// end: its place is the body.
    fn is_poll_after_the_end(&self, program: &Path) -> bool {
        let text = fs::read_to_string(program.join(&self.file)).unwrap_or_default();
        is_async_body(&text, self.line as usize, self.column as usize)
    }
}

/// Whether at this place of a source an asynchronous function has its body, or a block begins.
fn is_async_body(source: &str, line: usize, column: usize) -> bool {
    let mut lines: Vec<&str> = source.lines().take(line).collect();
    let Some(last) = lines.pop() else { return false };
    let Some((at, first)) = last.char_indices().nth(column - 1) else { return false };
    if ["async {", "async move {"].iter().any(|block| last[at..].starts_with(block)) {
        return true;
    }
    if first != '{' {
        return false;
    }
    lines.push(&last[..at]);
    // A comment may well speak of an async function.
    let code: Vec<&str> = lines.iter().filter_map(|line| line.split("//").next()).collect();
    let code = code.join("\n");
    let Some((_, between)) = code.rsplit_once("async ") else { return false };
    let function = between.starts_with("fn ") || between.starts_with("unsafe fn ");
    // The semicolon of an array's type ends nothing.
    let mut brackets = 0;
    let is_one_signature = between.chars().all(|character| {
        brackets += i32::from(character == '[') - i32::from(character == ']');
        !matches!(character, '{' | '}') && (character != ';' || brackets > 0)
    });
    function && is_one_signature
}

fn list(panics: &[Place]) -> String {
    let places =
        panics.iter().map(|Place { file, line, column }| format!("{file}:{line}:{column}\n"));
    let places = String::from_iter(places);
    format!(
        "a panic can be reached in:\n{places}If a place is not camwire's, leave out calls in \
         crates/xtask/no-panic/src to find its caller."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_found_in_memory() {
        let mut constants = b"src/a.rs\0\0\0\0src/b.txt\0\0\0".to_vec();
        for word in [0x1000, 8, 7, 9, 0x100c, 9, 1, 1, 0x1000, 8, 0, 9] {
            constants.extend(u32::to_le_bytes(word));
        }
        let place = Place { file: "src/a.rs".to_owned(), line: 7, column: 9 };
        assert_eq!(places(&[(0x2000, &[0; 8]), (0x1000, &constants)]), [place]);
    }

    #[test]
    fn bodies_that_are_async() {
        let bodies = [
            "async fn f() ^{}",
            "pub async unsafe fn f(\n    buf: &mut [u8; 4],\n) -> [u8; 2]\nwhere\n    T: FnOnce() -> u8,\n^{",
            "let future = ^async { 1 };",
            "let future = ^async move { 1 };",
            "/* äöü */ async fn f() ^{}",
        ];
        let others = [
            "async fn f() { let x = ^{ &*buf }[7]; }",
            "async fn f() {\n    g();\n    let x = ^{ &*buf }[7];\n}",
            "async fn f();\nfn g() ^{}",
            "fn g() {\n    // as an async fn does\n    f(^{ &*buf }[7])\n}",
            "f(\"async \", ^{ &*buf }[7])",
            "async fn f() { ^x }",
            "let future = async { ^{ &*buf }[7] };",
            "^async fn f() {}",
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
