//! Another camera's MJPEG stream, or its single frames, as a source.

use std::io;
use std::time::Duration;

use camwire::frame::{
    CaptureError, Clock, Flow, FrameInfo, FrameSource, Instant, RepeatFilter, Upstream, jpeg,
};
use camwire::multipart::{self, ContentTypeError, Decoder, MissingEoi, MultipartSource};
use camwire::server::{Authorization, BodyKind, HttpResponse, HttpResponseError, Reconnect};
use embedded_io_async::{ErrorType, Read};
use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock::HostClock;
use crate::login::{Rejected, ServerLogin};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, io::Error),
    #[error("no HTTP from {0}: {1}")]
    Http(String, HttpResponseError<io::Error>),
    #[error("{0} answers {1}")]
    Status(String, u16),
    #[error("{0} answers 401: {text}", text = .1.text("http"))]
    Rejected(String, Rejected),
    #[error("{0} sends no MJPEG stream: {1}")]
    NotMultipart(String, ContentTypeError),
    #[error("{0} sends no JPEG frame: {1}")]
    NotJpeg(String, jpeg::JpegError),
    #[error("the stream of {0} has ended")]
    Ended(String),
    #[error("no frame from {0} within {1:?}")]
    Silent(String, Duration),
    #[error("{0}: the Content-Length of a part is wrong")]
    WrongLength(String),
    #[error("{0} sends a part that is no whole JPEG frame")]
    Broken(String),
    #[error("{0}: {1}")]
    Stream(String, multipart::SourceError<HttpResponseError<io::Error>>),
}

/// Connects when frames are wanted, and again when the connection is lost, but never more often
/// than [`Reconnect`] allows. A camera that answers with a single JPEG frame is asked for one after
/// another.
pub(crate) struct RelaySource {
    uri: Uri,
    /// Host and port, for connecting and for messages.
    authority: String,
    login: Option<ServerLogin>,
    clock: HostClock,
    options: RelayOptions,
    stream: Option<MultipartSource<HttpResponse<Connection>, HostClock>>,
    reconnect: Reconnect,
    /// When the next single frame is due, if the last answer was one.
    next_still: Option<Instant>,
    /// What is known of the last frame of former connections, or of single frames.
    repeat_filter: RepeatFilter,
    /// It has been reported that frames come.
    announced: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayOptions {
    /// Single frames are asked for at this interval at most; shorter ones are up to the capture
    /// loop.
    pub(crate) still_interval: Duration,
    pub(crate) missing_eoi: MissingEoi,
}

/// How long a camera may be silent before it is asked anew.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// So many bytes may come before the SOI of a single frame.
const LEAD: usize = 1024;

impl RelaySource {
    /// Of a URL without a login in it.
    pub(crate) fn new(
        uri: Uri,
        login: Option<ServerLogin>,
        options: RelayOptions,
        clock: HostClock,
    ) -> Self {
        let host = uri.host().unwrap_or_default();
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Self {
            uri,
            authority,
            login,
            clock,
            options,
            stream: None,
            reconnect: Reconnect::new(),
            next_still: None,
            repeat_filter: RepeatFilter::new(),
            announced: false,
        }
    }

    fn name(&self) -> String {
        self.authority.clone()
    }

    fn hang_up(&mut self) {
        let stream = self.stream.take();
        let brought_frames = stream.as_ref().is_some_and(|stream| stream.counts().pictures > 0);
        self.reconnect.closed(self.clock.now(), brought_frames);
        if let Some(stream) = stream {
            self.repeat_filter = stream.repeat_filter();
        }
    }

    /// The next frame of the stream, which is opened if need be.
    async fn next(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<RelayError>> {
        if self.stream.is_none()
            && let Some(still) = self.open(buf).await?
        {
            return Ok(still);
        }
        let name = self.name();
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

    /// Connects. The camera answers with a stream, or with a single frame, which is returned.
    async fn open(
        &mut self,
        buf: &mut [u8],
    ) -> Result<Option<FrameInfo>, CaptureError<RelayError>> {
        self.reconnect.opened(self.clock.now());
        self.next_still = None;
        let opened = self.request(buf).await;
        match &opened {
            // A connection for each is in order.
            Ok(Some(_)) | Err(CaptureError::Repeat | CaptureError::TooLarge { .. }) => {
                self.next_still = Some(self.clock.now() + self.options.still_interval);
            }
            Ok(None) => {}
            Err(_) => self.reconnect.closed(self.clock.now(), false),
        }
        opened
    }

    async fn request(
        &mut self,
        buf: &mut [u8],
    ) -> Result<Option<FrameInfo>, CaptureError<RelayError>> {
        let name = self.name();
        let Answer { mut body, content_type, upstream } = self.answer().await?;
        let http = |error| RelayError::Http(name.clone(), error);
        let said = Decoder::from_content_type(&content_type, multipart::Config::default());
        let decoder = match said {
            Ok(decoder) => decoder,
            // What it says may be wrong, or missing. The body shows what it is.
            Err(error) => match body.kind().await.map_err(http)? {
                BodyKind::Multipart => {
                    let any = b"multipart/x-mixed-replace";
                    Decoder::from_content_type(any, multipart::Config::default())
                        .map_err(|error| RelayError::NotMultipart(name.clone(), error))?
                }
                BodyKind::Jpeg => return self.still(body, upstream, buf).await.map(Some),
                _ if content_type.to_ascii_lowercase().starts_with(b"image/") => {
                    return self.still(body, upstream, buf).await.map(Some);
                }
                _ => return Err(RelayError::NotMultipart(name, error).into()),
            },
        };
        if !self.announced {
            log::info!("relaying {name}");
            self.announced = true;
        }
        let stream = MultipartSource::new(body, decoder, self.clock)
            .with_repeat_filter(self.repeat_filter)
            .missing_eoi(self.options.missing_eoi);
        self.stream = Some(stream);
        Ok(None)
    }

    /// Sends the request and reads the head of the answer.
    async fn answer(&self) -> Result<Answer, RelayError> {
        let name = || self.name();
        let connect = |error| RelayError::Connect(name(), error);
        let mut stream = TcpStream::connect(&self.authority).await.map_err(connect)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or(self.authority.as_str(), |a| a.as_str());
        let mut memory = [0; Authorization::MAX_LEN];
        let authorization = match &self.login {
            Some(login) => {
                let value = login.authorization().encode(&mut memory).to_owned();
                format!("Authorization: {value}\r\n")
            }
            None => String::new(),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: camwire/{}\r\n\
             Accept: multipart/x-mixed-replace, image/jpeg, */*;q=0.5\r\n\
             Connection: close\r\n{authorization}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        stream.write_all(request.as_bytes()).await.map_err(connect)?;

        let (mut content_type, mut challenges) = (Vec::new(), Vec::new());
        let mut upstream = Upstream::default();
        let body = HttpResponse::open(Connection(stream), |field, value| {
            match &*field.to_ascii_lowercase() {
                b"content-type" => content_type = value.to_vec(),
                b"www-authenticate" => challenges.push(value.to_vec()),
                b"x-frame" => upstream.sequence = number(value),
                b"x-timestamp" => upstream.timestamp_us = micros(value),
                _ => {}
            }
        });
        let body = body.await.map_err(|error| RelayError::Http(name(), error))?;
        match body.status() {
            200 => Ok(Answer { body, content_type, upstream }),
            401 => {
                let challenges: Vec<_> = challenges.iter().map(Vec::as_slice).collect();
                Err(RelayError::Rejected(name(), Rejected::new(self.login.as_ref(), &challenges)))
            }
            status => Err(RelayError::Status(name(), status)),
        }
    }

    /// The frame of a camera that gives one at a time. It ends with its EOI: not every camera closes
    /// the connection then.
    async fn still(
        &mut self,
        mut body: HttpResponse<Connection>,
        upstream: Upstream,
        buf: &mut [u8],
    ) -> Result<FrameInfo, CaptureError<RelayError>> {
        let captured_at = self.clock.now();
        let mut len = 0;
        let mut scanner = None;
        let picture = loop {
            let Some(room) = buf.get_mut(len..).filter(|room| !room.is_empty()) else {
                return Err(CaptureError::TooLarge { needed: len + 1 });
            };
            let count = body.read(room).await;
            let count = count.map_err(|error| RelayError::Http(self.name(), error))?;
            let from = len;
            len += count;
            let not_jpeg = |error| RelayError::NotJpeg(self.authority.clone(), error);
            if count == 0 {
                break self.cut_still(scanner, buf, len).map_err(not_jpeg)?;
            }
            let scanned = match &mut scanner {
                Some(scanner) => jpeg::Scanner::push(scanner, &buf[from..len]),
                None => {
                    let lead = &buf[..len.min(LEAD)];
                    let Some(start) = lead.windows(3).position(|w| w == b"\xFF\xD8\xFF") else {
                        if len > LEAD {
                            return Err(not_jpeg(jpeg::JpegError::NotJpeg).into());
                        }
                        continue;
                    };
                    buf.copy_within(start..len, 0);
                    len -= start;
                    scanner.insert(jpeg::Scanner::new()).push(&buf[..len])
                }
            };
            if let Some(picture) = scanned.map_err(not_jpeg)? {
                break picture;
            }
        };
        if self.repeat_filter.is_repeat(upstream, &buf[..picture.len]) {
            return Err(CaptureError::Repeat);
        }
        Ok(FrameInfo { upstream, ..super::info(picture, captured_at) })
    }

    /// A single frame whose body has ended before its EOI came.
    fn cut_still(
        &self,
        scanner: Option<jpeg::Scanner>,
        buf: &mut [u8],
        len: usize,
    ) -> Result<jpeg::Picture, jpeg::JpegError> {
        const EOI: [u8; 2] = [0xFF, 0xD9];
        let mut scanner = scanner.ok_or(jpeg::JpegError::NotJpeg)?;
        let cut = jpeg::JpegError::Truncated { size: scanner.size() };
        let room = buf.get_mut(len..).and_then(|room| room.first_chunk_mut());
        let (MissingEoi::Append, Some(room)) = (self.options.missing_eoi, room) else {
            return Err(cut);
        };
        *room = EOI;
        scanner.push(&EOI)?.ok_or(cut)
    }
}

struct Answer {
    body: HttpResponse<Connection>,
    content_type: Vec<u8>,
    upstream: Upstream,
}

fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// Seconds with a fraction, in microseconds.
fn micros(seconds: &[u8]) -> Option<u64> {
    let seconds = str::from_utf8(seconds).ok()?;
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
        if self.stream.is_none() {
            self.clock.sleep_until(self.next_still.unwrap_or(self.reconnect.due())).await;
        }
        match tokio::time::timeout(PATIENCE, self.next(buf)).await {
            Ok(captured) => captured,
            Err(_elapsed) => {
                self.hang_up();
                Err(RelayError::Silent(self.name(), PATIENCE).into())
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

struct Connection(TcpStream);

impl ErrorType for Connection {
    type Error = io::Error;
}

/// Cancel-safe.
impl Read for Connection {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_of_single_frames() {
        assert_eq!(number(b"7"), Some(7));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for (text, expected) in [("12.5", 12_500_000), ("1.0000019", 1_000_001), ("3", 3_000_000)] {
            assert_eq!(micros(text.as_bytes()), Some(expected), "{text}");
        }
        for wrong in ["", "-1", "+1", "a", "1.", ".5", "1.2.3", "99999999999999999999", "\u{e4}"] {
            assert_eq!(
                (number(wrong.as_bytes()), micros(wrong.as_bytes())),
                (None, None),
                "{wrong}"
            );
        }
    }
}
