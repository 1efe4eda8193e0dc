"""A frame can hold anything in its comments, a delimiter and a page with a script, too. Firefox
ends a part wherever the boundary stands and believes the Content-Type that follows, so the script
would run in the server's origin. No script runs: the boundary of a response is unpredictable, and
the response's Content-Security-Policy forbids scripts.

The screen shows what the browser made of it: a frame, the page of a comment, or its script.
"""

from pathlib import Path

import numpy
import pytest
from camwire import run, wait_until
from tcp import Answering

every_browser = pytest.mark.browser("chromium", "firefox")

# Colours on the screen, as red, green and blue.
FRAME, PAGE, SCRIPT, EMPTY = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)

# What separated all frames of all servers before boundaries were unpredictable.
FORMER_BOUNDARY = "camwireT8mQ4xV7kJ2sN9pB"
KNOWN_BOUNDARY = "KNOWN"

POLICY = "content-security-policy"


@pytest.fixture
def reports(start):
    """Where the script reports to."""
    return start(Answering, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")


@pytest.fixture
def page(reports):
    script = (
        f"document.body.bgColor = '#ff0000';"
        f" new Image().src = '{reports.url('/ran?')}' + document.domain;"
    )
    return f"<!DOCTYPE html><body bgcolor=#00ff00><script>{script}</script>".encode()


@pytest.fixture
def camera(serve):
    """Starts a server of this frame. `show` puts another in its place."""

    def start(frame):
        server = serve(frames=[frame], fps=10)
        folder = Path(server.folder.name)

        def show(frame):
            (folder / "next").write_bytes(frame)
            (folder / "next").replace(folder / "000.jpg")

        server.show = show
        return server

    return start


@pytest.fixture
def answer(server, watch):
    """An answer with the header fields that the server gives, but for those in `without`."""
    headers = watch(server).headers

    def answer(kind, body, without=()):
        sent = headers | {"content-type": kind}
        lines = [f"{name}: {value}" for name, value in sent.items() if name not in without]
        return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + body

    return answer


def plain_frame():
    source = "color=c=blue:size=640x480"
    options = ("-frames:v", 1, "-pix_fmt", "yuvj420p", "-f", "mjpeg", "-")
    done = run("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def hostile_frame(page, boundaries):
    """A frame with a comment for each of these boundaries: a delimiter and a page."""
    jpeg, comments = plain_frame(), b""
    for boundary in boundaries:
        text = b"\r\n--%s\r\nContent-Type: text/html\r\n\r\n%s\r\n" % (boundary.encode(), page)
        comments += b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    return jpeg[:2] + comments + jpeg[2:]


def assert_shows(tab, url, colour):
    """The browser opens this, and a large part of its window gets the colour."""

    def share(colour):
        screen = tab.screenshot("script-in-frame").astype(int)
        return (numpy.abs(screen - colour[::-1]).max(axis=2) < 60).mean()

    tab.open("about:blank")
    wait_until("an empty window", lambda: share(EMPTY) > 0.9)
    tab.open(url)
    wait_until(f"{url} gets {colour}", lambda: share(colour) > 0.2)


def assert_shows_only_frames(tab, server, reports):
    for path in ("/stream", "/stream?advance_headers=1", "/mjpeg/1", "/capture"):
        assert_shows(tab, server.url(path), FRAME)
    assert reports.targets() == []


@every_browser
def test_frame_with_the_boundary_of_a_former_version_runs_no_script(tab, camera, page, reports):
    server = camera(hostile_frame(page, [FORMER_BOUNDARY]))
    assert_shows_only_frames(tab, server, reports)


@every_browser
def test_frame_with_the_boundaries_of_earlier_responses_runs_no_script(
    tab, camera, page, reports, watch
):
    server = camera(plain_frame())
    kinds = [server.get(path, "HEAD").headers["content-type"] for path in ("/stream", "/mjpeg/1")]
    known = [kind.partition("boundary=")[2] for kind in kinds]
    # One that has ended, and one that goes on.
    viewers = [watch(server), watch(server, "/stream?advance_headers=1")]
    known += [viewer.delimiter[2:-2].decode() for viewer in viewers]
    viewers[0].close()
    frame = hostile_frame(page, known)
    server.show(frame)
    late = watch(server)
    wait_until("the hostile frame is captured", lambda: late.part().jpeg == frame)
    assert_shows_only_frames(tab, server, reports)


@every_browser
def test_page_of_an_answer_that_forbids_scripts_runs_none(tab, start, answer, page, reports):
    for without, colour in (((), PAGE), ((POLICY,), SCRIPT)):
        assert_shows(tab, start(Answering, answer("text/html", page, without)).url(), colour)
    wait_until("the script has run", lambda: reports.targets() == ["/ran?127.0.0.1"])


@every_browser
def test_frames_are_shown_in_a_window_and_in_pages_of_other_sites(tab, start, camera):
    server = camera(plain_frame())
    for path in ("/capture", "/stream"):
        assert_shows(tab, server.url(path), FRAME)
        page = b"<!DOCTYPE html><img src=%s>" % server.url(path).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
        assert_shows(tab, start(Answering, head % len(page) + page).url(), FRAME)


@pytest.mark.browser("firefox")
def test_policy_holds_where_the_boundary_is_known(tab, start, answer, page, reports):
    kind = f"multipart/x-mixed-replace;boundary={KNOWN_BOUNDARY}"
    head = f"--{KNOWN_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n"
    body = head.encode() + hostile_frame(page, [KNOWN_BOUNDARY])
    for without, colour in (((), PAGE), ((POLICY,), SCRIPT)):
        assert_shows(tab, start(Answering, answer(kind, body, without)).url("/stream"), colour)
    wait_until("the script has run", lambda: reports.targets() == ["/ran?127.0.0.1"])
