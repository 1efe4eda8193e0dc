//! End-to-end tests of camwire-host with programs that others wrote: the files of `e2e/`.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    command::Command,
    tools::{self, Program},
};
use std::path::PathBuf;

const PYTHON: Program = Program { names: &["python3"], packages: "python3" };
const CURL: Program = Program { names: &["curl"], packages: "curl" };
const FFMPEG: Program = Program { names: &["ffmpeg"], packages: "ffmpeg" };
const VLC: Program = Program { names: &["cvlc"], packages: "vlc-bin vlc-plugin-base" };
const CHROMIUM: Program = Program {
    names: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    packages: "chromium",
};
const FIREFOX: Program = Program { names: &["firefox-esr", "firefox"], packages: "firefox-esr" };

/// A file `e2e/test_<name>.py` and what it cannot do without, besides Python and ffmpeg
/// (which judges the pictures).
struct Theme {
    name: &'static str,
    about: &'static str,
    programs: &'static [&'static Program],
    /// It uses what requirements.txt lists.
    python_packages: bool,
}

const THEMES: &[Theme] = &[
    Theme {
        name: "cli",
        about: "arguments, exit codes, Ctrl-C",
        programs: &[],
        python_packages: false,
    },
    Theme {
        name: "http",
        about: "every route and every error, by curl",
        programs: &[&CURL],
        python_packages: false,
    },
    Theme {
        name: "ffmpeg",
        about: "ffmpeg and ffprobe read the stream without a warning",
        programs: &[],
        python_packages: false,
    },
    Theme { name: "vlc", about: "VLC shows the stream", programs: &[&VLC], python_packages: false },
    Theme {
        name: "opencv",
        about: "OpenCV reads the stream",
        programs: &[],
        python_packages: true,
    },
    Theme {
        name: "chromium",
        about: "Chromium shows the page and the bare stream",
        programs: &[&CHROMIUM],
        python_packages: true,
    },
    Theme {
        name: "firefox",
        about: "Firefox shows the page and the bare stream",
        programs: &[&FIREFOX],
        python_packages: true,
    },
    Theme {
        name: "relay",
        about: "relays of relays, of ffmpeg, and of servers that misbehave",
        programs: &[],
        python_packages: false,
    },
    Theme {
        name: "viewers",
        about: "slow, stalled and many viewers, under each policy",
        programs: &[],
        python_packages: false,
    },
    Theme {
        name: "hostile",
        about: "requests that mean harm cost bounded memory and stop nobody",
        programs: &[],
        python_packages: false,
    },
];

pub(crate) fn checks(_: &Context) -> Vec<Check> {
    let check = |theme: &'static Theme| {
        Check::new(format!("e2e-{}", theme.name), theme.about, |context| run(context, theme))
    };
    THEMES.iter().map(check).collect()
}

fn run(context: &Context, theme: &Theme) -> Outcome {
    need(context, theme.programs)?;
    let tests = if theme.python_packages {
        test_file(context, tools::python_with_packages(context)?, theme.name)
    } else {
        python(context, theme.name)
    };
    // After the first theme, this only looks.
    context.cargo(&["build", "--release", "--package", "camwire-host"]).run()?;
    outcome(tests.env("CAMWIRE_HOST", context.target.join("release/camwire-host")))
}

/// Sees to it that Python and ffmpeg are there, and these programs.
pub(crate) fn need(context: &Context, programs: &[&Program]) -> Result<(), Problem> {
    tools::need(context, &[&[&PYTHON, &FFMPEG], programs].concat())
}

/// The tests of `test_<name>.py`, by the system's Python.
pub(crate) fn python(context: &Context, name: &str) -> Command {
    test_file(context, "python3".into(), name)
}

fn test_file(context: &Context, python: PathBuf, name: &str) -> Command {
    Command::new(python)
        .args(["-B", "-m", "unittest", "--verbose", &format!("test_{name}")])
        .env("CAMWIRE_E2E_DIR", context.target.join("e2e"))
        .dir(&context.root.join("crates/xtask/e2e"))
        .limit(10 * 60)
}

/// Runs tests and counts them.
pub(crate) fn outcome(tests: Command) -> Outcome {
    let output = tests.output()?;
    let tally = unittest_tally(&output.text);
    if output.success && tally.failed == 0 && tally.passed > 0 {
        return Ok(tally);
    }
    let tally = Tally { failed: tally.failed.max(1), ..tally };
    Err(Problem::Failed { tally, output: output.text })
}

/// Reads unittest's closing lines: "Ran 12 tests in 3.4s", "FAILED (failures=1, errors=1)".
fn unittest_tally(text: &str) -> Tally {
    let lines = || text.lines().rev();
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    let ran = lines().find_map(|l| l.strip_prefix("Ran ")?.split(' ').next()).map_or(0, number);
    let last = lines().find(|line| line.starts_with("OK") || line.starts_with("FAILED"));
    let counts = last.and_then(|line| line.split_once('(')).map_or("", |(_, counts)| counts);
    let count = |what: &str| -> usize {
        let mut items = counts.trim_end_matches(')').split(", ");
        items.find_map(|item| item.strip_prefix(what)?.strip_prefix('=')).map_or(0, number)
    };
    let failed = count("failures") + count("errors");
    let skipped = count("skipped");
    Tally { passed: ran.saturating_sub(failed + skipped), failed, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_unittest() {
        let tally = |text| {
            let Tally { passed, failed, skipped } = unittest_tally(text);
            (passed, failed, skipped)
        };
        assert_eq!(tally("Ran 3 tests in 0.1s\n\nOK\n"), (3, 0, 0));
        let failed = "Ran 9 tests in 1s\n\nFAILED (failures=1, errors=2, skipped=1)\n";
        assert_eq!(tally(failed), (5, 3, 1));
        assert_eq!(tally("no such module"), (0, 0, 0));
    }
}
