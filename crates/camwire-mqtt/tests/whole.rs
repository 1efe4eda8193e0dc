//! The whole layout, and the ring as a place for pictures.

mod common;

use camwire_capture::{Follow, FrameRingMemory, Policy};
use camwire_frame::Instant;
use camwire_mqtt::{Chunker, Delivery, Event, Lost, Reassembler, Refused, Retain};
use common::{PREFIX, messages, picture};

const TOPIC: &str = "cam/1/image";

#[test]
fn a_picture_is_a_message() {
    let chunker = Chunker::whole(PREFIX, Retain::No, 100_000).unwrap();
    let mut reassembler = Reassembler::<Vec<u8>>::whole(PREFIX);
    let good = picture(1, 500);
    let (topic, payload, _) = messages(&chunker, &good, 1).remove(0);
    assert_eq!(topic, TOPIC);
    let now = Instant::from_micros(7);
    let push = |reassembler: &mut Reassembler<'_, Vec<u8>>, payload: &[u8], delivery| {
        reassembler.push(TOPIC, payload, delivery, now)
    };
    assert_eq!(push(&mut reassembler, &payload, Delivery::Live), Err(Refused::NoBuffer));
    for _ in 0..2 {
        reassembler.supply(vec![0; 1000]).unwrap();
    }
    let retained = push(&mut reassembler, &payload, Delivery::Retained);
    assert_eq!(retained, Err(Refused::Retained));
    let mut given = 0;
    for (bytes, expected) in [
        (&payload[..], Ok(())),
        (&[&payload[..], &[0; 600]].concat(), Ok(())),
        (&payload[..499], Err(Refused::Broken)),
        (&picture(2, 1001), Err(Refused::TooLarge { needed: 1001 })),
        (b"", Err(Refused::Broken)),
        (&payload, Ok(())),
    ] {
        assert_eq!(push(&mut reassembler, bytes, Delivery::Live), expected);
        while let Some(event) = reassembler.poll(now) {
            match event {
                Event::Picture(picture) => {
                    let info = picture.info;
                    assert_eq!((info.len, info.captured_at), (500, now));
                    assert_eq!(info.upstream.sequence, None);
                    assert_eq!(picture.buffer[..500], good);
                    given += 1;
                    reassembler.supply(picture.buffer).unwrap();
                }
                Event::Lost(Lost { first, last }) => assert_eq!(first, last),
            }
        }
    }
    let counts = reassembler.counts();
    assert_eq!((given, counts.pictures, counts.lost), (3, 3, 3));
    assert_eq!((counts.broken, counts.too_large, counts.no_buffer), (2, 1, 1));
}

/// From a camera's ring over MQTT into another's, without a copy but the one that the network
/// demands.
#[test]
fn from_ring_to_ring() {
    let mut memory = FrameRingMemory::<4, 2048, 1>::new();
    let ring = memory.ring(Policy::DropOldest);
    let mut publisher = ring.publisher().unwrap();
    let mut viewer = ring.subscribe(Follow::Ordered).unwrap();
    let chunker = Chunker::framed(PREFIX, 1, 300).unwrap();
    let mut reassembler = Reassembler::<_, 2>::framed(PREFIX);

    for sequence in 1..=20 {
        let sent = picture(sequence, 1500);
        for (topic, payload, _) in messages(&chunker, &sent, sequence) {
            while reassembler.wants_buffer() {
                let Ok(grant) = publisher.try_grant() else { break };
                assert!(reassembler.supply(grant).is_ok());
            }
            let now = Instant::from_micros(sequence);
            reassembler.push(&topic, &payload, Delivery::Live, now).unwrap();
            while let Some(event) = reassembler.poll(now) {
                let Event::Picture(picture) = event else { panic!("nothing is lost") };
                publisher.commit(picture.buffer, picture.info.len, picture.info).unwrap();
            }
        }
        let lease = viewer.try_next().expect("it has just been published");
        assert_eq!(*lease, sent[..]);
        assert_eq!(lease.info().upstream.sequence, Some(sequence));
    }
    // What was under way is dropped with it, and the ring has all of its slots again.
    drop(reassembler);
    let grants: Vec<_> = std::iter::from_fn(|| publisher.try_grant().ok()).collect();
    assert_eq!(grants.len(), 3);
}
