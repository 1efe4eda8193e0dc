"""examples/qemu-riscv: the firmware in an emulator, with and without atomic instructions."""

import os
import socket
import unittest

from camwire import PATIENCE, Server, eventually, in_threads, run, size_of

# The processors of ESP32-C6 and ESP32-C3, nearly: the second has no atomic instructions.
PROCESSORS = {
    "imac": "rv32,f=off,d=off,s=off,h=off",
    "imc": "rv32,a=off,f=off,d=off,s=off,h=off",
}


class Board(Server):
    """The firmware running, with its port 80 on one of this machine's."""

    def __init__(self, firmware, processor, words):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        self.start(
            [
                *("qemu-system-riscv32", "-M", "virt", "-cpu", processor, "-m", "32M"),
                *("-bios", "none", "-display", "none", "-monitor", "none", "-serial", "stdio"),
                *("-no-reboot", "-global", "virtio-mmio.force-legacy=false"),
                *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:80"),
                *("-device", "virtio-net-device,netdev=net", "-kernel", firmware),
                *("-append", words),
            ]
        )
        # Not earlier: the emulator would accept the connection, and lose its first packet.
        eventually("the firmware listens", lambda: "listening on" in self.log or self._ended())

    def _ended(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the firmware ended with {self.process.returncode}:\n{self.log}")


class OnBothProcessors(unittest.TestCase):
    def boards(self, words):
        for name, processor in PROCESSORS.items():
            with self.subTest(processor=name):
                board = Board(os.environ[f"CAMWIRE_BOARD_{name.upper()}"], processor, words)
                try:
                    yield board
                finally:
                    board.process.kill()
                    board.process.wait()
                    board.reader.join()
                    board.process.stdout.close()

    def test_serves_and_ends_by_itself(self):
        for board in self.boards("seconds=25 fps=10"):
            captured = board.get("/capture")
            self.assertEqual((captured.status, size_of(captured.body)), (200, (320, 240)))
            self.assertIn(b"camwire", board.get("/").body)
            self.assertEqual(board.get("/nothing").status, 404)
            done = run(
                *("ffmpeg", "-hide_banner", "-nostats", "-loglevel", "warning"),
                *("-i", board.url("/stream"), "-frames:v", 15, "-f", "null", "-"),
            )
            self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))
            source = board.stats()["source"]
            self.assertEqual((source["kind"], source["width"], source["height"]), ("qemu", 320, 240))
            self.assertEqual(board.process.wait(PATIENCE), 0, board.log)
            self.assertIn("robot: ", board.log)

    def test_several_watch_and_one_stands_still(self):
        for board in self.boards("fps=5"):
            still = board.request(b"GET /stream HTTP/1.1\r\n\r\n", receive_buffer=4096)

            def watch():
                viewer = board.stream()
                try:
                    return [part.number for part in viewer.parts(10)]
                finally:
                    viewer.close()

            for numbers in in_threads([watch] * 4):
                self.assertEqual(numbers, sorted(numbers))
                self.assertGreater(len(set(numbers)), 5)
            self.assertEqual(board.get("/healthz").status, 200)
            still.close()
