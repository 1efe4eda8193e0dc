//! A protocol from outside that is not like those of the crate: small datagrams, over a transport
//! that never stalls, from a peer that reports.

mod harness;

use std::time::Duration;

use camwire_frame::Instant;
use camwire_server::{
    Disconnect, OutgoingFrame, Part, StreamOptions, Transport, Wire, WireError, stream,
};
use harness::camera::picture;
use harness::wire::{Peer, wire};
use harness::{Ending, World, every, ms, secs};

/// Bytes of a frame in a datagram.
const PIECE: usize = 1000;

/// Without a report for so long, the peer is gone.
const SILENCE: Duration = Duration::from_secs(5);

/// Each datagram has the number of the frame, the offset of its piece, and the length of that.
struct Datagrams {
    reported_at: Instant,
    reports: u8,
    answered: u8,
}

impl Wire for Datagrams {
    const MEMORY: usize = 9;

    fn part<'m>(
        &mut self,
        frame: &OutgoingFrame,
        bytes: &[u8],
        at: usize,
        memory: &'m mut [u8],
    ) -> Result<Part<'m>, WireError> {
        let len = PIECE.min(bytes.len() - at);
        memory[0] = frame.sequence as u8;
        memory[1..5].copy_from_slice(&(at as u32).to_be_bytes());
        memory[5..9].copy_from_slice(&(len as u32).to_be_bytes());
        Ok(Part { head: &memory[..9], frame: len, covered: len, ..Part::default() })
    }

    fn handle_input(&mut self, input: &mut [u8], now: Instant) {
        self.reported_at = now;
        self.reports += input.len() as u8;
    }

    fn poll_transmit<'m>(&mut self, memory: &'m mut [u8]) -> Option<&'m [u8]> {
        if self.answered == self.reports {
            return None;
        }
        self.answered = self.reports;
        memory[..9].fill(0xFF);
        Some(&memory[..9])
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.reported_at + SILENCE)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), WireError> {
        if now >= self.reported_at + SILENCE { Err(WireError::Silent) } else { Ok(()) }
    }
}

fn watch(world: &mut World) -> (Peer, harness::time::Spawned<Ending>) {
    const UDP: Transport = Transport::new("datagrams").unwrap();
    let (read, write, peer) = wire();
    let hub = world.server.hub();
    let viewer = hub.claim_slot(UDP, &StreamOptions::default(), None).unwrap();
    let reader = hub.subscribe(viewer.mode()).unwrap();
    let mut wire = Datagrams { reported_at: world.now(), reports: 0, answered: 0 };
    let ended = world.sim.spawn(async move {
        stream(hub, viewer, reader, (read, write), &mut wire, &mut [0; 16]).await
    });
    (peer, ended)
}

#[test]
fn frame_is_sent_in_parts() {
    for len in [1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
        let mut world = World::new();
        let mut hand = world.publisher();
        let (peer, _ended) = watch(&mut world);
        world.sim.run();
        let number = hand.publish(len);
        world.sim.run();
        let answer = peer.answer();
        let (mut sent, mut frame) = (&answer[..], Vec::<u8>::new());
        while let Some((head, rest)) = sent.split_first_chunk::<9>() {
            let number_of = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            assert_eq!((u64::from(head[0]), number_of(1) as usize), (number, frame.len()));
            let (piece, rest) = rest.split_at(number_of(5) as usize);
            assert!(piece.len() <= PIECE);
            frame.extend(piece);
            sent = rest;
        }
        assert_eq!(frame, picture(len, world.now().as_micros()));
    }
}

#[test]
fn reports_are_answered_and_a_silent_peer_is_gone() {
    let mut world = World::new();
    let (peer, ended) = watch(&mut world);
    assert_eq!(world.stats()["viewers"][0]["transport"], "datagrams");
    for report in 1..=4 {
        world.sim.advance(secs(4));
        peer.send(b"r");
        world.sim.run();
        assert_eq!(peer.answer(), [0xFF; 9].repeat(report));
    }
    world.camera(every(40, 100));
    world.sim.advance(secs(5) - ms(1));
    assert_eq!(ended.take(), None);
    world.sim.advance(secs(1)); // As late as the timer may be.
    assert_eq!(ended.take(), Some(Err(Disconnect::Silent)));
    assert_eq!(world.ring.readers(), 0);
    assert_eq!(world.stats()["viewers"], serde_json::json!([]));
}
