//! The programs that a check runs: their output in a log, and an end to what hangs.

use crate::{
    Context,
    runner::{Problem, Tally},
};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::{Command, Stdio},
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
        writeln!(log, "$ {cmd}")?;
        let line = cmd.to_string();
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
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut text = Vec::new();
        log.seek(SeekFrom::Start(start))?;
        log.read_to_end(&mut text)?;
        Ok(Output { text: String::from_utf8_lossy(&text).into_owned(), success })
    }

    /// Runs a program that must succeed, and returns what it printed.
    pub(crate) fn run(&self, cmd: Cmd<'_>) -> Result<String, Problem> {
        let Output { text, success } = self.output(cmd)?;
        if success { Ok(text) } else { Err(Problem::failed(text)) }
    }

    /// Runs `cargo test` and adds up the counts of its test programs.
    pub(crate) fn cargo_test(&self, cmd: Cmd<'_>) -> Result<Tally, Problem> {
        let Output { text, success } = self.output(cmd.env("RUST_BACKTRACE", "1"))?;
        let tally = libtest_tally(&text);
        if success && tally.passed > 0 {
            return Ok(tally);
        }
        // A test failed, or none was found, or one did not compile, or a program died.
        Err(Problem::Failed { tally: Tally { failed: tally.failed.max(1), ..tally }, output: text })
    }
}

/// Adds up lines such as "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...".
fn libtest_tally(text: &str) -> Tally {
    let mut tally = Tally::default();
    let results =
        text.lines().filter_map(|line| line.split_once("test result: ")?.1.split_once(". "));
    for (number, what) in
        results.flat_map(|(_, counts)| counts.split("; ")).filter_map(|c| c.split_once(' '))
    {
        let number: usize = number.parse().unwrap_or(0);
        match what {
            "passed" => tally.passed += number,
            "failed" => tally.failed += number,
            "ignored" => tally.skipped += number,
            _ => {}
        }
    }
    tally
}

/// Ends a process and all that it started: cargo's tests, and their servers.
fn kill_tree(pid: u32) {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(&parent) = pids.get(next) {
        pids.extend(children_of(parent));
        next += 1;
    }
    let pids = pids.iter().map(u32::to_string);
    _ = Command::new("kill").arg("-KILL").args(pids).stderr(Stdio::null()).status();
}

/// By Linux's list of processes. Elsewhere there is none, and only the process itself ends.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // "pid (name) state parent ...", and the name may hold anything.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' '));
        fields.and_then(|mut fields| fields.nth(1)) == Some(&*parent.to_string())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_test_programs_add_up() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; finished in 1s\n\
                    test a ... FAILED\n\
                    test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(libtest_tally(text), Tally { passed: 7, failed: 2, skipped: 1 });
        assert_eq!(libtest_tally("error: could not compile"), Tally::default());
    }

    #[test]
    fn program_that_hangs_is_killed_with_its_children() {
        let context = Context::new(false);
        let job = Job::new(&context, "test-of-timeouts", Duration::from_millis(300)).unwrap();
        let script = "sleep 600 & echo child $!; wait";
        let output = job.output(job.sh.cmd("sh").args(["-c", script])).unwrap();
        assert!(!output.success && output.text.contains("killed: "), "{}", output.text);
        let child = output.text.split_whitespace().skip_while(|word| *word != "child").nth(1);
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.unwrap())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}
