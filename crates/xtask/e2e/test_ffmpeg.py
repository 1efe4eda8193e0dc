"""ffmpeg, ffprobe and OpenCV."""

import cv2
import pytest
from camwire import run

every_target = pytest.mark.target("host", "imc", "imac")


def assert_reads(url, frames=50):
    done = run(
        *("ffmpeg", "-hide_banner", "-nostats", "-loglevel", "warning", "-i", url),
        *("-frames:v", frames, "-f", "null", "-"),
    )
    assert (done.returncode, done.stderr) == (0, b"")


def assert_probes(url, size):
    done = run(
        *("ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height"),
        *("-of", "csv=p=0", url),
    )
    assert (done.stdout.decode().strip(), done.stderr) == ("mjpeg,%d,%d" % size, b"")


@every_target
def test_ffmpeg_reads_every_stream_without_a_warning(serve):
    server = serve(fps=30)
    assert_reads(server.url("/stream"))
    for path in ("/mjpeg/1", "/stream?mode=all", "/stream?fps=10", "/stream?advance_headers=1"):
        assert_reads(server.url(path), frames=20)


@every_target
def test_ffprobe_finds_codec_and_size(server):
    assert_probes(server.url("/stream"), server.size)


@pytest.mark.parametrize("resolution, size", [("QVGA", (320, 240)), ("UXGA", (1600, 1200))])
def test_ffprobe_finds_the_resolution(serve, resolution, size):
    assert_probes(serve(resolution=resolution).url("/stream"), size)


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest", "keep-all"])
def test_ffmpeg_reads_under_every_policy(serve, policy):
    assert_reads(serve(policy=policy).url("/stream"), frames=20)


def test_opencv_reads_frames_that_change(server):
    """As in every tutorial about cameras."""
    capture = cv2.VideoCapture(server.url("/stream"))
    assert capture.isOpened()
    frames = set()
    for _ in range(30):
        ok, frame = capture.read()
        assert ok and frame.shape == (480, 640, 3)
        frames.add(frame.tobytes())
    capture.release()
    assert len(frames) > 20
