"""Relays: of ffmpeg, and of cameras that write their streams in many ways."""

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

# And for each that need not be, but must not do any harm.
BROKEN = {
    **{f"length that is {lie} off": Dialect(lie=lie) for lie in (-1, 1, -500, 500, 100_000)},
    **{
        f"length {length!r}": Dialect(length=length)
        for length in ("-5", "99999999999999999999999", "many", "4294967296", "1e3", "")
    },
}


def table(dialects):
    return pytest.mark.parametrize("dialect", dialects.values(), ids=dialects)


@pytest.fixture
def relay(serve):
    return lambda source: serve("--source", source)


@pytest.fixture
def camera(start):
    return lambda *args, **options: start(Camera, frames(), *args, **options)


@table(DIALECTS)
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


@table(BROKEN)
def test_relay_of_a_broken_stream_sends_whole_frames_or_reports_why_not(
    relay, camera, watch, demand, dialect
):
    relay = relay(camera(dialect).url())
    quiet = relay.log
    demand(relay)

    def outcome():
        source = relay.source()
        return source["captured"] > 5 or (relay.log != quiet and source["state"] == "failed")

    wait_until("frames, or a clear error", outcome)
    assert relay.is_running()
    if relay.source()["captured"] > 5:
        for part in watch(relay).parts(10):
            assert part.jpeg in frames()


@pytest.mark.parametrize("path", ["/stats", "/nonsense"])
def test_relay_of_what_is_no_stream_reports_it(relay, serve, demand, path):
    relay = relay(serve().url(path))
    quiet = relay.log
    demand(relay)
    wait_until("the relay is not healthy", lambda: not relay.is_healthy())
    wait_until("the log says why", lambda: relay.log != quiet)
    assert relay.is_running()


def test_relay_reads_ffmpeg(relay, start, watch):
    address = f"http://127.0.0.1:{free_port()}/"
    start(
        *(Program, "ffmpeg", "-loglevel", "error", "-re", "-f", "lavfi"),
        *("-i", "testsrc=size=320x240:rate=10", "-pix_fmt", "yuvj420p", "-f", "mpjpeg"),
        *("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg", "-listen", "1", address),
    )
    # It serves one client, ever; the relay tries until it is there.
    jpegs = [part.jpeg for part in watch(relay(address)).parts(20)]
    assert size_of(jpegs[0]) == (320, 240)
    assert len(set(decode(jpegs))) > 15


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
