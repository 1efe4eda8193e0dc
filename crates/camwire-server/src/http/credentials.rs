//! Logins of this server's clients.

use core::fmt;
use core::hint::black_box;
use core::iter::repeat;

use crate::http::base64::base64;

/// What an answer says to a client that needs a token (RFC 6750, section 3).
pub(crate) const BEARER: &str = "WWW-Authenticate: Bearer realm=\"camwire\"\r\n";

/// What a request must carry, for every path: one of these. By default nothing.
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
    pub(crate) const fn are_required(&self) -> bool {
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

    pub(crate) fn allow_token(&self, given: &[u8]) -> bool {
        self.token.is_some_and(|token| is_secret(given, token.bytes(), token.len()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
