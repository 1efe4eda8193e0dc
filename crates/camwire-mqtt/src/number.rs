//! Decimal numbers, without floating point: `core` needs kilobytes of flash to read and write that.

use core::fmt;

/// Fills memory from its start. What does not fit is left out.
pub(crate) struct Text<'m> {
    memory: &'m mut [u8],
    len: usize,
    is_cut: bool,
}

impl<'m> Text<'m> {
    pub(crate) fn new(memory: &'m mut [u8]) -> Self {
        Self { memory, len: 0, is_cut: false }
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        let room = self.memory.get_mut(self.len..).unwrap_or_default();
        if let Some(room) = room.get_mut(..text.len()) {
            room.copy_from_slice(text);
            self.len = self.len.saturating_add(text.len());
        } else {
            self.is_cut = true;
        }
    }

    /// A text as JSON has it between its quotation marks (RFC 8259, section 7).
    pub(crate) fn push_json(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.push(&[b'\\', byte]),
                ..b' ' => self.push(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]),
                _ => self.push(&[byte]),
            }
        }
    }

    /// How much was written, if all fitted.
    pub(crate) fn whole(self) -> Option<usize> {
        (!self.is_cut).then_some(self.len)
    }

    pub(crate) fn push_number(&mut self, number: u32) {
        let mut digits = [0; 10];
        let mut rest = number;
        let mut unused = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' | (rest % 10) as u8;
            unused = unused.saturating_sub(1);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(digits.get(unused..).unwrap_or_default());
    }

    /// As short as it goes: `15`, `-0.5`, `0.125`.
    pub(crate) fn push_thousandths(&mut self, number: i32) {
        if number < 0 {
            self.push(b"-");
        }
        let number = number.unsigned_abs();
        self.push_number(number / 1000);
        let mut rest = number % 1000;
        if rest != 0 {
            self.push(b".");
        }
        while rest != 0 {
            self.push(&[b'0' | (rest / 100) as u8]);
            rest = rest % 100 * 10;
        }
    }

    /// What was written.
    pub(crate) fn finish(self) -> &'m str {
        let text = self.memory.get(..self.len).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

/// What does not fit makes the whole incomplete; writing goes on.
impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// A digit from 0 to 15.
pub(crate) const fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' | digit } else { b'a'.wrapping_add(digit).wrapping_sub(10) }
}

/// The number that stands at the start of `text`, in thousandths, and what follows it. It is
/// written as C writes numbers: sign, digits, a point among them, an exponent; what is beyond a
/// thousandth is cut off, and what is beyond a million is a million.
pub(crate) fn thousandths(text: &[u8]) -> Option<(i32, &[u8])> {
    let (negative, mut rest) = sign(text);
    let mut digits = Digits::default();
    let mut seen = false;
    let mut fraction = false;
    while let [byte, after @ ..] = rest {
        match byte {
            b'0'..=b'9' => {
                seen = true;
                digits.push(byte & 15, fraction);
            }
            b'.' if !fraction => fraction = true,
            _ => break,
        }
        rest = after;
    }
    if !seen {
        return None;
    }
    if let [b'e' | b'E', after @ ..] = rest
        && let (negative, after) = sign(after)
        && let (Some(exponent), after) = whole(after)
    {
        let exponent = exponent.min(10_000) as i32;
        digits.exponent =
            digits.exponent.saturating_add(if negative { -exponent } else { exponent });
        rest = after;
    }
    let number = digits.thousandths();
    Some((if negative { -number } else { number }, rest))
}

/// The whole number without a sign that stands at the start of `text`, at most `u32::MAX`, and
/// what follows it.
pub(crate) fn whole(text: &[u8]) -> (Option<u32>, &[u8]) {
    let mut number: Option<u32> = None;
    let mut rest = text;
    while let [byte @ b'0'..=b'9', after @ ..] = rest {
        let so_far = number.unwrap_or_default();
        number = Some(so_far.saturating_mul(10).saturating_add((byte & 15).into()));
        rest = after;
    }
    (number, rest)
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// The first nine digits that count, and by which power of ten they are to be multiplied.
#[derive(Default)]
struct Digits {
    number: u32,
    exponent: i32,
}

impl Digits {
    fn push(&mut self, digit: u8, fraction: bool) {
        let room = self.number < 100_000_000;
        if room {
            // At most 999,999,999.
            self.number = self.number.wrapping_mul(10).wrapping_add(digit.into());
        }
        let step = i32::from(!room).wrapping_sub(fraction.into());
        self.exponent = self.exponent.saturating_add(step);
    }

    fn thousandths(&self) -> i32 {
        let mut number = self.number;
        let mut exponent = self.exponent.saturating_add(3);
        while exponent < 0 && number > 0 {
            number /= 10;
            exponent = exponent.saturating_add(1);
        }
        while exponent > 0 && (1..MOST).contains(&number) {
            number = number.saturating_mul(10);
            exponent = exponent.saturating_sub(1);
        }
        number.min(MOST) as i32
    }
}

/// A million, in thousandths.
const MOST: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn numbers_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("15", 15_000),
            ("+0.5", 500),
            ("-.25", -250),
            ("5.", 5000),
            ("-0", 0),
            ("0.30000000000000004", 300),
            ("0.0000000000000000000000001", 0),
            ("1e-05", 0),
            ("1e-2", 10),
            ("2.5E+1", 25_000),
            ("100000000000000000000e-20", 1000),
            ("00000000000000000000001.5", 1500),
            ("123456789.123", 1_000_000_000),
            ("1e99999999999", 1_000_000_000),
            ("-1e99999999999", -1_000_000_000),
            ("0e99999999999", 0),
        ] {
            assert_eq!(thousandths(text.as_bytes()), Some((expected, &b""[..])), "{text}");
        }
        for text in ["", "-", ".", "e5", "nan", "inf", "x1", " 1", "--1"] {
            assert_eq!(thousandths(text.as_bytes()), None, "{text}");
        }
        assert_eq!(thousandths(b"1.2.3"), Some((1200, &b".3"[..])));
        assert_eq!(thousandths(b"1e"), Some((1000, &b"e"[..])));
        assert_eq!(whole(b"4294967296x"), (Some(u32::MAX), &b"x"[..]));
        assert_eq!(whole(b"x"), (None, &b"x"[..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn as_f64_reads_them(whole in 0u32..100_000, fraction in "[0-9]{0,12}", negative: bool) {
            let text = std::format!("{}{whole}.{fraction}", if negative { "-" } else { "" });
            let naive: f64 = text.parse().unwrap();
            let (number, rest) = thousandths(text.as_bytes()).unwrap();
            prop_assert!(rest.is_empty());
            // Cut off, not rounded; and not more than nine digits count.
            prop_assert!((f64::from(number) - naive * 1000.0).abs() < 1.001, "{} {}", number, naive);
        }

        #[test]
        fn what_is_written_is_read(number in -1_000_000_000i32..=1_000_000_000) {
            let mut memory = [0; 16];
            let mut text = Text::new(&mut memory);
            text.push_thousandths(number);
            let text = text.finish();
            prop_assert_eq!(thousandths(text.as_bytes()), Some((number, &b""[..])));
            let naive = (f64::from(number) / 1000.0).to_string();
            prop_assert_eq!(text, naive);
        }

        #[test]
        fn any_bytes(bytes: std::vec::Vec<u8>) {
            let _ = thousandths(&bytes);
            let _ = whole(&bytes);
        }
    }

    #[test]
    fn whole_numbers_are_written() {
        for number in [0, 9, 10, 99, 100, 8000, 65_535, 1_000_000_000, u32::MAX] {
            let mut memory = [0; 10];
            let mut text = Text::new(&mut memory);
            text.push_number(number);
            assert_eq!(text.finish(), number.to_string());
        }
    }
}
