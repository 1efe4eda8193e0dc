//! What the server sends to and receives from: `embedded-io-async`, and writes of several pieces.

use embedded_io_async::{ErrorType, Write};

/// [`Write`] that can take several pieces at once, where the platform can.
///
/// The default writes the first piece that is not empty, which is always right.
#[allow(async_fn_in_trait)] // Whether the futures are `Send` is the transport's to decide.
pub trait WriteVectored: Write {
    /// Writes some bytes of `pieces`, in order, and returns how many: at least one, unless all
    /// pieces are empty. It need not look at all of them: the first one that the server gives is
    /// never empty.
    ///
    /// # Errors
    ///
    /// Those of the transport. What was written then is unknown.
    ///
    /// # Cancel safety
    ///
    /// As [`Write::write`]: nothing is written if the future is dropped before it is ready.
    async fn write_vectored(&mut self, pieces: &[&[u8]]) -> Result<usize, Self::Error> {
        match pieces.iter().find(|piece| !piece.is_empty()) {
            Some(piece) => self.write(piece).await,
            None => Ok(0),
        }
    }
}

impl<W: WriteVectored> WriteVectored for &mut W {
    async fn write_vectored(&mut self, pieces: &[&[u8]]) -> Result<usize, Self::Error> {
        (**self).write_vectored(pieces).await
    }
}

/// Makes any [`Write`] a [`WriteVectored`] that takes one piece after another.
#[derive(Clone, Copy, Debug)]
pub struct Sequential<W>(pub W);

impl<W: ErrorType> ErrorType for Sequential<W> {
    type Error = W::Error;
}

impl<W: Write> Write for Sequential<W> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, W::Error> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), W::Error> {
        self.0.flush().await
    }
}

impl<W: Write> WriteVectored for Sequential<W> {}

/// As [`Sequential`], for a transport that sends what it is given by itself, and whose `flush`
/// waits for more than that: embassy-net's waits until the peer has acknowledged everything, a
/// round trip in which the next frame could be on its way.
///
/// Its `flush` does nothing. What must have arrived before the connection is closed is then for
/// the caller of [`Server::serve`](crate::Server::serve) to flush.
#[derive(Clone, Copy, Debug)]
pub struct Unflushed<W>(pub W);

impl<W: ErrorType> ErrorType for Unflushed<W> {
    type Error = W::Error;
}

impl<W: Write> Write for Unflushed<W> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, W::Error> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), W::Error> {
        Ok(())
    }
}

impl<W: Write> WriteVectored for Unflushed<W> {}

/// Makes a writer that blocks one for [`StreamBody::send_to`](crate::StreamBody::send_to), on a
/// thread that does nothing else meanwhile, such as a handler of ESP-IDF's HTTP server.
///
/// While it blocks no deadline is looked at, so let the writer fail when the peer takes nothing.
#[derive(Clone, Copy, Debug)]
pub struct BlockingWriter<W>(pub W);

impl<W: ErrorType> ErrorType for BlockingWriter<W> {
    type Error = W::Error;
}

impl<W: embedded_io::Write> Write for BlockingWriter<W> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, W::Error> {
        self.0.write(buf)
    }

    async fn flush(&mut self) -> Result<(), W::Error> {
        self.0.flush()
    }
}

impl<W: embedded_io::Write> WriteVectored for BlockingWriter<W> {}

/// Takes `written` bytes off the front of `pieces`.
pub(crate) fn advance(pieces: &mut [&[u8]], mut written: usize) {
    for piece in pieces {
        match piece.split_at_checked(written) {
            Some((_, rest)) => {
                *piece = rest;
                return;
            }
            None => {
                written -= piece.len();
                *piece = &[];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::advance;

    #[test]
    fn pieces_are_taken_from_the_front() {
        for written in 0..=7 {
            let mut pieces: [&[u8]; 4] = [b"ab", b"", b"cde", b"fg"];
            advance(&mut pieces, written);
            assert_eq!(pieces.concat(), b"abcdefg"[written..]);
        }
        let mut pieces: [&[u8]; 1] = [b"ab"];
        advance(&mut pieces, 3); // More than there was: a transport that lies does no harm.
        assert!(pieces[0].is_empty());
    }
}
