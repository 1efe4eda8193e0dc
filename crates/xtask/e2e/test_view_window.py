"""The window of camwire-host view, on a display without a screen."""

import os
import re
import tempfile
from functools import partial

import cv2
import numpy
import pytest
from cameras import Camera
from camwire import HOST, OUT, Program, run, wait_until


SCREEN = (1280, 960)

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (235, 235, 235)
BLACK = (0, 0, 0)


def quarters(width, height, *colours):
    """A JPEG of four rectangles."""
    pixels = numpy.zeros((height, width, 3), numpy.uint8)
    w, h = width // 2, height // 2
    pixels[:h, :w], pixels[:h, w:], pixels[h:, :w], pixels[h:, w:] = colours
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    return cv2.imencode(".jpg", pixels[..., ::-1], options)[1].tobytes()


CARD = quarters(320, 240, RED, GREEN, BLUE, WHITE)
SHOWN = ((320, 240), RED, GREEN, BLUE, WHITE)


class Display:
    """An X server without a screen, with a window manager."""

    def __init__(self):
        self.home = tempfile.TemporaryDirectory()
        self.server = Program(
            *("Xvfb", "-displayfd", 1, "-nolisten", "tcp", "-noreset"),
            *("-screen", 0, f"{SCREEN[0]}x{SCREEN[1]}x24"),
        )
        self.name = ":" + self.server.wait_for_log(r"(?m)^(\d+)$")[1]
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "WAYLAND_DISPLAY"},
            "DISPLAY": self.name,
            "HOME": self.home.name,
            "WINIT_X11_SCALE_FACTOR": "1",
        }
        self.manager = Program("openbox", env=self.environment)
        wait_until("the window manager works", lambda: self.do("get_num_desktops"))

    def close(self):
        self.manager.close()
        self.server.close()
        self.home.cleanup()

    def do(self, *command):
        """xdotool; returns its output."""
        done = run("xdotool", *command, env=self.environment)
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def screenshot(self, size=SCREEN, window=None):
        """The whole screen, or a window, as rows of RGB; None if the window has another size."""
        which = ["-window_id", window] if window else []
        done = run(
            *("ffmpeg", "-loglevel", "error", "-f", "x11grab", "-draw_mouse", 0, *which),
            *("-video_size", f"{size[0]}x{size[1]}", "-i", self.name),
            *("-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"),
            env=self.environment,
        )
        if done.returncode == 0:
            return numpy.frombuffer(done.stdout, numpy.uint8).reshape(size[1], size[0], 3)


class Window(Program):
    """A running `camwire-host view` and its window."""

    def __init__(self, display, *args, **options):
        self.display = display
        super().__init__(HOST, "view", *args, env=display.environment, **options)

    def wait_until_ready(self):
        def find():
            assert self.is_running(), "it has ended"
            return self.display.do("search", "--onlyvisible", "--pid", self.process.pid)

        self.id = wait_until("there is a window", find)

    def title(self):
        return self.display.do("getwindowname", self.id)

    def wait_for_title(self, pattern):
        wait_until(f"the title is {pattern!r}", lambda: re.search(pattern, self.title()))

    def size(self):
        text = self.display.do("getwindowgeometry", "--shell", self.id)
        return tuple(int(re.search(rf"{name}=(\d+)", text)[1]) for name in ("WIDTH", "HEIGHT"))

    def wait_for_size(self, *size):
        wait_until(f"its size is {size}", lambda: self.size() == size)

    def resize(self, width, height):
        self.display.do("windowsize", "--sync", self.id, width, height)
        self.wait_for_size(width, height)

    def press(self, key):
        self.display.do("windowactivate", "--sync", self.id, "key", key)

    def pixels(self):
        for _ in range(50):  # It may get another size meanwhile.
            if (pixels := self.display.screenshot(self.size(), self.id)) is not None:
                return pixels
        raise AssertionError("there is no screenshot of the window")

    def wait_for(self, size, *colours):
        wait_until(f"it shows {size}", lambda: shows(self.pixels(), size, *colours))

    def keep(self, name):
        """For people to look at."""
        cv2.imwrite(str(OUT / f"view-{name}.png"), self.display.screenshot()[..., ::-1])


def shows(pixels, size, *colours):
    """Whether a frame of this size with these quarters is in the middle, as large as it can be, on
    black."""
    height, width = pixels.shape[:2]
    scale = min(width / size[0], height / size[1])
    w, h = size[0] * scale, size[1] * scale
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


@pytest.fixture(scope="module")
def display():
    display = Display()
    yield display
    display.close()


@pytest.fixture
def view(start, display):
    return partial(start, Window, display)


@pytest.fixture
def camera(start):
    return lambda *frames, **options: start(Camera, frames, **options)


def test_window_has_the_size_of_the_frames(view, camera):
    window = view(camera(CARD).url())
    window.wait_for_size(320, 240)
    window.wait_for(*SHOWN)
    # Pixel for pixel, up to what decoders differ in.
    right = cv2.imdecode(numpy.frombuffer(CARD, numpy.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert numpy.abs(window.pixels().astype(int) - right).mean() < 1
    window.keep("own-size")


def test_frames_are_scaled_to_the_window(view, camera):
    window = view("--window", "600x300", camera(CARD).url())
    window.wait_for(*SHOWN)
    assert window.size() == (600, 300)
    window.keep("wide")
    for size in ((300, 700), (61, 47)):
        window.resize(*size)
        window.wait_for(*SHOWN)
        window.keep("%dx%d" % size)


def test_window_follows_the_resolution_until_it_is_resized(view, camera):
    first = camera(CARD)
    window = view(first.url())
    window.wait_for_size(320, 240)
    first.close()
    second = camera(quarters(480, 270, WHITE, BLUE, GREEN, RED), port=first.port)
    window.wait_for_size(480, 270)
    window.wait_for((480, 270), WHITE, BLUE, GREEN, RED)
    window.resize(500, 500)
    second.close()
    camera(CARD, port=first.port)
    window.wait_for(*SHOWN)
    assert window.size() == (500, 500)


def test_window_is_smaller_than_the_screen(view, camera):
    window = view(camera(quarters(2560, 1920, RED, GREEN, BLUE, WHITE)).url())
    window.wait_for((2560, 1920), RED, GREEN, BLUE, WHITE)
    width, height = window.size()
    assert width < SCREEN[0] and height < SCREEN[1]
    assert abs(width / height - 4 / 3) < 0.01
    window.keep("large")


def test_title_has_figures(serve, view):
    server = serve(fps=15)
    window = view(server.url("/stream"))
    address = re.escape(server.url("/stream"))
    figures = r"\d+\.\d fps, 640x480, \d+\.\d kB/s, latency -?\d+ ms, lost \d+"
    window.wait_for_title(rf"^{figures} - {address}$")
    window.keep("test-card")
    server.close()
    window.wait_for_title("no picture for")


def test_space_pauses_what_is_shown_but_not_the_figures(view, camera):
    frames = [quarters(320, 240, *[colour] * 4) for colour in (RED, GREEN)]
    window = view(camera(*frames, fps=5).url())

    def colours(count):
        return {tuple(window.pixels()[120, 160] // 64) for _ in range(count)}

    wait_until("it changes", lambda: len(colours(5)) == 2)
    window.press("space")
    window.wait_for_title("- paused$")
    assert len(colours(6)) == 1
    assert re.search(r"\d fps", window.title())
    window.press("space")
    wait_until("it changes again", lambda: len(colours(5)) == 2)
    wait_until("the title does, too", lambda: not window.title().endswith("- paused"))


def test_s_key_saves_the_frame(view, camera, tmp_path):
    window = view(camera(CARD).url(), cwd=tmp_path)
    window.wait_for(*SHOWN)
    window.press("s")
    wait_until("a file", lambda: any(p.read_bytes() == CARD for p in tmp_path.iterdir()))
    window.wait_for_log(f"saved.*{next(tmp_path.iterdir()).name}")


def test_f_key_fills_the_screen(view, camera):
    window = view(camera(CARD).url())
    window.wait_for_size(320, 240)
    window.press("f")
    window.wait_for_size(*SCREEN)
    window.wait_for(*SHOWN)
    window.press("f")
    window.wait_for_size(320, 240)


@pytest.mark.parametrize("key", ["q", "Escape", "alt+F4"])  # The last is for the window manager.
def test_key_ends_view_with_a_summary(serve, view, key):
    server = serve(fps=15)
    window = view(server.url("/stream"))
    window.wait_for_title("fps")
    window.press(key)
    assert window.wait() == 0
    assert re.match(r"\d+ pictures, .* lost \d+", window.log.splitlines()[-1])
    wait_until("the viewer has left", lambda: not server.viewers())


def test_destroyed_window_ends_view_with_an_error(serve, view, display):
    server = serve(fps=15)
    window = view(server.url("/stream"))
    window.wait_for_title("fps")
    destroy = lambda: display.do("windowclose", window.id) or not window.title()
    wait_until("the window is destroyed", destroy)
    assert window.wait() == 1
    assert "the window is gone" in window.log
    assert "panicked" not in window.log
    assert re.search(r"(?m)^\d+ pictures, .* lost \d+", window.log)
    wait_until("the viewer has left", lambda: not server.viewers())


def test_view_with_a_window_ends_by_itself(view, tmp_path):
    window = view("--frames", 60, "--save", tmp_path, "--fps", 30, "test")
    assert window.wait() == 0
    assert len(list(tmp_path.iterdir())) == 60
    window = view("--timeout", 3, "http://127.0.0.1:1/stream")
    assert window.wait() == 1
    assert "no picture for 3 s" in window.log


def test_window_keeps_the_frame_before_one_that_cannot_be_decoded(view, camera):
    broken = bytearray(CARD)
    sof = CARD.index(b"\xff\xc0")
    broken[sof + 5 : sof + 9] = b"\xff\xff\xff\xff"
    window = view(camera(bytes(broken), CARD, bytes(broken)).url())
    window.wait_for(*SHOWN)
    window.wait_for_log("65535x65535")
    window.wait_for(*SHOWN)
    assert window.is_running()


@pytest.mark.parametrize("name", ["", ":9999"])
def test_view_reports_why_there_is_no_window(display, name):
    done = run(HOST, "view", "test", env={**display.environment, "DISPLAY": name})
    assert done.returncode == 1
    assert re.search("cannot open a window: [^/]+\n", done.stderr.decode())
    assert b".rs:" not in done.stderr
