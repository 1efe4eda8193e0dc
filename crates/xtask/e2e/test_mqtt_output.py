"""Publishing at an MQTT broker, and commands from there: of camwire-host, and of the firmware."""

import json
import re
import socket
import struct
import time

import pytest
from broker import Client, Mosquitto, Mqtt311Only, SlowLine, framed, indexed, padded
from camwire import HOST, decode, holds, make_frames, run, size_of, wait_until

every_target = pytest.mark.target("host", "imc", "imac")

# Numbers of CameraWebServer's interface.
QVGA, VGA = 6, 10

START = "cam/camera/stream/start"
STOP = "cam/camera/stream/stop"


def frames():
    first, *others = make_frames(40, "320x240", quality=2)
    return [padded(first, 16000), *others]


@pytest.fixture
def publish(serve, target, broker):
    """Starts a server that publishes at a broker, by default with the prefix `cam`. The options are
    those of camwire-host that begin with `--mqtt-`."""

    def publish(*args, frames=(), to=broker, is_accepted=True, **options):
        address = f"{target.this_machine}:{to.port}"
        options = {"prefix": "cam", **options}
        if target.kind == "qemu":
            # The firmware has words of its own for them.
            names = {"publish": "start", "control_prefix": "control"}
            if options.get("discovery") == "off":
                del options["discovery"]  # It announces nothing unless it is told to.
            words = {f"mqtt-{names.get(name, name)}": value for name, value in options.items()}
            if to.login:
                words["mqtt-login"] = ":".join(to.login)
            return serve(frames=frames, mqtt=address, **words)
        if to.login:
            options["user"], options["password"] = to.login
        options = {f"mqtt_{name}": value for name, value in options.items()}
        server = serve(*args, frames=frames, mqtt=f"mqtt://{address}", **options)
        if is_accepted:
            server.wait_for_log("publishing at")
        return server

    return publish


def wait_for_frames(count, arrived):
    """Waits for so many, and returns them all."""
    return wait_until(f"{count} frames", lambda: len(frames := arrived()) >= count and frames)


def more_frames(listener, count):
    """So many that come from now on in the framed layout."""
    before = len(listener.messages)
    return wait_for_frames(count, lambda: list(framed(listener.messages[before:], "cam").values()))


def wait_for_size(listener, size):
    wait_until("frames of that size", lambda: size_of(more_frames(listener, 1)[-1]) == size)


def wait_for_state(client, **values):
    """Waits until the published state has these values."""
    while not values.items() <= json.loads(client.next().payload).items():
        pass


# What camwire-host and the firmware have in common.


@every_target
def test_framed_frames_arrive_as_they_were_captured(client, publish):
    listener = client("#")
    publish(frames=frames(), layout="framed", packet=4096)
    jpegs = wait_for_frames(60, lambda: framed(listener.messages, "cam"))
    assert set(jpegs.values()) <= set(frames())
    numbers = list(jpegs)
    assert numbers == sorted(numbers)
    # What this link loses was not lost before; but a busy machine may capture more than it sends.
    assert numbers[-1] - numbers[0] < 2 * len(numbers)
    sizes = {len(payload) for payload in listener.payloads("cam/frame")}
    assert 4000 < max(sizes) <= 4096 - len("cam/frame")
    assert listener.payloads("cam/status") == [b"online"]


@every_target
def test_indexed_frames_arrive_as_esp32_mqtt_livestream_sends_them(client, broker, publish):
    listener = client("#")
    server = publish(
        **{"frames": frames(), "layout": "indexed", "publish": "off"},
        **{"prefix": "esp32cam/50", "control_prefix": "esp32auto/50"},
    )
    wait_until("it greets", lambda: listener.payloads("esp32cam"))
    (greeting,) = listener.payloads("esp32cam")
    assert re.fullmatch(rb"online on ip [0-9.]+ topic: esp32auto/50", greeting)
    # It does nothing before it is started.
    assert holds(lambda: not listener.payloads("esp32cam/50/image_complete"), seconds=1)
    assert server.is_idle()
    broker.publish("esp32auto/50/set/fps", "20")
    broker.publish("esp32auto/50/camera/stream/start")
    jpegs = wait_for_frames(45, lambda: indexed(listener.messages, "esp32cam/50"))
    assert set(jpegs) <= set(frames())
    # One that fills its parts has an empty one behind them.
    assert frames()[0] in jpegs
    # The firmware's parts are retained, as those of the original; for the host that is an option.
    late = client("esp32cam/50/image/part/0")
    assert late.next().retain == (server.kind == "qemu")


@every_target
def test_whole_frames_arrive_in_one_message(client, publish):
    listener = client("cam/image")
    publish(layout="whole", packet=100_000)
    jpegs = wait_for_frames(5, lambda: listener.payloads("cam/image"))
    assert len(set(decode(jpegs))) == len(jpegs)


REJECTED = [
    ("set/resolution", "nonsense"),
    ("set/quality", "64"),
    ("set/led", "50"),  # The test pattern has no lamp.
    ("motor/speed/a", "0.5"),
]
REJECTED_BY_HOST = [("set/resolution", "640"), ("set/fps", "0"), ("set/led", "101")]
REJECTED_BY_FIRMWARE = [("set/resolution", "UXGA"), ("motor/speed/a", "2"), ("set/vflip", "2")]


@every_target
def test_settings_are_applied_and_wrong_ones_rejected(client, broker, publish):
    listener, refused = client("#"), client("cam/refused")
    server = publish(layout="framed")
    wait_for_size(listener, server.size)
    decode(more_frames(listener, 3))
    broker.publish("cam/set/resolution", "160x120")
    wait_for_size(listener, (160, 120))
    # The page has the same settings, and what is set there applies here.
    assert server.settings()["framesize"] == 1
    assert server.status_of("/control?var=framesize&val=6") == 200
    wait_for_size(listener, (320, 240))

    before = server.settings()
    own = REJECTED_BY_HOST if server.kind == "test" else REJECTED_BY_FIRMWARE
    for topic, value in REJECTED + own:
        broker.publish(f"cam/{topic}", value)
        reason = refused.next().payload.decode()
        assert re.match(f"cam/{topic}: .{{6}}", reason)
    assert server.settings() == before
    assert size_of(more_frames(listener, 1)[0]) == (320, 240)


@every_target
def test_publishing_starts_and_stops_by_command(client, broker, publish):
    listener = client("#")
    server = publish(frames=frames(), layout="framed", publish="off")
    count = lambda: len(framed(listener.messages, "cam"))
    wait_until("it is connected", lambda: listener.payloads("cam/status"))
    assert holds(lambda: count() == 0 and server.is_idle(), seconds=1)
    for shot in range(1, 4):
        broker.publish("cam/camera/shot")
        wait_until("one came", lambda: count() == shot)
        wait_until("the camera rests", server.is_idle)
    assert holds(lambda: count() == 3, seconds=1), "one for each shot, and no more"
    broker.publish(START)
    more_frames(listener, 5)
    broker.publish(STOP)
    wait_until("the camera rests", server.is_idle)
    time.sleep(0.3)
    before = count()
    assert holds(lambda: count() == before)


@every_target
def test_camera_without_anything_to_publish_stays_connected(client, broker, publish):
    publish(publish="off")
    wait_until("it is connected", lambda: broker.connections() == 1)
    assert holds(lambda: broker.connections() == 1, seconds=10)


@every_target
def test_server_and_its_viewers_stay_while_the_broker_is_gone(client, broker, publish, watch):
    server = publish(frames=frames(), layout="framed")
    viewer = watch(server)
    more_frames(client("cam/frame"), 3)
    for away in (0, 4):
        broker.stop()
        viewer.parts(5)
        time.sleep(away)
        broker.start()
        listener = client("#")
        wait_until("it is connected", lambda: listener.payloads("cam/status"))
        assert set(more_frames(listener, 3)) <= set(frames())
    viewer.parts(5)
    # And commands arrive again.
    broker.publish(STOP)
    wait_until("it is stopped", lambda: holds(lambda: not listener.drain()))


@every_target
def test_status_is_online_until_the_last_will(client, publish):
    watcher = client("cam/status")
    server = publish(publish="off")
    assert watcher.next().payload == b"online"
    server.kill()
    assert watcher.next().payload == b"offline"
    late = client("cam/status").next()
    assert (late.retain, late.payload) == (True, b"offline")


@every_target
def test_broker_with_a_password(start, publish):
    broker = start(Mosquitto, login=("anna", "secret"))
    server = publish(to=broker, layout="framed")
    more_frames(start(Client, broker, "#"), 3)
    assert "secret" not in server.log


@pytest.mark.target("imc", "imac")
def test_firmware_reports_a_wrong_password(start, serve):
    broker = start(Mosquitto, login=("anna", "secret"))
    board = serve(mqtt=f"10.0.2.2:{broker.port}", **{"mqtt-login": "anna:wrong"})
    board.wait_for_log("mqtt: user or password is refused")


@pytest.mark.target("imc", "imac")
def test_firmware_respects_a_broker_that_takes_small_packets(start, publish):
    broker = start(Mosquitto, "max_packet_size 2000")
    listener = start(Client, broker, "#")
    publish(frames=frames(), to=broker)
    assert set(more_frames(listener, 10)) <= set(frames())
    assert max(len(message.payload) for message in listener.messages) < 2000


@pytest.mark.target("imc", "imac")
def test_motors_of_the_firmware_turn_after_a_heartbeat(client, broker, publish):
    listener = client("cam/status")
    board = publish(publish="off")
    wait_until("it is connected", lambda: listener.payloads("cam/status"))
    broker.publish("cam/motor/deadman/heartbeat")
    broker.publish("cam/motor/speed/a", "0.5")
    board.wait_for_log(r"motors: \[500, 0\]")


# What camwire-host has besides.


def test_only_the_state_is_retained(publish, client, broker):
    publish(layout="framed,indexed,whole")
    live = client("cam/image_complete", "cam/refused")
    broker.publish("cam/set/quality", "nonsense")
    live.next("cam/refused")
    for _ in range(3):
        live.next("cam/image_complete")
    # The frame that comes first has been published after all that is retained was sent.
    late = client("#")
    late.next("cam/image_complete")
    retained = {message.topic for message in list(late.messages) if message.retain}
    discovery = {topic for topic in retained if topic.startswith("homeassistant/")}
    assert retained - discovery == {"cam/status", "cam/source", "cam/state"}
    assert "homeassistant/camera/camwire_cam/config" in discovery
    assert all("/camwire_cam/" in topic for topic in discovery)


def test_frames_are_retained_on_request(publish, client):
    server = publish("--mqtt-retain", layout="indexed,whole")
    live = client("cam/image")
    live.next()
    live.next()
    server.interrupt()
    assert client("cam/#").next("cam/image/part/0").retain
    frame = client("cam/#").next("cam/image")
    assert frame.retain
    decode([frame.payload])


def test_frame_larger_than_most_messages_arrives_whole(publish, client):
    publish("--resolution", "UXGA", "--quality", 2)
    frame = client("cam/image").next().payload
    assert size_of(frame) == (1600, 1200)
    assert len(frame) > 100_000


def test_status_is_offline_after_an_orderly_end(publish, client):
    watcher = client("cam/status")
    server = publish()
    assert watcher.next().payload == b"online"
    assert server.interrupt() == 0
    assert watcher.next().payload == b"offline"
    assert "WARN" not in server.log


def test_publisher_backs_off_from_a_broker_that_rejects_its_packets(publish, start):
    broker = start(Mosquitto, "max_packet_size 8000")
    old = start(Mqtt311Only, broker.port)
    server = publish("--resolution", "UXGA", to=old, is_accepted=False)
    time.sleep(5)
    # Three quarters of a second have room for three attempts, and then there are 1 and 1.5 s in
    # between.
    assert len(old.accepted) in range(2, 9)
    warnings = [line for line in server.log.splitlines() if "WARN" in line]
    assert len(warnings) == 1 and "--mqtt-packet" in warnings[0], warnings
    # Whether it says so at all depends on what the broker does first: confirm, or reject.
    assert server.log.count("publishing at") <= 1


def test_publisher_respects_what_a_broker_says_of_packets(publish, start):
    broker = start(Mosquitto, "max_packet_size 8000")
    listener = start(Client, broker, "#")
    server = publish("--resolution", "UXGA", layout="framed,whole", to=broker)
    assert size_of(more_frames(listener, 5)[-1]) == (1600, 1200)
    assert max(len(message.payload) for message in listener.messages) < 8000
    assert not listener.payloads("cam/image"), "it does not fit"
    assert broker.connections() == 2
    warnings = [line for line in server.log.splitlines() if "WARN" in line]
    assert len(warnings) == 1 and "not published" in warnings[0], warnings


def test_broker_of_mqtt_3_1_1_works(publish, start):
    broker = start(Mosquitto)
    client = start(Client, broker, "#")
    publish(layout="framed,whole", discovery="off", to=start(Mqtt311Only, broker.port))
    more_frames(client, 5)
    client.publish("cam/set/quality", b"33")
    wait_until("it is set", lambda: b'"quality":33' in client.payloads("cam/state")[-1])
    client.publish(STOP)
    wait_until("it is stopped", lambda: b'"publishing":false' in client.payloads("cam/state")[-1])


ENTITIES = {"camera", "switch", "button", "select", "number", "sensor"}


def discovered(messages, id="camwire_garden__cam"):
    """What Home Assistant knows of a camera: components and their configurations."""
    configs = {}
    for message in list(messages):
        found = re.fullmatch(f"homeassistant/(.*)/{id}(/.*)?/config", message.topic)
        if found:
            configs[found[1] + (found[2] or "")] = message.payload
    return {name: json.loads(payload) for name, payload in configs.items() if payload}


def with_base(config, topic):
    return topic.replace("~", config["~"])


@pytest.mark.target("host", "imc")
def test_home_assistant_discovers_the_camera(publish, client, broker):
    hass = client("homeassistant/#")
    publish(
        **{"prefix": "garden/cam", "layout": "whole", "discovery": "homeassistant"},
        **{"packet": 100_000},
    )
    wait_until("it is announced", lambda: "select/resolution" in discovered(hass.messages))
    configs = discovered(hass.messages)
    assert {name.split("/")[0] for name in configs} == ENTITIES
    camera = configs["camera"]
    assert (camera["name"], with_base(camera, camera["topic"])) == (None, "garden/cam/image")
    identifiers = {config["unique_id"] for config in configs.values()}
    assert len(identifiers) == len(configs)
    for config in configs.values():
        # Nobody else can open a page on the loopback address.
        assert "configuration_url" not in config["device"]
        assert config["device"]["identifiers"] == ["camwire_garden__cam"]
        assert config["device"]["name"] == "garden/cam"
        assert config["origin"]["name"] == "camwire"
        assert config["availability_mode"] == "all"
        topics = [with_base(config, each["topic"]) for each in config["availability"]]
        assert topics == ["garden/cam/status", "garden/cam/source"]
    frames = client("garden/cam/#")
    wait_until("it is there", lambda: frames.payloads("garden/cam/source") == [b"online"])
    assert frames.payloads("garden/cam/status") == [b"online"]
    frames.next("garden/cam/image")
    # Two a second, as no more are shown.
    frames.drain()
    time.sleep(4)
    images = [message for message in frames.drain() if message.topic == "garden/cam/image"]
    assert 0 < len(images) <= 10
    stats = json.loads(frames.next("garden/cam/stats").payload)
    assert stats.keys() >= {"fps"}

    hass.drain()
    broker.publish("homeassistant/status", "offline")
    broker.publish("homeassistant/status", "online")
    hass.next("homeassistant/camera/camwire_garden__cam/config")
    assert client("homeassistant/camera/camwire_garden__cam/config").next().retain

    # As Home Assistant's entities do it.
    state = client("garden/cam/state")
    press = lambda name, value: broker.publish(
        with_base(configs[name], configs[name]["command_topic"]), value
    )
    press("switch/streaming", "off")
    wait_for_state(state, publishing=False)
    frames.drain()
    press("button/snapshot", "PRESS")
    frames.next("garden/cam/image")
    press("switch/streaming", "on")
    wait_for_state(state, publishing=True)
    press("select/resolution", "160x120")
    wait_for_state(state, resolution="160x120")
    press("number/quality", "40")
    wait_for_state(state, quality=40)


def test_discovery_is_removed_on_request(publish, client):
    hass = client("homeassistant/#")
    server = publish(prefix="garden/cam")
    wait_until("it is announced", lambda: len(discovered(hass.messages)) >= 7)
    server.close()
    late = client("homeassistant/#")
    wait_until("it is still announced", lambda: discovered(late.messages))
    server = publish(prefix="garden/cam", discovery="remove")
    wait_until("it is removed", lambda: not discovered(hass.messages))
    late = client("homeassistant/#", "garden/cam/image")
    late.next("garden/cam/image")  # It is published all the same.
    assert not late.payloads("homeassistant/camera/camwire_garden__cam/config")
    server.close()


def test_cameras_with_similar_prefixes_have_different_identifiers(publish, client):
    hass = client("homeassistant/+/+/config")
    for prefix in ("garden/cam", "garden_cam", "garden__cam"):
        publish(prefix=prefix)
    wait_until("all are announced", lambda: len({m.topic for m in hass.messages}) == 3)


def test_default_prefix_is_the_name_of_the_machine(serve, client, broker):
    listener = client("camwire/+/status")
    server = serve("--mqtt", broker.url)
    server.wait_for_log("publishing at")
    name = re.sub("[^A-Za-z0-9_-]", "", socket.gethostname().split(".")[0])
    assert listener.next().topic == f"camwire/{name}/status"


def test_dead_camera_behind_a_relay_is_offline(serve, publish, client, start):
    camera = serve("--fps", 10)
    listener = client("#")
    publish("--source", camera.url("/stream"), layout="framed")
    more_frames(listener, 3)
    wait_until("it is online", lambda: listener.payloads("cam/source") == [b"online"])
    camera.kill()
    wait_until(
        "it is offline", lambda: listener.payloads("cam/source")[-1] == b"offline", timeout=40
    )
    assert listener.payloads("cam/status") == [b"online"], "the relay itself is there"


GARBAGE = ["cam/set/quality", "homeassistant/status"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_retained_garbage_is_skipped_and_named(publish, start, version):
    broker = start(Mosquitto)
    to = broker if version == "5" else start(Mqtt311Only, broker.port)
    sender = start(Client, broker)
    for topic in GARBAGE:
        sender.publish(topic, bytes(1_500_000), retain=True)
    listener = start(Client, broker, "cam/#")
    server = publish(layout="framed,whole", to=to)
    more_frames(listener, 10)
    for topic in GARBAGE:
        server.wait_for_log(f"skipped a message of .* bytes on {topic}")
    wait_until("it is rejected", lambda: listener.payloads("cam/refused"))
    assert listener.payloads("cam/refused") == [b"cam/set/quality: the value is too long"]
    sender.publish("cam/set/brightness", b"1")
    wait_until("it is set", lambda: server.settings()["brightness"] == 1)
    assert server.log.count("WARN") == 2
    assert listener.payloads("cam/status") == [b"online"], "the connection lasts"


def test_slow_line_loses_no_connection(publish, start, broker):
    """15 KB/s in both directions, with frames of 100 KB, each of which takes 7 s."""
    line = start(SlowLine, broker.port, rate=15_000)
    listener = start(Client, broker, "cam/#")
    server = publish(
        "--resolution", "SVGA", "--quality", 4, layout="whole", discovery="off", to=line
    )
    wait_until("frames come", lambda: len(listener.payloads("cam/image")) >= 7, timeout=90)
    sizes = [len(payload) for payload in listener.payloads("cam/image")]
    assert min(sizes) > 60_000
    assert len(line.accepted) == 1
    assert "WARN" not in server.log


@pytest.mark.parametrize("option", [{"layout": "framed"}, {"discovery": "off"}], ids=str)
def test_home_assistant_discovers_nothing_without_whole_frames(publish, client, option):
    hass = client("homeassistant/#")
    publish(**option)
    assert holds(lambda: not hass.messages)


def test_slow_broker_gets_new_frames(publish, client, broker):
    server = publish("--resolution", "SVGA", layout="framed")
    client = client("cam/frame")
    client.next()
    before = server.memory()
    broker.freeze()
    frozen = time.time()
    time.sleep(4)
    thawed = time.time()
    broker.thaw()
    new, old = 0, set()
    while new < 5:
        sequence, captured = struct.unpack_from(">QQ", client.next().payload, 8)
        captured /= 1e6
        if frozen + 1 < captured < thawed:
            old.add(sequence)
        new += captured > thawed
    assert len(old) < 20, "of 45 frames, those that were queued for the broker"
    assert server.memory() - before < 16 << 20
    assert server.is_healthy()


def test_state_is_published_whenever_it_changes(publish, client, broker):
    server = publish(publish="off")
    state, refused = client("cam/state"), client("cam/refused")
    wait_for_state(state, quality=12, publishing=False, framesize=VGA, resolution="640x480")
    assert server.status_of("/control?var=quality&val=30") == 200
    wait_for_state(state, quality=30)
    broker.publish("cam/set/resolution", "320x240")
    wait_for_state(state, framesize=QVGA, resolution="320x240")
    broker.publish("cam/set/quality", "20")
    wait_for_state(state, quality=20)
    broker.publish("cam/set/hmirror", "1")
    wait_for_state(state, hmirror=1)
    settings = server.settings()
    assert (settings["quality"], settings["hmirror"]) == (20, 1)
    late = client("cam/state").next()
    assert late.retain and json.loads(late.payload)["quality"] == 20
    broker.publish("cam/set/quality", "64")
    refused.next()
    assert state.drain() == [], "nothing has changed"


def test_retained_settings_are_applied_but_not_a_retained_start(publish, client, broker):
    broker.publish(START, "", "-r")
    broker.publish(START, "x", "-r")
    broker.publish("cam/set/quality", "33", "-r")
    server = publish(publish="off")
    wait_for_state(client("cam/state"), quality=33, publishing=False)
    assert server.is_idle()


def test_rate_is_an_option_and_a_setting(publish, client, broker):
    publish(fps=10)
    state = client("cam/state")
    wait_for_state(state, fps=10)
    camera = client("cam/image")
    broker.publish("cam/set/fps", "2")
    wait_for_state(state, fps=2)
    camera.next()
    camera.drain()
    begun = time.monotonic()
    for _ in range(4):
        camera.next()
    # A busy machine is slower, never faster.
    assert time.monotonic() - begun > 1


def test_values_of_esp32_mqtt_livestream_are_applied(publish, client, broker):
    server = publish("--resolution", "QVGA", layout="indexed", control_prefix="esp32auto/50")
    state, refused = client("cam/state"), client("cam/refused")
    wait_for_state(state, framesize=QVGA)
    # The first of its resolutions that has so many pixels; and what is too much is the most.
    broker.publish("esp32auto/50/set/resolution", "400x296")
    wait_for_state(state, framesize=VGA)
    broker.publish("esp32auto/50/set/quality", "99")
    wait_for_state(state, quality=63)
    broker.publish("esp32auto/50/set/resolution", "many")
    assert "set/resolution" in refused.next().payload.decode()
    assert server.settings()["quality"] == 63


def test_newest_of_many_settings_is_applied_and_delays_nothing(publish, start):
    broker = start(Mosquitto, "max_queued_messages 0")
    publish("--fps", 2, to=broker)
    state = start(Client, broker, "cam/state")
    for number in range(900):
        state.publish("cam/set/quality", str(4 + number % 60))
        state.publish("cam/set/brightness", str(number % 5 - 2))
    state.publish("cam/set/quality", "34")
    state.publish(STOP)
    wait_for_state(state, publishing=False, quality=34)


def test_every_rejected_command_is_reported_or_counted(publish, start):
    broker = start(Mosquitto, "max_queued_messages 0")
    server = publish(publish="off", to=broker)
    refused = start(Client, broker, "cam/refused")
    refused.publish("cam/set/quality", "1" * 2000)
    assert refused.next().payload == b"cam/set/quality: the value is too long"
    mischief = start(Client, broker)
    for _ in range(5000):
        mischief.publish("cam/set/quality", "nonsense")
    reported = 0
    while reported < 5000:
        reason = refused.next().payload.decode()
        more = re.fullmatch(r"too many at once: (\d+) more", reason)
        reported += int(more[1]) if more else 1
    assert reported == 5000
    assert "too many wrong commands" in server.log
    broker.publish("cam/set/quality", "33")
    wait_until("it is applied", lambda: server.settings()["quality"] == 33)


def test_host_reports_a_wrong_password_and_serves(start, serve):
    broker = start(Mosquitto, login=("anna", "se cret@1"))
    server = serve("--mqtt", f"mqtt://anna:wrong@127.0.0.1:{broker.port}")
    server.wait_for_log("does not accept the user or the password")
    assert server.status_of("/capture") == 200
    right = serve("--mqtt", f"mqtt://anna:se%20cret%401@127.0.0.1:{broker.port}")
    right.wait_for_log("publishing at")
    assert "cret" not in right.log


WRONG = """
--mqtt nonsense
--mqtt mqtt://
--mqtt http://broker
--mqtt mqtt://broker/prefix
--mqtt-prefix a/#
--mqtt-prefix a/
--mqtt-layout other
--mqtt-publish maybe
--mqtt-packet 10
--mqtt-user anna
--source mqtt://broker
--source mqtt://broker/cam?layout=other
""".strip().splitlines()


@pytest.mark.parametrize("args", WRONG)
def test_wrong_mqtt_arguments_exit_with_2(args):
    assert run(HOST, "serve", *args.split(), timeout=20).returncode == 2


SMALL = "--mqtt mqtt://127.0.0.1 --mqtt-layout indexed --mqtt-packet 4000"
CIRCLES = [
    f"--mqtt mqtt://{broker} --mqtt-prefix camwire --source mqtt://{host}:1883/camwire"
    for host in ("127.0.0.1", "localhost", "[::1]")
    for broker in ("127.0.0.1", "localhost")
]
REASONS = {SMALL: "--mqtt-packet 4000 is too small", **dict.fromkeys(CIRCLES, "in a circle")}


@pytest.mark.parametrize("args, reason", REASONS.items())
def test_mqtt_arguments_that_contradict_each_other_exit_with_1(args, reason):
    done = run(HOST, "serve", "--listen", "127.0.0.1:0", *args.split(), timeout=20)
    assert (done.returncode, reason in done.stderr.decode()) == (1, True), done.stderr
