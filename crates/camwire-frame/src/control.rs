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

/// One setting of a source, with its value.
///
/// The names are those of Espressif's CameraWebServer. The list grows with the drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// `framesize`: size of the pictures.
    Resolution(Resolution),
    /// `quality`: compression, 0 to 63, lower is better.
    Quality(Quality),
    /// `brightness`: -2 to 2.
    Brightness(Ranged<-2, 2>),
    /// `saturation`: -2 (grey) to 2.
    Saturation(Ranged<-2, 2>),
    /// `hmirror`: left and right exchanged.
    HMirror(bool),
    /// `vflip`: top and bottom exchanged.
    VFlip(bool),
    /// `colorbar`: colour bars instead of a scene.
    ColorBar(bool),
}

/// A [`Setting`] without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SettingName {
    /// [`Setting::Resolution`]
    Resolution,
    /// [`Setting::Quality`]
    Quality,
    /// [`Setting::Brightness`]
    Brightness,
    /// [`Setting::Saturation`]
    Saturation,
    /// [`Setting::HMirror`]
    HMirror,
    /// [`Setting::VFlip`]
    VFlip,
    /// [`Setting::ColorBar`]
    ColorBar,
}

impl SettingName {
    /// As CameraWebServer spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolution => "framesize",
            Self::Quality => "quality",
            Self::Brightness => "brightness",
            Self::Saturation => "saturation",
            Self::HMirror => "hmirror",
            Self::VFlip => "vflip",
            Self::ColorBar => "colorbar",
        }
    }
}

impl Setting {
    /// What it sets.
    #[must_use]
    pub const fn name(self) -> SettingName {
        match self {
            Self::Resolution(_) => SettingName::Resolution,
            Self::Quality(_) => SettingName::Quality,
            Self::Brightness(_) => SettingName::Brightness,
            Self::Saturation(_) => SettingName::Saturation,
            Self::HMirror(_) => SettingName::HMirror,
            Self::VFlip(_) => SettingName::VFlip,
            Self::ColorBar(_) => SettingName::ColorBar,
        }
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
