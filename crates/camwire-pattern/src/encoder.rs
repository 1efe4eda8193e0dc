//! A baseline JPEG encoder (ITU-T T.81): 8 bits, YCbCr, 4:2:0, the standard Huffman tables.
//!
//! It takes 8x8 blocks in the order of the file and keeps nothing but the quantisers and a few
//! bits, so the memory it needs does not depend on the size of the frame.

use camwire_frame::Quality;

/// 8x8 samples, row by row.
pub(crate) type Block = [u8; 64];

/// Pixels on a side of what one MCU covers: two by two luma blocks.
pub(crate) const MCU: u16 = 16;

#[derive(Clone, Copy)]
pub(crate) enum Plane {
    Y,
    Cb,
    Cr,
}

pub(crate) struct Encoder<'a> {
    bits: Bits<'a>,
    luma: Quantiser,
    chroma: Quantiser,
    /// Quantised DC of the last block of each plane (F.1.1.5.1).
    last_dc: [i32; 3],
}

impl<'a> Encoder<'a> {
    /// Writes all headers of a frame into `buf`.
    pub(crate) fn new(buf: &'a mut [u8], width: u16, height: u16, quality: Quality) -> Self {
        let mut encoder = Self {
            bits: Bits { out: Output { buf, len: 0 }, pending: 0, count: 0 },
            luma: Quantiser::new(&LUMA_STEPS, quality),
            chroma: Quantiser::new(&CHROMA_STEPS, quality),
            last_dc: [0; 3],
        };
        encoder.headers(width, height);
        encoder
    }

    fn headers(&mut self, width: u16, height: u16) {
        let out = &mut self.bits.out;
        let [w1, w0] = width.to_be_bytes();
        let [h1, h0] = height.to_be_bytes();
        out.bytes(&[0xFF, 0xD8]);
        // JFIF 1.01, square pixels, no thumbnail.
        out.bytes(b"\xFF\xE0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00");
        // DQT with two tables, each in zigzag order (B.2.4.1).
        out.bytes(&[0xFF, 0xDB, 0, 2 + 2 * 65]);
        for (id, quantiser) in [(0, &self.luma), (1, &self.chroma)] {
            out.byte(id);
            for index in ZIGZAG {
                out.byte(quantiser.steps[usize::from(index & 63)]);
            }
        }
        // SOF0: three components, the first at twice the resolution of the others (B.2.2).
        out.bytes(&[0xFF, 0xC0, 0, 17, 8, h1, h0, w1, w0, 3]);
        out.bytes(&[1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
        // DHT with four tables (B.2.4.2).
        out.bytes(&[0xFF, 0xC4, 0x01, 0xA2]);
        for (class_and_id, lengths, values) in [
            (0x00, &LUMA_DC_LENGTHS, &DC_VALUES[..]),
            (0x10, &LUMA_AC_LENGTHS, &LUMA_AC_VALUES[..]),
            (0x01, &CHROMA_DC_LENGTHS, &DC_VALUES[..]),
            (0x11, &CHROMA_AC_LENGTHS, &CHROMA_AC_VALUES[..]),
        ] {
            out.byte(class_and_id);
            out.bytes(lengths);
            out.bytes(values);
        }
        // SOS: one scan with everything (B.2.3).
        out.bytes(&[0xFF, 0xDA, 0, 12, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
    }

    /// The next block, which must be of the plane that the MCU has at this place: four of Y
    /// (top left, top right, bottom left, bottom right), Cb, Cr.
    pub(crate) fn block(&mut self, plane: Plane, samples: &Block) {
        let first = samples[0];
        if samples.iter().all(|&sample| sample == first) {
            return self.flat(plane, first);
        }
        let (quantiser, _, ac) = self.tables(plane);
        let mut block = samples.map(|sample| i32::from(sample) - 128);
        forward_dct(&mut block);
        quantiser.quantise(&mut block);

        self.dc(plane, block[0]);
        let mut zeros = 0;
        for index in &ZIGZAG[1..] {
            let value = block[usize::from(index & 63)];
            if value == 0 {
                zeros += 1;
                continue;
            }
            while zeros > 15 {
                self.bits.put(ac[0xF0]);
                zeros -= 16;
            }
            let size = bit_length(value);
            self.bits.put(ac[usize::from((zeros << 4 | size) as u8)]);
            self.bits.put_value(value, size);
            zeros = 0;
        }
        if zeros > 0 {
            self.bits.put(ac[0x00]);
        }
    }

    /// The next block, all of whose samples are `sample`: then only its DC is not zero.
    pub(crate) fn flat(&mut self, plane: Plane, sample: u8) {
        let (quantiser, _, ac) = self.tables(plane);
        let dc = quantiser.one((i32::from(sample) - 128) * 64, 0);
        self.dc(plane, dc);
        self.bits.put(ac[0x00]);
    }

    /// Completes the frame. The answer is its length, also where the buffer is too small for
    /// it: then the buffer holds what fitted.
    pub(crate) fn finish(mut self) -> usize {
        // The last byte is filled with ones (F.1.2.3); more of them than that do no harm.
        if self.bits.count > 0 {
            self.bits.put(code(0x7F, 7));
        }
        self.bits.out.bytes(&[0xFF, 0xD9]);
        self.bits.out.len
    }

    fn dc(&mut self, plane: Plane, dc: i32) {
        let (_, table, _) = self.tables(plane);
        let last = &mut self.last_dc[plane as usize];
        let difference = dc - *last;
        *last = dc;
        let size = bit_length(difference);
        self.bits.put(table[(size & 15) as usize]);
        self.bits.put_value(difference, size);
    }

    /// The quantiser and the codes for DC and AC.
    const fn tables(
        &self,
        plane: Plane,
    ) -> (&Quantiser, &'static [Code; 16], &'static [Code; 256]) {
        match plane {
            Plane::Y => (&self.luma, &LUMA_DC, &LUMA_AC),
            Plane::Cb | Plane::Cr => (&self.chroma, &CHROMA_DC, &CHROMA_AC),
        }
    }
}

/// Bits of the magnitude: the category of tables F.1 and F.2.
const fn bit_length(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

/// Steps of one table at one quality, in rows.
struct Quantiser {
    steps: [u8; 64],
    /// 2^32 over 8 times the step, rounded up.
    inverses: [u32; 64],
}

impl Quantiser {
    fn new(table: &[u8; 64], quality: Quality) -> Self {
        // The range of `Quality` is 0 to 63.
        let quality = u32::from(quality.get().unsigned_abs());
        let steps = table.map(|step| ((u32::from(step) * quality + 15) / 30).clamp(1, 255) as u8);
        Self { steps, inverses: steps.map(|step| (1_u32 << 29).div_ceil(u32::from(step.max(1)))) }
    }

    /// Divides what the DCT made, which is 8 times too large, by the steps.
    fn quantise(&self, block: &mut [i32; 64]) {
        for ((value, &step), &inverse) in block.iter_mut().zip(&self.steps).zip(&self.inverses) {
            *value = divide(*value, step, inverse);
        }
    }

    /// The same for the value at `index`.
    const fn one(&self, value: i32, index: usize) -> i32 {
        divide(value, self.steps[index & 63], self.inverses[index & 63])
    }
}

/// `value / (8 * step)`, rounded to nearest. Exact, since `value` stays below 2^14 and the
/// divisor below 2^11: the error of the inverse, less than 2^-32 each, cannot reach the next
/// whole number.
const fn divide(value: i32, step: u8, inverse: u32) -> i32 {
    let magnitude = value.unsigned_abs() + step as u32 * 4;
    let quotient = ((magnitude as u64 * inverse as u64) >> 32) as i32;
    // The Huffman tables end at 10 bits for an AC. No 8-bit samples reach that, but rounding must
    // not either. To a DC it costs an eighth of a grey level, at a step of 1, in pure black.
    let quotient = if quotient > 1023 { 1023 } else { quotient };
    if value < 0 { -quotient } else { quotient }
}

/// The DCT of Loeffler, Ligtenberg and Moschytz (1989) in integers, as in libjpeg's `jfdctint`:
/// first the rows, then the columns. The result is 8 times that of T.81, A.3.3.
fn forward_dct(block: &mut [i32; 64]) {
    for row in block.as_chunks_mut::<8>().0 {
        // Two bits more than whole numbers, for the second pass.
        *row = dct_8::<11>(*row);
    }
    for x in 0..8 {
        let column = dct_8::<15>(core::array::from_fn(|y| block[y * 8 + x]));
        for (y, value) in column.into_iter().enumerate() {
            block[y * 8 + x] = value;
        }
    }
}

/// The DCT of eight values, times the root of 8, in units of 2^-13, shifted down by `SHIFT`.
#[inline(always)]
fn dct_8<const SHIFT: u32>([a, b, c, d, e, f, g, h]: [i32; 8]) -> [i32; 8] {
    // Named after their values, times 2^13.
    const F_0_298: i32 = 2446;
    const F_0_390: i32 = 3196;
    const F_0_541: i32 = 4433;
    const F_0_765: i32 = 6270;
    const F_0_899: i32 = 7373;
    const F_1_175: i32 = 9633;
    const F_1_501: i32 = 12299;
    const F_1_847: i32 = 15137;
    const F_1_961: i32 = 16069;
    const F_2_053: i32 = 16819;
    const F_2_562: i32 = 20995;
    const F_3_072: i32 = 25172;

    let (s0, s1, s2, s3) = (a + h, b + g, c + f, d + e);
    let (d0, d1, d2, d3) = (a - h, b - g, c - f, d - e);

    let (even0, even3, even1, even2) = (s0 + s3, s0 - s3, s1 + s2, s1 - s2);
    let turn = (even2 + even3) * F_0_541;

    let (z1, z2, z3, z4) = (d3 + d0, d2 + d1, d3 + d1, d2 + d0);
    let z5 = (z3 + z4) * F_1_175;
    let (z1, z2) = (-z1 * F_0_899, -z2 * F_2_562);
    let (z3, z4) = (z5 - z3 * F_1_961, z5 - z4 * F_0_390);

    [
        (even0 + even1) << 13,
        d0 * F_1_501 + z1 + z4,
        turn + even3 * F_0_765,
        d1 * F_3_072 + z2 + z3,
        (even0 - even1) << 13,
        d2 * F_2_053 + z2 + z4,
        turn - even2 * F_1_847,
        d3 * F_0_298 + z1 + z3,
    ]
    .map(|value| (value + (1 << (SHIFT - 1))) >> SHIFT)
}

/// Bytes into a buffer; those that no longer fit are counted only.
struct Output<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.buf.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
    }
}

/// A Huffman code in the upper bits, its length in the lower five.
type Code = u32;

const fn code(bits: u32, length: u32) -> Code {
    bits << 5 | length
}

/// Bits into bytes, with a zero stuffed after each FF (F.1.2.3).
struct Bits<'a> {
    out: Output<'a>,
    /// The last bits written; the lower `count` of them, less than 8, are in no byte yet.
    pending: u32,
    count: u32,
}

impl Bits<'_> {
    #[inline]
    fn put(&mut self, code: Code) {
        self.put_bits(code >> 5, code & 31);
    }

    /// The bits that tell a value from the others of its category (F.1.2.1).
    #[inline]
    fn put_value(&mut self, value: i32, size: u32) {
        let bits = if value < 0 { value - 1 } else { value } as u32;
        self.put_bits(bits & ((1 << (size & 15)) - 1), size);
    }

    #[inline]
    fn put_bits(&mut self, bits: u32, length: u32) {
        self.pending = self.pending << (length & 31) | bits;
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.pending >> (self.count & 31)) as u8;
            self.out.byte(byte);
            if byte == 0xFF {
                self.out.byte(0);
            }
        }
    }
}

/// Natural place of each coefficient in zigzag order (figure A.6).
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Table K.1.
#[rustfmt::skip]
const LUMA_STEPS: [u8; 64] = [
    16,  11,  10,  16,  24,  40,  51,  61,
    12,  12,  14,  19,  26,  58,  60,  55,
    14,  13,  16,  24,  40,  57,  69,  56,
    14,  17,  22,  29,  51,  87,  80,  62,
    18,  22,  37,  56,  68, 109, 103,  77,
    24,  35,  55,  64,  81, 104, 113,  92,
    49,  64,  78,  87, 103, 121, 120, 101,
    72,  92,  95,  98, 112, 100, 103,  99,
];

/// Table K.2.
#[rustfmt::skip]
const CHROMA_STEPS: [u8; 64] = [
    17,  18,  24,  47,  99,  99,  99,  99,
    18,  21,  26,  66,  99,  99,  99,  99,
    24,  26,  56,  99,  99,  99,  99,  99,
    47,  66,  99,  99,  99,  99,  99,  99,
    99,  99,  99,  99,  99,  99,  99,  99,
    99,  99,  99,  99,  99,  99,  99,  99,
    99,  99,  99,  99,  99,  99,  99,  99,
    99,  99,  99,  99,  99,  99,  99,  99,
];

static LUMA_DC: [Code; 16] = codes(&LUMA_DC_LENGTHS, &DC_VALUES);
static CHROMA_DC: [Code; 16] = codes(&CHROMA_DC_LENGTHS, &DC_VALUES);
static LUMA_AC: [Code; 256] = codes(&LUMA_AC_LENGTHS, &LUMA_AC_VALUES);
static CHROMA_AC: [Code; 256] = codes(&CHROMA_AC_LENGTHS, &CHROMA_AC_VALUES);

/// The code of each value (C.2), from how many there are of each length and the values in order.
const fn codes<const N: usize>(lengths: &[u8; 16], values: &[u8]) -> [Code; N] {
    let mut table = [0; N];
    let (mut next, mut index, mut length) = (0, 0, 0);
    while length < 16 {
        let mut left = lengths[length];
        while left > 0 {
            table[values[index] as usize] = code(next, length as u32 + 1);
            next += 1;
            index += 1;
            left -= 1;
        }
        next <<= 1;
        length += 1;
    }
    table
}

// Tables K.3 to K.6: how many codes there are of each length from 1 to 16 bits, and their values.
const LUMA_DC_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const CHROMA_DC_LENGTHS: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const LUMA_AC_LENGTHS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D];
const CHROMA_AC_LENGTHS: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];
#[rustfmt::skip]
const LUMA_AC_VALUES: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7,
    0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5,
    0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
    0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
    0xF9, 0xFA,
];
#[rustfmt::skip]
const CHROMA_AC_VALUES: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0,
    0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26,
    0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5,
    0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
    0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
    0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
    0xF9, 0xFA,
];
