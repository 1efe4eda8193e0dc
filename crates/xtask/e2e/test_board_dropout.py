"""The link of the firmware's network goes down and comes back, in an emulator."""

import time

import pytest
from camwire import Parts, assert_numbers_add_up, wait_until

pytestmark = pytest.mark.target("imc")


@pytest.fixture
def watch_three(watch):
    def watch_three(board):
        viewers = [Parts(watch(board)) for _ in range(3)]
        for viewer in viewers:
            viewer.wait_for(10)
        return viewers

    return watch_three


def drop_out(board, seconds):
    """Returns when the link was back."""
    board.set_link("off")
    time.sleep(seconds)
    board.set_link("on")
    return time.monotonic()


@pytest.mark.parametrize(
    "outages", [(0.3, 3), pytest.param((10,), marks=pytest.mark.deep)], ids=["short", "long"]
)
def test_streams_go_on_after_a_dropout(serve, watch_three, outages):
    board = serve(fps=20)
    viewers = watch_three(board)
    for outage in outages:
        back_at = drop_out(board, outage)
        for viewer in viewers:
            viewer.wait_for(30)
            # Not a measurement. After a timeout that has doubled during ten seconds, it would
            # have waited for five more.
            first = next(part.arrived_at for part in viewer if part.arrived_at > back_at)
            assert first - back_at < 3
    for viewer in viewers:
        assert_numbers_add_up(viewer)
    # They have got the same address, and are the same viewers to the firmware.
    assert sorted(viewer["id"] for viewer in board.viewers()) == [1, 2, 3]


def test_streams_end_after_a_dropout_that_is_too_long(serve, watch, watch_three):
    board = serve(fps=20, hold=2)
    viewers = watch_three(board)
    back_at = drop_out(board, 5)
    for viewer in viewers:
        wait_until("the stream ends", lambda: viewer.ended_at, pause=0.01)
        assert viewer.ended_at - back_at < 5
        assert_numbers_add_up(viewer)
    assert board.get_at_last("/stats").json()["viewers"] == []
    Parts(watch(board)).wait_for(10)
