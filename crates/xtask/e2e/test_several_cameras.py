"""Several cameras in one camwire-host, of which some hang, flood or are absent."""

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest
from camwire import HOST, Parts, Server, Stream, run, wait_until

GOOD = [f"good{number}" for number in range(17)]


@pytest.fixture
def upstream(request):
    """Starts a TCP server for this function of a socket; returns its URL."""

    def start(handler):
        listener = socket.create_server(("127.0.0.1", 0))
        request.addfinalizer(listener.close)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    threading.Thread(target=guarded, args=(peer,), daemon=True).start()

        def guarded(peer):
            with contextlib.suppress(OSError), peer:
                peer.recv(4096)
                handler(peer)

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/stream"

    return start


def hang(peer):
    """It accepts, and says nothing."""
    peer.recv(1)


def flood(peer):
    """It sends parts that are no JPEG as fast as they are taken."""
    kind = b"multipart/x-mixed-replace;boundary=b"
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
    while True:
        peer.sendall(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + os.urandom(20_000) + b"\r\n")


def test_bad_cameras_disturb_no_other(start, upstream):
    sources = {name: "test" for name in GOOD}
    sources |= {"hangs": upstream(hang), "floods": upstream(flood)}
    sources |= {"absent": "http://127.0.0.1:1/stream"}
    options = [option for name in sources for option in ("--source", f"{name}={sources[name]}")]
    server = start(Server, *options)
    viewers = {name: Parts(Stream(server, f"/{name}/stream")) for name in sources}
    wait_until("60 frames of each good camera", lambda: all(len(viewers[n]) > 60 for n in GOOD))
    cameras = {camera["name"]: camera for camera in server.stats()["cameras"]}
    assert list(cameras) == list(sources)
    for name in GOOD:
        assert cameras[name]["source"]["state"] == "streaming"
        assert cameras[name]["viewers"][0]["missed"] == 0
    for name in ("hangs", "floods", "absent"):
        assert len(viewers[name]) == 0
        assert cameras[name]["source"]["fps"] == 0
    # 40 MB and 20 threads are the most that twenty cameras may take.
    status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    figures = dict(line.split(":") for line in status)
    assert int(figures["VmRSS"].split()[0]) < 40_000
    assert int(figures["Threads"]) <= 20
    metrics = server.get("/metrics").body.decode()
    assert 'camwire_viewers{camera="good0"} 1\n' in metrics
    assert 'camwire_frames_total{camera="absent"} 0\n' in metrics


def test_cameras_of_a_file(start, tmp_path):
    file = tmp_path / "cameras.toml"
    file.write_text(
        '[[camera]]\nname = "front"\nsource = "test"\nresolution = "QVGA"\n'
        '[[camera]]\nname = "back"\nsource = "ingest"\n'
    )
    server = start(Server, "--config", file, "--source", "side=test", "--ingest-token", "T")
    assert [camera["name"] for camera in server.stats()["cameras"]] == ["side", "front", "back"]
    assert server.get("/front/capture").status == 200
    assert server.stats()["cameras"][1]["source"]["width"] == 320
    assert server.get("/side/capture").status == 200
    assert server.stats()["cameras"][0]["source"]["width"] == 640
    assert server.stats()["cameras"][2]["source"]["state"] == "waiting"
    bearer = {"Authorization": "Bearer T"}
    assert server.get("/back/ingest", headers=bearer).status == 426
    assert server.get("/front/ingest", headers=bearer).status == 404
    assert server.get("/stream").status == 404
    assert b"<title>Cameras</title>" in server.get("/").body


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--source", "test", "--source", "a=test"], "several cameras need a name each"),
        (["--source", "a=test", "--source", "a=test"], "two cameras are named a"),
        (["--source", "a=test", "--source", "b=test", "--push", "ws://a/b"], "--push needs a single"),
        (["--config", "/nothing/there.toml"], "cannot read /nothing/there.toml"),
    ],
)
def test_cameras_that_do_not_go_together(arguments, error):
    done = run(HOST, "serve", "--listen", "127.0.0.1:0", *arguments)
    assert done.returncode != 0
    assert error in done.stderr.decode()
