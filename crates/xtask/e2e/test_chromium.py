"""Chromium."""

from browser import Chromium, assert_moving_picture
from camwire import Case


class ChromiumShows(Case):
    def show(self, path, name):
        server = self.serve()
        browser = Chromium()
        self.addCleanup(browser.close)
        browser.open(server.url(path))
        assert_moving_picture(self, browser, name)

    def test_page(self):
        self.show("/", "chromium-page")

    def test_bare_stream(self):
        self.show("/stream", "chromium-stream")
