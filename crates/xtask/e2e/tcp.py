"""Both ends of connections, byte by byte."""

import contextlib
import socket
import threading


def free_ports(count):
    """So many different ones."""
    with contextlib.ExitStack() as stack:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        return [stack.enter_context(each).getsockname()[1] for each in listeners]


def free_port():
    return free_ports(1)[0]


class Reader:
    """Reads a connection; what has arrived and not been read is in `buffer`."""

    def __init__(self, connection):
        self.socket, self.buffer = connection, bytearray()

    def fill(self, size=65536):
        piece = self.socket.recv(size)
        if not piece:
            raise EOFError("the connection was closed")
        self.buffer += piece

    def until(self, mark):
        while (at := self.buffer.find(mark)) < 0:
            self.fill()
        return self.exactly(at + len(mark))

    def exactly(self, size):
        while len(self.buffer) < size:
            self.fill()
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        return piece


class Listener:
    """Has `serve` serve each connection, in a thread, until `close` closes them all: as when the
    power fails."""

    def __init__(self, port=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.sockets = []
        self.in_thread(self._accept)

    def in_thread(self, work, *args):
        def until_closed():
            with contextlib.suppress(OSError, EOFError):
                work(*args)

        threading.Thread(target=until_closed, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            self.sockets.append(client)
            self.in_thread(self._serve, client)

    def _serve(self, client):
        try:
            self.serve(client)
        except (OSError, EOFError):
            client.close()

    def url(self, path="/", scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def close(self):
        # A thread that waits holds a connection, and the port, until it is woken.
        for each in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Answering(Listener):
    """Gives every request the same answer, and keeps their heads."""

    def __init__(self, answer):
        self.answer, self.heads = answer, []
        super().__init__()

    def serve(self, client):
        self.heads.append(Reader(client).until(b"\r\n\r\n").decode())
        client.sendall(self.answer)
        # Firefox shows a page that does not say what characters it has when it has all of it.
        client.shutdown(socket.SHUT_WR)

    def targets(self):
        return [head.split(" ")[1] for head in list(self.heads)]
