//! The capture loop, in time that moves only when a test says so.
#![cfg(not(loom))]

/// Shared with the tests of the server.
#[path = "../../camwire-server/tests/harness"]
#[allow(dead_code, unreachable_pub)]
mod harness {
    pub mod camera;
    pub mod time;
}

use std::time::Duration;

use camwire_capture::{
    CaptureConfig, Follow, FrameRing, FrameSlot, Policy, ReaderSlot, SetError, Settings,
    SourceState, SourceStatus, capture_loop, capture_loop_with_settings,
};
use camwire_frame::{Clock, FrameRate, Instant, Quality, Resolution, Setting, SettingName};
use harness::camera::{Call, Camera, Obedience, Outcome, picture};
use harness::time::{Sim, Spawned, VirtualClock};

const SLOT_BYTES: usize = 256;
const START: Instant = Instant::from_micros(1_000_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A picture of 64 bytes every so many milliseconds.
fn every(millis: u64) -> Outcome {
    Outcome::Picture(ms(millis), 64)
}

fn failure(text: &str) -> Outcome {
    Outcome::Failure(Duration::ZERO, text.into())
}

/// A capture loop at work.
struct Rig {
    clock: &'static VirtualClock,
    ring: &'static FrameRing<'static>,
    status: &'static SourceStatus,
    settings: &'static Settings,
    camera: Camera,
    sim: Sim<'static>,
    work: Spawned<()>,
}

impl Rig {
    fn new(slots: usize, policy: Policy, rest: Outcome, config: CaptureConfig) -> Self {
        let fresh = |n| (0..n).map(|_| FrameSlot::new()).collect::<Vec<_>>();
        let ring = FrameRing::new(
            fresh(slots).leak(),
            (0..8).map(|_| ReaderSlot::new()).collect::<Vec<_>>().leak(),
            vec![0; slots * SLOT_BYTES + 63].leak(),
            policy,
        );
        let ring: &'static FrameRing<'static> = Box::leak(Box::new(ring.unwrap()));
        let status: &'static SourceStatus = Box::leak(Box::new(SourceStatus::new("plan")));
        let clock: &'static VirtualClock = Box::leak(Box::new(VirtualClock::new(START, None)));
        let camera = Camera::new(clock, rest);
        let settings: &'static Settings = Box::leak(Box::new(Settings::new()));
        let mut sim = Sim::new(clock);
        let mut source = camera.clone();
        let work = sim.spawn(async move {
            let mut publisher = ring.publisher().unwrap();
            let publisher = &mut publisher;
            let source = &mut source;
            capture_loop_with_settings(publisher, source, clock, &config, status, settings).await;
        });
        sim.run();
        Self { clock, ring, status, settings, camera, sim, work }
    }

    fn live(slots: usize, rest: Outcome) -> Self {
        Self::new(slots, Policy::DropOldest, rest, CaptureConfig::default())
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn error(&self) -> String {
        let mut text = String::new();
        self.status.write_error(&mut text).unwrap();
        text
    }

    /// When captures began, in milliseconds from the first.
    fn captures(&self) -> Vec<u64> {
        let times = self.camera.times_of(Call::Capture);
        times.iter().map(|at| at.saturating_since(times[0]).as_millis() as u64).collect()
    }

    /// Pauses and resumptions only.
    fn changes(&self) -> Vec<Call> {
        let calls = self.camera.calls().into_iter().map(|(_, call)| call);
        calls.filter(|call| matches!(call, Call::Pause | Call::Resume)).collect()
    }
}

/// A lease that is held until it is asked back, and when that was.
fn hold_until_revoked(rig: &mut Rig, follow: Follow) -> Spawned<(Instant, u64)> {
    let (ring, clock) = (rig.ring, rig.clock);
    rig.sim.spawn(async move {
        let mut reader = ring.subscribe(follow).unwrap();
        let mut lease = reader.next().await.unwrap();
        lease.revoked().await;
        (clock.now(), lease.sequence())
    })
}

mod demand {
    use super::*;

    #[test]
    fn nothing_is_captured_without_a_reader() {
        let mut rig = Rig::live(4, every(10));
        rig.sim.advance(Duration::from_secs(3600));
        assert_eq!(rig.camera.calls(), []);
        assert_eq!(rig.status.state(), SourceState::Idle);
        assert_eq!(rig.status.quiet(rig.now()), Duration::ZERO);
        assert!(rig.sim.polls() < 10, "it sleeps meanwhile");
    }

    #[test]
    fn each_change_of_demand_is_told_once() {
        let mut rig = Rig::live(4, every(10));
        for cycle in 1..=3 {
            let first = rig.ring.subscribe(Follow::Live).unwrap();
            rig.sim.advance(ms(55));
            let second = rig.ring.subscribe(Follow::Ordered).unwrap();
            rig.sim.advance(ms(55));
            drop(first);
            rig.sim.advance(ms(55));
            assert_eq!(rig.changes().len(), 2 * cycle - 1);
            drop(second);
            rig.sim.advance(ms(500));
        }
        assert_eq!(rig.changes(), [Call::Resume, Call::Pause].repeat(3));
        assert_eq!(rig.status.state(), SourceState::Idle);
    }

    #[test]
    fn the_end_of_demand_cancels_a_capture() {
        let mut rig = Rig::live(4, Outcome::Hang);
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(100));
        assert_eq!(rig.status.state(), SourceState::Starting);
        drop(reader);
        rig.sim.run();
        let calls: Vec<_> = rig.camera.calls().into_iter().map(|(_, call)| call).collect();
        assert_eq!(calls, [Call::Resume, Call::Capture, Call::Cancelled, Call::Pause]);
        assert_eq!((rig.status.state(), rig.status.errors()), (SourceState::Idle, 0));
    }

    #[test]
    fn the_end_of_demand_ends_every_other_wait() {
        // Between two paced pictures.
        let mut paced = CaptureConfig::default();
        paced.rate = FrameRate::from_millihertz(100);
        let mut rig = Rig::new(4, Policy::DropOldest, every(1), paced);
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(100));
        drop(reader);
        rig.sim.run();
        assert_eq!(rig.changes(), [Call::Resume, Call::Pause]);

        // Between two attempts.
        let mut rig = Rig::live(4, failure("broken"));
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(Duration::from_secs(20));
        drop(reader);
        rig.sim.run();
        assert_eq!(rig.changes(), [Call::Resume, Call::Pause]);

        // Before the slowest reader of a ring that keeps all.
        let mut rig = Rig::new(2, Policy::KeepAll, every(1), CaptureConfig::default());
        let reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        rig.sim.advance(ms(500));
        drop(reader);
        rig.sim.run();
        assert_eq!(rig.changes(), [Call::Resume, Call::Pause]);
    }

    #[test]
    fn a_reader_that_leaves_during_the_resumption_starts_no_capture() {
        let mut rig = Rig::live(4, every(10));
        rig.camera.resume_takes(ms(300));
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(100));
        drop(reader);
        rig.sim.advance(ms(1000));
        let calls: Vec<_> = rig.camera.calls().into_iter().map(|(_, call)| call).collect();
        assert_eq!(calls, [Call::Resume, Call::Pause]);
    }

    #[test]
    fn a_dropped_loop_leaves_the_ring_usable() {
        let mut rig = Rig::live(4, every(10));
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        rig.sim.advance(ms(25));
        assert_eq!(reader.try_next().unwrap().sequence(), 1);
        let Rig { work, mut sim, camera, clock, ring, status, settings: _ } = rig;
        sim.abort(work);
        assert_eq!(camera.times_of(Call::Cancelled).len(), 1);
        let mut source = camera.clone();
        sim.spawn(async move {
            let mut publisher = ring.publisher().unwrap();
            let config = CaptureConfig::default();
            capture_loop(&mut publisher, &mut source, clock, &config, status).await;
        });
        sim.run();
        assert!(reader.has_ended(), "another loop begins another stream");
        let mut reader = ring.subscribe(Follow::Ordered).unwrap();
        sim.advance(ms(15));
        let lease = reader.try_next().unwrap();
        assert_eq!((lease.sequence(), lease.missed()), (3, 0));
    }
}

mod freshness {
    use super::*;

    #[test]
    fn a_picture_from_before_demand_is_never_published() {
        let mut rig = Rig::live(4, Outcome::Hang);
        let just_before = Instant::from_micros(START.as_micros() - 1);
        rig.camera.first([
            Outcome::Dated(ms(5), Instant::ZERO),
            Outcome::Dated(ms(5), just_before),
            Outcome::Dated(ms(5), START),
            every(5),
        ]);
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        rig.sim.advance(ms(12));
        assert!(reader.try_latest().is_err());
        assert_eq!((rig.status.captured(), rig.status.state()), (0, SourceState::Starting));
        rig.sim.advance(ms(10));
        let lease = reader.try_next().unwrap();
        assert_eq!((lease.info().captured_at, lease.sequence(), lease.missed()), (START, 1, 0));
        assert_eq!((rig.status.captured(), rig.status.errors()), (2, 0));
    }

    #[test]
    fn the_next_reader_waits_for_a_fresh_picture() {
        let mut rig = Rig::live(4, every(10));
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(100));
        drop(reader);
        rig.sim.advance(Duration::from_secs(3600));
        let asked_at = rig.now();
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        reader.rewind();
        assert!(reader.try_next().is_err() && reader.try_latest().is_err());
        rig.sim.advance(ms(15));
        let lease = reader.try_next().unwrap();
        assert!(lease.info().captured_at >= asked_at);
        assert_eq!(lease.missed(), 0, "what was before demand is no loss");
    }

    /// The picture of a moment ago is as old for this reader as one of an hour ago: the relay
    /// that takes long to disconnect must not hand it out.
    #[test]
    fn a_reader_that_comes_during_the_pause_gets_no_old_picture() {
        let mut rig = Rig::live(4, every(10));
        rig.camera.pause_takes(Duration::from_secs(2));
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(100));
        drop(reader);
        rig.sim.advance(ms(1900));
        let asked_at = rig.now();
        let mut reader = rig.ring.subscribe(Follow::Live).unwrap();
        if let Ok(lease) = reader.try_latest() {
            let age = asked_at.saturating_since(lease.info().captured_at);
            panic!("got a picture that is {age:?} old");
        }
        rig.sim.advance(ms(150));
        assert!(reader.try_latest().unwrap().info().captured_at >= asked_at);
    }

    #[test]
    fn pictures_arrive_as_they_were_drawn() {
        let mut rig = Rig::live(4, every(10));
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        for number in 1..=50 {
            rig.sim.advance(ms(10));
            let lease = reader.try_next().unwrap();
            assert_eq!(lease[..], picture(64, number));
            assert_eq!((lease.sequence(), lease.missed()), (number, 0));
            assert_eq!(lease.info().captured_at, rig.clock.now());
        }
    }
}

mod pace {
    use super::*;

    fn paced(fps: u16) -> CaptureConfig {
        let mut config = CaptureConfig::default();
        config.rate = FrameRate::per_second(fps);
        config
    }

    #[test]
    fn a_fast_camera_is_held_to_the_rate() {
        let mut rig = Rig::new(4, Policy::DropOldest, every(1), paced(10));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(Duration::from_secs(10));
        assert_eq!(rig.captures(), (0..=100).map(|n| n * 100).collect::<Vec<_>>());
        assert_eq!(rig.ring.dropped(), 0);
    }

    #[test]
    fn a_camera_that_is_late_now_and_then_keeps_the_average() {
        let mut rig = Rig::new(4, Policy::DropOldest, every(1), paced(10));
        rig.camera.first((0..100).map(|n| every(if n % 10 == 9 { 130 } else { 20 })));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(9999));
        assert_eq!(rig.captures().len(), 100);
    }

    #[test]
    fn a_slow_camera_gives_what_it_can() {
        let mut rig = Rig::new(4, Policy::DropOldest, every(250), paced(10));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(9999));
        assert_eq!(rig.status.captured(), 39);
    }

    #[test]
    fn without_a_rate_the_camera_sets_the_pace() {
        let mut rig = Rig::live(4, every(7));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(700));
        assert_eq!(rig.status.captured(), 100);
    }
}

mod failures {
    use super::*;

    fn backoff(min: u64, max: u64) -> CaptureConfig {
        let mut config = CaptureConfig::default();
        (config.backoff_min, config.backoff_max) = (ms(min), ms(max));
        config
    }

    #[test]
    fn the_first_is_retried_at_once_then_the_waits_grow() {
        let mut rig = Rig::new(4, Policy::DropOldest, failure("no sensor"), backoff(100, 1000));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(4600));
        assert_eq!(rig.captures(), [0, 0, 100, 300, 700, 1500, 2500, 3500, 4500]);
        assert_eq!(rig.status.errors(), 9);
        assert_eq!((rig.status.state(), rig.error()), (SourceState::Failed, "no sensor".into()));
        rig.sim.advance(Duration::from_secs(100_000));
        let captures = rig.captures();
        let [.., before, last] = captures[..] else { panic!() };
        assert_eq!(last - before, 1000, "also after very many");
    }

    #[test]
    fn a_success_resets_the_waits() {
        let mut rig = Rig::new(4, Policy::DropOldest, Outcome::Hang, backoff(100, 1000));
        let bad = || failure("no");
        rig.camera.first([bad(), bad(), bad(), every(50), bad(), bad(), bad()]);
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(2000));
        assert_eq!(rig.captures(), [0, 0, 100, 300, 350, 350, 450, 650]);
    }

    #[test]
    fn new_demand_does_not_wait_for_old_failures() {
        let mut rig = Rig::new(4, Policy::DropOldest, failure("no"), backoff(100, 60_000));
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(Duration::from_secs(300));
        drop(reader);
        rig.sim.run();
        rig.camera.then_always(every(10));
        let mut reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(10));
        assert!(reader.try_latest().is_ok());
    }

    #[test]
    fn a_capture_has_its_time() {
        let mut config = backoff(100, 1000);
        config.timeout = ms(2000);
        let mut rig = Rig::new(4, Policy::DropOldest, Outcome::Hang, config);
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(1999));
        assert_eq!((rig.status.state(), rig.status.errors()), (SourceState::Starting, 0));
        rig.sim.advance(ms(1));
        assert_eq!((rig.status.state(), rig.status.errors()), (SourceState::Failed, 1));
        assert_eq!(rig.error(), "no frame within 2.000 s");
        rig.sim.advance(ms(8000));
        assert_eq!(rig.captures(), [0, 2000, 4100, 6300, 8700]);
        assert_eq!(rig.camera.times_of(Call::Cancelled).len(), 4);
    }

    #[test]
    fn each_kind_says_what_was_wrong() {
        for (outcome, text) in [
            (Outcome::TooLarge(5000), "a frame needs 5000 bytes, a slot has 256"),
            (Outcome::Broken, "the picture is broken"),
            (Outcome::Lie, "the item is longer than its slot"),
            (failure("i2c: no acknowledgement"), "i2c: no acknowledgement"),
        ] {
            let mut rig = Rig::live(4, Outcome::Hang);
            rig.camera.first([outcome]);
            let mut reader = rig.ring.subscribe(Follow::Live).unwrap();
            rig.sim.run();
            assert_eq!((rig.status.state(), rig.status.errors()), (SourceState::Failed, 1));
            assert_eq!(rig.error(), text);
            assert!(reader.try_latest().is_err());
        }
    }

    #[test]
    fn failures_leave_no_hole_in_the_numbers() {
        let mut rig = Rig::live(2, Outcome::Hang);
        let bad = Outcome::Failure(ms(1), "no".into());
        rig.camera.first([every(1), bad, Outcome::TooLarge(9), every(1), Outcome::Lie, every(1)]);
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        let mut numbers = Vec::new();
        for _ in 0..1000 {
            rig.sim.advance(ms(1));
            numbers.extend(reader.try_next().map(|lease| (lease.sequence(), lease.missed())));
        }
        assert_eq!(numbers, [(1, 0), (2, 0), (3, 0)]);
        assert_eq!(rig.ring.dropped(), 0);
    }
}

mod the_end {
    use super::*;

    #[test]
    fn readers_are_told() {
        let mut rig = Rig::live(4, Outcome::End);
        rig.camera.first([every(10), every(10)]);
        let ring = rig.ring;
        let [next, latest] = [Follow::Ordered, Follow::Live].map(|follow| {
            rig.sim.spawn(async move {
                let mut reader = ring.subscribe(follow).unwrap();
                let mut had = 0;
                loop {
                    let lease = match follow {
                        Follow::Ordered => reader.next().await,
                        Follow::Live => reader.latest().await,
                    };
                    if lease.is_none() {
                        return had;
                    }
                    had += 1;
                }
            })
        });
        rig.sim.advance(ms(50));
        assert!(rig.work.is_done());
        assert_eq!((next.take(), latest.take()), (Some(2), Some(2)));
        assert_eq!(rig.status.state(), SourceState::Ended);
        let mut late = ring.subscribe(Follow::Ordered).unwrap();
        late.rewind();
        assert!(late.try_next().is_err(), "nothing old is left for who comes now");
    }

    /// A slow reader of a ring that keeps all has not yet had the last pictures when the source
    /// ends. Nothing is lost, so it still gets them.
    #[test]
    fn what_a_keep_all_ring_holds_is_still_delivered() {
        let mut rig = Rig::new(8, Policy::KeepAll, Outcome::End, CaptureConfig::default());
        rig.camera.first([every(10), every(10), every(10)]);
        let (ring, clock) = (rig.ring, rig.clock);
        let slow = rig.sim.spawn(async move {
            let mut reader = ring.subscribe(Follow::Ordered).unwrap();
            let mut numbers = Vec::new();
            while let Some(lease) = reader.next().await {
                numbers.push(lease.sequence());
                clock.sleep(ms(200)).await;
            }
            numbers
        });
        rig.sim.advance(Duration::from_secs(5));
        assert_eq!(slow.take(), Some(vec![1, 2, 3]));
    }
}

mod status {
    use super::*;

    #[test]
    fn it_goes_through_its_states() {
        use SourceState::{Ended, Failed, Idle, Starting, Streaming};
        let mut rig = Rig::live(4, every(10));
        rig.camera.first([every(10), Outcome::Failure(ms(10), "a".into()), every(10)]);
        assert_eq!(rig.status.state(), Idle);
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        for state in [Starting, Streaming, Failed, Streaming] {
            rig.sim.advance(if state == Starting { ms(5) } else { ms(10) });
            assert_eq!(rig.status.state(), state, "{}", state.as_str());
        }
        assert_eq!((rig.error().as_str(), rig.status.errors()), ("a", 1), "the last there was");
        assert_eq!(rig.status.size(), (640, 480));
        drop(reader);
        rig.sim.run();
        assert_eq!(rig.status.state(), Idle);
        rig.camera.then_always(Outcome::End);
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.run();
        assert_eq!(rig.status.state(), Ended);
    }

    #[test]
    fn quiet_counts_from_the_demand_or_the_last_picture() {
        let mut rig = Rig::live(4, Outcome::Hang);
        rig.sim.advance(Duration::from_secs(100));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(3000));
        assert_eq!(rig.status.quiet(rig.now()), ms(3000));
        rig.camera.then_always(every(10));
        rig.sim.advance(ms(7010)); // The hanging capture is given up after 10 s.
        assert_eq!(rig.status.quiet(rig.now()), ms(0));
        rig.camera.then_always(failure("unplugged"));
        rig.sim.advance(ms(4010));
        let quiet = rig.status.quiet(rig.now());
        assert!((ms(4000)..=ms(4010)).contains(&quiet), "a failure is no picture: {quiet:?}");
    }

    #[test]
    fn the_measured_rate() {
        let mut rig = Rig::live(4, every(40));
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(40));
        assert_eq!(rig.status.millihertz(rig.now()), 0, "of one picture there is no rate");
        rig.sim.advance(ms(40));
        assert_eq!(rig.status.millihertz(rig.now()), 25_000);
        rig.sim.advance(Duration::from_secs(10));
        assert_eq!(rig.status.millihertz(rig.now()), 25_000);
        rig.camera.then_always(every(100));
        rig.sim.advance(Duration::from_secs(10));
        assert!((9_950..=10_050).contains(&rig.status.millihertz(rig.now())));
        rig.camera.then_always(failure("unplugged"));
        rig.sim.advance(ms(200));
        assert_eq!(rig.status.millihertz(rig.now()), 0);
        drop(reader);
        rig.sim.run();
        assert_eq!(rig.status.millihertz(rig.now()), 0);
        // It is measured anew, not taken up where it was.
        rig.camera.then_always(every(100));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(100));
        assert_eq!(
            (rig.status.state(), rig.status.millihertz(rig.now())),
            (SourceState::Streaming, 0)
        );
        rig.sim.advance(ms(100));
        assert_eq!(rig.status.millihertz(rig.now()), 10_000);
    }
}

mod drop_oldest {
    use super::*;

    fn config(fps: Option<u16>) -> CaptureConfig {
        let mut config = CaptureConfig::default();
        config.rate = fps.and_then(FrameRate::per_second);
        config.lease_grace = ms(1000);
        config
    }

    /// Both slots are leased: pictures are dropped and counted until the first lease's grace is
    /// over, then capture goes on, though the second lease is still out.
    #[test]
    fn the_longest_lease_is_asked_back_and_capture_goes_on() {
        let mut rig = Rig::new(2, Policy::DropOldest, every(10), config(Some(10)));
        let first = hold_until_revoked(&mut rig, Follow::Live); // at 10 ms
        rig.sim.advance(ms(50));
        let second = hold_until_revoked(&mut rig, Follow::Live);
        let mut watcher = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(50)); // Shares the slot of the first.
        assert_eq!(watcher.try_latest().map(|lease| lease.sequence()), Ok(1));
        rig.sim.advance(ms(50)); // The second picture, at 110 ms.
        let third = hold_until_revoked(&mut rig, Follow::Live);
        rig.sim.run();
        assert_eq!((rig.ring.dropped(), rig.status.captured()), (0, 2));

        rig.sim.advance(ms(800));
        assert_eq!((rig.ring.dropped(), rig.status.captured()), (8, 2));
        assert!(!first.is_done() && !second.is_done() && !third.is_done());
        rig.sim.advance(ms(250));
        let (first_at, first) = first.take().expect("asked back");
        let (second_at, second) = second.take().expect("asked back with it: they share a slot");
        assert!(!third.is_done(), "the newest is not asked back while there is an older one");
        assert_eq!((first, second, first_at), (1, 1, second_at));
        let held = first_at.saturating_since(START);
        assert!((ms(1000)..=ms(1200)).contains(&held), "{held:?}");

        // Numbers were used for what was dropped, so the loss is told exactly.
        rig.sim.advance(ms(150));
        let numbers = rig.status.captured() + rig.ring.dropped();
        let lease = watcher.try_latest().expect("capture goes on");
        assert_eq!(lease.sequence(), u64::from(numbers));
        assert_eq!(lease.missed(), lease.sequence() - 2);
        drop(lease);
        // Its picture was the newest until then, so the grace of its lease begins only now.
        rig.sim.advance(ms(900));
        assert!(!third.is_done());
        rig.sim.advance(ms(200));
        assert_eq!(third.take().map(|(_, sequence)| sequence), Some(2));
    }

    #[test]
    fn an_unpaced_camera_counts_ten_drops_a_second() {
        let mut rig = Rig::new(2, Policy::DropOldest, every(10), config(None));
        let ring = rig.ring;
        let mut first = ring.subscribe(Follow::Live).unwrap();
        let mut second = ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(10));
        let first = first.try_latest().unwrap();
        rig.sim.advance(ms(10));
        let second = second.try_latest().unwrap();
        let before = rig.captures().len();
        rig.sim.advance(Duration::from_secs(10));
        assert!((95..=105).contains(&rig.ring.dropped()), "{}", rig.ring.dropped());
        assert!(rig.captures().len() - before <= 1, "nothing is captured for nowhere");
        // As soon as a slot is free, not only when its time has come.
        rig.sim.advance(ms(30));
        drop(first);
        rig.sim.advance(ms(10));
        assert_eq!(rig.status.captured(), 3);
        drop(second);
    }

    #[test]
    fn with_two_more_slots_than_leases_nothing_is_dropped() {
        let mut rig = Rig::new(5, Policy::DropOldest, every(10), config(None));
        let stalled: Vec<_> = (0..3)
            .map(|_| {
                let stalled = hold_until_revoked(&mut rig, Follow::Live);
                rig.sim.advance(ms(10));
                stalled
            })
            .collect();
        rig.sim.advance(Duration::from_secs(10));
        assert!(stalled.iter().all(|lease| !lease.is_done()));
        assert_eq!((rig.ring.dropped(), rig.status.captured()), (0, 1003));
    }

    /// The grace is of the lease, whatever the camera did before. After seconds without a
    /// picture a viewer is being sent the last one again when the next one comes.
    #[test]
    fn a_fresh_lease_has_its_whole_grace_after_a_long_wait_for_the_camera() {
        let mut rig = Rig::new(2, Policy::DropOldest, every(9000), config(None));
        rig.camera.first([every(10), every(9000)]);
        let (ring, clock) = (rig.ring, rig.clock);
        let viewer = rig.sim.spawn(async move {
            let mut reader = ring.subscribe(Follow::Live).unwrap();
            drop(reader.latest().await);
            clock.sleep(ms(8950)).await;
            let mut again = reader.repeat().unwrap();
            let since = clock.now();
            again.revoked().await;
            clock.now().saturating_since(since)
        });
        rig.sim.advance(Duration::from_secs(20));
        let grace = viewer.take().expect("asked back");
        assert!(grace >= ms(1000), "asked back after {grace:?}");
    }
}

mod drop_newest {
    use super::*;

    #[test]
    fn the_beginning_is_kept() {
        let mut rig = Rig::new(3, Policy::DropNewest, every(10), {
            let mut config = CaptureConfig::default();
            config.rate = FrameRate::per_second(10);
            config
        });
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        rig.sim.advance(ms(1950)); // Twenty are due, three fit.
        assert_eq!((rig.status.captured(), rig.ring.dropped()), (3, 17));
        for number in 1..=3 {
            let lease = reader.try_next().unwrap();
            assert_eq!((lease.sequence(), lease.missed()), (number, 0));
            assert_eq!(lease[..], picture(64, number));
        }
        assert!(reader.try_next().is_err());
        rig.sim.advance(ms(100));
        let lease = reader.try_next().unwrap();
        assert_eq!((lease.sequence(), lease.missed()), (21, 17));
        assert_eq!(lease[..], picture(64, 4), "what was dropped was never captured");
    }

    #[test]
    fn a_stalled_reader_does_not_stop_the_others() {
        let mut rig = Rig::new(3, Policy::DropNewest, every(10), CaptureConfig::default());
        let _stalled = rig.ring.subscribe(Follow::Ordered).unwrap();
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        for number in 1..=100 {
            rig.sim.advance(ms(10));
            assert_eq!(reader.try_next().unwrap().sequence(), number);
        }
        assert_eq!(rig.ring.dropped(), 0);
    }
}

mod keep_all {
    use super::*;

    #[test]
    fn the_publisher_waits_for_the_slowest_ordered_reader() {
        let mut rig = Rig::new(4, Policy::KeepAll, every(10), CaptureConfig::default());
        let mut fast = rig.ring.subscribe(Follow::Ordered).unwrap();
        let mut slow = rig.ring.subscribe(Follow::Ordered).unwrap();
        let _live = rig.ring.subscribe(Follow::Live).unwrap(); // takes nothing, holds nobody
        let (mut from_fast, mut from_slow) = (Vec::new(), Vec::new());
        for step in 1..=1000 {
            rig.sim.advance(ms(10));
            from_fast.extend(fast.try_next().map(|l| (l.sequence(), l.missed())));
            if step % 7 == 0 {
                from_slow.extend(slow.try_next().map(|l| (l.sequence(), l.missed())));
            }
            let ahead = from_fast.len() - from_slow.len();
            assert!(ahead <= 4, "{ahead} pictures do not fit the ring");
        }
        let all = |n| (1..=n).map(|sequence| (sequence, 0)).collect::<Vec<_>>();
        assert_eq!(from_slow, all(142));
        assert_eq!(from_fast, all(from_fast.len() as u64));
        assert_eq!((rig.ring.dropped(), rig.status.errors()), (0, 0));
        drop(slow);
        let before = rig.status.captured();
        for _ in 0..100 {
            rig.sim.advance(ms(10));
            let _ = fast.try_next();
        }
        assert!(rig.status.captured() >= before + 99, "the slow one has left");
    }

    #[test]
    fn live_readers_hold_nobody_back() {
        let mut rig = Rig::new(4, Policy::KeepAll, every(10), CaptureConfig::default());
        let mut live = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(Duration::from_secs(1));
        assert_eq!(rig.status.captured(), 100);
        assert_eq!(live.try_latest().unwrap().sequence(), 100);
        rig.sim.advance(Duration::from_secs(1));
        let lease = live.try_latest().unwrap();
        assert_eq!((lease.sequence(), lease.missed()), (200, 99));
    }

    /// The time that a capture may take begins with the capture, not while the ring is full.
    #[test]
    fn the_wait_for_a_slot_does_not_count_as_capture_time() {
        let mut rig = Rig::new(2, Policy::KeepAll, every(10), CaptureConfig::default());
        let mut reader = rig.ring.subscribe(Follow::Ordered).unwrap();
        let mut numbers = Vec::new();
        for _ in 0..6 {
            rig.sim.advance(Duration::from_secs(11));
            numbers.extend(reader.try_next().map(|lease| lease.sequence()));
        }
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
        assert_eq!((rig.status.errors(), rig.error()), (0, String::new()));
        assert_eq!(rig.camera.times_of(Call::Cancelled), []);
    }

    /// `mode=live` never holds anyone back, also when slots are scarce and the live viewer is the
    /// one that keeps the last spare slot.
    #[test]
    fn a_live_reader_that_keeps_its_lease_is_asked_for_it() {
        let mut rig = Rig::new(2, Policy::KeepAll, every(10), CaptureConfig::default());
        let stalled = hold_until_revoked(&mut rig, Follow::Live);
        rig.sim.advance(ms(15));
        let mut ordered = rig.ring.subscribe(Follow::Ordered).unwrap();
        let mut numbers = Vec::new();
        for _ in 0..500 {
            rig.sim.advance(ms(10));
            numbers.extend(ordered.try_next().map(|lease| lease.sequence()));
        }
        assert!(stalled.is_done(), "the ordered reader got {numbers:?} in 5 s");
        assert!(numbers.len() > 300);
    }
}

mod coming_and_going {
    use super::*;

    /// How many pictures are captured in ten seconds for those who each want one, one after the
    /// other.
    fn captured(rate: &str) -> u32 {
        let mut config = CaptureConfig::default();
        config.rate = Some(rate.parse().unwrap());
        let mut rig = Rig::new(4, Policy::DropOldest, every(1), config);
        for _ in 0..10_000 {
            let mut reader = rig.ring.subscribe(Follow::Live).unwrap();
            while reader.try_latest().is_err() && rig.now() < START + Duration::from_secs(10) {
                rig.sim.advance(ms(1));
            }
            drop(reader);
            rig.sim.run();
        }
        rig.status.captured()
    }

    #[test]
    fn gets_nobody_more_pictures_than_the_rate() {
        assert!((99..=101).contains(&captured("10")));
    }

    #[test]
    fn waits_for_a_second_at_most() {
        assert!((9..=11).contains(&captured("0.001")));
    }
}

mod settings {
    use super::*;

    const FLIP: Setting = Setting::VFlip(true);

    /// Somebody's wish, on its way.
    fn wish(rig: &mut Rig, setting: Setting) -> Spawned<Result<(), SetError>> {
        let settings = rig.settings;
        let wish = rig.sim.spawn(async move { settings.set(setting).await });
        rig.sim.run();
        wish
    }

    #[test]
    fn what_the_source_has_is_shown_from_the_beginning() {
        let rig = Rig::live(4, every(10));
        let shown = |name| rig.settings.get(name);
        assert_eq!(shown(SettingName::Resolution), Some(Setting::Resolution(Resolution::QQVGA)));
        assert_eq!(shown(SettingName::VFlip), Some(Setting::VFlip(false)));
        assert_eq!(shown(SettingName::Gain), None);
        assert_eq!(Settings::new().get(SettingName::VFlip), None);
    }

    /// One that starts when it is wanted, or is started anew when it has failed.
    #[test]
    fn what_a_source_has_to_show_later_is_shown_with_the_first_picture() {
        let mut rig = Rig::live(4, every(10));
        let shown = |rig: &Rig| rig.settings.get(SettingName::VFlip);
        rig.camera.shy();
        let done = wish(&mut rig, Setting::Quality(Quality::MAX));
        assert_eq!((done.take(), shown(&rig)), (Some(Err(SetError::Unsupported)), None));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(15));
        assert_eq!(shown(&rig), Some(Setting::VFlip(false)));

        rig.camera.then_always(failure("no route"));
        rig.sim.advance(ms(50));
        rig.camera.shy();
        let _ = wish(&mut rig, Setting::Quality(Quality::MAX));
        assert_eq!(shown(&rig), None, "else this tests nothing");
        rig.camera.then_always(every(10));
        rig.sim.advance(ms(500));
        assert_eq!(shown(&rig), Some(Setting::VFlip(false)));
    }

    #[test]
    fn while_nobody_watches_it_is_done_at_once_and_nothing_captured() {
        let mut rig = Rig::live(4, every(10));
        let wish = wish(&mut rig, FLIP);
        assert_eq!(wish.take(), Some(Ok(())));
        assert_eq!(rig.settings.get(SettingName::VFlip), Some(FLIP));
        assert_eq!(rig.camera.calls(), [(rig.now(), Call::Set(FLIP))]);
    }

    #[test]
    fn while_pictures_come_it_waits_for_the_end_of_one() {
        let mut rig = Rig::live(4, every(10));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(55));
        let wish = wish(&mut rig, FLIP);
        assert_eq!(wish.take(), None);
        rig.sim.advance(ms(5));
        assert_eq!(wish.take(), Some(Ok(())));
        rig.sim.advance(ms(100));
        assert_eq!((rig.status.captured(), rig.camera.times_of(Call::Cancelled).len()), (16, 0));
    }

    /// At one picture in 1000 seconds, nobody wants to wait for the next.
    #[test]
    fn between_two_pictures_of_a_slow_rate_it_is_done_at_once() {
        let mut config = CaptureConfig::default();
        config.rate = FrameRate::from_millihertz(1);
        let mut rig = Rig::new(4, Policy::DropOldest, every(10), config);
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(Duration::from_secs(100));
        assert_eq!(wish(&mut rig, FLIP).take(), Some(Ok(())));
        rig.sim.advance(Duration::from_secs(901));
        assert_eq!(rig.captures(), [0, 1_000_000]);
    }

    #[test]
    fn a_failing_source_obeys_between_its_attempts() {
        let mut rig = Rig::live(4, failure("no sync"));
        let _reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(Duration::from_secs(60));
        assert_eq!(wish(&mut rig, FLIP).take(), Some(Ok(())));
    }

    #[test]
    fn refusals_change_nothing() {
        let mut rig = Rig::live(4, every(10));
        let quality = SettingName::Quality.with_number(1).unwrap();
        let gain = SettingName::Gain.with_number(1).unwrap();
        assert_eq!(wish(&mut rig, gain).take(), Some(Err(SetError::Unsupported)));
        rig.camera.obeys(Obedience::Failure);
        assert_eq!(wish(&mut rig, quality).take(), Some(Err(SetError::Failed)));
        assert_eq!(rig.settings.get(SettingName::Quality).map(Setting::number), Some(12));
        // A slot has 256 bytes; the source is not even asked.
        let before = rig.camera.calls().len();
        let large = wish(&mut rig, Setting::Resolution(Resolution::R96X96)).take();
        assert_eq!(large, Some(Err(SetError::TooLarge { needed: 96 * 96 / 5 })));
        assert_eq!(rig.camera.calls().len(), before);
    }

    #[test]
    fn a_driver_that_hangs_is_given_up_after_the_time_of_a_capture() {
        let mut rig = Rig::live(4, every(10));
        rig.camera.obeys(Obedience::Hang);
        let wish = wish(&mut rig, FLIP);
        rig.sim.advance(CaptureConfig::default().timeout);
        assert_eq!(wish.take(), Some(Err(SetError::Failed)));
        let mut reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(15));
        assert!(reader.try_latest().is_ok());
    }

    /// Requests wait for their turn.
    #[test]
    fn requests_are_applied_one_after_the_other() {
        let mut rig = Rig::live(4, every(10));
        rig.camera.obeys(Obedience::After(ms(50)));
        let mut requests: Vec<_> =
            (0..8).map(|n| wish(&mut rig, Setting::VFlip(n % 2 == 0))).collect();
        assert_eq!(wish(&mut rig, FLIP).take(), Some(Err(SetError::Busy)), "eight wait already");
        for _ in 0..8 {
            rig.sim.advance(ms(50));
            let before = requests.len();
            requests.retain(|request| match request.take() {
                None => true,
                done => {
                    assert_eq!(done, Some(Ok(())));
                    false
                }
            });
            assert_eq!(requests.len(), before - 1);
        }
        assert!(rig.settings.get(SettingName::VFlip).is_some());
    }

    #[test]
    fn watchers_learn_of_every_change() {
        let mut rig = Rig::live(4, every(10));
        let settings = rig.settings;
        let watchers = [(); 3].map(|()| {
            rig.sim.spawn(async move {
                let mut seen = settings.version();
                for expected in [true, false] {
                    seen = settings.changed(seen).await.expect("there is room");
                    let value = settings.get(SettingName::VFlip);
                    assert_eq!(value, Some(Setting::VFlip(expected)));
                }
            })
        });
        for value in [true, true, false] {
            rig.sim.run();
            assert!(watchers.iter().all(|watcher| watcher.take().is_none()));
            assert_eq!(wish(&mut rig, Setting::VFlip(value)).take(), Some(Ok(())));
        }
        rig.sim.run();
        assert!(watchers.iter().all(|watcher| watcher.take().is_some()));
    }

    /// A request that nobody waits for any more, before and after the source began to apply it.
    #[test]
    fn abandoned_requests_leave_room_for_others() {
        for taken in [false, true] {
            let mut rig = Rig::live(4, every(10));
            rig.camera.obeys(Obedience::After(ms(50)));
            let settings = rig.settings;
            let mut abandoned = Box::pin(settings.set(FLIP));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(abandoned.as_mut().poll(&mut context).is_pending());
            if taken {
                rig.sim.advance(ms(10));
            }
            drop(abandoned);
            rig.sim.run();
            let next = wish(&mut rig, FLIP);
            rig.sim.advance(ms(100));
            assert_eq!(next.take(), Some(Ok(())));
            assert_eq!(rig.settings.get(SettingName::VFlip), Some(FLIP));
        }
    }

    /// The loop's future is dropped while the source is at it.
    #[test]
    fn an_end_of_the_loop_is_an_answer() {
        let clock: &'static VirtualClock = Box::leak(Box::new(VirtualClock::new(START, None)));
        let camera = Camera::new(clock, every(10));
        camera.obeys(Obedience::Hang);
        let ring = FrameRing::leak(3, SLOT_BYTES, 2, Policy::DropOldest).unwrap();
        let (status, settings) = (SourceStatus::new("plan"), Settings::new());
        let config = CaptureConfig::default();
        let (mut publisher, mut source) = (ring.publisher().unwrap(), camera.clone());
        let mut work = Box::pin(capture_loop_with_settings(
            &mut publisher,
            &mut source,
            clock,
            &config,
            &status,
            &settings,
        ));
        let mut wish = std::pin::pin!(settings.set(FLIP));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(work.as_mut().poll(&mut context).is_pending());
        assert!(wish.as_mut().poll(&mut context).is_pending());
        assert!(work.as_mut().poll(&mut context).is_pending());
        drop(work);
        let answer = wish.as_mut().poll(&mut context);
        assert_eq!(answer, std::task::Poll::Ready(Err(SetError::Failed)));
    }

    #[test]
    fn without_a_loop_there_is_nobody_to_obey() {
        let mut rig = Rig::live(4, Outcome::End);
        let reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.run();
        // It has ended, and waits for the last reader.
        assert_eq!(wish(&mut rig, FLIP).take(), Some(Ok(())));
        drop(reader);
        rig.sim.run();
        assert!(rig.work.is_done());
        assert_eq!(wish(&mut rig, FLIP).take(), Some(Err(SetError::Closed)));
        assert_eq!(rig.settings.get(SettingName::VFlip), Some(FLIP), "the last that was known");
        let settings: &'static Settings = Box::leak(Box::new(Settings::new()));
        let early = rig.sim.spawn(async move { settings.set(FLIP).await });
        rig.sim.run();
        assert_eq!(early.take(), Some(Err(SetError::Closed)));
    }

    /// A viewer that is slow on a keep-all ring holds the camera back, not the person at its knobs.
    #[test]
    fn while_the_ring_is_full_it_is_done_at_once() {
        for policy in [Policy::KeepAll, Policy::DropOldest, Policy::DropNewest] {
            let mut rig = Rig::new(2, policy, every(10), CaptureConfig::default());
            let mut slow = rig.ring.subscribe(Follow::Ordered).unwrap();
            rig.sim.advance(ms(15));
            let _lease = slow.try_next();
            rig.sim.advance(ms(500));
            let wish = wish(&mut rig, FLIP);
            rig.sim.advance(ms(15));
            assert_eq!(wish.take(), Some(Ok(())), "{policy:?}");
        }
    }

    /// Nobody can tell beforehand how many bytes a picture takes at a quality.
    #[test]
    fn what_makes_pictures_too_large_is_undone() {
        let mut rig = Rig::live(4, every(10));
        let quality = |number| SettingName::Quality.with_number(number).unwrap();
        for setting in [quality(5), FLIP, quality(0)] {
            assert_eq!(wish(&mut rig, setting).take(), Some(Ok(())));
        }
        rig.camera.first([Outcome::TooLarge(1000)]);
        let mut reader = rig.ring.subscribe(Follow::Live).unwrap();
        rig.sim.advance(ms(50));
        assert_eq!(rig.settings.get(SettingName::Quality), Some(quality(12)));
        assert_eq!(rig.settings.get(SettingName::VFlip), Some(Setting::VFlip(false)));
        assert_eq!(
            rig.error(),
            "a frame needs 1000 bytes, a slot has 256: the last settings are undone"
        );
        assert_eq!(rig.status.state(), SourceState::Streaming);
        assert!(reader.try_latest().is_ok());
        // What pictures have fitted with stays, whatever comes later.
        let last = wish(&mut rig, quality(20));
        rig.sim.advance(ms(50));
        assert_eq!(last.take(), Some(Ok(())));
        rig.camera.first([Outcome::TooLarge(1000)]);
        rig.sim.advance(ms(50));
        assert_eq!(rig.settings.get(SettingName::Quality), Some(quality(20)));
        assert_eq!(rig.error(), "a frame needs 1000 bytes, a slot has 256");
    }
}
