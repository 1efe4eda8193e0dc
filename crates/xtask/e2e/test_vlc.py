"""VLC, without a screen: its "yuv" output writes into a file what it would have shown."""

import os
import tempfile
from pathlib import Path

import pytest
from camwire import OUT, Program, run, wait_until


@pytest.mark.target("host", "imc")
def test_vlc_shows_frames_that_change(serve, start):
    server = serve(fps=15)
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "film.y4m")
        user = []
        if os.geteuid() == 0:
            # VLC refuses to run as root.
            user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            user += ["--pdeathsig=KILL", "--"]
            os.chown(folder, 65534, 65534)
        vlc = start(
            *(Program, *user, "vlc", "--intf=dummy", "--no-audio", "--vout=yuv"),
            *("--yuv-yuv4mpeg2", "--yuv-chroma=I420", f"--yuv-file={film}", server.url("/stream")),
            env={**os.environ, "HOME": folder, "XDG_RUNTIME_DIR": folder},
        )
        frames, size = 30, server.size[0] * server.size[1] * 3 // 2
        enough = lambda: film.exists() and film.stat().st_size > frames * size
        wait_until("VLC shows frames", enough)
        vlc.kill()
        done = run("ffmpeg", "-v", "error", "-i", film, "-frames:v", frames, "-f", "framemd5", "-")
        lines = done.stdout.decode().splitlines()
        sums = {line.split(",")[-1] for line in lines if not line.startswith("#")}
        # It repeats frames while it finds its pace.
        assert len(sums) > 10, done.stderr
        seen = OUT / f"vlc-{server.kind}.png"
        run("ffmpeg", "-v", "error", "-ss", 1, "-i", film, "-frames:v", 1, "-y", seen)
        assert seen.exists()
