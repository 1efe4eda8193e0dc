//! The figures as tables for people and as JSON for programs.

use serde_json::{Value, json};

use crate::run::{Run, Sample, Setup};
use crate::scenario::Scenario;
use crate::stats::Spread;

/// The tables of a scenario: medians over its rounds.
pub(crate) fn tables(scenario: Scenario, runs: &[Run]) -> String {
    let groups = groups(runs);
    let mut text = format!("## {}\n\n", scenario.name());
    text += &table(
        &[
            "healthy",
            "stalled",
            "slow",
            "server",
            "CPU us/picture",
            "(min-max)",
            "pictures/s min",
            "median",
            "gap ms p50",
            "p99",
            "max",
            "skipped",
            "lost",
            "RSS MB start",
            "end",
            "client us",
            "other cores",
        ],
        &groups.iter().map(Group::row).collect::<Vec<_>>(),
    );
    text += &ratios(&groups);
    if groups.iter().any(|group| group.setup.slow > 0) {
        text += "\nSlow viewers (median, worst over the viewers):\n\n";
        text += &table(
            &[
                "server",
                "pictures/s",
                "lag s of the last",
                "worst lag s",
                "by X-Timestamp",
                "most queued KB",
                "skipped",
                "told missed",
                "lost",
            ],
            &groups.iter().filter_map(Group::slow_row).collect::<Vec<_>>(),
        );
    }
    let over_time: Vec<Vec<String>> = groups
        .iter()
        .filter(|g| scenario == Scenario::Memory || g.setup.slow + g.setup.stalled > 0)
        .flat_map(Group::time_rows)
        .collect();
    if !over_time.is_empty() {
        text += "\nOver time (last round; queues and lag of the slow: median, worst):\n\n";
        text += &table(
            &[
                "server",
                "second",
                "RSS MB",
                "stalled kept",
                "server queue KB",
                "own queue KB",
                "lag s",
            ],
            &over_time,
        );
    }
    for run in runs {
        if let Some(why) = &run.lost_why {
            text += &format!("\n{} lost {} healthy viewers: {why}\n", run.server, run.lost);
        }
    }
    text
}

/// Everything measured, run by run.
pub(crate) fn json(scenario: Scenario, runs: &[Run]) -> Value {
    let summary: Vec<Value> = groups(runs).iter().map(Group::json).collect();
    let runs: Vec<Value> = runs.iter().map(run_json).collect();
    json!({ "scenario": scenario.name(), "summary": summary, "runs": runs })
}

/// One line for a run that has just ended.
pub(crate) fn line(run: &Run) -> String {
    format!(
        "{} healthy, {} stalled, {} slow, {}: {:.1} us/picture, {:.2} pictures/s, gap p99 {:.1} ms",
        run.setup.healthy,
        run.setup.stalled,
        run.setup.slow,
        run.server,
        run.server_us,
        run.rate.median,
        run.gap_ms.p99,
    )
}

/// The rounds of one server in one setup.
struct Group<'a> {
    server: &'a str,
    setup: &'a Setup,
    rounds: Vec<&'a Run>,
}

fn groups(runs: &[Run]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in runs {
        let same = |g: &&mut Group<'_>| g.server == run.server && *g.setup == run.setup;
        match groups.iter_mut().find(same) {
            Some(group) => group.rounds.push(run),
            None => {
                groups.push(Group { server: &run.server, setup: &run.setup, rounds: vec![run] });
            }
        }
    }
    groups
}

impl Group<'_> {
    fn over(&self, of: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(|run| of(run))).unwrap_or_default()
    }

    fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        self.over(of).median
    }

    fn row(&self) -> Vec<String> {
        let cpu = self.over(|run| run.server_us);
        vec![
            self.setup.healthy.to_string(),
            self.setup.stalled.to_string(),
            self.setup.slow.to_string(),
            self.server.to_owned(),
            format!("{:.1}", cpu.median),
            format!("{:.1}-{:.1}", cpu.min, cpu.max),
            format!("{:.2}", self.median(|run| run.rate.min)),
            format!("{:.2}", self.median(|run| run.rate.median)),
            format!("{:.1}", self.median(|run| run.gap_ms.p50)),
            format!("{:.1}", self.median(|run| run.gap_ms.p99)),
            format!("{:.1}", self.median(|run| run.gap_ms.max)),
            format!("{:.0}", self.median(|run| run.skipped as f64)),
            format!("{:.0}", self.median(|run| run.lost as f64)),
            format!("{:.1}", self.median(|run| megabytes(run.samples.first()))),
            format!("{:.1}", self.median(|run| megabytes(run.samples.last()))),
            format!("{:.1}", self.median(|run| run.client_us)),
            format!("{:.2}", self.median(|run| run.other_cores)),
        ]
    }

    fn slow_row(&self) -> Option<Vec<String>> {
        let slow = self.rounds.last()?.slow?;
        let pair = |spread: Spread| format!("{:.2}, {:.2}", spread.median, spread.max);
        Some(vec![
            self.server.to_owned(),
            format!("{:.2}, {:.2}", slow.rate.median, slow.rate.min),
            pair(slow.last_lag),
            pair(slow.worst_lag),
            slow.worst_age.map_or_else(|| "-".into(), pair),
            kilobytes(Some(slow.send_queue)),
            format!("{:.0}, {:.0}", slow.skipped.median, slow.skipped.max),
            format!("{:.0}, {:.0}", slow.told_missed.median, slow.told_missed.max),
            slow.lost.to_string(),
        ])
    }

    /// A few of the samples, evenly spaced.
    fn time_rows(&self) -> Vec<Vec<String>> {
        const ROWS: usize = 6;
        let Some(run) = self.rounds.last() else { return Vec::new() };
        let last = run.samples.len().saturating_sub(1);
        let mut picked: Vec<usize> = (0..ROWS).map(|row| row * last / (ROWS - 1)).collect();
        picked.dedup();
        let row = |sample: &Sample| {
            let lag = sample.lag.map(|lag| format!("{:.2}, {:.2}", lag.median, lag.max));
            vec![
                self.server.to_owned(),
                format!("{:.0}", sample.second),
                format!("{:.1}", megabytes(Some(sample))),
                sample.stalled.to_string(),
                kilobytes(sample.send_queue),
                kilobytes(sample.receive_queue),
                lag.unwrap_or_else(|| "-".into()),
            ]
        };
        picked.into_iter().filter_map(|at| run.samples.get(at)).map(row).collect()
    }

    fn json(&self) -> Value {
        json!({
            "server": self.server,
            "setup": setup_json(self.setup),
            "rounds": self.rounds.len(),
            "server_us_per_picture": spread_json(self.over(|run| run.server_us)),
            "pictures_per_second_min": self.median(|run| run.rate.min),
            "pictures_per_second_median": self.median(|run| run.rate.median),
            "gap_ms": {
                "p50": self.median(|run| run.gap_ms.p50),
                "p99": self.median(|run| run.gap_ms.p99),
                "max": self.median(|run| run.gap_ms.max),
            },
        })
    }
}

/// CPU time of the first server against that of each other one in the same setup.
fn ratios(groups: &[Group<'_>]) -> String {
    let Some(first) = groups.first().map(|group| group.server) else { return String::new() };
    let ours = groups.iter().filter(|group| group.server == first);
    let rows: Vec<Vec<String>> = ours
        .flat_map(|our| {
            let same = |other: &&Group<'_>| other.setup == our.setup && other.server != first;
            groups.iter().filter(same).map(|other| {
                let ratio = our.median(|run| run.server_us) / other.median(|run| run.server_us);
                let gap = our.median(|run| run.gap_ms.p99) / other.median(|run| run.gap_ms.p99);
                vec![
                    our.setup.healthy.to_string(),
                    our.setup.stalled.to_string(),
                    format!("{first} / {}", other.server),
                    format!("{ratio:.2}"),
                    format!("{gap:.2}"),
                ]
            })
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table(&["healthy", "stalled", "ratio of", "CPU/picture", "gap p99"], &rows))
}

fn run_json(run: &Run) -> Value {
    json!({
        "server": run.server,
        "setup": setup_json(&run.setup),
        "pictures": run.pictures,
        "server_us_per_picture": run.server_us,
        "client_us_per_picture": run.client_us,
        "other_cores": run.other_cores,
        "pictures_per_second": spread_json(run.rate),
        "gap_ms": { "p50": run.gap_ms.p50, "p99": run.gap_ms.p99, "max": run.gap_ms.max },
        "skipped": run.skipped,
        "repeated": run.repeated,
        "lost": run.lost,
        "lost_why": run.lost_why,
        "slow": run.slow.map(|slow| json!({
            "pictures_per_second": spread_json(slow.rate),
            "last_lag_s": spread_json(slow.last_lag),
            "worst_lag_s": spread_json(slow.worst_lag),
            "worst_age_s": slow.worst_age.map(spread_json),
            "most_queued_bytes": spread_json(slow.send_queue),
            "skipped": spread_json(slow.skipped),
            "told_missed": spread_json(slow.told_missed),
            "lost": slow.lost,
        })),
        "samples": run.samples.iter().map(sample_json).collect::<Vec<_>>(),
    })
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "second": sample.second,
        "rss_bytes": sample.rss,
        "stalled_kept": sample.stalled,
        "server_queue_bytes": sample.send_queue.map(spread_json),
        "own_queue_bytes": sample.receive_queue.map(spread_json),
        "lag_s": sample.lag.map(spread_json),
    })
}

fn setup_json(setup: &Setup) -> Value {
    json!({
        "healthy": setup.healthy,
        "stalled": setup.stalled,
        "churn": setup.churn,
        "slow": setup.slow,
        "slow_bytes_per_second": setup.rate,
        "fps": setup.fps,
        "warmup_s": setup.warmup.as_secs(),
        "window_s": setup.window.as_secs(),
    })
}

fn spread_json(spread: Spread) -> Value {
    json!({ "min": spread.min, "median": spread.median, "max": spread.max })
}

fn megabytes(sample: Option<&Sample>) -> f64 {
    sample.map_or(0.0, |sample| sample.rss as f64 / 1e6)
}

fn kilobytes(bytes: Option<Spread>) -> String {
    bytes.map_or_else(|| "-".into(), |b| format!("{:.0}, {:.0}", b.median / 1e3, b.max / 1e3))
}

/// A Markdown table, its columns aligned.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: Vec<String> =
        widths.iter().map(|&width| format!("{}:", "-".repeat(width - 1))).collect();
    let mut text = line(&mut head.iter().copied());
    text += &line(&mut rule.iter().map(String::as_str));
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}
