"""MJPEG cameras as they are, and as they should not be: servers for relays to read from."""

import base64
import hashlib
import itertools
import random
import re
import socket
import time
from dataclasses import dataclass

from tcp import Listener, Reader


@dataclass(frozen=True)
class Dialect:
    """How a camera writes its stream. By default as most do: the delimiter before each part, the
    part's length behind it."""

    boundary: str = "frame"  # as in the header
    delimiter: bytes = b"--frame"  # as in the body
    length: str | None = "{}"  # the format of the number in Content-Length, if there is one
    lie: int = 0  # how many bytes more it claims than a part has
    newline: bytes = b"\r\n"
    before: bytes = b""  # what is sent before the first part
    delimiter_comes_last: bool = False  # it ends a part in place of beginning it
    chunked: bool = False
    comment: bytes = b""  # in each frame, right behind its first marker
    status: bytes = b"HTTP/1.1 200 OK"
    fields: bytes | None = None  # of the response, in place of a Content-Type that is right
    part_fields: tuple = (b"Content-Type: image/jpeg",)
    before_soi: bytes = b""
    glued: str = ""  # "frame", "head": what the delimiter is glued to, without a line end
    has_eoi: bool = True

    def frame(self, jpeg):
        if not self.comment:
            return jpeg
        length = (len(self.comment) + 2).to_bytes(2, "big")
        return jpeg[:2] + b"\xff\xfe" + length + self.comment + jpeg[2:]

    def part(self, jpeg):
        payload = self.before_soi + (jpeg if self.has_eoi else jpeg[:-2])
        lines = [*self.part_fields]
        if self.length is not None:
            length = self.length.format(len(payload) + self.lie).encode()
            lines.append(b"Content-Length: " + length)
        lines += [b"", payload]
        if self.glued:
            first, *lines = lines
            head = self.newline.join([first, *lines])
            between = self.newline if self.glued == "frame" else b""
            after = self.newline if self.glued == "head" else b""
            return self.delimiter + between + head + after
        if self.delimiter_comes_last:
            return self.newline.join([*lines, self.delimiter, b""])
        return self.newline.join([self.delimiter, *lines, b""])


class Camera(Listener):
    """Sends the frames round and round, to any number of clients."""

    def __init__(self, frames, dialect=Dialect(), part=None, port=0, fps=20):
        self.dialect, self.part, self.pause = dialect, part or dialect.part, 1 / fps
        self.frames = [dialect.frame(frame) for frame in frames]
        self.content_type = f"multipart/x-mixed-replace; boundary={dialect.boundary}"
        super().__init__(port)

    def url(self):
        return super().url("/stream")

    def serve(self, client):
        head = self.head(Reader(client).until(b"\r\n\r\n"))
        client.sendall(head if isinstance(head, bytes) else head.encode())
        self._send(client, self.dialect.before)
        for part in self.parts(client):
            self._send(client, part)
        client.close()

    def head(self, request):
        """The head of the response."""
        if self.dialect.fields is not None:
            return self.dialect.status + self.dialect.newline + self.dialect.fields
        chunked = "Transfer-Encoding: chunked\r\n" if self.dialect.chunked else ""
        status = self.dialect.status.decode()
        return f"{status}\r\nContent-Type: {self.content_type}\r\n{chunked}\r\n"

    def parts(self, client):
        """What a client is sent, when its time has come."""
        for frame in itertools.cycle(self.frames):
            yield self.part(frame)
            time.sleep(self.pause)

    def _send(self, client, data):
        if not self.dialect.chunked:
            client.sendall(data)
            return
        # Espressif's httpd sends the delimiter, the head and the frame as a chunk each; here the
        # chunks fall anywhere.
        while data:
            piece, data = data[:1400], data[1400:]
            client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))


class Scripted(Camera):
    """Sends each client the parts of `script()`, which is a generator that sleeps between them: as
    MJPEG, or as messages of a WebSocket. `clients` counts them."""

    def __init__(self, script, is_websocket=False, send_buffer=None):
        self.script, self.is_websocket, self.send_buffer = script, is_websocket, send_buffer
        self.clients = 0
        super().__init__([])

    def url(self):
        return Listener.url(self, "/stream", "ws" if self.is_websocket else "http")

    def parts(self, client):
        self.clients += 1
        if self.send_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
        return self.script()

    def head(self, request):
        if not self.is_websocket:
            return super().head(request)
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request, re.IGNORECASE)[1]
        accept = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        # What the client sends after that is not read.
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {base64.b64encode(accept).decode()}\r\n\r\n"
        )


class Live(Scripted):
    """A camera that captures and numbers its frames at its own pace, whether they are read or not.

    What it cannot send while the connection is full is skipped. `newest` is the number of the
    frame that it captured last.
    """

    def __init__(self, jpeg, fps=15, is_websocket=False, **options):
        self.newest = 0
        wrap = message if is_websocket else Dialect().part

        def script():
            start = time.monotonic()
            while True:
                now = time.monotonic()
                self.newest = max(self.newest + 1, int((now - start) * fps))
                time.sleep(max(0, start + self.newest / fps - now))
                yield wrap(stamp(jpeg, self.newest))

        super().__init__(script, is_websocket, **options)


def stamp(jpeg, number):
    """The frame with its number in a comment."""
    return jpeg[:2] + b"\xff\xfe\x00\x0c%010d" % number + jpeg[2:]


def number_of(jpeg):
    """The number in a frame of `stamp`."""
    assert jpeg[:6] == b"\xff\xd8\xff\xfe\x00\x0c", jpeg[:20]
    return int(jpeg[6:16])


def message(jpeg):
    """A binary message of a WebSocket server, in one frame."""
    size = len(jpeg)
    if size < 126:
        return b"\x82" + size.to_bytes(1) + jpeg
    if size < 65536:
        return b"\x82\x7e" + size.to_bytes(2) + jpeg
    return b"\x82\x7f" + size.to_bytes(8) + jpeg


def marked(jpeg, number=None, timestamp=None):
    """A part with the fields that camwire writes."""
    lines = ["--frame", "Content-Type: image/jpeg", f"Content-Length: {len(jpeg)}"]
    lines += [f"X-Frame: {number}"] if number is not None else []
    lines += [f"X-Timestamp: {timestamp}"] if timestamp is not None else []
    return "\r\n".join([*lines, "", ""]).encode() + jpeg + b"\r\n"


def large(jpeg, size):
    """The frame with comments, until it has at least so many bytes."""
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    return jpeg[:2] + comment * (size // len(comment) + 1) + jpeg[2:]


NOISE = random.Random(1).randbytes(20_000)


def part(jpeg, **dialect):
    return Dialect(**dialect).part(jpeg)


# A line for each way in which a part can be damaged so that browsers show it all the same.
SHOWN_PARTS = {
    "cut off": lambda jpeg: part(jpeg[:-400]),
    "cut off, no length": lambda jpeg: part(jpeg[:-400], length=None),
    "half a frame": lambda jpeg: part(jpeg[: len(jpeg) // 2]),
    "length too small": lambda jpeg: part(jpeg, lie=-60),
    "length of gigabytes": lambda jpeg: part(jpeg, length="5000000000"),
    "length that is no number": lambda jpeg: part(jpeg, length="many"),
    "no EOI": lambda jpeg: part(jpeg[:-2]),
    "no EOI, no length": lambda jpeg: part(jpeg[:-2], length=None),
}

# And so that no frame can be shown.
DAMAGED_PARTS = {
    "cut off, length of the whole": lambda jpeg: part(jpeg[:-400], lie=400),
    "length too large": lambda jpeg: part(jpeg[:-400], lie=500),
    "length of megabytes": lambda jpeg: part(jpeg[:-400], length="5000000"),
    "noise": lambda jpeg: part(NOISE),
    "noise behind an SOI": lambda jpeg: part(jpeg[:2] + NOISE),
    "text": lambda jpeg: part(b"no camera\r\n"),
    "nothing": lambda jpeg: part(b""),
    "larger than a slot": lambda jpeg: part(large(jpeg, 5 << 20)),
    "larger than a part may be": lambda jpeg: part(large(jpeg, 9 << 20)),
}

# And a message of a WebSocket.
DAMAGED_MESSAGES = {
    "cut off": lambda jpeg: message(jpeg[:-400]),
    "no EOI": lambda jpeg: message(jpeg[:-2]),
    "noise": lambda jpeg: message(NOISE),
    "nothing": lambda jpeg: message(b""),
    "larger than a slot": lambda jpeg: message(large(jpeg, 5 << 20)),
}
