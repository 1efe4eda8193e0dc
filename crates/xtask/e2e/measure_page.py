"""How long a picture takes from its capture until the page of camwire-host has drawn it: the
page's own figures, in a browser on this machine.

    cargo build --release -p camwire-host
    cd crates/xtask/e2e
    CAMWIRE_HOST=../../../target/release/camwire-host python3 measure_page.py --seconds 30

Python needs what requirements.txt lists. The latency is by one clock, since server and page are on
the same machine; the screen shows a picture at its next refresh, which is not in it.
"""

import argparse
import time

from browser import Chromium, Firefox
from camwire import Server, eventually


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--browser", choices=["chromium", "firefox"], default="chromium")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--resolution", default="VGA")
    arguments = parser.parse_args()

    server = Server(fps=arguments.fps, resolution=arguments.resolution)
    browser = {"chromium": Chromium, "firefox": Firefox}[arguments.browser]()
    try:
        browser.open(server.url())
        eventually("it draws", lambda: (browser.statistics() or {"drawn": 0})["drawn"] > 0)
        time.sleep(3)  # Until the page's code has been compiled, and the figures are shown.
        browser.evaluate("camwire.reset() ?? ''")
        time.sleep(arguments.seconds)
        figures = browser.statistics()
    finally:
        browser.close()
        server.close()
    assert figures["transport"] == "WebSocket" and figures["clock"] == "same", figures
    print(f"{arguments.browser}, {arguments.resolution}, {arguments.seconds:g} s")
    print(f"  {figures['samples']} pictures, {figures['fps']:.1f} a second, {figures['missed']} missed")
    for name, about in (("latency", "capture to drawn"), ("decode", "received to drawn")):
        of = figures[name]
        print(f"  {about}: median {of['median']:.1f} ms, p95 {of['p95']:.1f}, max {of['max']:.1f}")


if __name__ == "__main__":
    main()
