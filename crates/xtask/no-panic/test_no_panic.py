"""The proof that no panic can be reached in the codecs and the ring: see README.md.

`cargo xtask test no-panic` runs it, with the variables that make cargo compile for riscv32imc.
"""

import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TARGET = Path(os.environ.get("CAMWIRE_TARGET", ROOT / "target"))
CHIP = os.environ.get("CARGO_BUILD_TARGET", "riscv32imc-unknown-none-elf")

# Libraries that the proof does not cover, each with the reason.
NOT_PROVED = {
    "camwire": "it has no code of its own",
    "camwire-arducam": "a driver reads from its camera, not from a peer",
    "camwire-embassy": "embassy-net has panics",
    "camwire-esp32cam": "a driver reads from its camera, not from a peer",
    "camwire-minimq": "minimq has panics",
    "camwire-server": "httparse has panics; the feature `requests` shows that it has no other",
}

# Public functions that the program does not call, by their paths, each with the reason.
NOT_CALLED = {}

# What the program's panic handler calls, and nothing defines.
HANDLER = "a_panic_can_be_reached"


def cargo(*arguments, folder=ROOT, **variables):
    """Runs cargo, and returns what it did; variables that are None are removed."""
    environment = {**os.environ, **variables}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = ["cargo", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def published():
    """The names of the published crates."""
    metadata = cargo("metadata", "--quiet", "--no-deps", "--format-version=1")
    packages = json.loads(metadata.stdout)["packages"]
    # `publish = false` is an empty list of registries.
    return [package["name"] for package in packages if package["publish"] != []]


PUBLISHED = published()
PROVED = [name for name in PUBLISHED if name not in NOT_PROVED]


# What the program calls.


def functions(index):
    """The public functions of a crate, but for those that `derive` writes: each as a program names
    it, and a regular expression for the ways to do so. `index` is rustdoc's."""
    found, of_types = {}, set()

    def methods(container):
        items = [index[str(item)] for item in container["items"] if str(item) in index]
        items = [item for item in items if "function" in item["inner"]]
        of_types.update(item["id"] for item in items)
        return items

    for item in index.values():
        if container := item["inner"].get("trait"):
            for method in methods(container):
                if method["inner"]["function"]["has_body"]:
                    found.update([of_trait("Bare", item["name"], method["name"])])
        elif container := item["inner"].get("impl"):
            of = container["trait"] and last_name(container["trait"]["path"])
            # `drop` is called by the compiler.
            is_written = (
                not container["is_synthetic"]
                and not container["blanket_impl"]
                and "automatically_derived" not in str(item["attrs"])
                and of != "Drop"
            )
            for method in methods(container):
                if not is_written:
                    continue
                kind = type_name(container["for"])
                if of:
                    found.update([of_trait(kind, of, method["name"])])
                elif method["visibility"] == "public":
                    path = f"{kind}::{method['name']}"
                    found[path] = rf"\b{path}(?:\(|::<)"
    for item in index.values():
        is_free = "function" in item["inner"] and item["id"] not in of_types
        if is_free and item["visibility"] == "public":
            # By a path that begins with a crate, so that it is none of the program's own.
            found[item["name"]] = rf"\bcamwire_[a-z0-9_:]+::{item['name']}\("
    return found


def of_trait(kind, of, name):
    this = {"&": "&[A-Z][^()]*", "&mut": "&mut [^()]*"}
    this = this.get(kind, rf"(?:\w+::)*{kind}(?:<[^()]*>)?")
    its = rf"(?:\w+::)*{of}(?:<[^()]*>)?"
    return f"<{kind} as {of}>::{name}", rf"<{this} as {its}>::{name}\("


def type_name(of):
    if path := of.get("resolved_path"):
        return last_name(path["path"])
    if reference := of.get("borrowed_ref"):
        return "&mut" if reference["is_mutable"] else "&"
    return of.get("generic") or of["primitive"]


def last_name(path):
    return path.rsplit("::", 1)[-1]


def not_called(functions, program):
    """The functions that the program does not name. rustfmt breaks no line within a path."""
    code = re.sub("//.*", "", program)
    return [path for path, call in functions.items() if not re.search(call, code)]


@pytest.mark.parametrize("library", PUBLISHED)
def test_library_is_considered(library):
    dependencies = re.findall(r"(?m)^([\w-]+) = ", (HERE / "Cargo.toml").read_text())
    assert library in dependencies or library in NOT_PROVED, (
        "add it to [dependencies] of Cargo.toml and call its functions in src, or to NOT_PROVED"
    )


@pytest.mark.parametrize("library", PROVED)
def test_every_public_function_is_called(library):
    """Without the library's features; hidden ones count."""
    rustdoc = cargo(
        *("rustdoc", "--quiet", "--package", library, "--lib"),
        *("--target-dir", TARGET / "rustdoc-json", "--", "-Zunstable-options"),
        *("--output-format=json", "--document-hidden-items", "--cap-lints=allow"),
        RUSTC_BOOTSTRAP="1",
        RUSTC=None,
        CARGO_BUILD_TARGET=None,
    )
    assert rustdoc.returncode == 0, rustdoc.stderr
    name = library.replace("-", "_")
    index = json.loads((TARGET / f"rustdoc-json/doc/{name}.json").read_text())["index"]
    found = functions(index)
    assert found
    program = "".join(file.read_text() for file in (HERE / "src").iterdir())
    missing = [path for path in not_called(found, program) if path not in NOT_CALLED]
    assert not missing, "call each by this path in src, or add it to NOT_CALLED:\n" + "\n".join(missing)


# What the linker finds.


def link(features, overflow_checks, *arguments):
    """Links the program."""
    # The versions that the workspace was tested with.
    shutil.copy(ROOT / "Cargo.lock", HERE)
    return cargo(
        *("rustc", "--release", "--features", features, "--target-dir", TARGET / "no-panic"),
        *("--", *arguments),
        folder=HERE,
        CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=str(overflow_checks).lower(),
    )


def panics(features, overflow_checks=False):
    """Where the program can panic: it is linked nevertheless, and then holds the place of each panic
    as a `core::panic::Location`. A place is a file, a line and a column."""
    done = link(features, overflow_checks, f"-Clink-arg=--defsym={HANDLER}=0")
    assert done.returncode == 0, done.stderr
    with open(TARGET / "no-panic" / CHIP / "release/camwire-no-panic", "rb") as file:
        segments = ELFFile(file).iter_segments("PT_LOAD")
        return places([(segment["p_vaddr"], segment.data()) for segment in segments])


def places(segments):
    """The locations in memory: of a text's address and length, a line and a column."""

    def text_at(address, length):
        for start, data in segments:
            if start <= address and address + length <= start + len(data):
                return data[address - start : address - start + length].decode(errors="replace")
        return ""

    found = set()
    for _, data in segments:
        words = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
        for address, length, line, column in zip(words, words[1:], words[2:], words[3:]):
            file = text_at(address, length).rstrip("\0") if line and column else ""
            if file.endswith(".rs"):
                found.add((file, line, column))
    return found


def is_poll_after_the_end(place):
    """Whether this is the panic that every asynchronous function has, for being polled after its
    end: its place is the body."""
    file, line, column = place
    file = HERE / file
    return file.exists() and is_async_body(file.read_text(), line, column)


def is_async_body(source, line, column):
    """Whether an asynchronous function has its body there, or an asynchronous block begins."""
    *lines, last = source.splitlines()[:line]
    before, body = last[: column - 1], last[column - 1 :]
    # A comment may well speak of an async function.
    code = re.sub("//.*", "", "\n".join([*lines, before]))
    # What stands between the last `async` and the place is one signature.
    signature = r".*async (unsafe )?fn (?!.*\b(fn|async) )[^{}]*"
    is_function = body.startswith("{") and re.fullmatch(signature, code, re.DOTALL)
    return bool(is_function) or body.startswith(("async {", "async move {"))


def test_panic_stops_the_linker_and_is_found():
    done = link("panic", False)
    assert done.returncode != 0, "it links with a panic in it, so it proves nothing"
    assert HANDLER in done.stderr, done.stderr
    assert any(file.endswith("src/main.rs") for file, _, _ in panics("panic"))


# If a place is not camwire's, leave out calls in src to find its caller.


@pytest.mark.parametrize("overflow_checks", [False, True])
def test_no_panic_can_be_reached(overflow_checks):
    # The test pattern is no codec. Its indices are proved, but not its arithmetic.
    pattern = "" if overflow_checks else "pattern"
    done = link(pattern, overflow_checks)
    assert done.returncode == 0, panics(pattern, overflow_checks) or done.stderr
    others = panics(f"futures,{pattern}", overflow_checks)
    assert {place for place in others if not is_poll_after_the_end(place)} == set()


@pytest.mark.parametrize("overflow_checks", [False, True])
def test_no_request_panics_but_in_httparse(overflow_checks):
    found = panics("requests", overflow_checks)
    of_httparse = {place for place in found if "/httparse-" in place[0]}
    others = {place for place in found - of_httparse if not is_poll_after_the_end(place)}
    assert others == set()
    assert of_httparse, "httparse has no panic any more: the proof can have it"


# The tests of all that.


@pytest.mark.parametrize(
    "call, others",
    [
        ("let ring = Ring::new();", "StrRing::new() Ring::newer() Ring::new; // Ring::new()"),
        ("f(Ring::new::<3>())", ""),
        ("camwire_ring::free()", "camwire_ring::Lease::free() opaque::free() fn free() { ofree()"),
        ("f(<Ring<3> as fmt::Display>::fmt(&ring, f))", "<O as Display>::fmt() <Ring as O>::fmt(0)"),
        ("<Ring as Display>::fmt(0)", "<O<Ring> as Display>::fmt() <Ring3 as Display>::fmt()"),
        ("<&Peer as Clock>::now()", "<&mut Peer as Clock>::now() <Peer as Clock>::now()"),
        ("<Bare as Clock>::can()", "<Bare as Clock>::must() <Bare as Other>::can()"),
    ],
)
def test_calls_are_recognised(call, others):
    """Of functions as rustdoc has them, of which others cannot be called."""
    items = {}

    def function(name, visibility="default", has_body=True):
        inner = {"function": {"has_body": has_body}}
        item = {"id": len(items), "name": name, "visibility": visibility, "inner": inner}
        items[str(item["id"])] = item
        return item["id"]

    def block(of, *methods, attrs=[], kind={"resolved_path": {"path": "a::Ring"}}):
        of = of and {"path": of}
        inner = {"for": kind, "trait": of, "items": methods, "is_synthetic": False}
        inner["blanket_impl"] = None
        items[str(len(items))] = {"id": len(items), "attrs": attrs, "inner": {"impl": inner}}

    function("free", "public")
    function("hidden", "crate")
    block(None, function("new", "public"), function("inner", "crate"))
    block("fmt::Display", function("fmt"))
    block("Eq", function("eq"), attrs=[{"other": "x"}, "automatically_derived"])
    block("Drop", function("drop"))
    block("Clock", function("now"), kind={"borrowed_ref": {"is_mutable": False}})
    methods = [function("must", has_body=False), function("can")]
    items["trait"] = {"id": 99, "name": "Clock", "inner": {"trait": {"items": methods}}}
    found = functions(items)
    trait = {"<Ring as Display>::fmt", "<& as Clock>::now", "<Bare as Clock>::can"}
    assert set(found) == trait | {"free", "Ring::new"}
    assert len(not_called(found, call)) == len(found) - 1
    assert len(not_called(found, others)) == len(found)


def test_locations_are_found_in_memory():
    words = (0x1000, 8, 7, 9, 0x100C, 9, 1, 1, 0x1000, 8, 0, 9)
    constants = b"src/a.rs\0\0\0\0src/b.txt\0\0\0" + struct.pack("<12I", *words)
    assert places([(0x2000, bytes(8)), (0x1000, constants)]) == {("src/a.rs", 7, 9)}


@pytest.mark.parametrize(
    "source, expected",
    [
        ("async fn f() ^{}", True),
        ("pub async unsafe fn f(\n a: [u8; 4],\n) -> u8\nwhere\n T: FnOnce() -> u8,\n^{", True),
        ("let future = ^async { 1 };", True),
        ("let future = ^async move { 1 };", True),
        ("/* äöü */ async fn f() ^{}", True),
        ("async fn f() { let x = ^{ &*buf }[7]; }", False),
        ("async fn f();\nfn g() ^{}", False),
        ("fn g() {\n    // as an async fn does\n    f(^{ &*buf }[7])\n}", False),
        ('f("async ", ^{ &*buf }[7])', False),
        ("async fn f() { ^x }", False),
        ("let future = async { ^{ &*buf }[7] };", False),
        ("^async fn f() {}", False),
    ],
)
def test_body_is_async(source, expected):
    before, after = source.split("^")
    line, column = before.count("\n") + 1, len(before.split("\n")[-1]) + 1
    assert is_async_body(before + after, line, column) == expected
