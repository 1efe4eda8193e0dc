//! The reader that sees every picture: it counts, tells and saves them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use camwire::capture::{FrameLease, FrameReader, SourceStatus};
use camwire::frame::{Clock, FrameInfo, Instant as Moment};
use tokio::sync::watch;
use tokio::time::{self, MissedTickBehavior};

use super::figures::Figures;
use super::picture::Image;
use super::{ViewArgs, ViewError};
use crate::clock::HostClock;
use crate::serve::interrupted;

pub(super) struct Recorder {
    frames: Option<u64>,
    brightness_every: u64,
    timeout: Option<Duration>,
    output: Output,
    save: Option<PathBuf>,
    clock: HostClock,
    status: &'static SourceStatus,
    /// Pictures of which the source knows that they were lost.
    lost: &'static AtomicU64,
    figures: Figures,
    start: Instant,
    /// When the last picture came, or it all began.
    quiet_since: Instant,
    /// When the last figures were told.
    told: Instant,
    image: Image,
}

#[derive(Clone, Copy, Debug)]
enum Output {
    Text,
    Json,
}

impl Recorder {
    pub(super) fn new(
        args: &ViewArgs,
        clock: HostClock,
        status: &'static SourceStatus,
        lost: &'static AtomicU64,
    ) -> Result<Self, ViewError> {
        if let Some(dir) = &args.save {
            fs::create_dir_all(dir).map_err(|error| ViewError::Save(dir.clone(), error))?;
        }
        let now = Instant::now();
        Ok(Self {
            frames: args.frames,
            brightness_every: args.brightness_every,
            timeout: args.timeout.map(|seconds| Duration::from_secs(seconds.into())),
            output: if args.json { Output::Json } else { Output::Text },
            save: args.save.clone(),
            clock,
            status,
            lost,
            figures: Figures::default(),
            start: now,
            quiet_since: now,
            told: now,
            image: Image::default(),
        })
    }

    #[cfg(feature = "window")]
    pub(super) fn clock(&self) -> HostClock {
        self.clock
    }

    /// Reads until there is an end, which may be that `closed` has lost its sender. Once a second,
    /// `headline` gets the figures.
    pub(super) async fn run(
        mut self,
        mut reader: FrameReader<'static>,
        closed: watch::Receiver<()>,
        headline: impl FnMut(&str),
    ) -> Result<(), ViewError> {
        let done = match self.read(&mut reader, closed, headline).await {
            Err(ViewError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                return Ok(()); // Whoever read has read enough: `| head`.
            }
            done => done,
        };
        // Now nobody wants pictures.
        drop(reader);
        let (span, errors) = (self.start.elapsed(), self.status.errors());
        let told = match self.output {
            Output::Text => self.say(&self.figures.summary(span, errors)),
            Output::Json => {
                eprintln!("{}", self.figures.summary(span, errors));
                writeln(&self.figures.summary_json(span, errors))
            }
        };
        done.and(told)
    }

    async fn read(
        &mut self,
        reader: &mut FrameReader<'static>,
        mut closed: watch::Receiver<()>,
        mut headline: impl FnMut(&str),
    ) -> Result<(), ViewError> {
        let mut interrupted = std::pin::pin!(interrupted());
        let mut second = time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        second.reset();
        loop {
            let patience = self.timeout.map(|patience| self.quiet_since + patience);
            tokio::select! {
                picture = reader.next() => match picture {
                    Some(picture) => self.picture(&picture)?,
                    None => return Ok(()),
                },
                _ = second.tick() => headline(&self.second()?),
                done = &mut interrupted => return Ok(done?),
                _ = closed.changed() => return Ok(()),
                quiet = too_quiet(patience) => {
                    return Err(ViewError::NoPicture(quiet - self.quiet_since));
                }
            }
            if self.frames.is_some_and(|frames| self.figures.frames() >= frames) {
                return Ok(());
            }
        }
    }

    fn picture(&mut self, picture: &FrameLease<'_, '_>) -> Result<(), ViewError> {
        let lost = self.lost.load(Ordering::Relaxed);
        let facts = self.figures.add(picture, lost, SystemTime::now());
        self.quiet_since = Instant::now();
        let mut file = None;
        if let Some(dir) = &self.save {
            let name = name(&self.clock, picture.info(), picture.sequence());
            let saved = save(dir, &name, picture);
            file = Some(saved.map_err(|error| ViewError::Save(dir.clone(), error))?);
        }
        let mut brightness = None;
        // Of every 0th there is none.
        if facts.frame.checked_rem(self.brightness_every) == Some(0) {
            match self.image.decode(picture) {
                Ok(()) => brightness = Some(self.image.brightness()),
                Err(error) => log::warn!("picture {}: {error}", facts.frame),
            }
        }
        match (self.output, brightness) {
            (Output::Json, _) => writeln(&facts.json(brightness, file.as_deref())),
            (Output::Text, Some(brightness)) => {
                self.say(&format!("picture {}: average brightness {brightness:.2}", facts.frame))
            }
            (Output::Text, None) => Ok(()),
        }
    }

    /// Tells the figures of the last second, or for how long there are none.
    fn second(&mut self) -> Result<String, ViewError> {
        let line = self.figures.line(self.told.elapsed());
        self.told = Instant::now();
        let quiet = self.quiet_since.elapsed().as_secs();
        let text = match (self.figures.frames(), quiet) {
            (0, _) => "no picture yet".to_owned(),
            (_, 0..3) => line,
            _ => format!("no picture for {quiet} s"),
        };
        self.say(&text)?;
        Ok(text)
    }

    /// To people.
    fn say(&self, text: &str) -> Result<(), ViewError> {
        match self.output {
            Output::Text => writeln(text),
            Output::Json => {
                eprintln!("{text}");
                Ok(())
            }
        }
    }
}

fn writeln(text: &str) -> Result<(), ViewError> {
    writeln!(io::stdout(), "{text}").map_err(ViewError::Output)
}

/// Returns at `deadline`, or never.
async fn too_quiet(deadline: Option<Instant>) -> Instant {
    match deadline {
        Some(deadline) => {
            time::sleep_until(deadline.into()).await;
            deadline
        }
        None => std::future::pending().await,
    }
}

/// What a picture is called: when it came, in seconds of Unix time, and the number that the camera
/// gave it, or else `number`. So names sort as the pictures came.
pub(super) fn name(clock: &HostClock, info: FrameInfo, number: u64) -> String {
    let unix = clock.unix_offset().unwrap_or_default().saturating_add(info.captured_at.as_micros());
    let number = info.upstream.sequence.unwrap_or(number);
    format!("{}-{number}", Moment::from_micros(unix))
}

/// Writes a picture into a new file of this name, or if that exists of one made from it; returns
/// which. A file that could not be written whole is taken away.
pub(super) fn save(dir: &Path, name: &str, jpeg: &[u8]) -> io::Result<String> {
    let mut file_name = format!("{name}.jpg");
    let mut copies = 0;
    let (path, mut file) = loop {
        let path = dir.join(&file_name);
        match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                copies += 1;
                file_name = format!("{name}-{copies}.jpg");
            }
            file => break (path, file?),
        }
    };
    if let Err(error) = file.write_all(jpeg) {
        drop(file);
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(file_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use camwire::frame::Upstream;

    #[test]
    fn names() {
        let clock = HostClock::start();
        let at = |us, sequence| {
            let upstream = Upstream { sequence, timestamp_us: None };
            let captured_at = Moment::from_micros(us);
            name(&clock, FrameInfo { captured_at, upstream, ..FrameInfo::default() }, 5)
        };
        let start = clock.unix_offset().unwrap();
        let unix =
            |us: u64| format!("{}.{:06}", (start + us) / 1_000_000, (start + us) % 1_000_000);
        assert_eq!(at(0, None), format!("{}-5", unix(0)));
        assert_eq!(at(1_234_567, Some(77)), format!("{}-77", unix(1_234_567)));
        assert!(at(1, Some(9)) < at(2, Some(10)));
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = std::env::temp_dir().join(format!("camwire-save-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let saved: Vec<_> = [b"one", b"two"].map(|jpeg| save(&dir, "1-2", jpeg).unwrap()).into();
        let read = |name: &str| fs::read(dir.join(name)).unwrap();
        let (one, two) = (read("1-2.jpg"), read("1-2-1.jpg"));
        let _ = fs::remove_dir_all(&dir);
        assert_eq!(saved, ["1-2.jpg", "1-2-1.jpg"]);
        assert_eq!((&one[..], &two[..]), (&b"one"[..], &b"two"[..]));
        assert!(save(&dir.join("not there"), "a", b"").is_err());
    }
}
