//! A task of higher priority than the other end of the ring, on the same core: it runs in a signal
//! handler, which interrupts the other end anywhere, and that one goes on only when the task waits.
//!
//! `CAMWIRE_RING_SECONDS` says for how long; by default 10 s.
#![cfg(all(unix, not(loom), feature = "alloc"))]

use std::cell::UnsafeCell;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::{Duration, Instant};

use camwire_ring::{Follow, Grant, Lease, Policy, Publisher, Ring};

/// The signal that stands for an interrupt.
const SIGNAL: i32 = libc::SIGUSR1;

fn duration() -> Duration {
    let seconds = std::env::var("CAMWIRE_RING_SECONDS").ok();
    Duration::from_secs(seconds.map_or(10, |seconds| seconds.parse().expect("a number")))
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs one task in the signal handler, as an interrupt executor runs them in an interrupt.
struct Executor {
    task: UnsafeCell<Option<Task>>,
    is_woken: AtomicBool,
    polls: AtomicU64,
}

// SAFETY: the task is touched by the handler alone, and by the thread that is interrupted before
// the first interrupt and after the last. The handler does not interrupt itself.
unsafe impl Sync for Executor {}

static EXECUTOR: Executor = Executor {
    task: UnsafeCell::new(None),
    is_woken: AtomicBool::new(false),
    polls: AtomicU64::new(0),
};

/// Tests use the one executor one after the other.
static IN_USE: Mutex<()> = Mutex::new(());

extern "C" fn interrupt(_: i32) {
    // Any interrupt polls the task, so that it is polled everywhere.
    EXECUTOR.is_woken.store(true, SeqCst);
    // SAFETY: see `Executor`.
    let Some(task) = (unsafe { &mut *EXECUTOR.task.get() }) else { return };
    while EXECUTOR.is_woken.swap(false, SeqCst) {
        let polls = EXECUTOR.polls.fetch_add(1, SeqCst);
        // A task that moves about has several wakers.
        let waker = &HIGH[polls as usize / 3 % HIGH.len()];
        // SAFETY: the table's functions may be called anywhere.
        let waker = unsafe { Waker::new(std::ptr::from_ref(waker).cast(), &HIGH_TABLE) };
        let _ = task.as_mut().poll(&mut Context::from_waker(&waker));
    }
}

/// What tells the wakers of the task apart.
static HIGH: [u8; 2] = [0; 2];

/// Nothing is allocated, since this runs in a signal handler.
static HIGH_TABLE: RawWakerVTable =
    RawWakerVTable::new(|data| RawWaker::new(data, &HIGH_TABLE), |_| pend(), |_| pend(), |_| {});

/// What a `__pender` does: an interrupt comes as soon as it may.
fn pend() {
    EXECUTOR.is_woken.store(true, SeqCst);
    // SAFETY: the handler is installed while there are wakers.
    unsafe { libc::raise(SIGNAL) };
}

/// Polls a future until it is done, on the thread that is interrupted.
fn wait<F: Future>(future: F) -> F::Output {
    static IS_WOKEN: AtomicBool = AtomicBool::new(false);
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| RawWaker::new(data, &TABLE),
        |_| IS_WOKEN.store(true, SeqCst),
        |_| IS_WOKEN.store(true, SeqCst),
        |_| {},
    );
    let mut future = pin!(future);
    // SAFETY: as above.
    let waker = unsafe { Waker::new((&raw const TABLE).cast(), &TABLE) };
    loop {
        IS_WOKEN.store(false, SeqCst);
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        while !IS_WOKEN.load(SeqCst) {
            std::hint::spin_loop();
        }
    }
}

/// Does `low` again and again for a time, while `high` runs in interrupts of its thread. Fails if
/// `low` gets nowhere.
fn interrupted(
    high: impl Future<Output = ()> + Send + 'static,
    mut low: impl FnMut() + Send + 'static,
) {
    /// The last round is over, and the last interrupt has come.
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    static IS_QUIET: AtomicBool = AtomicBool::new(false);

    let _alone = IN_USE.lock().unwrap();
    IS_OVER.store(false, SeqCst);
    IS_QUIET.store(false, SeqCst);
    let polls_before = EXECUTOR.polls.load(SeqCst);
    let (started, victim) = channel();
    let (rounds, progress) = channel();
    let low_thread = thread::spawn(move || {
        // SAFETY: no interrupt comes yet.
        unsafe { *EXECUTOR.task.get() = Some(Box::pin(high)) };
        // SAFETY: the handler does only what is safe in a signal handler: atomics and `raise`.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = interrupt as extern "C" fn(i32) as usize;
            libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut());
            started.send(libc::pthread_self()).unwrap();
        }
        pend(); // Else the first round begins without the task.
        for round in 1u64.. {
            low();
            if round % 100 == 0 {
                if IS_OVER.load(SeqCst) {
                    break;
                }
                rounds.send(round).unwrap();
            }
        }
        drop((rounds, low));
        while !IS_QUIET.load(SeqCst) {
            thread::yield_now();
        }
    });
    // Interrupts come at any time.
    let victim = victim.recv().unwrap();
    let interrupts = thread::spawn(move || {
        let (mut random, mut count) = (1u32, 0u64);
        while !IS_QUIET.load(SeqCst) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            for _ in 0..random >> 22 {
                std::hint::spin_loop();
            }
            // SAFETY: the thread lives until it is quiet.
            unsafe { libc::pthread_kill(victim, SIGNAL) };
            count += 1;
        }
        count
    });
    let (mut last, end) = (0, Instant::now() + duration() / RUNS);
    loop {
        IS_OVER.fetch_or(Instant::now() > end, SeqCst);
        match progress.recv_timeout(Duration::from_secs(20)) {
            Ok(round) => last = round,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // The thread never ends, so no test can go on.
                eprintln!("stuck after {last} rounds");
                std::process::abort();
            }
        }
    }
    IS_QUIET.store(true, SeqCst);
    let count = interrupts.join().unwrap();
    low_thread.join().unwrap();
    // SAFETY: there are no interrupts any more.
    unsafe { *EXECUTOR.task.get() = None };
    let polls = EXECUTOR.polls.load(SeqCst) - polls_before;
    println!("{last} rounds, {count} interrupts, {polls} polls");
    assert!(last > 0 && count > 100 && polls > 100);
}

/// So many times is [`interrupted`] called by all tests together.
const RUNS: u32 = 5;

const LEN: usize = 64;

fn publish<'r>(publisher: &mut Publisher<'r>, mut grant: Grant<'r>) -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, SeqCst);
    for word in grant.as_chunks_mut().0 {
        *word = number.to_le_bytes();
    }
    publisher.commit(grant, LEN, ()).unwrap()
}

fn check(lease: &Lease<'_, '_>) -> u64 {
    let words = lease.as_chunks::<8>().0;
    assert_eq!(words.len(), LEN / 8);
    assert!(words.iter().all(|word| *word == words[0]), "torn");
    lease.sequence()
}

#[test]
fn a_reader_of_higher_priority_does_not_stop_the_publisher() {
    static READ: AtomicU64 = AtomicU64::new(0);
    for policy in [Policy::DropOldest, Policy::KeepAll] {
        let ring = Ring::<()>::leak(3, LEN, 1, policy).unwrap();
        let mut publisher = ring.publisher().unwrap();
        let mut reader = ring.subscribe(Follow::Ordered).unwrap();
        let high = async move {
            let mut last = 0;
            while let Some(lease) = reader.next().await {
                assert_eq!(check(&lease), last + 1 + lease.missed());
                last = lease.sequence();
                READ.store(last, SeqCst);
            }
            pending().await
        };
        let low = move || {
            let grant = wait(publisher.grant());
            let sequence = publish(&mut publisher, grant);
            // The reader was woken at the latest when it was published.
            let read = READ.load(SeqCst);
            assert!(read >= sequence, "{sequence} was published, {read} were read");
        };
        READ.store(0, SeqCst);
        interrupted(high, low);
    }
}

#[test]
fn a_publisher_of_higher_priority_does_not_stop_the_reader() {
    let ring = Ring::<()>::leak(3, LEN, 1, Policy::KeepAll).unwrap();
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Ordered).unwrap();
    let high = async move {
        loop {
            publisher.demand().await;
            let grant = publisher.grant().await;
            publish(&mut publisher, grant);
        }
    };
    let mut last = 0;
    let low = move || {
        wait(async {
            let lease = reader.next().await.unwrap();
            assert_eq!((check(&lease), lease.missed()), (last + 1, 0));
            last = lease.sequence();
        });
    };
    interrupted(high, low);
}

/// The first reader that comes wakes a publisher of higher priority, the last that goes, too.
#[test]
fn a_publisher_of_higher_priority_follows_the_demand() {
    static DEMAND: AtomicBool = AtomicBool::new(false);
    let ring = Ring::<()>::leak(3, LEN, 1, Policy::DropOldest).unwrap();
    let mut publisher = ring.publisher().unwrap();
    let high = async move {
        loop {
            publisher.demand().await;
            DEMAND.store(true, SeqCst);
            publisher.no_demand().await;
            DEMAND.store(false, SeqCst);
        }
    };
    let low = move || {
        let reader = ring.subscribe(Follow::Live).unwrap();
        assert!(DEMAND.load(SeqCst), "the publisher was not woken");
        drop(reader);
        assert!(!DEMAND.load(SeqCst), "the publisher was not woken");
    };
    interrupted(high, low);
}

/// A lease asked back by a publisher in an interrupt, and given back by the reader it interrupts.
#[test]
fn a_lease_is_asked_back_by_a_publisher_of_higher_priority() {
    let ring = Ring::<()>::leak(2, LEN, 1, Policy::DropOldest).unwrap();
    let mut publisher = ring.publisher().unwrap();
    let mut reader = ring.subscribe(Follow::Live).unwrap();
    let high = async move {
        let mut time = 0;
        loop {
            time += 1;
            let now = Duration::from_millis(time);
            match publisher.try_grant() {
                Ok(grant) => _ = publish(&mut publisher, grant),
                Err(_) => _ = publisher.revoke_oldest(now, Duration::ZERO),
            }
            // Once in an interrupt.
            let mut is_first = true;
            poll_fn(
                |_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) },
            )
            .await;
        }
    };
    let low = move || {
        wait(async {
            let mut lease = reader.latest().await.unwrap();
            lease.revoked().await;
            check(&lease);
        });
    };
    interrupted(high, low);
}
