//! Connections to other servers, as the transport of what speaks WebSocket there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use camwire::frame::Random;
use camwire::server::WriteVectored;
use camwire::websocket::{Security, Uri};
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
    let (incoming, outgoing) = match uri.security {
        Security::Plain => {
            let (read, write) = stream.into_split();
            (Incoming(Box::new(read)), Outgoing(Box::new(write)))
        }
        Security::Tls => tokio::time::timeout(PATIENCE, encrypted(stream, uri.host)).await??,
    };
    Ok((incoming, outgoing, peer))
}

/// With a server whose certificate is for that host, by somebody whom the system trusts.
#[cfg(feature = "tls")]
async fn encrypted(stream: TcpStream, host: &str) -> io::Result<(Incoming, Outgoing)> {
    use std::sync::Arc;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    // They are read anew for each connection, of which there are few: they may have changed.
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(io::Error::other("the system has no certificates that it trusts"));
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (read, write) = tokio::io::split(stream);
    Ok((Incoming(Box::new(read)), Outgoing(Box::new(write))))
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unused_async, reason = "with the feature `tls` it waits")]
async fn encrypted(_: TcpStream, _: &str) -> io::Result<(Incoming, Outgoing)> {
    Err(io::ErrorKind::Unsupported.into()) // The command line lets no such address in.
}

/// The system's numbers, which nobody can predict.
pub(crate) const RANDOM: Random =
    Random::new(|| getrandom::u32().expect("the system has random numbers"));

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
