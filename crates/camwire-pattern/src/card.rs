//! What the test card shows: a list of shapes, painted on any [`Canvas`]. The encoder's is
//! the [`Tile`]; the tests have another, of a single pixel, as the naive reference.

use core::time::Duration;

use crate::font;
use camwire_frame::Resolution;

/// A colour as JFIF has it: full range, chroma around 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(4))] // One word per pixel is quicker to fill than three bytes.
pub(crate) struct Color {
    pub(crate) y: u8,
    pub(crate) cb: u8,
    pub(crate) cr: u8,
}

impl Color {
    pub(crate) const BLACK: Self = Self::grey(0);
    const WHITE: Self = Self::grey(255);

    const fn grey(y: u8) -> Self {
        Self { y, cb: 128, cr: 128 }
    }

    /// JFIF's matrix, in 1/256.
    const fn rgb(r: i32, g: i32, b: i32) -> Self {
        const fn byte(value: i32) -> u8 {
            let value = (value + 128) >> 8;
            if value > 255 { 255 } else { value as u8 }
        }
        Self {
            y: byte(77 * r + 150 * g + 29 * b),
            cb: byte(-43 * r - 85 * g + 128 * b + (128 << 8)),
            cr: byte(128 * r - 107 * g - 21 * b + (128 << 8)),
        }
    }

    /// `alpha` of 256 parts of `self`, the rest of `below`.
    pub(crate) fn over(self, below: Self, alpha: u32) -> Self {
        let mix = |over: u8, below: u8| {
            let below = u32::from(below) * 256_u32.saturating_sub(alpha);
            ((u32::from(over) * alpha + below + 128) >> 8) as u8
        };
        Self { y: mix(self.y, below.y), cb: mix(self.cb, below.cb), cr: mix(self.cr, below.cr) }
    }
}

/// From `x0` and `y0` on, up to and without `x1` and `y1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rect {
    pub(crate) x0: i32,
    pub(crate) y0: i32,
    pub(crate) x1: i32,
    pub(crate) y1: i32,
}

impl Rect {
    const fn new(x0: i32, y0: i32, x1: i32, y1: i32) -> Self {
        Self { x0, y0, x1, y1 }
    }

    pub(crate) const fn contains(&self, x: i32, y: i32) -> bool {
        self.x0 <= x && x < self.x1 && self.y0 <= y && y < self.y1
    }
}

/// A disc with a soft edge one pixel wide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disc {
    x: i32,
    y: i32,
    radius: i32,
    /// 2^23 over the radius, rounded down.
    inverse: u32,
}

impl Disc {
    fn new(x: i32, y: i32, radius: i32) -> Self {
        let radius = radius.max(1);
        Self { x, y, radius, inverse: (1 << 23) / radius.unsigned_abs() }
    }

    const fn square_distance(&self, x: i32, y: i32) -> i32 {
        (x - self.x) * (x - self.x) + (y - self.y) * (y - self.y)
    }

    /// How much of a pixel is covered, of 256.
    pub(crate) fn alpha(&self, x: i32, y: i32) -> u32 {
        // The square of the distance goes from r^2 - r to r^2 + r within that pixel.
        let outer = self.radius * (self.radius + 1);
        let inside = (outer - self.square_distance(x, y)).max(0).min(2 * self.radius);
        if inside == 2 * self.radius { 256 } else { (inside.unsigned_abs() * self.inverse) >> 16 }
    }
}

/// A line of text, with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    text: [u8; 16],
    len: u32,
    pub(crate) x: i32,
    pub(crate) y: i32,
    /// Pixels on a side of a pixel of the font.
    pub(crate) scale: u32,
    color: Color,
}

impl Label {
    const fn new(color: Color) -> Self {
        Self { text: [b' '; 16], len: 0, x: 0, y: 0, scale: 1, color }
    }

    pub(crate) fn text(&self) -> &[u8] {
        self.text.get(..self.len as usize).unwrap_or_default()
    }

    fn push(&mut self, text: &[u8]) {
        for &character in text {
            if let Some(place) = self.text.get_mut(self.len as usize) {
                *place = character.to_ascii_uppercase();
                self.len += 1;
            }
        }
    }

    /// At least so many digits of `number`, and at most ten.
    fn push_number(&mut self, mut number: u64, at_least: usize) {
        let mut digits = [b'0'; 10];
        let mut used = 0;
        for place in digits.iter_mut().rev() {
            if number == 0 {
                break;
            }
            *place = b'0' + (number % 10) as u8;
            number /= 10;
            used += 1;
        }
        self.push(digits.get(10 - used.max(at_least).min(10)..).unwrap_or_default());
    }

    /// Width in pixels of the font, without the gap after the last character.
    fn columns(&self) -> u32 {
        (self.len * font::ADVANCE).saturating_sub(1)
    }

    /// The scale at which it fits that width; at least 1, and from 4 on even, so that it can
    /// lie better on the encoder's blocks.
    fn scale_for(&self, width: i32) -> u32 {
        match (width.unsigned_abs() / self.columns().max(1)).max(1) {
            scale @ ..4 => scale,
            scale => scale & !1,
        }
    }

    fn height(&self) -> i32 {
        (font::HEIGHT * self.scale).cast_signed()
    }

    /// Puts it around `x`, under `y`, as near as `grain` lets it.
    fn place(&mut self, x: i32, y: i32, scale: u32, grain: i32) {
        self.scale = scale;
        self.x = snap(x - (self.columns() * scale / 2).cast_signed(), grain);
        self.y = snap(y, grain);
    }

    pub(crate) fn rect(&self) -> Rect {
        let width = (self.columns() * self.scale).cast_signed();
        Rect::new(self.x, self.y, self.x + width, self.y + self.height())
    }

    /// Row `row` of character `index`; bit 4 is its leftmost pixel.
    pub(crate) fn row(&self, index: u32, row: u32) -> u8 {
        let character = self.text().get(index as usize).copied().unwrap_or(b' ');
        font::glyph(character).get(row as usize).copied().unwrap_or_default()
    }
}

/// Something to paint on: a part of the plane, however large.
pub(crate) trait Canvas {
    /// Whether anything in `rect` can matter.
    fn touches(&self, rect: Rect) -> bool;
    /// Whether nothing outside of `disc` can matter.
    fn inside(&self, disc: &Disc) -> bool;
    fn fill(&mut self, color: Color);
    fn rect(&mut self, rect: Rect, color: Color);
    /// A rectangle whose colour depends on x.
    fn columns(&mut self, rect: Rect, color: impl Fn(i32) -> Color);
    /// Whatever `paint` does, but only within `disc`.
    fn disc(&mut self, disc: &Disc, paint: impl FnOnce(&mut Self));
    fn text(&mut self, label: &Label, color: Color);
}

/// White, and all of red, green and blue that are on or off, from light to dark.
const BARS: [Color; 8] = [
    Color::rgb(235, 235, 235),
    Color::rgb(225, 215, 20),
    Color::rgb(20, 200, 210),
    Color::rgb(25, 180, 40),
    Color::rgb(185, 30, 175),
    Color::rgb(210, 30, 30),
    Color::rgb(25, 40, 200),
    Color::rgb(16, 16, 16),
];
const BACKGROUND: Color = Color::rgb(92, 104, 120);
const GRID: Color = Color::rgb(128, 140, 156);
const NAVY: Color = Color::rgb(18, 34, 84);
const AMBER: Color = Color::rgb(255, 196, 64);
const ORANGE: Color = Color::rgb(255, 112, 24);

/// One frame of it: the places of all its parts.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    width: i32,
    height: i32,
    /// Between two lines of the grid.
    cell: i32,
    /// Straight edges lie at multiples of this power of two.
    grain: i32,
    /// Thickness of a thin line.
    line: i32,
    circle: Disc,
    /// The circle's outline reaches out to here.
    ring: Disc,
    ball: Disc,
    ball_rim: Disc,
    /// The black field with the time and the number.
    panel: Rect,
    /// What part of the second has passed.
    second: Rect,
    /// Where the waves begin, in 1/256 of a period.
    phase: u32,
    bars_only: bool,
    name: Label,
    size: Label,
    pub(crate) time: Label,
    pub(crate) number: Label,
}

impl Card {
    pub(crate) fn new(
        resolution: Resolution,
        number: u64,
        time: Duration,
        bars_only: bool,
    ) -> Self {
        let (width, height) = (i32::from(resolution.width()), i32::from(resolution.height()));
        let (x, y, side) = (width / 2, height / 2, width.min(height));
        let radius = side * 29 / 64;
        let line = (side / 240).max(1);
        // Straight edges lie on those of the encoder's blocks where there is room to move them:
        // a VGA frame is a third smaller for it.
        let grain = match side {
            ..240 => 1,
            240..480 => 4,
            _ => 8,
        };

        // Once around in 128 frames.
        let turn = (number as u32).wrapping_mul(2);
        let (ball_x, ball_y) =
            (x + scaled_sine(turn, radius), y - scaled_sine(turn.wrapping_add(64), radius));

        let mut card = Self {
            width,
            height,
            cell: snap(side / 8, grain),
            grain,
            line,
            circle: Disc::new(x, y, radius),
            ring: Disc::new(x, y, radius + 2 * line),
            ball: Disc::new(ball_x, ball_y, side / 24),
            ball_rim: Disc::new(ball_x, ball_y, side / 24 + 2 * line),
            panel: Rect::new(
                snap(x - radius, grain) - grain,
                snap(y - radius / 4, grain),
                snap(x + radius, grain) + grain,
                snap(y + radius * 5 / 16, grain),
            ),
            second: Rect::new(0, 0, 0, 0),
            phase: (number as u32).wrapping_mul(6),
            bars_only,
            name: Label::new(NAVY),
            size: Label::new(Color::WHITE),
            time: Label::new(Color::WHITE),
            number: Label::new(AMBER),
        };
        card.write(resolution, number, time);
        card
    }

    const fn snap(&self, at: i32) -> i32 {
        snap(at, self.grain)
    }

    fn write(&mut self, resolution: Resolution, number: u64, time: Duration) {
        let Disc { x, y, radius, .. } = self.circle;
        let grain = self.grain;

        self.name.push(b"CAMWIRE");
        let scale = self.name.scale_for(radius);
        let top = y - radius * 3 / 4 - (font::HEIGHT * scale / 2).cast_signed();
        self.name.place(x, top, scale, grain);

        let seconds = time.as_secs();
        self.time.push_number(seconds / 3600 % 24, 2);
        self.time.push(b":");
        self.time.push_number(seconds / 60 % 60, 2);
        self.time.push(b":");
        self.time.push_number(seconds % 60, 2);
        self.time.push(b".");
        self.time.push_number(time.subsec_millis().into(), 3);
        self.number.push(b"#");
        self.number.push_number(number, 7);

        // Both at the scale of the wider one, which is never the number's.
        let scale = self.time.scale_for(radius * 27 / 16);
        let text = (font::HEIGHT * scale).cast_signed();
        let gap = (self.panel.y1 - self.panel.y0 - 2 * text) / 3;
        self.time.place(x, self.panel.y0 + gap, scale, grain);
        self.number.place(x, self.panel.y0 + 2 * gap + text, scale, grain);

        let (from, to) = (self.time.x, self.time.rect().x1);
        let passed = (to - from) * (time.subsec_millis().cast_signed()) / 1000;
        let bar = self.panel.y1 - (gap / 2).max(1);
        self.second = Rect::new(from, bar, from + passed, bar + (gap / 4).max(1));

        self.size.push(resolution.name().as_bytes());
        let mut numbers = Label::new(Color::WHITE);
        numbers.push_number(resolution.width().into(), 1);
        numbers.push(b"x");
        numbers.push_number(resolution.height().into(), 1);
        if self.size.text() != numbers.text() {
            let mut both = self.size;
            both.push(b" ");
            both.push(numbers.text());
            // On the smallest frames there is no room for both.
            self.size = if both.columns() > radius.unsigned_abs() * 5 / 4 { numbers } else { both };
        }
        let scale = self.size.scale_for(radius * 9 / 8).min(self.name.scale);
        let top = y + radius * 3 / 4 - (font::HEIGHT * scale / 2).cast_signed();
        self.size.place(x, top, scale, grain);
    }

    pub(crate) fn paint(&self, canvas: &mut impl Canvas) {
        if self.bars_only {
            self.bars(canvas, Rect::new(0, 0, self.width, self.height), &BARS);
            canvas.rect(self.panel, Color::BLACK);
            self.texts(canvas);
        } else {
            if !canvas.inside(&self.circle) {
                self.background(canvas);
                canvas.disc(&self.ring, |canvas| canvas.fill(Color::WHITE));
            }
            canvas.disc(&self.circle, |canvas| self.face(canvas));
        }
        canvas.disc(&self.ball_rim, |canvas| canvas.fill(Color::WHITE));
        canvas.disc(&self.ball, |canvas| canvas.fill(ORANGE));
    }

    /// A grid, squares around its middle, with a border of black and white.
    fn background(&self, canvas: &mut impl Canvas) {
        let Self { width, height, line, .. } = *self;
        let cell = self.cell.max(1);
        canvas.fill(BACKGROUND);
        let border = self.snap(cell / 4);
        // Grid lines go through the middle of the frame.
        for (size, upright) in [(width, true), (height, false)] {
            let middle = self.snap(size / 2);
            let (mut at, mut light) = (middle % cell - cell, middle / cell % 2 == 0);
            while at < size {
                let stroke = if upright {
                    Rect::new(at, 0, at + cell, height)
                } else {
                    Rect::new(0, at, width, at + cell)
                };
                if canvas.touches(stroke) {
                    let color = if light { Color::WHITE } else { Color::BLACK };
                    let (thin, near, far) = if upright {
                        (
                            Rect { x1: at + line, ..stroke },
                            Rect { y1: border, ..stroke },
                            Rect { y0: self.snap(height - border), ..stroke },
                        )
                    } else {
                        (
                            Rect { y1: at + line, ..stroke },
                            Rect { x1: border, ..stroke },
                            Rect { x0: self.snap(width - border), ..stroke },
                        )
                    };
                    canvas.rect(thin, GRID);
                    canvas.rect(near, color);
                    canvas.rect(far, color);
                }
                at += cell;
                light = !light;
            }
        }
    }

    /// What is inside the circle, from top to bottom.
    fn face(&self, canvas: &mut impl Canvas) {
        let Disc { x, y, radius, .. } = self.circle;
        let (left, right) = (x - radius - 1, x + radius + 1);
        let band = |from: i32, to: i32| {
            // In 1/16 of the radius. The outermost reach beyond the circle.
            Rect::new(
                left,
                self.snap(y + radius * from / 16),
                right,
                self.snap(y + radius * to / 16),
            )
        };
        canvas.rect(band(-20, -10), BARS[0]);
        canvas.text(&self.name, self.name.color);
        self.bars(canvas, band(-10, -4), &BARS[1..7]);
        canvas.rect(self.panel, Color::BLACK);
        self.texts(canvas);

        // Waves that become shorter to the right, down to eight pixels, and wander.
        let width = (right - left).max(1).unsigned_abs();
        let rate = (16 << 16) / width;
        canvas.columns(band(5, 9), |x| {
            let x = (x - left).unsigned_abs();
            let angle = (rate.wrapping_mul(x).wrapping_mul(x) >> 16).wrapping_sub(self.phase);
            Color::grey((128 + scaled_sine(angle, 110)) as u8)
        });
        let slope = (255 << 16) / width;
        canvas.columns(band(9, 10), |x| {
            Color::grey((((x - left).unsigned_abs() * slope) >> 16).min(255) as u8)
        });
        canvas.rect(band(10, 20), NAVY);
        canvas.text(&self.size, self.size.color);
    }

    fn bars(&self, canvas: &mut impl Canvas, rect: Rect, colors: &[Color]) {
        if !canvas.touches(rect) {
            return;
        }
        let count = (colors.len() as i32).max(1);
        for (n, &color) in (0..).zip(colors) {
            let edge = |n| self.snap(rect.x0 + (rect.x1 - rect.x0) * n / count);
            canvas.rect(Rect { x0: edge(n), x1: edge(n + 1), ..rect }, color);
        }
    }

    fn texts(&self, canvas: &mut impl Canvas) {
        if canvas.touches(self.panel) {
            canvas.text(&self.time, self.time.color);
            canvas.text(&self.number, self.number.color);
            canvas.rect(self.second, ORANGE);
        }
    }
}

/// A square of pixels somewhere on the plane.
///
/// As long as one colour covers it, none is written: most tiles are never more than that.
#[derive(Clone)]
pub(crate) struct Tile {
    x: i32,
    y: i32,
    solid: Option<Color>,
    pixels: [[Color; Self::SIZE]; Self::SIZE],
}

impl Tile {
    pub(crate) const SIZE: usize = crate::encoder::MCU as usize;

    pub(crate) const fn new() -> Self {
        let pixels = [[Color::BLACK; Self::SIZE]; Self::SIZE];
        Self { x: 0, y: 0, solid: Some(Color::BLACK), pixels }
    }

    /// Black, with its top left corner at that place, which may be outside of the frame.
    pub(crate) const fn move_to(&mut self, x: i32, y: i32) {
        self.x = x;
        self.y = y;
        self.solid = Some(Color::BLACK);
    }

    /// The colour of all of it, if it is known to be one.
    pub(crate) const fn solid(&self) -> Option<Color> {
        self.solid
    }

    /// The rows; to be asked for only if it is not solid.
    pub(crate) const fn pixels(&self) -> &[[Color; Self::SIZE]; Self::SIZE] {
        &self.pixels
    }

    const fn bounds(&self) -> Rect {
        let size = Self::SIZE as i32;
        Rect::new(self.x, self.y, self.x + size, self.y + size)
    }

    fn materialise(&mut self) {
        if let Some(color) = self.solid.take() {
            self.pixels = [[color; Self::SIZE]; Self::SIZE];
        }
    }

    /// The rows within `rect` with their y, of each the pixels within it; and their first x.
    fn part(&mut self, rect: Rect) -> (impl Iterator<Item = (i32, &mut [Color])>, i32) {
        let bounds = self.bounds();
        let from = rect.x0.max(bounds.x0);
        let range = |from: i32, to: i32, origin: i32| {
            let clip = |at: i32| (at - origin).clamp(0, Self::SIZE as i32) as usize;
            clip(from)..clip(to).max(clip(from))
        };
        let columns = range(rect.x0, rect.x1, bounds.x0);
        let rows = range(rect.y0, rect.y1, bounds.y0);
        let first = bounds.y0 + rows.start as i32;
        let rows = self.pixels.get_mut(rows).unwrap_or_default().iter_mut();
        let cut = move |row| <[Color]>::get_mut(row, columns.clone()).unwrap_or_default();
        ((first..).zip(rows.map(move |row| cut(row))), from)
    }
}

impl Canvas for Tile {
    #[inline]
    fn touches(&self, rect: Rect) -> bool {
        let bounds = self.bounds();
        rect.x0.max(bounds.x0) < rect.x1.min(bounds.x1)
            && rect.y0.max(bounds.y0) < rect.y1.min(bounds.y1)
    }

    #[inline]
    fn inside(&self, disc: &Disc) -> bool {
        let Rect { x0, y0, x1, y1 } = self.bounds();
        let x = if x0 + x1 < 2 * disc.x { x0 } else { x1 };
        let y = if y0 + y1 < 2 * disc.y { y0 } else { y1 };
        disc.square_distance(x, y) <= disc.radius * (disc.radius - 1)
    }

    fn fill(&mut self, color: Color) {
        self.solid = Some(color);
    }

    #[inline]
    fn rect(&mut self, rect: Rect, color: Color) {
        if !self.touches(rect) {
            return;
        }
        let bounds = self.bounds();
        if rect.contains(bounds.x0, bounds.y0) && rect.contains(bounds.x1 - 1, bounds.y1 - 1) {
            return self.fill(color);
        }
        if self.solid != Some(color) {
            self.materialise();
            self.part(rect).0.for_each(|(_, row)| row.fill(color));
        }
    }

    fn columns(&mut self, rect: Rect, color: impl Fn(i32) -> Color) {
        if !self.touches(rect) {
            return;
        }
        let x = self.x;
        // Also for columns that are not within the rectangle: it is simpler, and they are few.
        let colors: [Color; Self::SIZE] = core::array::from_fn(|n| color(x + n as i32));
        self.materialise();
        let (rows, from) = self.part(rect);
        let colors = colors.get((from - x) as usize..).unwrap_or_default();
        for (_, row) in rows {
            row.iter_mut().zip(colors).for_each(|(pixel, &color)| *pixel = color);
        }
    }

    fn disc(&mut self, disc: &Disc, paint: impl FnOnce(&mut Self)) {
        let Rect { x0, y0, x1, y1 } = self.bounds();
        // The pixel next to the middle. (Not `clamp`, which could panic for all the compiler knows.)
        let (x, y) = (disc.x.min(x1 - 1).max(x0), disc.y.min(y1 - 1).max(y0));
        if disc.alpha(x, y) == 0 {
            return;
        }
        if self.inside(disc) {
            return paint(self);
        }
        let mut over = self.clone();
        paint(&mut over);
        over.materialise();
        self.materialise();
        for ((y, row), over) in (y0..).zip(&mut self.pixels).zip(&over.pixels) {
            for ((x, pixel), over) in (x0..).zip(row).zip(over) {
                match disc.alpha(x, y) {
                    0 => {}
                    256 => *pixel = *over,
                    alpha => *pixel = over.over(*pixel, alpha),
                }
            }
        }
    }

    fn text(&mut self, label: &Label, color: Color) {
        let rect = label.rect();
        if !self.touches(rect) {
            return;
        }
        self.materialise();
        let scale = label.scale.max(1);
        let (rows, from) = self.part(rect);
        // Where in the text the tile begins: pixel of the screen in pixel of the font in
        // character. Counted up from there, since division is slow on small cores.
        let start = (from - rect.x0).unsigned_abs();
        let start = (start / scale / font::ADVANCE, start / scale % font::ADVANCE, start % scale);
        for (y, row) in rows {
            let line = (y - rect.y0).unsigned_abs() / scale;
            let (mut index, mut column, mut step) = start;
            let mut bits = label.row(index, line);
            for pixel in row {
                if bits << column & 0b1_0000 != 0 {
                    *pixel = color;
                }
                step += 1;
                if step == scale {
                    step = 0;
                    column += 1;
                    if column == font::ADVANCE {
                        column = 0;
                        index += 1;
                        bits = label.row(index, line);
                    }
                }
            }
        }
    }
}

/// The multiple of `grain`, a power of two, that is nearest to `at`.
const fn snap(at: i32, grain: i32) -> i32 {
    (at + grain / 2) & -grain
}

/// `amplitude` times the sine of `angle`, of which 256 make a turn.
fn scaled_sine(angle: u32, amplitude: i32) -> i32 {
    let quarter = (angle & 63) as usize;
    let value = match angle >> 6 & 3 {
        0 => QUARTER_SINE[quarter],
        1 => QUARTER_SINE[64 - quarter],
        2 => -QUARTER_SINE[quarter],
        _ => -QUARTER_SINE[64 - quarter],
    };
    (i32::from(value) * amplitude + (1 << 13)) >> 14
}

/// The sine from 0 to a quarter turn, times 2^14.
#[rustfmt::skip]
const QUARTER_SINE: [i16; 65] = [
    0, 402, 804, 1205, 1606, 2006, 2404, 2801, 3196, 3590, 3981, 4370, 4756,
    5139, 5520, 5897, 6270, 6639, 7005, 7366, 7723, 8076, 8423, 8765, 9102, 9434,
    9760, 10080, 10394, 10702, 11003, 11297, 11585, 11866, 12140, 12406, 12665, 12916, 13160,
    13395, 13623, 13842, 14053, 14256, 14449, 14635, 14811, 14978, 15137, 15286, 15426, 15557,
    15679, 15791, 15893, 15986, 16069, 16143, 16207, 16261, 16305, 16340, 16364, 16379, 16384,
];
