//! Pictures as pixels: decoding, brightness, and scaling for the window.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Pixels of the largest picture that is decoded: 8K. Its head could claim a hundred times that.
const PIXELS_MAX: usize = 1 << 25;

#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("a picture of {0}x{1} is too large to be decoded")]
    TooLarge(u16, u16),
    #[error("a picture cannot be decoded: {0}")]
    Jpeg(#[from] DecodeErrors),
}

/// A decoded picture. Its memory is used again for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    width: usize,
    height: usize,
    /// Three bytes a pixel, row by row.
    rgb: Vec<u8>,
}

impl Image {
    /// Becomes what `jpeg` shows. After an error it is empty.
    pub(super) fn decode(&mut self, jpeg: &[u8]) -> Result<(), DecodeError> {
        (self.width, self.height) = (0, 0);
        let side = usize::from(u16::MAX); // It is the pixels that count.
        let options = DecoderOptions::default().set_max_width(side).set_max_height(side);
        let options = options.jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        decoder.decode_headers()?;
        let Some(info) = decoder.info() else { return Ok(()) };
        let (width, height) = (usize::from(info.width), usize::from(info.height));
        if width * height > PIXELS_MAX {
            return Err(DecodeError::TooLarge(info.width, info.height));
        }
        self.rgb.resize(width * height * 3, 0);
        decoder.decode_into(&mut self.rgb)?;
        (self.width, self.height) = (width, height);
        Ok(())
    }

    /// The mean over the pixels of R+G+B: 0 for black, 765 for white, or for no picture 0.
    pub(super) fn brightness(&self) -> f64 {
        let pixels = (self.width * self.height).max(1);
        let sum: u64 = self.rgb[..self.width * self.height * 3].iter().map(|&b| u64::from(b)).sum();
        sum as f64 / pixels as f64
    }
}

#[cfg(feature = "window")]
pub(super) use scaling::draw;

#[cfg(feature = "window")]
mod scaling {
    use super::Image;
    use std::borrow::Cow;

    impl Image {
        pub(in super::super) fn size(&self) -> (usize, usize) {
            (self.width, self.height)
        }

        fn row(&self, y: usize) -> &[u8] {
            let bytes = self.width * 3;
            &self.rgb[y * bytes..][..bytes]
        }

        /// Half as wide and high, each pixel the mean of four.
        fn halved(&self) -> Self {
            let (width, height) = (self.width / 2, self.height / 2);
            let mut rgb = Vec::with_capacity(width * height * 3);
            for y in 0..height {
                let rows = self.row(2 * y).chunks_exact(6).zip(self.row(2 * y + 1).chunks_exact(6));
                for (upper, lower) in rows {
                    for n in 0..3 {
                        let four = [upper[n], upper[n + 3], lower[n], lower[n + 3]];
                        rgb.push(((four.into_iter().map(u16::from).sum::<u16>() + 2) >> 2) as u8);
                    }
                }
            }
            Self { width, height, rgb }
        }
    }

    /// Where a picture goes on a canvas: as large as it can be without being bent, in the middle.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Place {
        pub(super) left: usize,
        pub(super) top: usize,
        pub(super) width: usize,
        pub(super) height: usize,
    }

    pub(super) fn place(picture: (usize, usize), canvas: (usize, usize)) -> Place {
        let ((pw, ph), (cw, ch)) = (picture, canvas);
        // The one that would not fit decides.
        let (width, height) = if pw * ch > cw * ph {
            (cw, (cw * ph + pw / 2) / pw)
        } else {
            ((ch * pw + ph / 2) / ph.max(1), ch)
        };
        let (width, height) = (width.clamp(1, cw.max(1)), height.clamp(1, ch.max(1)));
        Place { left: (cw - width.min(cw)) / 2, top: (ch - height.min(ch)) / 2, width, height }
    }

    /// Draws the picture on a canvas of `width` columns, which has 0RGB pixels, on black.
    pub(in super::super) fn draw(image: &Image, canvas: &mut [u32], width: usize) {
        canvas.fill(0);
        let height = canvas.len().checked_div(width).unwrap_or(0);
        if image.width == 0 || image.height == 0 || height == 0 {
            return;
        }
        let place = place(image.size(), (width, height));
        // To skip pixels would show as flicker on fine patterns.
        let mut image = Cow::Borrowed(image);
        while image.width >= 2 * place.width && image.height >= 2 * place.height {
            image = Cow::Owned(image.halved());
        }
        let columns: Vec<_> =
            (0..place.width).map(|x| between(x, place.width, image.width)).collect();
        for (y, line) in
            canvas.chunks_exact_mut(width).skip(place.top).take(place.height).enumerate()
        {
            let (above, below, down) = between(y, place.height, image.height);
            let (above, below) = (image.row(above), image.row(below));
            let pixels = line.iter_mut().skip(place.left);
            for (pixel, &(left, right, across)) in pixels.zip(&columns) {
                let mut value = 0;
                for n in 0..3 {
                    let at = |row: &[u8], x: usize| u32::from(row[3 * x + n]);
                    let mix = |row| at(row, left) * (256 - across) + at(row, right) * across;
                    let mixed = mix(above) * (256 - down) + mix(below) * down;
                    value = (value << 8) | ((mixed + (1 << 15)) >> 16);
                }
                *pixel = value;
            }
        }
    }

    /// The two of `from` pixels between whose middles lies the middle of pixel `n` of `to`, and how
    /// far it is to the second one, in 256ths.
    pub(super) fn between(n: usize, to: usize, from: usize) -> (usize, usize, u32) {
        let (n, to, length) = (n as u64, to as u64, from as u64);
        let middle = ((2 * n + 1) * length * 128 / to).saturating_sub(128);
        let first = ((middle >> 8) as usize).min(from - 1);
        (first, (first + 1).min(from - 1), (middle & 0xff) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camwire::frame::{Quality, Resolution};
    use camwire::pattern::TestPattern;
    use std::time::Duration;

    fn card() -> Vec<u8> {
        let mut buf = vec![0; 1 << 18];
        let card = TestPattern::new(Resolution::QVGA, Quality::MAX);
        let len = card.encode(7, Duration::ZERO, &mut buf).unwrap();
        buf.truncate(len);
        buf
    }

    #[test]
    fn brightness_like_a_naive_one() {
        let mut image = Image::default();
        assert_eq!(image.brightness(), 0.0);
        image.decode(&card()).unwrap();
        assert_eq!((image.width, image.height), (320, 240));
        let mut sum = 0.0;
        for y in 0..240 {
            for x in 0..320 {
                let pixel = &image.rgb[(y * 320 + x) * 3..][..3];
                sum += f64::from(pixel[0]) + f64::from(pixel[1]) + f64::from(pixel[2]);
            }
        }
        let naive = sum / f64::from(320 * 240);
        assert!((image.brightness() - naive).abs() < 1e-6, "{} {naive}", image.brightness());
        assert!((100.0..700.0).contains(&naive), "{naive}");
        image.rgb.fill(255);
        assert_eq!(image.brightness(), 765.0);
    }

    #[test]
    fn what_cannot_be_decoded() {
        let mut image = Image::default();
        image.decode(&card()).unwrap();
        assert!(image.decode(b"no picture").is_err());
        assert_eq!(image.brightness(), 0.0, "it is empty");
        // Its head claims all that it can.
        let mut large = card();
        let sof = large.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        large[sof + 5..sof + 9].fill(0xff);
        assert!(matches!(image.decode(&large), Err(DecodeError::TooLarge(65_535, 65_535))));
        assert!(image.rgb.capacity() < 1 << 20);
        // Whatever is wrong inside is no panic.
        let card = card();
        for n in (0..card.len()).step_by(97) {
            let mut broken = card.clone();
            broken[n] ^= 0x55;
            let _ = image.decode(&broken);
            let _ = image.decode(&card[..n]);
            assert!(image.brightness() <= 765.0);
        }
    }

    #[cfg(feature = "window")]
    mod scaling {
        use super::super::scaling::{Place, between, draw, place};
        use super::*;

        fn image(width: usize, height: usize) -> Image {
            let rgb = (0..width * height * 3).map(|n| (n * n % 251) as u8).collect();
            Image { width, height, rgb }
        }

        #[test]
        fn places() {
            let at = |left, top, width, height| Place { left, top, width, height };
            assert_eq!(place((640, 480), (640, 480)), at(0, 0, 640, 480));
            assert_eq!(place((640, 480), (600, 400)), at(33, 0, 533, 400));
            assert_eq!(place((1280, 720), (600, 400)), at(0, 31, 600, 338));
            assert_eq!(place((16, 9), (1600, 1600)), at(0, 350, 1600, 900));
            // What can be seen at all is seen.
            assert_eq!(place((10_000, 1), (100, 100)), at(0, 49, 100, 1));
            assert_eq!(place((1, 10_000), (100, 100)), at(49, 0, 1, 100));
        }

        #[test]
        fn the_same_size_is_the_same() {
            let image = image(7, 5);
            let mut canvas = [1; 35];
            draw(&image, &mut canvas, 7);
            for (pixel, rgb) in canvas.iter().zip(image.rgb.chunks_exact(3)) {
                assert_eq!(pixel.to_be_bytes(), [0, rgb[0], rgb[1], rgb[2]]);
            }
        }

        #[test]
        fn around_it_is_black() {
            let mut canvas = [0xff; 100];
            draw(&Image { width: 2, height: 1, rgb: vec![200; 6] }, &mut canvas, 10);
            for (n, pixel) in canvas.iter().enumerate() {
                let inside = (2..7).contains(&(n / 10));
                assert_eq!(*pixel, if inside { 0x00c8_c8c8 } else { 0 }, "{n}");
            }
            draw(&Image::default(), &mut canvas, 10);
            assert_eq!(canvas, [0; 100]);
            draw(&image(3, 3), &mut [], 0);
        }

        /// In floating point, with coordinates clamped instead of special cases.
        fn naive(image: &Image, x: f64, y: f64, n: usize) -> f64 {
            let at = |x: f64, y: f64| {
                let x = x.clamp(0.0, image.width as f64 - 1.0) as usize;
                let y = y.clamp(0.0, image.height as f64 - 1.0) as usize;
                f64::from(image.rgb[(y * image.width + x) * 3 + n])
            };
            let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
            let (across, down) = (x - 0.5 - left, y - 0.5 - top);
            let upper = at(left, top) * (1.0 - across) + at(left + 1.0, top) * across;
            let lower = at(left, top + 1.0) * (1.0 - across) + at(left + 1.0, top + 1.0) * across;
            upper * (1.0 - down) + lower * down
        }

        #[test]
        fn like_a_naive_one() {
            for (width, height, by) in [(4, 3, 5), (8, 8, 3), (1, 1, 9), (16, 9, 2), (5, 4, 1)] {
                let image = image(width, height);
                let (w, h) = (width * by, height * by);
                let mut canvas = vec![0; w * h];
                draw(&image, &mut canvas, w);
                for (n, pixel) in canvas.iter().enumerate() {
                    let (x, y) = ((n % w) as f64 + 0.5, (n / w) as f64 + 0.5);
                    for channel in 0..3 {
                        let value = f64::from(pixel.to_be_bytes()[channel + 1]);
                        let right = naive(&image, x / by as f64, y / by as f64, channel);
                        // The fractions are 256ths.
                        assert!((value - right).abs() <= 2.5, "{width} {by} {n}: {value} {right}");
                    }
                }
            }
        }

        #[test]
        fn smaller_is_the_mean() {
            let mut image = image(8, 8);
            image.rgb = (0..64)
                .flat_map(|n| if (n + n / 8) % 2 == 0 { [0; 3] } else { [200; 3] })
                .collect();
            let mut canvas = [0; 4];
            draw(&image, &mut canvas, 2);
            assert_eq!(canvas, [0x0064_6464; 4]);
        }

        #[test]
        fn between_stays_inside() {
            for from in 1..40 {
                for to in 1..40 {
                    for n in 0..to {
                        let (first, second, part) = between(n, to, from);
                        assert!(first <= second && second < from && part < 256);
                    }
                }
            }
        }
    }
}
