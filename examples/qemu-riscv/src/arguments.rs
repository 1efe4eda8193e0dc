use crate::mqtt::Mqtt;
use camwire::frame::FrameRate;

/// What can be said to the firmware when it starts: words such as `fps=20`.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    /// `seconds=N`: end after so long; without it, never.
    pub seconds: Option<u64>,
    /// `fps=N`: the most pictures a second.
    pub rate: FrameRate,
    /// `pictures=N`: show the JPEG pictures in the N bytes that QEMU's loader has put into memory.
    pub pictures: Option<usize>,
    /// `mqtt=ADDRESS:PORT` and what else begins with `mqtt`: the broker.
    pub mqtt: Mqtt,
}

impl Arguments {
    /// Panics at what it does not understand, so that no typing error goes unnoticed.
    pub fn parse(text: &'static str) -> Self {
        let mut arguments = Self {
            seconds: None,
            rate: "15".parse().expect("a rate"),
            pictures: None,
            mqtt: Mqtt::default(),
        };
        for word in text.split_whitespace() {
            let understood = match word.split_once('=') {
                Some(("seconds", n)) => n.parse().map(|n| arguments.seconds = Some(n)).is_ok(),
                Some(("fps", rate)) => rate.parse().map(|rate| arguments.rate = rate).is_ok(),
                Some(("pictures", n)) => n.parse().map(|n| arguments.pictures = Some(n)).is_ok(),
                Some((name, value)) => arguments.mqtt.understand(name, value),
                None => false,
            };
            assert!(understood, "not an argument of this firmware: {word}");
        }
        arguments
    }
}
