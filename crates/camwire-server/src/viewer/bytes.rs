//! The body of a stream as a [`Stream`] of [`Bytes`], for servers that pull.

use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use camwire_capture::{FrameLease, FrameRevocation};
use camwire_frame::{Clock, Instant};
use embassy_futures::select::{Either3, select3};
use futures_core::Stream;

use crate::sender::{ByteCounter, Disconnect};
use crate::viewer::body::StreamBody;
use crate::viewer::sink::Sink;

impl<C: Clock> StreamBody<'static, C> {
    /// The body as a stream of [`Bytes`], which HTTP servers on a computer take: axum's with
    /// `Body::from_stream`.
    ///
    /// Frames are not copied: the piece that is one is a lease of the ring. The next frame is taken
    /// when that piece has been dropped, which a server does when its socket has it all. So nothing is
    /// queued in the server, and a slow viewer gets the newest.
    ///
    /// An error is the end of the stream, and makes a server close the connection. Whether a viewer
    /// takes some of a frame cannot be seen from here, so only
    /// [`Config::frame_timeout`](crate::Config::frame_timeout) counts, and not
    /// [`Config::progress_timeout`](crate::Config::progress_timeout).
    ///
    /// A server drops the stream when the viewer has left. It is `Send` if the clock and its futures
    /// are.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Disconnect<Infallible>>> {
        let pieces = Arc::new(Pieces::default());
        let (counter, clock) = (self.counter(), self.hub.clock());
        let mut sink = BytesSink { pieces: Arc::clone(&pieces), clock, counter };
        let sending = async move {
            let pieces = Arc::clone(&sink.pieces);
            self.send(&mut sink, |frame| pieces.lend(frame)).await
        };
        Pull { sending: Some(Box::pin(sending)), pieces }
    }
}

/// What is sent, and the sending, which goes on while the stream is polled.
struct Pull<F> {
    /// None when it has ended.
    sending: Option<Pin<Box<F>>>,
    pieces: Arc<Pieces>,
}

impl<F: Future<Output = Result<(), Disconnect<Infallible>>>> Stream for Pull<F> {
    type Item = Result<Bytes, Disconnect<Infallible>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(piece) = self.pieces.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let Some(sending) = &mut self.sending else { return Poll::Ready(None) };
        if let Poll::Ready(ended) = sending.as_mut().poll(cx) {
            self.sending = None;
            if let Err(error) = ended {
                return Poll::Ready(Some(Err(error)));
            }
        }
        match self.pieces.take() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None if self.sending.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// What goes from the sending to the server that polls.
#[derive(Default)]
struct Pieces(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    /// At most the opening and one part of a frame with its head and tail.
    pieces: VecDeque<Bytes>,
    /// The frame whose parts are sent now.
    frame: Option<Bytes>,
    /// Whether a piece of a frame is out and has not been dropped.
    is_lent: bool,
    waker: Option<Waker>,
}

impl Pieces {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(&self, frame: &FrameLease<'_, 'static>) {
        self.lock().frame = frame.to_bytes();
    }

    fn take(&self) -> Option<Bytes> {
        self.lock().pieces.pop_front()
    }

    fn push(&self, piece: Bytes) {
        if !piece.is_empty() {
            self.lock().pieces.push_back(piece);
        }
    }

    /// Bytes of the frame from `at` on.
    fn push_frame(self: &Arc<Self>, bytes: &[u8], at: usize) {
        let end = at.saturating_add(bytes.len());
        let queue = &mut *self.lock();
        let piece = queue.frame.as_ref().filter(|frame| end <= frame.len());
        let piece = piece.map(|frame| frame.slice(at..end));
        // The pieces hold leases of the ring; this one is not needed after the last.
        queue.frame.take_if(|frame| end >= frame.len());
        match piece.filter(|piece| !piece.is_empty()) {
            Some(piece) => {
                queue.is_lent = true;
                let lent = Lent { piece, pieces: Arc::clone(self) };
                queue.pieces.push_back(Bytes::from_owner(lent));
            }
            // No further lease of this frame could be had.
            None if !bytes.is_empty() => queue.pieces.push_back(Bytes::copy_from_slice(bytes)),
            None => {}
        }
    }

    /// Returns when no piece of a frame is out.
    async fn returned(&self) {
        poll_fn(|cx| {
            let mut queue = self.lock();
            if !queue.is_lent {
                return Poll::Ready(());
            }
            queue.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A piece of a frame that wakes the sending when it is dropped.
struct Lent {
    piece: Bytes,
    pieces: Arc<Pieces>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let waker = {
            let mut queue = self.pieces.lock();
            queue.is_lent = false;
            queue.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The sending end. A part has been sent when its piece of the frame has been dropped.
struct BytesSink<C: 'static> {
    pieces: Arc<Pieces>,
    clock: &'static C,
    counter: &'static ByteCounter,
}

impl<C: Clock> Sink for BytesSink<C> {
    type Error = Infallible;

    async fn send_part(
        &mut self,
        part: &mut [&[u8]; 3],
        at: usize,
        by: Instant,
        revocation: &mut FrameRevocation<'_>,
    ) -> Result<(), Disconnect<Infallible>> {
        let [head, bytes, tail] = *part;
        self.pieces.push(Bytes::copy_from_slice(head));
        self.pieces.push_frame(bytes, at);
        self.pieces.push(Bytes::copy_from_slice(tail));
        let sent = self.pieces.returned();
        match select3(sent, self.clock.deadline(by), revocation.revoked()).await {
            Either3::First(()) => {}
            Either3::Second(()) => return Err(Disconnect::TooSlow),
            Either3::Third(()) => return Err(Disconnect::Revoked),
        }
        self.counter.add(head.len() + bytes.len() + tail.len());
        Ok(())
    }

    async fn send(&mut self, pieces: &mut [&[u8]]) -> Result<(), Disconnect<Infallible>> {
        for piece in pieces {
            self.pieces.push(Bytes::copy_from_slice(piece));
            self.counter.add(piece.len());
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Disconnect<Infallible>> {
        Ok(())
    }
}
