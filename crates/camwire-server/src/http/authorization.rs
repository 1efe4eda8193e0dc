use core::fmt;

use crate::http::base64::base64;

/// What a client sends to a server that asks for a login, as the field `Authorization`.
///
/// It is for [`Push`](crate::Push) and `WebSocketSource`; [`Credentials`](crate::Credentials) are
/// what this server asks of its own clients. A program with another HTTP client writes the field
/// with [`encode`](Self::encode).
///
/// ```
/// use camwire_server::{Authorization, AuthorizationError};
///
/// let login = Authorization::basic("Aladdin", "open sesame")?;
/// let mut memory = [0; Authorization::MAX_LEN];
/// assert_eq!(login.encode(&mut memory), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
/// assert_eq!(format!("{login:?}"), "Basic(..)");
///
/// const TOKEN: Result<Authorization, AuthorizationError> = Authorization::bearer("mF_9.B5f-4");
/// assert_eq!(TOKEN?.encode(&mut memory), "Bearer mF_9.B5f-4");
/// # Ok::<_, AuthorizationError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Authorization<'a>(Scheme<'a>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme<'a> {
    Bearer(&'a str),
    Basic { user: &'a str, password: &'a str },
}

/// Says which scheme it is. User, password and token are secret.
impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Scheme::Bearer(_) => "Bearer(..)",
            Scheme::Basic { .. } => "Basic(..)",
        })
    }
}

/// Why something cannot be sent as [`Authorization`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// The token, or user and password together with a colon between them, have more bytes than
    /// [`Authorization::MAX_SECRET`].
    #[error("a login has at most {limit} bytes", limit = Authorization::MAX_SECRET)]
    TooLong,
    /// The user has a colon in it, which would end it (RFC 7617, section 2).
    #[error("a user must not have a colon in it")]
    Colon,
    /// The user or the password has a control character in it (RFC 7617, section 2).
    #[error("a user or password must not have control characters in it")]
    Control,
    /// The token is empty, or has other characters than visible ASCII.
    #[error("a token has visible ASCII characters only")]
    Token,
}

impl<'a> Authorization<'a> {
    /// Most bytes of a token, and of user, colon and password.
    pub const MAX_SECRET: usize = SECRET;

    /// Most bytes of the field's value.
    pub const MAX_LEN: usize = VALUE;

    /// A token, sent as it is (RFC 6750).
    ///
    /// # Errors
    ///
    /// [`AuthorizationError`]
    pub const fn bearer(token: &'a str) -> Result<Self, AuthorizationError> {
        if token.len() > Self::MAX_SECRET {
            return Err(AuthorizationError::TooLong);
        }
        let mut rest = token.as_bytes();
        if rest.is_empty() {
            return Err(AuthorizationError::Token);
        }
        while let [byte, after @ ..] = rest {
            if !byte.is_ascii_graphic() {
                return Err(AuthorizationError::Token);
            }
            rest = after;
        }
        Ok(Self(Scheme::Bearer(token)))
    }

    /// A user and a password, either of which may be empty. They are sent in UTF-8 and base64
    /// (RFC 7617): everyone on the way can read them, unless there is TLS.
    ///
    /// # Errors
    ///
    /// [`AuthorizationError`]
    pub const fn basic(user: &'a str, password: &'a str) -> Result<Self, AuthorizationError> {
        if user.len() >= Self::MAX_SECRET || password.len() >= Self::MAX_SECRET - user.len() {
            return Err(AuthorizationError::TooLong);
        }
        if has_control(user) || has_control(password) {
            return Err(AuthorizationError::Control);
        }
        let mut rest = user.as_bytes();
        while let [byte, after @ ..] = rest {
            if *byte == b':' {
                return Err(AuthorizationError::Colon);
            }
            rest = after;
        }
        Ok(Self(Scheme::Basic { user, password }))
    }

    /// Writes the value of the field to the start of `memory`, and returns it.
    #[must_use]
    pub fn encode<'m>(&self, memory: &'m mut [u8; VALUE]) -> &'m str {
        // Each of them fits: so long a secret is an error above.
        let mut len = 0;
        let mut push = |byte| {
            if let Some(place) = memory.get_mut(len) {
                *place = byte;
                len += 1;
            }
        };
        match self.0 {
            Scheme::Bearer(token) => "Bearer ".bytes().chain(token.bytes()).for_each(push),
            Scheme::Basic { user, password } => {
                let mut secret = heapless::Vec::<u8, SECRET>::new();
                for part in [user, ":", password] {
                    let _ = secret.extend_from_slice(part.as_bytes());
                }
                "Basic ".bytes().chain(base64(&secret)).for_each(&mut push);
            }
        }
        core::str::from_utf8(memory.get(..len).unwrap_or_default()).unwrap_or_default()
    }
}

/// As much as a server of this crate takes, whose lines have 512 bytes at most.
const SECRET: usize = 256;
const VALUE: usize = "Basic ".len() + SECRET.div_ceil(3) * 4;

/// Whether there is a control character (`Cc` of Unicode): U+0000 to U+001F and U+007F to U+009F, of
/// which UTF-8 writes the last 32 as C2 and the byte.
const fn has_control(text: &str) -> bool {
    let mut before = 0;
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        if byte.is_ascii_control() || before == 0xC2 && *byte < 0xA0 {
            return true;
        }
        before = *byte;
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::credentials::Credentials;
    use proptest::prelude::*;
    use std::format;
    use std::string::String;

    fn encoded(authorization: Authorization<'_>) -> String {
        String::from(authorization.encode(&mut [0; Authorization::MAX_LEN]))
    }

    #[test]
    fn values_are_those_of_the_rfcs() {
        for (user, password, expected) in [
            ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("test", "123\u{a3}", "Basic dGVzdDoxMjPCow=="), // RFC 7617, section 2.1
            ("anna", "", "Basic YW5uYTo="),
            ("", "pw", "Basic OnB3"),
            ("", "", "Basic Og=="),
            ("anna", ":@/?#%", "Basic YW5uYTo6QC8/IyU="),
        ] {
            let basic = Authorization::basic(user, password);
            assert_eq!(basic.map(encoded).as_deref(), Ok(expected), "{user} {password}");
        }
        let bearer = Authorization::bearer("mF_9.B5f-4");
        assert_eq!(bearer.map(encoded).as_deref(), Ok("Bearer mF_9.B5f-4"));
    }

    #[test]
    fn what_cannot_be_sent_is_an_error() {
        for (user, password, error) in [
            ("an:na", "pw", AuthorizationError::Colon),
            ("anna\n", "pw", AuthorizationError::Control),
            ("anna", "p\0w", AuthorizationError::Control),
            ("anna", "pw\u{7f}", AuthorizationError::Control),
            ("anna", "\u{80}", AuthorizationError::Control),
            ("anna", "a\u{9f}b", AuthorizationError::Control),
        ] {
            assert_eq!(Authorization::basic(user, password), Err(error), "{user:?} {password:?}");
        }
        assert!(Authorization::basic("anna", "\u{a0}\u{c0}\u{20ac}").is_ok());
        for token in ["", "a b", "a\r\nb", "\u{e4}", "a\0"] {
            assert_eq!(Authorization::bearer(token), Err(AuthorizationError::Token), "{token:?}");
        }
    }

    #[test]
    fn longest_secrets_fit() {
        let long = "\u{e4}".repeat(128);
        for users in [0, 1, 100, 127] {
            let (user, password) = long.split_at(2 * users);
            // There must be room for the colon.
            let too_long = Err(AuthorizationError::TooLong);
            assert_eq!(Authorization::basic(user, password), too_long);
            let basic = Authorization::basic(user, &password[2..]).unwrap();
            let text = format!("{user}:{}", &password[2..]);
            assert_eq!(encoded(basic), format!("Basic {}", String::from_iter(base64_of(&text))));
        }
        let most = "a".repeat(255);
        assert_eq!(encoded(Authorization::basic("", &most).unwrap()).len(), Authorization::MAX_LEN);
        assert_eq!(encoded(Authorization::basic(&most, "").unwrap()).len(), Authorization::MAX_LEN);
        let most = "a".repeat(256);
        assert_eq!(Authorization::basic(&most, ""), Err(AuthorizationError::TooLong));
        assert_eq!(Authorization::basic("", &most), Err(AuthorizationError::TooLong));
        assert_eq!(encoded(Authorization::bearer(&most).unwrap()), format!("Bearer {most}"));
        let more = "a".repeat(257);
        assert_eq!(Authorization::bearer(&more), Err(AuthorizationError::TooLong));
    }

    fn base64_of(text: &str) -> impl Iterator<Item = char> {
        base64(text.as_bytes()).map(char::from)
    }

    #[test]
    fn debug_shows_no_secret() {
        let text =
            format!("{:?}", (Authorization::basic("anna", "pw"), Authorization::bearer("T-1")));
        assert_eq!(text, "(Ok(Basic(..)), Ok(Bearer(..)))");
    }

    proptest! {
        #[test]
        fn the_server_takes_what_a_client_sends(user in "[^:\\pC]{0,20}", password in "\\PC{0,40}") {
            let basic = Authorization::basic(&user, &password).unwrap();
            prop_assert!(!has_control(&user) && !has_control(&password));
            let secret = format!("{user}:{password}");
            let credentials = Credentials { basic: Some(secret.leak()), token: None };
            prop_assert!(credentials.allow_authorization(encoded(basic).as_bytes()));
        }

        #[test]
        fn control_characters_are_those_of_unicode(text: String) {
            prop_assert_eq!(has_control(&text), text.contains(char::is_control));
        }
    }
}
