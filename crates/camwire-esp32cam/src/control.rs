use camwire_frame::{Control, ControlError, Resolution, Setting, SettingName};

use crate::{Camera, CameraError};

/// All of CameraWebServer's settings but the lamp, as far as the sensor has them.
///
/// What the sensor does not have at all, or refuses with -1, is
/// [`Unsupported`](ControlError::Unsupported). The driver's sensors also answer -1 when their bus
/// fails; the two cannot be told apart.
impl Control for Camera {
    type Error = CameraError;

    /// Sets it at once. Pictures that began before are passed over from then on, so that the next
    /// one shows it.
    ///
    /// A resolution whose pictures the driver's buffers were not made for, or that the sensor does
    /// not have, is refused. Some sensors take less than they are asked for (a gain of at most 30);
    /// [`get`](Self::get) tells what they took.
    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<CameraError>> {
        self.set_now(setting)
    }

    /// From the sensor's status. A value beyond the setting's range (a few sensors start with such
    /// an exposure) is given as the nearest within.
    fn get(&self, name: SettingName) -> Option<Setting> {
        if !self.driver.can_set(name) {
            return None;
        }
        let (min, max) = name.range();
        let value = self.status_of(name)?.clamp(min.into(), max.into());
        name.with_number(value.try_into().ok()?)
    }
}

impl Camera {
    pub(crate) fn set_now(&mut self, setting: Setting) -> Result<(), ControlError<CameraError>> {
        if let Setting::Resolution(size) = setting
            && !self.has_room_for(size)
        {
            return Err(ControlError::Unsupported);
        }
        match self.driver.set(setting.name(), setting.number()) {
            Some(0) => {
                self.fresh_after = crate::now();
                Ok(())
            }
            None | Some(-1) => Err(ControlError::Unsupported),
            Some(answer) => Err(ControlError::Source(CameraError::Sensor(answer))),
        }
    }

    /// The size that the sensor is set to.
    pub(crate) fn resolution(&self) -> Option<Resolution> {
        let number = self.driver.status()?.framesize;
        Resolution::from_number(number.try_into().ok()?)
    }

    fn has_room_for(&self, size: Resolution) -> bool {
        let sensor_has_it =
            self.driver.largest().is_some_and(|largest| u32::from(size.number()) <= largest);
        sensor_has_it && size.jpeg_bytes() <= self.buffer_bytes
    }

    fn status_of(&self, name: SettingName) -> Option<i32> {
        let status = self.driver.status()?;
        Some(match name {
            SettingName::Resolution => i32::try_from(status.framesize).ok()?,
            SettingName::Quality => status.quality.into(),
            SettingName::Brightness => status.brightness.into(),
            SettingName::Contrast => status.contrast.into(),
            SettingName::Saturation => status.saturation.into(),
            SettingName::Sharpness => status.sharpness.into(),
            SettingName::SpecialEffect => status.special_effect.into(),
            SettingName::WhiteBalanceMode => status.wb_mode.into(),
            SettingName::WhiteBalance => status.awb.into(),
            SettingName::WhiteBalanceGain => status.awb_gain.into(),
            SettingName::ExposureControl => status.aec.into(),
            SettingName::ExposureControl2 => status.aec2.into(),
            SettingName::ExposureLevel => status.ae_level.into(),
            SettingName::Exposure => status.aec_value.into(),
            SettingName::GainControl => status.agc.into(),
            SettingName::Gain => status.agc_gain.into(),
            SettingName::GainCeiling => status.gainceiling.into(),
            SettingName::BlackPixels => status.bpc.into(),
            SettingName::WhitePixels => status.wpc.into(),
            SettingName::Gamma => status.raw_gma.into(),
            SettingName::LensCorrection => status.lenc.into(),
            SettingName::HMirror => status.hmirror.into(),
            SettingName::VFlip => status.vflip.into(),
            SettingName::Downsize => status.dcw.into(),
            SettingName::ColorBar => status.colorbar.into(),
            _ => return None,
        })
    }
}
