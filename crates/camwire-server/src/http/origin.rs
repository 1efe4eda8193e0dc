//! Which page a request is from, as far as the browser says it.

use crate::config::Config;

/// Longest name of a host that a page's is compared with; those of DNS have 253 bytes at most.
const HOST_MAX: usize = 253;

/// Compares `Origin` and `Referer` with `Host` (RFC 6455, section 10.2). The fields come in any order,
/// and only one name is kept.
#[derive(Debug)]
pub(crate) struct OriginCheck<'c> {
    config: &'c Config,
    /// What `port` and `kept_from` belong to.
    host: heapless::Vec<u8, HOST_MAX>,
    port: Option<u16>,
    kept_from: KeptFrom,
    origin: Page,
    referer: Page,
}

/// The field whose host is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptFrom {
    Nothing,
    Host,
    Origin,
    Referer,
}

/// What a field says about the page that a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The field is missing.
    Unknown,
    /// The page is this server's, or of an origin that is allowed.
    Own,
    /// The page is of another origin, or of none.
    Foreign,
}

impl<'c> OriginCheck<'c> {
    pub(crate) const fn new(config: &'c Config) -> Self {
        Self {
            config,
            host: heapless::Vec::new(),
            port: None,
            kept_from: KeptFrom::Nothing,
            origin: Page::Unknown,
            referer: Page::Unknown,
        }
    }

    /// A field line. Those of other names do not matter.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"host") {
            self.host(value);
        } else if name.eq_ignore_ascii_case(b"origin") {
            self.origin = match self.origin {
                Page::Unknown => self.page(value, KeptFrom::Origin),
                _ => Page::Foreign, // There is no second one.
            };
        } else if name.eq_ignore_ascii_case(b"referer") {
            self.referer = match self.referer {
                Page::Unknown => self.page(value, KeptFrom::Referer),
                _ => Page::Foreign,
            };
        }
    }

    /// The target has this authority, which takes the place of `Host` (RFC 9112, section 3.2.2). Clients
    /// send the same in both. For one that does not, no page is the server's own.
    pub(crate) fn called(&mut self, authority: &[u8]) {
        let same = Authority::parse(authority).is_some_and(|called| {
            self.kept_from == KeptFrom::Host
                && called.is_of(self.host.as_slice(), self.port)
                && called.port == self.port
        });
        for page in [&mut self.origin, &mut self.referer] {
            if !same && *page == Page::Own {
                *page = Page::Foreign;
            }
        }
    }

    /// What `Origin` says.
    pub(crate) const fn origin(&self) -> Page {
        self.origin
    }

    /// What `Referer` says. It matters only where `Origin` is missing.
    pub(crate) const fn referer(&self) -> Page {
        self.referer
    }

    /// A second one is refused elsewhere.
    fn host(&mut self, value: &[u8]) {
        let called = Authority::parse(value);
        let page = match called {
            Some(called) if called.is_of(self.host.as_slice(), self.port) => Page::Own,
            _ => Page::Foreign,
        };
        match self.kept_from {
            KeptFrom::Origin => self.origin = page,
            KeptFrom::Referer => self.referer = page,
            KeptFrom::Nothing | KeptFrom::Host => {}
        }
        self.keep(called, KeptFrom::Host);
    }

    fn page(&mut self, value: &[u8], field: KeptFrom) -> Page {
        let (origin, page) = match origin_of(value) {
            Some((origin, page)) => (origin, Some(page)),
            None => (value, None),
        };
        if self.config.origins.iter().any(|one| origin.eq_ignore_ascii_case(one.as_bytes())) {
            return Page::Own;
        }
        if self.kept_from == KeptFrom::Host {
            let called = Authority { host: self.host.as_slice(), port: self.port };
            let is_own = page.is_some_and(|page| called.is_of(page.host, page.port));
            return if is_own { Page::Own } else { Page::Foreign };
        }
        // `Host` comes later, and is compared then; an `Origin` matters more than a `Referer`.
        if self.kept_from != KeptFrom::Origin {
            self.keep(page, field);
        }
        Page::Foreign
    }

    fn keep(&mut self, authority: Option<Authority<'_>>, from: KeptFrom) {
        let Authority { host, port } = authority.unwrap_or(Authority { host: &[], port: None });
        self.host.clear();
        let _ = self.host.extend_from_slice(host); // Too long: it equals none.
        self.port = port;
        self.kept_from = from;
    }
}

#[derive(Clone, Copy, Debug)]
struct Authority<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `host:port` or `host`; `None` if the port is no number.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let host = host(text);
        let port = match text.get(host.len()..).unwrap_or_default() {
            [] | [b':'] => None,
            [b':', digits @ ..] => {
                // `parse` takes a sign, too.
                let is_number = digits.iter().all(u8::is_ascii_digit);
                let digits = str::from_utf8(digits).ok().filter(|_| is_number)?;
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Whether a server that is called this is that of a page's origin. A proxy may have left out the
    /// port, and then any will do.
    fn is_of(self, host: &[u8], port: Option<u16>) -> bool {
        let is_port = self.port.is_none() || self.port == port;
        !self.host.is_empty() && self.host.eq_ignore_ascii_case(host) && is_port
    }
}

/// The origin in a URL and its authority, with the port that its scheme has by default; `None` for
/// `null`, and what is no URL.
fn origin_of(url: &[u8]) -> Option<(&[u8], Authority<'_>)> {
    let scheme_len = url.windows(3).position(|three| three == b"://")?;
    let scheme = url.get(..scheme_len)?;
    let start = scheme_len.checked_add(3)?;
    let rest = url.get(start..)?;
    let len = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let authority = Authority::parse(rest.get(..len)?)?;
    let default = [(&b"http"[..], 80), (b"https", 443)];
    let default = default.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
    let port = authority.port.or(default.map(|(_, port)| *port));
    Some((url.get(..start.checked_add(len)?)?, Authority { port, ..authority }))
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

    fn check<'c>(config: &'c Config, fields: &[(&str, &str)]) -> OriginCheck<'c> {
        let mut check = OriginCheck::new(config);
        fields.iter().for_each(|(name, value)| check.field(name.as_bytes(), value.as_bytes()));
        check
    }

    #[test]
    fn page_is_own_if_host_and_port_are() {
        let config = Config { origins: &["https://b.example:8443", "null"], ..Config::default() };
        let long = "a".repeat(300);
        let long_origin = std::format!("http://{long}");
        for (host, origin, is_own) in [
            ("a.example", "http://a.example", true),
            ("a.example", "https://A.Example", true),
            // A proxy may have left the port out of `Host`.
            ("a.example", "http://a.example:8080", true),
            ("a.example:", "http://a.example:8080", true),
            ("a.example:8080", "http://a.example:8080", true),
            ("a.example:8080", "https://a.example:8080", true),
            ("a.example:8080", "http://a.example:8081", false),
            ("a.example:8080", "http://a.example", false),
            ("a.example:80", "http://a.example", true),
            ("a.example:80", "http://a.example:80", true),
            ("a.example:80", "https://a.example", false),
            ("a.example:443", "https://a.example", true),
            ("a.example:443", "http://a.example", false),
            ("a.example:443", "other://a.example", false),
            ("a.example:81", "http://a.example", false),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("[::1]:80", "http://[::1]:8080", false),
            ("[::1]:80", "http://[::1]", true),
            ("a.example:8080", "http://a.example:+8080", false),
            ("a.example:8080", "http://a.example:73616", false),
            ("a.example:x", "http://a.example", false),
            ("a.example", "http://a.example:x", false),
            ("a.example", "https://b.example:8443", true),
            ("a.example", "null", true),
            ("a.example", "https://b.example", false),
            ("a.example", "http://a.example.evil.example", false),
            ("a.example", "http://evil.example/://a.example", false),
            ("a.example", "http://evil.example?://a.example", false),
            ("a.example", "http://a.example@evil.example", false),
            ("a.example", "http://a.example:80@evil.example", false),
            ("[::1]", "http://[::2]", false),
            ("[::1]", "http://[::1]x", false),
            ("a.example", "a.example", false),
            ("", "http://", false),
            ("", "", false),
            (&long, &long_origin, false),
        ] {
            let expected = if is_own { Page::Own } else { Page::Foreign };
            let (host, origin) = (("Host", host), ("oRIGIN", origin));
            for fields in [[host, origin], [origin, host]] {
                assert_eq!(check(&config, &fields).origin(), expected, "{fields:?}");
            }
            assert_eq!(check(&config, &[host, origin, origin]).origin(), Page::Foreign);
            assert_eq!(check(&config, &[host]).origin(), Page::Unknown);
            let path = std::format!("{}/path?a=b", origin.1);
            let referer = ("Referer", if origin.1 == "null" { "null" } else { &path });
            for fields in [[host, referer], [referer, host]] {
                let check = check(&config, &fields);
                assert_eq!((check.origin(), check.referer()), (Page::Unknown, expected));
            }
        }
        let none = Config::default();
        assert_eq!(check(&none, &[("Host", "a"), ("Origin", "null")]).origin(), Page::Foreign);
        let no_host = check(&none, &[("Origin", "http://a")]);
        assert_eq!(no_host.origin(), Page::Foreign, "there is no Host");
        let any = Config { cors: crate::Cors::AnyOrigin, ..Config::default() };
        let check = check(&any, &[("Host", "a"), ("Origin", "http://b")]);
        assert_eq!(check.origin(), Page::Foreign, "to read frames is not to set the camera");
    }

    #[test]
    fn origin_is_judged_in_any_order_of_fields() {
        let config = Config::default();
        let fields = [
            ("Host", "a.example:81"),
            ("Origin", "http://a.example:81"),
            ("Referer", "http://evil.example/"),
        ];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let own = check(&config, &order.map(|n| fields[n]));
            assert_eq!(own.origin(), Page::Own, "{order:?}");
            let mut fields = fields;
            fields[1].1 = "http://evil.example";
            fields[2].1 = "http://a.example:81/";
            let foreign = check(&config, &order.map(|n| fields[n]));
            assert_eq!(foreign.origin(), Page::Foreign, "{order:?}");
        }
    }
}
