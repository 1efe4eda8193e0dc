//! How pictures get from the ring to those who watch.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use async_executor::LocalExecutor;
use async_io_mini::Async;
use async_lock::Mutex;
use camwire::capture::Policy;
use camwire::server::{Mode, Server};
use futures_lite::future::{block_on, pending};

use crate::clock::Clock;
use crate::platform;
use crate::socket::Half;

/// How many can watch at once.
pub const VIEWERS: usize = 10;
/// Two more connections are for snapshots, figures, and for saying that it is full.
pub const CONNECTIONS: usize = VIEWERS + 2;

/// The stack of a thread with one connection.
pub const STACK_BYTES: usize = 8 * 1024;

/// The ways of delivery, of which `CAMWIRE_DELIVERY` chooses one when the firmware is built. They
/// are those of the Arduino library arkhipenko/esp32-cam-mjpeg-multiclient; README.md has a table of
/// which to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One task serves all viewers, from three pictures in memory however many they are: whoever
    /// keeps up gets the same picture as all the others, out of the same memory. (There, QUEUE.)
    ///
    /// Who does not keep up misses pictures. While two viewers are each still busy with an older
    /// one, there is no memory for the next, and the others wait, for a second at most.
    Together,
    /// A task for each viewer, which gets the newest picture whenever it has done with one. There
    /// is a picture's memory for each, so nobody ever waits for anybody. (There, TASK.)
    Newest,
    /// A task for each viewer, which gets every picture. One that is slower than the camera is
    /// behind by as many pictures as there is memory for; then the camera waits for it, until it
    /// has taken nothing for 4 seconds and is dropped. (There, ALL_FRAMES, where the memory ends
    /// instead.)
    Every,
}

impl Delivery {
    /// How many pictures there is memory for.
    pub const fn slots(self) -> usize {
        match self {
            Self::Together => 3,
            Self::Newest | Self::Every => VIEWERS + 2,
        }
    }

    /// What happens when the ring is full.
    pub const fn policy(self) -> Policy {
        match self {
            Self::Together | Self::Newest => Policy::DropOldest,
            Self::Every => Policy::KeepAll,
        }
    }

    /// Which pictures a viewer gets that asks for nothing.
    pub const fn mode(self) -> Mode {
        match self {
            Self::Together | Self::Newest => Mode::Live,
            Self::Every => Mode::All,
        }
    }

    /// How long a viewer may take nothing of what it is sent. Where all wait for it, that is less
    /// than it takes until `/healthz` finds the camera ill, and `/capture` gives up.
    pub const fn patience(self) -> Duration {
        match self {
            Self::Together | Self::Newest => Duration::from_secs(10),
            Self::Every => Duration::from_secs(4),
        }
    }

    /// How many threads serve the [`CONNECTIONS`].
    pub const fn threads(self) -> usize {
        match self {
            Self::Together => 1,
            Self::Newest | Self::Every => CONNECTIONS,
        }
    }
}

/// Serves whoever comes to one of the doors, on threads of their own.
///
/// # Errors
///
/// If a thread cannot be had.
pub fn serve(
    delivery: Delivery,
    doors: Vec<TcpListener>,
    server: &'static Server<'static, Clock>,
) -> io::Result<()> {
    // Whoever is free waits at the doors, one at a time.
    let doors = doors.into_iter().map(Async::new).collect::<io::Result<Vec<_>>>()?;
    let doors = Arc::new(Mutex::new(doors));
    for _ in 0..delivery.threads() {
        let doors = Arc::clone(&doors);
        let thread = thread::Builder::new().name("viewers".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || match delivery {
            Delivery::Together => {
                let tasks = LocalExecutor::new();
                for _ in 0..CONNECTIONS {
                    tasks.spawn(connections(&doors, server)).detach();
                }
                block_on(tasks.run(pending()))
            }
            Delivery::Newest | Delivery::Every => block_on(connections(&doors, server)),
        })?;
    }
    Ok(())
}

/// Serves one connection after another.
async fn connections(doors: &Mutex<Vec<Async<TcpListener>>>, server: &Server<'static, Clock>) {
    loop {
        let accepted = accept(&doors.lock().await).await;
        let Ok((socket, peer)) = accepted else {
            // Too many connections that the system has not quite closed yet.
            async_io_mini::Timer::after(Duration::from_millis(100)).await;
            continue;
        };
        if platform::prepare(socket.get_ref()).is_ok() {
            // Viewers leave; so be it.
            let _ = server.serve(Half(&socket), Half(&socket), Some(peer)).await;
        }
    }
}

/// Waits for somebody at any of the doors.
async fn accept(doors: &[Async<TcpListener>]) -> io::Result<(Async<TcpStream>, SocketAddr)> {
    let (socket, peer) = poll_fn(|context| {
        for door in doors {
            loop {
                match door.get_ref().accept() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    accepted => return Poll::Ready(accepted),
                }
                match door.poll_readable(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
        }
        Poll::Pending
    })
    .await?;
    Ok((Async::new(socket)?, peer))
}
