"""Chromium and Firefox without a screen, each driven over the WebSocket it offers itself:
the Chrome DevTools Protocol, and WebDriver BiDi."""

import base64
import contextlib
import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import cv2
import numpy
from websockets.sync.client import connect

from camwire import OUT, PATIENCE, die_with_parent, eventually

WIDTH, HEIGHT = 1100, 800

# The rectangle of the picture on the page, once there is one.
RECTANGLE = """(() => {
    const drawn = () => window.camwire && camwire.statistics().drawn;
    const isShown = (element) => element.getBoundingClientRect().width && (element.naturalWidth || drawn());
    const picture = [...document.querySelectorAll("img, canvas")].find(isShown);
    if (!picture) return "";
    const r = picture.getBoundingClientRect();
    return JSON.stringify([r.x, r.y, r.width, r.height]);
})()"""


class Refused(Exception):
    """The browser says no."""


class Browser:
    def __init__(self, command, home):
        self.log = []
        self.resources = contextlib.ExitStack()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": home, "XDG_RUNTIME_DIR": home, "XDG_CACHE_HOME": home},
            preexec_fn=die_with_parent,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.numbers = itertools.count(1)

    def _read(self):
        for line in self.process.stdout:
            self.log.append(line.decode(errors="replace"))

    def _connect(self, address):
        options = {"max_size": None, "compression": None, "open_timeout": PATIENCE}
        self.socket = self.resources.enter_context(connect(address, **options))

    def _call(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=PATIENCE))
            if answer.get("id") != number:
                continue  # an event
            if "result" not in answer:
                raise Refused(f"{method}: {answer}")
            return answer["result"]

    def _call_until_done(self, what, call):
        """For what a browser refuses while one document takes another's place."""
        refusals = []

        def attempt():
            try:
                return call()
            except Refused as refused:
                refusals.append(refused)

        try:
            return eventually(what, attempt)
        except AssertionError as error:
            raise AssertionError(f"{error}; {refusals[-1:]}") from None

    def picture(self):
        """Where the page shows its picture: x, y, width, height."""
        found = self._call_until_done("a page with a picture", lambda: self.evaluate(RECTANGLE))
        return [round(number) for number in json.loads(found)]

    def screenshot(self, name):
        """What is on the screen, also left in the folder for a person to look at."""
        png = base64.b64decode(self._call_until_done("a screenshot", self._screenshot))
        (OUT / f"{name}.png").write_bytes(png)
        return cv2.imdecode(numpy.frombuffer(png, numpy.uint8), cv2.IMREAD_COLOR)

    def statistics(self):
        """What the page says of itself; None if it is no page of camwire."""
        text = self.evaluate("window.camwire ? JSON.stringify(camwire.statistics()) : ''")
        return json.loads(text) if text else None

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")

    def click(self, selector):
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click() ?? ''")

    def choose(self, name, value):
        """As if a person had chosen this value of the page's setting."""
        self.evaluate(
            f"(() => {{ const input = document.getElementById('{name}'); input.value = '{value}';"
            " input.dispatchEvent(new Event('change')); return ''; })()"
        )

    def downloads(self):
        """The files that were downloaded completely."""
        files = Path(self.folder.name, "downloads").iterdir()
        return [file for file in files if file.suffix == ".jpg" and file.stat().st_size > 0]

    def close(self):
        with contextlib.suppress(Exception):
            self.resources.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        for _ in range(20):
            # Its helpers may still be writing.
            try:
                self.folder.cleanup()
                return
            except OSError:
                time.sleep(0.2)


class Chromium(Browser):
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="camwire-chromium-")
        super().__init__(
            [
                find("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
                *("--no-first-run", "--disable-background-networking", "--disable-sync"),
                *("--disable-component-update", "--disable-dev-shm-usage", "--disable-extensions"),
                f"--window-size={WIDTH},{HEIGHT}",
                f"--user-data-dir={self.folder.name}/profile",
                *("--remote-debugging-port=0", "about:blank"),
            ],
            self.folder.name,
        )
        port = Path(self.folder.name, "profile/DevToolsActivePort")
        eventually("Chromium listens", lambda: port.exists() and port.read_text().strip())
        port = port.read_text().split()[0]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            self._connect(json.load(answer)["webSocketDebuggerUrl"])
        self.resize(WIDTH, HEIGHT)
        downloads = Path(self.folder.name, "downloads")
        downloads.mkdir()
        self._call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def resize(self, width, height, phone=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self._call("Emulation.setDeviceMetricsOverride", **size, mobile=phone)
        self._call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, scheme):
        """`light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def press(self, key):
        """One of the keys that make a letter, or a space."""
        code = {"key": key, "code": "Space" if key == " " else f"Key{key.upper()}"}
        code["windowsVirtualKeyCode"] = ord(key.upper())
        self._call("Input.dispatchKeyEvent", type="keyDown", text=key, **code)
        self._call("Input.dispatchKeyEvent", type="keyUp", **code)

    def open(self, url):
        # The answer comes when the document has begun, not when it has ended.
        answer = self._call("Page.navigate", url=url)
        assert "errorText" not in answer, answer

    def evaluate(self, script):
        return self._call("Runtime.evaluate", expression=script)["result"].get("value")

    def _screenshot(self):
        return self._call("Page.captureScreenshot", format="png")["data"]


class Firefox(Browser):
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="camwire-firefox-")
        profile = Path(self.folder.name, "profile")
        profile.mkdir()
        downloads = Path(self.folder.name, "downloads")
        downloads.mkdir()
        preferences = {
            "browser.download.folderList": 2,
            "browser.download.dir": str(downloads),
            "browser.download.useDownloadDir": True,
            "browser.download.start_downloads_in_tmp_dir": False,
        }
        lines = [f"user_pref({json.dumps(n)}, {json.dumps(v)});" for n, v in preferences.items()]
        (profile / "user.js").write_text("\n".join(lines))
        super().__init__(
            [
                find("firefox-esr", "firefox"),
                *("--headless", "--no-remote", "--profile", str(profile)),
                *(f"--width={WIDTH}", f"--height={HEIGHT}", "--remote-debugging-port=0"),
            ],
            self.folder.name,
        )
        address = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
        found = eventually("Firefox listens", lambda: address.search("".join(self.log)))
        self._connect(found[1] + "/session")
        self._call("session.new", capabilities={})
        self.context = self._call("browsingContext.getTree")["contexts"][0]["context"]
        self.resize(WIDTH, HEIGHT)

    def resize(self, width, height, phone=False):
        viewport = {"width": width, "height": height}
        self._call("browsingContext.setViewport", context=self.context, viewport=viewport)

    def press(self, key):
        """One of the keys that make a letter, or a space."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": strokes}
        self._call("input.performActions", context=self.context, actions=[keyboard])

    def open(self, url):
        self._call("browsingContext.navigate", context=self.context, url=url, wait="none")

    def evaluate(self, script):
        answer = self._call(
            "script.evaluate",
            **{"expression": script, "target": {"context": self.context}, "awaitPromise": False},
        )
        return answer["result"].get("value") if answer["type"] == "success" else None

    def _screenshot(self):
        return self._call("browsingContext.captureScreenshot", context=self.context)["data"]


def find(*names):
    from shutil import which

    return next(filter(None, map(which, names)))


def assert_controls(browser, server):
    """What a person chooses on the page is what the camera does."""

    def shown(name):
        return browser.evaluate(f"document.getElementById('{name}').value")

    status = server.get("/status").json()
    eventually("the page shows the size", lambda: shown("framesize") == str(status["framesize"]))
    eventually("the page shows the quality", lambda: shown("quality") == str(status["quality"]))
    browser.choose("framesize", 1)
    browser.choose("quality", 30)
    eventually("the picture is a small one", lambda: browser.statistics()["width"] == 160)
    status = server.get("/status").json()
    assert (status["framesize"], status["quality"]) == (1, 30), status
    browser.choose("rate", 2)
    eventually(
        "the stream has a cap", lambda: [v["fps_cap"] for v in server.stats()["viewers"]] == [2]
    )


def assert_figures(browser, name, size):
    """What stands below the picture on the page."""
    text = 'document.getElementById("size").textContent'
    eventually("the figures", lambda: browser.evaluate(text) == "%d × %d" % size)
    browser.screenshot(f"{name}-figures")


# Yellow, cyan, green, magenta, red and blue, as the test pattern has them (red, green, blue).
BARS = [
    *[(225, 215, 20), (20, 200, 210), (25, 180, 40)],
    *[(205, 30, 190), (210, 30, 30), (25, 40, 200)],
]


def assert_moving_picture(case, browser, name, size):
    """The browser shows the test pattern: its bars in order, and something in it moves."""
    def shot(which):
        # Asked each time: what a browser shows first may move when its style has loaded.
        x, y, width, height = browser.picture()
        case.assertGreater(width, 300)
        case.assertAlmostEqual(width / height, size[0] / size[1], delta=0.02)
        return browser.screenshot(f"{name}-{which}")[y : y + height, x : x + width]

    def bars(picture):
        """Where each colour is, as its middle column; None if it is hardly there."""
        places = []
        for red, green, blue in BARS:
            near = numpy.abs(picture.astype(int) - (blue, green, red)).max(axis=2) < 40
            columns = numpy.nonzero(near)[1]
            if len(columns) < near.size / 500:
                return None
            places.append(float(numpy.median(columns)))
        return places

    places = eventually("the colour bars are on the screen", lambda: bars(shot(1)))
    case.assertEqual(places, sorted(places))
    first = shot(1)

    def moved():
        second = shot(2)
        case.assertEqual(first.shape, second.shape)
        change = numpy.abs(first.astype(int) - second.astype(int)).max(axis=2) > 40
        # The ball and the digits, not a picture that has jumped as a whole.
        return 0.001 < change.mean() < 0.2

    eventually("the picture moves", moved)
