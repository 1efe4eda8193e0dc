//! Frames between servers: pushed to a relay, taken in by one, or pulled from another server.

pub(crate) mod client;
pub(crate) mod http_response;
#[cfg(feature = "ingest")]
pub(crate) mod ingest;
#[cfg(feature = "ingest")]
mod intake;
#[cfg(feature = "ingest")]
pub(crate) mod pull;
pub(crate) mod push;
