//! One run: one server, some viewers, one measuring window.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Kind, Lag, Viewer};
use crate::pictures::Pictures;
use crate::process::{self, Family, Queues};
use crate::server::{Server, ServerSpec};
use crate::stats::{Spread, median, quantile};

/// How often memory and queues are looked at.
const SAMPLE: Duration = Duration::from_secs(1);

/// Who watches, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setup {
    /// Viewers that read everything at once. They are there before the window opens.
    pub(crate) healthy: usize,
    /// Viewers that stop reading. These and the slow ones come when the window opens.
    pub(crate) stalled: usize,
    /// So many stalled viewers go, and others come, in every second.
    pub(crate) churn: usize,
    /// Viewers that read `rate` bytes per second.
    pub(crate) slow: usize,
    pub(crate) rate: u32,
    pub(crate) fps: f64,
    /// Whether the sockets' queues are looked at: that costs this program some milliseconds each
    /// time, so all runs that are compared do it, or none.
    pub(crate) queues: bool,
    pub(crate) warmup: Duration,
    pub(crate) window: Duration,
}

/// What a run showed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) server: String,
    pub(crate) setup: Setup,
    /// Pictures delivered to all viewers.
    pub(crate) pictures: u64,
    /// CPU time of the server for each of them, in microseconds.
    pub(crate) server_us: f64,
    /// The same of this program.
    pub(crate) client_us: f64,
    /// CPU time of everything else on the machine, in parts of one core: the noise.
    pub(crate) other_cores: f64,
    /// Pictures per second of a healthy viewer.
    pub(crate) rate: Spread,
    /// Milliseconds between two pictures of a healthy viewer.
    pub(crate) gap_ms: Gaps,
    /// Pictures that healthy viewers did not get, and got twice.
    pub(crate) skipped: u64,
    pub(crate) repeated: u64,
    /// Healthy viewers that lost their connection, and why the first one did.
    pub(crate) lost: usize,
    pub(crate) lost_why: Option<String>,
    pub(crate) slow: Option<Slow>,
    pub(crate) samples: Vec<Sample>,
}

/// Of all healthy viewers together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gaps {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Of the slow viewers: each a spread over them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub(crate) rate: Spread,
    /// Seconds behind live, of the last picture and of the worst one.
    pub(crate) last_lag: Spread,
    pub(crate) worst_lag: Spread,
    /// The worst by `X-Timestamp`, where the server sends it as Unix time.
    pub(crate) worst_age: Option<Spread>,
    /// The most bytes that were seen in the server's socket.
    pub(crate) send_queue: Spread,
    pub(crate) skipped: Spread,
    pub(crate) told_missed: Spread,
    pub(crate) lost: usize,
}

/// A look at the server in the window.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) second: f64,
    pub(crate) rss: u64,
    /// Stalled viewers that the server still keeps.
    pub(crate) stalled: usize,
    /// Of the slow viewers: bytes in the server's sockets and in their own, and seconds behind
    /// live of the last picture each had got.
    pub(crate) send_queue: Option<Spread>,
    pub(crate) receive_queue: Option<Spread>,
    pub(crate) lag: Option<Spread>,
}

/// Starts the server, measures it, and ends it.
pub(crate) fn run(spec: &ServerSpec, pictures: &Pictures, setup: &Setup) -> Result<Run, String> {
    let mut server = Server::start(spec, pictures, setup.fps)?;
    let family = server.family();
    let measured = measure(&server, &family, pictures, setup);
    if !server.is_running() {
        return Err(format!("{} ended during the run", spec.name));
    }
    let measured = measured.map_err(|error| format!("{}: {error}", spec.name))?;
    Ok(measured.evaluate(&spec.name, setup))
}

/// The raw outcome.
struct Measured {
    opened: Instant,
    server_cpu: Duration,
    client_cpu: Duration,
    machine_cpu: Duration,
    elapsed: Duration,
    viewers: Vec<Viewer>,
    looks: Vec<Look>,
}

/// What one look at the kernel's tables saw.
struct Look {
    at: Instant,
    rss: u64,
    queues: HashMap<u16, Queues>,
}

fn measure(
    server: &Server,
    family: &Family,
    pictures: &Pictures,
    setup: &Setup,
) -> std::io::Result<Measured> {
    let mut client = Client::new(pictures.count())?;
    let open = |client: &mut Client, count, kind| {
        client.open(count, kind, server.address, &server.request)
    };
    open(&mut client, setup.healthy, Kind::Healthy)?;
    client.run_until(Instant::now() + setup.warmup)?;

    client.record();
    let opened = Instant::now();
    let cpu = || (family.cpu(), process::own_cpu(), process::machine_cpu());
    let before = cpu();
    open(&mut client, setup.stalled, Kind::Stalled)?;
    open(&mut client, setup.slow, Kind::Slow(setup.rate))?;
    let port = setup.queues.then(|| server.address.port());
    let done = AtomicBool::new(false);
    let (ran, looks) = thread::scope(|scope| {
        let looks = scope.spawn(|| look_until(&done, family, port));
        let ran = watch(&mut client, server, setup, opened);
        done.store(true, Ordering::Relaxed);
        looks.thread().unpark();
        (ran, looks.join().unwrap_or_default())
    });
    let after = cpu();
    ran?;
    Ok(Measured {
        opened,
        server_cpu: after.0.saturating_sub(before.0),
        client_cpu: after.1.saturating_sub(before.1),
        machine_cpu: after.2.saturating_sub(before.2),
        elapsed: opened.elapsed(),
        viewers: client.into_viewers(),
        looks,
    })
}

/// The window: viewers read, and every second some of the stalled ones are replaced.
fn watch(
    client: &mut Client,
    server: &Server,
    setup: &Setup,
    opened: Instant,
) -> std::io::Result<()> {
    const CHURN: Duration = Duration::from_secs(1);
    let end = opened + setup.window;
    let mut next = opened + CHURN;
    while setup.churn > 0 && next < end {
        client.run_until(next)?;
        client.replace_stalled(setup.churn, server.address, &server.request)?;
        next += CHURN;
    }
    client.run_until(end)
}

/// Looks at once, then every [`SAMPLE`], and once more at the end.
fn look_until(done: &AtomicBool, family: &Family, port: Option<u16>) -> Vec<Look> {
    let mut looks = Vec::new();
    loop {
        let ended = done.load(Ordering::Relaxed);
        looks.push(Look {
            at: Instant::now(),
            rss: family.rss(),
            queues: port.map(process::queues).unwrap_or_default(),
        });
        if ended {
            return looks;
        }
        let next = looks[0].at + SAMPLE * looks.len() as u32;
        while !done.load(Ordering::Relaxed) && Instant::now() < next {
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }
}

impl Measured {
    fn evaluate(self, server: &str, setup: &Setup) -> Run {
        let seconds = self.elapsed.as_secs_f64();
        let pictures: u64 = self.viewers.iter().map(|v| v.log.pictures).sum();
        let per_picture = |cpu: Duration| cpu.as_secs_f64() * 1e6 / pictures as f64;
        let other = self.machine_cpu.saturating_sub(self.server_cpu + self.client_cpu);
        let healthy: Vec<&Viewer> =
            self.viewers.iter().filter(|v| v.kind == Kind::Healthy).collect();
        Run {
            server: server.to_owned(),
            setup: setup.clone(),
            pictures,
            server_us: per_picture(self.server_cpu),
            client_us: per_picture(self.client_cpu),
            other_cores: other.as_secs_f64() / seconds,
            rate: Spread::of(healthy.iter().map(|v| v.log.pictures as f64 / seconds))
                .unwrap_or_default(),
            gap_ms: gaps(&healthy),
            skipped: healthy.iter().map(|v| v.log.skipped).sum(),
            repeated: healthy.iter().map(|v| v.log.repeated).sum(),
            lost: healthy.iter().filter(|v| v.lost.is_some()).count(),
            lost_why: healthy.iter().find_map(|v| v.lost.clone()),
            slow: self.slow(setup, seconds),
            samples: self.looks.iter().map(|look| self.sample(look, setup.fps)).collect(),
        }
    }

    fn behind(&self) -> Vec<&Viewer> {
        self.viewers.iter().filter(|v| matches!(v.kind, Kind::Slow(_))).collect()
    }

    fn slow(&self, setup: &Setup, seconds: f64) -> Option<Slow> {
        let slow = self.behind();
        let over = |of: &dyn Fn(&Viewer) -> Option<f64>| {
            Spread::of(slow.iter().filter_map(|viewer| of(viewer)))
        };
        let lag = |lag: &Lag| lag_seconds(lag, setup.fps);
        let worst = |values: &mut dyn Iterator<Item = f64>| values.reduce(f64::max);
        let send_queue = |viewer: &Viewer| {
            let seen = self.looks.iter().filter_map(|look| look.queues.get(&viewer.port)?.send);
            Some(seen.max()? as f64)
        };
        Some(Slow {
            rate: over(&|v| Some(v.log.pictures as f64 / seconds))?,
            last_lag: over(&|v| lag(v.log.lags.last()?)).unwrap_or_default(),
            worst_lag: over(&|v| worst(&mut v.log.lags.iter().filter_map(lag))).unwrap_or_default(),
            worst_age: over(&|v| worst(&mut v.log.lags.iter().filter_map(|lag| lag.age))),
            send_queue: over(&send_queue).unwrap_or_default(),
            skipped: over(&|v| Some(v.log.skipped as f64))?,
            told_missed: over(&|v| Some(v.log.told_missed as f64))?,
            lost: slow.iter().filter(|v| v.lost.is_some()).count(),
        })
    }

    fn sample(&self, look: &Look, fps: f64) -> Sample {
        let slow = self.behind();
        let reading: HashSet<u16> =
            self.viewers.iter().filter(|v| v.kind != Kind::Stalled).map(|v| v.port).collect();
        let kept = look.queues.iter().filter(|(_, queues)| queues.send.is_some());
        let queue = |of: fn(&Queues) -> Option<u64>| {
            let seen = slow.iter().filter_map(|v| of(look.queues.get(&v.port)?));
            Spread::of(seen.map(|bytes| bytes as f64))
        };
        let lag = |viewer: &&Viewer| {
            let last = viewer.log.lags.iter().rev().find(|lag| lag.at <= look.at)?;
            lag_seconds(last, fps)
        };
        Sample {
            second: look.at.saturating_duration_since(self.opened).as_secs_f64(),
            rss: look.rss,
            stalled: kept.filter(|(port, _)| !reading.contains(port)).count(),
            send_queue: queue(|q| q.send),
            receive_queue: queue(|q| Some(q.receive)),
            lag: Spread::of(slow.iter().filter_map(lag)),
        }
    }
}

/// By the picture's number, or else by its timestamp.
fn lag_seconds(lag: &Lag, fps: f64) -> Option<f64> {
    lag.pictures.map(|pictures| pictures as f64 / fps).or(lag.age)
}

fn gaps(viewers: &[&Viewer]) -> Gaps {
    let mut all: Vec<f64> = viewers
        .iter()
        .flat_map(|viewer| &viewer.log.gaps)
        .map(|gap| gap.as_secs_f64() * 1e3)
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    Gaps {
        p50: median(&all),
        p99: quantile(&all, 0.99),
        max: all.last().copied().unwrap_or_default(),
    }
}
