//! End-to-end tests with programs that others wrote: the files of `e2e/`. They are about
//! camwire-host, the firmware of examples/qemu-riscv in an emulator, and the echo examples of
//! camwire-websocket.

use crate::{
    check::{Check, Context, Outcome, Problem, Tally},
    command::Command,
    emulator::QEMU,
    riscv,
    toolchain::TARGETS,
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
/// With what the viewer's window looks up at run time.
const XVFB: Program = Program {
    names: &["Xvfb"],
    packages: "xvfb libx11-6 libx11-xcb1 libxcursor1 libxi6 libxkbcommon-x11-0",
};
const XDOTOOL: Program = Program { names: &["xdotool"], packages: "xdotool" };
const OPENBOX: Program = Program { names: &["openbox"], packages: "openbox" };

pub(crate) const MOSQUITTO: Program = Program { names: &["mosquitto"], packages: "mosquitto" };
pub(crate) const MOSQUITTO_CLIENTS: Program =
    Program { names: &["mosquitto_pub"], packages: "mosquitto-clients" };

const OPENSSL: Program = Program { names: &["openssl"], packages: "openssl" };
const NODE: Program = Program { names: &["node"], packages: "nodejs" };
const NPM: Program = Program { names: &["npm"], packages: "npm" };

/// A file `e2e/test_<name>.py` and what it cannot do without, besides Python and ffmpeg
/// (which judges the pictures).
struct Theme {
    name: &'static str,
    about: &'static str,
    programs: &'static [&'static Program],
    /// It uses what requirements.txt lists.
    python_packages: bool,
}

const HOST: &[Theme] = &[
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
        name: "view",
        about: "camwire-host view: figures, files and JSON, and what it says without a display",
        programs: &[&MOSQUITTO],
        python_packages: true,
    },
    Theme {
        name: "view_window",
        about: "the window of camwire-host view on a display that nobody sees",
        programs: &[&XVFB, &XDOTOOL, &OPENBOX],
        python_packages: true,
    },
    Theme {
        name: "push",
        about: "cameras that push to a relay, over connections that break, and WebSocket pulled",
        programs: &[&CURL, &OPENSSL],
        python_packages: true,
    },
    Theme {
        name: "websocket_door",
        about: "/ws: bare pictures, camwire.v1 and its credit, and who may",
        programs: &[],
        python_packages: true,
    },
    Theme {
        name: "viewers",
        about: "slow, stalled and many viewers, under each policy",
        programs: &[],
        python_packages: false,
    },
    Theme {
        name: "mqtt",
        about: "mosquitto and paho: publishing, control, an existing camera and its viewer",
        programs: &[&MOSQUITTO, &MOSQUITTO_CLIENTS],
        python_packages: true,
    },
    Theme {
        name: "hostile",
        about: "requests that mean harm cost bounded memory and stop nobody",
        programs: &[],
        python_packages: false,
    },
];

/// The same of the firmware: a file `e2e/test_board_<name>.py`.
const BOARD: &[Theme] = &[
    Theme {
        name: "start",
        about: "the firmware ends as it should, and a panic and a trap are seen",
        programs: &[&QEMU],
        python_packages: false,
    },
    Theme {
        name: "clients",
        about: "curl, ffmpeg and VLC at the firmware in an emulator",
        programs: &[&QEMU, &CURL, &VLC],
        python_packages: false,
    },
    Theme {
        name: "browsers",
        about: "Chromium and Firefox show what the firmware serves",
        programs: &[&QEMU, &CHROMIUM, &FIREFOX],
        python_packages: true,
    },
    Theme {
        name: "viewers",
        about: "many viewers of the firmware, stalled ones, and nothing left behind",
        programs: &[&QEMU],
        python_packages: false,
    },
    Theme {
        name: "hostile",
        about: "requests that mean harm do not stop the firmware",
        programs: &[&QEMU],
        python_packages: false,
    },
    Theme {
        name: "dropout",
        about: "streams of the firmware outlive a link that is down for a while",
        programs: &[&QEMU],
        python_packages: false,
    },
    Theme {
        name: "mqtt",
        about: "the firmware publishes to mosquitto, obeys, and comes back when the broker does",
        programs: &[&QEMU, &MOSQUITTO, &MOSQUITTO_CLIENTS],
        python_packages: false,
    },
    Theme {
        name: "websocket",
        about: "WebSocket at the firmware: pictures, credit, many viewers, a second port, who may",
        programs: &[&QEMU, &CHROMIUM],
        python_packages: true,
    },
    Theme {
        name: "push",
        about: "the firmware pushes to a relay, whose connections are cut",
        programs: &[&QEMU],
        python_packages: true,
    },
    Theme {
        name: "robot",
        about: "the firmware's own task keeps its deadlines while ten watch",
        programs: &[&QEMU],
        python_packages: false,
    },
];

/// And of the echo examples: a file `e2e/test_<name>.py`.
const WEBSOCKET: &[Theme] = &[
    Theme {
        name: "websocket",
        about: "the echo server and client with Python's websockets",
        programs: &[],
        python_packages: true,
    },
    Theme {
        name: "websocket_node",
        about: "the echo server and client with Node's ws",
        programs: &[&NODE, &NPM],
        python_packages: false,
    },
];

pub(crate) fn checks(_: &Context) -> Vec<Check> {
    let host = HOST.iter().map(|theme| {
        let name = format!("e2e-{}", theme.name.replace('_', "-"));
        Check::new(name, theme.about, |context| host(context, theme))
    });
    let board = BOARD.iter().map(|theme| {
        Check::new(format!("board-{}", theme.name), theme.about, |context| board(context, theme))
    });
    let websocket = WEBSOCKET.iter().map(|theme| {
        let name = format!("e2e-{}", theme.name.replace('_', "-"));
        Check::new(name, theme.about, |context| websocket(context, theme))
    });
    host.chain(board).chain(websocket).collect()
}

fn host(context: &Context, theme: &Theme) -> Outcome {
    let tests = tests(context, theme, &format!("test_{}", theme.name))?;
    outcome(with_host(context, tests)?)
}

fn with_host(context: &Context, tests: Command) -> Result<Command, Problem> {
    // After the first theme, this only looks.
    context.cargo(&["build", "--release", "--package", "camwire-host"]).run()?;
    Ok(tests.env("CAMWIRE_HOST", context.target.join("release/camwire-host")))
}

fn board(context: &Context, theme: &Theme) -> Outcome {
    let mut tests = tests(context, theme, &format!("test_board_{}", theme.name))?;
    // As above.
    for (target, variable) in TARGETS.iter().zip(["CAMWIRE_BOARD_IMC", "CAMWIRE_BOARD_IMAC"]) {
        tests = tests.env(variable, riscv::example(context, target)?);
    }
    outcome(with_host(context, tests)?)
}

fn websocket(context: &Context, theme: &Theme) -> Outcome {
    let mut tests = tests(context, theme, &format!("test_{}", theme.name))?;
    if theme.programs.iter().any(|program| program.packages == NPM.packages) {
        tests = tests.env("NODE_PATH", tools::node_packages(context)?);
    }
    // As above.
    context.cargo(&["build", "--release", "--package", "camwire-websocket", "--examples"]).run()?;
    let examples = context.target.join("release/examples");
    outcome(tests.env("CAMWIRE_WEBSOCKET_EXAMPLES", examples))
}

/// The tests of a file, once there is all they need except for what they test.
fn tests(context: &Context, theme: &Theme, file: &str) -> Result<Command, Problem> {
    tools::need(context, &[&[&PYTHON, &FFMPEG], theme.programs].concat())?;
    let python = if theme.python_packages {
        tools::python_with_packages(context)?
    } else {
        PathBuf::from("python3")
    };
    Ok(Command::new(python)
        .args(["-B", "-m", "unittest", "--verbose", file])
        .env("CAMWIRE_E2E_DIR", context.target.join("e2e"))
        .dir(&context.root.join("crates/xtask/e2e"))
        .limit(10 * 60))
}

/// Runs tests and counts them.
fn outcome(tests: Command) -> Outcome {
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
    fn every_file_of_tests_is_run() {
        let board = BOARD.iter().map(|theme| format!("test_board_{}.py", theme.name));
        let others = HOST.iter().chain(WEBSOCKET).map(|theme| format!("test_{}.py", theme.name));
        let mut run: Vec<String> = board.chain(others).collect();
        run.sort();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        let mut there: Vec<String> = files
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.starts_with("test_") && name.ends_with(".py"))
            .collect();
        there.sort();
        assert_eq!(run, there);
    }

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
