use core::fmt;

use crate::{Pins, Sccb};

/// A board that is sold, with the pins of its camera.
///
/// For any other, write [`Pins`] down; nothing here needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Board {
    /// The name that [`named`](Self::named) knows.
    pub name: &'static str,
    /// How its camera is wired.
    pub pins: Pins,
}

macro_rules! boards {
    ($(
        $(#[$about:meta])*
        $constant:ident $name:literal
            [$($pwdn:literal)?] [$($reset:literal)?] $xclk:literal $sda:literal $scl:literal
            [$($data:literal)*] $vsync:literal $href:literal $pclk:literal;
    )*) => {
        impl Board {
            $(
                $(#[$about])*
                #[doc = concat!("\n\nNamed `", $name, "`.")]
                pub const $constant: Self = Self {
                    name: $name,
                    pins: Pins {
                        pwdn: boards!(@pin $($pwdn)?),
                        reset: boards!(@pin $($reset)?),
                        xclk: Some($xclk),
                        sccb: Sccb::Pins { sda: $sda, scl: $scl },
                        y9_to_y2: [$($data),*],
                        vsync: $vsync,
                        href: $href,
                        pclk: $pclk,
                    },
                };
            )*

            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
    (@pin) => { None };
    (@pin $pin:literal) => { Some($pin) };
}

// Columns: PWDN, RESET, XCLK, SDA, SCL, Y9 to Y2, VSYNC, HREF, PCLK.
// The first eight are those of the Arduino library arkhipenko/esp32-cam-mjpeg-multiclient.
boards! {
    /// The AI-Thinker ESP32-CAM, and the many boards made after it.
    AI_THINKER "ai-thinker" [32] [] 0 26 27 [35 34 39 36 21 19 18 5] 25 23 22;
    /// Espressif's ESP-EYE.
    ESP_EYE "esp-eye" [] [] 4 18 23 [36 37 38 39 35 14 13 34] 5 27 25;
    /// Espressif's ESP-WROVER-KIT, and Freenove's ESP32-WROVER board.
    WROVER_KIT "wrover-kit" [] [] 21 26 27 [35 34 39 36 19 18 5 4] 25 23 22;
    /// M5Stack's M5Camera with PSRAM.
    M5STACK_PSRAM "m5stack-psram" [] [15] 27 25 23 [19 36 18 39 5 34 35 32] 22 26 21;
    /// M5Stack's M5Camera F with the wide lens.
    M5STACK_WIDE "m5stack-wide" [] [15] 27 22 23 [19 36 18 39 5 34 35 32] 25 26 21;
    /// LilyGO's TTGO T-Journal, which has no PSRAM. (Espressif's CameraWebServer has PWDN on 0 and
    /// RESET on 15 for it; if no sensor answers, try those.)
    T_JOURNAL "t-journal" [32] [] 27 25 23 [19 36 18 39 5 34 35 17] 22 26 21;
    /// LilyGO's TTGO T-Camera Plus.
    T_CAMERA_PLUS "t-camera-plus" [] [] 4 18 23 [36 37 38 39 35 26 13 34] 5 27 25;
    /// LilyGO's TTGO T-Camera with the motion sensor.
    T_CAMERA_PIR "t-camera-pir" [] [] 32 13 12 [39 36 23 18 15 4 14 5] 27 25 19;
    /// Seeed Studio's XIAO ESP32S3 Sense; pins as in the maker's wiki and in
    /// the example of esp32-camera.
    XIAO_ESP32S3_SENSE "xiao-esp32s3-sense" [] [] 10 40 39 [48 11 12 14 16 18 17 15] 38 47 13;
    /// Espressif's ESP32-S3-EYE; pins as in the maker's board support package, `esp32_s3_eye` of
    /// espressif/esp-bsp.
    ESP32_S3_EYE "esp32-s3-eye" [] [] 15 4 5 [16 17 18 12 10 8 9 11] 6 7 13;
    /// Freenove's ESP32-S3-WROOM board, which is wired like the ESP32-S3-EYE; pins as in the maker's
    /// Freenove/Freenove_ESP32_S3_WROOM_Board, sketch 07.1.
    FREENOVE_ESP32S3 "freenove-esp32s3" [] [] 15 4 5 [16 17 18 12 10 8 9 11] 6 7 13;
}

impl Board {
    /// The board of that name. It can be called where constants are made, so that a wrong name in
    /// an environment variable is an error of the compiler:
    ///
    /// ```
    /// use camwire_esp32cam::Board;
    ///
    /// // In firmware: `env!("BOARD")`
    /// const BOARD: Board = Board::named("ai-thinker").expect("no board of that name");
    /// assert_eq!(BOARD.pins.xclk, Some(0));
    /// ```
    #[must_use]
    pub const fn named(name: &str) -> Option<Self> {
        let mut at = 0;
        while at < Self::ALL.len() {
            if equal(Self::ALL[at].name.as_bytes(), name.as_bytes()) {
                return Some(Self::ALL[at]);
            }
            at += 1;
        }
        None
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// `a == b`, in constants.
const fn equal(mut a: &[u8], mut b: &[u8]) -> bool {
    while let ([first_a, rest_a @ ..], [first_b, rest_b @ ..]) = (a, b) {
        if *first_a != *first_b {
            return false;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.is_empty() && b.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn every_board_can_be_configured_and_has_a_name_of_its_own() {
        for board in Board::ALL {
            assert_eq!(Board::named(board.name).as_ref(), Some(board));
            assert!(Config::new(board.pins).for_driver().is_ok(), "{board}");
        }
        for name in ["", "ai", "ai-thinker2", "AI-THINKER"] {
            assert_eq!(Board::named(name), None, "{name}");
        }
    }
}
