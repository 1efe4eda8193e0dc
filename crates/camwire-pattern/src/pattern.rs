use core::convert::Infallible;
use core::time::Duration;

use crate::card::{Card, Color, Tile};
use crate::encoder::{Block, Encoder, MCU, Plane};
use camwire_frame::{
    BlockingFrameSource, CaptureError, Clock, Control, ControlError, FrameInfo, FrameSource,
    Quality, Ranged, Resolution, Setting, SettingName, Upstream,
};
use embassy_futures::yield_now;

#[cfg(test)]
mod tests;

/// A moving test card that is a real JPEG frame each time: baseline, 4:2:0, JFIF.
///
/// It shows colour bars, waves and a grey ramp, the size, the number of the frame and a time.
/// A ball goes round, and the waves wander, with the *number*: a lost frame is a jump. The
/// orange bar under the text fills up once a second with the *time*.
///
/// It is computed and encoded 16 by 16 pixels at a time into the caller's memory: about 4 KiB
/// of stack whatever the size, no allocator, no floating point.
///
/// # Quality
///
/// The numbers are those of esp32-camera: 0 to 63, lower is better. Each step of the quantiser
/// tables in T.81, K.1, is multiplied by `quality / 30` and kept within 1 to 255. So 12 gives
/// exactly what libjpeg calls quality 80; 0 is its 100, 6 its 90, 15 its 75, 30 its 50, and 63
/// its 24.
///
/// ```
/// use camwire_frame::{Quality, Resolution};
/// use camwire_pattern::TestPattern;
/// use core::time::Duration;
///
/// let pattern = TestPattern::new(Resolution::VGA, Quality::new(12).expect("in range"));
/// let mut slot = [0; 64 * 1024];
/// let len = pattern.encode(42, Duration::from_millis(1_400), &mut slot)?;
/// assert!(slot[..len].starts_with(b"\xFF\xD8") && slot[..len].ends_with(b"\xFF\xD9"));
/// # Ok::<(), camwire_frame::CaptureError<core::convert::Infallible>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPattern {
    resolution: Resolution,
    quality: Quality,
    brightness: Ranged<-3, 3>,
    saturation: Ranged<-4, 4>,
    hmirror: bool,
    vflip: bool,
    color_bar: bool,
}

impl TestPattern {
    /// A pattern of that size and quality; the other settings are 0 and off.
    #[must_use]
    pub const fn new(resolution: Resolution, quality: Quality) -> Self {
        Self {
            resolution,
            quality,
            brightness: const { Ranged::new(0).expect("in range") },
            saturation: const { Ranged::new(0).expect("in range") },
            hmirror: false,
            vflip: false,
            color_bar: false,
        }
    }

    /// Applies a setting, as a sensor would:
    ///
    /// - [`Brightness`](Setting::Brightness) adds 24 of 255 levels per step.
    /// - [`Saturation`](Setting::Saturation) multiplies the colours by 0 to 2, in quarters.
    /// - [`HMirror`](Setting::HMirror) and [`VFlip`](Setting::VFlip) turn everything, text too.
    /// - [`ColorBar`](Setting::ColorBar) leaves only the bars, the text and the ball.
    ///
    /// # Errors
    ///
    /// [`ControlError::Unsupported`] for settings that are not listed here, nor resolution or
    /// quality.
    pub const fn set(&mut self, setting: Setting) -> Result<(), ControlError<Infallible>> {
        match setting {
            Setting::Resolution(resolution) => self.resolution = resolution,
            Setting::Quality(quality) => self.quality = quality,
            Setting::Brightness(brightness) => self.brightness = brightness,
            Setting::Saturation(saturation) => self.saturation = saturation,
            Setting::HMirror(on) => self.hmirror = on,
            Setting::VFlip(on) => self.vflip = on,
            Setting::ColorBar(on) => self.color_bar = on,
            _ => return Err(ControlError::Unsupported),
        }
        Ok(())
    }

    /// The present value; `None` if there is no such setting.
    #[must_use]
    pub const fn get(&self, name: SettingName) -> Option<Setting> {
        Some(match name {
            SettingName::Resolution => Setting::Resolution(self.resolution),
            SettingName::Quality => Setting::Quality(self.quality),
            SettingName::Brightness => Setting::Brightness(self.brightness),
            SettingName::Saturation => Setting::Saturation(self.saturation),
            SettingName::HMirror => Setting::HMirror(self.hmirror),
            SettingName::VFlip => Setting::VFlip(self.vflip),
            SettingName::ColorBar => Setting::ColorBar(self.color_bar),
            _ => return None,
        })
    }

    /// Writes frame `number` into `buf`, from its first byte; the answer is its length.
    ///
    /// `time` is shown as hours, minutes, seconds and milliseconds, modulo 24 hours: Unix time
    /// becomes the time of day in UTC. Of the number, the last ten digits are shown. The same
    /// number, time and settings give the same bytes.
    ///
    /// # Errors
    ///
    /// [`CaptureError::TooLarge`] if the frame does not fit, with the exact number of bytes it
    /// needs: it is encoded to the end, only not written. The contents of `buf` are of no use
    /// then. There is no other error.
    pub fn encode(
        &self,
        number: u64,
        time: Duration,
        buf: &mut [u8],
    ) -> Result<usize, CaptureError<Infallible>> {
        let mut drawing = Drawing::begin(self, number, time, buf);
        while drawing.go_on() {}
        drawing.finish()
    }

    fn encode_tile(&self, tile: &Tile, encoder: &mut Encoder<'_>) {
        if let Some(color) = tile.solid() {
            let Color { y, cb, cr } = self.adjust(color);
            for _ in 0..4 {
                encoder.flat(Plane::Y, y);
            }
            encoder.flat(Plane::Cb, cb);
            encoder.flat(Plane::Cr, cr);
            return;
        }
        let pixels = tile.pixels();
        // A row or column's number is turned around by inverting its bits.
        let last = Tile::SIZE - 1;
        let flip = if self.vflip { last } else { 0 };
        let mirror = if self.hmirror { last } else { 0 };
        let pixel = |x: usize, y: usize| pixels[(y ^ flip) & last][(x ^ mirror) & last];

        for (left, top) in [(0, 0), (8, 0), (0, 8), (8, 8)] {
            let block: Block = core::array::from_fn(|n| pixel(left + n % 8, top + n / 8).y);
            let block = if self.brightness.get() == 0 {
                block
            } else {
                block.map(|y| self.adjust(Color { y, ..Color::BLACK }).y)
            };
            encoder.block(Plane::Y, &block);
        }
        // Each chroma sample is the mean of two by two pixels.
        let mean = |n: usize, of: fn(Color) -> u8| {
            let (x, y) = (n % 8 * 2, n / 8 * 2);
            let four = [pixel(x, y), pixel(x + 1, y), pixel(x, y + 1), pixel(x + 1, y + 1)];
            ((four.into_iter().map(|pixel| u16::from(of(pixel))).sum::<u16>() + 2) / 4) as u8
        };
        let cb: Block = core::array::from_fn(|n| mean(n, |color| color.cb));
        let cr: Block = core::array::from_fn(|n| mean(n, |color| color.cr));
        encoder.block(Plane::Cb, &cb.map(|cb| self.adjust(Color { cb, ..Color::BLACK }).cb));
        encoder.block(Plane::Cr, &cr.map(|cr| self.adjust(Color { cr, ..Color::BLACK }).cr));
    }

    /// What brightness and saturation make of a colour.
    fn adjust(&self, color: Color) -> Color {
        let brightness = i32::from(self.brightness.get()) * 24;
        let saturation = i32::from(self.saturation.get()) + 4;
        let chroma = |c: u8| (128 + (i32::from(c) - 128) * saturation / 4).clamp(0, 255) as u8;
        Color {
            y: (i32::from(color.y) + brightness).clamp(0, 255) as u8,
            cb: chroma(color.cb),
            cr: chroma(color.cr),
        }
    }
}

/// A frame of a [`TestPattern`] on its way into memory, a few tiles at a time.
struct Drawing<'a> {
    pattern: &'a TestPattern,
    card: Card,
    encoder: Encoder<'a>,
    room: usize,
    /// Where the next tile is.
    x: u16,
    y: u16,
}

/// How many tiles are drawn in one go: on a 32-bit chip at 160 MHz these are 2 or 3 ms.
const TILES: usize = 8;

impl<'a> Drawing<'a> {
    fn begin(pattern: &'a TestPattern, number: u64, time: Duration, buf: &'a mut [u8]) -> Self {
        let (width, height) = (pattern.resolution.width(), pattern.resolution.height());
        Self {
            pattern,
            card: Card::new(pattern.resolution, number, time, pattern.color_bar),
            room: buf.len(),
            encoder: Encoder::new(buf, width, height, pattern.quality),
            x: 0,
            y: 0,
        }
    }

    /// Draws the next tiles; false when all are drawn.
    fn go_on(&mut self) -> bool {
        let pattern = self.pattern;
        let (width, height) = (pattern.resolution.width(), pattern.resolution.height());
        let mut tile = Tile::new();
        for _ in 0..TILES {
            if self.y >= height {
                return false;
            }
            // The tile that a mirror shows at this place. It hangs over the frame's edge
            // where the size is no multiple of its own, like the last ones without a mirror.
            let (x, y) = (i32::from(self.x), i32::from(self.y));
            let mirrored = |size: u16, at: i32| i32::from(size) - i32::from(MCU) - at;
            tile.move_to(
                if pattern.hmirror { mirrored(width, x) } else { x },
                if pattern.vflip { mirrored(height, y) } else { y },
            );
            self.card.paint(&mut tile);
            pattern.encode_tile(&tile, &mut self.encoder);
            self.x += MCU;
            if self.x >= width {
                (self.x, self.y) = (0, self.y + MCU);
            }
        }
        true
    }

    fn finish(self) -> Result<usize, CaptureError<Infallible>> {
        match self.encoder.finish() {
            len if len <= self.room => Ok(len),
            needed => Err(CaptureError::TooLarge { needed }),
        }
    }
}

/// A [`TestPattern`] as a source: the camera for those who have none.
///
/// The frames are numbered from 0, also those that did not fit. The time shown is UTC where
/// the clock knows Unix time, else the time since the clock's start. Like a sensor that is never
/// waited for it delivers at once; the capture loop decides how many frames there are.
///
/// It is a [`FrameSource`] and a [`BlockingFrameSource`]. Where both traits are in scope, name the
/// one that is meant: `FrameSource::capture(&mut source, buf)`. Its future lets other tasks have a
/// turn every 2048 pixels, since a whole frame may take a microcontroller a tenth of a second;
/// dropped, it loses that frame and its number.
///
/// It obeys every [`Setting`], as [`TestPattern::set`] says.
#[derive(Clone, Debug)]
pub struct TestSource<C> {
    clock: C,
    pattern: TestPattern,
    number: u64,
}

impl<C: Clock> TestSource<C> {
    /// A source of frames of that size and quality.
    #[must_use]
    pub const fn new(clock: C, resolution: Resolution, quality: Quality) -> Self {
        Self { clock, pattern: TestPattern::new(resolution, quality), number: 0 }
    }

    /// The pattern with its present settings.
    #[must_use]
    pub const fn pattern(&self) -> &TestPattern {
        &self.pattern
    }

    /// Begins the next frame. The other part becomes what is said of it.
    fn next<'a>(&'a mut self, buf: &'a mut [u8]) -> (Drawing<'a>, FrameInfo) {
        let captured_at = self.clock.now();
        let offset = self.clock.unix_offset().unwrap_or(0);
        let shown = Duration::from_micros(captured_at.as_micros().saturating_add(offset));
        let number = self.number;
        self.number = number.wrapping_add(1);
        let info = FrameInfo {
            len: 0,
            width: self.pattern.resolution.width(),
            height: self.pattern.resolution.height(),
            captured_at,
            upstream: Upstream::default(),
        };
        (Drawing::begin(&self.pattern, number, shown, buf), info)
    }
}

impl<C: Clock> FrameSource for TestSource<C> {
    type Error = Infallible;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Infallible>> {
        let (mut drawing, info) = self.next(buf);
        while drawing.go_on() {
            yield_now().await;
        }
        Ok(FrameInfo { len: drawing.finish()?, ..info })
    }
}

impl<C: Clock> BlockingFrameSource for TestSource<C> {
    type Error = Infallible;

    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Infallible>> {
        let (mut drawing, info) = self.next(buf);
        while drawing.go_on() {}
        Ok(FrameInfo { len: drawing.finish()?, ..info })
    }
}

impl<C: Clock> Control for TestSource<C> {
    type Error = Infallible;

    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<Infallible>> {
        self.pattern.set(setting)
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        self.pattern.get(name)
    }
}
