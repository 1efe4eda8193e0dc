"""The window of camwire-host view, on a display that nobody sees."""

import os
import re
import subprocess
import tempfile

import cv2
import numpy

from camwire import HOST, OUT, PATIENCE, Case, die_with_parent, eventually, run
from misbehave import Camera, part

SCREEN = (1280, 960)
KIND = "multipart/x-mixed-replace; boundary=frame"

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (235, 235, 235)
BLACK = (0, 0, 0)


def quarters(width, height, *colours):
    """A JPEG of four rectangles."""
    picture = numpy.zeros((height, width, 3), numpy.uint8)
    w, h = width // 2, height // 2
    picture[:h, :w], picture[:h, w:], picture[h:, :w], picture[h:, w:] = colours
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    return cv2.imencode(".jpg", picture[..., ::-1], options)[1].tobytes()


CARD = quarters(320, 240, RED, GREEN, BLUE, WHITE)


class Display:
    """An X server without a screen, with a window manager."""

    def __init__(self):
        read, write = os.pipe()
        self.log = tempfile.TemporaryFile()
        self.server = subprocess.Popen(
            [
                *("Xvfb", "-displayfd", str(write), "-nolisten", "tcp"),
                *("-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24"),
            ],
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=die_with_parent,
        )
        os.close(write)
        with os.fdopen(read) as answer:
            self.name = ":" + answer.readline().strip()
        self.home = tempfile.TemporaryDirectory()
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "WAYLAND_DISPLAY"},
            "DISPLAY": self.name,
            "HOME": self.home.name,
            "WINIT_X11_SCALE_FACTOR": "1",
        }
        self.manager = subprocess.Popen(
            ["openbox"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=die_with_parent,
        )

    def close(self):
        for process in (self.manager, self.server):
            process.terminate()
            process.wait()
        self.log.close()
        self.home.cleanup()

    def do(self, *command):
        """xdotool; returns what it printed."""
        done = run("xdotool", *command, env=self.environment)
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def look(self, size=SCREEN, window=None):
        """The whole screen, or a window, as rows of RGB."""
        which = ["-window_id", window] if window else []
        done = run(
            *("ffmpeg", "-loglevel", "error", "-f", "x11grab", "-draw_mouse", 0, *which),
            *("-video_size", f"{size[0]}x{size[1]}", "-i", self.name),
            *("-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"),
            env=self.environment,
        )
        assert done.returncode == 0, done.stderr
        return numpy.frombuffer(done.stdout, numpy.uint8).reshape(size[1], size[0], 3)


class Window:
    """A running `camwire-host view` and its window."""

    def __init__(self, display, *args, **options):
        self.display = display
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [HOST, "view", *map(str, args)],
            env=display.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
            **options,
        )
        self.id = eventually("there is a window", self._find)

    def _find(self):
        assert self.process.poll() is None, self.said()
        return self.display.do("search", "--onlyvisible", "--pid", self.process.pid)

    def said(self):
        self.out.seek(0)
        return self.out.read().decode()

    def title(self):
        return self.display.do("getwindowname", self.id)

    def size(self):
        text = self.display.do("getwindowgeometry", "--shell", self.id)
        return tuple(int(re.search(rf"{name}=(\d+)", text)[1]) for name in ("WIDTH", "HEIGHT"))

    def resize(self, width, height):
        self.display.do("windowsize", "--sync", self.id, width, height)

    def press(self, key):
        self.display.do("windowactivate", "--sync", self.id, "key", key)

    def look(self):
        while True:
            size = self.size()
            try:
                return self.display.look(size, self.id)
            except AssertionError:
                if self.size() == size:
                    raise  # else it has become another while it was looked at

    def keep(self, name):
        """For people to look at."""
        cv2.imwrite(str(OUT / f"view-{name}.png"), self.display.look()[..., ::-1])

    def end(self):
        """The exit code."""
        return self.process.wait(timeout=PATIENCE)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.out.close()


def shows(pixels, picture, *colours):
    """Whether a picture of this size with these quarters is in the middle, as large as it can be,
    on black."""
    height, width = pixels.shape[:2]
    scale = min(width / picture[0], height / picture[1])
    w, h = picture[0] * scale, picture[1] * scale
    left, top = (width - w) / 2, (height - h) / 2
    expected = []
    for n, colour in enumerate(colours):
        for across in (0.05, 0.25, 0.45):
            for down in (0.05, 0.25, 0.45):
                x, y = across + n % 2 * 0.5, down + n // 2 * 0.5
                expected.append((left + x * w, top + y * h, colour))
    if left > 4:
        expected += [(left / 2, height / 2, BLACK), (width - left / 2, height / 2, BLACK)]
        expected += [(left - 3, height / 2, BLACK), (width - left + 2, height / 2, BLACK)]
    if top > 4:
        expected += [(width / 2, top / 2, BLACK), (width / 2, height - top / 2, BLACK)]

    def is_near(x, y, colour):
        return max(abs(pixels[int(y), int(x)].astype(int) - colour)) < 16

    return all(is_near(*point) for point in expected)


class ViewWindow(Case):
    @classmethod
    def setUpClass(cls):
        cls.display = Display()
        cls.addClassCleanup(cls.display.close)

    def open(self, *args, **options):
        window = Window(self.display, *args, **options)
        self.addCleanup(window.close)
        return window

    def camera(self, *pictures, **options):
        camera = Camera(list(pictures), part(), KIND, **options)
        self.addCleanup(camera.close)
        return camera

    def assert_shows(self, window, *picture):
        eventually(f"it shows {picture}", lambda: shows(window.look(), *picture))

    def test_takes_the_size_of_the_pictures(self):
        window = self.open(self.camera(CARD).url())
        eventually("the picture's size", lambda: window.size() == (320, 240))
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)
        # Pixel for pixel, up to what decoders differ in.
        right = cv2.imdecode(numpy.frombuffer(CARD, numpy.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        difference = numpy.abs(window.look().astype(int) - right)
        self.assertLess(difference.mean(), 1)
        window.keep("own-size")

    def test_scales_the_picture(self):
        window = self.open("--window", "600x300", self.camera(CARD).url())
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)
        self.assertEqual(window.size(), (600, 300))
        window.keep("wide")
        window.resize(300, 700)
        eventually("the new size", lambda: window.size() == (300, 700))
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)
        window.keep("high")
        window.resize(61, 47)
        eventually("a small one", lambda: window.size() == (61, 47))
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)

    def test_follows_the_resolution(self):
        camera = self.camera(CARD)
        window = self.open(camera.url())
        eventually("the first size", lambda: window.size() == (320, 240))
        camera.pictures[:] = [quarters(480, 270, WHITE, BLUE, GREEN, RED)]
        camera.close()
        camera = self.camera(*camera.pictures, port=camera.port)
        eventually("the next size", lambda: window.size() == (480, 270))
        self.assert_shows(window, (480, 270), WHITE, BLUE, GREEN, RED)
        # Once somebody has chosen a size, it stays.
        window.resize(500, 500)
        eventually("the chosen size", lambda: window.size() == (500, 500))
        camera.close()
        self.camera(CARD, port=camera.port)
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)
        self.assertEqual(window.size(), (500, 500))

    def test_larger_than_the_screen(self):
        window = self.open(self.camera(quarters(2560, 1920, RED, GREEN, BLUE, WHITE)).url())
        self.assert_shows(window, (2560, 1920), RED, GREEN, BLUE, WHITE)
        width, height = window.size()
        self.assertTrue(width < SCREEN[0] and height < SCREEN[1], (width, height))
        self.assertAlmostEqual(width / height, 4 / 3, delta=0.01)
        window.keep("large")

    def test_title(self):
        server = self.serve(fps=15)
        window = self.open(server.url("/stream"))
        address = re.escape(server.url("/stream"))
        figures = rf"^\d+\.\d fps, 640x480, \d+\.\d kB/s, latency -?\d+ ms, lost \d+ - {address}$"
        eventually("the title has figures", lambda: re.match(figures, window.title()))
        window.keep("test-card")
        server.close()
        eventually("and says when there are none", lambda: "no picture for" in window.title())

    def test_pause(self):
        """The picture stops; what is counted goes on."""
        pictures = [quarters(320, 240, *[colour] * 4) for colour in (RED, GREEN)]
        window = self.open(self.camera(*pictures, fps=5).url())

        def colours(count):
            return {tuple(window.look()[120, 160] // 64) for _ in range(count)}

        eventually("it changes", lambda: len(colours(10)) == 2)
        window.press("space")
        eventually("the title says so", lambda: window.title().endswith("- paused"))
        self.assertEqual(len(colours(15)), 1)
        self.assertRegex(window.title(), r"\d fps")
        window.press("space")
        eventually("it changes again", lambda: len(colours(10)) == 2)
        eventually("and the title too", lambda: not window.title().endswith("- paused"))

    def test_save_key(self):
        folder = self.folder()
        window = self.open(self.camera(CARD).url(), cwd=folder)
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)
        window.press("s")
        eventually("a file", lambda: any(p.read_bytes() == CARD for p in folder.iterdir()))
        eventually("it says which", lambda: "saved" in window.said())
        name = next(folder.iterdir()).name
        self.assertIn(name, window.said())

    def test_fill_screen_key(self):
        window = self.open(self.camera(CARD).url())
        eventually("the first size", lambda: window.size() == (320, 240))
        window.press("f")
        eventually("it fills the screen", lambda: window.size() == SCREEN)
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)
        window.press("f")
        eventually("and is as before", lambda: window.size() == (320, 240))

    def test_ways_to_end(self):
        for key in ("q", "Escape", "alt+F4"):
            with self.subTest(key=key):
                server = self.serve(fps=15)
                window = self.open(server.url("/stream"))
                eventually("it looks", lambda: "fps" in window.title())
                window.press(key)  # The last one is for the window manager.
                self.assertEqual(window.end(), 0)
                self.assertRegex(window.said().splitlines()[-1], r"^\d+ pictures, .* lost \d+")
                eventually("the viewer has left", lambda: not server.stats()["viewers"])
                server.close()

    def test_a_window_that_is_destroyed(self):
        server = self.serve(fps=15)
        window = self.open(server.url("/stream"))
        eventually("it looks", lambda: "fps" in window.title())
        self.display.do("windowclose", window.id)
        self.assertEqual(window.end(), 1)
        self.assertIn("the window is gone", window.said())
        self.assertNotIn("panicked", window.said())
        self.assertRegex(window.said(), r"(?m)^\d+ pictures, .* lost \d+")
        eventually("the viewer has left", lambda: not server.stats()["viewers"])

    def test_no_display(self):
        for display in ("", ":9999"):
            with self.subTest(display=display):
                environment = {**self.display.environment, "DISPLAY": display}
                done = run(HOST, "view", "test", env=environment)
                self.assertEqual(done.returncode, 1)
                said = done.stderr.decode()
                self.assertRegex(said, "cannot open a window: [^/]+\n")
                self.assertNotIn(".rs:", said)

    def test_ends_by_itself(self):
        folder = self.folder()
        window = self.open("--frames", 60, "--save", folder, "--fps", 30, "test")
        self.assertEqual(window.end(), 0)
        self.assertEqual(len(list(folder.iterdir())), 60)
        window = self.open("--timeout", 3, "http://127.0.0.1:1/stream")
        self.assertEqual(window.end(), 1)
        self.assertIn("no picture for 3 s", window.said())

    def test_pictures_that_cannot_be_decoded(self):
        """The one before stays; the next one that can be is shown."""
        broken = bytearray(CARD)
        sof = CARD.index(b"\xff\xc0")
        broken[sof + 5 : sof + 9] = b"\xff\xff\xff\xff"
        window = self.open(self.camera(bytes(broken), CARD, bytes(broken)).url())
        self.assert_shows(window, (320, 240), RED, GREEN, BLUE, WHITE)
        eventually("it says so", lambda: "65535x65535" in window.said())
        self.assertIsNone(window.process.poll())
