//! HTTP itself: what a request says, who may make it, and how an answer is written.

pub(crate) mod access;
pub(crate) mod application;
pub(crate) mod authorization;
pub(crate) mod base64;
pub(crate) mod body;
pub(crate) mod chunks;
pub(crate) mod credentials;
pub(crate) mod head;
pub(crate) mod origin;
pub(crate) mod receive;
pub(crate) mod response;
pub(crate) mod target;
pub(crate) mod upgrade;
