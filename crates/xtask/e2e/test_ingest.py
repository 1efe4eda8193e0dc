"""Relays that cameras push to, and relays that pull over WebSocket."""

import contextlib
import queue
import struct
import threading
import time
from functools import partial

import pytest
from camwire import HOST, TIMEOUT, Parts, Server, assert_come_from, assert_numbers_add_up
from camwire import make_frames, run, size_of, wait_until
from proxy import Proxy
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.server import serve as serve_websockets

frames = partial(make_frames, 30, "320x240")


@pytest.fixture
def relay(start):
    # The last is what the firmware calls this machine.
    options = ("--source", "ingest", "--ingest-token", "T", "--allow-host", "10.0.2.2")
    return start(Server, *options)


@pytest.fixture
def push(serve, target):
    """Starts a camera that pushes to a relay, or to a proxy."""

    def push(relay, token="T", **options):
        url = f"ws://{target.this_machine}:{relay.port}/ingest"
        return serve(push=url, push_token=token, **options)

    return push


@pytest.fixture
def script(websocket):
    """Connects to a relay as a camera that is a script of a few lines."""
    token = {"additional_headers": {"Authorization": "Bearer T"}}
    return lambda relay, **options: websocket(relay, "/ingest", **{**token, **options})


@pytest.fixture
def websocket_server(request):
    """Starts a server for this function; returns its port."""

    def start(handler, **options):
        server = serve_websockets(handler, "127.0.0.1", 0, compression=None, **options)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        request.addfinalizer(server.shutdown)
        return server.socket.getsockname()[1]

    return start


def send_frames(viewer):
    with contextlib.suppress(ConnectionClosed):
        for frame in frames():
            viewer.send(frame)
            time.sleep(0.03)


@pytest.mark.target("host", "imc")
def test_every_kind_of_viewer_of_the_relay_gets_the_pushed_frames(relay, push, watch, websocket):
    camera = push(relay, frames=frames(), fps=20)
    stream = watch(relay)
    viewer = websocket(relay)
    over_websocket = [viewer.recv(TIMEOUT) for _ in range(20)]
    parts = stream.parts(20)
    assert_numbers_add_up(parts)
    jpegs = {*(part.jpeg for part in parts), *over_websocket, relay.get("/capture").body}
    assert jpegs <= set(frames())
    source = relay.source()
    assert (source["kind"], source["state"]) == ("ingest", "streaming")
    assert relay.is_healthy()
    assert pushing(camera)["missed"] == 0


def pushing(camera):
    """The push in the camera's /stats."""
    (viewer,) = [one for one in camera.viewers() if one["transport"] == "push"]
    return viewer


def test_one_token_guards_everything_at_both_ends(serve):
    """As in the README: `--token T` at both."""
    relay = serve("--source", "ingest", "--token", "T")
    camera = serve("--push", relay.url("/ingest", "ws"), "--token", "T")
    for server in (relay, camera):
        assert server.status_of("/stats") == 401
        assert server.status_of("/capture?token=T") == 200
    assert relay.get("/stats?token=T").json()["source"]["kind"] == "ingest"


@pytest.mark.target("host", "imc")
def test_pushing_camera_rests_without_viewers(relay, push, watch):
    camera = push(relay)
    wait_until("the camera is connected", relay.is_idle)
    for _ in range(2):
        stream = watch(relay)
        stream.parts(3)
        assert camera.source()["state"] == "streaming"
        stream.close()
        wait_until("it rests", camera.is_idle)
        captured = camera.source()["captured"]
        time.sleep(0.5)
        assert camera.source()["captured"] == captured
    assert relay.is_idle()


def test_push_has_a_rate_of_its_own(relay, push, watch):
    camera = push(relay, fps=30, push_fps=2)
    watch(relay).parts(2)
    assert pushing(camera)["fps_cap"] == 2


CUTS = [(3, 1.5), pytest.param(10, 5, marks=pytest.mark.deep)]


@pytest.mark.parametrize("cuts, pause", CUTS)
def test_viewers_stay_while_the_push_is_cut(relay, push, watch, websocket, start, cuts, pause):
    proxy = start(Proxy, relay.port)
    camera = push(proxy, fps=20)
    sent = Parts(watch(camera, "/stream?mode=all"))
    there = Parts(watch(relay, "/stream?mode=all"))
    viewer = websocket(relay)
    there.wait_for(5)
    outages = []
    for _ in range(cuts):
        time.sleep(pause)
        known = len(proxy.accepted)
        cut = time.time()
        proxy.cut()
        wait_until("the camera is back", lambda: len(proxy.accepted) > known)
        outages.append((cut - 0.5, proxy.accepted[known] + 1))
    # All viewers are still connected.
    there.wait_for(30)
    for _ in range(3):
        viewer.recv(TIMEOUT)
    assert relay.source()["state"] == "streaming"

    arrived = [part.jpeg for part in there]
    assert_come_from(sent, arrived)
    numbers = {part.jpeg: part.number for part in sent}
    new = [numbers[jpeg] for i, jpeg in enumerate(arrived) if i == 0 or jpeg != arrived[i - 1]]
    assert new == sorted(set(new)), "in order, and none twice"
    lost = [p for p in sent if new[0] < p.number < new[-1] and p.jpeg not in arrived]
    for part in lost:
        in_outage = any(begin <= part.time <= end for begin, end in outages)
        assert in_outage, f"{part.headers} is lost, outages: {outages}"
    assert len(lost) < 30 * cuts


def test_relay_takes_one_camera_with_the_right_token(relay, push, script, serve):
    for headers in ({}, {"Authorization": "Bearer U"}):
        with pytest.raises(InvalidStatus, match="401"):
            script(relay, additional_headers=headers)
    script(relay)
    with pytest.raises(InvalidStatus, match="409"):
        script(relay)
    push(relay).wait_for_log(r"another camera pushes there \(409\)")
    push(relay, token="U").wait_for_log(r"the token is wrong \(401\)")
    push(serve()).wait_for_log(r"it takes no pictures there \(404\)")


def test_ingest_needs_a_token():
    done = run(HOST, "serve", "--source", "ingest")
    assert done.returncode == 1
    assert b"--ingest-token" in done.stderr


def test_streams_end_properly_when_a_relay_does(relay, push, watch):
    camera = push(relay)
    stream = watch(relay)
    stream.parts(3)
    assert camera.interrupt() == 0
    wait_until("it is noticed", lambda: relay.source()["state"] == "waiting")
    assert relay.interrupt() == 0
    with pytest.raises(EOFError):
        stream.parts(100)
    # Behind the delimiter that is sent with each part.
    assert bytes(stream.buffer) == b"\r\n" + stream.delimiter[:-2] + b"--\r\n"


# wss:// in both directions, with a certificate that the system is configured to trust.


def test_push_and_pull_over_tls(serve, watch, websocket_server, certificate):
    context, trusted = certificate("DNS:localhost", "IP:127.0.0.1")
    pushed = queue.Queue()

    def relay(camera):
        with contextlib.suppress(ConnectionClosed):
            for message in camera:
                pushed.put(message)

    port = websocket_server(relay, ssl=context)
    for host in ("localhost", "127.0.0.1"):
        camera = serve("--push", f"wss://{host}:{port}/ingest", environment=trusted)
        for _ in range(3):
            assert size_of(pushed.get(timeout=TIMEOUT)) == (640, 480)
        camera.close()

    port = websocket_server(send_frames, ssl=context)
    relay = serve("--source", f"wss://localhost:{port}/", environment=trusted)
    assert {part.jpeg for part in watch(relay).parts(20)} <= set(frames())


def test_push_rejects_certificates_that_are_not_trusted(serve, websocket_server, certificate):
    context, elsewhere = certificate("DNS:elsewhere.example")
    _, another = certificate("DNS:localhost")
    port = websocket_server(lambda _: None, ssl=context)
    for trusted in (elsewhere, another):
        camera = serve("--push", f"wss://localhost:{port}/ingest", environment=trusted)
        camera.wait_for_log("certificate")


# What people write after reading three lines about it.


def test_script_pushes_bare_frames(relay, script, watch):
    camera = script(relay)

    def send():
        with contextlib.suppress(ConnectionClosed):
            while True:
                for frame in frames():
                    camera.send(frame)
                    time.sleep(0.02)

    threading.Thread(target=send, daemon=True).start()
    parts = watch(relay).parts(20)
    assert {part.jpeg for part in parts} <= set(frames())
    assert_numbers_add_up(parts)
    source = relay.source()
    assert (source["width"], source["height"]) == (320, 240)


def test_relay_sends_credit_and_acknowledgements(relay, script, watch):
    frame = frames()[0]
    camera = script(relay, subprotocols=["camwire.v1"])
    assert camera.subprotocol == "camwire.v1"
    with pytest.raises(TimeoutError):
        camera.recv(0.3)
    stream = watch(relay)
    kind, credit = camera.recv(TIMEOUT)
    assert kind == 2 and credit in range(1, 9)
    for number in (7, 9):
        camera.send(struct.pack(">BBHIQQ", 1, 0, 24, 0, number, 1_000_000 * number) + frame)
        assert camera.recv(TIMEOUT) == struct.pack(">BQ", 1, number)
    assert stream.part().jpeg == frame
    stream.close()
    assert camera.recv(TIMEOUT) == b"\x02\x00"
    camera.send(b"what")
    with pytest.raises(ConnectionClosed) as closed:
        camera.recv(TIMEOUT)
    assert closed.value.rcvd.code == 1008


def test_relay_counts_what_is_no_frame(relay, script, watch):
    frame = frames()[0]
    stream = watch(relay)
    camera = script(relay)
    wait_until("frames are wanted", lambda: relay.source()["state"] == "starting")
    for junk in (b"", b"hello", frame[:-100], frame[:200] * 30_000):
        camera.send(junk)
        camera.send(frame)
    camera.send("and text is none at all")
    stream.parts(3)
    wait_until("it is counted", lambda: relay.source()["errors"] == 4)
    assert relay.source()["captured"] == 4


def test_relay_pulls_with_a_token(serve, watch, start):
    address = serve("--token", "T").url("/ws", "ws")
    for args in ((address + "?token=T",), (address, "--source-token", "T")):
        assert serve("--source", *args).status_of("/capture") == 200
    relay = serve("--source", address)
    watch(relay)
    relay.wait_for_log("answers 401: it asks for a login")


def test_relay_pulls_from_the_older_demo(serve, watch, websocket_server):
    """A greeting, and one JPEG in each message, for any client at any path."""
    paths = []

    def demo(viewer):
        paths.append(viewer.request.path)
        with contextlib.suppress(ConnectionClosed):
            viewer.send("hello")
            # It goes away now and then.
            send_frames(viewer)

    relay = serve("--source", f"ws://127.0.0.1:{websocket_server(demo)}/")
    stream = watch(relay)
    seen = set()

    def has_come_back():
        seen.add(stream.part().jpeg)
        return len(seen) > 20 and len(paths) > 1

    wait_until("it comes back", has_come_back, pause=0)
    assert seen <= set(frames())
    assert set(paths) == {"/"}
