//! Another camera's MJPEG stream as a source.

use std::io;
use std::time::Duration;

use camwire::frame::{
    CaptureError, Clock, Flow, FrameInfo, FrameSource, RepeatFilter, Upstream, jpeg,
};
use camwire::multipart::{self, ContentTypeError, Decoder, MultipartSource};
use camwire::server::Authorization;
use embedded_io_async::{ErrorType, Read};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::clock::HostClock;
use crate::login::{Rejected, ServerLogin};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("no HTTP from {0}: {1}")]
    Http(String, hyper::Error),
    #[error("{0} answers {1}")]
    Status(String, StatusCode),
    #[error("{0} answers 401: {text}", text = .1.text("http"))]
    Rejected(String, Rejected),
    #[error("{0} sends no MJPEG stream: {1}")]
    NotMultipart(String, ContentTypeError),
    #[error("{0} sends no JPEG picture: {1}")]
    NotJpeg(String, jpeg::JpegError),
    #[error("the stream of {0} has ended")]
    Ended(String),
    #[error("no picture from {0} within {1:?}")]
    Silent(String, Duration),
    #[error("{0}: the Content-Length of a part is wrong")]
    WrongLength(String),
    #[error("{0} sends a part that is no whole JPEG picture")]
    Broken(String),
    #[error("{0}: {1}")]
    Stream(String, multipart::SourceError<io::Error>),
}

/// Connects when pictures are wanted, and again when the connection is lost; the capture loop
/// waits between attempts. A camera that answers with a single JPEG picture is asked for one
/// after another.
pub(crate) struct RelaySource {
    uri: Uri,
    /// Host and port, for connecting and for messages.
    authority: String,
    login: Option<ServerLogin>,
    clock: HostClock,
    stream: Option<MultipartSource<Body, HostClock>>,
    /// What is known of the last frame of former connections, or of single frames.
    repeat_filter: RepeatFilter,
    /// It has been told that pictures come.
    announced: bool,
}

/// How long a camera may be silent before it is asked anew.
const PATIENCE: Duration = Duration::from_secs(10);

impl RelaySource {
    /// Of a URL without a login in it.
    pub(crate) fn new(uri: Uri, login: Option<ServerLogin>, clock: HostClock) -> Self {
        let host = uri.host().unwrap_or_default();
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let repeat_filter = RepeatFilter::new();
        Self { uri, authority, login, clock, stream: None, repeat_filter, announced: false }
    }

    async fn request(&self) -> Result<Response<Body>, RelayError> {
        let name = || self.authority.clone();
        let connect = TcpStream::connect(&self.authority).await;
        let stream = connect.map_err(|error| RelayError::Connect(name(), error))?;
        let http = |error| RelayError::Http(name(), error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let mut task = JoinSet::new();
        task.spawn(async {
            // An error of the connection comes out of the body, too.
            let _ = connection.await;
        });
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or(self.authority.as_str(), |a| a.as_str());
        let mut request = Request::get(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("camwire/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "multipart/x-mixed-replace, image/jpeg")
            .body(Empty::<Bytes>::new())
            .expect("a path of a URL, and constants");
        if let Some(login) = &self.login {
            let mut memory = [0; Authorization::MAX_LEN];
            let value = login.authorization().encode(&mut memory);
            let mut value = HeaderValue::from_str(value).expect("visible ASCII and a space");
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = sender.send_request(request).await.map_err(http)?;
        match response.status() {
            StatusCode::OK => {
                Ok(response.map(|body| Body { body, rest: Bytes::new(), _task: task }))
            }
            StatusCode::UNAUTHORIZED => {
                let challenges = response.headers().get_all(WWW_AUTHENTICATE);
                let challenges: Vec<_> = challenges.iter().map(HeaderValue::as_bytes).collect();
                Err(RelayError::Rejected(name(), Rejected::new(self.login.as_ref(), &challenges)))
            }
            status => Err(RelayError::Status(name(), status)),
        }
    }
}

impl RelaySource {
    fn hang_up(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.repeat_filter = stream.repeat_filter();
        }
    }

    /// The next picture of the stream, which is opened if need be.
    async fn next(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<RelayError>> {
        let name = self.authority.clone();
        if self.stream.is_none() {
            let response = self.request().await?;
            let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
            let content_type = content_type.unwrap_or_default();
            if content_type.trim_ascii_start().starts_with(b"image/jpeg") {
                return self.still(response, buf).await;
            }
            let decoder = Decoder::from_content_type(content_type, multipart::Config::default())
                .map_err(|error| RelayError::NotMultipart(name.clone(), error))?;
            if !self.announced {
                log::info!("relaying {name}");
                self.announced = true;
            }
            let body = response.into_body();
            let stream = MultipartSource::new(body, decoder, self.clock);
            self.stream = Some(stream.with_repeat_filter(self.repeat_filter));
        }
        let Some(stream) = &mut self.stream else { return Err(CaptureError::Ended) };
        let lies = stream.counts().wrong_length;
        let captured = FrameSource::capture(stream, buf).await;
        let lied = stream.counts().wrong_length > lies;
        captured.map_err(|error| match error {
            CaptureError::Broken if lied => RelayError::WrongLength(name).into(),
            CaptureError::Broken => RelayError::Broken(name).into(),
            // Not for good: the camera may come back.
            CaptureError::Ended => {
                self.hang_up();
                RelayError::Ended(name).into()
            }
            error => error.map_source(|error| {
                self.hang_up();
                RelayError::Stream(name, error)
            }),
        })
    }

    /// The picture of a camera that gives one at a time.
    async fn still(
        &mut self,
        response: Response<Body>,
        buf: &mut [u8],
    ) -> Result<FrameInfo, CaptureError<RelayError>> {
        let captured_at = self.clock.now();
        let upstream = upstream(response.headers());
        let mut body = response.into_body();
        let stream =
            |error| RelayError::Stream(self.authority.clone(), multipart::SourceError::Read(error));
        let mut len = 0;
        while len < buf.len() {
            match body.read(&mut buf[len..]).await.map_err(stream)? {
                0 => break,
                n => len += n,
            }
        }
        if len == buf.len() && body.read(&mut [0]).await.map_err(stream)? != 0 {
            return Err(CaptureError::TooLarge { needed: len + 1 });
        }
        let picture = jpeg::inspect(&buf[..len])
            .map_err(|error| RelayError::NotJpeg(self.authority.clone(), error))?;
        if self.repeat_filter.is_repeat(upstream, &buf[..picture.len]) {
            return Err(CaptureError::Repeat);
        }
        Ok(FrameInfo { upstream, ..super::info(picture, captured_at) })
    }
}

/// What a server says of a single frame, in the fields that stand in a part's head otherwise.
fn upstream(headers: &HeaderMap) -> Upstream {
    let field = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let sequence = field("x-frame").and_then(|number| number.parse().ok());
    let timestamp_us = field("x-timestamp").and_then(micros);
    Upstream { sequence, timestamp_us }
}

/// Seconds with a fraction, in microseconds.
fn micros(seconds: &str) -> Option<u64> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<6}")[..6].parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction)
}

impl FrameSource for RelaySource {
    type Error = RelayError;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<RelayError>> {
        match tokio::time::timeout(PATIENCE, self.next(buf)).await {
            Ok(captured) => captured,
            Err(_elapsed) => {
                self.hang_up();
                Err(RelayError::Silent(self.authority.clone(), PATIENCE).into())
            }
        }
    }

    fn flow(&self) -> Flow {
        self.stream.as_ref().map_or(Flow::OnDemand, FrameSource::flow)
    }

    /// Disconnects: what the network has queued would be old when it is wanted again. Those who
    /// come then have not had the last frame.
    async fn pause(&mut self) {
        self.stream = None;
        self.repeat_filter = RepeatFilter::new();
    }
}

/// The body of a response, and the task that reads the connection; dropping it closes both.
struct Body {
    body: Incoming,
    rest: Bytes,
    _task: JoinSet<()>,
}

impl ErrorType for Body {
    type Error = io::Error;
}

/// Cancel-safe: what has arrived waits in `rest`.
impl Read for Body {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.body.frame().await {
                None => return Ok(0),
                Some(frame) => {
                    let data = frame.map_err(io::Error::other)?.into_data();
                    self.rest = data.unwrap_or_default(); // Trailers have nothing to say.
                }
            }
        }
        let count = buf.len().min(self.rest.len());
        buf[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_single_frames() {
        let of = |fields: &[(&'static str, &str)]| {
            let fields = fields.iter().map(|(name, value)| {
                (name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap())
            });
            let Upstream { sequence, timestamp_us } = upstream(&fields.collect());
            (sequence, timestamp_us)
        };
        assert_eq!(of(&[]), (None, None));
        assert_eq!(of(&[("X-Frame", "7"), ("X-Timestamp", "12.5")]), (Some(7), Some(12_500_000)));
        let full = [("x-frame", " 18446744073709551615 "), ("x-timestamp", "1.0000019")];
        assert_eq!(of(&full), (Some(u64::MAX), Some(1_000_001)));
        assert_eq!(of(&[("X-Timestamp", "3")]), (None, Some(3_000_000)));
        for wrong in ["", "-1", "a", "1.", ".5", "1.2.3", "99999999999999999999", "\u{e4}"] {
            assert_eq!(of(&[("X-Frame", wrong), ("X-Timestamp", wrong)]), (None, None), "{wrong}");
        }
    }
}
