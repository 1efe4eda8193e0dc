//! Where the pictures come from.

mod files;
mod relay;

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;

use camwire::frame::{CaptureError, FrameInfo, FrameSource, TestSource};

use crate::cli::{ServeArgs, SourceArg};
use crate::clock::HostClock;
use files::{DirectorySource, FileError, FileSource};
use relay::{RelayError, RelaySource};

/// Why a source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, std::io::Error),
    #[error("there is no JPEG picture in {}", .0.display())]
    NoPicture(PathBuf),
    #[error("{} is a directory; use dir:{}", .0.display(), .0.display())]
    IsDirectory(PathBuf),
}

/// A picture of a camera that is read or relayed may be this large. It is address space, of which
/// a computer has plenty: memory is taken only as pictures fill it.
const LARGEST_PICTURE: usize = 4 << 20;

/// Any source that `--source` can name.
pub(crate) enum AnySource {
    Test { source: TestSource<HostClock>, slot_bytes: usize },
    Directory(DirectorySource),
    File(FileSource),
    Relay(Box<RelaySource>),
}

impl AnySource {
    /// Opens what `args` name. A camera that cannot be reached now is no error: it may come.
    pub(crate) fn open(args: &ServeArgs, clock: HostClock) -> Result<Self, SourceError> {
        Ok(match &args.source {
            SourceArg::Test => {
                let (resolution, quality) = (args.resolution, args.quality);
                let pixels = usize::from(resolution.width()) * usize::from(resolution.height());
                // Even at the best quality the pattern takes less than a byte for a pixel.
                let slot_bytes = pixels + 4096;
                Self::Test { source: TestSource::new(clock, resolution, quality), slot_bytes }
            }
            SourceArg::Directory(path) => Self::Directory(DirectorySource::open(path, clock)?),
            SourceArg::File(path) => Self::File(FileSource::open(path, clock)?),
            SourceArg::Http(uri) => Self::Relay(Box::new(RelaySource::new(uri.clone(), clock))),
        })
    }

    /// A word for it in `/stats`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Test { .. } => "test",
            Self::Directory(_) => "dir",
            Self::File(_) => "file",
            Self::Relay(_) => "http",
        }
    }

    /// Bytes of the largest picture it can give.
    pub(crate) fn slot_bytes(&self) -> usize {
        match self {
            Self::Test { slot_bytes, .. } => *slot_bytes,
            _ => LARGEST_PICTURE,
        }
    }
}

/// How one of them fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnyError {
    #[error("{0}")]
    File(#[from] FileError),
    #[error("{0}")]
    Relay(#[from] RelayError),
}

impl FrameSource for AnySource {
    type Error = AnyError;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<AnyError>> {
        match self {
            Self::Test { source, .. } => FrameSource::capture(source, buf)
                .await
                .map_err(|e| convert(e, |never| match never {})),
            Self::Directory(source) => source.capture(buf).map_err(|e| convert(e, AnyError::File)),
            Self::File(source) => source.capture(buf).map_err(|e| convert(e, AnyError::File)),
            Self::Relay(source) => {
                source.capture(buf).await.map_err(|e| convert(e, AnyError::Relay))
            }
        }
    }

    async fn pause(&mut self) {
        if let Self::Relay(source) = self {
            source.pause().await;
        }
    }
}

/// The same error, with the source's own part of another type.
fn convert<E: fmt::Debug, F>(error: CaptureError<E>, own: impl FnOnce(E) -> F) -> CaptureError<F> {
    match error {
        CaptureError::TooLarge { needed } => CaptureError::TooLarge { needed },
        CaptureError::Broken => CaptureError::Broken,
        CaptureError::Ended => CaptureError::Ended,
        CaptureError::Source(error) => CaptureError::Source(own(error)),
        other => unreachable!("a kind of error that is not known here: {other:?}"),
    }
}

const _: fn(Infallible) -> AnyError = |never| match never {};
