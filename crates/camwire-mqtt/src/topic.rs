use core::fmt;

use crate::number::Text;

/// What all topics of a camera begin with, for instance `esp32cam/50`: one or more levels, without
/// the slash that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<'t>(&'t str);

/// Why a text is no [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// It is empty.
    #[error("the prefix is empty")]
    Empty,
    /// It has more than [`Prefix::MAX_LEN`] bytes.
    #[error("the prefix is longer than {limit} bytes", limit = Prefix::MAX_LEN)]
    TooLong,
    /// It has a `+`, a `#` or a zero byte in it, which no topic may have (MQTT 5.0, 4.7.1 and
    /// 1.5.4).
    #[error("a topic must not have +, # or a zero byte in it")]
    Forbidden,
    /// It begins with a `$`, as the broker's own topics and shared subscriptions do (MQTT 5.0, 4.7.2
    /// and 4.8.2).
    #[error("a topic that begins with $ is the broker's own")]
    Reserved,
    /// It ends in a slash, so that the topics would have an empty level in them.
    #[error("the prefix ends in a slash")]
    TrailingSlash,
}

impl<'t> Prefix<'t> {
    /// Bytes of the longest prefix.
    pub const MAX_LEN: usize = 128;

    /// Checks it.
    ///
    /// # Errors
    ///
    /// As [`PrefixError`] says.
    pub const fn new(text: &'t str) -> Result<Self, PrefixError> {
        if text.len() > Self::MAX_LEN {
            return Err(PrefixError::TooLong);
        }
        if let [b'$', ..] = text.as_bytes() {
            return Err(PrefixError::Reserved);
        }
        let mut last = None;
        let mut rest = text.as_bytes();
        while let [byte, after @ ..] = rest {
            if matches!(byte, b'+' | b'#' | 0) {
                return Err(PrefixError::Forbidden);
            }
            last = Some(*byte);
            rest = after;
        }
        match last {
            None => Err(PrefixError::Empty),
            Some(b'/') => Err(PrefixError::TrailingSlash),
            Some(_) => Ok(Self(text)),
        }
    }

    /// The text.
    #[must_use]
    pub const fn as_str(self) -> &'t str {
        self.0
    }

    /// `PREFIX/status`: whether the camera is there, `online` or `offline`, retained. The second
    /// is for the last will.
    #[must_use]
    pub const fn status(self) -> Topic<'t> {
        self.topic("status")
    }

    /// `PREFIX/refused`: commands that were not obeyed, each with the reason.
    #[must_use]
    pub const fn refused(self) -> Topic<'t> {
        self.topic("refused")
    }

    /// `PREFIX/source`: whether frames can be had, `online` or `offline`, retained. A relay whose
    /// camera is dead is there itself.
    #[must_use]
    pub const fn source(self) -> Topic<'t> {
        self.topic("source")
    }

    /// `PREFIX/state`: JSON of what the camera is set to, retained.
    #[must_use]
    pub const fn state(self) -> Topic<'t> {
        self.topic("state")
    }

    /// `PREFIX/stats`: JSON of figures that change all the time, not retained.
    #[must_use]
    pub const fn stats(self) -> Topic<'t> {
        self.topic("stats")
    }

    pub(crate) const fn topic(self, rest: &'static str) -> Topic<'t> {
        Topic { prefix: self, rest, tail: Tail::None }
    }

    /// What stands behind the prefix and its slash in a topic; `None` if it is another's.
    pub(crate) fn rest(self, topic: &str) -> Option<&[u8]> {
        topic.as_bytes().strip_prefix(self.0.as_bytes())?.strip_prefix(b"/")
    }
}

/// A topic of a camera, or a filter to subscribe to, in pieces.
///
/// With an allocator it is `topic.to_string()`; without, [`encode`](Self::encode) writes it into
/// memory of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'t> {
    prefix: Prefix<'t>,
    rest: &'static str,
    tail: Tail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    None,
    Number(u16),
    Name(&'static str),
}

impl Topic<'_> {
    /// Bytes of the longest topic.
    pub const MAX_LEN: usize = TOPIC_LEN;

    pub(crate) const fn numbered(self, number: u16) -> Self {
        Self { tail: Tail::Number(number), ..self }
    }

    pub(crate) const fn named(self, name: &'static str) -> Self {
        Self { tail: Tail::Name(name), ..self }
    }

    /// Writes the topic to the start of `memory`, and returns it.
    #[must_use]
    pub fn encode<'m>(&self, memory: &'m mut [u8; TOPIC_LEN]) -> &'m str {
        let mut text = Text::new(memory);
        text.push(self.prefix.0.as_bytes());
        text.push(b"/");
        text.push(self.rest.as_bytes());
        match self.tail {
            Tail::None => {}
            Tail::Number(number) => text.push_number(number.into()),
            Tail::Name(name) => text.push(name.as_bytes()),
        }
        text.finish()
    }
}

const TOPIC_LEN: usize = Prefix::MAX_LEN + 1 + LONGEST_REST.len();

/// None of ours is longer.
const LONGEST_REST: &str = "motor/deadman/heartbeat";

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.prefix.0, self.rest)?;
        match self.tail {
            Tail::None => Ok(()),
            Tail::Number(number) => write!(f, "{number}"),
            Tail::Name(name) => f.write_str(name),
        }
    }
}

/// Why a message was delivered: the RETAIN flag that it came with (MQTT 5.0, 3.3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It has just been published.
    Live,
    /// The broker had kept it: it may be of yesterday.
    Retained,
}

impl Delivery {
    /// What the flag means. Not for a subscription with the option *retain as published* (MQTT
    /// 5.0, 3.8.3.1), with which live messages have the flag, too.
    #[must_use]
    pub const fn from_retain_flag(retain: bool) -> Self {
        if retain { Self::Retained } else { Self::Live }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn prefixes() {
        assert_eq!(Prefix::new("esp32cam/50").map(Prefix::as_str), Ok("esp32cam/50"));
        for (text, error) in [
            ("", PrefixError::Empty),
            ("a/", PrefixError::TrailingSlash),
            ("a/+", PrefixError::Forbidden),
            ("a#", PrefixError::Forbidden),
            ("a\0b", PrefixError::Forbidden),
            ("$SYS/cam", PrefixError::Reserved),
            ("$share/group/cam", PrefixError::Reserved),
            ("$", PrefixError::Reserved),
        ] {
            assert_eq!(Prefix::new(text), Err(error), "{text:?}");
        }
        // Only in the first place does it mean anything.
        assert_eq!(Prefix::new("a/$b$").map(Prefix::as_str), Ok("a/$b$"));
        assert_eq!(Prefix::new(&"x".repeat(129)), Err(PrefixError::TooLong));
        let prefix = Prefix::new("a/b").unwrap();
        assert_eq!(prefix.rest("a/b/c/d"), Some(&b"c/d"[..]));
        for other in ["a/b", "a/bc", "a/bc/d", "x", ""] {
            assert_eq!(prefix.rest(other), None);
        }
    }

    #[test]
    fn the_longest_topic_fits() {
        let long = "ü".repeat(64);
        let prefix = Prefix::new(&long).unwrap();
        let rests =
            ["status", "refused", LONGEST_REST, "image/part/", "image_complete", "set/resolution"];
        for rest in rests {
            let topic = prefix.topic(rest);
            let numbered = topic.numbered(u16::MAX);
            assert_eq!(topic.encode(&mut [0; Topic::MAX_LEN]), topic.to_string());
            if rest == "image/part/" {
                assert_eq!(numbered.encode(&mut [0; Topic::MAX_LEN]), numbered.to_string());
                assert!(numbered.to_string().ends_with("/image/part/65535"));
            }
            assert!(rest.len() <= LONGEST_REST.len());
        }
        assert_eq!(prefix.status().to_string(), std::format!("{long}/status"));
    }
}
