#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

#[cfg(any(feature = "bytes", test))]
extern crate std;

// No file uses one that uses it. From the lowest: transport, config, sender, http, viewer's place, hub,
// viewer's loop, routes and relay, server.
mod config;
mod http;
mod hub;
mod relay;
mod routes;
mod sender;
mod server;
mod transport;
mod viewer;

pub use camwire_frame::Backoff;
pub use camwire_multipart::MediaType;
pub use embedded_io_async::{Read, Write};

pub use config::{Config, Cors};
pub use http::application::{Answered, Application, Exchange};
pub use http::authorization::{Authorization, AuthorizationError};
pub use http::body::{BodyError, RequestBody};
pub use http::credentials::{Credentials, Login};
pub use http::head::{HEAD_MAX, HeadError, HeadReader, LINE_MAX, RequestLine};
pub use http::response::Answer;
pub use http::target::{Method, RequestError};
pub use hub::{CameraName, Hub, TooManyViewers};
pub use relay::http_response::{BodyKind, HttpResponse, HttpResponseError, Reconnect};
#[cfg(feature = "ingest")]
pub use relay::pull::{PullError, WebSocketSource};
pub use relay::push::{Push, PushError};
pub use routes::request::{Request, Route};
pub use sender::Disconnect;
pub use server::Server;
pub use transport::{BlockingWriter, Sequential, Unflushed, WriteVectored};
pub use viewer::body::StreamBody;
pub use viewer::options::{Mode, StreamOptions};
pub use viewer::slot::{Transport, Viewer, ViewerSlot};
pub use viewer::stream::stream;
pub use viewer::wire::{OutgoingFrame, Part, TimeBase, Wire, WireError};
