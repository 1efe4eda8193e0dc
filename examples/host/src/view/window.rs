//! The window, and the thread that decodes for it.
//!
//! The window has the main thread, as some systems demand. Two pictures go to and fro between it
//! and the decoder: a picture is decoded only when the one before the last has been shown, and it
//! is the newest there is. So a slow display costs pictures, and never a queue.

use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;

use camwire::capture::{FrameReader, block_on};
use softbuffer::{Context, SoftBufferError, Surface};
use tokio::sync::watch;
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{
    ActiveEventLoop, ControlFlow, EventLoop, EventLoopProxy, OwnedDisplayHandle,
};
use winit::keyboard::{Key, NamedKey};
use winit::window::{Fullscreen, WindowId};

use super::picture::{Image, draw};
use super::recorder::{self, Recorder};
use super::{ViewArgs, ViewError};

/// Before the first picture has come.
const FIRST_SIZE: PhysicalSize<u32> = PhysicalSize::new(600, 400);

/// A picture as it is shown.
#[derive(Default)]
struct Picture {
    image: Image,
    /// As it came, and what it is called as a file.
    jpeg: Vec<u8>,
    name: String,
}

/// What the other threads tell the window.
enum Event {
    Picture(Box<Picture>),
    Title(String),
    End,
}

pub(super) struct Window {
    events: EventLoop<Event>,
}

impl Window {
    /// Finds out whether there is a display.
    pub(super) fn open() -> Result<Self, ViewError> {
        // Where only some of the libraries of a display are there, this panics.
        match quietly(|| EventLoop::with_user_event().build()) {
            Ok(Ok(events)) => Ok(Self { events }),
            Ok(Err(error)) => Err(failed(error)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied());
                Err(ViewError::Window(text.unwrap_or("no display").to_owned()))
            }
        }
    }

    /// Shows the newest pictures until the window is closed or the recorder has ended.
    pub(super) fn show(
        self,
        args: &ViewArgs,
        newest: FrameReader<'static>,
        every: FrameReader<'static>,
        recorder: Recorder,
    ) -> Result<(), ViewError> {
        let (open, closed) = watch::channel(());
        let (used, free) = mpsc::channel();
        for _ in 0..2 {
            let _ = used.send(Box::default());
        }
        let clock = recorder.clock();
        let (proxy, ended) = (self.events.create_proxy(), closed.clone());
        let decoder = thread::Builder::new()
            .name("decoder".to_owned())
            .spawn(move || block_on(decode(newest, clock, &free, &proxy, ended)))?;
        let (proxy, name) = (self.events.create_proxy(), args.source.name.clone());
        let recorder = thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            let headline = |line: &str| {
                let _ = proxy.send_event(Event::Title(format!("{line} - {name}")));
            };
            let done = match super::runtime() {
                Ok(runtime) => runtime.block_on(recorder.run(every, closed, headline)),
                Err(error) => Err(error.into()),
            };
            let _ = proxy.send_event(Event::End);
            done
        })?;

        self.events.set_control_flow(ControlFlow::Wait);
        let size = args.window.map_or(FIRST_SIZE, PhysicalSize::from);
        let mut app = App {
            size,
            earlier: [size; 3],
            fit: if args.window.is_some() { Fit::Stay } else { Fit::Follow },
            name: args.source.name.clone(),
            title: args.source.name.clone(),
            play: Play::On,
            canvas: None,
            shown: None,
            next: None,
            used,
            failed: None,
        };
        // When the window or the whole display is gone without a word, this panics.
        let events = self.events;
        let done = match quietly(|| events.run_app(&mut app)) {
            Ok(done) => done.map_err(failed),
            Err(_panic) => Err(ViewError::WindowGone),
        };
        let failed = app.failed.take();
        // This ends the other threads, if they have not ended yet.
        drop((app, open));
        let recorded = recorder.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        decoder.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        failed.map_or(done, Err).and(recorded)
    }
}

fn failed(error: impl std::fmt::Display) -> ViewError {
    ViewError::Window(reason(&error.to_string()).to_owned())
}

/// An error of winit without the place in winit's source that stands before the reason.
fn reason(error: &str) -> &str {
    let place = error.starts_with("os error at ").then(|| error.split_once(".rs:")).flatten();
    let reason = place.and_then(|(_, rest)| rest.split_once(": "));
    reason.map_or(error, |(_, reason)| reason)
}

/// Catches winit's panics, of which nothing is printed. Those of other threads are.
fn quietly<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    let here = thread::current().id();
    let hook: Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync> = panic::take_hook().into();
    let others = Arc::clone(&hook);
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != here {
            others(panic);
        }
    }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(Box::new(move |panic| hook(panic)));
    done
}

/// Decodes the newest picture whenever the window has shown one.
async fn decode(
    mut newest: FrameReader<'static>,
    clock: crate::clock::HostClock,
    free: &mpsc::Receiver<Box<Picture>>,
    window: &EventLoopProxy<Event>,
    mut closed: watch::Receiver<()>,
) {
    let mut told = String::new();
    // The window gives pictures back until it goes.
    while let Ok(mut picture) = free.recv() {
        loop {
            let lease = tokio::select! {
                lease = newest.latest() => lease,
                _ = closed.changed() => return,
            };
            let Some(lease) = lease else { return };
            if let Err(error) = picture.image.decode(&lease) {
                let text = error.to_string();
                if text != told {
                    log::warn!("{text}");
                    told = text;
                }
                continue;
            }
            picture.jpeg.clear();
            picture.jpeg.extend_from_slice(&lease);
            picture.name = recorder::name(&clock, lease.info(), lease.sequence());
            break;
        }
        if window.send_event(Event::Picture(picture)).is_err() {
            return;
        }
    }
}

/// Whether the window takes the size of the pictures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Follow,
    Stay,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Play {
    On,
    Paused,
}

type Canvas = Surface<OwnedDisplayHandle, Rc<winit::window::Window>>;

struct App {
    /// What the window was last asked to be.
    size: PhysicalSize<u32>,
    /// And before that. The system tells of each size, perhaps when there is another already.
    earlier: [PhysicalSize<u32>; 3],
    fit: Fit,
    name: String,
    title: String,
    play: Play,
    canvas: Option<Canvas>,
    shown: Option<Box<Picture>>,
    /// Decoded, and not drawn yet.
    next: Option<Box<Picture>>,
    /// Back to the decoder.
    used: mpsc::Sender<Box<Picture>>,
    failed: Option<ViewError>,
}

impl ApplicationHandler<Event> for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.canvas.is_none() {
            match self.create(events) {
                Ok(canvas) => self.canvas = Some(canvas),
                Err(error) => self.fail(events, error),
            }
        }
    }

    fn user_event(&mut self, events: &ActiveEventLoop, event: Event) {
        match event {
            Event::Picture(picture) => {
                self.follow(picture.image.size());
                self.next = Some(picture);
                self.redraw();
            }
            Event::Title(title) => {
                self.title = title;
                self.show_title();
            }
            Event::End => events.exit(),
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::Resized(size) => {
                let is_ours = size == self.size || self.earlier.contains(&size);
                if !is_ours && !self.is_full() {
                    self.fit = Fit::Stay; // That was not us.
                }
                self.redraw();
            }
            WindowEvent::RedrawRequested => {
                if let Err(error) = self.draw() {
                    self.fail(events, failed(error));
                }
            }
            WindowEvent::KeyboardInput { event, .. } => self.key(events, &event),
            _ => {}
        }
    }
}

impl App {
    fn create(&self, events: &ActiveEventLoop) -> Result<Canvas, ViewError> {
        let attributes = winit::window::Window::default_attributes()
            .with_title(format!("no picture yet - {}", self.name))
            .with_inner_size(self.size);
        let window = Rc::new(events.create_window(attributes).map_err(failed)?);
        let context = Context::new(events.owned_display_handle()).map_err(failed)?;
        Surface::new(&context, window).map_err(failed)
    }

    fn fail(&mut self, events: &ActiveEventLoop, error: ViewError) {
        self.failed = Some(error);
        events.exit();
    }

    fn redraw(&self) {
        if let Some(canvas) = &self.canvas {
            canvas.window().request_redraw();
        }
    }

    fn show_title(&self) {
        if let Some(canvas) = &self.canvas {
            let paused = if self.play == Play::Paused { " - paused" } else { "" };
            canvas.window().set_title(&format!("{}{paused}", self.title));
        }
    }

    fn is_full(&self) -> bool {
        let window = self.canvas.as_ref().map(Surface::window);
        window.is_some_and(|window| window.fullscreen().is_some() || window.is_maximized())
    }

    /// Asks for a window of this size, if its pictures' size has changed and nobody wants another.
    fn follow(&mut self, (width, height): (usize, usize)) {
        let before = self.shown.as_ref().map(|picture| picture.image.size());
        if before == Some((width, height)) || self.fit == Fit::Stay || self.is_full() {
            return;
        }
        let Some(canvas) = &self.canvas else { return };
        let window = canvas.window();
        let monitor = window.current_monitor().map(|monitor| monitor.size());
        // With room for the frame, and whatever else is on the screen.
        let most = monitor.map_or((width, height), |monitor| {
            (monitor.width as usize * 9 / 10, monitor.height as usize * 9 / 10)
        });
        let scale = |n: usize| {
            let n = n.min(n * most.0 / width.max(1)).min(n * most.1 / height.max(1));
            n.max(1) as u32
        };
        self.earlier = [self.size, self.earlier[0], self.earlier[1]];
        self.size = PhysicalSize::new(scale(width), scale(height));
        let _ = window.request_inner_size(self.size);
    }

    fn draw(&mut self) -> Result<(), SoftBufferError> {
        let Some(canvas) = &mut self.canvas else { return Ok(()) };
        let size = canvas.window().inner_size();
        let (Some(width), Some(height)) = (NonZero::new(size.width), NonZero::new(size.height))
        else {
            return Ok(());
        };
        if self.play == Play::On
            && let Some(next) = self.next.take()
            && let Some(before) = self.shown.replace(next)
        {
            let _ = self.used.send(before);
        }
        canvas.resize(width, height)?;
        let mut pixels = canvas.buffer_mut()?;
        match &self.shown {
            Some(picture) => draw(&picture.image, &mut pixels, width.get() as usize),
            None => pixels.fill(0),
        }
        pixels.present()
    }

    fn key(&mut self, events: &ActiveEventLoop, key: &KeyEvent) {
        if key.state != ElementState::Pressed || key.repeat {
            return;
        }
        match key.logical_key.as_ref() {
            Key::Named(NamedKey::Escape) | Key::Character("q") => events.exit(),
            Key::Named(NamedKey::Space) => self.pause(),
            Key::Character("s") => self.save(),
            Key::Character("f") => self.fill_screen(),
            _ => {}
        }
    }

    fn pause(&mut self) {
        self.play = match self.play {
            Play::On => Play::Paused,
            Play::Paused => {
                // What was decoded since is old.
                if let Some(old) = self.next.take() {
                    let _ = self.used.send(old);
                }
                Play::On
            }
        };
        self.show_title();
    }

    fn save(&self) {
        let Some(picture) = &self.shown else { return };
        match recorder::save(Path::new("."), &picture.name, &picture.jpeg) {
            Ok(file) => log::info!("saved {file}"),
            Err(error) => log::warn!("cannot save {}: {error}", picture.name),
        }
    }

    fn fill_screen(&self) {
        let Some(canvas) = &self.canvas else { return };
        let window = canvas.window();
        let full = window.fullscreen().is_none().then_some(Fullscreen::Borderless(None));
        window.set_fullscreen(full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        let text = "os error at /home/a b/winit-1.0/src/linux/mod.rs:12: DISPLAY: is not set";
        assert_eq!(reason(text), "DISPLAY: is not set");
        for text in ["", "a: b", "os error at nowhere", "/lib.rs:1: a"] {
            assert_eq!(reason(text), text);
        }
    }

    #[test]
    fn panics_are_caught() {
        assert!(matches!(quietly(|| 1), Ok(1)));
        assert!(quietly(|| panic!("of a library")).is_err());
    }
}
