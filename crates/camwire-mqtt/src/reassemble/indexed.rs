//! The indexed layout: one picture is under way, and nothing says which.

use core::ops::DerefMut;

use camwire_frame::{FrameInfo, Instant, jpeg};

use super::{Assembly, Content, Reassembler, Refused, Whole, copy, streams::LOCAL};
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
        let index = number(index).filter(|&index| index < PartHeader::MAX_COUNT);
        let index = index.ok_or(Refused::Malformed)?;
        if body.len() > INDEXED_PART as usize {
            return Err(Refused::Malformed);
        }
        let under_way = self.picture_under_way();
        let place = under_way.or_else(|| self.free_slot().map(|(place, _)| place));
        let place = place.ok_or(Refused::NoBuffer)?;
        let offset = usize::from(index).saturating_mul(INDEXED_PART as usize);
        let end = offset.saturating_add(body.len());
        let slot = self.slots.get(place).ok_or(Refused::NoBuffer)?;
        let buffer = slot.buffer.as_ref().ok_or(Refused::NoBuffer)?;
        if end > buffer.len() {
            return Err(Refused::TooLarge { needed: end });
        }
        if let Content::UnderWay(assembly) = &slot.content {
            if assembly.has(index) && assembly.bytes_of(index, buffer) == body {
                return Err(Refused::Duplicate);
            }
            if assembly.contradicts(index, body) {
                // The one before was broken off, or its end was lost.
                let sequence = assembly.sequence;
                self.give_up(&|_| true);
                self.settle_dead(sequence);
            }
        }
        if self.picture_under_way().is_none() {
            self.begin(place, now);
        }
        let slot = self.slots.get_mut(place).ok_or(Refused::NoBuffer)?;
        let Content::UnderWay(assembly) = &mut slot.content else { return Err(Refused::NoBuffer) };
        let room = slot.buffer.as_mut().and_then(|buffer| buffer.get_mut(offset..));
        let room = room.and_then(|room| room.get_mut(..body.len()));
        copy(room.ok_or(Refused::TooLarge { needed: end })?, body);
        assembly.note(index, now + self.patience.for_parts);
        if body.len() < INDEXED_PART as usize {
            assembly.count = index.saturating_add(1);
            assembly.total = end as u32;
        }
        Ok(())
    }

    pub(super) fn take_complete(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        let count = number(payload.trim_ascii()).filter(|count| *count <= PartHeader::MAX_COUNT);
        let count = count.ok_or(Refused::Malformed)?;
        let place = self.picture_under_way().ok_or(Refused::Late)?;
        let slot = self.slots.get_mut(place).ok_or(Refused::NoBuffer)?;
        let Content::UnderWay(assembly) = &slot.content else { return Err(Refused::Late) };
        let Assembly { sequence, first_at, total, .. } = *assembly;
        let complete = assembly.is_complete() && assembly.count == count;
        let bytes = slot.buffer.as_ref().and_then(|buffer| buffer.get(..total as usize));
        let picture = match bytes {
            Some(bytes) if complete => jpeg::inspect(bytes).map_err(|_| Refused::Broken),
            _ => Err(Refused::Incomplete),
        };
        match picture {
            Ok(jpeg::Picture { width, height, len }) => {
                let captured_at = first_at;
                let info = FrameInfo { len, width, height, captured_at, ..FrameInfo::default() };
                let until = now + self.patience.for_older;
                slot.content = Content::Whole(Whole { stream: LOCAL, sequence, info, until });
                Ok(())
            }
            Err(refused) => {
                slot.content = Content::Free;
                self.settle_dead(sequence);
                Err(refused)
            }
        }
    }

    fn picture_under_way(&self) -> Option<usize> {
        self.slots.iter().position(|slot| matches!(slot.content, Content::UnderWay(_)))
    }

    /// The next picture, of which nothing has arrived yet.
    fn begin(&mut self, place: usize, now: Instant) {
        self.begun = self.begun.saturating_add(1);
        if let Some(slot) = self.slots.get_mut(place) {
            let assembly = Assembly::new(LOCAL, self.begun, INDEXED_PART, now);
            slot.content = Content::UnderWay(assembly);
        }
    }
}

impl Assembly {
    /// The bytes of a part that has arrived.
    fn bytes_of<'b>(&self, index: u16, buffer: &'b [u8]) -> &'b [u8] {
        let start = self.offset(index);
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
