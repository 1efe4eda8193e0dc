use core::str::FromStr;

use crate::Resolution;

/// A whole number from `MIN` to `MAX`, both included; a value out of range cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranged<const MIN: i16, const MAX: i16>(i16);

impl<const MIN: i16, const MAX: i16> Ranged<MIN, MAX> {
    /// The smallest value.
    pub const MIN: Self = Self(MIN);
    /// The largest value.
    pub const MAX: Self = Self(MAX);

    /// `value`, if it is in range.
    #[must_use]
    pub const fn new(value: i16) -> Option<Self> {
        if MIN <= value && value <= MAX { Some(Self(value)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }
}

/// JPEG quality on esp32-camera's scale: 0 to 63, **lower is better** and larger.
pub type Quality = Ranged<0, 63>;

macro_rules! settings {
    ($($(#[$about:meta])* $name:ident($value:ty) $text:literal,)*) => {
        /// One setting of a source, with its value.
        ///
        /// They are those of Espressif's CameraWebServer, and few sources have all of them. Where
        /// sensors differ in what they take, the range here is the widest, and the source refuses
        /// what its own sensor does not take.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Setting {
            $(
                #[doc = concat!("`", $text, "`:")]
                $(#[$about])*
                $name($value),
            )*
        }

        /// A [`Setting`] without its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SettingName {
            $(
                #[doc = concat!("[`Setting::", stringify!($name), "`]")]
                $name,
            )*
        }

        impl SettingName {
            /// All of them, in CameraWebServer's order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As CameraWebServer spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The least and the largest number that CameraWebServer's interface has for it.
            #[must_use]
            pub const fn range(self) -> (i16, i16) {
                match self {
                    $(Self::$name => <$value as Number>::RANGE,)*
                }
            }

            /// The setting with the value that this number means; `None` if it is out of
            /// [range](Self::range).
            #[must_use]
            pub fn with_number(self, number: i16) -> Option<Setting> {
                match self {
                    $(Self::$name => Number::from_number(number).map(Setting::$name),)*
                }
            }
        }

        impl Setting {
            /// What it sets.
            #[must_use]
            pub const fn name(self) -> SettingName {
                match self {
                    $(Self::$name(_) => SettingName::$name,)*
                }
            }

            /// Its value as a number of CameraWebServer's interface: 0 and 1 for off and on, and
            /// [`Resolution::number`].
            #[must_use]
            pub fn number(self) -> i16 {
                match self {
                    $(Self::$name(value) => Number::number(value),)*
                }
            }
        }
    };
}

settings! {
    /// size of the pictures.
    Resolution(Resolution) "framesize",
    /// compression, 0 to 63, lower is better.
    Quality(Quality) "quality",
    /// -3 to 3.
    Brightness(Ranged<-3, 3>) "brightness",
    /// -3 to 3.
    Contrast(Ranged<-3, 3>) "contrast",
    /// -4 (grey) to 4.
    Saturation(Ranged<-4, 4>) "saturation",
    /// -3 to 3.
    Sharpness(Ranged<-3, 3>) "sharpness",
    /// 0 none, 1 negative, 2 grey, 3 red, 4 green, 5 blue, 6 sepia.
    SpecialEffect(Ranged<0, 6>) "special_effect",
    /// white balance: 0 automatic, 1 sunny, 2 cloudy, 3 office, 4 home.
    WhiteBalanceMode(Ranged<0, 4>) "wb_mode",
    /// automatic white balance.
    WhiteBalance(bool) "awb",
    /// gain of the automatic white balance.
    WhiteBalanceGain(bool) "awb_gain",
    /// automatic exposure.
    ExposureControl(bool) "aec",
    /// the sensor's second algorithm for automatic exposure (night mode on some).
    ExposureControl2(bool) "aec2",
    /// -5 to 5: what the automatic exposure aims at.
    ExposureLevel(Ranged<-5, 5>) "ae_level",
    /// exposure without automatics, in lines of the sensor.
    Exposure(Ranged<0, 1920>) "aec_value",
    /// automatic gain.
    GainControl(bool) "agc",
    /// gain without automatics.
    Gain(Ranged<0, 64>) "agc_gain",
    /// the most that automatic gain gives: 0 to 6 for 2 to 128 times, on some sensors 0 to 511.
    GainCeiling(Ranged<0, 511>) "gainceiling",
    /// correction of black pixels.
    BlackPixels(bool) "bpc",
    /// correction of white pixels.
    WhitePixels(bool) "wpc",
    /// gamma.
    Gamma(bool) "raw_gma",
    /// correction of the lens's shading.
    LensCorrection(bool) "lenc",
    /// left and right exchanged.
    HMirror(bool) "hmirror",
    /// top and bottom exchanged.
    VFlip(bool) "vflip",
    /// the sensor scales its picture down to the size, in place of a cutting.
    Downsize(bool) "dcw",
    /// colour bars instead of a scene.
    ColorBar(bool) "colorbar",
    /// brightness of the lamp beside the camera, 0 to 255.
    Lamp(Ranged<0, 255>) "led_intensity",
}

/// A value that CameraWebServer's interface has a number for.
trait Number: Sized {
    const RANGE: (i16, i16);
    fn from_number(number: i16) -> Option<Self>;
    fn number(self) -> i16;
}

impl<const MIN: i16, const MAX: i16> Number for Ranged<MIN, MAX> {
    const RANGE: (i16, i16) = (MIN, MAX);

    fn from_number(number: i16) -> Option<Self> {
        Self::new(number)
    }

    fn number(self) -> i16 {
        self.0
    }
}

impl Number for bool {
    const RANGE: (i16, i16) = (0, 1);

    fn from_number(number: i16) -> Option<Self> {
        match number {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(self) -> i16 {
        self.into()
    }
}

impl Number for Resolution {
    const RANGE: (i16, i16) = (0, Self::ALL.len() as i16 - 1);

    fn from_number(number: i16) -> Option<Self> {
        Self::from_number(number.try_into().ok()?)
    }

    fn number(self) -> i16 {
        self.number().into()
    }
}

/// There is no setting of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no setting of that name")]
pub struct ParseSettingNameError;

/// Takes CameraWebServer's names.
impl FromStr for SettingName {
    type Err = ParseSettingNameError;

    fn from_str(text: &str) -> Result<Self, ParseSettingNameError> {
        let by_name = |name: &&Self| name.as_str() == text;
        Self::ALL.iter().find(by_name).copied().ok_or(ParseSettingNameError)
    }
}

/// The value is none of this setting's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} is a number from {min} to {max}", text = .0.as_str(), min = .0.range().0, max = .0.range().1)]
pub struct ValueError(pub SettingName);

impl SettingName {
    /// The setting with the value that a text means: a number, or the name or size of a
    /// resolution.
    ///
    /// # Errors
    ///
    /// [`ValueError`] if it means none, or one that is out of [range](Self::range).
    pub fn with_text(self, text: &str) -> Result<Setting, ValueError> {
        let number = text.parse().ok().and_then(|number| self.with_number(number));
        let named = || (self == Self::Resolution).then(|| text.parse().ok()).flatten();
        number.or_else(|| named().map(Setting::Resolution)).ok_or(ValueError(self))
    }
}

/// Why a setting was refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError<E> {
    /// This source has no such setting, or not this value of it.
    #[error("the source cannot be set to that")]
    Unsupported,
    /// The driver failed in its own way.
    #[error("{0}")]
    Source(E),
}

/// What can be set on a source, between two captures.
#[allow(async_fn_in_trait)] // Whether the futures are `Send` is the source's to decide.
pub trait Control {
    /// How the driver fails.
    type Error;

    /// Sets it, from the next picture on.
    ///
    /// # Errors
    ///
    /// As [`ControlError`] says; the source is as it was before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the setting applied or not; [`get`](Self::get) tells.
    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<Self::Error>>;

    /// The present value; `None` if the source has no such setting.
    fn get(&self, name: SettingName) -> Option<Setting>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_value_has_a_number_and_every_name_parses_back() {
        for &name in SettingName::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
            let (min, max) = name.range();
            for number in min..=max {
                let setting = name.with_number(number).unwrap();
                assert_eq!((setting.name(), setting.number()), (name, number));
                assert_eq!(name.with_text(&number.to_string()), Ok(setting));
            }
            assert_eq!((name.with_number(min - 1), name.with_number(max + 1)), (None, None));
        }
        assert_eq!("Framesize".parse::<SettingName>(), Err(ParseSettingNameError));
    }

    #[test]
    fn values_in_words() {
        let vga = Ok(Setting::Resolution(Resolution::VGA));
        for text in ["10", "VGA", "vga", "640x480"] {
            assert_eq!(SettingName::Resolution.with_text(text), vga, "{text}");
        }
        for text in ["", "-1", "25", "99999", "0x0", "VGA "] {
            let error = SettingName::Resolution.with_text(text).unwrap_err();
            assert_eq!(error.to_string(), "framesize is a number from 0 to 24");
        }
        assert_eq!(SettingName::VFlip.with_text("true"), Err(ValueError(SettingName::VFlip)));
    }
}
