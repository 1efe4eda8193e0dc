#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

// Nothing but documentation. Its programs use all of the family, so they are compiled, and shown,
// where all features are on.
#[cfg(any(doc, doctest))]
#[cfg(all(feature = "arducam", feature = "bytes", feature = "embassy"))]
#[cfg(all(feature = "esp32cam", feature = "std"))]
pub mod guide;

#[cfg(feature = "arducam")]
#[doc(inline)]
pub use camwire_arducam as arducam;
#[cfg(feature = "capture")]
#[doc(inline)]
pub use camwire_capture as capture;
#[cfg(feature = "embassy")]
#[doc(inline)]
pub use camwire_embassy as embassy;
#[cfg(feature = "esp32cam")]
#[doc(inline)]
pub use camwire_esp32cam as esp32cam;
#[doc(inline)]
pub use camwire_frame as frame;
#[cfg(feature = "minimq")]
#[doc(inline)]
pub use camwire_minimq as minimq;
#[cfg(feature = "mqtt")]
#[doc(inline)]
pub use camwire_mqtt as mqtt;
#[cfg(feature = "multipart")]
#[doc(inline)]
pub use camwire_multipart as multipart;
#[cfg(feature = "pattern")]
#[doc(inline)]
pub use camwire_pattern as pattern;
#[cfg(feature = "ring")]
#[doc(inline)]
pub use camwire_ring as ring;
#[cfg(feature = "server")]
#[doc(inline)]
pub use camwire_server as server;
#[cfg(feature = "websocket")]
#[doc(inline)]
pub use camwire_websocket as websocket;

/// The example of the repository's README, compiled.
#[cfg(doctest)]
#[cfg(feature = "capture")]
#[doc = include_str!("../../../README.md")]
struct Readme;
