//! The firmware with its camera on a broker, mosquitto: the binary that has nothing else, and the
//! one that has a server as well. They are built for one layout and tested in that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use camwire::frame;
use camwire::mqtt::{Delivery, Event, Reassembler};
use camwire_esp32_idf::mqtt::prefixes;
use camwire_esp32_idf::settings::{BOARD, MOTORS, MQTT_LAYOUT};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

/// When a test gives up waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that ends with the test, and the lines that it prints.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program is installed");
        let (send, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || output.map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    /// The next line that begins like that.
    fn wait_for(&self, beginning: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it prints {beginning:?}"));
            if line.starts_with(beginning) {
                return line;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Broker {
    port: u16,
    file: PathBuf,
    mosquitto: Option<Program>,
}

impl Broker {
    fn start() -> Self {
        let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = unused.local_addr().unwrap().port();
        drop(unused);
        let file = env::temp_dir().join(format!("camwire-mosquitto-{}-{port}", process::id()));
        fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
        let mut broker = Self { port, file, mosquitto: None };
        broker.restart();
        broker
    }

    fn restart(&mut self) {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&self.file).stderr(Stdio::null());
        self.mosquitto = Some(Program::start(&mut command));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < deadline, "mosquitto listens");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self) {
        self.mosquitto = None;
    }

    fn listen(&self) -> Listener {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_sub");
        command.args(["-p", &port, "-t", "#", "-F", "%r %t %x"]);
        let (prefix, _) = prefixes();
        let reassembler = match MQTT_LAYOUT {
            "framed" => Reassembler::framed(prefix),
            "indexed" => Reassembler::indexed(prefix),
            _ => Reassembler::whole(prefix),
        };
        let program = Program::start(&mut command);
        let listener = Listener { program, reassembler, since: Instant::now(), said: Vec::new() };
        // Until it hears something, it may not have subscribed yet.
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.say("listener", "");
            if listener.program.lines.recv_timeout(Duration::from_millis(100)).is_ok() {
                return listener;
            }
            assert!(Instant::now() < deadline, "mosquitto_sub listens");
        }
    }

    fn say(&self, topic: &str, payload: &str) {
        let topic = format!("{}/{topic}", control());
        let port = self.port.to_string();
        let done = Command::new("mosquitto_pub")
            .args(["-p", &port, "-t", &topic, "-m", payload])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// The firmware with this broker.
    fn firmware(&self, binary: &str) -> Program {
        let broker = format!("127.0.0.1:{}", self.port);
        let mut command = Command::new(binary);
        Program::start(command.env("CAMWIRE_PORT", "0").env("CAMWIRE_MQTT", broker))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Somebody who sees all that is said on the broker.
struct Listener {
    program: Program,
    reassembler: Reassembler<'static, Vec<u8>, 2>,
    since: Instant,
    /// What is no picture: topic and text.
    said: Vec<(String, String)>,
}

impl Listener {
    /// The next picture, or what else is said.
    fn next(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let line = self.program.lines.recv_timeout(patience).ok()?;
        let mut words = line.splitn(3, ' ');
        let retained = words.next() == Some("1");
        let topic = words.next().unwrap();
        let payload = bytes(words.next().unwrap());
        if !topic.contains("/frame") && !topic.contains("/image") {
            let text = String::from_utf8_lossy(&payload).into_owned();
            self.said.push((topic.to_owned(), text));
            return None;
        }
        while self.reassembler.wants_buffer() {
            let _ = self.reassembler.supply(vec![0; 1 << 20]);
        }
        let now = frame::Instant::ZERO + self.since.elapsed();
        let delivery = Delivery::from_retain_flag(retained);
        self.reassembler.push(topic, &payload, delivery, now).expect("it is a part of a picture");
        while let Some(event) = self.reassembler.poll(now) {
            if let Event::Picture(picture) = event {
                return Some(picture.buffer[..picture.info.len].to_vec());
            }
        }
        None
    }

    /// The size of the next picture, which can be looked at.
    fn size(&mut self) -> (usize, usize) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Some(jpeg) = self.next(PATIENCE) else { continue };
            let mut decoder = JpegDecoder::new(ZCursor::new(&jpeg));
            let pixels = decoder.decode().expect("it decodes");
            assert!(pixels.iter().any(|value| *value != pixels[0]), "all of one colour");
            return decoder.dimensions().expect("it is decoded");
        }
        panic!("no picture comes");
    }

    fn wait_for_size(&mut self, size: (usize, usize)) {
        let deadline = Instant::now() + PATIENCE;
        while self.size() != size {
            assert!(Instant::now() < deadline, "it is set to {size:?}");
        }
    }

    /// Waits until that is said.
    fn wait_for(&mut self, topic: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said.iter().any(|(on, what)| on == topic && what.contains(text)) {
            assert!(Instant::now() < deadline, "{text:?} on {topic}: {:?}", self.said);
            self.next(Duration::from_millis(100));
        }
    }

    /// How many pictures come until nothing is said for a second.
    fn pictures_until_silence(&mut self) -> usize {
        let mut pictures = 0;
        loop {
            let said = self.said.len();
            let since = Instant::now();
            match self.next(Duration::from_secs(1)) {
                Some(_) => pictures += 1,
                None if self.said.len() == said && since.elapsed() >= Duration::from_secs(1) => {
                    return pictures;
                }
                None => {}
            }
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn control() -> &'static str {
    prefixes().1.as_str()
}

fn status() -> String {
    prefixes().0.status().to_string()
}

/// What the existing camera does not do before it is told to.
fn start_stream(broker: &Broker, listener: &mut Listener) {
    if MQTT_LAYOUT == "indexed" {
        let greeting = format!("online on ip 127.0.0.1 topic: {}", control());
        listener.wait_for("esp32cam", &greeting);
        assert_eq!(listener.pictures_until_silence(), 0);
        broker.say("camera/stream/start", "");
    }
}

#[test]
fn pictures_and_commands() {
    let broker = Broker::start();
    let mut listener = broker.listen();
    let firmware = broker.firmware(env!("CARGO_BIN_EXE_mqtt"));
    firmware.wait_for("mqtt: connected");
    listener.wait_for(&status(), "online");
    start_stream(&broker, &mut listener);
    assert_eq!(listener.size(), (640, 480), "what it starts with");

    broker.say("set/resolution", "320x240");
    listener.wait_for_size((320, 240));
    let refused = prefixes().0.refused().to_string();
    broker.say("set/resolution", "enormous");
    listener.wait_for(&refused, &format!("{}/set/resolution: no resolution", control()));
    assert_eq!(listener.size(), (320, 240), "it is as it was");

    if BOARD == "ai-thinker" {
        broker.say("set/led", "100");
        assert_eq!(firmware.wait_for("lamp: 2"), "lamp: 255");
        broker.say("set/led", "1");
        assert_eq!(firmware.wait_for("lamp: "), "lamp: 1", "dim, not dark");
        broker.say("set/led", "0");
        assert_eq!(firmware.wait_for("lamp: "), "lamp: 0");
    }
    broker.say("motor/speed/a", "0.5");
    listener.wait_for(&refused, if MOTORS { "no heartbeat" } else { "has no motors" });
    if MOTORS {
        broker.say("motor/deadman/heartbeat", "");
        broker.say("motor/speed/b", "-0.25");
        firmware.wait_for("motor B: -250");
        firmware.wait_for("motor B: 0"); // Nobody told it to.
    }

    broker.say("camera/stream/stop", "");
    listener.pictures_until_silence();
    broker.say("camera/shot", "");
    assert_eq!(listener.pictures_until_silence(), 1);
    broker.say("camera/stream/start", "");
    listener.size();

    drop(firmware);
    listener.wait_for(&status(), "offline");
}

#[test]
fn the_server_beside_it_and_a_broker_that_comes_back() {
    let mut broker = Broker::start();
    let mut listener = broker.listen();
    let firmware = broker.firmware(env!("CARGO_BIN_EXE_camera"));
    let open = firmware.wait_for("open http://127.0.0.1:");
    let port = open.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    firmware.wait_for("mqtt: connected");
    start_stream(&broker, &mut listener);
    listener.size();

    // One state: what is set on one side is seen on the other.
    assert!(get(port, "/control?var=framesize&val=1").starts_with("HTTP/1.1 200"));
    listener.wait_for_size((160, 120));
    broker.say("set/resolution", "320x240");
    listener.wait_for_size((320, 240));
    assert!(get(port, "/status").contains("\"framesize\":6"));
    assert!(get(port, "/stats").contains("\"viewers\":[]"), "MQTT is no viewer");

    for away in [0, 4] {
        broker.stop();
        firmware.wait_for("mqtt: no connection");
        assert!(get(port, "/healthz").ends_with("ok\n"));
        thread::sleep(Duration::from_secs(away));
        broker.restart();
        firmware.wait_for("mqtt: connected");
        // Whether it publishes is as it was.
        let mut listener = broker.listen();
        assert_eq!(listener.size(), (320, 240));
    }
}

fn get(port: u16, target: &str) -> String {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: board\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}
