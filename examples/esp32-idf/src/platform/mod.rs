//! What the firmware runs on: a board with ESP-IDF, or a computer that stands in for one.
//!
//! Each has the same few items: `start`, which gives a `Board`; `doors`; `prepare`, for a viewer's
//! socket; `restart`; `RANDOM`; `chip_number`; `DRIVER_STACK_BYTES`. The file for the board can be compiled with Espressif's
//! toolchain only, so there is little in it.

#[cfg(feature = "esp-idf")]
mod esp_idf;
#[cfg(feature = "esp-idf")]
pub use esp_idf::*;

#[cfg(not(feature = "esp-idf"))]
mod computer;
#[cfg(not(feature = "esp-idf"))]
pub use computer::*;
