//! What is compared with what.

use std::time::Duration;

use clap::ValueEnum;

use crate::run::Setup;

/// A question, and the runs that answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// CPU time per delivered picture and gaps, from one viewer to many
    Fanout,
    /// Gaps of healthy viewers alone and beside stalled ones
    Stalled,
    /// How far viewers that read 100 KB/s fall behind, and what is queued for them
    Slow,
    /// The server's memory over time, with stalled viewers
    Memory,
}

/// What the command line changes of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) viewers: Option<Vec<usize>>,
    pub(crate) stalled: Option<usize>,
    pub(crate) churn: Option<usize>,
    pub(crate) slow: Option<usize>,
    pub(crate) seconds: Option<u64>,
    pub(crate) rounds: Option<usize>,
}

/// The runs of a scenario: each setup, so many times, with each server in turn.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) setups: Vec<Setup>,
    pub(crate) rounds: usize,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Stalled => "stalled",
            Self::Slow => "slow",
            Self::Memory => "memory",
        }
    }

    /// `base` has what all scenarios share.
    pub(crate) fn plan(self, base: &Setup, changes: &Changes) -> Plan {
        let (viewers, stalled, slow, seconds, rounds): (&[usize], _, _, _, _) = match self {
            Self::Fanout => (&[1, 10, 50, 200, 500], 0, 0, 10, 3),
            Self::Stalled => (&[20], 20, 0, 15, 3),
            Self::Slow => (&[1], 0, 20, 25, 1),
            Self::Memory => (&[20], 20, 0, 60, 1),
        };
        let stalled = changes.stalled.unwrap_or(stalled);
        let viewers = changes.viewers.as_deref().unwrap_or(viewers);
        let setup = |healthy, now_stalled| Setup {
            healthy,
            stalled: now_stalled,
            // Each of the default 20 then lives for 10 seconds.
            churn: changes.churn.unwrap_or(if self == Self::Memory { 2 } else { 0 }),
            queues: self != Self::Fanout || stalled + changes.slow.unwrap_or(0) > 0,
            slow: changes.slow.unwrap_or(slow),
            window: Duration::from_secs(changes.seconds.unwrap_or(seconds)),
            ..base.clone()
        };
        let setups = viewers.iter().flat_map(|&healthy| {
            // The comparison is with the same run without stalled viewers.
            let alone = (self == Self::Stalled).then(|| setup(healthy, 0));
            alone.into_iter().chain([setup(healthy, stalled)])
        });
        Plan { setups: setups.collect(), rounds: changes.rounds.unwrap_or(rounds) }
    }
}
