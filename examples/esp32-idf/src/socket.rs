//! Sockets of the system as the transport of the server and of the MQTT client.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::TcpStream;

use async_io_mini::Async;
use camwire::server::WriteVectored;
use embedded_io_async::{ErrorType, Read, Write};

/// One half of a socket; either half can be had as often as one likes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Half<'s>(pub(crate) &'s Async<TcpStream>);

impl ErrorType for Half<'_> {
    type Error = io::Error;
}

impl Read for Half<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_with(|mut socket| socket.read(buf)).await
    }
}

impl Write for Half<'_> {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_with(|mut socket| socket.write(buf)).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Nothing is buffered above the socket.
    }
}

impl WriteVectored for Half<'_> {
    async fn write_vectored(&mut self, pieces: &[&[u8]]) -> io::Result<usize> {
        // The server never sends more than a head, a picture and a tail at once.
        let mut slices = [IoSlice::new(&[]); 4];
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        let slices = &slices[..pieces.len().min(slices.len())];
        self.0.write_with(|mut socket| socket.write_vectored(slices)).await
    }
}

/// A whole socket.
#[derive(Debug)]
pub struct Socket(pub(crate) Async<TcpStream>);

impl ErrorType for Socket {
    type Error = io::Error;
}

impl Read for Socket {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Half(&self.0).read(buf).await
    }
}

impl Write for Socket {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Half(&self.0).write(buf).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
