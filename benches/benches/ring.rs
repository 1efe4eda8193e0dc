//! One picture from a publisher to its readers and back to a free slot: the ring beside what
//! people use in its place.
//!
//! `cargo bench -p camwire-benches --bench ring`
//!
//! Peers that move or clone an item carry an `Arc` of the picture, which is how they are used for
//! pictures; bbqueue has no choice but to copy, so it copies.

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camwire::capture::{Follow, FramePublisher, FrameReader, FrameRing, FrameRingMemory, Policy};
use camwire::frame::FrameInfo;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const PICTURE: usize = 27 * 1024;
const SLOTS: usize = 8;
const READERS: [usize; 3] = [1, 8, 500];

fn info(len: usize) -> FrameInfo {
    FrameInfo { len, width: 640, height: 480, ..FrameInfo::default() }
}

/// A grant that is committed; the picture is the camera's work, so nothing is written.
fn publish(publisher: &mut FramePublisher<'_>) {
    let grant = publisher.try_grant().expect("nobody holds a lease");
    let _ = black_box(publisher.commit(grant, PICTURE, info(PICTURE)));
}

fn look(reader: &mut FrameReader<'_>) {
    let lease = reader.try_latest().expect("one was published");
    black_box((&*lease, lease.missed()));
}

/// Publish, then lease and release by every reader, on one thread.
fn one_thread(c: &mut Criterion) {
    for readers in READERS {
        let mut group = c.benchmark_group(format!("{readers} readers"));
        group.bench_function("camwire-ring", |b| {
            let ring = FrameRing::leak(SLOTS, PICTURE, readers, Policy::DropOldest).unwrap();
            let mut publisher = ring.publisher().unwrap();
            let mut readers: Vec<_> =
                (0..readers).map(|_| ring.subscribe(Follow::Live).unwrap()).collect();
            b.iter(|| {
                publish(&mut publisher);
                readers.iter_mut().for_each(look);
            });
        });
        group.bench_function("tokio broadcast", |b| {
            let (sender, receiver) = tokio::sync::broadcast::channel::<Arc<[u8]>>(SLOTS);
            let mut receivers: Vec<_> = (0..readers).map(|_| receiver.resubscribe()).collect();
            drop(receiver);
            let picture: Arc<[u8]> = vec![0; PICTURE].into();
            b.iter(|| {
                let _ = sender.send(Arc::clone(&picture));
                for receiver in &mut receivers {
                    black_box(receiver.try_recv().unwrap());
                }
            });
        });
        group.bench_function("tokio watch", |b| {
            let picture: Arc<[u8]> = vec![0; PICTURE].into();
            let (sender, receiver) = tokio::sync::watch::channel(Arc::clone(&picture));
            let mut receivers: Vec<_> = (0..readers).map(|_| receiver.clone()).collect();
            b.iter(|| {
                let _ = sender.send(Arc::clone(&picture));
                for receiver in &mut receivers {
                    black_box(receiver.borrow_and_update().len());
                }
            });
        });
        group.finish();
    }

    // Those with a single reader.
    let mut group = c.benchmark_group("1 readers");
    group.bench_function("bbqueue", |b| {
        use bbqueue::nicknames::Churrasco;
        static QUEUE: Churrasco<{ 4 * PICTURE }> = Churrasco::new();
        let (producer, consumer) = (QUEUE.framed_producer(), QUEUE.framed_consumer());
        let picture = vec![0; PICTURE];
        b.iter(|| {
            let mut grant = producer.grant(PICTURE as u16).unwrap();
            grant.copy_from_slice(&picture);
            grant.commit(PICTURE as u16);
            let read = consumer.read().unwrap();
            black_box(&*read);
            read.release();
        });
    });
    group.bench_function("rtrb", |b| {
        let (mut producer, mut consumer) = rtrb::RingBuffer::<Arc<[u8]>>::new(SLOTS);
        let picture: Arc<[u8]> = vec![0; PICTURE].into();
        b.iter(|| {
            producer.push(Arc::clone(&picture)).unwrap();
            black_box(consumer.pop().unwrap());
        });
    });
    group.bench_function("triple_buffer", |b| {
        let (mut input, mut output) = triple_buffer::triple_buffer(&vec![0u8; PICTURE]);
        b.iter(|| {
            black_box(input.input_buffer_mut());
            input.publish();
            black_box(output.read());
        });
    });
    group.bench_function("embassy-sync zerocopy_channel", |b| {
        use embassy_sync::blocking_mutex::raw::NoopRawMutex;
        let mut slots = vec![vec![0u8; PICTURE]; SLOTS];
        let mut channel =
            embassy_sync::zerocopy_channel::Channel::<NoopRawMutex, _>::new(&mut slots);
        let (mut sender, mut receiver) = channel.split();
        b.iter(|| {
            black_box(sender.try_send().unwrap());
            sender.send_done();
            black_box(receiver.try_receive().unwrap());
            receiver.receive_done();
        });
    });
    group.bench_function("embassy-sync PubSubChannel", |b| {
        use embassy_sync::blocking_mutex::raw::NoopRawMutex;
        let channel =
            embassy_sync::pubsub::PubSubChannel::<NoopRawMutex, Arc<[u8]>, SLOTS, 1, 1>::new();
        let publisher = channel.publisher().unwrap();
        let mut subscriber = channel.subscriber().unwrap();
        let picture: Arc<[u8]> = vec![0; PICTURE].into();
        b.iter(|| {
            publisher.try_publish(Arc::clone(&picture)).unwrap();
            black_box(subscriber.try_next_message_pure().unwrap());
        });
    });
    group.finish();
}

/// The cost does not depend on the picture's size.
fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("bytes of a picture");
    for size in [1 << 10, 32 << 10, 1 << 20] {
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            let ring = FrameRing::leak(4, size, 1, Policy::DropOldest).unwrap();
            let mut publisher = ring.publisher().unwrap();
            let mut reader = ring.subscribe(Follow::Live).unwrap();
            b.iter(|| {
                let grant = publisher.try_grant().unwrap();
                publisher.commit(grant, size, info(size)).unwrap();
                look(&mut reader);
            });
        });
    }
    group.finish();
}

/// A publisher and a reader on threads of their own, every picture delivered.
fn two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("two threads");
    group.bench_function("camwire-ring", |b| {
        let mut memory = Box::new(FrameRingMemory::<SLOTS, 64, 1>::new());
        let ring = memory.ring(Policy::KeepAll);
        b.iter_custom(|pictures| {
            let mut publisher = ring.publisher().unwrap();
            let mut reader = ring.subscribe(Follow::Ordered).unwrap();
            across(
                pictures,
                move |_| match publisher.try_grant() {
                    Ok(grant) => publisher.commit(grant, 64, info(64)).is_ok(),
                    Err(_) => false,
                },
                move || reader.try_next().map(|lease| drop(black_box(lease))).is_ok(),
            )
        });
    });
    group.bench_function("tokio broadcast", |b| {
        b.iter_custom(|pictures| {
            // It drops the oldest when it is full, so the sender must look.
            let (sender, mut receiver) = tokio::sync::broadcast::channel::<Arc<[u8]>>(SLOTS);
            let picture: Arc<[u8]> = vec![0; 64].into();
            across(
                pictures,
                move |_| sender.len() < SLOTS && sender.send(Arc::clone(&picture)).is_ok(),
                move || receiver.try_recv().map(|picture| drop(black_box(picture))).is_ok(),
            )
        });
    });
    group.bench_function("rtrb", |b| {
        b.iter_custom(|pictures| {
            let (mut producer, mut consumer) = rtrb::RingBuffer::<Arc<[u8]>>::new(SLOTS);
            let picture: Arc<[u8]> = vec![0; 64].into();
            across(
                pictures,
                move |_| producer.push(Arc::clone(&picture)).is_ok(),
                move || consumer.pop().map(|picture| drop(black_box(picture))).is_ok(),
            )
        });
    });
    group.finish();
}

/// Time to get `pictures` from one thread to another; each side tries until it succeeds.
fn across(
    pictures: u64,
    mut send: impl FnMut(u64) -> bool + Send,
    mut receive: impl FnMut() -> bool + Send,
) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..pictures {
                while !send(number) {
                    std::hint::spin_loop();
                }
            }
        });
        for _ in 0..pictures {
            while !receive() {
                std::hint::spin_loop();
            }
        }
    });
    start.elapsed()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = one_thread, sizes, two_threads
}
criterion_main!(benches);
