use crate::ClientRequest;
use crate::head;

/// A WebSocket URI, taken apart (RFC 6455, section 3).
///
/// It has no user and no password: `ws://user:password@host` is [an error](UriError::UserInfo), and
/// not left out silently, so that no `Host` field and no log line shows a secret. A program that
/// takes such addresses splits them, and sends the login as a [field](ClientRequest::fields)
/// `Authorization`.
///
/// ```
/// use camwire_websocket::{Security, Uri};
///
/// let uri = Uri::parse("wss://relay.example/ingest?camera=3")?;
/// assert_eq!(uri.security, Security::Tls);
/// assert_eq!((uri.host, uri.port), ("relay.example", 443));
/// assert_eq!(uri.target, "/ingest?camera=3");
/// # Ok::<_, camwire_websocket::UriError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'u> {
    /// `ws:` or `wss:`.
    pub security: Security,
    /// Where to connect: a name or an address, without the brackets of an IPv6 address.
    pub host: &'u str,
    /// The port, or else 80, or 443 with TLS.
    pub port: u16,
    /// Host and port as they are written, for the `Host` field.
    pub authority: &'u str,
    /// Path and query. The path may be empty, which means `/`.
    pub target: &'u str,
}

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// `ws:`
    Plain,
    /// `wss:`. TLS is not done here, but between here and the socket.
    Tls,
}

/// Why a text is no WebSocket URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It begins with neither `ws://` nor `wss://`.
    #[error("it must begin with ws:// or wss://")]
    Scheme,
    /// There is a user, or a user and a password, before the host. They belong into the field
    /// `Authorization`.
    #[error("it must not have a user and password in it")]
    UserInfo,
    /// There is no host, or something else in its place.
    #[error("the host is malformed")]
    Host,
    /// The port is no number between 1 and 65535.
    #[error("the port is malformed")]
    Port,
    /// There is a fragment (`#`), or a character that must be escaped.
    #[error("the path is malformed")]
    Target,
}

impl<'u> Uri<'u> {
    /// Takes a URI apart.
    ///
    /// # Errors
    ///
    /// As [`UriError`] says.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn parse(uri: &'u str) -> Result<Self, UriError> {
        let (security, rest) = if let Some(rest) = after_scheme(uri, "ws://") {
            (Security::Plain, rest)
        } else if let Some(rest) = after_scheme(uri, "wss://") {
            (Security::Tls, rest)
        } else {
            return Err(UriError::Scheme);
        };
        let end = rest.as_bytes().iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (authority, target) =
            rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, ""));
        if authority.as_bytes().contains(&b'@') {
            return Err(UriError::UserInfo);
        }
        let (host, port) = host_and_port(authority)?;
        let port = match (port, security) {
            (Some(port), _) => port,
            (None, Security::Plain) => 80,
            (None, Security::Tls) => 443,
        };
        if !head::is_target(target.as_bytes()) {
            return Err(UriError::Target);
        }
        Ok(Self { security, host, port, authority, target })
    }

    /// A request for what is there.
    #[must_use]
    pub const fn request(&self) -> ClientRequest<'u> {
        ClientRequest::new(self.authority, self.target)
    }
}

fn after_scheme<'u>(uri: &'u str, scheme: &str) -> Option<&'u str> {
    let (start, rest) = uri.split_at_checked(scheme.len())?;
    head::is(start.as_bytes(), scheme.as_bytes()).then_some(rest)
}

fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), UriError> {
    let bytes = authority.as_bytes();
    let (host, after) = if let Some(rest) = authority.strip_prefix('[') {
        let end = rest.as_bytes().iter().position(|byte| *byte == b']').ok_or(UriError::Host)?;
        let (host, after) = rest.split_at_checked(end).ok_or(UriError::Host)?;
        let is_address =
            host.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        if !is_address {
            return Err(UriError::Host);
        }
        (host, after.get(1..).unwrap_or_default())
    } else {
        let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
        let (host, after) = authority.split_at_checked(end).ok_or(UriError::Host)?;
        // A name, an IPv4 address, or whatever else can be resolved.
        let is_name = host
            .bytes()
            .all(|byte| matches!(byte, b'!' | b'$'..=b'.' | b'0'..=b'9' | b';' | b'=' | b'A'..=b'Z' | b'_' | b'a'..=b'z' | b'~'));
        if !is_name {
            return Err(UriError::Host);
        }
        (host, after)
    };
    if host.is_empty() {
        return Err(UriError::Host);
    }
    match after.as_bytes() {
        [] | [b':'] => Ok((host, None)),
        [b':', digits @ ..] => Ok((host, Some(port(digits).ok_or(UriError::Port)?))),
        _ => Err(UriError::Host),
    }
}

fn port(digits: &[u8]) -> Option<u16> {
    let mut port = 0_u16;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| digit.wrapping_sub(b'0'))?;
        port = port.checked_mul(10)?.checked_add(digit.into())?;
    }
    (port > 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_uri() {
        let parse = |text| Uri::parse(text).map(|uri| (uri.host, uri.port, uri.target));
        assert_eq!(parse("ws://127.0.0.1:9001"), Ok(("127.0.0.1", 9001, "")));
        assert_eq!(parse("WS://cam/"), Ok(("cam", 80, "/")));
        assert_eq!(parse("wss://cam?x=/"), Ok(("cam", 443, "?x=/")));
        assert_eq!(parse("ws://[::1]:81/ws?a#"), Err(UriError::Target));
        assert_eq!(parse("ws://[::1]:81/ws?a"), Ok(("::1", 81, "/ws?a")));
        assert_eq!(parse("ws://[::1]"), Ok(("::1", 80, "")));
        assert_eq!(parse("ws://cam:"), Ok(("cam", 80, "")));
        assert_eq!(Uri::parse("ws://[::1]:81/ws").unwrap().authority, "[::1]:81");
        // Behind the host an @ is like any other character.
        assert_eq!(parse("ws://cam/@me?a@b"), Ok(("cam", 80, "/@me?a@b")));
    }

    #[test]
    fn what_is_none() {
        for (text, error) in [
            ("", UriError::Scheme),
            ("http://cam/", UriError::Scheme),
            ("ws:/cam/", UriError::Scheme),
            ("wss:/\u{e4}", UriError::Scheme),
            ("ws://", UriError::Host),
            ("ws://:80/", UriError::Host),
            ("ws://user@cam/", UriError::UserInfo),
            ("wss://user:password@cam:81/ws", UriError::UserInfo),
            ("ws://user:@[::1]", UriError::UserInfo),
            ("ws://@cam", UriError::UserInfo),
            ("ws://a@b@c", UriError::UserInfo),
            ("ws://cam@", UriError::UserInfo),
            ("ws://[::1/", UriError::Host),
            ("ws://[::1]x/", UriError::Host),
            ("ws://[cam]/", UriError::Host),
            ("ws://c am/", UriError::Host),
            ("ws://cam\r\n/", UriError::Host),
            ("ws://cam:0/", UriError::Port),
            ("ws://cam:65536/", UriError::Port),
            ("ws://cam:8o/", UriError::Port),
            ("ws://cam/#x", UriError::Target),
            ("ws://cam#x", UriError::Target),
            ("ws://cam/a b", UriError::Target),
            ("ws://cam/\u{e4}", UriError::Target),
        ] {
            assert_eq!(Uri::parse(text), Err(error), "{text}");
        }
    }
}
