//! The indexed layout: one picture is under way, and nothing says which.

use core::ops::DerefMut;

use camwire_frame::{Instant, jpeg};

use super::{Assembly, Reassembler, Refused, Stage, streams::LOCAL};
use crate::PartHeader;
use crate::chunk::INDEXED_PART;
use crate::number::whole;

impl<B: DerefMut<Target = [u8]>, const K: usize> Reassembler<'_, B, K> {
    pub(super) fn take_indexed(
        &mut self,
        index: &[u8],
        body: &[u8],
        now: Instant,
    ) -> Result<(), Refused> {
        // The filter has a wildcard in this place: a device whose own prefix is `PREFIX/image/part`
        // may publish there, too.
        if index.is_empty() || !index.iter().all(u8::is_ascii_digit) {
            return Err(Refused::OtherTopic);
        }
        let index = number(index).filter(|&index| index < PartHeader::MAX_COUNT);
        let index = index.ok_or(Refused::Malformed)?;
        if body.len() > INDEXED_PART as usize {
            return Err(Refused::Malformed);
        }
        let place = self.picture_under_way().or_else(|| Some(self.free_slot()?.0));
        let place = place.ok_or(Refused::NoBuffer)?;
        let offset = usize::from(index).saturating_mul(INDEXED_PART as usize);
        let end = offset.saturating_add(body.len());
        let slot = self.slots.get(place).ok_or(Refused::NoBuffer)?;
        let buffer = slot.buffer.as_ref().ok_or(Refused::NoBuffer)?;
        if end > buffer.len() {
            return Err(Refused::TooLarge { needed: end });
        }
        if slot.stage == Stage::UnderWay {
            if slot.picture.has(index) && slot.picture.bytes_of(index, buffer) == body {
                return Err(Refused::Duplicate);
            }
            if slot.picture.contradicts(index, body) {
                // The one before was broken off, or its end was lost.
                if let Some(sequence) = self.give_up(&|_| true) {
                    self.settle_dead(sequence);
                }
            }
        }
        let slot = self.slots.get_mut(place).ok_or(Refused::NoBuffer)?;
        if slot.stage != Stage::UnderWay {
            self.begun = self.begun.saturating_add(1);
            slot.stage = Stage::UnderWay;
            slot.picture.begin(LOCAL, self.begun, now);
            slot.picture.part_bytes = INDEXED_PART;
        }
        slot.put(offset, body).ok_or(Refused::TooLarge { needed: end })?;
        slot.picture.note(index, now + self.patience.for_parts);
        if body.len() < INDEXED_PART as usize {
            slot.picture.count = index.saturating_add(1);
            slot.picture.total = end as u32;
        }
        Ok(())
    }

    pub(super) fn take_complete(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        let count = number(payload.trim_ascii()).filter(|count| *count <= PartHeader::MAX_COUNT);
        let count = count.ok_or(Refused::Malformed)?;
        let place = self.picture_under_way().ok_or(Refused::Late)?;
        let slot = self.slots.get_mut(place).ok_or(Refused::NoBuffer)?;
        let complete = slot.picture.is_complete() && slot.picture.count == count;
        let total = slot.picture.total as usize;
        let bytes = slot.buffer.as_ref().and_then(|buffer| buffer.get(..total));
        let picture = match bytes {
            Some(bytes) if complete => jpeg::inspect(bytes).map_err(|_| Refused::Broken),
            _ => Err(Refused::Incomplete),
        };
        match picture {
            Ok(picture) => {
                // Without what a sensor puts behind it.
                slot.picture.total = picture.len as u32;
                slot.finish((picture.width, picture.height), now + self.patience.for_older);
                Ok(())
            }
            Err(refused) => {
                slot.stage = Stage::Free;
                let sequence = slot.picture.sequence;
                self.settle_dead(sequence);
                Err(refused)
            }
        }
    }

    fn picture_under_way(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.stage == Stage::UnderWay)
    }
}

impl Assembly {
    /// The bytes of a part that has arrived.
    fn bytes_of<'b>(&self, index: u16, buffer: &'b [u8]) -> &'b [u8] {
        let start = usize::from(index).saturating_mul(self.part_bytes as usize);
        let end = start.saturating_add(self.part_bytes as usize);
        let end = if self.count == index.saturating_add(1) { self.total as usize } else { end };
        buffer.get(start..end).unwrap_or_default()
    }

    /// Whether a part cannot be of this picture, given what has arrived of it.
    fn contradicts(&self, index: u16, body: &[u8]) -> bool {
        let short = body.len() < self.part_bytes as usize;
        let last = index.saturating_add(1);
        self.has(index)
            || self.count != 0 && last > self.count
            || short && (self.count != 0 || self.has_beyond(index))
            || !short && last == self.count
    }
}

/// A number as it stands in a topic or payload, not padded.
fn number(text: &[u8]) -> Option<u16> {
    let (Some(number), []) = whole(text) else { return None };
    if text.len() > 1 && text.first() == Some(&b'0') {
        return None;
    }
    number.try_into().ok()
}
