"""How long a frame takes from its capture until the page of camwire-host has drawn it: the page's
own figures, in a browser on this machine.

    cargo build --release -p camwire-host
    python crates/xtask/e2e/measure_page.py --seconds 30

Python needs what requirements.txt lists. The latency is by one clock, since server and page are on
the same machine; the screen shows a frame at its next refresh, which is not in it.
"""

import argparse
import contextlib
import time

from browser import Chromium, Firefox
from camwire import OUT, Server, wait_until


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--browser", choices=["chromium", "firefox"], default="chromium")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--resolution", default="VGA")
    arguments = parser.parse_args()

    OUT.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        closing = lambda thing: stack.enter_context(contextlib.closing(thing))
        server = closing(Server(fps=arguments.fps, resolution=arguments.resolution))
        browser = {"chromium": Chromium, "firefox": Firefox}[arguments.browser]
        tab = closing(closing(browser()).open_tab())
        tab.open(server.url())
        wait_until("it draws", lambda: (tab.statistics() or {"drawn": 0})["drawn"] > 0)
        time.sleep(3)  # Until the page's code has been compiled, and the figures are shown.
        tab.do("camwire.reset()")
        time.sleep(arguments.seconds)
        figures = tab.statistics()
    assert figures["transport"] == "WebSocket" and figures["clock"] == "same", figures
    print(f"{arguments.browser}, {arguments.resolution}, {arguments.seconds:g} s")
    missed, fps = figures["missed"], figures["fps"]
    print(f"  {figures['samples']} frames, {fps:.1f} a second, {missed} missed")
    for name, about in (("latency", "capture to drawn"), ("decode", "received to drawn")):
        of = figures[name]
        print(f"  {about}: median {of['median']:.1f} ms, p95 {of['p95']:.1f}, max {of['max']:.1f}")


if __name__ == "__main__":
    main()
