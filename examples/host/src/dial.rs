//! Connections to other servers, as the transport of what speaks WebSocket there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use camwire::server::WriteVectored;
use camwire::websocket::Uri;
use embedded_io_async::{ErrorType, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::net;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Incoming(Box<dyn AsyncRead + Send + Unpin>);

pub(crate) struct Outgoing(Box<dyn AsyncWrite + Send + Unpin>);

/// Connects to where `uri` points; says also which address that is.
pub(crate) async fn dial(uri: &Uri<'_>) -> io::Result<(Incoming, Outgoing, SocketAddr)> {
    let connecting = TcpStream::connect((uri.host, uri.port));
    let stream = tokio::time::timeout(PATIENCE, connecting).await??;
    net::prepare(&stream)?;
    let peer = stream.peer_addr()?;
    let (read, write) = stream.into_split();
    Ok((Incoming(Box::new(read)), Outgoing(Box::new(write)), peer))
}

/// Four bytes that nobody can predict.
pub(crate) fn random() -> [u8; 4] {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

impl ErrorType for Incoming {
    type Error = io::Error;
}

impl Read for Incoming {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }
}

impl ErrorType for Outgoing {
    type Error = io::Error;
}

impl Write for Outgoing {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}

impl WriteVectored for Outgoing {}
