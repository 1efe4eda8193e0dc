use core::net::SocketAddr;
use core::time::Duration;

use camwire_frame::Clock;
use camwire_server::{Application, Server, Unflushed};
use embassy_futures::select::Either;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;

use crate::clock::in_time;

/// How long a viewer has to close its end of a connection when it has got everything; and how long
/// one has that was not served to the end.
pub(crate) const CLOSING: Duration = Duration::from_secs(1);

/// Serves one connection after another on `port`, for ever, with a socket of its own.
///
/// As many connections are served at once as there are calls of this; the stack needs room for a
/// socket for each. A viewer that comes when all are taken is refused by the stack.
///
/// `received` holds what a viewer has sent until the server reads it: 512 bytes and more will do.
/// `sent` holds what the viewer has not confirmed, so it bounds the speed, in bytes for each round
/// trip, and how far a slow viewer is behind: four packets, 5760 bytes, are a good beginning.
///
/// A connection ends within the deadlines of the server's [`Config`](camwire_server::Config), also
/// when its peer is gone without a word. They are measured by the server's clock: with a
/// [`LinkClock`](crate::LinkClock) they stand still while the link is down.
///
/// # Panics
///
/// If `port` is 0.
///
/// # Cancel safety
///
/// The future can be dropped at any time; the connection is then closed with what it was sending.
pub async fn serve<C: Clock, A: Application>(
    server: &Server<'_, C, A>,
    stack: Stack<'_>,
    port: u16,
    received: &mut [u8],
    sent: &mut [u8],
) -> ! {
    assert!(port != 0, "nobody can connect to port 0");
    let config = server.config();
    let mut socket = TcpSocket::new(stack, received, sent);
    // The server sends a picture in as few writes as it can: there is nothing to collect.
    socket.set_nagle_enabled(false);
    loop {
        // Who began to connect and is gone would keep the socket. Afterwards the server looks after
        // its own deadlines, and whoever waits for an answer may be silent.
        socket.set_timeout(Some(duration(config.head_timeout)));
        let accepted = socket.accept(port).await;
        socket.set_timeout(None);
        let mut patience = CLOSING;
        if accepted.is_ok() {
            let peer =
                socket.remote_endpoint().map(|end| SocketAddr::new(end.addr.into(), end.port));
            let (read, write) = socket.split();
            if server.serve(read, Unflushed(write), peer).await.is_ok() {
                // What the socket still holds is the end of the answer.
                patience = config.progress_timeout;
            }
        }
        hang_up(&mut socket, server.hub().clock(), patience).await;
    }
}

/// Closes a connection so that everything sent before arrives, if the peer takes it within
/// `patience`.
pub(crate) async fn hang_up(socket: &mut TcpSocket<'_>, clock: &impl Clock, patience: Duration) {
    socket.close();
    if let Either::First(_) = in_time(clock, patience, socket.flush()).await {
        // Until both have said that there is no more. Some lose what they have not read yet when
        // the connection is reset.
        let said_all = async { while let Ok(1..) = socket.read(&mut [0; 64]).await {} };
        in_time(clock, CLOSING, said_all).await;
    }
    socket.abort();
    in_time(clock, CLOSING, socket.flush()).await;
}

/// A deadline for embassy, where adding one that is far too long to a moment would panic.
fn duration(time: Duration) -> embassy_time::Duration {
    embassy_time::Duration::from_secs(time.as_secs().min(24 * 60 * 60))
        + embassy_time::Duration::from_micros(u64::from(time.subsec_micros()))
}
