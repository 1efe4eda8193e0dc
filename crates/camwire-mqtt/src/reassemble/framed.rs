//! The framed layout: several pictures may be under way.

use core::ops::DerefMut;

use camwire_frame::{FrameInfo, Instant, Upstream, jpeg::Scanner};

use super::{Assembly, Content, Reassembler, Refused, Whole, copy};
use crate::{PartHeader, checksum};

impl<B: DerefMut<Target = [u8]>, const K: usize> Reassembler<'_, B, K> {
    pub(super) fn take_framed(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        let (header, body) = PartHeader::decode(payload)?;
        self.admit(&header, now)?;
        let part_bytes = header.part_bytes(body.len()).unwrap_or_default();
        let index = match self.find(&header) {
            Some(index) => index,
            None => self.open(&header, part_bytes, now)?,
        };
        let slot = self.slots.get_mut(index).ok_or(Refused::NoBuffer)?;
        let Content::UnderWay(assembly) = &mut slot.content else {
            return Err(Refused::Duplicate); // It is whole already.
        };
        if !assembly.agrees(&header, part_bytes) {
            return Err(Refused::Inconsistent);
        }
        if assembly.has(header.index) {
            return Err(Refused::Duplicate);
        }
        let offset = header.offset as usize;
        let room = slot.buffer.as_mut().and_then(|buffer| buffer.get_mut(offset..));
        let room = room.and_then(|room| room.get_mut(..body.len()));
        copy(room.ok_or(Refused::NoBuffer)?, body);
        let until = now + self.patience.for_parts;
        assembly.note(header.index, until);
        let complete = assembly.is_complete();
        self.streams.heard(header.stream, until);
        if complete { self.complete(index, now) } else { Ok(()) }
    }

    /// Whether anything of this picture may still be wanted.
    fn admit(&mut self, header: &PartHeader, now: Instant) -> Result<(), Refused> {
        if self.streams.is_former(header.stream, now) {
            return Err(Refused::FormerStream);
        }
        let settled = self.settled.is_some_and(|settled| header.sequence <= settled);
        if self.streams.is_current(header.stream) && settled {
            // A sender that has started anew under the same number is believed in the end.
            if !self.streams.is_silent(now) {
                return Err(Refused::Late);
            }
            self.settled = None;
        }
        Ok(())
    }

    fn find(&self, header: &PartHeader) -> Option<usize> {
        let of = (header.stream, header.sequence);
        self.slots.iter().position(|slot| match &slot.content {
            Content::Free => false,
            Content::UnderWay(assembly) => (assembly.stream, assembly.sequence) == of,
            Content::Whole(whole) => (whole.stream, whole.sequence) == of,
        })
    }

    /// Finds a place for a picture of which nothing has arrived yet.
    fn open(
        &mut self,
        header: &PartHeader,
        part_bytes: u32,
        now: Instant,
    ) -> Result<usize, Refused> {
        let total = header.total as usize;
        self.fits(total)?;
        let free = self.free_slot().filter(|(_, len)| *len >= total);
        let index = match free {
            Some((index, _)) => index,
            None => self.make_room(header)?,
        };
        let slot = self.slots.get_mut(index).ok_or(Refused::NoBuffer)?;
        let mut assembly = Assembly::new(header.stream, header.sequence, part_bytes, now);
        assembly.timestamp_us = header.timestamp_us;
        assembly.checksum = header.checksum;
        assembly.total = header.total;
        assembly.count = header.count;
        slot.content = Content::UnderWay(assembly);
        Ok(index)
    }

    /// Gives up another picture for this one.
    ///
    /// A newer one supersedes an older one. A stream that has not brought a whole picture yet may
    /// be nonsense: its pictures give way to those of the current stream, and leave it at least
    /// one.
    fn make_room(&mut self, header: &PartHeader) -> Result<usize, Refused> {
        let is_current = |stream| self.streams.is_current(stream);
        let several_of_current =
            self.under_way().filter(|assembly| is_current(assembly.stream)).nth(1).is_some();
        let rank = |assembly: &Assembly| {
            if assembly.stream == header.stream {
                (assembly.sequence < header.sequence).then_some((1, assembly.sequence))
            } else if !is_current(assembly.stream) {
                let rank = if is_current(header.stream) { 0 } else { 2 };
                Some((rank, assembly.until.as_micros()))
            } else {
                several_of_current.then_some((3, assembly.sequence))
            }
        };
        let candidates = self.numbered_slots().filter_map(|(index, slot)| {
            let Content::UnderWay(assembly) = &slot.content else { return None };
            let large_enough = slot.buffer.as_ref()?.len() >= header.total as usize;
            large_enough.then_some((rank(assembly)?, index, assembly.stream, assembly.sequence))
        });
        let Some((_, index, stream, sequence)) = candidates.min() else {
            let newer = self.under_way().any(|assembly| {
                assembly.stream == header.stream && assembly.sequence > header.sequence
            });
            return Err(if newer { Refused::Late } else { Refused::NoBuffer });
        };
        self.give_up(&|assembly| (assembly.stream, assembly.sequence) == (stream, sequence));
        if self.streams.is_current(stream) {
            self.settle_dead(sequence);
        }
        Ok(index)
    }

    /// All parts are there.
    fn complete(&mut self, index: usize, now: Instant) -> Result<(), Refused> {
        let slot = self.slots.get_mut(index).ok_or(Refused::NoBuffer)?;
        let Content::UnderWay(assembly) = &slot.content else { return Ok(()) };
        let Assembly { stream, sequence, timestamp_us, total, first_at, .. } = *assembly;
        let len = total as usize;
        let picture = slot.buffer.as_ref().and_then(|buffer| buffer.get(..len));
        let picture = picture.filter(|picture| checksum(picture) == assembly.checksum);
        let Some((width, height)) = picture.and_then(size) else {
            slot.content = Content::Free;
            if self.streams.is_current(stream) {
                self.settle_dead(sequence);
            }
            return Err(Refused::Broken);
        };
        let upstream = Upstream { sequence: Some(sequence), timestamp_us };
        let info = FrameInfo { len, width, height, captured_at: first_at, upstream };
        let until = now + self.patience.for_older;
        slot.content = Content::Whole(Whole { stream, sequence, info, until });
        if !self.streams.is_current(stream) {
            // Nothing more will come of the former one; what is whole of it is still given back.
            let streams = self.streams;
            self.give_up(&|assembly| streams.is_current(assembly.stream));
            self.streams.adopt(stream, now + self.patience.for_parts);
            self.settled = None;
        }
        Ok(())
    }
}

impl Assembly {
    /// Whether a part says the same of the picture as those before it.
    fn agrees(&self, header: &PartHeader, part_bytes: u32) -> bool {
        self.total == header.total
            && self.count == header.count
            && self.part_bytes == part_bytes
            && self.timestamp_us == header.timestamp_us
            && self.checksum == header.checksum
    }
}

/// Width and height of a picture whose checksum is right, so that no more than its head need be
/// looked at.
fn size(picture: &[u8]) -> Option<(u16, u16)> {
    let mut scanner = Scanner::new();
    for piece in picture.chunks(64) {
        if let Some(whole) = scanner.push(piece).ok()? {
            return Some((whole.width, whole.height));
        }
        if scanner.size().is_some() {
            break;
        }
    }
    scanner.size()
}
