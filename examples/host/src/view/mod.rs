//! `camwire-host view`: one source, one ring, and for readers a recorder, which sees every picture,
//! and a window, which sees the newest.

mod figures;
mod picture;
mod recorder;
#[cfg(feature = "window")]
mod window;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use camwire::capture::{
    Follow, FrameRing, MemoryError, Policy, SourceState, SourceStatus, SubscribeError, capture_loop,
};
use camwire::frame::{CaptureError, Flow, FrameInfo, FrameSource};
use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::cameras::CameraOptions;
use crate::cli::{SourceArg, SourceOptions};
use crate::clock::HostClock;
use crate::source::{AnyError, AnySource, SourceError};
use recorder::Recorder;

pub(crate) const EXAMPLES: &str = "\
Examples:
  camwire-host view http://192.168.1.20:81/stream
      a camera in a window, and its figures once a second
  camwire-host view mqtt://192.168.1.2/esp32cam/50
      a camera that publishes its pictures at an MQTT broker
  camwire-host view --headless --save pictures --frames 100 http://192.168.1.20:81/stream
      the next hundred pictures as files, each as it came
  camwire-host view --headless --json --timeout 10 ws://127.0.0.1:8080/ws
      a line of JSON for each picture, for a script
  camwire-host view dir:pictures --fps 5
      the JPEG files of a directory in turn

Keys: space stops the picture and lets it go on, s saves it in the current directory, f fills the
screen and back, q or Esc ends.";

#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// What to look at: http://[USER:PASSWORD@]HOST[:PORT]/PATH,
    /// ws://[USER:PASSWORD@]HOST[:PORT]/PATH, mqtt://[USER:PASSWORD@]HOST[:PORT]/PREFIX, dir:PATH,
    /// file:PATH or test
    #[arg(default_value = "http://127.0.0.1:8080/stream", value_parser = named)]
    source: NamedSource,

    /// Open no window. Pictures are decoded only as far as their brightness is asked for
    #[arg(long, conflicts_with = "window")]
    headless: bool,

    /// First size of the window, which then stays as you leave it. Otherwise it takes the size of
    /// the pictures, until you change it
    #[arg(long, value_name = "WxH", value_parser = window_size)]
    window: Option<(u32, u32)>,

    /// Keep every picture as a file in this directory, byte for byte, named by when it came and by
    /// its number. The directory is made if need be; no file is ever overwritten
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,

    /// End after this many pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,

    /// Tell the average brightness of every Nth picture, which is the mean over its pixels of
    /// R+G+B; 0 for never
    #[arg(long, value_name = "N", default_value_t = 10)]
    brightness_every: u64,

    /// Write a JSON object for each picture on a line of the standard output, and one at the end;
    /// the figures go to the standard error stream then
    #[arg(long)]
    json: bool,

    /// Fail when no picture comes for so long; otherwise it tries for ever
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: Option<u32>,

    #[command(flatten)]
    options: SourceOptions,
}

/// A source with the name it was given, for people.
#[derive(Clone, Debug)]
struct NamedSource {
    // Only a window has a title.
    #[cfg_attr(not(feature = "window"), allow(dead_code))]
    name: String,
    source: SourceArg,
}

fn named(text: &str) -> Result<NamedSource, String> {
    let source = text.parse()?;
    // Everybody can read a title, so there is no password in it, nor a token.
    let without_query = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
    let name = match &source {
        SourceArg::Mqtt(camera) => format!("mqtt://{camera}"),
        SourceArg::Http(uri, _) => without_query(&uri.to_string()),
        SourceArg::WebSocket(url, _) => without_query(url),
        _ => text.to_owned(),
    };
    Ok(NamedSource { name, source })
}

fn window_size(text: &str) -> Result<(u32, u32), &'static str> {
    let number = |text: &str| text.parse().ok().filter(|n| (1..=16_384).contains(n));
    let size = text.split_once('x').and_then(|(w, h)| Some((number(w)?, number(h)?)));
    size.ok_or("a width and a height in pixels, such as 600x400")
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error("{0}")]
    Source(#[from] SourceError),
    #[error("no memory for the ring: {0}")]
    Ring(#[from] MemoryError),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error("cannot start: {0}")]
    Readers(#[from] SubscribeError),
    #[error("cannot save in {path}: {1}", path = .0.display())]
    Save(PathBuf, io::Error),
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
    #[error("no picture for {} s", .0.as_secs())]
    NoPicture(Duration),
    #[cfg(feature = "window")]
    #[error("cannot open a window: {0}\nWithout one, use --headless.")]
    Window(String),
    #[cfg(feature = "window")]
    #[error("the window is gone")]
    WindowGone,
    #[cfg(not(feature = "window"))]
    #[error("this build has no window; use --headless")]
    NoWindow,
}

/// Slots of the ring: one for each reader and two more let nobody wait for anybody; the rest is for
/// a disk that is slow for a moment.
const SLOTS: usize = 8;

/// The recorder and the window.
const READERS: usize = 2;

/// How long the source may take to end as it should: to say good-bye to a camera, for instance.
const FAREWELL: Duration = Duration::from_secs(1);

/// Looks until there is an end: enough pictures, Ctrl-C, the window's, or an error.
pub(crate) fn run(args: &ViewArgs) -> Result<(), ViewError> {
    // What is most likely to fail comes first.
    let screen = Screen::open(args)?;
    let clock = HostClock::start();
    let source =
        AnySource::open(&args.source.source, &args.options, &CameraOptions::default(), clock)?;

    // All of this lives as long as the program does. What is saved must be complete, so then the
    // recorder holds the source back; otherwise nothing does.
    let policy = if args.save.is_some() { Policy::KeepAll } else { Policy::DropOldest };
    let ring = FrameRing::leak(SLOTS, source.slot_bytes(), READERS, policy)?;
    let status: &'static SourceStatus = Box::leak(Box::new(SourceStatus::new(source.kind())));
    let config = source.capture_config(args.options.fps);
    let mut publisher = ring.publisher().expect("the first of this ring");
    let every = ring.subscribe(Follow::Ordered)?;
    let lost: &'static AtomicU64 = Box::leak(Box::default());
    let mut source = Counting { source, lost };
    let recorder = Recorder::new(args, clock, status, lost)?;

    // On a thread of its own, so that neither decoding nor a disk makes it wait.
    let capture = runtime()?;
    thread::Builder::new().name("source".to_owned()).spawn(move || {
        capture.block_on(capture_loop(&mut publisher, &mut source, &clock, &config, status));
    })?;
    let done = match screen {
        Screen::None => {
            let (_open, closed) = watch::channel(());
            runtime()?.block_on(recorder.run(every, closed, |_| {}))
        }
        #[cfg(feature = "window")]
        Screen::Window(window) => window.show(args, ring.subscribe(Follow::Live)?, every, recorder),
    };

    // Nobody reads any more, so the source comes to rest.
    let deadline = Instant::now() + FAREWELL;
    while status.state() != SourceState::Idle && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    done
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A source, and the pictures of which it knows that they were lost.
struct Counting {
    source: AnySource,
    lost: &'static AtomicU64,
}

impl FrameSource for Counting {
    type Error = AnyError;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<AnyError>> {
        let captured = self.source.capture(buf).await;
        if let Some(counts) = self.source.counts() {
            self.lost.store(counts.lost, Ordering::Relaxed);
        }
        captured
    }

    fn flow(&self) -> Flow {
        self.source.flow()
    }

    async fn pause(&mut self) {
        self.source.pause().await;
    }

    async fn resume(&mut self) {
        self.source.resume().await;
    }
}

/// Where the pictures are looked at.
enum Screen {
    None,
    #[cfg(feature = "window")]
    Window(Box<window::Window>),
}

impl Screen {
    fn open(args: &ViewArgs) -> Result<Self, ViewError> {
        if args.headless {
            return Ok(Self::None);
        }
        #[cfg(feature = "window")]
        return window::Window::open().map(|window| Self::Window(Box::new(window)));
        #[cfg(not(feature = "window"))]
        Err(ViewError::NoWindow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        view: ViewArgs,
    }

    fn parse(args: &[&str]) -> Result<ViewArgs, clap::Error> {
        Line::try_parse_from([&["view"], args].concat()).map(|line| line.view)
    }

    #[test]
    fn arguments() {
        let bare = parse(&[]).unwrap();
        assert_eq!(bare.source.name, "http://127.0.0.1:8080/stream");
        assert!(matches!(bare.source.source, SourceArg::Http(_, None)));
        assert_eq!((bare.brightness_every, bare.frames, bare.timeout), (10, None, None));
        assert!(bare.window.is_none() && bare.save.is_none() && !bare.headless && !bare.json);

        let full =
            "--window 600x400 --save a/b --frames 3 --brightness-every 0 --timeout 5 --fps 2";
        let mut full: Vec<_> = full.split(' ').collect();
        full.extend(["--json", "dir:pictures"]);
        let full = parse(&full).unwrap();
        assert_eq!(full.window, Some((600, 400)));
        assert_eq!((full.brightness_every, full.frames, full.timeout), (0, Some(3), Some(5)));
        assert!(matches!(full.source.source, SourceArg::Directory(_)));

        for (given, name) in [
            ("http://cam:81/stream?token=secret", "http://cam:81/stream"),
            ("ws://cam/ws?token=secret", "ws://cam/ws"),
            ("http://anna:secret@cam:81/stream?x", "http://cam:81/stream"),
            ("ws://anna:secret@cam/ws", "ws://cam/ws"),
            ("mqtt://anna:secret@broker/esp32cam/50", "mqtt://broker:1883/esp32cam/50"),
            ("dir:why?", "dir:why?"),
        ] {
            assert_eq!(parse(&[given]).unwrap().source.name, name);
        }

        for wrong in [
            "nonsense",
            "--frames 0",
            "--frames -1",
            "--timeout 0",
            "--window 600",
            "--window 0x400",
            "--window 600x",
            "--window 600x400x2",
            "--window 99999x400",
            "--window 600x400 --headless",
            "--brightness-every -1",
            "test test",
        ] {
            assert!(parse(&wrong.split(' ').collect::<Vec<_>>()).is_err(), "{wrong}");
        }
    }
}
