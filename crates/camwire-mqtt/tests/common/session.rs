//! Sequences of operations on the camera session, compared with a naive model of it and of a broker.

use std::collections::BTreeMap;
use std::time::Duration;

use camwire_frame::{FrameRate, Instant, Setting, SettingName};
use camwire_mqtt::{
    CameraSession, Captured, Command, ControlTopics, Delivery, Device, Dialect, Discovery, Outcome,
    Prefix, Publishing, RefusalReason, Retain, SessionConfig, Stats, Topic,
};

const PREFIX: &str = "garden/cam";
const CONTROL: &str = "house/robot";

/// What is retained at the broker, and what the model knows of the camera.
struct Model {
    session: CameraSession<'static>,
    now: Instant,
    is_connected: bool,
    is_publishing: bool,
    shot: Option<Instant>,
    rate: Option<FrameRate>,
    settings: BTreeMap<usize, Setting>,
    is_available: bool,
    waiting: Vec<Setting>,
    current: Option<Setting>,
    /// Commands that were rejected, and of these, reported or counted.
    rejected: u64,
    reported: u64,
    retained: BTreeMap<String, Vec<u8>>,
}

/// The bytes say which operations there are, and with which arguments.
pub(crate) fn run(operations: &[u8]) {
    let mut bytes = operations.iter().copied();
    let mut next = || bytes.next();
    let Some(kind) = next() else { return };
    let mut model = Model::new(kind);
    while let (Some(operation), Some(argument)) = (next(), next()) {
        model.step(operation, argument);
    }
    model.step(0, 0);
    model.transmit(4096);
    model.check();
}

fn config(kind: u8) -> SessionConfig<'static> {
    let (prefix, control) = (Prefix::new(PREFIX).unwrap(), Prefix::new(CONTROL).unwrap());
    let mut config = match kind & 1 {
        0 => SessionConfig::new(prefix),
        _ => SessionConfig::like_esp32cam(prefix, control),
    };
    if kind & 2 != 0 {
        config.control = control;
    }
    config.framed = (kind & 4 != 0).then_some(7);
    config.whole = (kind & 8 != 0).then_some(Retain::No);
    config.largest_packet = 20_000;
    config.publishing = Publishing::from_on(kind & 16 != 0);
    config.has_motors = kind & 32 != 0;
    let home = Prefix::new("home").unwrap();
    config.discovery = match kind >> 6 {
        0 => Discovery::Off,
        1 => Discovery::Remove(home),
        _ => Discovery::Announce(Device::new(home, prefix)),
    };
    config
}

impl Model {
    fn new(kind: u8) -> Self {
        let config = config(kind);
        Self {
            session: CameraSession::new(config).unwrap(),
            now: Instant::from_micros(5),
            is_connected: false,
            is_publishing: config.publishing == Publishing::On,
            shot: None,
            rate: config.rate,
            settings: BTreeMap::new(),
            is_available: true,
            waiting: Vec::new(),
            current: None,
            rejected: 0,
            reported: 0,
            retained: BTreeMap::new(),
        }
    }

    fn step(&mut self, operation: u8, argument: u8) {
        match operation % 14 {
            0 => {
                self.session
                    .connected(self.now, (argument & 1 != 0).then_some([10, 0, 0, 7].into()));
                self.is_connected = true;
            }
            1 => {
                let again = self.session.disconnected(self.now).saturating_since(self.now);
                assert!(
                    again <= Duration::from_millis(1500) && again >= Duration::from_millis(250)
                );
                self.is_connected = false;
            }
            2 | 3 => self.command(argument, operation),
            4 => self.transmit(4096),
            5 => self.transmit(usize::from(argument) * 4),
            6 => {
                let setting = self.session.poll_setting();
                let expected = self.current.is_none() && !self.waiting.is_empty();
                let expected = expected.then(|| self.waiting.remove(0));
                assert_eq!(setting, expected);
                self.current = self.current.or(expected);
            }
            7 => {
                let is_wrong = argument & 1 != 0;
                let reason = RefusalReason::Other("the source failed");
                self.session.setting_applied(if is_wrong { Err(reason) } else { Ok(()) });
                self.rejected += u64::from(self.current.take().is_some() && is_wrong);
            }
            8 => self.now = self.now + Duration::from_millis(u64::from(argument) * 20),
            9 => self.frame(usize::from(argument) * 100, Duration::from_millis(argument.into())),
            10 => {
                let place = usize::from(argument) % SettingName::ALL.len();
                let (least, most) = SettingName::ALL[place].range();
                let number = if argument & 128 == 0 { least } else { most };
                self.settings.insert(place, SettingName::ALL[place].with_number(number).unwrap());
                self.session.update_settings(|name| {
                    let place = SettingName::ALL.iter().position(|other| *other == name);
                    self.settings.get(&place.unwrap()).copied()
                });
            }
            11 => {
                self.is_available = argument & 1 != 0;
                self.session.update_source(self.is_available);
                let mut stats = Stats::default();
                (stats.millihertz, stats.viewers) = (u32::from(argument) * 777, Some(3));
                self.session.update_stats(stats);
            }
            12 => {
                let payload: &[u8] = if argument & 1 != 0 { b"online" } else { b"offline" };
                let outcome =
                    self.session.handle_input("home/status", payload, Delivery::Live, self.now);
                let announces = self.announces() && payload == b"online";
                assert_eq!(outcome == Outcome::Accepted, announces);
            }
            _ => {
                let (limit, before) =
                    (u32::from(argument) * 100, self.session.config().largest_packet);
                let is_limited = self.session.limit_packets(limit).is_ok();
                let expected = if is_limited { limit.min(before) } else { before };
                assert_eq!(self.session.config().largest_packet, expected);
            }
        }
        self.check_timers();
    }

    fn controls(&self) -> ControlTopics<'static> {
        ControlTopics::new(self.session.config().control, self.session.config().dialect)
    }

    fn announces(&self) -> bool {
        let config = self.session.config();
        matches!(config.discovery, Discovery::Announce(_)) && config.whole.is_some()
    }

    fn command(&mut self, argument: u8, salt: u8) {
        const VALUES: [&[u8]; 8] =
            [b"1", b"0.5", b"640x480", b"on", b"off", b"\xFF", b"30", &[b'1'; 1025]];
        let controls = self.controls();
        let filters: Vec<_> = controls.filters().map(|filter| filter.to_string()).collect();
        let topic = &filters[usize::from(argument) % filters.len()];
        let value = VALUES[usize::from(salt / 14) % VALUES.len()];
        let delivery = Delivery::from_retain_flag(salt & 64 != 0);
        let outcome = if salt & 128 != 0 && value.len() > 1024 {
            self.session.handle_skipped(topic)
        } else {
            self.session.handle_input(topic, value, delivery, self.now)
        };
        let command = match controls.parse(topic, value, delivery) {
            Ok(Some(command)) if value.len() <= CameraSession::LARGEST_COMMAND => command,
            parsed => {
                assert_ne!(parsed, Ok(None));
                self.rejected += 1;
                return self.assert_rejected(outcome, topic);
            }
        };
        let is_accepted = match command {
            Command::Motor(..) | Command::Heartbeat => {
                let is_rejected = outcome != Outcome::Accepted;
                self.rejected += u64::from(is_rejected);
                assert!(is_rejected || self.session.config().has_motors);
                return;
            }
            Command::Set(setting) => self.request(setting),
            Command::Led(led) => {
                let level = (u32::from(led.duty()) * 255).div_ceil(8192) as i16;
                self.request(SettingName::Lamp.with_number(level).unwrap())
            }
            Command::Rate(rate) => {
                self.rate = Some(rate);
                true
            }
            Command::Shot => {
                self.shot = Some(self.now);
                true
            }
            Command::StartStream => {
                self.is_publishing = true;
                true
            }
            Command::StopStream => {
                self.is_publishing = false;
                true
            }
            _ => false,
        };
        assert!(is_accepted);
        assert_eq!(outcome, Outcome::Accepted, "{topic}");
    }

    fn request(&mut self, setting: Setting) -> bool {
        self.waiting.retain(|other| other.name() != setting.name());
        self.waiting.push(setting);
        true
    }

    fn assert_rejected(&self, outcome: Outcome<'_>, topic: &str) {
        let (Outcome::Rejected(refusal) | Outcome::RejectedUnreported(refusal)) = outcome else {
            panic!("{topic}: {outcome:?}");
        };
        assert_eq!(refusal.topic.to_string(), topic);
    }

    /// The session sends all that it has to say.
    fn transmit(&mut self, buffer: usize) {
        let mut buf = vec![0; buffer];
        let mut count = 0;
        while let Some(message) = self.session.poll_transmit(self.now, &mut buf) {
            assert!(self.is_connected);
            assert!(message.head.is_empty());
            if message.topic == "garden/cam/refused" {
                let text = std::str::from_utf8(message.body).unwrap();
                let more = text.strip_prefix("too many at once: ");
                let more = more.and_then(|text| text.strip_suffix(" more"));
                self.reported += more.map_or(1, |more| more.parse().unwrap());
            } else if message.retain == Retain::Yes {
                self.retained.insert(message.topic.to_owned(), message.body.to_owned());
            } else {
                assert!(["esp32cam", "garden/cam/stats"].contains(&message.topic));
            }
            if message.body.starts_with(b"{") {
                assert_is_json(message.body);
            }
            count += 1;
            assert!(count < 100, "it comes to an end");
        }
        if buffer == 4096 && self.is_connected && self.session.unsent() == 0 {
            self.check();
        }
    }

    /// A frame comes that was captured so long ago.
    fn frame(&mut self, bytes: usize, age: Duration) {
        let frame = vec![0xA5; bytes];
        let at = Instant::from_micros(self.now.as_micros().saturating_sub(age.as_micros() as u64));
        let config = *self.session.config();
        let captured = Captured { at, missed: 1, unix_offset: None };
        let messages = self.session.publish(&frame, captured, self.now);
        let rejected = messages.rejected();
        let mut whole = 0;
        let mut count = 0;
        for message in messages {
            let mut memory = [0; Topic::MAX_LEN];
            let topic = message.transmit(&mut memory).topic.to_owned();
            whole += usize::from(topic == "garden/cam/image");
            count += 1;
            assert!(message.body().len() <= config.largest_packet as usize);
        }
        let is_answer = self.shot.is_some_and(|asked| at >= asked) && self.is_connected;
        if is_answer {
            self.shot = None;
            let has_layout = config.framed.is_some() || config.whole.is_some();
            if bytes > 0 && has_layout && rejected.is_none() {
                assert!(count > 0 && whole == usize::from(config.whole.is_some()));
            }
        } else if !self.is_connected || !self.is_publishing {
            assert_eq!((count, rejected), (0, None));
        }
    }

    fn check_timers(&mut self) {
        let config = self.session.config();
        let has_layout =
            config.framed.is_some() || config.whole.is_some() || config.indexed.is_some();
        let is_wanted =
            has_layout && self.is_connected && (self.is_publishing || self.shot.is_some());
        assert_eq!(self.session.frame_due().is_some(), is_wanted);
        if self.shot.is_some() && is_wanted {
            assert_eq!(self.session.frame_due(), Some(Instant::ZERO));
        }
        if let Some(outputs) = self.session.poll_motors(self.now)
            && let Some(until) = outputs.until
        {
            assert!(until > self.now && until <= self.now + Duration::from_secs(1));
            assert!(self.session.poll_timeout().is_some_and(|at| at <= until));
        }
    }

    /// The broker has what it is to have, after all was sent.
    fn check(&self) {
        // What does not fit the memory is not sent, which is counted.
        let is_all_sent = self.session.unsent() == 0;
        assert!(self.reported == self.rejected || !is_all_sent && self.reported < self.rejected);
        let mut expected = BTreeMap::new();
        let mut put = |topic: &str, payload: &[u8]| {
            expected.insert(format!("{PREFIX}/{topic}"), payload.to_vec());
        };
        put("status", b"online");
        put("source", if self.is_available { b"online" } else { b"offline" });
        let mut state = format!("{{\"publishing\":{}", self.is_publishing);
        if let Some(rate) = self.rate {
            state += &format!(",\"fps\":{rate}");
        }
        for setting in self.settings.values() {
            if let Setting::Resolution(size) = setting {
                state += &format!(",\"resolution\":\"{}x{}\"", size.width(), size.height());
            }
            state += &format!(",\"{}\":{}", setting.name().as_str(), setting.number());
        }
        put("state", (state + "}").as_bytes());
        let (ours, discovery): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.retained.clone().into_iter().partition(|(topic, _)| topic.starts_with(PREFIX));
        assert_eq!(ours, expected);
        self.check_discovery(&discovery);
    }

    fn check_discovery(&self, discovery: &BTreeMap<String, Vec<u8>>) {
        let config = self.session.config();
        let has = |name: SettingName| self.settings.values().any(|set| set.name() == name);
        let is_ours = config.dialect == Dialect::Camwire;
        let mut names =
            vec!["button/ID/snapshot", "camera/ID", "sensor/ID/fps", "sensor/ID/viewers"];
        let is_removed = matches!(config.discovery, Discovery::Remove(_));
        for (name, is_there) in [
            ("switch/ID/streaming", is_ours),
            ("select/ID/resolution", has(SettingName::Resolution)),
            ("number/ID/quality", has(SettingName::Quality)),
            ("light/ID/lamp", is_ours && has(SettingName::Lamp)),
            ("sensor/ID/signal", false),
        ] {
            if is_there || is_removed {
                names.push(name);
            }
        }
        if !self.announces() && !is_removed {
            names.clear();
        }
        names.sort_unstable();
        let topic =
            |name: &&str| format!("home/{}/config", name.replace("ID", "camwire_garden__cam"));
        let expected: Vec<_> = names.iter().map(topic).collect();
        assert_eq!(discovery.keys().cloned().collect::<Vec<_>>(), expected);
        assert!(discovery.values().all(|payload| payload.is_empty() == is_removed));
    }
}

/// Reads JSON as RFC 8259 has it, without its numbers' details.
pub(crate) fn assert_is_json(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("JSON is UTF-8");
    let rest = value(text).unwrap_or_else(|| panic!("no JSON: {text}"));
    assert_eq!(rest, "", "{text}");
}

fn value(text: &str) -> Option<&str> {
    match text.chars().next()? {
        '{' => list(&text[1..], '}', |text| value(string(text)?.strip_prefix(':')?)),
        '[' => list(&text[1..], ']', value),
        '"' => string(text),
        't' => text.strip_prefix("true"),
        'f' => text.strip_prefix("false"),
        'n' => text.strip_prefix("null"),
        _ => {
            let is_number = |c: char| c.is_ascii_digit() || "-.".contains(c);
            let rest = text.trim_start_matches(is_number);
            text[..text.len() - rest.len()].parse::<f64>().is_ok().then_some(rest)
        }
    }
}

fn list(mut text: &str, end: char, item: impl Fn(&str) -> Option<&str>) -> Option<&str> {
    if let Some(rest) = text.strip_prefix(end) {
        return Some(rest);
    }
    loop {
        text = item(text)?;
        if let Some(rest) = text.strip_prefix(end) {
            return Some(rest);
        }
        text = text.strip_prefix(',')?;
    }
}

fn string(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('"')?;
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return Some(rest),
            '\\' => {
                let escaped = rest.chars().next().filter(|c| "\"\\u".contains(*c))?;
                rest = &rest[1..];
                if escaped == 'u' {
                    u16::from_str_radix(rest.get(..4)?, 16).ok()?;
                    rest = &rest[4..];
                }
            }
            c if c < ' ' => return None,
            _ => {}
        }
    }
}
