"""Cameras at an MQTT broker as sources."""

import json
import re
import time
import zlib

import pytest
from broker import EspCamera, Mosquitto, framed_part, padded
from camwire import HOST, Program, assert_numbers_add_up, decode, holds, make_frames, run
from camwire import wait_until


ESP = "esp32cam/50"
START = "camera/stream/start"
STOP = "camera/stream/stop"


def frames():
    jpegs = make_frames(20, "320x240")
    # Two of them end with an empty part.
    return [padded(jpegs[0], 24_000), padded(jpegs[1], 16_000), *jpegs[2:]]


@pytest.fixture
def relay(serve, broker):
    """Starts a host whose source is at the broker."""
    return lambda path, *args: serve("--source", f"{broker.url}/{path}", *args)


@pytest.fixture
def esp_camera(start, broker):
    return lambda *args, **options: start(EspCamera, broker, frames(), *args, **options)


def publish(serve, url, *args):
    """Starts a host that publishes with the prefix `camwire`."""
    return serve("--mqtt", url, "--mqtt-prefix", "camwire", *args)


def view(url, *args):
    done = run(HOST, "view", "--headless", "--timeout", 20, *args, url)
    assert done.returncode == 0, done.stderr


def test_relay_starts_and_stops_a_camera_of_esp32_mqtt_livestream(
    relay, esp_camera, watch, broker
):
    camera, relay = esp_camera(), relay(ESP)
    assert holds(lambda: not camera.is_streaming), "there is no viewer"
    viewer = watch(relay)
    parts = viewer.parts(40)
    jpegs = {part.jpeg for part in parts}
    assert jpegs <= set(camera.frames), "whole and unchanged"
    assert len(jpegs) > 10
    assert any(len(jpeg) % 8000 == 0 for jpeg in jpegs)
    assert_numbers_add_up(parts)
    assert camera.is_streaming
    assert relay.is_healthy()
    assert relay.source()["kind"] == "mqtt"
    viewer.close()
    wait_until("it is stopped", lambda: not camera.is_streaming)

    # Nothing old comes for the next viewer.
    assert relay.get("/capture").body in camera.frames
    wait_until("it is stopped again", lambda: not camera.is_streaming)

    # A relay that dies leaves it on: the broker cannot know which others are viewing.
    watch(relay).part()
    relay.kill()
    assert holds(lambda: camera.is_streaming, seconds=1)
    # And for the next client, it is on by another's command.
    count = len(camera.commands)
    view(f"{broker.url}/{ESP}", "--frames", 5)
    assert holds(lambda: camera.commands[count:] == [])


@pytest.mark.parametrize("rate", [15, 0.4])
def test_relay_does_not_stop_a_camera_that_was_on(serve, relay, client, watch, broker, rate):
    """Neither its frames nor its state, if those are rare, are taken for silence."""
    commands = client("camwire/camera/#")
    publish(serve, broker.url, "--mqtt-layout", "framed,whole", "--mqtt-fps", rate)
    camera = client("camwire/image")
    camera.next()
    view(f"{broker.url}/camwire", "--frames", 2)
    relay = relay("camwire")
    viewer = watch(relay)
    viewer.parts(3)
    viewer.close()
    wait_until("the relay rests", relay.is_idle)
    time.sleep(0.5)
    sent = {message.topic.rsplit("/", 1)[1] for message in commands.drain()}
    # Being started once more does it no harm.
    assert sent <= (set() if rate > 1 else {"start"})
    assert json.loads(client("camwire/state").next().payload)["publishing"]
    camera.drain()
    camera.next()
    camera.next()


def test_relay_stops_a_camera_that_it_has_restarted(relay, esp_camera, watch):
    """One that is on by another's command, until it falls silent."""
    camera = esp_camera()
    camera.is_streaming = True
    viewer = watch(relay(ESP))
    viewer.parts(20)
    assert camera.commands == []
    camera.is_streaming = False
    wait_until("it is started", lambda: camera.is_streaming)
    viewer.parts(5)
    viewer.close()
    wait_until("it is stopped", lambda: not camera.is_streaming)
    assert camera.commands == [START, STOP]


def test_interleaved_frames_arrive_whole_and_in_order(start, client, broker, tmp_path):
    jpegs = frames()
    control = client(f"cam/{START}")
    lost = {4, 11}
    whole = [jpeg for number, jpeg in enumerate(jpegs) if number not in lost]
    view = start(
        *(Program, HOST, "view", "--headless", "--save", tmp_path, "--timeout", 20),
        *("--frames", len(whole), f"{broker.url}/cam?layout=framed"),
    )
    control.next()  # So it has subscribed.

    def parts(number):
        frame = jpegs[number]
        size = len(frame) // 4 + 1
        checksum = zlib.crc32(frame)
        for index in range(4):
            body = frame[index * size : (index + 1) * size]
            place = (index, 4, index * size, len(frame))
            yield framed_part(body, *place, sequence=1 + number, checksum=checksum)

    for first in range(0, len(jpegs), 2):
        older, newer = list(parts(first)), list(parts(first + 1))
        mixed = [older[0], newer[0], older[1], *newer[1:], *older[2:]]
        for number, part in ((first, older[1]), (first + 1, newer[1])):
            if number in lost:
                mixed.remove(part)
        for part in mixed:
            control.publish("cam/frame", part)
        time.sleep(0.2)
    assert view.wait() == 0
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.jpg"))] == whole


def test_relay_starts_a_camera_again_that_was_reset_or_stopped(relay, esp_camera, watch, broker):
    camera, relay = esp_camera(control="robot/50"), relay(ESP)
    viewer = watch(relay)
    assert holds(lambda: camera.commands == [], seconds=1), "the prefix of commands is unknown"
    camera.greet()
    viewer.parts(5)
    # As after a reset: off, and a greeting.
    camera.is_streaming = False
    camera.greet()
    viewer.parts(20)
    assert camera.is_streaming
    # Another client stops it.
    broker.publish(f"robot/50/{STOP}")
    wait_until("it was stopped", lambda: STOP in camera.commands)
    wait_until("it is started again", lambda: camera.is_streaming)
    viewer.parts(20)


def test_relay_without_control_sends_no_commands(relay, esp_camera, watch):
    camera, relay = esp_camera(), relay(ESP, "--no-control")
    viewer = watch(relay)
    assert holds(lambda: camera.commands == [], seconds=3)
    camera.is_streaming = True
    viewer.parts(5)
    viewer.close()
    relay.close()
    assert camera.commands == []


@pytest.mark.parametrize(
    "path, args",
    [
        ("data/7", ["--source-control-prefix", "robot/7"]),
        ("data/7?control=robot/7&layout=indexed", []),
    ],
)
def test_relay_sends_commands_with_another_prefix(relay, esp_camera, watch, path, args):
    camera, relay = esp_camera("data/7", "robot/7"), relay(path, *args)
    watch(relay).parts(5)
    relay.close()
    wait_until("it is stopped", lambda: not camera.is_streaming)


def test_viewers_of_a_relay_stay_while_the_broker_is_gone(serve, relay, watch, broker):
    sender = publish(serve, broker.url, "--mqtt-layout", "framed", "--fps", 30)
    relay = relay("camwire")
    viewers = [watch(relay), watch(relay), watch(sender)]
    for viewer in viewers:
        viewer.parts(10)
    broker.stop()
    time.sleep(0.3)
    last = relay.source()["captured"]
    broker.start()
    wait_until("frames come again", lambda: relay.source()["captured"] > last)
    for viewer in viewers:
        # The same connections.
        decode([part.jpeg for part in viewer.parts(10)])
    assert "the connection to the broker" in relay.log
    assert relay.is_healthy()


def test_relay_waits_for_a_broker_that_comes_later(serve, start, demand):
    broker = start(Mosquitto)
    broker.stop()
    relay = serve("--source", f"{broker.url}/camwire")
    viewer = demand(relay)
    relay.wait_for_log("cannot connect to the broker.*refused")
    broker.start()
    publish(serve, broker.url)
    received = b""
    while b"\xff\xd9" not in received:
        received += viewer.recv(65536)


HOSTILE = [
    dict(total=0xFFFFFFFF),
    dict(total=0xFFFFFFFF, count=1024),
    dict(count=65_535),
    dict(index=7, count=3),
    dict(body=b""),
]


def test_hostile_publishers_cost_bounded_memory(relay, demand, client, broker):
    frame = frames()[2]
    relay = relay("cam", "--no-control")
    viewer = demand(relay)
    mischief = client()
    wait_until("it has subscribed", lambda: relay.source()["state"] == "starting")
    time.sleep(1)
    before = relay.memory()
    for number in range(200):
        parts = [framed_part(**{"body": bytes(100), **part}, sequence=number) for part in HOSTILE]
        for message in (*parts, b"CW\x02\x00" + bytes(60), b"", bytes(5000)):
            mischief.publish("cam/frame", message)
        mischief.publish(f"cam/image/part/{number * 300}", bytes(8000))
        mischief.publish("cam/image/part/0", bytes(8001))
        mischief.publish("cam/image/part/x", bytes(10))
        mischief.publish("cam/image_complete", str(number * 1000))
        mischief.publish("cam/image_complete", b"\xff" * 100)
        mischief.publish("cam/image", bytes(100_000))
        mischief.publish("esp32cam", b"online on ip 1.2.3.4 topic: \xff/#")
        mischief.publish("cam/status", b"online" * 1000)

    def rejected():
        return max(map(int, re.findall(r"(\d+) messages refused", relay.log)), default=0)

    wait_until("each is counted", lambda: rejected() >= 200 * 8)
    assert relay.memory() - before < 12 << 20
    assert relay.is_running()
    # A message that is too large for all of them is skipped, whether it is retained or not.
    for retain in (False, True):
        mischief.publish("cam/image", bytes(6 << 20), retain=retain)
        relay.wait_for_log("skipped a message of 6291456 bytes on cam/image")

    # And frames come through.
    viewer.settimeout(0.3)

    def frame_arrives():
        mischief.publish("cam/image", frame)
        try:
            return b"\xff\xd8" in viewer.recv(65536)
        except TimeoutError:
            return False

    wait_until("a frame arrives", frame_arrives)
    assert relay.memory() - before < 24 << 20
    assert broker.connections() == 2


def test_relay_reports_a_wrong_password(serve, start, watch, demand):
    broker = start(Mosquitto, login=("anna", "secret"))
    publish(serve, f"mqtt://anna:secret@127.0.0.1:{broker.port}").wait_for_log("publishing at")
    relay = serve("--source", f"mqtt://anna:wrong@127.0.0.1:{broker.port}/camwire")
    demand(relay)
    rejection = "does not accept the user or the password"
    relay.wait_for_log(rejection)
    assert rejection in relay.source()["error"]
    right = serve("--source", f"mqtt://anna:secret@127.0.0.1:{broker.port}/camwire")
    watch(right).parts(3)
