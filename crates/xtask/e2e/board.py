"""examples/qemu-riscv under test: the firmware in an emulator, on two processors.

The tests are run by `cargo xtask test board`, or by hand in this folder with the firmware of each
target in CAMWIRE_BOARD_IMC and CAMWIRE_BOARD_IMAC:
    python3 -m unittest -v test_board_viewers
"""

import contextlib
import os
import socket
import tempfile
import threading
import time
from functools import partial

from camwire import PATIENCE, Case, Server, eventually, in_threads, make_pictures


def unused_ports(count):
    with contextlib.ExitStack() as stack:
        doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        return [stack.enter_context(door).getsockname()[1] for door in doors]


class Board(Server):
    """The firmware running, with each of its ports on one of this machine's: `ports`, where the
    first, 80 unless said otherwise, is `port`.

    It takes the words of its README as options, and `pictures`, which are JPEGs, to show instead
    of its test pattern. `slow` gives it 125 million instructions in a second of its own time, as
    an ESP32-C3 has about, however slow the emulator is.
    """

    size = (320, 240)
    kind = "qemu"

    # How many can watch at once, and how many connections there can be, by src/main.rs.
    viewers = 10
    sockets = 12

    def __init__(self, pictures=(), slow=False, **words):
        inside = [int(port) for port in str(words.get("ports", 80)).split(",")]
        self.ports = dict(zip(inside, unused_ports(len(inside))))
        self.port = self.ports[inside[0]]
        forward = "".join(f",hostfwd=tcp:127.0.0.1:{self.ports[at]}-:{at}" for at in inside)
        self.folder = tempfile.TemporaryDirectory(prefix="camwire-board-")
        self.monitor = f"{self.folder.name}/monitor"
        command = [
            *("qemu-system-riscv32", "-M", "virt", "-cpu", self.processor, "-m", "32M"),
            *("-bios", "none", "-display", "none", "-serial", "stdio"),
            *("-monitor", f"unix:{self.monitor},server=on,wait=off"),
            *("-no-reboot", "-global", "virtio-mmio.force-legacy=false"),
            *("-netdev", f"user,id=net{forward}"),
            *("-device", "virtio-net-device,netdev=net", "-kernel", os.environ[self.firmware]),
        ]
        if slow:
            command += ["-icount", "shift=3,align=off,sleep=on"]
        with tempfile.NamedTemporaryFile(prefix="camwire-pictures-") as film:
            if pictures:
                film.write(b"".join(pictures))
                film.flush()
                words["pictures"] = film.tell()
                command += ["-device", f"loader,file={film.name},addr=0x80400000,force-raw=on"]
            words = " ".join(f"{name}={value}" for name, value in words.items())
            self.start([*command, "-append", words])
            try:
                # Not earlier: the emulator would accept a connection, and lose its first packet.
                eventually("the firmware listens", self._listens, pause=0.01)
            except AssertionError:
                self.close()
                raise

    def _listens(self):
        self.assert_well()
        return "listening on" in self.log

    def assert_well(self):
        """It has not ended, or by itself and as it should."""
        if self.process.poll():
            self.reader.join(timeout=5)
            raise AssertionError(f"the firmware ended with {self.process.returncode}:\n{self.log}")

    def set_link(self, state):
        """Takes the network's link "off", or puts it "on"."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(PATIENCE)
            monitor.connect(self.monitor)
            # It begins with its prompt, and shows another one when it is done.
            output = b""
            for command in [b"", f"set_link net {state}\n".encode()]:
                monitor.sendall(command)
                prompts = output.count(b"(qemu) ")
                while output.count(b"(qemu) ") == prompts:
                    piece = monitor.recv(4096)
                    assert piece, output
                    output += piece
            assert b"Error" not in output and b"unknown" not in output, output

    def connect(self, **options):
        # The emulator accepts one at a time. If another is waiting already, this machine tries
        # again after a second.
        time.sleep(0.003)
        return super().connect(**options)

    def try_get(self, path):
        """As get; None if no socket is free: then the connection is refused."""
        try:
            return self.get(path)
        except ConnectionError:
            return None

    def get_at_last(self, path):
        return eventually(f"a socket is free for {path}", lambda: self.try_get(path), pause=0.02)

    def close(self):
        try:
            self.assert_well()
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
            self.reader.join(timeout=5)
            self.process.stdout.close()
            self.folder.cleanup()


class Imac(Board):
    """As ESP32-C6."""

    firmware = "CAMWIRE_BOARD_IMAC"
    processor = "rv32,f=off,d=off,s=off,h=off"


class Imc(Board):
    """As ESP32-C3: an atomic instruction would be a trap."""

    firmware = "CAMWIRE_BOARD_IMC"
    processor = "rv32,a=off,f=off,d=off,s=off,h=off"


class Crowd(Case):
    """Viewers of pictures that nearly fill the firmware's slots."""

    @classmethod
    def setUpClass(cls):
        cls.pictures = make_pictures(40, "320x240", quality=2)

    def serve(self, **words):
        return super().serve(pictures=self.pictures, **words)

    def viewers(self, board, count):
        viewers = [self.watch(board) for _ in range(count)]
        for viewer in viewers:
            viewer.part()
        return viewers

    def assert_shares(self, fps, least):
        """Each of ten viewers is sent at least this part of what any other is sent."""
        board = self.serve(fps=fps)

        def sent():
            return [viewer["sent"] for viewer in board.stats()["viewers"]]

        def share():
            # Some have come earlier than others.
            before = sent()

            def enough():
                counts = [now - then for now, then in zip(sent(), before, strict=True)]
                return counts if max(counts) >= 150 else None

            counts = eventually("the viewers are sent pictures", enough)
            self.assertEqual(len(counts), board.viewers)
            self.assertGreaterEqual(min(counts), least * max(counts), counts)

        self.while_watching(self.viewers(board, board.viewers), share)

    def while_watching(self, viewers, job):
        """Does it while the viewers read; the answer is what each was sent, none of it changed."""
        over = threading.Event()

        def watch(viewer):
            parts = []
            while not over.is_set():
                parts.append(viewer.part())
            return parts

        def work():
            try:
                job()
            finally:
                over.set()

        seen = in_threads([*(partial(watch, viewer) for viewer in viewers), work])[:-1]
        for parts in seen:
            self.assert_numbers_add_up(parts)
            changed = {part.number for part in parts if part.jpeg not in self.pictures}
            self.assertFalse(changed, "numbers of pictures that were changed on their way")
        return seen

    def leave_in_a_picture(self, board, orderly):
        viewer = self.watch(board)
        viewer._exactly(5000)
        if not orderly:
            # A reset instead of a proper end.
            viewer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        viewer.close()
