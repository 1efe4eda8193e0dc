//! Every setting reaches the sensor's own function, and is read back from its status.

mod sensor;

use camwire_esp32cam::{Board, Camera, CameraError, Config};
use camwire_frame::{
    Blocking, Control, ControlError, FrameSource, Resolution, Setting, SettingName,
};
use embassy_futures::block_on;
use esp32_camera_simulator::Simulator;
use sensor::ORDERS;

fn camera() -> Camera {
    let config = Config::new(Board::AI_THINKER.pins).largest(Resolution::R5MP);
    Camera::start(&config).unwrap()
}

#[test]
fn every_setting_but_the_lamp_reaches_its_function() {
    let simulator = Simulator::default();
    let mut camera = camera();
    let named: Vec<_> =
        ORDERS.iter().map(|order| order.0.parse::<SettingName>().unwrap()).collect();
    for name in SettingName::ALL {
        assert_eq!(named.contains(name), *name != SettingName::Lamp, "{name:?}");
    }
    for (name, (_, function, kept)) in named.into_iter().zip(ORDERS) {
        for number in [name.range().0, name.range().1] {
            let setting = name.with_number(number).unwrap();
            let before = camera.get(name);
            let result = block_on(camera.set(setting));
            if name != SettingName::Resolution || result.is_ok() {
                let told = simulator.last_order().unwrap();
                assert_eq!(told, ((*function).to_owned(), i32::from(number)));
            }
            match kept {
                Some((min, max)) if result.is_ok() => {
                    let kept = number.clamp(*min, *max);
                    assert_eq!(camera.get(name), name.with_number(kept), "{name:?}");
                }
                _ => {
                    assert_eq!(result, Err(ControlError::Unsupported), "{name:?} {number}");
                    assert_eq!(camera.get(name), before, "{name:?}");
                }
            }
        }
    }
    assert_eq!(camera.get(SettingName::Lamp), None);
    let lamp = SettingName::Lamp.with_number(1).unwrap();
    assert_eq!(block_on(camera.set(lamp)), Err(ControlError::Unsupported));
}

#[test]
fn each_status_field_is_read_from_its_own_place() {
    let _simulator = Simulator::default();
    let mut camera = camera();
    // One at a time is moved; the others stay.
    for (name, _, kept) in ORDERS {
        let name: SettingName = name.parse().unwrap();
        let Some((min, max)) = *kept else { continue };
        let before: Vec<_> = SettingName::ALL.iter().map(|&name| camera.get(name)).collect();
        let old = camera.get(name).unwrap().number();
        let new = if old == max { min } else { old + 1 };
        block_on(camera.set(name.with_number(new).unwrap())).unwrap();
        for (&other, before) in SettingName::ALL.iter().zip(before) {
            let expected = if other == name { name.with_number(new) } else { before };
            assert_eq!(camera.get(other), expected, "{other:?} after {name:?}");
        }
    }
}

#[test]
fn a_sensor_without_the_function_has_no_such_setting() {
    let simulator = Simulator::default();
    simulator.bare_sensor();
    let mut camera = camera();
    for &name in SettingName::ALL {
        let has = matches!(name, SettingName::Resolution | SettingName::Quality);
        let setting = name.with_number(name.range().0).unwrap();
        assert_eq!(camera.get(name).is_some(), has, "{name:?}");
        assert_eq!(block_on(camera.set(setting)).is_ok(), has, "{name:?}");
    }
}

#[test]
fn what_the_sensor_answers_is_told() {
    let simulator = Simulator::default();
    let mut camera = camera();
    let flip = Setting::VFlip(true);
    simulator.refuse_next(-1);
    assert_eq!(block_on(camera.set(flip)), Err(ControlError::Unsupported));
    simulator.refuse_next(0x107);
    let error = ControlError::Source(CameraError::Sensor(0x107));
    assert_eq!(block_on(camera.set(flip)), Err(error));
    assert_eq!(camera.get(SettingName::VFlip), Some(Setting::VFlip(false)));
}

#[test]
fn no_size_beyond_the_buffers_or_the_sensor_is_ordered() {
    let simulator = Simulator::default();
    for largest in [Resolution::QVGA, Resolution::VGA, Resolution::UXGA, Resolution::R5MP] {
        let config = Config::new(Board::AI_THINKER.pins).largest(largest);
        let mut camera = Camera::start(&config).unwrap();
        let room = largest.jpeg_bytes().min(Resolution::UXGA.jpeg_bytes());
        for &size in Resolution::ALL {
            let fits = size.jpeg_bytes() <= room && size.number() <= Resolution::UXGA.number();
            let result = block_on(camera.set(Setting::Resolution(size)));
            assert_eq!(result.is_ok(), fits, "{size} with room for {largest}");
        }
        assert_eq!(simulator.misuse(), None);
    }
}

#[test]
fn a_capture_loop_can_have_it() {
    async fn small(mut source: impl FrameSource<Error = CameraError> + Control) -> (u16, u16) {
        assert!(source.set(Setting::Resolution(Resolution::QVGA)).await.is_ok());
        assert_eq!(
            source.get(SettingName::Resolution),
            Some(Setting::Resolution(Resolution::QVGA))
        );
        let info = source.capture(&mut [0; 20_000]).await.unwrap();
        (info.width, info.height)
    }
    let _simulator = Simulator::default();
    assert_eq!(block_on(small(Blocking(camera()))), (320, 240));
}
