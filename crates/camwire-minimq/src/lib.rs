#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod client;
mod link;
mod subscription;

pub use client::{
    CameraClient, ClientConfig, ClientEvent, ConfigError, ConnectionError, Hooks, Network,
};
