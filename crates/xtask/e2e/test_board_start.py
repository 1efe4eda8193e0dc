"""How the firmware starts and ends in its emulator, and that a test that meets its end fails."""

import pytest
from board import Imc


@pytest.mark.target("imc", "imac")
def test_firmware_ends_by_itself(serve):
    board = serve(seconds=3)
    assert board.status_of("/capture") == 200
    assert board.wait() == 0, board.log
    board.wait_for_log(r"robot: \d+ steps, \d+ skipped, at worst \d+ us late")


@pytest.mark.target("imc", "imac")
def test_panic_of_the_firmware_fails_the_test_and_says_why(serve):
    reason = r"(?s)ended with 101,.*panicked at src/.*not an argument.*: nonsense"
    with pytest.raises(AssertionError, match=reason):
        serve(nonsense=1)


class ImcWithAtomics(Imc):
    """The firmware with atomic instructions, on the processor without."""

    name = "imac"


def test_trap_of_the_firmware_fails_the_test_and_says_why():
    with pytest.raises(AssertionError, match=r"(?s)ended with 102,.*trap: cause 2, at 0x8"):
        ImcWithAtomics()
