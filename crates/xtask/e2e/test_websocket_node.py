"""The echo examples of camwire-websocket against Node's ws, in both roles."""

import subprocess
from pathlib import Path

from camwire import PATIENCE, Case, die_with_parent, run
from websocket import EchoServer, run_client

PEER = ["node", Path(__file__).with_name("ws_peer.js")]


class Node(Case):
    subject = EchoServer

    def test_the_server(self):
        done = run(*PEER, "client", self.serve().url())
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_the_client(self):
        with subprocess.Popen(
            [*PEER, "server"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        ) as server:
            try:
                said = run_client(int(server.stdout.readline()))
                code = server.wait(timeout=PATIENCE)
                self.assertEqual((code, server.stdout.read()), (0, b""))
            finally:
                server.kill()
        self.assertEqual(said.splitlines(), [f"case {n} of 3" for n in (1, 2, 3)])
