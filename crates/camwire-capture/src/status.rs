use core::fmt::{self, Write};
use core::time::Duration;

use camwire_frame::{FrameInfo, Instant};
use portable_atomic::{AtomicU32, Ordering, fence};

/// What a source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// Nobody wants frames.
    Idle,
    /// Somebody wants frames; none has come yet.
    Starting,
    /// Frames come.
    Streaming,
    /// The last attempt failed; another follows.
    Failed,
    /// There are no more frames.
    Ended,
}

impl SourceState {
    /// In lower case, as in `/stats`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Streaming => "streaming",
            Self::Failed => "failed",
            Self::Ended => "ended",
        }
    }
}

const ERROR_BYTES: usize = 96;

/// How long repeats count as a sign of life while nobody knows how often frames come.
const REPEATS_UNTIL: Duration = Duration::from_secs(60);

/// What is known of a source, written by its [`capture_loop`](crate::capture_loop), or whatever is in
/// its place, and read by anyone at any time, for instance by the server's `/stats` and `/healthz`.
///
/// Counters wrap around at 2^32, which takes 4.5 years at 30 frames per second. Ages have no limit.
#[derive(Debug)]
pub struct SourceStatus {
    kind: &'static str,
    state: AtomicU32,
    captured: AtomicU32,
    errors: AtomicU32,
    /// Width in the upper half, height in the lower.
    size: AtomicU32,
    /// Smoothed time between frames; 0 while unknown.
    interval_us: AtomicU32,
    /// The last sign of life: a frame or a repeat of one, or if later, the begin of the demand.
    quiet_since: Moment,
    /// When the last frame came that is no repeat or, if later, when frames began to be wanted.
    new_since: Moment,
    error: ErrorText,
}

impl SourceStatus {
    /// The status of a source that has not begun. `kind` is a short name for people, such as
    /// `test` or `ov2640`.
    #[must_use]
    pub const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            state: AtomicU32::new(SourceState::Idle as u32),
            captured: AtomicU32::new(0),
            errors: AtomicU32::new(0),
            size: AtomicU32::new(0),
            interval_us: AtomicU32::new(0),
            quiet_since: Moment::new(),
            new_since: Moment::new(),
            error: ErrorText::new(),
        }
    }

    /// The name it was made with.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What the source is doing.
    #[must_use]
    pub fn state(&self) -> SourceState {
        use SourceState::{Ended, Failed, Idle, Starting, Streaming};
        let state = self.state.load(Ordering::Relaxed);
        let states = [Idle, Starting, Streaming, Failed, Ended];
        states.into_iter().find(|s| *s as u32 == state).unwrap_or(Idle)
    }

    /// Frames that were published.
    #[must_use]
    pub fn captured(&self) -> u32 {
        self.captured.load(Ordering::Relaxed)
    }

    /// Captures that failed.
    #[must_use]
    pub fn errors(&self) -> u32 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Width and height of the last frame, in pixels.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        let size = self.size.load(Ordering::Relaxed);
        ((size >> 16) as u16, size as u16)
    }

    /// Frames in 1000 seconds, smoothed over the last few; 0 when none come.
    #[must_use]
    pub fn millihertz(&self, now: Instant) -> u32 {
        let interval = self.interval_us.load(Ordering::Relaxed);
        let expected = Duration::from_micros(u64::from(interval).saturating_mul(4))
            .max(Duration::from_secs(2));
        if interval == 0 || self.state() != SourceState::Streaming || self.quiet(now) > expected {
            return 0;
        }
        1_000_000_000 / interval
    }

    /// For how long no frame has come although frames are wanted; zero if nobody wants any, or all
    /// have been told that the source has ended.
    ///
    /// A repeat of the last frame counts like a frame, but only for as long as a slow camera may
    /// take: for four of the usual intervals between frames, or for a minute after the first one.
    /// A server may repeat the last frame of a dead camera for ever.
    #[must_use]
    pub fn quiet(&self, now: Instant) -> Duration {
        if matches!(self.state(), SourceState::Idle | SourceState::Ended) {
            return Duration::ZERO;
        }
        now.saturating_since(self.quiet_since.get())
    }

    /// Writes the text of the last error there was, of which the first 96 bytes are kept. Whether
    /// it is over is for [`state`](Self::state) to say.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_error(&self, out: &mut impl Write) -> fmt::Result {
        let mut text = [0; ERROR_BYTES];
        out.write_str(self.error.read(&mut text))
    }

    /// Nobody wants frames. This and the following are for who fills a ring without a
    /// [`capture_loop`](crate::capture_loop); only one may call them at a time.
    pub fn idle(&self) {
        self.set(SourceState::Idle);
        self.interval_us.store(0, Ordering::Relaxed);
    }

    /// From now on somebody wants frames.
    pub fn starting(&self, now: Instant) {
        self.new_frame(now);
        self.set(SourceState::Starting);
    }

    /// A frame was published. `previous` is when the one before it was captured, if there was one
    /// since frames began to be wanted.
    pub fn published(&self, info: &FrameInfo, previous: Option<Instant>, now: Instant) {
        self.captured.store(self.captured().wrapping_add(1), Ordering::Relaxed);
        self.size.store(u32::from(info.width) << 16 | u32::from(info.height), Ordering::Relaxed);
        self.new_frame(now);
        if let Some(previous) = previous {
            let gap = info.captured_at.saturating_since(previous).min(Duration::from_secs(1000));
            // At most 10^9, so it fits.
            let gap =
                (gap.as_secs() as u32).wrapping_mul(1_000_000).wrapping_add(gap.subsec_micros());
            let smoothed = match self.interval_us.load(Ordering::Relaxed) {
                0 => gap,
                interval => (interval - interval / 8).saturating_add(gap / 8),
            };
            self.interval_us.store(smoothed.max(1), Ordering::Relaxed);
        }
        self.set(SourceState::Streaming);
    }

    /// A frame has come that is not published, since it is not its turn.
    pub fn passed_over(&self, now: Instant) {
        self.new_frame(now);
        self.recovered();
    }

    /// The upstream has sent its last frame again: a sign of life, see [`quiet`](Self::quiet).
    pub fn repeated(&self, now: Instant) {
        let age = now.saturating_since(self.new_since.get());
        let limit = match self.interval_us.load(Ordering::Relaxed) {
            0 => REPEATS_UNTIL,
            interval => Duration::from_micros(u64::from(interval).saturating_mul(4)),
        };
        if age <= limit {
            self.quiet_since.set(now);
        }
        self.recovered();
    }

    /// The source works again.
    fn recovered(&self) {
        if self.state() == SourceState::Failed {
            self.set(SourceState::Streaming);
        }
    }

    fn new_frame(&self, now: Instant) {
        self.quiet_since.set(now);
        self.new_since.set(now);
    }

    /// An attempt to get a frame has failed.
    pub fn failed(&self, error: fmt::Arguments<'_>) {
        self.errors.store(self.errors().wrapping_add(1), Ordering::Relaxed);
        self.error.write(error);
        self.set(SourceState::Failed);
    }

    pub(crate) fn ended(&self) {
        self.set(SourceState::Ended);
    }

    fn set(&self, state: SourceState) {
        self.state.store(state as u32, Ordering::Relaxed);
    }
}

/// A short text with one writer and any number of readers, without a lock: the version is odd
/// while it is being written, and who has seen it change reads again.
#[derive(Debug)]
struct ErrorText {
    version: AtomicU32,
    len: AtomicU32,
    words: [AtomicU32; ERROR_BYTES / 4],
}

impl ErrorText {
    const fn new() -> Self {
        Self {
            version: AtomicU32::new(0),
            len: AtomicU32::new(0),
            words: [const { AtomicU32::new(0) }; ERROR_BYTES / 4],
        }
    }

    fn write(&self, text: fmt::Arguments<'_>) {
        let mut buffer = Truncated { bytes: [0; ERROR_BYTES], len: 0 };
        let _ = buffer.write_fmt(text); // `Truncated` does not fail; a Display that does is cut.
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.len.store(buffer.len as u32, Ordering::Relaxed);
        for (word, bytes) in self.words.iter().zip(buffer.bytes.as_chunks::<4>().0) {
            word.store(u32::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn read<'b>(&self, buffer: &'b mut [u8; ERROR_BYTES]) -> &'b str {
        // Writes are rare and short; whoever loses this often shows no text this time.
        for _ in 0..8 {
            let version = self.version.load(Ordering::Acquire);
            let len = self.len.load(Ordering::Relaxed) as usize;
            for (word, bytes) in self.words.iter().zip(buffer.as_chunks_mut::<4>().0) {
                *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            }
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && version == self.version.load(Ordering::Relaxed) {
                let text = buffer.get(..len).unwrap_or_default();
                return core::str::from_utf8(text).unwrap_or_default();
            }
        }
        ""
    }
}

/// As much of a text as fits, cut between two characters.
struct Truncated {
    bytes: [u8; ERROR_BYTES],
    len: usize,
}

impl Write for Truncated {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let fits = text.floor_char_boundary(room.len());
        if let (Some(to), Some(text)) = (room.get_mut(..fits), text.as_bytes().get(..fits)) {
            to.copy_from_slice(text);
            self.len = self.len.saturating_add(fits);
        }
        Ok(())
    }
}

/// A moment with one writer and any number of readers, on chips whose atomics have 32 bits.
///
/// The upper half is written first and read last. So a reader that comes between the two, once in 71
/// minutes, sees a moment ahead of now, which counts as now: never one that is too old.
#[derive(Debug)]
struct Moment {
    high: AtomicU32,
    low: AtomicU32,
}

impl Moment {
    const fn new() -> Self {
        Self { high: AtomicU32::new(0), low: AtomicU32::new(0) }
    }

    fn set(&self, at: Instant) {
        let micros = at.as_micros();
        self.high.store((micros >> 32) as u32, Ordering::Relaxed);
        // Release: who sees this half sees the other.
        self.low.store(micros as u32, Ordering::Release);
    }

    fn get(&self) -> Instant {
        let low = self.low.load(Ordering::Acquire);
        let high = self.high.load(Ordering::Relaxed);
        Instant::from_micros(u64::from(high) << 32 | u64::from(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn error(status: &SourceStatus) -> String {
        let mut text = String::new();
        status.write_error(&mut text).unwrap();
        text
    }

    #[test]
    fn the_last_error_is_kept() {
        let status = SourceStatus::new("test");
        assert_eq!(error(&status), "");
        status.failed(format_args!("no route to {}", "camera"));
        assert_eq!(
            (error(&status).as_str(), status.state()),
            ("no route to camera", SourceState::Failed)
        );
        status.published(&FrameInfo::default(), None, Instant::ZERO);
        assert_eq!((error(&status).as_str(), status.errors()), ("no route to camera", 1));
        assert_eq!(status.state(), SourceState::Streaming);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let status = SourceStatus::new("test");
        let long: String = "é".repeat(47) + "xyé";
        status.failed(format_args!("{long}"));
        assert_eq!(error(&status), "é".repeat(47) + "xy");
        status.failed(format_args!("{}{}", "a".repeat(95), "é"));
        assert_eq!(error(&status), "a".repeat(95));
    }

    #[test]
    fn the_rate_is_smoothed_and_ends_with_the_frames() {
        let status = SourceStatus::new("test");
        let mut previous = None;
        let mut at = Instant::ZERO;
        for _ in 0..50 {
            at = at + Duration::from_millis(40);
            let info = FrameInfo { captured_at: at, ..FrameInfo::default() };
            status.published(&info, previous, at);
            previous = Some(at);
        }
        let rate = status.millihertz(at);
        assert!((24_900..=25_100).contains(&rate), "{rate}");
        assert_eq!(status.millihertz(at + Duration::from_secs(3)), 0);
        assert_eq!(status.quiet(at + Duration::from_secs(3)), Duration::from_secs(3));
        status.idle();
        assert_eq!(status.quiet(at + Duration::from_secs(3)), Duration::ZERO);
    }

    const DAY: Duration = Duration::from_secs(86_400);

    /// However long it takes: no counter of milliseconds or microseconds wraps around.
    #[test]
    fn dead_source_stays_dead() {
        for begin in [Instant::ZERO, Instant::ZERO + DAY * 49, Instant::ZERO + DAY * 20_000] {
            let status = SourceStatus::new("test");
            status.starting(begin);
            status.published(&FrameInfo::default(), None, begin);
            let mut last = Duration::ZERO;
            for days in (0..200).chain((200..40_000).step_by(997)) {
                let dead = DAY * days + Duration::from_millis(300);
                status.failed(format_args!("no route to host"));
                assert_eq!(status.quiet(begin + dead), dead, "{days} days after {begin:?}");
                assert!(dead > last);
                last = dead;
                status.repeated(begin + dead); // No sign of life any more.
                assert!(days == 0 || status.quiet(begin + dead) > DAY / 2, "{days} days");
                if days == 0 {
                    status.published(&FrameInfo::default(), None, begin);
                }
            }
        }
    }

    /// A moment ahead of now, from another core, counts as now.
    #[test]
    fn moment_ahead_is_no_age() {
        let status = SourceStatus::new("test");
        let now = Instant::ZERO + DAY * 100;
        status.starting(now + Duration::from_secs(1));
        assert_eq!(status.quiet(now), Duration::ZERO);
        // Between the two halves, where the upper one changes.
        let last = (1 << 32) - 1;
        status.quiet_since.set(Instant::from_micros(last));
        status.quiet_since.high.store(1, Ordering::Relaxed);
        assert_eq!(status.quiet(Instant::from_micros(last + 1)), Duration::ZERO);
    }

    #[test]
    fn counters_wrap_around() {
        let status = SourceStatus::new("test");
        for counter in [&status.captured, &status.errors] {
            counter.store(u32::MAX, Ordering::Relaxed);
        }
        status.published(&FrameInfo::default(), None, Instant::ZERO);
        status.failed(format_args!("late"));
        assert_eq!((status.captured(), status.errors()), (0, 0));
    }

    /// The rate of a source that is slower than the smoothed interval can say.
    #[test]
    fn longest_interval_is_a_thousand_seconds() {
        let status = SourceStatus::new("test");
        let at = |days| Instant::ZERO + DAY * days;
        for days in 1..100 {
            let info = FrameInfo { captured_at: at(days), ..FrameInfo::default() };
            status.published(&info, Some(at(days - 1)), at(days));
            assert_eq!(status.interval_us.load(Ordering::Relaxed), 1_000_000_000);
            assert_eq!(status.millihertz(at(days)), 1);
        }
    }
}
