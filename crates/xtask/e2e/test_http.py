"""Every route, and every error, by curl."""

import gzip
import json
import re
import time

import pytest
from camwire import (
    TIMEOUT,
    Response,
    assert_numbers_add_up,
    decode,
    fields,
    run,
    size_of,
    wait_until,
)

every_target = pytest.mark.target("host", "imc", "imac")

NUMBER = (int, float)
STATS = {"source": dict, "viewers": list, "uptime_s": NUMBER, "time_s": NUMBER}
SOURCE = {
    **{"kind": str, "state": str, "fps": NUMBER, "captured": int, "dropped": int},
    **{"width": int, "height": int, "slot_bytes": int},
}
VIEWER = {
    **{"id": int, "peer": str, "transport": str, "mode": str, "fps": NUMBER},
    **{"sent": int, "missed": int, "bytes": int, "age_ms": NUMBER},
}


@pytest.fixture
def curl(tmp_path):
    """Sends one request. `--max-time` is there for streams, which never end."""
    head, body = tmp_path / "head", tmp_path / "body"

    def curl(url, *options):
        body.write_bytes(b"")
        done = run(
            *("curl", "--silent", "--show-error", "--max-time", TIMEOUT / 2, "--path-as-is"),
            *("--dump-header", head, "--output", body, *options, url),
        )
        assert head.exists() and head.stat().st_size, (url, done.stderr)
        lines = head.read_bytes().decode("latin-1").split("\r\n\r\n")[-2].split("\r\n")
        return Response(int(lines[0].split(" ")[1]), fields(lines[1:]), body.read_bytes())

    return curl


def assert_shape(value, shape):
    for name, kind in shape.items():
        assert isinstance(value[name], kind), name


@every_target
def test_capture_is_one_jpeg(server, curl):
    for path in ("/capture", "/jpg"):
        answer = curl(server.url(path))
        assert answer.status == 200
        assert answer.headers["content-type"] == "image/jpeg"
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert "no-store" in answer.headers["cache-control"]
        assert re.fullmatch(r"\d+\.\d{6}", answer.headers["x-timestamp"])
        assert size_of(answer.body) == server.size
        decode([answer.body])
    assert curl(server.url("/capture"), "--http1.0").status == 200


@every_target
def test_stream_sends_whole_frames_with_their_numbers(server, watch):
    for path in ("/stream", "/mjpeg/1"):
        stream = watch(server, path)
        assert stream.status == 200
        assert "no-store" in stream.headers["cache-control"]
        assert stream.headers["connection"].lower() == "close"
        assert not {"transfer-encoding", "content-length"} & set(stream.headers)
        parts = stream.parts(20)
        for part in parts:
            assert int(part.headers["content-length"]) == len(part.jpeg)
            assert re.fullmatch(r"\d+\.\d{6}", part.headers["x-timestamp"])
        assert_numbers_add_up(parts)
        assert parts[0].missed == 0
        times = [part.time for part in parts]
        assert times == sorted(times)
        sums = decode([part.jpeg for part in parts])
        assert len(set(sums)) == len({part.number for part in parts})


@every_target
def test_stream_is_sent_at_the_rate_that_a_viewer_asks_for(serve, watch):
    parts = watch(serve(fps=20), "/stream?fps=4").parts(9)
    pace = (parts[-1].time - parts[0].time) / 8
    assert pace > 0.2, "four frames in a second"
    assert sum(part.missed for part in parts) == 0, "what it did not ask for is not missed"


@every_target
def test_stream_sends_all_frames_in_order(server, watch):
    assert_numbers_add_up(watch(server, "/stream?mode=all").parts(20))


@every_target
def test_stream_sends_headers_in_advance(serve, watch):
    stream = watch(serve(fps=4), "/stream?advance_headers=1")
    jpegs, early = [], 0
    for _ in range(6):
        part = stream.part()
        assert "content-length" not in part.headers
        jpegs.append(part.jpeg)
        head = stream.until(b"\r\n\r\n")
        early += not stream.buffer
        stream.buffer[:0] = head
    decode(jpegs)
    # (Unless this process was too late to see it.)
    assert early > 1, "the next part's head is here before its frame is captured"


@every_target
def test_page_is_small_and_requests_nothing_of_other_sites(server, curl):
    answer = curl(server.url("/"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert int(answer.headers["content-length"]) == len(answer.body)
    page = answer.body.decode()
    assert 'href="stream"' in page
    # (The names of XML namespaces are not addresses.)
    outside = re.findall(r"(?:https?:)?//[\w.-]+", page.replace("http://www.w3.org/", ""))
    assert [found for found in outside if found[:2] != "//"] == []
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert len(gzip.compress(answer.body, 9)) < 16 * 1024


@every_target
def test_stats_describe_source_and_viewers(server, watch, curl):
    viewer = watch(server, "/stream?fps=10")
    viewer.parts(3)
    wait_until("it is counted", lambda: server.viewers()[0]["sent"] >= 3)
    answer = curl(server.url("/stats"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    stats = json.loads(answer.body)
    assert_shape(stats, STATS)
    source = stats["source"]
    assert_shape(source, SOURCE)
    assert (source["kind"], source["width"], source["height"]) == (server.kind, *server.size)
    assert source["captured"] >= 3
    (one,) = stats["viewers"]
    assert_shape(one, VIEWER)
    assert re.fullmatch(r"[0-9.]+:\d+", one["peer"])
    assert one["mode"] == "live" and one["bytes"] > 1000
    if server.kind == "test":  # The emulator stands between a viewer and the firmware.
        assert one["peer"] == "127.0.0.1:%d" % viewer.socket.getsockname()[1]
    viewer.close()
    wait_until("a viewer that left is gone", lambda: not server.viewers())


@every_target
def test_nothing_is_captured_without_viewers(server, watch, curl):
    server.get("/capture")
    viewer = watch(server)
    viewer.parts(3)
    assert curl(server.url("/healthz")).status == 200
    viewer.close()
    wait_until("the viewer is gone", lambda: not server.viewers())
    wait_until("the source rests", server.is_idle)
    before = server.source()["captured"]
    time.sleep(1)
    assert server.source()["captured"] == before
    assert curl(server.url("/healthz")).status == 200, "nobody wants frames, so all is well"


@every_target
def test_settings_are_those_of_camera_web_server(server, curl):
    before = curl(server.url("/status")).json()
    assert (before["quality"], before["vflip"]) == (12, 0)
    for query in ("var=framesize&val=1", "var=quality&val=20", "var=vflip&val=1"):
        answer = curl(server.url(f"/control?{query}"))
        assert (answer.status, answer.body) == (200, b"")
    after = {**before, "framesize": 1, "quality": 20, "vflip": 1}
    assert curl(server.url("/status")).json() == after
    assert size_of(curl(server.url("/capture")).body) == (160, 120)
    for query in ("var=nonsense&val=1", "var=quality&val=64", "var=agc_gain&val=1", ""):
        assert curl(server.url(f"/control?{query}")).status == 400
    assert curl(server.url("/status")).json() == after


@every_target
def test_setting_that_makes_frames_too_large_is_undone(server, curl):
    curl(server.url("/control?var=framesize&val=6"))
    largest = server.source()["slot_bytes"]
    assert curl(server.url("/control?var=quality&val=0")).status == 200
    assert len(curl(server.url("/capture")).body) <= largest
    assert curl(server.url("/healthz")).status == 200


PATHS = ("/", "/stream", "/capture", "/stats", "/healthz")
BAD_REQUESTS = (
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    b"GET / HTTP/1.1\r\n: no name\r\n\r\n",
)


@every_target
def test_wrong_requests_are_rejected(server, curl):
    for path in ("/nonsense", "/stream/", "/..", "/captures", "//", "/%2e%2e/etc/passwd"):
        assert curl(server.url(path)).status == 404, path
    for path in PATHS:
        for method in ("POST", "DELETE", "PUT"):
            answer = curl(server.url(path), "--request", method)
            assert answer.status == 405 and "GET" in answer.headers["allow"], (method, path)
    for query in ("fps=5&mode=all", "mode=some", "fps=fast", "fps=-1", "advance_headers=2x"):
        assert curl(server.url(f"/stream?{query}")).status == 400, query
    for head in BAD_REQUESTS:
        with server.request(head) as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 400 "), head


@every_target
def test_head_request_has_the_status_of_its_path(server, curl):
    for path in PATHS:
        assert curl(server.url(path), "--head").status == 200, path
    assert curl(server.url("/nonsense"), "--head").status == 404


@every_target
def test_long_head_is_rejected(server, curl):
    many = [part for i in range(40) for part in ("--header", f"X-{i}: {'x' * 1000}")]
    assert curl(server.url("/capture"), *many).status == 431
    assert curl(server.url("/" + "x" * 3000)).status in (414, 431)
    # A header that the server does not read may be long, within the limit of the whole.
    some = ("--header", f"Cookie: {'x' * 3000}")
    assert curl(server.url("/capture"), *some).status == 200


@pytest.mark.target("imc")
def test_firmware_has_a_route_of_its_own(server, curl):
    answer = curl(server.url("/robot"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"steps", "skipped", "worst_late_us"}
    assert curl(server.url("/robot"), "--data", "x").status == 405
    assert curl(server.url("/robots")).status == 404


# What firmware does not have, or has in another way: options, many places, the time of day.


def test_capture_is_taken_after_its_request(serve, watch):
    server = serve(fps=5)
    viewer = watch(server)
    for _ in range(5):
        viewer.part()
        asked = time.time()
        # The two clocks are read a moment apart, and one of them was rounded.
        assert float(server.get("/capture").headers["x-timestamp"]) > asked - 0.01


def test_first_frame_after_a_rest_is_new(server, watch):
    watch(server).close()
    wait_until("the source rests", server.is_idle)
    time.sleep(0.5)
    asked = time.time()
    assert watch(server).part().time > asked - 0.01


SIZES = [("QQVGA", (160, 120)), ("SVGA", (800, 600)), ("UXGA", (1600, 1200))]


@pytest.mark.parametrize("name, size", SIZES)
def test_resolution_is_an_option(serve, name, size):
    frame = serve(resolution=name).get("/capture").body
    assert size_of(frame) == size
    decode([frame])


def test_lower_quality_numbers_make_larger_frames(serve):
    frames = [serve(quality=quality).get("/capture").body for quality in (0, 12, 63)]
    decode(frames)
    sizes = [len(frame) for frame in frames]
    assert sizes == sorted(sizes, reverse=True)


def test_cors_is_an_option(serve, curl):
    with_cors, without = serve("--cors"), serve()
    origin = ("--header", "Origin: http://elsewhere.example")
    for path in ("/capture", "/stats", "/healthz", "/stream"):
        limit = ("--max-time", "1") if path == "/stream" else ()
        for server, allowed in ((with_cors, "*"), (without, None)):
            answer = curl(server.url(path), *origin, *limit)
            assert answer.headers.get("access-control-allow-origin") == allowed, path


def test_viewer_beyond_the_limit_is_asked_to_come_later(serve, watch, curl):
    server = serve("--max-viewers", 2)
    viewers = [watch(server) for _ in range(2)]
    for viewer in viewers:
        viewer.part()
    answer = curl(server.url("/stream"))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert curl(server.url("/capture")).status == 200
    assert curl(server.url("/stats")).status == 200
    viewers[0].close()
    wait_until("a place is free", lambda: watch(server).status == 200)
    viewers[1].part()
