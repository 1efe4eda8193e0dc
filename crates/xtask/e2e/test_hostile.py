"""Requests that mean harm cost bounded memory and stop nobody."""

import os
import resource
import socket
import threading
import time

from camwire import Case, decode, eventually

MORE = 64 << 20  # what the server may grow by, in bytes: far less than what is sent to it


class Hostile(Case):
    # A server that is less of a match for this machine gets each attack so many times less often.
    gentler = 1

    def times(self, count):
        return range(max(2, count // self.gentler))

    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.server = self.serve()
        # For the connections that this side holds; the server has kept its own limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        # Somebody watches all the time.
        self.seen = []
        threading.Thread(target=self.see, args=(self.watch(self.server),), daemon=True).start()
        eventually("pictures", lambda: len(self.seen) > 3)
        self.server.get("/capture")
        self.before = self.server.memory()

    def see(self, viewer):
        try:
            while True:
                self.seen.append(viewer.part())
        except (OSError, EOFError):
            pass  # the test is over; or else it misses the pictures

    def connect(self):
        connection = self.server.connect()
        self.addCleanup(connection.close)
        return connection

    def assert_well(self):
        self.assertTrue(self.server.alive())
        answer = self.capture()
        self.assertEqual(answer.status, 200)
        decode([answer.body])
        count = len(self.seen)
        eventually("pictures go on arriving", lambda: len(self.seen) > count + 10)
        self.assert_numbers_add_up(self.seen)
        self.assertLess(self.server.memory() - self.before, MORE)
        self.assertNotIn("panicked", self.server.log)

    def capture(self):
        return self.server.get("/capture")

    def push(self, connection, pieces):
        """Sends until there are no more pieces or the server has had enough; what it answered."""
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while piece := connection.recv(65536):
                answer += piece
        except OSError:
            pass
        return answer

    def say(self, connection, words):
        """If it still listens."""
        try:
            connection.sendall(words)
        except OSError:
            pass

    def test_head_that_never_ends(self):
        for line in (b"GET /" + b"x" * 65536, b"X: " + b"x" * 65536, b"X: y\r\n" * 10_000):
            for _ in self.times(5):
                answer = self.push(self.connect(), [b"GET / HTTP/1.1\r\n"] + [line] * 300)
                self.assertIn(answer[:13], (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b""))
        self.assert_well()

    def test_ten_thousand_headers(self):
        head = b"GET /capture HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000))
        # The server may close before all of it has been sent; then the answer can be lost.
        answers = {self.push(self.connect(), [head + b"\r\n"])[:13] for _ in self.times(10)}
        self.assertLessEqual(answers, {b"HTTP/1.1 431 ", b""})
        self.assert_well()

    def test_binary_junk(self):
        for _ in self.times(50):
            answer = self.push(self.connect(), [os.urandom(100_000)] * 5)
            self.assertIn(answer[:13], (b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b""))
        self.assert_well()

    def test_a_byte_a_second(self):
        stop = threading.Event()

        def drip(connection):
            try:
                for byte in b"GET /stream HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 1000:
                    connection.sendall(bytes([byte]))
                    if stop.wait(1):
                        return
            except OSError:
                pass

        for _ in range(50):
            threading.Thread(target=drip, args=(self.connect(),), daemon=True).start()
        for _ in range(5):
            self.assert_well()
            time.sleep(1)
        stop.set()

    def test_a_thousand_connections_left_open(self):
        """More than the server may have open files, on many machines."""
        left = []
        for number in range(1000):
            try:
                connection = self.server.connect(patience=10)
            except OSError:
                break  # the queue of connections is full: it is the server's right
            self.addCleanup(connection.close)
            left.append(connection)
            if number % 2:
                self.say(connection, b"GET /capture HTTP/1.1\r\n")
        self.assertGreater(len(left), 500)
        eventually("/capture is answered", self.captures)
        self.assert_well()
        for connection in left:
            connection.close()
        eventually("all is well again", self.captures)
        self.assert_well()

    def captures(self):
        try:
            return self.server.get("/capture").status == 200
        except OSError:
            return False

    def alone(self):
        try:
            return len(self.server.stats()["viewers"]) == 1
        except OSError:
            return False

    def test_streams_asked_for_and_never_read(self):
        for _ in range(200):
            self.say(self.connect(), b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually("/capture is answered", self.captures)
        self.assert_well()

    def test_garbage_after_the_request(self):
        connection = self.connect()
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.settimeout(1)
        try:
            # A viewer that talks all the time.
            for _ in range(200):
                connection.sendall(os.urandom(65536))
        except OSError:
            pass
        self.assert_well()

    def test_connections_that_come_and_go(self):
        for number in range(500):
            connection = self.server.connect()
            if number % 3:
                self.say(connection, b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if number % 5 == 0:
                # A reset instead of an orderly end.
                linger = b"\x01\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
        eventually("they are all gone", self.alone)
        self.assert_well()
