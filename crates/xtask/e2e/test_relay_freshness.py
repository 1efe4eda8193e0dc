"""A relay sends what is of now: with a rate limit, after damaged frames, and each frame once."""

import json
import re
import signal
import statistics
import subprocess
import time
from functools import partial

import pytest
from cameras import DAMAGED_MESSAGES, DAMAGED_PARTS, NOISE, SHOWN_PARTS, Live, Scripted, marked
from cameras import message, number_of, part, stamp
from camwire import HOST, Program, in_threads, make_frames, view_json, wait_until


def frame(number=0):
    return stamp(make_frames(2, "320x240")[0], number)


@pytest.fixture
def relay(serve):
    """Starts a relay of a camera."""
    return lambda camera, *args: serve("--source", camera.url(), *args)


@pytest.fixture
def new_parts(watch):
    """The parts of a stream without repeats, as they come."""

    def new_parts(relay):
        stream, last = watch(relay), None
        while True:
            part = stream.part()
            if part.number != last:
                last = part.number
                yield part

    return new_parts


# Behind a rate limit. The camera sends 15 frames a second; a relay that queues them would be 10 s
# behind after 11 s.


def assert_fresh(lags):
    """At most 2 frames behind; three times that, should this machine have been busy just then."""
    assert statistics.median(lags) <= 2, lags
    assert max(lags) <= 6, lags


@pytest.mark.parametrize("send_buffer", [None, 4096])
@pytest.mark.parametrize("fps", [1, 5])
def test_relay_with_a_rate_limit_sends_the_newest_frames(start, relay, new_parts, fps, send_buffer):
    def lags(is_websocket):
        camera = start(Live, frame(), is_websocket=is_websocket, send_buffer=send_buffer)
        server = relay(camera, "--fps", fps)
        end, lags = time.monotonic() + 8, []
        for each in new_parts(server):
            lags.append(camera.newest - number_of(each.jpeg))
            if time.monotonic() > end:
                break
        assert 8 * fps // 2 <= len(lags) <= 9 * fps + 2
        assert camera.clients == 1
        source = server.source()
        assert (source["state"], source["errors"], source["dropped"]) == ("streaming", 0, 0)
        return lags

    for each in in_threads([partial(lags, False), partial(lags, True)]):
        assert_fresh(each)


@pytest.mark.parametrize("fps", [1, 5])
def test_view_with_a_rate_limit_shows_the_newest_frames(start, tmp_path, fps):
    camera = start(Live, frame())
    args = ("--json", "--fps", fps, "--frames", 6 * fps, "--save", tmp_path, camera.url())
    viewer = start(Program, HOST, "view", "--headless", *args, stderr=subprocess.DEVNULL)
    lags = []
    while len(lags) < 6 * fps:
        wait_until("another frame", lambda: len(viewer.lines) > len(lags), pause=0.001)
        file = json.loads(viewer.lines[len(lags)])["file"]
        lags.append(camera.newest - number_of((tmp_path / file).read_bytes()))
    assert_fresh(lags)


def test_relay_with_a_rate_limit_sends_the_newest_frame_of_a_burst(start, relay, new_parts):
    """A camera that sends ten frames at once, once a second: the last of them is the newest."""

    def script():
        for number in range(10_000):
            yield part(frame(number))
            if number % 10 == 9:
                time.sleep(1)

    parts = new_parts(relay(start(Scripted, script), "--fps", "1"))
    numbers = [number_of(next(parts).jpeg) for _ in range(8)]
    behind = [9 - number % 10 for number in numbers[1:]]
    assert statistics.median(behind) <= 2, numbers


def test_relay_that_was_stopped_for_a_while_sends_no_old_frames(start, relay, new_parts):
    camera = start(Live, frame())
    relay = relay(camera, "--fps", "1")
    parts = new_parts(relay)
    lags = []
    for _ in range(3):
        next(parts)
        relay.process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        relay.process.send_signal(signal.SIGCONT)
        lags.append(camera.newest - number_of(next(parts).jpeg))
    assert_fresh(lags)


# After damaged frames. A relay that backs off would stop for 31 s after 12 of them.

DAMAGES = {
    **{f"part: {name}": (damage, False) for name, damage in DAMAGED_PARTS.items()},
    **{f"message: {name}": (damage, True) for name, damage in DAMAGED_MESSAGES.items()},
}


@pytest.mark.parametrize("damage, is_websocket", DAMAGES.values(), ids=DAMAGES)
def test_relay_goes_on_at_once_after_damaged_frames(start, relay, new_parts, damage, is_websocket):
    damaged = damage(make_frames(2, "320x240")[1])
    wrap = message if is_websocket else part
    for count in (1, 12, 12 if len(damaged) > 1 << 20 else 500):
        sent = {}

        def script():
            for number in range(5):
                yield wrap(frame(number))
                time.sleep(0.05)
            for _ in range(count):
                yield damaged
                time.sleep(0.001)
            for number in range(100, 10_000):
                sent[number] = time.monotonic()
                yield wrap(frame(number))
                time.sleep(0.05)

        camera = start(Scripted, script, is_websocket=is_websocket)
        server = relay(camera)
        numbers = (number_of(got.jpeg) for got in new_parts(server))
        number = next(number for number in numbers if number >= 100)
        assert time.monotonic() - sent[number] < 3
        assert number == 100, "the first good frame is sent"
        wait_until("its state is right", lambda: server.source()["state"] == "streaming")
        assert server.is_healthy()
        assert camera.clients == 1, "it has not connected again"
        assert server.source()["errors"] == count
        assert len(server.log.splitlines()) <= 6, "the log is short"
        server.close()
        camera.close()


@pytest.mark.parametrize("damage", SHOWN_PARTS.values(), ids=SHOWN_PARTS)
def test_relay_sends_damaged_frames_that_browsers_show(start, relay, new_parts, damage):
    def script():
        yield part(frame(1))
        for number in range(2, 10_000):
            time.sleep(0.05)
            yield damage(stamp(make_frames(2, "320x240")[1], number))
            time.sleep(0.05)
            yield part(frame(number))

    camera = start(Scripted, script)
    server = relay(camera)
    parts = [part for part, _ in zip(new_parts(server), range(20))]
    assert all(part.jpeg[-2:] == b"\xff\xd9" for part in parts)
    numbers = [number_of(part.jpeg) for part in parts]
    assert numbers == sorted(numbers)
    assert len(numbers) - len(set(numbers)) > 5, "both of a number were sent"
    assert server.source()["errors"] == 0
    assert camera.clients == 1


def test_relay_of_damaged_frames_only_reports_it(start, relay, demand):
    def script():
        while True:
            yield part(NOISE)
            time.sleep(0.02)

    camera = start(Scripted, script)
    relay = relay(camera)
    demand(relay)
    wait_until("the relay is not healthy", lambda: not relay.is_healthy())
    source = relay.source()
    assert (source["state"], source["captured"]) == ("failed", 0)
    assert "no whole JPEG" in source["error"]
    time.sleep(12)
    assert camera.clients == 1
    lines = [line for line in relay.log.splitlines() if "JPEG" in line]
    assert len(lines) <= 3
    assert re.search(r"\d+ frames were damaged", lines[-1])


# Cameras that send a frame again: camwire's own server repeats the last one each second.


@pytest.fixture
def view(tmp_path):
    """What `view --save` saves: the files in order, and their numbers."""

    def view(source, count, *args):
        folder = tmp_path / re.sub(r"\W", "-", source)
        frames, _ = view_json("--save", folder, "--frames", count, *args, source)
        files = [(folder / frame["file"]).read_bytes() for frame in frames]
        return files, [frame["sequence"] for frame in frames]

    return view


def repeats(times=4, mark=lambda number: (number, number)):
    """A script that sends each frame so many times, marked the same."""
    for number in range(1, 10_000):
        for _ in range(times):
            yield marked(frame(number), *mark(number))
            time.sleep(0.05)


def numbers_of(files):
    return [number_of(file) for file in files]


def test_view_of_half_a_frame_a_second_saves_no_repeats(serve, view):
    first = serve(fps=0.5)
    second = serve(source=first.url("/stream"))
    third = serve(source=second.url("/stream"))
    views = [partial(view, server.url("/stream"), 4) for server in (first, second, third)]
    for files, numbers in in_threads(views):
        assert len(set(files)) == 4
        assert numbers == sorted(set(numbers))


MARKS = [lambda n: (n, n), lambda n: (n, None), lambda n: (None, n)]


@pytest.mark.parametrize("mark", MARKS, ids=["number and time", "number", "time"])
def test_each_frame_of_a_camera_that_repeats_them_is_saved_once(start, view, mark):
    files, _ = view(start(Scripted, partial(repeats, mark=mark)).url(), 8)
    assert numbers_of(files) == list(range(1, 9))


WRONG_MARKS = {
    "constant": lambda n: (0, None),
    "constant, and so is the time": lambda n: (0, "0.000000"),
    "only a constant time": lambda n: (None, "12.5"),
    "they start anew": lambda n: (n % 3, n % 3),
    "backwards": lambda n: (1000 - n, None),
}


@pytest.mark.parametrize("mark", WRONG_MARKS.values(), ids=WRONG_MARKS)
def test_wrong_numbers_lose_no_frame(start, view, mark):
    files, _ = view(start(Scripted, partial(repeats, times=1, mark=mark)).url(), 12)
    assert numbers_of(files) == list(range(1, 13))


def test_frames_without_numbers_are_all_new(start, view):
    """Only their bytes say that they are the same, and so may be those of a still scene."""

    def script():
        while True:
            yield part(frame())
            time.sleep(0.05)

    files, _ = view(start(Scripted, script).url(), 6)
    assert files == [frame()] * 6


def test_frame_that_a_camera_sends_again_after_connecting_is_saved_once(start, view):
    """It ends its stream now and then, and begins with the frame it ended with."""
    number = 0

    def script():
        nonlocal number
        for turn in range(4):
            yield marked(frame(number), number, number)
            time.sleep(0.05)
            number += turn < 3

    camera = start(Scripted, script)
    files, _ = view(camera.url(), 10)
    assert camera.clients > 2
    assert numbers_of(files) == list(range(10))


class Stills(Scripted):
    """A server of single frames, of which it has two new ones a second."""

    def __init__(self):
        super().__init__(lambda: iter([frame(self.number)]))
        self.content_type = "image/jpeg"
        self.start = time.monotonic()

    def head(self, request):
        self.number = int((time.monotonic() - self.start) * 2)
        return super().head(request).replace("\r\n\r\n", f"\r\nX-Frame: {self.number}\r\n\r\n")


def test_single_frame_that_is_requested_twice_is_saved_once(start, view):
    camera = start(Stills)
    files, numbers = view(camera.url(), 5, "--fps", "20")
    assert numbers_of(files) == numbers == sorted(set(numbers))
    assert camera.clients > 5, "else it was not asked more often"


@pytest.mark.parametrize("seconds", [13, pytest.param(20, marks=pytest.mark.deep)])
def test_camera_with_few_frames_is_not_taken_for_a_silent_one(start, relay, new_parts, seconds):
    """One frame in so many seconds. Repeats show that the server lives."""

    def script():
        for number in range(100):
            for _ in range(seconds):
                yield marked(frame(number), number, number)
                time.sleep(1)

    camera = start(Scripted, script)
    relay = relay(camera)
    parts = new_parts(relay)
    first = next(parts)
    end = time.monotonic() + seconds - 2
    while time.monotonic() < end:
        assert relay.is_healthy()
        time.sleep(0.5)
    assert number_of(next(parts).jpeg) == number_of(first.jpeg) + 1
    source = relay.source()
    assert (source["captured"], source["errors"]) == (2, 0)
    assert camera.clients == 1
