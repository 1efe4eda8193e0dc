//! The framed layout: several pictures may be under way.

use core::ops::DerefMut;

use camwire_frame::{Instant, jpeg::Scanner};

use super::{Assembly, Given, Reassembler, Refused, Stage};
use crate::{PartHeader, checksum};

impl<B: DerefMut<Target = [u8]>, const K: usize> Reassembler<'_, B, K> {
    pub(super) fn take_framed(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        let (header, body) = PartHeader::decode(payload)?;
        self.admit(&header, now)?;
        let part_bytes = header.part_bytes(body.len()).unwrap_or_default();
        let is_it = |picture: &Assembly| {
            picture.stream == header.stream && picture.sequence == header.sequence
        };
        let found = self.pictures().find(|(_, _, picture)| is_it(picture));
        let index = match found.map(|(index, stage, _)| (index, stage)) {
            Some((_, Stage::Whole)) => return Err(Refused::Duplicate),
            Some((index, _)) => index,
            None => self.open(&header, part_bytes, now)?,
        };
        let slot = self.slots.get_mut(index).ok_or(Refused::NoBuffer)?;
        if !slot.picture.agrees(&header, part_bytes) {
            return Err(Refused::Inconsistent);
        }
        if slot.picture.has(header.index) {
            return Err(Refused::Duplicate);
        }
        slot.put(header.offset as usize, body).ok_or(Refused::NoBuffer)?;
        let until = now + self.patience.for_parts;
        slot.picture.note(header.index, until);
        let complete = slot.picture.is_complete();
        self.streams.heard(header.stream, until);
        if complete { self.complete(index, now) } else { Ok(()) }
    }

    /// Whether anything of this picture may still be wanted.
    fn admit(&mut self, header: &PartHeader, now: Instant) -> Result<(), Refused> {
        if self.streams.is_former(header.stream, now) {
            return Err(Refused::FormerStream);
        }
        if self.given == Some(Given::of(header)) {
            // Also of a sender that is silent but for that.
            self.streams.heard(header.stream, now + self.patience.for_parts);
            return Err(Refused::Late);
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
        slot.stage = Stage::UnderWay;
        slot.picture.begin(header.stream, header.sequence, now);
        slot.picture.timestamp_us = header.timestamp_us;
        slot.picture.checksum = header.checksum;
        slot.picture.total = header.total;
        slot.picture.count = header.count;
        slot.picture.part_bytes = part_bytes;
        Ok(index)
    }

    /// Gives up another picture for this one.
    ///
    /// A newer one supersedes an older one. A stream that has not brought a whole picture yet may
    /// be nonsense: its pictures give way to those of the current stream, and leave it at least
    /// one.
    fn make_room(&mut self, header: &PartHeader) -> Result<usize, Refused> {
        let is_current = |picture: &Assembly| self.streams.is_current(picture.stream);
        let under_way = || {
            let pictures = self.pictures().filter(|(_, stage, _)| *stage == Stage::UnderWay);
            pictures.map(|(index, _, picture)| (index, picture))
        };
        let for_current = self.streams.is_current(header.stream);
        let several_of_current = under_way().filter(|(_, p)| is_current(p)).nth(1).is_some();
        let rank = |picture: &Assembly| {
            if picture.stream == header.stream {
                (picture.sequence < header.sequence).then_some((1, picture.sequence))
            } else if !is_current(picture) {
                Some((if for_current { 0 } else { 2 }, picture.until.as_micros()))
            } else {
                several_of_current.then_some((3, picture.sequence))
            }
        };
        let candidates = under_way().filter_map(|(index, picture)| {
            let buffer = self.slots.get(index)?.buffer.as_ref()?;
            let large_enough = buffer.len() >= header.total as usize;
            large_enough.then_some((rank(picture)?, index))
        });
        let Some((_, index)) = candidates.min() else {
            let newer = under_way().any(|(_, picture)| {
                picture.stream == header.stream && picture.sequence > header.sequence
            });
            return Err(if newer { Refused::Late } else { Refused::NoBuffer });
        };
        let Some(slot) = self.slots.get(index) else { return Err(Refused::NoBuffer) };
        let Assembly { stream, sequence, .. } = slot.picture;
        let last =
            self.give_up(&|picture| (picture.stream, picture.sequence) == (stream, sequence));
        if let Some(last) = last {
            self.settle_dead(last);
        }
        Ok(index)
    }

    /// All parts are there.
    fn complete(&mut self, index: usize, now: Instant) -> Result<(), Refused> {
        let slot = self.slots.get_mut(index).ok_or(Refused::NoBuffer)?;
        let Assembly { stream, sequence, total, .. } = slot.picture;
        let picture = slot.buffer.as_ref().and_then(|buffer| buffer.get(..total as usize));
        let picture = picture.filter(|picture| checksum(picture) == slot.picture.checksum);
        let Some(size) = picture.and_then(size) else {
            slot.stage = Stage::Free;
            if self.streams.is_current(stream) {
                self.settle_dead(sequence);
            }
            return Err(Refused::Broken);
        };
        slot.finish(size, now + self.patience.for_older);
        if !self.streams.is_current(stream) {
            // Nothing more will come of the former one; what is whole of it is still given back.
            let streams = self.streams;
            self.give_up(&|picture| streams.is_current(picture.stream));
            self.streams.adopt(stream, now + self.patience.for_parts);
            self.settled = None;
        }
        Ok(())
    }
}

impl Given {
    fn of(header: &PartHeader) -> Self {
        let &PartHeader { stream, sequence, timestamp_us, total, checksum, .. } = header;
        Self { stream, sequence, timestamp_us, total, checksum }
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
