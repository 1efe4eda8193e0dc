"""Many at the firmware at once, in an emulator: each gets its share, and everything comes back."""

from board import Crowd, Imac, Imc
from camwire import eventually, make_pictures


def unless_refused(job):
    """What it returns; false if all sockets are still taken by those who were here before."""
    try:
        return job()
    except (ConnectionError, EOFError):
        return False


class OnImc(Crowd):
    subject = Imc

    def test_pictures_as_they_come(self):
        self.assert_shares(fps=30, least=0.9)

    def test_more_pictures_than_it_can_send(self):
        """Nobody starves."""
        self.assert_shares(fps=1000, least=0.4)

    def test_one_viewer_too_many(self):
        board = self.serve(fps=20)
        viewers = self.viewers(board, board.viewers)

        def one_more():
            answer = board.get("/stream")
            self.assertEqual(answer.status, 503)
            self.assertGreater(int(answer.headers["retry-after"]), 0)
            self.assertEqual(board.get("/capture").status, 200)
            self.assertEqual(len(board.stats()["viewers"]), board.viewers)

        self.while_watching(viewers, one_more)
        viewers[0].close()
        eventually("its place is free", lambda: self.watch(board).status == 200)

    def test_more_connections_than_sockets(self):
        board = self.serve(fps=20)
        viewers = self.viewers(board, board.viewers)
        silent = [board.connect() for _ in range(2 * board.sockets)]

        def more():
            eventually("a connection is refused", lambda: not board.try_get("/capture"))
            for connection in silent:
                connection.close()
            self.assertEqual(board.get_at_last("/capture").status, 200)

        self.while_watching(viewers, more)

    def test_a_thousand_connections_leave_nothing_behind(self):
        board = self.serve(fps=200)

        def refused(request):
            with board.request(request) as connection:
                self.assertRegex(connection.recv(100), rb"^HTTP/1.1 4\d\d ")

        kinds = [
            lambda: self.assertTrue(board.get("/capture").body in self.pictures),
            lambda: self.leave_in_a_picture(board, orderly=True),
            lambda: self.leave_in_a_picture(board, orderly=False),
            lambda: refused(b"GET /nothing HTTP/1.1\r\n\r\n"),
            lambda: refused(b"\x16\x03\x01\r\n\r\n"),
            lambda: board.connect().close(),
        ]

        for number in range(1000):
            kind = kinds[number % len(kinds)]
            eventually("it is served", lambda: unless_refused(kind) is not False, pause=0.01)
        eventually("nobody watches", lambda: not board.stats()["viewers"])
        # Every place is free again, and every socket: ten, another, and at the same time one more.
        self.assertEqual(board.sockets, board.viewers + 2)

        def two_more():
            with board.request(b"GET /capture HTTP/1.1\r\n") as begun:
                one_more = board.try_get("/capture")
                begun.sendall(b"\r\n")
                return one_more and begun.recv(12) == b"HTTP/1.1 200"

        self.while_watching(
            self.viewers(board, board.viewers),
            lambda: eventually("all sockets are free", lambda: unless_refused(two_more)),
        )

    def test_snapshots_are_the_pictures_of_the_camera(self):
        sizes = [("160x120", 3), ("320x240", 2), ("128x96", 2), ("320x240", 20), ("240x176", 2)]
        self.pictures = [jpeg for size in sizes for jpeg in make_pictures(40, *size)]
        self.assertEqual(len(set(self.pictures)), 200)
        board = self.serve(fps=200)
        numbers = set()
        for _ in range(200):
            answer = board.get("/capture")
            number = int(answer.headers["x-frame"])
            numbers.add(number)
            # The first is number one.
            self.assertTrue(answer.body == self.pictures[(number - 1) % 200], f"changed: {number}")
        self.assertEqual(len(numbers), 200, "each is a new one")


class OnImac(OnImc):
    subject = Imac


class Stalled(Crowd):
    subject = Imc

    def test_one_stands_still_and_others_leave(self):
        # At this rate the buffers between the firmware and the one that does not read, 4 MB here
        # and in the emulator, are full after a few seconds, and then it really stands still.
        board = self.serve(fps=100)
        viewers = self.viewers(board, 4)
        self.watch(board, receive_buffer=4096).part()

        def trouble():
            for number in range(10):
                self.leave_in_a_picture(board, orderly=number % 2)
            eventually(
                "only those who read are left",
                lambda: len(board.stats()["viewers"]) == len(viewers),
            )

        for parts in self.while_watching(viewers, trouble):
            # Not a measurement: the difference between pictures missed because this machine is
            # busy, and standing still together with the one that does.
            self.assertGreater(len(parts), (parts[-1].number - parts[0].number) / 2)
