//! The driver under the capture loop and the server: a picture comes out of `/capture`, and
//! `/control` reaches the sensor.

mod simulated;

use std::convert::Infallible;
use std::future::pending;

use camwire_capture::{
    CaptureConfig, FrameRing, Policy, Settings, SourceStatus, capture_loop_with_settings,
};
use camwire_frame::{Random, Resolution, jpeg};
use camwire_server::{Config, Sequential, Server, ViewerSlot};
use embassy_futures::select::{Either3, select3};
use embassy_futures::{block_on, yield_now};
use embedded_io_async::{ErrorType, Read, Write};
use simulated::{Simulated, Time};

/// A connection whose peer has sent its request and then waits.
struct Request(Vec<u8>);

/// What the server answers.
struct Answer<'a>(&'a mut Vec<u8>);

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

impl ErrorType for Answer<'_> {
    type Error = Infallible;
}

impl Write for Answer<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.0.extend_from_slice(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What is answered to each of these, one after the other.
fn ask<const N: usize>(camera: &Simulated, targets: [&str; N]) -> [Vec<u8>; N] {
    let mut driver = camera.driver(Resolution::QVGA);
    let (_, _, time) = camera.parts();
    let ring = FrameRing::leak(4, 64 * 1024, 4, Policy::DropOldest).unwrap();
    let status = SourceStatus::new("Arducam Mega");
    let settings = Settings::new();
    let viewers = [const { ViewerSlot::new() }; 2];
    let (random, config) = (Random::new(|| 4), Config::default());
    let server: Server<'_, &Time> = Server::new(ring, &status, &viewers, &time, random, config);
    let server = server.with_settings(&settings);

    let captures = async {
        let publisher = &mut ring.publisher().unwrap();
        let config = CaptureConfig::default();
        capture_loop_with_settings(publisher, &mut driver, &time, &config, &status, &settings)
            .await;
    };
    let time_passes = async {
        loop {
            camera.advance(1000);
            yield_now().await;
        }
    };
    let answers = async {
        let mut answers = [const { Vec::new() }; N];
        for (target, answer) in targets.into_iter().zip(&mut answers) {
            let request = format!("GET {target} HTTP/1.1\r\nHost: camera.local\r\n\r\n");
            let (read, write) = (Request(request.into()), Sequential(Answer(answer)));
            server.serve(read, write, None).await.unwrap();
        }
        answers
    };
    match block_on(select3(answers, captures, time_passes)) {
        Either3::First(answers) => answers,
        _ => panic!("the capture loop has ended"),
    }
}

/// Status line, head and body.
fn parts(answer: &[u8]) -> (&str, &[u8]) {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    (head.lines().next().unwrap(), &answer[end..])
}

#[test]
fn pictures_and_settings_over_http() {
    let camera = Simulated::new(0x82);
    let [first, size, contrast, refused, second, status] = ask(
        &camera,
        [
            "/capture",
            "/control?var=framesize&val=320x320",
            "/control?var=contrast&val=-2",
            "/control?var=hmirror&val=1",
            "/capture",
            "/status",
        ],
    );
    for (answer, size) in [(&first, (320, 240)), (&second, (320, 320))] {
        let (line, body) = parts(answer);
        assert_eq!(line, "HTTP/1.1 200 OK");
        let picture = jpeg::inspect(body).unwrap();
        assert_eq!((picture.width, picture.height, picture.len), (size.0, size.1, body.len()));
    }
    for answer in [&size, &contrast] {
        assert_eq!(parts(answer).0, "HTTP/1.1 200 OK");
    }
    assert_eq!((camera.sensor().resolution, camera.sensor().contrast), (0x0C, 4));
    assert_eq!(parts(&refused).0, "HTTP/1.1 400 Bad Request");
    let status = std::str::from_utf8(parts(&status).1).unwrap();
    for shown in ["\"framesize\":7,", "\"contrast\":-2,", "\"sharpness\":0,", "\"aec\":1,"] {
        assert!(status.contains(shown), "{status}");
    }
    assert!(!status.contains("hmirror"), "{status}");
}
