"""Relays and viewers of another camwire, over each of the ways in which it sends frames."""

import re
import time

import pytest
from camwire import TIMEOUT, Parts, assert_come_from, assert_numbers_add_up, decode
from camwire import size_of, view, view_json, wait_until

WAYS = ["mjpeg", "websocket", "framed", "indexed", "whole", "framed,indexed,whole"]
# Those that keep the numbers and times of frames.
NUMBERED = ["mjpeg", "websocket", "framed", "framed,indexed,whole"]


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture
def upstream(way, request, serve):
    """A server, and the address of its frames."""
    if way == "mjpeg":
        server = serve(fps=20)
        return server, server.url("/stream")
    if way == "websocket":
        server = serve(fps=20)
        return server, server.url("/ws", "ws")
    broker = request.getfixturevalue("broker")
    server = serve("--mqtt", broker.url, "--mqtt-prefix", "camwire", "--mqtt-layout", way, "--fps", 20)
    server.wait_for_log("publishing at")
    return server, f"{broker.url}/camwire"


def test_relay_of_a_relay_sends_frames_unchanged(way, upstream, serve, watch):
    first, address = upstream
    originals = Parts(watch(first, "/stream?mode=all"))
    second = serve("--source", address)
    third = serve("--source", second.url("/stream"))
    end = watch(third)
    parts = end.parts(30)
    assert_numbers_add_up(parts)
    relayed = {part.jpeg for part in parts}
    assert len(set(decode(relayed))) == len(relayed) > 20
    assert_come_from(originals, relayed)
    assert size_of(third.get("/capture").body) == first.size
    assert all(server.is_healthy() for server in (first, second, third))
    assert second.source()["kind"] == {"mjpeg": "http", "websocket": "websocket"}.get(way, "mqtt")
    transports = [way] if way in ("mjpeg", "websocket") else []
    assert sorted(first.transports()) == ["mjpeg", *transports]
    # Without viewers, relays disconnect.
    end.close()
    wait_until("the second is not viewed", lambda: not second.viewers())
    wait_until("nor the first", lambda: first.transports() == ["mjpeg"])
    assert third.is_healthy()


def test_view_saves_frames_as_they_were_captured(way, upstream, watch, tmp_path):
    server, address = upstream
    originals = Parts(watch(server, "/stream?mode=all"))
    folder = tmp_path / "not" / "yet"
    frames, _ = view_json("--save", folder, "--frames", 30, address)
    saved = [(folder / frame["file"]).read_bytes() for frame in frames]
    assert len(set(decode(saved))) == 30
    assert_come_from(originals, saved)
    sent = {part.jpeg: part for part in originals}
    for frame, jpeg in zip(frames, saved):
        if way not in NUMBERED:
            assert frame["sequence"] is frame["latency_ms"] is None
            continue
        part = sent[jpeg]
        assert frame["sequence"] == part.number
        assert abs(frame["timestamp"] - part.time) < 1e-5
        assert abs(frame["latency_ms"]) < 1000 * TIMEOUT
        stamp, number = re.fullmatch(r"(\d+\.\d{6})-(\d+)\.jpg", frame["file"]).groups()
        assert int(number) == part.number
        assert abs(float(stamp) - time.time()) < 2 * TIMEOUT
    # They can be viewed again, in the same order.
    again = tmp_path / "again"
    view(f"dir:{folder}", "--save", again, "--frames", 30, "--fps", 60)
    assert [file.read_bytes() for file in sorted(again.iterdir())] == saved
