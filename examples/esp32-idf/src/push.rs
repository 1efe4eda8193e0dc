//! Pictures to a relay, for a camera that nobody outside can connect to.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::{self, sleep};

use async_io_mini::Async;
use camwire::server::{Authorization, Push, PushError, Server};
use camwire::websocket::Uri;
use futures_lite::future::block_on;

use crate::clock::Clock;
use crate::delivery::STACK_BYTES;
use crate::platform;
use crate::settings::{PUSH, PUSH_TOKEN};
use crate::socket::Half;

/// Each piece of a picture that is masked at once.
const MASKED_BYTES: usize = 2048;

/// Where `CAMWIRE_PUSH` says that the relay is, if there is one.
///
/// # Panics
///
/// Never: build.rs has looked at it.
pub fn relay() -> Option<Push<'static>> {
    let mut to = Push::to(Uri::parse(PUSH?).expect("build.rs has looked at it"));
    let bearer = |token| Authorization::bearer(token).expect("build.rs has looked at it");
    to.authorization = PUSH_TOKEN.map(bearer);
    Some(to)
}

/// Pushes to the relay, on a thread of its own: over one connection after another, until there are
/// no more pictures. It has one of the places for viewers.
///
/// # Errors
///
/// If the thread cannot be had.
pub fn start(server: &'static Server<'static, Clock>, to: Push<'static>) -> io::Result<()> {
    let thread = thread::Builder::new().name("push".to_owned()).stack_size(STACK_BYTES);
    let run = move || {
        let (mut backoff, mut memory) = (Push::BACKOFF, Box::new([0; MASKED_BYTES]));
        loop {
            let wait = match connect(server, &to) {
                Err(error) => {
                    println!("push: {error}");
                    backoff.next(server.hub().random().word())
                }
                Ok(socket) => match block_on(push(server, to, &socket, &mut memory)) {
                    Ok(()) => return,
                    Err(error) => {
                        println!("push: {error}");
                        error.back_off(&mut backoff, server.hub().random().word())
                    }
                },
            };
            println!("push: again in {} ms", wait.as_millis());
            sleep(wait);
        }
    };
    thread.spawn(run).map(drop)
}

fn connect(server: &Server<'_, Clock>, to: &Push<'_>) -> io::Result<Async<TcpStream>> {
    let mut connected = Err(io::ErrorKind::NotFound.into());
    for address in (to.uri.host, to.uri.port).to_socket_addrs()? {
        connected = TcpStream::connect_timeout(&address, server.config().head_timeout);
        if connected.is_ok() {
            break;
        }
    }
    let socket = connected?;
    platform::prepare(&socket)?;
    Async::new(socket)
}

async fn push(
    server: &Server<'_, Clock>,
    mut to: Push<'_>,
    socket: &Async<TcpStream>,
    memory: &mut [u8; MASKED_BYTES],
) -> Result<(), PushError<io::Error>> {
    to.peer = socket.get_ref().peer_addr().ok();
    to.run(server.hub(), Half(socket), Half(socket), memory).await
}
