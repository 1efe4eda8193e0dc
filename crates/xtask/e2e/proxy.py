"""What stands between a client and its server: it cuts connections, or it changes what passes."""

import contextlib
import json
import socket
import struct
import threading
import time

from tcp import Listener, Reader


class Proxy(Listener):
    """Passes connections on to the server at `server_port`, from a port of its own."""

    def __init__(self, server_port):
        self.server_port = server_port
        self.accepted = []  # when
        super().__init__()

    def serve(self, client):
        self.accepted.append(time.time())
        self.join(client, self.connect())

    def connect(self):
        server = socket.create_connection(("127.0.0.1", self.server_port))
        self.sockets.append(server)
        return server

    def join(self, client, server, back=None, forth=None):
        """Has `back` pass on what the server sends, and `forth` what the client does."""
        self.in_thread(self.pump, back or self.bytes, server, client)
        self.in_thread(self.pump, forth or self.bytes, client, server)

    @staticmethod
    def pump(work, source, sink):
        with contextlib.suppress(OSError, EOFError):
            work(source, sink)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def bytes(source, sink):
        while piece := source.recv(65536):
            sink.sendall(piece)

    def cut(self):
        """As a network does that goes away: with a reset, and what was on its way is lost."""
        sockets, self.sockets = self.sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class PageProxy(Proxy):
    """Stands between a page and its server.

    `answers` are given in the server's place: a status line and a body for each path, or a
    function of the query that returns them.
    """

    def __init__(self, server_port):
        self.answers = {}
        self.requests = []
        self.allows_websockets = True
        # What the bytes of a frame become: as many others.
        self.spoil = None
        # While this is clear, nothing of WebSockets is passed on.
        self.flow = threading.Event()
        self.flow.set()
        # The numbers of the frames that are not acknowledged, and the most there ever were.
        self.in_flight, self.most, self.frames = [], 0, 0
        self.lock = threading.Lock()
        super().__init__(server_port)

    def answer_json(self, path, value):
        self.answers[path] = ("200 OK", json.dumps(value))

    def count(self, path):
        """How many requests of this path there were."""
        return sum(request.partition("?")[0] == path for request in self.requests)

    def close(self):
        self.flow.set()
        super().close()

    def serve(self, client):
        head = Reader(client).until(b"\r\n\r\n")
        target = head.split(b" ")[1].decode()
        path, _, query = target.partition("?")
        self.requests.append(target)
        answer = self.answers.get(path)
        is_websocket = b"\r\nupgrade: websocket" in head.lower()
        if is_websocket and not self.allows_websockets:
            answer = ("403 Forbidden", "no WebSockets here")
        if answer:
            status, body = answer(query) if callable(answer) else answer
            fields = f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n"
            client.sendall(f"HTTP/1.1 {status}\r\n{fields}{body}".encode())
            client.close()
            return
        server = self.connect()
        server.sendall(head)
        pumps = (self._frames, self._acknowledgements) if is_websocket else ()
        self.join(client, server, *pumps)

    def _frames(self, server, client):
        source = Reader(server)
        client.sendall(source.until(b"\r\n\r\n"))
        with self.lock:
            self.in_flight = []
        while True:
            head, payload = read_message(source)
            if head[0] & 0xF == 2:
                start = struct.unpack_from(">H", payload, 2)[0]
                with self.lock:
                    self.frames += 1
                    self.in_flight.append(struct.unpack_from(">Q", payload, 8)[0])
                    self.most = max(self.most, len(self.in_flight))
                if self.spoil:
                    payload = payload[:start] + self.spoil(payload[start:])
            self.flow.wait()
            client.sendall(head + payload)

    def _acknowledgements(self, client, server):
        source = Reader(client)
        while True:
            head, payload = read_message(source)
            if head[0] & 0xF == 2:
                mask = head[-4:]
                message = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
                kind, number = struct.unpack(">BQ", message)
                assert kind == 1
                with self.lock:
                    self.in_flight = [each for each in self.in_flight if each > number]
            server.sendall(head + payload)


def read_message(source):
    """A WebSocket frame: its head, with its mask, and its payload as it came."""
    head = source.exactly(2)
    size = head[1] & 0x7F
    if size > 125:
        head += source.exactly(2 if size == 126 else 8)
        size = int.from_bytes(head[2:])
    if head[1] & 0x80:
        head += source.exactly(4)
    return head, source.exactly(size)
