"""WebSocket at the firmware in an emulator, by the `websockets` package, bare bytes and Chromium."""

import base64
import os
import struct

import test_websocket_door
from board import Crowd, Imac, Imc
from browser import Chromium, assert_moving_picture
from camwire import PATIENCE, Case, Part, eventually, size_of
from test_websocket_door import watch
from websockets.sync.client import connect


class PicturesOnImc(test_websocket_door.Pictures):
    subject = Imc
    flags = 0


class PicturesOnImac(PicturesOnImc):
    subject = Imac


class Messages:
    """A viewer with camwire.v1, which acknowledges each picture. It is read as a Stream is."""

    def __init__(self, socket):
        self.socket = socket

    def part(self):
        message = self.socket.recv(PATIENCE)
        _, _, length, missed, number, _ = struct.unpack_from(">BBHIQQ", message)
        self.socket.send(struct.pack(">BQ", 1, number))
        return Part({"x-frame": number, "x-missed": missed}, message[length:])


class Mixed(Crowd):
    """Every other one watches over WebSocket."""

    subject = Imc

    def viewers(self, board, count):
        streams = super().viewers(board, count // 2)
        messages = []
        while len(streams) + len(messages) < count:
            socket = watch(board, "/ws?credit=2", subprotocols=["camwire.v1"])
            messages.append(Messages(self.enterContext(socket)))
            messages[-1].part()
        kinds = [viewer["transport"] for viewer in board.stats()["viewers"]]
        self.assertEqual(kinds.count("websocket"), len(messages))
        return streams + messages

    def test_pictures_as_they_come(self):
        self.assert_shares(fps=30, least=0.9)


class OfTheOlderDemo(Case):
    """Its page is at port 80, and its pictures come from port 81, without asking for a path."""

    subject = Imc

    def test_client(self):
        board = self.serve(ports="80,81", fps=30)
        url = f"ws://127.0.0.1:{board.ports[81]}/"
        with connect(url, compression=None, open_timeout=PATIENCE) as viewer:
            for _ in range(20):
                picture = viewer.recv(PATIENCE)
                self.assertIsInstance(picture, bytes)
                self.assertEqual((picture[:2], picture[-2:]), (b"\xff\xd8", b"\xff\xd9"))
            self.assertEqual(size_of(picture), board.size)
            # The other port is the same server.
            self.assertEqual(board.get("/capture").status, 200)
            self.assertEqual(len(board.stats()["viewers"]), 1)
        # And this one has everything else, too, as CameraWebServer's port 81 has its stream.
        board.port = board.ports[81]
        self.watch(board).part()
        self.assertIn(b"<html", board.get("/").body)

    def test_page(self):
        """Which draws every message, whatever it is."""
        board = self.serve(ports="80,81", fps=30)
        browser = Chromium()
        self.addCleanup(browser.close)
        browser.open(board.url("/robot"))
        eventually("a page of the board's", lambda: browser.evaluate("document.body !== null"))
        browser.evaluate(
            """
            document.body.innerHTML = "<img>";
            const socket = new WebSocket("ws://127.0.0.1:%d/");
            socket.onmessage = ({data}) => {
                URL.revokeObjectURL(document.images[0].src);
                document.images[0].src = URL.createObjectURL(data);
            };
            """
            % board.ports[81]
        )
        assert_moving_picture(self, browser, "chromium-qemu-older-demo", board.size)


class WhoMay(test_websocket_door.WhoMay):
    """The firmware's words are fewer than the host's options."""

    subject = Imc
    test_names = None

    def test_pages(self):
        board = self.serve()
        with watch(board, origin="http://127.0.0.1") as viewer:
            viewer.recv(PATIENCE)
        for origin in ("http://other.example", "null"):
            self.assert_refused(403, board, origin=origin)
        self.assertIn("there is no password", board.log)

    def test_credentials(self):
        board = self.serve(auth="anna:secret", token="T-1")
        self.assertNotIn("there is no password", board.log)
        basic = base64.b64encode(b"anna:secret").decode()
        for right in (f"Basic {basic}", "Bearer T-1"):
            headers = {"Authorization": right}
            self.assertIn(b"<html", board.get("/", headers=headers).body)
            with watch(board, additional_headers=headers) as viewer:
                viewer.recv(PATIENCE)
        with watch(board, "/ws?token=T-1") as viewer:
            viewer.recv(PATIENCE)
        for wrong in ({}, {"Authorization": "Bearer T-2"}, {"Authorization": "Basic YTpi"}):
            for path in ("/", "/stream", "/capture", "/stats", "/robot", "/nothing"):
                answer = board.get(path, headers=wrong)
                self.assertEqual(answer.status, 401)
                self.assertIn("www-authenticate", answer.headers)
            self.assert_refused(401, board, additional_headers=wrong)


class HostileToImc(Case):
    subject = Imc

    def end_after(self, board, frames):
        """The code of the Close that these bytes are answered with."""
        key = base64.b64encode(os.urandom(16)).decode()
        fields = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        head = f"GET /ws HTTP/1.1\r\nHost: board\r\n{fields}Sec-WebSocket-Version: 13\r\n\r\n"
        with board.request(head.encode()) as connection, connection.makefile("rb") as answer:
            self.assertIn(b" 101 ", answer.readline())
            while answer.readline() != b"\r\n":
                pass
            connection.sendall(frames)
            while True:
                opcode, length = answer.read(2)
                if length == 126:
                    (length,) = struct.unpack(">H", answer.read(2))
                payload = answer.read(length)
                if opcode == 0x88:
                    self.assertEqual(answer.read(), b"", "the Close is the last")
                    return struct.unpack(">H", payload[:2])[0]
                self.assertIn(opcode, (0x82, 0x89))

    def test_a_close_that_says_why(self):
        board = self.serve(fps=30)
        mask = bytes(4)
        for frames, code in (
            (b"\x82\x01a", 1002),  # not masked
            (b"\xc2\x81" + mask + b"a", 1002),  # a reserved bit
            (b"\x83\x81" + mask + b"a", 1002),  # a reserved opcode
            (b"\x09\x80" + mask, 1002),  # half a Ping
            (b"\x82\xfe\x00\x01" + mask + b"a", 1002),  # a length that is longer than it must be
            (b"\x82\xff\xff" + bytes(7) + mask, 1002),  # and one with the top bit
            (b"\x81\x81" + mask + b"\xff", 1007),  # no UTF-8
            (b"\x82\xff\x7f" + b"\xff" * 7 + mask, 1009),  # far too long
        ):
            self.assertEqual(self.end_after(board, frames), code, frames)
        eventually("nobody is left", lambda: not board.stats()["viewers"])
        self.assertEqual(board.get("/capture").status, 200)
