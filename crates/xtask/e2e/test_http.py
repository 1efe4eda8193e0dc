"""Every route, and every error, by curl."""

import gzip
import json
import re
import tempfile
import time
from pathlib import Path

from camwire import PATIENCE, Case, Response, decode, eventually, fields, run, size_of


def curl(url, *options, status_only=False):
    """One request. `--max-time` is there for streams, which never end."""
    with tempfile.TemporaryDirectory() as folder:
        head, body = Path(folder, "head"), Path(folder, "body")
        done = run(
            *("curl", "--silent", "--show-error", "--max-time", PATIENCE / 2, "--path-as-is"),
            *("--dump-header", head, "--output", body, *options, url),
        )
        assert head.exists() and head.stat().st_size, (url, done.stderr)
        lines = head.read_bytes().decode("latin-1").split("\r\n\r\n")[-2].split("\r\n")
        content = body.read_bytes() if body.exists() else b""
        return Response(int(lines[0].split(" ")[1]), fields(lines[1:]), content)


class Routes(Case):
    def test_capture(self):
        server = self.serve()
        for path in ("/capture", "/jpg"):
            answer = curl(server.url(path))
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.headers["content-type"], "image/jpeg")
            self.assertEqual(int(answer.headers["content-length"]), len(answer.body))
            self.assertIn("no-store", answer.headers["cache-control"])
            self.assertRegex(answer.headers["x-timestamp"], r"^\d+\.\d{6}$")
            self.assertEqual(size_of(answer.body), server.size)
            decode([answer.body])

    def test_stream(self):
        server = self.serve()
        for path in ("/stream", "/mjpeg/1"):
            stream = self.watch(server, path)
            self.assertEqual(stream.status, 200)
            self.assertIn("no-store", stream.headers["cache-control"])
            self.assertEqual(stream.headers["connection"].lower(), "close")
            self.assertNotIn("transfer-encoding", stream.headers)
            self.assertNotIn("content-length", stream.headers)
            parts = stream.parts(20)
            for part in parts:
                self.assertEqual(int(part.headers["content-length"]), len(part.jpeg))
                self.assertRegex(part.headers["x-timestamp"], r"^\d+\.\d{6}$")
            self.assert_numbers_add_up(parts)
            self.assertEqual(parts[0].missed, 0)
            times = [part.time for part in parts]
            self.assertEqual(times, sorted(times))
            sums = decode([part.jpeg for part in parts])
            self.assertEqual(len(set(sums)), len({part.number for part in parts}))

    def test_stream_at_a_rate_of_ones_own(self):
        server = self.serve(fps=20)
        parts = self.watch(server, "/stream?fps=4").parts(9)
        pace = (parts[-1].time - parts[0].time) / 8
        self.assertGreater(pace, 0.2, "four pictures in a second")
        self.assertEqual(sum(part.missed for part in parts), 0, "what was not wanted is not missed")

    def test_stream_in_order(self):
        parts = self.watch(self.serve(), "/stream?mode=all").parts(20)
        self.assert_numbers_add_up(parts)

    def test_stream_with_headers_sent_in_advance(self):
        stream = self.watch(self.serve(fps=2), "/stream?advance_headers=1")
        jpegs, early = [], 0
        for _ in range(5):
            part = stream.part()
            self.assertNotIn("content-length", part.headers)
            jpegs.append(part.jpeg)
            head = stream._until(b"\r\n\r\n")
            early += not stream.buffer
            stream.buffer[:0] = head
        decode(jpegs)
        # (Unless this process was too late to see it.)
        self.assertGreater(early, 1, "the next part's head is here before its picture is taken")

    def test_page_asks_nobody_else(self):
        answer = curl(self.serve().url("/"))
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.headers["content-type"].startswith("text/html"))
        self.assertEqual(int(answer.headers["content-length"]), len(answer.body))
        page = answer.body.decode()
        self.assertIn('href="stream"', page)
        # (The names of XML namespaces are not addresses.)
        outside = re.findall(r"(?:https?:)?//[\w.-]+", page.replace("http://www.w3.org/", ""))
        self.assertEqual([found for found in outside if found[:2] != "//"], [])
        self.assertNotRegex(page, r"""(src|href)\s*=\s*["']?(https?:)?//""")

    def test_page_is_small(self):
        page = self.serve().get("/").body
        self.assertLess(len(gzip.compress(page, 9)), 16 * 1024)

    def test_stats(self):
        server = self.serve()
        viewer = self.watch(server, "/stream?fps=10")
        viewer.parts(3)
        eventually("it is counted", lambda: server.stats()["viewers"][0]["sent"] >= 3)
        answer = curl(server.url("/stats"))
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.headers["content-type"].startswith("application/json"))
        stats = json.loads(answer.body)
        number = (int, float)
        self.assert_shape(stats, {"source": dict, "viewers": list, "uptime_s": number, "time_s": number})
        self.assert_shape(
            stats["source"],
            {
                **{"kind": str, "state": str, "fps": number, "captured": int, "dropped": int},
                **{"width": int, "height": int, "slot_bytes": int},
            },
        )
        self.assertEqual(stats["source"]["kind"], server.kind)
        self.assertEqual((stats["source"]["width"], stats["source"]["height"]), server.size)
        self.assertGreaterEqual(stats["source"]["captured"], 3)
        self.assertEqual(len(stats["viewers"]), 1)
        self.assert_shape(
            stats["viewers"][0],
            {
                **{"id": int, "peer": str, "transport": str, "mode": str, "fps": number},
                **{"sent": int, "missed": int, "bytes": int, "age_ms": number},
            },
        )
        viewer_stats = stats["viewers"][0]
        self.assertRegex(viewer_stats["peer"], r"^[0-9.]+:\d+$")
        self.assertEqual(viewer_stats["mode"], "live")
        self.assertGreater(viewer_stats["bytes"], 1000)
        viewer.close()
        eventually("a viewer that left is gone", lambda: not server.stats()["viewers"])

    def assert_shape(self, value, shape):
        for name, kind in shape.items():
            self.assertIn(name, value)
            self.assertIsInstance(value[name], kind, name)

    def test_nobody_watching_is_no_work(self):
        server = self.serve()
        server.get("/capture")
        viewer = self.watch(server)
        viewer.parts(3)
        viewer.close()
        eventually("the viewer is gone", lambda: not server.stats()["viewers"])
        time.sleep(0.5)
        before = server.stats()["source"]["captured"]
        time.sleep(1.5)
        self.assertEqual(server.stats()["source"]["captured"], before)
        self.assertEqual(server.get("/healthz").status, 200, "nobody wants any, so all is well")

    def test_healthz(self):
        server = self.serve()
        self.assertEqual(curl(server.url("/healthz")).status, 200)
        self.watch(server).parts(3)
        self.assertEqual(curl(server.url("/healthz")).status, 200)

    def test_old_http(self):
        server = self.serve()
        self.assertEqual(curl(server.url("/capture"), "--http1.0").status, 200)


    def test_settings(self):
        """As with Espressif's CameraWebServer."""
        server = self.serve()
        before = curl(server.url("/status")).json()
        self.assertEqual((before["quality"], before["vflip"]), (12, 0))
        for query in ("var=framesize&val=1", "var=quality&val=20", "var=vflip&val=1"):
            answer = curl(server.url(f"/control?{query}"))
            self.assertEqual((answer.status, answer.body), (200, b""))
        after = {**before, "framesize": 1, "quality": 20, "vflip": 1}
        self.assertEqual(curl(server.url("/status")).json(), after)
        self.assertEqual(size_of(curl(server.url("/capture")).body), (160, 120))
        for query in ("var=nonsense&val=1", "var=quality&val=64", "var=agc_gain&val=1", ""):
            self.assertEqual(curl(server.url(f"/control?{query}")).status, 400)
        self.assertEqual(curl(server.url("/status")).json(), after)

    def test_settings_of_which_pictures_get_too_large_are_undone(self):
        server = self.serve()
        curl(server.url("/control?var=framesize&val=6"))
        largest = server.stats()["source"]["slot_bytes"]
        answer = curl(server.url("/control?var=quality&val=0"))
        self.assertEqual(answer.status, 200)
        self.assertLessEqual(len(curl(server.url("/capture")).body), largest)
        self.assertEqual(curl(server.url("/healthz")).status, 200)


class Errors(Case):
    def test_no_such_path(self):
        server = self.serve()
        for path in ("/nonsense", "/stream/", "/..", "/captures", "//", "/%2e%2e/etc/passwd"):
            with self.subTest(path=path):
                self.assertEqual(curl(server.url(path)).status, 404)

    def test_wrong_method(self):
        server = self.serve()
        for path in ("/", "/stream", "/capture", "/stats", "/healthz"):
            for method in ("POST", "DELETE", "PUT"):
                with self.subTest(path=path, method=method):
                    answer = curl(server.url(path), "--request", method)
                    self.assertEqual(answer.status, 405)
                    self.assertIn("GET", answer.headers["allow"])

    def test_head(self):
        server = self.serve()
        for path in ("/", "/stream", "/capture", "/stats", "/healthz"):
            with self.subTest(path=path):
                answer = curl(server.url(path), "--head")
                self.assertEqual(answer.status, 200)
        self.assertEqual(curl(server.url("/nonsense"), "--head").status, 404)

    def test_bad_query(self):
        server = self.serve()
        for query in ("fps=5&mode=all", "mode=some", "fps=fast", "fps=-1", "advance_headers=2x"):
            with self.subTest(query=query):
                self.assertEqual(curl(server.url(f"/stream?{query}")).status, 400)

    def test_bad_request(self):
        server = self.serve()
        for head in (
            b"GET\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
            b"GET / HTTP/1.1\r\n: no name\r\n\r\n",
        ):
            with self.subTest(head=head):
                with server.request(head) as connection:
                    self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 400 "))

    def test_long_head(self):
        server = self.serve()
        many = [part for i in range(40) for part in ("--header", f"X-{i}: {'x' * 1000}")]
        self.assertEqual(curl(server.url("/capture"), *many).status, 431)
        self.assertIn(curl(server.url("/" + "x" * 3000)).status, (414, 431))
        # What does not matter may be long, within the limit of the whole.
        some = ("--header", f"Cookie: {'x' * 3000}")
        self.assertEqual(curl(server.url("/capture"), *some).status, 200)


class Host(Case):
    """What firmware has not, or has in another way: options, many places, the time of day."""

    def test_capture_is_taken_after_it_was_asked_for(self):
        server = self.serve("--fps", 5)
        viewer = self.watch(server)
        for _ in range(5):
            viewer.part()
            asked = time.time()
            answer = curl(server.url("/capture"))
            # The two clocks are read a moment apart, and one of them was rounded.
            self.assertGreater(float(answer.headers["x-timestamp"]), asked - 0.01)

    def test_first_frame_after_idling_is_new(self):
        server = self.serve()
        self.watch(server).close()
        eventually("the viewer is gone", lambda: not server.stats()["viewers"])
        time.sleep(1.5)
        asked = time.time()
        self.assertGreater(self.watch(server).part().time, asked - 0.01)

    def test_every_resolution(self):
        for name, size in (("QQVGA", (160, 120)), ("SVGA", (800, 600)), ("UXGA", (1600, 1200))):
            with self.subTest(name=name):
                server = self.serve("--resolution", name)
                picture = curl(server.url("/capture")).body
                self.assertEqual(size_of(picture), size)
                decode([picture])

    def test_quality_is_a_number_where_less_is_better(self):
        sizes = []
        for quality in (0, 12, 63):
            picture = curl(self.serve("--quality", quality).url("/capture")).body
            decode([picture])
            sizes.append(len(picture))
        self.assertEqual(sizes, sorted(sizes, reverse=True))

    def test_cors_is_an_option(self):
        allow = "access-control-allow-origin"
        origin = ("--header", "Origin: http://elsewhere.example")
        for path in ("/capture", "/stats", "/healthz", "/stream"):
            with self.subTest(path=path):
                limit = ("--max-time", "1") if path == "/stream" else ()
                with_option = curl(self.serve("--cors").url(path), *origin, *limit)
                self.assertEqual(with_option.headers.get(allow), "*")
                without = curl(self.serve().url(path), *origin, *limit)
                self.assertNotIn(allow, without.headers)

    def test_statistics_name_the_peer(self):
        server = self.serve()
        viewer = self.watch(server)
        (stats,) = server.stats()["viewers"]
        self.assertEqual(stats["peer"], "127.0.0.1:%d" % viewer.socket.getsockname()[1])

    def test_too_many_viewers(self):
        server = self.serve("--max-viewers", 2)
        viewers = [self.watch(server) for _ in range(2)]
        for viewer in viewers:
            viewer.part()
        answer = curl(server.url("/stream"))
        self.assertEqual(answer.status, 503)
        self.assertGreater(int(answer.headers["retry-after"]), 0)
        self.assertEqual(curl(server.url("/capture")).status, 200)
        self.assertEqual(curl(server.url("/stats")).status, 200)
        viewers[0].close()
        eventually("a place is free", lambda: self.watch(server).status == 200)
        viewers[1].part()
