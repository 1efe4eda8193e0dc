"""A frame can hold anything in its comments, a delimiter and a page with a script, too. Firefox
ends a part wherever the boundary stands and believes the Content-Type that follows, so the script
would run in the server's origin. No script runs: the boundary of a response is unpredictable, and
the response's Content-Security-Policy forbids scripts.

The screen says what the browser made of it: a frame, the page of a comment, or its script.
"""

import socket
import threading

import numpy
from browser import Chromium, Firefox
from camwire import Case, eventually, run

# Colours on the screen, as red, green and blue.
FRAME = (0, 0, 255)
PAGE = (0, 255, 0)
SCRIPT = (255, 0, 0)

# What separated all frames of all servers before boundaries were unpredictable.
FORMER_BOUNDARY = "camwireT8mQ4xV7kJ2sN9pB"
KNOWN_BOUNDARY = "KNOWN"


class Fixed:
    """A server that gives every request the same answer."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.clients = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
            target = head.split(b" ")[1].decode()
            if target != "/favicon.ico":
                self.requests.append(target)
            client.sendall(self.answer)
            # Firefox shows a page that does not say what characters it has when it has all of it.
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        for end in [self.listener, *self.clients]:
            end.close()


def plain_frame():
    source = "color=c=blue:size=640x480"
    options = ("-frames:v", 1, "-pix_fmt", "yuvj420p", "-f", "mjpeg", "-")
    done = run("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_comments(jpeg, comments):
    """The same frame with these comment segments right after its start."""
    segments = [b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text for text in comments]
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def near(colour):
    """How much of a screenshot has this colour."""
    return lambda screen: (numpy.abs(screen.astype(int) - colour[::-1]).max(axis=2) < 60).mean()


class NoScriptRuns:
    # Chromium or Firefox.
    browser = None

    def setUp(self):
        self.screen = self.browser()
        self.addCleanup(self.screen.close)
        # Where the script reports to.
        self.reports = self.fixed(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def fixed(self, answer):
        server = Fixed(answer)
        self.addCleanup(server.close)
        return server

    def page(self):
        script = (
            f"document.body.bgColor = '#ff0000';"
            f" new Image().src = '{self.reports.url('/ran?')}' + document.domain;"
        )
        return f"<!DOCTYPE html><body bgcolor=#00ff00><script>{script}</script>".encode()

    def hostile(self, boundaries):
        """A frame with a comment for each of these boundaries: a delimiter and a page."""
        comment = b"\r\n--%s\r\nContent-Type: text/html\r\n\r\n%s\r\n"
        comments = [comment % (boundary.encode(), self.page()) for boundary in boundaries]
        return with_comments(plain_frame(), comments)

    def shows(self, url, colour):
        """The browser opens this, and a large part of its window gets the colour."""
        self.screen.open("about:blank")
        eventually("an empty window", lambda: near((255, 255, 255))(self.shot()) > 0.9)
        self.screen.open(url)
        eventually(f"{url} gets {colour}", lambda: near(colour)(self.shot()) > 0.2)

    def shot(self):
        return self.screen.screenshot(f"{self.browser.__name__.lower()}-script-in-frame")

    def camera(self, frame):
        """A server of this frame. `show` puts another in its place."""
        folder = self.folder()
        server = self.serve(source=f"dir:{self.put(folder, frame)}", fps=10)
        server.show = lambda frame: self.put(folder, frame)
        return server

    def put(self, folder, frame):
        (folder / "next").write_bytes(frame)
        (folder / "next").replace(folder / "frame.jpg")
        return folder

    def answer(self, kind, body, without=()):
        """An answer with the header fields that the server gives, but for these two."""
        server = self.serve()
        sent = self.watch(server).headers | {"content-type": kind}
        lines = [f"{name}: {value}" for name, value in sent.items() if name not in without]
        return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + body

    def assert_only_frames(self, server):
        for path in ("/stream", "/stream?advance_headers=1", "/mjpeg/1", "/capture"):
            self.shows(server.url(path), FRAME)
        self.assertEqual(self.reports.requests, [])

    def test_boundary_of_a_former_version_is_of_no_use(self):
        self.assert_only_frames(self.camera(self.hostile([FORMER_BOUNDARY])))

    def test_boundary_of_an_earlier_response_is_of_no_use(self):
        server = self.camera(plain_frame())
        known = []
        for method, path in (("HEAD", "/stream"), ("HEAD", "/mjpeg/1")):
            kind = server.get(path, method).headers["content-type"]
            known.append(kind.partition("boundary=")[2])
        # One that has ended, and one that goes on.
        viewers = [self.watch(server), self.watch(server, "/stream?advance_headers=1")]
        known += [viewer.delimiter[2:-2].decode() for viewer in viewers]
        viewers[0].close()
        frame = self.hostile(known)
        server.show(frame)
        late = self.watch(server)
        eventually("the hostile frame is captured", lambda: late.part().jpeg == frame)
        self.assert_only_frames(server)

    def test_page_of_an_answer_that_forbids_scripts_runs_none(self):
        for without, colour in (((), PAGE), (("content-security-policy",), SCRIPT)):
            page = self.fixed(self.answer("text/html", self.page(), without))
            self.shows(page.url(), colour)
        eventually("the script has run", lambda: self.reports.requests == ["/ran?127.0.0.1"])

    def test_frames_are_shown_in_a_window_and_in_a_page_of_others(self):
        server = self.camera(plain_frame())
        for path in ("/capture", "/stream"):
            self.shows(server.url(path), FRAME)
            page = b"<!DOCTYPE html><img src=%s>" % server.url(path).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
            self.shows(self.fixed(head % len(page) + page).url(), FRAME)


class FirefoxRunsNoScript(NoScriptRuns, Case):
    browser = Firefox

    def test_policy_holds_where_the_boundary_is_known(self):
        kind = f"multipart/x-mixed-replace;boundary={KNOWN_BOUNDARY}"
        head = f"--{KNOWN_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n"
        body = head.encode() + self.hostile([KNOWN_BOUNDARY])
        for without, colour in (((), PAGE), (("content-security-policy",), SCRIPT)):
            stream = self.fixed(self.answer(kind, body, without))
            self.shows(stream.url("/stream"), colour)
        eventually("the script has run", lambda: self.reports.requests == ["/ran?127.0.0.1"])


class ChromiumRunsNoScript(NoScriptRuns, Case):
    browser = Chromium
