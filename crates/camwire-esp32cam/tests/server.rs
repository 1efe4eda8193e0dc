//! The whole way of a picture over the simulated driver: sensor, capture loop, ring, server. What
//! viewers get, what the sensor is told, and what is said of a driver that fails or hangs.

mod sensor;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camwire_capture::{
    CaptureConfig, FrameRing, Policy, Settings, SourceStatus, capture_loop_with_settings,
};
use camwire_esp32cam::{Board, Config as CameraConfig, EspError, RestartingCamera};
use camwire_frame::{Blocking, Clock, Instant, Random, Resolution, SettingName, jpeg};
use camwire_multipart::{Config as DecoderConfig, Decoder, Event};
use camwire_server::{Config, Sequential, Server, ViewerSlot};
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::{block_on, join::join, yield_now};
use embedded_io_async::{ErrorType, Read, Write};
use esp32_camera_simulator::{Fault, Simulator};
use sensor::ORDERS;
use serde_json::Value;

/// Far above what anything here takes, on the computer's own clock.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The driver's clock, as in firmware. It is simulated, so to wait is to look at it again.
struct Time;

impl Clock for Time {
    fn now(&self) -> Instant {
        camwire_esp32cam::now()
    }

    async fn sleep_until(&self, at: Instant) {
        while self.now() < at {
            yield_now().await;
        }
    }
}

/// Never ends.
async fn time_passes(simulator: &Simulator) {
    loop {
        simulator.advance_millis(1);
        yield_now().await;
    }
}

/// Waits for it, but not for ever: a test is to fail, not to hang.
async fn until(it_is_so: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !it_is_so().await {
        assert!(begun.elapsed() < GIVE_UP, "it never comes");
        yield_now().await;
    }
}

/// A connection whose peer has sent its request and then waits.
struct Request(Vec<u8>);

/// What the peer has got.
struct Received<'a>(&'a RefCell<Vec<u8>>);

impl ErrorType for Request {
    type Error = Infallible;
}

impl Read for Request {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        if self.0.is_empty() {
            return pending().await;
        }
        let count = buf.len().min(self.0.len());
        for (to, from) in buf.iter_mut().zip(self.0.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}

impl ErrorType for Received<'_> {
    type Error = Infallible;
}

impl Write for Received<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().extend_from_slice(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What the statics of a firmware hold.
struct World {
    ring: &'static FrameRing<'static>,
    status: SourceStatus,
    settings: Settings,
    viewers: [ViewerSlot; 4],
}

impl World {
    fn new() -> Self {
        let slot = Resolution::UXGA.jpeg_bytes();
        Self {
            ring: FrameRing::leak(4, slot, 8, Policy::DropOldest).unwrap(),
            status: SourceStatus::new("esp32-camera"),
            settings: Settings::new(),
            viewers: [const { ViewerSlot::new() }; 4],
        }
    }

    fn server(&self) -> Server<'_, Time> {
        let random = Random::new(|| 4);
        Server::new(self.ring, &self.status, &self.viewers, Time, random, Config::default())
            .with_settings(&self.settings)
    }

    /// The camera's thread, as it is in a firmware.
    async fn capture(&self) {
        let config = CameraConfig::new(Board::AI_THINKER.pins).largest(Resolution::UXGA);
        let mut camera = Blocking(RestartingCamera::new(config));
        let mut publisher = self.ring.publisher().unwrap();
        let config = CaptureConfig::default();
        let (status, settings) = (&self.status, &self.settings);
        capture_loop_with_settings(&mut publisher, &mut camera, &Time, &config, status, settings)
            .await;
    }

    /// Runs `script` beside the camera, on one thread, where time passes in a fixed way.
    fn run<T>(&self, simulator: &Simulator, script: impl Future<Output = T>) -> T {
        match block_on(select3(script, self.capture(), time_passes(simulator))) {
            Either3::First(result) => result,
            _ => panic!("the capture loop has ended"),
        }
    }

    /// Waits until so many pictures more have been captured.
    async fn pictures(&self, count: u32) {
        let before = self.status.captured();
        until(async || self.status.captured() - before >= count).await;
    }

    /// Waits until `/healthz` says so.
    async fn ill(&self) {
        until(async || self.code("/healthz").await == 503).await;
    }

    async fn send(&self, target: &str, received: &RefCell<Vec<u8>>) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: camera.local\r\n\r\n");
        let (read, write) = (Request(request.into()), Sequential(Received(received)));
        self.server().serve(read, write, None).await.unwrap();
    }

    /// Status code and body.
    async fn ask(&self, target: &str) -> (u16, Vec<u8>) {
        // Whoever asks again and again lets the others run.
        yield_now().await;
        let received = RefCell::default();
        self.send(target, &received).await;
        let (code, _, body) = parts(&received.take());
        (code, body)
    }

    async fn code(&self, target: &str) -> u16 {
        self.ask(target).await.0
    }

    /// What `/stats` says of the source.
    async fn source(&self) -> Value {
        let (code, body) = self.ask("/stats").await;
        assert_eq!(code, 200);
        serde_json::from_slice::<Value>(&body).unwrap()["source"].take()
    }

    /// A viewer of `/stream` while `script` runs; and what it got.
    async fn watched<T>(&self, script: impl Future<Output = T>) -> (T, Vec<Picture>) {
        let received = RefCell::default();
        let result = match select(script, self.send("/stream", &received)).await {
            Either::First(result) => result,
            Either::Second(()) => panic!("the stream has ended"),
        };
        (result, pictures(&received.take()))
    }
}

/// Status code, content type and body.
fn parts(answer: &[u8]) -> (u16, String, Vec<u8>) {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let code = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: "));
    (code, content_type.unwrap().to_owned(), answer[end..].to_vec())
}

/// One picture of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Picture {
    /// The ring's number.
    sequence: u64,
    /// The simulated sensor's number.
    exposure: u32,
    size: (u16, u16),
}

/// The whole pictures of a stream; panics if one of them is none.
fn pictures(answer: &[u8]) -> Vec<Picture> {
    let (code, content_type, body) = parts(answer);
    assert_eq!(code, 200);
    let mut decoder =
        Decoder::from_content_type(content_type.as_bytes(), DecoderConfig::strict()).unwrap();
    let (mut bytes, mut sequence) = (Vec::new(), None);
    let mut pictures = Vec::new();
    let mut events = decoder.feed(&body);
    while let Some(event) = events.next().unwrap() {
        match event {
            Event::PartStart { head, .. } => sequence = head.sequence,
            Event::Payload(payload) => bytes.extend_from_slice(payload),
            Event::PartEnd => {
                let picture = jpeg::inspect(&bytes).unwrap();
                assert_eq!(picture.len, bytes.len());
                // Four bits in a byte.
                let exposure = bytes[25..33].iter().fold(0, |n, half| n << 4 | u32::from(*half));
                let size = (picture.width, picture.height);
                pictures.push(Picture { sequence: sequence.take().unwrap(), exposure, size });
                bytes.clear();
            }
            event => panic!("{event:?}"),
        }
    }
    pictures
}

#[test]
fn viewers_of_the_stream_see_what_the_sensor_sees() {
    let simulator = Simulator::default();
    let world = World::new();
    let script = join(world.watched(world.pictures(60)), world.watched(world.pictures(60)));
    let ((_, first), (_, second)) = world.run(&simulator, script);
    for seen in [&first, &second] {
        assert!(seen.len() >= 55, "{}", seen.len());
        for (before, after) in seen.iter().zip(&seen[1..]) {
            assert!(before.sequence < after.sequence && before.exposure < after.exposure);
        }
        assert!(seen.iter().all(|picture| picture.size == (1600, 1200)));
    }
    // The same picture has the same number, whoever sees it.
    for picture in &first {
        let same = second.iter().find(|other| other.sequence == picture.sequence);
        assert!(same.is_none_or(|same| same == picture));
    }
    assert_eq!(world.status.errors(), 0);
}

#[test]
fn spoiled_pictures_reach_nobody() {
    use Fault::{Broken, Good, NotJpeg, Silence, StaleTail, TooLarge, WithoutEnd};
    let simulator = Simulator::default();
    let world = World::new();
    let faults = [StaleTail, Broken, Good, WithoutEnd, NotJpeg, TooLarge, Good, Silence, Broken];
    for _ in 0..20 {
        simulator.plan(&faults);
    }
    let (_, seen) = world.run(&simulator, world.watched(world.pictures(80)));
    assert!(seen.len() >= 75, "{}", seen.len());
    assert!(seen.iter().all(|picture| picture.size == (1600, 1200)));
    assert_eq!(world.status.errors(), 0, "they are passed over");
}

#[test]
fn every_name_of_control_tells_the_sensor() {
    let simulator = Simulator::default();
    let world = World::new();
    let script = async {
        for (name, function, kept) in ORDERS {
            let (min, max) = name.parse::<SettingName>().unwrap().range();
            for value in [min, max] {
                let before = simulator.counts().orders;
                let code = world.code(&format!("/control?var={name}&val={value}")).await;
                // The simulated sensor is an OV2640: larger than UXGA is nothing, and in sharpness
                // and some ranges it has less than others.
                let too_large = *name == "framesize" && value > Resolution::UXGA.number().into();
                let told = !too_large;
                assert_eq!(simulator.counts().orders - before, usize::from(told), "{name} {value}");
                if told {
                    let order = ((*function).to_owned(), i32::from(value));
                    assert_eq!(simulator.last_order(), Some(order));
                }
                let status = world.ask("/status").await.1;
                let status: Value = serde_json::from_slice(&status).unwrap();
                match (code, kept) {
                    (200, Some((min, max))) => {
                        assert_eq!(status[*name], value.clamp(*min, *max), "{name} {value}");
                    }
                    (400, _) => assert_ne!(status[*name], value, "{name}"),
                    _ => panic!("{code} for {name} {value}"),
                }
            }
        }
    };
    world.run(&simulator, script);
}

#[test]
fn bad_names_and_values_tell_the_sensor_nothing() {
    let simulator = Simulator::default();
    let world = World::new();
    let script = async {
        assert_eq!(world.code("/control?var=hmirror&val=1").await, 200);
        let before = (simulator.counts().orders, world.ask("/status").await);
        let mut bad = vec![
            "/control".to_owned(),
            "/control?var=&val=1".to_owned(),
            "/control?var=exposure&val=1".to_owned(),
            "/control?var=HMIRROR&val=0".to_owned(),
            "/control?var=framesize&val=UXXGA".to_owned(),
            // The lamp is the board's, not the sensor's.
            "/control?var=led_intensity&val=1".to_owned(),
        ];
        for (name, ..) in ORDERS {
            let (min, max) = name.parse::<SettingName>().unwrap().range();
            let values = [(min - 1).to_string(), (max + 1).to_string(), "65536".to_owned()];
            let values =
                values.into_iter().chain(["", "on", "1.0", "0x1", " 1"].map(str::to_owned));
            bad.extend(values.map(|value| format!("/control?var={name}&val={value}")));
            bad.push(format!("/control?var={name}"));
        }
        for target in &bad {
            assert_eq!(world.code(target).await, 400, "{target}");
        }
        assert_eq!((simulator.counts().orders, world.ask("/status").await), before);
    };
    world.run(&simulator, script);
}

#[test]
fn a_stream_shows_the_new_size() {
    let simulator = Simulator::default();
    let world = World::new();
    let script = async {
        world.pictures(10).await;
        assert_eq!(world.code("/control?var=framesize&val=QVGA").await, 200);
        // What was captured from then on. The one before may be on its way.
        let changed = u64::from(world.status.captured()) + 1;
        world.pictures(10).await;
        changed
    };
    let (changed, seen) = world.run(&simulator, world.watched(script));
    assert!(seen.iter().any(|picture| picture.size == (1600, 1200)));
    let after: Vec<_> = seen.iter().filter(|picture| picture.sequence > changed).collect();
    assert!(after.len() >= 5 && after.iter().all(|picture| picture.size == (320, 240)));
}

#[test]
fn a_silent_sensor_is_told_of_and_recovered_from() {
    let simulator = Simulator::default();
    let world = World::new();
    let script = async {
        assert_eq!(world.code("/control?var=vflip&val=1").await, 200);
        world.pictures(10).await;
        assert_eq!(world.code("/healthz").await, 200);
        simulator.plan_rest(Fault::Silence);
        world.ill().await;
        let source = world.source().await;
        assert_eq!(source["state"], "failed");
        assert_eq!(
            (&source["error"], &source["fps"]),
            (&"no frame within 4 seconds".into(), &0.0.into())
        );
        assert!(source["quiet_ms"].as_u64() > Some(5_000));

        simulator.plan_rest(Fault::Good);
        world.pictures(20).await;
        assert_eq!(world.code("/healthz").await, 200);
        let source = world.source().await;
        assert_eq!(source["state"], "streaming");
        assert!(source["fps"].as_f64() > Some(0.0));
        assert!(simulator.counts().inits > 1, "the driver has been started anew");
        let (_, status) = world.ask("/status").await;
        let status: Value = serde_json::from_slice(&status).unwrap();
        assert_eq!(status["vflip"], 1, "as it was set");
    };
    let ((), seen) = world.run(&simulator, world.watched(script));
    let last = seen.last().unwrap();
    assert_eq!(seen.iter().filter(|picture| picture == &last).count(), 1);
    assert!(last.sequence >= 30, "the viewer sees it all");
}

#[test]
fn a_camera_that_does_not_start_is_told_of_and_recovered_from() {
    let simulator = Simulator::default();
    simulator.fail_init(EspError::ESP_ERR_NOT_SUPPORTED.code());
    let world = World::new();
    let script = async {
        world.ill().await;
        let source = world.source().await;
        assert_eq!(source["state"], "failed");
        assert_eq!(source["error"], "ESP_ERR_NOT_SUPPORTED");
        assert_eq!(world.code("/control?var=vflip&val=1").await, 500);
        simulator.fail_init(0);
        world.pictures(10).await;
        assert_eq!(world.code("/healthz").await, 200);
    };
    let ((), seen) = world.run(&simulator, world.watched(script));
    assert!(seen.len() >= 5);
}

/// Ends the camera's thread, also when the test fails.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The camera has its own thread here, as the firmware gives it one: nothing else waits for it.
/// While it runs, the driver makes time pass; while it hangs, the test does.
#[test]
fn a_driver_that_hangs_is_told_of_and_recovered_from() {
    let simulator = Simulator::default();
    let world = World::new();
    let running = AtomicBool::new(true);
    let stopped = async {
        while running.load(Ordering::Relaxed) {
            yield_now().await;
        }
    };
    let seen = std::thread::scope(|scope| {
        let _running = Running(&running);
        scope.spawn(|| camwire_capture::block_on(select(world.capture(), stopped)));
        let script = async {
            world.pictures(10).await;
            for round in 0..3 {
                let hang = simulator.hang();
                hang.wait_until_caught();
                let before = (world.status.captured(), simulator.counts());
                assert_eq!(world.code("/healthz").await, 200, "nobody can know yet");
                simulator.advance_millis(6_000);
                assert_eq!(world.code("/healthz").await, 503);
                let source = world.source().await;
                assert_eq!(source["state"], "stalled");
                assert_eq!(source["fps"], 0.0);
                assert!(source["quiet_ms"].as_u64() >= Some(6_000));
                // Who wants something of the camera is told that it has no time.
                let asked = join(world.code("/control?var=vflip&val=1"), world.code("/capture"));
                match select(asked, time_passes(&simulator)).await {
                    Either::First(codes) => assert_eq!(codes, (503, 503)),
                    Either::Second(()) => unreachable!(),
                }
                assert_eq!(world.code("/").await, 200);
                assert_eq!((world.status.captured(), simulator.counts()), before);

                if round < 2 {
                    drop(hang);
                } else {
                    // The sensor is silent when the driver comes back: it is started anew.
                    simulator.plan_rest(Fault::Silence);
                    drop(hang);
                    until(async || world.status.errors() > 0).await;
                    simulator.plan_rest(Fault::Good);
                    // Between two failures the capture loop waits, and the driver does nothing.
                    select(world.pictures(1), time_passes(&simulator)).await;
                }
                world.pictures(10).await;
                assert_eq!(world.code("/healthz").await, 200);
                assert_eq!(world.source().await["state"], "streaming");
                let (_, status) = world.ask("/status").await;
                let status: Value = serde_json::from_slice(&status).unwrap();
                assert_eq!(status["vflip"], 0, "what was given up is not done later");
            }
        };
        let ((), seen) = block_on(world.watched(script));
        seen
    });
    assert!(seen.is_sorted_by_key(|picture| picture.sequence));
    assert!(seen.iter().all(|picture| picture.size == (1600, 1200)));
    assert!(simulator.counts().inits > 1);
    let counts = simulator.counts();
    assert_eq!((counts.gets, counts.inits), (counts.returns, counts.deinits));
}
