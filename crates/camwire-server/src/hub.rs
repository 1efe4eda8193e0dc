//! One camera, and what all of its connections share.

use core::net::SocketAddr;

#[cfg(feature = "ingest")]
use camwire_capture::SourceState;
use camwire_capture::{Follow, FrameReader, FrameRing, Settings, SourceStatus};
use camwire_frame::{Clock, Instant, Random};
use portable_atomic::{AtomicU32, Ordering};

use crate::config::Config;
use crate::viewer::options::{Mode, StreamOptions};
use crate::viewer::slot::{Transport, Viewer, ViewerSlot};

/// No place for another viewer, or for its reader in the ring: 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::REASON)]
pub struct TooManyViewers;

impl TooManyViewers {
    pub(crate) const REASON: &'static str = "too many viewers";
}

/// The name of one of several cameras, as in `/NAME/stream`: 1 to 32 letters, digits, hyphens and
/// underscores.
///
/// ```
/// use camwire_server::CameraName;
///
/// assert_eq!(CameraName::new("front-door").unwrap().as_str(), "front-door");
/// assert_eq!(CameraName::new("front/door"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameraName<'n>(&'n str);

impl<'n> CameraName<'n> {
    /// Bytes of the longest name.
    pub const MAX_LEN: usize = 32;

    /// A name; `None` if it is empty, too long, or has other characters.
    #[must_use]
    pub fn new(name: &'n str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_name = (1..=Self::MAX_LEN).contains(&name.len()) && name.bytes().all(is_plain);
        is_name.then_some(Self(name))
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'n str {
        self.0
    }

    /// What follows `/NAME` in a path, if it begins so.
    #[cfg(feature = "cameras")]
    pub(crate) fn rest_of(self, path: &str) -> Option<&str> {
        let rest = path.strip_prefix('/')?.strip_prefix(self.0)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

/// One camera and what its connections share: the ring with its frames, the state of the source, its
/// settings, the places for viewers, and the deadlines.
///
/// A [`Server`](crate::Server) has one and answers HTTP from it. Outputs that are not HTTP use it
/// directly; the [crate's documentation](crate#outputs-of-your-own) has an example:
///
/// 1. Check the client's login with [`Config::credentials`].
/// 2. [`claim_slot`](Self::claim_slot) takes a place among the viewers, so the client is counted in
///    `/stats`, and refused when all places are taken.
/// 3. [`subscribe`](Self::subscribe) takes a reader of the ring. From here on there is demand, so the
///    camera starts.
/// 4. [`stream`](crate::stream) sends frames over any [`Wire`](crate::Wire), within the deadlines.
#[derive(Debug)]
pub struct Hub<'s, C> {
    name: Option<CameraName<'s>>,
    ring: &'s FrameRing<'s>,
    status: &'s SourceStatus,
    viewers: &'s [ViewerSlot],
    settings: Option<&'s Settings>,
    clock: C,
    random: Random,
    config: Config,
    started: Instant,
    last_id: AtomicU32,
}

impl<'s, C: Clock> Hub<'s, C> {
    /// The camera whose frames are in `ring` and whose state is in `status`, for as many viewers at
    /// once as `viewers` has places.
    ///
    /// The ring needs a place for each viewer, and a few more, so that `/capture` is answered
    /// while every viewer's place is taken.
    ///
    /// `random` makes the boundary of each stream, and the masking keys of a [`Push`](crate::Push). It
    /// must be unpredictable, or a frame can run a script in the browsers of viewers ([`Random`]
    /// says where to get it).
    #[must_use]
    pub fn new(
        ring: &'s FrameRing<'s>,
        status: &'s SourceStatus,
        viewers: &'s [ViewerSlot],
        clock: C,
        random: Random,
        config: Config,
    ) -> Self {
        let (started, last_id) = (clock.now(), AtomicU32::new(0));
        Self {
            name: None,
            ring,
            status,
            viewers,
            settings: None,
            clock,
            random,
            config,
            started,
            last_id,
        }
    }

    /// The same camera with settings, for `/status` and `/control`. They are applied by
    /// [`capture_loop_with_settings`](camwire_capture::capture_loop_with_settings).
    #[must_use]
    pub fn with_settings(self, settings: &'s Settings) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// The same camera with a name, by which a [`Server`](crate::Server) of several finds it.
    #[must_use]
    pub fn with_name(self, name: CameraName<'s>) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Its name, if it has one.
    #[must_use]
    pub const fn name(&self) -> Option<CameraName<'s>> {
        self.name
    }

    /// The ring with its frames.
    #[must_use]
    pub const fn ring(&self) -> &'s FrameRing<'s> {
        self.ring
    }

    /// The state of its source.
    #[must_use]
    pub const fn status(&self) -> &'s SourceStatus {
        self.status
    }

    /// Its settings, if it has any.
    #[must_use]
    pub const fn settings(&self) -> Option<&'s Settings> {
        self.settings
    }

    /// The places for viewers.
    pub(crate) const fn viewers(&self) -> &'s [ViewerSlot] {
        self.viewers
    }

    /// The clock by which deadlines are measured.
    #[must_use]
    pub const fn clock(&self) -> &C {
        &self.clock
    }

    /// The generator of random numbers, for what a program needs besides.
    #[must_use]
    pub const fn random(&self) -> Random {
        self.random
    }

    /// Logins, limits and deadlines.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// When it was made.
    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    /// Takes a place among the viewers for a client of the output `transport`. `options` says which
    /// frames it wants, `peer` is shown in `/stats`.
    ///
    /// # Errors
    ///
    /// If all places are taken.
    pub fn claim_slot(
        &self,
        transport: Transport,
        options: &StreamOptions,
        peer: Option<SocketAddr>,
    ) -> Result<Viewer<'s>, TooManyViewers> {
        // A rate is for live frames, so a client that asks for one has chosen.
        let mode = match (options.mode, options.rate) {
            (Some(mode), _) => mode,
            (None, Some(_)) => Mode::Live,
            (None, None) => self.config.mode,
        };
        // Neither 0 nor the largest, which mean something else to a ViewerSlot.
        let id = (self.last_id.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1)) + 1;
        let viewer = Viewer::claim(self.viewers, id, peer, transport, mode, options.rate);
        viewer.ok_or(TooManyViewers)
    }

    /// A reader of the ring for a viewer. While there is one, the camera captures.
    ///
    /// # Errors
    ///
    /// If the ring has no place for another reader.
    pub fn subscribe(&self, mode: Mode) -> Result<FrameReader<'s>, TooManyViewers> {
        let follow = match mode {
            Mode::Live => Follow::Live,
            Mode::All => Follow::Ordered,
        };
        #[cfg(feature = "ingest")]
        self.forget_old();
        let mut reader = self.ring.subscribe(follow).map_err(|_| TooManyViewers)?;
        if mode == Mode::All {
            reader.rewind();
        }
        Ok(reader)
    }

    /// Whether no viewer has waited for a frame for longer than [`Config::health_deadline`].
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_healthy_at(self.clock.now())
    }

    pub(crate) fn is_healthy_at(&self, now: Instant) -> bool {
        #[cfg(feature = "ingest")]
        if self.waits_for_camera() {
            // Without a camera nobody keeps the status.
            let had_frames = self.status.state() != SourceState::Idle;
            let is_recent = self.status.quiet(now) <= self.config.health_deadline;
            return self.ring.readers() == 0 || (had_frames && is_recent);
        }
        self.status.quiet(now) <= self.config.health_deadline
    }

    /// The time of `at` in microseconds: Unix time where the platform knows it, else time since its
    /// start.
    #[must_use]
    pub fn timestamp_us(&self, at: Instant) -> u64 {
        at.as_micros().saturating_add(self.clock.unix_offset().unwrap_or(0))
    }
}

#[cfg(feature = "ingest")]
impl<C> Hub<'_, C> {
    /// Whether this is a relay of a camera that pushes.
    pub(crate) const fn takes_pushes(&self) -> bool {
        self.config.ingest_token.is_some()
    }

    /// Whether this is one, and no camera does.
    pub(crate) fn waits_for_camera(&self) -> bool {
        self.takes_pushes() && !self.ring.has_publisher()
    }

    /// Before a viewer subscribes: the last frame of a camera that has gone is for viewers that have
    /// watched since.
    fn forget_old(&self) {
        if self.waits_for_camera()
            && self.ring.readers() == 0
            && let Ok(mut publisher) = self.ring.publisher()
        {
            publisher.clear();
            publisher.detach();
        }
    }
}
