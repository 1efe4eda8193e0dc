//! The capture loop over a stream: frames that come by themselves, whether anybody reads them or
//! not. Time moves only when a test says so.
#![cfg(not(loom))]

/// Shared with the tests of the server.
#[path = "../../camwire-server/tests/harness"]
#[allow(dead_code, unreachable_pub)]
mod harness {
    pub mod camera;
    pub mod time;
}

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use camwire_capture::{
    CaptureConfig, Follow, FrameReader, FrameRing, FrameSlot, Policy, ReaderSlot, SourceState,
    SourceStatus, capture_loop,
};
use camwire_frame::{CaptureError, Clock, Flow, FrameInfo, FrameRate, FrameSource, Instant};
use harness::camera::{draw, info, picture};
use harness::time::{Mailbox, Sim, Spawned, VirtualClock};

const SLOT_BYTES: usize = 256;
const START: Instant = Instant::from_micros(1_000_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What a camera sends.
#[derive(Clone, Debug, PartialEq)]
enum Sent {
    /// A frame of 64 bytes, with its number.
    Frame(u64),
    Broken,
    TooLarge(usize),
    Repeat,
    /// The connection is lost with this.
    Loss,
    /// The camera has no more frames.
    End,
}

/// The peer of a stream: what it has sent waits in the network until it is read.
struct Peer {
    /// What waits, and the most that ever did.
    network: RefCell<VecDeque<Sent>>,
    most_waiting: RefCell<usize>,
    arrivals: Mailbox<()>,
    /// Numbers of the frames it has sent.
    sent: RefCell<u64>,
    is_open: RefCell<bool>,
    /// When it was asked to open the connection.
    connects: RefCell<Vec<Instant>>,
    /// Whether it takes connections.
    is_up: RefCell<bool>,
    /// How long it takes to receive a frame that has begun.
    transfer: RefCell<Duration>,
    /// Captures that were given up.
    cancelled: RefCell<u32>,
}

impl Peer {
    fn send(&self, what: Sent) {
        if !*self.is_open.borrow() {
            return;
        }
        self.network.borrow_mut().push_back(what);
        let mut most = self.most_waiting.borrow_mut();
        *most = (*most).max(self.network.borrow().len());
        self.arrivals.send(());
    }

    /// Sends the next frame; its number rises also while nobody is connected.
    fn frame(&self) -> u64 {
        *self.sent.borrow_mut() += 1;
        let number = *self.sent.borrow();
        self.send(Sent::Frame(number));
        number
    }

    fn newest(&self) -> u64 {
        *self.sent.borrow()
    }
}

/// The receiving end, as a source. It connects with the first capture.
struct Stream {
    peer: Rc<Peer>,
    clock: &'static VirtualClock,
}

struct Cancelled<'p>(Option<&'p Peer>);

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        if let Some(peer) = self.0 {
            *peer.cancelled.borrow_mut() += 1;
        }
    }
}

impl FrameSource for Stream {
    type Error = &'static str;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<&'static str>> {
        let peer = &*self.peer;
        if !*peer.is_open.borrow() {
            peer.connects.borrow_mut().push(self.clock.now());
            if !*peer.is_up.borrow() {
                return Err("refused".into());
            }
            *peer.is_open.borrow_mut() = true;
        }
        let mut cancelled = Cancelled(Some(peer));
        let what = loop {
            let what = peer.network.borrow_mut().pop_front();
            if let Some(what) = what {
                break what;
            }
            peer.arrivals.receive().await;
        };
        let captured_at = self.clock.now();
        let transfer = *peer.transfer.borrow();
        self.clock.sleep(transfer).await;
        cancelled.0 = None;
        match what {
            Sent::Frame(number) => {
                let frame = buf.get_mut(..64).ok_or(CaptureError::TooLarge { needed: 64 })?;
                draw(frame, number);
                let mut info = info(64, captured_at);
                info.upstream.sequence = Some(number);
                Ok(info)
            }
            Sent::Broken => Err(CaptureError::Broken),
            Sent::TooLarge(needed) => Err(CaptureError::TooLarge { needed }),
            Sent::Repeat => Err(CaptureError::Repeat),
            Sent::Loss => {
                *peer.is_open.borrow_mut() = false;
                peer.network.borrow_mut().clear();
                Err("connection lost".into())
            }
            Sent::End => {
                *peer.is_open.borrow_mut() = false;
                Err(CaptureError::Ended)
            }
        }
    }

    fn flow(&self) -> Flow {
        if *self.peer.is_open.borrow() { Flow::Stream } else { Flow::OnDemand }
    }

    async fn pause(&mut self) {
        *self.peer.is_open.borrow_mut() = false;
        self.peer.network.borrow_mut().clear();
    }
}

/// A capture loop at work on a stream.
struct Rig {
    clock: &'static VirtualClock,
    ring: &'static FrameRing<'static>,
    status: &'static SourceStatus,
    peer: Rc<Peer>,
    sim: Sim<'static>,
    work: Spawned<()>,
}

/// What a viewer got: number of the frame, how many frames it was behind the newest one, and when.
type Got = (u64, u64, Duration);

impl Rig {
    fn new(slots: usize, policy: Policy, config: CaptureConfig) -> Self {
        let ring = FrameRing::new(
            (0..slots).map(|_| FrameSlot::new()).collect::<Vec<_>>().leak(),
            (0..8).map(|_| ReaderSlot::new()).collect::<Vec<_>>().leak(),
            vec![0; slots * SLOT_BYTES + 63].leak(),
            policy,
        );
        let ring: &'static FrameRing<'static> = Box::leak(Box::new(ring.unwrap()));
        let status: &'static SourceStatus = Box::leak(Box::new(SourceStatus::new("stream")));
        let clock: &'static VirtualClock = Box::leak(Box::new(VirtualClock::new(START, None)));
        let peer = Rc::new(Peer {
            network: RefCell::default(),
            most_waiting: RefCell::default(),
            arrivals: Mailbox::new(),
            sent: RefCell::default(),
            is_open: RefCell::default(),
            connects: RefCell::default(),
            is_up: RefCell::new(true),
            transfer: RefCell::default(),
            cancelled: RefCell::default(),
        });
        let mut sim = Sim::new(clock);
        let mut source = Stream { peer: peer.clone(), clock };
        let work = sim.spawn(async move {
            let mut publisher = ring.publisher().unwrap();
            capture_loop(&mut publisher, &mut source, clock, &config, status).await;
        });
        sim.run();
        Self { clock, ring, status, peer, sim, work }
    }

    /// With as many slots as nobody could want, and a rate perhaps.
    fn with_rate(rate: Option<&str>) -> Self {
        Self::new(8, Policy::DropOldest, config(rate))
    }

    fn subscribe(&self) -> FrameReader<'static> {
        self.ring.subscribe(Follow::Live).unwrap()
    }

    /// A viewer that takes each frame at once, and notes what it got.
    fn viewer(&mut self) -> Rc<RefCell<Vec<Got>>> {
        let got = Rc::new(RefCell::new(Vec::new()));
        let (mut reader, peer, clock, to) =
            (self.subscribe(), self.peer.clone(), self.clock, got.clone());
        self.sim.spawn(async move {
            while let Some(frame) = reader.latest().await {
                let number = frame.info().upstream.sequence.unwrap();
                assert_eq!(frame[..], picture(64, number));
                let at = clock.now().saturating_since(START);
                to.borrow_mut().push((number, peer.newest() - number, at));
            }
        });
        self.sim.run();
        got
    }

    /// The camera sends frames of these kinds, one each `period`; `None` is a good frame.
    fn send_each(&mut self, period: Duration, what: impl IntoIterator<Item = Option<Sent>>) {
        for what in what {
            self.sim.advance(period);
            match what {
                None => _ = self.peer.frame(),
                Some(what) => self.peer.send(what),
            }
            self.sim.run();
        }
    }

    fn frames(&mut self, count: usize, period: Duration) {
        self.send_each(period, std::iter::repeat_n(None, count));
    }

    fn now(&self) -> Duration {
        self.clock.now().saturating_since(START)
    }

    fn error(&self) -> String {
        let mut text = String::new();
        self.status.write_error(&mut text).unwrap();
        text
    }
}

fn config(rate: Option<&str>) -> CaptureConfig {
    let mut config = CaptureConfig::default();
    config.rate = rate.map(|rate| rate.parse::<FrameRate>().unwrap());
    config
}

fn numbers(got: &RefCell<Vec<Got>>) -> Vec<u64> {
    got.borrow().iter().map(|(number, ..)| *number).collect()
}

mod pace {
    use super::*;

    /// A camera of 15 frames a second, for a minute.
    #[test]
    fn paced_stream_stays_fresh() {
        for (rate, fps) in [("0.5", 0.5), ("1", 1.0), ("5", 5.0), ("7.3", 7.3), ("14", 14.0)] {
            let mut rig = Rig::with_rate(Some(rate));
            let got = rig.viewer();
            rig.frames(900, Duration::from_micros(66_667));
            let got = got.borrow();
            let behind = got.iter().map(|(_, behind, _)| *behind).max().unwrap();
            assert!(behind <= 1, "{rate} fps: {behind} frames behind");
            let frames = got.len() as f64;
            assert!(
                (60.0 * fps * 0.9 - 1.0..=60.0 * fps + 2.0).contains(&frames),
                "{rate}: {frames}"
            );
            assert!(got.is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!(*rig.peer.most_waiting.borrow(), 1, "nothing waits in the network");
            assert_eq!((rig.ring.dropped(), rig.status.errors()), (0, 0));
        }
    }

    /// Nothing is lost by a rate that the camera does not reach, or just reaches with some jitter.
    #[test]
    fn rate_above_that_of_the_stream_loses_nothing() {
        for rate in ["15", "16", "30", "1000"] {
            let mut rig = Rig::with_rate(Some(rate));
            let got = rig.viewer();
            let mut jitter = [0, 3, 9, 1, 5, 7].into_iter().cycle();
            for number in 0..300 {
                let at = Duration::from_micros(number * 66_700 + jitter.next().unwrap() * 1000);
                let wait = at.saturating_sub(rig.now());
                rig.frames(1, wait);
            }
            rig.sim.advance(ms(100));
            assert_eq!(numbers(&got), (1..=300).collect::<Vec<_>>(), "{rate}");
        }
    }

    #[test]
    fn without_a_rate_every_frame_is_published_at_once() {
        let mut rig = Rig::with_rate(None);
        let got = rig.viewer();
        rig.frames(200, ms(7));
        assert_eq!(numbers(&got), (1..=200).collect::<Vec<_>>());
        assert!(
            got.borrow().iter().all(|(number, behind, at)| *behind == 0 && *at == ms(7 * number))
        );
    }

    /// The network stops for a while, and then gives all at once.
    #[test]
    fn after_a_stall_the_newest_frame_is_shown() {
        for rate in ["1", "5"] {
            for stall in [300, 1000, 5000] {
                let mut rig = Rig::with_rate(Some(rate));
                let got = rig.viewer();
                rig.frames(50, ms(67));
                rig.sim.advance(ms(stall));
                let before = got.borrow().len();
                rig.frames(30, Duration::ZERO);
                rig.sim.advance(ms(1100));
                let got = &got.borrow()[before..];
                assert!(got.iter().all(|(.., behind, _)| *behind == 0), "{rate}, {stall}: {got:?}");
                assert_eq!(got.len(), 1);
            }
        }
    }

    /// The relay itself stands still: it has a frame of before, and many that wait to be read.
    #[test]
    fn after_a_stall_of_the_relay_the_newest_frame_is_shown() {
        for rate in ["1", "5"] {
            for stall in 1..40 {
                let mut rig = Rig::with_rate(Some(rate));
                let got = rig.viewer();
                rig.frames(50, ms(67));
                let before = got.borrow().len();
                for _ in 0..stall {
                    rig.sim.stall(ms(67));
                    rig.peer.frame();
                }
                rig.sim.run();
                rig.frames(20, ms(67));
                let behind: Vec<_> = got.borrow()[before..].iter().map(|got| got.1).collect();
                assert!(behind.iter().all(|behind| *behind <= 1), "{rate}, {stall}: {behind:?}");
            }
        }
    }

    /// A camera that sends its frames in bunches.
    #[test]
    fn last_frame_of_a_bunch_is_shown() {
        let mut rig = Rig::with_rate(Some("1"));
        let got = rig.viewer();
        for _ in 0..10 {
            rig.frames(5, ms(60));
            rig.sim.advance(ms(4700));
        }
        let got = got.borrow();
        // At the end of each bunch the newest one there was.
        for bunch in 1..=10 {
            assert!(got.iter().any(|(number, behind, _)| (*number, *behind) == (5 * bunch, 0)));
        }
        assert!(got.len() <= 20);
    }

    /// The first frame for those who come is not put off by what others had before.
    #[test]
    fn next_viewer_gets_a_frame_within_a_second() {
        let mut rig = Rig::with_rate(Some("0.1"));
        let first = rig.subscribe();
        rig.frames(10, ms(67));
        drop(first);
        rig.sim.advance(ms(100));
        let got = rig.viewer();
        rig.frames(30, ms(67));
        assert!(got.borrow()[0].1 <= 1, "{:?}", got.borrow());
    }

    #[test]
    fn few_slots_are_enough() {
        for slots in [2, 3] {
            for rate in ["1", "5"] {
                let mut rig = Rig::new(slots, Policy::DropOldest, config(Some(rate)));
                let got = rig.viewer();
                rig.frames(900, ms(67));
                let got = got.borrow();
                let behind = got.iter().map(|(_, behind, _)| *behind).max().unwrap();
                assert!(behind <= 1, "{slots} slots, {rate} fps: {behind} frames behind");
                let fps: usize = rate.parse().unwrap();
                assert!((55 * fps..=61 * fps + 1).contains(&got.len()), "{}", got.len());
                assert_eq!(rig.ring.dropped(), 0);
            }
        }
    }

    /// While a frame waits for its turn, the slot for the next one is not asked back from anybody.
    #[test]
    fn slow_viewer_keeps_its_lease_if_there_are_slots() {
        let mut rig = Rig::new(4, Policy::DropOldest, config(Some("5")));
        let ring = rig.ring;
        let holder = rig.sim.spawn(async move {
            let mut reader = ring.subscribe(Follow::Live).unwrap();
            let mut lease = reader.next().await.unwrap();
            lease.revoked().await;
        });
        let got = rig.viewer();
        rig.frames(300, ms(67));
        assert!(!holder.is_done());
        assert!(got.borrow().len() > 90);
    }
}

mod damage {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(40);

    /// However many came before, and whatever was wrong with them.
    #[test]
    fn first_good_frame_after_damaged_ones_is_published_at_once() {
        let kinds = [Sent::Broken, Sent::TooLarge(SLOT_BYTES + 1), Sent::TooLarge(usize::MAX)];
        for kind in kinds {
            for count in [1, 2, 12, 100, 500] {
                let mut rig = Rig::with_rate(None);
                let got = rig.viewer();
                rig.frames(25, PERIOD);
                rig.send_each(PERIOD, std::iter::repeat_n(Some(kind.clone()), count));
                assert_eq!(rig.status.state(), SourceState::Failed);
                assert_eq!(rig.status.errors(), count as u32);
                rig.frames(3, PERIOD);
                let got = got.borrow();
                assert!(got.iter().all(|(.., behind, _)| *behind == 0));
                assert_eq!(numbers_of(&got), (1..=28).collect::<Vec<_>>());
                assert_eq!(got[25].2, PERIOD * (25 + count as u32 + 1), "{count} of {kind:?}");
                assert_eq!(rig.status.state(), SourceState::Streaming);
                assert_eq!(*rig.peer.connects.borrow(), [START], "it has not connected again");
            }
        }
    }

    fn numbers_of(got: &[Got]) -> Vec<u64> {
        got.iter().map(|(number, ..)| *number).collect()
    }

    #[test]
    fn damaged_frames_do_not_disturb_the_pace() {
        let mut rig = Rig::with_rate(Some("1"));
        let got = rig.viewer();
        let kinds = [None, Some(Sent::Broken), None, Some(Sent::TooLarge(1000))];
        rig.send_each(PERIOD, kinds.into_iter().cycle().take(1500));
        let got = got.borrow();
        assert!(got.iter().all(|(.., behind, _)| *behind <= 1));
        assert!((55..=62).contains(&got.len()), "{}", got.len());
        assert_eq!(*rig.peer.most_waiting.borrow(), 1);
    }

    /// The bytes flow, but nobody gets a frame.
    #[test]
    fn stream_of_damaged_frames_does_not_look_healthy() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        rig.frames(10, PERIOD);
        rig.send_each(PERIOD, std::iter::repeat_n(Some(Sent::Broken), 500));
        assert_eq!(rig.status.state(), SourceState::Failed);
        assert_eq!(rig.error(), "the picture is broken");
        assert_eq!(rig.status.quiet(rig.clock.now()), PERIOD * 500);
        assert_eq!(rig.status.millihertz(rig.clock.now()), 0);
    }

    /// All of them are there already: the executor's other tasks get their turn in between.
    #[test]
    fn run_of_damaged_frames_leaves_room_for_other_tasks() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        let turns = Rc::new(RefCell::new(0));
        let count = turns.clone();
        rig.sim.spawn(async move {
            loop {
                *count.borrow_mut() += 1;
                embassy_futures::yield_now().await;
                if *count.borrow() > 2000 {
                    pending::<()>().await;
                }
            }
        });
        for _ in 0..1000 {
            rig.peer.send(Sent::Broken);
        }
        rig.sim.run();
        assert_eq!(rig.status.errors(), 1000);
        assert!(*turns.borrow() >= 1000);
    }
}

mod connections {
    use super::*;

    fn connects(rig: &Rig) -> Vec<u64> {
        let connects = rig.peer.connects.borrow();
        connects.iter().map(|at| at.saturating_since(connects[0]).as_millis() as u64).collect()
    }

    #[test]
    fn lost_connection_backs_off() {
        let mut rig = Rig::with_rate(None);
        let got = rig.viewer();
        rig.frames(10, ms(40));
        *rig.peer.is_up.borrow_mut() = false;
        rig.peer.send(Sent::Loss);
        rig.sim.advance(secs(3));
        let at = |millis: u64| 400 + millis;
        // Refused at once, then after growing waits.
        assert_eq!(connects(&rig), [0, at(0), at(100), at(300), at(700), at(1500)]);
        assert_eq!((rig.status.state(), rig.error()), (SourceState::Failed, "refused".into()));
        *rig.peer.is_up.borrow_mut() = true;
        rig.sim.advance(secs(1));
        rig.frames(3, ms(40));
        assert_eq!(numbers(&got), (1..=13).collect::<Vec<_>>());
    }

    /// Damaged frames are not the connection's fault: its waits begin with the first of them.
    #[test]
    fn damaged_frames_do_not_lengthen_the_waits_for_a_connection() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        rig.frames(10, ms(40));
        rig.send_each(ms(40), std::iter::repeat_n(Some(Sent::Broken), 500));
        let lost_at = rig.now();
        rig.peer.send(Sent::Loss);
        rig.sim.advance(ms(10));
        assert_eq!(rig.peer.connects.borrow().last(), Some(&(START + lost_at)));
        rig.frames(1, ms(40));
        assert_eq!(rig.status.captured(), 11);
    }

    /// A server that accepts, sends rubbish and closes is no stream that goes on.
    #[test]
    fn connections_that_bring_only_damaged_frames_back_off() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        for _ in 0..2000 {
            rig.peer.send(Sent::Broken);
            rig.peer.send(Sent::Loss);
            rig.sim.advance(ms(10));
        }
        let connects = rig.peer.connects.borrow().len();
        assert!(connects <= 12, "{connects} connections in 20 s");
    }

    /// A frame that was held at that moment is the last one there is.
    #[test]
    fn frame_before_a_loss_is_published() {
        let mut rig = Rig::with_rate(Some("1"));
        let got = rig.viewer();
        rig.frames(3, ms(67));
        *rig.peer.is_up.borrow_mut() = false;
        rig.peer.send(Sent::Loss);
        rig.sim.run();
        assert_eq!(numbers(&got), [1, 3]);
    }

    #[test]
    fn frame_before_the_end_is_published() {
        let mut rig = Rig::with_rate(Some("1"));
        let got = rig.viewer();
        rig.frames(3, ms(67));
        rig.peer.send(Sent::End);
        rig.sim.run();
        assert_eq!(numbers(&got), [1, 3]);
        rig.sim.advance(ms(10));
        assert!(rig.work.is_done());
        assert_eq!(rig.status.state(), SourceState::Ended);
    }
}

mod timeouts {
    use super::*;

    #[test]
    fn silent_stream_is_reported_and_goes_on() {
        let mut rig = Rig::with_rate(None);
        let got = rig.viewer();
        rig.frames(1, ms(40));
        rig.sim.advance(ms(9999));
        assert_eq!((rig.status.state(), rig.status.errors()), (SourceState::Streaming, 0));
        rig.sim.advance(ms(1));
        assert_eq!(rig.error(), "no frame within 10.000 s");
        rig.sim.advance(secs(20));
        assert_eq!((rig.status.state(), rig.status.errors()), (SourceState::Failed, 3));
        rig.frames(1, ms(5));
        assert_eq!((numbers(&got), rig.status.state()), (vec![1, 2], SourceState::Streaming));
        assert_eq!(*rig.peer.cancelled.borrow(), 0);
    }

    /// A large frame over a slow network.
    #[test]
    fn frame_that_takes_longer_than_the_timeout_arrives() {
        let mut rig = Rig::with_rate(None);
        let got = rig.viewer();
        rig.frames(1, ms(40));
        *rig.peer.transfer.borrow_mut() = secs(25);
        rig.frames(3, ms(40));
        rig.sim.advance(secs(76));
        assert_eq!(numbers(&got), [1, 2, 3, 4]);
    }

    /// The connection does not come about, so there is no stream yet.
    #[test]
    fn first_frame_has_its_time() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        *rig.peer.is_open.borrow_mut() = false;
        rig.sim.advance(secs(9));
        assert_eq!(*rig.peer.cancelled.borrow(), 0);
        rig.sim.advance(secs(1));
        assert_eq!(*rig.peer.cancelled.borrow(), 1);
    }
}

mod repeats {
    use super::*;

    #[test]
    fn repeats_are_not_published() {
        for rate in [None, Some("5")] {
            let mut rig = Rig::with_rate(rate);
            let got = rig.viewer();
            for _ in 0..5 {
                rig.frames(1, ms(1000));
                rig.send_each(ms(1000), std::iter::repeat_n(Some(Sent::Repeat), 3));
            }
            assert_eq!(numbers(&got), [1, 2, 3, 4, 5]);
            assert_eq!((rig.status.captured(), rig.status.errors()), (5, 0));
        }
    }

    /// One frame in 20 s, of which the server sends the last again each second.
    #[test]
    fn slow_camera_that_is_repeated_is_not_silent() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        for _ in 0..5 {
            rig.frames(1, ms(950));
            for _ in 0..20 {
                rig.send_each(ms(950), [Some(Sent::Repeat)]);
                assert!(rig.status.quiet(rig.clock.now()) <= ms(950));
                assert_eq!(rig.status.state(), SourceState::Streaming);
            }
        }
        assert_eq!((rig.status.errors(), *rig.peer.cancelled.borrow()), (0, 0));
    }

    /// A relay in between lives, and repeats the last frame of a camera that does not.
    #[test]
    fn dead_camera_behind_repeats_becomes_silent() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        rig.frames(100, ms(40));
        rig.send_each(ms(950), std::iter::repeat_n(Some(Sent::Repeat), 60));
        assert!(rig.status.quiet(rig.clock.now()) > secs(55));
        assert_eq!(rig.status.errors(), 0, "the connection is fine");
        // Of the first frame nobody knows when the next is due.
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        rig.frames(1, ms(40));
        rig.send_each(ms(1000), std::iter::repeat_n(Some(Sent::Repeat), 60));
        assert_eq!(rig.status.quiet(rig.clock.now()), ms(0));
        rig.send_each(ms(1000), std::iter::repeat_n(Some(Sent::Repeat), 10));
        assert_eq!(rig.status.quiet(rig.clock.now()), secs(10));
    }

    #[test]
    fn repeat_after_a_new_connection_shows_that_it_works() {
        let mut rig = Rig::with_rate(None);
        let _viewer = rig.viewer();
        rig.frames(3, ms(40));
        rig.peer.send(Sent::Loss);
        rig.sim.run();
        assert_eq!(rig.status.state(), SourceState::Failed);
        rig.send_each(ms(10), [Some(Sent::Repeat)]);
        assert_eq!(rig.status.state(), SourceState::Streaming);
        rig.frames(1, ms(5));
        assert_eq!(rig.status.captured(), 4);
    }
}

mod full_ring {
    use super::*;

    /// Every slot but one is leased, and that has the newest frame.
    #[test]
    fn stream_is_read_while_there_is_no_slot() {
        for rate in [None, Some("5")] {
            let mut config = config(rate);
            config.lease_grace = secs(3600);
            let mut rig = Rig::new(2, Policy::DropOldest, config);
            let (mut first, mut second) = (rig.subscribe(), rig.subscribe());
            rig.frames(1, ms(40));
            rig.sim.advance(ms(300));
            let first = first.try_latest().unwrap();
            rig.frames(1, ms(40));
            rig.sim.advance(ms(300));
            let second = second.try_latest().unwrap();
            let got = rig.viewer();
            let before = rig.peer.newest();
            rig.frames(250, ms(40));
            assert_eq!(*rig.peer.most_waiting.borrow(), 1, "nothing waits in the network");
            let dropped = rig.ring.dropped();
            match rate {
                None => assert_eq!(dropped, 250),
                Some(_) => assert!((48..=52).contains(&dropped), "{dropped} in 10 s"),
            }
            assert_eq!(rig.status.errors(), 0);
            drop(first);
            rig.frames(10, ms(40));
            let got = got.borrow();
            let (number, behind, _) = *got.iter().find(|(number, ..)| *number > before).unwrap();
            assert!(number > before + 250 && behind <= 1, "{got:?}");
            drop(second);
        }
    }

    #[test]
    fn longest_lease_is_asked_back() {
        let mut rig = Rig::new(2, Policy::DropOldest, config(None));
        let ring = rig.ring;
        let hold = |rig: &mut Rig| {
            rig.sim.spawn(async move {
                let mut reader = ring.subscribe(Follow::Live).unwrap();
                let mut lease = reader.next().await.unwrap();
                lease.revoked().await;
            })
        };
        let first = hold(&mut rig);
        rig.frames(2, ms(40));
        let second = hold(&mut rig);
        let _viewer = rig.viewer();
        rig.frames(22, ms(40));
        assert!(!first.is_done() && !second.is_done());
        rig.frames(10, ms(40));
        assert!(first.is_done(), "after its grace of a second");
        // The other slot is free, but has the newest frame. The second lease is wanted back since.
        let before = rig.status.captured();
        rig.frames(30, ms(40));
        assert!(second.is_done(), "after its own grace");
        assert!(rig.status.captured() > before, "capture goes on");
    }

    #[test]
    fn beginning_is_kept_by_drop_newest() {
        let mut rig = Rig::new(3, Policy::DropNewest, config(None));
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        rig.frames(20, ms(40));
        for number in 1..=3 {
            let lease = reader.try_next().unwrap();
            assert_eq!((lease.info().upstream.sequence, lease.missed()), (Some(number), 0));
        }
        // The first frame that begins after that finds a slot.
        rig.frames(2, ms(40));
        let lease = reader.try_next().unwrap();
        assert_eq!((lease.info().upstream.sequence, lease.missed()), (Some(22), 18));
        assert_eq!((rig.ring.dropped(), *rig.peer.most_waiting.borrow()), (18, 1));
    }

    /// The policy promises every frame, so the stream has to wait for the slowest viewer.
    #[test]
    fn keep_all_without_a_rate_loses_nothing() {
        let mut rig = Rig::new(4, Policy::KeepAll, config(None));
        let (ring, clock) = (rig.ring, rig.clock);
        let got = rig.sim.spawn(async move {
            let mut reader = ring.subscribe(Follow::Ordered).unwrap();
            let mut got = Vec::new();
            while got.len() < 100 {
                let lease = reader.next().await.unwrap();
                assert_eq!(lease.missed(), 0);
                got.push(lease.info().upstream.sequence.unwrap());
                drop(lease);
                clock.sleep(ms(100)).await;
            }
            got
        });
        rig.sim.run();
        rig.frames(100, ms(40));
        rig.sim.advance(secs(10));
        assert_eq!(got.take(), Some((1..=100).collect()));
        assert_eq!(rig.ring.dropped(), 0);
    }

    /// With a rate, frames are passed over anyway: those that come while the ring is full are, too.
    #[test]
    fn keep_all_with_a_rate_stays_fresh() {
        let mut rig = Rig::new(4, Policy::KeepAll, config(Some("10")));
        let (ring, clock, peer) = (rig.ring, rig.clock, rig.peer.clone());
        let got = rig.sim.spawn(async move {
            let mut reader = ring.subscribe(Follow::Ordered).unwrap();
            let mut got = Vec::new();
            while got.len() < 40 {
                let lease = reader.next().await.unwrap();
                assert_eq!(lease.missed(), 0);
                got.push(peer.newest() - lease.info().upstream.sequence.unwrap());
                drop(lease);
                clock.sleep(ms(250)).await; // slower than the rate
            }
            got
        });
        rig.sim.run();
        rig.frames(300, ms(40));
        let behind = got.take().expect("all have come");
        // What waits in the ring is older by what this viewer takes for it, and no more.
        assert!(behind.iter().all(|behind| *behind <= 4 * 7), "{behind:?}");
        assert_eq!((rig.ring.dropped(), *rig.peer.most_waiting.borrow()), (0, 1));
    }
}

mod demand {
    use super::*;

    #[test]
    fn held_frame_is_not_for_those_who_come_later() {
        let mut rig = Rig::with_rate(Some("1"));
        let reader = rig.subscribe();
        rig.frames(5, ms(40));
        drop(reader);
        rig.sim.run();
        assert_eq!(rig.status.state(), SourceState::Idle);
        let mut reader = rig.subscribe();
        rig.sim.advance(secs(5));
        assert!(reader.try_latest().is_err());
    }
}
