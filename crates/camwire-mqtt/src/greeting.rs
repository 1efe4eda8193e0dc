use core::fmt;
use core::net::Ipv4Addr;

use crate::{Prefix, PrefixError};

/// What the existing ESP32 camera publishes on the topic `esp32cam` when it has connected:
/// `online on ip 192.168.0.50 topic: esp32auto/50`.
///
/// ```
/// use camwire_mqtt::Greeting;
///
/// let greeting = Greeting::parse(b"online on ip 192.168.0.50 topic: esp32auto/50")?;
/// assert_eq!(greeting.control.as_str(), "esp32auto/50");
/// assert_eq!(greeting.to_string(), "online on ip 192.168.0.50 topic: esp32auto/50");
/// # Ok::<(), camwire_mqtt::GreetingError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting<'t> {
    /// Its address.
    pub address: Ipv4Addr,
    /// What the topics begin with on which it takes commands.
    pub control: Prefix<'t>,
}

/// Why a message is no [`Greeting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GreetingError {
    /// It reads otherwise.
    #[error("no greeting of a camera")]
    Other,
    /// It names topics that there cannot be.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

impl<'t> Greeting<'t> {
    /// Where that camera publishes it. Not retained.
    pub const TOPIC: &'static str = "esp32cam";

    /// Reads it.
    ///
    /// # Errors
    ///
    /// As [`GreetingError`] says.
    pub fn parse(payload: &'t [u8]) -> Result<Self, GreetingError> {
        let text = core::str::from_utf8(payload).ok();
        let text = text.and_then(|text| text.strip_prefix("online on ip "));
        let (address, rest) =
            text.and_then(|text| text.split_once(' ')).ok_or(GreetingError::Other)?;
        let address = address.parse().map_err(|_| GreetingError::Other)?;
        let control = rest.strip_prefix("topic: ").ok_or(GreetingError::Other)?;
        Ok(Self { address, control: Prefix::new(control)? })
    }
}

/// The payload.
impl fmt::Display for Greeting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.address.octets();
        write!(f, "online on ip {a}.{b}.{c}.{d} topic: {}", self.control.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_refused() {
        for (text, error) in [
            ("", GreetingError::Other),
            ("online on ip 1.2.3.4", GreetingError::Other),
            ("online on ip 1.2.3.400 topic: a", GreetingError::Other),
            ("offline on ip 1.2.3.4 topic: a", GreetingError::Other),
            ("online on ip 1.2.3.4 topic: ", GreetingError::Prefix(PrefixError::Empty)),
            ("online on ip 1.2.3.4 topic: a/#", GreetingError::Prefix(PrefixError::Forbidden)),
        ] {
            assert_eq!(Greeting::parse(text.as_bytes()), Err(error), "{text:?}");
        }
        assert_eq!(Greeting::parse(b"online on ip \xFF"), Err(GreetingError::Other));
    }
}
