"""The page of camwire-host in a browser: what it does beyond showing a picture."""

import contextlib
import re
import socket
import threading
import time
import urllib.parse

from browser import assert_moving_picture
from camwire import Case, eventually, make_pictures
from front import Front
from misbehave import Camera, part

MULTIPART = "multipart/x-mixed-replace; boundary=frame"

# More settings than the test pattern has: those of a sensor.
SENSOR = {
    **{"framesize": 10, "quality": 12, "brightness": 1, "contrast": 0, "saturation": -2},
    **{"sharpness": 0, "special_effect": 0, "wb_mode": 0, "awb": 1, "awb_gain": 1, "aec": 1},
    **{"aec2": 0, "ae_level": 0, "aec_value": 168, "agc": 1, "agc_gain": 5, "gainceiling": 2},
    **{"bpc": 0, "wpc": 1, "raw_gma": 1, "lenc": 1, "hmirror": 1, "vflip": 0, "dcw": 1},
    **{"colorbar": 0, "led_intensity": 20},
}


class PageTests(Case):
    # Chromium or Firefox.
    browser = None
    # Whether its window has the focus where there is no screen. A full screen needs it, and so does
    # what a key does by itself.
    has_focus = True

    def page(self, url, **options):
        browser = type(self).browser()
        self.addCleanup(browser.close)
        browser.open(url)
        return browser

    def front(self, server):
        front = Front(server.port)
        self.addCleanup(front.close)
        return front

    def name(self, what):
        return f"{self.browser.__name__.lower()}-page-{what}"

    def is_drawing(self, page, transport="WebSocket"):
        """Waits until pictures are drawn, by this door."""

        def drawing():
            figures = page.statistics()
            return figures and figures["state"] == "live" and figures["transport"] == transport

        eventually(f"the page is live by {transport}", drawing)
        if transport == "WebSocket":
            before = page.statistics()["drawn"]
            eventually("it draws", lambda: page.statistics()["drawn"] > before + 2)

    def says(self, page, text):
        eventually(f"the page says {text!r}", lambda: re.search(text, page.text("#state")))

    def viewers(self, server):
        return [viewer["transport"] for viewer in server.stats()["viewers"]]

    def test_websocket(self):
        server = self.serve("--fps", 30)
        page = self.page(server.url())
        assert_moving_picture(self, page, self.name("websocket"), server.size)
        self.is_drawing(page)
        self.assertEqual(self.viewers(server), ["websocket"])
        self.assertIn("WebSocket", page.text("#about"))
        figures = page.statistics()
        self.assertEqual((figures["width"], figures["height"]), server.size)
        self.assertEqual((figures["broken"], figures["clock"]), (0, "same"))
        # It is no more than the page has seen of the time.
        self.assertGreater(figures["latency"]["median"], 0)
        self.assertGreaterEqual(figures["latency"]["p95"], figures["latency"]["median"])
        for figure in ("fps", "latency", "data", "missed", "size", "viewers"):
            eventually(f"{figure} is told", lambda: re.search(r"\d", page.text(f"#{figure}")))

    def test_mjpeg_where_websockets_are_refused(self):
        server = self.serve()
        front = self.front(server)
        front.websockets = False
        page = self.page(front.url())
        self.is_drawing(page, "MJPEG")
        assert_moving_picture(self, page, self.name("mjpeg"), server.size)
        self.assertEqual(self.viewers(server), ["mjpeg"])
        self.assertIn("WebSocket cannot be had", page.text("#about"))
        eventually("the rate is told", lambda: re.search(r"\d kB/s", page.text("#data")))
        # The picture stays when it is paused, and nothing is sent.
        page.press(" ")
        eventually("nobody watches", lambda: not self.viewers(server))
        self.says(page, "^paused$")
        self.assertEqual(page.statistics()["width"], server.size[0])
        # Once WebSockets get through, a lost stream comes back as one.
        front.websockets = True
        page.press(" ")
        self.is_drawing(page, "MJPEG")
        server.close()
        self.says(page, "^server gone")
        front.server_port = self.serve().port
        self.is_drawing(page)

    def test_the_server_comes_back(self):
        server = self.serve()
        page = self.page(server.url())
        self.is_drawing(page)
        server.process.kill()
        server.process.wait()
        self.says(page, "^server gone, trying again$")
        time.sleep(10)
        self.says(page, "^server gone, trying again$")
        drawn = page.statistics()["drawn"]
        again = self.serve("--listen", f"127.0.0.1:{server.port}", "--resolution", "QVGA")
        self.is_drawing(page)
        self.assertGreater(page.statistics()["drawn"], drawn)
        self.assertEqual(page.statistics()["width"], 320)
        self.assertEqual(self.viewers(again), ["websocket"])

    def test_requests_are_few(self):
        server = self.serve()
        front = self.front(server)
        stalling = False

        def stats(query):
            if stalling:
                front.flow.clear()
                time.sleep(2.7)
            return "200 OK", server.get("/stats").body.decode()

        front.answers["/stats"] = stats
        page = self.page(front.url())
        self.is_drawing(page)
        # No pictures come while it is asking for the figures, and so it asks why.
        stalling = True
        self.says(page, "^camera stalled$")
        stalling = False
        front.flow.set()
        self.is_drawing(page)
        start, before, drawn = time.monotonic(), len(front.requests), page.statistics()["drawn"]
        eventually("it draws", lambda: page.statistics()["drawn"] > drawn + 200)
        # A pair each 5 s, and one more that was on its way.
        pairs = (time.monotonic() - start) / 5 + 1
        self.assertLessEqual(len(front.requests) - before, 2 * pairs, front.requests)

    def test_pause(self):
        server = self.serve()
        front = self.front(server)
        page = self.page(front.url())
        self.is_drawing(page)
        page.press(" ")
        self.says(page, "^paused$")
        eventually("nobody watches", lambda: not self.viewers(server))
        drawn, requests = page.statistics()["drawn"], len(front.requests)
        captured = server.stats()["source"]["captured"]
        page.evaluate("new Promise((done) => setTimeout(done, 7000)).then(() => { window.over = 1; }) && ''")
        eventually("some time has passed", lambda: page.evaluate("window.over ?? 0"))
        self.assertEqual((page.statistics()["drawn"], len(front.requests)), (drawn, requests))
        self.assertEqual(server.stats()["source"]["captured"], captured)
        page.evaluate("camwire.reset() ?? ''")
        page.press(" ")
        self.is_drawing(page)
        # No picture was captured before it went on.
        self.assertLess(page.statistics()["latency"]["max"], 7000)

    def test_a_hidden_page_lets_the_camera_rest(self):
        server = self.serve()
        page = self.page(server.url())
        self.is_drawing(page)
        for hidden, viewers in (("true", []), ("false", ["websocket"])):
            page.evaluate(
                "Object.defineProperty(document, 'hidden', { value: %s, configurable: true });"
                " document.dispatchEvent(new Event('visibilitychange'))" % hidden
            )
            eventually("it is told", lambda: self.viewers(server) == viewers)
        self.is_drawing(page)

    def test_snapshot(self):
        pictures = make_pictures(5)
        folder = self.folder()
        for number, picture in enumerate(pictures):
            (folder / f"{number}.jpg").write_bytes(picture)
        server = self.serve(source=f"dir:{folder}")
        front = self.front(server)
        page = self.page(front.url())
        self.is_drawing(page)
        page.press("s")
        first = eventually("it is downloaded", page.downloads)[0]
        self.assertRegex(first.name, r"^camwire-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-\d{3}\.jpg$")
        self.assertIn(first.read_bytes(), pictures)
        self.says_notice(page, "saved camwire-")
        # By MJPEG it is one that is asked for.
        front.websockets = False
        page.open(front.url())
        self.is_drawing(page, "MJPEG")
        page.click("#snapshot")
        eventually("another is downloaded", lambda: len(page.downloads()) == 2)
        for file in page.downloads():
            self.assertIn(file.read_bytes(), pictures)

    def says_notice(self, page, text):
        eventually(f"a notice {text!r}", lambda: re.search(text, page.text("#notice:not([hidden])")))

    def test_keys(self):
        server = self.serve()
        page = self.page(server.url())
        self.is_drawing(page)
        full = "document.fullscreenElement ? document.fullscreenElement.tagName : ''"
        page.press("f")
        if self.has_focus:
            eventually("full screen", lambda: page.evaluate(full) == "MAIN")
        else:
            self.says_notice(page, "no full screen here")
        page.press(" ")
        self.says(page, "^paused$")
        if self.has_focus:
            page.screenshot(self.name("full-paused"))
            page.press("f")
            eventually("no full screen", lambda: page.evaluate(full) == "")
        # Where a key has a meaning of its own, it keeps it: a space on the button presses it once.
        page.evaluate("document.getElementById('pause').focus() ?? ''")
        page.press(" ")
        if not self.has_focus:
            self.assertEqual(page.text("#state"), "paused")
            page.click("#pause")
        self.is_drawing(page)
        page.evaluate("document.getElementById('rate').focus() ?? ''")
        page.press(" ")
        self.assertEqual(page.text("#state"), "live")

    def test_credit(self):
        server = self.serve("--fps", 30)
        front = self.front(server)
        page = self.page(front.url())
        self.is_drawing(page)
        slow = (
            "(() => { const quick = window.quick ??= createImageBitmap;"
            " window.createImageBitmap = async (...args) => {"
            "   await new Promise((done) => setTimeout(done, %d)); return quick(...args); };"
            " camwire.reset(); return ''; })()"
        )
        page.evaluate(slow % 300)
        eventually("pictures are missed", lambda: page.statistics()["missed"] > 20)
        eventually("it draws", lambda: page.statistics()["samples"] > 5)
        credit = page.statistics()["credit"]
        self.assertEqual((front.most, credit), (2, 2))
        self.assertEqual(page.statistics()["skipped"], 0)
        # However long it goes on, they are not old: one waits while another is drawn.
        self.assertLess(page.statistics()["latency"]["max"], 3000)
        page.evaluate(slow % 0)
        drawn = page.statistics()["drawn"]
        eventually("it draws", lambda: page.statistics()["drawn"] > drawn + 20)
        self.assertLessEqual(front.most, credit)

    def test_pictures_that_cannot_be_decoded(self):
        server = self.serve()
        front = self.front(server)
        page = self.page(front.url())
        self.is_drawing(page)
        front.spoil = lambda jpeg: bytes(len(jpeg)) if front.pictures % 3 == 0 else jpeg
        eventually("they are counted", lambda: page.statistics()["broken"] > 3)
        self.is_drawing(page)
        front.spoil = lambda jpeg: bytes(len(jpeg))
        self.says(page, "^pictures cannot be decoded$")
        pictures = front.pictures
        eventually("they are acknowledged", lambda: front.pictures > pictures + 10)
        eventually("they are told", lambda: re.search(r"\d broken", page.text("#missed")))
        front.spoil = None
        self.is_drawing(page)
        self.assertLessEqual(front.most, page.statistics()["credit"])

    def test_a_camera_that_stalls(self):
        camera = Camera(make_pictures(5), part(), MULTIPART)
        self.addCleanup(camera.close)
        server = self.serve(source=camera.url())
        page = self.page(server.url())
        self.is_drawing(page)
        camera.close()
        self.says(page, "^camera (failed|stalled)")
        page.screenshot(self.name("stalled"))
        again = Camera(camera.pictures, part(), MULTIPART, port=camera.port)
        self.addCleanup(again.close)
        self.is_drawing(page)

    def test_a_connection_that_carries_nothing_any_more(self):
        server = self.serve()
        front = self.front(server)
        page = self.page(front.url())
        self.is_drawing(page)
        front.flow.clear()
        self.says(page, "^camera stalled$")
        sockets = sum("/ws" in request for request in front.requests)
        eventually(
            "it tries another", lambda: sum("/ws" in r for r in front.requests) > sockets
        )
        front.flow.set()
        self.is_drawing(page)

    def test_settings_of_a_sensor(self):
        server = self.serve()
        front = self.front(server)
        state = dict(SENSOR)

        def control(query):
            name, value = (urllib.parse.parse_qs(query)[key][0] for key in ("var", "val"))
            if name == "sharpness":
                return "400 Bad Request", "the source cannot be set to that"
            state[name] = int(value)
            front.answer_json("/status", state)
            return "200 OK", ""

        front.answer_json("/status", state)
        front.answers["/control"] = control
        page = self.page(front.url())
        self.is_drawing(page)
        eventually("they are there", lambda: page.evaluate("document.getElementById('hmirror')?.checked"))
        page.evaluate("document.querySelector('details').open = true")
        page.evaluate("document.querySelector('details').scrollIntoView() ?? ''")
        page.screenshot(self.name("settings"))
        there = "document.querySelectorAll('#more input, #more select').length"
        self.assertEqual(page.evaluate(there), len(SENSOR) - 2)
        for name, value in SENSOR.items():
            shown = page.evaluate(
                f"((i) => i.type === 'checkbox' ? Number(i.checked) : Number(i.value))(document.getElementById('{name}'))"
            )
            self.assertEqual(shown, value, name)
        disabled = "document.getElementById('%s').disabled"
        self.assertTrue(page.evaluate(disabled % "aec_value"))
        self.assertFalse(page.evaluate(disabled % "ae_level"))
        page.click("#aec")
        eventually("it is set", lambda: state["aec"] == 0)
        eventually("the exposure can be set", lambda: not page.evaluate(disabled % "aec_value"))
        page.choose("brightness", -3)
        eventually("it is set", lambda: state["brightness"] == -3)
        page.evaluate("document.getElementById('sharpness').focus() ?? ''")
        page.choose("sharpness", 2)
        self.says_notice(page, "cannot be set to that")
        value = "document.getElementById('sharpness').value"
        eventually("it goes back", lambda: page.evaluate(value) == "0")

    def test_a_server_with_fewer_routes(self):
        server = self.serve()
        front = self.front(server)
        for path in ("/status", "/control", "/stats"):
            front.answers[path] = ("404 Not Found", "no such thing here")
        page = self.page(front.url())
        self.is_drawing(page)
        self.assertEqual(page.statistics()["clock"], "relative")
        self.assertTrue(page.evaluate("document.querySelector('details').hidden"))
        self.assertTrue(page.evaluate("document.getElementById('quality').parentElement.hidden"))
        # Nor even WebSocket.
        front.websockets = False
        page.open(front.url())
        self.is_drawing(page, "MJPEG")
        self.assertTrue(page.evaluate("document.images[0].naturalWidth"))

    def test_token(self):
        server = self.serve("--token", "T-1")
        front = self.front(server)
        page = self.page(front.url("/?token=T-1"))
        self.is_drawing(page)
        eventually("the settings", lambda: page.evaluate("document.getElementById('quality').value"))
        link = "document.querySelector('nav a').href"
        self.assertEqual(page.evaluate(link), front.url("/stream?token=T-1"))
        for path in ("/ws", "/stats", "/status"):
            self.assertTrue(any(r.startswith(path) for r in front.requests), path)
        self.assertTrue(all("token=T-1" in r for r in front.requests if "favicon" not in r))
        # And without WebSocket.
        front.websockets = False
        page.open(front.url("/?token=T-1"))
        self.is_drawing(page, "MJPEG")
        # What one sees with none, a wrong one, and one that is not right any more.
        for query in ("", "?token=T-2"):
            page.open(server.url("/" + query))
            eventually("it says why", lambda: "a token is needed" in page.text("body"))
        page.screenshot(self.name("wrong-token"))
        page.open(server.url("/?token=T-1"))
        self.is_drawing(page)
        server.close()
        self.says(page, "^server gone")
        self.serve("--listen", f"127.0.0.1:{server.port}", "--token", "T-3")
        self.says(page, "^not allowed: wrong or missing token or password$")

    def test_password(self):
        server = self.serve("--auth", "anna:secret")
        page = self.page(f"http://anna:secret@127.0.0.1:{server.port}/")
        self.is_drawing(page)
        self.assertEqual(self.viewers_with_password(server), ["websocket"])
        eventually("the settings", lambda: page.evaluate("document.getElementById('quality').value"))

    def viewers_with_password(self, server):
        headers = {"Authorization": "Basic YW5uYTpzZWNyZXQ="}
        return [v["transport"] for v in server.get("/stats", headers=headers).json()["viewers"]]

    def test_too_many_viewers(self):
        server = self.serve("--max-viewers", 1)
        other = self.watch(server)

        def read():
            with contextlib.suppress(OSError, EOFError):
                while True:
                    other.part()

        threading.Thread(target=read, daemon=True).start()
        page = self.page(server.url())
        self.says(page, "^too many viewers, trying again$")
        other.socket.shutdown(socket.SHUT_RDWR)
        self.is_drawing(page)

    def test_on_a_phone(self):
        server = self.serve()
        front = self.front(server)
        front.answer_json("/status", SENSOR)
        page = self.page("about:blank")
        page.resize(360, 740, phone=True)
        page.open(front.url())
        self.is_drawing(page)
        eventually("the settings", lambda: page.evaluate("document.getElementById('hmirror')?.id"))
        page.screenshot(self.name("phone"))
        page.evaluate("document.querySelector('details').open = true")
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
        heights = "Math.min(...[...document.querySelectorAll('button, select, summary')].map((e) => e.getBoundingClientRect().height))"
        self.assertGreaterEqual(page.evaluate(heights), 44)
        page.screenshot(self.name("phone-settings"))

    def test_every_control_has_a_name(self):
        server = self.serve()
        front = self.front(server)
        front.answer_json("/status", SENSOR)
        page = self.page(front.url())
        eventually("the settings", lambda: page.evaluate("document.getElementById('hmirror')?.id"))
        nameless = (
            "[...document.querySelectorAll('input, select, button')].filter((e) =>"
            " !(e.labels && e.labels.length ? e.labels[0] : e).textContent.trim()).map((e) => e.id).join()"
        )
        self.assertEqual(page.evaluate(nameless), "")
