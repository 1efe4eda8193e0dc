#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod application;
mod config;
mod connection;
mod control;
mod head;
mod io;
mod request;
mod server;
mod stats;
mod stream;
mod viewers;

pub use application::{Answer, Answered, Application, Exchange};
pub use config::{Config, Cors};
pub use connection::Disconnect;
pub use head::{HEAD_MAX, HeadError, HeadReader, LINE_MAX};
pub use io::{Sequential, Unflushed, WriteVectored};
pub use request::{Method, Mode, Request, RequestError, Route, StreamOptions};
pub use server::Server;
pub use viewers::ViewerSlot;
