//! Every library crate, named so that it is compiled.
#![no_std]

pub use camwire;
pub use camwire_arducam;
pub use camwire_embassy;
pub use camwire_esp32cam;
pub use camwire_frame;
pub use camwire_mqtt;
pub use camwire_multipart;
pub use camwire_ring;
pub use camwire_server;
pub use camwire_websocket;
