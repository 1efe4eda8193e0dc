//! Where the pictures come from.

mod files;
mod mqtt;
mod relay;
mod websocket;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use camwire::capture::CaptureConfig;
use camwire::frame::{
    CaptureError, Control, ControlError, Flow, FrameInfo, FrameRate, FrameSource,
    Instant as Moment, Setting, SettingName, Upstream, jpeg,
};
use camwire::multipart::MissingEoi;
use camwire::pattern::TestSource;

use crate::cameras::CameraOptions;
use crate::cli::{SourceArg, SourceOptions};
use crate::clock::HostClock;
use crate::login::{Login, ServerLogin};
use crate::throttle::LogThrottle;
use files::{DirectorySource, FileError, FileSource};
pub(crate) use mqtt::{MqttCamera, MqttSourceArgs, SourceCounts};
use mqtt::{MqttError, MqttSource};
use relay::{RelayError, RelayOptions, RelaySource};
use websocket::{WebSocketError, WebSocketRelay};

/// Why a source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, std::io::Error),
    #[error("there is no JPEG picture in {}", .0.display())]
    NoPicture(PathBuf),
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    #[error("{} is a directory; use dir:{}", .0.display(), .0.display())]
    IsDirectory(PathBuf),
    #[error("a camera cannot push to here: it needs a server")]
    Ingest,
    #[error("--source-token and a user and password in the URL do not go together: give one")]
    TwoLogins,
}

/// A picture of a camera that is read or relayed may be this large. It is address space, of which
/// a computer has plenty: memory is taken only as pictures fill it.
pub(crate) const LARGEST_PICTURE: usize = 4 << 20;

/// Of sources that have no rate of their own.
const DEFAULT_RATE: FrameRate = FrameRate::per_second(15).expect("in range");

/// Between two requests for single frames of a camera that gives one at a time.
const STILLS: Duration = Duration::from_secs(1);

/// A relay waits up to 5 s before it connects again, and gives up a silent camera after 10 s; it says
/// which it was.
const CAPTURE_TIMEOUT: Duration = Duration::from_secs(20);

/// The longest wait between attempts to reach a broker: its camera should be back within 5 s of its
/// return.
const BROKER_BACKOFF: Duration = Duration::from_secs(2);

/// How long an error that repeats itself is not told again.
const SILENCE: Duration = Duration::from_secs(10);

/// Any source that `--source` can name.
pub(crate) struct AnySource {
    kind: Kind,
    slot_bytes: usize,
    throttle: LogThrottle,
    damage: Damage,
    /// The counts that were told last, and when.
    told_counts: (SourceCounts, Instant),
}

enum Kind {
    Test(TestSource<HostClock>),
    Directory(DirectorySource),
    File(FileSource),
    Relay(Box<RelaySource>),
    WebSocket(Box<WebSocketRelay>),
    Mqtt(Box<MqttSource>),
}

impl AnySource {
    /// Opens what `source` names. A camera that cannot be reached now is no error: it may come.
    pub(crate) fn open(
        source: &SourceArg,
        options: &SourceOptions,
        own: &CameraOptions,
        clock: HostClock,
    ) -> Result<Self, SourceError> {
        let mut slot_bytes = LARGEST_PICTURE;
        let kind = match source {
            SourceArg::Test => {
                let resolution = own.resolution.unwrap_or(options.resolution);
                let quality = own.quality.unwrap_or(options.quality);
                let pixels = usize::from(resolution.width()) * usize::from(resolution.height());
                // Even at the best quality the pattern takes less than a byte for a pixel. And
                // who looks at it may choose a larger one.
                slot_bytes = slot_bytes.max(pixels + 4096);
                Kind::Test(TestSource::new(clock, resolution, quality))
            }
            SourceArg::Directory(path) => Kind::Directory(DirectorySource::open(path, clock)?),
            SourceArg::File(path) => Kind::File(FileSource::open(path, clock)?),
            SourceArg::Http(uri, login) => {
                let login = server_login(login.as_ref(), options, own)?;
                let relay = RelayOptions {
                    // With a rate, the capture loop keeps to it.
                    still_interval: if own.fps.or(options.fps).is_some() {
                        Duration::ZERO
                    } else {
                        STILLS
                    },
                    missing_eoi: if own.strict || options.strict {
                        MissingEoi::Broken
                    } else {
                        MissingEoi::Append
                    },
                };
                Kind::Relay(Box::new(RelaySource::new(uri.clone(), login, relay, clock)))
            }
            SourceArg::WebSocket(url, login) => {
                let login = server_login(login.as_ref(), options, own)?;
                let relay = WebSocketRelay::new(url, login, clock);
                Kind::WebSocket(Box::new(relay.expect("a URL that has been checked")))
            }
            SourceArg::Ingest => return Err(SourceError::Ingest),
            SourceArg::Mqtt(camera) => {
                let camera = camera.clone().with(&options.mqtt);
                Kind::Mqtt(Box::new(MqttSource::new(camera, clock)))
            }
        };
        let told_counts = (SourceCounts::default(), Instant::now());
        Ok(Self {
            kind,
            slot_bytes,
            throttle: LogThrottle::new(SILENCE),
            damage: Damage::default(),
            told_counts,
        })
    }

    /// A word for it in `/stats`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Test(_) => "test",
            Kind::Directory(_) => "dir",
            Kind::File(_) => "file",
            Kind::Relay(_) => "http",
            Kind::WebSocket(_) => "websocket",
            Kind::Mqtt(_) => "mqtt",
        }
    }

    /// Bytes of the largest picture it can give.
    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// How it is to be captured, at no more than `fps` if that is given.
    pub(crate) fn capture_config(&self, fps: Option<FrameRate>) -> CaptureConfig {
        let has_no_rate = matches!(self.kind, Kind::Test(_) | Kind::Directory(_) | Kind::File(_));
        let mut config = CaptureConfig::default();
        config.timeout = CAPTURE_TIMEOUT;
        config.rate = fps.or(has_no_rate.then_some(DEFAULT_RATE));
        if let Kind::Mqtt(_) = self.kind {
            config.backoff_max = BROKER_BACKOFF;
        }
        config
    }

    /// What became of pictures and messages that it did not give; `None` of sources that cannot
    /// tell.
    pub(crate) fn counts(&self) -> Option<SourceCounts> {
        match &self.kind {
            Kind::Mqtt(source) => Some(source.counts()),
            _ => None,
        }
    }
}

/// What another camera is sent, with the login that is in its URL.
fn server_login(
    login: Option<&Login>,
    options: &SourceOptions,
    own: &CameraOptions,
) -> Result<Option<ServerLogin>, SourceError> {
    match (login.cloned(), own.token.clone().or_else(|| options.source_token.clone())) {
        (Some(_), Some(_)) => Err(SourceError::TwoLogins),
        (Some(login), None) => Ok(Some(ServerLogin::Basic(login))),
        (None, token) => Ok(token.map(ServerLogin::Token)),
    }
}

/// How one of them fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnyError {
    #[error("{0}")]
    File(#[from] FileError),
    #[error("{0}")]
    Relay(#[from] RelayError),
    #[error("{0}")]
    WebSocket(#[from] WebSocketError),
    #[error("{0}")]
    Mqtt(#[from] MqttError),
}

impl AnySource {
    async fn next(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<AnyError>> {
        match &mut self.kind {
            Kind::Test(source) => FrameSource::capture(source, buf)
                .await
                .map_err(|error| error.map_source(|never| match never {})),
            Kind::Directory(source) => {
                source.capture(buf).map_err(|error| error.map_source(AnyError::File))
            }
            Kind::File(source) => {
                source.capture(buf).map_err(|error| error.map_source(AnyError::File))
            }
            Kind::Relay(source) => {
                source.capture(buf).await.map_err(|error| error.map_source(AnyError::Relay))
            }
            Kind::WebSocket(source) => {
                source.capture(buf).await.map_err(|error| error.map_source(AnyError::WebSocket))
            }
            Kind::Mqtt(source) => {
                source.capture(buf).await.map_err(|error| error.map_source(AnyError::Mqtt))
            }
        }
    }

    /// An error that repeats itself is told once in a while, not with every picture.
    fn log(&mut self, error: &CaptureError<AnyError>) {
        if self.flow() == Flow::Stream {
            return self.damage.note(error);
        }
        let text = error.to_string();
        if self.throttle.lets_through(&text) {
            log::warn!("{text}");
        }
    }

    /// Likewise what is lost.
    fn log_counts(&mut self) {
        let (told, at) = self.told_counts;
        if let Some(counts) = self.counts()
            && counts != told
            && (told == SourceCounts::default() || at.elapsed() > SILENCE)
        {
            let SourceCounts { lost, refused } = counts;
            log::warn!("{lost} pictures lost, {refused} messages refused");
            self.told_counts = (counts, Instant::now());
        }
    }
}

/// What was wrong with the frames of a stream that goes on. Several hundred may come in a row, so
/// they are counted, and reported together.
#[derive(Debug, Default)]
struct Damage {
    /// Since the last report.
    frames: u64,
    /// What was wrong with the last of them.
    error: String,
    reported: Option<Instant>,
}

impl Damage {
    fn note(&mut self, error: &CaptureError<AnyError>) {
        self.frames += 1;
        self.error = error.to_string();
        self.report();
    }

    /// At once, unless the last report is too recent.
    fn report(&mut self) {
        let is_recent = self.reported.is_some_and(|at| at.elapsed() < SILENCE);
        if self.frames == 0 || is_recent {
            return;
        }
        match core::mem::take(&mut self.frames) {
            1 => log::warn!("{}", self.error),
            frames => log::warn!("{frames} frames were damaged; the last: {}", self.error),
        }
        self.reported = Some(Instant::now());
    }
}

impl FrameSource for AnySource {
    type Error = AnyError;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<AnyError>> {
        let captured = self.next(buf).await;
        match &captured {
            Ok(_) | Err(CaptureError::Repeat) => self.damage.report(),
            // The ring is full, and this frame was not wanted.
            Err(CaptureError::TooLarge { needed })
                if buf.is_empty() && *needed <= self.slot_bytes => {}
            Err(error) => self.log(error),
        }
        self.log_counts();
        captured
    }

    fn flow(&self) -> Flow {
        match &self.kind {
            Kind::Relay(source) => source.flow(),
            Kind::WebSocket(source) => source.flow(),
            Kind::Mqtt(source) => source.flow(),
            Kind::Test(_) | Kind::Directory(_) | Kind::File(_) => Flow::OnDemand,
        }
    }

    async fn pause(&mut self) {
        match &mut self.kind {
            Kind::Relay(source) => source.pause().await,
            Kind::WebSocket(source) => source.pause().await,
            Kind::Mqtt(source) => source.pause().await,
            _ => {}
        }
    }
}

/// Only the test pattern can be set to anything.
impl Control for AnySource {
    type Error = Infallible;

    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<Infallible>> {
        match &mut self.kind {
            Kind::Test(source) => source.set(setting).await,
            _ => Err(ControlError::Unsupported),
        }
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        match &self.kind {
            Kind::Test(source) => source.get(name),
            _ => None,
        }
    }
}

/// What is known of a whole picture that says nothing more of itself.
fn info(picture: jpeg::Picture, captured_at: Moment) -> FrameInfo {
    FrameInfo {
        len: picture.len,
        width: picture.width,
        height: picture.height,
        captured_at,
        upstream: Upstream::default(),
    }
}
