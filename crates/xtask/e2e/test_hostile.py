"""Hostile requests cost bounded memory and stop nobody."""

import os
import resource
import socket
import threading
import time

import pytest
from camwire import Parts, assert_numbers_add_up, decode, in_threads, wait_until

pytestmark = pytest.mark.target("host", "imc")

MORE = 64 << 20  # what the server may grow by, in bytes: far less than what is sent to it

BAD_REQUEST, TOO_LARGE, CLOSED = b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b""
STREAM = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
RESET = b"\x01\0\0\0\0\0\0\0"  # close by a reset instead of an orderly end


@pytest.fixture
def times(target):
    """How often an attack is made: less often on firmware, which has less to offer."""
    return lambda count: range(count if target.kind == "test" else max(2, count // 10))


@pytest.fixture
def connect(server, start):
    return lambda **options: start(server.connect, **options)


@pytest.fixture
def server(serve, watch):
    """A server with a viewer, both of which go on after the test as they did before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = serve()
    # For the connections that this side holds; the server has kept its own limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    seen = Parts(watch(server))
    seen.wait_for(3)
    server.get("/capture")
    before = server.memory()

    def assert_unharmed():
        assert server.is_running()
        answer = wait_until("/capture is served", lambda: capture(server))
        decode([answer.body])
        seen.wait_for(10)
        assert_numbers_add_up(list(seen))
        assert server.memory() - before < MORE
        assert "panicked" not in server.log

    server.assert_unharmed = assert_unharmed
    yield server
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def capture(server):
    """None if no connection is free for it."""
    try:
        answer = server.get("/capture")
    except OSError:
        return None
    return answer if answer.status == 200 else None


def push(connection, pieces):
    """Sends until there are no more pieces or the server closes; returns what it answered."""
    answer = b""
    try:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    try:
        while piece := connection.recv(65536):
            answer += piece
    except OSError:
        pass
    return answer[:13]


def try_to_send(connection, data):
    """Whether the server takes it."""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "line",
    [b"GET /" + b"x" * 65536, b"X: " + b"x" * 65536, b"X: y\r\n" * 10_000],
    ids=["path", "header", "headers"],
)
def test_head_without_end_is_rejected(server, connect, times, line):
    attack = lambda: push(connect(), [b"GET / HTTP/1.1\r\n"] + [line] * 300)
    assert set(in_threads([attack for _ in times(5)])) <= {TOO_LARGE, BAD_REQUEST, CLOSED}
    server.assert_unharmed()


def test_ten_thousand_headers_are_rejected(server, connect, times):
    head = b"GET /capture HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000))
    # The server may close before all of it has been sent; then the answer can be lost.
    attack = lambda: push(connect(), [head + b"\r\n"])
    assert set(in_threads([attack for _ in times(10)])) <= {TOO_LARGE, CLOSED}
    server.assert_unharmed()


def test_binary_junk_is_rejected(server, connect, times):
    attack = lambda: push(connect(), [os.urandom(100_000)] * 5)
    assert set(in_threads([attack for _ in times(50)])) <= {TOO_LARGE, BAD_REQUEST, CLOSED}
    server.assert_unharmed()


def test_heads_that_arrive_byte_by_byte_stop_nobody(server, connect):
    stop = threading.Event()

    def drip(connection):
        try:
            for byte in b"GET /stream HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 1000:
                connection.sendall(bytes([byte]))
                if stop.wait(1):
                    return
        except OSError:
            pass

    for _ in range(50):
        threading.Thread(target=drip, args=(connect(),), daemon=True).start()
    for _ in range(3):
        server.assert_unharmed()
        time.sleep(1)
    stop.set()


def test_a_thousand_open_connections_stop_nobody(server, connect):
    """More than the server may have open files, on many machines."""
    left = []
    for number in range(1000):
        try:
            connection = connect(timeout=10)
        except OSError:
            break  # the queue of connections is full: the server may do that
        left.append(connection)
        if number % 2:
            try_to_send(connection, b"GET /capture HTTP/1.1\r\n")
    assert len(left) > 500
    server.assert_unharmed()
    for connection in left:
        connection.close()
    server.assert_unharmed()


def test_streams_that_are_never_read_stop_nobody(server, connect):
    for _ in range(200):
        try_to_send(connect(), STREAM)
    server.assert_unharmed()


def test_viewer_that_sends_all_the_time_stops_nobody(server, connect):
    connection = connect()
    connection.sendall(STREAM)
    connection.settimeout(1)
    for _ in range(200):
        if not try_to_send(connection, os.urandom(65536)):
            break
    server.assert_unharmed()


def test_connections_that_come_and_go_leave_nothing_behind(server):
    for number in range(500):
        connection = server.connect()
        if number % 3:
            try_to_send(connection, STREAM)
        if number % 5 == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()

    def is_alone():
        try:
            return len(server.viewers()) == 1
        except OSError:
            return False

    wait_until("they are all gone", is_alone)
    server.assert_unharmed()
