"""The page in a browser."""

import re
import time
import urllib.parse

import pytest
from browser import assert_moving_frame
from cameras import Camera
from camwire import Parts, holds, make_frames, wait_until
from proxy import PageProxy

pytestmark = pytest.mark.browser("chromium", "firefox")

# More settings than the test pattern has: those of a sensor.
SENSOR = {
    **{"framesize": 10, "quality": 12, "brightness": 1, "contrast": 0, "saturation": -2},
    **{"sharpness": 0, "special_effect": 0, "wb_mode": 0, "awb": 1, "awb_gain": 1, "aec": 1},
    **{"aec2": 0, "ae_level": 0, "aec_value": 168, "agc": 1, "agc_gain": 5, "gainceiling": 2},
    **{"bpc": 0, "wpc": 1, "raw_gma": 1, "lenc": 1, "hmirror": 1, "vflip": 0, "dcw": 1},
    **{"colorbar": 0, "led_intensity": 20},
}


@pytest.fixture
def server(serve):
    return serve(fps=30)


@pytest.fixture
def proxy(server, start):
    return start(PageProxy, server.port)


@pytest.fixture
def page(proxy, tab):
    """The page of a server behind a proxy, with its stream."""
    tab.open(proxy.url())
    wait_until_drawn(tab)
    return tab


def wait_until_drawn(page, transport="WebSocket"):
    """Waits until the page draws frames that it gets by this transport."""

    def is_live():
        figures = page.statistics()
        return figures and figures["state"] == "live" and figures["transport"] == transport

    wait_until(f"the page is live by {transport}", is_live)
    if transport == "WebSocket":
        wait_for_frames(page, 2)


def wait_for_frames(page, count):
    before = page.statistics()["drawn"]
    wait_until(f"{count} more frames", lambda: page.statistics()["drawn"] > before + count)


def wait_for_text(page, pattern, selector="#state"):
    wait_until(f"{selector}: {pattern!r}", lambda: re.search(pattern, page.text(selector)))


def wait_for_notice(page, pattern):
    wait_for_text(page, pattern, "#notice:not([hidden])")


def wait_for_settings(page, name):
    wait_until("the settings are shown", lambda: page.property(name, "id"))


# The server of the host, and that of the firmware.


@pytest.mark.target("host", "imc")
def test_page_shows_frames_and_figures_and_sets_the_camera(server, tab):
    tab.open(server.url())
    name = f"{server.kind}-page"
    assert_moving_frame(tab, name, server.size)
    wait_for_text(tab, "%d × %d" % server.size, "#size")
    tab.screenshot(f"{name}-figures")
    # What a person chooses on the page is what the camera does.
    for setting in ("framesize", "quality"):
        value = str(server.settings()[setting])
        wait_until("the setting is shown", lambda: tab.property(setting, "value") == value)
    tab.choose("framesize", 1)
    tab.choose("quality", 30)
    wait_until("the frame is a small one", lambda: tab.statistics()["width"] == 160)
    settings = server.settings()
    assert (settings["framesize"], settings["quality"]) == (1, 30)
    tab.choose("rate", 2)
    wait_until("the stream has a cap", lambda: [v["fps_cap"] for v in server.viewers()] == [2])


@pytest.mark.target("host", "imc")
def test_browser_shows_the_bare_stream(server, tab):
    tab.open(server.url("/stream"))
    assert_moving_frame(tab, f"{server.kind}-stream", server.size)


# What the page does beyond that is the same with each server.


def test_page_draws_frames_of_websocket(server, tab):
    tab.open(server.url())
    wait_until_drawn(tab)
    assert server.transports() == ["websocket"]
    assert "WebSocket" in tab.text("#about")
    figures = tab.statistics()
    assert (figures["width"], figures["height"]) == server.size
    assert (figures["broken"], figures["clock"]) == (0, "same")
    # It is no more than the page has seen of the time.
    assert 0 < figures["latency"]["median"] <= figures["latency"]["p95"]
    for figure in ("fps", "latency", "data", "missed", "size", "viewers"):
        wait_for_text(tab, r"\d", f"#{figure}")


def test_page_draws_mjpeg_where_websockets_are_rejected(server, serve, proxy, tab):
    proxy.allows_websockets = False
    tab.open(proxy.url())
    wait_until_drawn(tab, "MJPEG")
    assert_moving_frame(tab, "mjpeg", server.size)
    assert server.transports() == ["mjpeg"]
    assert "WebSocket cannot be had" in tab.text("#about")
    wait_for_text(tab, r"\d kB/s", "#data")
    # The frame stays when the page is paused, and nothing is sent.
    tab.press(" ")
    wait_until("the viewer is gone", lambda: not server.viewers())
    wait_for_text(tab, "^paused$")
    assert tab.statistics()["width"] == server.size[0]
    # Once WebSockets get through, a lost stream comes back as one.
    proxy.allows_websockets = True
    tab.press(" ")
    wait_until_drawn(tab, "MJPEG")
    server.close()
    wait_for_text(tab, "^server gone")
    proxy.server_port = serve().port
    wait_until_drawn(tab)


def test_page_comes_back_when_the_server_does(server, serve, tab):
    tab.open(server.url())
    wait_until_drawn(tab)
    server.kill()
    gone = "^server gone, trying again$"
    wait_for_text(tab, gone)
    assert holds(lambda: re.search(gone, tab.text("#state")), seconds=8)
    drawn = tab.statistics()["drawn"]
    again = serve("--listen", f"127.0.0.1:{server.port}", "--resolution", "QVGA")
    wait_until_drawn(tab)
    assert tab.statistics()["drawn"] > drawn
    assert tab.statistics()["width"] == 320
    assert again.transports() == ["websocket"]


def test_page_sends_few_requests(server, proxy, tab):
    is_stalling = False

    def stats(query):
        if is_stalling:
            proxy.flow.clear()
            time.sleep(2.7)
        return "200 OK", server.get("/stats").body.decode()

    proxy.answers["/stats"] = stats
    tab.open(proxy.url())
    wait_until_drawn(tab)
    # No frames come while it requests the figures, and so it requests the reason.
    is_stalling = True
    wait_for_text(tab, "^camera stalled$")
    is_stalling = False
    proxy.flow.set()
    wait_until_drawn(tab)
    start, before = time.monotonic(), len(proxy.requests)
    wait_for_frames(tab, 300)
    # A pair each 5 s, and one more that was on its way.
    pairs = (time.monotonic() - start) / 5 + 1
    assert len(proxy.requests) - before <= 2 * pairs, proxy.requests


def test_paused_page_lets_the_camera_rest(server, proxy, page):
    page.press(" ")
    wait_for_text(page, "^paused$")
    wait_until("the viewer is gone", lambda: not server.viewers())
    wait_until("the source rests", server.is_idle)
    before = page.statistics()["drawn"], len(proxy.requests), server.source()["captured"]
    time.sleep(6)
    after = page.statistics()["drawn"], len(proxy.requests), server.source()["captured"]
    assert after == before
    page.do("camwire.reset()")
    page.press(" ")
    wait_until_drawn(page)
    # No frame was captured before it went on.
    assert page.statistics()["latency"]["max"] < 6000


def test_hidden_page_lets_the_camera_rest(server, page):
    for hidden, transports in (("true", []), ("false", ["websocket"])):
        page.do(
            f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});"
            " document.dispatchEvent(new Event('visibilitychange'))"
        )
        wait_until("the server notices", lambda: server.transports() == transports)
    wait_until_drawn(page)


def test_snapshot_saves_a_frame_of_the_camera(serve, start, tab):
    frames = make_frames(5)
    proxy = start(PageProxy, serve(frames=frames).port)
    tab.open(proxy.url())
    wait_until_drawn(tab)
    tab.press("s")
    first = wait_until("it is downloaded", tab.downloads)[0]
    assert re.fullmatch(r"camwire-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-\d{3}\.jpg", first.name)
    wait_for_notice(tab, "saved camwire-")
    # By MJPEG it is one that is requested for this.
    proxy.allows_websockets = False
    tab.open(proxy.url())
    wait_until_drawn(tab, "MJPEG")
    tab.click("#snapshot")
    wait_until("another is downloaded", lambda: len(tab.downloads()) == 2)
    for file in tab.downloads():
        assert file.read_bytes() in frames


def test_keys_pause_and_fill_the_screen(page):
    full = "document.fullscreenElement ? document.fullscreenElement.tagName : ''"
    page.press("f")
    wait_until("full screen", lambda: page.evaluate(full) == "MAIN")
    page.press(" ")
    wait_for_text(page, "^paused$")
    page.screenshot("full-paused")
    page.press("f")
    wait_until("no full screen", lambda: page.evaluate(full) == "")
    # Where a key has a meaning of its own, it keeps it: a space on the button presses it once.
    page.focus("pause")
    page.press(" ")
    wait_until_drawn(page)
    page.focus("rate")
    page.press(" ")
    assert page.text("#state") == "live"
    page.do("Element.prototype.requestFullscreen = () => Promise.reject()")
    page.click("#full")
    wait_for_notice(page, "no full screen here")


SLOW_DECODER = """
    const quick = window.quick ??= createImageBitmap;
    window.createImageBitmap = async (...args) => {
        await new Promise((done) => setTimeout(done, %d));
        return quick(...args);
    };
    camwire.reset();
"""


def test_page_gives_no_more_credit_than_it_can_draw(proxy, page):
    page.do(SLOW_DECODER % 300)
    wait_until("frames are missed", lambda: page.statistics()["missed"] > 20)
    wait_until("frames are drawn", lambda: page.statistics()["samples"] > 5)
    figures = page.statistics()
    assert (proxy.most, figures["credit"], figures["skipped"]) == (2, 2, 0)
    # However long it goes on, they are not old: one waits while another is drawn.
    assert figures["latency"]["max"] < 3000
    page.do(SLOW_DECODER % 0)
    wait_for_frames(page, 20)
    assert proxy.most <= 2


def test_page_counts_frames_that_cannot_be_decoded(proxy, page):
    proxy.spoil = lambda jpeg: bytes(len(jpeg)) if proxy.frames % 3 == 0 else jpeg
    wait_until("they are counted", lambda: page.statistics()["broken"] > 3)
    wait_until_drawn(page)
    proxy.spoil = lambda jpeg: bytes(len(jpeg))
    wait_for_text(page, "^pictures cannot be decoded$")
    frames = proxy.frames
    wait_until("they are acknowledged", lambda: proxy.frames > frames + 10)
    wait_for_text(page, r"\d broken", "#missed")
    proxy.spoil = None
    wait_until_drawn(page)
    assert proxy.most <= page.statistics()["credit"]


def test_page_reports_a_camera_that_stalls(serve, start, tab):
    camera = start(Camera, make_frames(5))
    tab.open(serve(source=camera.url()).url())
    wait_until_drawn(tab)
    camera.close()
    wait_for_text(tab, "^camera (failed|stalled)")
    tab.screenshot("stalled")
    start(Camera, make_frames(5), port=camera.port)
    wait_until_drawn(tab)


def test_page_replaces_a_connection_that_carries_nothing(proxy, page):
    proxy.flow.clear()
    wait_for_text(page, "^camera stalled$")
    before = proxy.count("/ws")
    wait_until("it tries another", lambda: proxy.count("/ws") > before)
    proxy.flow.set()
    wait_until_drawn(page)


def test_page_shows_and_changes_the_settings_of_a_sensor(proxy, tab):
    state = dict(SENSOR)

    def control(query):
        name, value = (urllib.parse.parse_qs(query)[key][0] for key in ("var", "val"))
        if name == "sharpness":
            return "400 Bad Request", "the source cannot be set to that"
        state[name] = int(value)
        proxy.answer_json("/status", state)
        return "200 OK", ""

    proxy.answer_json("/status", state)
    proxy.answers["/control"] = control
    tab.open(proxy.url())
    wait_for_settings(tab, "hmirror")
    tab.do("document.querySelector('details').open = true")
    tab.do("document.querySelector('details').scrollIntoView()")
    tab.screenshot("settings")
    inputs = "document.querySelectorAll('#more input, #more select').length"
    assert tab.evaluate(inputs) == len(SENSOR) - 2
    for name, value in SENSOR.items():
        is_box = tab.property(name, "type") == "checkbox"
        assert int(tab.property(name, "checked" if is_box else "value")) == value, name
    assert tab.property("aec_value", "disabled")
    assert not tab.property("ae_level", "disabled")
    tab.click("#aec")
    wait_until("it is set", lambda: state["aec"] == 0)
    wait_until("the exposure can be set", lambda: not tab.property("aec_value", "disabled"))
    tab.choose("brightness", -3)
    wait_until("it is set", lambda: state["brightness"] == -3)
    tab.focus("sharpness")
    tab.choose("sharpness", 2)
    wait_for_notice(tab, "cannot be set to that")
    wait_until("it goes back", lambda: tab.property("sharpness", "value") == "0")


def test_page_shows_less_where_the_server_has_fewer_routes(proxy, tab):
    for path in ("/status", "/control", "/stats"):
        proxy.answers[path] = ("404 Not Found", "no such thing here")
    tab.open(proxy.url())
    wait_until_drawn(tab)
    assert tab.statistics()["clock"] == "relative"
    assert tab.evaluate("document.querySelector('details').hidden")
    assert tab.property("quality", "parentElement.hidden")
    # Nor even WebSocket.
    proxy.allows_websockets = False
    tab.open(proxy.url())
    wait_until_drawn(tab, "MJPEG")
    assert tab.evaluate("document.images[0].naturalWidth")


def test_page_sends_its_token_with_every_request(serve, start, tab):
    server = serve("--token", "T-1")
    proxy = start(PageProxy, server.port)
    tab.open(proxy.url("/?token=T-1"))
    wait_until_drawn(tab)
    wait_until("the settings are shown", lambda: tab.property("quality", "value"))
    assert tab.evaluate("document.querySelector('nav a').href") == proxy.url("/stream?token=T-1")
    assert proxy.count("/ws") and proxy.count("/stats") and proxy.count("/status")
    # And without WebSocket.
    proxy.allows_websockets = False
    tab.open(proxy.url("/?token=T-1"))
    wait_until_drawn(tab, "MJPEG")
    assert all("token=T-1" in r for r in proxy.requests if "favicon" not in r)


def test_page_reports_a_token_that_is_missing_or_wrong(serve, tab):
    server = serve("--token", "T-1")
    for query in ("", "?token=T-2"):
        tab.open(server.url("/" + query))
        wait_for_text(tab, "a token is needed", "body")
    tab.screenshot("wrong-token")
    # And one that is not right any more.
    tab.open(server.url("/?token=T-1"))
    wait_until_drawn(tab)
    server.close()
    wait_for_text(tab, "^server gone")
    serve("--listen", f"127.0.0.1:{server.port}", "--token", "T-3")
    wait_for_text(tab, "^not allowed: wrong or missing token or password$")


def test_page_works_behind_a_password(serve, tab):
    server = serve("--auth", "anna:secret")
    tab.open(f"http://anna:secret@127.0.0.1:{server.port}/")
    wait_until_drawn(tab)
    stats = server.stats(headers={"Authorization": "Basic YW5uYTpzZWNyZXQ="})
    assert [viewer["transport"] for viewer in stats["viewers"]] == ["websocket"]
    wait_until("the settings are shown", lambda: tab.property("quality", "value"))


def test_page_waits_for_a_place_among_too_many_viewers(serve, watch, tab):
    server = serve("--max-viewers", 1)
    other = watch(server)
    Parts(other)
    tab.open(server.url())
    wait_for_text(tab, "^too many viewers, trying again$")
    other.close()
    wait_until_drawn(tab)


def test_page_fits_on_a_phone_and_every_control_has_a_name(proxy, tab):
    proxy.answer_json("/status", SENSOR)
    tab.resize(360, 740, phone=True)
    tab.open(proxy.url())
    wait_until_drawn(tab)
    wait_for_settings(tab, "hmirror")
    tab.screenshot("phone")
    tab.do("document.querySelector('details').open = true")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    heights = (
        "Math.min(...[...document.querySelectorAll('button, select, summary')]"
        ".map((e) => e.getBoundingClientRect().height))"
    )
    assert tab.evaluate(heights) >= 44
    tab.screenshot("phone-settings")
    nameless = (
        "[...document.querySelectorAll('input, select, button')]"
        ".filter((e) => !(e.labels?.[0] ?? e).textContent.trim()).map((e) => e.id).join()"
    )
    assert tab.evaluate(nameless) == ""
