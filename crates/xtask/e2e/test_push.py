"""Cameras that push their frames to a relay, which `websockets` plays here: camwire-host, and the
firmware."""

import http
import queue
import struct
import threading
import time

import board
import pytest
from camwire import TIMEOUT, Part, assert_numbers_add_up, wait_until
from tcp import free_port
from websockets.sync.server import serve as serve_websockets

pytestmark = pytest.mark.target("host", "imc", "imac")

TOKEN = "T-1"
PROTOCOLS = ["camwire.v1"]


class Relay:
    """Takes the frames of cameras that have the token. `cameras` are those not yet looked at."""

    def __init__(self, port=0, protocols=PROTOCOLS):
        self.rejected = []
        self.all = []
        self.cameras = queue.Queue()
        self.server = serve_websockets(
            self._camera,
            "127.0.0.1",
            port,
            subprotocols=protocols,
            process_request=self._check,
            compression=None,
            ping_interval=None,
        )
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _check(self, connection, request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            status = http.HTTPStatus.UNAUTHORIZED
        elif request.path != "/ingest":
            status = http.HTTPStatus.NOT_FOUND
        else:
            return None
        self.rejected.append(status)
        return connection.respond(status, "no\n")

    def _camera(self, connection):
        camera = Camera(connection)
        self.all.append(camera)
        self.cameras.put(camera)
        camera.over.wait()

    def camera(self):
        return self.cameras.get(timeout=TIMEOUT)

    def close(self):
        for camera in self.all:
            camera.over.set()
        self.server.shutdown()


class Camera:
    """A relay's end of a camera that pushes to it. It is read as a Stream is."""

    def __init__(self, connection):
        self.connection = connection
        self.over = threading.Event()

    def part(self, timeout=TIMEOUT):
        message = self.connection.recv(timeout)
        version, flags, length, missed, number, micros = struct.unpack_from(">BBHIQQ", message)
        assert (version, length) == (1, 24), message[:24]
        return Part({"x-frame": number, "x-missed": missed}, message[length:])

    def acknowledge(self, part):
        self.connection.send(struct.pack(">BQ", 1, part.number))

    def credit(self, count):
        self.connection.send(bytes([2, count]))

    def assert_silent(self):
        with pytest.raises(TimeoutError):
            self.part(timeout=1)

    def cut(self):
        """Without a Close."""
        self.connection.socket.shutdown(2)
        self.over.set()


@pytest.fixture
def relay(start):
    return start(Relay)


@pytest.fixture
def push(serve, target):
    """Starts a camera that pushes to the relay at this port."""

    def push(port, token=TOKEN, fps=30):
        url = f"ws://{target.this_machine}:{port}/ingest"
        return serve(frames=board.frames(), push=url, push_token=token, fps=fps)

    return push


def test_camera_pushes_no_more_frames_than_the_relay_asks_for(relay, push):
    server = push(relay.port)
    camera = relay.camera()
    assert camera.connection.subprotocol == "camwire.v1"
    camera.assert_silent()
    # There is no demand, so no frames are captured.
    assert server.is_idle()

    camera.credit(2)
    parts = [camera.part(), camera.part()]
    assert parts[0].number == 1
    camera.assert_silent()
    (viewer,) = server.viewers()
    assert (viewer["transport"], viewer["sent"]) == ("push", 2)
    assert viewer["peer"].endswith(f":{relay.port}")

    # What it missed meanwhile is reported.
    camera.acknowledge(parts[-1])
    parts += [camera.part(), camera.part()]
    assert parts[2].missed > 0
    for _ in range(30):
        camera.acknowledge(parts[-1])
        parts.append(camera.part())
    board.assert_unchanged(parts, board.frames())

    camera.credit(0)
    camera.acknowledge(parts[-1])
    with pytest.raises(TimeoutError):
        while True:  # What was on its way.
            camera.acknowledge(camera.part(timeout=1))
    wait_until("the camera rests", server.is_idle)
    camera.credit(1)
    assert camera.part().jpeg in board.frames()


def test_camera_pushes_again_when_the_connection_was_cut(relay, push, watch):
    server = push(relay.port)
    viewers = [watch(server) for _ in range(2)]
    seen = []

    def cut_again_and_again():
        for _ in range(4):
            camera = relay.camera()
            camera.credit(2)
            parts = []
            while len(parts) < 15:
                parts.append(camera.part())
                camera.acknowledge(parts[-1])
            assert_numbers_add_up(parts)
            seen.extend(parts)
            camera.cut()

    # No other viewer is affected.
    for parts in board.while_reading(viewers, cut_again_and_again):
        assert len(parts) > 40
    assert len(seen) == 60
    assert all(part.jpeg in board.frames() for part in seen)
    numbers = [part.number for part in seen]
    assert numbers == sorted(set(numbers))
    # The host reports an error that repeats itself once.
    assert server.log.count("push") >= (3 if server.kind == "qemu" else 1)
    relay.camera()


def test_camera_pushes_bare_frames_to_a_relay_without_the_protocol(start, push):
    relay = start(Relay, protocols=None)
    push(relay.port)
    camera = relay.camera()
    assert camera.connection.subprotocol is None
    for _ in range(20):
        assert camera.connection.recv(TIMEOUT) in board.frames()


def test_camera_retries_a_push_that_is_rejected(relay, push):
    server = push(relay.port, token="T-2")
    server.wait_for_log("401")
    assert server.status_of("/capture") == 200
    wait_until("it tries again, later", lambda: len(relay.rejected) > 1)


def test_camera_waits_for_a_relay_that_comes_later(start, push):
    port = free_port()
    push(port).wait_for_log("cannot (be reached|connect)")
    camera = start(Relay, port=port).camera()
    camera.credit(1)
    assert camera.part().jpeg in board.frames()


def test_push_that_stalled_goes_on_with_the_newest_frame(relay, push):
    push(relay.port, fps=100)
    camera = relay.camera()
    camera.credit(8)
    parts = [camera.part()]
    time.sleep(2)
    parts += [camera.part() for _ in range(7)]
    camera.acknowledge(parts[-1])
    parts.append(camera.part())
    assert_numbers_add_up(parts)
    assert parts[-1].missed > 50
