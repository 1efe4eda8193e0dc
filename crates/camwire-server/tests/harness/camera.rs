//! A camera that does what a test has planned.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use camwire_frame::{
    CaptureError, Clock, Control, ControlError, FrameInfo, FrameSource, Instant, Quality,
    Resolution, Setting, SettingName, Upstream,
};

use super::time::VirtualClock;

/// What becomes of one capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A picture of so many bytes, after so long.
    Picture(Duration, usize),
    /// A picture that says it was captured at this moment.
    Dated(Duration, Instant),
    /// The driver's own error, after so long.
    Failure(Duration, String),
    /// It needs so many bytes, which no slot has.
    TooLarge(usize),
    /// Half a picture came.
    Broken,
    /// It claims more bytes than it was given memory for.
    Lie,
    /// Nothing ever comes.
    Hang,
    /// There are no more pictures.
    End,
}

/// What the capture loop did to the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Resume,
    Pause,
    Capture,
    /// The capture was given up before it was done.
    Cancelled,
    Set(Setting),
}

/// What becomes of a setting. The camera has a size, a quality and a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obedience {
    /// It is set, after so long.
    After(Duration),
    /// The driver fails.
    Failure,
    /// The driver never comes back.
    Hang,
}

struct Plan {
    /// Consumed one by one; when it is empty, `rest` is what happens.
    next: VecDeque<Outcome>,
    rest: Outcome,
    pause_takes: Duration,
    resume_takes: Duration,
    calls: Vec<(Instant, Call)>,
    pictures: u64,
    obedience: Obedience,
    /// Before the next picture it does not say to what it is set.
    shy: bool,
    settings: [Setting; 3],
}

/// The camera, and the test's hold on it.
#[derive(Clone)]
pub struct Camera {
    clock: &'static VirtualClock,
    plan: Rc<RefCell<Plan>>,
}

impl Camera {
    /// A camera that always does the same, until told otherwise.
    pub fn new(clock: &'static VirtualClock, rest: Outcome) -> Self {
        let plan = Plan {
            next: VecDeque::new(),
            rest,
            pause_takes: Duration::ZERO,
            resume_takes: Duration::ZERO,
            calls: Vec::new(),
            pictures: 0,
            obedience: Obedience::After(Duration::ZERO),
            shy: false,
            settings: [
                Setting::Resolution(Resolution::QQVGA),
                Setting::Quality(Quality::new(12).unwrap()),
                Setting::VFlip(false),
            ],
        };
        Self { clock, plan: Rc::new(RefCell::new(plan)) }
    }

    /// What happens before the rest does.
    pub fn first(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.plan.borrow_mut().next.extend(outcomes);
    }

    /// What happens from the next capture on.
    pub fn then_always(&self, rest: Outcome) {
        self.plan.borrow_mut().rest = rest;
    }

    pub fn pause_takes(&self, duration: Duration) {
        self.plan.borrow_mut().pause_takes = duration;
    }

    pub fn resume_takes(&self, duration: Duration) {
        self.plan.borrow_mut().resume_takes = duration;
    }

    /// What becomes of settings from now on.
    pub fn obeys(&self, obedience: Obedience) {
        self.plan.borrow_mut().obedience = obedience;
    }

    /// It does not tell its settings until the next picture, like one that has not started.
    pub fn shy(&self) {
        self.plan.borrow_mut().shy = true;
    }

    /// Every call so far, and when.
    pub fn calls(&self) -> Vec<(Instant, Call)> {
        self.plan.borrow().calls.clone()
    }

    /// Only `call`, by time.
    pub fn times_of(&self, call: Call) -> Vec<Instant> {
        self.calls().into_iter().filter(|(_, c)| *c == call).map(|(at, _)| at).collect()
    }

    fn note(&self, call: Call) {
        self.plan.borrow_mut().calls.push((self.clock.now(), call));
    }
}

struct CancelNote<'c>(Option<&'c Camera>);

impl Drop for CancelNote<'_> {
    fn drop(&mut self) {
        if let Some(camera) = self.0 {
            camera.note(Call::Cancelled);
        }
    }
}

impl FrameSource for Camera {
    type Error = String;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<String>> {
        self.note(Call::Capture);
        let mut cancelled = CancelNote(Some(self));
        let outcome = {
            let mut plan = self.plan.borrow_mut();
            let rest = plan.rest.clone();
            plan.next.pop_front().unwrap_or(rest)
        };
        let result = match outcome {
            Outcome::Picture(after, len) => {
                self.clock.sleep(after).await;
                Ok((len, self.clock.now()))
            }
            Outcome::Dated(after, at) => {
                self.clock.sleep(after).await;
                Ok((64, at))
            }
            Outcome::Failure(after, text) => {
                self.clock.sleep(after).await;
                Err(CaptureError::Source(text))
            }
            Outcome::TooLarge(needed) => Err(CaptureError::TooLarge { needed }),
            Outcome::Broken => Err(CaptureError::Broken),
            Outcome::Lie => Ok((buf.len() + 1, self.clock.now())),
            Outcome::Hang => pending().await,
            Outcome::End => Err(CaptureError::Ended),
        };
        cancelled.0 = None;
        drop(cancelled);
        let (len, captured_at) = result?;
        let number = {
            let mut plan = self.plan.borrow_mut();
            plan.pictures += 1;
            plan.shy = false;
            plan.pictures
        };
        if let Some(room) = buf.get_mut(..len) {
            draw(room, number);
        }
        Ok(info(len, captured_at))
    }

    async fn pause(&mut self) {
        self.note(Call::Pause);
        let takes = self.plan.borrow().pause_takes;
        self.clock.sleep(takes).await;
    }

    async fn resume(&mut self) {
        self.note(Call::Resume);
        let takes = self.plan.borrow().resume_takes;
        self.clock.sleep(takes).await;
    }
}

impl Control for Camera {
    type Error = String;

    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<String>> {
        self.note(Call::Set(setting));
        if self.get(setting.name()).is_none() {
            return Err(ControlError::Unsupported);
        }
        let obedience = self.plan.borrow().obedience;
        match obedience {
            Obedience::After(duration) => self.clock.sleep(duration).await,
            Obedience::Failure => return Err(ControlError::Source("no acknowledge".into())),
            Obedience::Hang => pending().await,
        }
        let settings = &mut self.plan.borrow_mut().settings;
        settings.iter_mut().filter(|s| s.name() == setting.name()).for_each(|s| *s = setting);
        Ok(())
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        let plan = self.plan.borrow();
        plan.settings.into_iter().find(|setting| !plan.shy && setting.name() == name)
    }
}

pub fn info(len: usize, captured_at: Instant) -> FrameInfo {
    FrameInfo { len, width: 640, height: 480, captured_at, upstream: Upstream::default() }
}

/// Bytes of which each tells the picture and the place, so that none can be lost or swapped. They
/// hold line ends and dashes, as pictures do.
pub fn draw(picture: &mut [u8], number: u64) {
    for (at, byte) in picture.iter_mut().enumerate() {
        *byte = match at % 16 {
            0..8 => number.to_be_bytes()[at % 16],
            8..12 => b"\r\n--"[at % 4],
            _ => ((at / 16) as u32).to_be_bytes()[at % 4],
        };
    }
}

/// The picture that [`draw`] draws.
pub fn picture(len: usize, number: u64) -> Vec<u8> {
    let mut picture = vec![0; len];
    draw(&mut picture, number);
    picture
}

/// The smallest thing that has the structure of a JPEG picture, of `len` bytes.
pub fn jpeg(len: usize, number: u64) -> Vec<u8> {
    let mut jpeg = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00".to_vec();
    jpeg.extend(b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00");
    let text = format!("{number:08}");
    jpeg.extend(text.bytes().cycle().take(len - jpeg.len() - 2));
    jpeg.extend(b"\xff\xd9");
    jpeg
}

/// A picture as a message of `camwire.v1`.
pub fn message(number: u64, picture: &[u8]) -> Vec<u8> {
    let head = [&[1, 1, 0, 24, 0, 0, 0, 0][..], &number.to_be_bytes(), &77_u64.to_be_bytes()];
    [&head.concat(), picture].concat()
}
