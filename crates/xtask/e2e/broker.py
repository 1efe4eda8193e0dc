"""mosquitto, and clients of it that share no code with camwire: among them the camera of
esp32_mqtt_livestream, played from the description of what it sends."""

import itertools
import queue
import signal
import socket
import struct
import tempfile
import threading
import time
import zlib
from collections import namedtuple
from pathlib import Path

import paho.mqtt.client as paho
from camwire import TIMEOUT, Program, run, wait_until
from proxy import Proxy
from tcp import Reader, free_port

# Bytes of a part of that camera's frames.
PART = 8000


class Mosquitto:
    """A broker, on a port of its own that it keeps when it is started again."""

    def __init__(self, *options, login=None):
        self.port = free_port()
        self.login = login
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        lines = [f"listener {self.port} 127.0.0.1", "user root", "persistence false"]
        lines += ["log_dest stderr", *options]
        if login:
            passwords = folder / "passwords"
            done = run("mosquitto_passwd", "-b", "-c", passwords, *login)
            assert done.returncode == 0, done.stderr
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines += ["allow_anonymous true"]
        self.configuration = folder / "mosquitto.conf"
        self.configuration.write_text("\n".join(lines) + "\n")
        self.log = ""
        self.start()

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self):
        self.program = Program("mosquitto", "-c", self.configuration)
        wait_until("mosquitto listens", self._listens, pause=0.02)

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def connections(self):
        """How many connections it has accepted from clients."""
        return self.program.log.count("New client connected")

    def stop(self):
        self.program.close()
        self.log += self.program.log

    def freeze(self):
        self.program.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.program.process.send_signal(signal.SIGCONT)

    def publish(self, topic, payload="", *args):
        """By mosquitto's own client."""
        login = ("-u", self.login[0], "-P", self.login[1]) if self.login else ()
        done = run("mosquitto_pub", "-p", self.port, *login, "-t", topic, "-m", payload, *args)
        assert done.returncode == 0, done.stderr

    def close(self):
        self.stop()
        self.folder.cleanup()


class Mqtt311Only(Proxy):
    """Stands before a broker and rejects clients that speak MQTT 5, as those do that do not know
    it."""

    login = None

    @staticmethod
    def _connect_packet(reader):
        head = reader.exactly(2)
        while head[-1] & 0x80:
            head += reader.exactly(1)
        size = sum((byte & 0x7F) << 7 * at for at, byte in enumerate(head[1:]))
        return head, reader.exactly(size)

    def serve(self, client):
        head, body = self._connect_packet(Reader(client))
        if body[6] == 5:
            client.sendall(bytes([0x20, 2, 0, 1]))
            client.close()
            return
        self.accepted.append(time.time())
        server = self.connect()
        server.sendall(head + body)
        self.join(client, server)


class SlowLine(Proxy):
    """Stands before a broker and takes so many bytes a second. What waits in it is little, as in a
    modem."""

    login = None

    def __init__(self, server_port, rate):
        self.rate = rate
        super().__init__(server_port)

    def serve(self, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        super().serve(client)

    def bytes(self, source, sink):
        while piece := source.recv(1500):
            sink.sendall(piece)
            time.sleep(len(piece) / self.rate)


class Client:
    """A client by paho that keeps what it receives."""

    def __init__(self, broker, *filters):
        self.filters = filters
        self.messages = []
        self.unread = queue.Queue()
        self.subscribed = threading.Event()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(min_delay=1, max_delay=1)
        if broker.login:
            self.client.username_pw_set(*broker.login)
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = lambda _, __, message: self.receive(message)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        if filters:
            assert self.subscribed.wait(TIMEOUT), "the broker answers the subscription"

    def _connected(self, *_):
        if self.filters:
            self.client.subscribe([(name, 0) for name in self.filters])

    def receive(self, message):
        self.messages.append(message)
        self.unread.put(message)

    def publish(self, topic, payload=b"", retain=False):
        self.client.publish(topic, payload, qos=0, retain=retain)

    def payloads(self, topic):
        """Of all messages of this topic so far."""
        return [message.payload for message in list(self.messages) if message.topic == topic]

    def next(self, topic=None):
        """The next message, or the next one of a topic."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                message = self.unread.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"nothing on {topic or self.filters}") from None
            if topic in (None, message.topic):
                return message

    def drain(self):
        """The messages that have not been read."""
        messages = []
        while not self.unread.empty():
            messages.append(self.unread.get())
        return messages

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class EspCamera(Client):
    """Does what the camera of esp32_mqtt_livestream does: boots with its stream off, greets,
    applies commands, and publishes parts of 8000 bytes, retained, then their count.
    """

    def __init__(self, broker, frames, data="esp32cam/50", control="esp32auto/50", fps=15):
        self.frames, self.data, self.control = frames, data, control
        self.pause = 1 / fps
        self.is_streaming = False
        self.commands = []
        self.running = True
        super().__init__(broker, f"{control}/#")
        self.greet()
        self.thread = threading.Thread(target=self._stream, daemon=True)
        self.thread.start()

    def greet(self):
        self.publish("esp32cam", f"online on ip 192.168.0.50 topic: {self.control}")

    def receive(self, message):
        command = message.topic.removeprefix(self.control + "/")
        self.commands.append(command)
        if command in ("camera/stream/start", "camera/stream/stop"):
            self.is_streaming = command.endswith("start")

    def send(self, frame):
        count = len(frame) // PART + 1
        for number in range(count):
            part = frame[number * PART : (number + 1) * PART]
            self.publish(f"{self.data}/image/part/{number}", part, retain=True)
        self.publish(f"{self.data}/image_complete", str(count))

    def _stream(self):
        for frame in itertools.cycle(self.frames):
            while self.running and not self.is_streaming:
                time.sleep(0.01)
            if not self.running:
                return
            self.send(frame)
            time.sleep(self.pause)

    def close(self):
        self.running = False
        self.thread.join(timeout=5)
        super().close()


def indexed(messages, prefix):
    """The frames of the indexed layout, as the viewer of esp32_mqtt_livestream joins them. The
    first may have begun before the messages, and is left out."""
    frames, parts = [], None
    for message in list(messages):
        topic = message.topic.removeprefix(f"{prefix}/")
        if topic == "image_complete":
            if parts is not None:
                count = int(message.payload)
                assert sorted(parts) == list(range(count)), (sorted(parts), count)
                assert all(len(parts[number]) == PART for number in range(count - 1))
                assert len(parts[count - 1]) < PART
                frames.append(b"".join(parts[number] for number in range(count)))
            parts = {}
        elif topic.startswith("image/part/") and parts is not None:
            parts[int(topic.rpartition("/")[2])] = message.payload
    return frames


# A message of the framed layout, by the table in camwire-mqtt's README.
HEAD = struct.Struct(">4xIQQIIHHI")
Part = namedtuple("Part", "stream sequence time total offset index count checksum body")


def framed_part(
    body, index=0, count=1, offset=0, total=None, stream=77, sequence=1, time=0, checksum=0
):
    total = len(body) if total is None else total
    head = HEAD.pack(stream, sequence, time, total, offset, index, count, checksum)
    return b"CW\x01\x00" + head[4:] + body


def parse_part(payload):
    assert payload[:4] == b"CW\x01\x00", payload[:4]
    return Part(*HEAD.unpack_from(payload), payload[HEAD.size :])


def framed(messages, prefix):
    """The frames of the framed layout, by their numbers. The first may have begun before the
    messages, and the last may not be whole yet: they are left out."""
    frames, parts = {}, []
    for message in list(messages):
        if message.topic != f"{prefix}/frame":
            continue
        part = parse_part(message.payload)
        if part.index == 0:
            parts = []
        elif not parts:
            continue
        assert part.offset == sum(len(before.body) for before in parts), "in order, none twice"
        assert part.index == len(parts) and all(part[:4] == before[:4] for before in parts)
        parts.append(part)
        if len(parts) == part.count:
            jpeg = b"".join(part.body for part in parts)
            assert len(jpeg) == part.total and zlib.crc32(jpeg) == part.checksum
            frames[part.sequence] = jpeg
    return frames


def padded(jpeg, size):
    """The same frame with comments in it (marker FFFE), so that it has so many bytes."""
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
