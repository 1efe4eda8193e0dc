"""Defects put into the ring, one at a time, each of which a test must find: see README.md."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TARGET = Path(os.environ.get("CAMWIRE_TARGET", ROOT / "target")) / "ring-mutations"

LOOM = "--release --lib --test loom --features alloc"
TESTS = "--tests --all-features"

# The file in crates/camwire-ring/src, what stands there once, what takes its place, the tests to run,
# and one that has to fail; None for any.
#
# Not on the list:
# - The Release of `Slot::publish` and the Acquire of `Slot::lease`. They matter to a reader that slept
#   while 2^13 items went through the slot, and so finds the tag of an item that it knows nothing of. No
#   model is that long.
# - The Release of `Life::end`, for which the fence of the last commit stands in, and the Acquire by
#   which `wake_readers_for_item` clears its flag, for which the fence behind it does.
# - The test for HELD in `Slot::revoke`: only the publisher could make it true, and it is the caller.
# - LIVE as the first kind of a reader: without it the publisher waits until the first lease ends.
MUTATIONS = {
    "dropped grant wakes nobody": (
        "publisher.rs",
        "        self.slot.abort();\n        self.ring.wake_publisher(Event::SLOT);\n    }\n}\n\nimpl<M: Copy> Deref",
        "        self.slot.abort();\n    }\n}\n\nimpl<M: Copy> Deref",
        LOOM,
        "grant_dropped_by_another_thread_makes_room",
    ),
    "abort is relaxed": (
        "slot.rs",
        "self.state.store(0, Ordering::Release);",
        "self.state.store(0, Ordering::Relaxed);",
        LOOM,
        "grant_dropped_by_another_thread_makes_room",
    ),
    "a publisher leaves without Release": (
        "life.rs",
        "self.0.fetch_and(!HAS_PUBLISHER, Ordering::Release);",
        "self.0.fetch_and(!HAS_PUBLISHER, Ordering::Relaxed);",
        LOOM,
        "next_publisher_goes_on_where_the_last_has_stopped",
    ),
    "a publisher comes without Acquire": (
        "life.rs",
        "self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, claim)",
        "self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim)",
        LOOM,
        "next_publisher_goes_on_where_the_last_has_stopped",
    ),
    "a publisher that sleeps does not look again": (
        "publisher.rs",
        "        match attempt(self) {\n            Some(done) => Poll::Ready(done),\n            None => Poll::Pending,\n        }",
        "        Poll::Pending",
        LOOM,
        None,
    ),
    "a reader that sleeps does not look again": (
        "reader.rs",
        "            taken = self.take(which);\n        }\n        match taken",
        "        }\n        match taken",
        LOOM,
        None,
    ),
    "a lease ends without Release": (
        "slot.rs",
        "self.state.fetch_sub(1, Ordering::Release)",
        "self.state.fetch_sub(1, Ordering::Relaxed)",
        LOOM,
        None,
    ),
    "a slot is taken without Acquire": (
        "slot.rs",
        "let free = self.state.load(Ordering::Acquire) & (LEASES | HELD | GRANT) == 0;",
        "let free = self.state.load(Ordering::Relaxed) & (LEASES | HELD | GRANT) == 0;",
        LOOM,
        None,
    ),
    "an item is withdrawn without Acquire": (
        "slot.rs",
        "self.state.fetch_and(!HELD, Ordering::AcqRel)",
        "self.state.fetch_and(!HELD, Ordering::Release)",
        LOOM,
        None,
    ),
    "there is no second look for a slot": (
        "publisher.rs",
        "            .or_else(|| self.take_free());\n        let (number",
        ";\n        let (number",
        LOOM,
        "a_lease_and_two_more_slots_are_enough",
    ),
    "readers are woken without a fence": (
        "ring.rs",
        "    pub(crate) fn wake_readers(&self, event: Event) {\n        fence(Ordering::SeqCst);",
        "    pub(crate) fn wake_readers(&self, event: Event) {",
        LOOM,
        None,
    ),
    "readers that wait for an item are woken without a fence": (
        "ring.rs",
        "    pub(crate) fn wake_readers_for_item(&self) {\n        fence(Ordering::SeqCst);",
        "    pub(crate) fn wake_readers_for_item(&self) {",
        LOOM,
        None,
    ),
    "a reader does not say that it waits": (
        "reader.rs",
        "            self.ring.awaits_item.swap(true, Ordering::AcqRel);\n",
        "",
        LOOM,
        None,
    ),
    "a reader says that it waits without a fence": (
        "reader.rs",
        "            fence(Ordering::SeqCst);\n            taken",
        "            taken",
        LOOM,
        None,
    ),
    "the publisher is woken without a fence": (
        "ring.rs",
        "    pub(crate) fn wake_publisher(&self, event: Event) {\n        fence(Ordering::SeqCst);",
        "    pub(crate) fn wake_publisher(&self, event: Event) {",
        LOOM,
        "keep_all_keeps_all",
    ),
    "a task registers without a fence": (
        "waker.rs",
        "        fence(Ordering::SeqCst);\n        // At the very end",
        "        // At the very end",
        LOOM,
        "an_event_is_seen_or_wakes_the_task",
    ),
    "an item wakes nobody": (
        "publisher.rs",
        "        ring.wake_readers_for_item();\n        Ok(sequence)",
        "        Ok(sequence)",
        LOOM,
        None,
    ),
    "the end of the stream wakes nobody": (
        "publisher.rs",
        "        self.ring.life.end();\n        self.ring.wake_readers_for_item();",
        "        self.ring.life.end();",
        LOOM,
        None,
    ),
    "the end of the ring wakes nobody": (
        "ring.rs",
        "        self.life.close();\n        self.wake_readers_for_item();",
        "        self.life.close();",
        LOOM,
        "a_third_thread_closes_the_ring",
    ),
    "items passed by wake nobody": (
        "reader.rs",
        "        if has_passed_others {",
        "        if false && has_passed_others {",
        LOOM,
        "items_passed_by_make_room_on_a_ring_that_keeps_all",
    ),
    "a lease that ends wakes nobody": (
        "ring.rs",
        "Released::Held | Released::Free => self.wake_publisher(Event::SLOT),",
        "Released::Held | Released::Free => {}",
        LOOM,
        "keep_all_keeps_all",
    ),
    "the age of leases is not reset": (
        "slot.rs",
        "        self.wanted_since.store(0);\n        self.state.store(HELD",
        "        self.state.store(HELD",
        TESTS,
        "lease_of_a_slot_that_is_used_again_has_its_own_grace",
    ),
    "the head is stored relaxed": (
        "publisher.rs",
        "ring.head.store(position.wrapping_add(1), Ordering::Release);",
        "ring.head.store(position.wrapping_add(1), Ordering::Relaxed);",
        LOOM,
        None,
    ),
    "a reader whose stream has ended holds back": (
        "reader.rs",
        "        self.entry.kind.store(LIVE, Ordering::Relaxed);\n        self.ring.wake_publisher(Event::SLOT);",
        "        self.ring.wake_publisher(Event::SLOT);",
        TESTS,
        "model",
    ),
    "rewound items count as missed": (
        "reader.rs",
        "        self.highest = self.highest.max(sequence);",
        "        self.highest = sequence;",
        TESTS,
        "items_had_before_rewinding_are_not_missed",
    ),
    "a place of a list is left without Release": (
        "wait.rs",
        "place.is_taken.store(false, Ordering::Release);",
        "place.is_taken.store(false, Ordering::Relaxed);",
        LOOM,
        "place_is_used_by_one_task_after_the_other",
    ),
    "a list wakes without a fence": (
        "wait.rs",
        "        fence(Ordering::SeqCst);\n        for place",
        "        for place",
        LOOM,
        "place_is_used_by_one_task_after_the_other",
    ),
}


@pytest.fixture(scope="session")
def copy():
    """A copy of the workspace, in which the ring may be broken."""
    folder = TARGET / "workspace"
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("target", ".git", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_found(copy, name):
    file, old, new, tests, finder = MUTATIONS[name]
    source = copy / "crates/camwire-ring/src" / file
    original = source.read_text()
    assert original.count(old) == 1, f"{file} has changed: bring this list up to date"
    source.write_text(original.replace(old, new))
    try:
        failed = failed_tests(copy, tests, finder)
    finally:
        source.write_text(original)
    print(f"{name}: {', '.join(failed)}")
    assert failed, "no test finds it"


def failed_tests(folder, tests, finder):
    loom = {"RUSTFLAGS": "--cfg loom"} if tests is LOOM else {"CAMWIRE_RING_SECONDS": "3"}
    target = TARGET / ("loom" if loom.get("RUSTFLAGS") else "tests")
    command = ["cargo", "test", "--package", "camwire-ring", *tests.split(), "--no-fail-fast"]
    command += ["--target-dir", target, "--"] + ([finder] if finder else [])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **loom},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
    except subprocess.TimeoutExpired:
        return ["(it hangs)"]
    assert "could not compile" not in done.stdout, done.stdout
    lines = done.stdout.splitlines()
    failed = [line.split()[1] for line in lines if line.endswith("... FAILED")]
    # A model in which all threads sleep for ever ends the process.
    return failed or (["(it aborts)"] if done.returncode else [])
