"""What may stand between a page and its server: it answers in the server's place, refuses
WebSockets, spoils pictures, and counts them."""

import contextlib
import json
import socket
import struct
import threading


class Front:
    """Passes connections on to the server at this port, from one of its own.

    `answers` are given in the server's place: a status line and a body for each path, or a
    function of the query that returns them.
    """

    def __init__(self, port):
        self.server_port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answers = {}
        self.requests = []
        self.websockets = True
        # What a picture's bytes become: as many others.
        self.spoil = None
        # While this is clear, nothing of WebSockets is passed on.
        self.flow = threading.Event()
        self.flow.set()
        # The numbers of the pictures that are not acknowledged, and the most there ever were.
        self.in_flight, self.most, self.pictures = [], 0, 0
        self.lock = threading.Lock()
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    def answer_json(self, path, value):
        self.answers[path] = ("200 OK", json.dumps(value))

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.flow.set()
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError, EOFError):
            head = Pieces(client).until(b"\r\n\r\n")
            target = head.split(b" ")[1].decode()
            path, _, query = target.partition("?")
            self.requests.append(target)
            answer = self.answers.get(path)
            is_websocket = b"\r\nupgrade: websocket" in head.lower()
            if is_websocket and not self.websockets:
                answer = ("403 Forbidden", "no WebSockets here")
            if answer:
                status, body = answer(query) if callable(answer) else answer
                body = body.encode()
                fields = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                client.sendall(f"HTTP/1.1 {status}\r\n{fields}".encode() + body)
                client.close()
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self.sockets.append(server)
            server.sendall(head)
            back = (self._messages if is_websocket else self._bytes, server, client)
            forth = (self._acknowledgements if is_websocket else self._bytes, client, server)
            for pump in (back, forth):
                threading.Thread(target=self._pump, args=pump, daemon=True).start()
            return
        client.close()

    def _pump(self, work, source, sink):
        with contextlib.suppress(OSError, EOFError):
            work(source, sink)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _bytes(self, source, sink):
        while piece := source.recv(65536):
            sink.sendall(piece)

    def _messages(self, source, sink):
        pieces = Pieces(source)
        sink.sendall(pieces.until(b"\r\n\r\n"))
        with self.lock:
            self.in_flight = []
        while True:
            head, payload = pieces.frame()
            if head[0] & 0xF == 2:
                start = struct.unpack_from(">H", payload, 2)[0]
                with self.lock:
                    self.pictures += 1
                    self.in_flight.append(struct.unpack_from(">Q", payload, 8)[0])
                    self.most = max(self.most, len(self.in_flight))
                if self.spoil:
                    payload = payload[:start] + self.spoil(payload[start:])
            self.flow.wait()
            sink.sendall(head + payload)

    def _acknowledgements(self, source, sink):
        pieces = Pieces(source)
        while True:
            head, payload = pieces.frame()
            if head[0] & 0xF == 2:
                mask = head[-4:]
                message = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
                kind, number = struct.unpack(">BQ", message)
                assert kind == 1
                with self.lock:
                    self.in_flight = [each for each in self.in_flight if each > number]
            sink.sendall(head + payload)


class Pieces:
    """What comes from a socket, by the piece."""

    def __init__(self, source):
        self.source, self.buffer = source, bytearray()

    def _fill(self):
        piece = self.source.recv(65536)
        if not piece:
            raise EOFError
        self.buffer += piece

    def exactly(self, size):
        while len(self.buffer) < size:
            self._fill()
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        return piece

    def until(self, mark):
        while (at := self.buffer.find(mark)) < 0:
            self._fill()
        return self.exactly(at + len(mark))

    def frame(self):
        """The head of a WebSocket frame, with its mask, and the payload as it came."""
        head = self.exactly(2)
        size = head[1] & 0x7F
        if size > 125:
            head += self.exactly(2 if size == 126 else 8)
            size = int.from_bytes(head[2:])
        if head[1] & 0x80:
            head += self.exactly(4)
        return head, self.exactly(size)
