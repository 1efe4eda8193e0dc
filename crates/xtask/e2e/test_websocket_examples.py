"""The echo examples of camwire-websocket with Python's websockets and Node's ws, in both roles."""

import contextlib
import os
import re
import threading
from functools import partial
from pathlib import Path

import pytest
from camwire import HERE, TARGET, TIMEOUT, HttpServer, Program, in_threads, missing, run
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.server import serve as serve_websockets

EXAMPLES = Path(os.environ.get("CAMWIRE_WEBSOCKET_EXAMPLES", TARGET / "release/examples"))
LIMIT = 64 << 20


def numbered(size):
    """As many bytes, of which no part looks like another."""
    return b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]


# Lengths around those where the form of a frame's head changes, and a large one.
BINARY = [numbered(n) for n in (0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20)]
MESSAGES = [message for binary in BINARY for message in (binary, binary.decode("latin-1"))]
# Each is sent in as many fragments.
FRAGMENTS = [[b"a", b"", b"b"], ["\u00fc" * 1000] * 7, [""], [numbered(70000)] * 3]


class EchoServer(HttpServer):
    def __init__(self):
        super().__init__(EXAMPLES / "echo_server", "127.0.0.1:0")

    def wait_until_ready(self):
        self.port = int(self.wait_for_log(r"ws://127\.0\.0\.1:(\d+)")[1])


@pytest.fixture
def server(start):
    return start(EchoServer)


@pytest.fixture
def connect(websocket, server):
    return partial(websocket, server, "/", max_size=None, compression="deflate")


@pytest.fixture
def client(connect):
    return connect()


def assert_echoed(client, message):
    client.send(message)
    whole = message if isinstance(message, (str, bytes)) else type(message[0])().join(message)
    assert client.recv(timeout=TIMEOUT) == whole


def close_code(client):
    with pytest.raises(ConnectionClosedError) as closed:
        client.recv(timeout=TIMEOUT)
    return closed.value.rcvd.code


def test_echo_server_returns_messages_with_their_type(client):
    assert client.subprotocol is None
    for message in MESSAGES + FRAGMENTS:
        assert_echoed(client, message)


def test_echo_server_takes_messages_of_64_mebibytes_and_no_more(connect):
    assert_echoed(connect(), numbered(LIMIT))
    client = connect()
    with contextlib.suppress(ConnectionClosedError):
        client.send(bytes(LIMIT + 1))
    assert close_code(client) == 1009


def test_echo_server_answers_pings(client):
    pongs = [client.ping(payload) for payload in (b"", b"x", bytes(range(125)))]
    assert all(pong.wait(TIMEOUT) for pong in pongs)


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "\u00fc" * 61), (4999, "x")])
def test_echo_server_returns_the_code_of_a_close(client, code, reason):
    client.close(code, reason)
    assert client.close_code == client.protocol.close_rcvd.code == code


BROKEN_RULES = {
    "without a mask": (b"\x81\x01x", 1002),
    "a reserved bit": (b"\xc1\x81\0\0\0\0x", 1002),
    "a continuation of nothing": (b"\x80\x81\0\0\0\0x", 1002),
    "not the shortest form": (b"\x82\xfe\0\x01\0\0\0\0x", 1002),
    "no UTF-8": (b"\x81\x82\0\0\0\0\xc3\x28", 1007),
    "too long": (b"\x82\xff" + (LIMIT + 1).to_bytes(8), 1009),
}


@pytest.mark.parametrize("frame, code", BROKEN_RULES.values(), ids=BROKEN_RULES)
def test_echo_server_closes_when_rules_are_broken(client, frame, code):
    client.socket.sendall(frame)
    assert close_code(client) == code


def test_echo_server_has_many_clients_at_once(connect):
    def talk(client, number):
        for turn in range(20):
            assert_echoed(client, numbered(1000 * number) + bytes([number, turn]))

    in_threads([partial(talk, connect(), number) for number in range(20)])


def test_echo_server_takes_clients_of_pages(connect):
    client = connect(origin="http://page.example", subprotocols=["a"])
    assert client.subprotocol is None
    assert_echoed(client, "x")


def test_echo_server_rejects_other_requests(server, connect):
    answer = server.get("/", headers={"Host": "x"})
    assert answer.status == 426
    assert answer.headers["sec-websocket-version"] == "13"
    with pytest.raises(InvalidStatus, match="400"):
        connect(additional_headers={"Host": "two"})


def run_client(port):
    """Has `echo_client` go through the cases of the server at this port; returns its output."""
    done = run(EXAMPLES / "echo_client", f"ws://127.0.0.1:{port}")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode()


def run_cases(cases):
    """Has the client go through these cases, each a function of its connection; returns its output
    and the paths that it asked for."""
    paths, failures = [], []

    def handle(client):
        path = client.request.path
        paths.append(path)
        try:
            if path == "/getCaseCount":
                client.send(str(len(cases)))
            elif found := re.fullmatch(r"/runCase\?case=(\d+)&agent=camwire", path):
                cases[int(found[1]) - 1](client)
        except Exception as error:  # looked at below
            failures.append((path, error))

    with serve_websockets(handle, "127.0.0.1", 0, max_size=None) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            output = run_client(server.socket.getsockname()[1])
        finally:
            server.shutdown()
    assert failures == []
    return output, paths


def test_echo_client_holds_the_conversation_of_the_autobahn_suite():
    def last(client):
        # Fragments, and a ping between them, as far as the library can.
        pong = client.ping("between")
        assert_echoed(client, ["a", "\u00fc" * 70000, ""])
        assert pong.wait(TIMEOUT)
        client.close(4000, "enough")
        assert client.protocol.close_rcvd.code == 4000

    cases = [partial(assert_echoed, message=message) for message in MESSAGES] + [last]
    output, paths = run_cases(cases)
    numbers = range(1, len(cases) + 1)
    runs = [f"/runCase?case={number}&agent=camwire" for number in numbers]
    assert paths == ["/getCaseCount", *runs, "/updateReports?agent=camwire"]
    assert output.splitlines() == [f"case {number} of {len(cases)}" for number in numbers]


def test_echo_client_closes_when_the_server_breaks_a_rule():
    def case(client, frame, code):
        client.socket.sendall(frame)
        assert close_code(client) == code

    rules = [(b"\x81\x81\0\0\0\0x", 1002), (b"\x82\x7e\0\x01x", 1002), (b"\x81\x01\xff", 1007)]
    output, _ = run_cases([partial(case, frame=frame, code=code) for frame, code in rules])
    assert "case 3 of 3: WebSocket connection failed at byte 2" in output


@pytest.fixture
def node_peer():
    command = ["node", HERE / "ws_peer.js"]
    if run(*command, "probe").returncode:
        missing("Node's ws", "apt install node-ws, or npm install ws, its folder in NODE_PATH")
    return command


def test_echo_server_talks_to_node(node_peer, server):
    done = run(*node_peer, "client", server.url(scheme="ws"))
    assert (done.returncode, done.stderr) == (0, b"")


def test_echo_client_talks_to_node(node_peer, start):
    node = start(Program, *node_peer, "server")
    port = node.wait_for_log(r"^(\d+)\n")[1]
    assert run_client(port).splitlines() == [f"case {n} of 3" for n in (1, 2, 3)]
    assert (node.wait(), node.log) == (0, f"{port}\n")
