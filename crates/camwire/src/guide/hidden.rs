// What the guide's pages do in a test run, where a reader of the pages sees nothing of it: each
// page's program has a hidden line that includes this file, and another that calls it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use camwire::embassy::EmbassyClock;
use camwire::frame::{Quality, Random, Resolution};
use camwire::pattern::TestSource;
use camwire::capture::{CaptureConfig, FrameRing, Policy, SourceStatus, block_on, capture_loop};
use camwire::server::{Config, Server, ViewerSlot};

/// A door of this machine, for tokio, and where it is.
pub fn door() -> (TcpListener, SocketAddr) {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    door.set_nonblocking(true).unwrap();
    (door, address)
}

/// An executor of tokio's on a thread of its own.
pub fn spawn<F: Future>(program: impl FnOnce() -> F + Send + 'static) {
    thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { drop(program().await) });
    });
}

/// A camera as of the page on embassy, with a test card and room for one viewer.
pub fn camera() -> &'static Server<'static, EmbassyClock> {
    static STATUS: SourceStatus = SourceStatus::new("test card");
    static PLACES: [ViewerSlot; 1] = [ViewerSlot::new()];
    thread::spawn(|| {
        // embassy's time is this one here.
        let clock = embassy_time::MockDriver::get();
        loop {
            thread::sleep(Duration::from_millis(1));
            clock.advance(embassy_time::Duration::from_millis(1));
        }
    });
    let ring = FrameRing::leak(3, 32 * 1024, 1, Policy::DropOldest).unwrap();
    thread::spawn(|| {
        let source =
            &mut TestSource::new(EmbassyClock, Resolution::QVGA, Quality::new(12).unwrap());
        let mut config = CaptureConfig::default();
        config.rate = "15".parse().ok();
        let publisher = &mut ring.publisher().unwrap();
        block_on(capture_loop(publisher, source, &EmbassyClock, &config, &STATUS));
    });
    let random = Random::new(|| getrandom::u32().unwrap());
    let server = Server::new(ring, &STATUS, &PLACES, EmbassyClock, random, Config::default());
    Box::leak(Box::new(server))
}

/// The answer to a request: its status, its fields, and what follows. It is HTTP/1.0, so that
/// nobody chunks the body.
pub fn get(address: SocketAddr, target: &str) -> (u16, String, impl BufRead) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(socket, "GET {target} HTTP/1.0\r\nHost: camera\r\n\r\n").unwrap();
    let mut answer = BufReader::new(socket);
    let mut head = lines(&mut answer);
    let fields = head.split_off(head.find("\r\n").unwrap() + 2);
    (head.split(' ').nth(1).unwrap().parse().unwrap(), fields, answer)
}

/// Somebody watches three pictures, which must be JPEG and so wide, and leaves. Then the next one
/// gets the place.
pub fn watch(address: SocketAddr, target: &str, width: u16) {
    for _viewer in 0..2 {
        let (mut fields, mut body) = loop {
            match get(address, target) {
                (200, fields, body) => break (fields, body),
                (503, ..) => thread::sleep(Duration::from_millis(10)),
                (status, ..) => panic!("{status}"),
            }
        };
        let lower = fields.to_lowercase();
        assert!(lower.contains("content-type: multipart/x-mixed-replace;boundary="));
        assert!(lower.contains("content-security-policy: default-src 'none'; sandbox\r\n"));
        let mut delimiter = String::new();
        body.read_line(&mut delimiter).unwrap();
        for _picture in 0..3 {
            fields = lines(&mut body);
            let (_, length) = fields.split_once("Content-Length: ").unwrap();
            let mut part = vec![0; length.lines().next().unwrap().parse().unwrap()];
            body.read_exact(&mut part).unwrap();
            let picture = camwire::frame::jpeg::inspect(&part).unwrap();
            assert_eq!((picture.len, picture.width), (part.len(), width));
            let mut tail = vec![0; 2 + delimiter.len()];
            body.read_exact(&mut tail).unwrap();
            assert!(tail.ends_with(delimiter.as_bytes()));
        }
    }
}

/// Up to the blank line.
fn lines(from: &mut impl BufRead) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        assert_ne!(from.read_line(&mut text).unwrap(), 0, "{text}");
    }
    text
}
