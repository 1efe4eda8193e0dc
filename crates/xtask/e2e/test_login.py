"""Cameras that ask for a login: relayed and viewed, and their secrets in no text."""

import base64
import contextlib
import json
import os
import queue
import re
import threading
import time
from urllib.parse import quote

import pytest
from broker import Mosquitto
from camwire import HOST, TIMEOUT, make_frames, run, view, wait_until
from tcp import Answering
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve as serve_websockets

# In every secret, and in nothing else that a log may have in it.
SECRET = "gEh3imnis"
TOKEN = "gEh3imnis-token"
# The second reads as if it were encoded.
PASSWORDS = ("gEh3imnis:@/?#%", "gEh3imnis%40", "gEh3imnisä€", "gEh3imnis +&='\"\\<>")
USER = "änna"

TRACE = {"RUST_LOG": "trace"}


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def login(user, password):
    """As it stands in a URL, with its @."""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"


def in_base64(text):
    """What is in the base64 of any text with this one in it."""
    for skip in range(3):
        end = (skip + len(text)) // 3 * 4
        yield base64.b64encode(b"x" * skip + text.encode()).decode()[4 if skip else 0 : end]


def assert_hidden(text, secret=SECRET):
    """Neither the secret, which has SECRET in it, nor any encoding of it, is in the text."""
    assert SECRET in secret
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    for trace in (SECRET, secret, quote(secret, safe=""), quote(secret)):
        assert trace.lower() not in text.lower()
    for trace in in_base64(SECRET):
        assert trace not in text


def assert_hides(server, secret=SECRET):
    """The server has the secret neither in its log nor in its answers."""
    for text in (server.log, json.dumps(server.stats()), server.get("/").body):
        assert_hidden(text, secret)


def trace_view(*args, timeout=20, environment={}):
    """Views with a log of all there is."""
    environment = {**os.environ, **TRACE, **environment}
    return view("--timeout", timeout, *args, env=environment)


@pytest.fixture
def trace(serve):
    """Starts a server that logs all there is."""
    return lambda *args, environment={}: serve(*args, environment={**TRACE, **environment})


@pytest.fixture
def relay_fails(trace, demand):
    """Starts a relay, whose source must fail for this reason."""

    def relay_fails(reason, *args):
        relay = trace("--source", *args)
        demand(relay)
        wait_until(f"it reports {reason!r}", lambda: reason in (relay.source()["error"] or ""))
        assert_hides(relay)
        return relay

    return relay_fails


# Servers of camwire.


@pytest.mark.parametrize("way", ["http stream", "http capture", "ws ws", "ws "])
@pytest.mark.parametrize("password", PASSWORDS)
def test_camera_with_a_login_is_relayed_and_viewed(serve, trace, watch, tmp_path, password, way):
    camera = serve("--auth", f"{USER}:{password}")
    scheme, path = way.split(" ")
    address = f"{scheme}://{login(USER, password)}127.0.0.1:{camera.port}/{path}"
    relay = trace("--source", address)
    watch(relay).parts(3)
    assert relay.source()["state"] == "streaming"
    assert_hides(relay, password)
    done = trace_view("--frames", 3, "--json", "--save", tmp_path, address)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 3
    assert_hidden(done.stderr + done.stdout, password)


RIGHT = login(USER, "gEh3imnis-right")
WRONG = login(USER, "gEh3imnis-wrong")
WRONG_TOKEN = ["--source-token", "gEh3imnis-t"]
IS_WRONG = "the user or the password is wrong"

# What a camera asks for, what is given to it, and what is reported over HTTP and over WebSocket.
REJECTED = [
    ("login", WRONG, [], IS_WRONG, "wrong"),
    ("login", login("gEh3imnis", "gEh3imnis-right"), [], IS_WRONG, "wrong"),
    ("login", "", [], "it asks for a login: http://USER:PASSWORD@HOST", "it asks for a login"),
    ("login", "", WRONG_TOKEN, "it asks for a login", "token is wrong"),
    ("token", "", [], "it asks for a token: --source-token", "or --source-token"),
    ("token", WRONG, [], "it asks for a token: --source-token", "wrong"),
    ("token", "", WRONG_TOKEN, "the token is wrong", "is wrong"),
    ("both", WRONG, [], f"{IS_WRONG}: http://USER:PASSWORD@HOST", "ws://USER:PASSWORD@HOST"),
]


@pytest.mark.parametrize("asks_for, given, args, http, ws", REJECTED)
def test_rejected_login_is_reported(serve, relay_fails, asks_for, given, args, http, ws):
    asked = {"login": ["--auth", f"{USER}:gEh3imnis-right"], "token": ["--token", TOKEN]}
    asked["both"] = asked["login"] + asked["token"]
    camera = serve(*asked[asks_for])
    host = f"127.0.0.1:{camera.port}"
    for address, expected in (
        (f"http://{given}{host}/stream", http),
        (f"ws://{given}{host}/ws", ws),
    ):
        relay = relay_fails(f"{host} answers 401: ", address, *args)
        assert expected in relay.source()["error"]
        assert "answers 401" in relay.log


def test_view_reports_a_wrong_password(serve):
    camera = serve("--auth", f"{USER}:gEh3imnis-right")
    done = trace_view(f"http://{WRONG}127.0.0.1:{camera.port}/stream", timeout=3)
    assert done.returncode == 1
    assert f"answers 401: {IS_WRONG}".encode() in done.stderr
    assert_hidden(done.stderr + done.stdout)


@pytest.mark.parametrize("path, scheme", [("/stream", "http"), ("/ws", "ws")])
def test_relay_sends_a_token(serve, trace, watch, path, scheme):
    address = serve("--token", TOKEN).url(path, scheme)
    relay = trace("--source", address, "--source-token", TOKEN)
    watch(relay).parts(3)
    assert_hidden(relay.log)


SERVE = "serve --listen 127.0.0.1:0"


@pytest.mark.parametrize(
    "command, option",
    [
        (f"{SERVE} --source http://a:gEh3imnis@127.0.0.1:1/stream", "--source-token"),
        (f"{SERVE} --source ws://a:gEh3imnis@127.0.0.1:1/ws", "--source-token"),
        ("view --headless http://a:gEh3imnis@127.0.0.1:1/stream", "--source-token"),
        ("view --headless ws://a:gEh3imnis@127.0.0.1:1/ws", "--source-token"),
        (f"{SERVE} --push ws://a:gEh3imnis@127.0.0.1:1/ingest", "--push-token"),
    ],
)
def test_login_and_token_exclude_each_other(command, option):
    done = run(HOST, *command.split(), option, TOKEN, timeout=20)
    assert done.returncode == 1
    assert f"{option} and a user and password".encode() in done.stderr
    assert_hidden(done.stderr)


# Other servers.


def values(camera, name):
    """The values of a field in each request so far."""
    found = [re.findall(rf"(?im)^{name}: (.*)\r$", head) for head in list(camera.heads)]
    assert all(len(values) <= 1 for values in found), found
    return {values[0] if values else None for values in found}


@pytest.mark.parametrize(
    "given, user, password",
    [
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
    ],
)
def test_every_request_has_the_login_of_the_url(start, trace, watch, given, user, password):
    jpeg = make_frames(3, "320x240")[0]
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    camera = start(Answering, head.encode() + jpeg)
    address = f"http://{given}127.0.0.1:{camera.port}/a%20b?c=@"
    # The port makes an @ behind the host ambiguous, unless there is one before it.
    address = address if given else address.replace("@", "%40")
    relay = trace("--source", address, "--fps", 20)
    watch(relay).parts(3)
    assert len(camera.heads) > 2
    assert values(camera, "Authorization") == {None if user is None else basic(user, password)}
    assert values(camera, "Host") == {f"127.0.0.1:{camera.port}"}
    assert camera.heads[0].startswith("GET /a%20b?c=")
    assert_hidden(relay.log)


@pytest.mark.parametrize(
    "field, reason",
    [
        ('Digest realm="camera", nonce="x", qop="auth"', "a Digest login, which is not supported"),
        ('Digest realm="camera", Basic realm="camera"', IS_WRONG),
        ("", IS_WRONG),
    ],
)
def test_login_that_is_not_supported_is_reported(start, relay_fails, field, reason):
    field = f"WWW-Authenticate: {field}\r\n" if field else ""
    camera = start(Answering, f"HTTP/1.1 401 No\r\n{field}Content-Length: 0\r\n\r\n".encode())
    relay_fails(reason, f"http://anna:gEh3imnis@127.0.0.1:{camera.port}/")


@pytest.fixture
def websocket_server(request):
    """Starts a WebSocket server with Basic for this function; returns its port."""

    def start(handler, password, **options):
        def check(connection, request):
            assert len(request.headers.get_all("Host")) == 1
            if request.headers.get("Authorization") != basic("anna", password):
                return connection.respond(401, "no")

        options |= {"compression": None, "process_request": check}
        server = serve_websockets(handler, "127.0.0.1", 0, **options)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        request.addfinalizer(server.shutdown)
        return server.socket.getsockname()[1]

    return start


def send_frames(viewer):
    with contextlib.suppress(ConnectionClosed):
        for _ in range(100):
            for frame in make_frames(3, "320x240"):
                viewer.send(frame)
                time.sleep(0.03)


def test_relay_logs_in_to_other_websocket_servers(websocket_server, trace, watch, relay_fails):
    port = websocket_server(send_frames, "gEh3imnis/ä")
    relay = trace("--source", f"ws://anna:gEh3imnis%2F%C3%A4@127.0.0.1:{port}/cam")
    assert {part.jpeg for part in watch(relay).parts(3)} <= set(make_frames(3, "320x240"))
    assert_hidden(relay.log, "gEh3imnis/ä")
    relay_fails(f"{IS_WRONG}: ws://", f"ws://anna:gEh3imnis@127.0.0.1:{port}/cam")


def test_relay_and_view_log_in_over_tls(websocket_server, trace, watch, certificate):
    context, trusted = certificate("DNS:localhost")
    port = websocket_server(send_frames, "gEh3imnis?", ssl=context)
    address = f"wss://anna:gEh3imnis%3f@localhost:{port}/cam"
    relay = trace("--source", address, environment=trusted)
    watch(relay).parts(3)
    assert_hidden(relay.log, "gEh3imnis?")
    done = trace_view("--frames", 3, address, environment=trusted)
    assert done.returncode == 0, done.stderr
    assert_hidden(done.stderr + done.stdout, "gEh3imnis?")


def test_push_logs_in(websocket_server, trace):
    pushed = queue.Queue()

    def relay(camera):
        with contextlib.suppress(ConnectionClosed):
            for message in camera:
                pushed.put(message)

    address = f"127.0.0.1:{websocket_server(relay, SECRET)}/ingest"
    # The token of the server itself is not for the relay then.
    camera = trace("--push", f"ws://anna:gEh3imnis@{address}", "--token", TOKEN)
    assert pushed.get(timeout=TIMEOUT)[:2] == b"\xff\xd8"
    assert_hidden(camera.log)
    camera = trace("--push", f"ws://anna:gEh3imnis-wrong@{address}")
    camera.wait_for_log(rf"{IS_WRONG} \(401\)")
    assert_hidden(camera.log)


@pytest.mark.parametrize("password", PASSWORDS)
def test_login_at_a_broker(start, trace, watch, demand, password):
    broker = start(Mosquitto, login=("anna", password))
    url = f"mqtt://{login('anna', password)}127.0.0.1:{broker.port}"
    camera = trace("--mqtt", url, "--mqtt-prefix", "camwire")
    relay = trace("--source", f"{url}/camwire")
    watch(relay).parts(3)
    done = trace_view("--frames", 3, f"{url}/camwire")
    assert done.returncode == 0, done.stderr
    wrong = f"mqtt://{login('anna', password + 'x')}127.0.0.1:{broker.port}"
    rejected = trace("--source", f"{wrong}/camwire", "--mqtt", wrong, "--mqtt-prefix", "x")
    demand(rejected)
    reason = "does not accept the user or the password"
    wait_until("it is reported", lambda: reason in (rejected.source()["error"] or ""))
    for server in (camera, relay, rejected):
        assert_hides(server, password)
    assert_hidden(done.stderr + done.stdout, password)


# Arguments that are wrong.

URLS = f"""
http://anna:gEh3imnis{'x' * 256}@127.0.0.1/
http://anna:gEh3imnis@
http://anna:gEh3imnis@127.0.0.1:0/
http://anna:gEh3imnis@127.0.0.1:99999/
http://anna:gEh3imnis%@127.0.0.1/
http://anna:gEh3imnis%4@127.0.0.1/
http://anna:gEh3imnis%zz@127.0.0.1/
http://anna:gEh3imnis%ff@127.0.0.1/
http://anna:gEh3imnis%00@127.0.0.1/
http://anna:gEh3imnis%0d%0aX@127.0.0.1/
http://anna:gEh3imnis\x7f@127.0.0.1/
http://an%3Ana:gEh3imnis@127.0.0.1/
http://anna:gEh3imnis/x@127.0.0.1/
http://anna:12/gEh3imnis@127.0.0.1/
http://anna:12?gEh3imnis@127.0.0.1/
http://anna:12#gEh3imnis@127.0.0.1/
http://anna%3AgEh3imnis%40127.0.0.1/
http:/anna:gEh3imnis@127.0.0.1/
htp://anna:gEh3imnis@127.0.0.1/
https://anna:gEh3imnis@127.0.0.1/
anna:gEh3imnis@127.0.0.1
ws://anna:gEh3imnis@127.0.0.1:x/ws
ws://anna:gEh3imnis@127.0.0.1/ws#x
ws://anna%3AgEh3imnis%40127.0.0.1/ws
wss://anna:gEh3imnis%@127.0.0.1/ws
mqtt://anna:gEh3imnis@127.0.0.1
mqtt://anna:gEh3imnis%@127.0.0.1/cam
mqtt://anna:12/gEh3imnis@127.0.0.1/cam
mqtt://anna:gEh3imnis@127.0.0.1/cam?gEh3imnis=1
""".strip().split("\n")


def assert_rejected(*args):
    """It ends with 2 and does not repeat the secret; returns what it reports."""
    done = run(HOST, *args, timeout=20)
    assert done.returncode == 2, done.stderr
    assert_hidden(done.stderr + done.stdout)
    assert b"panicked" not in done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("url", URLS)
def test_wrong_url_with_a_login_is_not_repeated(url):
    assert_rejected("serve", "--listen", "127.0.0.1:0", "--source", url)
    assert_rejected("view", "--headless", url)


MISTYPED = """
URL
serve URL
serve --sorce URL
serve --sorce=URL
serve --fps URL
serve --listen URL
serve --push URL
serve --mqtt URL
view test URL
view --timeout URL
view --headlessURL
serve --auth anna gEh3imnis
serve --auth gEh3imnis
serve --auth=gEh3imnis
serve --aut=anna:gEh3imnis
serve --auth:anna:gEh3imnis
serve auth=anna:gEh3imnis
serve --token gEh3imnis_%
serve --tokn=gEh3imnis
serve --source-token gEh3imnis%
serve --mqtt-user anna --mqtt-pasword=gEh3imnis
serve --mqtt-password gEh3imnis
""".strip().split("\n")


@pytest.mark.parametrize("command", MISTYPED)
def test_mistyped_option_with_a_secret_is_not_repeated(command):
    url = "http://anna:gEh3imnis@127.0.0.1/"
    # A token has no spaces.
    assert_rejected(*(word.replace("URL", url).replace("_", " ") for word in command.split()))


@pytest.mark.parametrize(
    "command, hint",
    [
        ("view http://anna:gEh3imnis%@127.0.0.1/", "a percent sign is written as %25"),
        ("view http://anna:12/gEh3imnis@127.0.0.1/", "/ as %2F"),
        ("view http://anna:gEh3imnis%0a@127.0.0.1/", "control characters"),
        ("view http://an%3Ana:gEh3imnis@127.0.0.1/", "a user must not have a colon in it"),
        ("serve --sorce=http://anna:gEh3imnis@127.0.0.1/", "'--sorce'"),
        ("serve --sorce=http://anna:gEh3imnis@127.0.0.1/", "'--source'"),
    ],
)
def test_report_of_a_wrong_argument_has_a_hint(command, hint):
    assert hint in assert_rejected(*command.split())
