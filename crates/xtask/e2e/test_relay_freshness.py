"""What a relay shows is of now: with a rate limit, after damaged frames, and each frame once."""

import hashlib
import json
import signal
import statistics
import subprocess
import time

from camwire import HOST, Case, die_with_parent, eventually, in_threads, make_pictures, run
from misbehave import DAMAGED_MESSAGES, DAMAGED_PARTS, Live, Scripted, marked, message, number_of
from misbehave import part, stamp


class Fresh(Case):
    @classmethod
    def setUpClass(cls):
        cls.jpeg, cls.other = make_pictures(2, "320x240")

    def camera(self, camera):
        self.addCleanup(camera.close)
        return camera

    def relay(self, camera, *args):
        return self.serve("--source", camera.url(), *args)

    def new_parts(self, relay, path="/stream"):
        """The parts of a stream without repeats, as they come."""
        stream, last = self.watch(relay, path), None
        while True:
            part = stream.part()
            if part.number != last:
                last = part.number
                yield part


class RateLimit(Fresh):
    """A camera of 15 frames a second. Before, a relay was 10 s behind after 11 s."""

    def assert_fresh(self, lags):
        """At most 2 frames behind; three times that, should this machine have been busy just then."""
        self.assertLessEqual(statistics.median(lags), 2, lags)
        self.assertLessEqual(max(lags), 6, lags)

    def lags(self, fps, websocket, send_buffer):
        """How many frames a viewer is behind the camera, for 8 s."""
        camera = self.camera(Live(self.jpeg, websocket=websocket, send_buffer=send_buffer))
        relay = self.relay(camera, "--fps", fps)
        end, lags = time.monotonic() + 8, []
        for part in self.new_parts(relay):
            lags.append(camera.newest - number_of(part.jpeg))
            if time.monotonic() > end:
                break
        self.assertGreaterEqual(len(lags), 8 * fps // 2)
        self.assertLessEqual(len(lags), 9 * fps + 2)
        self.assertEqual(len(camera.clients), 1)
        source = relay.stats()["source"]
        self.assertEqual((source["state"], source["errors"], source["dropped"]), ("streaming", 0, 0))
        return lags

    def test_viewer_of_a_relay(self):
        for fps in (1, 5):
            for send_buffer in (None, 4096):
                with self.subTest(fps=fps, send_buffer=send_buffer):
                    both = [lambda ws=ws: self.lags(fps, ws, send_buffer) for ws in (False, True)]
                    for lags in in_threads(both):
                        self.assert_fresh(lags)

    def test_view(self):
        for fps in (1, 5):
            with self.subTest(fps=fps):
                camera, folder = self.camera(Live(self.jpeg)), self.folder()
                viewer = subprocess.Popen(
                    [HOST, "view", "--headless", "--json", "--fps", str(fps), "--frames", str(6 * fps)]
                    + ["--save", str(folder), camera.url()],
                    stdout=subprocess.PIPE,
                    preexec_fn=die_with_parent,
                )
                with viewer:
                    frames = map(json.loads, viewer.stdout)
                    lags = [
                        camera.newest - number_of((folder / frame["file"]).read_bytes())
                        for frame in frames
                        if frame["type"] == "frame"
                    ]
                self.assertEqual(len(lags), 6 * fps)
                self.assert_fresh(lags)

    def test_bursts(self):
        """A camera that sends ten frames at once, once a second: the last of them is the newest."""

        def script():
            for number in range(10_000):
                yield part()(stamp(self.jpeg, number))
                if number % 10 == 9:
                    time.sleep(1)

        relay = self.relay(self.camera(Scripted(script)), "--fps", "1")
        parts = self.new_parts(relay)
        numbers = [number_of(next(parts).jpeg) for _ in range(8)]
        behind = [9 - number % 10 for number in numbers[1:]]
        self.assertLessEqual(statistics.median(behind), 2, numbers)

    def test_relay_that_was_stopped_for_a_while(self):
        """What came meanwhile is old, and not shown."""
        camera = self.camera(Live(self.jpeg))
        relay = self.relay(camera, "--fps", "1")
        parts = self.new_parts(relay)
        lags = []
        for _ in range(3):
            next(parts)
            relay.process.send_signal(signal.SIGSTOP)
            time.sleep(2)
            relay.process.send_signal(signal.SIGCONT)
            lags.append(camera.newest - number_of(next(parts).jpeg))
        self.assert_fresh(lags)


class Damage(Fresh):
    """Before, a run of 12 damaged frames stopped a relay for 31 s."""

    def first_after(self, websocket, damaged, count):
        """Sends good frames, then so many damaged ones, then good ones. Of the last, returns which
        arrives first, counted from 0, and after how many seconds; then the relay's errors, and the
        lines of its log."""
        wrap, sent = message if websocket else part(), {}

        def script():
            for number in range(5):
                yield wrap(stamp(self.jpeg, number))
                time.sleep(0.05)
            for _ in range(count):
                yield damaged
                time.sleep(0.001)
            for number in range(100, 10_000):
                sent[number] = time.monotonic()
                yield wrap(stamp(self.jpeg, number))
                time.sleep(0.05)

        camera = self.camera(Scripted(script, websocket=websocket))
        relay = self.relay(camera)
        for got in self.new_parts(relay):
            number = number_of(got.jpeg)
            if number >= 100:
                break
        seconds = time.monotonic() - sent[number]
        eventually("it looks well", lambda: relay.stats()["source"]["state"] == "streaming")
        self.assertEqual(relay.get("/healthz").status, 200)
        self.assertEqual(len(camera.clients), 1, "it has not connected again")
        errors = relay.stats()["source"]["errors"]
        lines = len(relay.log.splitlines())
        relay.close()
        camera.close()
        return number - 100, seconds, errors, lines

    def assert_no_delay(self, damages, websocket, counts):
        for name, damaged in damages.items():
            for count in counts:
                if "larger" in name:
                    count = min(count, 12)
                with self.subTest(damage=name, count=count, websocket=websocket):
                    after = self.first_after(websocket, damaged(self.other), count)
                    number, seconds, errors, lines = after
                    self.assertEqual(number, 0, "the first good frame is shown")
                    self.assertLess(seconds, 3)
                    self.assertEqual(errors, count)
                    self.assertLessEqual(lines, 6, "the log is short")

    def test_parts(self):
        self.assert_no_delay(DAMAGED_PARTS, False, (1, 12, 500))

    def test_messages(self):
        self.assert_no_delay(DAMAGED_MESSAGES, True, (1, 12, 500))

    def test_stream_of_damaged_frames_only(self):
        """Bytes flow, but no frames: it does not look well, and says why."""

        def script():
            while True:
                yield part()(self.jpeg[:-400])
                time.sleep(0.02)

        camera = self.camera(Scripted(script))
        relay = self.relay(camera)
        viewer = relay.request(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.addCleanup(viewer.close)
        eventually("the relay is not well", lambda: relay.get("/healthz").status == 503)
        source = relay.stats()["source"]
        self.assertEqual((source["state"], source["captured"]), ("failed", 0))
        self.assertIn("no whole JPEG", source["error"])
        time.sleep(12)
        self.assertEqual(len(camera.clients), 1)
        said = [line for line in relay.log.splitlines() if "JPEG" in line]
        self.assertLessEqual(len(said), 3, relay.log)
        self.assertRegex(said[-1], r"\d+ frames were damaged")


class Repeats(Fresh):
    def view(self, url, frames, *args):
        """What `view --save` saves: the files in order, and the numbers it says they have."""
        folder = self.folder()
        args = ("--headless", "--json", "--save", folder, "--frames", frames, *args, url)
        done = run(HOST, "view", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
        seen = [line for line in lines if line["type"] == "frame"]
        return [(folder / frame["file"]).read_bytes() for frame in seen], [
            frame["sequence"] for frame in seen
        ]

    def assert_different(self, files, count):
        self.assertEqual(len({hashlib.sha256(file).digest() for file in files}), count)

    def repeating(self, times=4, pause=0.05, mark=lambda number: (number, number)):
        """A camera that sends each frame so many times, marked the same."""

        def script():
            for number in range(1, 10_000):
                for _ in range(times):
                    yield marked(stamp(self.jpeg, number), *mark(number))
                    time.sleep(pause)

        return self.camera(Scripted(script))

    def test_view_of_a_camera_of_half_a_frame_a_second(self):
        """The server of camwire itself repeats the last frame each second, for browsers."""
        server = self.serve("--fps", "0.5")
        relay = self.serve("--source", server.url("/stream"))
        again = self.serve("--source", relay.url("/stream"))
        views = [
            lambda url=url: self.view(url, 4)
            for url in (server.url("/stream"), relay.url("/stream"), again.url("/stream"))
        ]
        for files, numbers in in_threads(views):
            self.assert_different(files, 4)
            self.assertEqual(numbers, sorted(set(numbers)))

    def test_each_frame_of_a_server_that_repeats_them_is_saved_once(self):
        for mark in (lambda n: (n, n), lambda n: (n, None), lambda n: (None, n)):
            files, _ = self.view(self.repeating(mark=mark).url(), 8)
            self.assertEqual([number_of(file) for file in files], list(range(1, 9)))

    def test_wrong_numbers_lose_no_frame(self):
        """Constant ones, wrong ones, and ones that start anew."""
        for name, mark in {
            "constant": lambda n: (0, None),
            "constant, and so is the time": lambda n: (0, "0.000000"),
            "only a constant time": lambda n: (None, "12.5"),
            "they start anew": lambda n: (n % 3, n % 3),
            "backwards": lambda n: (1000 - n, None),
        }.items():
            with self.subTest(name):
                files, _ = self.view(self.repeating(times=1, mark=mark).url(), 12)
                self.assertEqual([number_of(file) for file in files], list(range(1, 13)))

    def test_frames_without_numbers_are_all_new(self):
        """Nothing says that they are the same but their bytes, and so may be those of a still scene."""

        def script():
            while True:
                yield part()(self.jpeg)
                time.sleep(0.05)

        files, _ = self.view(self.camera(Scripted(script)).url(), 6)
        self.assertEqual(files, [self.jpeg] * 6)

    def test_across_connections(self):
        """A camera that ends its stream now and then, and begins with the frame it ended with."""
        state = {"number": 0}

        def script():
            for turn in range(4):
                yield marked(stamp(self.jpeg, state["number"]), state["number"], state["number"])
                time.sleep(0.05)
                state["number"] += turn < 3

        camera = self.camera(Scripted(script))
        files, numbers = self.view(camera.url(), 10)
        self.assertGreater(len(camera.clients), 2)
        self.assertEqual([number_of(file) for file in files], list(range(10)))

    def test_single_frames(self):
        """A server of single frames that is asked more often than it has new ones."""
        start = time.monotonic()

        class Stills(Scripted):
            def answer(self, request):
                self.number = int((time.monotonic() - start) * 2)
                return self.head.replace("\r\n\r\n", f"\r\nX-Frame: {self.number}\r\n\r\n")

        camera = self.camera(Stills(lambda: iter([stamp(self.jpeg, camera.number)]), "image/jpeg"))
        files, numbers = self.view(camera.url(), 5, "--fps", "20")
        self.assertEqual([number_of(file) for file in files], numbers)
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertGreater(len(camera.clients), 5, "else it was not asked more often")

    def test_slow_camera_is_not_silent(self):
        """One frame in 20 s. That the server lives is seen by the repeats."""

        def script():
            for number in range(100):
                for _ in range(20):
                    yield marked(stamp(self.jpeg, number), number, number)
                    time.sleep(1)

        camera = self.camera(Scripted(script))
        relay = self.relay(camera)
        parts = self.new_parts(relay)
        first = next(parts)
        health = set()
        end = time.monotonic() + 18
        while time.monotonic() < end:
            health.add(relay.get("/healthz").status)
            time.sleep(0.5)
        self.assertEqual(health, {200})
        self.assertEqual(number_of(next(parts).jpeg), number_of(first.jpeg) + 1)
        source = relay.stats()["source"]
        self.assertEqual((source["captured"], source["errors"]), (2, 0), relay.log)
        self.assertEqual(len(camera.clients), 1)
