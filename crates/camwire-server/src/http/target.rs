//! The request line: method, path and query.

use camwire_frame::ValueError;

/// The methods of the server's own routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The whole answer.
    Get,
    /// Only its head.
    Head,
    /// The whole answer, and something is changed.
    Post,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is not an HTTP/1 request: 400.
    #[error("not an HTTP/1 request")]
    Malformed,
    /// The path is unknown: 404.
    #[error("there is nothing here")]
    NotFound,
    /// The path allows GET and HEAD only: 405.
    #[error("only GET and HEAD")]
    Method,
    /// The path allows GET and POST only: 405.
    #[error("only GET and POST")]
    ChangeMethod,
    /// A WebSocket is asked for where there is none: 400.
    #[error("no WebSocket is here")]
    Upgrade,
    /// The path allows GET only: 405.
    #[error("only GET")]
    ControlMethod,
    /// The value of `fps` is not a frame rate: 400.
    #[error("fps must be a number from 0.001 to 1000")]
    Rate,
    /// The value of `mode` is neither `live` nor `all`: 400.
    #[error("mode must be live or all")]
    Mode,
    /// A rate and all frames exclude each other: 400.
    #[error("fps cannot be combined with mode=all")]
    RateOfAll,
    /// The value of `advance_headers` is neither 0 nor 1: 400.
    #[error("advance_headers must be 0 or 1")]
    AdvanceHeaders,
    /// The value of `credit` is not a number from 1 to 8: 400.
    #[error("credit must be a number from 1 to 8")]
    Credit,
    /// `var` is missing or unknown: 400.
    #[error("var must name a setting, as in /control?var=quality&val=12")]
    SettingName,
    /// `val` is missing or invalid for that setting: 400.
    #[error("{0}")]
    Value(ValueError),
}

/// A request line, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'l> {
    pub(crate) method: &'l str,
    /// Of HTTP/1.1 a `Host` is demanded.
    pub(crate) needs_host: bool,
    /// The host and port of a target in the absolute form, which take the place of `Host`.
    pub(crate) authority: Option<&'l str>,
    pub(crate) path: &'l str,
    pub(crate) query: &'l str,
}

impl<'l> Target<'l> {
    pub(crate) fn parse(request_line: &'l [u8]) -> Result<Self, RequestError> {
        let mut no_headers = [];
        let mut head = httparse::Request::new(&mut no_headers);
        head.parse(first_line(request_line)).map_err(|_| RequestError::Malformed)?;
        // httparse has these as soon as it has seen the line's end, though not the head's.
        let (Some(method), Some(target)) = (head.method, head.path) else {
            return Err(RequestError::Malformed);
        };
        let Some(version) = head.version else { return Err(RequestError::Malformed) };
        let (authority, target) = split_authority(target);
        let (path, query) = cut(target, b'?').unwrap_or((target, ""));
        Ok(Self { method, needs_host: version > 0, authority, path, query })
    }

    pub(crate) fn method(self) -> Result<Method, RequestError> {
        match self.method {
            "GET" => Ok(Method::Get),
            "HEAD" => Ok(Method::Head),
            _ => Err(RequestError::Method),
        }
    }

    /// The value of that name, the last one if there are several.
    pub(crate) fn parameter(self, name: &str) -> Option<&'l str> {
        parameters(self.query).filter(|(key, _)| *key == name).last().map(|(_, value)| value)
    }
}

/// The text up to the end of its first line that is not empty. Fields behind that would be too many
/// for a parser that has no room for any.
fn first_line(text: &[u8]) -> &[u8] {
    let mut has_begun = false;
    let end = text.iter().position(|byte| {
        has_begun |= !matches!(byte, b'\r' | b'\n');
        has_begun && *byte == b'\n'
    });
    end.and_then(|end| text.get(..=end)).unwrap_or(text)
}

/// Names and values of a query; a name without a value has an empty one.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(query);
    core::iter::from_fn(move || {
        let query = rest?;
        let (one, others) = cut(query, b'&').map_or((query, None), |(a, b)| (a, Some(b)));
        rest = others;
        Some(cut(one, b'=').unwrap_or((one, "")))
    })
}

/// A server must take the absolute form, too (RFC 9112, section 3.2.2).
fn split_authority(target: &str) -> (Option<&str>, &str) {
    let Some(rest) = target.strip_prefix("http://") else { return (None, target) };
    let slash = rest.as_bytes().iter().position(|byte| *byte == b'/');
    match slash.and_then(|slash| rest.split_at_checked(slash)) {
        Some((authority, path)) => (Some(authority), path),
        None => (Some(rest), "/"),
    }
}

/// What is before and behind the first such byte. (`str::split_once` is not known to the linker as
/// free of panics.)
pub(crate) fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let (before, rest) =
        text.split_at_checked(text.as_bytes().iter().position(|byte| *byte == at)?)?;
    Some((before, rest.get(1..)?))
}
