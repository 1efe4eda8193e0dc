//! Time that moves only when a test says so, and the tasks that live in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use camwire_frame::{Clock, Instant};

/// A clock that stands still until the test moves it.
#[derive(Debug)]
pub struct VirtualClock {
    now: AtomicU64,
    unix_offset: Option<u64>,
    last_sleep: AtomicU64,
    /// By moment, then by number. The number makes each sleep one of its own.
    sleepers: Mutex<BTreeMap<(u64, u64), Waker>>,
}

impl VirtualClock {
    pub fn new(start: Instant, unix_offset: Option<u64>) -> Self {
        Self {
            now: AtomicU64::new(start.as_micros()),
            unix_offset,
            last_sleep: AtomicU64::new(0),
            sleepers: Mutex::default(),
        }
    }

    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    fn next_alarm(&self) -> Option<u64> {
        self.sleepers.lock().unwrap().keys().next().map(|(at, _)| *at)
    }

    fn set(&self, now: u64) {
        assert!(now >= self.now.load(Ordering::Relaxed), "time does not go back");
        self.now.store(now, Ordering::Relaxed);
        loop {
            let mut sleepers = self.sleepers.lock().unwrap();
            match sleepers.first_entry() {
                Some(entry) if entry.key().0 <= now => {
                    let waker = entry.remove();
                    drop(sleepers);
                    waker.wake();
                }
                _ => return,
            }
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        Instant::from_micros(self.now.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, at: Instant) {
        let number = self.last_sleep.fetch_add(1, Ordering::Relaxed);
        let sleep = Sleep { clock: self, key: (at.as_micros(), number) };
        poll_fn(|cx| sleep.poll(cx)).await;
    }

    fn unix_offset(&self) -> Option<u64> {
        self.unix_offset
    }
}

/// Takes itself off the list when it is dropped, so that no abandoned timer wakes anybody.
struct Sleep<'c> {
    clock: &'c VirtualClock,
    key: (u64, u64),
}

impl Sleep<'_> {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.clock.now().as_micros() >= self.key.0 {
            return Poll::Ready(());
        }
        self.clock.sleepers.lock().unwrap().insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.clock.sleepers.lock().unwrap().remove(&self.key);
    }
}

/// Polls of one task at one moment after which it is taken to spin.
const SPIN: u32 = 100_000;

/// A world of tasks on one thread. A task is polled only when it was woken, so a waking that is
/// forgotten shows as a task that stands still.
pub struct Sim<'a> {
    clock: &'a VirtualClock,
    tasks: Vec<Option<Task<'a>>>,
    polls: u64,
}

struct Task<'a> {
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a spawned task will have returned.
pub struct Spawned<T> {
    number: usize,
    output: Rc<RefCell<Option<T>>>,
}

impl<'a> Sim<'a> {
    pub fn new(clock: &'a VirtualClock) -> Self {
        Self { clock, tasks: Vec::new(), polls: 0 }
    }

    /// Adds a task; it is first polled by the next [`run`](Self::run).
    pub fn spawn<T: 'a>(&mut self, future: impl Future<Output = T> + 'a) -> Spawned<T> {
        let output = Rc::new(RefCell::new(None));
        let to = output.clone();
        let future = Box::pin(async move {
            let value = future.await;
            *to.borrow_mut() = Some(value);
        });
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.push(Some(Task { future, woken }));
        Spawned { number: self.tasks.len() - 1, output }
    }

    /// Drops a task, as an executor does that shuts down.
    pub fn abort<T>(&mut self, task: Spawned<T>) {
        self.tasks[task.number] = None;
    }

    /// Polls until nobody has anything to do at this moment.
    pub fn run(&mut self) {
        let mut polls = vec![0u32; self.tasks.len()];
        loop {
            let mut idle = true;
            for (place, polls) in self.tasks.iter_mut().zip(&mut polls) {
                let Some(task) = place else { continue };
                if !task.woken.0.swap(false, Ordering::Relaxed) {
                    continue;
                }
                idle = false;
                *polls += 1;
                self.polls += 1;
                assert!(*polls < SPIN, "a task spins");
                let waker = Waker::from(task.woken.clone());
                if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    *place = None;
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Lets time pass, from alarm to alarm.
    pub fn advance(&mut self, duration: Duration) {
        let end = (self.clock.now() + duration).as_micros();
        self.run();
        while let Some(alarm) = self.clock.next_alarm().filter(|alarm| *alarm <= end) {
            self.clock.set(alarm.max(self.clock.now().as_micros()));
            self.run();
        }
        self.clock.set(end);
        self.run();
    }

    /// Lets time pass while no task is polled, as when the machine has other things to do.
    pub fn stall(&mut self, duration: Duration) {
        self.clock.set((self.clock.now() + duration).as_micros());
    }

    /// Lets time pass until `done`, which is asked at every alarm; panics after `limit`. Says how
    /// long it took.
    pub fn advance_until(&mut self, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
        let start = self.clock.now();
        let end = (start + limit).as_micros();
        self.run();
        while !done() {
            let alarm = self.clock.next_alarm().filter(|alarm| *alarm <= end);
            let alarm = alarm.unwrap_or_else(|| panic!("nothing came within {limit:?}"));
            self.clock.set(alarm.max(self.clock.now().as_micros()));
            self.run();
        }
        self.clock.now().saturating_since(start)
    }

    /// How many polls there were, of all tasks.
    pub fn polls(&self) -> u64 {
        self.polls
    }

    /// How many tasks have not ended.
    pub fn alive(&self) -> usize {
        self.tasks.iter().flatten().count()
    }
}

impl<T> Spawned<T> {
    pub fn is_done(&self) -> bool {
        self.output.borrow().is_some()
    }

    /// What it returned; `None` if it has not ended, or was asked already.
    pub fn take(&self) -> Option<T> {
        self.output.borrow_mut().take()
    }
}

/// A queue between a test and a task of it: commands to a reader, for instance.
pub struct Mailbox<T>(Rc<RefCell<(VecDeque<T>, Option<Waker>)>>);

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Mailbox<T> {
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new((VecDeque::new(), None))))
    }

    pub fn send(&self, value: T) {
        let mut inner = self.0.borrow_mut();
        inner.0.push_back(value);
        if let Some(waker) = inner.1.take() {
            waker.wake();
        }
    }

    pub async fn receive(&self) -> T {
        poll_fn(|cx| {
            let mut inner = self.0.borrow_mut();
            match inner.0.pop_front() {
                Some(value) => Poll::Ready(value),
                None => {
                    inner.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
