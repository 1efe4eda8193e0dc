use crate::config::{Config, Cors};

/// Longest name of a host that an origin is compared with; those of DNS have 253 bytes at most.
const HOST_MAX: usize = 253;

/// Whether the page that asks, if it is one, may (RFC 6455, section 10.2): one of this host, or one
/// whose origin is allowed. The fields come in any order, and only one name is kept.
#[derive(Debug)]
pub(crate) struct OriginCheck<'c> {
    config: &'c Config,
    /// The host of whichever field came first; empty if it is none.
    host: heapless::Vec<u8, HOST_MAX>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No field yet.
    Nothing,
    /// `Host` alone.
    Host,
    /// `Origin` alone.
    Origin,
    Allowed,
    Foreign,
}

impl<'c> OriginCheck<'c> {
    pub(crate) const fn new(config: &'c Config) -> Self {
        Self { config, host: heapless::Vec::new(), state: State::Nothing }
    }

    /// A field line. Those of other names do not matter.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"host") {
            self.state = match self.state {
                State::Nothing => self.keep(host(value), State::Host),
                State::Origin => self.compare(host(value)),
                state => state, // A second one is refused elsewhere.
            };
        } else if name.eq_ignore_ascii_case(b"origin") {
            self.state = match self.state {
                State::Nothing | State::Host if self.is_listed(value) => State::Allowed,
                State::Nothing => self.keep(host_of_origin(value), State::Origin),
                State::Host => self.compare(host_of_origin(value)),
                _ => State::Foreign, // There is no second one.
            };
        }
    }

    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self.state, State::Nothing | State::Host | State::Allowed)
    }

    fn is_listed(&self, origin: &[u8]) -> bool {
        self.config.cors == Cors::AnyOrigin
            || self.config.origins.iter().any(|one| origin.eq_ignore_ascii_case(one.as_bytes()))
    }

    fn keep(&mut self, host: &[u8], then: State) -> State {
        let _ = self.host.extend_from_slice(host); // Too long: it equals none.
        then
    }

    fn compare(&self, host: &[u8]) -> State {
        let same = !host.is_empty() && host.eq_ignore_ascii_case(&self.host);
        if same { State::Allowed } else { State::Foreign }
    }
}

/// The host of `scheme://host:port`; empty for `null`, and what is no origin.
fn host_of_origin(origin: &[u8]) -> &[u8] {
    let at = origin.windows(3).position(|three| three == b"://");
    at.and_then(|at| origin.get(at.checked_add(3)?..)).map_or(&[], host)
}

/// What is before the port.
pub(crate) fn host(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => authority.iter().position(|byte| *byte == b']').map(|at| at.wrapping_add(1)),
        _ => authority.iter().position(|byte| *byte == b':'),
    };
    end.and_then(|end| authority.get(..end)).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(config: &Config, fields: &[(&str, &str)]) -> bool {
        let mut check = OriginCheck::new(config);
        fields.iter().for_each(|(name, value)| check.field(name.as_bytes(), value.as_bytes()));
        check.is_allowed()
    }

    #[test]
    fn who_may() {
        let config = Config { origins: &["https://b.example:8443", "null"], ..Config::default() };
        let long = "a".repeat(300);
        let long_origin = std::format!("http://{long}");
        for (host, origin, expected) in [
            ("a.example", "http://a.example", true),
            ("a.example", "https://A.Example", true),
            ("a.example:81", "http://a.example", true),
            ("a.example", "http://a.example:8080", true),
            ("[::1]:80", "http://[::1]:8080", true),
            ("a.example", "https://b.example:8443", true),
            ("a.example", "null", true),
            ("a.example", "https://b.example", false),
            ("a.example", "http://a.example.evil.example", false),
            ("a.example", "http://evil.example/://a.example", false),
            ("[::1]", "http://[::2]", false),
            ("a.example", "a.example", false),
            ("", "http://", false),
            ("", "", false),
            (&long, &long_origin, false),
        ] {
            let (host, origin) = (("Host", host), ("oRIGIN", origin));
            assert_eq!(allowed(&config, &[host, origin]), expected, "{host:?} {origin:?}");
            assert_eq!(allowed(&config, &[origin, host]), expected, "{origin:?} {host:?}");
            assert!(!allowed(&config, &[host, origin, origin]));
            assert!(allowed(&config, &[host]));
        }
        assert!(!allowed(&Config::default(), &[("Host", "a"), ("Origin", "null")]));
        assert!(!allowed(&Config::default(), &[("Origin", "http://a")]), "there is no Host");
        let any = Config { cors: Cors::AnyOrigin, ..Config::default() };
        assert!(allowed(&any, &[("Host", "a"), ("Origin", "http://b")]));
    }
}
