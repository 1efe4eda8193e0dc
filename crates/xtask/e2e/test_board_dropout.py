"""The link of the firmware's network goes down and comes back, in an emulator."""

import threading
import time

from board import Imc
from camwire import Case, eventually


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

        eventually(f"part {count} comes", have_come, pause=0.01)


class Dropout(Case):
    subject = Imc

    def dropout(self, board, seconds):
        board.set_link("off")
        time.sleep(seconds)
        board.set_link("on")
        return time.monotonic()

    def test_streams_go_on_after_a_dropout(self):
        board = self.serve(fps=20)
        watching = [Watching(self.watch(board)) for _ in range(3)]
        for viewer in watching:
            viewer.wait_for(10)
        for outage in [0.3, 3, 10]:
            back_at = self.dropout(board, outage)
            for viewer in watching:
                viewer.wait_for(30)
                # Not a measurement. After a timeout that has doubled during ten seconds, it would
                # have waited for five more.
                first = next(at for at in viewer.times if at > back_at)
                self.assertLess(first - back_at, 3)
        numbers = set()
        for viewer in watching:
            self.assert_numbers_add_up(viewer.parts)
            numbers.update(part.number for part in viewer.parts)
        # They have got the same address, and are the same viewers to the firmware.
        viewers = board.stats()["viewers"]
        self.assertEqual(sorted(viewer["id"] for viewer in viewers), [1, 2, 3])

    def test_streams_end_after_a_dropout_that_is_too_long(self):
        board = self.serve(fps=20, hold=2)
        watching = [Watching(self.watch(board)) for _ in range(3)]
        for viewer in watching:
            viewer.wait_for(10)
        back_at = self.dropout(board, 5)
        for viewer in watching:
            eventually("the viewer sees it", lambda: viewer.ended_at or viewer.failed, pause=0.01)
            self.assertIsNone(viewer.failed)
            self.assertLess(viewer.ended_at - back_at, 5)
            self.assert_numbers_add_up(viewer.parts)
        self.assertEqual(board.get_at_last("/stats").json()["viewers"], [])
        Watching(self.watch(board)).wait_for(10)
