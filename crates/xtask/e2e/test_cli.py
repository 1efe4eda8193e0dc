"""Arguments, exit codes, Ctrl-C."""

import re
import socket

import pytest
from camwire import HOST, Program, run, wait_until
from tcp import free_port


def assert_fails(code, *args, mentions=""):
    """It ends with this code and with a sentence, at most followed by the hint that clap adds."""
    done = run(HOST, *args, timeout=20)
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert 1 <= len([line for line in said.splitlines() if line.strip()]) <= 5, said
    assert not re.search("panicked|backtrace|thread '", said)
    assert mentions in said


@pytest.mark.smoke
@pytest.mark.parametrize("count", [0, 3])
def test_host_serves_frames_until_ctrl_c(serve, watch, count):
    server = serve(fps=30)
    assert server.get("/capture").headers["content-type"] == "image/jpeg"
    viewers = [watch(server) for _ in range(count)]
    for viewer in viewers:
        viewer.parts(2)
    # Nobody reads from these any more.
    assert server.interrupt() == 0
    assert "panicked" not in server.log


@pytest.mark.parametrize("command", ["", "serve", "view"])
def test_help_has_options_and_examples(command):
    done = run(HOST, *command.split(), "--help")
    assert done.returncode == 0
    for text in ("--fps", f"camwire-host {command or 'serve'} "):
        assert text in done.stdout.decode()


@pytest.mark.parametrize(
    "args",
    [
        "--nonsense",
        "nonsense",
        "serve --fps fast",
        "serve --fps -1",
        "serve --quality 64",
        "serve --quality good",
        "serve --resolution NOPE",
        "serve --policy drop-some",
        "serve --source nonsense:x",
        "serve --source http://",
        "serve --listen nowhere",
        "serve --listen 127.0.0.1:99999",
        "serve --max-viewers many",
    ],
)
def test_wrong_arguments_exit_with_2(args):
    assert_fails(2, *args.split())


@pytest.mark.parametrize("source", ["dir:/nonexistent/folder", "file:/nonexistent/film.mjpeg"])
def test_missing_source_exits_with_1(source):
    args = ("serve", "--listen", "127.0.0.1:0", "--source", source)
    assert_fails(1, *args, mentions="/nonexistent/")


def test_port_in_use_exits_with_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_fails(1, "serve", "--listen", f"127.0.0.1:{port}", mentions=str(port))


def test_no_argument_serves_on_8080(start):
    """Where 8080 is taken, it reports that."""
    host = start(Program, HOST)
    host.wait_for_log(r"http://127\.0\.0\.1:8080|8080.* another program uses that port")
    if not host.is_running():
        assert host.wait() == 1


def test_host_listens_on_several_addresses(serve):
    server = serve("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0")
    ports = lambda: set(re.findall(r"http://127\.0\.0\.1:(\d+)", server.log))
    wait_until("both addresses are printed", lambda: len(ports()) == 2)
    assert server.is_healthy()


def test_address_given_twice_is_used_once(serve):
    address = f"127.0.0.1:{free_port()}"
    server = serve("--listen", address, "--listen", address)
    assert server.is_healthy()
    assert server.log.count(address) == 1, server.log
