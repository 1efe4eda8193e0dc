//! What the echo server and the echo client have in common.

use std::io;
use std::time::Duration;

use camwire_websocket::{Error, Event, Fin, Limits, Role, WebSocket};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

pub(crate) type Reader = FromTokio<OwnedReadHalf>;
pub(crate) type Writer = FromTokio<OwnedWriteHalf>;
pub(crate) type Memory = [u8; 128 * 1024];

pub(crate) const LIMITS: Limits = Limits { message_bytes: 64 << 20 };

/// How long the other end may take to answer the opening handshake, or to hang up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn halves(stream: TcpStream) -> io::Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok((FromTokio::new(reader), FromTokio::new(writer)))
}

/// Sends back each message as a whole, until the connection is closed.
///
/// Sent back piece by piece, a large message would stop at a peer that reads nothing before it has
/// sent everything.
pub(crate) async fn echo<R, W, O, K>(
    socket: &mut WebSocket<'_, R, W, O, K>,
) -> Result<(), Error<io::Error>>
where
    R: Read<Error = io::Error>,
    W: Write<Error = io::Error>,
    O: Role,
    K: FnMut() -> O::Key,
{
    let mut message = Vec::new();
    while let Some(event) = socket.receive().await? {
        let Event::Data(data) = event else { continue };
        message.extend_from_slice(data.bytes);
        if data.fin == Fin::Last {
            let kind = data.kind;
            socket.send(kind, &message).await?;
            message.clear();
        }
    }
    Ok(())
}

/// Ends a connection in such a way that the other end gets all that was sent: if bytes were still
/// unread when the socket is closed, TCP would throw away what is on its way.
pub(crate) async fn hang_up((reader, writer): (Reader, Writer)) {
    drop(writer); // Says that nothing more comes.
    let reader = reader.into_inner();
    let mut memory = vec![0; 64 * 1024];
    let rest = async {
        while reader.readable().await.is_ok() {
            match reader.try_read(&mut memory) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    _ = timeout(PATIENCE, rest).await;
}
