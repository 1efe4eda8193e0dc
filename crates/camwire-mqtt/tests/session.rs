//! The camera session: examples, and sequences of operations compared with a naive model.

#[path = "common/session.rs"]
mod model;

use camwire_frame::{FrameRate, Instant, Setting, SettingName};
use camwire_mqtt::{
    CameraSession, Captured, CommandError, Delivery, Device, Discovery, Outcome, Prefix,
    Publishing, RefusalReason, Retain, SessionConfig, Speed, Stats,
};
use proptest::prelude::*;

fn prefix(text: &str) -> Prefix<'_> {
    Prefix::new(text).unwrap()
}

fn whole(text: &str) -> SessionConfig<'_> {
    let mut config = SessionConfig::new(prefix(text));
    config.whole = Some(Retain::No);
    config
}

fn announced<'a>(camera: &'a str, device: impl FnOnce(&mut Device<'a>)) -> SessionConfig<'a> {
    let mut config = whole(camera);
    let mut announced = Device::new(prefix("homeassistant"), prefix(camera));
    device(&mut announced);
    config.discovery = Discovery::Announce(announced);
    config
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

/// All that it sends now: topic, payload, retained.
fn sent(session: &mut CameraSession<'_>, now: Instant) -> Vec<(String, String, bool)> {
    let mut buf = vec![0; 8192];
    let mut all = Vec::new();
    while let Some(message) = session.poll_transmit(now, &mut buf) {
        let payload = String::from_utf8([message.head, message.body].concat()).unwrap();
        all.push((message.topic.to_owned(), payload, message.retain.flag()));
    }
    all
}

fn payload(session: &mut CameraSession<'_>, topic: &str) -> String {
    let all = sent(session, Instant::ZERO);
    let found = all.iter().find(|(name, ..)| name == topic);
    found.unwrap_or_else(|| panic!("{topic} in {all:?}")).1.clone()
}

fn frames(session: &mut CameraSession<'_>, ms: u64) -> usize {
    let captured = Captured { at: at(ms), missed: 0, unix_offset: None };
    session.publish(&[1; 100], captured, at(ms)).count()
}

#[test]
fn connected_camera_reports_status_source_and_state_each_time() {
    let mut session = CameraSession::new(whole("cam")).unwrap();
    assert_eq!(sent(&mut session, Instant::ZERO), [], "nobody is there");
    let (will, gone) = session.offline();
    assert_eq!((will.to_string().as_str(), gone), ("cam/status", &b"offline"[..]));
    for _ in 0..2 {
        session.connected(Instant::ZERO, None);
        let text = |text: &str| text.to_owned();
        let expected = [
            (text("cam/status"), text("online"), true),
            (text("cam/source"), text("online"), true),
            (text("cam/state"), text("{\"publishing\":true}"), true),
        ];
        assert_eq!(sent(&mut session, Instant::ZERO), expected);
        assert_eq!(sent(&mut session, Instant::ZERO), []);
        session.disconnected(Instant::ZERO);
    }
}

#[test]
fn dead_source_makes_the_camera_unavailable() {
    let mut session = CameraSession::new(announced("cam", |_| {})).unwrap();
    session.connected(Instant::ZERO, None);
    let config = payload(&mut session, "homeassistant/camera/camwire_cam/config");
    for part in [
        r#""~":"cam""#,
        r#""availability_mode":"all""#,
        r#""availability":[{"topic":"~/status"},{"topic":"~/source"}]"#,
        r#""name":null"#,
        r#""unique_id":"camwire_cam""#,
        r#""topic":"~/image""#,
        r#""origin":{"name":"camwire","#,
    ] {
        assert!(config.contains(part), "{part} in {config}");
    }
    assert!(!config.contains("configuration_url"));
    for (available, text) in [(false, "offline"), (true, "online")] {
        session.update_source(available);
        assert_eq!(sent(&mut session, at(1)), [("cam/source".to_owned(), text.to_owned(), true)]);
        session.update_source(available);
        assert_eq!(sent(&mut session, at(1)), [], "nothing has changed");
    }
}

#[test]
fn page_of_the_camera_is_announced_with_its_address() {
    for (port, url) in [(80, "http://192.168.1.7/"), (8080, "http://192.168.1.7:8080/")] {
        let config = announced("cam", |device| device.web_port = Some(port));
        let mut session = CameraSession::new(config).unwrap();
        session.connected(Instant::ZERO, Some([192, 168, 1, 7].into()));
        let text = payload(&mut session, "homeassistant/camera/camwire_cam/config");
        assert!(text.contains(&format!("\"configuration_url\":\"{url}\"")), "{text}");
    }
}

#[test]
fn entities_are_announced_when_the_source_has_their_setting() {
    let mut session = CameraSession::new(announced("cam", |_| {})).unwrap();
    session.connected(Instant::ZERO, None);
    let entities = |session: &mut CameraSession<'_>| {
        let all = sent(session, Instant::ZERO).into_iter();
        let discovery = all.filter(|(topic, ..)| topic.starts_with("homeassistant"));
        discovery.map(|(topic, ..)| topic.split('/').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(entities(&mut session), ["camera", "switch", "button", "sensor", "sensor"]);
    session.update_settings(|name| match name {
        SettingName::Lamp => name.with_number(0),
        SettingName::Resolution => name.with_number(6),
        SettingName::Quality => name.with_number(12),
        _ => None,
    });
    let more = ["camera", "switch", "button", "select", "number", "light", "sensor", "sensor"];
    assert_eq!(entities(&mut session), more);
    // Home Assistant has started anew.
    let status = "homeassistant/status";
    let offline = session.handle_input(status, b"offline", Delivery::Live, at(1));
    assert_eq!(offline, Outcome::Ignored);
    assert_eq!(entities(&mut session), [""; 0]);
    session.handle_input(status, b"online", Delivery::Retained, at(1));
    assert_eq!(entities(&mut session), more);
}

#[test]
fn removed_discovery_is_an_empty_retained_message_for_each_entity() {
    let mut config = whole("cam");
    config.discovery = Discovery::Remove(prefix("homeassistant"));
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, None);
    let all = sent(&mut session, Instant::ZERO);
    let removed = all.iter().filter(|(topic, ..)| topic.starts_with("homeassistant/"));
    assert!(removed.clone().all(|(_, payload, retain)| payload.is_empty() && *retain));
    assert_eq!(removed.count(), 9);
    assert_eq!(session.poll_timeout(), None, "there are no figures");
}

#[test]
fn discovery_publishes_two_whole_frames_a_second_unless_a_rate_is_requested() {
    let count = |session: &mut CameraSession<'_>, from: u64| {
        (from..from + 9_700).step_by(50).map(|ms| frames(session, ms)).sum::<usize>()
    };
    let mut session = CameraSession::new(announced("cam", |_| {})).unwrap();
    session.connected(Instant::ZERO, None);
    assert_eq!(count(&mut session, 0), 20);
    session.handle_input("cam/set/fps", b"5", Delivery::Live, at(0));
    assert_eq!(count(&mut session, 20_000), 49);
    // Those who take parts get all of them.
    let mut config = announced("cam", |_| {});
    config.framed = Some(1);
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, None);
    assert_eq!(session.frame_due(), Some(Instant::ZERO));
    assert_eq!(count(&mut session, 0), 194 + 20);
    // So do those without Home Assistant.
    let mut session = CameraSession::new(whole("cam")).unwrap();
    session.connected(Instant::ZERO, None);
    assert_eq!(count(&mut session, 0), 194);
    let mut config = announced("cam", |_| {});
    config.rate = FrameRate::per_second(10);
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, None);
    assert_eq!(count(&mut session, 0), 97);
}

#[test]
fn shot_is_answered_by_a_frame_that_was_captured_after_it() {
    let mut config = whole("cam");
    config.publishing = Publishing::Off;
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, None);
    assert_eq!((session.frame_due(), frames(&mut session, 5)), (None, 0));
    session.handle_input("cam/camera/shot", b"", Delivery::Live, at(10));
    assert_eq!(session.frame_due(), Some(Instant::ZERO));
    let old = Captured { at: at(9), missed: 0, unix_offset: None };
    assert_eq!(session.publish(&[1; 10], old, at(11)).count(), 0);
    assert_eq!(frames(&mut session, 12), 1);
    assert_eq!((session.frame_due(), frames(&mut session, 13)), (None, 0));
}

#[test]
fn too_large_frame_is_rejected_in_its_layout_only() {
    let mut config = whole("cam");
    (config.framed, config.largest_packet) = (Some(1), 1000);
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, None);
    let captured = Captured::default();
    let messages = session.publish(&[1; 5000], captured, Instant::ZERO);
    assert!(messages.rejected().is_some());
    let topics = messages.map(|message| message.topic().to_string());
    assert!(topics.eq(["cam/frame"; 6]));
    assert!(session.limit_packets(40).is_err());
    assert_eq!(session.config().largest_packet, 1000);
    session.limit_packets(500).unwrap();
    assert_eq!(session.publish(&[1; 5000], captured, Instant::ZERO).count(), 12);
}

#[test]
fn rejected_commands_are_reported_with_the_reason() {
    let mut session = CameraSession::new(whole("cam")).unwrap();
    session.connected(Instant::ZERO, None);
    sent(&mut session, Instant::ZERO);
    let mut input = |topic: &str, payload: &[u8]| {
        session.handle_input(topic, payload, Delivery::Live, Instant::ZERO)
    };
    let outcome = input("cam/set/fps", b"many");
    let Outcome::Rejected(refusal) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refusal.reason, RefusalReason::Command(CommandError::Rate));
    input("cam/set/quality", &[b'1'; 1025]);
    input("cam/motor/speed/a", b"0.5");
    assert_eq!(input("cam/set/nonsense", b"1"), Outcome::Ignored);
    assert_eq!(input("cam/image", &[0; 5000]), Outcome::Ignored);
    assert!(matches!(session.handle_skipped("cam/set/vflip"), Outcome::Rejected(_)));
    assert_eq!(session.handle_skipped("homeassistant/status"), Outcome::Ignored);
    session.handle_input("cam/set/led", b"50", Delivery::Retained, Instant::ZERO);
    let lamp = session.poll_setting().unwrap();
    assert_eq!((lamp.name(), lamp.number()), (SettingName::Lamp, 32), "along the curve");
    session.setting_applied(Err(RefusalReason::NoMemory { needed: 7 }));
    session.setting_applied(Err(RefusalReason::TooLong)); // Nothing was asked for.
    let texts: Vec<_> = sent(&mut session, Instant::ZERO)
        .into_iter()
        .map(|(topic, text, retain)| {
            assert_eq!((topic.as_str(), retain), ("cam/refused", false));
            text
        })
        .collect();
    assert_eq!(
        texts,
        [
            "cam/set/fps: fps is a number from 0.001 to 1000",
            "cam/set/quality: the value is too long",
            "cam/motor/speed/a: this camera has no motors",
            "cam/set/vflip: the value is too long",
            "cam/set/led: frames of that size may need 7 bytes, which is more than there is for one",
        ]
    );
}

#[test]
fn motors_stop_a_second_after_the_last_heartbeat_also_without_a_connection() {
    let mut config = whole("cam");
    config.has_motors = true;
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, None);
    assert_eq!(session.poll_motors(at(0)), None);
    session.handle_input("cam/motor/deadman/heartbeat", b"", Delivery::Live, at(100));
    assert_eq!(session.poll_motors(at(100)), None, "they stand still");
    session.handle_input("cam/motor/speed/b", b"0.5", Delivery::Live, at(200));
    let outputs = session.poll_motors(at(200)).unwrap();
    let half = Speed::from_thousandths(500).unwrap();
    assert_eq!((outputs.speeds, outputs.until), ([Speed::STOP, half], Some(at(1100))));
    assert_eq!(session.poll_motors(at(300)), None);
    assert_eq!(session.poll_timeout(), Some(at(1100)));
    session.disconnected(at(400));
    assert_eq!(session.poll_timeout(), Some(at(1100)));
    let outputs = session.poll_motors(at(1100)).unwrap();
    assert_eq!((outputs.speeds, outputs.until), ([Speed::STOP; 2], None));
    let late = session.handle_input("cam/motor/speed/a", b"1", Delivery::Live, at(1200));
    assert!(matches!(late, Outcome::Rejected(r) if r.reason == RefusalReason::NoHeartbeat));
}

#[test]
fn figures_are_published_every_ten_seconds_with_discovery_only() {
    let mut stats = Stats::default();
    (stats.millihertz, stats.viewers, stats.signal) = (14_967, Some(2), Some(-61));
    let mut session = CameraSession::new(announced("cam", |d| d.has_signal = true)).unwrap();
    session.update_stats(stats);
    session.connected(at(0), None);
    let all = sent(&mut session, at(0));
    let expected = "{\"fps\":15,\"viewers\":2,\"signal\":-61}".to_owned();
    assert_eq!(all.last(), Some(&("cam/stats".to_owned(), expected, false)));
    assert!(all.iter().any(|(topic, ..)| topic.ends_with("/signal/config")));
    assert_eq!(session.poll_timeout(), Some(at(10_000)));
    assert_eq!(sent(&mut session, at(9_999)), []);
    assert_eq!(sent(&mut session, at(10_000)).len(), 1);
    let mut session = CameraSession::new(whole("cam")).unwrap();
    session.update_stats(stats);
    session.connected(at(0), None);
    assert!(sent(&mut session, at(99_999)).iter().all(|(topic, ..)| topic != "cam/stats"));
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn indexed_layout_greets_and_has_no_switch() {
    let mut config = SessionConfig::like_esp32cam(prefix("esp32cam/50"), prefix("esp32auto/50"));
    config.whole = Some(Retain::No);
    config.discovery = Discovery::Announce(Device::new(prefix("ha"), prefix("esp32cam/50")));
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, Some([10, 0, 0, 7].into()));
    let all = sent(&mut session, Instant::ZERO);
    let greeting = "online on ip 10.0.0.7 topic: esp32auto/50".to_owned();
    assert!(all.contains(&("esp32cam".to_owned(), greeting, false)), "{all:?}");
    assert!(all.iter().all(|(topic, ..)| !topic.contains("switch")));
    let shot = all.iter().find(|(topic, ..)| topic.starts_with("ha/button")).unwrap();
    assert!(shot.1.contains(r#""command_topic":"esp32auto/50/camera/shot""#), "{}", shot.1);
}

#[test]
fn buffer_is_large_enough_for_usual_names() {
    let camera = format!("camwire/{}", "x".repeat(56));
    let mut config = announced(&camera, |device| {
        device.web_port = Some(8080);
        device.has_signal = true;
    });
    let control = format!("garden/{}", "y".repeat(57));
    config.control = prefix(&control);
    let mut session = CameraSession::new(config).unwrap();
    session.update_settings(|name| name.with_number(name.range().0));
    session.connected(Instant::ZERO, Some([192, 168, 100, 100].into()));
    let mut buf = [0; CameraSession::BUFFER_LEN];
    let mut topics = 0;
    while session.poll_transmit(Instant::ZERO, &mut buf).is_some() {
        topics += 1;
    }
    assert_eq!((topics, session.unsent()), (13, 0));
}

#[test]
fn longest_and_strangest_names_are_valid_json() {
    let camera = "\"\\\u{1}\u{e4}".repeat(25);
    let config = announced(&camera, |_| {});
    let mut session = CameraSession::new(config).unwrap();
    session.connected(Instant::ZERO, None);
    let all = sent(&mut session, Instant::ZERO);
    let json: Vec<_> = all.iter().filter(|(_, text, _)| text.starts_with('{')).collect();
    assert_eq!(json.len(), 7);
    json.iter().for_each(|(_, text, _)| model::assert_is_json(text.as_bytes()));
    assert_eq!(session.unsent(), 0);
    // Too little memory leaves messages out, and does not stop the others.
    session.connected(Instant::ZERO, None);
    let mut small = [0; 300];
    let mut count = 0;
    while session.poll_transmit(Instant::ZERO, &mut small).is_some() {
        count += 1;
    }
    assert_eq!((count, session.unsent()), (4, 5));
}

#[test]
fn closed_session_reports_that_it_is_offline_and_nothing_more() {
    let mut session = CameraSession::new(whole("cam")).unwrap();
    session.close();
    session.connected(Instant::ZERO, None);
    session.close();
    let offline = ("cam/status".to_owned(), "offline".to_owned(), true);
    assert_eq!(sent(&mut session, Instant::ZERO), [offline]);
    assert_eq!(session.frame_due(), None);
}

#[test]
fn attempts_to_connect_are_further_and_further_apart_until_a_connection_lasts() {
    let mut session = CameraSession::new(whole("cam")).unwrap();
    let mut retry = |now: Instant| session.disconnected(now).saturating_since(now).as_millis();
    assert_eq!([0, 1, 2, 3, 4].map(|ms| retry(at(ms))), [250, 500, 1000, 1500, 1500]);
    session.connected(at(0), None);
    assert_eq!(session.disconnected(at(9_999)), at(9_999 + 1500), "it did not last");
    session.connected(at(0), None);
    assert_eq!(session.disconnected(at(10_000)), at(10_250));
}

#[test]
fn settings_of_the_source_are_in_the_state() {
    let mut session = CameraSession::new(whole("cam")).unwrap();
    session.connected(Instant::ZERO, None);
    sent(&mut session, Instant::ZERO);
    let set = |name: SettingName| match name {
        SettingName::Resolution | SettingName::Quality => name.with_number(10),
        SettingName::Brightness => name.with_number(-2),
        _ => None::<Setting>,
    };
    session.update_settings(set);
    let state =
        r#"{"publishing":true,"resolution":"640x480","framesize":10,"quality":10,"brightness":-2}"#;
    assert_eq!(sent(&mut session, Instant::ZERO), [("cam/state".into(), state.to_owned(), true)]);
    session.update_settings(set);
    assert_eq!(sent(&mut session, Instant::ZERO), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_of_operations_agrees_with_the_model(
        operations in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        model::run(&operations);
    }
}
