/// What a part's header says, besides that it is a JPEG picture.
///
/// The encoder writes it, the decoder reads it.
///
/// ```
/// use camwire_multipart::PartHead;
///
/// let head = PartHead {
///     content_length: Some(1234),
///     timestamp_us: Some(12_000_345),
///     sequence: Some(7),
///     missed: None,
/// };
/// let mut memory = [0; PartHead::MAX_LEN];
/// assert_eq!(
///     head.encode(&mut memory),
///     b"Content-Type: image/jpeg\r\n\
///       Content-Length: 1234\r\n\
///       X-Timestamp: 12.000345\r\n\
///       X-Frame: 7\r\n\
///       \r\n"
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// `Content-Length`: bytes of the picture.
    pub content_length: Option<u64>,
    /// `X-Timestamp`, in microseconds; written as seconds with six decimals.
    pub timestamp_us: Option<u64>,
    /// `X-Frame`: the number of the picture.
    pub sequence: Option<u64>,
    /// `X-Missed`: how many pictures this viewer missed just before this one.
    pub missed: Option<u64>,
}

impl PartHead {
    /// Bytes of the longest head there can be.
    pub const MAX_LEN: usize = b"Content-Type: image/jpeg\r\n".len()
        + b"Content-Length: \r\n".len()
        + b"X-Timestamp: .123456\r\n".len()
        + b"X-Frame: \r\n".len()
        + b"X-Missed: \r\n".len()
        + b"\r\n".len()
        + 3 * MAX_DIGITS
        // A timestamp is six digits shorter before its point.
        + (MAX_DIGITS - 6);

    /// Writes the head of a part, blank line included, somewhere into `memory`, and returns it.
    ///
    /// It goes directly after the delimiter, and the picture directly after it.
    #[inline]
    pub fn encode<'m>(&self, memory: &'m mut [u8; Self::MAX_LEN]) -> &'m [u8] {
        let free = self.encode_backward(memory);
        memory.get(free..).unwrap_or_default()
    }

    /// From the last byte to the first, since that is how numbers come. Returns how many bytes
    /// stayed free in front.
    fn encode_backward(&self, memory: &mut [u8; Self::MAX_LEN]) -> usize {
        let mut out = Backward { free: memory };
        out.text(b"\r\n");
        out.field(b"X-Missed: ", self.missed);
        out.field(b"X-Frame: ", self.sequence);
        if let Some(micros) = self.timestamp_us {
            let (seconds, micros) = divide(micros, 1_000_000);
            out.text(b"\r\n");
            out.pairs(micros, 3);
            out.text(b".");
            out.number(seconds);
            out.text(b"X-Timestamp: ");
        }
        out.field(b"Content-Length: ", self.content_length);
        out.text(b"Content-Type: image/jpeg\r\n");
        out.free.len()
    }
}

/// Digits of `u64::MAX`.
const MAX_DIGITS: usize = 20;

/// Fills memory from its end. What does not fit would be left out, but everything does.
struct Backward<'m> {
    free: &'m mut [u8],
}

impl Backward<'_> {
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn text(&mut self, text: &[u8]) {
        let Some(at) = self.free.len().checked_sub(text.len()) else { return };
        if let Some((free, room)) = core::mem::take(&mut self.free).split_at_mut_checked(at) {
            room.copy_from_slice(text);
            self.free = free;
        }
    }

    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn number(&mut self, mut n: u64) {
        // Steps of eight digits, so that a 32-bit core divides 64 bits as seldom as it can.
        while n >= 100_000_000 {
            let (high, low) = divide(n, 100_000_000);
            self.pairs(low, 4);
            n = high;
        }
        let mut n = n as u32;
        while n >= 100 {
            self.pairs(n % 100, 1);
            n /= 100;
        }
        if n >= 10 {
            self.pairs(n, 1);
        } else {
            self.text(&[b'0' + n as u8]);
        }
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn field(&mut self, name: &[u8], value: Option<u64>) {
        if let Some(value) = value {
            self.text(b"\r\n");
            self.number(value);
            self.text(name);
        }
    }

    /// A number with so many pairs of digits.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn pairs(&mut self, mut n: u32, pairs: usize) {
        for _ in 0..pairs {
            self.text(&pair(n % 100));
            n /= 100;
        }
    }
}

/// Quotient and remainder, with one division: a 32-bit core needs a long function for it.
fn divide(n: u64, by: u32) -> (u64, u32) {
    let quotient = n / u64::from(by);
    (quotient, (n as u32).wrapping_sub((quotient as u32).wrapping_mul(by)))
}

/// Two digits of a number below 100: looked up, or calculated where flash is scarce.
#[inline]
fn pair(n: u32) -> [u8; 2] {
    if cfg!(target_pointer_width = "32") {
        return [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
    }
    PAIRS.get(n as usize).copied().unwrap_or(*b"00")
}

/// "00" to "99".
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + n as u8 / 10, b'0' + n as u8 % 10];
        n += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    /// The same with `format!`.
    fn naive(head: &PartHead) -> String {
        let mut text = String::from("Content-Type: image/jpeg\r\n");
        if let Some(n) = head.content_length {
            text += &std::format!("Content-Length: {n}\r\n");
        }
        if let Some(n) = head.timestamp_us {
            text += &std::format!("X-Timestamp: {}.{:06}\r\n", n / 1_000_000, n % 1_000_000);
        }
        if let Some(n) = head.sequence {
            text += &std::format!("X-Frame: {n}\r\n");
        }
        if let Some(n) = head.missed {
            text += &std::format!("X-Missed: {n}\r\n");
        }
        text + "\r\n"
    }

    fn check(head: &PartHead) {
        let mut memory = [0xA5; PartHead::MAX_LEN];
        let encoded = head.encode(&mut memory);
        assert_eq!(core::str::from_utf8(encoded), Ok(&*naive(head)));
    }

    #[test]
    fn the_longest_and_the_shortest() {
        let longest = PartHead {
            content_length: Some(u64::MAX),
            timestamp_us: Some(u64::MAX),
            sequence: Some(u64::MAX),
            missed: Some(u64::MAX),
        };
        check(&longest);
        assert_eq!(naive(&longest).len(), PartHead::MAX_LEN);
        check(&PartHead::default());
    }

    #[test]
    fn every_number_of_digits() {
        for n in (0..20).flat_map(|e| [10u64.pow(e) - 1, 10u64.pow(e), 10u64.pow(e) + 1]) {
            let all = Some(n);
            check(&PartHead { content_length: all, timestamp_us: all, sequence: all, missed: all });
        }
    }

    proptest! {
        #[test]
        fn like_format(
            content_length: Option<u64>,
            timestamp_us: Option<u64>,
            sequence: Option<u64>,
            missed: Option<u64>,
        ) {
            check(&PartHead { content_length, timestamp_us, sequence, missed });
        }
    }
}
