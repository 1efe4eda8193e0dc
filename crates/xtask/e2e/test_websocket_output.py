"""Frames over WebSocket, by the `websockets` package and bare bytes; and who may connect."""

import base64
import os
import struct
import time
from functools import partial

import pytest
from browser import assert_moving_frame
from camwire import TIMEOUT, decode, in_threads, size_of, wait_until
from tcp import Answering
from websockets.exceptions import ConnectionClosed, InvalidStatus

every_target = pytest.mark.target("host", "imc", "imac")

WRONG = ({}, {"Authorization": "Bearer T-2"}, {"Authorization": "Basic YTpi"})


@every_target
def test_every_message_is_a_frame(serve, websocket):
    server = serve(fps=30)
    for path in ("/ws", "/", "/ws?mode=all"):
        viewer = websocket(server, path)
        frames = [viewer.recv(TIMEOUT) for _ in range(10)]
        assert viewer.subprotocol is None
        assert server.transports() == ["websocket"]
        assert viewer.ping("hello").wait(TIMEOUT)
        viewer.close()
        assert {(type(frame), size_of(frame)) for frame in frames} == {(bytes, server.size)}
        assert len(set(decode(frames))) == 10
        assert viewer.protocol.close_rcvd.code == 1000
        wait_until("the viewer is gone", lambda: not server.viewers())


@every_target
def test_viewer_over_websocket_asks_for_a_rate(serve, websocket):
    server = serve(fps=30)
    viewer = websocket(server, "/ws?fps=2")
    for _ in range(3):
        viewer.recv(TIMEOUT)
    assert [viewer["fps_cap"] for viewer in server.viewers()] == [2]


@every_target
def test_viewer_with_credit_gets_no_more_frames_than_it_acknowledges(serve, websocket):
    server = serve(fps=30)
    knows_unix_time = server.kind == "test"
    viewer = websocket(server, "/ws?credit=2", subprotocols=["camwire.v1"])
    assert viewer.subprotocol == "camwire.v1"

    def frame(timeout=TIMEOUT):
        message = viewer.recv(timeout)
        version, flags, length, missed, number, micros = struct.unpack_from(">BBHIQQ", message)
        assert (version, flags, length) == (1, knows_unix_time, 24)
        now = time.time() if knows_unix_time else 0
        assert abs(micros / 1e6 - now) < TIMEOUT
        assert size_of(message[length:]) == server.size
        return number, missed

    first, _ = frame()
    second, _ = frame()
    with pytest.raises(TimeoutError):
        frame(1)
    viewer.send(struct.pack(">BQ", 1, first))
    third, missed = frame()
    assert missed > 0
    assert third == second + 1 + missed
    viewer.send(b"nonsense")
    with pytest.raises(ConnectionClosed):
        frame()
    assert viewer.protocol.close_rcvd.code == 1008


def test_websocket_is_closed_when_the_server_ends(server, websocket):
    viewer = websocket(server)
    viewer.recv(TIMEOUT)
    server.process.terminate()
    with pytest.raises(ConnectionClosed):
        while True:
            viewer.recv(TIMEOUT)
    assert viewer.protocol.close_rcvd.code == 1001


def assert_rejected(status, websocket, *args, **options):
    with pytest.raises(InvalidStatus, match=str(status)):
        websocket(*args, **options)


@pytest.mark.target("host", "imc")
def test_pages_of_other_sites_are_rejected(server, websocket):
    websocket(server, origin=f"http://127.0.0.1:{server.port}").recv(TIMEOUT)
    other_port = f"http://127.0.0.1:{server.port + 1}"
    for origin in ("http://other.example", "null", "http://127.0.0.1", other_port):
        assert_rejected(403, websocket, server, origin=origin)


def test_allowed_origins_and_names_are_options(serve, websocket):
    server = serve("--allow-origin", "https://page.example", "--allow-host", "camera.example")
    websocket(server, origin="https://page.example").recv(TIMEOUT)
    for host, status in (
        ("localhost", 200),
        (f"127.0.0.1:{server.port}", 200),
        ("camera.example:80", 200),
        ("other.example", 403),
    ):
        for path in ("/", "/stats", "/healthz"):
            assert server.status_of(path, headers={"Host": host}) == status, host


@pytest.mark.target("host", "imc")
def test_credentials_are_needed_everywhere(serve, websocket, target):
    # The firmware's arguments have no characters but ASCII.
    auth = "anna:s:\u00e4" if target.kind == "test" else "anna:secret"
    server = serve(auth=auth, token="T-1")
    basic = base64.b64encode(auth.encode()).decode()
    for right in (f"Basic {basic}", "Bearer T-1"):
        headers = {"Authorization": right}
        assert b"<html" in server.get("/", headers=headers).body
        websocket(server, additional_headers=headers).recv(TIMEOUT)
    assert server.status_of("/healthz?token=T-1") == 200
    websocket(server, "/ws?token=T-1").recv(TIMEOUT)
    for wrong in WRONG:
        for path in ("/", "/stream", "/capture", "/stats", "/robot", "/nothing"):
            answer = server.get(path, headers=wrong)
            assert answer.status == 401 and "www-authenticate" in answer.headers
        assert_rejected(401, websocket, server, additional_headers=wrong)


@pytest.mark.target("imc")
def test_firmware_warns_when_there_is_no_password(serve):
    warning = "there is no password"
    assert warning in serve().log
    assert warning not in serve(token="T-1").log


# The older demo: its page is at port 80, and its frames come from port 81, whatever the path.


@pytest.mark.target("imc")
def test_client_of_the_older_demo_gets_frames(serve, websocket, watch):
    board = serve(ports="80,81", fps=30)
    # The other port is the same server.
    assert board.status_of("/capture") == 200
    board.port = board.ports[81]
    viewer = websocket(board, "/")
    frames = [viewer.recv(TIMEOUT) for _ in range(20)]
    assert all(frame[:2] + frame[-2:] == b"\xff\xd8\xff\xd9" for frame in frames)
    assert size_of(frames[-1]) == board.size
    assert len(board.viewers()) == 1
    # And this one has everything else, too, as CameraWebServer's port 81 has its stream.
    watch(board).part()
    assert b"<html" in board.get("/").body


OLDER_PAGE = """
    <!DOCTYPE html><img>
    <script>
        const socket = new WebSocket(`ws://127.0.0.1:${location.hash.slice(1)}/`);
        socket.onmessage = ({data}) => {
            URL.revokeObjectURL(document.images[0].src);
            document.images[0].src = URL.createObjectURL(data);
        };
    </script>
"""


@pytest.mark.target("imc")
@pytest.mark.browser("chromium")
def test_page_of_the_older_demo_shows_frames(serve, start, tab):
    """It draws every message, whatever it is."""
    answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + OLDER_PAGE
    page = start(Answering, answer.encode()).url()
    board = serve(ports="80,81", fps=30, origin=page.removesuffix("/"))
    tab.open(f"{page}#{board.ports[81]}")
    assert_moving_frame(tab, "qemu-older-demo", board.size)


# Frames that break the rules, and the code of the Close that answers them.
MASK = bytes(4)
BROKEN_RULES = {
    "not masked": (b"\x82\x01a", 1002),
    "a reserved bit": (b"\xc2\x81" + MASK + b"a", 1002),
    "a reserved opcode": (b"\x83\x81" + MASK + b"a", 1002),
    "half a Ping": (b"\x09\x80" + MASK, 1002),
    "a length that is longer than it must be": (b"\x82\xfe\x00\x01" + MASK + b"a", 1002),
    "a length with the top bit": (b"\x82\xff\xff" + bytes(7) + MASK, 1002),
    "no UTF-8": (b"\x81\x81" + MASK + b"\xff", 1007),
    "far too long": (b"\x82\xff\x7f" + b"\xff" * 7 + MASK, 1009),
}


def close_code(server, frames):
    """The code of the Close that these bytes are answered with."""
    key = base64.b64encode(os.urandom(16)).decode()
    fields = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
    head = f"GET /ws HTTP/1.1\r\nHost: localhost\r\n{fields}Sec-WebSocket-Version: 13\r\n\r\n"
    with server.request(head.encode()) as connection, connection.makefile("rb") as answer:
        assert b" 101 " in answer.readline()
        while answer.readline() != b"\r\n":
            pass
        connection.sendall(frames)
        while True:
            opcode, length = answer.read(2)
            if length > 125:
                length = int.from_bytes(answer.read(2 if length == 126 else 8))
            payload = answer.read(length)
            if opcode == 0x88:
                assert answer.read() == b"", "the Close is the last"
                return struct.unpack(">H", payload[:2])[0]
            assert opcode in (0x82, 0x89)


@pytest.mark.target("host", "imc")
def test_broken_websocket_frames_are_answered_with_a_close(serve):
    server = serve(fps=30)
    jobs = [partial(close_code, server, frames) for frames, _ in BROKEN_RULES.values()]
    codes = dict(zip(BROKEN_RULES, in_threads(jobs)))
    assert codes == {name: code for name, (_, code) in BROKEN_RULES.items()}
    wait_until("no viewer is left", lambda: not server.viewers())
    assert server.status_of("/capture") == 200
