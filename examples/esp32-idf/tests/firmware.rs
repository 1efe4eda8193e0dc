//! The firmware itself, as it was built: on a computer, with the simulated camera.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use camwire::frame::jpeg;
use camwire_esp32_idf::Delivery;
use camwire_esp32_idf::settings::{BOARD, DELIVERY};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

/// The program while it runs, and what it prints.
struct Firmware {
    program: Child,
    printed: mpsc::Receiver<String>,
    port: u16,
}

impl Firmware {
    fn start() -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_mjpeg"))
            .env("CAMWIRE_PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, printed) = mpsc::channel();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let mut firmware = Self { program, printed, port: 0 };
        let open = firmware.wait_for("open http://127.0.0.1:");
        firmware.port = open.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
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
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "GET {target} HTTP/1.1\r\nHost: board\r\n\r\n").unwrap();
        BufReader::new(socket)
    }

    /// The status and the body.
    fn get(&self, target: &str) -> (u16, Vec<u8>) {
        let mut answer = Vec::new();
        self.connect(target).read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer.split_off(end + 4))
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

impl Drop for Firmware {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn the_firmware_serves_its_camera() {
    let firmware = Firmware::start();
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
