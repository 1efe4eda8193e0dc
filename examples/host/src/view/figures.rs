//! What is counted of the pictures, and how it is told.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use camwire::capture::FrameLease;
use camwire::frame::FrameInfo;

/// A time stamp above this, in microseconds, is Unix time (it was in 2001); one below counts from a
/// start of the camera, and says nothing here.
const UNIX_FROM_US: u64 = 1_000_000_000_000_000;

/// What is known of one picture besides its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Counts from 1.
    pub(super) frame: u64,
    pub(super) info: FrameInfo,
    /// Pictures that the camera, or whatever relays it, has numbered and that did not come, since
    /// the one before.
    pub(super) missed: u64,
    /// From the time stamp to now. Negative if the camera's clock is ahead.
    pub(super) latency: Option<Signed>,
}

/// A time in microseconds that may be negative.
pub(super) type Signed = i64;

impl Facts {
    /// A JSON object with a member for each, and what else is to be told.
    pub(super) fn json(&self, brightness: Option<f64>, file: Option<&str>) -> String {
        let FrameInfo { len, width, height, upstream, .. } = self.info;
        let timestamp = upstream.timestamp_us.map(|us| us as f64 / 1e6);
        let mut text = format!(
            r#"{{"type":"frame","frame":{},"sequence":{},"timestamp":{},"width":{width},"height":{height},"bytes":{len},"latency_ms":{},"missed":{}"#,
            self.frame,
            or_null(upstream.sequence),
            or_null(timestamp.map(|t| format!("{t:.6}"))),
            or_null(self.latency.map(milliseconds)),
            self.missed,
        );
        if let Some(brightness) = brightness {
            let _ = write!(text, r#","brightness":{brightness:.3}"#);
        }
        if let Some(file) = file {
            // A name of our making, which needs no escape.
            let _ = write!(text, r#","file":"{file}""#);
        }
        text.push('}');
        text
    }
}

fn or_null(value: Option<impl ToString>) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

fn milliseconds(us: Signed) -> String {
    format!("{:.3}", us as f64 / 1e3)
}

/// The pictures of some time, added up.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    frames: u64,
    bytes: u64,
    missed: u64,
    latency: Signed,
    latencies: u64,
    latency_max: Option<Signed>,
}

impl Sum {
    fn add(&mut self, facts: &Facts) {
        self.frames += 1;
        self.bytes += facts.info.len as u64;
        self.missed = self.missed.saturating_add(facts.missed);
        if let Some(latency) = facts.latency {
            self.latency = self.latency.saturating_add(latency);
            self.latencies += 1;
            self.latency_max = self.latency_max.max(Some(latency));
        }
    }

    /// The mean.
    fn latency(&self) -> Option<Signed> {
        let count = Signed::try_from(self.latencies).ok()?;
        self.latency.checked_div(count)
    }
}

/// Counts pictures.
#[derive(Debug, Default)]
pub(super) struct Figures {
    all: Sum,
    /// Those of the present second.
    lately: Sum,
    sequence: Option<u64>,
    first_and_last_us: Option<(u64, u64)>,
    size: (u16, u16),
    lost: u64,
}

impl Figures {
    pub(super) fn frames(&self) -> u64 {
        self.all.frames
    }

    /// Counts a picture that came `now`. Up to it, the source knows of `lost` pictures that were.
    pub(super) fn add(
        &mut self,
        picture: &FrameLease<'_, '_>,
        lost: u64,
        now: SystemTime,
    ) -> Facts {
        let lately = lost.saturating_sub(self.lost);
        self.lost = lost;
        self.count(picture.info(), picture.missed().saturating_add(lately), now)
    }

    /// `missed` are those that the source lost, or the ring had no room for.
    fn count(&mut self, info: FrameInfo, missed: u64, now: SystemTime) -> Facts {
        let sequence = info.upstream.sequence;
        // A gap has those in it that were missed here. A number that is not higher comes of a
        // camera that began anew; nobody knows what came in between.
        let missed = match (self.sequence, sequence) {
            (Some(before), Some(this)) if this >= before => (this - before).saturating_sub(1),
            _ => missed,
        };
        self.sequence = sequence.or(self.sequence);
        let facts = Facts {
            frame: self.all.frames + 1,
            info,
            missed,
            latency: info.upstream.timestamp_us.and_then(|us| latency(us, now)),
        };
        let at = info.captured_at.as_micros();
        let first = self.first_and_last_us.map_or(at, |(first, _)| first);
        self.first_and_last_us = Some((first, at));
        self.size = (info.width, info.height);
        self.all.add(&facts);
        self.lately.add(&facts);
        facts
    }

    /// The figures of the last `span` on a line, from where they count anew.
    pub(super) fn line(&mut self, span: Duration) -> String {
        let Sum { frames, bytes, .. } = self.lately;
        let seconds = span.as_secs_f64().max(1e-3);
        let (fps, rate) = (frames as f64 / seconds, bytes as f64 / 1000.0 / seconds);
        let (width, height) = self.size;
        let mut text = format!("{fps:.1} fps, {width}x{height}, {rate:.1} kB/s");
        if let Some(latency) = self.lately.latency() {
            let _ = write!(text, ", latency {:.0} ms", latency as f64 / 1e3);
        }
        let _ = write!(text, ", lost {}", self.all.missed);
        self.lately = Sum::default();
        text
    }

    /// Pictures a second, of all of them.
    fn fps(&self) -> f64 {
        let (first, last) = self.first_and_last_us.unwrap_or_default();
        match last.saturating_sub(first) {
            0 => 0.0,
            span => (self.all.frames - 1) as f64 * 1e6 / span as f64,
        }
    }

    /// All the figures in a sentence. `errors` are the attempts that failed.
    pub(super) fn summary(&self, span: Duration, errors: u32) -> String {
        let Sum { frames, bytes, missed, .. } = self.all;
        let s = if frames == 1 { "" } else { "s" };
        let (kb, seconds, fps) = (bytes as f64 / 1e3, span.as_secs_f64(), self.fps());
        let mut text = format!(
            "{frames} picture{s}, {kb:.1} kB in {seconds:.1} s: {fps:.1} fps, lost {missed}"
        );
        if let Some(latency) = self.all.latency() {
            let _ = write!(text, ", latency {:.0} ms", latency as f64 / 1e3);
        }
        if errors > 0 {
            let _ = write!(text, ", {errors} errors");
        }
        text
    }

    /// The same as a JSON object.
    pub(super) fn summary_json(&self, span: Duration, errors: u32) -> String {
        let Sum { frames, bytes, missed, latency_max, .. } = self.all;
        format!(
            r#"{{"type":"summary","frames":{frames},"bytes":{bytes},"seconds":{:.3},"fps":{:.3},"missed":{missed},"errors":{errors},"latency_ms":{},"latency_max_ms":{}}}"#,
            span.as_secs_f64(),
            self.fps(),
            or_null(self.all.latency().map(milliseconds)),
            or_null(latency_max.map(milliseconds)),
        )
    }
}

/// How old something is that happened at `timestamp_us`, if that is Unix time.
fn latency(timestamp_us: u64, now: SystemTime) -> Option<Signed> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let now = Signed::try_from(now.as_micros()).ok()?;
    let then = Signed::try_from(timestamp_us).ok()?;
    (timestamp_us >= UNIX_FROM_US).then(|| now - then)
}

#[cfg(test)]
mod tests {
    use super::*;
    use camwire::frame::{Instant, Upstream};

    const NOW_US: u64 = 1_700_000_000_000_000;

    fn info(number: u64, sequence: Option<u64>, timestamp_us: Option<u64>) -> FrameInfo {
        FrameInfo {
            len: 1000,
            width: 64,
            height: 48,
            captured_at: Instant::from_micros(number * 100_000),
            upstream: Upstream { sequence, timestamp_us },
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(NOW_US)
    }

    #[test]
    fn gaps_are_losses() {
        let mut figures = Figures::default();
        let mut missed = |sequence, missed| figures.count(info(0, sequence, None), missed, now());
        // The first has missed none, whatever its number.
        assert_eq!(missed(Some(17), 0).missed, 0);
        assert_eq!(missed(Some(18), 0).missed, 0);
        assert_eq!(missed(Some(21), 0).missed, 2);
        // Of five that did not come, the ring dropped two.
        assert_eq!(missed(Some(27), 2).missed, 5);
        // The same number again, and a camera that began anew.
        assert_eq!(missed(Some(27), 0).missed, 0);
        assert_eq!(missed(Some(1), 0).missed, 0);
        assert_eq!(missed(Some(3), 0).missed, 1);
        // Without numbers there is what the ring says.
        assert_eq!(missed(None, 4).missed, 4);
        assert_eq!(missed(Some(u64::MAX), 0).missed, u64::MAX - 4);
        assert_eq!(missed(Some(5), 0).missed, 0);
        assert_eq!(missed(Some(u64::MAX), 0).missed, u64::MAX - 6);
        assert_eq!(figures.all.missed, u64::MAX);
    }

    #[test]
    fn latency_only_of_unix_time() {
        let latency = |us| latency(us, now());
        assert_eq!(latency(NOW_US - 25_000), Some(25_000));
        assert_eq!(latency(NOW_US + 25_000), Some(-25_000));
        assert_eq!(latency(3_600_000_000), None, "an hour after the camera's start");
        assert_eq!(latency(u64::MAX), None);
    }

    #[test]
    fn lines() {
        let mut figures = Figures::default();
        for number in 0..5 {
            figures.count(info(number, Some(number), Some(NOW_US - 20_000)), 0, now());
        }
        let second = Duration::from_secs(1);
        assert_eq!(figures.line(second), "5.0 fps, 64x48, 5.0 kB/s, latency 20 ms, lost 0");
        figures.count(info(7, Some(7), None), 0, now());
        assert_eq!(figures.line(second / 2), "2.0 fps, 64x48, 2.0 kB/s, lost 2");
        assert_eq!(
            figures.summary(second, 3),
            "6 pictures, 6.0 kB in 1.0 s: 7.1 fps, lost 2, latency 20 ms, 3 errors"
        );
    }

    #[test]
    fn json() {
        let mut figures = Figures::default();
        let first = figures.count(info(0, None, None), 0, now());
        assert_eq!(
            first.json(None, None),
            r#"{"type":"frame","frame":1,"sequence":null,"timestamp":null,"width":64,"height":48,"bytes":1000,"latency_ms":null,"missed":0}"#
        );
        let second = figures.count(info(1, Some(8), Some(NOW_US + 1_500)), 0, now());
        assert_eq!(
            second.json(Some(382.5), Some("1-8.jpg")),
            r#"{"type":"frame","frame":2,"sequence":8,"timestamp":1700000000.001500,"width":64,"height":48,"bytes":1000,"latency_ms":-1.500,"missed":0,"brightness":382.500,"file":"1-8.jpg"}"#
        );
        assert_eq!(
            figures.summary_json(Duration::from_secs(2), 0),
            r#"{"type":"summary","frames":2,"bytes":2000,"seconds":2.000,"fps":10.000,"missed":0,"errors":0,"latency_ms":-1.500,"latency_max_ms":-1.500}"#
        );
        assert!(Figures::default().summary_json(Duration::ZERO, 0).contains(r#""fps":0.000"#));
    }
}
