//! A task for each socket: it serves one connection after another.

use camwire::embassy::EmbassyClock;
use camwire::server::Server;
use embassy_net::Stack;

/// How many connections at once.
pub const CONNECTIONS: usize = 6;

/// What a viewer has sent until the server reads it, and what waits for a viewer's confirmation:
/// four packets.
const RECEIVE_BYTES: usize = 1024;
const SEND_BYTES: usize = 4 * 1440;

/// Serves one connection after another.
#[embassy_executor::task(pool_size = CONNECTIONS)]
pub async fn serve(server: &'static Server<'static, EmbassyClock>, stack: Stack<'static>) {
    let (received, sent) = (&mut [0; RECEIVE_BYTES], &mut [0; SEND_BYTES]);
    camwire::embassy::serve(server, stack, 80, received, sent).await;
}
