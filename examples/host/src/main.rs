//! A camera server for a computer, `camwire-host serve`, and a viewer, `camwire-host view`.

// The doc comments of the command line are its help text, not rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

mod cli;
mod clock;
mod dial;
mod mqtt;
mod net;
mod push;
mod serve;
mod source;
mod view;

use std::process::ExitCode;

use clap::Parser;

use cli::Command;

/// What is told unless `RUST_LOG` says otherwise: of the embedded broker, only what is wrong.
const LOG: &str = "info,rumqttd=off,tracing=off";

fn main() -> ExitCode {
    let command = cli::Cli::parse().into_command();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG))
        .format_target(false)
        .init();
    let done = match command {
        Command::Serve(args) => serve::run(&args).map_err(|error| error.to_string()),
        Command::View(args) => view::run(&args).map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("camwire-host: {error}");
            ExitCode::FAILURE
        }
    }
}
