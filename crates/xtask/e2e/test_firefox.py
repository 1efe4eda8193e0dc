"""Firefox."""

from browser import Firefox, assert_moving_picture
from camwire import Case


class FirefoxShows(Case):
    def show(self, path, name):
        server = self.serve()
        browser = Firefox()
        self.addCleanup(browser.close)
        browser.open(server.url(path))
        assert_moving_picture(self, browser, name)

    def test_page(self):
        self.show("/", "firefox-page")

    def test_bare_stream(self):
        self.show("/stream", "firefox-stream")
