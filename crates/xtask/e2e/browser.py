"""Chromium and Firefox without a screen, each driven over the WebSocket it offers itself: the
Chrome DevTools Protocol, and WebDriver BiDi. Each is started once; a test has a tab of its own."""

import base64
import contextlib
import itertools
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy
from camwire import OUT, TIMEOUT, Program, wait_until
from websockets.sync.client import connect

WIDTH, HEIGHT = 1100, 800

# The rectangle of the frame on the page, once there is one.
RECTANGLE = """(() => {
    const drawn = () => window.camwire && camwire.statistics().drawn;
    const isShown = (element) =>
        element.getBoundingClientRect().width && (element.naturalWidth || drawn());
    const frame = [...document.querySelectorAll("img, canvas")].find(isShown);
    if (!frame) return "";
    const r = frame.getBoundingClientRect();
    return JSON.stringify([r.x, r.y, r.width, r.height]);
})()"""


class Rejected(Exception):
    """The browser rejects a command."""


class Connection:
    """Sends commands to a browser."""

    def __init__(self, address):
        options = {"max_size": None, "compression": None, "open_timeout": TIMEOUT}
        self.resources = contextlib.ExitStack()
        self.socket = self.resources.enter_context(connect(address, **options))
        self.numbers = itertools.count(1)

    def call(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=TIMEOUT))
            if answer.get("id") != number:
                continue  # an event
            if "result" not in answer:
                raise Rejected(f"{method}: {answer}")
            return answer["result"]


class Browser(Program):
    def __init__(self, program, *options):
        # Its helpers may still be writing when it has ended.
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.home = Path(self.folder.name)
        self.downloads = self.home / "downloads"
        self.downloads.mkdir()
        self.prepare()
        home = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"), str(self.home))
        options = [option.format(home=self.home) for option in options]
        super().__init__(program, *options, env={**os.environ, **home})

    def wait_until_ready(self):
        self.connection = Connection(self.address())

    def prepare(self):
        pass

    def close(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        super().close()
        self.folder.cleanup()


class Chromium(Browser):
    name = "chromium"

    def __init__(self):
        super().__init__(
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--disable-component-update", "--disable-dev-shm-usage", "--disable-extensions"),
            *(f"--window-size={WIDTH},{HEIGHT}", "--user-data-dir={home}/profile"),
            *("--remote-debugging-port=0", "about:blank"),
        )

    def address(self):
        return self.wait_for_log(r"DevTools listening on (ws://\S+)")[1]

    def open_tab(self):
        return ChromiumTab(self)


class Firefox(Browser):
    name = "firefox"

    def __init__(self):
        super().__init__(
            *("firefox-esr", "--headless", "--no-remote", "--profile", "{home}"),
            *(f"--width={WIDTH}", f"--height={HEIGHT}", "--remote-debugging-port=0"),
        )
        self.connection.call("session.new", capabilities={})

    def prepare(self):
        preferences = {
            "browser.download.folderList": 2,
            "browser.download.dir": str(self.downloads),
            "browser.download.useDownloadDir": True,
            "browser.download.start_downloads_in_tmp_dir": False,
        }
        lines = [f"user_pref({json.dumps(n)}, {json.dumps(v)});" for n, v in preferences.items()]
        (self.home / "user.js").write_text("\n".join(lines))

    def address(self):
        return self.wait_for_log(r"WebDriver BiDi listening on (ws://\S+)")[1] + "/session"

    def open_tab(self):
        return FirefoxTab(self)


class Tab:
    """A tab of a browser, with nothing in it that another has left."""

    def __init__(self, browser):
        self.browser = browser
        self.name = browser.name
        self.first_line = len(browser.lines)
        for file in browser.downloads.iterdir():
            file.unlink()
        self.resize(WIDTH, HEIGHT)

    @property
    def log(self):
        return "".join(self.browser.lines[self.first_line :])

    def open(self, url):
        """Until the document has begun, but not until it has ended: a stream never does."""
        self.do("window.isOld = true")
        self.navigate(url)
        is_new = lambda: self.evaluate("window.isOld ? '' : 'new'")
        self._call_until_done(f"the document of {url}", is_new)

    def _call_until_done(self, what, call):
        """For what a browser rejects while one document takes another's place."""
        rejected = []

        def attempt():
            try:
                return call()
            except Rejected as error:
                rejected.append(error)

        try:
            return wait_until(what, attempt)
        except AssertionError as error:
            raise AssertionError(f"{error}; {rejected[-1:]}") from None

    def frame(self):
        """Where the page shows its frame: x, y, width, height."""
        found = self._call_until_done("a page with a frame", lambda: self.evaluate(RECTANGLE))
        return [round(number) for number in json.loads(found)]

    def screenshot(self, name):
        """What is on the screen, also left in the folder for a person to look at."""
        png = base64.b64decode(self._call_until_done("a screenshot", self._screenshot))
        (OUT / f"{self.name}-{name}.png").write_bytes(png)
        return cv2.imdecode(numpy.frombuffer(png, numpy.uint8), cv2.IMREAD_COLOR)

    def statistics(self):
        """The figures of the page; None if it is no page of camwire."""
        text = self.evaluate("window.camwire ? JSON.stringify(camwire.statistics()) : ''")
        return json.loads(text) if text else None

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")

    def property(self, name, of):
        """A property of the element with this id."""
        return self.evaluate(f"document.getElementById('{name}')?.{of}")

    def do(self, script):
        """Runs a statement, whose value does not matter."""
        self.evaluate(f"(() => {{ {script}; return ''; }})()")

    def click(self, selector):
        self.do(f"document.querySelector({json.dumps(selector)}).click()")

    def focus(self, name):
        self.do(f"document.getElementById('{name}').focus()")

    def choose(self, name, value):
        """As if a person had chosen this value of the page's setting."""
        self.do(
            f"const input = document.getElementById('{name}'); input.value = '{value}';"
            " input.dispatchEvent(new Event('change'))"
        )

    def downloads(self):
        """The files that were downloaded completely."""
        files = self.browser.downloads.iterdir()
        return [file for file in files if file.suffix == ".jpg" and file.stat().st_size > 0]


class ChromiumTab(Tab):
    def __init__(self, browser):
        call = browser.connection.call
        self.context = call("Target.createBrowserContext")["browserContextId"]
        created = call("Target.createTarget", url="about:blank", browserContextId=self.context)
        address = re.sub("/devtools/.*", "/devtools/page/", browser.address())
        self.connection = Connection(address + created["targetId"])
        self.call = self.connection.call
        call(
            "Browser.setDownloadBehavior",
            **{"behavior": "allow", "downloadPath": str(browser.downloads)},
            browserContextId=self.context,
        )
        super().__init__(browser)

    def resize(self, width, height, phone=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def press(self, key):
        """One of the keys that make a letter, or a space."""
        code = {"key": key, "code": "Space" if key == " " else f"Key{key.upper()}"}
        code["windowsVirtualKeyCode"] = ord(key.upper())
        self.call("Input.dispatchKeyEvent", type="keyDown", text=key, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def navigate(self, url):
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer

    def evaluate(self, script):
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def _screenshot(self):
        return self.call("Page.captureScreenshot", format="png")["data"]

    def close(self):
        self.connection.resources.close()
        self.browser.connection.call("Target.disposeBrowserContext", browserContextId=self.context)


class FirefoxTab(Tab):
    def __init__(self, browser):
        self.context = browser.connection.call("browsingContext.create", type="tab")["context"]
        super().__init__(browser)

    def call(self, method, **params):
        return self.browser.connection.call(method, context=self.context, **params)

    def resize(self, width, height, phone=False):
        self.call("browsingContext.setViewport", viewport={"width": width, "height": height})

    def press(self, key):
        """One of the keys that make a letter, or a space."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": strokes}
        self.call("input.performActions", actions=[keyboard])

    def navigate(self, url):
        self.call("browsingContext.navigate", url=url, wait="none")

    def evaluate(self, script):
        answer = self.browser.connection.call(
            "script.evaluate",
            **{"expression": script, "target": {"context": self.context}, "awaitPromise": False},
        )
        return answer["result"].get("value") if answer["type"] == "success" else None

    def _screenshot(self):
        return self.call("browsingContext.captureScreenshot")["data"]

    def close(self):
        self.call("browsingContext.close")


# Yellow, cyan, green, magenta, red and blue, as the test pattern has them (red, green, blue).
BARS = [
    *[(225, 215, 20), (20, 200, 210), (25, 180, 40)],
    *[(205, 30, 190), (210, 30, 30), (25, 40, 200)],
]


def assert_moving_frame(tab, name, size):
    """The browser shows the test pattern: its bars in order, and something in it moves."""

    def shot(which):
        # Asked each time: what a browser shows first may move when its style has loaded.
        x, y, width, height = tab.frame()
        assert width > 300
        assert abs(width / height - size[0] / size[1]) < 0.02
        return tab.screenshot(f"{name}-{which}")[y : y + height, x : x + width]

    def bars(frame):
        """Where each colour is, as its middle column; None if it is hardly there."""
        places = []
        for red, green, blue in BARS:
            near = numpy.abs(frame.astype(int) - (blue, green, red)).max(axis=2) < 40
            columns = numpy.nonzero(near)[1]
            if len(columns) < near.size / 500:
                return None
            places.append(float(numpy.median(columns)))
        return places

    places = wait_until("the colour bars are on the screen", lambda: bars(shot(1)))
    assert places == sorted(places)
    first = shot(1)

    def moved():
        second = shot(2)
        assert first.shape == second.shape
        change = numpy.abs(first.astype(int) - second.astype(int)).max(axis=2) > 40
        # The ball and the digits, not a frame that has jumped as a whole.
        return 0.001 < change.mean() < 0.2

    wait_until("the frame moves", moved)
