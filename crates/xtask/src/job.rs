//! The programs that a check runs: their output in a log, and an end to what hangs.

use crate::{
    Context,
    runner::{Outcome, Problem, Tally},
};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use xshell::{Cmd, Shell};

/// What a check works with: the machine, a shell in the workspace's root, and its log in
/// `target/xtask/log`.
pub(crate) struct Job<'c> {
    pub(crate) context: &'c Context,
    pub(crate) sh: Shell,
    log: PathBuf,
    /// After which a program is killed, for it hangs.
    timeout: Duration,
}

/// What a program printed, both streams in order, and whether it succeeded.
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) success: bool,
}

impl<'c> Job<'c> {
    pub(crate) fn new(
        context: &'c Context,
        name: &str,
        timeout: Duration,
    ) -> Result<Self, Problem> {
        let sh = Shell::new()?;
        sh.change_dir(&context.root);
        if context.install {
            // CI builds each version once.
            sh.set_var("CARGO_INCREMENTAL", "0");
        }
        let log = context.target.join("xtask/log").join(format!("{name}.txt"));
        sh.write_file(&log, "")?;
        Ok(Self { context, sh, log, timeout })
    }

    /// Runs a program to its end.
    pub(crate) fn output(&self, cmd: Cmd<'_>) -> Result<Output, Problem> {
        let mut log = File::options().append(true).read(true).open(&self.log)?;
        let start = log.seek(SeekFrom::End(0))?;
        let line = cmd.to_string();
        writeln!(log, "$ {line}")?;
        let mut child = Command::from(cmd)
            // `cargo run` sets it for xtask's own libraries; other compilers must not load them.
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .spawn()
            .map_err(|error| Problem::failed(format!("cannot start {line}: {error}")))?;
        let deadline = Instant::now() + self.timeout;
        let success = loop {
            if let Some(status) = child.try_wait()? {
                break status.success();
            }
            if Instant::now() > deadline {
                kill_tree(child.id());
                child.wait()?;
                writeln!(log, "killed: it ran for more than {} s", self.timeout.as_secs())?;
                break false;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let mut text = Vec::new();
        log.seek(SeekFrom::Start(start))?;
        log.read_to_end(&mut text)?;
        Ok(Output { text: String::from_utf8_lossy(&text).into_owned(), success })
    }

    /// Runs cargo with these arguments; it must succeed.
    pub(crate) fn cargo(&self, arguments: &str) -> Outcome {
        self.run(self.sh.cmd("cargo").args(arguments.split(' '))).map(|_| Tally::ONE)
    }

    /// Runs a program that must succeed, and returns what it printed.
    pub(crate) fn run(&self, cmd: Cmd<'_>) -> Result<String, Problem> {
        let Output { text, success } = self.output(cmd)?;
        if success { Ok(text) } else { Err(Problem::failed(text)) }
    }

    /// Runs `cargo test` or pytest, and counts the tests.
    pub(crate) fn tests(&self, cmd: Cmd<'_>) -> Outcome {
        let Output { text, success } = self.output(cmd.env("RUST_BACKTRACE", "1"))?;
        let tally = tally(&text);
        if success && tally.passed + tally.skipped > 0 {
            return Ok(tally);
        }
        // A test failed, or none was found, or one did not compile, or a program died.
        Err(Problem::Failed { tally: Tally { failed: tally.failed.max(1), ..tally }, output: text })
    }
}

/// Adds up lines such as "test result: ok. 3 passed; 0 failed; 1 ignored; finished in 0.02s" of
/// each test program, or reads pytest's "=== 1 failed, 3 passed, 1 skipped in 0.02s ===".
fn tally(text: &str) -> Tally {
    let mut tally = Tally::default();
    let is_result = |line: &&str| {
        line.contains("test result: ") || line.starts_with('=') && line.contains(" in ")
    };
    for line in text.lines().filter(is_result) {
        let words: Vec<&str> =
            line.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<usize>() else { continue };
            match pair[1] {
                "passed" => tally.passed += number,
                "failed" | "error" | "errors" => tally.failed += number,
                "ignored" | "skipped" => tally.skipped += number,
                _ => {}
            }
        }
    }
    tally
}

/// Ends a process and all that it started: cargo's tests, and their servers.
fn kill_tree(pid: u32) {
    let list = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let list =
        list.map_or(String::new(), |list| String::from_utf8_lossy(&list.stdout).into_owned());
    let processes = list.lines().filter_map(|line| line.trim().split_once(' '));
    let processes: Vec<(&str, &str)> = processes.map(|(pid, of)| (pid, of.trim())).collect();
    let mut tree = vec![pid.to_string()];
    let mut next = 0;
    while let Some(parent) = tree.get(next).cloned() {
        tree.extend(
            processes.iter().filter(|(_, of)| **of == *parent).map(|(pid, _)| pid.to_string()),
        );
        next += 1;
    }
    _ = Command::new("kill").arg("-KILL").args(tree).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_libtest_and_pytest_are_counted() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; finished in 1s\n\
                    test a ... FAILED\n\
                    test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(tally(text), Tally { passed: 7, failed: 2, skipped: 1 });
        let text = "=== test session starts ===\n5 passed in this line\n\
                    === 2 failed, 4 passed, 3 skipped, 1 error in 0.10s ===\n";
        assert_eq!(tally(text), Tally { passed: 4, failed: 3, skipped: 3 });
        assert_eq!(tally("error: could not compile"), Tally::default());
    }

    #[test]
    fn program_that_hangs_is_killed_with_its_children() {
        let context = Context::new(false);
        let job = Job::new(&context, "test-of-timeouts", Duration::from_millis(300)).unwrap();
        // The child holds the output open: reading it ends only with the child.
        let output =
            job.output(job.sh.cmd("sh").args(["-c", "sleep 600 & echo $!; wait"])).unwrap();
        assert!(!output.success && output.text.contains("killed: "), "{}", output.text);
        let child = output.text.lines().nth(1).unwrap();
        let state = Command::new("ps").args(["-o", "stat=", "-p", child]).output().unwrap().stdout;
        assert!(state.is_empty() || state.starts_with(b"Z"), "it still runs");
    }
}
