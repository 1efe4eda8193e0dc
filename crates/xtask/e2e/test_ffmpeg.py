"""ffmpeg and ffprobe."""

from camwire import Case, run


class Ffmpeg(Case):
    def read(self, url, frames=50):
        done = run(
            *("ffmpeg", "-hide_banner", "-nostats", "-loglevel", "warning", "-i", url),
            *("-frames:v", frames, "-f", "null", "-"),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.decode(), "")

    def test_reads_without_a_warning(self):
        self.read(self.serve().url("/stream"))

    def test_every_way_of_asking(self):
        server = self.serve("--fps", 30)
        for path in ("/mjpeg/1", "/stream?mode=all", "/stream?fps=10", "/stream?advance_headers=1"):
            with self.subTest(path=path):
                self.read(server.url(path), frames=20)

    def test_probe_tells_codec_and_size(self):
        for resolution, size in (("QVGA", "320,240"), ("VGA", "640,480"), ("UXGA", "1600,1200")):
            with self.subTest(resolution=resolution):
                server = self.serve("--resolution", resolution)
                done = run(
                    *("ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height"),
                    *("-of", "csv=p=0", server.url("/stream")),
                )
                self.assertEqual(done.stdout.decode().strip(), f"mjpeg,{size}", done.stderr)
                self.assertEqual(done.stderr.decode(), "")

    def test_every_policy(self):
        for policy in ("drop-oldest", "drop-newest", "keep-all"):
            with self.subTest(policy=policy):
                self.read(self.serve("--policy", policy).url("/stream"), frames=20)
