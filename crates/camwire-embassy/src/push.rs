use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use camwire_frame::Clock;
use camwire_server::{Application, Push, PushError, Server, Unflushed};
use camwire_websocket::Security;
use embassy_futures::select::Either;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::{self, TcpSocket};
use embassy_net::{IpAddress, Stack};

use crate::clock::in_time;
use crate::serve::{CLOSING, hang_up};

/// What the relay has said until it is read.
const RECEIVED_BYTES: usize = 512;
/// As much of a picture as goes into one packet.
const MASKED_BYTES: usize = 1460;

/// The memory of [`push`]: `SENT` bytes for what the relay has not confirmed, so it bounds the speed,
/// in bytes for each round trip, and how far a slow relay is behind; and 2 KiB.
#[derive(Debug)]
pub struct PushMemory<const SENT: usize = 5760> {
    received: [u8; RECEIVED_BYTES],
    sent: [u8; SENT],
    masked: [u8; MASKED_BYTES],
}

impl<const SENT: usize> PushMemory<SENT> {
    /// Nothing is in it yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { received: [0; RECEIVED_BYTES], sent: [0; SENT], masked: [0; MASKED_BYTES] }
    }
}

impl<const SENT: usize> Default for PushMemory<SENT> {
    fn default() -> Self {
        Self::new()
    }
}

/// Why no pictures are pushed for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushEnd {
    /// Nobody could say what address the relay's name has.
    #[error("the relay's name is not known")]
    Name,
    /// Nobody answers at that address and port.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// The relay has refused the camera, or a connection to it has ended.
    #[error("{0}")]
    Ended(PushError<tcp::Error>),
}

/// Pushes pictures to a relay ([`Push::run`]), over one connection after another, with a socket
/// of its own. It returns when the ring's publisher was dropped.
///
/// The relay's address is an IPv4 address, or a name that the network's DNS knows. Whenever there is
/// no connection, `told` hears why, and how long it is until the next attempt ([`Push::BACKOFF`]).
///
/// ```no_run
/// use camwire_embassy::{EmbassyClock, PushEnd, PushMemory, push};
/// use camwire_server::{Authorization, Push, Server};
/// use camwire_websocket::Uri;
/// use core::time::Duration;
/// use embassy_net::Stack;
///
/// async fn relay(
///     server: &'static Server<'static, EmbassyClock>,
///     stack: Stack<'static>,
/// ) {
///     let mut to = Push::to(Uri::parse("ws://relay.example:8080/ingest").expect("it is one"));
///     to.authorization = Authorization::bearer("T").ok();
///     let told = |end: PushEnd, wait: Duration| { /* print it */ };
///     push(server, stack, to, &mut PushMemory::<5760>::new(), told).await;
/// }
/// ```
///
/// The stack needs room for a socket for this, and one for DNS; the server a place for a viewer more,
/// and the ring one for a reader.
///
/// # Panics
///
/// If the address begins with `wss://`: there is no TLS here.
///
/// # Cancel safety
///
/// As that of [`serve`](crate::serve).
pub async fn push<C: Clock, A: Application, const SENT: usize>(
    server: &Server<'_, C, A>,
    stack: Stack<'_>,
    to: Push<'_>,
    memory: &mut PushMemory<SENT>,
    mut told: impl FnMut(PushEnd, Duration),
) {
    assert!(to.uri.security == Security::Plain, "there is no TLS");
    let PushMemory { received, sent, masked } = memory;
    let mut socket = TcpSocket::new(stack, received, sent);
    // Pieces of pictures are as large as packets: there is nothing to collect.
    socket.set_nagle_enabled(false);
    let mut backoff = Push::BACKOFF;
    loop {
        stack.wait_config_up().await;
        let (end, wait) = match once(server, stack, to, &mut socket, masked).await {
            Ok(()) => return,
            Err(end @ PushEnd::Ended(error)) => {
                (end, error.back_off(&mut backoff, server.hub().random().word()))
            }
            Err(end) => (end, backoff.next(server.hub().random().word())),
        };
        told(end, wait);
        let clock = server.hub().clock();
        clock.sleep_until(clock.now() + wait).await;
    }
}

/// One connection. Afterwards the socket can be used again.
async fn once<C: Clock, A: Application>(
    server: &Server<'_, C, A>,
    stack: Stack<'_>,
    mut to: Push<'_>,
    socket: &mut TcpSocket<'_>,
    masked: &mut [u8; MASKED_BYTES],
) -> Result<(), PushEnd> {
    let address = address_of(stack, to.uri.host).await.ok_or(PushEnd::Name)?;
    let (clock, patience) = (server.hub().clock(), server.config().head_timeout);
    let connected = in_time(clock, patience, socket.connect((address, to.uri.port))).await;
    let pushed = match connected {
        Either::First(Ok(())) => {
            to.peer = Some(SocketAddr::new(IpAddr::from(address), to.uri.port));
            let (read, write) = socket.split();
            let pushed = to.run(server.hub(), read, Unflushed(write), masked).await;
            pushed.map_err(PushEnd::Ended)
        }
        _ => Err(PushEnd::Unreachable),
    };
    hang_up(socket, clock, CLOSING).await;
    pushed
}

async fn address_of(stack: Stack<'_>, host: &str) -> Option<IpAddress> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    stack.dns_query(host, DnsQueryType::A).await.ok()?.first().copied()
}
