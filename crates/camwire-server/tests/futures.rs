//! What the futures of the server are, besides what they do: whether they may move to another
//! thread, and how large they are.

mod harness;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use camwire_capture::{FrameRing, SourceStatus};
use camwire_frame::Instant;
use camwire_server::{Config, Disconnect, Sequential, Server, ViewerSlot};
use harness::time::VirtualClock;
use harness::wire::{Broken, Reading, Writing, wire};
use harness::{Plan, RANDOM, World};

type Shared = Server<'static, &'static VirtualClock>;

fn assert_send<T: Send>(value: T) -> T {
    value
}

/// What `tokio::spawn` wants.
fn spawn<F>(future: F) -> F
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    future
}

/// What a program with a thread pool does.
async fn connection(server: Arc<Shared>, read: Reading, write: Writing) {
    let _: Result<(), Disconnect<Broken>> = server.serve(read, write, None).await;
}

#[test]
fn serving_is_send_and_static_where_the_parts_are() {
    let world = Plan::default().build();
    let (read, write, _peer) = wire();
    drop(spawn(world.server.serve(read, write, None)));
    let (read, write, _peer) = wire();
    drop(spawn(world.server.serve(read, Sequential(write), None)));
    let (World { ring, status, clock, .. }, config) = (&world, Config::default());
    let server = Arc::new(Server::new(ring, status, &[], *clock, RANDOM, config));
    let (read, write, _peer) = wire();
    drop(spawn(connection(server, read, write)));
}

#[test]
fn pushing_is_send_and_static_where_the_parts_are() {
    let world = Plan::default().build();
    let (read, write, _peer) = wire();
    let server = world.server;
    drop(spawn(async move {
        let mut memory = [0; 512];
        let to = harness::relay::push_to("");
        to.run(server.hub(), read, write, &mut memory).await
    }));
}

#[test]
fn serving_is_send_for_any_borrow() {
    let clock = VirtualClock::new(Instant::ZERO, None);
    let status = SourceStatus::new("borrowed");
    let ring: &FrameRing<'_> = Plan::default().build().ring;
    let viewers = [ViewerSlot::new()];
    let server = Server::new(ring, &status, &viewers, &clock, RANDOM, Config::default());
    let (mut read, mut write, _peer) = wire();
    drop(assert_send(server.serve(&mut read, &mut write, None)));
}

#[test]
fn the_server_is_shared_between_threads() {
    fn assert_sync<T: Sync + Send>() {}
    assert_sync::<Shared>();
    assert_sync::<ViewerSlot>();
}

/// A future that was started on one thread goes on on another.
#[test]
fn a_connection_moves_between_threads() {
    let world = Plan::default().build();
    let mut hand = world.publisher();
    let (read, write, peer) = wire();
    let mut connection = Box::pin(spawn(world.server.serve(read, write, None)));
    peer.send(harness::request("GET", "/stream"));
    for number in 1..=3 {
        let mut moved = connection;
        connection = std::thread::spawn(move || {
            let polled = moved.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            moved
        })
        .join()
        .unwrap();
        assert_eq!(hand.publish(100), number);
    }
    peer.close();
    let mut connection = pin!(connection);
    while connection.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {}
    let stream = harness::http::Response::parse(&peer.answer()).stream();
    assert_eq!(stream.numbers(), [1, 2, 3]);
}

/// The budget is 2 KiB on riscv32imc, where pointers are half as long: `cargo run -p camwire-size`
/// measures it. This test finds leaps.
#[test]
fn the_size_of_a_connection() {
    let world = Plan::default().build();
    let (read, write, _peer) = wire();
    let serve = world.server.serve(read, write, None);
    let size = size_of_val(&serve);
    println!("a connection's future has {size} bytes here");
    assert!(size < 4096, "{size}");
}
