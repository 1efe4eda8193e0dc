//! A camera that is started when it is wanted and again when it fails, against the simulated driver.

use camwire_esp32cam::{Board, CameraError, Config, EspError, RestartingCamera, StartError};
use camwire_frame::{
    BlockingFrameSource, CaptureError, Control, ControlError, Quality, Resolution, Setting,
    SettingName, jpeg,
};
use embassy_futures::block_on;
use esp32_camera_simulator::{Counts, Fault, Simulator};

fn camera() -> RestartingCamera {
    RestartingCamera::new(Config::new(Board::AI_THINKER.pins).largest(Resolution::SVGA))
}

fn slot() -> Vec<u8> {
    vec![0; Resolution::UXGA.jpeg_bytes()]
}

fn quality(value: i16) -> Setting {
    Setting::Quality(Quality::new(value).unwrap())
}

#[test]
fn it_starts_when_it_is_wanted_and_as_it_is_to_be_set() {
    let simulator = Simulator::default();
    let mut camera = camera().with(Setting::Resolution(Resolution::QVGA)).with(quality(40));
    camera.resume();
    assert_eq!(simulator.counts(), Counts::default());
    assert_eq!(camera.get(SettingName::Quality), Some(quality(40)), "what it will be");
    assert_eq!(camera.get(SettingName::Brightness), None, "nobody knows yet");

    let info = camera.capture(&mut slot()).unwrap();
    assert_eq!((info.width, info.height), (320, 240));
    assert_eq!(camera.get(SettingName::Quality), Some(quality(40)));
    assert!(camera.get(SettingName::Brightness).is_some());
    camera.capture(&mut slot()).unwrap();
    assert_eq!((camera.starts(), simulator.counts().inits), (1, 1));
    block_on(camera.set(Setting::Resolution(Resolution::SVGA))).expect("there is room for it");
}

#[test]
fn a_camera_that_does_not_start_says_why_and_is_tried_again() {
    let simulator = Simulator::default();
    let mut camera = camera();
    simulator.fail_init(EspError::ESP_ERR_NOT_SUPPORTED.code());
    let why = CameraError::Start(StartError::Driver(EspError::ESP_ERR_NOT_SUPPORTED));
    for _ in 0..3 {
        let error = camera.capture(&mut slot()).unwrap_err();
        assert_eq!(error, CaptureError::Source(why));
        assert_eq!(error.to_string(), "ESP_ERR_NOT_SUPPORTED");
        assert_eq!(block_on(camera.set(quality(20))), Err(ControlError::Source(why)));
    }
    assert_eq!(camera.starts(), 0);
    simulator.fail_init(0);
    block_on(camera.set(quality(20))).unwrap();
    camera.capture(&mut slot()).unwrap();
    assert_eq!(camera.get(SettingName::Quality), Some(quality(20)));
    assert_eq!(camera.starts(), 1);
}

#[test]
fn a_silent_camera_is_started_anew_as_it_was_set() {
    let simulator = Simulator::default();
    let mut camera = camera();
    let mut slot = slot();
    camera.capture(&mut slot).unwrap();
    let mirrored = SettingName::HMirror.with_number(1).unwrap();
    let settings = [Setting::Resolution(Resolution::QVGA), quality(33), mirrored];
    for setting in settings {
        block_on(camera.set(setting)).unwrap();
    }
    for round in 1..4 {
        simulator.plan_rest(Fault::Silence);
        // What has come till now is still there.
        let error = loop {
            if let Err(error) = camera.capture(&mut slot) {
                break error;
            }
        };
        assert_eq!(error, CaptureError::Source(CameraError::Timeout));
        assert_eq!(simulator.counts().deinits, round, "it is stopped at once");
        for setting in settings {
            assert_eq!(camera.get(setting.name()), Some(setting), "while it is stopped");
        }
        simulator.plan_rest(Fault::Good);
        let info = camera.capture(&mut slot).unwrap();
        assert_eq!((info.width, info.height), (320, 240));
        assert_eq!(jpeg::inspect(&slot[..info.len]).unwrap().len, info.len);
        for setting in settings {
            assert_eq!(camera.get(setting.name()), Some(setting), "after it has been started");
        }
        assert_eq!(usize::try_from(camera.starts()).unwrap(), round + 1);
    }
    assert_eq!(simulator.lent(), 0);
}

#[test]
fn a_camera_of_broken_pictures_is_started_anew_and_their_count_goes_on() {
    let simulator = Simulator::default();
    let mut camera = camera();
    simulator.plan_rest(Fault::Broken);
    for round in 1..=3 {
        assert_eq!(camera.capture(&mut slot()), Err(CaptureError::Broken));
        assert_eq!((camera.starts(), camera.broken()), (round, round * 8));
    }
    simulator.plan_rest(Fault::Good);
    camera.capture(&mut slot()).unwrap();
    assert_eq!((camera.starts(), camera.broken()), (4, 24));
}

#[test]
fn a_picture_that_does_not_fit_is_no_reason_to_start_anew() {
    let simulator = Simulator::default();
    let mut camera = camera();
    for _ in 0..5 {
        let error = camera.capture(&mut [0; 100]).unwrap_err();
        assert!(matches!(error, CaptureError::TooLarge { .. }));
    }
    assert_eq!((camera.starts(), simulator.counts().inits), (1, 1));
}
