"""The echo examples of camwire-websocket against Python's websockets, in both roles."""

import contextlib
import re
import threading

from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from camwire import PATIENCE, Case, in_threads
from websocket import SIZES, EchoServer, numbered, run_client


class TheServer(Case):
    subject = EchoServer

    def connect(self, server, path="/", **options):
        options = {"max_size": None, "open_timeout": PATIENCE, **options}
        return self.enterContext(connect(server.url(path), **options))

    def test_messages_come_back_with_their_type(self):
        socket = self.connect(self.serve())
        self.assertIsNone(socket.subprotocol)
        for size in SIZES:
            binary = numbered(size)
            text = binary.decode("latin-1")
            for message in (binary, text):
                socket.send(message)
                self.assertEqual(socket.recv(timeout=PATIENCE), message)

    def test_a_message_of_64_mebibytes(self):
        socket = self.connect(self.serve())
        message = numbered(64 << 20)
        socket.send(message)
        self.assertEqual(socket.recv(timeout=PATIENCE), message)

    def test_a_message_larger_than_that_is_refused(self):
        socket = self.connect(self.serve())
        with contextlib.suppress(ConnectionClosedError):
            socket.send(bytes((64 << 20) + 1))
        with self.assertRaises(ConnectionClosedError) as closed:
            socket.recv(timeout=PATIENCE)
        self.assertEqual(closed.exception.rcvd.code, 1009)

    def test_fragments(self):
        socket = self.connect(self.serve())
        for pieces in ([b"a", b"", b"b"], ["\u00fc" * 1000] * 7, [""], [numbered(70000)] * 3):
            socket.send(iter(pieces))
            whole = type(pieces[0])().join(pieces)
            self.assertEqual(socket.recv(timeout=PATIENCE), whole)

    def test_pings(self):
        socket = self.connect(self.serve())
        pongs = [socket.ping(payload) for payload in (b"", b"x", bytes(range(125)))]
        self.assertTrue(all(pong.wait(PATIENCE) for pong in pongs))

    def test_closes(self):
        server = self.serve()
        for code, reason in ((1000, ""), (1001, "\u00fc" * 61), (4999, "x")):
            socket = self.connect(server)
            socket.close(code, reason)
            self.assertEqual(socket.close_code, code)
            self.assertEqual(socket.protocol.close_rcvd.code, code)

    def test_broken_rules(self):
        server = self.serve()
        for frame, code in (
            (b"\x81\x01x", 1002),  # without a mask
            (b"\xc1\x81\0\0\0\0x", 1002),  # a reserved bit
            (b"\x80\x81\0\0\0\0x", 1002),  # a continuation of nothing
            (b"\x82\xfe\0\x01\0\0\0\0x", 1002),  # not the shortest form
            (b"\x81\x82\0\0\0\0\xc3\x28", 1007),
            (b"\x82\xff" + ((64 << 20) + 1).to_bytes(8), 1009),
        ):
            socket = self.connect(server)
            socket.socket.sendall(frame)
            with self.assertRaises(ConnectionClosedError) as closed:
                socket.recv(timeout=PATIENCE)
            self.assertEqual(closed.exception.rcvd.code, code, frame)

    def test_many_at_once(self):
        server = self.serve()

        def talk(number):
            socket = self.connect(server)
            for turn in range(20):
                message = numbered(1000 * number) + bytes([number, turn])
                socket.send(message)
                self.assertEqual(socket.recv(timeout=PATIENCE), message)

        in_threads([lambda number=number: talk(number) for number in range(20)])

    def test_a_client_of_a_page(self):
        socket = self.connect(self.serve(), origin="http://page.example", subprotocols=["a"])
        self.assertIsNone(socket.subprotocol)
        socket.send("x")
        self.assertEqual(socket.recv(timeout=PATIENCE), "x")

    def test_an_upgrade_that_is_none(self):
        server = self.serve()
        answer = server.get("/", headers={"Host": "x"})
        self.assertEqual(answer.status, 426)
        self.assertEqual(answer.headers["sec-websocket-version"], "13")
        with self.assertRaises(InvalidStatus) as refused:
            self.connect(server, additional_headers={"Host": "two"})
        self.assertEqual(refused.exception.response.status_code, 400)


class TheClient(Case):
    def test_the_conversation_of_the_autobahn_suite(self):
        messages = [numbered(size) for size in SIZES]
        messages += [message.decode("latin-1") for message in messages]
        paths, failures = [], []

        def case(socket, number):
            if number == len(messages):
                # Fragments, and a ping between them, as far as the library can.
                pong = socket.ping("between")
                socket.send(iter(["a", "\u00fc" * 70000, ""]))
                assert socket.recv(timeout=PATIENCE) == "a" + "\u00fc" * 70000
                assert pong.wait(PATIENCE)
                socket.close(4000, "enough")
                assert socket.protocol.close_rcvd.code == 4000
                return
            socket.send(messages[number])
            assert socket.recv(timeout=PATIENCE) == messages[number], "it comes back"

        def answer(socket):
            path = socket.request.path
            paths.append(path)
            try:
                if path == "/getCaseCount":
                    socket.send(str(len(messages) + 1))
                elif found := re.fullmatch(r"/runCase\?case=(\d+)&agent=camwire", path):
                    case(socket, int(found[1]) - 1)
            except Exception as error:  # looked at below
                failures.append((path, error))

        said = self.converse(answer)
        self.assertEqual(failures, [])
        count = len(messages) + 1
        runs = [f"/runCase?case={number}&agent=camwire" for number in range(1, count + 1)]
        self.assertEqual(paths, ["/getCaseCount", *runs, "/updateReports?agent=camwire"])
        self.assertEqual(said.splitlines(), [f"case {n} of {count}" for n in range(1, count + 1)])

    def test_a_server_that_breaks_a_rule(self):
        frames = [b"\x81\x81\0\0\0\0x", b"\x82\x7e\0\x01x", b"\x81\x01\xff"]
        codes = []

        def answer(socket):
            path = socket.request.path
            if path == "/getCaseCount":
                socket.send(str(len(frames)))
            elif found := re.search(r"case=(\d+)", path):
                socket.socket.sendall(frames[int(found[1]) - 1])
                try:
                    socket.recv(timeout=PATIENCE)
                except ConnectionClosedError as closed:
                    codes.append(closed.rcvd.code)

        said = self.converse(answer)
        self.assertEqual(codes, [1002, 1002, 1007])
        self.assertIn("case 3 of 3: WebSocket connection failed at byte 2", said)

    def converse(self, answer):
        """Has the client talk to a server that answers each connection by this; what it said."""
        with serve(answer, "127.0.0.1", 0, max_size=None) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                return run_client(server.socket.getsockname()[1])
            finally:
                server.shutdown()
                thread.join()
