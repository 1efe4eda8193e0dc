"""The link of the firmware's network goes down and comes back, in an emulator."""

import threading
import time

import pytest
from camwire import assert_numbers_add_up, wait_until

pytestmark = pytest.mark.target("imc")


class Watching(threading.Thread):
    """Reads a stream, and notes when each of its parts has come."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream = stream
        self.parts = []
        self.times = []
        self.ended_at = None
        self.failed = None
        self.start()

    def run(self):
        try:
            while True:
                part = self.stream.part()
                self.times.append(time.monotonic())
                self.parts.append(part)
        except (ConnectionError, EOFError):
            self.ended_at = time.monotonic()
        except Exception as error:
            self.failed = error

    def wait_for(self, count):
        """Waits until so many parts more have come."""
        count += len(self.parts)

        def have_come():
            assert self.failed is None and self.ended_at is None, (self.failed, self.ended_at)
            return len(self.parts) >= count

        wait_until(f"part {count} comes", have_come, pause=0.01)


def watch_three(watch, board):
    watching = [Watching(watch(board)) for _ in range(3)]
    for viewer in watching:
        viewer.wait_for(10)
    return watching


def drop_out(board, seconds):
    """Returns when the link was back."""
    board.set_link("off")
    time.sleep(seconds)
    board.set_link("on")
    return time.monotonic()


@pytest.mark.parametrize(
    "outages", [(0.3, 3), pytest.param((10,), marks=pytest.mark.deep)], ids=["short", "long"]
)
def test_streams_go_on_after_a_dropout(serve, watch, outages):
    board = serve(fps=20)
    watching = watch_three(watch, board)
    for outage in outages:
        back_at = drop_out(board, outage)
        for viewer in watching:
            viewer.wait_for(30)
            # Not a measurement. After a timeout that has doubled during ten seconds, it would
            # have waited for five more.
            first = next(at for at in viewer.times if at > back_at)
            assert first - back_at < 3
    for viewer in watching:
        assert_numbers_add_up(viewer.parts)
    # They have got the same address, and are the same viewers to the firmware.
    viewers = board.stats()["viewers"]
    assert sorted(viewer["id"] for viewer in viewers) == [1, 2, 3]


def test_streams_end_after_a_dropout_that_is_too_long(serve, watch):
    board = serve(fps=20, hold=2)
    watching = watch_three(watch, board)
    back_at = drop_out(board, 5)
    for viewer in watching:
        wait_until("the viewer sees it", lambda: viewer.ended_at or viewer.failed, pause=0.01)
        assert viewer.failed is None
        assert viewer.ended_at - back_at < 5
        assert_numbers_add_up(viewer.parts)
    assert board.get_at_last("/stats").json()["viewers"] == []
    Watching(watch(board)).wait_for(10)
