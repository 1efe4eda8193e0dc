"""What the firmware is for goes on, whatever happens at its server."""

import os

from board import Crowd, Imac, Imc
from camwire import eventually


class OnImc(Crowd):
    subject = Imc

    def test_walks_on(self):
        """250 steps, of 20 ms each, none of which is skipped, while ten watch, others take
        snapshots, and others send nonsense.

        The emulator sees to it that the firmware gets no more done in that time than an ESP32-C3
        would. But when this machine is busy, the emulator itself may wake up so late that steps
        are skipped; hence there must be such a stretch, and it need not be the first.
        """
        board = self.serve(slow=True, fps=15)
        viewers = self.viewers(board, board.viewers)
        first = board.get("/robot").json()

        def walked():
            nonlocal first
            self.disturb(board)
            now = board.get_at_last("/robot").json()
            if now["skipped"] > first["skipped"]:
                first = now
            return now["steps"] - first["steps"] >= 250

        self.while_watching(viewers, lambda: eventually("it walks on", walked, pause=0))

    def disturb(self, board):
        self.assertEqual(board.get_at_last("/capture").status, 200)
        try:
            with board.request(os.urandom(5000)) as connection:
                connection.recv(100)
        except ConnectionError:
            pass


class OnImac(OnImc):
    subject = Imac
