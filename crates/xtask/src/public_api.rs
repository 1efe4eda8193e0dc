//! The public functions of a crate, by rustdoc, and which of them a program calls.

use crate::{job::Job, runner::Problem, tools};
use serde_json::Value;
use std::collections::BTreeSet;
use xshell::cmd;

/// A public function as a program that calls it must name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    /// `camwire_crate::module::name(`
    Free(String),
    /// `Type::name(`, or `Type::name::<A>(`
    Of(String, String),
    /// `<Type as Trait>::name(`. For a method that the trait itself provides, the type is `Bare`, which
    /// leaves it as it is.
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
        let code = program.lines().filter_map(|line| line.split("//").next());
        code.into_iter().any(|line| match self {
            Self::Free(name) => names_free(line, name),
            Self::Of(kind, name) => {
                let path = format!("{kind}::{name}");
                line.match_indices(&path).any(|(at, _)| {
                    let is_called = line[at + path.len()..].starts_with(['(', ':']);
                    is_called && !line[..at].ends_with(is_of_identifier)
                })
            }
            Self::OfTrait(kind, of, name) => names_of_trait(line, kind, of, name),
        })
    }
}

/// Whether there is a path to it that begins with a crate, and so is neither a type's nor one of the
/// program's own.
fn names_free(line: &str, name: &str) -> bool {
    line.match_indices(&format!("::{name}(")).any(|(at, _)| {
        let before = line[..at].trim_end_matches(|c: char| is_of_identifier(c) || c == ':');
        let path = &line[before.len()..at];
        path.starts_with("camwire_") && !path.contains(char::is_uppercase)
    })
}

fn names_of_trait(line: &str, kind: &str, of: &str, name: &str) -> bool {
    line.match_indices(&format!(">::{name}(")).any(|(at, _)| {
        let mut depth = 1;
        // The bracket that is closed there.
        let opening = line[..at].rfind(|c| {
            depth += i32::from(c == '>') - i32::from(c == '<');
            depth == 0
        });
        let types = opening.and_then(|opening| line[opening + 1..at].rsplit_once(" as "));
        types.is_some_and(|(this, its)| last_name(this) == kind && last_name(its) == of)
    })
}

/// The last name of a path without its generics. Of a reference only that it is one.
fn last_name(path: &str) -> &str {
    for reference in ["&mut", "&"] {
        if path.starts_with(reference) {
            return reference;
        }
    }
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

fn is_of_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// All public functions of a crate without its features, but for those that `derive` writes. Hidden
/// ones count.
pub(crate) fn functions(job: &Job<'_>, package: &str) -> Result<BTreeSet<Function>, Problem> {
    let (sh, target) = (&job.sh, job.context.target.join("rustdoc-json"));
    let rustdoc = cmd!(sh, "cargo rustdoc --quiet --package {package} --lib --target-dir {target}");
    let options = [
        "-Zunstable-options",
        "--output-format=json",
        "--document-hidden-items",
        "--cap-lints=allow",
    ];
    job.run(rustdoc.arg("--").args(options).env("RUSTC_BOOTSTRAP", "1"))?;
    let file = target.join("doc").join(package.replace('-', "_")).with_extension("json");
    let json: Value = serde_json::from_str(&tools::read(&file)?)
        .map_err(|error| Problem::failed(format!("{}: {error}", file.display())))?;
    in_index(&json["index"]).ok_or_else(|| {
        Problem::failed(format!(
            "rustdoc writes its JSON in format {}, which crates/xtask/src/public_api.rs does not \
             read (it knows 57)",
            json["format_version"]
        ))
    })
}

/// `None` if the format is unknown.
fn in_index(index: &Value) -> Option<BTreeSet<Function>> {
    let items = index.as_object()?;
    let item = |id: &Value| items.get(&id.to_string());
    let methods = |container: &Value| -> Option<Vec<&Value>> {
        let items = container["items"].as_array()?.iter().filter_map(item);
        Some(items.filter(|item| item["inner"]["function"].is_object()).collect())
    };
    let mut functions = BTreeSet::new();
    // Methods, which are items of their own, too.
    let mut of_types = BTreeSet::new();
    for (_, one) in items {
        let inner = &one["inner"];
        if inner["trait"].is_object() {
            for method in methods(&inner["trait"])? {
                of_types.insert(method["id"].to_string());
                if method["inner"]["function"]["has_body"].as_bool()? {
                    let (of, name) = (name(one)?, name(method)?);
                    functions.insert(Function::OfTrait("Bare".to_owned(), of, name));
                }
            }
        }
        let block = &inner["impl"];
        if block.is_object() {
            let methods = methods(block)?;
            of_types.extend(methods.iter().map(|method| method["id"].to_string()));
            let of = block["trait"]["path"].as_str().map(last_name);
            // `drop` is called by the compiler.
            let is_written = !block["is_synthetic"].as_bool()?
                && block["blanket_impl"].is_null()
                && !one["attrs"].to_string().contains("automatically_derived")
                && of != Some("Drop");
            for method in methods.iter().filter(|_| is_written) {
                let (kind, name) = (type_name(&block["for"])?, name(method)?);
                match of {
                    Some(of) => _ = functions.insert(Function::OfTrait(kind, of.to_owned(), name)),
                    None if method["visibility"] == "public" => {
                        functions.insert(Function::Of(kind, name));
                    }
                    None => {}
                }
            }
        }
    }
    for (id, one) in items {
        let is_free = one["inner"]["function"].is_object() && !of_types.contains(id);
        if is_free && one["visibility"] == "public" {
            functions.insert(Function::Free(name(one)?));
        }
    }
    Some(functions)
}

fn name(item: &Value) -> Option<String> {
    item["name"].as_str().map(str::to_owned)
}

/// What a type is called in a path.
fn type_name(of: &Value) -> Option<String> {
    if let Some(path) = of["resolved_path"]["path"].as_str() {
        return Some(last_name(path).to_owned());
    }
    if let Some(is_mutable) = of["borrowed_ref"]["is_mutable"].as_bool() {
        return Some(if is_mutable { "&mut" } else { "&" }.to_owned());
    }
    ["generic", "primitive"].iter().find_map(|kind| of[kind].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of_trait(kind: &str, of: &str, name: &str) -> Function {
        Function::OfTrait(kind.into(), of.into(), name.into())
    }

    #[test]
    fn calls_are_recognised() {
        for (function, calls, others) in [
            (
                Function::Of("Ring".into(), "new".into()),
                &["let ring = Ring::new();", "f(Ring::new::<3>())"][..],
                &["StrRing::new()", "Ring::newer()", "// Ring::new()", "Ring::new;"][..],
            ),
            (
                Function::Free("sequence".into()),
                &["camwire_capture::sequence()", "poll(camwire_frame::jpeg::sequence())"],
                &[
                    "fn sequence() {",
                    "FrameLease::sequence()",
                    "camwire_capture::Lease::sequence()",
                    "opaque::sequence()",
                    "camwire_capture::subsequence()",
                ],
            ),
            (
                of_trait("Ring", "Display", "fmt"),
                &["f(<Ring<3> as fmt::Display>::fmt(&ring, f))"],
                &[
                    "<Other as Display>::fmt(&ring, f)",
                    "<Other<Ring> as Display>::fmt(&ring, f)",
                    "<Ring3 as Display>::fmt(&ring, f)",
                    "<Ring as Debug>::fmt(&ring, <Other as Display>::NAME)",
                ],
            ),
            (
                of_trait("&", "Clock", "sleep"),
                &["<&Peer as Clock>::sleep(&&Peer)"],
                &["<&mut Peer as Clock>::sleep(&&mut Peer)", "<Peer as Clock>::sleep(&Peer)"],
            ),
        ] {
            for call in calls {
                assert!(function.is_called_in(call), "{call}");
            }
            for other in others {
                assert!(!function.is_called_in(other), "{other}");
            }
        }
    }

    #[test]
    fn public_functions_are_those_that_a_program_can_call() {
        let function = |id: u32, name: &str, visibility: &str, has_body: bool| {
            let function = json!({ "has_body": has_body });
            let id = json!(id);
            json!({ "id": id, "name": name, "visibility": visibility, "inner": { "function": function } })
        };
        let block = |of: Value, attrs: Value, items: Value| {
            let kind = json!({ "resolved_path": { "path": "crate::Ring<T>" } });
            let block = json!({
                "for": kind, "trait": of, "items": items, "is_synthetic": false, "blanket_impl": null
            });
            json!({ "attrs": attrs, "inner": { "impl": block } })
        };
        let derived = json!([{ "other": "#[allow(x)]" }, "automatically_derived"]);
        let index = json!({
            "1": function(1, "free", "public", true),
            "2": function(2, "hidden", "crate", true),
            "3": function(3, "new", "public", true),
            "4": function(4, "inner", "crate", true),
            "5": function(5, "fmt", "default", true),
            "6": function(6, "eq", "default", true),
            "7": function(7, "drop", "default", true),
            "8": function(8, "must", "default", false),
            "9": function(9, "can", "default", true),
            "10": block(json!(null), json!([]), json!([3, 4])),
            "11": block(json!({ "path": "fmt::Display" }), json!([]), json!([5])),
            "12": block(json!({ "path": "PartialEq" }), derived, json!([6])),
            "13": block(json!({ "path": "Drop" }), json!([]), json!([7])),
            "14": { "name": "Clock", "inner": { "trait": { "items": [8, 9] } } },
        });
        let found: Vec<String> = in_index(&index).unwrap().iter().map(Function::path).collect();
        let expected = ["free", "Ring::new", "<Bare as Clock>::can", "<Ring as Display>::fmt"];
        assert_eq!(found, expected);
        assert_eq!(in_index(&json!(null)), None);
    }
}
