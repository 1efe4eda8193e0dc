use camwire_frame::Instant;

/// Where the messages do not name a stream, this is the only one.
pub(super) const LOCAL: u32 = 0;

/// Which start of the sender the pictures are of, and of which former ones messages may be late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    current: Option<u32>,
    /// When the current stream is silent, if nothing more of it is of use.
    silent_at: Instant,
    former: [Option<u32>; 4],
}

impl Streams {
    pub(super) const fn new() -> Self {
        Self { current: None, silent_at: Instant::ZERO, former: [None; 4] }
    }

    /// Until the first stream is adopted, [`LOCAL`] is.
    pub(super) fn is_current(&self, stream: u32) -> bool {
        self.current.unwrap_or(LOCAL) == stream
    }

    /// Whether this stream was current before, and the present one is alive.
    pub(super) fn is_former(&self, stream: u32, now: Instant) -> bool {
        !self.is_current(stream) && self.former.contains(&Some(stream)) && !self.is_silent(now)
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        now >= self.silent_at
    }

    /// A message of this stream was of use.
    pub(super) fn heard(&mut self, stream: u32, silent_at: Instant) {
        if self.is_current(stream) {
            self.silent_at = silent_at;
        }
    }

    /// This stream takes the place of the present one.
    pub(super) fn adopt(&mut self, stream: u32, silent_at: Instant) {
        let [a, b, c, _] = self.former;
        self.former = [self.current, a, b, c];
        self.current = Some(stream);
        self.silent_at = silent_at;
    }
}
