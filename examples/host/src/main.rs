//! A camera server for a computer: `camwire-host serve`.

// The doc comments of the command line are its help text, not rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

mod cli;
mod clock;
mod dial;
mod net;
mod push;
mod serve;
mod source;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
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
