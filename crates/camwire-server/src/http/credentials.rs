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

/// What a client logs in with, for outputs that are not HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login<'l> {
    /// A user and a password.
    Password {
        /// The user, which has no colon in it.
        user: &'l [u8],
        /// The password.
        password: &'l [u8],
    },
    /// A token.
    Token(&'l [u8]),
}

/// Says which it is. User, password and token are secret.
impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(..)",
            Self::Token(_) => "Token(..)",
        })
    }
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
    /// Whether clients must log in.
    #[must_use]
    pub const fn are_required(&self) -> bool {
        self.basic.is_some() || self.token.is_some()
    }

    /// Whether a client may come in: with this login, or without one if none is required.
    ///
    /// [`Server`](crate::Server) checks its requests itself. This is for other outputs, whose logins
    /// come in another way. How long it takes depends on what the client gave, and not on how much of
    /// it is right.
    ///
    /// ```
    /// use camwire_server::{Config, Login};
    ///
    /// let mut config = Config::default();
    /// assert!(config.credentials.allow(None));
    /// config.credentials.basic = Some("anna:secret");
    /// assert!(!config.credentials.allow(None));
    /// let login = Login::Password { user: b"anna", password: b"secret" };
    /// assert!(config.credentials.allow(Some(login)));
    /// ```
    #[must_use]
    pub fn allow(&self, login: Option<Login<'_>>) -> bool {
        match login {
            None => !self.are_required(),
            Some(_) if !self.are_required() => true,
            Some(Login::Token(token)) => self.allow_token(token),
            Some(Login::Password { user, password }) => self.basic.is_some_and(|basic| {
                let given = user.iter().chain(b":").chain(password).copied();
                let given_len = user.len().saturating_add(1).saturating_add(password.len());
                is_secret(given, given_len, basic.bytes(), basic.len())
            }),
        }
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
    pub(crate) fn allow_authorization(&self, authorization: &[u8]) -> bool {
        let Some(space) = authorization.iter().position(|byte| *byte == b' ') else { return false };
        let Some((scheme, given)) = authorization.split_at_checked(space) else { return false };
        let given = given.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"basic") {
            self.basic.is_some_and(|basic| {
                let len = basic.len().div_ceil(3).saturating_mul(4);
                is_secret(given.iter().copied(), given.len(), base64(basic.as_bytes()), len)
            })
        } else {
            scheme.eq_ignore_ascii_case(b"bearer") && self.allow_token(given)
        }
    }

    pub(crate) fn allow_token(&self, given: &[u8]) -> bool {
        self.token.is_some_and(|token| {
            is_secret(given.iter().copied(), given.len(), token.bytes(), token.len())
        })
    }
}

/// Whether `given`, which has `given_len` bytes, is the secret, which has `len`. How long that takes depends on what is
/// given, and not on how much of it is right.
fn is_secret(
    given: impl Iterator<Item = u8>,
    given_len: usize,
    secret: impl Iterator<Item = u8>,
    len: usize,
) -> bool {
    let mut difference = 0;
    for (a, b) in given.zip(secret.chain(repeat(0))) {
        difference = black_box(difference | (a ^ b));
    }
    difference == 0 && given_len == len
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
            assert_eq!(both.allow_authorization(value), is_basic || is_token);
            assert_eq!(Credentials { token: None, ..both }.allow_authorization(value), is_basic);
            assert_eq!(Credentials { basic: None, ..both }.allow_authorization(value), is_token);
            assert!(!neither.allow_authorization(value));
        }
        assert!(!std::format!("{both:?}").contains("Aladdin"));
    }

    #[test]
    fn logins_of_other_outputs() {
        let password = |user, password| Some(Login::Password { user, password });
        let basic = Credentials { basic: Some("anna:se:cret"), token: None };
        assert!(basic.allow(password(b"anna", b"se:cret")));
        let both = Credentials { token: Some("T"), ..basic };
        assert!(both.allow(Some(Login::Token(b"T"))));
        for wrong in [
            None,
            password(b"anna", b"se:cre"),
            password(b"anna", b"se:crets"),
            password(b"", b"anna:se:cret"),
            password(b"anna", b""),
            Some(Login::Token(b"")),
            Some(Login::Token(b"anna:se:cret")),
        ] {
            assert!(!both.allow(wrong), "{wrong:?}");
            assert!(Credentials::default().allow(wrong));
        }
        assert_eq!(std::format!("{:?}", password(b"anna", b"pw")), "Some(Password(..))");
    }

    proptest! {
        #[test]
        fn only_the_secret_is_the_secret(a in any::<[u8; 3]>(), b in any::<[u8; 3]>(), cut in 0usize..4) {
            let given = &b[..cut];
            let is_it = is_secret(given.iter().copied(), cut, a.into_iter(), 3);
            prop_assert_eq!(is_it, given == a);
            prop_assert!(is_secret(a.into_iter(), 3, a.into_iter(), 3));
        }
    }
}
