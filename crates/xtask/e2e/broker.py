"""mosquitto, and clients of it that share no code with camwire: among them the existing ESP32 camera
(esp32_mqtt_livestream) and its viewer, played from the description of what they send.
"""

import itertools
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho

from camwire import PATIENCE, die_with_parent, eventually, run

PART = 8000


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Mosquitto:
    """A broker, on a port of its own that it keeps when it is started again."""

    def __init__(self, user=None, password=None, more=()):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="camwire-mosquitto-")
        folder = Path(self.folder.name)
        self.log = folder / "log"
        lines = [f"listener {self.port} 127.0.0.1", "user root", "persistence false"]
        lines += [f"log_dest file {self.log}", *more]
        if user:
            passwords = folder / "passwords"
            program = self.find("mosquitto_passwd")
            assert run(program, "-b", "-c", passwords, user, password).returncode == 0
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines += ["allow_anonymous true"]
        self.configuration = folder / "mosquitto.conf"
        self.configuration.write_text("\n".join(lines) + "\n")
        self.process = None
        self.start()

    @staticmethod
    def find(program):
        found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
        assert found, f"{program} is not there"
        return found

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [self.find("mosquitto"), "-c", self.configuration],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        eventually("mosquitto answers", lambda: answers(self.port), patience=20, pause=0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def halt(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.stop()
        self.folder.cleanup()


def publish(port, topic, payload="", *args):
    """By mosquitto's own client."""
    done = run("mosquitto_pub", "-p", port, "-t", topic, "-m", payload, *args)
    assert done.returncode == 0, done.stderr


class Client:
    """A client by paho that notes what it hears."""

    def __init__(self, port, *filters, user=None, password=None):
        self.filters = filters
        self.messages = queue.Queue()
        self.subscribed = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(min_delay=1, max_delay=1)
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda _, __, message: self.heard(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        if filters:
            assert self.subscribed.wait(PATIENCE), "the broker answers the subscription"

    def _connected(self, *_):
        if self.filters:
            self.client.subscribe([(name, 0) for name in self.filters])

    def heard(self, message):
        self.messages.put(message)

    def say(self, topic, payload=b"", retain=False):
        self.client.publish(topic, payload, qos=0, retain=retain)

    def next(self, topic=None, patience=PATIENCE):
        """The next message, or the next one of a topic."""
        deadline = time.monotonic() + patience
        while True:
            try:
                message = self.messages.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"nothing on {topic or self.filters}") from None
            if topic in (None, message.topic):
                return message

    def all(self):
        """What has been heard and not yet asked for."""
        messages = []
        while not self.messages.empty():
            messages.append(self.messages.get())
        return messages

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Viewer(Client):
    """Does what the existing viewer does: keeps each part by the number in its topic, and joins
    them when it is told that the picture is complete.
    """

    def __init__(self, port, prefix, **options):
        self.prefix = prefix
        self.parts = {}
        self.pictures = []
        super().__init__(port, f"{prefix}/image/part/+", f"{prefix}/image_complete", **options)

    def heard(self, message):
        self.messages.put(message)
        if message.topic == f"{self.prefix}/image_complete":
            count = int(message.payload)
            parts = [self.parts.get(number, b"") for number in range(count)]
            self.pictures.append(b"".join(parts))
        else:
            self.parts[int(message.topic.rsplit("/", 1)[1])] = message.payload


class Camera(Client):
    """Does what the existing camera does: boots with its stream off, greets, obeys, and publishes
    parts of 8000 bytes, retained, then how many they are.
    """

    def __init__(self, port, pictures, data="esp32cam/50", control="esp32auto/50", fps=15):
        self.pictures, self.data, self.control = pictures, data, control
        self.pause = 1 / fps
        self.streaming = False
        self.commands = []
        self.running = True
        super().__init__(port, f"{control}/#")
        self.greet()
        self.thread = threading.Thread(target=self._stream, daemon=True)
        self.thread.start()

    def greet(self):
        self.say("esp32cam", f"online on ip 192.168.0.50 topic: {self.control}")

    def heard(self, message):
        command = message.topic.removeprefix(self.control + "/")
        self.commands.append(command)
        if command in ("camera/stream/start", "camera/stream/stop"):
            self.streaming = command.endswith("start")

    def send(self, picture):
        count = len(picture) // PART + 1
        for number in range(count):
            part = picture[number * PART : (number + 1) * PART]
            self.say(f"{self.data}/image/part/{number}", part, retain=True)
        self.say(f"{self.data}/image_complete", str(count))

    def _stream(self):
        for picture in itertools.cycle(self.pictures):
            while self.running and not self.streaming:
                time.sleep(0.01)
            if not self.running:
                return
            self.send(picture)
            time.sleep(self.pause)

    def close(self):
        self.running = False
        self.thread.join(timeout=5)
        super().close()


def padded(jpeg, size):
    """The same picture with comments in it (marker FFFE), so that it has so many bytes."""
    missing = size - len(jpeg)
    comments = b""
    while missing:
        length = min(missing, 65_000)
        if 0 < missing - length < 4:
            length -= 4
        assert length >= 4, "a comment has at least 4 bytes"
        comments += b"\xff\xfe" + (length - 2).to_bytes(2, "big") + bytes(length - 4)
        missing -= length
    return jpeg[:2] + comments + jpeg[2:]
