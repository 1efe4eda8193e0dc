"""Cameras as they are met in the wild, and worse: MJPEG servers that misbehave on purpose."""

import itertools
import socket
import threading
import time


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
            client.sendall(self.head.encode())
            self._send(client, self.before)
            for picture in itertools.cycle(self.pictures):
                self._send(client, self.part(picture))
                time.sleep(self.pause)
        except OSError:
            pass
        finally:
            client.close()

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
