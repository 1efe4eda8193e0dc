"""Topics of several devices at one broker, whose prefixes overlap."""

import itertools
import json
import os
import re
import struct
import time
from unittest.mock import patch

from broker import Camera, Client, Mosquitto, publish
from camwire import HOST, Case, eventually, make_pictures, run

COMMON = [
    "set/resolution",
    "set/quality",
    "set/fps",
    "set/led",
    "camera/shot",
    "camera/stream/start",
    "camera/stream/stop",
    "motor/speed/a",
    "motor/speed/b",
    "motor/deadman/heartbeat",
]
# CameraWebServer's names, of which quality is among the common ones.
SETTINGS = """
    framesize brightness contrast saturation sharpness special_effect wb_mode awb awb_gain aec aec2
    ae_level aec_value agc agc_gain gainceiling bpc wpc raw_gma lenc hmirror vflip dcw colorbar
    led_intensity
""".split()
CAMWIRE = [*COMMON, *(f"set/{name}" for name in SETTINGS)]

# With the indexed layout comes the dialect of the existing camera, which has fewer commands.
LAYOUTS = ("framed,whole", "framed,indexed,whole")


class Refusals(Client):
    """Keeps what any camera at the broker says about commands that it rejects."""

    def __init__(self, port):
        super().__init__(port, "#")

    def heard(self, message):
        if message.topic.endswith("/refused"):
            super().heard(message)


class Topics(Case):
    def broker(self, **options):
        broker = Mosquitto(**options)
        self.addCleanup(broker.close)
        return broker

    def client(self, kind, port, *args, **options):
        client = kind(port, *args, **options)
        self.addCleanup(client.close)
        return client

    def publisher(self, url, prefix, *args, layout=LAYOUTS[0]):
        with patch.dict(os.environ, RUST_LOG="debug"):
            server = self.serve(
                *("--mqtt", url, "--mqtt-prefix", prefix, "--mqtt-layout", layout), *args
            )
        eventually("it is at the broker", lambda: "publishing at" in server.log)
        return server

    def wait_for_state(self, client, topic, **values):
        """Waits until the state says so."""
        while True:
            state = json.loads(client.next(topic).payload)
            if all(state.get(name) == value for name, value in values.items()):
                return

    def assert_no_refusal(self, refusals, *servers):
        """Nothing was rejected, and nothing was logged about any message."""
        self.assertEqual([(m.topic, m.payload) for m in refusals.all()], [])
        for server in servers:
            self.assertNotIn("refused", server.log)
            self.assertNotIn("WARN", server.log)

    def wait_for_frames(self, port, prefix, layouts, count=5):
        """So many messages of each layout."""
        topics = {"framed": "frame", "indexed": "image_complete", "whole": "image"}
        for layout in layouts.split(","):
            client = self.client(Client, port, f"{prefix}/{topics[layout]}")
            for _ in range(count):
                client.next()
            client.close()


class Neighbours(Topics):
    def assert_side_by_side(self, broker, prefixes, layouts):
        """Cameras with these prefixes publish at once; none takes anything for a command."""
        with self.subTest(prefixes=prefixes, layouts=layouts):
            refusals = self.client(Refusals, broker.port)
            publisher = lambda prefix: self.publisher(broker.url, prefix, layout=layouts)
            servers = [publisher(prefix) for prefix in prefixes]
            for prefix in prefixes:
                self.wait_for_frames(broker.port, prefix, layouts)
            self.assert_no_refusal(refusals, *servers)
            # Each takes its own commands, and none takes those of another.
            quality = lambda server: server.get("/status").json()["quality"]
            for number, prefix in enumerate(prefixes):
                publish(broker.port, f"{prefix}/set/quality", str(20 + number))
            for number, server in enumerate(servers):
                eventually("it is set", lambda: quality(server) == 20 + number)
            self.assertEqual([quality(server) - 20 for server in servers], [*range(len(servers))])
            self.assert_no_refusal(refusals, *servers)
            for server in servers:
                server.close()
            refusals.close()

    def test_one_prefix_begins_with_the_other(self):
        broker = self.broker()
        # The defaults of the host program and of the firmwares.
        for layouts in LAYOUTS:
            self.assert_side_by_side(broker, ("camwire", "camwire/camera"), layouts)
        for prefixes in (
            ("camwire", "camwire/set", "camwire/motor/speed"),
            ("camwire/camera/stream", "camwire"),
            ("camwire", "camwire/camwire", "camwirecam"),
        ):
            self.assert_side_by_side(broker, prefixes, LAYOUTS[0])

    def test_one_prefix_ends_in_the_other(self):
        broker = self.broker()
        for prefixes in (("camera", "camwire/camera"), ("set/fps", "fps", "camwire/set/fps")):
            self.assert_side_by_side(broker, prefixes, LAYOUTS[0])

    def test_two_cameras_with_the_same_prefix(self):
        """Both take each command, and neither takes the frames of the other for one."""
        broker = self.broker()
        refusals = self.client(Refusals, broker.port)
        servers = [self.publisher(broker.url, "camwire") for _ in range(2)]
        self.wait_for_frames(broker.port, "camwire", LAYOUTS[0], count=30)
        publish(broker.port, "camwire/set/quality", "33")
        for server in servers:
            eventually("it is set", lambda: server.get("/status").json()["quality"] == 33)
        self.assert_no_refusal(refusals, *servers)

    def test_each_command_of_a_camera_is_heard_beside_another(self):
        broker = self.broker()
        port = broker.port
        first = self.publisher(broker.url, "camwire")
        second = self.publisher(broker.url, "camwire/camera")
        for prefix in ("camwire", "camwire/camera"):
            self.wait_for_frames(port, prefix, LAYOUTS[0])
        refused = self.client(Client, port, "camwire/refused")
        # All are subscribed to: each that needs a value or a motor is rejected.
        expected = {command for command in CAMWIRE if not command.startswith("camera/")}
        for command in expected:
            publish(port, f"camwire/{command}", "nonsense")
        topics = [refused.next().payload.decode().split(": ")[0] for _ in expected]
        self.assertEqual(sorted(topics), sorted(f"camwire/{command}" for command in expected))
        self.assertNotIn("refused:", second.log)
        self.assertTrue(first.alive())


class Subscriptions(Topics):
    def subscriptions(self, broker):
        """The filters, as the broker has logged them: a tab, the filter, (QoS 0)."""
        log = broker.log.read_text()
        return re.findall(r"\t(\S+) \(QoS 0\)$", log, re.MULTILINE)

    def test_only_exact_topics_of_commands(self):
        for args, prefix, expected in (
            ((), "garden/cam", CAMWIRE),
            (("--mqtt-control-prefix", "esp32auto/50"), "esp32auto/50", COMMON),
        ):
            with self.subTest(prefix=prefix):
                broker = self.broker(more=["log_type all"])
                self.publisher(broker.url, "garden/cam", *args, layout="framed")
                filters = self.subscriptions(broker)
                self.assertEqual(filters, [f"{prefix}/{command}" for command in expected])

    def test_longest_prefix(self):
        broker = self.broker(more=["log_type all"])
        prefix = "x" * 128
        server = self.publisher(broker.url, prefix)
        listener = self.client(Client, broker.port, f"{prefix}/state")
        publish(broker.port, f"{prefix}/set/led_intensity", "nonsense")
        publish(broker.port, f"{prefix}/set/quality", "44")
        self.wait_for_state(listener, f"{prefix}/state", quality=44)
        self.assertEqual(server.get("/status").json()["quality"], 44)

    def test_other_topics_are_ignored_without_a_word(self):
        broker = self.broker(more=["max_queued_messages 0"])
        server = self.publisher(broker.url, "camwire", "--mqtt-publish", "off")
        listener = self.client(Client, broker.port, "camwire/refused")
        before = server.log
        for number, topic in itertools.product(
            range(80),
            ("camera/frame", "set/nonsense", "camera/dance", "motor/speed/c", "set/fps/x", "frame"),
        ):
            listener.say(f"camwire/{topic}", bytes(5000) if number % 2 else b"1")
        listener.say("camwire/set/quality", "nonsense")
        # The first answer is to the only command.
        message = listener.next("camwire/refused")
        self.assertTrue(message.payload.startswith(b"camwire/set/quality: "), message.payload)
        lines = server.log.removeprefix(before).splitlines()
        # The client's own lines are about what is sent.
        lines = [line for line in lines if "set/quality" not in line and "Publish." not in line]
        self.assertEqual(lines, [])


class Retained(Topics):
    def test_settings_are_applied_with_each_connection_and_actions_never(self):
        broker = self.broker()
        settings = {"set/quality": "33", "set/fps": "2", "set/hmirror": "1"}
        actions = [command for command in COMMON if not command.startswith("set/")]
        others = ["camera/frame", "set/nonsense", "camera/dance", "frame"]
        for topic, value in settings.items():
            publish(broker.port, f"camwire/{topic}", value, "-r")
        for topic in [*actions, *others]:
            publish(broker.port, f"camwire/{topic}", "0.5", "-r")
        listener = self.client(Client, broker.port, "camwire/state")
        refusals = self.client(Refusals, broker.port)
        server = self.publisher(broker.url, "camwire", "--mqtt-publish", "off")
        state = {"quality": 33, "hmirror": 1, "fps": 2, "publishing": False}
        self.wait_for_state(listener, "camwire/state", **state)
        self.assertEqual(server.stats()["source"]["state"], "idle", "no frame was asked for")
        # Each action is rejected once; other topics are not mentioned.
        reason = "it was retained, and only settings may be"
        messages = [refusals.next().payload.decode() for _ in actions]
        self.assertEqual(sorted(messages), sorted(f"camwire/{name}: {reason}" for name in actions))
        time.sleep(1)
        self.assertEqual(refusals.all(), [])
        # What was set meanwhile is replaced with the next connection.
        self.assertEqual(server.get("/control?var=quality&val=12").status, 200)
        self.wait_for_state(listener, "camwire/state", quality=12)
        second = self.publisher(broker.url, "camwire", "--mqtt-publish", "off")
        eventually("it is set", lambda: second.get("/status").json()["quality"] == 33)
        self.assertEqual(server.get("/status").json()["quality"], 12)


def size(jpeg):
    """Width and height of a baseline JPEG, by its only SOF0 marker."""
    height, width = struct.unpack_from(">HH", jpeg, jpeg.index(b"\xff\xc0\x00\x11\x08") + 5)
    return width, height


class Sources(Topics):
    @classmethod
    def setUpClass(cls):
        cls.pictures = make_pictures(count=4, size="320x240")

    def relay(self, broker, path, *args):
        with patch.dict(os.environ, RUST_LOG="debug"):
            return self.serve("--source", f"{broker.url}/{path}", *args)

    def test_frames_and_commands_of_others_are_not_its_own(self):
        broker = self.broker()
        # What the relay must not show is of another size.
        others = ("camwire/image/part", "camwire/image", "camwire/frame", "camwire/camera", "cam")
        for prefix in others:
            args = ("--resolution", "QQVGA", "--fps", "5")
            self.publisher(broker.url, prefix, *args, layout=LAYOUTS[1])
        control = self.client(Client, broker.port)
        for layout in ("framed", "indexed", "whole"):
            with self.subTest(layout=layout):
                camera = self.publisher(broker.url, "camwire", layout=layout)
                relay = self.relay(broker, "camwire")
                viewer = self.watch(relay)
                for number in range(20):
                    self.assertEqual(size(viewer.part().jpeg), (640, 480))
                    control.say("camwire/set/brightness", str(number % 2))
                self.assertNotIn("refused", relay.log)
                self.assertEqual(relay.stats()["source"]["errors"], 0)
                relay.close()
                camera.close()

    def test_it_commands_no_other_camera(self):
        """Two cameras that differ in the first level of their prefix only."""
        broker = self.broker()
        other = self.client(Camera, broker.port, self.pictures, data="house/7", control="house/7")
        own = self.client(Camera, broker.port, self.pictures, data="garden/7", control="garden/7")
        relay = self.relay(broker, "garden/7")
        viewer = self.watch(relay)
        viewer.parts(3)
        # As each does that has started.
        other.greet()
        own.streaming = False
        viewer.parts(30)
        self.assertTrue(own.streaming, "it was started again")
        self.assertEqual(other.commands, [])


class Prefixes(Topics):
    def test_wildcards_are_rejected_at_start(self):
        for prefix in ("+", "#", "cam/+", "cam/#", "a+b", "$SYS/cam", "$share/group/cam", "$", "a/"):
            encoded = prefix.replace("#", "%23").replace("+", "%2B")
            for args in (
                ("--mqtt-prefix", prefix),
                ("--mqtt-control-prefix", prefix),
                ("--mqtt-discovery", prefix),
                ("--source-control-prefix", prefix),
                ("--source", f"mqtt://broker/{encoded}"),
                ("--source", f"mqtt://broker/cam?control={encoded}"),
            ):
                with self.subTest(args=args):
                    done = run(HOST, "serve", "--listen", "127.0.0.1:0", *args, patience=20)
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertRegex(done.stderr.decode(), "topic|prefix")

    def test_a_prefix_that_is_home_assistants(self):
        for args in (
            ("--mqtt-prefix", "homeassistant"),
            ("--mqtt-prefix", "ha", "--mqtt-discovery", "ha"),
        ):
            with self.subTest(args=args):
                done = run(
                    *(HOST, "serve", "--listen", "127.0.0.1:0", "--mqtt", "mqtt://127.0.0.1"),
                    *args,
                    patience=20,
                )
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(b"--mqtt-discovery", done.stderr)
