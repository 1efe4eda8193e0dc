use camwire_frame::{Ranged, Resolution, Setting, SettingName};

use crate::Model;
use crate::registers as reg;

/// What is written to which register, in this order.
pub(crate) type Writes = [Option<(u8, u8)>; 4];

/// What a camera is set to, or is to be set to again after a reset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    size: Setting,
    quality: Setting,
    others: [Setting; 12],
}

macro_rules! number {
    ($value:literal) => {
        const { Ranged::new($value).expect("in range") }
    };
}

/// What a camera has after a reset, and the values that wait until their automatics are off. Those
/// come behind the automatics, in the order in which they must be written.
const AFTER_RESET: [Setting; 12] = [
    Setting::Brightness(number!(0)),
    Setting::Contrast(number!(0)),
    Setting::Saturation(number!(0)),
    Setting::Sharpness(number!(0)),
    Setting::SpecialEffect(number!(0)),
    Setting::WhiteBalance(true),
    Setting::WhiteBalanceMode(number!(0)),
    Setting::ExposureLevel(number!(0)),
    Setting::ExposureControl(true),
    Setting::Exposure(number!(300)),
    Setting::GainControl(true),
    Setting::Gain(number!(0)),
];

impl Present {
    /// What a camera is first set to.
    pub(crate) fn new(resolution: Resolution) -> Self {
        let size = Setting::Resolution(resolution);
        Self { size, quality: Setting::Quality(number!(12)), others: AFTER_RESET }
    }

    /// What a camera must be told after a reset.
    pub(crate) fn after_reset(&self) -> impl Iterator<Item = Setting> {
        let changed = self.others.into_iter().filter(|setting| !AFTER_RESET.contains(setting));
        [self.size, self.quality].into_iter().chain(changed)
    }

    pub(crate) fn get(&self, name: SettingName) -> Option<Setting> {
        let mut all = [&self.size, &self.quality].into_iter().chain(&self.others);
        all.find(|setting| setting.name() == name).copied()
    }

    pub(crate) fn put(&mut self, setting: Setting) {
        let mut all = [&mut self.size, &mut self.quality].into_iter().chain(&mut self.others);
        if let Some(present) = all.find(|present| present.name() == setting.name()) {
            *present = setting;
        }
    }

    /// What sets `setting` on that camera; `None` if it cannot be set to that.
    ///
    /// Exposure and gain are only written while their automatics are off, and again when those
    /// are switched off.
    pub(crate) fn writes(&self, model: Model, setting: Setting) -> Option<Writes> {
        let is_off = |automatic| self.others.contains(&automatic);
        Some(match setting {
            Setting::Resolution(resolution) => {
                one(reg::RESOLUTION, model.resolution_code(resolution)?)
            }
            Setting::Quality(quality) => one(reg::QUALITY, quality_code(quality.get())),
            Setting::Brightness(level) => one(reg::BRIGHTNESS, level_code(level.get())?),
            Setting::Contrast(level) => one(reg::CONTRAST, level_code(level.get())?),
            Setting::Saturation(level) => one(reg::SATURATION, level_code(level.get())?),
            Setting::ExposureLevel(level) => one(reg::EXPOSURE_LEVEL, level_code(level.get())?),
            Setting::Sharpness(level) if model.is_3mp() => {
                one(reg::SHARPNESS, sharpness_code(level.get())?)
            }
            Setting::SpecialEffect(effect) => one(reg::EFFECT, effect_code(effect.get())?),
            Setting::WhiteBalanceMode(mode) => one(reg::WHITE_BALANCE, light_code(mode.get())?),
            Setting::WhiteBalance(on) => one(reg::AUTOMATIC, automatic(2, on)),
            Setting::ExposureControl(true) => one(reg::AUTOMATIC, automatic(1, true)),
            Setting::ExposureControl(false) => {
                let [high, middle, low, _] = self.manual(model, SettingName::Exposure)?;
                [Some((reg::AUTOMATIC, automatic(1, false))), high, middle, low]
            }
            Setting::Exposure(lines) => {
                let writes = exposure(lines.get())?;
                if is_off(Setting::ExposureControl(false)) { writes } else { NOTHING }
            }
            Setting::GainControl(true) => one(reg::AUTOMATIC, automatic(0, true)),
            Setting::GainControl(false) => {
                let [high, low, ..] = self.manual(model, SettingName::Gain)?;
                [Some((reg::AUTOMATIC, automatic(0, false))), high, low, None]
            }
            Setting::Gain(step) => {
                let writes = gain(model, step.get())?;
                if is_off(Setting::GainControl(false)) { writes } else { NOTHING }
            }
            _ => return None,
        })
    }

    /// What sets the value that applies when its automatic is off.
    fn manual(&self, model: Model, name: SettingName) -> Option<Writes> {
        match self.get(name)? {
            Setting::Exposure(lines) => exposure(lines.get()),
            Setting::Gain(step) => gain(model, step.get()),
            _ => None,
        }
    }
}

const NOTHING: Writes = [None; 4];

const fn one(register: u8, value: u8) -> Writes {
    [Some((register, value)), None, None, None]
}

/// The camera has high, default and low.
const fn quality_code(quality: i16) -> u8 {
    match quality {
        ..=9 => 0,
        10..=29 => 1,
        _ => 2,
    }
}

/// The camera counts 0, +1, -1, +2, -2, +3, -3.
const fn level_code(level: i16) -> Option<u8> {
    Some(match level {
        -3 => 6,
        -2 => 4,
        -1 => 2,
        0 => 0,
        1 => 1,
        2 => 3,
        3 => 5,
        _ => return None,
    })
}

/// The camera has automatic (0) and eight levels without a middle.
const fn sharpness_code(level: i16) -> Option<u8> {
    Some(match level {
        -3 => 1,
        -2 => 2,
        -1 => 3,
        0 => 0,
        1 => 6,
        2 => 7,
        3 => 8,
        _ => return None,
    })
}

/// From none, negative, grey, red, green, blue, sepia.
const fn effect_code(effect: i16) -> Option<u8> {
    Some(match effect {
        0 => 0,
        1 => 5,
        2 => 3,
        3 => 2,
        4 => 6,
        5 => 1,
        6 => 4,
        _ => return None,
    })
}

/// From automatic, sunny, cloudy, office, home.
const fn light_code(mode: i16) -> Option<u8> {
    Some(match mode {
        0 => 0,
        1 => 1,
        2 => 3,
        3 => 2,
        4 => 4,
        _ => return None,
    })
}

const fn automatic(which: u8, on: bool) -> u8 {
    if on { which | 0x80 } else { which }
}

/// Lines of the sensor, of which it takes 1 to 30,000.
fn exposure(lines: i16) -> Option<Writes> {
    let [high, low] = u16::try_from(lines).ok().filter(|lines| *lines > 0)?.to_be_bytes();
    Some([
        Some((reg::EXPOSURE_19_16, 0)),
        Some((reg::EXPOSURE_15_8, high)),
        Some((reg::EXPOSURE_7_0, low)),
        None,
    ])
}

/// Step 0 is onefold gain, step 1 twofold, and so on, as on the sensors of esp32-camera.
fn gain(model: Model, step: i16) -> Option<Writes> {
    let fold = u16::try_from(step).ok()?.checked_add(1)?;
    let code = if matches!(model, Model::Mega3) {
        // This sensor has a code of its own: each of the upper four bits doubles, the lower four
        // add sixteenths.
        if fold > 31 {
            return None;
        }
        let doublings = fold.ilog2();
        let doubled = 1 << doublings;
        ((doubled - 1) << 4) | (((fold << 4) >> doublings) - 16)
    } else if fold <= 64 {
        // Sixteenths, in ten bits.
        (fold << 4).min(1023)
    } else {
        return None;
    };
    let [high, low] = code.to_be_bytes();
    Some([Some((reg::GAIN_9_8, high)), Some((reg::GAIN_7_0, low)), None, None])
}
