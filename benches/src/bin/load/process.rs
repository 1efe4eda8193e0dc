//! What the kernel knows of a process, of the machine and of a port's sockets.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// A process and its descendants, as they were when it was looked at.
#[derive(Debug)]
pub(crate) struct Family(Vec<i32>);

impl Family {
    pub(crate) fn of(root: u32) -> Self {
        let mut family = vec![root as i32];
        let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let mut at = 0;
        while let Some(&member) = family.get(at) {
            let children = parents.iter().filter(|(_, parent)| *parent == member);
            family.extend(children.map(|(pid, _)| *pid));
            at += 1;
        }
        Self(family)
    }

    /// CPU time so far, user and system, of all threads, in nanoseconds: the same time as in
    /// `/proc/PID/stat`, which counts in hundredths of a second only.
    pub(crate) fn cpu(&self) -> Duration {
        self.0
            .iter()
            .filter_map(|&pid| clock_getcpuclockid(Pid::from_raw(pid)).ok()?.now().ok())
            .map(Duration::from)
            .sum()
    }

    /// Resident memory, in bytes.
    pub(crate) fn rss(&self) -> u64 {
        self.0.iter().filter_map(|&pid| rss(pid)).sum()
    }
}

/// CPU time of this program so far.
pub(crate) fn own_cpu() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

/// CPU time that all processes of the machine, and its host, have used so far.
pub(crate) fn machine_cpu() -> Duration {
    const TICKS_PER_SECOND: u64 = 100;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // cpu user nice system idle iowait irq softirq steal
    let ticks: u64 = line
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .filter_map(|(_, word)| word.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Bytes that a socket holds: at the server not yet acknowledged by the peer, at the viewer not
/// yet read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queues {
    /// In the server's socket; `None` when the server has closed it.
    pub(crate) send: Option<u64>,
    /// In the viewer's socket.
    pub(crate) receive: u64,
}

/// The queues of every connection to a server's port, by the viewer's port.
pub(crate) fn queues(server_port: u16) -> HashMap<u16, Queues> {
    const ESTABLISHED: &str = "01";
    let mut found: HashMap<u16, Queues> = HashMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        if found.values().any(|queues| queues.send.is_some()) {
            break;
        }
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().take(5).collect();
            let &[_, local, remote, state, queues] = &words[..] else { continue };
            let (Some(local), Some(remote)) = (port(local), port(remote)) else { continue };
            let Some((send, receive)) = queues.split_once(':') else { continue };
            let bytes = |hex| u64::from_str_radix(hex, 16).unwrap_or(0);
            if local == server_port && state == ESTABLISHED {
                found.entry(remote).or_default().send = Some(bytes(send));
            } else if remote == server_port {
                found.entry(local).or_default().receive = bytes(receive);
            }
        }
    }
    found
}

/// Lets this process and those it starts open as many files as it may.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn rss(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()
}
