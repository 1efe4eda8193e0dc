//! What a viewer gets: the bytes, which pictures, and what it is told of those it does not get.

mod harness;

use camwire_capture::{CaptureConfig, Policy};
use camwire_frame::{Clock, FrameRate};
use camwire_server::{Disconnect, Mode};
use harness::camera::{Outcome, picture};
use harness::http::{Part, Stream};
use harness::{Client, Plan, START, UNIX, World, every, ms, secs};

mod bytes {
    use super::*;

    fn head(world: &World, len: usize, number: u64, missed: u64) -> String {
        let at = world.now().as_micros() + UNIX;
        let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
        format!(
            "Content-Type: image/jpeg\r\nContent-Length: {len}\r\n\
             X-Timestamp: {seconds}.{micros:06}\r\nX-Frame: {number}\r\nX-Missed: {missed}\r\n\r\n"
        )
    }

    #[test]
    fn of_a_stream() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let client = world.get("/stream");
        let b = client.response().boundary();
        let mut expected = format!(
            "HTTP/1.1 200 OK\r\n\
             Content-Type: multipart/x-mixed-replace;boundary={b}\r\n\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; sandbox\r\n\
             \r\n\
             --{b}\r\n"
        )
        .into_bytes();
        assert_eq!(client.peer.answer(), expected, "before any picture");
        assert_eq!(client.peer.flushed(), expected.len());
        for (number, len) in [(1, 100), (2, 0), (3, 4096), (4, 1)] {
            world.sim.advance(ms(40));
            assert_eq!(hand.publish(len), number);
            world.sim.run();
            expected.extend(head(&world, len, number, 0).into_bytes());
            expected.extend(picture(len, world.now().as_micros()));
            // Right after the picture, so that the viewer knows at once that it is whole.
            expected.extend(format!("\r\n--{b}\r\n").into_bytes());
            assert_eq!(client.peer.answer(), expected);
            assert_eq!(client.peer.flushed(), expected.len());
        }
        // Missed ones.
        hand.publisher.skip();
        hand.publisher.skip();
        assert_eq!(hand.publish(10), 7);
        world.sim.run();
        expected.extend(head(&world, 10, 7, 2).into_bytes());
        expected.extend(picture(10, world.now().as_micros()));
        expected.extend(format!("\r\n--{b}\r\n").into_bytes());
        assert_eq!(client.peer.answer(), expected);
        // The end.
        drop(hand);
        world.sim.run();
        expected.extend(format!("\r\n--{b}--\r\n").into_bytes());
        assert_eq!(client.peer.answer(), expected);
        assert_eq!(client.end(), Ok(()));
        let stream = client.stream();
        assert!(stream.closed && !stream.torn);
        assert_eq!(stream.numbers(), [1, 2, 3, 4, 7]);
    }

    #[test]
    fn of_a_stream_with_heads_in_advance() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let client = world.get("/stream?advance_headers=1");
        let b = client.response().boundary();
        let next = format!("--{b}\r\nContent-Type: image/jpeg\r\n\r\n").into_bytes();
        let mut body = next.clone();
        assert_eq!(client.response().body, body);
        for len in [100, 50, 4000] {
            world.sim.advance(ms(40));
            hand.publish(len);
            world.sim.run();
            body.extend(picture(len, world.now().as_micros()));
            body.extend(b"\r\n");
            body.extend(&next);
            assert_eq!(client.response().body, body);
        }
        let stream = client.stream();
        assert!(stream.parts.iter().all(|part| part.head == Default::default()));
        assert_eq!(
            stream.parts.iter().map(|p| p.picture.len()).collect::<Vec<_>>(),
            [100, 50, 4000]
        );
        assert!(!stream.closed && stream.torn, "the next part has begun");
    }

    /// Head, picture and tail leave in one write where the transport takes them.
    #[test]
    fn a_picture_is_one_write() {
        let mut world = World::new();
        world.camera(every(40, 4096));
        let client = world.get("/stream");
        let before = client.peer.attempts();
        world.sim.advance(ms(400));
        assert_eq!(client.stream().parts.len(), 10);
        assert_eq!(client.peer.attempts() - before, 10);
    }

    #[test]
    fn the_first_picture_is_the_newest_and_missed_none() {
        let mut world = World::new();
        let mut hand = world.publisher();
        for _ in 0..5 {
            hand.publish(10);
        }
        for target in ["/stream", "/stream?fps=10"] {
            let stream = world.get(target).stream();
            assert_eq!(stream.numbers(), [5], "{target}");
            assert_eq!(stream.parts[0].missed(), 0);
        }
    }

    #[test]
    fn the_closing_delimiter_comes_when_the_source_has_ended() {
        for target in ["/stream", "/stream?mode=all", "/stream?fps=5", "/stream?advance_headers=1"]
        {
            let mut world = World::new();
            let camera = world.camera(Outcome::End);
            camera.first([every(40, 100), every(40, 100)]);
            let client = world.get(target);
            world.sim.advance(ms(200));
            assert_eq!(client.end(), Ok(()), "{target}");
            assert!(client.stream().closed, "{target}");
            let b = client.response().boundary();
            assert!(client.peer.answer().ends_with(format!("\r\n--{b}--\r\n").as_bytes()));
            assert_eq!(client.peer.flushed(), client.peer.written());
            assert_eq!(world.ring.readers(), 0);
        }
    }
}

mod live {
    use super::*;

    #[test]
    fn a_fast_viewer_gets_every_picture() {
        let mut world = World::new();
        world.camera(every(33, 2000));
        let viewers = [(); 3].map(|()| world.get("/stream"));
        world.sim.advance(secs(10));
        for viewer in viewers {
            let stream = viewer.stream();
            stream.check_numbers();
            assert_eq!(stream.numbers(), (1..=303).collect::<Vec<_>>());
            for part in &stream.parts {
                part.check_drawing();
            }
        }
    }

    #[test]
    fn a_slow_viewer_skips_whole_pictures_and_is_told_how_many() {
        let mut world = World::new();
        world.camera(every(33, 3000));
        // 10 KB a second of 90, with room for less than half a picture.
        let slow = world.slow("/stream", 1400, 1000, ms(100));
        let fast = world.get("/stream");
        world.sim.advance(secs(60));
        let stream = slow.stream();
        stream.check_numbers();
        for part in &stream.parts {
            part.check_drawing();
        }
        assert!(stream.parts.len() > 150, "{}", stream.parts.len());
        let missed: u64 = stream.parts.iter().map(Part::missed).sum();
        let (first, last) = (&stream.parts[0], stream.parts.last().unwrap());
        assert_eq!(missed + stream.distinct().len() as u64, last.number() - first.number() + 1);
        assert!(missed > 1500);
        // It is near live all the time: the last one it has is not old.
        let newest = *fast.stream().numbers().last().unwrap();
        assert!(newest - last.number() < 30, "{newest}, {}", last.number());
        assert_eq!(world.ring.dropped(), 0);
        assert_eq!(fast.stream().distinct().len() as u64, newest);
    }

    #[test]
    fn between_pictures_it_goes_to_the_newest() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let client = world.connect();
        client.peer.send(harness::request("GET", "/stream"));
        world.sim.run();
        let opening = client.peer.written();
        client.peer.set_capacity(opening + 50);
        hand.publish(1000);
        world.sim.run();
        for _ in 0..4 {
            hand.publish(1000);
            world.sim.advance(ms(10));
        }
        assert_eq!(client.peer.written(), opening + 50);
        client.peer.set_capacity(usize::MAX);
        world.sim.run();
        let stream = client.stream();
        assert_eq!(stream.numbers(), [1, 5]);
        assert_eq!(stream.parts[1].missed(), 3);
    }

    #[test]
    fn a_picture_is_sent_again_within_a_second_of_silence() {
        for target in ["/stream", "/stream?mode=all", "/stream?fps=5"] {
            let mut world = World::new();
            let camera = world.camera(Outcome::Hang);
            camera.first([every(40, 100), every(40, 100), every(250, 100)]);
            let client = world.get(target);
            world.sim.advance(ms(400));
            let last = client.stream().parts.last().unwrap().clone();
            let mut seen = client.stream().parts.len();
            for second in 1..=30 {
                world.sim.advance(secs(1));
                let stream = client.stream();
                assert!(stream.parts.len() > seen, "{target}: nothing in second {second}");
                assert!(stream.parts.len() <= seen + 2);
                for part in &stream.parts[seen..] {
                    assert_eq!(part.number(), last.number());
                    assert_eq!(part.head.timestamp_us, last.head.timestamp_us);
                    assert_eq!((part.missed(), &part.picture), (0, &last.picture));
                }
                seen = stream.parts.len();
            }
            // They are not counted as pictures.
            let viewer = &world.stats()["viewers"][0];
            assert_eq!(viewer["sent"], client.stream().distinct().len(), "{target}");
        }
    }

    #[test]
    fn nothing_is_sent_again_while_pictures_come() {
        let mut world = World::new();
        world.camera(every(900, 100));
        let client = world.get("/stream");
        world.sim.advance(secs(60));
        assert_eq!(client.stream().numbers(), (1..=66).collect::<Vec<_>>());
    }

    #[test]
    fn before_the_first_picture_there_is_nothing_to_send_again() {
        let mut world = World::new();
        world.camera(Outcome::Failure(ms(10), "no sensor".into()));
        let client = world.get("/stream");
        world.sim.advance(secs(60));
        assert_eq!(client.stream(), Stream::default());
        assert!(!client.is_served(), "but the viewer is kept");
    }

    #[test]
    fn the_viewer_is_kept_through_an_outage() {
        let mut world = World::new();
        let camera = world.camera(every(40, 100));
        let client = world.get("/stream");
        world.sim.advance(secs(1));
        camera.then_always(Outcome::Failure(ms(10), "no route".into()));
        world.sim.advance(secs(600));
        camera.then_always(every(40, 100));
        world.sim.advance(secs(10));
        let stream = client.stream();
        stream.check_numbers();
        assert_eq!(stream.distinct().last().unwrap().number(), u64::from(world.status.captured()));
        let times: Vec<_> = client.stream().parts.iter().map(|p| p.number()).collect();
        assert!(times.len() > 800, "the last picture was sent all the time");
    }
}

mod caps {
    use super::*;

    fn spacing_us(parts: &[&Part]) -> Vec<u64> {
        let at = |part: &Part| part.head.timestamp_us.unwrap();
        parts.windows(2).map(|pair| at(pair[1]) - at(pair[0])).collect()
    }

    #[test]
    fn fps_holds_a_viewer_to_its_rate() {
        for (fps, most) in [("15", 150), ("10", 100), ("1", 10), ("2.5", 25), ("0.5", 5)] {
            let mut world = World::new();
            world.camera(every(33, 100));
            let capped = world.get(&format!("/stream?fps={fps}"));
            let free = world.get("/stream");
            world.sim.advance(secs(10));
            let stream = capped.stream();
            let distinct = stream.distinct();
            assert!(distinct.len().abs_diff(most) <= 1, "{fps}: {}", distinct.len());
            // Skipped by its own cap, not missed.
            assert!(stream.parts.iter().all(|part| part.missed() == 0), "{fps}");
            let period = 10_000_000 / most as u64;
            for gap in spacing_us(&distinct) {
                assert!(gap.abs_diff(period) <= period / 4 + 33_000, "{fps}: {gap}");
            }
            assert_eq!(free.stream().distinct().len(), 303, "the others are not held");
        }
    }

    #[test]
    fn a_cap_above_the_camera_s_rate_changes_nothing() {
        let mut world = World::new();
        world.camera(every(33, 100));
        let client = world.get("/stream?fps=60");
        world.sim.advance(secs(10));
        let stream = client.stream();
        stream.check_numbers();
        assert_eq!(stream.parts.len(), 303);
    }

    /// A cap below the rate at which pictures are sent again is a cap all the same: of a camera
    /// of one picture a second, `fps=0.5` gives every other one.
    #[test]
    fn a_picture_that_the_cap_skipped_is_not_sent_because_the_next_takes_long() {
        let mut world = World::new();
        world.camera(every(1000, 100));
        let client = world.get("/stream?fps=0.5");
        world.sim.advance(ms(20_500));
        let distinct = client.stream().distinct().len();
        assert!((10..=11).contains(&distinct), "{distinct} pictures in 20 s at fps=0.5");
    }

    #[test]
    fn under_a_cap_only_what_it_would_have_got_is_missed() {
        let mut world = World::new();
        world.camera(every(20, 1000));
        let client = world.get("/stream?fps=10");
        world.sim.advance(secs(2));
        assert!(client.stream().parts.iter().all(|part| part.missed() == 0));
        // It stalls for a second: fifty are taken, of which ten would have been its.
        client.peer.take(usize::MAX);
        client.peer.set_capacity(10);
        world.sim.advance(secs(1));
        client.peer.set_capacity(usize::MAX);
        world.sim.advance(secs(1));
        let missed: u64 = client.stream().parts.iter().map(Part::missed).sum();
        assert!((7..=10).contains(&missed), "{missed}");
    }

    /// What was missed before a picture that the cap skipped is told with the next one.
    #[test]
    fn losses_add_up_over_pictures_that_the_cap_skips() {
        let mut world = World::new();
        let mut hand = world.publisher();
        let client = world.get("/stream?fps=10");
        hand.publish(100);
        world.sim.advance(ms(50));
        hand.publisher.skip();
        hand.publisher.skip();
        hand.publish(100); // The fourth: too early for the cap.
        world.sim.advance(ms(350));
        hand.publish(100);
        world.sim.run();
        let seen: Vec<_> = client.stream().parts.iter().map(|p| (p.number(), p.missed())).collect();
        assert_eq!(seen, [(1, 0), (5, 2)]);
    }

    /// The last picture before a silence reaches the viewer even if its cap skipped it.
    #[test]
    fn the_last_before_a_silence_is_not_withheld() {
        let mut world = World::new();
        let camera = world.camera(Outcome::Hang);
        camera.first((0..8).map(|_| every(40, 100)));
        let client = world.get("/stream?fps=5");
        world.sim.advance(secs(4));
        let stream = client.stream();
        assert_eq!(stream.parts.last().unwrap().number(), 8);
        assert_eq!(world.stats()["viewers"][0]["sent"], stream.distinct().len());
    }

    #[test]
    fn a_paced_source_and_an_equal_cap_agree() {
        let mut world = World::new();
        let mut config = CaptureConfig::default();
        config.rate = FrameRate::per_second(10);
        world.camera_with(every(7, 100), config);
        let client = world.get("/stream?fps=10");
        world.sim.advance(secs(30));
        let stream = client.stream();
        stream.check_numbers();
        assert!(stream.parts.len() >= 299, "{}", stream.parts.len());
    }
}

mod all {
    use super::*;

    fn slow_of_keep_all(world: &mut World, target: &str) -> Client {
        // A picture takes it 120 ms, the camera gives one every 33.
        world.slow(target, 2000, 1000, ms(40))
    }

    #[test]
    fn keep_all_gives_a_slow_viewer_every_picture() {
        let mut world = Plan::policy(Policy::KeepAll).build();
        world.camera(every(33, 3000));
        let slow = slow_of_keep_all(&mut world, "/stream?mode=all");
        let fast = world.get("/stream?mode=all");
        world.sim.advance(secs(60));
        for viewer in [&slow, &fast] {
            let stream = viewer.stream();
            stream.check_numbers();
            let distinct = stream.distinct();
            let first = distinct[0].number();
            for (n, part) in distinct.iter().enumerate() {
                assert_eq!((part.number(), part.missed()), (first + n as u64, 0));
                part.check_drawing();
            }
            assert!(distinct.len() > 400, "{}", distinct.len());
        }
        assert_eq!(world.ring.dropped(), 0);
        let ahead = fast.stream().distinct().len() - slow.stream().distinct().len();
        assert!(ahead <= 9, "{ahead} pictures do not fit the ring");
    }

    #[test]
    fn who_asks_for_nothing_gets_the_mode_that_is_configured() {
        let mut plan = Plan::policy(Policy::KeepAll);
        plan.config.mode = Mode::All;
        let mut world = plan.build();
        world.camera(every(33, 3000));
        let targets = ["/stream", "/stream?mode=all", "/stream?mode=live", "/stream?fps=10"];
        let viewers = targets.map(|target| world.get(target));
        world.sim.advance(secs(2));
        let stats = world.stats();
        let modes = ["all", "all", "live", "live"];
        for (n, mode) in modes.into_iter().enumerate() {
            assert_eq!(stats["viewers"][n]["mode"], mode, "{}", targets[n]);
        }
        let numbers = viewers[0].stream().numbers();
        assert!(numbers.len() > 50 && numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    }

    #[test]
    fn live_and_capped_viewers_hold_nobody_back_on_keep_all() {
        let mut world = Plan::policy(Policy::KeepAll).build();
        world.camera(every(33, 3000));
        let live = slow_of_keep_all(&mut world, "/stream");
        let capped = world.slow("/stream?fps=5", 2000, 1000, ms(100));
        let fast = world.get("/stream?mode=all");
        world.sim.advance(secs(20));
        assert_eq!(fast.stream().numbers(), (1..=606).collect::<Vec<_>>());
        live.stream().check_numbers();
        assert!(capped.stream().parts.len() > 30);
    }

    #[test]
    fn one_that_stops_reading_is_gone_after_its_deadline_and_the_others_go_on() {
        let mut world = Plan::policy(Policy::KeepAll).build();
        world.camera(every(33, 3000));
        let fast = world.get("/stream?mode=all");
        world.sim.advance(secs(1));
        let stalled = world.connect();
        stalled.peer.set_capacity(2000);
        stalled.peer.send(harness::request("GET", "/stream?mode=all"));
        world.sim.advance(ms(9_900));
        assert!(!stalled.is_served());
        world.sim.advance(ms(200));
        assert_eq!(stalled.end(), Err(Disconnect::Stalled));
        let before = fast.stream().distinct().len();
        world.sim.advance(secs(1));
        let stream = fast.stream();
        stream.check_numbers();
        assert!(stream.parts.iter().all(|part| part.missed() == 0));
        assert!(stream.distinct().len() >= before + 29, "the camera goes on at full rate");
        assert_eq!(world.status.errors(), 0, "waiting for a viewer is no fault of the camera");
    }

    #[test]
    fn on_a_dropping_ring_losses_are_told() {
        for policy in [Policy::DropOldest, Policy::DropNewest] {
            let mut world = Plan { slots: 4, ..Plan::policy(policy) }.build();
            world.camera(every(33, 3000));
            let slow = world.slow("/stream?mode=all", 2000, 1000, ms(40));
            world.sim.advance(secs(20));
            let stream = slow.stream();
            stream.check_numbers();
            let missed: u64 = stream.parts.iter().map(Part::missed).sum();
            assert!(missed > 10, "{policy:?}: {missed}");
            let viewer = &world.stats()["viewers"][0];
            assert!(viewer["missed"].as_u64().unwrap().abs_diff(missed) < 9);
        }
    }

    #[test]
    fn a_burst_that_fits_the_ring_is_had_in_order() {
        for policy in [Policy::DropOldest, Policy::DropNewest, Policy::KeepAll] {
            let mut world = Plan::policy(policy).build();
            let mut hand = world.publisher();
            let client = world.get("/stream?mode=all");
            for burst in 1..=10 {
                for _ in 0..6 {
                    hand.publish(100);
                }
                world.sim.run();
                let all = (1..=6 * burst).collect::<Vec<_>>();
                assert_eq!(client.stream().numbers(), all, "{policy:?}");
            }
        }
    }

    /// On a ring that drops, `mode=all` means in order from the oldest frame still held.
    #[test]
    fn it_begins_with_the_oldest_still_held() {
        let mut world = World::new();
        let mut hand = world.publisher();
        for _ in 0..5 {
            hand.publish(10);
        }
        assert_eq!(world.get("/stream?mode=all").stream().numbers(), [1, 2, 3, 4, 5]);
    }
}

mod time {
    use super::*;

    #[test]
    fn pictures_tell_when_they_were_captured() {
        for (unix, offset) in [(Some(UNIX), UNIX), (None, 0)] {
            let mut world = Plan { unix, ..Plan::default() }.build();
            world.camera(every(40, 100));
            let client = world.get("/stream");
            world.sim.advance(ms(400));
            for part in client.stream().parts {
                let at = START.as_micros() + offset + part.number() * 40_000;
                assert_eq!(part.head.timestamp_us, Some(at));
            }
        }
    }

    /// Nobody gets a picture from before anybody wanted one.
    #[test]
    fn the_first_after_an_idle_hour_is_fresh() {
        let mut world = World::new();
        world.camera(every(40, 100));
        for _ in 0..3 {
            let asked_at = world.clock.now().as_micros() + UNIX;
            let client = world.get("/stream");
            world.sim.advance(ms(500));
            let first = client.stream().parts[0].head.timestamp_us.unwrap();
            assert!(first >= asked_at);
            client.peer.close();
            world.sim.advance(secs(3600));
        }
    }
}
