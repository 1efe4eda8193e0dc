"""camwire-host view without a window: figures, files and JSON."""

import itertools
import json
import os
import re
import signal
import subprocess
import time
from functools import partial

import cv2
import numpy
import pytest
from broker import EspCamera
from cameras import Camera
from camwire import HOST, TIMEOUT, Program, make_frames, run, size_of, view, view_json
from camwire import view_objects, wait_until

frames = partial(make_frames, 5, "160x120")


class View(Program):
    """`camwire-host view` that goes on, with its outputs apart: `lines` are of the one, `errors` is
    the other."""

    def __init__(self, *args):
        super().__init__(HOST, "view", "--headless", *args, stderr=subprocess.PIPE)

    def wait_for_lines(self, count):
        def enough():
            assert self.is_running() or len(self.lines) >= count, self.errors()
            return len(self.lines) >= count

        wait_until(f"{count} lines", enough, pause=0.01)
        return self.lines[:count]

    def wait_for_frames(self, count):
        return [json.loads(line) for line in self.wait_for_lines(count)]

    def errors(self):
        return self.process.stderr.read().decode()

    def close(self):
        super().close()
        self.process.stderr.close()


@pytest.fixture
def view_until(start):
    return partial(start, View)


@pytest.fixture
def camera(start):
    return lambda jpegs=(), **options: start(Camera, jpegs or frames(), **options)


def numbered(numbers, stamp=None):
    """Parts with these numbers and a time stamp."""
    numbers = iter(numbers)

    def part(jpeg):
        head = f"--frame\r\nContent-Length: {len(jpeg)}\r\nX-Frame: {next(numbers)}\r\n"
        head += f"X-Timestamp: {stamp}\r\n" if stamp else ""
        return head.encode() + b"\r\n" + jpeg + b"\r\n"

    return part


def test_view_prints_figures(serve):
    server = serve(fps=15)
    done = view("--frames", 40, server.url("/stream"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    figures = r"\d+\.\d fps, 640x480, \d+\.\d kB/s, latency -?\d+ ms, lost 0"
    assert any(re.fullmatch(figures, line) for line in lines), lines
    bright = [line for line in lines if "brightness" in line]
    for line, number in itertools.zip_longest(bright, (10, 20, 30, 40)):
        assert re.fullmatch(rf"picture {number}: average brightness \d+\.\d\d", line)
    assert re.fullmatch(r"40 pictures, .*: \d+\.\d fps, lost 0, latency -?\d+ ms", lines[-1])
    wait_until("the viewer has left", lambda: not server.viewers())


def test_view_prints_json_that_adds_up(serve):
    server = serve(fps=30)
    done = view("--json", "--frames", 60, "--brightness-every", 7, server.url("/stream"))
    assert done.returncode == 0, done.stderr
    frames, summary = view_objects(done.stdout.decode().splitlines())
    assert [frame["frame"] for frame in frames] == list(range(1, 61))
    for frame in frames:
        assert (frame["width"], frame["height"]) == (640, 480)
        assert abs(frame["timestamp"] - time.time()) < 2 * TIMEOUT
        assert abs(frame["latency_ms"]) < 1000 * TIMEOUT
        assert ("brightness" in frame) == (frame["frame"] % 7 == 0)
        assert "file" not in frame
    for before, after in zip(frames, frames[1:]):
        assert after["missed"] == after["sequence"] - before["sequence"] - 1
    assert summary["frames"] == 60
    for name in ("bytes", "missed"):
        assert summary[name] == sum(frame[name] for frame in frames)
    assert summary["errors"] == 0
    assert summary["latency_max_ms"] == max(frame["latency_ms"] for frame in frames)
    assert summary["fps"] > 0
    # What is for people is there too, apart from it.
    assert re.search(r"60 pictures, .* fps, lost", done.stderr.decode())


def encode(pixels):
    return cv2.imencode(".jpg", pixels.astype(numpy.uint8))[1].tobytes()


Y, X = numpy.mgrid[0:240, 0:320]
PIXELS = {
    "colours": numpy.stack([X * 255 // 319, Y * 255 // 239, (X + Y) % 256], axis=2),
    "grey": X * 255 // 319,
    "black": numpy.zeros((64, 64, 3)),
    "white": numpy.full((63, 65, 3), 255),
    "another encoder's": None,
}


@pytest.mark.parametrize("pixels", PIXELS.values(), ids=PIXELS)
def test_brightness_is_that_of_opencv(serve, pixels):
    """The mean of R+G+B; decoders differ by less than one step of 765."""
    jpeg = frames()[0] if pixels is None else encode(pixels)
    decoded = cv2.imdecode(numpy.frombuffer(jpeg, numpy.uint8), cv2.IMREAD_COLOR)
    server = serve(frames=[jpeg])
    for source in (server.url("/stream"), f"dir:{server.folder.name}"):
        frame = view_json("--frames", 2, "--brightness-every", 2, source)[0][1]
        assert abs(frame["brightness"] - decoded.sum(axis=2).mean()) < 1


def test_brightness_can_be_switched_off():
    done = view("--frames", 30, "--fps", 60, "--brightness-every", 0, "test")
    assert done.returncode == 0
    assert b"brightness" not in done.stdout


def test_view_counts_numbers_that_are_left_out(camera):
    numbers = [5, 6, 9, 10, 3, 4, 6, *range(100, 200)]
    frames, summary = view_json("--frames", 8, camera(part=numbered(numbers)).url())
    assert [frame["sequence"] for frame in frames] == numbers[:8]
    # The camera began again behind 10.
    assert [frame["missed"] for frame in frames] == [0, 0, 2, 0, 0, 0, 1, 93]
    assert summary["missed"] == 96
    assert frames[0]["timestamp"] is None


def test_time_since_boot_is_no_latency(camera):
    part = numbered(itertools.count(), stamp="12.345678")
    done = view("--json", "--frames", 3, camera(part=part).url())
    frames, summary = view_objects(done.stdout.decode().splitlines())
    assert frames[0]["timestamp"] == 12.345678
    assert frames[0]["latency_ms"] is summary["latency_ms"] is None
    assert b"latency" not in done.stderr


def test_latency_of_an_old_frame_is_its_age(camera):
    part = numbered(itertools.count(), stamp=f"{time.time() - 3600:.6f}")
    for frame in view_json("--frames", 3, camera(part=part).url())[0]:
        assert 3_600_000 <= frame["latency_ms"] < 3_600_000 + 2000 * TIMEOUT


def test_view_goes_on_when_a_camera_comes_back(camera, view_until):
    first = camera()
    viewer = view_until("--json", "--brightness-every", 0, first.url())
    viewer.wait_for_frames(10)
    first.close()
    # What was under way when it died is read first.
    before = len(viewer.lines)
    camera(port=first.port)
    numbers = [frame["frame"] for frame in viewer.wait_for_frames(before + 40)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert viewer.interrupt() == 0, viewer.errors()
    assert view_objects(viewer.lines)[1]["errors"] > 0


def test_view_waits_for_a_camera_that_comes_late(camera, view_until):
    late = camera()
    late.close()
    viewer = view_until("--frames", 3, late.url())
    assert viewer.wait_for_lines(1) == ["no picture yet\n"]
    camera(port=late.port)
    assert viewer.wait() == 0, viewer.errors()
    assert "3 pictures" in viewer.log


def test_view_ends_after_a_timeout(camera, view_until):
    gone = camera()
    gone.close()
    done = view("--timeout", 1, gone.url())
    assert done.returncode == 1
    assert b"no picture for 1 s" in done.stderr
    assert b"0 pictures" in done.stdout
    # Also later on.
    again = camera()
    viewer = view_until("--timeout", 1, "--json", again.url())
    viewer.wait_for_frames(1)
    again.close()
    assert viewer.wait() == 1
    assert "no picture for 1 s" in viewer.errors()
    assert view_objects(viewer.lines)[1]["frames"] >= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_view_with_a_summary(view_until, number):
    viewer = view_until("--brightness-every", 1, "test")
    viewer.wait_for_lines(1)
    viewer.process.send_signal(number)
    assert (viewer.wait(), viewer.errors()) == (0, "")
    assert re.fullmatch(r"\d+ pictures?, .* lost 0\n", viewer.lines[-1])


def test_view_ends_with_its_reader(tmp_path):
    """As in `camwire-host view --json test | head -1`."""
    command = f"'{HOST}' view --headless --json test 2>errors | head -1; echo ${{PIPESTATUS[0]}}"
    done = run("bash", "-c", command, cwd=tmp_path)
    assert done.stdout.decode().splitlines()[1] == "0"
    assert (tmp_path / "errors").read_text() == ""


def test_view_reads_websocket_with_a_token(serve):
    address = serve(token="T").url("/ws", "ws")
    done = view("--frames", 1, "--source-token", "T", address)
    assert done.returncode == 0, done.stderr
    done = view("--timeout", 2, address)
    assert done.returncode == 1
    assert b"401" in done.stderr


def test_view_starts_and_stops_a_camera_of_esp32_mqtt_livestream(start, tmp_path, broker):
    # One of its frames ends with an empty part.
    jpegs = make_frames(5, "640x480")
    jpegs = [jpegs[0] + bytes(-len(jpegs[0]) % 8000), *jpegs]
    camera = start(EspCamera, broker, jpegs)
    args = ("--save", tmp_path, "--frames", 12, "--brightness-every", 10, "--timeout", 30)
    done = view(*args, f"{broker.url}/esp32cam/50")
    assert done.returncode == 0, done.stderr
    assert b"picture 10: average brightness" in done.stdout
    whole = {jpeg[: jpeg.index(b"\xff\xd9") + 2] for jpeg in jpegs}
    saved = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    assert len(saved) == 12
    assert {jpeg.rstrip(b"\0") for jpeg in saved} <= whole
    assert size_of(saved[0]) == (640, 480)
    wait_until("it is stopped", lambda: "camera/stream/stop" in camera.commands)
    assert "camera/stream/start" in camera.commands


def test_view_goes_on_when_a_broker_comes_back(serve, view_until, broker):
    server = serve("--mqtt", broker.url, "--mqtt-prefix", "camwire", "--mqtt-layout", "framed")
    viewer = view_until("--json", "--brightness-every", 0, f"{broker.url}/camwire")
    viewer.wait_for_frames(10)
    broker.stop()
    server.wait_for_log("WARN")
    before = len(viewer.lines)
    broker.start()
    viewer.wait_for_frames(before + 30)
    assert viewer.interrupt() == 0, viewer.errors()
    assert view_objects(viewer.lines)[1]["frames"] >= before + 30


def test_view_of_frames_that_cannot_be_decoded_saves_them(camera, tmp_path):
    """They are counted, too; they have no brightness."""
    good = frames()[0]
    huge, odd = bytearray(good), bytearray(good)
    sof = good.index(b"\xff\xc0")
    huge[sof + 5 : sof + 9] = b"\xff\xff\xff\xff"
    odd[sof + 9] = 2  # components, which it does not have
    jpegs = [bytes(huge), bytes(odd), good]
    args = ("--json", "--brightness-every", 1, "--frames", 6, "--save", tmp_path)
    done = view(*args, camera(jpegs).url(), env={**os.environ, "RUST_BACKTRACE": "0"})
    assert done.returncode == 0, done.stderr
    for frame in view_objects(done.stdout.decode().splitlines())[0]:
        saved = (tmp_path / frame["file"]).read_bytes()
        assert saved in jpegs
        assert ("brightness" in frame) == (saved == good), frame
    assert b"65535x65535" in done.stderr
    assert b"panicked" not in done.stderr


def test_view_reports_a_folder_that_is_none(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    done = view("--save", file, "test")
    assert done.returncode == 1
    assert str(file).encode() in done.stderr


@pytest.mark.parametrize(
    "source, reason",
    [("dir:/nonexistent/folder", "/nonexistent/folder"), ("ingest", "it needs a server")],
)
def test_view_of_a_missing_source_exits_with_1(source, reason):
    done = view(source)
    assert (done.returncode, reason in done.stderr.decode()) == (1, True)


@pytest.mark.parametrize("args", ["--frames 0", "--window 600", "nonsense", "--timeout -1"])
def test_wrong_view_arguments_exit_with_2(args):
    assert view(*args.split(), timeout=20).returncode == 2


@pytest.mark.parametrize("display", [{}, {"DISPLAY": ""}, {"DISPLAY": ":987"}], ids=str)
def test_view_without_a_display_names_headless(display):
    """It says so at once, whatever else is asked for."""
    bare = {k: v for k, v in os.environ.items() if not k.endswith("DISPLAY")}
    done = run(HOST, "view", "test", timeout=20, env={**bare, **display})
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "--headless" in said
    assert "panicked" not in said
    assert len(said.splitlines()) <= 3, said
