"""Cameras as they are met in the wild, and worse: MJPEG servers that misbehave on purpose."""

import base64
import hashlib
import itertools
import random
import re
import socket
import threading
import time

KIND = "multipart/x-mixed-replace; boundary=frame"


class Camera:
    """Sends the pictures round and round in `dialect`, to any number of clients.

    A dialect is a function from a JPEG to the bytes of its part.
    """

    def __init__(self, pictures, part, content_type, before=b"", chunked=False, port=0, fps=20):
        self.pictures, self.part, self.before = pictures, part, before
        self.chunked, self.pause = chunked, 1 / fps
        self.head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
        self.head += "Transfer-Encoding: chunked\r\n\r\n" if chunked else "\r\n"
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.clients = []
        self.running = True
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self):
        return f"http://127.0.0.1:{self.port}/stream"

    def _accept(self):
        while self.running:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            request = b""
            while b"\r\n\r\n" not in request:
                piece = client.recv(4096)
                if not piece:
                    return
                request += piece
            client.sendall(self.answer(request).encode())
            self._send(client, self.before)
            for part in self.parts():
                self._send(client, part)
        except OSError:
            pass
        finally:
            client.close()

    def answer(self, request):
        """The head of the response."""
        return self.head

    def parts(self):
        """What a client is sent, when its time has come."""
        for picture in itertools.cycle(self.pictures):
            yield self.part(picture)
            time.sleep(self.pause)

    def _send(self, client, data):
        if not self.chunked:
            client.sendall(data)
            return
        # Espressif's httpd sends the delimiter, the head and the picture as a chunk each; here
        # the chunks fall anywhere.
        while data:
            piece, data = data[:1400], data[1400:]
            client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))

    def close(self):
        """Gone, with every connection: as when the power fails."""
        self.running = False
        # A thread that waits in accept() holds the port until it is woken.
        for end in [self.listener, *self.clients]:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def part(boundary=b"--frame", length="{}", newline=b"\r\n", lie=0):
    """The dialect of most: the delimiter before each part, its length after it."""

    def dialect(jpeg):
        lines = [boundary, b"Content-Type: image/jpeg"]
        if length is not None:
            lines.append(b"Content-Length: " + length.format(len(jpeg) + lie).encode())
        return newline.join([*lines, b"", jpeg, b""])

    return dialect


class Scripted(Camera):
    """Sends each client the parts of `script()`, which is a generator that sleeps between them."""

    def __init__(self, script, content_type=KIND, websocket=False, send_buffer=None):
        self.script, self.websocket, self.send_buffer = script, websocket, send_buffer
        super().__init__([], None, content_type)

    def url(self):
        return super().url().replace("http:", "ws:") if self.websocket else super().url()

    def parts(self):
        if self.send_buffer:
            self.clients[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
        return self.script()

    def answer(self, request):
        if not self.websocket:
            return super().answer(request)
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request, re.IGNORECASE)[1]
        accept = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        # What the client says is not read; it has not much to say.
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {base64.b64encode(accept).decode()}\r\n\r\n"
        )


class Live(Scripted):
    """A camera that takes and numbers its frames at its own pace, whether they are read or not.

    What it cannot send while the connection is full is skipped. `newest` is the number of the frame
    that it took last.
    """

    def __init__(self, jpeg, fps=15, websocket=False, **options):
        self.newest = 0
        wrap = message if websocket else part()

        def script():
            start = time.monotonic()
            while True:
                now = time.monotonic()
                self.newest = max(self.newest + 1, int((now - start) * fps))
                time.sleep(max(0, start + self.newest / fps - now))
                yield wrap(stamp(jpeg, self.newest))

        super().__init__(script, websocket=websocket, **options)


def stamp(jpeg, number):
    """The picture with its number in a comment."""
    return jpeg[:2] + b"\xff\xfe\x00\x0c%010d" % number + jpeg[2:]


def number_of(jpeg):
    """The number in a picture of `stamp`."""
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
    """The picture with comments, until it has at least so many bytes."""
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    return jpeg[:2] + comment * (size // len(comment) + 1) + jpeg[2:]


NOISE = random.Random(1).randbytes(20_000)

# Every way in which a frame can be damaged, as a part. A line more is a test more.
DAMAGED_PARTS = {
    "cut off": lambda jpeg: part()(jpeg[:-400]),
    "cut off, length of the whole": lambda jpeg: part(lie=400)(jpeg[:-400]),
    "cut off, no length": lambda jpeg: part(length=None)(jpeg[:-400]),
    "half a frame": lambda jpeg: part()(jpeg[: len(jpeg) // 2]),
    "length too small": lambda jpeg: part(lie=-60)(jpeg),
    "length too large": lambda jpeg: part(lie=500)(jpeg[:-400]),
    "length of megabytes": lambda jpeg: part(length="5000000")(jpeg[:-400]),
    "length of gigabytes": lambda jpeg: part(length="5000000000")(jpeg),
    "length that is no number": lambda jpeg: part(length="many")(jpeg),
    "no EOI": lambda jpeg: part()(jpeg[:-2]),
    "no EOI, no length": lambda jpeg: part(length=None)(jpeg[:-2]),
    "noise": lambda jpeg: part()(NOISE),
    "noise behind an SOI": lambda jpeg: part()(jpeg[:2] + NOISE),
    "text": lambda jpeg: part()(b"no camera\r\n"),
    "nothing": lambda jpeg: part()(b""),
    "larger than a slot": lambda jpeg: part()(large(jpeg, 5 << 20)),
    "larger than a part may be": lambda jpeg: part()(large(jpeg, 9 << 20)),
}

# The same as messages of a WebSocket.
DAMAGED_MESSAGES = {
    "cut off": lambda jpeg: message(jpeg[:-400]),
    "no EOI": lambda jpeg: message(jpeg[:-2]),
    "noise": lambda jpeg: message(NOISE),
    "nothing": lambda jpeg: message(b""),
    "larger than a slot": lambda jpeg: message(large(jpeg, 5 << 20)),
}
