"""Topics of several cameras at one broker, whose prefixes overlap."""

import itertools
import json
import re
import time
from functools import partial

import pytest
from broker import Client, EspCamera, Mosquitto
from camwire import HOST, make_frames, run, size_of, wait_until

ACTIONS = """
    camera/shot camera/stream/start camera/stream/stop motor/speed/a motor/speed/b
    motor/deadman/heartbeat
""".split()
COMMON = ["set/resolution", "set/quality", "set/fps", "set/led", *ACTIONS]
# CameraWebServer's names, of which quality is among the common ones.
SETTINGS = """
    framesize brightness contrast saturation sharpness special_effect wb_mode awb awb_gain aec aec2
    ae_level aec_value agc agc_gain gainceiling bpc wpc raw_gma lenc hmirror vflip dcw colorbar
    led_intensity
""".split()
CAMWIRE = [*COMMON, "camera/stream/set", *(f"set/{name}" for name in SETTINGS)]

# With the indexed layout come the commands of esp32_mqtt_livestream, which are fewer.
LAYOUTS = ("framed,whole", "framed,indexed,whole")
MESSAGES = {"framed": "frame", "indexed": "image_complete", "whole": "image"}


@pytest.fixture
def publisher(serve, broker):
    """Starts a host that publishes with this prefix, and logs what the MQTT client does, too."""

    def start(prefix, *args, layout=LAYOUTS[0], to=broker):
        args = ("--mqtt", to.url, "--mqtt-prefix", prefix, "--mqtt-layout", layout, *args)
        server = serve(*args, environment={"RUST_LOG": "debug"})
        server.wait_for_log("publishing at")
        return server

    return start


@pytest.fixture
def relay(serve, broker):
    source = lambda path: ("--source", f"{broker.url}/{path}")
    return lambda path: serve(*source(path), environment={"RUST_LOG": "debug"})


def wait_for_state(client, **values):
    """Waits until the published state has these values."""
    while not values.items() <= json.loads(client.next().payload).items():
        pass


def quality(server):
    return server.settings()["quality"]


def assert_nothing_rejected(listener, *servers):
    """Nothing was rejected, and nothing was logged about any message."""
    assert [m for m in list(listener.messages) if m.topic.endswith("/refused")] == []
    for server in servers:
        assert "refused" not in server.log
        assert "WARN" not in server.log


def wait_for_frames(listener, prefix, layouts, count=5):
    """So many messages of each layout."""
    for layout in layouts.split(","):
        arrived = partial(listener.payloads, f"{prefix}/{MESSAGES[layout]}")
        wait_until(f"{layout} frames of {prefix}", lambda: len(arrived()) >= count)


@pytest.mark.parametrize(
    "prefixes, layouts",
    [
        # The defaults of the host program and of the firmwares.
        ("camwire camwire/camera", LAYOUTS[0]),
        ("camwire camwire/camera", LAYOUTS[1]),
        ("camwire camwire/set camwire/motor/speed", LAYOUTS[0]),
        ("camwire/camera/stream camwire", LAYOUTS[0]),
        ("camwire camwire/camwire camwirecam", LAYOUTS[0]),
        ("camera camwire/camera", LAYOUTS[0]),
        ("set/fps fps camwire/set/fps", LAYOUTS[0]),
    ],
)
def test_cameras_with_overlapping_prefixes_apply_their_own_commands_only(
    publisher, client, broker, prefixes, layouts
):
    listener = client("#")
    prefixes = prefixes.split()
    servers = [publisher(prefix, layout=layouts) for prefix in prefixes]
    for prefix in prefixes:
        wait_for_frames(listener, prefix, layouts)
    assert_nothing_rejected(listener, *servers)
    for number, prefix in enumerate(prefixes):
        broker.publish(f"{prefix}/set/quality", str(20 + number))
    for number, server in enumerate(servers):
        wait_until("it is set", lambda: quality(server) == 20 + number)
    assert [quality(server) for server in servers] == [20 + n for n in range(len(servers))]
    assert_nothing_rejected(listener, *servers)


def test_cameras_with_the_same_prefix_apply_each_command(publisher, client, broker):
    """And neither takes the frames of the other for one."""
    listener = client("#")
    servers = [publisher("camwire"), publisher("camwire")]
    wait_for_frames(listener, "camwire", LAYOUTS[0], count=30)
    broker.publish("camwire/set/quality", "33")
    for server in servers:
        wait_until("it is set", lambda: quality(server) == 33)
    assert_nothing_rejected(listener, *servers)


def test_camera_receives_every_command_beside_another(publisher, client):
    refused, listener = client("camwire/refused"), client("#")
    first, second = publisher("camwire"), publisher("camwire/camera")
    for prefix in ("camwire", "camwire/camera"):
        wait_for_frames(listener, prefix, LAYOUTS[0])
    # All are subscribed to: each that needs a value or a motor is rejected.
    expected = {command for command in CAMWIRE if not command.startswith("camera/")}
    for command in expected:
        refused.publish(f"camwire/{command}", "nonsense")
    topics = [refused.next().payload.decode().split(": ")[0] for _ in expected]
    assert sorted(topics) == sorted(f"camwire/{command}" for command in expected)
    assert "refused:" not in second.log
    assert first.is_running()


@pytest.mark.parametrize(
    "args, prefix, commands",
    [
        ((), "garden/cam", CAMWIRE),
        (("--mqtt-control-prefix", "esp32auto/50"), "esp32auto/50", COMMON),
    ],
)
def test_camera_subscribes_to_exact_topics_of_commands(start, publisher, args, prefix, commands):
    broker = start(Mosquitto, "log_type all")
    publisher("garden/cam", *args, layout="framed", to=broker)
    # As the broker logs them: a tab, the filter, (QoS 0).
    filters = re.findall(r"(?m)\t(\S+) \(QoS 0\)$", broker.program.log)
    assert filters == [f"{prefix}/{command}" for command in commands]


def test_longest_prefix_works(publisher, client, broker):
    prefix = "x" * 128
    server = publisher(prefix)
    state = client(f"{prefix}/state")
    broker.publish(f"{prefix}/set/led_intensity", "nonsense")
    broker.publish(f"{prefix}/set/quality", "44")
    wait_for_state(state, quality=44)
    assert quality(server) == 44


OTHERS = "camera/frame set/nonsense camera/dance motor/speed/c set/fps/x frame".split()


def test_other_topics_are_ignored_and_not_logged(start, publisher):
    broker = start(Mosquitto, "max_queued_messages 0")
    server = publisher("camwire", "--mqtt-publish", "off", to=broker)
    refused = start(Client, broker, "camwire/refused")
    before = server.log
    for number, topic in itertools.product(range(80), OTHERS):
        refused.publish(f"camwire/{topic}", bytes(5000) if number % 2 else b"1")
    refused.publish("camwire/set/quality", "nonsense")
    # The first answer is to the only command.
    assert refused.next().payload.startswith(b"camwire/set/quality: ")
    lines = server.log.removeprefix(before).splitlines()
    assert [line for line in lines if "set/quality" not in line] == []


def test_retained_settings_are_applied_with_each_connection_and_actions_never(
    publisher, client, broker
):
    retained = {"set/quality": "33", "set/fps": "2", "set/hmirror": "1"}
    others = ["camera/frame", "set/nonsense", "camera/dance", "frame"]
    for topic, value in {**retained, **dict.fromkeys(ACTIONS + others, "0.5")}.items():
        broker.publish(f"camwire/{topic}", value, "-r")
    state, refused = client("camwire/state"), client("camwire/refused")
    server = publisher("camwire", "--mqtt-publish", "off")
    wait_for_state(state, quality=33, hmirror=1, fps=2, publishing=False)
    assert server.is_idle(), "no frame is requested"
    # Each action is rejected once; other topics are not mentioned.
    reason = "it was retained, and only settings may be"
    reasons = [refused.next().payload.decode() for _ in ACTIONS]
    assert sorted(reasons) == sorted(f"camwire/{name}: {reason}" for name in ACTIONS)
    time.sleep(1)
    assert refused.drain() == []
    # What was set meanwhile is replaced with the next connection.
    assert server.status_of("/control?var=quality&val=12") == 200
    wait_for_state(state, quality=12)
    second = publisher("camwire", "--mqtt-publish", "off")
    wait_until("it is set", lambda: quality(second) == 33)
    assert quality(server) == 12


def test_relay_sends_no_frames_and_takes_no_commands_of_others(publisher, relay, client, watch):
    # What the relay must not send is of another size.
    for prefix in ("camwire/image/part", "camwire/image", "camwire/frame", "camwire/camera", "cam"):
        publisher(prefix, "--resolution", "QQVGA", "--fps", "5", layout=LAYOUTS[1])
    control = client()
    for layout in ("framed", "indexed", "whole"):
        camera = publisher("camwire", layout=layout)
        server = relay("camwire")
        viewer = watch(server)
        for number in range(20):
            assert size_of(viewer.part().jpeg) == (640, 480)
            control.publish("camwire/set/brightness", str(number % 2))
        assert "refused" not in server.log
        assert server.source()["errors"] == 0
        server.close()
        camera.close()


def test_relay_commands_no_other_camera(start, relay, broker, watch):
    """Two cameras that differ in the first level of their prefix only."""
    frames = make_frames(4, "320x240")
    other, own = (start(EspCamera, broker, frames, name, name) for name in ("house/7", "garden/7"))
    viewer = watch(relay("garden/7"))
    viewer.parts(3)
    # As each does that has started.
    other.greet()
    own.is_streaming = False
    viewer.parts(30)
    assert own.is_streaming, "it was started again"
    assert other.commands == []


WRONG_PREFIXES = ("+", "#", "cam/+", "cam/#", "a+b", "$SYS/cam", "$share/group/cam", "$", "a/")


@pytest.mark.parametrize("prefix", WRONG_PREFIXES)
def test_wildcards_in_prefixes_are_rejected(prefix):
    encoded = prefix.replace("#", "%23").replace("+", "%2B")
    for args in (
        ("--mqtt-prefix", prefix),
        ("--mqtt-control-prefix", prefix),
        ("--mqtt-discovery", prefix),
        ("--source-control-prefix", prefix),
        ("--source", f"mqtt://broker/{encoded}"),
        ("--source", f"mqtt://broker/cam?control={encoded}"),
    ):
        done = run(HOST, "serve", "--listen", "127.0.0.1:0", *args, timeout=20)
        assert done.returncode == 2, done.stderr
        assert re.search("topic|prefix", done.stderr.decode())


@pytest.mark.parametrize("args", ["homeassistant", "ha --mqtt-discovery ha"])
def test_prefix_of_home_assistant_is_rejected(args):
    command = f"serve --listen 127.0.0.1:0 --mqtt mqtt://127.0.0.1 --mqtt-prefix {args}"
    done = run(HOST, *command.split(), timeout=20)
    assert done.returncode == 1, done.stderr
    assert b"--mqtt-discovery" in done.stderr
