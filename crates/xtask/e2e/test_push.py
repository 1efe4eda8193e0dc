"""Cameras that push to a relay, and relays that pull over WebSocket."""

import contextlib
import queue
import socket
import ssl
import struct
import subprocess
import threading
import time
import unittest.mock

from camwire import PATIENCE, Case, eventually, make_pictures, run, size_of
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

TOKEN = {"Authorization": "Bearer T"}


def sockets(address, **options):
    return connect(address, compression=None, open_timeout=PATIENCE, **options)


def push(relay, **options):
    """A camera of our own."""
    options.setdefault("additional_headers", TOKEN)
    return sockets(f"ws://127.0.0.1:{relay.port}/ingest", **options)


class Proxy:
    """Passes bytes on, until it cuts them off."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        self.accepted = []  # when
        self.is_open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.accepted.append(time.time())
            far = socket.create_connection(("127.0.0.1", self.target))
            self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(a, b), daemon=True).start()

    @staticmethod
    def _pass_on(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        for one in (a, b):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """As a network does that goes away: with a reset, and what was on its way is lost."""
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for one in pair:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def close(self):
        self.listener.close()
        self.cut()


class Relay(Case):
    def relay(self, *args):
        return self.serve("--source", "ingest", "--ingest-token", "T", *args)

    def camera(self, relay, *args):
        """A host that pushes to a relay, or to a proxy."""
        address = f"ws://127.0.0.1:{relay.port}/ingest"
        return self.serve("--push", address, "--push-token", "T", *args)

    def watched(self, server):
        """What /stats says of the push."""
        (viewer,) = [one for one in server.stats()["viewers"] if one["transport"] == "push"]
        return viewer

    def assert_are_of(self, seen, originals):
        """They are the camera's, byte for byte; whoever collects those may be a little behind."""
        there = lambda: seen <= {part.jpeg for part in originals}
        eventually("every picture is one of the camera's", there)

    def collect(self, stream, parts):
        """Reads a stream in a thread until it ends."""

        def work():
            with contextlib.suppress(EOFError, OSError):
                while True:
                    parts.append(stream.part())

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread


class Pushing(Relay):
    def test_every_kind_of_viewer_sees_the_camera(self):
        relay = self.relay()
        camera = self.camera(relay, "--fps", 20)
        originals = []
        self.collect(self.watch(camera, "/stream?mode=all"), originals)
        there = self.watch(relay, "/stream")
        with sockets(f"ws://127.0.0.1:{relay.port}/ws") as viewer:
            over_websocket = [viewer.recv(PATIENCE) for _ in range(20)]
        parts = there.parts(20)
        self.assert_numbers_add_up(parts)
        seen = {part.jpeg for part in parts} | set(over_websocket)
        self.assert_are_of(seen, originals)
        curl = subprocess.run(
            ["curl", "-sS", "--max-time", str(PATIENCE), relay.url("/capture")],
            stdout=subprocess.PIPE,
            check=True,
        )
        self.assertEqual(size_of(curl.stdout), (640, 480))
        source = relay.stats()["source"]
        self.assertEqual((source["kind"], source["state"]), ("ingest", "streaming"))
        self.assertEqual(relay.get("/healthz").status, 200)
        self.assertEqual(self.watched(camera)["missed"], 0)

    def test_as_in_the_readme_with_one_token(self):
        """`--token T` at both ends: it guards everything at each."""
        relay = self.serve("--source", "ingest", "--token", "T")
        address = f"ws://127.0.0.1:{relay.port}/ingest"
        camera = self.serve("--push", address, "--token", "T")
        for server in (relay, camera):
            self.assertEqual(server.get("/stats").status, 401)
            self.assertEqual(server.get("/capture?token=T").status, 200)
        self.assertEqual(relay.get("/stats?token=T").json()["source"]["kind"], "ingest")

    def test_the_camera_rests_while_nobody_watches(self):
        relay = self.relay()
        camera = self.camera(relay)
        eventually("the camera is let in", lambda: relay.stats()["source"]["state"] == "idle")
        for _ in range(2):
            stream = relay.stream()
            stream.parts(3)
            self.assertEqual(camera.stats()["source"]["state"], "streaming")
            stream.close()
            eventually("it rests", lambda: camera.stats()["source"]["state"] == "idle")
            captured = camera.stats()["source"]["captured"]
            time.sleep(0.5)
            self.assertEqual(camera.stats()["source"]["captured"], captured)
        self.assertEqual(relay.stats()["source"]["state"], "idle")

    def test_a_rate_for_the_push_alone(self):
        relay = self.relay()
        camera = self.camera(relay, "--fps", 30, "--push-fps", 2)
        self.watch(relay).parts(2)
        self.assertEqual(self.watched(camera)["fps_cap"], 2)

    def test_a_connection_that_is_cut_every_five_seconds(self):
        relay = self.relay()
        proxy = Proxy(relay.port)
        self.addCleanup(proxy.close)
        camera = self.camera(proxy, "--fps", 20)
        there, sent = [], []
        streams = [self.watch(camera, "/stream?mode=all"), self.watch(relay, "/stream?mode=all")]
        threads = [self.collect(streams[0], sent), self.collect(streams[1], there)]
        viewer = self.enterContext(sockets(f"ws://127.0.0.1:{relay.port}/ws"))
        eventually("pictures arrive", lambda: len(there) > 5)
        cuts = []
        for _ in range(3):
            time.sleep(5)
            known = len(proxy.accepted)
            cuts.append((time.time(), known))
            proxy.cut()
            eventually("the camera is back", lambda: len(proxy.accepted) > known)
        last = there[-1].number
        eventually("pictures arrive again", lambda: there[-1].number > last + 20)
        # The viewers have noticed nothing but a pause.
        self.assertTrue(all(thread.is_alive() for thread in threads))
        for _ in range(3):
            viewer.recv(PATIENCE)
        viewer.close()
        self.assertEqual(relay.stats()["source"]["state"], "streaming")

        arrived = [part.jpeg for part in there]
        numbers = {part.jpeg: part.number for part in sent}
        new = [numbers[jpeg] for i, jpeg in enumerate(arrived) if i == 0 or jpeg != arrived[i - 1]]
        self.assertEqual(new, sorted(set(new)), "in order, and none twice")
        outages = [(cut - 0.5, proxy.accepted[known] + 1) for cut, known in cuts]
        lost = []
        for part in sent:
            if new[0] < part.number < new[-1] and part.jpeg not in arrived:
                lost.append(part.number)
                in_outage = any(begin <= part.time <= end for begin, end in outages)
                self.assertTrue(in_outage, f"{part.headers} is lost, outages: {outages}")
        self.assertLess(len(lost), 3 * 30, "of some 400 pictures")

    def test_who_may(self):
        relay = self.relay()
        for headers in ({}, {"Authorization": "Bearer U"}):
            with self.assertRaises(InvalidStatus) as refused:
                push(relay, additional_headers=headers)
            self.assertEqual(refused.exception.response.status_code, 401)
        with push(relay):
            with self.assertRaises(InvalidStatus) as refused:
                push(relay)
            self.assertEqual(refused.exception.response.status_code, 409)
            second = self.camera(relay)
            eventually("it says so", lambda: "another camera pushes there (409)" in second.log)
        address = f"ws://127.0.0.1:{relay.port}/ingest"
        wrong = self.serve("--push", address, "--push-token", "U")
        eventually("it says so", lambda: "the token is wrong (401)" in wrong.log)
        plain = self.serve()
        address = f"ws://127.0.0.1:{plain.port}/ingest"
        nowhere = self.serve("--push", address, "--push-token", "T")
        eventually("it says so", lambda: "it takes no pictures there (404)" in nowhere.log)

    def test_ingest_needs_a_token(self):
        done = subprocess.run(
            [*self.serve().process.args[:2], "--source", "ingest"], capture_output=True, timeout=PATIENCE
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--ingest-token", done.stderr)

    def test_goodbyes(self):
        relay = self.relay()
        camera = self.camera(relay)
        stream = self.watch(relay)
        stream.parts(3)
        self.assertEqual(camera.interrupt(), 0)
        eventually("it is seen", lambda: relay.stats()["source"]["state"] == "waiting")
        self.assertEqual(relay.interrupt(), 0)
        with self.assertRaises(EOFError):
            stream.parts(100)
        # After the delimiter that is sent with each part.
        closing = b"\r\n" + stream.delimiter[:-2] + b"--\r\n"
        self.assertEqual(bytes(stream.buffer), closing, "the stream ends as it should")


class Encrypted(Relay):
    """wss:// in both directions, with a certificate that the system is told to trust."""

    def certificate(self, *names):
        folder = self.folder()
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        done = run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=camwire test", "-keyout", key, "-out", certificate),
            *("-addext", "subjectAltName=" + ",".join(names)),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context, certificate

    def server(self, handler, context):
        server = serve(handler, "127.0.0.1", 0, compression=None, ssl=context)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        return server.socket.getsockname()[1]

    def trusting(self, certificate, *args):
        with unittest.mock.patch.dict("os.environ", SSL_CERT_FILE=str(certificate)):
            return self.serve(*args)

    def test_pushed_and_pulled(self):
        context, certificate = self.certificate("DNS:localhost", "IP:127.0.0.1")
        pushed = queue.Queue()

        def relay(camera):
            with contextlib.suppress(ConnectionClosed):
                for message in camera:
                    pushed.put(message)

        for host in ("localhost", "127.0.0.1"):
            port = self.server(relay, context)
            self.trusting(certificate, "--push", f"wss://{host}:{port}/ingest")
            for _ in range(3):
                self.assertEqual(size_of(pushed.get(timeout=PATIENCE)), (640, 480))

        pictures = make_pictures(30, "320x240")

        def camera(viewer):
            with contextlib.suppress(ConnectionClosed):
                for picture in pictures:
                    viewer.send(picture)
                    time.sleep(0.03)

        port = self.server(camera, context)
        relay = self.trusting(certificate, "--source", f"wss://localhost:{port}/")
        parts = self.watch(relay).parts(20)
        self.assertLessEqual({part.jpeg for part in parts}, set(pictures))

    def test_whom_nobody_trusts(self):
        context, certificate = self.certificate("DNS:elsewhere.example")
        _, other = self.certificate("DNS:localhost")
        port = self.server(lambda _: None, context)
        for trusted in (certificate, other):
            camera = self.trusting(trusted, "--push", f"wss://localhost:{port}/ingest")
            eventually("it says so", lambda: "certificate" in camera.log)


class Scripts(Relay):
    """What somebody writes who has read three lines about it."""

    def test_bare_pictures(self):
        pictures = make_pictures(30, "320x240")
        relay = self.relay()
        stop = threading.Event()

        def work():
            with push(relay) as camera:
                while not stop.is_set():
                    for picture in pictures:
                        camera.send(picture)
                        time.sleep(0.02)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        parts = self.watch(relay).parts(20)
        self.assertLessEqual({part.jpeg for part in parts}, set(pictures))
        self.assert_numbers_add_up(parts)
        source = relay.stats()["source"]
        self.assertEqual((source["width"], source["height"]), (320, 240))

    def test_credit_and_acknowledgements(self):
        (picture,) = make_pictures(1, "320x240")
        relay = self.relay()
        with push(relay, subprotocols=["camwire.v1"]) as camera:
            self.assertEqual(camera.subprotocol, "camwire.v1")
            with self.assertRaises(TimeoutError):
                camera.recv(0.3)
            stream = relay.stream()
            kind, credit = camera.recv(PATIENCE)
            self.assertEqual(kind, 2)
            self.assertIn(credit, range(1, 9))
            for number in (7, 9):
                head = struct.pack(">BBHIQQ", 1, 0, 24, 0, number, 1_000_000 * number)
                camera.send(head + picture)
                self.assertEqual(camera.recv(PATIENCE), struct.pack(">BQ", 1, number))
            self.assertEqual(stream.part().jpeg, picture)
            stream.close()
            self.assertEqual(camera.recv(PATIENCE), b"\x02\x00")
            camera.send(b"what")
            with self.assertRaises(ConnectionClosed) as closed:
                camera.recv(PATIENCE)
            self.assertEqual(closed.exception.rcvd.code, 1008)

    def test_what_is_no_picture(self):
        (picture,) = make_pictures(1, "320x240")
        relay = self.relay()
        stream = self.watch(relay)
        with push(relay) as camera:
            eventually("it is wanted", lambda: relay.stats()["source"]["state"] == "starting")
            for junk in (b"", b"hello", picture[:-100], picture[:200] * 30_000):
                camera.send(junk)
                camera.send(picture)
            camera.send("and text is none at all")
            stream.parts(3)
            eventually("it is counted", lambda: relay.stats()["source"]["errors"] == 4)
            self.assertEqual(relay.stats()["source"]["captured"], 4)


class Pulling(Relay):
    def test_another_camwire(self):
        first = self.serve("--fps", 20)
        second = self.serve("--source", f"ws://127.0.0.1:{first.port}/ws")
        third = self.serve("--source", f"ws://127.0.0.1:{second.port}/")
        originals = []
        self.collect(self.watch(first, "/stream?mode=all"), originals)
        end = self.watch(third)
        parts = end.parts(30)
        transports = [viewer["transport"] for viewer in first.stats()["viewers"]]
        self.assertEqual(sorted(transports), ["mjpeg", "websocket"])
        self.assertEqual(second.stats()["source"]["kind"], "websocket")
        self.assert_are_of({part.jpeg for part in parts}, originals)
        end.close()
        eventually("nobody pulls", lambda: len(first.stats()["viewers"]) == 1)

    def test_with_a_token(self):
        first = self.serve("--token", "T")
        address = f"ws://127.0.0.1:{first.port}/ws"
        for args in ((address + "?token=T",), (address, "--source-token", "T")):
            relay = self.serve("--source", *args)
            self.assertEqual(relay.get("/capture").status, 200)
        relay = self.serve("--source", address)
        self.watch(relay)
        eventually("it says so", lambda: "answers 401: it asks for a login" in relay.log)

    def test_the_older_demo(self):
        """One JPEG in each message, to whoever comes, at any path; and a greeting."""
        pictures = make_pictures(30, "320x240")
        paths = []

        def demo(viewer):
            paths.append(viewer.request.path)
            with contextlib.suppress(ConnectionClosed):
                viewer.send("hello")
                # It goes away now and then.
                for picture in pictures:
                    viewer.send(picture)
                    time.sleep(0.03)

        server = serve(demo, "127.0.0.1", 0, compression=None)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        port = server.socket.getsockname()[1]
        relay = self.serve("--source", f"ws://127.0.0.1:{port}/")
        stream = self.watch(relay)
        seen = set()

        def more():
            seen.add(stream.part().jpeg)
            return len(seen) > 20 and len(paths) > 1

        eventually("it comes back", more, pause=0)
        self.assertLessEqual(seen, set(pictures))
        self.assertEqual(set(paths), {"/"})
