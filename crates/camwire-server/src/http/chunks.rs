//! Bodies in chunks (RFC 9112, section 7.1).

use core::cell::Cell;

/// A chunked body (RFC 9112, section 7.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunks {
    state: ChunkState,
    /// The size of the chunk, or what of it is still to come.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// Before the first digit of a size: at the start, or after a chunk.
    Between,
    Size,
    /// Behind the digits of a size.
    Extension,
    Data,
    /// The last chunk has come. What follows is of no use.
    Ended,
}

/// What should be the size of a chunk is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self { state: ChunkState::Between, left: 0 }
    }

    /// Whether the last chunk has come.
    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self.state, ChunkState::Ended)
    }

    /// Moves the payload among the bytes to their front; says how much it is.
    pub(crate) fn unwrap(&mut self, bytes: &mut [u8]) -> Result<usize, BadChunk> {
        let (mut at, mut payload) = (0_usize, 0_usize);
        while let Some(&byte) = bytes.get(at) {
            if self.state == ChunkState::Data {
                let rest = bytes.len().saturating_sub(at);
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let count = rest.min(left);
                move_down(bytes, at, at.saturating_add(count), payload);
                payload = payload.saturating_add(count);
                at = at.saturating_add(count);
                self.left = self.left.saturating_sub(count as u64);
                if self.left == 0 {
                    self.state = ChunkState::Between;
                }
                continue;
            }
            at = at.saturating_add(1);
            self.byte_between(byte)?;
        }
        Ok(payload)
    }

    /// A byte that is no payload.
    fn byte_between(&mut self, byte: u8) -> Result<(), BadChunk> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        self.state = match (self.state, digit, byte) {
            (ChunkState::Between, Some(digit), _) => {
                self.left = digit;
                ChunkState::Size
            }
            (ChunkState::Between, None, b'\r' | b'\n' | b' ' | b'\t') => ChunkState::Between,
            (ChunkState::Size, Some(digit), _) => {
                let more = self.left.checked_mul(16).ok_or(BadChunk)?;
                self.left = more.saturating_add(digit);
                ChunkState::Size
            }
            (ChunkState::Size | ChunkState::Extension, _, b'\n') => match self.left {
                0 => ChunkState::Ended,
                _ => ChunkState::Data,
            },
            (ChunkState::Size, None, b'\r' | b' ' | b'\t' | b';') => ChunkState::Extension,
            (ChunkState::Between | ChunkState::Size, None, _) => return Err(BadChunk),
            (state, _, _) => state,
        };
        Ok(())
    }
}

/// Moves the bytes from `start` to `end` down to `to`. `copy_within` can panic, for all that the
/// compiler knows.
pub(crate) fn move_down(bytes: &mut [u8], start: usize, end: usize, to: usize) {
    let bytes = Cell::from_mut(bytes.get_mut(to..end).unwrap_or_default()).as_slice_of_cells();
    let moved = bytes.get(start.saturating_sub(to)..).unwrap_or_default();
    for (to, from) in bytes.iter().zip(moved) {
        to.set(from.get());
    }
}
