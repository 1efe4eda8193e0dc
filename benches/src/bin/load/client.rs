//! All viewers of one server, on one thread: what they read, and when.
//!
//! The viewers share the machine's cores with the server, so they are as cheap as they can be and
//! do the same for every server: one epoll, one large buffer for all, no copy, and a look at
//! nothing but part heads and the first bytes of a picture.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::stream::{Part, StreamReader};

const BUFFER: usize = 256 * 1024;
/// What a stalled viewer reads before it stops.
const BEFORE_STALL: usize = 4 * 1024;
/// How often slow viewers read.
const SLOW_TICK: Duration = Duration::from_millis(20);

/// How a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything, at once.
    Healthy,
    /// A little, and then nothing more.
    Stalled,
    /// So many bytes per second.
    Slow(u32),
}

/// What has arrived at one viewer while it was recorded.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) pictures: u64,
    /// Time between two pictures.
    pub(crate) gaps: Vec<Duration>,
    /// Pictures that never came, by the numbers in those that came.
    pub(crate) skipped: u64,
    /// Pictures that came again.
    pub(crate) repeated: u64,
    /// Pictures that the server said it left out (`X-Missed`).
    pub(crate) told_missed: u64,
    /// Of a slow viewer: how old each picture was when it had arrived.
    pub(crate) lags: Vec<Lag>,
}

/// How far behind live a picture was when it had arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    pub(crate) at: Instant,
    /// Against the newest picture that any viewer had then.
    pub(crate) pictures: Option<u64>,
    /// By `X-Timestamp`, where that is Unix time, in seconds.
    pub(crate) age: Option<f64>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) log: Log,
    /// Why it reads no more, if it was not by its own will.
    pub(crate) lost: Option<String>,
    socket: TcpStream,
    stream: StreamReader,
    opened: Instant,
    taken: u64,
    last_picture: Option<Instant>,
    last_number: Option<i64>,
}

/// What the viewers know together.
#[derive(Debug)]
struct Board {
    recording: bool,
    /// The number of pictures after which their numbers begin again.
    cycle: i64,
    /// The newest picture seen by any viewer, counted on over the cycles.
    live: Option<i64>,
    /// Unix time at `Board::started`.
    wall: f64,
    started: Instant,
}

/// The viewers of one server.
#[derive(Debug)]
pub(crate) struct Client {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    viewers: Vec<Viewer>,
    board: Board,
    next_slow: Instant,
}

impl Client {
    pub(crate) fn new(cycle: u32) -> io::Result<Self> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER],
            viewers: Vec::new(),
            board: Board {
                recording: false,
                cycle: cycle.into(),
                live: None,
                wall: wall.as_secs_f64(),
                started: Instant::now(),
            },
            next_slow: Instant::now(),
        })
    }

    /// Opens viewers, one after the other: on loopback that takes well under a millisecond each.
    pub(crate) fn open(
        &mut self,
        count: usize,
        kind: Kind,
        server: SocketAddr,
        request: &[u8],
    ) -> io::Result<()> {
        for _ in 0..count {
            let mut viewer = Viewer::connect(kind, server, request)?;
            // A slow viewer reads by the clock.
            if !matches!(kind, Kind::Slow(_)) {
                let token = Token(self.viewers.len());
                self.poll.registry().register(&mut viewer.socket, token, Interest::READABLE)?;
            }
            self.viewers.push(viewer);
        }
        Ok(())
    }

    /// Closes the `count` oldest stalled viewers and opens as many new ones.
    pub(crate) fn replace_stalled(
        &mut self,
        count: usize,
        server: SocketAddr,
        request: &[u8],
    ) -> io::Result<()> {
        let mut stalled: Vec<usize> =
            (0..self.viewers.len()).filter(|&at| self.viewers[at].kind == Kind::Stalled).collect();
        stalled.sort_by_key(|&at| self.viewers[at].opened);
        for at in stalled.into_iter().take(count) {
            let mut viewer = Viewer::connect(Kind::Stalled, server, request)?;
            self.poll.registry().register(&mut viewer.socket, Token(at), Interest::READABLE)?;
            self.viewers[at] = viewer;
        }
        Ok(())
    }

    /// Viewers read until `end`.
    pub(crate) fn run_until(&mut self, end: Instant) -> io::Result<()> {
        let any_slow = self.viewers.iter().any(|v| matches!(v.kind, Kind::Slow(_)));
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let wake = if any_slow { end.min(self.next_slow) } else { end };
            match self.poll.poll(&mut self.events, Some(wake.saturating_duration_since(now))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &self.events {
                let viewer = &mut self.viewers[event.token().0];
                if viewer.kind == Kind::Stalled {
                    viewer.read_some(&mut self.buffer[..BEFORE_STALL], &mut self.board);
                    self.poll.registry().deregister(&mut viewer.socket)?;
                } else {
                    viewer.drain(&mut self.buffer, &mut self.board);
                }
            }
            if any_slow && Instant::now() >= self.next_slow {
                self.next_slow = Instant::now() + SLOW_TICK;
                for viewer in &mut self.viewers {
                    if let Kind::Slow(rate) = viewer.kind {
                        viewer.read_at(rate, &mut self.buffer, &mut self.board);
                    }
                }
            }
        }
    }

    /// From here on arrivals are recorded.
    pub(crate) fn record(&mut self) {
        self.board.recording = true;
    }

    pub(crate) fn into_viewers(self) -> Vec<Viewer> {
        self.viewers
    }
}

impl Viewer {
    fn connect(kind: Kind, server: SocketAddr, request: &[u8]) -> io::Result<Self> {
        let mut socket = std::net::TcpStream::connect_timeout(&server, Duration::from_secs(10))?;
        socket.write_all(request)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            kind,
            port: socket.local_addr()?.port(),
            log: Log::default(),
            lost: None,
            socket: TcpStream::from_std(socket),
            stream: StreamReader::new(),
            opened: Instant::now(),
            taken: 0,
            last_picture: None,
            last_number: None,
        })
    }

    /// Reads what there is.
    fn drain(&mut self, buffer: &mut [u8], board: &mut Board) {
        // A read that leaves room has emptied the socket, and the next byte makes a new edge
        // (epoll(7), question 9), so no second read has to be refused to know it.
        while self.lost.is_none() && self.read_some(buffer, board) == buffer.len() {}
    }

    /// Reads what `rate` allows by now.
    fn read_at(&mut self, rate: u32, buffer: &mut [u8], board: &mut Board) {
        let allowed = (self.opened.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let budget = (allowed.saturating_sub(self.taken) as usize).min(buffer.len());
        if budget > 0 && self.lost.is_none() {
            self.read_some(&mut buffer[..budget], board);
        }
        // What could not be read in time is not saved up for a burst.
        let behind = u64::from(rate) / 10;
        self.taken = self.taken.max(allowed.saturating_sub(behind));
    }

    /// One read. Returns how much it gave.
    fn read_some(&mut self, buffer: &mut [u8], board: &mut Board) -> usize {
        match self.socket.read(buffer) {
            Ok(0) => {
                self.lost = Some("closed by the server".into());
                0
            }
            Ok(n) => {
                self.taken += n as u64;
                self.take(&buffer[..n], board);
                n
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            Err(error) => {
                self.lost = Some(error.to_string());
                0
            }
        }
    }

    fn take(&mut self, bytes: &[u8], board: &mut Board) {
        let Self { kind, log, stream, last_picture, last_number, .. } = self;
        let now = Instant::now();
        let mut on_picture = |part: Part| {
            let before = last_picture.replace(now);
            let number_before = *last_number;
            *last_number = part.number.map(|number| board.count_on(number_before, number));
            board.live = board.live.max(*last_number);
            if !board.recording {
                return;
            }
            log.pictures += 1;
            log.told_missed += part.missed.unwrap_or(0);
            log.gaps.extend(before.map(|before| now - before));
            match number_before.zip(*last_number).map(|(before, number)| number - before) {
                Some(0) => log.repeated += 1,
                Some(step) => log.skipped += step.unsigned_abs() - 1,
                None => {}
            }
            if let Kind::Slow(_) = kind {
                log.lags.push(board.lag(now, *last_number, part.timestamp));
            }
        };
        if let Err(error) = stream.push(bytes, &mut on_picture) {
            self.lost = Some(error.to_string());
        }
    }
}

impl Board {
    /// A picture's number, counted on over the cycles: the next such one after the viewer's last,
    /// or, for its first, the one nearest to live.
    fn count_on(&self, last: Option<i64>, number: u32) -> i64 {
        let number = i64::from(number);
        match (last, self.live) {
            (Some(last), _) => last + (number - last).rem_euclid(self.cycle),
            (None, Some(live)) => {
                let half = self.cycle / 2;
                live - half + (number - (live - half)).rem_euclid(self.cycle)
            }
            (None, None) => number,
        }
    }

    fn lag(&self, at: Instant, number: Option<i64>, timestamp: Option<f64>) -> Lag {
        const DAY: f64 = 86_400.0;
        let pictures = self.live.zip(number).map(|(live, number)| live.abs_diff(number));
        let wall = self.wall + (at - self.started).as_secs_f64();
        let age = timestamp.map(|t| wall - t).filter(|age| age.abs() < DAY);
        Lag { at, pictures, age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_on_over_cycles() {
        let board =
            |live| Board { recording: true, cycle: 100, live, wall: 0.0, started: Instant::now() };
        assert_eq!(board(None).count_on(None, 7), 7);
        assert_eq!(board(Some(203)).count_on(Some(199), 0), 200);
        assert_eq!(board(Some(203)).count_on(Some(203), 3), 203);
        assert_eq!(board(Some(203)).count_on(None, 99), 199);
        assert_eq!(board(Some(199)).count_on(None, 1), 201);
    }
}
