"""camwire-host under test, and readers of its streams that share no code with it.

Servers listen on loopback, on a port that the system chooses. What a test starts ends with it.
"""

import concurrent.futures
import contextlib
import ctypes
import functools
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tcp import Reader

HERE = Path(__file__).parent
TARGET = HERE.parents[2] / "target"
HOST = os.environ.get("CAMWIRE_HOST", str(TARGET / "release/camwire-host"))
# For screenshots and the like, which people may want to look at.
OUT = Path(os.environ.get("CAMWIRE_E2E_DIR", TARGET / "e2e"))

GET_STREAM = b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

# Nothing here asserts how fast something is. After so many seconds a test stops waiting.
TIMEOUT = 60.0


def read_packages():
    """The lines of apt.txt: the names of a program, and its Debian packages."""
    lines = [line.split() for line in (HERE / "apt.txt").read_text().splitlines()]
    lines = [line for line in lines if line and line[0] != "#"]
    return {names.split("|")[0]: (names.split("|"), packages) for names, *packages in lines}


PACKAGES = read_packages()


def find(program):
    """The path of a program of apt.txt. Where it is missing, the test is skipped, or fails."""
    names, packages = PACKAGES[program]
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    found = filter(None, (shutil.which(name, path=path) for name in names))
    return next(found, None) or missing(program, f"apt install {' '.join(packages)}")


def missing(what, how):
    """Skips the test, or fails it in a run that was to install everything."""
    end = pytest.fail if os.environ.get("CAMWIRE_E2E_INSTALL") else pytest.skip
    end(f"missing: {what} ({how})")


def command_line(command):
    """The command with the path of a program of apt.txt in place of its name."""
    program, *arguments = map(str, command)
    return [find(program) if program in PACKAGES else program, *arguments]


def die_with_parent():
    """Runs in a child before its program: a test run that is killed leaves nothing behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def wait_until(what, condition, timeout=TIMEOUT, pause=0.05):
    """Waits until the condition holds, and returns what it returned."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(pause)
    return result


def holds(condition, seconds=0.5):
    """Whether the condition holds all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            return False
        time.sleep(0.05)
    return True


def run(*command, input=b"", timeout=TIMEOUT, **options):
    """Runs a program to its end, with a limit; returns its CompletedProcess, output as bytes."""
    return subprocess.run(
        command_line(command),
        input=input,
        capture_output=True,
        timeout=timeout,
        preexec_fn=die_with_parent,
        **options,
    )


class Program:
    """A program that runs until `close`. `log` is what it has printed so far.

    A subclass says in `wait_until_ready` when it can be used.
    """

    def __init__(self, *command, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
        self.process = subprocess.Popen(
            command_line(command),
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            **options,
        )
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            self.wait_until_ready()
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log}") from None

    def wait_until_ready(self):
        pass

    def _read(self):
        for line in self.process.stdout or ():
            self.lines.append(line.decode(errors="replace"))

    @property
    def log(self):
        return "".join(self.lines)

    def wait_for_log(self, pattern, timeout=TIMEOUT):
        """Waits until it has printed this, and returns the match."""

        def found():
            has_ended = not self.is_running()
            if has_ended:
                self.reader.join(timeout=5)
            found = re.search(pattern, self.log)
            assert found or not has_ended, f"it ended with {self.wait()}, without {pattern!r}"
            return found

        return wait_until(f"it prints {pattern!r}", found, timeout, pause=0.01)

    def is_running(self):
        return self.process.poll() is None

    def wait(self):
        """The exit code, once it has ended; then the log is complete."""
        code = self.process.wait(timeout=TIMEOUT)
        self.reader.join(timeout=5)
        return code

    def interrupt(self):
        """Ctrl-C; returns the exit code."""
        if self.is_running():
            self.process.send_signal(signal.SIGINT)
        return self.wait()

    def kill(self):
        self.process.kill()
        self.wait()

    def close(self):
        self.kill()
        if self.process.stdout:
            self.process.stdout.close()


@dataclass
class Response:
    status: int
    headers: dict  # names in lower case
    body: bytes

    def json(self):
        return json.loads(self.body)


class HttpServer(Program):
    """A running program that serves HTTP at `port`."""

    # What its test pattern is, what /stats says of it, and how it reaches this machine.
    size = (640, 480)
    kind = "test"
    this_machine = "127.0.0.1"

    def url(self, path="/", scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def get(self, path, method="GET", headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, headers, answer.read())
        finally:
            connection.close()

    def status_of(self, path, **options):
        return self.get(path, **options).status

    def is_healthy(self):
        return self.status_of("/healthz") == 200

    def settings(self):
        return self.get("/status").json()

    def stats(self, **options):
        return self.get("/stats", **options).json()

    def source(self):
        return self.stats()["source"]

    def is_idle(self):
        return self.source()["state"] == "idle"

    def viewers(self):
        return self.stats()["viewers"]

    def transports(self):
        return [viewer["transport"] for viewer in self.viewers()]

    def connect(self, receive_buffer=None, timeout=TIMEOUT):
        """A bare connection."""
        connection = socket.socket()
        connection.settimeout(timeout)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def request(self, head, **options):
        """A connection on which these bytes have been sent."""
        connection = self.connect(**options)
        connection.sendall(head)
        return connection

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


class Server(HttpServer):
    """`camwire-host serve`, with these arguments; `fps=30` is another way to write `--fps 30`. It
    sends `frames`, which are JPEGs, in place of its test pattern."""

    def __init__(self, *args, frames=(), environment={}, **options):
        self.folder = tempfile.TemporaryDirectory()
        for number, frame in enumerate(frames):
            Path(self.folder.name, f"{number:03}.jpg").write_bytes(frame)
        if frames:
            options["source"] = f"dir:{self.folder.name}"
        for name, value in options.items():
            args += (f"--{name.replace('_', '-')}", value)
        if "--listen" not in args:
            args += ("--listen", "127.0.0.1:0")
        super().__init__(HOST, "serve", *args, env={**os.environ, **environment})

    def wait_until_ready(self):
        self.port = int(self.wait_for_log(r"http://127\.0\.0\.1:(\d+)")[1])

    def close(self):
        if self.is_running():
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                pass
        super().close()
        self.folder.cleanup()


def view(*args, **options):
    """`camwire-host view` without a window, to its end."""
    return run(HOST, "view", "--headless", *args, **options)


def view_json(*args, **options):
    """As view, which must succeed; returns the frames and the summary behind them."""
    done = view("--json", *args, **options)
    assert done.returncode == 0, done.stderr
    return view_objects(done.stdout.decode().splitlines())


def view_objects(lines):
    """The frames, and the summary behind them, of `--json`."""
    *frames, summary = map(json.loads, lines)
    assert all(frame["type"] == "frame" for frame in frames), frames
    assert summary["type"] == "summary", summary
    return frames, summary


@dataclass
class Part:
    headers: dict  # names in lower case
    jpeg: bytes
    arrived_at: float = field(default_factory=time.monotonic)

    @property
    def number(self):
        return int(self.headers["x-frame"])

    @property
    def missed(self):
        return int(self.headers["x-missed"])

    @property
    def time(self):
        return float(self.headers["x-timestamp"])


class Stream(Reader):
    """An MJPEG stream read over a bare socket, strictly: each byte is where it belongs."""

    def __init__(self, server, path="/stream", rate=None, receive_buffer=None):
        self.rate = rate  # bytes in a second
        self.due = time.monotonic()
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        super().__init__(server.request(head, receive_buffer=receive_buffer))
        head = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.headers = fields(head[1:-2])
        if self.status != 200:
            return
        kind, _, boundary = self.headers["content-type"].partition(";")
        assert kind == "multipart/x-mixed-replace", self.headers
        found = re.fullmatch(r"\s*boundary=([A-Za-z0-9]+)", boundary)
        assert found, f"a boundary of letters and digits, the first parameter: {self.headers}"
        self.delimiter = b"--" + found[1].encode() + b"\r\n"
        start = self.exactly(len(self.delimiter))
        assert start == self.delimiter, f"the body begins with its delimiter, not {start!r}"

    def fill(self):
        if self.rate:
            self.due = max(self.due, time.monotonic() - 1) + 2000 / self.rate
            time.sleep(max(0, self.due - time.monotonic()))
        super().fill(2000 if self.rate else 65536)

    def part(self):
        head = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = fields(head[:-2])
        assert headers["content-type"] == "image/jpeg", headers
        if "content-length" in headers:
            jpeg = self.exactly(int(headers["content-length"]))
            after = self.exactly(2 + len(self.delimiter))
            assert after == b"\r\n" + self.delimiter, f"not a delimiter after the part: {after!r}"
        else:
            jpeg = self.until(b"\r\n" + self.delimiter)[: -2 - len(self.delimiter)]
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
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads it
        self.socket.close()


def fields(lines):
    pairs = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}


def assert_numbers_add_up(parts):
    """Each gap between numbers is exactly what the server says was missed."""
    for before, after in zip(parts, parts[1:]):
        if after.number == before.number:
            # The last frame sent again, because no new one came.
            assert after.missed == 0 and after.jpeg == before.jpeg
        else:
            gap = after.number - before.number - 1
            assert after.missed == gap, f"{before.headers} then {after.headers}"


def decode(jpegs):
    """Decodes the frames by ffmpeg; returns one checksum of the pixels for each.

    Any complaint is an error.
    """
    done = run(
        *("ffmpeg", "-hide_banner", "-loglevel", "warning", "-xerror", "-err_detect", "explode"),
        *("-f", "mjpeg", "-i", "-", "-fps_mode", "passthrough", "-f", "framemd5", "-"),
        input=b"".join(jpegs),
        timeout=2 * TIMEOUT,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr.decode(errors="replace")
    lines = done.stdout.decode().splitlines()
    sums = [line.split(",")[-1].strip() for line in lines if not line.startswith("#")]
    assert len(sums) == len(jpegs), f"{len(jpegs)} frames, {len(sums)} decoded"
    return sums


def size_of(jpeg):
    """Width and height, by its frame header."""
    at = 2
    while jpeg[at + 1] != 0xC0:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return int.from_bytes(jpeg[at + 7 : at + 9]), int.from_bytes(jpeg[at + 5 : at + 7])


@functools.cache
def make_frames(count=30, size="640x480", quality=4):
    """Different JPEGs of another encoder, that of ffmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        done = run(
            *("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30"),
            *("-frames:v", count, "-pix_fmt", "yuvj420p", "-q:v", quality, f"{folder}/%04d.jpg"),
        )
        assert done.returncode == 0, done.stderr
        return tuple(path.read_bytes() for path in sorted(Path(folder).iterdir()))


def in_threads(jobs):
    """Runs functions at the same time; returns what they return."""
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        return [each.result() for each in [pool.submit(job) for job in jobs]]


class Parts(list):
    """The parts so far of a stream that a thread reads until it ends."""

    def __init__(self, stream):
        self.ended_at = None
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        try:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self.append(stream.part())
        finally:
            self.ended_at = time.monotonic()

    def wait_for(self, count):
        """Waits for so many more."""
        count += len(self)
        wait_until(f"part {count}", lambda: len(self) >= count or self.ended_at, pause=0.01)
        assert not self.ended_at, f"the stream has ended after {len(self)} parts"


def assert_come_from(originals, jpegs):
    """Each is one of these `Parts`, which may be a little behind."""
    missing = lambda: set(jpegs) - {part.jpeg for part in originals}
    wait_until("each frame is one of the original ones", lambda: not missing())
