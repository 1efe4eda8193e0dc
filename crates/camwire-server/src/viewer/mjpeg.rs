//! A `multipart/x-mixed-replace` body.

use camwire_frame::Random;
use camwire_multipart::{Encoder, MediaType, PartHead};

use crate::viewer::options::StreamOptions;
use crate::viewer::wire::{OutgoingFrame, Part, Wire, WireError, write};

/// Bytes of the longest tail, which has a delimiter with a boundary of 32 letters and digits, and a
/// part's head in advance.
const TAIL_MAX: usize = 96;

/// A multipart body. Its boundary is its own, and unpredictable.
#[derive(Clone, Debug)]
pub(crate) struct Mjpeg {
    encoder: Encoder,
    /// Whether the head of each part is at the end of the part before it.
    advance_heads: bool,
}

impl Mjpeg {
    pub(crate) fn new(options: StreamOptions, random: Random) -> Self {
        let encoder = Encoder::new(random.bytes());
        Self { encoder, advance_heads: options.advance_headers }
    }

    pub(crate) const fn content_type(&self) -> MediaType {
        self.encoder.content_type()
    }

    /// What comes before the first frame.
    pub(crate) const fn opening(&self) -> &[u8] {
        if self.advance_heads { self.encoder.advance_opening() } else { self.encoder.opening() }
    }
}

impl Wire for Mjpeg {
    const MEMORY: usize = PartHead::MAX_LEN + TAIL_MAX;

    /// Browsers draw a part only when the next one begins.
    fn repeats(&self) -> bool {
        true
    }

    fn part<'m>(
        &mut self,
        frame: &OutgoingFrame,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Result<Part<'m>, WireError> {
        let (for_head, for_tail) = memory.split_first_chunk_mut().ok_or(WireError::Closed)?;
        if self.advance_heads {
            let tail = write(for_tail, &[self.encoder.advance_tail()]);
            return Ok(Part { tail, ..Part::rest(bytes, at) });
        }
        let head = PartHead {
            content_length: Some(bytes.len() as u64),
            timestamp_us: Some(frame.timestamp_us),
            sequence: Some(frame.sequence),
            missed: Some(frame.missed),
        };
        let (head, tail) = (head.encode(for_head), write(for_tail, &[self.encoder.tail()]));
        Ok(Part { head, tail, ..Part::rest(bytes, at) })
    }

    fn close<'m>(&mut self, memory: &'m mut [u8]) -> &'m [u8] {
        write(memory, &self.encoder.closing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_closings_fit_the_memory() {
        let encoder = Encoder::new([0xFF; 16]);
        assert!(encoder.advance_tail().len() <= TAIL_MAX);
        assert!(encoder.tail().len() <= TAIL_MAX);
        assert!(encoder.closing().concat().len() <= Mjpeg::MEMORY);
    }
}
