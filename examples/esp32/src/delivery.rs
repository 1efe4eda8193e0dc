//! How pictures reach those who watch: `CAMWIRE_DELIVERY` chooses, when the firmware is built.
//!
//! - `together`: one task serves all, from a ring of three pictures, however many they are. All that
//!   keep up get the same picture out of the same slot. One that does not keep up can hold up the
//!   camera for a second, and is then closed.
//! - `newest`: a task for each, and a picture more than they can hold. Everybody gets the newest when
//!   ready for it, and nobody can hold up the camera.
//! - `every`: the same, but whoever asks for nothing else gets every picture, in order. The camera
//!   waits for the slowest, for at most as long as the server has patience with it.

use camwire::capture::Policy;
use camwire::embassy::{LinkClock, serve};
use camwire::server::{Mode, Server};
use embassy_executor::Spawner;
use embassy_futures::join::join_array;
use embassy_net::Stack;

/// How many connections at once.
pub const CONNECTIONS: usize = 6;
/// How many can watch at once. Two connections remain for snapshots, figures, and for saying that
/// it is full.
pub const VIEWERS: usize = CONNECTIONS - 2;

/// Pictures in memory: the newest, the one being captured, and those that viewers still hold.
pub const SLOTS: usize = if TOGETHER { 3 } else { VIEWERS + 2 };
/// What becomes of a picture for which there is no room.
pub const POLICY: Policy = if EVERY { Policy::KeepAll } else { Policy::DropOldest };
/// What a viewer gets that asks for nothing.
pub const MODE: Mode = if EVERY { Mode::All } else { Mode::Live };

const TOGETHER: bool = cfg!(delivery = "together");
const EVERY: bool = cfg!(delivery = "every");

/// What a viewer has sent until the server reads it.
const RECEIVE_BYTES: usize = 1024;
/// What waits for a viewer's confirmation: four packets.
const SEND_BYTES: usize = 4 * 1440;

type CameraServer = Server<'static, LinkClock<'static>>;

/// Serves [`CONNECTIONS`] at once, for ever: on each of these ports, of which there is one at least,
/// its share of them.
pub fn start(
    spawner: Spawner,
    server: &'static CameraServer,
    stack: Stack<'static>,
    ports: &'static [u16],
) {
    if TOGETHER {
        spawner.spawn(serve_all(server, stack, ports).expect("it is spawned once"));
    } else {
        for port in ports.iter().cycle().take(CONNECTIONS) {
            spawner.spawn(serve_one(server, stack, *port).expect("there are as many"));
        }
    }
}

/// Serves one connection after another.
#[embassy_executor::task(pool_size = CONNECTIONS)]
async fn serve_one(server: &'static CameraServer, stack: Stack<'static>, port: u16) {
    let (received, sent) = (&mut [0; RECEIVE_BYTES], &mut [0; SEND_BYTES]);
    serve(server, stack, port, received, sent).await;
}

/// Serves all connections by turns.
#[embassy_executor::task]
async fn serve_all(server: &'static CameraServer, stack: Stack<'static>, ports: &'static [u16]) {
    let mut buffers = [([0; RECEIVE_BYTES], [0; SEND_BYTES]); CONNECTIONS];
    let mut ports = ports.iter().cycle();
    let connections = buffers.each_mut().map(|(received, sent)| {
        let port = *ports.next().expect("there is a port");
        serve(server, stack, port, received, sent)
    });
    join_array(connections).await;
}
