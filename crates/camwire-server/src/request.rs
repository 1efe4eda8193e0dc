use core::num::NonZeroU8;
use core::str::FromStr;

use camwire_frame::{FrameRate, Setting, SettingName, ValueError};

/// What the server does with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// `/`
    Page,
    /// `/stream` and `/mjpeg/1`
    Stream(StreamOptions),
    /// `/ws`, and `/` for a client that wants to speak WebSocket there.
    WebSocket(StreamOptions),
    /// `/ingest`: a camera pushes its pictures.
    #[cfg(feature = "ingest")]
    Ingest,
    /// `/capture` and `/jpg`
    Capture,
    /// `/stats`
    Stats,
    /// `/healthz`
    Health,
    /// `/status`: what the source is set to.
    Status,
    /// `/control?var=NAME&val=VALUE`: to be set.
    Control(Setting),
}

/// The methods there are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The whole answer.
    Get,
    /// Only its head.
    Head,
}

/// Which pictures a viewer gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Always the newest.
    #[default]
    Live,
    /// All of them, in order, as far as the ring keeps them.
    All,
}

impl Mode {
    /// As in the query and in `/stats`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::All => "all",
        }
    }
}

/// The query of `/stream`, and of `/ws`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// `mode=live` or `mode=all`; the server's [`Config`](crate::Config) has what holds without.
    pub mode: Option<Mode>,
    /// `fps=`: at most so many pictures a second.
    pub rate: Option<FrameRate>,
    /// `advance_headers=1`: the head of a part is sent with the end of the part before it, so
    /// that Chromium draws at once; there is no `Content-Length` then.
    pub advance_headers: bool,
    /// `credit=`, with the subprotocol `camwire.v1`: so many pictures may be on their way that the
    /// viewer has not acknowledged, 8 at most.
    pub credit: Option<NonZeroU8>,
}

/// Most pictures that a viewer may leave unacknowledged. Their numbers are kept.
pub(crate) const CREDIT_MAX: NonZeroU8 = NonZeroU8::new(8).unwrap();

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, understood.
    pub route: Route,
}

/// Why a request cannot be answered as it wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is no HTTP/1 request: 400.
    #[error("not an HTTP/1 request")]
    Malformed,
    /// There is nothing at this path: 404.
    #[error("there is nothing here")]
    NotFound,
    /// The path is there, for GET and HEAD: 405.
    #[error("only GET and HEAD")]
    Method,
    /// The path is there, for GET: 405.
    #[error("only GET")]
    ControlMethod,
    /// The value of `fps` is no frame rate: 400.
    #[error("fps must be a number from 0.001 to 1000")]
    Rate,
    /// The value of `mode` is neither `live` nor `all`: 400.
    #[error("mode must be live or all")]
    Mode,
    /// A rate and all pictures cannot both be had: 400.
    #[error("fps cannot be combined with mode=all")]
    RateOfAll,
    /// The value of `advance_headers` is neither 0 nor 1: 400.
    #[error("advance_headers must be 0 or 1")]
    AdvanceHeaders,
    /// The value of `credit` is no number from 1 to 8: 400.
    #[error("credit must be a number from 1 to 8")]
    Credit,
    /// `var` is missing, or names no setting: 400.
    #[error("var must name a setting, as in /control?var=quality&val=12")]
    SettingName,
    /// `val` is missing, or no value of that setting: 400.
    #[error("{0}")]
    Value(ValueError),
}

impl Request {
    /// Understands a request line, its line end included. What follows it does not matter.
    ///
    /// Parameters that the server does not know are ignored: people add such things to a URL to
    /// get around caches.
    ///
    /// # Errors
    ///
    /// As [`RequestError`] says.
    pub fn parse(request_line: &[u8]) -> Result<Self, RequestError> {
        Self::of(Target::parse(request_line)?)
    }

    /// What a target means to this server.
    pub(crate) fn of(target: Target<'_>) -> Result<Self, RequestError> {
        let route = match target.path {
            "/" => Route::Page,
            "/stream" | "/mjpeg/1" => Route::Stream(StreamOptions::default()),
            // A handshake is a GET (RFC 6455, section 4.1).
            "/ws" if target.method != "GET" => return Err(RequestError::ControlMethod),
            "/ws" => Route::WebSocket(StreamOptions::default()),
            #[cfg(feature = "ingest")]
            "/ingest" if target.method != "GET" => return Err(RequestError::ControlMethod),
            #[cfg(feature = "ingest")]
            "/ingest" => Route::Ingest,
            "/capture" | "/jpg" => Route::Capture,
            "/stats" => Route::Stats,
            "/healthz" => Route::Health,
            "/status" => Route::Status,
            "/control" => return Self::control(target),
            _ => return Err(RequestError::NotFound),
        };
        let method = target.method()?;
        let route = match route {
            Route::Stream(_) => Route::Stream(target.query.parse()?),
            Route::WebSocket(_) => Route::WebSocket(target.query.parse()?),
            route => route,
        };
        Ok(Self { method, route })
    }

    /// The same with `Upgrade: websocket` among the fields.
    pub(crate) fn of_upgrade(target: Target<'_>) -> Result<Self, RequestError> {
        let request = Self::of(target)?;
        match request.route {
            Route::Page => Ok(Self { route: Route::WebSocket(target.query.parse()?), ..request }),
            _ => Ok(request),
        }
    }

    fn control(target: Target<'_>) -> Result<Self, RequestError> {
        // HEAD must change nothing (RFC 9110, section 9.2.1). GET should not either, but that is
        // the interface.
        if target.method != "GET" {
            return Err(RequestError::ControlMethod);
        }
        let name = target.parameter("var").and_then(|name| name.parse::<SettingName>().ok());
        let name = name.ok_or(RequestError::SettingName)?;
        let value = target.parameter("val").unwrap_or_default();
        let setting = name.with_text(value).map_err(RequestError::Value)?;
        Ok(Self { method: Method::Get, route: Route::Control(setting) })
    }
}

/// A request line, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'l> {
    pub(crate) method: &'l str,
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
        if head.version.is_none() {
            return Err(RequestError::Malformed);
        }
        let target = origin_form(target);
        let (path, query) = cut(target, b'?').unwrap_or((target, ""));
        Ok(Self { method, path, query })
    }

    /// Whether this is about the source's settings.
    pub(crate) fn is_of_settings(self) -> bool {
        matches!(self.path, "/status" | "/control")
    }

    fn method(self) -> Result<Method, RequestError> {
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
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(query);
    core::iter::from_fn(move || {
        let query = rest?;
        let (one, others) = cut(query, b'&').map_or((query, None), |(a, b)| (a, Some(b)));
        rest = others;
        Some(cut(one, b'=').unwrap_or((one, "")))
    })
}

/// A server must take the absolute form, too (RFC 9112, section 3.2.2).
fn origin_form(target: &str) -> &str {
    let Some(rest) = target.strip_prefix("http://") else { return target };
    let slash = rest.as_bytes().iter().position(|byte| *byte == b'/');
    slash.and_then(|slash| rest.get(slash..)).unwrap_or("/")
}

/// What is before and behind the first such byte. (`str::split_once` is not known to the linker as
/// free of panics.)
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let (before, rest) =
        text.split_at_checked(text.as_bytes().iter().position(|byte| *byte == at)?)?;
    Some((before, rest.get(1..)?))
}

/// Takes what follows the question mark, perhaps nothing. Unknown names are ignored.
impl FromStr for StreamOptions {
    type Err = RequestError;

    fn from_str(query: &str) -> Result<Self, RequestError> {
        let mut options = Self::default();
        for (name, value) in parameters(query) {
            match (name, value) {
                ("fps", _) => {
                    options.rate = Some(value.parse().map_err(|_| RequestError::Rate)?);
                }
                ("credit", _) => {
                    let credit = value.parse().ok().filter(|credit| *credit <= CREDIT_MAX);
                    options.credit = Some(credit.ok_or(RequestError::Credit)?);
                }
                ("mode", "live") => options.mode = Some(Mode::Live),
                ("mode", "all") => options.mode = Some(Mode::All),
                ("mode", _) => return Err(RequestError::Mode),
                ("advance_headers", "1") => options.advance_headers = true,
                ("advance_headers", "0") => options.advance_headers = false,
                ("advance_headers", _) => return Err(RequestError::AdvanceHeaders),
                _ => {}
            }
        }
        if options.mode == Some(Mode::All) && options.rate.is_some() {
            return Err(RequestError::RateOfAll);
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(target: &str) -> Result<Request, RequestError> {
        Request::parse(std::format!("GET {target} HTTP/1.1\r\n").as_bytes())
    }

    fn stream(options: StreamOptions) -> Result<Request, RequestError> {
        Ok(Request { method: Method::Get, route: Route::Stream(options) })
    }

    #[test]
    fn routes() {
        let get = |route| Ok(Request { method: Method::Get, route });
        assert_eq!(parse("/"), get(Route::Page));
        assert_eq!(parse("/?anything"), get(Route::Page));
        assert_eq!(parse("/ws?_cb=1234"), get(Route::WebSocket(StreamOptions::default())));
        assert_eq!(parse("/capture?_cb=1234"), get(Route::Capture));
        assert_eq!(parse("/jpg"), get(Route::Capture));
        assert_eq!(parse("/stats"), get(Route::Stats));
        assert_eq!(parse("/healthz"), get(Route::Health));
        assert_eq!(parse("http://camera.local/stats"), get(Route::Stats));
        assert_eq!(parse("http://camera.local"), get(Route::Page));
        for target in ["/stream/", "/Stream", "/../stats", "*", "stats", "/%73tats", "http:/stats"]
        {
            assert_eq!(parse(target), Err(RequestError::NotFound), "{target}");
        }
    }

    #[test]
    fn what_follows_a_request_line_does_not_matter() {
        for line in
            ["GET /stats HTTP/1.1\r\n", "\r\nHEAD / HTTP/1.1\n", "GET / HTTP/1.1 \r\n", "x\r\n"]
        {
            let alone = Request::parse(line.as_bytes());
            for rest in
                ["Host: a\r\n", "Host: a\r\n\r\nbody", "@\0", "\r\n", "GET /jpg HTTP/1.1\r\n"]
            {
                let both = std::format!("{line}{rest}");
                assert_eq!(Request::parse(both.as_bytes()), alone, "{both:?}");
            }
        }
    }

    #[test]
    fn stream_options() {
        let live = StreamOptions::default();
        assert_eq!(parse("/stream"), stream(live));
        assert_eq!(parse("/mjpeg/1?1699999999"), stream(live));
        let (rate, mode) = (FrameRate::from_millihertz(2500), Some(Mode::Live));
        assert_eq!(
            parse("/stream?fps=2.5&mode=live"),
            stream(StreamOptions { rate, mode, ..live })
        );
        assert_eq!(
            parse("/stream?mode=all"),
            stream(StreamOptions { mode: Some(Mode::All), ..live })
        );
        let advance = StreamOptions { advance_headers: true, ..live };
        assert_eq!(parse("/stream?advance_headers=1"), stream(advance));
        assert_eq!(parse("/stream?fps=0"), Err(RequestError::Rate));
        assert_eq!(parse("/stream?fps="), Err(RequestError::Rate));
        assert_eq!(parse("/stream?fps=fast"), Err(RequestError::Rate));
        assert_eq!(parse("/stream?mode=some"), Err(RequestError::Mode));
        assert_eq!(parse("/stream?fps=5&mode=all"), Err(RequestError::RateOfAll));
        let credit = |n| stream(StreamOptions { credit: NonZeroU8::new(n), ..live });
        assert_eq!(parse("/stream?credit=1"), credit(1));
        assert_eq!(parse("/stream?credit=8"), credit(8));
        for value in ["0", "9", "", "-1", "256", "two"] {
            let target = std::format!("/ws?credit={value}");
            assert_eq!(parse(&target), Err(RequestError::Credit), "{target}");
        }
        assert_eq!(parse("/stream?advance_headers=yes"), Err(RequestError::AdvanceHeaders));
    }

    #[test]
    fn methods() {
        let line = |method: &str, path: &str| {
            Request::parse(std::format!("{method} {path} HTTP/1.0\r\n").as_bytes())
        };
        assert_eq!(line("HEAD", "/"), Ok(Request { method: Method::Head, route: Route::Page }));
        assert_eq!(line("POST", "/stream"), Err(RequestError::Method));
        assert_eq!(line("HEAD", "/ws"), Err(RequestError::ControlMethod));
        assert_eq!(line("get", "/stream"), Err(RequestError::Method));
        assert_eq!(line("POST", "/nothing"), Err(RequestError::NotFound));
    }

    #[test]
    fn what_is_no_request() {
        for line in ["", "\r\n", "GET\r\n", "GET /\r\n", "GET / HTTP/2.0\r\n", "\x16\x03\x01\r\n"] {
            assert_eq!(Request::parse(line.as_bytes()), Err(RequestError::Malformed), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&line);
        }
    }
}
