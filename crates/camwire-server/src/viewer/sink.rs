//! Where the parts of a stream go.

use camwire_capture::FrameRevocation;
use camwire_frame::{Clock, Instant};

use crate::sender::{Disconnect, Sender};
use crate::transport::WriteVectored;

/// The sending end of a stream.
pub(crate) trait Sink {
    type Error;

    /// Sends the head of a part, the frame's bytes from `at` on, and the tail, `by` at the latest,
    /// unless the frame is revoked.
    fn send_part(
        &mut self,
        part: &mut [&[u8]; 3],
        at: usize,
        by: Instant,
        revocation: &mut FrameRevocation<'_>,
    ) -> impl Future<Output = Result<(), Disconnect<Self::Error>>>;

    /// Sends something else than a frame.
    fn send(
        &mut self,
        pieces: &mut [&[u8]],
    ) -> impl Future<Output = Result<(), Disconnect<Self::Error>>>;

    /// Sends what is buffered.
    fn flush(&mut self) -> impl Future<Output = Result<(), Disconnect<Self::Error>>>;
}

// Without `async`, so that these futures are no larger than those of the sender.
impl<W: WriteVectored, C: Clock> Sink for Sender<'_, W, C> {
    type Error = W::Error;

    fn send_part(
        &mut self,
        part: &mut [&[u8]; 3],
        _at: usize,
        by: Instant,
        revocation: &mut FrameRevocation<'_>,
    ) -> impl Future<Output = Result<(), Disconnect<W::Error>>> {
        self.send_by(part, by, Some(revocation))
    }

    fn send(
        &mut self,
        pieces: &mut [&[u8]],
    ) -> impl Future<Output = Result<(), Disconnect<W::Error>>> {
        Sender::send(self, pieces)
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), Disconnect<W::Error>>> {
        Sender::flush(self)
    }
}
