//! User and password in a URL (RFC 3986, section 3.2.1), and what a server asks for.
//!
//! They are taken out as soon as a URL is parsed: what is left can be logged. No error repeats any
//! part of a URL, since it may be a part of a password.

use std::fmt;

use camwire::server::{Authorization, AuthorizationError};

/// A user and a password, percent-decoded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// Both are secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

/// Why there is no login in a URL, but something that looks like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("in a user or password, a percent sign is written as %25")]
    Percent,
    #[error("user and password are not UTF-8")]
    Utf8,
    #[error("a user or password must not have control characters in it")]
    Control,
    #[error(
        "an @ behind the host is written as %40; and in a password / as %2F, ? as %3F and # as %23"
    )]
    Ambiguous,
    #[error("the : and the @ around a password are not encoded: USER:PASSWORD@HOST")]
    Host,
}

impl Login {
    /// Takes the login out of a URL: `SCHEME://[USER[:PASSWORD]@]HOST...`. What else is in the URL is
    /// not looked at, so it may be none.
    ///
    /// A user without a password has an empty one. The last `@` before the path ends the login, and
    /// the first `:` the user, so other ones in a password need not be encoded.
    pub(crate) fn split(url: &str) -> Result<(String, Option<Self>), LoginError> {
        let Some((scheme, rest)) = url.split_once("://") else { return Ok((url.to_owned(), None)) };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        // A host has none, so these are a user and password with all that is around them.
        if authority.rsplit('@').next().is_some_and(|host| host.contains('%')) {
            return Err(LoginError::Host);
        }
        let Some((login, host)) = authority.rsplit_once('@') else {
            // What reads as a host and its port may be a user and the first digits of a password.
            if target.contains('@') && authority.contains(':') {
                return Err(LoginError::Ambiguous);
            }
            return Ok((url.to_owned(), None));
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (user, password) = (part(user)?, part(password)?);
        let login = (!login.is_empty()).then_some(Self { user, password });
        Ok((format!("{scheme}://{host}{target}"), login))
    }

    /// Checks that it can be sent as Basic does it.
    pub(crate) fn check_basic(&self) -> Result<(), AuthorizationError> {
        Authorization::basic(&self.user, &self.password).map(drop)
    }
}

/// A text of the command line that is never shown again.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a server is sent that asks for a login.
#[derive(Clone, Debug)]
pub(crate) enum ServerLogin {
    /// One that has been [checked](Login::check_basic).
    Basic(Login),
    /// One that the command line has taken.
    Token(Secret),
}

impl ServerLogin {
    pub(crate) fn authorization(&self) -> Authorization<'_> {
        let checked = match self {
            Self::Basic(Login { user, password }) => Authorization::basic(user, password),
            Self::Token(Secret(token)) => Authorization::bearer(token),
        };
        checked.expect("checked when it was parsed")
    }
}

fn part(text: &str) -> Result<String, LoginError> {
    let text = percent_decode(text).map_err(|error| match error {
        DecodeError::Percent => LoginError::Percent,
        DecodeError::Utf8 => LoginError::Utf8,
    })?;
    if text.contains(char::is_control) { Err(LoginError::Control) } else { Ok(text) }
}

/// Why a text is no percent-encoded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("a percent sign in a URL is written as %25")]
    Percent,
    #[error("a URL is UTF-8")]
    Utf8,
}

/// Undoes percent-encoding, once (RFC 3986, section 2.1).
pub(crate) fn percent_decode(text: &str) -> Result<String, DecodeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(DecodeError::Percent)?;
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(DecodeError::Percent);
        bytes.push((digit(digits[0])? << 4 | digit(digits[1])?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
}

/// What an answer with 401 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    WrongLogin,
    WrongToken,
    NoLogin,
    NoToken,
    /// It asks for a user and password in a way that this program does not know.
    Digest,
    /// It does not say what it asks for.
    NoLoginOrToken,
}

impl Rejected {
    /// Of a server that was sent this, and whose answer has these `WWW-Authenticate` fields. There
    /// are none if they are not known.
    pub(crate) fn new(sent: Option<&ServerLogin>, challenges: &[&[u8]]) -> Self {
        // Challenges are separated by commas, as are their parameters (RFC 9110, section 11.6.1).
        let asks_for = |scheme: &[u8]| {
            let parts = challenges.iter().flat_map(|field| field.split(|byte| *byte == b','));
            let mut words = parts.filter_map(|part| {
                part.trim_ascii().split(|byte| byte.is_ascii_whitespace()).next()
            });
            words.any(|word| word.eq_ignore_ascii_case(scheme))
        };
        let is_known = !challenges.is_empty();
        match sent {
            Some(ServerLogin::Basic(_)) if asks_for(b"basic") || !is_known => Self::WrongLogin,
            Some(ServerLogin::Token(_)) if asks_for(b"bearer") || !is_known => Self::WrongToken,
            _ if asks_for(b"basic") => Self::NoLogin,
            _ if asks_for(b"bearer") => Self::NoToken,
            _ if asks_for(b"digest") => Self::Digest,
            _ => Self::NoLoginOrToken,
        }
    }

    /// For people. `scheme` is that of the server's URL.
    pub(crate) fn text(self, scheme: &str) -> String {
        let url = format!("{scheme}://USER:PASSWORD@HOST");
        match self {
            Self::WrongLogin => format!("the user or the password is wrong: {url}"),
            Self::WrongToken => "the token is wrong: --source-token TOKEN".to_owned(),
            Self::NoLogin => format!("it asks for a login: {url}"),
            Self::NoToken => "it asks for a token: --source-token TOKEN".to_owned(),
            Self::Digest => "it asks for a Digest login, which is not supported".to_owned(),
            Self::NoLoginOrToken => {
                format!("it asks for a login: {url}, or --source-token TOKEN")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn logins_are_taken_out_of_urls() {
        for (url, rest, expected) in [
            ("http://cam/", "http://cam/", None),
            (
                "http://anna:secret@cam:81/a?b@c#d",
                "http://cam:81/a?b@c#d",
                Some(("anna", "secret")),
            ),
            ("ws://p%40ss:p%40ss@cam", "ws://cam", Some(("p@ss", "p@ss"))),
            // Once.
            ("ws://anna:%2540%253a@cam", "ws://cam", Some(("anna", "%40%3a"))),
            ("http://anna@cam", "http://cam", Some(("anna", ""))),
            ("http://anna:@cam", "http://cam", Some(("anna", ""))),
            ("http://:secret@cam", "http://cam", Some(("", "secret"))),
            ("http://:@cam", "http://cam", Some(("", ""))),
            ("http://@cam", "http://cam", None),
            ("http://%61:%3a%2F%3f%23%25%40@[::1]:81/", "http://[::1]:81/", Some(("a", ":/?#%@"))),
            (
                "wss://%C3%A4:\u{20ac} %e2%82%ac@cam?x",
                "wss://cam?x",
                Some(("\u{e4}", "\u{20ac} \u{20ac}")),
            ),
            // As browsers have it.
            ("http://a:b:c@d@cam/", "http://cam/", Some(("a", "b:c@d"))),
            ("http://cam/@me", "http://cam/@me", None),
            ("http://cam?user=a&pwd=b@c", "http://cam?user=a&pwd=b@c", None),
            ("anna:secret@cam", "anna:secret@cam", None),
            ("", "", None),
        ] {
            let expected = expected.map(|(user, password)| login(user, password));
            assert_eq!(Login::split(url), Ok((rest.to_owned(), expected)), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_login_is_said_without_it() {
        for (url, error) in [
            ("http://anna:%@cam", LoginError::Percent),
            ("http://anna:%4@cam", LoginError::Percent),
            ("http://anna:%zz@cam", LoginError::Percent),
            ("http://anna:%+1@cam", LoginError::Percent),
            ("http://%:secret@cam", LoginError::Percent),
            ("http://anna:%ff@cam", LoginError::Utf8),
            ("http://anna:%c3@cam", LoginError::Utf8),
            ("http://anna:%00@cam", LoginError::Control),
            ("http://anna:a%0D%0Ab@cam", LoginError::Control),
            ("http://an%7Fna:b@cam", LoginError::Control),
            ("http://anna:%C2%80@cam", LoginError::Control),
            ("http://anna:a\tb@cam", LoginError::Control),
            // Not a host named anna, and a part of the password as its port.
            ("http://anna:12/34@cam", LoginError::Ambiguous),
            ("http://anna:12?34@cam", LoginError::Ambiguous),
            ("http://anna:12#34@cam", LoginError::Ambiguous),
            ("http://cam:81/video?pwd=a@b", LoginError::Ambiguous),
            ("http://anna%3A12%40cam/", LoginError::Host),
            ("ws://anna:12%40cam/", LoginError::Host),
            ("http://anna:12@%63am/", LoginError::Host),
        ] {
            assert_eq!(Login::split(url), Err(error), "{url}");
        }
    }

    #[test]
    fn no_secret_is_in_a_debug_text() {
        let basic = ServerLogin::Basic(login("anna", "secret"));
        let token = ServerLogin::Token(Secret("secret".to_owned()));
        assert_eq!(format!("{basic:?} {token:?}"), "Basic(Login(..)) Token(Secret(..))");
        assert_eq!(format!("{:?}", basic.authorization()), "Basic(..)");
    }

    #[test]
    fn basic_has_rules_of_its_own() {
        assert_eq!(login("anna", "a:b").check_basic(), Ok(()));
        assert_eq!(login("an:na", "b").check_basic(), Err(AuthorizationError::Colon));
        assert_eq!(login("", &"a".repeat(256)).check_basic(), Err(AuthorizationError::TooLong));
    }

    #[test]
    fn a_rejection_says_what_to_do() {
        let basic = ServerLogin::Basic(login("anna", "secret"));
        let token = ServerLogin::Token(Secret("secret".to_owned()));
        let ours = "Basic realm=\"camwire\", charset=\"UTF-8\"";
        for (sent, challenges, expected) in [
            (None, &[ours][..], Rejected::NoLogin),
            (None, &["Bearer realm=\"camwire\""], Rejected::NoToken),
            (None, &[ours, "Bearer realm=\"camwire\""], Rejected::NoLogin),
            (None, &["Digest realm=\"x\", nonce=\"basic\", qop=\"auth\""], Rejected::Digest),
            (None, &["Digest realm=\"x\",basic realm=\"x\""], Rejected::NoLogin),
            (None, &["Negotiate"], Rejected::NoLoginOrToken),
            (None, &[], Rejected::NoLoginOrToken),
            (Some(&basic), &[ours], Rejected::WrongLogin),
            (Some(&basic), &[], Rejected::WrongLogin),
            (Some(&basic), &["Bearer"], Rejected::NoToken),
            (Some(&basic), &["digest realm=\"x\""], Rejected::Digest),
            (Some(&token), &["Bearer error=\"invalid_token\""], Rejected::WrongToken),
            (Some(&token), &[], Rejected::WrongToken),
            (Some(&token), &[ours], Rejected::NoLogin),
        ] {
            let fields: Vec<_> = challenges.iter().map(|field| field.as_bytes()).collect();
            assert_eq!(Rejected::new(sent, &fields), expected, "{sent:?} {challenges:?}");
        }
        assert_eq!(
            Rejected::WrongLogin.text("http"),
            "the user or the password is wrong: http://USER:PASSWORD@HOST"
        );
    }
}
