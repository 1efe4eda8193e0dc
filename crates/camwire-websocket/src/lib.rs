#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

mod accept;
mod client;
mod close;
mod connection;
mod decode;
mod encode;
mod event;
mod head;
mod io;
mod mask;
mod role;
mod server;
mod uri;
mod utf8;

pub use client::{ClientHandshake, ClientRequest, RequestError, ResponseError};
pub use close::{Close, CloseCode};
pub use connection::{Connection, Phase};
pub use decode::{Decoder, Limits};
pub use encode::{ControlFrame, EncodeError, Encoder, FrameHead};
pub use event::{Data, DecodeError, DecodeErrorKind, Event, Fin, Kind};
pub use head::{HeadFinder, HeadTooLong};
pub use io::{AcceptError, ConnectError, Error, WebSocket};
pub use mask::Mask;
pub use role::{Client, Role, Server};
pub use server::{Acceptance, Refusal, Request, ServerHandshake};
pub use uri::{Security, Uri, UriError};
