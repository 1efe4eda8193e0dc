//! The camera against the simulated driver: pictures, buffers, faults, start and end.

use camwire_esp32cam::{
    Board, BufferMemory, Camera, CameraError, Config, ConfigError, EspError, GrabMode, Sccb,
    StartError,
};
use camwire_frame::{
    BlockingFrameSource, CaptureError, Control, Quality, Resolution, Setting, jpeg,
};
use embassy_futures::block_on;
use esp32_camera_simulator::{Counts, Fault, Simulator};

fn config() -> Config {
    Config::new(Board::AI_THINKER.pins).largest(Resolution::VGA)
}

fn slot() -> Vec<u8> {
    vec![0xA5; Resolution::UXGA.jpeg_bytes()]
}

fn set(camera: &mut Camera, resolution: Resolution) {
    block_on(camera.set(Setting::Resolution(resolution))).unwrap();
}

#[test]
fn the_configuration_arrives_in_every_field() {
    let simulator = Simulator::default();
    let config = Config::new(Board::AI_THINKER.pins)
        .largest(Resolution::UXGA)
        .quality(Quality::new(9).unwrap())
        .buffers(3, BufferMemory::Internal)
        .grab(GrabMode::WhenEmpty)
        .xclk_hz(16_000_000)
        .ledc(2, 5);
    drop(Camera::start(&config).unwrap());
    let pins = [32, -1, 0, 26, 27, 35, 34, 39, 36, 21, 19, 18, 5, 25, 23, 22];
    let rest = [16_000_000, 2, 5, 4, 15, 9, 3, 1, 0, 0];
    assert_eq!(simulator.config()[..16], pins);
    assert_eq!(simulator.config()[16..], rest);

    let mut pins = Board::ESP32_S3_EYE.pins;
    pins.sccb = Sccb::Port(1);
    pins.xclk = None;
    pins.pwdn = Some(1);
    pins.reset = Some(2);
    drop(Camera::start(&Config::new(pins)).unwrap());
    let pins = [1, 2, -1, -1, -1, 16, 17, 18, 12, 10, 8, 9, 11, 6, 7, 13];
    let defaults = [20_000_000, 0, 0, 4, 11, 12, 2, 0, 1, 1];
    assert_eq!(simulator.config()[..16], pins);
    assert_eq!(simulator.config()[16..], defaults);
}

#[test]
fn a_wrong_configuration_does_not_reach_the_driver() {
    let simulator = Simulator::default();
    let with = |change: fn(&mut camwire_esp32cam::Pins)| {
        let mut pins = Board::AI_THINKER.pins;
        change(&mut pins);
        Config::new(pins)
    };
    for (config, error) in [
        (with(|pins| pins.pclk = 49), ConfigError::NoSuchPin(49)),
        (with(|pins| pins.reset = Some(255)), ConfigError::NoSuchPin(255)),
        (with(|pins| pins.pclk = pins.href), ConfigError::PinTwice(23)),
        (with(|pins| pins.y9_to_y2[7] = 26), ConfigError::PinTwice(26)),
        (with(|pins| pins.sccb = Sccb::Port(2)), ConfigError::Port(2)),
        (config().buffers(0, BufferMemory::Psram), ConfigError::NoBuffer),
        (config().xclk_hz(0), ConfigError::Clock(0)),
        (config().xclk_hz(u32::MAX), ConfigError::Clock(u32::MAX)),
        (config().ledc(4, 0), ConfigError::Ledc),
        (config().ledc(0, 8), ConfigError::Ledc),
    ] {
        assert_eq!(Camera::start(&config).unwrap_err(), StartError::Config(error));
    }
    assert_eq!(simulator.counts(), Counts::default());
}

#[test]
fn a_failed_start_has_the_drivers_name_and_leaves_nothing_behind() {
    let simulator = Simulator::default();
    for (code, name) in [
        (0x20001, "ESP_ERR_CAMERA_NOT_DETECTED"),
        (0x20002, "ESP_ERR_CAMERA_FAILED_TO_SET_FRAME_SIZE"),
        (0x20003, "ESP_ERR_CAMERA_FAILED_TO_SET_OUT_FORMAT"),
        (0x20004, "ESP_ERR_CAMERA_NOT_SUPPORTED"),
        (0x106, "ESP_ERR_NOT_SUPPORTED"),
        (0x101, "ESP_ERR_NO_MEM"),
        (0x7777, "esp_err_t 0x7777"),
    ] {
        simulator.fail_init(code);
        let error = Camera::start(&config()).unwrap_err();
        assert_eq!(error.to_string(), name);
        assert!(matches!(error, StartError::Driver(error) if error.code() == code));
    }
    simulator.fail_init(0);
    simulator.remove_psram();
    let error = Camera::start(&config()).unwrap_err();
    assert_eq!(error, StartError::Driver(EspError::ESP_FAIL));
    let internal = config().buffers(1, BufferMemory::Internal);
    drop(Camera::start(&internal).expect("in internal RAM it fits"));
}

#[test]
fn there_is_one_camera_at_a_time() {
    let simulator = Simulator::default();
    let first = Camera::start(&config()).unwrap();
    assert_eq!(Camera::start(&config()).unwrap_err(), StartError::InUse);
    drop(first);
    let second = Camera::start(&config()).expect("the first is gone");
    let moved = std::thread::spawn(move || second.frame().map(|frame| frame.len()));
    assert!(moved.join().unwrap().unwrap() > 0);
    let counts = Counts { inits: 2, deinits: 2, gets: 1, returns: 1, orders: 0 };
    assert_eq!(simulator.counts(), counts);
}

#[test]
fn a_picture_is_copied_out_and_its_buffer_goes_back_at_once() {
    let simulator = Simulator::default();
    let mut camera = Camera::start(&config().buffers(1, BufferMemory::Psram)).unwrap();
    let mut slot = slot();
    let mut before = camwire_esp32cam::now();
    for number in 1..=50 {
        let info = camera.capture(&mut slot).unwrap();
        assert_eq!(simulator.lent(), 0);
        assert_eq!((info.width, info.height), (640, 480));
        assert_eq!(jpeg::inspect(&slot[..info.len]).unwrap().len, info.len);
        assert_eq!(slot[25..33], [0, 0, 0, 0, 0, 0, number / 16, number % 16]);
        assert!(info.captured_at > before, "each is a new one");
        before = info.captured_at;
    }
}

#[test]
fn a_picture_that_does_not_fit_says_what_it_needs_and_goes_back() {
    let simulator = Simulator::default();
    let mut camera = Camera::start(&config()).unwrap();
    let Err(CaptureError::TooLarge { needed }) = camera.capture(&mut [0; 100]) else {
        panic!("it does not fit");
    };
    assert_eq!(simulator.lent(), 0);
    assert_eq!(camera.capture(&mut slot()[..needed]).unwrap().len, needed);
}

#[test]
fn silence_is_a_timeout_and_ends() {
    let simulator = Simulator::default();
    let mut camera = Camera::start(&config()).unwrap();
    simulator.plan_rest(Fault::Silence);
    let before = simulator.now();
    assert_eq!(camera.capture(&mut slot()), Err(CaptureError::Source(CameraError::Timeout)));
    assert_eq!(simulator.now() - before, 4_000_000);
    simulator.plan_rest(Fault::WithoutEnd);
    assert_eq!(camera.capture(&mut slot()), Err(CaptureError::Source(CameraError::Timeout)));
    simulator.plan_rest(Fault::Good);
    assert!(camera.capture(&mut slot()).is_ok());
}

#[test]
fn broken_pictures_are_passed_over_and_counted() {
    let simulator = Simulator::default();
    let mut camera = Camera::start(&config()).unwrap();
    use Fault::{Broken, NotJpeg, TooLarge, WithoutEnd};
    simulator.plan(&[Broken, WithoutEnd, NotJpeg, Broken, TooLarge]);
    let mut slot = slot();
    let info = camera.capture(&mut slot).unwrap();
    assert_eq!(jpeg::inspect(&slot).unwrap().len, info.len);
    assert_eq!(camera.broken(), 2, "the driver keeps the others to itself");

    simulator.plan_rest(Broken);
    assert_eq!(camera.capture(&mut slot), Err(CaptureError::Broken));
    assert_eq!(camera.broken(), 10);
    assert_eq!(simulator.lent(), 0);
}

#[test]
fn the_true_end_is_found_where_the_driver_tells_a_later_one() {
    let simulator = Simulator::default();
    let mut camera = Camera::start(&config()).unwrap();
    let mut slot = slot();
    let true_length = camera.capture(&mut slot).unwrap().len;
    simulator.plan_rest(Fault::StaleTail);
    // What has been queued or begun till now is good still.
    simulator.advance_millis(200);
    assert_eq!(camera.frame().unwrap().len(), true_length + 102);
    assert_eq!(camera.capture(&mut slot).unwrap().len, true_length);
}

#[test]
fn the_size_is_the_pictures_own_while_a_change_is_under_way() {
    let simulator = Simulator::default();
    let mut camera = Camera::start(&config().grab(GrabMode::WhenEmpty)).unwrap();
    let mut slot = slot();
    for (size, expected) in [
        (Resolution::QVGA, (320, 240)),
        (Resolution::VGA, (640, 480)),
        (Resolution::R96X96, (96, 96)),
    ] {
        // The driver has older ones queued.
        simulator.advance_millis(200);
        set(&mut camera, size);
        let seen = jpeg::inspect(&camera.frame().unwrap()).unwrap();
        assert_ne!((seen.width, seen.height), expected, "else this tests nothing");
        let info = camera.capture(&mut slot).unwrap();
        assert_eq!((info.width, info.height), expected, "from the next picture on");
    }
}

#[test]
fn grab_modes_differ_as_the_driver_says() {
    let simulator = Simulator::default();
    let age = |grab| {
        let camera = Camera::start(&config().grab(grab)).unwrap();
        simulator.advance_millis(10_000);
        let frame = camera.frame().unwrap();
        camwire_esp32cam::now().saturating_since(frame.captured_at()).as_millis()
    };
    assert!(age(GrabMode::WhenEmpty) > 9_000);
    assert!(age(GrabMode::Latest) < 100);
}

#[test]
fn nothing_from_before_a_resume_is_delivered() {
    let simulator = Simulator::default();
    for grab in [GrabMode::WhenEmpty, GrabMode::Latest] {
        let mut camera = Camera::start(&config().grab(grab)).unwrap();
        camera.capture(&mut slot()).unwrap();
        camera.pause();
        simulator.advance_millis(10_010);
        camera.resume();
        let resumed = camwire_esp32cam::now();
        assert!(camera.capture(&mut slot()).unwrap().captured_at > resumed);
    }
}

#[test]
fn as_many_frames_are_out_as_there_are_buffers() {
    let simulator = Simulator::default();
    let camera = Camera::start(&config().buffers(3, BufferMemory::Psram)).unwrap();
    let mut frames: Vec<_> = (0..3).map(|_| camera.frame().unwrap()).collect();
    let copies: Vec<_> = frames.iter().map(|frame| frame.to_vec()).collect();
    assert_eq!(simulator.lent(), 3);
    assert_eq!(camera.frame().unwrap_err(), CameraError::Timeout);
    assert!(frames.iter().zip(&copies).all(|(frame, copy)| **frame == **copy));
    drop(frames.remove(1));
    assert_eq!(simulator.lent(), 2);
    assert!(camera.frame().is_ok());
}

#[test]
fn a_forgotten_frame_comes_back_before_the_driver_ends() {
    let simulator = Simulator::default();
    let camera = Camera::start(&config()).unwrap();
    std::mem::forget(camera.frame().unwrap());
    assert_eq!(simulator.lent(), 1);
    drop(camera);
    assert_eq!(simulator.misuse(), None);
}
