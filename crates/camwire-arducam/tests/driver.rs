//! The driver against a simulated camera.

mod simulated;

use camwire_arducam::{Error, Firmware, Model};
use camwire_frame::{
    BlockingFrameSource, CaptureError, Control, ControlError, Resolution, Setting, SettingName,
};
use embassy_futures::block_on;
use embedded_hal::spi::ErrorKind;
use simulated::{Driver, IDS, Sensor, Simulated, When};

const SLOT: usize = 100_000;

fn capture(driver: &mut Driver, slot: usize) -> Result<Vec<u8>, CaptureError<Error<ErrorKind>>> {
    let mut buf = vec![0x55; slot];
    let info = BlockingFrameSource::capture(driver, &mut buf)?;
    buf.truncate(info.len);
    assert_eq!((info.width, info.height), size(driver), "as it is set");
    assert!(buf.starts_with(b"\xFF\xD8") && buf.ends_with(b"\xFF\xD9"));
    Ok(buf)
}

fn size(driver: &Driver) -> (u16, u16) {
    match driver.get(SettingName::Resolution) {
        Some(Setting::Resolution(resolution)) => (resolution.width(), resolution.height()),
        other => panic!("{other:?}"),
    }
}

fn set(driver: &mut Driver, name: SettingName, number: i16) -> Result<(), Refusal> {
    block_on(driver.set(name.with_number(number).expect("in range")))
}

type Refusal = ControlError<Error<ErrorKind>>;

#[test]
fn it_finds_out_what_the_camera_is() {
    let models = [Model::Mega5, Model::Mega3, Model::Mega5V2, Model::Mega3V2];
    for (id, model) in IDS.into_iter().zip(models) {
        let driver = Simulated::new(id).driver(Resolution::QVGA);
        assert_eq!(driver.model(), model);
        let firmware = Firmware { year: 23, month: 4, day: 12, version: 0x21 };
        assert_eq!(driver.firmware(), firmware);
    }
}

#[test]
fn what_is_no_camera_is_refused() {
    for (id, busy, error) in [
        (0x00, false, Error::UnknownModel { id: 0x00 }),
        (0x85, false, Error::UnknownModel { id: 0x85 }),
        (0xFF, false, Error::UnknownModel { id: 0xFF }),
        (0x81, true, Error::Busy),
    ] {
        let camera = Simulated::new(id);
        camera.faults(|faults| faults.busy = busy);
        let (spi, delay, time) = camera.parts();
        let made = Driver::new_blocking(spi, delay, time, Resolution::QVGA);
        assert_eq!(made.err(), Some(ControlError::Source(error)));
    }
}

#[test]
fn each_camera_has_its_resolutions() {
    for id in IDS {
        let camera = Simulated::new(id);
        let mut driver = camera.driver(Resolution::QVGA);
        let mut taken = Vec::new();
        for &resolution in Resolution::ALL {
            match block_on(driver.set(Setting::Resolution(resolution))) {
                Ok(()) => {
                    taken.push(resolution.name());
                    capture(&mut driver, 1_000_000).unwrap();
                }
                Err(error) => assert_eq!(error, ControlError::Unsupported),
            }
        }
        let largest = if id % 2 == 0 { "QXGA" } else { "5MP" };
        let mut wanted =
            vec!["96X96", "128X128", "QVGA", "320X320", "VGA", "HD", "UXGA", "FHD", largest];
        wanted.sort_unstable();
        taken.sort_unstable();
        assert_eq!(taken, wanted);
    }
    let (spi, delay, time) = Simulated::new(0x81).parts();
    let made = Driver::new_blocking(spi, delay, time, Resolution::QXGA);
    assert_eq!(made.err(), Some(ControlError::Unsupported));
}

#[test]
fn pictures_come_trimmed_and_each_is_new() {
    let camera = Simulated::new(0x81);
    let mut driver = camera.driver(Resolution::VGA);
    let first = capture(&mut driver, SLOT).unwrap();
    let before = camera.now();
    let mut buf = vec![0; SLOT];
    let info = BlockingFrameSource::capture(&mut driver, &mut buf).unwrap();
    assert!(before <= info.captured_at && info.captured_at < camera.now());
    assert_ne!(first, buf[..info.len]);
    assert_eq!(camera.pictures(), 2);
}

/// For each setting, what the sensor has then. This is the second writing of the driver's tables.
#[test]
fn settings_reach_the_sensor() {
    use SettingName as N;
    type Field = fn(&Sensor) -> i64;
    type Row<'a> = (N, Field, &'a [(i16, i64)]);
    let levels: &[(i16, i64)] = &[(0, 0), (1, 1), (-1, 2), (2, 3), (-2, 4), (3, 5), (-3, 6)];
    let switch: &[(i16, i64)] = &[(0, 0), (1, 1)];
    let table: &[Row<'_>] = &[
        (N::Quality, |s| s.quality.into(), &[(0, 0), (9, 0), (10, 1), (29, 1), (30, 2), (63, 2)]),
        (N::Brightness, |s| s.brightness.into(), levels),
        (N::Contrast, |s| s.contrast.into(), levels),
        (N::Saturation, |s| s.saturation.into(), levels),
        (N::ExposureLevel, |s| s.exposure_level.into(), levels),
        (
            N::SpecialEffect,
            |s| s.effect.into(),
            &[(0, 0), (1, 5), (2, 3), (3, 2), (4, 6), (5, 1), (6, 4)],
        ),
        (N::WhiteBalanceMode, |s| s.light.into(), &[(0, 0), (1, 1), (2, 3), (3, 2), (4, 4)]),
        (N::WhiteBalance, |s| s.automatics[2].into(), switch),
        (N::ExposureControl, |s| s.automatics[1].into(), switch),
        (N::GainControl, |s| s.automatics[0].into(), switch),
    ];
    for id in IDS {
        let camera = Simulated::new(id);
        let mut driver = camera.driver(Resolution::QVGA);
        for &(name, field, values) in table {
            let (min, max) = name.range();
            for number in (min..=max).rev() {
                let before = camera.sensor();
                match (set(&mut driver, name, number), values.iter().find(|v| v.0 == number)) {
                    (Ok(()), Some((_, wanted))) => assert_eq!(field(&camera.sensor()), *wanted),
                    // Between two that are in the table.
                    (Ok(()), None) => assert_eq!(name, N::Quality),
                    (Err(error), wanted) => {
                        assert_eq!((error, wanted), (ControlError::Unsupported, None));
                        assert_eq!(camera.sensor(), before);
                        continue;
                    }
                }
                assert_eq!(driver.get(name), name.with_number(number));
            }
        }
    }
}

#[test]
fn only_3_megapixels_have_sharpness() {
    let camera = Simulated::new(0x84);
    let mut driver = camera.driver(Resolution::QVGA);
    for (number, level) in [(-3, 1), (-2, 2), (-1, 3), (1, 6), (2, 7), (3, 8), (0, 0)] {
        set(&mut driver, SettingName::Sharpness, number).unwrap();
        assert_eq!(camera.sensor().sharpness, level);
    }
    let mut driver = Simulated::new(0x83).driver(Resolution::QVGA);
    assert_eq!(set(&mut driver, SettingName::Sharpness, 1), Err(ControlError::Unsupported));
    assert_eq!(driver.get(SettingName::Sharpness), None);
}

#[test]
fn exposure_and_gain_wait_until_their_automatics_are_off() {
    use SettingName as N;
    let camera = Simulated::new(0x81);
    let mut driver = camera.driver(Resolution::QVGA);
    let before = camera.sensor();
    set(&mut driver, N::Exposure, 1000).unwrap();
    set(&mut driver, N::Gain, 3).unwrap();
    assert_eq!(camera.sensor(), before);
    set(&mut driver, N::ExposureControl, 0).unwrap();
    set(&mut driver, N::GainControl, 0).unwrap();
    assert_eq!((camera.sensor().exposure, camera.sensor().gain), (1000, 64));
    set(&mut driver, N::Exposure, 1920).unwrap();
    assert_eq!(camera.sensor().exposure, 1920);
    for (step, gain) in [(0, 16), (1, 32), (30, 496), (62, 1008), (63, 1023)] {
        set(&mut driver, N::Gain, step).unwrap();
        assert_eq!(camera.sensor().gain, gain);
    }
    assert_eq!(set(&mut driver, N::Exposure, 0), Err(ControlError::Unsupported));
    assert_eq!(set(&mut driver, N::Gain, 64), Err(ControlError::Unsupported));
}

/// The gain of its first sensor doubles with each of the upper four bits, and grows by a sixteenth
/// with each step of the lower four.
#[test]
fn the_first_3_megapixels_have_a_gain_of_their_own() {
    let camera = Simulated::new(0x82);
    let mut driver = camera.driver(Resolution::QVGA);
    set(&mut driver, SettingName::GainControl, 0).unwrap();
    for step in 0..=30 {
        set(&mut driver, SettingName::Gain, step).unwrap();
        let code = camera.sensor().gain;
        let sixteenths = (16 + (code & 0x0F)) << (code >> 4).count_ones();
        assert_eq!(sixteenths, (step as u16 + 1) * 16, "{code:#04x}");
    }
    assert_eq!(set(&mut driver, SettingName::Gain, 31), Err(ControlError::Unsupported));
}

#[test]
fn settings_that_no_such_camera_has() {
    let mut driver = Simulated::new(0x82).driver(Resolution::QVGA);
    use SettingName as N;
    for name in [N::HMirror, N::VFlip, N::ColorBar, N::Lamp, N::GainCeiling, N::ExposureControl2] {
        assert_eq!(set(&mut driver, name, 1), Err(ControlError::Unsupported));
        assert_eq!(driver.get(name), None);
    }
}

#[test]
fn a_picture_that_does_not_fit_says_what_it_needs() {
    let camera = Simulated::new(0x83);
    let mut driver = camera.driver(Resolution::VGA);
    let needed = match capture(&mut driver, 1000) {
        Err(CaptureError::TooLarge { needed }) => needed,
        other => panic!("{other:?}"),
    };
    assert!(!camera.holds_picture(), "it was cleared away");
    assert!(matches!(capture(&mut driver, 0), Err(CaptureError::TooLarge { .. })));
    let begin = camera.now();
    // The next one may be a little larger.
    capture(&mut driver, needed + 2000).unwrap();
    assert!(camera.now().saturating_since(begin).as_millis() < 200, "nothing is waited for");
}

#[test]
fn what_is_no_picture_is_broken_and_the_next_one_is_well() {
    let camera = Simulated::new(0x84);
    let mut driver = camera.driver(Resolution::QVGA);
    for (length, cut) in [
        (Some(0), None),
        (Some(8_390_520), None),
        (Some(0xFF_FFFF), None),
        (Some(1), None),
        (Some(700), None),
        (None, Some(0)),
        (None, Some(1)),
        (None, Some(2000)),
    ] {
        camera.faults(|faults| (faults.length, faults.cut) = (length, cut));
        assert_eq!(capture(&mut driver, SLOT), Err(CaptureError::Broken));
        camera.faults(|faults| (faults.length, faults.cut) = (None, None));
        capture(&mut driver, SLOT).unwrap();
    }
}

#[test]
fn waiting_ends_and_the_camera_is_started_again() {
    let camera = Simulated::new(0x81);
    let mut driver = camera.driver(Resolution::QVGA);
    set(&mut driver, SettingName::Brightness, 2).unwrap();
    set(&mut driver, SettingName::ExposureControl, 0).unwrap();
    set(&mut driver, SettingName::Exposure, 77).unwrap();
    let told = camera.sensor();

    camera.faults(|faults| faults.no_picture = true);
    let begin = camera.now();
    let error = capture(&mut driver, SLOT);
    assert_eq!(error, Err(CaptureError::Source(Error::NoPicture)));
    assert!(camera.now().saturating_since(begin).as_millis().abs_diff(4000) < 100);
    camera.faults(|faults| faults.no_picture = false);
    capture(&mut driver, SLOT).unwrap();
    assert_eq!(camera.sensor(), told);

    camera.faults(|faults| faults.busy = true);
    let begin = camera.now();
    let error = set(&mut driver, SettingName::Brightness, -1);
    assert_eq!(error, Err(ControlError::Source(Error::Busy)));
    assert!(camera.now().saturating_since(begin).as_millis().abs_diff(1000) < 100);
    assert_eq!(capture(&mut driver, SLOT), Err(CaptureError::Source(Error::Busy)));
    camera.faults(|faults| faults.busy = false);
    capture(&mut driver, SLOT).unwrap();
    assert_eq!(camera.sensor(), told, "as before the setting that failed");
}

#[test]
fn another_camera_in_its_place_is_noticed() {
    let camera = Simulated::new(0x81);
    let mut driver = camera.driver(Resolution::QVGA);
    camera.faults(|faults| faults.no_picture = true);
    assert!(capture(&mut driver, SLOT).is_err());
    camera.set_id(0x82);
    camera.faults(|faults| faults.no_picture = false);
    assert_eq!(capture(&mut driver, SLOT), Err(CaptureError::Source(Error::OtherModel)));
    camera.set_id(0x81);
    capture(&mut driver, SLOT).unwrap();
}

#[test]
fn it_sleeps_while_nobody_looks() {
    for id in IDS {
        let camera = Simulated::new(id);
        let mut driver = camera.driver(Resolution::QVGA);
        for _ in 0..2 {
            BlockingFrameSource::pause(&mut driver);
            BlockingFrameSource::pause(&mut driver);
            assert!(camera.is_asleep());
            set(&mut driver, SettingName::Contrast, 3).unwrap();
            assert!(camera.is_asleep(), "again");
            assert_eq!(camera.sensor().contrast, 5);
            BlockingFrameSource::resume(&mut driver);
            assert!(!camera.is_asleep());
            BlockingFrameSource::resume(&mut driver);
            capture(&mut driver, SLOT).unwrap();
        }
        BlockingFrameSource::pause(&mut driver);
        capture(&mut driver, SLOT).expect("without being resumed");
    }
}

/// The bus fails at each transaction in turn, before or after the camera has heard it.
#[test]
fn an_error_of_the_bus_anywhere_is_told_and_got_over() {
    let script = |driver: &mut Driver| {
        let mut error = capture(driver, SLOT).err();
        let mut also = |result: Result<(), Refusal>| {
            error = error.or(result.err().map(|refusal| match refusal {
                ControlError::Source(error) => CaptureError::Source(error),
                other => panic!("{other:?}"),
            }));
        };
        also(set(driver, SettingName::ExposureControl, 0));
        also(set(driver, SettingName::Exposure, 500));
        BlockingFrameSource::pause(driver);
        also(set(driver, SettingName::Brightness, 1));
        BlockingFrameSource::resume(driver);
        error.or(capture(driver, 1000).err())
    };
    let camera = Simulated::new(0x82);
    let mut driver = camera.driver(Resolution::R96X96);
    let begin = camera.transactions();
    assert!(matches!(script(&mut driver), Some(CaptureError::TooLarge { .. })));
    let count = camera.transactions() - begin;
    assert!(count > 50);

    let mut told = 0;
    for number in 0..count {
        for when in [When::Before, When::After] {
            let camera = Simulated::new(0x82);
            let mut driver = camera.driver(Resolution::R96X96);
            camera.fail_after(number, when);
            match script(&mut driver) {
                Some(CaptureError::Source(Error::Spi(ErrorKind::Other))) => told += 1,
                // Pausing and resuming have no way to tell.
                Some(CaptureError::TooLarge { .. }) => {}
                other => panic!("transaction {number}: {other:?}"),
            }
            capture(&mut driver, SLOT).expect("it is over");
            agree(&driver, &camera.sensor());
        }
    }
    assert!(told > count, "of {count}, each twice, {told}");

    // And while the driver is made.
    let camera = Simulated::new(0x82);
    let _ = camera.driver(Resolution::R96X96);
    for number in 0..camera.transactions() {
        let camera = Simulated::new(0x82);
        camera.fail_after(number, When::Before);
        let (spi, delay, time) = camera.parts();
        let made = Driver::new_blocking(spi, delay, time, Resolution::R96X96);
        assert_eq!(made.err(), Some(ControlError::Source(Error::Spi(ErrorKind::Other))));
    }
}

fn agree(driver: &Driver, sensor: &Sensor) {
    simulated::agree(|name| driver.get(name), sensor);
}
