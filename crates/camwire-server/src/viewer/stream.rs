//! The one loop that sends frames to a viewer.

use core::future::pending;
use core::pin::pin;

use camwire_capture::{FrameLease, FrameReader};
use camwire_frame::{Clock, Instant, Pacer};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;

use crate::hub::Hub;
use crate::sender::{DRAIN_TIME, Disconnect, Sender, drain};
use crate::transport::WriteVectored;
use crate::viewer::options::Mode;
use crate::viewer::sink::Sink;
use crate::viewer::slot::Viewer;
use crate::viewer::wire::{OutgoingFrame, TimeBase, Wire};

/// Sends frames over `wire` until the source has ended or the connection has: the loop for outputs
/// that are not built in. Afterwards the caller closes the transport.
///
/// `viewer` and `reader` are from [`Hub::claim_slot`] and [`Hub::subscribe`]; both are free again when
/// this returns. The viewer gets the frames of its mode and rate; a slow one skips to the newest, and
/// its frames say how many it missed. [`Config`](crate::Config) has the deadlines. Of `memory`,
/// which is the wire's, [`Wire::MEMORY`] bytes are needed.
///
/// `Ok` says that the source has ended, and that the peer was sent what the wire has for that.
///
/// # Errors
///
/// A [`Disconnect`], which is how most streams end. A frame may have been sent in part, so close the
/// connection.
///
/// # Cancel safety
///
/// As that of [`Server::serve`](crate::Server::serve).
pub async fn stream<'s, C, R, W, P, const N: usize>(
    hub: &Hub<'s, C>,
    mut viewer: Viewer<'s>,
    reader: FrameReader<'s>,
    (mut read, write): (R, W),
    wire: &mut P,
    memory: &mut [u8; N],
) -> Result<(), Disconnect<W::Error>>
where
    C: Clock,
    R: Read,
    W: WriteVectored,
    P: Wire,
{
    const { assert!(N >= P::MEMORY, "the wire needs more memory") };
    let mut sender = Sender::new(write, hub.clock(), hub.config());
    sender.count(viewer.bytes());
    let reader = &mut Some(reader);
    let (read, sink) = (&mut read, &mut sender);
    let mut channel = Channel { hub, read, sink, wire, memory };
    let ended = channel.send_frames(&mut viewer, reader, |_| {}).await;
    if matches!(ended, Err(Disconnect::Protocol)) {
        *reader = None; // There is no demand any more.
        drop(viewer);
        drain(read, hub.clock()).await; // Or the peer might not get what it was sent.
    }
    ended
}

/// The connection to one viewer, both directions. (These are the arguments of the loop; as such, each
/// future would hold them twice.)
pub(crate) struct Channel<'a, 's, C, R, S, P> {
    pub(crate) hub: &'a Hub<'s, C>,
    pub(crate) read: &'a mut R,
    pub(crate) sink: &'a mut S,
    pub(crate) wire: &'a mut P,
    pub(crate) memory: &'a mut [u8],
}

impl<'s, C: Clock, R: Read, S: Sink, P: Wire> Channel<'_, 's, C, R, S, P> {
    /// The loop. Without a `reader` it takes one when the peer wants frames. Each frame is shown to
    /// `lend` before its parts are sent.
    ///
    /// After [`Disconnect::Protocol`] the caller [drains](drain) the connection, or the peer might
    /// not get what it was sent.
    pub(crate) async fn send_frames(
        &mut self,
        viewer: &mut Viewer<'s>,
        reader: &mut Option<FrameReader<'s>>,
        lend: impl Fn(&FrameLease<'_, 's>),
    ) -> Result<(), Disconnect<S::Error>> {
        let clock = self.hub.clock();
        let mut pacer = viewer.rate().map(Pacer::new);
        // Frames that the reader missed since the last one that was sent.
        let mut missed = 0;
        // The number of the last frame that was sent.
        let mut sent = 0;
        // The timer is not set anew for each frame, but when it fires too early. With hundreds of
        // viewers that is much less work.
        let mut repeat_at = self.next_repeat(clock.now());
        let mut timer = pin!(clock.deadline(self.next_timeout(repeat_at)));
        loop {
            self.transmit().await?;
            if !self.wire.wants_frames() {
                (*reader, missed) = (None, 0);
            } else if reader.is_none() {
                let subscribed = self.hub.subscribe(viewer.mode());
                *reader = Some(subscribed.map_err(|_| Disconnect::NoReader)?);
            }
            let may_send = self.wire.may_send() && reader.is_some();
            let frame = async {
                match reader {
                    Some(reader) if may_send => match viewer.mode() {
                        Mode::Live => reader.latest().await,
                        Mode::All => reader.next().await,
                    },
                    _ => pending().await,
                }
            };
            let received = receive(self.read, self.wire, clock);
            match select3(frame, received, timer.as_mut()).await {
                Either3::First(Some(lease)) => {
                    let now = clock.now();
                    repeat_at = self.next_repeat(now);
                    missed += lease.missed();
                    let captured_at = lease.info().captured_at;
                    if let Some(pacer) = &mut pacer {
                        let Some(empty) = pacer.admit(captured_at) else { continue };
                        // What the cap would have skipped anyway was not missed.
                        missed = missed.min(empty);
                    }
                    sent = lease.sequence();
                    lend(&lease);
                    self.send_frame(lease, missed, now).await?;
                    viewer.sent_frame(missed, captured_at, now);
                    missed = 0;
                    continue;
                }
                // The source has ended, and so does the stream.
                Either3::First(None) => return self.end().await,
                Either3::Second(PeerEvent::Closed) => return Err(Disconnect::Closed),
                Either3::Second(PeerEvent::Input) => continue,
                Either3::Third(()) => {}
            }
            // A peer that may get no frame does not wait for one, so the end is noticed here.
            if !may_send
                && reader.as_ref().map_or(self.hub.ring().has_ended(), FrameReader::has_ended)
            {
                return self.end().await;
            }
            let now = clock.now();
            // A frame that the cap skipped is sent only if no other comes in its place.
            let capped = pacer.as_ref().and_then(Pacer::due).filter(|due| *due > now);
            let repeated = reader.as_mut().filter(|_| may_send && now >= repeat_at);
            if let Some(lease) = repeated.and_then(FrameReader::repeat)
                && (lease.sequence() != sent || self.wire.repeats())
            {
                let (sequence, captured_at) = (lease.sequence(), lease.info().captured_at);
                match capped.filter(|_| sequence != sent) {
                    Some(due) => repeat_at = due,
                    None => {
                        lend(&lease);
                        self.send_frame(lease, 0, now).await?;
                        if sequence != sent {
                            viewer.sent_frame(0, captured_at, now);
                            (sent, missed) = (sequence, 0);
                        }
                    }
                }
            }
            if now >= repeat_at {
                repeat_at = self.next_repeat(now);
            }
            self.wire.handle_timeout(now).map_err(|error| error.disconnect())?;
            timer.set(clock.deadline(self.next_timeout(repeat_at)));
        }
    }

    /// When a frame is sent again if no other has come since `now`.
    fn next_repeat(&self, now: Instant) -> Instant {
        now + self.hub.config().repeat_after
    }

    fn next_timeout(&self, repeat_at: Instant) -> Instant {
        self.wire.poll_timeout().map_or(repeat_at, |due| repeat_at.min(due))
    }

    /// Sends what the wire has to send besides frames.
    async fn transmit(&mut self) -> Result<(), Disconnect<S::Error>> {
        while let Some(bytes) = self.wire.poll_transmit(self.memory) {
            self.sink.send(&mut [bytes]).await?;
            self.sink.flush().await?;
            self.wire.check().map_err(|error| error.disconnect())?;
        }
        Ok(())
    }

    /// Sends one frame, from its first byte to its last, or the connection is lost.
    async fn send_frame(
        &mut self,
        mut lease: FrameLease<'_, '_>,
        missed: u64,
        now: Instant,
    ) -> Result<(), Disconnect<S::Error>> {
        let by = now + self.hub.config().frame_timeout;
        let mut at = 0;
        loop {
            // What is known of the frame need not be kept while it is sent.
            let (part, bytes, mut revocation) = {
                let frame = outgoing(self.hub, &lease, missed, now);
                let (bytes, revocation) = lease.split();
                let part = self.wire.part(&frame, bytes, at, self.memory);
                (part.map_err(|error| error.disconnect())?, bytes, revocation)
            };
            let rest = bytes.get(at..).unwrap_or_default();
            let pieces = &mut [part.head, rest.get(..part.frame).unwrap_or(rest), part.tail];
            let (covered, is_last) = (part.covered, part.covered >= rest.len());
            let mut sending = pin!(self.sink.send_part(pieces, at, by, &mut revocation));
            // What the peer sends meanwhile is answered afterwards.
            loop {
                let received = receive(self.read, self.wire, self.hub.clock());
                match select(sending.as_mut(), received).await {
                    Either::First(sent) => break sent?,
                    Either::Second(PeerEvent::Closed) => return Err(Disconnect::Closed),
                    Either::Second(PeerEvent::Input) => {}
                }
            }
            if is_last {
                break;
            }
            if covered == 0 {
                return Err(Disconnect::Closed); // Against its contract; it would go on for ever.
            }
            at = at.saturating_add(covered);
        }
        // The transport has it all; what it still does with that needs no slot of the ring.
        drop(lease);
        self.sink.flush().await
    }

    /// The end of a stream whose source has ended.
    async fn end(&mut self) -> Result<(), Disconnect<S::Error>> {
        self.sink.send(&mut [self.wire.close(self.memory)]).await?;
        self.sink.flush().await?;
        let clock = self.hub.clock();
        // If the connection were closed on unread bytes, many systems would throw the end away.
        let mut until = pin!(clock.deadline(clock.now() + DRAIN_TIME));
        while self.wire.awaits_close() {
            let received = receive(self.read, self.wire, clock);
            let Either::First(PeerEvent::Input) = select(received, until.as_mut()).await else {
                break;
            };
        }
        Ok(())
    }
}

/// What came from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerEvent {
    /// It has closed its end, or the connection is broken.
    Closed,
    /// Something that may need an answer.
    Input,
}

/// Waits for input and gives it to the wire. It loses nothing when dropped, if `read` does not.
async fn receive(read: &mut impl Read, wire: &mut impl Wire, clock: &impl Clock) -> PeerEvent {
    let mut memory = [0; 32];
    match read.read(&mut memory).await {
        Ok(0) | Err(_) => PeerEvent::Closed,
        Ok(count) => {
            wire.handle_input(memory.get_mut(..count).unwrap_or_default(), clock.now());
            PeerEvent::Input
        }
    }
}

fn outgoing<C: Clock>(
    hub: &Hub<'_, C>,
    lease: &FrameLease<'_, '_>,
    missed: u64,
    now: Instant,
) -> OutgoingFrame {
    let info = lease.info();
    OutgoingFrame {
        sequence: lease.sequence(),
        missed,
        timestamp_us: hub.timestamp_us(info.captured_at),
        time_base: match hub.clock().unix_offset() {
            Some(_) => TimeBase::Unix,
            None => TimeBase::Boot,
        },
        sent_at: now,
        info,
    }
}
