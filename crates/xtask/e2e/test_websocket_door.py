"""Pictures over WebSocket, by the `websockets` package; and who is let in."""

import base64
import struct
import time

from camwire import PATIENCE, Case, decode, eventually, size_of
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def watch(server, path="/ws", **options):
    """A viewer. Pictures are not compressed, so no compression is offered."""
    url = f"ws://127.0.0.1:{server.port}{path}"
    return connect(url, compression=None, open_timeout=PATIENCE, **options)


def transports(server):
    return [viewer["transport"] for viewer in server.get("/stats").json()["viewers"]]


class Pictures(Case):
    # Whether the server knows Unix time.
    flags = 1

    def test_every_message_is_a_picture(self):
        server = self.serve(fps=30)
        for path in ("/ws", "/", "/ws?mode=all"):
            with watch(server, path) as viewer:
                pictures = [viewer.recv(PATIENCE) for _ in range(10)]
                self.assertIsNone(viewer.subprotocol)
                self.assertEqual(transports(server), ["websocket"])
                self.assertTrue(viewer.ping("hello").wait(PATIENCE))
            for picture in pictures:
                self.assertIsInstance(picture, bytes)
                self.assertEqual(size_of(picture), server.size)
            self.assertEqual(len(set(decode(pictures))), 10)
            self.assertEqual(viewer.protocol.close_rcvd.code, 1000)
            eventually("nobody watches", lambda: not transports(server))

    def test_at_a_rate_of_ones_own(self):
        server = self.serve(fps=30)
        with watch(server, "/ws?fps=2") as viewer:
            for _ in range(3):
                viewer.recv(PATIENCE)
            (stats,) = server.get("/stats").json()["viewers"]
            self.assertEqual(stats["fps_cap"], 2)

    def test_heads_and_credit(self):
        server = self.serve(fps=30)
        with watch(server, "/ws?credit=2", subprotocols=["camwire.v1"]) as viewer:
            self.assertEqual(viewer.subprotocol, "camwire.v1")

            def picture(timeout=PATIENCE):
                message = viewer.recv(timeout)
                version, flags, length, missed, number, micros = struct.unpack_from(">BBHIQQ", message)
                self.assertEqual((version, flags, length), (1, self.flags, 24))
                now = time.time() if flags else 0
                self.assertLess(abs(micros / 1e6 - now), PATIENCE)
                self.assertEqual(size_of(message[length:]), server.size)
                return number, missed

            first, _ = picture()
            second, _ = picture()
            with self.assertRaises(TimeoutError):
                picture(2)
            viewer.send(struct.pack(">BQ", 1, first))
            third, missed = picture()
            self.assertGreater(missed, 0)
            self.assertEqual(third, second + 1 + missed)
            viewer.send(b"nonsense")
            with self.assertRaises(ConnectionClosed):
                picture()
            self.assertEqual(viewer.protocol.close_rcvd.code, 1008)


class End(Case):
    def test_of_the_server(self):
        server = self.serve()
        with watch(server) as viewer:
            viewer.recv(PATIENCE)
            server.process.terminate()
            with self.assertRaises(ConnectionClosed):
                while True:
                    viewer.recv(PATIENCE)
            self.assertEqual(viewer.protocol.close_rcvd.code, 1001)


class WhoMay(Case):
    def assert_refused(self, status, server, *args, **options):
        with self.assertRaises(InvalidStatus) as refused:
            watch(server, *args, **options)
        self.assertEqual(refused.exception.response.status_code, status)

    def test_pages(self):
        server = self.serve("--allow-origin", "https://allowed.example")
        for origin in (f"http://127.0.0.1:{server.port}", "http://127.0.0.1", "https://allowed.example"):
            with watch(server, origin=origin) as viewer:
                viewer.recv(PATIENCE)
        for origin in ("http://other.example", "null"):
            self.assert_refused(403, server, origin=origin)

    def test_names(self):
        server = self.serve("--allow-host", "camera.example")
        for host, status in (
            ("localhost", 200),
            (f"127.0.0.1:{server.port}", 200),
            ("camera.example:80", 200),
            ("other.example", 403),
        ):
            for path in ("/", "/stats", "/healthz"):
                self.assertEqual(server.get(path, headers={"Host": host}).status, status, host)

    def test_credentials(self):
        server = self.serve("--auth", "anna:s:\u00e4", "--token", "T-1")
        basic = base64.b64encode("anna:s:\u00e4".encode()).decode()
        for right in (f"Basic {basic}", "Bearer T-1"):
            headers = {"Authorization": right}
            self.assertEqual(server.get("/healthz", headers=headers).status, 200)
            with watch(server, additional_headers=headers) as viewer:
                viewer.recv(PATIENCE)
        self.assertEqual(server.get("/healthz?token=T-1").status, 200)
        with watch(server, "/ws?token=T-1") as viewer:
            viewer.recv(PATIENCE)
        for wrong in ({}, {"Authorization": "Bearer T-2"}, {"Authorization": "Basic YTpi"}):
            for path in ("/", "/stream", "/capture", "/stats", "/nothing"):
                answer = server.get(path, headers=wrong)
                self.assertEqual(answer.status, 401)
                self.assertIn("www-authenticate", answer.headers)
            self.assert_refused(401, server, additional_headers=wrong)
