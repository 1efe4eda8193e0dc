//! The public functions of a crate, read from its sources, and which of them a program calls.

use crate::check::Problem;
use std::{
    fs, iter,
    path::{Path, PathBuf},
    str::Lines,
};

/// A public function as a program that calls it must name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    /// `camwire_crate::module::name(`
    Free(String),
    /// `Type::name(`
    Of(String, String),
    /// `<Type as Trait>::name(`
    OfTrait(String, String, String),
    /// `<Bare as Trait>::name(`, where `Bare` is a type that leaves the method as it is provided.
    Provided(String, String),
}

impl Function {
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Free(name) => name.clone(),
            Self::Of(kind, name) => format!("{kind}::{name}"),
            Self::OfTrait(kind, of, name) => format!("<{kind} as {of}>::{name}"),
            Self::Provided(of, name) => format!("<_ as {of}>::{name}"),
        }
    }

    /// Whether the program names it. `rustfmt` breaks no line within a path.
    pub(crate) fn is_called_in(&self, program: &str) -> bool {
        program.lines().map(|line| line.split("//").next().unwrap_or(line)).any(|line| match self {
            Self::Free(name) => names_free(line, name),
            Self::Of(kind, name) => has_word(line, &format!("{kind}::{name}(")),
            Self::OfTrait(kind, of, name) => names_of_trait(line, kind, of, name),
            Self::Provided(of, name) => names_of_trait(line, "Bare", of, name),
        })
    }
}

/// Whether there is a path to it that begins with a crate, and so is neither a type's nor one of
/// the program's own.
fn names_free(line: &str, name: &str) -> bool {
    line.match_indices(&format!("::{name}(")).any(|(at, _)| {
        let before = &line[..at];
        let path = before.trim_end_matches(|c: char| is_of_identifier(c) || c == ':');
        let path = &before[path.len()..];
        path.starts_with("camwire_") && !path.contains(char::is_uppercase)
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(is_of_identifier))
}

fn names_of_trait(line: &str, kind: &str, of: &str, name: &str) -> bool {
    line.match_indices(&format!(">::{name}(")).any(|(at, _)| {
        let mut depth = 1;
        // The bracket that is closed there.
        let opening = line[..at].rfind(|c| {
            depth += i32::from(c == '>') - i32::from(c == '<');
            depth == 0
        });
        opening
            .and_then(|opening| line[opening + 1..at].rsplit_once(" as "))
            .is_some_and(|(this, its)| last_name(this) == kind && last_name(its) == of)
    })
}

/// All public functions in the sources in a folder. What `derive` writes is not among them.
pub(crate) fn all_in(folder: &Path) -> Result<Vec<Function>, Problem> {
    let mut sources = Vec::new();
    for file in files(folder)? {
        let text = fs::read_to_string(&file)?;
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        sources.push(text.to_owned());
    }
    // A type that is `pub` can be reached from outside, or rustc's `unreachable_pub` complains.
    let types: Vec<String> = sources.iter().flat_map(|text| public_types(text)).collect();
    let hidden: Vec<String> = sources.iter().flat_map(|text| hidden_traits(text)).collect();
    let mut functions: Vec<Function> = sources.iter().flat_map(|text| in_source(text)).collect();
    functions.retain(|function| match function {
        Function::OfTrait(kind, of, _) => {
            // `drop` is called by the compiler.
            let of_public = of != "Drop" && !hidden.contains(of);
            of_public && (kind.starts_with('&') || types.contains(kind))
        }
        _ => true,
    });
    functions.sort();
    functions.dedup();
    Ok(functions)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn public_types(source: &str) -> Vec<String> {
    let declared = source.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "))
    });
    declared.map(identifier).collect()
}

fn hidden_traits(source: &str) -> Vec<String> {
    let declared = source.lines().map(str::trim_start).filter_map(|line| {
        let (before, after) = line.split_once("trait ")?;
        (before.is_empty() || before.starts_with("pub(")).then_some(after)
    });
    declared.map(identifier).collect()
}

/// What a function stands in.
enum Block {
    Type(String),
    Trait { kind: String, of: String },
    Declaration(String),
}

fn in_source(source: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut block: Option<(usize, Block)> = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let safe = text.strip_prefix("unsafe ").unwrap_or(text);
        if safe.starts_with("impl ") || safe.starts_with("impl<") {
            let header = up_to_brace(safe, &mut lines);
            block = (!header.ends_with("{}")).then(|| (indent, implemented(&header)));
        } else if let Some(of) =
            ["pub trait ", "pub unsafe trait "].iter().find_map(|start| text.strip_prefix(start))
        {
            let header = up_to_brace(of, &mut lines);
            block = (!header.ends_with("{}")).then(|| (indent, Block::Declaration(identifier(of))));
        } else if text.starts_with('}') && block.as_ref().is_some_and(|(at, _)| indent <= *at) {
            block = None;
        }
        let Some((before, after)) = text.split_once("fn ") else { continue };
        let name = identifier(after);
        let public = before.strip_prefix("pub ").is_some_and(are_qualifiers);
        match &block {
            Some((_, Block::Type(kind))) if public => {
                functions.push(Function::Of(kind.clone(), name));
            }
            Some((at, Block::Trait { kind, of })) if indent == at + 4 && are_qualifiers(before) => {
                functions.push(Function::OfTrait(kind.clone(), of.clone(), name));
            }
            Some((at, Block::Declaration(of)))
                if indent == at + 4
                    && are_qualifiers(before)
                    && has_body(iter::once(after).chain(lines.clone())) =>
            {
                functions.push(Function::Provided(of.clone(), name));
            }
            None if public => functions.push(Function::Free(name)),
            _ => {}
        }
    }
    functions
}

/// Whether this may stand between `pub` and `fn`.
fn are_qualifiers(text: &str) -> bool {
    let is_qualifier =
        |word| matches!(word, "async" | "const" | "extern" | "unsafe") || word.starts_with('"');
    text.split_whitespace().all(is_qualifier)
}

fn up_to_brace(first: &str, lines: &mut Lines<'_>) -> String {
    let mut header = first.to_owned();
    while !header.contains('{') {
        let Some(more) = lines.next() else { break };
        header = format!("{header} {}", more.trim());
    }
    header
}

/// Whether a function that begins with these lines has a body. `rustfmt` ends a line behind the
/// brace and behind the semicolon.
fn has_body<'s>(mut lines: impl Iterator<Item = &'s str>) -> bool {
    let end = lines.find_map(|line| {
        let code = line.split("//").next().unwrap_or(line).trim_end();
        code.chars().last().filter(|last| matches!(last, '{' | '}' | ';'))
    });
    end.is_some_and(|end| end != ';')
}

/// `impl<T> Trait<A> for Type<T> where ... {`
fn implemented(header: &str) -> Block {
    let header = header.strip_prefix("impl").unwrap_or(header);
    let header = without_generics(header);
    let header = header.split(" where ").next().unwrap_or_default();
    let header = header.split('{').next().unwrap_or_default();
    match header.split_once(" for ") {
        None => Block::Type(last_name(header)),
        Some((of, kind)) => Block::Trait { kind: last_name(kind), of: last_name(of) },
    }
}

/// The last name of a path. Of a reference only that it is one: it refers to a type that is a
/// parameter.
fn last_name(path: &str) -> String {
    let path = without_generics(path.trim());
    if path.starts_with('&') {
        return if path.contains("&mut") { "&mut" } else { "&" }.to_owned();
    }
    path.rsplit("::").next().unwrap_or_default().to_owned()
}

/// The text without what stands in angle brackets.
fn without_generics(text: &str) -> String {
    let mut depth = 0;
    let mut before = ' ';
    let outside = |character: &char| {
        match character {
            '<' => depth += 1,
            // Not the arrow of a function's type.
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        before = *character;
        depth == 0 && *character != '>'
    };
    text.chars().filter(outside).collect()
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|&c| is_of_identifier(c)).collect()
}

fn is_of_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
pub fn free() {}
pub(crate) fn hidden() {}

impl<'r, const N: usize>
    Ring<'r, N>
{
    pub const fn new() -> Self {}
    pub(crate) fn hidden(&self) {}
    macro! {
        pub async fn wait(&self) {
        }
    }
}

impl<F: Fn() -> u8> fmt::Display for Ring<F> where F: Copy {
    fn fmt(&self) {
        fn inner() {}
    }
}

impl Error for Ring {}

pub unsafe fn risky() {
}
pub const unsafe extern "C" fn foreign() {}

impl<C: Clock> Clock for &C {
    async fn sleep(&self) {}
}

pub trait Clock: Sized {
    fn now(&self) -> [u8; 4];
    fn later(
        &self,
    ) -> u8
    where
        Self: Sized;
    async fn sleep(&self) {
        fn inner() {}
    }
    unsafe fn offset(
        &self,
        table: [u8; 4],
    ) -> u8 { // none
    }
}

trait Private {
    fn provided(&self) {}
}

fn private() {}
"#;

    #[test]
    fn what_is_public() {
        let found: Vec<String> = in_source(SOURCE).iter().map(Function::path).collect();
        let expected = [
            "free",
            "Ring::new",
            "Ring::wait",
            "<Ring as Display>::fmt",
            "risky",
            "foreign",
            "<& as Clock>::sleep",
            "<_ as Clock>::sleep",
            "<_ as Clock>::offset",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_called() {
        let of = Function::Of("Ring".into(), "new".into());
        assert!(of.is_called_in("let ring = Ring::new();"));
        for other in ["StrRing::new()", "Ring::newer()", "// Ring::new()", "Ring::new;"] {
            assert!(!of.is_called_in(other), "{other}");
        }

        let free = Function::Free("sequence".into());
        for call in ["camwire_ring::sequence()", "poll(camwire_frame::jpeg::sequence())"] {
            assert!(free.is_called_in(call), "{call}");
        }
        let others = [
            "fn sequence() {",
            "sequence()",
            "FrameLease::sequence()",
            "camwire_ring::Lease::sequence()",
            "opaque::sequence()",
            "camwire_ring::subsequence()",
        ];
        for other in others {
            assert!(!free.is_called_in(other), "{other}");
        }

        let of_trait = Function::OfTrait("Ring".into(), "Display".into(), "fmt".into());
        assert!(of_trait.is_called_in("f(<Ring<3> as fmt::Display>::fmt(&ring, f))"));
        let others = [
            "<Other as Display>::fmt(&ring, f)",
            "<Other<Ring> as Display>::fmt(&ring, f)",
            "<Ring3 as Display>::fmt(&ring, f)",
            "<Ring as Debug>::fmt(&ring, <Other as Display>::NAME)",
            "<Ring as Display>::NAME; <Other as Display>::fmt(&ring, f)",
        ];
        for other in others {
            assert!(!of_trait.is_called_in(other), "{other}");
        }

        let of_reference = Function::OfTrait("&".into(), "Clock".into(), "sleep".into());
        assert!(of_reference.is_called_in("<&Peer as Clock>::sleep(&&Peer)"));
        assert!(!of_reference.is_called_in("<&mut Peer as Clock>::sleep(&&mut Peer)"));

        let provided = Function::Provided("Clock".into(), "sleep".into());
        assert!(provided.is_called_in("<Bare as Clock>::sleep(&Bare)"));
        assert!(!provided.is_called_in("<Peer as Clock>::sleep(&Peer)"));
    }
}
