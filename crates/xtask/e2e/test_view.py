"""camwire-host view without a window: figures, files and JSON."""

import itertools
import json
import os
import re
import signal
import subprocess
import time

import cv2
import numpy

import broker
from camwire import HOST, PATIENCE, Case, decode, die_with_parent, eventually, in_threads
from camwire import make_pictures, run, size_of
from misbehave import Camera, part

KIND = "multipart/x-mixed-replace; boundary=frame"


def view(*args, **options):
    """Looks without a window, to the end."""
    return run(HOST, "view", "--headless", *args, **options)


def objects(stdout):
    """The pictures, and the summary behind them, of `--json`."""
    *frames, summary = (json.loads(line) for line in stdout.decode().splitlines())
    assert all(frame["type"] == "frame" for frame in frames), frames
    assert summary["type"] == "summary", summary
    return frames, summary


def numbered(numbers, stamp=None):
    """A dialect that gives the pictures these numbers, and a time stamp."""
    numbers = iter(numbers)

    def dialect(jpeg):
        head = f"--frame\r\nContent-Length: {len(jpeg)}\r\nX-Frame: {next(numbers)}\r\n"
        head += f"X-Timestamp: {stamp}\r\n" if stamp else ""
        return head.encode() + b"\r\n" + jpeg + b"\r\n"

    return dialect


def brightness(jpeg):
    """The mean of R+G+B, by OpenCV and numpy."""
    return cv2.imdecode(numpy.frombuffer(jpeg, numpy.uint8), cv2.IMREAD_COLOR).sum(axis=2).mean()


class View(Case):
    def camera(self, dialect=None, pictures=None, **options):
        pictures = pictures or make_pictures(5, "160x120")
        camera = Camera(pictures, dialect or part(), KIND, **options)
        self.addCleanup(camera.close)
        return camera

    def begin(self, *args, **options):
        """A viewer that is to be ended by the test."""
        viewer = subprocess.Popen(
            [HOST, "view", "--headless", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,
            **options,
        )

        def end():
            viewer.kill()
            viewer.communicate()

        self.addCleanup(end)
        return viewer

    def test_figures(self):
        server = self.serve(fps=15)
        done = view("--frames", 40, server.url("/stream"))
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.decode().splitlines()
        figures = r"\d+\.\d fps, 640x480, \d+\.\d kB/s, latency -?\d+ ms, lost 0"
        self.assertTrue(any(re.fullmatch(figures, line) for line in lines), lines)
        told = [line for line in lines if "brightness" in line]
        for line, number in itertools.zip_longest(told, (10, 20, 30, 40)):
            self.assertRegex(line, rf"^picture {number}: average brightness \d+\.\d\d$")
        self.assertRegex(lines[-1], r"^40 pictures, .*: \d+\.\d fps, lost 0, latency -?\d+ ms$")
        eventually("the viewer has left", lambda: not server.stats()["viewers"])

    def test_every_picture_is_saved_as_it_came(self):
        server = self.serve(fps=30, resolution="QVGA")
        stream = self.watch(server, "/stream?mode=all")
        first = stream.part()
        folder = self.folder() / "not" / "yet"
        done, parts = in_threads(
            [
                lambda: view("--save", folder, "--frames", 50, "--json", server.url("/stream")),
                lambda: stream.parts(300),
            ]
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        sent = {part.number: part.jpeg for part in [first, *parts]}
        frames, _ = objects(done.stdout)
        files = sorted(folder.iterdir())
        self.assertEqual(len(files), 50)
        self.assertEqual([file.name for file in files], [frame["file"] for frame in frames])
        for file, frame in zip(files, frames):
            stamp, number = re.fullmatch(r"(\d+\.\d{6})-(\d+)\.jpg", file.name).groups()
            self.assertEqual(int(number), frame["sequence"])
            self.assertLess(abs(float(stamp) - time.time()), 2 * PATIENCE)
            self.assertEqual(file.read_bytes(), sent[int(number)], f"picture {number}")
        self.assertEqual(len(set(decode([file.read_bytes() for file in files]))), 50)
        # They can be looked at again, in the same order.
        done = view(f"dir:{folder}", "--save", folder.parent / "again", "--frames", 50, "--fps", 60)
        again = sorted((folder.parent / "again").iterdir())
        self.assertEqual([a.read_bytes() for a in again], [file.read_bytes() for file in files])

    def test_json(self):
        server = self.serve(fps=30)
        done = view("--json", "--frames", 60, "--brightness-every", 7, server.url("/stream"))
        self.assertEqual(done.returncode, 0, done.stderr)
        frames, summary = objects(done.stdout)
        self.assertEqual([frame["frame"] for frame in frames], list(range(1, 61)))
        for frame in frames:
            self.assertEqual((frame["width"], frame["height"]), (640, 480))
            self.assertLess(abs(frame["timestamp"] - time.time()), 2 * PATIENCE)
            self.assertLess(abs(frame["latency_ms"]), 1000 * PATIENCE)
            self.assertEqual("brightness" in frame, frame["frame"] % 7 == 0)
            self.assertNotIn("file", frame)
        for before, after in zip(frames, frames[1:]):
            self.assertEqual(after["missed"], after["sequence"] - before["sequence"] - 1)
        self.assertEqual(summary["frames"], 60)
        self.assertEqual(summary["bytes"], sum(frame["bytes"] for frame in frames))
        self.assertEqual(summary["missed"], sum(frame["missed"] for frame in frames))
        self.assertEqual(summary["errors"], 0)
        self.assertEqual(
            summary["latency_max_ms"], max(frame["latency_ms"] for frame in frames)
        )
        self.assertGreater(summary["fps"], 0)
        # What is for people is there too, apart from it.
        self.assertRegex(done.stderr.decode(), r"60 pictures, .* fps, lost")

    def test_brightness(self):
        """As OpenCV and numpy have it; decoders differ by less than one step of 765."""
        y, x = numpy.mgrid[0:240, 0:320]
        colours = numpy.stack([x * 255 // 319, y * 255 // 239, (x + y) % 256], axis=2)
        grey = (x * 255 // 319).astype(numpy.uint8)
        pictures = {
            "colours": cv2.imencode(".jpg", colours.astype(numpy.uint8))[1].tobytes(),
            "grey": cv2.imencode(".jpg", grey)[1].tobytes(),
            "black": cv2.imencode(".jpg", numpy.zeros((64, 64, 3), numpy.uint8))[1].tobytes(),
            "white": cv2.imencode(".jpg", numpy.full((63, 65, 3), 255, numpy.uint8))[1].tobytes(),
            "another encoder's": make_pictures(1)[0],
        }
        for name, jpeg in pictures.items():
            with self.subTest(picture=name):
                folder = self.folder()
                (folder / "picture.jpg").write_bytes(jpeg)
                server = self.serve("--source", f"dir:{folder}")
                for source in (server.url("/stream"), f"dir:{folder}"):
                    done = view("--json", "--frames", 2, "--brightness-every", 2, source)
                    told = objects(done.stdout)[0][1]["brightness"]
                    self.assertAlmostEqual(told, brightness(jpeg), delta=1)
                server.close()

    def test_no_brightness(self):
        done = view("--frames", 30, "--fps", 60, "--brightness-every", 0, "test")
        self.assertEqual(done.returncode, 0)
        self.assertNotIn(b"brightness", done.stdout)

    def test_numbers_that_leave_out_some(self):
        numbers = [5, 6, 9, 10, 3, 4, 6, *range(100, 200)]
        done = view("--json", "--frames", 8, self.camera(numbered(numbers)).url())
        frames, summary = objects(done.stdout)
        self.assertEqual([frame["sequence"] for frame in frames], numbers[:8])
        # The camera began anew behind 10.
        self.assertEqual([frame["missed"] for frame in frames], [0, 0, 2, 0, 0, 0, 1, 93])
        self.assertEqual(summary["missed"], 96)
        self.assertIsNone(frames[0]["timestamp"])

    def test_time_since_boot_is_no_latency(self):
        camera = self.camera(numbered(itertools.count(), stamp="12.345678"))
        done = view("--json", "--frames", 3, camera.url())
        frames, summary = objects(done.stdout)
        self.assertEqual(frames[0]["timestamp"], 12.345678)
        self.assertIsNone(frames[0]["latency_ms"])
        self.assertIsNone(summary["latency_ms"])
        self.assertNotIn(b"latency", done.stderr)

    def test_latency_of_an_old_picture(self):
        camera = self.camera(numbered(itertools.count(), stamp=f"{time.time() - 3600:.6f}"))
        frames, _ = objects(view("--json", "--frames", 3, camera.url()).stdout)
        for frame in frames:
            self.assertGreaterEqual(frame["latency_ms"], 3_600_000)
            self.assertLess(frame["latency_ms"], 3_600_000 + 2000 * PATIENCE)

    def test_a_camera_that_dies_and_comes_back(self):
        camera = self.camera()
        viewer = self.begin("--json", "--brightness-every", 0, camera.url())
        for _ in range(10):
            json.loads(viewer.stdout.readline())
        camera.close()
        camera = self.camera(port=camera.port)
        # What was under way when it died is read first.
        later = [json.loads(viewer.stdout.readline()) for _ in range(100)]
        self.assertEqual([frame["frame"] for frame in later], list(range(11, 111)))
        viewer.send_signal(signal.SIGINT)
        rest, said = viewer.communicate(timeout=PATIENCE)
        self.assertEqual(viewer.returncode, 0, said)
        self.assertGreater(objects(rest)[1]["errors"], 0)

    def test_a_camera_that_comes_late(self):
        camera = self.camera()
        camera.close()
        viewer = self.begin("--frames", 3, camera.url())
        self.assertEqual(viewer.stdout.readline(), b"no picture yet\n")
        self.camera(port=camera.port)
        out, said = viewer.communicate(timeout=PATIENCE)
        self.assertEqual(viewer.returncode, 0, said)
        self.assertIn(b"3 pictures", out)

    def test_timeout(self):
        camera = self.camera()
        camera.close()
        done = view("--timeout", 1, camera.url())
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"no picture for 1 s", done.stderr)
        self.assertIn(b"0 pictures", done.stdout)
        # Also later on.
        camera = self.camera()
        viewer = self.begin("--timeout", 1, "--json", camera.url())
        viewer.stdout.readline()
        camera.close()
        out, said = viewer.communicate(timeout=PATIENCE)
        self.assertEqual(viewer.returncode, 1)
        self.assertIn(b"no picture for 1 s", said)
        self.assertGreaterEqual(objects(out)[1]["frames"], 1)

    def test_interrupt_ends_it_with_a_summary(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number=number):
                viewer = self.begin("--brightness-every", 1, "test")
                viewer.stdout.readline()
                viewer.send_signal(number)
                out, said = viewer.communicate(timeout=PATIENCE)
                self.assertEqual((viewer.returncode, said), (0, b""))
                self.assertRegex(out.decode().splitlines()[-1], r"^\d+ pictures?, .* lost 0$")

    def test_a_reader_that_has_enough(self):
        """As `| head -1` has."""
        viewer = self.begin("--json", "test")
        viewer.stdout.readline()
        viewer.stdout.close()
        self.assertEqual(viewer.wait(timeout=PATIENCE), 0)
        self.assertEqual(viewer.stderr.read(), b"")
        viewer.stdout = None

    def assert_shows_what_is_sent(self, server, source, numbered=True):
        """The pictures of this server come unchanged, and as much is known of them as there is."""
        stream = self.watch(server, "/stream?mode=all")
        parts = [stream.part()]
        folder = self.folder()
        done, later = in_threads(
            [
                lambda: view("--save", folder, "--frames", 20, "--json", source),
                lambda: stream.parts(150),
            ]
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        sent = {part.jpeg: part for part in [*parts, *later]}
        frames, _ = objects(done.stdout)
        for frame in frames:
            part = sent[(folder / frame["file"]).read_bytes()]
            if numbered:
                self.assertEqual(frame["sequence"], part.number)
                self.assertAlmostEqual(frame["timestamp"], part.time, places=5)
                self.assertLess(abs(frame["latency_ms"]), 1000 * PATIENCE)
            else:
                self.assertIsNone(frame["sequence"])
                self.assertIsNone(frame["latency_ms"])

    def test_by_websocket(self):
        server = self.serve(fps=15)
        self.assert_shows_what_is_sent(server, f"ws://127.0.0.1:{server.port}/ws")

    def test_by_websocket_with_a_token(self):
        server = self.serve(token="T")
        address = f"ws://127.0.0.1:{server.port}/ws"
        done = view("--frames", 1, "--source-token", "T", address)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = view("--timeout", 2, address)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"401", done.stderr)

    def mosquitto(self):
        mosquitto = broker.Mosquitto()
        self.addCleanup(mosquitto.close)
        return mosquitto

    def test_by_mqtt(self):
        for layout in ("framed", "indexed", "whole"):
            with self.subTest(layout=layout):
                mosquitto = self.mosquitto()
                server = self.serve("--mqtt", mosquitto.url, "--mqtt-layout", layout, "--fps", 15)
                source = f"{mosquitto.url}/camwire"
                self.assert_shows_what_is_sent(server, source, numbered=layout == "framed")
                server.close()

    def test_the_existing_mqtt_camera(self):
        """It is told to start, and to stop."""
        mosquitto = self.mosquitto()
        # One of them ends with an empty part.
        pictures = [jpeg + bytes(-len(jpeg) % 8000) for jpeg in make_pictures(1, "640x480")]
        pictures += make_pictures(5, "640x480")
        camera = broker.Camera(mosquitto.port, pictures)
        self.addCleanup(camera.close)
        folder = self.folder()
        args = ("--save", folder, "--frames", 12, "--brightness-every", 10, "--timeout", 30)
        done = view(*args, f"{mosquitto.url}/esp32cam/50")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"picture 10: average brightness", done.stdout)
        ends = [jpeg.index(b"\xff\xd9") + 2 for jpeg in pictures]
        whole = {jpeg[:end] for jpeg, end in zip(pictures, ends)}
        saved = [file.read_bytes() for file in sorted(folder.iterdir())]
        self.assertEqual(len(saved), 12)
        self.assertLessEqual({jpeg.rstrip(b"\0") for jpeg in saved}, whole)
        self.assertEqual(size_of(saved[0]), (640, 480))
        eventually("it is told to stop", lambda: "camera/stream/stop" in camera.commands)
        self.assertIn("camera/stream/start", camera.commands)

    def test_a_broker_that_dies_and_comes_back(self):
        mosquitto = self.mosquitto()
        server = self.serve("--mqtt", mosquitto.url, "--mqtt-layout", "framed")
        viewer = self.begin("--json", "--brightness-every", 0, f"{mosquitto.url}/camwire")
        for _ in range(10):
            json.loads(viewer.stdout.readline())
        mosquitto.stop()
        eventually("the server knows", lambda: "WARN" in server.log)
        mosquitto.start()
        for _ in range(60):
            json.loads(viewer.stdout.readline())
        viewer.send_signal(signal.SIGINT)
        rest, said = viewer.communicate(timeout=PATIENCE)
        self.assertEqual(viewer.returncode, 0, said)
        self.assertGreaterEqual(objects(rest)[1]["frames"], 70)

    def test_ingest_needs_a_server(self):
        self.assertEqual(view("ingest").returncode, 1)

    def test_pictures_that_cannot_be_decoded(self):
        """They are counted and saved; nothing is said of their brightness."""
        good = make_pictures(1, "160x120")[0]
        huge, odd = bytearray(good), bytearray(good)
        sof = good.index(b"\xff\xc0")
        huge[sof + 5 : sof + 9] = b"\xff\xff\xff\xff"
        odd[sof + 9] = 2  # components, which it has not
        pictures = [bytes(huge), bytes(odd), good]
        folder = self.folder()
        camera = self.camera(pictures=pictures)
        done = view(
            *("--json", "--brightness-every", 1, "--frames", 6, "--save", folder, camera.url()),
            env={**os.environ, "RUST_BACKTRACE": "0"},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        frames, _ = objects(done.stdout)
        for frame in frames:
            saved = (folder / frame["file"]).read_bytes()
            self.assertIn(saved, pictures)
            self.assertEqual("brightness" in frame, saved == good, frame)
        self.assertIn(b"65535x65535", done.stderr)
        self.assertNotIn(b"panicked", done.stderr)

    def test_a_directory_that_is_none(self):
        file = self.folder() / "file"
        file.write_text("")
        done = view("--save", file, "test")
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(file).encode(), done.stderr)

    def test_sources_that_are_not_there(self):
        done = view("dir:/nonexistent/folder")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"/nonexistent/folder", done.stderr)

    def test_help_has_examples(self):
        done = run(HOST, "view", "--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"camwire-host view http://", done.stdout)

    def test_wrong_arguments_exit_with_2(self):
        for args in (["--frames", "0"], ["--window", "600"], ["nonsense"], ["--timeout", "-1"]):
            with self.subTest(args=args):
                self.assertEqual(view(*args, patience=20).returncode, 2)

    def test_no_display(self):
        """It says so at once, whatever else is asked for."""
        bare = {k: v for k, v in os.environ.items() if not k.endswith("DISPLAY")}
        for display in ({}, {"DISPLAY": ""}, {"DISPLAY": ":987"}):
            with self.subTest(display=display):
                done = run(HOST, "view", "test", patience=20, env={**bare, **display})
                self.assertEqual(done.returncode, 1)
                said = done.stderr.decode()
                self.assertIn("--headless", said)
                self.assertNotIn("panicked", said)
                self.assertLessEqual(len(said.splitlines()), 3, said)
