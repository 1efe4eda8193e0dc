//! A ring between two executors on one core, of which one runs in an interrupt: the layout of a
//! firmware whose camera must not wait for its network. The task in the interrupt runs as soon as it
//! is woken, in the middle of what wakes it, and a timer wakes it everywhere else, too.

use crate::board;
use camwire::capture::{Follow, FramePublisher, FrameReader, FrameRing, Policy, StaticFrameRing};
use camwire::frame::FrameInfo;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::task::{Poll, Waker};
use critical_section::Mutex;
use embassy_executor::raw::Executor;
use embassy_futures::select::{Either, select};
use portable_atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use static_cell::StaticCell;

/// Each item waits for the one before: two slots, and a publisher that waits for its reader.
static RING: StaticFrameRing<2, 64, 1> = StaticFrameRing::new();
const ITEMS: u64 = 3000;

const HIGH: *mut () = core::ptr::without_provenance_mut(1);
const LOW: *mut () = core::ptr::null_mut();

/// The one that runs in the interrupt.
static EXECUTOR: AtomicPtr<Executor> = AtomicPtr::new(core::ptr::null_mut());
static IS_LOW_WOKEN: AtomicBool = AtomicBool::new(false);
static IS_OVER: AtomicBool = AtomicBool::new(false);
static POLLS: AtomicU32 = AtomicU32::new(0);

/// Embassy calls this when a task of an executor is woken.
#[unsafe(export_name = "__pender")]
fn pend(executor: *mut ()) {
    if executor == HIGH { board::pend() } else { IS_LOW_WOKEN.store(true, Ordering::Relaxed) }
}

fn interrupt() {
    POLLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: it was put there before the interrupt was allowed, and stays for ever. Nothing else
    // polls it, and this interrupt does not interrupt itself.
    unsafe { (*EXECUTOR.load(Ordering::Relaxed)).poll() };
}

pub fn reader_above_publisher() {
    let ring = RING.take(Policy::KeepAll).unwrap();
    let (publisher, reader) = (ring.publisher().unwrap(), ring.subscribe(Follow::Ordered).unwrap());
    run(|low, high| {
        high.spawn(read(reader, true).unwrap());
        low.spawn(publish(ring, publisher, false).unwrap());
    });
}

pub fn publisher_above_reader() {
    let ring = RING.take(Policy::KeepAll).unwrap();
    let (publisher, reader) = (ring.publisher().unwrap(), ring.subscribe(Follow::Ordered).unwrap());
    run(|low, high| {
        low.spawn(read(reader, false).unwrap());
        high.spawn(publish(ring, publisher, true).unwrap());
    });
}

fn run(spawn: impl FnOnce(embassy_executor::Spawner, embassy_executor::Spawner)) {
    static EXECUTORS: [StaticCell<Executor>; 2] = [const { StaticCell::new() }; 2];
    let low: &'static Executor = EXECUTORS[0].init(Executor::new(LOW));
    let high: &'static Executor = EXECUTORS[1].init(Executor::new(HIGH));
    EXECUTOR.store(core::ptr::from_ref(high).cast_mut(), Ordering::Relaxed);
    board::on_software_interrupt(interrupt);
    spawn(low.spawner(), high.spawner());
    board::interrupt_in(1, wake_ticks);
    let mut last_woken = board::ticks();
    while !IS_OVER.load(Ordering::Relaxed) {
        if IS_LOW_WOKEN.swap(false, Ordering::Relaxed) {
            last_woken = board::ticks();
            // SAFETY: nothing else polls it.
            unsafe { low.poll() };
        }
        assert!(
            board::ticks() - last_woken < 1_000_000,
            "nobody was woken for a tenth of a second"
        );
    }
    let polls = POLLS.load(Ordering::Relaxed);
    let ticks = TICK_COUNT.load(Ordering::Relaxed) / 7;
    assert!(u64::from(polls) > ITEMS && ticks > 1000, "{polls} interrupts and {ticks} ticks");
}

#[embassy_executor::task]
async fn read(mut reader: FrameReader<'static>, is_high: bool) {
    for number in 1..=ITEMS {
        // A wait is dropped with each tick, and another begins.
        let frame = loop {
            let frame = while_ticks_come(is_high, async {
                reader.next().await.map(|frame| (frame.sequence(), frame.missed(), frame[0]))
            });
            if let Some(frame) = frame.await {
                break frame;
            }
        };
        assert_eq!(frame, Some((number, 0, number as u8)));
    }
    IS_OVER.store(true, Ordering::Relaxed);
}

#[embassy_executor::task]
async fn publish(
    ring: &'static FrameRing<'static>,
    mut publisher: FramePublisher<'static>,
    is_high: bool,
) {
    for number in 1..=ITEMS {
        let mut grant = loop {
            if let Some(grant) = while_ticks_come(is_high, publisher.grant()).await {
                break grant;
            }
        };
        grant.fill(number as u8);
        publisher.commit(grant, ring.slot_bytes(), FrameInfo::default()).unwrap();
    }
    // With the stream's end the reader would have to hurry.
    core::future::pending::<()>().await
}

/// In the task of high priority: `None` if a tick comes first.
async fn while_ticks_come<T>(is_high: bool, work: impl Future<Output = T>) -> Option<T> {
    if !is_high {
        return Some(work.await);
    }
    match select(work, tick()).await {
        Either::First(done) => Some(done),
        Either::Second(()) => None,
    }
}

static TICK_COUNT: AtomicU32 = AtomicU32::new(0);
static HAS_TICKED: AtomicBool = AtomicBool::new(false);
static TICKS: Mutex<RefCell<Option<Waker>>> = Mutex::new(RefCell::new(None));

fn wake_ticks() {
    // At another place each time.
    let wait = 5 + TICK_COUNT.fetch_add(7, Ordering::Relaxed) % 31;
    board::interrupt_again_in(wait, wake_ticks);
    HAS_TICKED.store(true, Ordering::Relaxed);
    if let Some(waker) = critical_section::with(|cs| TICKS.borrow(cs).take()) {
        waker.wake();
    }
}

fn tick() -> impl Future<Output = ()> {
    poll_fn(|cx| {
        critical_section::with(|cs| TICKS.borrow(cs).replace(Some(cx.waker().clone())));
        if HAS_TICKED.swap(false, Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    })
}
