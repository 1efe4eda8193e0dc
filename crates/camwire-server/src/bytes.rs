//! The body of a stream as a [`Stream`] of [`Bytes`], for servers that pull.

use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use camwire_capture::FrameLease;
use camwire_frame::Clock;
use embedded_io_async::{ErrorType, Write};
use futures_core::Stream;

use crate::{Application, Config, Disconnect, StreamBody, WriteVectored};

impl<C: Clock, A: Application> StreamBody<'static, C, A> {
    /// The body as a stream of [`Bytes`], which HTTP servers on a computer take: axum's with
    /// `Body::from_stream`.
    ///
    /// Pictures are not copied: the piece that is one is a lease of the ring. The next picture is
    /// taken when that piece has been dropped, which a server does when its socket has it all. So
    /// nothing is queued, however much the server would, and a slow viewer gets the newest.
    ///
    /// An error is the end of the stream, and makes a server close the connection. Whether a viewer
    /// takes some of a picture cannot be seen from here, so only
    /// [`Config::picture_timeout`] counts, and not [`Config::progress_timeout`].
    ///
    /// A server drops the stream when the viewer has left. It is `Send` if the clock, the
    /// application and their futures are.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Disconnect<Infallible>>> {
        let pieces = Arc::new(Pieces::default());
        let writer = Writer(Arc::clone(&pieces));
        let sending = async move {
            let config = self.server.config.clone();
            let config = Config { progress_timeout: Duration::MAX, ..config };
            let pieces = Arc::clone(&writer.0);
            self.send(writer, &config, |lease| pieces.lend(lease)).await
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

/// What goes from the sending to whoever polls.
#[derive(Default)]
struct Pieces(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    /// At most the opening and one picture with its head and tail.
    pieces: VecDeque<Bytes>,
    /// The picture that is about to be sent.
    picture: Option<Bytes>,
    /// Whether a picture is out and has not been dropped.
    lent: bool,
    waker: Option<Waker>,
}

impl Pieces {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Bytes> {
        self.lock().pieces.pop_front()
    }

    fn lend(&self, lease: &FrameLease<'_, 'static>) {
        self.lock().picture = lease.to_bytes();
    }
}

/// A picture that tells when it is dropped.
struct Lent {
    picture: Bytes,
    pieces: Arc<Pieces>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.picture
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let waker = {
            let mut queue = self.pieces.lock();
            queue.lent = false;
            queue.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The sending end. A write ends when the picture in it has been dropped; one that is given up has
/// written all the same, but that is the end of the stream.
struct Writer(Arc<Pieces>);

impl ErrorType for Writer {
    type Error = Infallible;
}

impl Write for Writer {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        self.write_vectored(&[buf]).await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteVectored for Writer {
    async fn write_vectored(&mut self, pieces: &[&[u8]]) -> Result<usize, Infallible> {
        {
            let queue = &mut *self.0.lock();
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                let is_it =
                    |picture: &mut Bytes| core::ptr::eq::<[u8]>(&raw const **picture, *piece);
                let piece = match queue.picture.take_if(is_it) {
                    Some(picture) => {
                        queue.lent = true;
                        Bytes::from_owner(Lent { picture, pieces: Arc::clone(&self.0) })
                    }
                    // A head or a tail.
                    None => Bytes::copy_from_slice(piece),
                };
                queue.pieces.push_back(piece);
            }
        }
        poll_fn(|cx| {
            let mut queue = self.0.lock();
            if !queue.lent {
                return Poll::Ready(());
            }
            queue.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        Ok(pieces.iter().map(|piece| piece.len()).sum())
    }
}
