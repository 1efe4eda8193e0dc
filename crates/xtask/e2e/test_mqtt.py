"""MQTT: publishing, control, and cameras at a broker as sources."""

import json
import re
import struct
import subprocess
import sys
import time
import unittest
import zlib

from broker import Camera, Client, Mosquitto, Viewer, padded, publish
from camwire import HOST, PATIENCE, Case, decode, die_with_parent, eventually, make_pictures, run, size_of

# Numbers of CameraWebServer's interface.
QVGA, VGA = 6, 10


def header(picture, index=0, count=1, offset=0, total=None, stream=77, sequence=1, checksum=0):
    """A part in the framed layout, as its description says."""
    total = len(picture) if total is None else total
    numbers = struct.pack(">IQQIIHHI", stream, sequence, 0, total, offset, index, count, checksum)
    return b"CW\x01\x00" + numbers + picture


class Recorder(Client):
    """Keeps a list of the topics that it heard."""

    def __init__(self, *args, **options):
        self.heard_topics = []
        super().__init__(*args, **options)

    def heard(self, message):
        self.heard_topics.append((message.topic, message.retain))
        super().heard(message)


class Mqtt(Case):
    def broker(self, **options):
        broker = Mosquitto(**options)
        self.addCleanup(broker.close)
        return broker

    def client(self, kind, broker, *args, **options):
        client = kind(getattr(broker, "port", broker), *args, **options)
        self.addCleanup(client.close)
        return client

    def publisher(self, broker, *args, **options):
        server = self.serve("--mqtt", broker.url, *args, **options)
        eventually("it is at the broker", lambda: "publishing at" in server.log)
        return server

    def watch_later(self, server):
        """A viewer of a stream that has not begun."""
        viewer = server.request(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.addCleanup(viewer.close)
        return viewer

    def wait_for_state(self, client, topic, **values):
        """Waits until the state says so, and returns it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            state = json.loads(client.next(topic).payload)
            if all(state.get(name) == value for name, value in values.items()):
                return state
        raise AssertionError(f"the state never was {values}")


class Publishing(Mqtt):
    def test_the_existing_viewer(self):
        broker = self.broker()
        greetings = self.client(Client, broker, "esp32cam")
        viewer = self.client(Viewer, broker, "esp32cam/50")
        self.publisher(broker, "--mqtt-layout", "indexed", "--mqtt-prefix", "esp32cam/50")
        eventually("twenty pictures", lambda: len(viewer.pictures) > 20)
        # The first may have begun before the viewer came.
        pictures = viewer.pictures[1:20]
        self.assertEqual(len(set(decode(pictures))), len(pictures))
        self.assertEqual(size_of(pictures[0]), (640, 480))
        greeting = greetings.next("esp32cam").payload.decode()
        self.assertRegex(greeting, r"^online on ip [0-9.]+ topic: esp32cam/50$")
        messages = viewer.all()
        self.assertFalse(any(message.retain for message in messages))
        sizes = {len(m.payload) for m in messages if m.topic.endswith("/part/0")}
        self.assertEqual(sizes, {8000})

    def test_nothing_but_the_state_is_retained(self):
        broker = self.broker()
        self.publisher(broker, "--mqtt-layout", "framed,indexed,whole")
        live = self.client(Client, broker, "camwire/image_complete", "camwire/refused")
        publish(broker.port, "camwire/set/quality", "nonsense")
        live.next("camwire/refused")
        for _ in range(3):
            live.next("camwire/image_complete")
        # The picture that comes first has been published after all that is retained was sent.
        late = self.client(Recorder, broker, "#")
        late.next("camwire/image_complete")
        self.assertEqual(
            {topic for topic, retained in late.heard_topics if retained},
            {"camwire/status", "camwire/state", "homeassistant/camera/camwire/config"},
        )

    def test_retained_pictures_on_request(self):
        broker = self.broker()
        server = self.publisher(broker, "--mqtt-layout", "indexed,whole", "--mqtt-retain")
        live = self.client(Client, broker, "camwire/image")
        live.next()
        live.next()
        server.interrupt()
        late = self.client(Client, broker, "camwire/#")
        self.assertTrue(late.next("camwire/image/part/0").retain)
        late = self.client(Client, broker, "camwire/#")
        picture = late.next("camwire/image")
        self.assertTrue(picture.retain)
        decode([picture.payload])

    def test_status_and_last_will(self):
        broker = self.broker()
        watcher = self.client(Client, broker, "camwire/status")
        server = self.publisher(broker)
        self.assertEqual(watcher.next().payload, b"online")
        self.assertEqual(server.interrupt(), 0)
        self.assertEqual(watcher.next().payload, b"offline")
        self.assertNotIn("WARN", server.log)

        server = self.publisher(broker)
        self.assertEqual(watcher.next().payload, b"online")
        server.process.kill()
        self.assertEqual(watcher.next().payload, b"offline", "the last will")
        late = self.client(Client, broker, "camwire/status")
        message = late.next()
        self.assertEqual((message.payload, message.retain), (b"offline", True))

    def test_a_broker_that_does_not_take_its_packets(self):
        broker = self.broker(more=["max_packet_size 8000"])
        server = self.publisher(broker, "--resolution", "UXGA")
        time.sleep(5)
        connects = broker.log.read_text().count("New client connected")
        # Half a second has room for two of them, and then there are 0.8, 1.6 and 2 s in between.
        self.assertIn(connects, range(2, 9))
        warnings = [line for line in server.log.splitlines() if "WARN" in line]
        self.assertEqual(len(warnings), 1, warnings)
        self.assertIn("--mqtt-packet", warnings[0])
        self.assertEqual(server.log.count("publishing at"), 1)

    def test_home_assistant(self):
        broker = self.broker()
        topic = "homeassistant/camera/camwire_garden_cam/config"
        hass = self.client(Client, broker, "homeassistant/#")
        self.publisher(broker, "--mqtt-prefix", "garden/cam")
        told = json.loads(hass.next(topic).payload)
        self.assertEqual(told["topic"], "garden/cam/image")
        self.assertEqual(told["availability_topic"], "garden/cam/status")
        self.assertEqual(told["unique_id"], "camwire_garden_cam")
        self.assertEqual(told["device"]["identifiers"], ["camwire_garden_cam"])
        self.assertTrue(told["name"])
        pictures = self.client(Client, broker, told["topic"], told["availability_topic"])
        self.assertEqual(pictures.next("garden/cam/status").payload, b"online")
        self.assertEqual(size_of(pictures.next("garden/cam/image").payload), (640, 480))
        hass.all()
        publish(broker.port, "homeassistant/status", "offline")
        publish(broker.port, "homeassistant/status", "online")
        self.assertEqual(json.loads(hass.next(topic).payload), told, "told once more")
        late = self.client(Client, broker, topic)
        self.assertTrue(late.next(topic).retain)

    def test_home_assistant_is_told_nothing_without_whole_pictures(self):
        broker = self.broker()
        hass = self.client(Client, broker, "homeassistant/#")
        for args in (["--mqtt-layout", "framed"], ["--mqtt-discovery", "off"]):
            server = self.publisher(broker, *args)
            time.sleep(0.5)
            server.close()
        self.assertEqual(hass.all(), [])

    def test_a_frame_larger_than_most_brokers_allow_by_default(self):
        broker = self.broker()
        self.publisher(broker, "--resolution", "UXGA", "--quality", "2")
        subscribe = ("mosquitto_sub", "-p", broker.port, "-t", "camwire/image", "-C", "1", "-N")
        done = run(*subscribe, "-W", "30")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(size_of(done.stdout), (1600, 1200))
        self.assertGreater(len(done.stdout), 100_000)

    def test_a_slow_broker_gets_new_pictures(self):
        broker = self.broker()
        server = self.publisher(broker, "--mqtt-layout", "framed", "--resolution", "SVGA")
        client = self.client(Client, broker, "camwire/frame")
        client.next()
        before = server.memory()
        broker.halt()
        halted = time.time()
        time.sleep(4)
        went_on = time.time()
        broker.go_on()

        heard = 0
        old = set()
        while heard < 5:
            payload = client.next().payload
            sequence, taken = struct.unpack_from(">QQ", payload, 8)
            taken /= 1e6
            if halted + 1 < taken < went_on:
                old.add(sequence)
            heard += taken > went_on
        print(f"{len(old)} of 45 pictures were queued", file=sys.stderr)
        self.assertLess(len(old), 20, "pictures that were queued for the broker")
        self.assertLess(server.memory() - before, 16 << 20)
        self.assertEqual(server.get("/healthz").status, 200)


class Control(Mqtt):
    def test_resolution_and_refusal(self):
        broker = self.broker()
        server = self.publisher(broker)
        state = self.client(Client, broker, "camwire/state")
        refused = self.client(Client, broker, "camwire/refused")
        pictures = self.client(Client, broker, "camwire/image")
        self.assertEqual(size_of(pictures.next().payload), (640, 480))
        self.wait_for_state(state, "camwire/state", framesize=VGA, resolution="640x480")

        publish(broker.port, "camwire/set/resolution", "320x240")
        self.wait_for_state(state, "camwire/state", framesize=QVGA, resolution="320x240")
        pictures.all()
        pictures.next()
        self.assertEqual(size_of(pictures.next().payload), (320, 240))
        self.assertEqual(server.get("/status").json()["framesize"], QVGA)

        before = server.get("/status").json()
        for topic, payload in (
            ("set/resolution", "640"),
            ("set/resolution", "nonsense"),
            ("set/quality", "64"),
            ("set/fps", "0"),
            ("set/led", "101"),
            ("set/led", "50"),  # The test pattern has no lamp.
            ("motor/speed/a", "0.5"),
            ("motor/deadman/heartbeat", ""),
        ):
            publish(broker.port, f"camwire/{topic}", payload)
            said = refused.next().payload.decode()
            self.assertTrue(said.startswith(f"camwire/{topic}: "), said)
            self.assertGreater(len(said), len(f"camwire/{topic}: ") + 5, said)
        self.assertEqual(server.get("/status").json(), before)
        self.assertEqual(size_of(pictures.next().payload), (320, 240))
        self.assertEqual(state.all(), [], "nothing has changed")

    def test_the_page_and_mqtt_agree(self):
        broker = self.broker()
        server = self.publisher(broker, "--mqtt-publish", "off")
        state = self.client(Client, broker, "camwire/state")
        self.wait_for_state(state, "camwire/state", quality=12, publishing=False)
        self.assertEqual(server.get("/control?var=quality&val=30").status, 200)
        self.wait_for_state(state, "camwire/state", quality=30)
        publish(broker.port, "camwire/set/quality", "20")
        self.wait_for_state(state, "camwire/state", quality=20)
        publish(broker.port, "camwire/set/hmirror", "1")
        self.wait_for_state(state, "camwire/state", hmirror=1)
        status = server.get("/status").json()
        self.assertEqual((status["quality"], status["hmirror"]), (20, 1))
        late = self.client(Client, broker, "camwire/state")
        message = late.next()
        self.assertTrue(message.retain)
        self.assertEqual(json.loads(message.payload)["quality"], 20)

    def test_start_stop_and_shot(self):
        broker = self.broker()
        server = self.publisher(broker, "--mqtt-publish", "off")
        pictures = self.client(Client, broker, "camwire/image")
        time.sleep(1)
        self.assertEqual(pictures.all(), [])
        self.assertEqual(server.stats()["source"]["state"], "idle", "nobody wants pictures")

        for _ in range(2):
            publish(broker.port, "camwire/camera/shot")
            self.assertEqual(size_of(pictures.next().payload), (640, 480))
            time.sleep(0.7)
            self.assertEqual(pictures.all(), [], "one, and no more")
            eventually("rest", lambda: server.stats()["source"]["state"] == "idle")

        publish(broker.port, "camwire/camera/stream/start")
        for _ in range(5):
            pictures.next()
        publish(broker.port, "camwire/camera/stream/stop")
        eventually("rest", lambda: server.stats()["source"]["state"] == "idle")
        time.sleep(0.3)
        pictures.all()
        time.sleep(0.7)
        self.assertEqual(pictures.all(), [])

    def test_commands_of_yesterday(self):
        """Retained settings are obeyed; a retained start is not."""
        broker = self.broker()
        publish(broker.port, "camwire/camera/stream/start", "", "-r")
        publish(broker.port, "camwire/camera/stream/start", "x", "-r")
        publish(broker.port, "camwire/set/quality", "33", "-r")
        server = self.publisher(broker, "--mqtt-publish", "off")
        state = self.client(Client, broker, "camwire/state")
        self.wait_for_state(state, "camwire/state", quality=33, publishing=False)
        self.assertEqual(server.stats()["source"]["state"], "idle")

    def test_rate(self):
        broker = self.broker()
        self.publisher(broker, "--mqtt-fps", "10")
        state = self.client(Client, broker, "camwire/state")
        self.wait_for_state(state, "camwire/state", fps=10)
        pictures = self.client(Client, broker, "camwire/image")
        publish(broker.port, "camwire/set/fps", "2")
        self.wait_for_state(state, "camwire/state", fps=2)
        pictures.next()
        pictures.all()
        begun = time.monotonic()
        for _ in range(4):
            pictures.next()
        # A busy machine is slower, never faster.
        self.assertGreater(time.monotonic() - begun, 1)

    def test_the_dialect_of_the_existing_camera(self):
        broker = self.broker()
        server = self.publisher(
            broker,
            *("--mqtt-layout", "indexed", "--mqtt-prefix", "esp32cam/50"),
            *("--mqtt-control-prefix", "esp32auto/50", "--resolution", "QVGA"),
        )
        state = self.client(Client, broker, "esp32cam/50/state")
        refused = self.client(Client, broker, "esp32cam/50/refused")
        self.wait_for_state(state, "esp32cam/50/state", framesize=QVGA)
        # The first of its resolutions that has so many pixels; and what is too much is the most.
        publish(broker.port, "esp32auto/50/set/resolution", "400x296")
        self.wait_for_state(state, "esp32cam/50/state", framesize=VGA)
        publish(broker.port, "esp32auto/50/set/quality", "99")
        self.wait_for_state(state, "esp32cam/50/state", quality=63)
        publish(broker.port, "esp32auto/50/set/resolution", "many")
        self.assertIn("set/resolution", refused.next().payload.decode())
        self.assertEqual(server.get("/status").json()["quality"], 63)


    def test_many_at_once(self):
        """The newest of each setting is obeyed, and nothing waits behind settings."""
        broker = self.broker(more=["max_queued_messages 0"])
        self.publisher(broker, "--fps", "2")
        state = self.client(Client, broker, "camwire/state")
        for number in range(900):
            state.say("camwire/set/quality", str(4 + number % 60))
            state.say("camwire/set/brightness", str(number % 5 - 2))
        state.say("camwire/set/quality", "34")
        state.say("camwire/camera/stream/stop")
        self.wait_for_state(state, "camwire/state", publishing=False, quality=34)

    def test_too_much(self):
        broker = self.broker(more=["max_queued_messages 0"])
        server = self.publisher(broker, "--mqtt-publish", "off")
        refused = self.client(Client, broker, "camwire/refused")
        refused.say("camwire/set/quality", "1" * 2000)
        self.assertEqual(refused.next().payload, b"camwire/set/quality: the value is too long")
        mischief = self.client(Client, broker)
        for _ in range(5000):
            mischief.say("camwire/set/quality", "nonsense")
        told = 0
        while told < 5000:
            said = refused.next().payload.decode()
            more = re.fullmatch(r"too many at once: (\d+) more", said)
            told += int(more[1]) if more else 1
        self.assertEqual(told, 5000, "each is told or counted")
        self.assertIn("too many wrong commands", server.log)
        publish(broker.port, "camwire/set/quality", "33")
        eventually("it obeys", lambda: server.get("/status").json()["quality"] == 33)


class Source(Mqtt):
    @classmethod
    def setUpClass(cls):
        pictures = make_pictures(20, "320x240")
        # Two of them end with an empty part.
        exact = [padded(picture, 16_000 if n else 24_000) for n, picture in enumerate(pictures[:2])]
        cls.pictures = exact + pictures[2:]
        assert all(len(picture) % 8000 == 0 for picture in exact)
        decode(cls.pictures)

    def relay(self, broker, path, *args):
        url = f"{getattr(broker, 'url', broker)}/{path}"
        return self.serve("--source", url, *args)

    def test_the_existing_camera(self):
        broker = self.broker()
        camera = self.client(Camera, broker, self.pictures)
        relay = self.relay(broker, "esp32cam/50")
        time.sleep(0.5)
        self.assertFalse(camera.streaming, "nobody watches")
        viewer = self.watch(relay)
        parts = viewer.parts(60)
        for part in parts:
            self.assertIn(part.jpeg, self.pictures, "whole and unchanged")
        self.assertGreater(len({part.jpeg for part in parts}), 10)
        self.assertTrue(any(len(part.jpeg) % 8000 == 0 for part in parts))
        self.assert_numbers_add_up(parts)
        self.assertTrue(camera.streaming)
        self.assertEqual(relay.get("/healthz").status, 200)
        self.assertEqual(relay.stats()["source"]["kind"], "mqtt")
        viewer.close()
        eventually("it is told to stop", lambda: not camera.streaming)

        # Nothing old comes when somebody watches again.
        self.assertIn(relay.get("/capture").body, self.pictures)
        eventually("it is told to stop again", lambda: not camera.streaming)

        # A relay that dies leaves it on: the broker cannot know who else is looking.
        self.watch(relay).part()
        relay.process.kill()
        relay.process.wait()
        time.sleep(1)
        self.assertTrue(camera.streaming)
        # And for whoever comes next, it is on by another's will.
        count = len(camera.commands)
        self.view(f"{broker.url}/esp32cam/50", "--frames", 5)
        time.sleep(0.5)
        self.assertEqual(camera.commands[count:], [])

    def view(self, url, *args):
        done = run(HOST, "view", "--headless", "--timeout", 20, *args, url)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_a_camera_that_is_on_stays_on(self):
        """Neither its pictures nor its state, if those are rare, are taken for silence."""
        broker = self.broker()
        for prefix, rate in (("often", 15), ("seldom", 0.4)):
            with self.subTest(prefix=prefix):
                commands = self.client(Client, broker, f"{prefix}/camera/#")
                args = ("--mqtt-layout", "framed,whole", "--mqtt-prefix", prefix)
                camera = self.publisher(broker, *args, "--mqtt-fps", rate)
                pictures = self.client(Client, broker, f"{prefix}/image")
                pictures.next()
                self.view(f"{broker.url}/{prefix}", "--frames", 3)
                relay = self.relay(broker, prefix)
                viewer = self.watch(relay)
                viewer.parts(5)
                viewer.close()
                eventually("the relay rests", lambda: relay.stats()["source"]["state"] == "idle")
                time.sleep(0.5)
                told = {message.topic.rsplit("/", 1)[1] for message in commands.all()}
                # Being told to start once more does it no harm.
                self.assertLessEqual(told, set() if rate > 1 else {"start"})
                state = self.client(Client, broker, f"{prefix}/state")
                self.assertTrue(json.loads(state.next().payload)["publishing"])
                pictures.all()
                for _ in range(2):
                    pictures.next()
                relay.close()
                camera.close()

    def test_who_has_started_it_stops_it(self):
        """A camera that is on by another's will, until it falls silent."""
        broker = self.broker()
        camera = self.client(Camera, broker, self.pictures)
        camera.streaming = True
        relay = self.relay(broker, "esp32cam/50")
        viewer = self.watch(relay)
        viewer.parts(30)
        self.assertEqual(camera.commands, [])
        camera.streaming = False
        eventually("it is started", lambda: camera.streaming)
        viewer.parts(5)
        viewer.close()
        eventually("it is stopped", lambda: not camera.streaming)
        self.assertEqual(camera.commands, ["camera/stream/start", "camera/stream/stop"])

    def test_neighbours_that_are_mixed(self):
        """Every picture of which all parts arrive is shown, and in order."""
        broker = self.broker()
        folder = self.folder()
        control = self.client(Client, broker, "cam/camera/stream/start")
        pictures = self.pictures
        lost = {4, 11}
        whole = [n for n in range(len(pictures)) if n not in lost]
        view = subprocess.Popen(
            [
                *(HOST, "view", "--headless", "--save", folder, "--timeout", "20"),
                *("--frames", str(len(whole)), f"{broker.url}/cam?layout=framed"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        self.addCleanup(view.kill)
        control.next()  # So it listens.

        def parts(number):
            picture = pictures[number]
            size = len(picture) // 4 + 1
            for index in range(4):
                body = picture[index * size : (index + 1) * size]
                numbers = (index, 4, index * size, len(picture))
                checksum = zlib.crc32(picture)
                yield header(body, *numbers, sequence=1 + number, checksum=checksum)

        for first in range(0, len(pictures), 2):
            older, newer = list(parts(first)), list(parts(first + 1))
            mixed = [older[0], newer[0], older[1], *newer[1:], *older[2:]]
            for number, part in ((first, older[1]), (first + 1, newer[1])):
                if number in lost:
                    mixed.remove(part)
            for part in mixed:
                control.say("cam/frame", part)
            time.sleep(0.2)
        self.assertEqual(view.wait(timeout=PATIENCE), 0)
        saved = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
        self.assertEqual(saved, [pictures[n] for n in whole])

    def test_the_existing_camera_starts_anew(self):
        broker = self.broker()
        camera = self.client(Camera, broker, self.pictures, control="robot/50")
        relay = self.relay(broker, "esp32cam/50")
        viewer = self.watch(relay)
        time.sleep(1)
        self.assertEqual(camera.commands, [], "nobody knows where it takes commands")
        camera.greet()
        viewer.parts(5)
        # As after a reset: off, and a greeting.
        camera.streaming = False
        camera.greet()
        viewer.parts(20)
        self.assertTrue(camera.streaming)
        # Somebody else stops it.
        publish(broker.port, "robot/50/camera/stream/stop")
        eventually("it is started again", lambda: camera.streaming and camera.commands[-1:])
        viewer.parts(20)

    def test_no_control(self):
        broker = self.broker()
        camera = self.client(Camera, broker, self.pictures)
        relay = self.relay(broker, "esp32cam/50", "--no-control")
        viewer = self.watch(relay)
        time.sleep(3)
        self.assertEqual(camera.commands, [])
        camera.streaming = True
        viewer.parts(5)
        viewer.close()
        relay.close()
        self.assertEqual(camera.commands, [])

    def test_another_control_prefix(self):
        broker = self.broker()
        camera = self.client(Camera, broker, self.pictures, "data/7", "robot/7")
        for path, args in (
            ("data/7", ["--source-control-prefix", "robot/7"]),
            ("data/7?control=robot/7&layout=indexed", []),
        ):
            with self.subTest(path=path):
                relay = self.relay(broker, path, *args)
                self.watch(relay).parts(5)
                relay.close()
                eventually("it is told to stop", lambda: not camera.streaming)

    def assert_relays(self, first, second, layout):
        original = self.watch(first, "/stream?mode=all")
        end = self.watch(second)
        relayed = end.parts(15)
        seen = {part.jpeg for part in original.parts(60)}
        same = [part for part in relayed if part.jpeg in seen]
        self.assertGreater(len(same), 5, f"the same pictures come out ({layout})")
        decode([part.jpeg for part in relayed])
        return relayed

    def test_every_layout(self):
        broker = self.broker()
        for layout in ("framed", "indexed", "whole", "framed,indexed,whole"):
            with self.subTest(layout=layout):
                prefix = f"cam/{len(layout)}"
                args = ("--mqtt-layout", layout, "--mqtt-prefix", prefix, "--mqtt-publish", "off")
                first = self.publisher(broker, *args)
                second = self.relay(broker, prefix)
                self.assert_relays(first, second, layout)
                first.close()
                second.close()

    def test_broker_restart(self):
        broker = self.broker()
        sender = self.publisher(broker, "--mqtt-layout", "framed", "--fps", 30)
        relay = self.relay(broker, "camwire")
        viewers = [self.watch(relay), self.watch(relay), self.watch(sender)]
        for viewer in viewers:
            viewer.parts(10)
        for away in (0.3, 3):
            broker.stop()
            time.sleep(away)
            broker.start()
            back = time.monotonic()
            last = relay.stats()["source"]["captured"]
            eventually(
                "pictures again", lambda: relay.stats()["source"]["captured"] > last, pause=0.02
            )
            print(f"back {time.monotonic() - back:.2f} s after the broker", file=sys.stderr)
            for viewer in viewers:
                # The same connections.
                decode([part.jpeg for part in viewer.parts(10)])
        self.assertIn("the connection to the broker", relay.log)
        self.assertEqual(relay.get("/healthz").status, 200)
        # And commands are heard again.
        publish(broker.port, "camwire/set/resolution", "QVGA")
        eventually("it obeys", lambda: sender.get("/status").json()["framesize"] == QVGA)

    def test_a_broker_that_comes_later(self):
        broker = self.broker()
        broker.stop()
        relay = self.serve("--source", f"{broker.url}/cam")
        viewer = self.watch_later(relay)
        eventually("it says so", lambda: "cannot connect to the broker" in relay.log)
        self.assertIn("refused", relay.log)
        broker.start()
        self.publisher(broker, "--mqtt-prefix", "cam")
        head = b""
        while b"\xff\xd9" not in head:
            head += viewer.recv(65536)

    def test_hostile_publishers(self):
        broker = self.broker()
        picture = self.pictures[2]
        relay = self.relay(broker, "cam", "--no-control")
        viewer = self.watch_later(relay)
        mischief = self.client(Client, broker)
        eventually("it listens", lambda: relay.stats()["source"]["state"] == "starting")
        time.sleep(1)
        before = relay.memory()
        for number in range(200):
            for message in (
                header(bytes(100), total=0xFFFFFFFF, sequence=number),
                header(bytes(100), total=0xFFFFFFFF, count=1024, sequence=number),
                header(bytes(100), count=65_535, sequence=number),
                header(bytes(100), index=7, count=3, sequence=number),
                header(b"", sequence=number),
                b"CW\x02\x00" + bytes(60),
                b"",
                bytes(5000),
            ):
                mischief.say("cam/frame", message)
            mischief.say(f"cam/image/part/{number * 300}", bytes(8000))
            mischief.say("cam/image/part/0", bytes(8001))
            mischief.say("cam/image/part/x", bytes(10))
            mischief.say("cam/image_complete", str(number * 1000))
            mischief.say("cam/image_complete", b"\xff" * 100)
            mischief.say("cam/image", bytes(100_000))
            mischief.say("esp32cam", b"online on ip 1.2.3.4 topic: \xff/#")
            mischief.say("cam/status", b"online" * 1000)
        eventually("each is counted", lambda: self.refused(relay) >= 200 * 8)
        self.assertLess(relay.memory() - before, 12 << 20)
        self.assertTrue(relay.alive())
        # A message that is too large for everybody ends the connection, not the program.
        mischief.say("cam/image", bytes(6 << 20))
        eventually("it is told", lambda: "a message of more than" in relay.log)

        # And pictures come through.
        eventually("a picture", lambda: self.picture_arrives(mischief, picture, viewer))
        self.assertLess(relay.memory() - before, 24 << 20)

    def refused(self, relay):
        """How many messages it says that it has refused."""
        return max(map(int, re.findall(r"(\d+) messages refused", relay.log)), default=0)

    def picture_arrives(self, client, picture, viewer):
        client.say("cam/image", picture)
        viewer.settimeout(0.3)
        try:
            return b"\xff\xd8" in viewer.recv(65536)
        except TimeoutError:
            return False


class Passwords(Mqtt):
    def test_wrong_and_right(self):
        broker = self.broker(user="anna", password="se cret@1")
        right = f"mqtt://anna:se%20cret%401@127.0.0.1:{broker.port}"
        wrong = f"mqtt://anna:wrong@127.0.0.1:{broker.port}"
        refusal = "does not accept the user or the password"

        sender = self.serve("--mqtt", wrong)
        eventually("the sender says so", lambda: refusal in sender.log)
        self.assertEqual(sender.get("/capture").status, 200, "and serves")
        sender.close()
        for url, args in (
            (right, []),
            (wrong, ["--mqtt-user", "anna", "--mqtt-password", "se cret@1"]),
        ):
            sender = self.serve("--mqtt", url, *args)
            eventually("it is at the broker", lambda: "publishing at" in sender.log)
            self.assertNotIn("cret", sender.log)

        relay = self.serve("--source", f"{wrong}/camwire")
        viewer = self.watch_later(relay)
        eventually("the relay says so", lambda: refusal in relay.log)
        viewer.close()
        self.assertIn(refusal, relay.stats()["source"]["error"])
        relay = self.serve("--source", f"{right}/camwire")
        self.watch(relay).parts(3)


class Arguments(Mqtt):
    def test_what_cannot_be(self):
        for args in (
            ["--mqtt", "nonsense"],
            ["--mqtt", "mqtt://"],
            ["--mqtt", "mqtts://broker"],
            ["--mqtt", "mqtt://broker/prefix"],
            ["--mqtt-prefix", "a/#"],
            ["--mqtt-prefix", "a/"],
            ["--mqtt-layout", "other"],
            ["--mqtt-publish", "maybe"],
            ["--mqtt-packet", "10"],
            ["--mqtt-user", "anna"],
            ["--source", "mqtt://broker"],
            ["--source", "mqtt://broker/cam?layout=other"],
        ):
            with self.subTest(args=args):
                done = run(HOST, "serve", *args, patience=20)
                self.assertEqual(done.returncode, 2, done.stderr)
        done = run(
            *(HOST, "serve", "--listen", "127.0.0.1:0", "--mqtt", "mqtt://127.0.0.1"),
            *("--mqtt-layout", "indexed", "--mqtt-packet", "4000"),
            patience=20,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--mqtt-packet 4000 is too small", done.stderr)
        for host in ("127.0.0.1", "localhost", "[::1]"):
            for broker in ("mqtt://127.0.0.1", "mqtt://localhost"):
                with self.subTest(host=host, broker=broker):
                    done = run(
                        *(HOST, "serve", "--listen", "127.0.0.1:0", "--mqtt", broker),
                        *("--source", f"mqtt://{host}:1883/camwire"),
                        patience=20,
                    )
                    self.assertEqual(done.returncode, 1)
                    self.assertIn(b"in a circle", done.stderr)


if __name__ == "__main__":
    unittest.main()
