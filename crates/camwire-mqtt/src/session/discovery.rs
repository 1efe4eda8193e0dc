use core::net::Ipv4Addr;

use camwire_frame::{Resolution, SettingName};

use super::SessionConfig;
use crate::Prefix;
use crate::number::{Text, hex};

/// What Home Assistant learns of a camera. It needs the whole layout.
#[derive(Clone, Copy, Debug)]
pub enum Discovery<'a> {
    /// Nothing; what it knows, it keeps.
    Off,
    /// The camera, and an entity for each thing that can be set or read: streaming, a snapshot, the
    /// resolution, the quality and the lamp where the source has them, frames a second, viewers,
    /// and the strength of the signal.
    Announce(Device<'a>),
    /// The camera is gone: all that was announced is removed. The prefix is that of
    /// [`Device::prefix`].
    Remove(Prefix<'a>),
}

/// How a camera presents itself to Home Assistant.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Device<'a> {
    /// What Home Assistant's topics begin with. `homeassistant`, unless its user has changed it.
    pub prefix: Prefix<'a>,
    /// Name of the device. The prefix of the camera by default.
    pub name: &'a str,
    /// What kind of camera it is, such as `ESP32-CAM`. `camwire` by default.
    pub model: &'a str,
    /// The port of the camera's page; `None`, as by default, if there is no page that Home
    /// Assistant's users can open.
    pub web_port: Option<u16>,
    /// Whether [`Stats::signal`](crate::Stats::signal) is known. Not by default.
    pub has_signal: bool,
}

impl<'a> Device<'a> {
    /// A camera whose topics begin with `camera`, for the Home Assistant whose topics begin with
    /// `prefix`.
    #[must_use]
    pub const fn new(prefix: Prefix<'a>, camera: Prefix<'a>) -> Self {
        let name = camera.as_str();
        Self { prefix, name, model: "camwire", web_port: None, has_signal: false }
    }
}

/// One thing that Home Assistant shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    Camera,
    Streaming,
    Snapshot,
    Resolution,
    Quality,
    Lamp,
    FrameRate,
    Viewers,
    Signal,
}

/// A set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entities(u16);

impl Entities {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self((1 << Entity::ALL.len()) - 1);

    pub(super) fn with(self, entity: Entity, is_in: bool) -> Self {
        if is_in { Self(self.0 | entity.bit()) } else { self }
    }

    /// Takes the first out.
    pub(super) fn next(&mut self) -> Option<Entity> {
        let first = Entity::ALL.into_iter().find(|entity| self.0 & entity.bit() != 0)?;
        self.0 &= !first.bit();
        Some(first)
    }
}

impl Entity {
    /// In the order in which they are announced: the camera names the device.
    const ALL: [Self; 9] = [
        Self::Camera,
        Self::Streaming,
        Self::Snapshot,
        Self::Resolution,
        Self::Quality,
        Self::Lamp,
        Self::FrameRate,
        Self::Viewers,
        Self::Signal,
    ];

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Home Assistant's component.
    const fn component(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Streaming => "switch",
            Self::Snapshot => "button",
            Self::Resolution => "select",
            Self::Quality => "number",
            Self::Lamp => "light",
            Self::FrameRate | Self::Viewers | Self::Signal => "sensor",
        }
    }

    /// What tells its identifier from those of the others; the camera's is the device's own.
    const fn key(self) -> &'static str {
        match self {
            Self::Camera => "",
            Self::Streaming => "streaming",
            Self::Snapshot => "snapshot",
            Self::Resolution => "resolution",
            Self::Quality => "quality",
            Self::Lamp => "lamp",
            Self::FrameRate => "fps",
            Self::Viewers => "viewers",
            Self::Signal => "signal",
        }
    }

    /// Its name as JSON. The main entity has that of the device.
    const fn name(self) -> &'static str {
        match self {
            Self::Camera => "null",
            Self::Streaming => "\"Streaming\"",
            Self::Snapshot => "\"Snapshot\"",
            Self::Resolution => "\"Resolution\"",
            Self::Quality => "\"Quality\"",
            Self::Lamp => "\"Lamp\"",
            Self::FrameRate => "\"Frame rate\"",
            Self::Viewers => "\"Viewers\"",
            Self::Signal => "\"Signal\"",
        }
    }

    /// The topic by which it is controlled, behind the prefix of commands.
    const fn command(self) -> Option<&'static str> {
        match self {
            Self::Streaming => Some(crate::control::STREAM),
            Self::Snapshot => Some("camera/shot"),
            Self::Resolution => Some("set/resolution"),
            Self::Quality => Some("set/quality"),
            Self::Lamp => Some("set/led_intensity"),
            _ => None,
        }
    }

    /// What else it is, as JSON. A `~` in a topic is the camera's prefix.
    const fn rest(self) -> &'static str {
        match self {
            Self::Camera => r#","topic":"~/image""#,
            Self::Streaming => {
                r#","payload_on":"on","payload_off":"off","state_topic":"~/state","value_template":"{{'on' if value_json.publishing else 'off'}}","icon":"mdi:video""#
            }
            Self::Snapshot => r#","icon":"mdi:camera""#,
            Self::Resolution => {
                r#","state_topic":"~/state","value_template":"{{value_json.resolution}}","entity_category":"config""#
            }
            Self::Quality => {
                r#","state_topic":"~/state","value_template":"{{value_json.quality}}","min":0,"max":63,"entity_category":"config""#
            }
            Self::Lamp => {
                r#","payload_on":"255","payload_off":"0","on_command_type":"brightness","state_topic":"~/state","state_value_template":"{{'255' if value_json.led_intensity else '0'}}","brightness_state_topic":"~/state","brightness_value_template":"{{value_json.led_intensity}}""#
            }
            Self::FrameRate => {
                r#","state_topic":"~/stats","value_template":"{{value_json.fps}}","unit_of_measurement":"fps","state_class":"measurement","entity_category":"diagnostic""#
            }
            Self::Viewers => {
                r#","state_topic":"~/stats","value_template":"{{value_json.viewers}}","state_class":"measurement","entity_category":"diagnostic""#
            }
            Self::Signal => {
                r#","state_topic":"~/stats","value_template":"{{value_json.signal}}","device_class":"signal_strength","unit_of_measurement":"dBm","state_class":"measurement","entity_category":"diagnostic""#
            }
        }
    }

    /// `homeassistant/COMPONENT/DEVICE[/KEY]/config`
    pub(super) fn write_topic(self, config: &SessionConfig<'_>, text: &mut Text<'_>) {
        let prefix = match &config.discovery {
            Discovery::Announce(device) => device.prefix,
            Discovery::Remove(prefix) => *prefix,
            Discovery::Off => return,
        };
        text.push(prefix.as_str().as_bytes());
        text.push(b"/");
        text.push(self.component().as_bytes());
        text.push(b"/");
        push_id(config.prefix, text);
        if !self.key().is_empty() {
            text.push(b"/");
            text.push(self.key().as_bytes());
        }
        text.push(b"/config");
    }

    /// What Home Assistant is to know; nothing where it is to forget.
    pub(super) fn write_payload(
        self,
        config: &SessionConfig<'_>,
        own: Option<Ipv4Addr>,
        text: &mut Text<'_>,
    ) {
        let Discovery::Announce(device) = &config.discovery else { return };
        text.push(b"{\"~\":\"");
        text.push_json(config.prefix.as_str());
        text.push(b"\",\"name\":");
        text.push(self.name().as_bytes());
        text.push(b",\"unique_id\":\"");
        push_id(config.prefix, text);
        if !self.key().is_empty() {
            text.push(b"/");
            text.push(self.key().as_bytes());
        }
        text.push(b"\"");
        text.push(self.rest().as_bytes());
        if let Some(command) = self.command() {
            self.write_command("command_topic", command, config, text);
            if self == Self::Lamp {
                self.write_command("brightness_command_topic", command, config, text);
            }
        }
        if self == Self::Resolution {
            write_resolutions(text);
        }
        text.push(
            br#","availability_mode":"all","availability":[{"topic":"~/status"},{"topic":"~/source"}]"#,
        );
        write_device(device, config.prefix, own, text);
        text.push(b"}");
    }

    fn write_command(
        self,
        key: &str,
        command: &str,
        config: &SessionConfig<'_>,
        text: &mut Text<'_>,
    ) {
        text.push(b",\"");
        text.push(key.as_bytes());
        text.push(b"\":\"");
        if config.control == config.prefix {
            text.push(b"~");
        } else {
            text.push_json(config.control.as_str());
        }
        text.push(b"/");
        text.push(command.as_bytes());
        text.push(b"\"");
    }
}

/// All sizes that have a name. The source rejects those that it does not have.
fn write_resolutions(text: &mut Text<'_>) {
    text.push(b",\"options\":[");
    let mut comma: &[u8] = b"";
    for size in Resolution::ALL {
        text.push(comma);
        text.push(b"\"");
        text.push_number(size.width().into());
        text.push(b"x");
        text.push_number(size.height().into());
        text.push(b"\"");
        comma = b",";
    }
    text.push(b"]");
}

fn write_device(
    device: &Device<'_>,
    prefix: Prefix<'_>,
    own: Option<Ipv4Addr>,
    text: &mut Text<'_>,
) {
    text.push(b",\"device\":{\"identifiers\":[\"");
    push_id(prefix, text);
    text.push(b"\"],\"name\":\"");
    text.push_json(device.name);
    text.push(b"\",\"manufacturer\":\"camwire\",\"model\":\"");
    text.push_json(device.model);
    text.push(b"\"");
    if let (Some(address), Some(port)) = (own, device.web_port) {
        let [a, b, c, d] = address.octets();
        text.push(b",\"configuration_url\":\"http://");
        for (byte, end) in [(a, "."), (b, "."), (c, "."), (d, "")] {
            text.push_number(byte.into());
            text.push(end.as_bytes());
        }
        if port != 80 {
            text.push(b":");
            text.push_number(port.into());
        }
        text.push(b"/\"");
    }
    text.push(
        concat!(
            r#"},"origin":{"name":"camwire","sw_version":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","support_url":""#,
            env!("CARGO_PKG_REPOSITORY"),
            r#""}"#
        )
        .as_bytes(),
    );
}

/// An identifier of the camera, of letters, digits, `-` and `_`, as Home Assistant wants it. No two
/// prefixes have the same: a slash becomes two underscores, and every other character `_` and two
/// digits for each of its bytes.
fn push_id(prefix: Prefix<'_>, text: &mut Text<'_>) {
    text.push(b"camwire_");
    for byte in prefix.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => text.push(&[byte]),
            b'/' => text.push(b"__"),
            _ => text.push(&[b'_', hex(byte >> 4), hex(byte & 15)]),
        }
    }
}

impl SessionConfig<'_> {
    /// What can be announced, of a source with these settings.
    pub(super) fn entities(&self, has: impl Fn(SettingName) -> bool) -> Entities {
        let is_ours = self.dialect == crate::Dialect::Camwire;
        let has_signal = self.announces().is_some_and(|device| device.has_signal);
        Entities::NONE
            .with(Entity::Camera, true)
            .with(Entity::Streaming, is_ours)
            .with(Entity::Snapshot, true)
            .with(Entity::Resolution, has(SettingName::Resolution))
            .with(Entity::Quality, has(SettingName::Quality))
            .with(Entity::Lamp, is_ours && has(SettingName::Lamp))
            .with(Entity::FrameRate, true)
            .with(Entity::Viewers, true)
            .with(Entity::Signal, has_signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn id(prefix: &str) -> String {
        let mut memory = [0; 400];
        let mut text = Text::new(&mut memory);
        push_id(Prefix::new(prefix).unwrap(), &mut text);
        text.finish().to_string()
    }

    #[test]
    fn identifiers_have_characters_of_home_assistant_only() {
        assert_eq!(id("camwire/esp32-0a1b2c"), "camwire_camwire__esp32-0a1b2c");
        assert_eq!(id("garden/cam \"1\""), "camwire_garden__cam_20_221_22");
        assert_eq!(id("a_b"), "camwire_a_5fb");
        assert_ne!(id("garden/cam"), id("garden_cam"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn different_prefixes_have_different_identifiers(
            one in "[a/_5fF ]{1,6}x",
            other in "[a/_5fF ]{1,6}x",
        ) {
            prop_assert_eq!(id(&one) == id(&other), one == other);
            prop_assert!(id(&one).bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }
    }
}
