//! The lamp of the board as one of the camera's settings.

use camwire::frame::{
    BlockingFrameSource, CaptureError, Control, ControlError, FrameInfo, Setting, SettingName,
};

/// A lamp that can be dimmed.
pub trait Lamp {
    /// From 0, off, to 255.
    fn shine(&mut self, level: u8);
}

/// A camera and the lamp beside it, which is the setting `led_intensity`.
#[derive(Debug)]
pub struct WithLamp<S, L> {
    camera: S,
    lamp: Option<L>,
    level: u8,
}

impl<S, L: Lamp> WithLamp<S, L> {
    /// They, with the lamp off. Without one there is no such setting.
    pub fn new(camera: S, mut lamp: Option<L>) -> Self {
        if let Some(lamp) = &mut lamp {
            lamp.shine(0);
        }
        Self { camera, lamp, level: 0 }
    }
}

impl<S: BlockingFrameSource, L> BlockingFrameSource for WithLamp<S, L> {
    type Error = S::Error;

    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<S::Error>> {
        self.camera.capture(buf)
    }

    fn pause(&mut self) {
        self.camera.pause();
    }

    fn resume(&mut self) {
        self.camera.resume();
    }
}

impl<S: Control, L: Lamp> Control for WithLamp<S, L> {
    type Error = S::Error;

    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<S::Error>> {
        let Setting::Lamp(level) = setting else { return self.camera.set(setting).await };
        let lamp = self.lamp.as_mut().ok_or(ControlError::Unsupported)?;
        self.level = level.get().try_into().map_err(|_| ControlError::Unsupported)?;
        lamp.shine(self.level);
        Ok(())
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        match name {
            SettingName::Lamp if self.lamp.is_none() => None,
            SettingName::Lamp => name.with_number(self.level.into()),
            _ => self.camera.get(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    struct Nothing;

    impl Control for Nothing {
        type Error = Infallible;

        async fn set(&mut self, _: Setting) -> Result<(), ControlError<Infallible>> {
            Err(ControlError::Unsupported)
        }

        fn get(&self, _: SettingName) -> Option<Setting> {
            None
        }
    }

    impl Lamp for &mut Vec<u8> {
        fn shine(&mut self, level: u8) {
            self.push(level);
        }
    }

    fn set(camera: &mut impl Control, name: SettingName, number: i16) -> bool {
        let setting = name.with_number(number).expect("in range");
        futures_lite::future::block_on(camera.set(setting)).is_ok()
    }

    #[test]
    fn the_lamp_is_a_setting_where_there_is_one() {
        let mut shone = Vec::new();
        let mut camera = WithLamp::new(Nothing, Some(&mut shone));
        for level in [0, 1, 255, 7] {
            assert!(set(&mut camera, SettingName::Lamp, level));
            let is = camera.get(SettingName::Lamp).expect("it is there");
            assert_eq!(is.number(), level);
        }
        assert!(!set(&mut camera, SettingName::Brightness, 1), "the camera's part");
        assert_eq!(camera.get(SettingName::Brightness), None);
        assert_eq!(shone, [0, 0, 1, 255, 7]);

        let mut camera = WithLamp::new(Nothing, None::<&mut Vec<u8>>);
        assert!(!set(&mut camera, SettingName::Lamp, 1));
        assert_eq!(camera.get(SettingName::Lamp), None);
    }
}
