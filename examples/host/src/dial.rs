//! Connections to other servers, as the transport of what speaks WebSocket there.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
#[cfg(feature = "tls")]
use std::{fmt, path::Path};

use camwire::frame::Random;
use camwire::server::WriteVectored;
use camwire::websocket::{Security, Uri};
use embedded_io_async::{ErrorType, Read, Write};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::net;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Incoming(pub(crate) Box<dyn AsyncRead + Send + Unpin>);

pub(crate) struct Outgoing(pub(crate) Box<dyn AsyncWrite + Send + Unpin>);

/// Connects to where `uri` points; says also which address that is.
pub(crate) async fn dial(uri: &Uri<'_>) -> io::Result<(Incoming, Outgoing, SocketAddr)> {
    let connecting = TcpStream::connect((uri.host, uri.port));
    let stream = tokio::time::timeout(PATIENCE, connecting).await??;
    net::prepare(&stream)?;
    let peer = stream.peer_addr()?;
    let (incoming, outgoing) = match uri.security {
        Security::Plain => plain(stream),
        Security::Tls => {
            let trust = Trust::default();
            tokio::time::timeout(PATIENCE, encrypted(stream, uri.host, &trust)).await??
        }
    };
    Ok((incoming, outgoing, peer))
}

/// A connection as it is.
pub(crate) fn plain(stream: TcpStream) -> (Incoming, Outgoing) {
    let (read, write) = stream.into_split();
    (Incoming(Box::new(read)), Outgoing(Box::new(write)))
}

/// What is asked of a server's certificate, and what is shown to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// A file of certificates in PEM that are trusted, in place of those that the system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// Files of the client's certificate and of its key, in PEM.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// With a server whose certificate is for that host, by an authority that is trusted.
#[cfg(feature = "tls")]
pub(crate) async fn encrypted(
    stream: TcpStream,
    host: &str,
    trust: &Trust,
) -> io::Result<(Incoming, Outgoing)> {
    use std::sync::Arc;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let invalid =
        |error: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let in_file = |file: &Path, error: &dyn fmt::Display| {
        invalid(&format_args!("{}: {error}", file.display()))
    };
    // An IPv6 address is in brackets.
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(plain.to_owned()).map_err(|error| invalid(&error))?;
    let certificates = |file: &Path| {
        let all =
            CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        all.map_err(|error| in_file(file, &error))
    };
    // They are read anew for each connection, of which there are few: they may have changed.
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(match &trust.ca {
        Some(file) => certificates(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    });
    if roots.is_empty() {
        let place = trust.ca.as_ref().map_or("the system".into(), |file| file.to_string_lossy());
        return Err(invalid(&format_args!("{place} has no certificates that it trusts")));
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match &trust.identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, &error))?;
            let config = config.with_client_auth_cert(certificates(certificate)?, secret);
            config.map_err(|error| in_file(key, &error))?
        }
    };
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (read, write) = tokio::io::split(stream);
    Ok((Incoming(Box::new(read)), Outgoing(Box::new(write))))
}

#[cfg(not(feature = "tls"))]
pub(crate) async fn encrypted(
    _: TcpStream,
    _: &str,
    _: &Trust,
) -> io::Result<(Incoming, Outgoing)> {
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
