//! A task for each socket: it serves one connection after another.

use crate::clock::Clock;
use camwire::server::{Server, Unflushed};
use core::net::SocketAddr;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, with_timeout};

/// How many connections at once.
pub const CONNECTIONS: usize = 6;

/// What waits for a viewer's confirmation: four packets.
const SEND_BYTES: usize = 4 * 1440;

/// Serves one connection after another.
#[embassy_executor::task(pool_size = CONNECTIONS)]
pub async fn serve(server: &'static Server<'static, Clock>, stack: Stack<'static>) {
    let (mut received, mut sent) = ([0; 1024], [0; SEND_BYTES]);
    let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
    loop {
        if socket.accept(80).await.is_ok() {
            socket.set_nagle_enabled(false);
            let peer =
                socket.remote_endpoint().map(|end| SocketAddr::new(end.addr.into(), end.port));
            let (read, write) = socket.split();
            let _ = server.serve(read, Unflushed(write), peer).await; // Viewers leave; so be it.
        }
        hang_up(&mut socket).await;
    }
}

/// Closes a connection so that everything sent before arrives, if the viewer still takes it.
async fn hang_up(socket: &mut TcpSocket<'_>) {
    socket.close();
    let _ = with_timeout(Duration::from_secs(1), async {
        // Until both have said that there is no more.
        let _ = socket.flush().await;
        while let Ok(1..) = socket.read(&mut [0; 64]).await {}
    })
    .await;
    socket.abort();
    let _ = with_timeout(Duration::from_secs(1), socket.flush()).await;
}
