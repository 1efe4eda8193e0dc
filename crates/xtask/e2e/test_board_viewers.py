"""Many viewers of the firmware at once: each gets its share, and each place comes back."""

import contextlib
import re
import socket
import struct
from functools import partial

import board
import pytest
from camwire import TIMEOUT, Part, make_frames, wait_until
from websockets.sync.client import connect

pytestmark = pytest.mark.target("imc", "imac")


@pytest.fixture
def serve_frames(serve):
    return partial(serve, frames=board.frames())


@pytest.fixture
def viewers(watch):
    """Opens so many streams of a board."""

    def open(board, count):
        viewers = [watch(board) for _ in range(count)]
        for viewer in viewers:
            viewer.part()
        return viewers

    return open


class WebSocketViewer:
    """A viewer with camwire.v1, which acknowledges each frame. It is read as a Stream is."""

    def __init__(self, board):
        options = {"compression": None, "open_timeout": TIMEOUT, "subprotocols": ["camwire.v1"]}
        self.resources = contextlib.ExitStack()
        opening = connect(board.url("/ws?credit=2", "ws"), **options)
        self.socket = self.resources.enter_context(opening)

    def part(self):
        message = self.socket.recv(TIMEOUT)
        _, _, length, missed, number, _ = struct.unpack_from(">BBHIQQ", message)
        self.socket.send(struct.pack(">BQ", 1, number))
        return Part({"x-frame": number, "x-missed": missed}, message[length:])

    def close(self):
        self.resources.close()


def unless_refused(job):
    """What it returns; false if all sockets are still taken by those who were here before."""
    try:
        return job()
    except (ConnectionError, EOFError):
        return False


def leave_in_a_frame(watch, board, by_reset):
    viewer = watch(board)
    viewer.exactly(5000)
    if by_reset:
        viewer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        viewer.socket.close()
    else:
        viewer.close()


def test_ten_viewers_get_the_same_share_of_frames(serve_frames, viewers):
    server = serve_frames(fps=30)
    board.assert_fair(server, viewers(server, server.places), least=0.9)


def test_no_viewer_starves_when_the_link_is_full(serve_frames, viewers):
    server = serve_frames(fps=1000)
    board.assert_fair(server, viewers(server, server.places), least=0.4)


@pytest.mark.target("imc")
def test_viewers_over_websocket_get_the_same_share_of_frames(serve_frames, viewers, start):
    server = serve_frames(fps=30)
    streams = viewers(server, server.places // 2)
    messages = [start(WebSocketViewer, server) for _ in streams]
    for viewer in messages:
        viewer.part()
    assert server.transports().count("websocket") == len(messages)
    board.assert_fair(server, streams + messages, least=0.9)


def test_one_viewer_too_many_is_asked_to_come_later(serve_frames, viewers, watch):
    server = serve_frames(fps=20)
    streams = viewers(server, server.places)

    def one_more():
        answer = server.get("/stream")
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert server.status_of("/capture") == 200
        assert len(server.viewers()) == server.places

    board.while_reading(streams, one_more)
    streams[0].close()
    wait_until("its place is free", lambda: watch(server).status == 200)


def test_more_connections_than_sockets_stop_no_viewer(serve_frames, viewers, start):
    server = serve_frames(fps=20)
    silent = []

    def more():
        silent.extend(start(server.connect) for _ in range(2 * server.sockets))
        wait_until("a connection is refused", lambda: not server.try_get("/capture"))
        for connection in silent:
            connection.close()
        assert server.get_at_last("/capture").status == 200

    board.while_reading(viewers(server, server.places), more)


def test_a_thousand_connections_leave_nothing_behind(serve_frames, viewers, watch):
    server = serve_frames(fps=200)

    def rejected(request):
        with server.request(request) as connection:
            assert re.match(rb"HTTP/1.1 4\d\d ", connection.recv(100))

    def capture():
        assert server.get("/capture").body in board.frames()

    kinds = [
        capture,
        partial(leave_in_a_frame, watch, server, by_reset=False),
        partial(leave_in_a_frame, watch, server, by_reset=True),
        partial(rejected, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"),
        partial(rejected, b"\x16\x03\x01\r\n\r\n"),
        lambda: server.connect().close(),
    ]
    for number in range(1000):
        kind = kinds[number % len(kinds)]
        wait_until("it is served", lambda: unless_refused(kind) is not False, pause=0.01)
    wait_until("no viewer is left", lambda: not server.viewers())
    # Every place is free again, and every socket: ten, another, and at the same time one more.
    assert server.sockets == server.places + 2

    def two_more():
        with server.request(b"GET /capture HTTP/1.1\r\nHost: a\r\n") as begun:
            one_more = server.try_get("/capture")
            begun.sendall(b"\r\n")
            return one_more and begun.recv(12) == b"HTTP/1.1 200"

    board.while_reading(
        viewers(server, server.places),
        lambda: wait_until("all sockets are free", lambda: unless_refused(two_more)),
    )


def test_snapshots_are_the_frames_of_the_camera(serve):
    sizes = [("160x120", 3), ("320x240", 2), ("128x96", 2), ("320x240", 20), ("240x176", 2)]
    frames = [jpeg for size in sizes for jpeg in make_frames(40, *size)]
    assert len(set(frames)) == 200
    server = serve(frames=frames, fps=200)
    numbers = set()
    for _ in range(200):
        answer = server.get("/capture")
        number = int(answer.headers["x-frame"])
        numbers.add(number)
        # The first is number one.
        assert answer.body == frames[(number - 1) % 200], f"changed: {number}"
    assert len(numbers) == 200, "each is a new one"


@pytest.mark.target("imc")
def test_viewers_go_on_while_one_stalls_and_others_leave(serve_frames, viewers, watch):
    # At this rate the buffers between the firmware and the one that does not read, 4 MB here and in
    # the emulator, are full after a few seconds, and then it really stalls.
    server = serve_frames(fps=100)
    streams = viewers(server, 4)
    watch(server, receive_buffer=4096).part()

    def trouble():
        for number in range(10):
            leave_in_a_frame(watch, server, by_reset=number % 2 == 0)
        wait_until("only those that read are left", lambda: len(server.viewers()) == len(streams))

    for parts in board.while_reading(streams, trouble):
        # Not a measurement: the difference between frames missed because this machine is busy, and
        # stalling together with the one that does.
        assert len(parts) > (parts[-1].number - parts[0].number) / 2
