"""Cameras that ask for a login: relayed, viewed, and without a word about the secret."""

import base64
import contextlib
import json
import os
import queue
import re
import socket
import ssl
import threading
import time
from unittest.mock import patch
from urllib.parse import quote

from broker import Mosquitto
from camwire import HOST, PATIENCE, Case, eventually, make_pictures, run
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

# In every password, and in nothing else that a log may have in it.
SECRET = "gEh3imnis"
# The second reads as if it were encoded.
PASSWORDS = ("gEh3imnis:@/?#%", "gEh3imnis%40", "gEh3imnisä€", "gEh3imnis +&='\"\\<>")
USER = "änna"


def basic(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def login(user, password):
    """As it stands in a URL, with its @."""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"


def in_base64(text):
    """What is in the base64 of any text with this one in it."""
    for skip in range(3):
        end = (skip + len(text)) // 3 * 4
        yield base64.b64encode(b"x" * skip + text.encode()).decode()[4 if skip else 0 : end]


class Login(Case):
    def assert_hidden(self, text, password):
        """Neither the password, which has SECRET in it, nor any encoding of it."""
        self.assertIn(SECRET, password)
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        for trace in (SECRET, password, quote(password, safe=""), quote(password)):
            self.assertNotIn(trace.lower(), text.lower())
        for trace in in_base64(SECRET):
            self.assertNotIn(trace, text)

    def traced(self, *args, **variables):
        """A server that logs all there is."""
        with patch.dict(os.environ, RUST_LOG="trace", **variables):
            return self.serve(*args)

    def view(self, *args, timeout=20, **variables):
        with patch.dict(os.environ, RUST_LOG="trace", **variables):
            return run(HOST, "view", "--headless", "--timeout", timeout, *args)

    def camera(self, password, *args):
        """Our own server, with this password."""
        return self.serve("--auth", f"{USER}:{password}", *args)


class Ours(Login):
    def addresses(self, server, password):
        host = f"127.0.0.1:{server.port}"
        for scheme, path in (("http", "stream"), ("http", "capture"), ("ws", "ws"), ("ws", "")):
            yield f"{scheme}://{login(USER, password)}{host}/{path}"

    def test_relayed(self):
        for password in PASSWORDS:
            camera = self.camera(password)
            for address in self.addresses(camera, password):
                with self.subTest(password=password, address=address):
                    relay = self.traced("--source", address)
                    self.watch(relay).parts(3)
                    stats = relay.get("/stats").body
                    self.assertEqual(json.loads(stats)["source"]["state"], "streaming")
                    for text in (relay.log, stats, relay.get("/").body):
                        self.assert_hidden(text, password)
                    relay.close()
            camera.close()

    def test_viewed(self):
        for password in PASSWORDS:
            camera = self.camera(password)
            for address in self.addresses(camera, password):
                with self.subTest(password=password, address=address):
                    folder = self.folder()
                    done = self.view("--frames", "3", "--json", "--save", folder, address)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(len(list(folder.iterdir())), 3)
                    self.assert_hidden(done.stderr + done.stdout, password)
            camera.close()

    def test_wrong_missing_and_of_the_wrong_kind(self):
        right = "gEh3imnis-right"
        with_login, with_token = self.camera(right), self.serve("--token", "gEh3imnis-token")
        both = self.camera(right, "--token", "gEh3imnis-token")
        url = lambda scheme: f"{scheme}://USER:PASSWORD@HOST"
        wrong = login(USER, "gEh3imnis-wrong")
        for camera, given, args, http, ws in (
            (with_login, wrong, [], "the user or the password is wrong", "wrong"),
            (with_login, login("gEh3imnis", right), [], "the user or the password is wrong", "wrong"),
            (with_login, "", [], f"it asks for a login: {url('http')}", "it asks for a login"),
            (with_login, "", ["--source-token", "gEh3imnis-t"], "it asks for a login", "token is wrong"),
            (with_token, "", [], "it asks for a token: --source-token", "or --source-token"),
            (with_token, wrong, [], "it asks for a token: --source-token", "wrong"),
            (with_token, "", ["--source-token", "gEh3imnis-t"], "the token is wrong", "is wrong"),
            (both, wrong, [], f"the user or the password is wrong: {url('http')}", url("ws")),
        ):
            for scheme, path, expected in (("http", "stream", http), ("ws", "ws", ws)):
                with self.subTest(scheme=scheme, given=given, args=args):
                    address = f"{scheme}://{given}127.0.0.1:{camera.port}/{path}"
                    relay = self.traced("--source", address, *args)
                    viewer = relay.request(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    self.addCleanup(viewer.close)
                    eventually("it is told", lambda: "answers 401" in relay.log)
                    error = eventually("it is told", lambda: relay.stats()["source"]["error"])
                    self.assertIn(f"127.0.0.1:{camera.port} answers 401: ", error)
                    self.assertIn(expected, error)
                    for text in (relay.log, json.dumps(relay.stats()), relay.get("/").body):
                        self.assert_hidden(text, "gEh3imnis-wrong")
                    relay.close()
        done = self.view(f"http://{wrong}127.0.0.1:{with_login.port}/stream", timeout=3)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"answers 401: the user or the password is wrong", done.stderr)
        self.assert_hidden(done.stderr + done.stdout, "gEh3imnis-wrong")

    def test_a_token_for_http(self):
        camera = self.serve("--token", "gEh3imnis-token")
        for address in (f"http://127.0.0.1:{camera.port}/stream", f"ws://127.0.0.1:{camera.port}/ws"):
            relay = self.traced("--source", address, "--source-token", "gEh3imnis-token")
            self.watch(relay).parts(3)
            self.assert_hidden(relay.log, "gEh3imnis-token")

    def test_login_and_token_together(self):
        for address in ("http://a:gEh3imnis@127.0.0.1:1/stream", "ws://a:gEh3imnis@127.0.0.1:1/ws"):
            for command in (
                ["serve", "--listen", "127.0.0.1:0", "--source", address],
                ["view", "--headless", address],
            ):
                with self.subTest(command=command):
                    done = run(HOST, *command, "--source-token", "gEh3imnis-token", patience=20)
                    self.assertEqual(done.returncode, 1)
                    self.assertIn(b"--source-token and a user and password", done.stderr)
                    self.assert_hidden(done.stderr, "gEh3imnis")
        done = run(
            *(HOST, "serve", "--listen", "127.0.0.1:0", "--push-token", "gEh3imnis-token"),
            *("--push", "ws://a:gEh3imnis@127.0.0.1:1/ingest"),
            patience=20,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--push-token and a user and password", done.stderr)
        self.assert_hidden(done.stderr, "gEh3imnis")


class Http(threading.Thread):
    """A camera that notes the heads of requests, and answers each as it is told."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.answer, self.heads = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(PATIENCE)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += client.recv(4096)
                    self.heads.append(head.decode())
                    client.sendall(self.answer)

    def values(self, name):
        """The values of a field in each request so far."""
        found = [re.findall(rf"(?im)^{name}: (.*)\r$", head) for head in list(self.heads)]
        assert all(len(values) <= 1 for values in found), found
        return [values[0] if values else None for values in found]

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Others(Login):
    @classmethod
    def setUpClass(cls):
        cls.pictures = make_pictures(3, "320x240")

    def http(self, answer):
        camera = Http(answer)
        self.addCleanup(camera.close)
        return camera

    def still(self):
        """A camera that gives a picture for each request."""
        picture = self.pictures[0]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        return self.http(head.encode() + picture)

    def test_what_is_sent_with_every_request(self):
        for given, user, password in (
            ("anna:gEh3imnis@", "anna", "gEh3imnis"),
            ("anna@", "anna", ""),
            ("anna:@", "anna", ""),
            (":gEh3imnis@", "", "gEh3imnis"),
            ("a:gEh3imnis:@x@", "a", "gEh3imnis:@x"),
            ("p%40ss:gEh3imnis%2540%253a@", "p@ss", "gEh3imnis%40%3a"),
            ("%C3%A4:gEh3imnis%e2%82%ac@", "ä", "gEh3imnis€"),
            ("ä:gEh3imnis€ @", "ä", "gEh3imnis€ "),
            ("", None, None),
            ("@", None, None),
        ):
            with self.subTest(given=given):
                camera = self.still()
                address = f"http://{given}127.0.0.1:{camera.port}/a%20b?c=@"
                # The port makes an @ behind the host ambiguous, unless there is one before it.
                address = address if given else address.replace("@", "%40")
                relay = self.traced("--source", address)
                self.watch(relay).parts(3)
                expected = None if user is None else f"Basic {basic(user, password)}"
                self.assertGreater(len(camera.heads), 2)
                self.assertEqual(set(camera.values("Authorization")), {expected})
                self.assertEqual(set(camera.values("Host")), {f"127.0.0.1:{camera.port}"})
                self.assertTrue(camera.heads[0].startswith("GET /a%20b?c="), camera.heads[0])
                if password and SECRET in password:
                    self.assert_hidden(relay.log, password)
                relay.close()

    def test_logins_that_it_does_not_know(self):
        for field, expected in (
            ('Digest realm="camera", nonce="x", qop="auth"', "a Digest login, which is not supported"),
            ('Digest realm="camera", Basic realm="camera"', "the user or the password is wrong"),
            ("", "the user or the password is wrong"),
        ):
            with self.subTest(field=field):
                field = f"WWW-Authenticate: {field}\r\n" if field else ""
                camera = self.http(f"HTTP/1.1 401 No\r\n{field}Content-Length: 0\r\n\r\n".encode())
                relay = self.traced("--source", f"http://anna:gEh3imnis@127.0.0.1:{camera.port}/")
                viewer = relay.request(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.addCleanup(viewer.close)
                eventually("it is told", lambda: expected in relay.log)
                self.assert_hidden(relay.log, "gEh3imnis")

    def websocket(self, handler, password, **options):
        """A server that is none of ours, with Basic."""
        expected = f"Basic {basic('anna', password)}"
        self.heads = []

        def check(connection, request):
            self.heads.append(request.headers)
            if request.headers.get("Authorization") != expected:
                return connection.respond(401, "no")

        server = serve(
            handler, "127.0.0.1", 0, compression=None, process_request=check, **options
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        return server.socket.getsockname()[1]

    def camera(self, viewer):
        with contextlib.suppress(ConnectionClosed):
            for _ in range(100):
                for picture in self.pictures:
                    viewer.send(picture)
                    time.sleep(0.03)

    def test_websocket_of_others(self):
        port = self.websocket(self.camera, "gEh3imnis/ä")
        relay = self.traced("--source", f"ws://anna:gEh3imnis%2F%C3%A4@127.0.0.1:{port}/cam")
        parts = self.watch(relay).parts(3)
        self.assertLessEqual({part.jpeg for part in parts}, set(self.pictures))
        self.assertEqual(self.heads[0].get_all("Host"), [f"127.0.0.1:{port}"])
        self.assert_hidden(relay.log, "gEh3imnis/ä")
        relay = self.traced("--source", f"ws://anna:gEh3imnis@127.0.0.1:{port}/cam")
        viewer = relay.request(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.addCleanup(viewer.close)
        eventually("it is told", lambda: "the user or the password is wrong: ws://" in relay.log)
        self.assert_hidden(relay.log, "gEh3imnis")

    def test_websocket_with_tls(self):
        folder = self.folder()
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        done = run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=camwire test", "-keyout", key, "-out", certificate),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        port = self.websocket(self.camera, "gEh3imnis?", ssl=context)
        trusted = {"SSL_CERT_FILE": str(certificate)}
        address = f"wss://anna:gEh3imnis%3f@localhost:{port}/cam"
        relay = self.traced("--source", address, **trusted)
        self.watch(relay).parts(3)
        self.assert_hidden(relay.log, "gEh3imnis?")
        done = self.view("--frames", "3", address, **trusted)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_hidden(done.stderr + done.stdout, "gEh3imnis?")

    def test_pushed(self):
        pushed = queue.Queue()

        def relay(camera):
            with contextlib.suppress(ConnectionClosed):
                for message in camera:
                    pushed.put(message)

        port = self.websocket(relay, "gEh3imnis")
        address = f"anna:gEh3imnis@127.0.0.1:{port}/ingest"
        # The token of the server itself is not for the relay then.
        camera = self.traced("--push", f"ws://{address}", "--token", "gEh3imnis-token")
        self.assertEqual(pushed.get(timeout=PATIENCE)[:2], b"\xff\xd8")
        self.assert_hidden(camera.log, "gEh3imnis")
        camera = self.traced("--push", f"ws://{address.replace('nis@', 'nis-wrong@')}")
        eventually("it is told", lambda: "the user or the password is wrong (401)" in camera.log)
        self.assert_hidden(camera.log, "gEh3imnis-wrong")


class Mqtt(Login):
    def test_at_a_broker(self):
        for password in PASSWORDS:
            with self.subTest(password=password):
                broker = Mosquitto(user="anna", password=password)
                self.addCleanup(broker.close)
                host = f"127.0.0.1:{broker.port}"
                url = f"mqtt://{login('anna', password)}{host}"
                camera = self.traced("--mqtt", url)
                relay = self.traced("--source", f"{url}/camwire")
                self.watch(relay).parts(3)
                done = self.view("--frames", "3", f"{url}/camwire")
                self.assertEqual(done.returncode, 0, done.stderr)
                wrong = f"mqtt://{login('anna', password + 'x')}{host}"
                rejected = self.traced("--source", f"{wrong}/camwire", "--mqtt", wrong, "--mqtt-prefix", "x")
                viewer = rejected.request(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.addCleanup(viewer.close)
                refusal = "does not accept the user or the password"
                eventually("it is told", lambda: refusal in (rejected.stats()["source"]["error"] or ""))
                stats = json.dumps(rejected.stats())
                for text in (camera.log, relay.log, rejected.log, stats, done.stderr + done.stdout):
                    self.assert_hidden(text, password)
                broker.close()


class Arguments(Login):
    URLS = (
        "http://anna:gEh3imnis@",
        "http://anna:gEh3imnis@127.0.0.1:0/",
        "http://anna:gEh3imnis@127.0.0.1:99999/",
        "http://anna:gEh3imnis%@127.0.0.1/",
        "http://anna:gEh3imnis%4@127.0.0.1/",
        "http://anna:gEh3imnis%zz@127.0.0.1/",
        "http://anna:gEh3imnis%ff@127.0.0.1/",
        "http://anna:gEh3imnis%00@127.0.0.1/",
        "http://anna:gEh3imnis%0d%0aX@127.0.0.1/",
        "http://anna:gEh3imnis\x7f@127.0.0.1/",
        "http://an%3Ana:gEh3imnis@127.0.0.1/",
        "http://anna:gEh3imnis/x@127.0.0.1/",
        "http://anna:12/gEh3imnis@127.0.0.1/",
        "http://anna:12?gEh3imnis@127.0.0.1/",
        "http://anna:12#gEh3imnis@127.0.0.1/",
        "http://anna%3AgEh3imnis%40127.0.0.1/",
        f"http://anna:gEh3imnis{'x' * 256}@127.0.0.1/",
        "http:/anna:gEh3imnis@127.0.0.1/",
        "htp://anna:gEh3imnis@127.0.0.1/",
        "https://anna:gEh3imnis@127.0.0.1/",
        "anna:gEh3imnis@127.0.0.1",
        "ws://anna:gEh3imnis@127.0.0.1:x/ws",
        "ws://anna:gEh3imnis@127.0.0.1/ws#x",
        "ws://anna%3AgEh3imnis%40127.0.0.1/ws",
        "wss://anna:gEh3imnis%@127.0.0.1/ws",
        "mqtt://anna:gEh3imnis@127.0.0.1",
        "mqtt://anna:gEh3imnis%@127.0.0.1/cam",
        "mqtt://anna:12/gEh3imnis@127.0.0.1/cam",
        "mqtt://anna:gEh3imnis@127.0.0.1/cam?gEh3imnis=1",
        "mqtts://anna:gEh3imnis@127.0.0.1/cam",
    )

    def assert_rejected(self, *args):
        with self.subTest(args=args):
            done = run(HOST, *args, patience=20)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assert_hidden(done.stderr + done.stdout, "gEh3imnis")
            self.assertNotIn(b"panicked", done.stderr)
            return done.stderr.decode()

    def test_urls_that_are_none(self):
        for url in self.URLS:
            self.assert_rejected("serve", "--listen", "127.0.0.1:0", "--source", url)
            self.assert_rejected("view", "--headless", url)

    def test_mistyped_options(self):
        url = "http://anna:gEh3imnis@127.0.0.1/"
        for args in (
            [url],
            ["serve", url],
            ["serve", "--sorce", url],
            ["serve", f"--sorce={url}"],
            ["serve", "--fps", url],
            ["serve", "--listen", url],
            ["serve", "--push", url],
            ["serve", "--mqtt", url],
            ["view", "test", url],
            ["view", "--timeout", url],
            ["view", f"--headless{url}"],
            ["serve", "--auth", "anna", "gEh3imnis"],
            ["serve", "--auth", "gEh3imnis"],
            ["serve", "--auth=gEh3imnis"],
            ["serve", "--aut=anna:gEh3imnis"],
            ["serve", "--auth:anna:gEh3imnis"],
            ["serve", "auth=anna:gEh3imnis"],
            ["serve", "--token", "gEh3imnis %"],
            ["serve", "--tokn=gEh3imnis"],
            ["serve", "--source-token", "gEh3imnis%"],
            ["serve", "--mqtt-user", "anna", "--mqtt-pasword=gEh3imnis"],
            ["serve", "--mqtt-password", "gEh3imnis"],
        ):
            self.assert_rejected(*args)

    def test_what_is_said_helps(self):
        percent = self.assert_rejected("view", "http://anna:gEh3imnis%@127.0.0.1/")
        self.assertIn("a percent sign is written as %25", percent)
        slash = self.assert_rejected("view", "http://anna:12/gEh3imnis@127.0.0.1/")
        self.assertIn("/ as %2F", slash)
        control = self.assert_rejected("view", "http://anna:gEh3imnis%0a@127.0.0.1/")
        self.assertIn("control characters", control)
        colon = self.assert_rejected("view", "http://an%3Ana:gEh3imnis@127.0.0.1/")
        self.assertIn("a user must not have a colon in it", colon)
        option = self.assert_rejected("serve", "--sorce=http://anna:gEh3imnis@127.0.0.1/")
        self.assertIn("'--sorce'", option)
        self.assertIn("'--source'", option)
