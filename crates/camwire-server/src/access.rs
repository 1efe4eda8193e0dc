use core::fmt;
use core::hint::black_box;
use core::iter::{repeat, repeat_n};

use crate::origin::host;
use crate::{Config, Cors};

/// What an answer says to who needs a token (RFC 6750, section 3).
pub(crate) const BEARER: &str = "WWW-Authenticate: Bearer realm=\"camwire\"\r\n";

/// What a request must bring along, for every path: one of these.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// `USER:PASSWORD`, for `Authorization: Basic` (RFC 7617).
    pub basic: Option<&'static str>,
    /// For `Authorization: Bearer` (RFC 6750), or `token=` in the query: that is not
    /// percent-decoded, so a token is made of letters, digits, `-`, `.`, `_` and `~`.
    pub token: Option<&'static str>,
}

/// Says which there are, and not what they are.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |there: Option<&str>| there.map(|_| "...");
        f.debug_struct("Credentials")
            .field("basic", &secret(self.basic))
            .field("token", &secret(self.token))
            .finish()
    }
}

impl Credentials {
    const fn are_wanted(&self) -> bool {
        self.basic.is_some() || self.token.is_some()
    }

    /// What an answer with 401 says (RFC 9110, section 11.6.1).
    pub(crate) const fn challenge(&self) -> &'static str {
        const BASIC: &str = "WWW-Authenticate: Basic realm=\"camwire\", charset=\"UTF-8\"\r\n";
        const BOTH: &str = "WWW-Authenticate: Basic realm=\"camwire\", charset=\"UTF-8\"\r\n\
             WWW-Authenticate: Bearer realm=\"camwire\"\r\n";
        match (self.basic, self.token) {
            (_, None) => BASIC,
            (None, Some(_)) => BEARER,
            (Some(_), Some(_)) => BOTH,
        }
    }

    /// The same for people: it is what a browser shows.
    pub(crate) const fn explanation(&self) -> &'static str {
        match (self.basic, self.token) {
            (_, None) => "a user and a password are needed",
            (None, Some(_)) => "a token is needed: put ?token=... behind the address",
            (Some(_), Some(_)) => "a user and a password are needed, or ?token=...",
        }
    }

    /// Whether the value of `Authorization` is right.
    pub(crate) fn allow(&self, authorization: &[u8]) -> bool {
        let Some(space) = authorization.iter().position(|byte| *byte == b' ') else { return false };
        let Some((scheme, given)) = authorization.split_at_checked(space) else { return false };
        let given = given.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"basic") {
            self.basic.is_some_and(|basic| {
                let len = basic.len().div_ceil(3).saturating_mul(4);
                is_secret(given, base64(basic.as_bytes()), len)
            })
        } else {
            scheme.eq_ignore_ascii_case(b"bearer") && self.allow_token(given)
        }
    }

    fn allow_token(&self, given: &[u8]) -> bool {
        self.token.is_some_and(|token| is_secret(given, token.bytes(), token.len()))
    }
}

/// What is known of who asks, while the head of a request is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'c> {
    config: &'c Config,
    is_authorized: bool,
    is_host_allowed: bool,
    /// A page of another site asks (Fetch Metadata).
    is_cross_site: bool,
    #[cfg(feature = "ingest")]
    is_pusher: bool,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The server is called by a name that it does not have: 403.
    Host,
    /// A page of another site wants to set the camera: 403.
    CrossSite,
    /// There are no right credentials: 401.
    Credentials,
    /// Nor those of a camera that pushes: 401.
    #[cfg(feature = "ingest")]
    Pusher,
}

impl<'c> Access<'c> {
    pub(crate) const fn new(config: &'c Config) -> Self {
        Self {
            config,
            is_authorized: false,
            is_host_allowed: true,
            is_cross_site: false,
            #[cfg(feature = "ingest")]
            is_pusher: false,
        }
    }

    /// A field line. Those of other names do not matter.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"authorization") {
            self.is_authorized |= self.config.credentials.allow(value);
            #[cfg(feature = "ingest")]
            {
                self.is_pusher |= self.pushers().allow(value);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            let hosts = self.config.hosts;
            let mut is_allowed = hosts.is_empty();
            for one in hosts {
                is_allowed |= host(value).eq_ignore_ascii_case(one.as_bytes());
            }
            self.is_host_allowed &= is_allowed;
        } else if name.eq_ignore_ascii_case(b"sec-fetch-site") {
            self.is_cross_site |= value.trim_ascii() == b"cross-site";
        }
    }

    /// Whether who asks may change something. An image in any page can ask for an address; where
    /// that is said of it (browsers say it to servers on their own computer, and by TLS), the page
    /// must be one that may.
    pub(crate) fn check_change(&self) -> Result<(), Denial> {
        if self.is_cross_site && self.config.cors == Cors::SameOrigin {
            Err(Denial::CrossSite)
        } else {
            Ok(())
        }
    }

    /// What a camera that pushes must bring along.
    #[cfg(feature = "ingest")]
    const fn pushers(&self) -> Credentials {
        Credentials { basic: None, token: self.config.ingest_token }
    }

    /// As [`check`](Self::check), for a camera that pushes.
    #[cfg(feature = "ingest")]
    pub(crate) fn check_pusher(&self, token: Option<&str>) -> Result<(), Denial> {
        let by_token = || token.is_some_and(|token| self.pushers().allow_token(token.as_bytes()));
        if !self.is_host_allowed {
            Err(Denial::Host)
        } else if !self.is_pusher && !by_token() {
            Err(Denial::Pusher)
        } else {
            Ok(())
        }
    }

    /// The whole head was read; `token` is in the query.
    pub(crate) fn check(&self, token: Option<&str>) -> Result<(), Denial> {
        let credentials = &self.config.credentials;
        let by_token = || token.is_some_and(|token| credentials.allow_token(token.as_bytes()));
        if !self.is_host_allowed {
            Err(Denial::Host)
        } else if credentials.are_wanted() && !self.is_authorized && !by_token() {
            Err(Denial::Credentials)
        } else {
            Ok(())
        }
    }
}

/// Whether `given` is the secret, which has `len` bytes. How long that takes depends on what is
/// given, and not on how much of it is right.
fn is_secret(given: &[u8], secret: impl Iterator<Item = u8>, len: usize) -> bool {
    let mut difference = 0;
    for (a, b) in given.iter().zip(secret.chain(repeat(0))) {
        difference = black_box(difference | (a ^ b));
    }
    difference == 0 && given.len() == len
}

/// RFC 4648, section 4, with its padding.
pub(crate) fn base64(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.chunks(3).flat_map(|three| {
        let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let missing = 3_usize.saturating_sub(three.len());
        let word = word << (8 * missing as u32);
        let digits = [word >> 18, word >> 12, word >> 6, word].map(digit);
        let digits = digits.into_iter().take(4_usize.saturating_sub(missing));
        digits.chain(repeat_n(b'=', missing))
    })
}

fn digit(six: u32) -> u8 {
    let six = (six & 63) as u8;
    match six {
        0..26 => b'A' + six,
        26..52 => b'a' + (six - 26),
        52..62 => b'0' + (six - 52),
        62 => b'+',
        _ => b'/',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    fn encoded(text: &str) -> String {
        base64(text.as_bytes()).map(char::from).collect()
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{3e}\u{3f}\u{fb}~~~", "Pj/Du35+fg=="),
        ] {
            assert_eq!(encoded(text), expected);
        }
    }

    #[test]
    fn credentials() {
        let (basic, token) = (Some("Aladdin:open sesame"), Some("mF_9.B5f-4"));
        let neither = Credentials::default();
        let both = Credentials { basic, token };
        // The examples of RFC 7617 and RFC 6750.
        let right = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        let bearer = "Bearer mF_9.B5f-4";
        for (value, is_basic, is_token) in [
            (right, true, false),
            ("bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true, false),
            (bearer, false, true),
            ("bearer mF_9.B5f-4", false, true),
            ("Basic mF_9.B5f-4", false, false),
            ("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", false, false),
            ("Bearer mF_9.B5f-", false, false),
            ("Bearer mF_9.B5f-4x", false, false),
            ("Bearer mF_9.B5f-4\0", false, false),
            ("Bearer ", false, false),
            ("Bearer", false, false),
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", false, false),
            ("Basic Aladdin:open sesame", false, false),
            ("", false, false),
        ] {
            let value = value.as_bytes();
            assert_eq!(both.allow(value), is_basic || is_token);
            assert_eq!(Credentials { token: None, ..both }.allow(value), is_basic);
            assert_eq!(Credentials { basic: None, ..both }.allow(value), is_token);
            assert!(!neither.allow(value));
        }
        assert!(!std::format!("{both:?}").contains("Aladdin"));
    }

    proptest! {
        #[test]
        fn only_the_secret_is_the_secret(a in any::<[u8; 3]>(), b in any::<[u8; 3]>(), cut in 0usize..4) {
            let given = &b[..cut];
            prop_assert_eq!(is_secret(given, a.into_iter(), 3), given == a);
            prop_assert!(is_secret(&a, a.into_iter(), 3));
        }
    }
}
