//! Where the pictures come from.

mod files;
mod relay;
mod websocket;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use camwire::frame::{
    CaptureError, Control, ControlError, FrameInfo, FrameSource, Instant as Moment, Setting,
    SettingName, TestSource, Upstream, jpeg,
};

use crate::cli::{ServeArgs, SourceArg};
use crate::clock::HostClock;
use files::{DirectorySource, FileError, FileSource};
use relay::{RelayError, RelaySource};
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
}

/// A picture of a camera that is read or relayed may be this large. It is address space, of which
/// a computer has plenty: memory is taken only as pictures fill it.
pub(crate) const LARGEST_PICTURE: usize = 4 << 20;

/// How long an error that repeats itself is not told again.
const SILENCE: Duration = Duration::from_secs(10);

/// Any source that `--source` can name.
pub(crate) struct AnySource {
    kind: Kind,
    slot_bytes: usize,
    /// The error that was told last, and when.
    told: Option<(String, Instant)>,
}

enum Kind {
    Test(TestSource<HostClock>),
    Directory(DirectorySource),
    File(FileSource),
    Relay(Box<RelaySource>),
    WebSocket(Box<WebSocketRelay>),
}

impl AnySource {
    /// Opens what `args` name. A camera that cannot be reached now is no error: it may come.
    pub(crate) fn open(args: &ServeArgs, clock: HostClock) -> Result<Self, SourceError> {
        let mut slot_bytes = LARGEST_PICTURE;
        let kind = match &args.source {
            SourceArg::Test => {
                let (resolution, quality) = (args.resolution, args.quality);
                let pixels = usize::from(resolution.width()) * usize::from(resolution.height());
                // Even at the best quality the pattern takes less than a byte for a pixel. And
                // who looks at it may choose a larger one.
                slot_bytes = slot_bytes.max(pixels + 4096);
                Kind::Test(TestSource::new(clock, resolution, quality))
            }
            SourceArg::Directory(path) => Kind::Directory(DirectorySource::open(path, clock)?),
            SourceArg::File(path) => Kind::File(FileSource::open(path, clock)?),
            SourceArg::Http(uri) => Kind::Relay(Box::new(RelaySource::new(uri.clone(), clock))),
            SourceArg::WebSocket(url) => {
                let relay = WebSocketRelay::new(url, args.source_token.clone(), clock);
                Kind::WebSocket(Box::new(relay.expect("a URL that has been checked")))
            }
            SourceArg::Ingest => return Err(SourceError::Ingest),
        };
        Ok(Self { kind, slot_bytes, told: None })
    }

    /// A word for it in `/stats`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Test(_) => "test",
            Kind::Directory(_) => "dir",
            Kind::File(_) => "file",
            Kind::Relay(_) => "http",
            Kind::WebSocket(_) => "websocket",
        }
    }

    /// Bytes of the largest picture it can give.
    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot_bytes
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
        }
    }

    /// An error that repeats itself is told once in a while, not with every picture.
    fn log(&mut self, error: &CaptureError<AnyError>) {
        let text = error.to_string();
        let told = |(last, at): &(String, Instant)| *last == text && at.elapsed() < SILENCE;
        if !self.told.as_ref().is_some_and(told) {
            log::warn!("{text}");
            self.told = Some((text, Instant::now()));
        }
    }
}

impl FrameSource for AnySource {
    type Error = AnyError;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<AnyError>> {
        let captured = self.next(buf).await;
        if let Err(error) = &captured {
            self.log(error);
        }
        captured
    }

    async fn pause(&mut self) {
        match &mut self.kind {
            Kind::Relay(source) => source.pause().await,
            Kind::WebSocket(source) => source.pause().await,
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
