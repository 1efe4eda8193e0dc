"""The firmware in an emulator publishes to mosquitto and obeys, and does so again when the broker
comes back. What it sends is put together here by the table in camwire-mqtt's README.
"""

import contextlib
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib
from collections import namedtuple

from board import Imac, Imc
from camwire import (
    PATIENCE,
    Case,
    decode,
    die_with_parent,
    eventually,
    make_pictures,
    run,
    size_of,
)

Message = namedtuple("Message", "topic retained payload")
Part = namedtuple("Part", "stream sequence time total offset index count checksum body")


def part(payload):
    assert payload[:4] == b"CW\x01\x00", payload[:4]
    numbers = struct.unpack(">IQQIIHHI", payload[4:40])
    return Part(*numbers, payload[40:])


def framed(messages, prefix):
    """The pictures of the framed layout, by their numbers, from the first of which the beginning
    is here. The last may not be whole yet, and is left out."""
    pictures, parts = {}, []
    for message in messages:
        if message.topic != f"{prefix}/frame":
            continue
        one = part(message.payload)
        if one.index == 0:
            parts = []
        elif not parts:
            continue
        assert one.offset == sum(len(before.body) for before in parts), "in order, none twice"
        assert one.index == len(parts) and all(one[:4] == before[:4] for before in parts)
        parts.append(one)
        if len(parts) == one.count:
            jpeg = b"".join(one.body for one in parts)
            assert len(jpeg) == one.total and zlib.crc32(jpeg) == one.checksum
            pictures[one.sequence] = jpeg
    return pictures


def indexed(messages, prefix):
    """The pictures of the indexed layout, as the existing viewer puts them together."""
    pictures, parts = [], {}
    for message in messages:
        if message.topic.startswith(f"{prefix}/image/part/"):
            parts[int(message.topic.rpartition("/")[2])] = message.payload
        elif message.topic == f"{prefix}/image_complete":
            count = int(message.payload)
            assert sorted(parts) == list(range(count)), (sorted(parts), count)
            assert all(len(parts[number]) == 8000 for number in range(count - 1))
            assert len(parts[count - 1]) < 8000
            pictures.append(b"".join(parts[number] for number in range(count)))
            parts = {}
    return pictures


def of_length(jpeg, length):
    """The same picture with a comment that makes it so long."""
    comment = length - len(jpeg) - 4
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", comment + 2) + bytes(comment) + jpeg[2:]


class Broker:
    """mosquitto on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder, *options):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        self.file = folder / "mosquitto.conf"
        options = options or ("allow_anonymous true",)
        self.file.write_text("\n".join([f"listener {self.port} 127.0.0.1", *options, ""]))
        self.login = ()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["mosquitto", "-c", self.file],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        eventually("the broker listens", self._listens, pause=0.01)

    def _listens(self):
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def say(self, topic, payload="", *options):
        command = ("mosquitto_pub", "-p", self.port, *self.login, "-t", topic, *options)
        done = run(*command, *(("-m", payload) if payload else ("-n",)))
        assert done.returncode == 0, done.stderr


class Listener:
    """All that is said on a broker."""

    def __init__(self, broker):
        command = ["mosquitto_sub", "-p", str(broker.port), *broker.login, "-t", "#"]
        self.process = subprocess.Popen(
            [*command, "-V", "5", "-F", "%r %t %x"],
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        self.messages = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        # Until it hears something, it may not have subscribed yet.
        eventually("it listens", lambda: broker.say("listener") or self.messages)

    def _read(self):
        for line in self.process.stdout:
            retained, topic, payload = line.decode().rstrip("\n").split(" ")
            message = Message(topic, retained == "1", bytes.fromhex(payload))
            self.messages.append(message)

    def on(self, topic):
        return [message.payload for message in list(self.messages) if message.topic == topic]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.thread.join(PATIENCE)
        self.process.stdout.close()


class OnImc(Case):
    subject = Imc
    prefix = "camwire/qemu"

    @classmethod
    def setUpClass(cls):
        cls.pictures = make_pictures(40, "320x240", quality=2)
        cls.pictures[0] = of_length(cls.pictures[0], 16000)

    def broker(self, *options):
        broker = Broker(self.folder(), *options)
        self.addCleanup(broker.stop)
        return broker

    def listen(self, broker):
        listener = Listener(broker)
        self.addCleanup(listener.close)
        return listener

    def board(self, broker, **words):
        words = {name.replace("_", "-"): value for name, value in words.items()}
        # That is what this machine is called inside.
        return self.serve(mqtt=f"10.0.2.2:{broker.port}", **words)

    def framed(self, listener):
        return framed(list(listener.messages), self.prefix)

    def more_pictures(self, listener, count=10):
        """So many that come from now on."""
        before = len(listener.messages)

        def enough():
            new = framed(listener.messages[before:], self.prefix)
            return len(new) >= count and list(new.values())

        return eventually("pictures come", enough)

    def test_pictures_arrive_as_they_were_captured(self):
        broker = self.broker()
        listener = self.listen(broker)
        self.board(broker, pictures=self.pictures, mqtt_packet=4096)
        pictures = eventually(
            "all of them came", lambda: len(p := self.framed(listener)) >= 60 and p
        )
        self.assertTrue(all(jpeg in self.pictures for jpeg in pictures.values()))
        # Each has the next number: what this link loses, nobody lost before.
        numbers = sorted(pictures)
        self.assertEqual(numbers, list(range(numbers[0], numbers[-1] + 1)))
        sizes = {len(message.payload) for message in listener.messages}
        self.assertLessEqual(max(sizes), 4096 - len("camwire/qemu/frame"))
        self.assertGreater(max(sizes), 4000)
        self.assertEqual(listener.on(f"{self.prefix}/status"), [b"online"])

    def test_in_the_layout_of_the_existing_camera(self):
        broker = self.broker()
        listener = self.listen(broker)
        board = self.board(
            broker,
            pictures=self.pictures,
            mqtt_layout="indexed",
            mqtt_prefix="esp32cam/50",
            mqtt_control="esp32auto/50",
        )
        greeting = b"online on ip 10.0.2.15 topic: esp32auto/50"
        eventually("it greets", lambda: listener.on("esp32cam") == [greeting])
        # It does nothing before it is told to.
        time.sleep(1)
        self.assertEqual(indexed(list(listener.messages), "esp32cam/50"), [])
        self.assertEqual(board.stats()["source"]["state"], "idle")
        broker.say("esp32auto/50/set/fps", "20")
        broker.say("esp32auto/50/camera/stream/start")
        pictures = eventually(
            "pictures come",
            lambda: len(p := indexed(list(listener.messages), "esp32cam/50")) >= 45 and p,
        )
        self.assertTrue(all(jpeg in self.pictures for jpeg in pictures))
        # One that fills its parts has an empty one behind them.
        self.assertIn(self.pictures[0], pictures)
        # Its parts are retained.
        late = self.listen(broker)
        topic = "esp32cam/50/image/part/0"
        eventually("they are kept", lambda: any(m[:2] == (topic, True) for m in late.messages))

    def test_in_one_piece(self):
        broker = self.broker()
        listener = self.listen(broker)
        self.board(broker, mqtt_layout="whole", mqtt_packet=16640)
        topic = f"{self.prefix}/image"
        pictures = eventually("they come", lambda: len(p := listener.on(topic)) >= 5 and p)
        self.assertEqual(len(set(decode(pictures))), len(pictures))

    def test_obeys_and_says_what_it_does_not(self):
        broker = self.broker()
        listener = self.listen(broker)
        board = self.board(broker)
        self.assertEqual(size_of(self.more_pictures(listener, 1)[0]), (320, 240))
        decode(self.more_pictures(listener, 3))
        broker.say(f"{self.prefix}/set/resolution", "160x120")
        eventually(
            "pictures of that size come",
            lambda: size_of(self.more_pictures(listener, 1)[-1]) == (160, 120),
        )
        # The page says the same, and what is set there is seen here.
        self.assertEqual(board.get("/status").json()["framesize"], 1)
        self.assertEqual(board.get("/control?var=framesize&val=6").status, 200)
        eventually(
            "pictures of that size come",
            lambda: size_of(self.more_pictures(listener, 1)[-1]) == (320, 240),
        )

        refused = f"{self.prefix}/refused"
        commands = [
            ("set/resolution", "enormous", "no resolution of that name or size"),
            ("set/quality", "64", ""),
            ("set/resolution", "UXGA", "more than there is for one"),
            ("set/led", "50", "cannot be set to that"),
            ("set/vflip", "2", "vflip is a number from 0 to 1"),
            ("motor/speed/a", "2", "speed is a number from -1 to 1"),
            ("motor/speed/a", "0.5", "no heartbeat"),
        ]
        for number, (command, value, why) in enumerate(commands):
            with self.subTest(command=command, value=value):
                broker.say(f"{self.prefix}/{command}", value)
                eventually("it is refused", lambda: len(listener.on(refused)) > number)
                reason = listener.on(refused)[number].decode()
                self.assertRegex(reason, f"^{self.prefix}/{command}: .*{why}")
        # A command that was kept is of yesterday; a setting is not.
        self.assertEqual(size_of(self.more_pictures(listener, 1)[0]), (320, 240))
        broker.say(f"{self.prefix}/motor/deadman/heartbeat")
        broker.say(f"{self.prefix}/motor/speed/a", "0.5")
        eventually("the motor turns", lambda: "motors: [500, 0]" in board.log)

    def test_stops_starts_and_takes_one(self):
        broker = self.broker()
        listener = self.listen(broker)
        board = self.board(broker, pictures=self.pictures)
        self.more_pictures(listener, 3)
        broker.say(f"{self.prefix}/camera/stream/stop")
        state = lambda: board.stats()["source"]["state"]
        eventually("nobody wants pictures", lambda: state() == "idle")
        seen = len(self.framed(listener))
        for shot in range(1, 4):
            broker.say(f"{self.prefix}/camera/shot")
            eventually("one came", lambda: len(self.framed(listener)) == seen + shot)
            eventually("nobody wants pictures", lambda: state() == "idle")
        time.sleep(1)
        self.assertEqual(len(self.framed(listener)), seen + 3)
        broker.say(f"{self.prefix}/camera/stream/start")
        self.more_pictures(listener, 3)

    def test_not_before_it_is_asked(self):
        broker = self.broker()
        listener = self.listen(broker)
        board = self.board(broker, pictures=self.pictures, mqtt_start="off")
        eventually("it is there", lambda: listener.on(f"{self.prefix}/status"))
        time.sleep(1)
        self.assertEqual(self.framed(listener), {})
        self.assertEqual(board.stats()["source"]["captured"], 0)

    def test_comes_back_when_the_broker_does(self):
        broker = self.broker()
        listener = self.listen(broker)
        board = self.board(broker, pictures=self.pictures)
        viewer = self.watch(board)
        viewer.part()
        self.more_pictures(listener, 3)
        for away in (0, 4):
            broker.stop()
            eventually("it notices", lambda: board.log.rstrip().endswith("no connection"))
            viewer.parts(5)  # Who watches it otherwise goes on doing so.
            time.sleep(away)
            broker.start()
            listener = self.listen(broker)
            eventually("it is there", lambda: listener.on(f"{self.prefix}/status"))
            for jpeg in self.more_pictures(listener, 3):
                self.assertIn(jpeg, self.pictures)
        broker.say(f"{self.prefix}/camera/stream/stop")
        eventually("only the viewer is left", lambda: len(board.stats()["viewers"]) == 1)

    def test_the_broker_says_that_it_is_gone(self):
        broker = self.broker()
        board = self.board(broker, mqtt_start="off")
        listener = self.listen(broker)
        status = lambda: listener.on(f"{self.prefix}/status")
        eventually("it is there", lambda: status() == [b"online"])
        board.process.terminate()
        board.process.wait(PATIENCE)
        eventually("the last will", lambda: status()[-1] == b"offline")
        late = self.listen(broker)
        kept = Message(f"{self.prefix}/status", True, b"offline")
        eventually("it is kept", lambda: kept in late.messages)

    def test_with_a_password(self):
        folder = self.folder()
        file = folder / "passwords"
        done = run("mosquitto_passwd", "-b", "-c", file, "cam", "secret")
        self.assertEqual(done.returncode, 0, done.stderr)
        file.chmod(0o644)
        folder.chmod(0o755)
        broker = self.broker("allow_anonymous false", f"password_file {file}")
        board = self.board(broker, mqtt_login="cam:wrong")
        eventually("it is told", lambda: "mqtt: user or password is refused" in board.log)
        broker.login = ("-u", "cam", "-P", "secret")
        listener = self.listen(broker)
        self.board(broker, mqtt_login="cam:secret", mqtt_prefix=self.prefix)
        self.more_pictures(listener, 2)

    def test_a_broker_that_takes_little(self):
        broker = self.broker("allow_anonymous true", "max_packet_size 2000")
        listener = self.listen(broker)
        self.board(broker, pictures=self.pictures)
        for jpeg in self.more_pictures(listener, 10):
            self.assertIn(jpeg, self.pictures)
        self.assertLess(max(len(message.payload) for message in listener.messages), 2000)


class OnImac(OnImc):
    subject = Imac
