#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(any(feature = "bytes", test))]
extern crate std;

mod access;
mod application;
mod authorization;
mod body;
#[cfg(feature = "bytes")]
mod bytes;
mod client;
mod config;
mod connection;
mod control;
mod head;
mod http_response;
#[cfg(feature = "ingest")]
mod ingest;
#[cfg(feature = "ingest")]
mod intake;
mod io;
mod origin;
#[cfg(feature = "ingest")]
mod pull;
mod push;
mod request;
mod server;
mod stats;
mod stream;
mod v1;
mod viewers;
mod websocket;

pub use camwire_multipart::MediaType;

pub use access::Credentials;
pub use application::{Answer, Answered, Application, Exchange};
pub use authorization::{Authorization, AuthorizationError};
pub use body::{StreamBody, TooManyViewers};
pub use config::{Config, Cors};
pub use connection::Disconnect;
pub use head::{HEAD_MAX, HeadError, HeadReader, LINE_MAX, RequestLine};
pub use http_response::{BodyKind, HttpResponse, HttpResponseError, Reconnect};
pub use io::{Blocking, Sequential, Unflushed, WriteVectored};
#[cfg(feature = "ingest")]
pub use pull::{PullError, WebSocketSource};
pub use push::{Backoff, Push, PushError};
pub use request::{Method, Mode, Request, RequestError, Route, StreamOptions};
pub use server::Server;
pub use viewers::ViewerSlot;
