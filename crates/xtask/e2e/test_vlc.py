"""VLC, without a screen: its "yuv" output writes what it would have shown into a file."""

import os
import subprocess

from camwire import OUT, Case, die_with_parent, eventually, run


class Vlc(Case):
    def test_shows_pictures_that_change(self):
        server = self.serve(fps=15)
        folder = self.folder()
        film, log = folder / "film.y4m", folder / "log"
        user = []
        if os.geteuid() == 0:
            # VLC refuses to run as root.
            user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            user += ["--pdeathsig=KILL", "--"]
            os.chown(folder, 65534, 65534)
        with log.open("wb") as said:
            vlc = subprocess.Popen(
                [
                    *user,
                    *("cvlc", "--no-audio", "--vout=yuv", "--yuv-yuv4mpeg2", "--yuv-chroma=I420"),
                    *(f"--yuv-file={film}", server.url("/stream")),
                ],
                env={**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                preexec_fn=die_with_parent,
            )
        pictures, size = 30, server.size[0] * server.size[1] * 3 // 2
        try:
            eventually(
                "VLC shows pictures",
                lambda: film.exists() and film.stat().st_size > pictures * size,
            )
        except AssertionError:
            print(log.read_text(errors="replace"))
            raise
        finally:
            vlc.kill()
            vlc.wait()
        done = run("ffmpeg", "-v", "error", "-i", film, "-frames:v", pictures, "-f", "framemd5", "-")
        lines = done.stdout.decode().splitlines()
        sums = {line.split(",")[-1] for line in lines if not line.startswith("#")}
        # It repeats pictures while it finds its pace.
        self.assertGreater(len(sums), 10, done.stderr)
        seen = OUT / f"vlc-{server.kind}.png"
        run("ffmpeg", "-v", "error", "-ss", 1, "-i", film, "-frames:v", 1, "-y", seen)
        self.assertTrue(seen.exists())
