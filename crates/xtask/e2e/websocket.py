"""The echo examples of camwire-websocket under test."""

import os
import re
from pathlib import Path

from camwire import Server, eventually, run

EXAMPLES = Path(os.environ.get("CAMWIRE_WEBSOCKET_EXAMPLES", "target/release/examples"))

# Lengths around those where the form of a frame's head changes, and a large one.
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20)


class EchoServer(Server):
    """A running `echo_server` on a port of its own."""

    def __init__(self):
        self.start([EXAMPLES / "echo_server", "127.0.0.1:0"])
        found = eventually("it prints its address", self._address, patience=20, pause=0.01)
        if found == "ended":
            raise AssertionError(f"it ended at its start:\n{self.log}")
        self.port = int(found)

    def _address(self):
        found = re.search(r"ws://127\.0\.0\.1:(\d+)", self.log)
        if found:
            return found[1]
        return "ended" if self.process.poll() is not None else None

    def url(self, path="/"):
        return f"ws://127.0.0.1:{self.port}{path}"


def run_client(port):
    """Has `echo_client` go through the cases of the server at this port; returns what it said."""
    done = run(EXAMPLES / "echo_client", f"ws://127.0.0.1:{port}")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode()


def numbered(size):
    """As many bytes, of which no part looks like another."""
    return b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]
