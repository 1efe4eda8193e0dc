"""Chromium."""

import page
from browser import Chromium, assert_controls, assert_figures, assert_moving_picture
from camwire import Case


class ChromiumShows(Case):
    def show(self, path, name):
        server = self.serve()
        browser = Chromium()
        self.addCleanup(browser.close)
        browser.open(server.url(path))
        name = f"chromium-{server.kind}-{name}"
        assert_moving_picture(self, browser, name, server.size)
        if path == "/":
            assert_figures(browser, name, server.size)
            assert_controls(browser, server)

    def test_page(self):
        self.show("/", "page")

    def test_bare_stream(self):
        self.show("/stream", "stream")


class ChromiumPage(page.PageTests):
    browser = Chromium
