//! The public functions of a crate, read from its sources, and which of them a program calls.

use crate::check::Problem;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A public function as a program that calls it must name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    /// `name(`
    Free(String),
    /// `Type::name(`
    Of(String, String),
    /// `<Type as Trait>::name`
    OfTrait(String, String, String),
}

impl Function {
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Free(name) => name.clone(),
            Self::Of(kind, name) => format!("{kind}::{name}"),
            Self::OfTrait(kind, of, name) => format!("<{kind} as {of}>::{name}"),
        }
    }

    /// Whether the program names it. `rustfmt` breaks no line within a path.
    pub(crate) fn is_called_in(&self, program: &str) -> bool {
        program.lines().map(|line| line.split("//").next().unwrap_or(line)).any(|line| match self {
            Self::Free(name) => has_word(line, &format!("{name}(")),
            Self::Of(kind, name) => has_word(line, &format!("{kind}::{name}(")),
            Self::OfTrait(kind, of, name) => line
                .split_once(&format!("<{kind}"))
                .and_then(|(_, rest)| rest.split_once(&format!(" as {of}")))
                .is_some_and(|(_, rest)| rest.contains(&format!(">::{name}("))),
        })
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// All public functions in the sources in a folder. What `derive` writes is not among them, nor are
/// the provided methods of traits.
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
        line.strip_prefix("trait ").or_else(|| line.strip_prefix("pub(crate) trait "))
    });
    declared.map(identifier).collect()
}

/// What a function stands in.
enum Block {
    Type(String),
    Trait { kind: String, of: String },
}

fn in_source(source: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut block: Option<(usize, Block)> = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.starts_with("impl ") || text.starts_with("impl<") {
            let mut header = text.to_owned();
            while !header.contains('{') {
                let Some(more) = lines.next() else { break };
                header = format!("{header} {}", more.trim());
            }
            block = Some((indent, implemented(&header)));
        } else if text.starts_with('}') && block.as_ref().is_some_and(|(at, _)| indent <= *at) {
            block = None;
        }
        let Some((before, after)) = text.split_once("fn ") else { continue };
        let name = identifier(after);
        let public = ["pub ", "pub const ", "pub async "].contains(&before);
        match &block {
            Some((_, Block::Type(kind))) if public => {
                functions.push(Function::Of(kind.clone(), name));
            }
            Some((at, Block::Trait { kind, of }))
                if indent == at + 4 && ["", "async "].contains(&before) =>
            {
                functions.push(Function::OfTrait(kind.clone(), of.clone(), name));
            }
            None if public => functions.push(Function::Free(name)),
            _ => {}
        }
    }
    functions
}

/// `impl<T> Trait<A> for Type<T> where ... {`
fn implemented(header: &str) -> Block {
    let header = header.strip_prefix("impl").unwrap_or(header);
    let header = without_generics(header);
    let header = header.split(" where ").next().unwrap_or_default();
    let header = header.split('{').next().unwrap_or_default();
    let last = |path: &str| path.trim().rsplit("::").next().unwrap_or_default().to_owned();
    match header.split_once(" for ") {
        None => Block::Type(last(header)),
        // A reference to a type that is a parameter: `&mut S`.
        Some((of, kind)) if kind.trim().starts_with('&') => {
            let kind = if kind.contains("&mut") { "&mut " } else { "&" };
            Block::Trait { kind: kind.to_owned(), of: last(of) }
        }
        Some((of, kind)) => Block::Trait { kind: last(kind), of: last(of) },
    }
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
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
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

impl<C: Clock> Clock for &C {
    async fn sleep(&self) {}
}

fn private() {}
";

    #[test]
    fn what_is_public() {
        let found: Vec<String> = in_source(SOURCE).iter().map(Function::path).collect();
        let expected =
            ["free", "Ring::new", "Ring::wait", "<Ring as Display>::fmt", "<& as Clock>::sleep"];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_called() {
        let of = Function::Of("Ring".into(), "new".into());
        assert!(of.is_called_in("let ring = Ring::new();"));
        for other in ["StrRing::new()", "Ring::newer()", "// Ring::new()", "Ring::new;"] {
            assert!(!of.is_called_in(other), "{other}");
        }
        let of_trait = Function::OfTrait("Ring".into(), "Display".into(), "fmt".into());
        assert!(of_trait.is_called_in("<Ring<3> as Display>::fmt(&ring, f)"));
        assert!(!of_trait.is_called_in("<Other as Display>::fmt(&ring, f)"));
    }
}
