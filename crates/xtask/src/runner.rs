//! What a check is, and how checks run: in two lanes, with a line for each and a table of times.

use crate::{Context, job::Job};
use serde_json::json;
use std::{
    fs,
    process::ExitCode,
    sync::{Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// One line of the report.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) tier: Tier,
    lane: Lane,
    after: &'static [&'static str],
    run: fn(&Job<'_>) -> Outcome,
}

/// The runs that a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// `test quick` and `test`.
    Quick,
    /// `test quick` alone, where `test` has the long form of it.
    QuickOnly,
    /// `test`.
    Ordinary,
    /// `test deep`.
    Deep,
}

/// Each lane runs its checks one after the other, beside the other lane: one keeps the processor
/// busy while the other waits for sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// Compiles into the workspace's target folder.
    Build,
    /// Runs what is compiled, or compiles into a folder of its own.
    Run,
}

impl Tier {
    /// Far above what any program takes: it only ends what hangs.
    pub(crate) fn timeout(self) -> Duration {
        Duration::from_secs(if self == Self::Deep { 6 * 3600 } else { 1800 })
    }
}

impl Check {
    /// A check of the ordinary run, in the lane that compiles.
    pub(crate) const fn new(
        name: &'static str,
        about: &'static str,
        run: fn(&Job<'_>) -> Outcome,
    ) -> Self {
        Self { name, about, tier: Tier::Ordinary, lane: Lane::Build, after: &[], run }
    }

    pub(crate) const fn tier(self, tier: Tier) -> Self {
        Self { tier, ..self }
    }

    pub(crate) const fn beside_builds(self) -> Self {
        Self { lane: Lane::Run, ..self }
    }

    /// It uses what these checks make. If one of them is skipped, it runs and does without.
    pub(crate) const fn after(self, after: &'static [&'static str]) -> Self {
        Self { after, ..self }
    }
}

/// How many tests a check was, and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// A check that is one yes or no.
    pub(crate) const ONE: Self = Self::passed(1);

    pub(crate) const fn passed(passed: usize) -> Self {
        Self { passed, failed: 0, skipped: 0 }
    }

    const fn failed(failed: usize) -> Self {
        Self { passed: 0, failed, skipped: 0 }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    fn in_words(self) -> String {
        let skipped =
            if self.skipped > 0 { format!(", {} skipped", self.skipped) } else { "".into() };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed)
    }
}

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum Problem {
    /// This machine lacks something: what, and how to get it. With `--install` that is a failure.
    Missing(String),
    /// It cannot run here, which is no failure.
    Skipped(String),
    /// It ran and failed; the output is shown whole.
    Failed { tally: Tally, output: String },
}

impl Problem {
    /// The failure of a check that is one yes or no.
    pub(crate) fn failed(output: impl Into<String>) -> Self {
        Self::Failed { tally: Tally::failed(1), output: output.into() }
    }

    /// The failure of a check that has looked at several things, if any is wrong.
    pub(crate) fn if_any(faults: &[String]) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::failed(faults.join("\n"))) }
    }
}

impl<E: std::error::Error> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::failed(error.to_string())
    }
}

pub(crate) type Outcome = Result<Tally, Problem>;

/// The chosen checks, with those that they come after, in the order of the list.
pub(crate) fn with_prerequisites(checks: &[Check], chosen: impl Fn(&Check) -> bool) -> Vec<Check> {
    let mut wanted: Vec<&str> = checks.iter().filter(|c| chosen(c)).map(|c| c.name).collect();
    let mut next = 0;
    while let Some(&name) = wanted.get(next) {
        wanted
            .extend(checks.iter().filter(|check| check.name == name).flat_map(|check| check.after));
        next += 1;
    }
    checks.iter().filter(|check| wanted.contains(&check.name)).copied().collect()
}

/// Runs the checks and prints a line for each, the table of times, and the line that counts.
pub(crate) fn run(context: &Context, checks: &[Check]) -> ExitCode {
    let (report, start) = (Report::default(), Instant::now());
    thread::scope(|scope| {
        for lane in [Lane::Build, Lane::Run] {
            let report = &report;
            scope.spawn(move || {
                for check in checks.iter().filter(|check| check.lane == lane) {
                    let ready = report.wait_for(check.after);
                    let start = Instant::now();
                    let run = || (check.run)(&Job::new(context, check.name, check.tier.timeout())?);
                    let outcome = ready.and_then(|()| run());
                    report.add(context, check.name, start.elapsed().as_secs_f64(), outcome);
                }
            });
        }
    });
    report.close(context, start.elapsed().as_secs_f64())
}

/// A lane that panics ends the run: it is a bug of xtask.
const ALIVE: &str = "the other lane has not panicked";

/// The checks that have ended.
#[derive(Default)]
struct Report {
    rows: Mutex<Vec<Row>>,
    has_grown: Condvar,
}

struct Row {
    name: &'static str,
    seconds: f64,
    /// `ok`, `skip` or `FAIL`.
    outcome: &'static str,
    tally: Tally,
}

impl Report {
    /// Waits until all of these have ended, and says if one has failed.
    fn wait_for(&self, names: &[&'static str]) -> Result<(), Problem> {
        let missing =
            |rows: &mut Vec<Row>| names.iter().any(|name| rows.iter().all(|row| row.name != *name));
        let rows = self.has_grown.wait_while(self.rows.lock().expect(ALIVE), missing);
        let rows = rows.expect(ALIVE);
        let failed = rows.iter().find(|row| row.outcome == "FAIL" && names.contains(&row.name));
        failed.map_or(Ok(()), |row| Err(Problem::Skipped(format!("{} failed", row.name))))
    }

    fn add(&self, context: &Context, name: &'static str, seconds: f64, outcome: Outcome) {
        let none = String::new;
        let (outcome, tally, note, output) = match outcome {
            Ok(tally) => ("ok", tally, none(), none()),
            Err(Problem::Missing(what)) if context.install => {
                ("FAIL", Tally::failed(1), what, none())
            }
            Err(Problem::Skipped(why) | Problem::Missing(why)) => {
                ("skip", Tally { skipped: 1, ..Tally::default() }, why, none())
            }
            Err(Problem::Failed { tally, output }) => ("FAIL", tally, none(), output),
        };
        let is_several = tally.passed + tally.failed + tally.skipped > 1;
        let note = if is_several { tally.in_words() } else { note };
        let mut rows = self.rows.lock().expect(ALIVE);
        println!("{name:<20} {outcome:<4} {seconds:>7.1} s  {note}");
        output.trim_end().lines().for_each(|line| println!("    | {line}"));
        rows.push(Row { name, seconds, outcome, tally });
        self.has_grown.notify_all();
    }

    fn close(&self, context: &Context, seconds: f64) -> ExitCode {
        let mut rows = self.rows.lock().expect(ALIVE);
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        if let Err(error) = write_times(context, &rows, seconds) {
            eprintln!("cannot write times.json: {error}");
        }
        if rows.len() > 1 {
            println!("\nThe longest of {seconds:.0} s, in two lanes:");
            for Row { name, seconds, .. } in rows.iter().take(10) {
                println!("{seconds:>9.1} s  {name}");
            }
        }
        println!();
        let failed = Vec::from_iter(rows.iter().filter(|row| row.outcome == "FAIL"));
        for Row { name, .. } in &failed {
            println!("failed: {name}    (again: cargo xtask test {name})");
        }
        let mut total = Tally::default();
        rows.iter().for_each(|row| total.add(row.tally));
        println!("{}", total.in_words());
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The table of times for programs, in `target/xtask/times.json`.
fn write_times(context: &Context, rows: &[Row], seconds: f64) -> std::io::Result<()> {
    let checks = rows.iter().map(|Row { name, seconds, outcome, tally }| {
        let Tally { passed, failed, skipped } = tally;
        json!({
            "name": name, "seconds": seconds, "outcome": outcome.to_lowercase(),
            "passed": passed, "failed": failed, "skipped": skipped,
        })
    });
    let times = json!({ "seconds": seconds, "checks": Vec::from_iter(checks) });
    fs::write(context.target.join("xtask/times.json"), format!("{times:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CHECKS;
    use std::collections::BTreeSet;

    /// A check that waits for a later one of its own lane, or for one that waits for it, would wait
    /// for ever.
    #[test]
    fn no_check_waits_for_ever() {
        let mut lanes = [Lane::Build, Lane::Run]
            .map(|lane| CHECKS.iter().filter(|check| check.lane == lane).collect::<Vec<_>>());
        let mut ended = Vec::new();
        while lanes.iter().any(|lane| !lane.is_empty()) {
            let before = ended.len();
            for lane in &mut lanes {
                if lane.first().is_some_and(|c| c.after.iter().all(|name| ended.contains(name))) {
                    ended.push(lane.remove(0).name);
                }
            }
            let first = lanes.each_ref().map(|lane| lane.first().map(|check| check.name));
            assert!(ended.len() > before, "these wait for ever: {first:?}");
        }
        let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len(), "two checks have one name");
    }

    #[test]
    fn check_comes_with_all_that_it_needs() {
        let check = |name| Check::new(name, "", |_| Ok(Tally::ONE));
        let checks = [check("a"), check("b").after(&["a"]), check("c").after(&["b"]), check("d")];
        let with = with_prerequisites(&checks, |check| check.name == "c");
        assert_eq!(with.iter().map(|check| check.name).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
