//! Running a program: its output in one piece, and an end to its time.

use crate::check::Problem;
use std::{
    ffi::OsStr,
    io::Read,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// What a program printed (both streams, in order), and whether it succeeded.
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) success: bool,
}

/// A program to run. Cheap to build, run once.
pub(crate) struct Command {
    inner: std::process::Command,
    line: String,
    limit: Duration,
}

impl Command {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut inner = std::process::Command::new(program);
        // `cargo run` points this at the toolchain that built xtask; others must not load it.
        inner.env_remove("LD_LIBRARY_PATH");
        let name = Path::new(program).file_name().unwrap_or(program);
        Self {
            inner,
            line: name.to_string_lossy().into_owned(),
            // Far above any real duration: it only ends what hangs.
            limit: Duration::from_secs(30 * 60),
        }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.line += " ";
            self.line += &arg.as_ref().to_string_lossy();
            self.inner.arg(arg);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Not even with the value that the user has given it.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.inner.env_remove(name);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    pub(crate) fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Runs it. An error means that it could not be started.
    pub(crate) fn output(mut self) -> Result<Output, Problem> {
        let (mut reader, writer) = std::io::pipe()?;
        self.inner.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let started = self.inner.spawn();
        // The parent's ends of the pipe close here, else reading would never end.
        drop(self.inner);
        let mut child = started
            .map_err(|error| Problem::failed(format!("$ {}\ncannot start: {error}", self.line)))?;
        let (sender, pieces) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut bytes = Vec::new();
        let deadline = Instant::now() + self.limit;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() > deadline {
                kill_tree(&mut child);
                break None;
            }
            if let Ok(piece) = pieces.recv_timeout(Duration::from_millis(20)) {
                bytes.extend(piece);
            }
        };
        // What is still on its way; a grandchild may hold the pipe open for ever.
        while let Ok(piece) = pieces.recv_timeout(Duration::from_secs(1)) {
            bytes.extend(piece);
        }
        let mut text = format!("$ {}\n{}", self.line, String::from_utf8_lossy(&bytes));
        if status.is_none() {
            text += &format!("\nstill running after {} s: ended\n", self.limit.as_secs());
        }
        Ok(Output { text, success: status.is_some_and(|status| status.success()) })
    }

    /// Runs it; failing is an error that shows the output. Returns the output.
    pub(crate) fn run(self) -> Result<String, Problem> {
        let output = self.output()?;
        if output.success { Ok(output.text) } else { Err(Problem::failed(output.text)) }
    }

    /// Runs it and gives what it printed, without the line that says what was run.
    pub(crate) fn read(self) -> Result<String, Problem> {
        let text = self.run()?;
        Ok(text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()))
    }
}

/// Ends a child and everything that it started.
fn kill_tree(child: &mut Child) {
    let mut pids = vec![child.id()];
    let mut next = 0;
    while next < pids.len() {
        pids.extend(children_of(pids[next]));
        next += 1;
    }
    for pid in &pids[1..] {
        let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn children_of(parent: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // "pid (name) state parent ...", and the name may hold anything.
            let parent_of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            parent_of == Some(&*parent.to_string())
        })
        .collect()
}
