use crate::{Control, ControlError, Instant, Setting, SettingName};

/// What is known of a picture besides its bytes.
///
/// The sequence number is not here: the ring gives it when the picture is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// Bytes of the picture, counted from the start of its slot.
    pub len: usize,
    /// Width in pixels, as the picture itself says (its SOF), not as the sensor is set.
    pub width: u16,
    /// Height in pixels, likewise.
    pub height: u16,
    /// When the exposure began, or the nearest moment to it that the source knows (for a relay,
    /// the arrival of the first byte), on the server's clock.
    pub captured_at: Instant,
    /// What an upstream said of this picture, if it came from one.
    pub upstream: Upstream,
}

/// What another server said of a picture that came from it. Its clock and its count are its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The upstream's own frame number (`X-Frame`).
    pub sequence: Option<u64>,
    /// The upstream's own time stamp (`X-Timestamp`), in microseconds since whatever it counts
    /// from: Unix time or its boot.
    pub timestamp_us: Option<u64>,
}

/// Why a picture was not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError<E> {
    /// The picture is larger than the memory given for it. The source has discarded it.
    #[error("the picture needs {needed} bytes")]
    TooLarge {
        /// Bytes this picture needs, or where the source cannot know them, at least needs.
        needed: usize,
    },
    /// The source delivered something that is no whole picture, and has discarded it. The next
    /// capture may well succeed.
    #[error("the picture is broken")]
    Broken,
    /// The upstream sent its last frame again, and the source has discarded it: see
    /// [`RepeatFilter`](crate::RepeatFilter). Nothing has failed. It is a sign of life, and the
    /// next capture waits for a new frame.
    #[error("the frame is the last one again")]
    Repeat,
    /// There are no more pictures, and there will be none.
    #[error("the source has ended")]
    Ended,
    /// The driver failed in its own way.
    #[error("{0}")]
    Source(E),
}

impl<E> CaptureError<E> {
    /// The same, with the driver's own error made another.
    pub fn map_source<F>(self, convert: impl FnOnce(E) -> F) -> CaptureError<F> {
        match self {
            Self::TooLarge { needed } => CaptureError::TooLarge { needed },
            Self::Broken => CaptureError::Broken,
            Self::Repeat => CaptureError::Repeat,
            Self::Ended => CaptureError::Ended,
            Self::Source(error) => CaptureError::Source(convert(error)),
        }
    }
}

impl<E> From<E> for CaptureError<E> {
    fn from(error: E) -> Self {
        Self::Source(error)
    }
}

/// Whether a source waits to be asked for a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// A frame is made or fetched when it is asked for: by a driver, from a file, from a server of
    /// single frames, over a connection that must be made first.
    ///
    /// To ask less often is to get fewer frames. After an error it is pointless to ask again at
    /// once.
    #[default]
    OnDemand,
    /// Frames arrive by themselves, from a peer that sets the pace: a stream that is open.
    ///
    /// What is not taken waits somewhere and grows old, so every frame must be asked for, and
    /// those that are not wanted thrown away. The stream goes on after any error, so it is right to
    /// ask again at once.
    Stream,
}

/// A camera, or whatever takes its place.
///
/// One method is required. A driver that owns its buffers (DMA included) copies the picture out
/// and gives the buffer back before it returns: a buffer held while a slow viewer is served
/// freezes the sensor.
#[allow(async_fn_in_trait)] // Whether the futures are `Send` is the source's to decide.
pub trait FrameSource {
    /// How the driver fails.
    type Error;

    /// Captures the next picture into `buf`, from its first byte, and says what it is.
    ///
    /// A source waits for the next new picture; it never returns the same one twice. `buf`
    /// beyond the returned length may hold anything afterwards.
    ///
    /// # Errors
    ///
    /// [`CaptureError::TooLarge`] if the picture does not fit `buf`; it is discarded. So a capture
    /// into an empty `buf` throws the next frame of a stream away. The others as they say. After
    /// any error the source may be asked again; when, [`flow`](Self::flow) says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the source usable. A network source may lose the picture that
    /// was under way.
    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>>;

    /// Whether frames arrive by themselves or wait to be asked for, at this moment. By default
    /// [`Flow::OnDemand`].
    ///
    /// A source over a connection says [`Flow::Stream`] while the connection is open, and
    /// [`Flow::OnDemand`] once it is lost: then to ask is to connect. A wrapper passes on what the
    /// source in it says.
    fn flow(&self) -> Flow {
        Flow::OnDemand
    }

    /// Nobody wants pictures for now: stop the sensor, or disconnect.
    async fn pause(&mut self) {}

    /// Pictures are wanted again. Whatever the driver had queued from before must not be
    /// returned by a later [`capture`](Self::capture).
    async fn resume(&mut self) {}
}

impl<S: FrameSource> FrameSource for &mut S {
    type Error = S::Error;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<S::Error>> {
        (**self).capture(buf).await
    }

    fn flow(&self) -> Flow {
        (**self).flow()
    }

    async fn pause(&mut self) {
        (**self).pause().await;
    }

    async fn resume(&mut self) {
        (**self).resume().await;
    }
}

/// [`FrameSource`] for a driver that blocks, on a thread or task of its own.
///
/// Wrap it in [`Blocking`] to use it where a [`FrameSource`] is wanted.
pub trait BlockingFrameSource {
    /// How the driver fails.
    type Error;

    /// As [`FrameSource::capture`], but blocks.
    ///
    /// # Errors
    ///
    /// As [`FrameSource::capture`].
    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>>;

    /// As [`FrameSource::flow`].
    fn flow(&self) -> Flow {
        Flow::OnDemand
    }

    /// As [`FrameSource::pause`].
    fn pause(&mut self) {}

    /// As [`FrameSource::resume`].
    fn resume(&mut self) {}
}

/// Makes a [`BlockingFrameSource`] a [`FrameSource`] whose futures block when polled.
///
/// Run it on a thread or task of its own; on a shared executor it would stop everybody else.
#[derive(Clone, Copy, Debug)]
pub struct Blocking<S>(pub S);

impl<S: BlockingFrameSource> FrameSource for Blocking<S> {
    type Error = S::Error;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<S::Error>> {
        self.0.capture(buf)
    }

    fn flow(&self) -> Flow {
        self.0.flow()
    }

    async fn pause(&mut self) {
        self.0.pause();
    }

    async fn resume(&mut self) {
        self.0.resume();
    }
}

impl<S: Control> Control for Blocking<S> {
    type Error = S::Error;

    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<S::Error>> {
        self.0.set(setting).await
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;

    struct Live;

    impl BlockingFrameSource for Live {
        type Error = Infallible;

        fn capture(&mut self, _: &mut [u8]) -> Result<FrameInfo, CaptureError<Infallible>> {
            Err(CaptureError::Ended)
        }

        fn flow(&self) -> Flow {
            Flow::Stream
        }
    }

    struct Driver;

    impl BlockingFrameSource for Driver {
        type Error = Infallible;

        fn capture(&mut self, _: &mut [u8]) -> Result<FrameInfo, CaptureError<Infallible>> {
            Err(CaptureError::Ended)
        }
    }

    #[test]
    fn wrappers_pass_the_flow_on() {
        assert_eq!(Blocking(Driver).flow(), Flow::OnDemand);
        assert_eq!(Blocking(Live).flow(), Flow::Stream);
        assert_eq!(FrameSource::flow(&&mut Blocking(Live)), Flow::Stream);
    }
}
