use core::ffi::c_int;
use core::fmt;

use crate::sys;

/// An `esp_err_t` other than `ESP_OK`; displayed by the name that ESP-IDF and the driver have for
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspError(i32);

macro_rules! codes {
    ($($name:ident $code:literal,)*) => {
        impl EspError {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = Self($code);
            )*

            /// The name, if it is one that the driver or what it calls is known to give.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

// `esp_err.h` of ESP-IDF 5.5 and `esp_camera.h` of esp32-camera 2.1.
codes! {
    ESP_FAIL -1,
    ESP_ERR_NO_MEM 0x101,
    ESP_ERR_INVALID_ARG 0x102,
    ESP_ERR_INVALID_STATE 0x103,
    ESP_ERR_INVALID_SIZE 0x104,
    ESP_ERR_NOT_FOUND 0x105,
    ESP_ERR_NOT_SUPPORTED 0x106,
    ESP_ERR_TIMEOUT 0x107,
    ESP_ERR_INVALID_RESPONSE 0x108,
    ESP_ERR_CAMERA_NOT_DETECTED 0x20001,
    ESP_ERR_CAMERA_FAILED_TO_SET_FRAME_SIZE 0x20002,
    ESP_ERR_CAMERA_FAILED_TO_SET_OUT_FORMAT 0x20003,
    ESP_ERR_CAMERA_NOT_SUPPORTED 0x20004,
}

impl EspError {
    pub(crate) fn check(code: c_int) -> Result<(), Self> {
        if code == sys::ESP_OK { Ok(()) } else { Err(Self(code)) }
    }

    /// The number.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }
}

impl fmt::Display for EspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "esp_err_t {:#x}", self.0),
        }
    }
}

impl core::error::Error for EspError {}

/// What is wrong with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// None of the chips has such a pin; the highest is 48.
    #[error("there is no GPIO {0}")]
    NoSuchPin(u8),
    /// Two signals have the same pin.
    #[error("GPIO {0} has two signals")]
    PinTwice(u8),
    /// 1 to 255 buffers.
    #[error("a camera needs a buffer")]
    NoBuffer,
    /// The clock is 1 Hz to 40 MHz; sensors want 6 to 24 MHz.
    #[error("no sensor runs at {0} Hz")]
    Clock(u32),
    /// LEDC timers are 0 to 3, channels 0 to 7.
    #[error("there is no such LEDC timer or channel")]
    Ledc,
    /// I2C ports are 0 and 1.
    #[error("there is no I2C port {0}")]
    Port(u8),
}

/// Why the camera did not start. Nothing is held then, and it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be; the driver was not asked.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// There is a [`Camera`](crate::Camera) already. The driver has one, and a second
    /// `esp_camera_init` would tear down the first.
    #[error("the camera is in use")]
    InUse,
    /// `esp_camera_init` failed. [`EspError::ESP_ERR_NOT_SUPPORTED`] is also what the driver of
    /// version 2.1 says when no sensor answers: a cable, a pin, the power. [`EspError::ESP_FAIL`]
    /// often means no memory for the buffers: PSRAM that is missing or not switched on.
    #[error("{0}")]
    Driver(#[from] EspError),
}

/// How the camera fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// The driver had no picture for 4 seconds: the sensor is silent, it sends nothing whole, or
    /// every buffer is out.
    #[error("no frame within 4 seconds")]
    Timeout,
    /// What the sensor's function answered.
    #[error("the sensor answered {0}")]
    Sensor(i32),
    /// It does not start; only [`RestartingCamera`](crate::RestartingCamera) says so.
    #[error("{0}")]
    Start(#[from] StartError),
}
