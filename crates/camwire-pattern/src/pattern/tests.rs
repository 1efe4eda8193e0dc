//! The pattern, decoded by somebody else's decoder, against a naive rendering of the same card.

use std::collections::BTreeMap;
use std::vec::Vec;
use std::{format, println, vec};

use proptest::prelude::*;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::*;
use crate::card::{Canvas, Disc, Label, Rect};
use crate::font;
use camwire_frame::{Instant, jpeg};

/// The naive canvas: one pixel, to which every shape is applied in turn.
#[derive(Clone)]
struct Pixel {
    x: i32,
    y: i32,
    color: Color,
}

impl Canvas for Pixel {
    fn touches(&self, _: Rect) -> bool {
        true
    }

    fn inside(&self, _: &Disc) -> bool {
        false
    }

    fn fill(&mut self, color: Color) {
        self.color = color;
    }

    fn rect(&mut self, rect: Rect, color: Color) {
        self.columns(rect, |_| color);
    }

    fn columns(&mut self, rect: Rect, color: impl Fn(i32) -> Color) {
        if rect.contains(self.x, self.y) {
            self.color = color(self.x);
        }
    }

    fn disc(&mut self, disc: &Disc, paint: impl FnOnce(&mut Self)) {
        let mut over = self.clone();
        paint(&mut over);
        self.color = over.color.over(self.color, disc.alpha(self.x, self.y));
    }

    fn text(&mut self, label: &Label, color: Color) {
        let scale = label.scale.cast_signed();
        let (column, row) =
            ((self.x - label.x).div_euclid(scale), (self.y - label.y).div_euclid(scale));
        if column >= 0 && (0..7).contains(&row) {
            let bits = label.row((column / 6) as u32, row as u32);
            if column % 6 < 5 && bits >> (4 - column % 6) & 1 == 1 {
                self.color = color;
            }
        }
    }
}

/// Y, Cb and Cr of a frame at full resolution, row by row.
struct Planes {
    width: usize,
    height: usize,
    data: Vec<[u8; 3]>,
}

impl Planes {
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.data[y * self.width + x]
    }

    /// Peak signal-to-noise ratio of each plane in dB.
    fn psnr(&self, other: &Self) -> [f64; 3] {
        assert_eq!((self.width, self.height), (other.width, other.height));
        core::array::from_fn(|plane| {
            let square =
                |(a, b): (&[u8; 3], &[u8; 3])| (f64::from(a[plane]) - f64::from(b[plane])).powi(2);
            let error: f64 = self.data.iter().zip(&other.data).map(square).sum();
            let mean = (error / self.data.len() as f64).max(1e-6);
            10.0 * (255.0 * 255.0 / mean).log10()
        })
    }
}

/// What the pattern should look like, before quantisation and with chroma at full resolution.
fn reference(pattern: &TestPattern, number: u64, time: Duration) -> Planes {
    let card = Card::new(pattern.resolution, number, time, pattern.color_bar);
    let (width, height) = (pattern.resolution.width(), pattern.resolution.height());
    let mut data = Vec::new();
    for y in 0..i32::from(height) {
        for x in 0..i32::from(width) {
            let x = if pattern.hmirror { i32::from(width) - 1 - x } else { x };
            let y = if pattern.vflip { i32::from(height) - 1 - y } else { y };
            let mut pixel = Pixel { x, y, color: Color::BLACK };
            card.paint(&mut pixel);
            let Color { y, cb, cr } = pattern.adjust(pixel.color);
            data.push([y, cb, cr]);
        }
    }
    Planes { width: width.into(), height: height.into(), data }
}

fn encode(pattern: &TestPattern, number: u64, time: Duration) -> Vec<u8> {
    let mut jpeg = vec![0; 4 << 20];
    let len = pattern.encode(number, time, &mut jpeg).unwrap();
    jpeg.truncate(len);
    jpeg
}

fn decode(jpeg: &[u8]) -> Planes {
    let options =
        DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::YCbCr);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let data = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    Planes { width, height, data: data.as_chunks::<3>().0.to_vec() }
}

fn pattern(resolution: Resolution, quality: i16) -> TestPattern {
    TestPattern::new(resolution, Quality::new(quality).unwrap())
}

const TIME: Duration = Duration::from_millis(45_296_789);

#[test]
fn a_decoder_sees_the_card_in_every_size_and_quality() {
    // The lowest ratio that is accepted, for luma and for chroma: the latter has lost three
    // quarters of its samples whatever the quality.
    let qualities = [(0, 58.0, 25.0), (12, 32.0, 25.0), (63, 22.0, 20.0)];
    for &resolution in Resolution::ALL {
        // Where nothing is optimised, the larger ones would take minutes.
        let pixels = u32::from(resolution.width()) * u32::from(resolution.height());
        let pattern_at = |quality| pattern(resolution, quality);
        if cfg!(debug_assertions) && pixels > 120_000 {
            let decoded = decode(&encode(&pattern_at(63), 77, TIME));
            assert_eq!(decoded.width, usize::from(resolution.width()));
            assert_eq!(decoded.height, usize::from(resolution.height()));
            continue;
        }
        let expected = reference(&pattern_at(0), 77, TIME);
        for (quality, luma, chroma) in qualities {
            let psnr = decode(&encode(&pattern_at(quality), 77, TIME)).psnr(&expected);
            println!("{resolution} at {quality}: {psnr:.1?} dB");
            assert!(psnr[0] > luma, "{resolution} at {quality}: {psnr:.1?} dB");
            assert!(psnr[1].min(psnr[2]) > chroma, "{resolution} at {quality}: {psnr:.1?} dB");
        }
    }
}

#[test]
fn every_setting_is_seen_by_the_decoder() {
    use Setting::{Brightness, ColorBar, HMirror, Saturation, VFlip};
    let level = |value| Ranged::new(value).unwrap();
    let saturation = |value| Saturation(Ranged::new(value).unwrap());
    for settings in [
        &[HMirror(true)][..],
        &[VFlip(true)],
        &[HMirror(true), VFlip(true), Brightness(level(1))],
        &[Brightness(level(2))],
        &[Brightness(level(-2)), saturation(-2)],
        &[saturation(-4)],
        &[saturation(4), ColorBar(true)],
        &[ColorBar(true), HMirror(true)],
    ] {
        // 400 by 296: the height is no multiple of 16.
        let mut pattern = pattern(Resolution::CIF, 0);
        let plain = reference(&pattern, 5, TIME);
        for &setting in settings {
            pattern.set(setting).unwrap();
            assert_eq!(pattern.get(setting.name()), Some(setting));
        }
        let decoded = decode(&encode(&pattern, 5, TIME));
        let psnr = decoded.psnr(&reference(&pattern, 5, TIME));
        assert!(psnr[0] > 45.0 && psnr[1].min(psnr[2]) > 20.0, "{settings:?}: {psnr:?}");
        assert!(
            decoded.psnr(&plain)[0..].iter().any(|&psnr| psnr < 25.0),
            "{settings:?}: no effect"
        );
    }
}

#[test]
fn settings_do_what_their_names_say() {
    let mean = |picture: &Planes, plane: usize| {
        picture.data.iter().map(|pixel| f64::from(pixel[plane])).sum::<f64>()
            / picture.data.len() as f64
    };
    let with = |setting| {
        let mut pattern = pattern(Resolution::QVGA, 6);
        pattern.set(setting).unwrap();
        decode(&encode(&pattern, 5, TIME))
    };
    let plain = decode(&encode(&pattern(Resolution::QVGA, 6), 5, TIME));

    let mut last = 0.0;
    for level in -3..=3 {
        let brightness = mean(&with(Setting::Brightness(Ranged::new(level).unwrap())), 0);
        assert!(brightness > last + 5.0);
        last = brightness;
    }
    let grey = with(Setting::Saturation(Ranged::MIN));
    assert!(grey.data.iter().all(|pixel| pixel[1..] == [128, 128]));

    let (mirrored, flipped) = (with(Setting::HMirror(true)), with(Setting::VFlip(true)));
    let close = |a: [u8; 3], b: [u8; 3]| (0..1).all(|n| a[n].abs_diff(b[n]) < 60);
    let mut far = 0;
    for y in 0..240 {
        for x in 0..320 {
            far += u32::from(!close(plain.at(x, y), mirrored.at(319 - x, y)));
            far += u32::from(!close(plain.at(x, y), flipped.at(x, 239 - y)));
        }
    }
    assert!(far < 100, "{far} pixels are elsewhere");

    // From left to right, under the ball: from light to dark.
    let bars = with(Setting::ColorBar(true));
    let luma: Vec<u8> = (0..8).map(|n| bars.at(20 + 40 * n, 230)[0]).collect();
    assert!(luma.is_sorted_by(|a, b| a > b), "{luma:?}");
}

#[test]
fn lower_quality_numbers_make_larger_pictures() {
    for resolution in [Resolution::R96X96, Resolution::QVGA, Resolution::VGA] {
        let sizes: Vec<usize> =
            (0..=63).map(|quality| encode(&pattern(resolution, quality), 9, TIME).len()).collect();
        for pair in sizes.windows(2) {
            // Rounding of single steps may turn a tie.
            assert!(pair[1] * 100 <= pair[0] * 101, "{resolution}: {sizes:?}");
        }
        assert!(sizes[0] > 3 * sizes[63], "{resolution}: {sizes:?}");
    }
    let vga = encode(&pattern(Resolution::VGA, 12), 9, TIME).len();
    assert!((15_000..40_000).contains(&vga), "{vga} bytes");
}

/// Quality 12 is libjpeg's 80: the DQT of a file that Pillow (libjpeg-turbo) wrote with it.
#[test]
fn quality_12_is_libjpegs_80() {
    let jpeg = encode(&pattern(Resolution::QQVGA, 12), 0, TIME);
    let dqt = jpeg.windows(2).position(|bytes| bytes == [0xFF, 0xDB]).unwrap();
    assert_eq!(jpeg[dqt + 5..][..10], [6, 4, 5, 6, 5, 4, 6, 6, 5, 6]);
    assert_eq!(jpeg[dqt + 70..][..10], [7, 7, 7, 10, 8, 10, 19, 10, 10, 19]);
}

#[test]
fn the_needed_size_is_exact() {
    for (resolution, quality) in
        [(Resolution::R96X96, 63), (Resolution::QVGA, 12), (Resolution::CIF, 0)]
    {
        let pattern = pattern(resolution, quality);
        let jpeg = encode(&pattern, 3, TIME);
        let needed = jpeg.len();
        let mut slot = vec![0xA5; needed + 10];
        assert_eq!(pattern.encode(3, TIME, &mut slot[..needed]), Ok(needed));
        assert_eq!(slot[..needed], jpeg);
        assert!(slot[needed..].iter().all(|&byte| byte == 0xA5));
        for room in [0, 1, 100, 700, needed / 2, needed - 1] {
            let error = CaptureError::TooLarge { needed };
            assert_eq!(pattern.encode(3, TIME, &mut slot[..room]), Err(error));
        }
        let picture =
            jpeg::Picture { width: resolution.width(), height: resolution.height(), len: needed };
        assert_eq!(jpeg::inspect(&slot), Ok(picture));
    }
}

/// Reads a line of text off a decoded frame, by the luma in the middle of each font pixel.
fn read(picture: &Planes, label: &Label) -> std::string::String {
    let mut by_glyph: BTreeMap<[u8; 7], char> = BTreeMap::new();
    for character in (b' '..=b'Z').rev() {
        by_glyph.insert(font::glyph(character), character.into());
    }
    (0..label.text().len())
        .map(|index| {
            let glyph = core::array::from_fn(|row| {
                (0..5).fold(0, |bits, column| {
                    let at = |origin: i32, place: usize| {
                        origin as usize + place * label.scale as usize + label.scale as usize / 2
                    };
                    let [luma, ..] = picture.at(at(label.x, index * 6 + column), at(label.y, row));
                    bits << 1 | u8::from(luma > 110)
                })
            });
            by_glyph.get(&glyph).copied().unwrap_or('?')
        })
        .collect()
}

#[test]
fn the_text_can_be_read_off_the_picture() {
    for &resolution in Resolution::ALL {
        let pixels = u32::from(resolution.width()) * u32::from(resolution.height());
        // One or two pixels per font pixel are too little for the very lowest quality.
        let worst = if pixels < 640 * 480 { 30 } else { 63 };
        for quality in [0, 12, worst] {
            for (number, time, shown) in [
                (0, Duration::ZERO, ["00:00:00.000", "#0000000"]),
                (123_456_789, TIME, ["12:34:56.789", "#123456789"]),
                (u64::MAX, Duration::MAX, ["07:00:15.999", "#3709551615"]),
                (9_999_999, Duration::from_millis(86_399_999), ["23:59:59.999", "#9999999"]),
            ] {
                let pattern = pattern(resolution, quality);
                let picture = decode(&encode(&pattern, number, time));
                let card = Card::new(resolution, number, time, false);
                assert_eq!(
                    [read(&picture, &card.time), read(&picture, &card.number)],
                    shown,
                    "{resolution} at {quality}"
                );
            }
        }
        if cfg!(debug_assertions) && pixels > 160_000 {
            break;
        }
    }
}

#[test]
fn it_moves_smoothly() {
    // Where the ball is: the mean place of all pixels of its orange.
    let ball = |number| {
        let picture = decode(&encode(&pattern(Resolution::VGA, 12), number, Duration::ZERO));
        let mut sum = (0.0, 0.0, 0.0);
        for y in 0..480 {
            for x in 0..640 {
                let [_, cb, cr] = picture.at(x, y);
                if cb < 75 && cr > 185 {
                    sum = (sum.0 + x as f64, sum.1 + y as f64, sum.2 + 1.0);
                }
            }
        }
        assert!(sum.2 > 500.0);
        (sum.0 / sum.2, sum.1 / sum.2)
    };
    for number in [0, 31, 63, 100, 127] {
        let (a, b) = (ball(number), ball(number + 1));
        let step = (a.0 - b.0).hypot(a.1 - b.1);
        assert!((6.0..16.0).contains(&step), "{step} pixels from {number} on");
    }
}

#[test]
fn the_source_counts_and_tells_the_time() {
    struct Now(Option<u64>);
    impl Clock for Now {
        fn now(&self) -> Instant {
            Instant::from_micros(1_500_000)
        }
        async fn sleep_until(&self, _: Instant) {}
        fn unix_offset(&self) -> Option<u64> {
            self.0
        }
    }

    for (offset, shown) in [(None, 1_500), (Some(1_700_000_000_000_000), 1_700_000_001_500)] {
        let mut source = TestSource::new(Now(offset), Resolution::QQVGA, Quality::MAX);
        let mut slot = vec![0; 16 << 10];
        let short = BlockingFrameSource::capture(&mut source, &mut slot[..1000]);
        assert!(matches!(short, Err(CaptureError::TooLarge { needed: 2000.. })));
        for number in 1..4 {
            let info = BlockingFrameSource::capture(&mut source, &mut slot).unwrap();
            assert_eq!((info.width, info.height), (160, 120));
            assert_eq!(info.captured_at, Instant::from_micros(1_500_000));
            let expected = encode(source.pattern(), number, Duration::from_millis(shown));
            assert_eq!(slot[..info.len], expected);
        }

        let wanted = Setting::Resolution(Resolution::QCIF);
        assert_eq!(now(Control::set(&mut source, wanted)), Ok(()));
        assert_eq!(Control::get(&source, SettingName::Resolution), Some(wanted));
        // Given up in the middle of its 99 tiles, which costs that frame.
        assert_eq!(after(3, FrameSource::capture(&mut source, &mut slot)), None);
        let info = after(12, FrameSource::capture(&mut source, &mut slot)).unwrap().unwrap();
        assert_eq!((info.width, info.height), (176, 144));
        let expected = encode(source.pattern(), 5, Duration::from_millis(shown));
        assert_eq!(slot[..info.len], expected);
    }
}

/// The result of a future that is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    after(0, future).expect("it does not wait")
}

/// The result of a future that is ready once others have had so many turns.
fn after<T>(turns: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    let mut future = core::pin::pin!(future);
    for turn in 0..=turns {
        if let core::task::Poll::Ready(result) = future.as_mut().poll(&mut context) {
            assert_eq!(turn, turns, "it was ready earlier");
            return Some(result);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Nothing that can be asked for makes it panic, and the answer is a whole frame.
    #[test]
    fn any_request_gives_a_picture(
        resolution in 0..8_usize,
        quality in 0_i16..=63,
        levels in (-3_i16..=3, -4_i16..=4),
        switches in any::<[bool; 3]>(),
        number in any::<u64>(),
        time in any::<Duration>(),
    ) {
        let mut pattern = pattern(Resolution::ALL[resolution], quality);
        pattern.set(Setting::Brightness(Ranged::new(levels.0).unwrap())).unwrap();
        pattern.set(Setting::Saturation(Ranged::new(levels.1).unwrap())).unwrap();
        pattern.set(Setting::HMirror(switches[0])).unwrap();
        pattern.set(Setting::VFlip(switches[1])).unwrap();
        pattern.set(Setting::ColorBar(switches[2])).unwrap();
        let jpeg = encode(&pattern, number, time);
        let picture = jpeg::inspect(&jpeg).map_err(|error| TestCaseError::fail(format!("{error}")))?;
        prop_assert_eq!(picture.len, jpeg.len());
        let decoded = decode(&jpeg);
        let psnr = decoded.psnr(&reference(&pattern, number, time));
        prop_assert!(psnr[0] > 20.0, "{:?}", psnr);
    }
}
