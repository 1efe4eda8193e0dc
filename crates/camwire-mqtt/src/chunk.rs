use core::iter::FusedIterator;

use crate::number::Text;
use crate::{PartHeader, Prefix, Topic, Transmit, checksum};

/// Bytes of a part in the indexed layout, all but the last.
pub(crate) const INDEXED_PART: u32 = 8000;

pub(crate) const FRAME: &str = "frame";
pub(crate) const IMAGE: &str = "image";
pub(crate) const IMAGE_PART: &str = "image/part/";
pub(crate) const IMAGE_COMPLETE: &str = "image_complete";

/// The most bytes that a PUBLISH packet has besides topic and payload: packet type, 4 bytes of
/// remaining length, 2 of the topic's length, 2 of a packet identifier, 1 of MQTT 5.0's properties.
const PACKET: u32 = 10;

/// Whether the broker is to keep a message for those who subscribe later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retain {
    /// It is for those who listen now.
    #[default]
    No,
    /// The broker keeps the last one of each topic.
    Yes,
}

impl Retain {
    /// As the RETAIN flag of a message.
    #[must_use]
    pub const fn flag(self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// Turns pictures into messages for MQTT, in one of three layouts.
///
/// It has no state but its configuration. A message is a topic, a small head made here, and a
/// slice of the picture: not a byte of it is copied.
///
/// ```
/// use camwire_mqtt::{Chunker, Prefix, Stamp};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let publish = |topic: String, payload: Vec<u8>, retain: bool| {};
/// // The stream's number is random, and another after each start.
/// let chunker = Chunker::framed(Prefix::new("garden/cam")?, 0x5EED_1234, 20_480)?;
///
/// let picture: &[u8] = &[0xA5; 30_000];
/// let stamp = Stamp { sequence: 7, timestamp_us: Some(12_000_345), checksum: None };
/// for message in chunker.split(picture, stamp)? {
///     let payload = [message.head(), message.body()].concat();
///     publish(message.topic().to_string(), payload, message.retain().flag());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chunker<'t> {
    prefix: Prefix<'t>,
    layout: Layout,
    /// Bytes of the picture in all parts but the last.
    part_bytes: u32,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    Framed { stream: u32 },
    Indexed(Retain),
    Whole(Retain),
}

/// Why there is no such chunker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkerError {
    /// The largest packet has no room for what each must hold.
    #[error("packets must be allowed to have {needed} bytes")]
    PacketTooSmall {
        /// Bytes it must at least be allowed to have.
        needed: u32,
    },
}

/// What is said of a picture besides its bytes. Only the framed layout sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the picture; each has a larger one than the one before. Receivers report
    /// those that are left out as lost.
    pub sequence: u64,
    /// When it was captured, in microseconds: Unix time, or where that is not known, the time
    /// since the sender's start.
    pub timestamp_us: Option<u64>,
    /// The picture's [`checksum`](crate::checksum()), where it is known already. Otherwise the
    /// framed layout reads the picture once to find it.
    pub checksum: Option<u32>,
}

/// Why a picture cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// It has no bytes.
    #[error("the picture is empty")]
    Empty,
    /// It does not fit one packet in the whole layout, or
    /// [so many parts](PartHeader::MAX_COUNT) in the others.
    #[error("the picture has more than {largest} bytes")]
    TooLarge {
        /// Bytes of the largest picture that can be sent.
        largest: usize,
    },
}

impl<'t> Chunker<'t> {
    /// The framed layout, this crate's own: all parts on `PREFIX/frame`, each with a
    /// [`PartHeader`], so that a receiver can put them together whatever became of the others.
    ///
    /// `stream` is to be another after each start of the sender, best a random number: receivers
    /// tell by it that the sequence has begun anew.
    ///
    /// `largest_packet` is what the broker and all clients allow, in bytes of the whole packet
    /// (MQTT 5.0: *maximum packet size*). User properties are not reckoned with.
    ///
    /// # Errors
    ///
    /// [`ChunkerError`] if not a byte of a picture fits a packet.
    pub const fn framed(
        prefix: Prefix<'t>,
        stream: u32,
        largest_packet: u32,
    ) -> Result<Self, ChunkerError> {
        let besides = besides(prefix, FRAME, PartHeader::LEN as u32);
        Self::new(prefix, Layout::Framed { stream }, largest_packet, besides, 1)
    }

    /// The indexed layout, of the existing ESP32 camera (esp32_mqtt_livestream): parts of 8000
    /// bytes on `PREFIX/image/part/0` and so on, of which the last is shorter, and empty where the
    /// picture's length is a multiple of 8000; then the number of parts as text on
    /// `PREFIX/image_complete`.
    ///
    /// That camera retains its parts. It is of no use to those who watch, and leaves stale parts
    /// at the broker.
    ///
    /// # Errors
    ///
    /// [`ChunkerError`] if the largest packet is smaller than these parts need.
    pub const fn indexed(
        prefix: Prefix<'t>,
        retain: Retain,
        largest_packet: u32,
    ) -> Result<Self, ChunkerError> {
        let digits = 4;
        let besides = besides(prefix, IMAGE_PART, digits);
        let new = Self::new(prefix, Layout::Indexed(retain), largest_packet, besides, INDEXED_PART);
        match new {
            Ok(new) => Ok(Self { part_bytes: INDEXED_PART, ..new }),
            Err(error) => Err(error),
        }
    }

    /// The whole layout: each picture is one message on `PREFIX/image`, as Home Assistant's MQTT
    /// camera takes it. Where it is retained, the broker keeps the last picture.
    ///
    /// # Errors
    ///
    /// [`ChunkerError`] if not a byte of a picture fits a packet.
    pub const fn whole(
        prefix: Prefix<'t>,
        retain: Retain,
        largest_packet: u32,
    ) -> Result<Self, ChunkerError> {
        let besides = besides(prefix, IMAGE, 0);
        Self::new(prefix, Layout::Whole(retain), largest_packet, besides, 1)
    }

    const fn new(
        prefix: Prefix<'t>,
        layout: Layout,
        largest_packet: u32,
        besides: u32,
        least: u32,
    ) -> Result<Self, ChunkerError> {
        // MQTT's own limit: 4 digits of 7 bits for what follows the first 5 bytes.
        const MOST: u32 = (1 << 28) + 4;
        let largest_packet = if largest_packet > MOST { MOST } else { largest_packet };
        match largest_packet.checked_sub(besides) {
            Some(part_bytes) if part_bytes >= least => Ok(Self { prefix, layout, part_bytes }),
            _ => Err(ChunkerError::PacketTooSmall { needed: besides.saturating_add(least) }),
        }
    }

    /// What all topics begin with.
    #[must_use]
    pub const fn prefix(&self) -> Prefix<'t> {
        self.prefix
    }

    /// Bytes of the largest picture that can be sent.
    #[must_use]
    pub const fn largest_picture(&self) -> usize {
        let parts = match self.layout {
            Layout::Whole(_) => 1,
            _ => PartHeader::MAX_COUNT as u64,
        };
        let mut largest = (self.part_bytes as u64).saturating_mul(parts);
        if matches!(self.layout, Layout::Indexed(_)) {
            // The last part is never full.
            largest = largest.saturating_sub(1);
        }
        let most = if usize::BITS < 64 { usize::MAX as u64 } else { u32::MAX as u64 };
        if largest > most { most as usize } else { largest as usize }
    }

    /// The messages of a picture, in the order in which they are to be sent.
    ///
    /// # Errors
    ///
    /// As [`SplitError`] says.
    pub fn split<'p>(
        &self,
        picture: &'p [u8],
        stamp: Stamp,
    ) -> Result<Messages<'t, 'p>, SplitError> {
        let largest = self.largest_picture();
        if picture.is_empty() {
            return Err(SplitError::Empty);
        }
        if picture.len() > largest {
            return Err(SplitError::TooLarge { largest });
        }
        let total = picture.len() as u32;
        let full = total.checked_div(self.part_bytes).unwrap_or_default();
        let count = match self.layout {
            Layout::Framed { .. } => total.div_ceil(self.part_bytes.max(1)),
            Layout::Indexed(_) => full.saturating_add(1),
            Layout::Whole(_) => 1,
        };
        let checksum = match (self.layout, stamp.checksum) {
            (Layout::Framed { .. }, Some(checksum)) => checksum,
            (Layout::Framed { .. }, None) => checksum(picture),
            _ => 0,
        };
        Ok(Messages {
            chunker: *self,
            rest: picture,
            total,
            // At most `MAX_COUNT`.
            count: count as u16,
            next: 0,
            stamp,
            checksum,
        })
    }
}

/// Bytes of a packet that are not of the picture: with this topic, and so many more.
const fn besides(prefix: Prefix<'_>, rest: &str, more: u32) -> u32 {
    let prefix = prefix.as_str().len() as u32;
    PACKET
        .saturating_add(prefix)
        .saturating_add(1)
        .saturating_add(rest.len() as u32)
        .saturating_add(more)
}

/// The messages of a picture: see [`Chunker::split`]. It may be kept between two sendings.
#[derive(Clone, Debug)]
pub struct Messages<'t, 'p> {
    chunker: Chunker<'t>,
    /// What of the picture has not been sent.
    rest: &'p [u8],
    total: u32,
    /// Number of parts.
    count: u16,
    /// Index of the next part.
    next: u16,
    stamp: Stamp,
    checksum: u32,
}

impl<'t, 'p> Iterator for Messages<'t, 'p> {
    type Item = Message<'t, 'p>;

    fn next(&mut self) -> Option<Message<'t, 'p>> {
        let Self { chunker: Chunker { prefix, layout, part_bytes }, count, next: index, .. } =
            *self;
        if index >= count {
            let complete = matches!(layout, Layout::Indexed(_)) && index == count;
            return complete.then(|| self.image_complete());
        }
        self.next = index.saturating_add(1);
        // The last part is shorter, and may be empty.
        let split = self.rest.split_at_checked(part_bytes as usize);
        let (body, rest) = split.unwrap_or((self.rest, &[]));
        self.rest = rest;
        let mut head = Head::default();
        let (topic, retain) = match layout {
            Layout::Framed { stream } => {
                let header = PartHeader {
                    stream,
                    sequence: self.stamp.sequence,
                    timestamp_us: self.stamp.timestamp_us,
                    total: self.total,
                    // Less than the total.
                    offset: u32::from(index).wrapping_mul(part_bytes),
                    index,
                    count,
                    checksum: self.checksum,
                };
                head = Head { bytes: header.encode(), len: PartHeader::LEN };
                (prefix.topic(FRAME), Retain::No)
            }
            Layout::Indexed(retain) => (prefix.topic(IMAGE_PART).numbered(index), retain),
            Layout::Whole(retain) => (prefix.topic(IMAGE), retain),
        };
        Some(Message { topic, head, body, retain })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.count.saturating_sub(self.next));
        let complete = matches!(self.chunker.layout, Layout::Indexed(_)) && self.next <= self.count;
        let left = left.saturating_add(complete.into());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Messages<'_, '_> {}
impl FusedIterator for Messages<'_, '_> {}

impl<'t, 'p> Messages<'t, 'p> {
    fn image_complete(&mut self) -> Message<'t, 'p> {
        self.next = self.count.saturating_add(1);
        let mut head = Head::default();
        let mut text = Text::new(&mut head.bytes);
        text.push_number(self.count.into());
        head.len = text.finish().len();
        let topic = self.chunker.prefix.topic(IMAGE_COMPLETE);
        Message { topic, head, body: &[], retain: Retain::No }
    }
}

/// A message to publish. Its payload is the head and then the body.
///
/// Quality of service 0 is right for live pictures: what is repeated comes too late.
#[derive(Clone, Copy, Debug)]
pub struct Message<'t, 'p> {
    topic: Topic<'t>,
    head: Head,
    body: &'p [u8],
    retain: Retain,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: [u8; PartHeader::LEN],
    len: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; PartHeader::LEN], len: 0 }
    }
}

impl<'t, 'p> Message<'t, 'p> {
    /// Where to.
    #[must_use]
    pub const fn topic(&self) -> Topic<'t> {
        self.topic
    }

    /// The first bytes of the payload; may be empty.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head.bytes.get(..self.head.len).unwrap_or_default()
    }

    /// The rest of the payload, a slice of the picture; may be empty.
    #[must_use]
    pub const fn body(&self) -> &'p [u8] {
        self.body
    }

    /// Whether the broker is to keep it.
    #[must_use]
    pub const fn retain(&self) -> Retain {
        self.retain
    }

    /// Bytes of the payload.
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.head.len.saturating_add(self.body.len())
    }

    /// The message as those that a session writes itself, with its topic written into `topic`.
    #[must_use]
    pub fn transmit<'b>(&'b self, topic: &'b mut [u8; Topic::MAX_LEN]) -> Transmit<'b> {
        let topic = self.topic.encode(topic);
        Transmit { topic, head: self.head(), body: self.body, retain: self.retain }
    }

    /// Copies the payload to the start of `memory`, for clients that want it in one piece; `None`
    /// if it does not fit.
    #[must_use]
    pub fn copy_payload<'m>(&self, memory: &'m mut [u8]) -> Option<&'m [u8]> {
        let payload = memory.get_mut(..self.payload_len())?;
        let (head, body) = payload.split_at_mut_checked(self.head.len)?;
        copy(head, self.head());
        copy(body, self.body);
        Some(payload)
    }
}

/// Copies all of `from`, which is as long as `to`.
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    if to.len() == from.len() {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};
    use std::vec;
    use std::vec::Vec;

    const PREFIX: Prefix<'static> = match Prefix::new("esp32cam/50") {
        Ok(prefix) => prefix,
        Err(_) => panic!(),
    };

    type Sent = (String, Vec<u8>, bool);

    fn sent(chunker: &Chunker<'_>, picture: &[u8], stamp: Stamp) -> Vec<Sent> {
        let messages = chunker.split(picture, stamp).unwrap();
        let mut left = messages.len();
        let mut sent = Vec::new();
        let mut iterator = messages;
        while let Some(message) = iterator.next() {
            left -= 1;
            assert_eq!(iterator.len(), left);
            let payload = [message.head(), message.body()].concat();
            let mut memory = vec![0; payload.len() + 1];
            assert_eq!(message.copy_payload(&mut memory), Some(&payload[..]));
            let short = payload.len().checked_sub(1);
            assert_eq!(short.and_then(|n| message.copy_payload(&mut memory[..n])), None);
            sent.push((message.topic().to_string(), payload, message.retain().flag()));
        }
        assert!(iterator.next().is_none() && left == 0);
        sent
    }

    fn picture(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn indexed_as_the_existing_camera_does_it() {
        let chunker = Chunker::indexed(PREFIX, Retain::No, 8192).unwrap();
        for (len, lengths) in [
            (1, &[1][..]),
            (7999, &[7999]),
            (8000, &[8000, 0]),
            (8001, &[8000, 1]),
            (24_000, &[8000, 8000, 8000, 0]),
        ] {
            let picture = picture(len);
            let sent = sent(&chunker, &picture, Stamp::default());
            let (complete, parts) = sent.split_last().unwrap();
            let count = lengths.len().to_string().into_bytes();
            assert_eq!(*complete, ("esp32cam/50/image_complete".into(), count, false));
            assert_eq!(parts.iter().map(|part| part.1.len()).collect::<Vec<_>>(), lengths);
            for (n, (topic, _, retain)) in parts.iter().enumerate() {
                assert_eq!(*topic, std::format!("esp32cam/50/image/part/{n}"));
                assert!(!retain);
            }
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.1.clone()).collect();
            assert_eq!(joined, picture);
        }
        let chunker = Chunker::indexed(PREFIX, Retain::Yes, 8192).unwrap();
        let sent = sent(&chunker, &picture(9000), Stamp::default());
        // The parts are retained, the end of the picture is not.
        assert_eq!(sent.iter().map(|m| m.2).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn whole_is_the_picture() {
        let chunker = Chunker::whole(PREFIX, Retain::Yes, 1000).unwrap();
        let picture = picture(100);
        let sent = sent(&chunker, &picture, Stamp::default());
        assert_eq!(sent, [("esp32cam/50/image".to_string(), picture, true)]);
    }

    #[test]
    fn framed_says_everything_in_each_part() {
        let chunker = Chunker::framed(PREFIX, 77, 1000).unwrap();
        let picture = picture(2500);
        let stamp = Stamp { sequence: 5, timestamp_us: Some(6), checksum: None };
        let sent_parts = sent(&chunker, &picture, stamp);
        let mut joined = Vec::new();
        for (n, (topic, payload, retain)) in sent_parts.iter().enumerate() {
            assert_eq!((topic.as_str(), *retain), ("esp32cam/50/frame", false));
            let (header, body) = PartHeader::decode(payload).unwrap();
            let expected = PartHeader {
                stream: 77,
                sequence: 5,
                timestamp_us: Some(6),
                total: 2500,
                offset: joined.len() as u32,
                index: n as u16,
                count: 3,
                checksum: checksum(&picture),
            };
            assert_eq!(header, expected);
            joined.extend_from_slice(body);
        }
        assert_eq!(joined, picture);
        // A checksum that is given is believed.
        let known = Stamp { checksum: Some(9), ..stamp };
        let first = sent(&chunker, &picture, known)[0].1.clone();
        assert_eq!(PartHeader::decode(&first).unwrap().0.checksum, 9);
    }

    #[test]
    fn what_cannot_be_sent() {
        let too_small = |needed| Some(ChunkerError::PacketTooSmall { needed });
        let topic = PREFIX.as_str().len() as u32 + 1;
        let needed = 10 + topic + 5 + 40 + 1;
        assert_eq!(Chunker::framed(PREFIX, 1, needed - 1).err(), too_small(needed));
        assert!(Chunker::framed(PREFIX, 1, needed).is_ok());
        let needed = 10 + topic + 15 + 8000;
        assert_eq!(Chunker::indexed(PREFIX, Retain::No, needed - 1).err(), too_small(needed));
        assert!(Chunker::indexed(PREFIX, Retain::No, needed).is_ok());
        assert_eq!(Chunker::whole(PREFIX, Retain::No, 0).err(), too_small(10 + topic + 5 + 1));

        let stamp = Stamp::default();
        let whole = Chunker::whole(PREFIX, Retain::No, 1000).unwrap();
        let largest = whole.largest_picture();
        assert_eq!(largest, 1000 - 10 - topic as usize - 5);
        assert!(whole.split(&picture(largest), stamp).is_ok());
        let error = whole.split(&picture(largest + 1), stamp).err();
        assert_eq!(error, Some(SplitError::TooLarge { largest }));
        assert_eq!(whole.split(&[], stamp).err(), Some(SplitError::Empty));

        let indexed = Chunker::indexed(PREFIX, Retain::No, 10_000).unwrap();
        assert_eq!(indexed.largest_picture(), 1024 * 8000 - 1);
        let most = picture(1024 * 8000 - 1);
        assert_eq!(indexed.split(&most, stamp).unwrap().len(), 1025);
        let framed = Chunker::framed(PREFIX, 1, u32::MAX).unwrap();
        assert_eq!(framed.largest_picture(), u32::MAX as usize);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_packet_is_too_large(len in 1usize..20_000, largest_packet in 100u32..9000) {
            let picture = picture(len);
            let chunkers = [
                Chunker::framed(PREFIX, 1, largest_packet),
                Chunker::indexed(PREFIX, Retain::No, largest_packet),
                Chunker::whole(PREFIX, Retain::No, largest_packet),
            ];
            for chunker in chunkers.into_iter().flatten() {
                let Ok(messages) = chunker.split(&picture, Stamp::default()) else {
                    prop_assert!(len > chunker.largest_picture());
                    continue;
                };
                for message in messages {
                    let topic = message.topic().to_string().len();
                    // As a client with quality of service 1 writes it in MQTT 5.0.
                    let remaining = 2 + topic + 2 + 1 + message.payload_len();
                    let length = 1 + usize::from(remaining > 127) + usize::from(remaining > 16_383);
                    prop_assert!(1 + length + remaining <= largest_packet as usize);
                }
            }
        }
    }
}
