//! Sockets of tokio as the transport of the server.

use std::io::{self, IoSlice};

use camwire::server::WriteVectored;
use embedded_io_async::{ErrorType, Read, Write};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Bytes that may wait in a socket before it takes more. Together with the picture that is being
/// written this bounds how far a slow viewer is behind: its socket holds this, the rest of one
/// picture, and what is on its way.
const NOT_SENT: u32 = 16 * 1024;

/// Sets a viewer's socket up to hold little.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    SockRef::from(stream).set_tcp_notsent_lowat(NOT_SENT)?;
    Ok(())
}

pub(crate) struct Reader<'s>(pub(crate) ReadHalf<'s>);

pub(crate) struct Writer<'s>(pub(crate) WriteHalf<'s>);

impl ErrorType for Reader<'_> {
    type Error = io::Error;
}

impl Read for Reader<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }
}

impl ErrorType for Writer<'_> {
    type Error = io::Error;
}

impl Write for Writer<'_> {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Nothing is buffered above the socket.
    }
}

impl WriteVectored for Writer<'_> {
    async fn write_vectored(&mut self, pieces: &[&[u8]]) -> io::Result<usize> {
        // The server never sends more than a head, a picture and a tail at once.
        let mut slices = [IoSlice::new(&[]); 4];
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        let count = pieces.len().min(slices.len());
        self.0.write_vectored(&slices[..count]).await
    }
}
