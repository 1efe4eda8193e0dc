use camwire_frame::{FrameRate, Quality, Resolution, Setting, SettingName, ValueError};

use crate::number::{Text, thousandths, whole};
use crate::{Delivery, Motor, Prefix, Speed, Topic};

/// What somebody wants of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// `set/resolution`, `set/quality`, and in our dialect `set/` with any
    /// [name](SettingName::as_str) of CameraWebServer: a setting of the camera.
    Set(Setting),
    /// `set/fps`: how many pictures a second.
    Rate(FrameRate),
    /// `set/led`: brightness of the lamp.
    Led(Led),
    /// `camera/shot`: one picture, also while there is no stream.
    Shot,
    /// `camera/stream/start`
    StartStream,
    /// `camera/stream/stop`
    StopStream,
    /// `motor/speed/a`, `motor/speed/b`
    Motor(Motor, Speed),
    /// `motor/deadman/heartbeat`: somebody is still there, and the motors may go on turning.
    Heartbeat,
}

/// Brightness of a lamp in thousandths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Led(u32);

impl Led {
    /// Dark.
    pub const OFF: Self = Self(0);
    /// 100 percent.
    pub const FULL: Self = Self(100_000);
    /// What the existing camera makes of anything above 100 percent: never dark, not even for an
    /// 8192th of the time. It is written as `101`.
    pub const BEYOND: Self = Self(101_000);

    /// So many thousandths of a percent; `None` if that is more than 100 percent.
    #[must_use]
    pub const fn from_millipercent(millipercent: u32) -> Option<Self> {
        if millipercent <= Self::FULL.0 { Some(Self(millipercent)) } else { None }
    }

    /// Thousandths of a percent; 101,000 for [`BEYOND`](Self::BEYOND).
    #[must_use]
    pub const fn as_millipercent(self) -> u32 {
        self.0
    }

    /// For how many of 8192 parts of the time it is on (a PWM of 13 bits): 0 below half a
    /// percent, then 1 to 8191 along a cubic curve, as the existing camera does it, since the eye
    /// tells dark steps better than bright ones; 8192 for [`BEYOND`](Self::BEYOND).
    #[must_use]
    pub const fn duty(self) -> u16 {
        if self.0 < 500 {
            return 0;
        }
        if self.0 > Self::FULL.0 {
            return 8192;
        }
        // 1 + 8190 (x / 100)^3, cut off. The numerator is below 2^63.
        let x = self.0 as u64;
        let curve = x.wrapping_mul(x).wrapping_mul(x).wrapping_mul(819) / 100_000_000_000_000;
        (curve as u16).wrapping_add(1)
    }
}

/// How values are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// Ours: what is out of range is refused.
    Camwire,
    /// The existing ESP32 camera's (esp32_mqtt_livestream): what is out of range becomes the
    /// nearest that is in range. What is no number at all, and a zero to that camera, is refused.
    Esp32Cam,
}

/// The topics by which a camera is told what to do, under a prefix, in a dialect.
///
/// All topics are exact, and [`filters`](Self::filters) has each of them. A message on any other topic
/// is no command, and nothing is to be reported about it: it may be meant for another device.
///
/// A setting may be retained. It is then applied each time the camera connects, so it survives a
/// restart, and replaces what was set otherwise meanwhile. Every other command is rejected when it
/// was retained: a camera that comes back must not move or publish because of an old message.
///
/// | topic | [`Dialect::Camwire`] | [`Dialect::Esp32Cam`] |
/// |---|---|---|
/// | `set/resolution` | name (`VGA`) or size (`640x480`) of a [`Resolution`] | `WxH`: the first of QQVGA, QVGA, CIF, VGA, SVGA, XGA, SXGA, UXGA, QXGA, QSXGA with at least so many pixels, else QSXGA; so 400x296 is VGA |
/// | `set/quality` | 0 to 63, lower is better | likewise, clamped |
/// | `set/fps` | 0.001 to 1000 | likewise, what is above is 1000 |
/// | `set/led` | 0 to 100 percent | likewise; below 0 is off, above 100 is [`Led::BEYOND`] |
/// | `set/`*setting* | CameraWebServer's names and numbers: [`SettingName`] | - |
/// | `camera/shot`, `camera/stream/start`, `camera/stream/stop` | whatever the payload is | likewise |
/// | `camera/stream/set` | `on` or `off`: start or stop in one topic, as switches want it | - |
/// | `motor/speed/a`, `motor/speed/b` | -1 to 1 | likewise, clamped |
/// | `motor/deadman/heartbeat` | whatever the payload is | likewise |
///
/// Numbers are decimal, with a sign, a point and an exponent if need be (`-0.25`, `1e-2`), and with
/// white space around them; three decimal places count. The quality is a whole number; that
/// camera cuts decimal places off.
///
/// ```
/// use camwire_frame::{Resolution, Setting};
/// use camwire_mqtt::{Command, ControlTopics, Delivery, Dialect, Prefix};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let topics = ControlTopics::new(Prefix::new("esp32auto/50")?, Dialect::Esp32Cam);
/// let command = topics.parse("esp32auto/50/set/resolution", b"640x480", Delivery::Live)?;
/// assert_eq!(command, Some(Command::Set(Setting::Resolution(Resolution::VGA))));
///
/// let message = topics.message(Command::StartStream).expect("both dialects have it");
/// assert_eq!(message.topic().to_string(), "esp32auto/50/camera/stream/start");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ControlTopics<'t> {
    prefix: Prefix<'t>,
    dialect: Dialect,
}

/// Why a command is not obeyed. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It was retained and is no setting.
    #[error("it was retained, and only settings may be")]
    Retained,
    /// The payload is no text.
    #[error("the value is no text")]
    NotText,
    /// It is none of the resolutions; or in the existing camera's dialect, no size at all.
    #[error("no resolution of that name or size")]
    Resolution,
    /// It is no such number.
    #[error("fps is a number from 0.001 to 1000")]
    Rate,
    /// It is no such number.
    #[error("led is a number from 0 to 100")]
    Led,
    /// It is no such number.
    #[error("speed is a number from -1 to 1")]
    Speed,
    /// It is neither `on` nor `off`.
    #[error("the stream is on or off")]
    Stream,
    /// It is no value of that setting.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl<'t> ControlTopics<'t> {
    /// Those that begin with `prefix`.
    #[must_use]
    pub const fn new(prefix: Prefix<'t>, dialect: Dialect) -> Self {
        Self { prefix, dialect }
    }

    /// The topics to subscribe to: those of all commands of the dialect, each once, without
    /// wildcards. In [`Dialect::Camwire`] these are 36, else 10; the motors' come before the
    /// settings that only our dialect has. No two filters match the same message.
    ///
    /// As long as the prefixes of the cameras at a broker differ, none of these is a topic on which
    /// another camera publishes or takes commands, also where one begins with the other
    /// (`garden`, `garden/camera`).
    ///
    /// Some brokers take only 8 filters in one SUBSCRIBE packet.
    pub fn filters(&self) -> impl Iterator<Item = Topic<'t>> + Clone + use<'t> {
        let prefix = self.prefix;
        self.names().map(move |(rest, name)| prefix.topic(rest).named(name))
    }

    /// The topics behind the prefix, in the order of the filters, in two pieces each.
    fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> + Clone + use<'t> {
        let of_both = COMMON_SETTINGS.iter().chain(ACTIONS.iter().map(|(rest, _)| rest));
        let (switch, settings) = match self.dialect {
            Dialect::Camwire => (Some(STREAM), SettingName::ALL),
            Dialect::Esp32Cam => (None, &[][..]),
        };
        // It is among the common ones.
        let settings = settings.iter().filter(|name| **name != SettingName::Quality);
        let settings = settings.map(|name| ("set/", name.as_str()));
        of_both.copied().chain(switch).map(|rest| (rest, "")).chain(settings)
    }

    /// The place of a topic among the filters; `None` if it is none of them.
    pub(crate) fn index(&self, topic: &str) -> Option<u8> {
        let rest = self.prefix.rest(topic)?;
        let is_it = |(start, end): (&str, &str)| {
            rest.strip_prefix(start.as_bytes()).is_some_and(|rest| rest == end.as_bytes())
        };
        self.names().zip(0..=u8::MAX).find(|(name, _)| is_it(*name)).map(|(_, index)| index)
    }

    /// The topic at that place among the filters.
    pub(crate) fn topic(&self, index: u8) -> Option<Topic<'t>> {
        self.filters().nth(index.into())
    }

    /// The command in a message; `None` if its topic is not among the [filters](Self::filters).
    ///
    /// # Errors
    ///
    /// As [`CommandError`] says.
    pub fn parse(
        &self,
        topic: &str,
        payload: &[u8],
        delivery: Delivery,
    ) -> Result<Option<Command>, CommandError> {
        let Some(rest) = self.prefix.rest(topic) else { return Ok(None) };
        if let Some(name) = rest.strip_prefix(b"set/") {
            return self.setting(name, payload.trim_ascii());
        }
        let action = if self.dialect == Dialect::Camwire && rest == STREAM.as_bytes() {
            None
        } else {
            let mut actions = ACTIONS.iter().filter(|(name, _)| name.as_bytes() == rest);
            let Some((_, command)) = actions.next() else { return Ok(None) };
            Some(*command)
        };
        if delivery == Delivery::Retained {
            return Err(CommandError::Retained);
        }
        let command = match action {
            Some(command) => command,
            None if payload.trim_ascii().eq_ignore_ascii_case(b"on") => Command::StartStream,
            None if payload.trim_ascii().eq_ignore_ascii_case(b"off") => Command::StopStream,
            None => return Err(CommandError::Stream),
        };
        let Command::Motor(motor, _) = command else { return Ok(Some(command)) };
        let speed = decimal(payload.trim_ascii()).ok_or(CommandError::Speed)?;
        let speed = self.in_range(speed, -1000, 1000).ok_or(CommandError::Speed)?;
        let speed = Speed::from_thousandths(speed as i16).ok_or(CommandError::Speed)?;
        Ok(Some(Command::Motor(motor, speed)))
    }

    /// The setting of that name; `None` if the dialect has none.
    fn setting(&self, name: &[u8], value: &[u8]) -> Result<Option<Command>, CommandError> {
        let command = match name {
            b"resolution" => {
                let resolution = match self.dialect {
                    Dialect::Camwire => text(value)?.parse().ok(),
                    Dialect::Esp32Cam => nearest(value),
                };
                let resolution = resolution.ok_or(CommandError::Resolution)?;
                Command::Set(Setting::Resolution(resolution))
            }
            b"quality" if self.dialect == Dialect::Esp32Cam => {
                let error = CommandError::Value(ValueError(SettingName::Quality));
                let quality = decimal(value).ok_or(error)?;
                let quality = (quality / 1000).clamp(0, 63) as i16;
                let quality = Quality::new(quality).ok_or(error)?;
                Command::Set(Setting::Quality(quality))
            }
            b"fps" => {
                let rate = decimal(value).ok_or(CommandError::Rate)?;
                let most = 1_000_000;
                let rate = if self.dialect == Dialect::Esp32Cam { rate.min(most) } else { rate };
                let rate = u32::try_from(rate).ok().and_then(FrameRate::from_millihertz);
                rate.map(Command::Rate).ok_or(CommandError::Rate)?
            }
            b"led" => {
                let percent = decimal(value).ok_or(CommandError::Led)?;
                let percent = self.in_range(percent, 0, 100_001).ok_or(CommandError::Led)?;
                let led = Led::from_millipercent(percent as u32);
                let beyond = (self.dialect == Dialect::Esp32Cam).then_some(Led::BEYOND);
                led.or(beyond).map(Command::Led).ok_or(CommandError::Led)?
            }
            _ if self.dialect == Dialect::Camwire => {
                let mut names = SettingName::ALL.iter();
                let name = names.find(|known| known.as_str().as_bytes() == name);
                let Some(name) = name else { return Ok(None) };
                Command::Set(name.with_text(text(value)?)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(command))
    }

    /// The nearest in the range, where the dialect wants that; else itself, if it is in the range.
    fn in_range(&self, value: i32, min: i32, max: i32) -> Option<i32> {
        match self.dialect {
            Dialect::Esp32Cam => Some(value.clamp(min, max)),
            Dialect::Camwire => (min..=max).contains(&value).then_some(value),
        }
    }

    /// The message that says it, for those who control a camera. `None` if the dialect has no
    /// words for it, as the existing camera's has for most settings.
    #[must_use]
    pub fn message(&self, command: Command) -> Option<CommandMessage<'t>> {
        let mut payload = [0; PAYLOAD];
        let mut text = Text::new(&mut payload);
        let mut name = "";
        let rest = match command {
            Command::Set(Setting::Resolution(resolution)) => {
                text.push_number(resolution.width().into());
                text.push(b"x");
                text.push_number(resolution.height().into());
                "set/resolution"
            }
            Command::Set(Setting::Quality(quality)) => {
                text.push_number(quality.get().unsigned_abs().into());
                "set/quality"
            }
            Command::Set(setting) => {
                if self.dialect == Dialect::Esp32Cam {
                    return None;
                }
                text.push_thousandths(i32::from(setting.number()).saturating_mul(1000));
                name = setting.name().as_str();
                "set/"
            }
            Command::Rate(rate) => {
                text.push_thousandths(rate.as_millihertz() as i32);
                "set/fps"
            }
            Command::Led(led) => {
                if led == Led::BEYOND && self.dialect == Dialect::Camwire {
                    return None;
                }
                text.push_thousandths(led.as_millipercent() as i32);
                "set/led"
            }
            Command::Motor(motor, speed) => {
                text.push_thousandths(speed.as_thousandths().into());
                match motor {
                    Motor::A => "motor/speed/a",
                    Motor::B => "motor/speed/b",
                }
            }
            other => ACTIONS.iter().find(|(_, action)| *action == other)?.0,
        };
        let len = text.finish().len();
        let topic = self.prefix.topic(rest).named(name);
        Some(CommandMessage { topic, payload, len })
    }
}

/// A command as a message to publish: not retained, and for those that must not get lost with
/// quality of service 1.
#[derive(Clone, Copy, Debug)]
pub struct CommandMessage<'t> {
    topic: Topic<'t>,
    payload: [u8; PAYLOAD],
    len: usize,
}

impl<'t> CommandMessage<'t> {
    /// Where to.
    #[must_use]
    pub const fn topic(&self) -> Topic<'t> {
        self.topic
    }

    /// The value; empty where there is none.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or_default()
    }
}

/// Bytes of the longest value: of a size, or of a number with three decimal places.
const PAYLOAD: usize = 12;

/// The settings that both dialects have.
const COMMON_SETTINGS: [&str; 4] = ["set/resolution", "set/quality", "set/fps", "set/led"];

/// Start and stop in one topic. Only our dialect has it.
pub(crate) const STREAM: &str = "camera/stream/set";

/// Everything that is not a setting.
const ACTIONS: [(&str, Command); 6] = [
    ("camera/shot", Command::Shot),
    ("camera/stream/start", Command::StartStream),
    ("camera/stream/stop", Command::StopStream),
    ("motor/speed/a", Command::Motor(Motor::A, Speed::STOP)),
    ("motor/speed/b", Command::Motor(Motor::B, Speed::STOP)),
    ("motor/deadman/heartbeat", Command::Heartbeat),
];

/// The value is nothing but a number: its thousandths.
fn decimal(value: &[u8]) -> Option<i32> {
    let (number, rest) = thousandths(value)?;
    rest.is_empty().then_some(number)
}

fn text(value: &[u8]) -> Result<&str, CommandError> {
    core::str::from_utf8(value).map_err(|_| CommandError::NotText)
}

/// What the existing camera makes of a size.
fn nearest(value: &[u8]) -> Option<Resolution> {
    let (Some(width), [b'x', rest @ ..]) = whole(value) else { return None };
    let (Some(height), []) = whole(rest) else { return None };
    let pixels = width.saturating_mul(height);
    // With its own count of pixels, which for CIF is another than that of its pictures.
    let (_, resolution) = RESOLUTIONS.iter().find(|(most, _)| pixels <= *most)?;
    Some(*resolution)
}

const RESOLUTIONS: [(u32, Resolution); 10] = [
    (19_200, Resolution::QQVGA),
    (76_800, Resolution::QVGA),
    (115_200, Resolution::CIF),
    (307_200, Resolution::VGA),
    (480_000, Resolution::SVGA),
    (786_432, Resolution::XGA),
    (1_310_720, Resolution::SXGA),
    (1_920_000, Resolution::UXGA),
    (3_145_728, Resolution::QXGA),
    (u32::MAX, Resolution::QSXGA),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const OURS: ControlTopics<'static> = topics("cam", Dialect::Camwire);
    const THEIRS: ControlTopics<'static> = topics("esp32auto/50", Dialect::Esp32Cam);

    const fn topics(prefix: &'static str, dialect: Dialect) -> ControlTopics<'static> {
        match Prefix::new(prefix) {
            Ok(prefix) => ControlTopics::new(prefix, dialect),
            Err(_) => panic!(),
        }
    }

    fn parse(
        topics: &ControlTopics<'_>,
        rest: &str,
        value: &str,
    ) -> Result<Option<Command>, CommandError> {
        let topic = std::format!("{}/{rest}", topics.prefix.as_str());
        topics.parse(&topic, value.as_bytes(), Delivery::Live)
    }

    fn ours(rest: &str, value: &str) -> Result<Command, CommandError> {
        parse(&OURS, rest, value).map(|command| command.expect("one of ours"))
    }

    fn theirs(rest: &str, value: &str) -> Result<Command, CommandError> {
        parse(&THEIRS, rest, value).map(|command| command.expect("one of theirs"))
    }

    fn resolution(resolution: Resolution) -> Result<Command, CommandError> {
        Ok(Command::Set(Setting::Resolution(resolution)))
    }

    fn led(millipercent: u32) -> Result<Command, CommandError> {
        Ok(Command::Led(Led::from_millipercent(millipercent).unwrap()))
    }

    fn speed(thousandths: i16) -> Result<Command, CommandError> {
        Ok(Command::Motor(Motor::B, Speed::from_thousandths(thousandths).unwrap()))
    }

    #[test]
    fn their_resolutions_by_pixels() {
        for (text, expected) in [
            ("0x0", Resolution::QQVGA),
            ("160x120", Resolution::QQVGA),
            ("161x120", Resolution::QVGA),
            ("320x240", Resolution::QVGA),
            ("320x241", Resolution::CIF),
            ("360x320", Resolution::CIF),
            ("400x296", Resolution::VGA),
            ("640x480", Resolution::VGA),
            ("800x600", Resolution::SVGA),
            ("1024x768", Resolution::XGA),
            ("1280x1024", Resolution::SXGA),
            ("1600x1200", Resolution::UXGA),
            ("2048x1536", Resolution::QXGA),
            ("2048x1537", Resolution::QSXGA),
            (" 99999999999x99999999999\n", Resolution::QSXGA),
        ] {
            assert_eq!(theirs("set/resolution", text), resolution(expected), "{text}");
        }
        for text in ["", "x", "640", "640x", "x480", "VGA", "640X480", "-1x5", "640x480x1"] {
            let refused = Err(CommandError::Resolution);
            assert_eq!(theirs("set/resolution", text), refused, "{text}");
        }
    }

    #[test]
    fn our_resolutions_by_name_or_size() {
        for text in ["VGA", "vga", "640x480", " 640x480\n"] {
            assert_eq!(ours("set/resolution", text), resolution(Resolution::VGA));
        }
        assert_eq!(ours("set/resolution", "400x296"), resolution(Resolution::CIF));
        for text in ["", "641x480", "0x0", "10", "big"] {
            assert_eq!(ours("set/resolution", text), Err(CommandError::Resolution), "{text}");
        }
        assert_eq!(
            OURS.parse("cam/set/resolution", b"\xFF", Delivery::Live),
            Err(CommandError::NotText)
        );
    }

    #[test]
    fn out_of_range_is_refused_or_clamped() {
        let quality = |q| Ok(Command::Set(Setting::Quality(Quality::new(q).unwrap())));
        let no_quality = Err(CommandError::Value(ValueError(SettingName::Quality)));
        let rate = |r| Ok(Command::Rate(FrameRate::from_millihertz(r).unwrap()));
        let beyond = Ok(Command::Led(Led::BEYOND));
        let (a, b) = ("set/quality", "motor/speed/b");
        for (rest, value, in_ours, in_theirs) in [
            (a, "0", quality(0), quality(0)),
            (a, "63", quality(63), quality(63)),
            (a, "64", no_quality, quality(63)),
            (a, "-1", no_quality, quality(0)),
            (a, "12.9", no_quality, quality(12)),
            (a, "99999999999999999999", no_quality, quality(63)),
            (a, "good", no_quality, no_quality),
            (a, "", no_quality, no_quality),
            ("set/fps", "15", rate(15_000), rate(15_000)),
            ("set/fps", "0.5", rate(500), rate(500)),
            ("set/fps", "29.97", rate(29_970), rate(29_970)),
            ("set/fps", "1e1", rate(10_000), rate(10_000)),
            ("set/fps", "1000.1", Err(CommandError::Rate), rate(1_000_000)),
            ("set/fps", "0", Err(CommandError::Rate), Err(CommandError::Rate)),
            ("set/fps", "-5", Err(CommandError::Rate), Err(CommandError::Rate)),
            ("set/fps", "nan", Err(CommandError::Rate), Err(CommandError::Rate)),
            ("set/fps", "5 fps", Err(CommandError::Rate), Err(CommandError::Rate)),
            ("set/led", "0", led(0), led(0)),
            ("set/led", "12.5", led(12_500), led(12_500)),
            ("set/led", "100", led(100_000), led(100_000)),
            ("set/led", "100.001", Err(CommandError::Led), beyond),
            ("set/led", "1e9", Err(CommandError::Led), beyond),
            ("set/led", "-0.1", Err(CommandError::Led), led(0)),
            ("set/led", "on", Err(CommandError::Led), Err(CommandError::Led)),
            (b, "1", speed(1000), speed(1000)),
            (b, "-1.0", speed(-1000), speed(-1000)),
            (b, "0.30000000000000004", speed(300), speed(300)),
            (b, "1.5", Err(CommandError::Speed), speed(1000)),
            (b, "-7e20", Err(CommandError::Speed), speed(-1000)),
            (b, "", Err(CommandError::Speed), Err(CommandError::Speed)),
        ] {
            assert_eq!(ours(rest, value), in_ours, "{rest} {value}");
            assert_eq!(theirs(rest, value), in_theirs, "{rest} {value}");
        }
    }

    #[test]
    fn the_curve_of_the_lamp() {
        let naive = |percent: f64| (1.0 + 8190.0 * (percent / 100.0).powi(3)) as u16;
        for millipercent in 0..=100_000 {
            let duty = Led(millipercent).duty();
            if millipercent < 500 {
                assert_eq!(duty, 0);
            } else {
                let expected = naive(f64::from(millipercent) / 1000.0);
                // Floating point is a hair off where the curve meets a whole number.
                assert!(duty.abs_diff(expected) <= 1, "{millipercent}");
                let exact = 8190 * u128::from(millipercent).pow(3) / 10u128.pow(15) + 1;
                assert_eq!(u128::from(duty), exact);
            }
        }
        assert_eq!(Led::BEYOND.duty(), 8192);
        assert_eq!((Led(500).duty(), Led::FULL.duty()), (1, 8191));
    }

    #[test]
    fn other_settings_in_our_dialect_only() {
        let flip = Ok(Command::Set(Setting::VFlip(true)));
        assert_eq!(ours("set/vflip", "1"), flip);
        assert_eq!(parse(&THEIRS, "set/vflip", "1"), Ok(None));
        let error = ours("set/vflip", "2").unwrap_err();
        assert_eq!(error.to_string(), "vflip is a number from 0 to 1");
    }

    /// What cameras publish, behind their prefix.
    const PUBLISHED: [&str; 10] = [
        "frame",
        "image",
        "image/part/0",
        "image/part/1023",
        "image_complete",
        "status",
        "refused",
        "state",
        "source",
        "stats",
    ];

    #[test]
    fn filters_are_exactly_the_topics_of_commands() {
        let common = [
            "set/resolution",
            "set/quality",
            "set/fps",
            "set/led",
            "camera/shot",
            "camera/stream/start",
            "camera/stream/stop",
            "motor/speed/a",
            "motor/speed/b",
            "motor/deadman/heartbeat",
        ];
        let other = SettingName::ALL.iter().map(|name| String::from("set/") + name.as_str());
        let other = other.filter(|name| name != "set/quality");
        let other: Vec<_> = [String::from(STREAM)].into_iter().chain(other).collect();
        for (topics, more) in [(OURS, &other[..]), (THEIRS, &[])] {
            let expected = common.iter().copied().chain(more.iter().map(String::as_str));
            let expected: Vec<_> =
                expected.map(|rest| std::format!("{}/{rest}", topics.prefix.as_str())).collect();
            let filters: Vec<_> = topics.filters().map(|topic| topic.to_string()).collect();
            assert_eq!(filters, expected);
            let different: BTreeSet<_> = filters.iter().collect();
            assert_eq!(different.len(), filters.len());
            for filter in &filters {
                assert!(!filter.contains(['+', '#']), "{filter}");
                // With some value, each is a command.
                let commands = ["1", "640x480", "on"].map(|value| {
                    topics
                        .parse(filter, value.as_bytes(), Delivery::Live)
                        .is_ok_and(|c| c.is_some())
                });
                assert!(commands.contains(&true), "{filter}");
                // And with any other, it is still no topic of another device.
                assert_ne!(topics.parse(filter, b"\xFF", Delivery::Live), Ok(None), "{filter}");
            }
        }
        assert_eq!((OURS.filters().count(), THEIRS.filters().count()), (36, 10));
    }

    #[test]
    fn other_topics_are_no_commands() {
        for rest in [
            "",
            "set",
            "set/",
            "set/nonsense",
            "set/vflip/",
            "set/VFLIP",
            "set/fps/set",
            "set/frame",
            "camera",
            "camera/",
            "camera/frame",
            "camera/shot/now",
            "camera/stream",
            "motor/speed/c",
            "motor/status",
            "cam/set/fps",
        ]
        .iter()
        .chain(&PUBLISHED)
        {
            for (topics, prefix) in [(OURS, "cam"), (THEIRS, "esp32auto/50")] {
                for delivery in [Delivery::Live, Delivery::Retained] {
                    let topic = std::format!("{prefix}/{rest}");
                    assert_eq!(topics.parse(&topic, b"1", delivery), Ok(None), "{topic}");
                    assert_eq!(topics.parse(&topic, b"\xFF\xD8", delivery), Ok(None), "{topic}");
                }
            }
        }
        for topic in ["cam", "camera/shot", "x/set/fps", "x/cam/set/fps", "CAM/set/fps", ""] {
            assert_eq!(OURS.parse(topic, b"1", Delivery::Live), Ok(None), "{topic}");
        }
    }

    #[test]
    fn no_camera_publishes_to_a_command_topic_of_another_whatever_their_prefixes() {
        // A topic of one is a topic of the other only if what is behind one prefix ends in what is
        // behind the other.
        let rests = |topics: ControlTopics<'_>| {
            let filters = topics.filters().map(|filter| filter.to_string());
            let behind = topics.prefix.as_str().len() + 1;
            filters.map(|filter| String::from(&filter[behind..])).collect::<Vec<_>>()
        };
        let overlap = |one: &str, other: &str| {
            one == other
                || one.strip_suffix(other).is_some_and(|rest| rest.ends_with('/'))
                || other.strip_suffix(one).is_some_and(|rest| rest.ends_with('/'))
        };
        assert!(overlap("a", "b/a") && overlap("b/a", "a") && !overlap("ba", "a"));
        let commands = [rests(OURS), rests(THEIRS)].concat();
        for command in &commands {
            for published in PUBLISHED {
                assert!(!overlap(command, published), "{command} {published}");
            }
            for other in commands.iter().filter(|other| *other != command) {
                assert!(!overlap(command, other), "{command} {other}");
            }
        }
    }

    #[test]
    fn only_settings_are_obeyed_when_they_were_retained() {
        for (rest, _) in ACTIONS {
            let topic = String::from("cam/") + rest;
            assert!(matches!(OURS.parse(&topic, b"1", Delivery::Live), Ok(Some(_))));
            let refused = Err(CommandError::Retained);
            assert_eq!(OURS.parse(&topic, b"1", Delivery::Retained), refused);
        }
        let fps = OURS.parse("cam/set/fps", b"1", Delivery::Retained);
        assert_eq!(fps, Ok(Some(Command::Rate(FrameRate::per_second(1).unwrap()))));
    }

    fn command() -> impl Strategy<Value = Command> {
        let setting = (proptest::sample::select(SettingName::ALL), any::<i16>());
        let setting = setting.prop_map(|(name, number)| {
            let (min, max) = name.range();
            let range = i32::from(max) - i32::from(min) + 1;
            let number = i32::from(min) + i32::from(number).rem_euclid(range);
            Command::Set(name.with_number(number as i16).unwrap())
        });
        prop_oneof![
            4 => setting,
            1 => (1u32..=1_000_000)
                .prop_map(|rate| Command::Rate(FrameRate::from_millihertz(rate).unwrap())),
            1 => (0u32..=100_000).prop_map(|led| Command::Led(Led(led))),
            1 => (any::<bool>(), -1000i16..=1000).prop_map(|(a, speed)| {
                let motor = if a { Motor::A } else { Motor::B };
                Command::Motor(motor, Speed::from_thousandths(speed).unwrap())
            }),
            1 => proptest::sample::select(&ACTIONS[..]).prop_map(|(_, command)| command),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_is_written_is_read(command in command()) {
            for topics in [OURS, THEIRS] {
                let Some(message) = topics.message(command) else {
                    prop_assert!(matches!(command, Command::Set(_)));
                    prop_assert_eq!(topics.dialect, Dialect::Esp32Cam);
                    continue;
                };
                let topic = message.topic().to_string();
                let mut memory = [0; Topic::MAX_LEN];
                prop_assert_eq!(message.topic().encode(&mut memory), topic.as_str());
                let read = topics.parse(&topic, message.payload(), Delivery::Live);
                match (command, topics.dialect) {
                    // That camera has only ten of them.
                    (Command::Set(Setting::Resolution(asked)), Dialect::Esp32Cam) => {
                        let Ok(Some(Command::Set(Setting::Resolution(got)))) = read else {
                            panic!("{read:?}");
                        };
                        let pixels = |r: Resolution| u32::from(r.width()) * u32::from(r.height());
                        let largest = pixels(Resolution::QSXGA);
                        prop_assert!(pixels(got) >= pixels(asked).min(largest));
                    }
                    _ => prop_assert_eq!(read, Ok(Some(command))),
                }
            }
        }

        #[test]
        fn only_filtered_topics_are_commands(
            rest in "(set/[a-z0-9_]{0,12}|motor/.*|camera/.*|.*)",
            value: Vec<u8>,
        ) {
            for topics in [OURS, THEIRS] {
                let topic = std::format!("{}/{rest}", topics.prefix.as_str());
                let is_filtered = topics.filters().any(|filter| filter.to_string() == topic);
                for delivery in [Delivery::Live, Delivery::Retained] {
                    let command = topics.parse(&topic, &value, delivery);
                    prop_assert_eq!(command != Ok(None), is_filtered, "{}: {:?}", topic, command);
                    let _ = command.map_err(|error| error.to_string());
                }
            }
        }
    }

    #[test]
    fn stream_is_a_switch_in_our_dialect() {
        for (value, command) in [
            ("on", Ok(Command::StartStream)),
            (" OFF\n", Ok(Command::StopStream)),
            ("1", Err(CommandError::Stream)),
            ("", Err(CommandError::Stream)),
        ] {
            assert_eq!(ours(STREAM, value), command, "{value}");
        }
        assert_eq!(parse(&THEIRS, STREAM, "on"), Ok(None));
        let retained = OURS.parse("cam/camera/stream/set", b"on", Delivery::Retained);
        assert_eq!(retained, Err(CommandError::Retained));
    }

    #[test]
    fn every_filter_has_an_index() {
        for topics in [OURS, THEIRS] {
            for (index, filter) in (0..).zip(topics.filters()) {
                let filter = filter.to_string();
                assert_eq!(topics.index(&filter), Some(index));
                assert_eq!(topics.topic(index).unwrap().to_string(), filter);
                assert_eq!(topics.index(&std::format!("{filter}x")), None);
            }
            assert_eq!(topics.topic(36), None);
        }
    }

    #[test]
    fn beyond_is_theirs_alone() {
        assert!(OURS.message(Command::Led(Led::BEYOND)).is_none());
        let message = THEIRS.message(Command::Led(Led::BEYOND)).unwrap();
        assert_eq!(message.payload(), b"101");
        assert_eq!(theirs("set/led", "101"), Ok(Command::Led(Led::BEYOND)));
    }
}
