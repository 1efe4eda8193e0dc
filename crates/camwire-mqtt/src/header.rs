/// The header of a part in the framed layout.
///
/// 40 bytes stand in front of each part's piece of the picture; numbers are big-endian, as
/// everywhere in MQTT:
///
/// | bytes | what |
/// |---|---|
/// | 0, 1 | `CW` |
/// | 2 | version: 1 |
/// | 3 | 0 |
/// | 4 to 7 | stream: a number that is new with each start of the sender |
/// | 8 to 15 | sequence: the number of the picture within the stream |
/// | 16 to 23 | time stamp in microseconds, 0 if it is not known |
/// | 24 to 27 | bytes of the whole picture |
/// | 28 to 31 | offset: where in the picture the part begins |
/// | 32, 33 | index of the part, from 0 |
/// | 34, 35 | number of parts, 1 to 1024 |
/// | 36 to 39 | [checksum](crate::checksum()) of the whole picture |
///
/// All parts of a picture but the last have the same length, and the last is not longer. So each
/// part says on its own whether it can be true, and parts that agree leave neither holes nor
/// overlaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartHeader {
    /// A number that is new with each start of the sender.
    pub stream: u32,
    /// The number of the picture within the stream.
    pub sequence: u64,
    /// When the picture was captured, in microseconds of Unix time or since the sender's start.
    /// `Some(0)` cannot be told from `None`.
    pub timestamp_us: Option<u64>,
    /// Bytes of the whole picture.
    pub total: u32,
    /// Where in the picture the part begins.
    pub offset: u32,
    /// Index of the part, from 0.
    pub index: u16,
    /// Number of parts.
    pub count: u16,
    /// [`checksum`](crate::checksum()) of the whole picture.
    pub checksum: u32,
}

/// Why a message is no part of a picture in the framed layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It is shorter than a header and a byte, or does not begin as one.
    #[error("no header of a part")]
    Missing,
    /// It is of a version that is not known here.
    #[error("header of version {0}")]
    Version(u8),
    /// There are no parts, or more than [`PartHeader::MAX_COUNT`].
    #[error("a picture of {0} parts")]
    Count(u16),
    /// The part is not one of so many.
    #[error("part {index} of {count}, counted from 0")]
    Index {
        /// The index it claims.
        index: u16,
        /// The number of parts it claims.
        count: u16,
    },
    /// The lengths cannot all be right.
    #[error("part {index} of {bytes} bytes at {offset} of {total}")]
    Lengths {
        /// The index of the part.
        index: u16,
        /// Bytes that came behind the header.
        bytes: usize,
        /// The offset it claims.
        offset: u32,
        /// The bytes of the picture that it claims.
        total: u32,
    },
}

impl PartHeader {
    /// Bytes of a header.
    pub const LEN: usize = 40;

    /// The most parts that a picture may have, so that a receiver needs little memory to tell
    /// which have arrived.
    pub const MAX_COUNT: u16 = 1024;

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut rest = &mut bytes[..];
        put(&mut rest, START);
        put(&mut rest, self.stream.to_be_bytes());
        put(&mut rest, self.sequence.to_be_bytes());
        put(&mut rest, self.timestamp_us.unwrap_or_default().to_be_bytes());
        put(&mut rest, self.total.to_be_bytes());
        put(&mut rest, self.offset.to_be_bytes());
        put(&mut rest, self.index.to_be_bytes());
        put(&mut rest, self.count.to_be_bytes());
        put(&mut rest, self.checksum.to_be_bytes());
        bytes
    }

    /// Takes a message apart into its header, which is checked, and its piece of the picture.
    ///
    /// # Errors
    ///
    /// As [`HeaderError`] says.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), HeaderError> {
        let Some((mut head, body)) = message.split_at_checked(Self::LEN) else {
            return Err(HeaderError::Missing);
        };
        let rest = &mut head;
        let [c, w, version, zero] = take(rest);
        if [c, w] != [START[0], START[1]] || body.is_empty() {
            return Err(HeaderError::Missing);
        }
        if [version, zero] != [START[2], START[3]] {
            return Err(HeaderError::Version(version));
        }
        let header = Self {
            stream: u32::from_be_bytes(take(rest)),
            sequence: u64::from_be_bytes(take(rest)),
            timestamp_us: Some(u64::from_be_bytes(take(rest))).filter(|&time| time != 0),
            total: u32::from_be_bytes(take(rest)),
            offset: u32::from_be_bytes(take(rest)),
            index: u16::from_be_bytes(take(rest)),
            count: u16::from_be_bytes(take(rest)),
            checksum: u32::from_be_bytes(take(rest)),
        };
        let Self { index, count, offset, total, .. } = header;
        if count == 0 || count > Self::MAX_COUNT {
            return Err(HeaderError::Count(count));
        }
        if index >= count {
            return Err(HeaderError::Index { index, count });
        }
        let bytes = body.len();
        if header.part_bytes(bytes).is_none() {
            return Err(HeaderError::Lengths { index, bytes, offset, total });
        }
        Ok((header, body))
    }

    /// How long every part of the picture but the last must be, given that this one is so long;
    /// `None` if that contradicts what the header says.
    pub(crate) fn part_bytes(&self, bytes: usize) -> Option<u32> {
        let bytes = u32::try_from(bytes).ok().filter(|&bytes| bytes != 0)?;
        let index = u32::from(self.index);
        let before_last = u32::from(self.count).checked_sub(1)?;
        let part_bytes = if index < before_last {
            // There is something left for the last.
            (bytes.checked_mul(before_last)? < self.total).then_some(bytes)?
        } else {
            // Before the last, all have the same; a single part has whatever it has.
            let part_bytes = self.offset.checked_div(before_last).unwrap_or(bytes);
            let ends_there = self.offset.checked_add(bytes)? == self.total;
            (ends_there && bytes <= part_bytes).then_some(part_bytes)?
        };
        let whole = u64::from(part_bytes).checked_mul(u64::from(self.count))?;
        let consistent = part_bytes.checked_mul(index)? == self.offset;
        (consistent && u64::from(self.total) <= whole).then_some(part_bytes)
    }
}

/// What stands before the numbers.
const START: [u8; 4] = [b'C', b'W', 1, 0];

fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((room, after)) = core::mem::take(rest).split_first_chunk_mut() {
        *room = bytes;
        *rest = after;
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((bytes, after)) => {
            *rest = after;
            *bytes
        }
        None => [0; N],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// The last part of a picture of 2050 bytes.
    const HEADER: PartHeader = PartHeader {
        stream: 0x0102_0304,
        sequence: 0x1112_1314_1516_1718,
        timestamp_us: Some(0x2122_2324_2526_2728),
        total: 2050,
        offset: 2000,
        index: 2,
        count: 3,
        checksum: 0x3132_3334,
    };

    fn message(header: PartHeader, bytes: usize) -> Vec<u8> {
        [&header.encode()[..], &std::vec![7; bytes]].concat()
    }

    #[test]
    fn the_bytes() {
        let expected = b"CW\x01\0\x01\x02\x03\x04\x11\x12\x13\x14\x15\x16\x17\x18\
            \x21\x22\x23\x24\x25\x26\x27\x28\0\0\x08\x02\0\0\x07\xD0\0\x02\0\x03\x31\x32\x33\x34";
        assert_eq!(&HEADER.encode(), expected);
        assert_eq!(PartHeader::decode(&message(HEADER, 50)), Ok((HEADER, &[7; 50][..])));
        let timeless = PartHeader { timestamp_us: None, ..HEADER };
        assert_eq!(PartHeader::decode(&message(timeless, 50)).unwrap().0, timeless);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let error = |header, bytes| PartHeader::decode(&message(header, bytes)).unwrap_err();
        for cut in 0..=PartHeader::LEN {
            let bytes = &message(HEADER, 50)[..cut];
            assert_eq!(PartHeader::decode(bytes), Err(HeaderError::Missing));
        }
        for (at, value, expected) in [
            (0, b'c', HeaderError::Missing),
            (1, b'V', HeaderError::Missing),
            (2, 2, HeaderError::Version(2)),
            (3, 1, HeaderError::Version(1)),
        ] {
            let mut bytes = message(HEADER, 50);
            bytes[at] = value;
            assert_eq!(PartHeader::decode(&bytes), Err(expected));
        }
        for count in [0, 1025, u16::MAX] {
            assert_eq!(error(PartHeader { count, ..HEADER }, 50), HeaderError::Count(count));
        }
        let part_7_of_3 = PartHeader { index: 7, ..HEADER };
        assert_eq!(error(part_7_of_3, 50), HeaderError::Index { index: 7, count: 3 });
        for (header, bytes) in [
            (HEADER, 49),
            (HEADER, 51),
            (PartHeader { offset: 1999, ..HEADER }, 51),
            (PartHeader { total: u32::MAX, ..HEADER }, 50),
            (PartHeader { total: 0, ..HEADER }, 50),
            (PartHeader { index: 1, offset: 1000, ..HEADER }, 999),
            (PartHeader { index: 1, offset: 1000, ..HEADER }, 1025),
            (PartHeader { index: 0, offset: 0, total: 3001, ..HEADER }, 1000),
            (PartHeader { index: 0, offset: 0, total: 2000, ..HEADER }, 1000),
            (PartHeader { index: 0, offset: 1, ..HEADER }, 1000),
            (PartHeader { index: 0, offset: 1, count: 1, ..HEADER }, 2049),
            (PartHeader { index: 2, offset: 40, total: 90, ..HEADER }, 50),
            (PartHeader { offset: u32::MAX, total: u32::MAX, ..HEADER }, 50),
        ] {
            assert!(matches!(error(header, bytes), HeaderError::Lengths { .. }), "{header:?}");
        }
        // As long as it is not contradicted, anything may be claimed.
        let huge = PartHeader { offset: 0, index: 0, total: u32::MAX, count: 1024, ..HEADER };
        assert!(PartHeader::decode(&message(huge, 1 << 22)).is_ok());
    }

    /// The parts that a picture of `total` bytes may have, listed one by one.
    fn naive(header: &PartHeader, bytes: usize) -> Option<u32> {
        (1..=header.total).find(|&part_bytes| {
            let lengths: Vec<u32> = (0..header.total)
                .step_by(part_bytes as usize)
                .map(|at| part_bytes.min(header.total - at))
                .collect();
            lengths.len() == usize::from(header.count)
                && lengths.get(usize::from(header.index)).copied() == Some(bytes as u32)
                && u32::from(header.index) * part_bytes == header.offset
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn like_the_naive_check(
            total in 0u32..40, offset in 0u32..45, index in 0u16..8, count in 1u16..8,
            bytes in 0usize..20,
        ) {
            let header = PartHeader { total, offset, index, count, ..HEADER };
            let expected = (index < count).then(|| naive(&header, bytes)).flatten();
            if index < count {
                // A single part may belong to parts of any length; the smallest is itself.
                prop_assert_eq!(header.part_bytes(bytes), expected);
            }
            let decoded = PartHeader::decode(&message(header, bytes)).is_ok();
            prop_assert_eq!(decoded, expected.is_some());
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let _ = PartHeader::decode(&[&START[..], &bytes].concat());
        }
    }
}
