"""The firmware in an emulator pushes its pictures to a relay, which `websockets` plays here."""

import http
import queue
import struct
import threading
import time

from board import Crowd, Imac, Imc, unused_ports
from camwire import PATIENCE, Part, Server, eventually
from websockets.sync.server import serve

TOKEN = "T-1"
PROTOCOLS = ["camwire.v1"]


class Relay:
    """Takes the pictures of a camera that has the token. `cameras` are those not yet looked at."""

    def __init__(self, port=0, protocols=PROTOCOLS):
        self.refused = []
        self.all = []
        self.cameras = queue.Queue()
        self.server = serve(
            self._camera,
            "127.0.0.1",
            port,
            subprotocols=protocols,
            process_request=self._check,
            compression=None,
            ping_interval=None,
        )
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self):
        return f"ws://10.0.2.2:{self.port}/ingest"

    def _check(self, connection, request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = http.HTTPStatus.UNAUTHORIZED
        elif request.path != "/ingest":
            status = http.HTTPStatus.NOT_FOUND
        else:
            return None
        self.refused.append(status)
        return connection.respond(status, "no\n")

    def _camera(self, connection):
        camera = Camera(connection)
        self.all.append(camera)
        self.cameras.put(camera)
        camera.over.wait()

    def camera(self):
        return self.cameras.get(timeout=PATIENCE)

    def close(self):
        for camera in self.all:
            camera.over.set()
        self.server.shutdown()


class Camera:
    """What a relay has of a camera that pushes to it. It is read as a Stream is."""

    def __init__(self, connection):
        self.connection = connection
        self.over = threading.Event()

    def part(self, timeout=PATIENCE):
        message = self.connection.recv(timeout)
        version, flags, length, missed, number, micros = struct.unpack_from(">BBHIQQ", message)
        assert (version, flags, length) == (1, 0, 24), message[:24]
        return Part({"x-frame": number, "x-missed": missed}, message[length:])

    def acknowledge(self, part):
        self.connection.send(struct.pack(">BQ", 1, part.number))

    def credit(self, count):
        self.connection.send(bytes([2, count]))

    def cut(self):
        """Without a word."""
        self.connection.socket.shutdown(2)
        self.over.set()


class OnImc(Crowd):
    subject = Imc

    def relay(self, **options):
        relay = Relay(**options)
        self.addCleanup(relay.close)
        return relay

    def push(self, relay, token=TOKEN, **words):
        return self.serve(push=relay.url(), push_token=token, **words)

    def assert_silent(self, camera):
        with self.assertRaises(TimeoutError):
            camera.part(timeout=1)

    def test_no_more_than_the_relay_asks_for(self):
        relay = self.relay()
        board = self.push(relay, fps=30)
        camera = relay.camera()
        self.assertEqual(camera.connection.subprotocol, "camwire.v1")
        self.assert_silent(camera)
        # Nobody wants pictures, so none are taken.
        self.assertEqual(board.stats()["source"]["state"], "idle")

        camera.credit(2)
        first, second = camera.part(), camera.part()
        self.assertEqual(first.number, 1)
        self.assert_silent(camera)
        (viewer,) = board.stats()["viewers"]
        self.assertEqual((viewer["transport"], viewer["sent"]), ("push", 2))
        self.assertRegex(viewer["peer"], rf"^10\.0\.2\.2:{relay.port}$")

        # What it missed meanwhile, it is told.
        camera.acknowledge(second)
        parts = [first, second, camera.part(), camera.part()]
        self.assertGreater(parts[2].missed, 0)
        for _ in range(30):
            camera.acknowledge(parts[-1])
            parts.append(camera.part())
        self.assert_numbers_add_up(parts)
        self.assertTrue(all(part.jpeg in self.pictures for part in parts))

        camera.credit(0)
        camera.acknowledge(parts[-1])
        with self.assertRaises(TimeoutError):
            while True:  # What was on its way.
                camera.acknowledge(camera.part(timeout=1))
        eventually("the camera rests", lambda: board.stats()["source"]["state"] == "idle")
        camera.credit(1)
        self.assertIn(camera.part().jpeg, self.pictures)

    def test_connection_is_cut_and_restored(self):
        relay = self.relay()
        board = self.push(relay, fps=30)
        viewers = self.viewers(board, 2)
        seen = []

        def cut_again_and_again():
            for _ in range(5):
                camera = relay.camera()
                camera.credit(2)
                parts = []
                while len(parts) < 20:
                    parts.append(camera.part())
                    camera.acknowledge(parts[-1])
                self.assert_numbers_add_up(parts)
                seen.extend(parts)
                camera.cut()

        # Nobody else notices.
        for parts in self.while_watching(viewers, cut_again_and_again):
            self.assertGreater(len(parts), 50)
        self.assertEqual(len(seen), 100)
        self.assertTrue(all(part.jpeg in self.pictures for part in seen))
        numbers = [part.number for part in seen]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertGreaterEqual(board.log.count("push: "), 4)
        relay.camera()

    def test_bare_pictures_for_a_server_that_knows_no_better(self):
        relay = self.relay(protocols=None)
        self.push(relay, fps=30)
        camera = relay.camera()
        self.assertIsNone(camera.connection.subprotocol)
        for _ in range(20):
            self.assertIn(camera.connection.recv(PATIENCE), self.pictures)

    def test_wrong_token(self):
        relay = self.relay()
        board = self.push(relay, token="T-2")
        eventually("it is refused", lambda: "answers with status 401; again in" in board.log)
        self.assertEqual(board.get("/capture").status, 200)
        # Not the next moment, but again.
        eventually("it tries again", lambda: len(relay.refused) > 1)

    def test_relay_comes_later(self):
        (port,) = unused_ports(1)
        board = self.serve(push=f"ws://10.0.2.2:{port}/ingest", push_token=TOKEN)
        eventually("it says so", lambda: "cannot be reached; again in" in board.log)
        relay = self.relay(port=port)
        camera = relay.camera()
        camera.credit(1)
        self.assertIn(camera.part().jpeg, self.pictures)

    def test_stall_ends_with_the_newest(self):
        relay = self.relay()
        self.push(relay, fps=100)
        camera = relay.camera()
        camera.credit(8)
        first = camera.part()
        time.sleep(2)
        parts = [first, *(camera.part() for _ in range(7))]
        camera.acknowledge(parts[-1])
        parts.append(camera.part())
        self.assert_numbers_add_up(parts)
        self.assertGreater(parts[-1].missed, 50)


class OnImac(OnImc):
    subject = Imac


class ToCamwireHost(Crowd):
    """The relay is the one of this repository."""

    subject = Imc

    def test_viewers_of_the_relay(self):
        # This is what the firmware calls this machine.
        name = ("--allow-host", "10.0.2.2")
        relay = Server("--source", "ingest", "--ingest-token", TOKEN, *name)
        self.addCleanup(relay.close)
        url = f"ws://10.0.2.2:{relay.port}/ingest"
        board = self.serve(push=url, push_token=TOKEN, fps=30)
        # The camera rests until somebody comes to the relay.
        eventually("the relay has its camera", lambda: "push" in self.transports(board))
        self.assertEqual(board.stats()["source"]["state"], "idle")
        viewer = self.watch(relay)
        parts = viewer.parts(20)
        viewer.close()
        self.assert_numbers_add_up(parts)
        self.assertTrue(all(part.jpeg in self.pictures for part in parts))
        eventually("the camera rests", lambda: board.stats()["source"]["state"] == "idle")

    def transports(self, board):
        return [viewer["transport"] for viewer in board.stats()["viewers"]]
