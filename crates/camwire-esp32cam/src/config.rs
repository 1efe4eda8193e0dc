use core::ffi::c_int;

use camwire_frame::{Quality, Resolution};

use crate::{ConfigError, sys};

/// The control bus of the sensor (SCCB, which is I2C in all that matters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sccb {
    /// The driver sets up I2C on these pins.
    Pins {
        /// SDA, on many boards SIOD.
        sda: u8,
        /// SCL, on many boards SIOC.
        scl: u8,
    },
    /// An I2C port that the program has set up already. It must be 0 where the driver was built
    /// with its colour converter (`CONFIG_CAMERA_CONVERTER_ENABLED`), which would take a 1 for a
    /// conversion and use port 0.
    Port(u8),
}

/// Which GPIO is wired to what. For boards with a name there is [`Board`](crate::Board).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pins {
    /// Power-down, if wired.
    pub pwdn: Option<u8>,
    /// Reset, if wired; without, the sensor is reset over its control bus.
    pub reset: Option<u8>,
    /// The clock that the chip gives to the sensor; `None` if it has an oscillator of its own.
    pub xclk: Option<u8>,
    /// The control bus.
    pub sccb: Sccb,
    /// The eight data lines in the order in which boards list them: Y9, Y8, ... Y2. The driver and
    /// other boards call the same lines D7 to D0.
    pub y9_to_y2: [u8; 8],
    /// Vertical synchronisation.
    pub vsync: u8,
    /// Horizontal reference.
    pub href: u8,
    /// The sensor's pixel clock.
    pub pclk: u8,
}

impl Pins {
    /// The highest GPIO of ESP32 (39), S2 (46) and S3 (48).
    const HIGHEST: u8 = 48;

    fn check(&self) -> Result<(), ConfigError> {
        let (sda, scl) = match self.sccb {
            Sccb::Pins { sda, scl } => (Some(sda), Some(scl)),
            Sccb::Port(0 | 1) => (None, None),
            Sccb::Port(port) => return Err(ConfigError::Port(port)),
        };
        let single = [self.pwdn, self.reset, self.xclk, sda, scl];
        let always = [self.vsync, self.href, self.pclk];
        let mut seen = 0u64;
        for pin in single.into_iter().flatten().chain(self.y9_to_y2).chain(always) {
            if pin > Self::HIGHEST {
                return Err(ConfigError::NoSuchPin(pin));
            }
            if seen >> pin & 1 == 1 {
                return Err(ConfigError::PinTwice(pin));
            }
            seen |= 1 << pin;
        }
        Ok(())
    }
}

/// Where the driver keeps its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferMemory {
    /// In external RAM, of which there are megabytes; `CONFIG_SPIRAM=y` in the sdkconfig.
    Psram,
    /// In internal RAM, for boards without PSRAM: one or two pictures of VGA and no more.
    Internal,
}

/// When the driver fills its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrabMode {
    /// While one is empty. Then it rests, with less work for the chip; the next pictures are as old
    /// as the last time that anybody asked.
    WhenEmpty,
    /// Always: the oldest picture that nobody has taken gives way to the newest. Needs two buffers
    /// to differ.
    Latest,
}

/// How the camera is wired and run.
///
/// Begin with the pins; the rest has defaults: a clock of 20 MHz from LEDC timer 0 and channel 0,
/// pictures of at most SVGA at quality 12, two buffers in PSRAM with the newest pictures. The format
/// is always JPEG, made by the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pins: Pins,
    xclk_hz: u32,
    ledc_timer: u8,
    ledc_channel: u8,
    largest: Resolution,
    quality: Quality,
    buffers: u8,
    memory: BufferMemory,
    grab: GrabMode,
}

impl Config {
    /// The defaults, on these pins.
    #[must_use]
    pub const fn new(pins: Pins) -> Self {
        Self {
            pins,
            xclk_hz: 20_000_000,
            ledc_timer: 0,
            ledc_channel: 0,
            largest: Resolution::SVGA,
            quality: const { Quality::new(12).expect("0 to 63") },
            buffers: 2,
            memory: BufferMemory::Psram,
            grab: GrabMode::Latest,
        }
    }

    /// The largest size that is going to be used, which is also the size at the start.
    ///
    /// The driver's buffers hold [`Resolution::jpeg_bytes`] of it and never change, so that sizes
    /// beyond it are refused later. A sensor that is smaller than this makes it its own largest.
    #[must_use]
    pub const fn largest(mut self, largest: Resolution) -> Self {
        self.largest = largest;
        self
    }

    /// The JPEG quality at the start, 0 to 63, lower is better and larger.
    #[must_use]
    pub const fn quality(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// How many buffers, and where.
    #[must_use]
    pub const fn buffers(mut self, count: u8, memory: BufferMemory) -> Self {
        self.buffers = count;
        self.memory = memory;
        self
    }

    /// When they are filled.
    #[must_use]
    pub const fn grab(mut self, grab: GrabMode) -> Self {
        self.grab = grab;
        self
    }

    /// The frequency of the sensor's clock; 10 to 20 MHz suit most.
    #[must_use]
    pub const fn xclk_hz(mut self, hz: u32) -> Self {
        self.xclk_hz = hz;
        self
    }

    /// The LEDC timer (0 to 3) and channel (0 to 7) that make the clock on ESP32 and S2, and are
    /// lost to the program. (The S3 has a clock of its own for that.)
    #[must_use]
    pub const fn ledc(mut self, timer: u8, channel: u8) -> Self {
        self.ledc_timer = timer;
        self.ledc_channel = channel;
        self
    }

    /// As the driver takes it, if it can be.
    pub(crate) fn for_driver(&self) -> Result<sys::PaddedConfig, ConfigError> {
        self.pins.check()?;
        if self.buffers == 0 {
            return Err(ConfigError::NoBuffer);
        }
        if !(1..=40_000_000).contains(&self.xclk_hz) {
            return Err(ConfigError::Clock(self.xclk_hz));
        }
        if self.ledc_timer > 3 || self.ledc_channel > 7 {
            return Err(ConfigError::Ledc);
        }
        let pin = |pin: Option<u8>| pin.map_or(-1, c_int::from);
        let [d7, d6, d5, d4, d3, d2, d1, d0] = self.pins.y9_to_y2.map(c_int::from);
        let (sda, scl, port) = match self.pins.sccb {
            Sccb::Pins { sda, scl } => (Some(sda), Some(scl), 0),
            Sccb::Port(port) => (None, None, port),
        };
        let config = sys::camera_config_t {
            pin_pwdn: pin(self.pins.pwdn),
            pin_reset: pin(self.pins.reset),
            pin_xclk: pin(self.pins.xclk),
            pin_sccb_sda: pin(sda),
            pin_sccb_scl: pin(scl),
            pin_d7: d7,
            pin_d6: d6,
            pin_d5: d5,
            pin_d4: d4,
            pin_d3: d3,
            pin_d2: d2,
            pin_d1: d1,
            pin_d0: d0,
            pin_vsync: self.pins.vsync.into(),
            pin_href: self.pins.href.into(),
            pin_pclk: self.pins.pclk.into(),
            xclk_freq_hz: self.xclk_hz as c_int, // at most 40 million
            ledc_timer: self.ledc_timer.into(),
            ledc_channel: self.ledc_channel.into(),
            pixel_format: sys::PIXFORMAT_JPEG,
            frame_size: self.largest.number().into(),
            jpeg_quality: self.quality.get().into(),
            fb_count: self.buffers.into(),
            fb_location: match self.memory {
                BufferMemory::Psram => sys::CAMERA_FB_IN_PSRAM,
                BufferMemory::Internal => sys::CAMERA_FB_IN_DRAM,
            },
            grab_mode: match self.grab {
                GrabMode::WhenEmpty => sys::CAMERA_GRAB_WHEN_EMPTY,
                GrabMode::Latest => sys::CAMERA_GRAB_LATEST,
            },
            sccb_i2c_port: port.into(),
        };
        Ok(sys::PaddedConfig { config, room: 0 })
    }
}
