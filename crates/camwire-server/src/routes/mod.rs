//! What the server answers, each route from a [`Hub`](crate::Hub).

pub(crate) mod capture;
pub(crate) mod control;
pub(crate) mod health;
#[cfg(feature = "cameras")]
pub(crate) mod overview;
pub(crate) mod page;
pub(crate) mod request;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod websocket;
