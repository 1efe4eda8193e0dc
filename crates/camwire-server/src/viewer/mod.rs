//! Viewers: their places, and the one loop that sends them frames over any [`Wire`](wire::Wire).

pub(crate) mod body;
#[cfg(feature = "bytes")]
pub(crate) mod bytes;
pub(crate) mod mjpeg;
pub(crate) mod options;
pub(crate) mod sink;
pub(crate) mod slot;
pub(crate) mod stream;
pub(crate) mod v1;
pub(crate) mod websocket;
pub(crate) mod wire;
