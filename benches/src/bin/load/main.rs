//! Measures MJPEG servers side by side: CPU time per delivered picture, gaps between pictures,
//! memory, and what becomes of viewers that are slow or stop reading. `--help` has examples;
//! README.md of this crate says what the figures mean.

#![forbid(unsafe_code)]

mod client;
mod pictures;
mod process;
mod report;
mod run;
mod scenario;
mod server;
mod stats;
mod stream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use crate::pictures::Pictures;
use crate::run::{Run, Setup};
use crate::scenario::{Changes, Scenario};
use crate::server::ServerSpec;

/// Measures MJPEG servers on this machine, one after the other, in alternating rounds.
#[derive(Debug, Parser)]
#[command(name = "load", after_help = EXAMPLES)]
struct Arguments {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "fanout")]
    scenario: Vec<Scenario>,
    /// camwire, camwire-ws (over WebSocket), node, or 'NAME /PATH COMMAND...' with {port}, {dir} and {fps} in the command.
    /// Repeatable. The first is the one that the others are compared with [default: camwire, node]
    #[arg(long)]
    server: Vec<String>,
    /// Healthy viewers, one run for each number [default: by scenario]
    #[arg(long, value_delimiter = ',')]
    viewers: Option<Vec<usize>>,
    /// Viewers that stop reading [default: by scenario]
    #[arg(long)]
    stalled: Option<usize>,
    /// Stalled viewers that are replaced by others in every second [default: by scenario]
    #[arg(long)]
    churn: Option<usize>,
    /// Viewers that read slowly [default: by scenario]
    #[arg(long)]
    slow: Option<usize>,
    /// What a slow viewer reads, in bytes per second
    #[arg(long, default_value_t = 100_000)]
    rate: u32,
    /// Measuring time of a run [default: by scenario]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Time before it in which the healthy viewers already watch
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup: u64,
    /// Runs of each server [default: by scenario]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: Option<u8>,
    /// Pictures per second
    #[arg(long, default_value_t = 30.0)]
    fps: f64,
    /// Size of a picture, in bytes
    #[arg(long, default_value_t = 27_000)]
    picture_bytes: usize,
    /// How many different pictures there are; no viewer may miss so many in a row
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    picture_count: u32,
    /// Write all figures into this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  load --viewers 200,500 --rounds 5            CPU per picture, camwire against Node
  load --scenario stalled,slow,memory          what slow and stalled viewers do
  load --server node --viewers 1,10            one server alone
  load --server camwire --server camwire-ws    MJPEG and WebSocket
  load --server camwire --server 'flask /stream python3 app.py {port} {dir} {fps}'";

/// More would be a mistake: a viewer is an open file here and at least one at the server.
const MAX_VIEWERS: usize = 5000;

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    let servers = servers(&arguments.server)?;
    let base = base(arguments)?;
    let changes = changes(arguments);
    let plans: Vec<_> = arguments
        .scenario
        .iter()
        .map(|&scenario| (scenario, scenario.plan(&base, &changes)))
        .collect();
    let most = plans.iter().flat_map(|(_, plan)| &plan.setups);
    let most = most.map(|setup| setup.healthy + setup.stalled + setup.slow).max().unwrap_or(0);
    let files = process::raise_open_files().map_err(|e| e.to_string())?;
    if most > MAX_VIEWERS || files < most as u64 + 100 {
        return Err(format!("{most} viewers: at most {MAX_VIEWERS}, and {files} open files"));
    }

    let pictures = Pictures::make(arguments.picture_count, arguments.picture_bytes)
        .map_err(|e| format!("pictures: {e}"))?;
    println!("{} pictures of {} bytes\n", pictures.count(), pictures.mean_bytes());
    let mut scenarios = Vec::new();
    for (scenario, plan) in &plans {
        let mut runs = Vec::new();
        for setup in &plan.setups {
            for _ in 0..plan.rounds {
                for server in &servers {
                    let run = run::run(server, &pictures, setup)?;
                    eprintln!("{}", report::line(&run));
                    warn(&run);
                    runs.push(run);
                }
            }
        }
        println!("{}", report::tables(*scenario, &runs));
        scenarios.push(report::json(*scenario, &runs));
    }

    let Some(path) = &arguments.json else { return Ok(()) };
    let everything = json!({
        "pictures": { "count": pictures.count(), "mean_bytes": pictures.mean_bytes() },
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "scenarios": scenarios,
    });
    std::fs::write(path, format!("{everything:#}\n"))
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn servers(given: &[String]) -> Result<Vec<ServerSpec>, String> {
    let named = if given.is_empty() { &["camwire".into(), "node".into()] } else { given };
    named.iter().map(|text| text.parse()).collect()
}

fn base(arguments: &Arguments) -> Result<Setup, String> {
    if !(0.1..=1000.0).contains(&arguments.fps) {
        return Err(format!("--fps {}: not between 0.1 and 1000", arguments.fps));
    }
    Ok(Setup {
        healthy: 0,
        stalled: 0,
        churn: 0,
        queues: false,
        slow: 0,
        rate: arguments.rate,
        fps: arguments.fps,
        warmup: Duration::from_secs(arguments.warmup),
        window: Duration::ZERO,
    })
}

fn changes(arguments: &Arguments) -> Changes {
    Changes {
        viewers: arguments.viewers.clone(),
        stalled: arguments.stalled,
        churn: arguments.churn,
        slow: arguments.slow,
        seconds: arguments.seconds,
        rounds: arguments.rounds.map(usize::from),
    }
}

/// Says when a run measured something else than the server.
fn warn(run: &Run) {
    const NOISE: f64 = 0.2;
    if run.other_cores > NOISE {
        eprintln!(
            "  other programs used {:.2} cores meanwhile: repeat on a quiet machine",
            run.other_cores
        );
    }
    let client_cores = run.client_us * run.pictures as f64 / 1e6 / run.setup.window.as_secs_f64();
    if client_cores > 0.9 {
        eprintln!("  the viewers' own thread was busy ({client_cores:.2} cores): fewer viewers");
    }
}
