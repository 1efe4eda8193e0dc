use camwire_frame::Resolution;

use crate::registers::{POWER_5, POWER_7};

/// Which camera it is, as its sensor's number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Model {
    /// 5 megapixels, first sensor (0x81).
    Mega5,
    /// 3 megapixels, first sensor (0x82).
    Mega3,
    /// 5 megapixels, second sensor (0x83); its largest pictures have 1936 lines, not 1944.
    Mega5V2,
    /// 3 megapixels, second sensor (0x84).
    Mega3V2,
}

impl Model {
    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0x81 => Self::Mega5,
            0x82 => Self::Mega3,
            0x83 => Self::Mega5V2,
            0x84 => Self::Mega3V2,
            _ => return None,
        })
    }

    pub(crate) const fn is_3mp(self) -> bool {
        matches!(self, Self::Mega3 | Self::Mega3V2)
    }

    /// The number that the camera has for a resolution; `None` if this camera has not that one.
    pub(crate) fn resolution_code(self, resolution: Resolution) -> Option<u8> {
        Some(match resolution {
            Resolution::QVGA => 0x01,
            Resolution::VGA => 0x02,
            Resolution::HD => 0x04,
            Resolution::UXGA => 0x06,
            Resolution::FHD => 0x07,
            Resolution::QXGA if self.is_3mp() => 0x08,
            Resolution::R5MP if !self.is_3mp() => 0x09,
            Resolution::R96X96 => 0x0A,
            Resolution::R128X128 => 0x0B,
            Resolution::R320X320 => 0x0C,
            _ => return None,
        })
    }

    /// What puts it to sleep, and what wakes it.
    pub(crate) const fn power_codes(self) -> (u8, u8) {
        match self {
            Self::Mega5 | Self::Mega3 => (POWER_7, POWER_5),
            Self::Mega5V2 | Self::Mega3V2 => (POWER_5, POWER_7),
        }
    }

    /// Milliseconds from waking until it can take pictures. The vendor says 300, and more for 3
    /// megapixels without saying how many.
    pub(crate) const fn wake_ms(self) -> u32 {
        if self.is_3mp() { 600 } else { 300 }
    }
}

/// What the camera says of its own firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Year of its date, since 2000.
    pub year: u8,
    /// Month of its date.
    pub month: u8,
    /// Day of its date.
    pub day: u8,
    /// Version of the logic that is between sensor and SPI.
    pub version: u8,
}
