//! Pictures to a relay, for a camera that nobody outside can connect to: `CAMWIRE_PUSH` says where it
//! is, when the firmware is built.

use crate::settings::{PUSH, PUSH_TOKEN};
use camwire::embassy::{LinkClock, PushEnd, PushMemory, push};
use camwire::server::{Authorization, Push, Server};
use camwire::websocket::Uri;
use core::time::Duration;
use embassy_executor::Spawner;
use embassy_net::Stack;
use esp_println::println;

/// Pushes, if there is a relay. It has one of the places for viewers.
pub fn start(
    spawner: Spawner,
    server: &'static Server<'static, LinkClock<'static>>,
    stack: Stack<'static>,
) {
    if let Some(uri) = PUSH {
        let mut to = Push::to(Uri::parse(uri).expect("build.rs has looked at it"));
        let bearer = |token| Authorization::bearer(token).expect("build.rs has looked at it");
        to.authorization = PUSH_TOKEN.map(bearer);
        spawner.spawn(run(server, stack, to).expect("it is spawned once"));
    }
}

#[embassy_executor::task]
async fn run(
    server: &'static Server<'static, LinkClock<'static>>,
    stack: Stack<'static>,
    to: Push<'static>,
) {
    let told = |end: PushEnd, wait: Duration| {
        println!("push: {end}; again in {} ms", wait.as_millis());
    };
    push(server, stack, to, &mut PushMemory::<5760>::new(), told).await;
}
