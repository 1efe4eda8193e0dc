"""Relays: of camwire itself, of ffmpeg, and of servers that misbehave."""

import socket
import subprocess

from camwire import Case, die_with_parent, decode, eventually, in_threads, make_pictures, size_of
from misbehave import Camera, part


class Relay(Case):
    @classmethod
    def setUpClass(cls):
        cls.pictures = make_pictures(40, "320x240")

    def relay(self, source, *args):
        return self.serve("--source", source, *args)

    def camera(self, *args, pictures=None, **options):
        camera = Camera(pictures or self.pictures, *args, **options)
        self.addCleanup(camera.close)
        return camera

    def assert_pictures_arrive(self, camera, count=25):
        """What comes out of a relay of this camera are its pictures, whole and unchanged."""
        relay = self.relay(camera.url())
        parts = self.watch(relay).parts(count)
        for number, part in enumerate(parts):
            self.assertIn(part.jpeg, camera.pictures, f"picture {number} is not the camera's")
        self.assertGreater(len({part.jpeg for part in parts}), 10)
        self.assert_numbers_add_up(parts)
        self.assertIn(relay.get("/capture").body, camera.pictures)
        self.assertEqual(relay.get("/healthz").status, 200)
        source = relay.stats()["source"]
        self.assertEqual((source["width"], source["height"]), (320, 240))

    def test_relay_of_a_relay(self):
        first = self.serve("--fps", 15)
        second = self.relay(first.url("/stream"))
        third = self.relay(second.url("/stream"))
        original = self.watch(first, "/stream?mode=all")
        end = self.watch(third)
        end.part()

        originals, relayed = in_threads([lambda: original.parts(120), lambda: end.parts(30)])
        before = {part.jpeg for part in originals}
        same = [part for part in relayed if part.jpeg in before]
        self.assertGreater(len(same), 20, "the same pictures come out, byte for byte")
        self.assert_numbers_add_up(relayed)
        self.assertEqual(len(set(decode([part.jpeg for part in same]))), len(same))
        self.assertEqual(size_of(third.get("/capture").body), (640, 480))
        for server in (first, second, third):
            self.assertEqual(server.get("/healthz").status, 200)

    def test_relay_without_viewers_leaves_the_camera_alone(self):
        first = self.serve()
        relay = self.relay(first.url("/stream"))
        viewer = self.watch(relay)
        viewer.parts(3)
        self.assertEqual(len(first.stats()["viewers"]), 1)
        viewer.close()
        eventually("the relay hangs up", lambda: not first.stats()["viewers"])
        self.assertEqual(relay.get("/healthz").status, 200)

    def test_relay_of_ffmpeg(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        address = f"http://127.0.0.1:{port}/"
        ffmpeg = subprocess.Popen(
            [
                *("ffmpeg", "-loglevel", "error", "-re", "-f", "lavfi"),
                *("-i", "testsrc=size=320x240:rate=10", "-pix_fmt", "yuvj420p", "-f", "mpjpeg"),
                *("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg"),
                *("-listen", "1", address),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        try:
            # It serves one client, ever; the relay tries until it is there.
            parts = self.watch(self.relay(address)).parts(20)
        finally:
            ffmpeg.kill()
            said = ffmpeg.communicate()[1]
        self.assertEqual(size_of(parts[0].jpeg), (320, 240), said)
        self.assertGreater(len(set(decode([part.jpeg for part in parts]))), 15)

    def test_plain(self):
        self.assert_pictures_arrive(self.camera(part(), "multipart/x-mixed-replace;boundary=frame"))

    def test_no_content_length(self):
        camera = self.camera(part(length=None), "multipart/x-mixed-replace; boundary=frame")
        self.assert_pictures_arrive(camera)

    def test_dashed_boundary(self):
        """`boundary=--frame` in the header, `--frame` in the body."""
        for length in ("{}", None):
            with self.subTest(length=length):
                kind = "multipart/x-mixed-replace; boundary=--frame"
                self.assert_pictures_arrive(self.camera(part(length=length), kind))

    def test_doubly_dashed_boundary(self):
        """The same header, taken at its word: `----frame` in the body."""
        kind = "multipart/x-mixed-replace; boundary=--frame"
        self.assert_pictures_arrive(self.camera(part(b"----frame"), kind))

    def test_quoted_boundary(self):
        kind = 'multipart/x-mixed-replace; boundary="frame"'
        self.assert_pictures_arrive(self.camera(part(), kind))

    def test_unquoted_special_boundary(self):
        """As the multi-client server of the ESP32 writes it: after each part, and once before."""
        mark = b"\r\n--+++===123454321===+++\r\n"

        def dialect(jpeg):
            return b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + mark

        kind = "multipart/x-mixed-replace; boundary=+++===123454321===+++"
        self.assert_pictures_arrive(self.camera(dialect, kind, before=mark))

    def test_padded_content_length(self):
        kind = "multipart/x-mixed-replace; boundary=frame"
        self.assert_pictures_arrive(self.camera(part(length="{:9}"), kind))

    def test_preamble(self):
        before = b"This is a message with multiple parts in MIME format.\r\n" * 20
        for length in ("{}", None):
            with self.subTest(length=length):
                kind = "multipart/x-mixed-replace; boundary=frame"
                self.assert_pictures_arrive(self.camera(part(length=length), kind, before=before))

    def test_bare_newlines(self):
        kind = "multipart/x-mixed-replace; boundary=frame"
        self.assert_pictures_arrive(self.camera(part(newline=b"\n"), kind))

    def test_missing_first_delimiter(self):
        def dialect(jpeg):
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            return head + jpeg + b"\r\n--frame\r\n"

        self.assert_pictures_arrive(self.camera(dialect, "multipart/x-mixed-replace;boundary=frame"))

    def test_chunked(self):
        """As Espressif's httpd sends its stream."""
        for length in ("{}", None):
            with self.subTest(length=length):
                kind = "multipart/x-mixed-replace;boundary=123456789000000000000987654321"
                mark = b"\r\n--123456789000000000000987654321"
                camera = self.camera(part(mark, length=length), kind, chunked=True)
                self.assert_pictures_arrive(camera)

    def test_boundary_inside_the_picture(self):
        """With a length it is no delimiter."""
        # A comment segment right after SOI that holds the delimiter.
        comment = b"\xff\xfe\x00\x11\r\n--frame\r\nX: y"
        pictures = [jpeg[:2] + comment + jpeg[2:] for jpeg in self.pictures]
        decode(pictures[:1])
        kind = "multipart/x-mixed-replace;boundary=frame"
        self.assert_pictures_arrive(self.camera(part(), kind, pictures=pictures))

    def assert_right_or_told(self, camera):
        """Never a torn picture; and if there are none, the log and /stats say so."""
        relay = self.relay(camera.url())
        quiet = relay.log
        viewer = relay.connect()
        self.addCleanup(viewer.close)
        viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")

        def outcome():
            source = relay.stats()["source"]
            return source["captured"] > 5 or (relay.log != quiet and source["state"] == "failed")

        eventually("pictures, or a clear error", outcome)
        self.assertTrue(relay.alive())
        if relay.stats()["source"]["captured"] > 5:
            for part in self.watch(relay).parts(10):
                self.assertIn(part.jpeg, self.pictures)

    def test_lying_lengths(self):
        kind = "multipart/x-mixed-replace; boundary=frame"
        for lie in (-1, 1, -500, 500, 100_000):
            with self.subTest(lie=lie):
                self.assert_right_or_told(self.camera(part(lie=lie), kind))

    def test_absurd_lengths(self):
        kind = "multipart/x-mixed-replace; boundary=frame"
        for length in ("-5", "99999999999999999999999", "many", "4294967296", "1e3", ""):
            with self.subTest(length=length):
                self.assert_right_or_told(self.camera(part(length=length), kind))

    def test_not_a_stream_at_all(self):
        relay = self.relay(self.serve().url("/stats"))
        self.watch_for_failure(relay)

    def test_no_such_path(self):
        relay = self.relay(self.serve().url("/nonsense"))
        self.watch_for_failure(relay)

    def watch_for_failure(self, relay):
        quiet = relay.log
        viewer = relay.connect()
        self.addCleanup(viewer.close)
        viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually("the relay is not well", lambda: relay.get("/healthz").status == 503)
        eventually("the log says why", lambda: relay.log != quiet)
        self.assertTrue(relay.alive())

    def test_camera_that_dies_and_comes_back(self):
        kind = "multipart/x-mixed-replace; boundary=frame"
        camera = self.camera(part(), kind)
        relay = self.relay(camera.url())
        viewer = self.watch(relay)
        before = viewer.parts(10)[-1]
        self.assertEqual(relay.get("/healthz").status, 200)
        camera.close()
        # The viewer stays, and gets the last picture again meanwhile.
        eventually("/healthz tells the truth", lambda: relay.get("/healthz").status == 503)
        while (after := viewer.part()).number != before.number:
            before = after
        self.assertEqual(after.jpeg, before.jpeg)
        self.assertEqual(len(relay.stats()["viewers"]), 1)

        again = self.camera(part(), kind, port=camera.port)
        self.assertEqual(again.port, camera.port)
        self.assertGreater(viewer.until_new(before.number).number, before.number)
        self.assertGreater(len({part.jpeg for part in viewer.parts(20)}), 10)
        eventually("/healthz is well again", lambda: relay.get("/healthz").status == 200)
        self.assertTrue(relay.alive())

    def test_camera_that_comes_late(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        relay = self.relay(f"http://127.0.0.1:{port}/stream")
        viewer = relay.connect()
        self.addCleanup(viewer.close)
        viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually("/healthz tells the truth", lambda: relay.get("/healthz").status == 503)
        self.camera(part(), "multipart/x-mixed-replace; boundary=frame", port=port)
        eventually("/healthz is well", lambda: relay.get("/healthz").status == 200)
        self.assertIn(self.watch(relay).part().jpeg, self.pictures)
