//! What the server does for a path and its query.

use camwire_frame::{Setting, SettingName};

use crate::http::target::{Method, RequestError, Target};
use crate::viewer::options::StreamOptions;

/// What the server does with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// `/`
    Page,
    /// `/stream` and `/mjpeg/1`, and `/?action=stream` as mjpg-streamer has it.
    Stream(StreamOptions),
    /// `/ws`, and `/` with `Upgrade: websocket`.
    WebSocket(StreamOptions),
    /// `/ingest`: a camera pushes its frames.
    #[cfg(feature = "ingest")]
    Ingest,
    /// `/capture`, `/jpg` and `/snapshot`, and `/?action=snapshot` as mjpg-streamer has it.
    Capture,
    /// `/stats`
    Stats,
    /// `/healthz`
    Health,
    /// `/status`: the source's settings.
    Status,
    /// `/control?var=NAME&val=VALUE`: change a setting.
    Control(Setting),
}

/// A request, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, understood.
    pub route: Route,
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
            "/" => match target.parameter("action") {
                Some("stream") => Route::Stream(StreamOptions::default()),
                Some("snapshot") => Route::Capture,
                _ => Route::Page,
            },
            "/stream" | "/mjpeg/1" => Route::Stream(StreamOptions::default()),
            // A handshake is a GET (RFC 6455, section 4.1).
            "/ws" if target.method != "GET" => return Err(RequestError::ControlMethod),
            "/ws" => Route::WebSocket(StreamOptions::default()),
            #[cfg(feature = "ingest")]
            "/ingest" if target.method != "GET" => return Err(RequestError::ControlMethod),
            #[cfg(feature = "ingest")]
            "/ingest" => Route::Ingest,
            "/capture" | "/jpg" | "/snapshot" => Route::Capture,
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
            Route::WebSocket(_) => Ok(request),
            #[cfg(feature = "ingest")]
            Route::Ingest => Ok(request),
            Route::Page => Ok(Self { route: Route::WebSocket(target.query.parse()?), ..request }),
            // A page elsewhere can open WebSockets to any address.
            _ => Err(RequestError::Upgrade),
        }
    }

    fn control(target: Target<'_>) -> Result<Self, RequestError> {
        // HEAD must change nothing (RFC 9110, section 9.2.1). GET should not either, but that is
        // CameraWebServer's interface.
        let method = match target.method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => return Err(RequestError::ChangeMethod),
        };
        let name = target.parameter("var").and_then(|name| name.parse::<SettingName>().ok());
        let name = name.ok_or(RequestError::SettingName)?;
        let value = target.parameter("val").unwrap_or_default();
        let setting = name.with_text(value).map_err(RequestError::Value)?;
        Ok(Self { method, route: Route::Control(setting) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewer::options::Mode;
    use camwire_frame::FrameRate;
    use core::num::NonZeroU8;
    use proptest::prelude::*;

    fn parse(target: &str) -> Result<Request, RequestError> {
        Request::parse(std::format!("GET {target} HTTP/1.1\r\n").as_bytes())
    }

    fn stream(options: StreamOptions) -> Result<Request, RequestError> {
        Ok(Request { method: Method::Get, route: Route::Stream(options) })
    }

    #[test]
    fn paths_lead_to_routes() {
        let get = |route| Ok(Request { method: Method::Get, route });
        assert_eq!(parse("/"), get(Route::Page));
        assert_eq!(parse("/?anything"), get(Route::Page));
        assert_eq!(parse("/ws?_cb=1234"), get(Route::WebSocket(StreamOptions::default())));
        assert_eq!(parse("/capture?_cb=1234"), get(Route::Capture));
        assert_eq!(parse("/jpg"), get(Route::Capture));
        assert_eq!(parse("/snapshot"), get(Route::Capture));
        assert_eq!(parse("/?action=snapshot"), get(Route::Capture));
        assert_eq!(parse("/?action=stream"), get(Route::Stream(StreamOptions::default())));
        assert_eq!(parse("/?action=other"), get(Route::Page));
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
