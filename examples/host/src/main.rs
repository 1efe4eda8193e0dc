//! A camera server for a computer: `camwire-host serve`.

// The doc comments of the command line are its help text, not rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

mod cli;
mod clock;
mod mqtt;
mod net;
mod serve;
mod source;

use std::process::ExitCode;

use clap::Parser;

/// What is told unless `RUST_LOG` says otherwise: of the embedded broker, only what is wrong.
const LOG: &str = "info,rumqttd=off,tracing=off";

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOG))
        .format_target(false)
        .init();
    match serve::run(&cli.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("camwire-host: {error}");
            ExitCode::FAILURE
        }
    }
}
