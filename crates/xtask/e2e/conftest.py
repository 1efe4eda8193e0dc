"""What all end-to-end tests have in common: what they need, and what they start.

`cargo xtask test` builds the programs and runs the tests. By hand, with what requirements.txt has:
    cargo build --release -p camwire-host
    python -m pytest crates/xtask/e2e -n 4 -k http
"""

import contextlib
import ssl

import pytest

pytest.register_assert_rewrite("board", "broker", "browser", "camwire")

import camwire
from board import Imac, Imc
from broker import Client, Mosquitto
from browser import Chromium, Firefox
from websockets.sync.client import connect

TARGETS = {"host": camwire.Server, "imc": Imc, "imac": Imac}
BROWSERS = {"chromium": Chromium, "firefox": Firefox}


def pytest_configure():
    camwire.OUT.mkdir(parents=True, exist_ok=True)


def pytest_generate_tests(metafunc):
    if "target" in metafunc.fixturenames:
        if marker := metafunc.definition.get_closest_marker("target"):
            metafunc.parametrize("target", marker.args, indirect=True)
    if "tab" in metafunc.fixturenames:
        # All tests of a browser run in one worker of pytest-xdist, which starts it once.
        marker = metafunc.definition.get_closest_marker("browser")
        groups = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in marker.args]
        metafunc.parametrize("tab", groups, indirect=True)


@pytest.fixture
def target(request):
    """What `serve` starts: the class that the test's marker names, or else camwire-host."""
    return TARGETS[getattr(request, "param", "host")]


@pytest.fixture
def start():
    """Starts something that ends when the test does, the last first: a context manager, or what has
    a method `close`. pytest shows what it has logged if the test failed."""
    with contextlib.ExitStack() as stack:

        def start(kind, *args, **options):
            thing = kind(*args, **options)
            if hasattr(thing, "__exit__"):
                return stack.enter_context(thing)
            stack.callback(close, thing)
            return thing

        def close(thing):
            try:
                thing.close()
            finally:
                if log := getattr(thing, "log", ""):
                    print(f"--- log of {type(thing).__name__}\n{log}---")

        yield start


@pytest.fixture
def serve(start, target):
    """Starts a server: `serve("--fps", 30)`, or `serve(fps=30)` for all targets."""
    return lambda *args, **options: start(target, *args, **options)


@pytest.fixture
def server(serve):
    """A server without options."""
    return serve()


@pytest.fixture
def watch(start):
    """Opens a stream of a server."""
    return lambda server, *args, **options: start(camwire.Stream, server, *args, **options)


@pytest.fixture
def demand(start):
    """A viewer of a stream that may not begin: a bare connection, from which nothing is read."""
    return lambda server: start(server.request, camwire.GET_STREAM)


@pytest.fixture
def websocket(start):
    """Opens a WebSocket of a server. Frames are not compressed, so no compression is offered; and
    those that the test does not read must not stand before a Close."""
    options = {"compression": None, "max_queue": None, "open_timeout": camwire.TIMEOUT}
    return lambda server, path="/ws", **more: start(
        connect, server.url(path, "ws"), **{**options, **more}
    )


@pytest.fixture
def broker(start):
    return start(Mosquitto)


@pytest.fixture
def client(start, broker):
    """Connects a client to the broker that subscribes to these topics."""
    return lambda *filters: start(Client, broker, *filters)


@pytest.fixture
def certificate(tmp_path):
    """Makes a certificate with these names: a context for servers, and a client's environment in
    which the system trusts it."""

    def certificate(*names):
        key, file = tmp_path / f"{names[0]}.key", tmp_path / f"{names[0]}.pem"
        done = camwire.run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=camwire test", "-keyout", key, "-out", file),
            *("-addext", "subjectAltName=" + ",".join(names)),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
        )
        assert done.returncode == 0, done.stderr
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
        return context, {"SSL_CERT_FILE": str(file)}

    return certificate


@pytest.fixture(scope="session")
def browsers():
    """Those that are running, by their names."""
    running = {}
    yield running
    for browser in running.values():
        browser.close()


@pytest.fixture
def tab(request, browsers, start):
    """A tab of the browser that the test's marker names."""
    name = request.param
    if name not in browsers or not browsers[name].is_running():
        browsers[name] = BROWSERS[name]()
    return start(browsers[name].open_tab)
