//! A camera server for a computer, `camwire-host serve`, and a viewer, `camwire-host view`.

// The doc comments of the command line are its help text, not rustdoc.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

mod cameras;
mod cli;
mod clock;
mod dial;
mod login;
mod mqtt;
mod net;
mod push;
mod serve;
mod source;
mod throttle;
mod view;

use std::process::ExitCode;

use log::LevelFilter;

use cli::Command;

/// Crates that log more only if `RUST_LOG` names them: winit warns of what a display lacks.
const QUIET: [(&str, LevelFilter); 1] = [("winit", LevelFilter::Error)];

fn main() -> ExitCode {
    let command = cli::parse();
    let mut log = env_logger::Builder::new();
    for (name, level) in QUIET {
        log.filter_module(name, level);
    }
    log.parse_env(env_logger::Env::default().default_filter_or("info")).format_target(false).init();
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
