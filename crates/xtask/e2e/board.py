"""examples/qemu-riscv under test: the firmware in an emulator, on two processors."""

import os
import signal
import socket
import tempfile
import threading
import time
from functools import partial

from camwire import TARGET, TIMEOUT, HttpServer, assert_numbers_add_up, in_threads, make_frames
from camwire import missing, wait_until
from tcp import free_ports


class Board(HttpServer):
    """The running firmware, with each of its ports on one of this machine's: `ports`, where the
    first, 80 by default, is `port`.

    It takes the words of its README as options, and `frames`, which are JPEGs, to send instead of
    its test pattern. `slow` gives it 125 million instructions in a second of its own time, about
    what an ESP32-C3 has, however slow the emulator is.
    """

    size = (320, 240)
    kind = "qemu"
    this_machine = "10.0.2.2"

    # How many can watch at once, and how many connections there can be, by src/main.rs.
    places = 10
    sockets = 12

    def __init__(self, frames=(), slow=False, **words):
        inside = [int(port) for port in str(words.get("ports", 80)).split(",")]
        self.ports = dict(zip(inside, free_ports(len(inside))))
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
            *("-device", "virtio-net-device,netdev=net", "-kernel", self.firmware()),
        ]
        if slow:
            command += ["-icount", "shift=3,align=off,sleep=on"]
        with tempfile.NamedTemporaryFile(prefix="camwire-frames-") as film:
            if frames:
                film.write(b"".join(frames))
                film.flush()
                words["pictures"] = film.tell()
                command += ["-device", f"loader,file={film.name},addr=0x80400000,force-raw=on"]
            words = " ".join(f"{name}={value}" for name, value in words.items())
            super().__init__(*command, "-append", words)

    def wait_until_ready(self):
        # Not earlier: the emulator would accept a connection, and lose its first packet.
        self.wait_for_log("listening on")

    def firmware(self):
        variable = f"CAMWIRE_BOARD_{self.name.upper()}"
        folder = TARGET / f"riscv-board/riscv32{self.name}-unknown-none-elf/release"
        path = os.environ.get(variable, folder / "camwire-qemu-riscv")
        if not os.path.exists(path):
            missing(f"the firmware in {variable}", "cargo xtask test e2e")
        return path

    def set_link(self, state):
        """Takes the network's link "off", or puts it "on"."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(TIMEOUT)
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
        return wait_until(f"a socket is free for {path}", lambda: self.try_get(path), pause=0.02)

    def close(self):
        """Fails if the firmware has panicked, or met a trap."""
        code = self.process.poll()
        super().close()
        self.folder.cleanup()
        assert code in (None, 0, -signal.SIGKILL), f"the firmware ended with {code}:\n{self.log}"


class Imac(Board):
    """As ESP32-C6."""

    name = "imac"
    processor = "rv32,f=off,d=off,s=off,h=off"


class Imc(Board):
    """As ESP32-C3: an atomic instruction would be a trap."""

    name = "imc"
    processor = "rv32,a=off,f=off,d=off,s=off,h=off"


def frames():
    """Frames that nearly fill the firmware's slots."""
    return make_frames(40, "320x240", quality=2)


def assert_unchanged(parts, frames):
    assert_numbers_add_up(parts)
    changed = {part.number for part in parts if part.jpeg not in frames}
    assert not changed, "numbers of frames that were changed on their way"


def while_reading(viewers, job):
    """Does it while the viewers read; returns what each of them was sent, none of it changed."""
    over = threading.Event()

    def read(viewer):
        parts = []
        while not over.is_set():
            parts.append(viewer.part())
        return parts

    def work():
        try:
            job()
        finally:
            over.set()

    *read_by_each, _ = in_threads([*(partial(read, viewer) for viewer in viewers), work])
    for parts in read_by_each:
        assert_unchanged(parts, frames())
    return read_by_each


def assert_fair(board, viewers, least):
    """Each of them is sent at least this part of what any other is sent."""

    def sent():
        return [viewer["sent"] for viewer in board.viewers()]

    def share():
        # Some have come earlier than others.
        before = sent()

        def enough():
            counts = [now - then for now, then in zip(sent(), before, strict=True)]
            return counts if max(counts) >= 100 else None

        counts = wait_until("the viewers are sent frames", enough)
        assert len(counts) == len(viewers)
        assert min(counts) >= least * max(counts), counts

    while_reading(viewers, share)
