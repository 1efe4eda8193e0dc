use core::fmt;
use core::str::FromStr;

/// The picture sizes that esp32-camera names.
///
/// Only the names and sizes are stable; the driver's numbers for them differ between its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Resolution {
    name: &'static str,
    width: u16,
    height: u16,
}

macro_rules! resolutions {
    ($($constant:ident $name:literal $width:literal $height:literal,)*) => {
        impl Resolution {
            $(
                #[doc = concat!("`", $name, "`: ", $width, " by ", $height, " pixels.")]
                pub const $constant: Self =
                    Self { name: $name, width: $width, height: $height };
            )*

            /// All of them, in the order of esp32-camera's list.
            pub const ALL: &'static [Self] = &[$(Self::$constant,)*];
        }
    };
}

resolutions! {
    R96X96 "96X96" 96 96,
    QQVGA "QQVGA" 160 120,
    R128X128 "128X128" 128 128,
    QCIF "QCIF" 176 144,
    HQVGA "HQVGA" 240 176,
    R240X240 "240X240" 240 240,
    QVGA "QVGA" 320 240,
    R320X320 "320X320" 320 320,
    CIF "CIF" 400 296,
    HVGA "HVGA" 480 320,
    VGA "VGA" 640 480,
    SVGA "SVGA" 800 600,
    XGA "XGA" 1024 768,
    HD "HD" 1280 720,
    SXGA "SXGA" 1280 1024,
    UXGA "UXGA" 1600 1200,
    FHD "FHD" 1920 1080,
    P_HD "P_HD" 720 1280,
    P_3MP "P_3MP" 864 1536,
    QXGA "QXGA" 2048 1536,
    QHD "QHD" 2560 1440,
    WQXGA "WQXGA" 2560 1600,
    P_FHD "P_FHD" 1088 1920,
    QSXGA "QSXGA" 2560 1920,
    R5MP "5MP" 2592 1944,
}

impl Resolution {
    /// The name in esp32-camera's list, without its `FRAMESIZE_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The number in esp32-camera's `framesize_t` as of March 2026, which CameraWebServer's
    /// interface uses. In older versions many sizes have others; where there is a choice, use names.
    #[must_use]
    pub fn number(self) -> u8 {
        Self::ALL.iter().position(|r| *r == self).unwrap_or_default() as u8
    }

    /// The resolution of that [number](Self::number).
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Bytes that are enough for nearly every JPEG picture of that size: a fifth of its pixels,
    /// as the driver esp32-camera reckons.
    #[must_use]
    pub const fn jpeg_bytes(self) -> usize {
        self.width as usize * self.height as usize / 5
    }

    /// Width in pixels.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub const fn height(self) -> u16 {
        self.height
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// The text names no resolution of [`Resolution::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no resolution of that name or size")]
pub struct ParseResolutionError;

/// Takes a name (`VGA`, in any case) or a size (`640x480`) that has one.
impl FromStr for Resolution {
    type Err = ParseResolutionError;

    fn from_str(text: &str) -> Result<Self, ParseResolutionError> {
        let by_name = |r: &&Self| r.name.eq_ignore_ascii_case(text);
        if let Some(found) = Self::ALL.iter().find(by_name) {
            return Ok(*found);
        }
        let (width, height) = text.split_once(['x', 'X']).ok_or(ParseResolutionError)?;
        let width: u16 = width.parse().map_err(|_| ParseResolutionError)?;
        let height: u16 = height.parse().map_err(|_| ParseResolutionError)?;
        let by_size = |r: &&Self| r.width == width && r.height == height;
        Self::ALL.iter().find(by_size).copied().ok_or(ParseResolutionError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_name_and_size_parses_back() {
        for &r in Resolution::ALL {
            assert_eq!(r.to_string().parse(), Ok(r));
            assert_eq!(r.name().to_lowercase().parse(), Ok(r));
            assert_eq!(std::format!("{}x{}", r.width(), r.height()).parse(), Ok(r));
        }
    }

    #[test]
    fn others_do_not() {
        for text in ["", "x", "VGAA", "640", "640x481", "-640x480", "99999999x1", "640x480x1"] {
            assert_eq!(text.parse::<Resolution>(), Err(ParseResolutionError), "{text}");
        }
    }
}
