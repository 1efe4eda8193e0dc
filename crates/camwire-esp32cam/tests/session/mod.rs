//! The camera over the simulated driver, driven by bytes: shared by the property test and the
//! fuzzer. Whatever a program does, the driver is not misused, no buffer is lost, and a picture that
//! is delivered is whole and new.

use std::slice::Iter;

use camwire_esp32cam::{
    Board, BufferMemory, Camera, CameraError, Config, EspError, GrabMode, RestartingCamera,
    StartError,
};
use camwire_frame::{
    BlockingFrameSource, CaptureError, Control, Instant, Resolution, SettingName, jpeg,
};
use embassy_futures::block_on;
use esp32_camera_simulator::{Fault, Simulator};

const FAULTS: [Fault; 8] = [
    Fault::Good,
    Fault::WithoutEnd,
    Fault::StaleTail,
    Fault::Broken,
    Fault::NotJpeg,
    Fault::Silence,
    Fault::TooLarge,
    Fault::Good,
];

/// Answers of the driver and of the sensor that mean no.
const REFUSALS: [i32; 4] = [-1, 1, 0x107, 0x20001];

/// Does what `operations` say, with one camera after another.
pub(crate) fn run(operations: &[u8]) {
    let simulator = Simulator::default();
    let mut session =
        Session { simulator: &simulator, bytes: operations.iter(), newest: Instant::ZERO };
    let mut buf = vec![0; Resolution::UXGA.jpeg_bytes()];
    while let Some(byte) = session.next() {
        let config = session.config();
        if byte.is_multiple_of(2) {
            let mut camera = RestartingCamera::new(config);
            while session.step(&mut camera, &mut buf) {}
        } else {
            match Camera::start(&config) {
                Ok(mut camera) => while session.step_or_lend(&mut camera, &config, &mut buf) {},
                Err(error) => assert!(matches!(error, StartError::Driver(_)), "{error}"),
            }
        }
        assert_eq!(simulator.misuse(), None);
        let counts = simulator.counts();
        assert_eq!((counts.gets, counts.inits), (counts.returns, counts.deinits));
        simulator.fail_init(0);
    }
}

struct Session<'s, 'b> {
    simulator: &'s Simulator,
    bytes: Iter<'b, u8>,
    /// Pictures begin after this.
    newest: Instant,
}

impl Session<'_, '_> {
    fn next(&mut self) -> Option<u8> {
        self.bytes.next().copied()
    }

    /// One of these; the first when the bytes are at their end.
    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.next().unwrap_or(0)) % from.len()]
    }

    fn config(&mut self) -> Config {
        Config::new(Board::AI_THINKER.pins)
            .largest(self.choose(Resolution::ALL))
            .buffers(self.choose(&[1, 2, 3, 4]), BufferMemory::Psram)
            .grab(self.choose(&[GrabMode::WhenEmpty, GrabMode::Latest]))
    }

    /// One operation of those that only a [`Camera`] has, or of the others. False at the end.
    fn step_or_lend(&mut self, camera: &mut Camera, config: &Config, buf: &mut [u8]) -> bool {
        match self.bytes.as_slice().first().map(|byte| byte % 16) {
            Some(14) => {
                self.next();
                self.lend(camera);
                true
            }
            Some(15) => {
                self.next();
                assert_eq!(Camera::start(config).unwrap_err(), StartError::InUse);
                true
            }
            _ => self.step(camera, buf),
        }
    }

    fn step<S>(&mut self, camera: &mut S, buf: &mut [u8]) -> bool
    where
        S: BlockingFrameSource<Error = CameraError> + Control,
    {
        let Some(byte) = self.next() else { return false };
        match byte % 16 {
            0 => return false,
            1..=4 => {
                let room = self.choose(&[buf.len(), 20_000, 1000, 0]);
                self.capture(camera, &mut buf[..room]);
            }
            5..=7 => {
                let name = self.choose(SettingName::ALL);
                let (min, max) = name.range();
                // The ends of its range, what lies beyond them, and some of what lies between.
                let value = match self.next().unwrap_or(0) {
                    value @ 0..=3 => max - 2 + i16::from(value),
                    value => (min - 1).saturating_add(i16::from(value - 4)),
                };
                if let Some(setting) = name.with_number(value)
                    && block_on(camera.set(setting)).is_ok()
                {
                    assert_eq!(self.simulator.last_order().unwrap().1, i32::from(value));
                    self.newest = camwire_esp32cam::now();
                }
            }
            8 => {
                camera.pause();
                camera.resume();
                self.newest = camwire_esp32cam::now();
            }
            9 => self.wait(),
            10 => {
                for _ in 0..self.choose(&[1, 3, 10, 30]) {
                    let fault = self.choose(&FAULTS);
                    self.simulator.plan(&[fault]);
                }
            }
            11 => {
                let fault = self.choose(&FAULTS);
                self.simulator.plan_rest(fault);
            }
            12 => {
                let refusal = self.choose(&REFUSALS);
                self.simulator.refuse_next(refusal);
            }
            _ => {
                let error = self.choose(&[0, EspError::ESP_FAIL.code(), REFUSALS[3]]);
                self.simulator.fail_init(error);
            }
        }
        assert_eq!(self.simulator.lent(), 0);
        assert_eq!(self.simulator.misuse(), None);
        true
    }

    fn capture<S>(&mut self, camera: &mut S, buf: &mut [u8])
    where
        S: BlockingFrameSource<Error = CameraError>,
    {
        match camera.capture(buf) {
            Ok(info) => {
                let picture = jpeg::inspect(&buf[..info.len]).unwrap();
                assert_eq!(picture.len, info.len);
                assert_eq!((picture.width, picture.height), (info.width, info.height));
                assert!(info.captured_at > self.newest, "none twice, and none from the past");
                self.newest = info.captured_at;
            }
            Err(CaptureError::TooLarge { needed }) => assert!(needed > buf.len()),
            Err(CaptureError::Broken | CaptureError::Source(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Operations during which the camera is shared.
    fn lend(&mut self, camera: &Camera) {
        let mut frames = Vec::new();
        while let Some(byte) = self.next() {
            match byte % 8 {
                0 => break,
                1..=4 => frames.extend(camera.frame().map(|frame| (frame.to_vec(), frame))),
                5 | 6 if frames.is_empty() => {}
                5 | 6 => drop(frames.remove(usize::from(byte / 8) % frames.len())),
                _ => self.wait(),
            }
            assert_eq!(self.simulator.lent(), frames.len());
            assert!(
                frames.iter().all(|(copy, frame)| copy[..] == **frame),
                "they stay as they are"
            );
        }
    }

    fn wait(&mut self) {
        let tens = self.next().unwrap_or(0);
        self.simulator.advance_millis(u32::from(tens) * 10);
    }
}
