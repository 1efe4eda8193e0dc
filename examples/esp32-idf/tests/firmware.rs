//! The firmware itself, as it was built: on a computer, with the simulated camera.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use camwire::frame::jpeg;
use camwire_esp32_idf::Delivery;
use camwire_esp32_idf::settings::{AUTH, BOARD, DELIVERY, ORIGINS, TOKEN};
use tungstenite::client::client;
use tungstenite::{ClientRequestBuilder, HandshakeError, Message, WebSocket};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

/// The program while it runs, and what it prints.
struct Firmware {
    program: Child,
    printed: mpsc::Receiver<String>,
    /// Where its server is; of these, the first is asked.
    ports: Vec<u16>,
}

impl Firmware {
    fn start(program: &str, ports: usize) -> Self {
        let mut program =
            Command::new(program).env("CAMWIRE_PORT", "0").stdout(Stdio::piped()).spawn().unwrap();
        let (send, printed) = mpsc::channel();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let mut firmware = Self { program, printed, ports: Vec::new() };
        if AUTH.is_none() && TOKEN.is_none() {
            firmware.wait_for("there is no password");
        }
        for _ in 0..ports {
            let open = firmware.wait_for("open http://127.0.0.1:");
            let port = open.trim_end_matches('/').rsplit_once(':').unwrap().1;
            firmware.ports.push(port.parse().unwrap());
        }
        firmware
    }

    /// The next line that begins like that.
    fn wait_for(&self, beginning: &str) -> String {
        loop {
            let line = self.printed.recv_timeout(Duration::from_secs(20)).expect("it prints more");
            if line.starts_with(beginning) {
                return line;
            }
        }
    }

    fn connect(&self, target: &str) -> BufReader<TcpStream> {
        self.connect_as(target, &credentials())
    }

    fn connect_as(&self, target: &str, credentials: &str) -> BufReader<TcpStream> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[0])).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: board\r\n{credentials}\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        BufReader::new(socket)
    }

    /// The status and the body.
    fn get(&self, target: &str) -> (u16, Vec<u8>) {
        self.get_as(target, &credentials())
    }

    fn get_as(&self, target: &str, credentials: &str) -> (u16, Vec<u8>) {
        let mut answer = Vec::new();
        self.connect_as(target, credentials).read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer.split_off(end + 4))
    }

    fn web_socket(
        &self,
        port: u16,
        target: &str,
        origin: Option<&str>,
    ) -> Result<WebSocket<TcpStream>, tungstenite::Error> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let uri = format!("ws://127.0.0.1:{port}{target}").parse().unwrap();
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(origin) = origin {
            request = request.with_header("Origin", origin);
        }
        if let Some(token) = TOKEN {
            request = request.with_header("Authorization", format!("Bearer {token}"));
        }
        match client(request, socket) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(error)) => Err(error),
            Err(HandshakeError::Interrupted(_)) => panic!("no answer"),
        }
    }

    fn text(&self, target: &str) -> String {
        let (status, body) = self.get(target);
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{target}: {text}");
        text
    }

    fn size(&self) -> (u16, u16) {
        let (status, body) = self.get("/capture");
        assert_eq!(status, 200);
        let picture = jpeg::inspect(&body).expect("a picture");
        // And one that can be looked at.
        let pixels = JpegDecoder::new(ZCursor::new(&body)).decode().expect("it decodes");
        assert_eq!(pixels.len(), usize::from(picture.width) * usize::from(picture.height) * 3);
        assert!(pixels.iter().any(|value| *value != pixels[0]), "all of one colour");
        (picture.width, picture.height)
    }
}

/// What the firmware was built to ask for.
fn credentials() -> String {
    TOKEN.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"))
}

impl Drop for Firmware {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn the_firmware_serves_its_camera() {
    let firmware = Firmware::start(env!("CARGO_BIN_EXE_mjpeg"), 1);
    assert_eq!(firmware.size(), (640, 480), "what it starts with");
    assert!(firmware.text("/").contains("<html"));

    // Settings reach the driver's sensor, and what is no setting changes nothing.
    firmware.text("/control?var=framesize&val=6");
    assert_eq!(firmware.size(), (320, 240));
    for wrong in ["framesize&val=99", "framesize&val=24", "no_such&val=1", "quality&val=-1"] {
        let (status, _) = firmware.get(&format!("/control?var={wrong}"));
        assert_eq!(status, 400, "{wrong}");
    }
    assert!(firmware.text("/status").contains("\"framesize\":6,\"quality\":12"));
    if BOARD == "ai-thinker" {
        firmware.text("/control?var=led_intensity&val=66");
        assert_eq!(firmware.wait_for("lamp: 6"), "lamp: 66");
    }

    // A stream has the mode that the firmware was built for.
    let mut stream = firmware.connect("/stream");
    let mut frames = Vec::new();
    while frames.len() < 10 {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).unwrap();
        if let Some(number) = line.strip_prefix(b"X-Frame: ") {
            frames.push(String::from_utf8_lossy(number).trim().parse::<u64>().unwrap());
        }
    }
    assert!(frames.is_sorted());
    let mode = if DELIVERY == Delivery::Every { "all" } else { "live" };
    let stats = firmware.text("/stats");
    assert!(stats.contains(&format!("\"kind\":\"{BOARD}\"")), "{stats}");
    assert!(stats.contains(&format!("\"mode\":\"{mode}\"")), "{stats}");
    assert_eq!(firmware.text("/healthz"), "ok\n");
}

#[test]
fn only_who_may() {
    let firmware = Firmware::start(env!("CARGO_BIN_EXE_mjpeg"), 1);
    let status = |target, credentials| firmware.get_as(target, credentials).0;
    let is_open = AUTH.is_none() && TOKEN.is_none();
    for target in ["/", "/capture", "/stats", "/nothing"] {
        let there = if target == "/nothing" { 404 } else { 200 };
        let expected = |is_right| if is_right || is_open { there } else { 401 };
        assert_eq!(status(target, ""), expected(false));
        assert_eq!(status(target, "Authorization: Bearer T-2\r\n"), expected(false));
        assert_eq!(status(target, "Authorization: Bearer T-1\r\n"), expected(TOKEN == Some("T-1")));
        let basic = "Authorization: Basic YW5uYTpzZWNyZXQ=\r\n";
        assert_eq!(status(target, basic), expected(AUTH == Some("anna:secret")));
    }
    let own = format!("http://127.0.0.1:{}", firmware.ports[0]);
    for (origin, is_right) in [
        (own.as_str(), true),
        ("http://127.0.0.1:1", false),
        ("https://a.example", ORIGINS.contains(&"https://a.example")),
        ("https://b.example", false),
    ] {
        let opened = firmware.web_socket(firmware.ports[0], "/ws", Some(origin));
        assert_eq!(opened.is_ok(), is_right, "{origin}");
    }
}

#[test]
fn web_sockets_at_a_port_of_their_own() {
    let firmware = Firmware::start(env!("CARGO_BIN_EXE_websocket"), 2);
    assert!(firmware.text("/").contains("<html"));
    for port in &firmware.ports {
        for target in ["/", "/ws"] {
            let mut viewer = firmware.web_socket(*port, target, None).unwrap();
            for _ in 0..5 {
                // Every message is a picture.
                let Message::Binary(picture) = viewer.read().unwrap() else { panic!("no picture") };
                let picture = jpeg::inspect(&picture).expect("a picture");
                assert_eq!((picture.width, picture.height), (640, 480));
            }
        }
    }
}
