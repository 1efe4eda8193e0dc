//! The camera's registers and what is written to them.
//!
//! A register is written with two bytes, the address with its top bit set and the value, and read
//! with three: the address, a byte that means nothing, and the value. Each such access is one
//! assertion of chip select.

pub(crate) const POWER: u8 = 0x02;
pub(crate) const FIFO: u8 = 0x04;
pub(crate) const RESET: u8 = 0x07;
pub(crate) const DEVICE_ADDRESS: u8 = 0x0A;
pub(crate) const FORMAT: u8 = 0x20;
pub(crate) const RESOLUTION: u8 = 0x21;
pub(crate) const BRIGHTNESS: u8 = 0x22;
pub(crate) const CONTRAST: u8 = 0x23;
pub(crate) const SATURATION: u8 = 0x24;
pub(crate) const EXPOSURE_LEVEL: u8 = 0x25;
pub(crate) const WHITE_BALANCE: u8 = 0x26;
pub(crate) const EFFECT: u8 = 0x27;
pub(crate) const SHARPNESS: u8 = 0x28;
pub(crate) const QUALITY: u8 = 0x2A;
/// Switches one of the automatics: its number, with the top bit for on.
pub(crate) const AUTOMATIC: u8 = 0x30;
pub(crate) const GAIN_9_8: u8 = 0x31;
pub(crate) const GAIN_7_0: u8 = 0x32;
pub(crate) const EXPOSURE_19_16: u8 = 0x33;
pub(crate) const EXPOSURE_15_8: u8 = 0x34;
pub(crate) const EXPOSURE_7_0: u8 = 0x35;
pub(crate) const SENSOR_ID: u8 = 0x40;
pub(crate) const YEAR: u8 = 0x41;
pub(crate) const MONTH: u8 = 0x42;
pub(crate) const DAY: u8 = 0x43;
pub(crate) const STATE: u8 = 0x44;
pub(crate) const LENGTH_7_0: u8 = 0x45;
pub(crate) const LENGTH_15_8: u8 = 0x46;
pub(crate) const LENGTH_23_16: u8 = 0x47;
pub(crate) const VERSION: u8 = 0x49;

/// Set in the address of a register to write it.
pub(crate) const WRITE: u8 = 0x80;
/// Begins a burst: this byte, one that means nothing, and then the picture for as long as chip
/// select is asserted.
pub(crate) const BURST: u8 = 0x3C;

/// Of [`FIFO`]: forget the picture that is there.
pub(crate) const FIFO_CLEAR: u8 = 0x01;
/// Of [`FIFO`]: take one.
pub(crate) const FIFO_START: u8 = 0x02;
/// Of [`RESET`].
pub(crate) const RESET_ALL: u8 = 0x40;
/// Of [`DEVICE_ADDRESS`]: where the sensor is on the module's own I2C bus.
pub(crate) const SENSOR_ADDRESS: u8 = 0x78;
/// Of [`FORMAT`].
pub(crate) const JPEG: u8 = 0x01;
/// Of [`POWER`]. Which of the two saves power depends on the [`Model`](crate::Model).
pub(crate) const POWER_5: u8 = 0x05;
pub(crate) const POWER_7: u8 = 0x07;

/// Of [`STATE`]: these two bits read 2 when the module has passed on to the sensor what it was
/// told, and may be told more.
pub(crate) const STATE_BUSY_MASK: u8 = 0x03;
pub(crate) const STATE_IDLE: u8 = 0x02;
/// Of [`STATE`]: the picture is there.
pub(crate) const STATE_DONE: u8 = 0x04;
