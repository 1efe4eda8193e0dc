//! A connection without a network: what the server reads and writes, and the peer at the other
//! end.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use camwire_server::{Answer, WriteVectored};
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

use super::http::policy;

/// The connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection reset")
    }
}

impl std::error::Error for Broken {}

impl Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

/// How a write behaves once so many bytes have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails.
    Error,
    /// It takes nothing and says so at once, forever.
    Zero,
}

/// Calls in a row that moved nothing, after which the server is taken to spin.
const SPIN: usize = 10_000;

/// At most so many bytes in the next call, given how many there could be.
type Portion = Box<dyn FnMut(usize) -> usize + Send>;

struct Wire {
    // From the peer to the server.
    request: VecDeque<u8>,
    closed: bool,
    broken: bool,
    reader: Option<Waker>,
    read_portion: Portion,
    fruitless_reads: usize,
    // From the server to the peer.
    answer: Vec<u8>,
    /// Bytes of the answer that the peer has read.
    taken: usize,
    /// Most bytes that are written and not yet read.
    capacity: usize,
    writer: Option<Waker>,
    write_portion: Portion,
    fault: Option<(usize, Fault)>,
    /// What each write that took something took.
    writes: Vec<Range<usize>>,
    /// Calls of `write` and `write_vectored` that were polled, those that took nothing included.
    attempts: usize,
    fruitless_writes: usize,
    flushed: usize,
    flush_stalls: bool,
    hung_up: bool,
}

/// A new connection: the server's halves, and the peer. The wire takes everything at once.
pub fn wire() -> (Reading, Writing, Peer) {
    let wire = Wire {
        request: VecDeque::new(),
        closed: false,
        broken: false,
        reader: None,
        read_portion: Box::new(|n| n),
        fruitless_reads: 0,
        answer: Vec::new(),
        taken: 0,
        capacity: usize::MAX,
        writer: None,
        write_portion: Box::new(|n| n),
        fault: None,
        writes: Vec::new(),
        attempts: 0,
        fruitless_writes: 0,
        flushed: 0,
        flush_stalls: false,
        hung_up: false,
    };
    let shared = Shared(Arc::new(Mutex::new(wire)));
    (Reading(shared.clone()), Writing(shared.clone()), Peer(shared))
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Wire>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wire> {
        // A panic under the lock must not become an abort when the halves are dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The half that the server reads from.
pub struct Reading(Shared);

/// The half that the server writes to.
pub struct Writing(Shared);

/// The other end.
#[derive(Clone)]
pub struct Peer(Shared);

impl ErrorType for Reading {
    type Error = Broken;
}

impl ErrorType for Writing {
    type Error = Broken;
}

impl Read for Reading {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        assert!(!buf.is_empty(), "an empty read says nothing");
        poll_fn(|cx| {
            let wire = &mut *self.0.lock();
            wire.fruitless_reads += 1;
            assert!(wire.fruitless_reads < SPIN, "the server reads on and on");
            if wire.broken {
                return Poll::Ready(Err(Broken));
            }
            let most = wire.request.len().min(buf.len());
            if most == 0 && !wire.closed {
                wire.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let count = if most == 0 { 0 } else { (wire.read_portion)(most).clamp(1, most) };
            if count > 0 {
                wire.fruitless_reads = 0;
            }
            for (to, from) in buf.iter_mut().zip(wire.request.drain(..count)) {
                *to = from;
            }
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Writing {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Broken> {
        self.write_vectored(&[buf]).await
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| {
            let wire = &mut *self.0.lock();
            if wire.flush_stalls {
                wire.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            wire.flushed = wire.answer.len();
            Poll::Ready(if wire.broken { Err(Broken) } else { Ok(()) })
        })
        .await
    }
}

impl WriteVectored for Writing {
    async fn write_vectored(&mut self, pieces: &[&[u8]]) -> Result<usize, Broken> {
        // Sockets take only so many pieces at once, and if those were all empty, nothing.
        assert!(pieces.first().is_some_and(|piece| !piece.is_empty()), "an empty write");
        poll_fn(|cx| {
            let wire = &mut *self.0.lock();
            wire.attempts += 1;
            wire.fruitless_writes += 1;
            assert!(wire.fruitless_writes < SPIN, "the server writes on and on");
            let start = wire.answer.len();
            let until_fault = match wire.fault {
                Some((at, Fault::Error)) if start >= at => return Poll::Ready(Err(Broken)),
                Some((at, Fault::Zero)) if start >= at => return Poll::Ready(Ok(0)),
                Some((at, _)) => at - start,
                None => usize::MAX,
            };
            if wire.broken {
                return Poll::Ready(Err(Broken));
            }
            let room = wire.capacity.saturating_sub(start - wire.taken).min(until_fault);
            let most = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(room);
            if most == 0 {
                wire.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let count = (wire.write_portion)(most).clamp(1, most);
            wire.fruitless_writes = 0;
            let bytes = pieces.iter().copied().flatten().take(count);
            wire.answer.extend(bytes);
            wire.writes.push(start..start + count);
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.lock().hung_up = true;
        // Of each answer in each test: it forbids scripts, unless it is a page.
        if !std::thread::panicking() {
            let answer = self.0.lock().answer.clone();
            if let Some(policy) = policy(&answer).filter(|policy| policy != Answer::SANDBOX) {
                let is_page = answer.windows(9).any(|bytes| bytes == b"text/html");
                assert!(is_page, "{policy}: {}", String::from_utf8_lossy(&answer));
            }
        }
    }
}

impl Peer {
    /// Sends bytes to the server.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        let mut wire = self.0.lock();
        wire.request.extend(bytes.as_ref());
        wake(&mut wire.reader);
    }

    /// Closes its sending end.
    pub fn close(&self) {
        let mut wire = self.0.lock();
        wire.closed = true;
        wake(&mut wire.reader);
    }

    /// Resets the connection.
    pub fn reset(&self) {
        let mut wire = self.0.lock();
        wire.broken = true;
        wake(&mut wire.reader);
        wake(&mut wire.writer);
    }

    /// Lets no more than `capacity` bytes be written that it has not read.
    pub fn set_capacity(&self, capacity: usize) {
        let mut wire = self.0.lock();
        wire.capacity = capacity;
        wake(&mut wire.writer);
    }

    /// Reads up to `count` bytes of what was written; says how many there were.
    pub fn take(&self, count: usize) -> usize {
        let mut wire = self.0.lock();
        let count = count.min(wire.answer.len() - wire.taken);
        wire.taken += count;
        wake(&mut wire.writer);
        count
    }

    /// How many bytes each read may bring, given how many it could.
    pub fn portion_reads(&self, portion: impl FnMut(usize) -> usize + Send + 'static) {
        self.0.lock().read_portion = Box::new(portion);
    }

    /// How many bytes each write may take, given how many it could.
    pub fn portion_writes(&self, portion: impl FnMut(usize) -> usize + Send + 'static) {
        self.0.lock().write_portion = Box::new(portion);
    }

    /// After `bytes` bytes were written, something goes wrong.
    pub fn fail_after(&self, bytes: usize, fault: Fault) {
        let mut wire = self.0.lock();
        wire.fault = Some((bytes, fault));
        wake(&mut wire.writer);
    }

    /// Whether a flush waits.
    pub fn stall_flushes(&self, stalls: bool) {
        let mut wire = self.0.lock();
        wire.flush_stalls = stalls;
        wake(&mut wire.writer);
    }

    /// All that was written so far.
    pub fn answer(&self) -> Vec<u8> {
        self.0.lock().answer.clone()
    }

    /// How much was written so far.
    pub fn written(&self) -> usize {
        self.0.lock().answer.len()
    }

    /// How much of that was flushed.
    pub fn flushed(&self) -> usize {
        self.0.lock().flushed
    }

    /// What each write took.
    pub fn writes(&self) -> Vec<Range<usize>> {
        self.0.lock().writes.clone()
    }

    /// How often the server tried to write.
    pub fn attempts(&self) -> usize {
        self.0.lock().attempts
    }

    /// Bytes that the server has not read.
    pub fn unread(&self) -> usize {
        self.0.lock().request.len()
    }

    /// Takes back what the server has not read.
    pub fn unread_bytes(&self) -> Vec<u8> {
        self.0.lock().request.drain(..).collect()
    }

    /// The server has let go of the connection.
    pub fn is_hung_up(&self) -> bool {
        self.0.lock().hung_up
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
