//! Small work on text that many places need. What `core` has for it is inlined wherever it is used,
//! which is too much for a small chip's flash.

/// Where the byte is first.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn find_byte(byte: u8, text: &[u8]) -> Option<usize> {
    #[cfg(target_pointer_width = "64")]
    return memchr::memchr(byte, text);
    // What is searched here are the lines of a head, too short for anything cleverer.
    #[cfg(not(target_pointer_width = "64"))]
    return text.iter().position(|&b| b == byte);
}

/// All of the text but white space at its start.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn trim_start(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// All of the text but white space at its end.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn trim_end(text: &[u8]) -> &[u8] {
    text.trim_ascii_end()
}

/// All of the text but white space at its start and end.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Whether they are the same but for upper and lower case.
#[cfg_attr(target_pointer_width = "64", inline)]
#[cfg_attr(target_pointer_width = "32", inline(never))]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// How much of a line of a head is kept. The fields that matter are short.
pub(crate) const LINE: usize = 128;

/// A line, or the start of one that is longer.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    bytes: [u8; LINE],
    /// Of the whole line; may be more than `LINE`.
    len: usize,
    /// How much of it has been [told](Self::tell).
    told: usize,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; LINE], len: 0, told: 0 }
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
        self.told = 0;
    }

    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(piece) {
            *to = *from;
        }
        self.len = self.len.saturating_add(piece.len());
    }

    /// What is kept, and whether that is not all.
    pub(crate) fn get(&self) -> (&[u8], bool) {
        match self.bytes.get(..self.len) {
            Some(line) => (line, false),
            None => (&self.bytes, true),
        }
    }

    /// How many bytes have not been told.
    pub(crate) const fn left(&self) -> usize {
        self.len.saturating_sub(self.told)
    }

    /// The next so many bytes, not more than are [left](Self::left). After the last, the line is
    /// empty.
    pub(crate) fn tell(&mut self, bytes: usize) -> &[u8] {
        let from = self.told;
        let to = from.saturating_add(bytes);
        self.told = to;
        if to >= self.len {
            self.clear();
        }
        self.bytes.get(from..to).unwrap_or_default()
    }
}
