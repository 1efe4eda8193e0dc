"""camwire-host under test, and readers of its streams that share no code with it.

The tests are run by `cargo xtask test e2e`, or by hand in this folder:
    CAMWIRE_HOST=../../../target/release/camwire-host python3 -m unittest -v test_http
Servers listen on loopback, on a port that the system chooses. What a test starts, it ends.
"""

import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from dataclasses import dataclass
from pathlib import Path

HOST = os.environ.get("CAMWIRE_HOST", "camwire-host")
OUT = Path(os.environ.get("CAMWIRE_E2E_DIR", tempfile.gettempdir() + "/camwire-e2e"))
OUT.mkdir(parents=True, exist_ok=True)

# No test says how fast something must be. This is when a test gives up waiting.
PATIENCE = 60.0


def die_with_parent():
    """Runs in a child before its program: a test run that is killed leaves nothing behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def eventually(what, condition, patience=PATIENCE, pause=0.1):
    """Waits until the condition holds, and returns what it returned."""
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come about in {patience:.0f} s: {what}")
        time.sleep(pause)


def run(*command, input=b"", patience=PATIENCE, **options):
    """Runs a program to its end, with a limit; returns its CompletedProcess, output as bytes."""
    return subprocess.run(
        [str(part) for part in command],
        input=input,
        capture_output=True,
        timeout=patience,
        preexec_fn=die_with_parent,
        **options,
    )


@dataclass
class Response:
    status: int
    headers: dict  # names in lower case
    body: bytes

    def json(self):
        return json.loads(self.body)


class Server:
    """A running `camwire-host serve` on a port of its own."""

    # What its test pattern is, and what /stats says of it.
    size = (640, 480)
    kind = "test"

    def __init__(self, *args, **options):
        for name, value in options.items():
            args += (f"--{name}", value)
        self.start([HOST, "serve", "--listen", "127.0.0.1:0", *map(str, args)])
        found = eventually("the server prints its address", self._address, patience=20, pause=0.01)
        if found == "ended":
            raise AssertionError(f"the server ended at its start:\n{self.log}")
        self.port = int(found)

    def start(self, command):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace"))

    def _address(self):
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log)
        if found:
            return found[1]
        return "ended" if self.process.poll() is not None else None

    @property
    def log(self):
        return "".join(self.lines)

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path, method="GET", headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, fields, answer.read())
        finally:
            connection.close()

    def stats(self):
        return self.get("/stats").json()

    def connect(self, receive_buffer=None, patience=PATIENCE):
        """A bare connection."""
        connection = socket.socket()
        connection.settimeout(patience)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def request(self, head, receive_buffer=None):
        """A connection on which these bytes have been sent."""
        connection = self.connect(receive_buffer=receive_buffer)
        connection.sendall(head)
        return connection

    def stream(self, path="/stream", **options):
        return Stream(self, path, **options)

    def memory(self):
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def queued(self, viewer):
        """Bytes that wait in the kernel, on the server's side, for this viewer's connection."""
        port = viewer.socket.getsockname()[1]
        ends = f":{self.port:04X} 0100007F:{port:04X} "
        for line in Path("/proc/net/tcp").read_text().splitlines():
            if ends in line:
                return int(line.split()[4].split(":")[0], 16)
        return 0

    def alive(self):
        return self.process.poll() is None

    def interrupt(self):
        """Ctrl-C; returns the exit code."""
        if self.alive():
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=PATIENCE)

    def close(self):
        if self.alive():
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join(timeout=5)
        self.process.stdout.close()


@dataclass
class Part:
    headers: dict  # names in lower case
    jpeg: bytes

    @property
    def number(self):
        return int(self.headers["x-frame"])

    @property
    def missed(self):
        return int(self.headers["x-missed"])

    @property
    def time(self):
        return float(self.headers["x-timestamp"])


class Stream:
    """An MJPEG stream read over a bare socket, strictly: each byte is where it belongs."""

    def __init__(self, server, path="/stream", rate=None, receive_buffer=None):
        self.rate = rate  # bytes in a second
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        self.socket = server.request(head, receive_buffer)
        self.buffer = bytearray()
        self.due = time.monotonic()
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.headers = fields(head[1:-2])
        if self.status != 200:
            return
        kind, _, boundary = self.headers["content-type"].partition(";")
        assert kind == "multipart/x-mixed-replace", self.headers
        found = re.fullmatch(r"\s*boundary=([A-Za-z0-9]+)", boundary)
        assert found, f"a boundary of letters and digits, the first parameter: {self.headers}"
        self.delimiter = b"--" + found[1].encode() + b"\r\n"
        start = self._exactly(len(self.delimiter))
        assert start == self.delimiter, f"the body begins with its delimiter, not {start!r}"

    def _fill(self):
        size = 65536
        if self.rate:
            size = max(1, int(self.rate / 50))
            self.due = max(self.due, time.monotonic() - 1) + size / self.rate
            time.sleep(max(0, self.due - time.monotonic()))
        piece = self.socket.recv(size)
        if not piece:
            raise EOFError("the server ended the stream")
        self.buffer += piece

    def _until(self, mark):
        while (at := self.buffer.find(mark)) < 0:
            self._fill()
        return self._exactly(at + len(mark))

    def _exactly(self, size):
        while len(self.buffer) < size:
            self._fill()
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        return piece

    def part(self):
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = fields(head[:-2])
        assert headers["content-type"] == "image/jpeg", headers
        if "content-length" in headers:
            jpeg = self._exactly(int(headers["content-length"]))
            after = self._exactly(2 + len(self.delimiter))
            assert after == b"\r\n" + self.delimiter, f"not a delimiter after the part: {after!r}"
        else:
            jpeg = self._until(b"\r\n" + self.delimiter)[: -2 - len(self.delimiter)]
        assert jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9", "a part is one whole JPEG"
        return Part(headers, jpeg)

    def parts(self, count):
        return [self.part() for _ in range(count)]

    def until_new(self, number):
        """The first part with a higher number."""
        while (part := self.part()).number <= number:
            pass
        return part

    def close(self):
        self.socket.close()


def fields(lines):
    pairs = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}


def decode(jpegs):
    """Has ffmpeg decode the pictures; returns one checksum of the pixels for each.

    Any complaint is an error.
    """
    done = run(
        *("ffmpeg", "-hide_banner", "-loglevel", "warning", "-xerror", "-err_detect", "explode"),
        *("-f", "mjpeg", "-i", "-", "-fps_mode", "passthrough", "-f", "framemd5", "-"),
        input=b"".join(jpegs),
        patience=2 * PATIENCE,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode(errors="replace")
    lines = done.stdout.decode().splitlines()
    sums = [line.split(",")[-1].strip() for line in lines if not line.startswith("#")]
    assert len(sums) == len(jpegs), f"{len(jpegs)} pictures, {len(sums)} decoded"
    return sums


def size_of(jpeg):
    """Width and height, as ffprobe sees them."""
    done = run(
        *("ffprobe", "-v", "error", "-f", "mjpeg", "-show_entries", "stream=width,height"),
        *("-of", "csv=p=0", "-i", "-"),
        input=jpeg,
    )
    assert done.returncode == 0, done.stderr
    return tuple(int(number) for number in done.stdout.decode().strip().split(","))


def make_pictures(count=30, size="640x480", quality=4):
    """Different JPEGs of another encoder, that of ffmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        done = run(
            *("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30"),
            *("-frames:v", count, "-pix_fmt", "yuvj420p", "-q:v", quality, f"{folder}/%04d.jpg"),
        )
        assert done.returncode == 0, done.stderr
        return [path.read_bytes() for path in sorted(Path(folder).iterdir())]


class Case(unittest.TestCase):
    """A test that starts servers; what they said is printed when it fails."""

    # The server under test; a subclass may run the same tests on another.
    subject = Server

    def run(self, result=None):
        self.servers = []
        result = result if result is not None else self.defaultTestResult()
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            for server in self.servers:
                print(f"--- log of {self.id()}\n{server.log}---", file=sys.stderr)
        return result

    def serve(self, *args, **options):
        server = self.subject(*args, **options)
        self.servers.append(server)
        self.addCleanup(server.close)
        return server

    def watch(self, server, path="/stream", **options):
        stream = server.stream(path, **options)
        self.addCleanup(stream.close)
        return stream

    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="camwire-e2e-")
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def assert_numbers_add_up(self, parts):
        """Each gap between numbers is exactly what the server says was missed."""
        for before, after in zip(parts, parts[1:]):
            if after.number == before.number:
                # The last picture sent again, because no new one came.
                self.assertEqual(after.missed, 0)
                self.assertEqual(after.jpeg, before.jpeg)
            else:
                gap = after.number - before.number - 1
                self.assertEqual(after.missed, gap, f"{before.headers} then {after.headers}")


def in_threads(jobs):
    """Runs functions at the same time; raises what the first to fail raised."""
    results = [None] * len(jobs)
    errors = []

    def work(index, job):
        try:
            results[index] = job()
        except BaseException as error:  # handed on below
            errors.append(error)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=4 * PATIENCE)
        assert not thread.is_alive(), "a reader hangs"
    if errors:
        raise errors[0]
    return results
