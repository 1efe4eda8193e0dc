//! The three ways of delivery, and a relay, each as the firmware does it, over real connections.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use camwire::capture::{FrameRing, Settings, SourceStatus};
use camwire::frame::{
    BlockingFrameSource, CaptureError, Clock as _, Control, ControlError, FrameInfo, Instant,
    Random, Setting, SettingName,
};
use camwire::server::{Authorization, Config, Push, Server, ViewerSlot};
use camwire::websocket::Uri;
use camwire_esp32_idf::camera;
use camwire_esp32_idf::clock::Clock;
use camwire_esp32_idf::delivery::{self, CONNECTIONS, Delivery, VIEWERS};
use camwire_esp32_idf::push;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket, accept_hdr};

/// More than the sockets on both sides hold, so that who does not read stops the server.
const PICTURE_BYTES: usize = 60_000;

/// A camera of numbered pictures.
struct Camera {
    clock: Clock,
    number: u32,
    pause: Duration,
}

impl BlockingFrameSource for Camera {
    type Error = Infallible;

    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Infallible>> {
        thread::sleep(self.pause);
        self.number += 1;
        let picture = &mut buf[..PICTURE_BYTES];
        picture.fill(self.number as u8);
        let captured_at = self.clock.now();
        Ok(FrameInfo { len: PICTURE_BYTES, captured_at, ..FrameInfo::default() })
    }
}

impl Control for Camera {
    type Error = Infallible;

    async fn set(&mut self, _: Setting) -> Result<(), ControlError<Infallible>> {
        Err(ControlError::Unsupported)
    }

    fn get(&self, _: SettingName) -> Option<Setting> {
        None
    }
}

/// A board with that delivery, and nobody else who makes threads meanwhile.
struct Board {
    address: SocketAddr,
    ring: &'static FrameRing<'static>,
    server: &'static Server<'static, Clock>,
    _alone: MutexGuard<'static, ()>,
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Threads that serve viewers.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let names = tasks.flat_map(|task| fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.trim() == "viewers").count()
}

impl Board {
    fn start(delivery: Delivery, pause: Duration) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = threads();

        let (slots, policy) = (delivery.slots(), delivery.policy());
        let ring = FrameRing::leak(slots, PICTURE_BYTES, CONNECTIONS, policy).unwrap();
        let clock = Clock::agreeing_with(Instant::ZERO);
        let (status, settings) = (leak(SourceStatus::new("numbers")), leak(Settings::new()));
        let places = leak([const { ViewerSlot::new() }; VIEWERS]);
        let mut config = Config::default();
        config.mode = delivery.mode();
        config.progress_timeout = delivery.patience();
        let server: &_ = leak(Server::new(ring, status, places, clock, Random::new(|| 4), config));
        let camera = Camera { clock, number: 0, pause };
        camera::capture(camera, ring, clock, status, settings).unwrap();
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = door.local_addr().unwrap();
        delivery::serve(delivery, vec![door], server).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while threads() < before + delivery.threads() && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1)); // A thread names itself.
        }
        assert_eq!(threads() - before, delivery.threads());
        Self { address, ring, server, _alone: alone }
    }

    fn viewer(&self) -> Viewer {
        self.get("/stream")
    }

    fn get(&self, target: &str) -> Viewer {
        for _ in 0..1000 {
            let mut viewer = self.ask(target);
            let status = viewer.line().unwrap();
            if status.starts_with("HTTP/1.1 200") {
                while !viewer.line().unwrap().is_empty() {}
                return viewer;
            }
            // Those who have left just now have their places still.
            assert!(status.starts_with("HTTP/1.1 503"), "{status}");
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no place becomes free");
    }

    fn ask(&self, target: &str) -> Viewer {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let mut socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(socket, "GET {target} HTTP/1.1\r\nHost: board\r\n\r\n").unwrap();
        Viewer { socket: BufReader::new(socket), last: None }
    }
}

/// Somebody who watches.
struct Viewer {
    socket: BufReader<TcpStream>,
    last: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Picture {
    number: u64,
    missed: u64,
}

impl Viewer {
    /// `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.socket.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    }

    /// The next picture that is not the last one again. `None` when the server has hung up.
    fn next(&mut self) -> Option<Picture> {
        loop {
            let picture = self.next_or_again()?;
            if self.last.replace(picture.number) != Some(picture.number) {
                return Some(picture);
            }
        }
    }

    /// The last picture before the camera stands still, which is then sent again.
    fn last_before_the_stop(&mut self) -> u64 {
        loop {
            let picture = self.next_or_again().expect("the stream goes on");
            if self.last.replace(picture.number) == Some(picture.number) {
                return picture.number;
            }
        }
    }

    fn next_or_again(&mut self) -> Option<Picture> {
        assert!(self.line()?.starts_with("--"));
        let (mut length, mut number, mut missed) = (0, 0, 0);
        while let Some((name, value)) = self.line()?.split_once(": ") {
            match name {
                "Content-Length" => length = value.parse().unwrap(),
                "X-Frame" => number = value.parse().unwrap(),
                "X-Missed" => missed = value.parse().unwrap(),
                _ => {}
            }
        }
        let mut picture = vec![0; length];
        self.socket.read_exact(&mut picture).ok()?;
        assert_eq!(length, PICTURE_BYTES);
        assert!(picture.iter().all(|byte| *byte == picture[0]), "torn");
        assert_eq!(self.line()?, "");
        if let Some(last) = self.last.filter(|last| *last != number) {
            assert_eq!(missed, number - last - 1, "what it missed is told");
        }
        Some(Picture { number, missed })
    }

    fn watch(&mut self, pictures: usize) -> Vec<Picture> {
        (0..pictures).map(|_| self.next().expect("the stream goes on")).collect()
    }
}

/// All of them at once; the numbers that each has seen.
fn watch(viewers: &mut [Viewer], pictures: usize) -> Vec<Vec<u64>> {
    thread::scope(|scope| {
        let watching: Vec<_> =
            viewers.iter_mut().map(|viewer| scope.spawn(move || viewer.watch(pictures))).collect();
        let seen = watching.into_iter().map(|viewer| viewer.join().unwrap());
        seen.map(|pictures| pictures.iter().map(|picture| picture.number).collect()).collect()
    })
}

/// One task for all, and the same pictures for all, of which there are never more than three.
#[test]
fn together() {
    let board = Board::start(Delivery::Together, Duration::from_millis(80));
    assert_eq!(board.ring.slots(), 3);
    let mut viewers: Vec<Viewer> = (0..VIEWERS).map(|_| board.viewer()).collect();
    watch(&mut viewers, 5);
    let seen = watch(&mut viewers, 40);
    let first = seen.iter().map(|numbers| numbers[0]).max().unwrap();
    let last = seen.iter().map(|numbers| numbers[39]).min().unwrap();
    let of_all = |number: &u64| seen.iter().all(|numbers| numbers.contains(number));
    let same = (first..=last).filter(of_all).count();
    assert!(same * 10 >= (last - first + 1) as usize * 8, "{same} of {first} to {last}");

    // Three that stall, each with another picture, have all the memory there is: the camera stands
    // still until the ring has asked one of them back. Then the others go on.
    let dropped = board.ring.dropped();
    drop(viewers);
    let mut awake = [board.viewer(), board.viewer()];
    let mut stalled: Vec<Viewer> = Vec::new();
    for _ in 0..3 {
        stalled.push(board.viewer());
        stalled.iter_mut().last().unwrap().watch(1);
        watch(&mut awake, 3);
    }
    let seen = watch(&mut awake, 40);
    assert!(board.ring.dropped() > dropped, "else there is room for all, and three do not suffice");
    assert!(seen.iter().all(|numbers| numbers.is_sorted()));
}

/// A task and a picture's memory for each: nobody ever waits for anybody.
#[test]
fn newest() {
    let board = Board::start(Delivery::Newest, Duration::from_millis(20));
    let mut viewers: Vec<Viewer> = (0..VIEWERS).map(|_| board.viewer()).collect();
    let (awake, stalled) = viewers.split_at_mut(1);
    // They stall one after another, so that each has another picture.
    for viewer in stalled.iter_mut() {
        viewer.watch(1);
        awake[0].watch(2);
    }
    awake[0].watch(40);
    assert_eq!(board.ring.dropped(), 0, "there is memory for all of them");

    // Who comes back is at the newest at once, and has been told what it missed.
    let now = awake[0].watch(1)[0].number;
    let back = stalled[0].watch(3);
    assert!(back[1].missed > 20 && back[1].number >= now, "{back:?} at {now}");
}

/// A task for each, and every picture to each, at the pace of the slowest.
#[test]
fn every() {
    let board = Board::start(Delivery::Every, Duration::from_millis(20));
    let (mut fast, mut slow) = (board.viewer(), board.viewer());
    let first = slow.watch(1)[0].number;
    fast.watch(1);
    let at = AtomicU64::new(first);
    let ahead = thread::scope(|scope| {
        let ahead = scope.spawn(|| {
            let pictures = (0..48).map(|_| fast.watch(1)[0]);
            let pictures = pictures.inspect(|picture| assert_eq!(picture.missed, 0));
            pictures.map(|picture| picture.number.saturating_sub(at.load(SeqCst))).max()
        });
        for n in 1..=40 {
            thread::sleep(Duration::from_millis(45));
            let picture = slow.watch(1)[0];
            assert_eq!(picture, Picture { number: first + n, missed: 0 });
            at.store(picture.number, SeqCst);
        }
        ahead.join().unwrap().unwrap()
    });
    assert!((3..=board.ring.slots() as u64).contains(&ahead), "{ahead} pictures between them");
    assert_eq!(board.ring.dropped(), 0);

    // `mode=live` asks for something else, and holds nobody back.
    let mut live = board.get("/stream?mode=live");
    live.watch(1);
    watch(&mut [fast, slow], 60);
    let back = live.watch(2);
    assert!(back[1].missed > 20, "{back:?}");
    drop(live);

    // One that takes nothing at all holds the camera up, once all memory but for the picture that it
    // is at is behind it, and is dropped before anybody finds the camera ill.
    let (mut stalled, mut fast) = (board.viewer(), board.viewer());
    let at = stalled.watch(1)[0].number;
    let ahead = fast.last_before_the_stop() - at;
    assert_eq!(ahead, board.ring.slots() as u64, "all, and the one that is in the sockets");
    let mut health = board.ask("/healthz");
    let status = health.line().unwrap();
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    let seen = fast.watch(60);
    assert!(seen.iter().all(|picture| picture.missed == 0));
    while stalled.next().is_some() {}
}

/// What a relay has of a camera.
struct Pushed(WebSocket<TcpStream>);

impl Pushed {
    fn accept(door: &TcpListener) -> Self {
        #[allow(clippy::result_large_err)] // As tungstenite wants it.
        let check = |request: &Request, mut response: Response| -> Result<_, ErrorResponse> {
            assert_eq!(request.uri().path(), "/ingest");
            assert_eq!(request.headers()["Authorization"], "Bearer T-1");
            assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "camwire.v1");
            let protocol = HeaderValue::from_static("camwire.v1");
            response.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
            Ok(response)
        };
        let socket = door.accept().unwrap().0;
        Self(accept_hdr(socket, check).unwrap())
    }

    /// The number of the next picture, which is whole. `None` if none comes in that time.
    fn next(&mut self, patience: Duration) -> Option<u64> {
        self.0.get_mut().set_read_timeout(Some(patience)).unwrap();
        loop {
            match self.0.read() {
                Ok(Message::Binary(message)) => {
                    let (head, picture) = message.split_at(24);
                    assert_eq!(picture.len(), PICTURE_BYTES);
                    assert!(picture.iter().all(|byte| *byte == picture[0]), "torn");
                    return Some(u64::from_be_bytes(head[8..16].try_into().unwrap()));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(_)) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn say(&mut self, what: u8, number: &[u8]) {
        self.0.send(Message::binary([&[what], number].concat())).unwrap();
    }
}

/// Over one connection after another; and only while it asks for pictures.
#[test]
fn to_a_relay() {
    let board = Board::start(Delivery::Newest, Duration::from_millis(20));
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let uri = format!("ws://localhost:{}/ingest", door.local_addr().unwrap().port());
    let mut to = Push::to(Uri::parse(uri.leak()).unwrap());
    to.authorization = Authorization::bearer("T-1").ok();
    push::start(board.server, to).unwrap();

    let mut viewer = board.viewer();
    let mut last = 0;
    for _ in 0..3 {
        let mut camera = Pushed::accept(&door);
        assert_eq!(camera.next(Duration::from_millis(200)), None, "nobody has asked");
        camera.say(2, &[2]);
        for _ in 0..10 {
            let number = camera.next(Duration::from_secs(20)).expect("a picture");
            assert!(number > last);
            camera.say(1, &number.to_be_bytes());
            last = number;
        }
        // The connection breaks, and nobody else notices.
        drop(camera);
        viewer.watch(10);
    }
}
