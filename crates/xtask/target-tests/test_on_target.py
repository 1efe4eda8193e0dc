"""Runs each test of this firmware in an emulator of its own: README.md says how.

`cargo xtask test target-tests` builds the firmware for both targets and runs this.
"""

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(os.environ["CAMWIRE_TARGET"], "target-tests")
CPUS = {
    "riscv32imc-unknown-none-elf": "rv32,a=off,f=off,d=off,s=off,h=off",
    "riscv32imac-unknown-none-elf": "rv32,f=off,d=off,s=off,h=off",
}
MACHINE = "-M virt -m 32M -bios none -display none -monitor none -serial stdio -no-reboot"


def emulate(target, number):
    """Runs a test; number 0 prints the names of all."""
    firmware = FOLDER / target / "release/camwire-target-tests"
    # A nanosecond for each instruction: interrupts come where a test wants them.
    options = ["-cpu", CPUS[target], "-icount", "shift=0", "-kernel", firmware]
    options += ["-device", f"loader,addr=0x80400000,data={number},data-len=4"]
    command = ["qemu-system-riscv32", *MACHINE.split(), *options]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )


def on_targets():
    for target in CPUS:
        for number, name in enumerate(emulate(target, 0).stdout.splitlines(), 1):
            yield pytest.param(target, number, id=f"{name}-{target.partition('-')[0]}")


@pytest.mark.parametrize("target, number", on_targets())
def test_on_target(target, number):
    done = emulate(target, number)
    assert done.returncode == 0, done.stdout + done.stderr
