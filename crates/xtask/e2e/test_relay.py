"""Relays: of ffmpeg, and of cameras that write their streams in many ways."""

import itertools
import time
from functools import partial

import pytest
from cameras import Camera, Dialect
from camwire import Program, assert_numbers_add_up, decode, make_frames, size_of, wait_until
from tcp import free_port

frames = partial(make_frames, 40, "320x240")

ESPRESSIF = "123456789000000000000987654321"
PREAMBLE = b"This is a message with multiple parts in MIME format.\r\n" * 20

# A line for each way to write a stream that must be understood.
DIALECTS = {
    "plain": Dialect(),
    "no length": Dialect(length=None),
    "dashes in the header's boundary": Dialect("--frame"),
    "dashes in the header's boundary, no length": Dialect("--frame", length=None),
    "dashes in the header's boundary, and two more": Dialect("--frame", b"----frame"),
    "quoted boundary": Dialect('"frame"'),
    "boundary of characters that need quotes": Dialect(
        "+++===123454321===+++",
        b"--+++===123454321===+++",
        before=b"\r\n--+++===123454321===+++\r\n",
        delimiter_comes_last=True,
    ),
    "padded length": Dialect(length="{:9}"),
    "preamble": Dialect(before=PREAMBLE),
    "preamble, no length": Dialect(before=PREAMBLE, length=None),
    "bare newlines": Dialect(newline=b"\n"),
    "no first delimiter": Dialect(delimiter_comes_last=True),
    "chunked": Dialect(ESPRESSIF, b"\r\n--" + ESPRESSIF.encode(), chunked=True),
    "chunked, no length": Dialect(
        ESPRESSIF, b"\r\n--" + ESPRESSIF.encode(), length=None, chunked=True
    ),
    "delimiter inside the frame": Dialect(comment=b"\r\n--frame\r\nX: y"),
}

MULTIPART = b"Content-Type: multipart/x-mixed-replace; boundary=frame\r\n"


def answer(fields, **options):
    """A camera whose answer has these fields."""
    return Dialect(fields=fields + b"\r\n", **options)


# And for each that breaks a rule, and that browsers show.
MISBEHAVING = {
    **{f"length that is {lie} off": Dialect(lie=lie) for lie in (-1, 1, -500, 500, 100_000)},
    **{
        f"length {length!r}": Dialect(length=length)
        for length in ("-5", "99999999999999999999999", "many", "4294967296", "1e3", "", "0")
    },
    "two lengths": Dialect(length="{}\r\nContent-Length: 7"),
    "200OK": answer(MULTIPART, status=b"HTTP/1.1 200OK"),
    "lines without name or colon": answer(b"Tue, 1 Dec\r\n: x\r\n" + MULTIPART),
    "folded field": answer(b"A: b\r\n c\r\n" + MULTIPART),
    "space before the colon": answer(MULTIPART.replace(b":", b" :")),
    "answer without a length": answer(MULTIPART + b"Content-Length: -1\r\n"),
    "answer with two lengths": answer(MULTIPART + b"Content-Length: 0\r\nContent-Length: 9\r\n"),
    "answer of bare newlines": answer(MULTIPART.replace(b"\r\n", b"\n"), newline=b"\n"),
    "no type": answer(b""),
    "two types": answer(b"Content-Type: text/html\r\n" + MULTIPART),
    "octet-stream": answer(b"Content-Type: application/octet-stream\r\n"),
    "a stream as image/jpeg": answer(b"Content-Type: image/jpeg\r\n"),
    "parts of octet-stream": Dialect(part_fields=(b"Content-Type: application/octet-stream",)),
    "parts of image/pjpeg": Dialect(part_fields=(b"content-type : Image/PJPEG",), length=None),
    "parts with lines without a name": Dialect(part_fields=(b"Tue, 1 Dec", b": x")),
    "zeros before the SOI": Dialect(before_soi=bytes(300)),
    "line end before the SOI": Dialect(before_soi=b"\r\n", length=None),
    "fill byte before the SOI": Dialect(before_soi=b"\xff"),
    "two SOI": Dialect(before_soi=b"\xff\xd8"),
    "no EOI": Dialect(has_eoi=False),
    "no EOI, no length": Dialect(has_eoi=False, length=None),
    "glued to the frame": Dialect(glued="frame", length=None),
    "glued to the frame, wrong length": Dialect(glued="frame", lie=-7),
    "glued to the head": Dialect(glued="head"),
}


def table(dialects):
    return pytest.mark.parametrize("dialect", dialects.values(), ids=dialects)


@pytest.fixture
def relay(serve):
    return lambda source: serve("--source", source)


@pytest.fixture
def camera(start):
    return lambda *args, **options: start(Camera, frames(), *args, **options)


@table(DIALECTS | MISBEHAVING)
def test_relay_sends_frames_of_the_camera_unchanged(relay, camera, watch, dialect):
    camera = camera(dialect)
    relay = relay(camera.url())
    parts = watch(relay).parts(25)
    for number, part in enumerate(parts):
        assert part.jpeg in camera.frames, f"frame {number} is not one of the camera's"
    assert len({part.jpeg for part in parts}) > 10
    assert_numbers_add_up(parts)
    assert relay.get("/capture").body in camera.frames
    assert relay.is_healthy()
    source = relay.source()
    assert (source["width"], source["height"]) == (320, 240)
    assert source["errors"] <= 3, "it has learned that lengths are wrong"


def test_strict_relay_drops_frames_without_eoi(serve, camera, watch, demand):
    whole = itertools.cycle([True, False])
    camera = camera(part=lambda jpeg: Dialect(has_eoi=next(whole)).part(jpeg))
    relay = serve("--source", camera.url(), "--strict")
    assert {part.jpeg for part in watch(relay).parts(20)} <= set(camera.frames[::2])
    assert relay.source()["errors"] > 5


@pytest.mark.parametrize("path", ["/stats", "/nonsense"])
def test_relay_of_what_is_no_stream_reports_it(relay, serve, demand, path):
    relay = relay(serve().url(path))
    quiet = relay.log
    demand(relay)
    wait_until("the relay is not healthy", lambda: not relay.is_healthy())
    wait_until("the log says why", lambda: relay.log != quiet)
    assert relay.is_running()


@pytest.mark.parametrize(
    "options", [(), ("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg")]
)
def test_relay_reads_ffmpeg(relay, start, watch, options):
    address = f"http://127.0.0.1:{free_port()}/"
    start(
        *(Program, "ffmpeg", "-loglevel", "error", "-re", "-f", "lavfi"),
        *("-i", "testsrc=size=320x240:rate=10", "-pix_fmt", "yuvj420p", "-f", "mpjpeg"),
        *(*options, "-listen", "1", address),
    )
    # It serves one client, ever; the relay tries until it is there.
    jpegs = [part.jpeg for part in watch(relay(address)).parts(20)]
    assert size_of(jpegs[0]) == (320, 240)
    assert len(set(decode(jpegs))) > 15


# How often a camera is asked.

STILL = {"fields": b"Content-Type: image/jpeg\r\n\r\n"}


class Impatient(Camera):
    """Closes each connection after a frame, or before. `clients` counts them."""

    def __init__(self, frames, brings_frames=True, **options):
        self.clients, self.brings_frames = 0, brings_frames
        super().__init__(frames, **options)

    def parts(self, client):
        self.clients += 1
        if self.brings_frames:
            yield self.part(self.frames[self.clients % len(self.frames)])


CAMERAS = {
    "closes after each frame": ({}, {}, (4, 8)),
    "closes at once": ({"brings_frames": False}, {}, (2, 5)),
    "single frames": ({"dialect": Dialect(**STILL), "part": bytes}, {}, (4, 8)),
    "single frames, 10 a second": (
        {"dialect": Dialect(**STILL), "part": bytes},
        {"fps": 10},
        (20, 70),
    ),
}


@pytest.mark.parametrize("camera, options, requests", CAMERAS.values(), ids=CAMERAS)
def test_no_camera_is_asked_in_a_storm(serve, start, demand, camera, options, requests):
    camera = start(Impatient, frames(), **camera)
    relay = serve(source=camera.url(), **options)
    demand(relay)
    time.sleep(6)
    least, most = requests
    assert least <= camera.clients <= most


def test_viewer_stays_while_the_camera_is_gone(relay, camera, watch):
    first = camera()
    relay = relay(first.url())
    viewer = watch(relay)
    before = viewer.parts(10)[-1]
    assert relay.is_healthy()
    first.close()
    # The viewer stays, and is sent the last frame again meanwhile.
    wait_until("/healthz reports it", lambda: not relay.is_healthy())
    while (after := viewer.part()).number != before.number:
        before = after
    assert after.jpeg == before.jpeg
    assert len(relay.viewers()) == 1

    camera(port=first.port)
    assert viewer.until_new(before.number).number > before.number
    assert len({part.jpeg for part in viewer.parts(20)}) > 10
    wait_until("/healthz is well again", relay.is_healthy)


def test_relay_waits_for_a_camera_that_comes_late(relay, camera, watch, demand):
    port = free_port()
    relay = relay(f"http://127.0.0.1:{port}/stream")
    demand(relay)
    wait_until("/healthz reports it", lambda: not relay.is_healthy())
    camera(port=port)
    wait_until("/healthz is well", relay.is_healthy)
    assert watch(relay).part().jpeg in frames()
