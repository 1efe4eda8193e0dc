"""ffmpeg and ffprobe."""

from camwire import Case, run


class Reader(Case):
    def read(self, url, frames=50):
        done = run(
            *("ffmpeg", "-hide_banner", "-nostats", "-loglevel", "warning", "-i", url),
            *("-frames:v", frames, "-f", "null", "-"),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.decode(), "")

    def probe(self, url, size):
        done = run(
            *("ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height"),
            *("-of", "csv=p=0", url),
        )
        self.assertEqual(done.stdout.decode().strip(), "mjpeg,%d,%d" % size, done.stderr)
        self.assertEqual(done.stderr.decode(), "")


class Ffmpeg(Reader):
    def test_reads_without_a_warning(self):
        self.read(self.serve().url("/stream"))

    def test_every_way_of_asking(self):
        server = self.serve(fps=30)
        for path in ("/mjpeg/1", "/stream?mode=all", "/stream?fps=10", "/stream?advance_headers=1"):
            with self.subTest(path=path):
                self.read(server.url(path), frames=20)

    def test_probe_tells_codec_and_size(self):
        server = self.serve()
        self.probe(server.url("/stream"), server.size)


class Options(Reader):
    def test_every_size(self):
        for resolution, size in (("QVGA", (320, 240)), ("UXGA", (1600, 1200))):
            with self.subTest(resolution=resolution):
                self.probe(self.serve("--resolution", resolution).url("/stream"), size)

    def test_every_policy(self):
        for policy in ("drop-oldest", "drop-newest", "keep-all"):
            with self.subTest(policy=policy):
                self.read(self.serve("--policy", policy).url("/stream"), frames=20)
