use core::cell::RefCell;
use core::future::Future;
use core::pin::pin;
use core::task::Context;
use core::time::Duration;

use camwire_frame::{Clock, Instant};
use embassy_net::EthernetAddress;
use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};

use super::Link;
use super::flow::{Bare, Flows};
use super::lease::{Lease, Question, Verdict};
use super::packet::{Packet, Payload};
use crate::EmbassyClock;

/// How long DHCP servers have to answer: twice as long each time that none does, up to the second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// How long the stack keeps an address that it has to give up, so that it can answer what peers ask
/// about their resets.
const PARTING: Duration = Duration::from_secs(1);

/// The most bytes that the stack answers to a TCP segment without data: the largest headers.
const REPLY_MAX: usize = 14 + 60 + 60;

/// A driver for embassy-net whose link may go away for a while without ending connections.
///
/// It stands between the stack and the driver of the hardware, and keeps up to `CONNECTIONS` TCP
/// connections at once, those of servers and of clients:
///
/// - **The stack keeps its address.** When the link is down, embassy-net gives up an address that it
///   has by DHCP, and smoltcp then removes the connections that use it, without a packet to their
///   peers. So the stack does not see that the link is down, unless it has no address, or a static
///   one, which it keeps anyway.
/// - **What was not acknowledged is sent again when the link is back**, instead of after a timeout
///   that has been doubled meanwhile. While the link is down nothing is sent.
/// - **The address is confirmed** (DHCPDISCOVER for the same address, then DHCPREQUEST), with
///   repetitions until a server replies. If it is the same, everything goes on. If not, the peer of
///   each connection gets a reset from the old address, and a second later the stack gives that
///   address up and requests another one. The same happens when a server refuses to renew the
///   address.
/// - **After the hold time** of its [`Link`] connections end all the same: the stack's sockets at
///   once, their peers when the link is back. They also end when the lease of the address ends.
///
/// `CONNECTIONS` is the number of the stack's TCP sockets. With fewer, the connections that were
/// quiet for longest end as they would without this. Each takes about 60 bytes. It works for IPv4
/// over Ethernet, which Wi-Fi is to the stack; anything else passes unchanged.
///
/// `Stack::is_link_up` and `Stack::wait_link_down` report what the stack sees;
/// [`Link::is_up`] reports the real state. A link counts as lost from when the driver reports it:
/// until then packets are lost as usual, and deadlines run.
#[derive(Debug)]
pub struct HeldLink<'l, D, const CONNECTIONS: usize = 16> {
    driver: D,
    link: &'l Link,
    phase: Phase,
    watch: RefCell<Watch<CONNECTIONS>>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The link is up, and the stack's address is good.
    Up,
    /// It is down.
    Down { since: Instant },
    /// It is down for longer than connections are held.
    Expired,
    /// It is up again, and DHCP servers are to confirm the address.
    Asking(Asking),
    /// The stack has to give up its address.
    Parting { until: Instant },
    /// The stack gives it up because it sees the link down: it has not yet, or it has.
    Gone { is_seen: bool },
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    question: Question,
    /// Until when there may be answers; `None` while it has not been sent.
    until: Option<Instant>,
    wait: Duration,
    /// Another address was offered.
    other: bool,
}

impl<'l, D: Driver, const CONNECTIONS: usize> HeldLink<'l, D, CONNECTIONS> {
    /// `driver` with its link held. `link` is its own, and knows its state from now on.
    pub fn new(driver: D, link: &'l Link) -> Self {
        let own = hardware_address(&driver);
        let watch = Watch { own, flows: Flows::new(), lease: Lease::new() };
        Self { driver, link, phase: Phase::Up, watch: RefCell::new(watch) }
    }

    /// Follows link and lease to this moment, and sends what is to be sent from here. The stack asks
    /// for the link's state, which does this, after each look at its packets.
    fn advance(&mut self, cx: &mut Context<'_>) {
        let is_up = self.driver.link_state(cx) == LinkState::Up;
        let watch = self.watch.get_mut();
        if is_up && matches!(self.phase, Phase::Up) && watch.is_quiet() {
            return; // As nearly always.
        }
        let now = EmbassyClock.now();
        let was_sending = self.phase.may_send();
        self.phase = watch.next_phase(self.phase, is_up, self.link, now);
        if self.phase.may_send() != was_sending {
            watch.own = hardware_address(&self.driver);
        }
        if self.phase.may_send() {
            self.send(cx, now);
        }
        // What the stack could not send before, it can send now.
        let can_go_on = self.phase.may_send() != was_sending;
        let is_over = self
            .phase
            .deadline(self.link)
            .is_some_and(|at| pin!(EmbassyClock.sleep_until(at)).poll(cx).is_ready());
        if can_go_on || is_over || self.watch.get_mut().flows.has_for_stack() {
            cx.waker().wake_by_ref();
        }
    }

    /// Sends what does not come from the stack, as long as the driver takes it.
    fn send(&mut self, cx: &mut Context<'_>, now: Instant) {
        let watch = self.watch.get_mut();
        let Some(own) = watch.own else { return };
        while watch.flows.has_for_network() {
            let Some(token) = self.driver.transmit(cx) else { return };
            let Some(reset) = watch.flows.for_network(own) else { return };
            token.consume(reset.len(), |packet| copy(&reset, packet));
        }
        if let Phase::Asking(Asking { question, until: until @ None, wait, .. }) = &mut self.phase
            && let Some(question) = watch.lease.ask(*question, own)
            && let Some(token) = self.driver.transmit(cx)
        {
            token.consume(question.len(), |packet| question.write(packet));
            *until = Some(now + *wait);
        }
    }
}

impl Phase {
    const fn ask(wait: Duration) -> Self {
        Self::Asking(Asking { question: Question::Discover, until: None, wait, other: false })
    }

    /// Whether packets are sent.
    const fn may_send(&self) -> bool {
        match self {
            Self::Up | Self::Asking(_) | Self::Parting { .. } => true,
            Self::Down { .. } | Self::Expired | Self::Gone { .. } => false,
        }
    }

    /// When it ends by itself.
    fn deadline(&self, link: &Link) -> Option<Instant> {
        match *self {
            Self::Down { since } => Some(since + link.hold()),
            Self::Asking(Asking { until, .. }) => until,
            Self::Parting { until } => Some(until),
            Self::Up | Self::Expired | Self::Gone { .. } => None,
        }
    }
}

/// What is known by the packets that pass.
#[derive(Debug)]
struct Watch<const CONNECTIONS: usize> {
    /// The driver's address; `None` if it is not Ethernet.
    own: Option<EthernetAddress>,
    flows: Flows<CONNECTIONS>,
    lease: Lease,
}

impl<const CONNECTIONS: usize> Watch<CONNECTIONS> {
    fn next_phase(&mut self, phase: Phase, is_up: bool, link: &Link, now: Instant) -> Phase {
        let answers = self.lease.answers();
        match phase {
            Phase::Down { since } if !is_up => {
                if now < since + link.hold() {
                    return phase;
                }
                self.flows.reset();
                Phase::Expired
            }
            Phase::Expired if !is_up => phase,
            _ if !is_up => {
                link.goes_down(now);
                Phase::Down { since: now }
            }
            Phase::Down { .. } | Phase::Expired => {
                link.comes_up(now);
                self.flows.resume();
                Phase::ask(FIRST_WAIT)
            }
            Phase::Asking(_) if self.lease.address().is_none() => Phase::Up,
            Phase::Up | Phase::Asking(_) if answers.refused => self.part(now),
            Phase::Asking(_) if answers.confirmed => Phase::Up,
            Phase::Asking(mut asking) => {
                if answers.offered_other {
                    asking.other = true;
                    // The server that has the same address may be slower.
                    asking.until = asking.until.map(|until| until.min(now + FIRST_WAIT));
                }
                if let (Question::Discover, Some(server)) = (asking.question, answers.offered_by) {
                    let question = Question::Request(server);
                    return Phase::Asking(Asking { question, until: None, other: false, ..asking });
                }
                match asking.until {
                    Some(until) if now >= until && asking.other => self.part(now),
                    Some(until) if now >= until => Phase::ask((asking.wait * 2).min(LONGEST_WAIT)),
                    _ => Phase::Asking(asking),
                }
            }
            Phase::Parting { until } if now >= until => {
                // Those that have come since.
                self.flows.reset();
                self.lease.forget();
                Phase::Gone { is_seen: false }
            }
            Phase::Up | Phase::Parting { .. } | Phase::Gone { .. } => phase,
        }
    }

    /// Whether there is nothing to do while the link stays up.
    fn is_quiet(&mut self) -> bool {
        !self.lease.is_refused() && !self.flows.is_busy()
    }

    /// A packet for the stack that the network has not sent.
    fn for_stack(&mut self) -> Option<Bare> {
        self.flows.for_stack(self.own?)
    }

    fn part(&mut self, now: Instant) -> Phase {
        self.flows.reset();
        Phase::Parting { until: now + PARTING }
    }

    /// Takes note of a packet from the stack.
    fn sent(&mut self, packet: &[u8]) {
        let Some(packet) = self.own.and_then(|_| Packet::parse(packet)) else { return };
        match packet.payload {
            Payload::Tcp(_) => self.flows.sent(&packet),
            Payload::Udp(_) => {
                if self.lease.sent(&packet) {
                    self.flows.reset();
                }
            }
        }
    }

    /// Takes note of a packet for the stack.
    fn received(&mut self, packet: &[u8]) -> Verdict {
        let own_and_packet = self.own.and_then(|own| Some((own, Packet::parse(packet)?)));
        let Some((own, packet)) = own_and_packet else { return Verdict::Deliver };
        match packet.payload {
            Payload::Tcp(_) => {
                self.flows.received(&packet);
                Verdict::Deliver
            }
            Payload::Udp(_) => self.lease.received(&packet, own),
        }
    }
}

impl<D: Driver, const CONNECTIONS: usize> Driver for HeldLink<'_, D, CONNECTIONS> {
    type RxToken<'a>
        = HeldReceive<'a, D::RxToken<'a>, CONNECTIONS>
    where
        Self: 'a;
    type TxToken<'a>
        = HeldTransmit<'a, D::TxToken<'a>, CONNECTIONS>
    where
        Self: 'a;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let Self { driver, watch, phase, .. } = self;
        let (packet, reply) = if watch.get_mut().flows.has_for_stack() {
            (None, if phase.may_send() { driver.transmit(cx) } else { None })
        } else {
            let (packet, reply) = driver.receive(cx)?;
            (Some(packet), Some(reply))
        };
        let packet = HeldReceive { driver: packet, watch };
        Some((packet, HeldTransmit { driver: reply, watch }))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Self::TxToken<'_>> {
        if !self.phase.may_send() {
            return None;
        }
        let driver = Some(self.driver.transmit(cx)?);
        Some(HeldTransmit { driver, watch: &self.watch })
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        self.advance(cx);
        match self.phase {
            Phase::Gone { is_seen: false } => {
                self.phase = Phase::Gone { is_seen: true };
                cx.waker().wake_by_ref();
                LinkState::Down
            }
            Phase::Gone { is_seen: true } => {
                self.phase = Phase::Up;
                cx.waker().wake_by_ref();
                LinkState::Up
            }
            Phase::Down { .. } | Phase::Expired
                if self.watch.get_mut().lease.address().is_none() =>
            {
                LinkState::Down
            }
            _ => LinkState::Up,
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.driver.capabilities()
    }

    fn hardware_address(&self) -> HardwareAddress {
        self.driver.hardware_address()
    }
}

/// A packet for the stack, of a [`HeldLink`].
#[derive(Debug)]
pub struct HeldReceive<'a, T, const CONNECTIONS: usize> {
    /// `None` if the packet is made here.
    driver: Option<T>,
    watch: &'a RefCell<Watch<CONNECTIONS>>,
}

impl<T: RxToken, const CONNECTIONS: usize> RxToken for HeldReceive<'_, T, CONNECTIONS> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, read: F) -> R {
        let Some(token) = self.driver else {
            let made = self.watch.borrow_mut().for_stack();
            return match made {
                Some(mut packet) => read(&mut packet),
                None => read(&mut []),
            };
        };
        token.consume(|packet| {
            let verdict = self.watch.borrow_mut().received(packet);
            match verdict {
                Verdict::Deliver => read(packet),
                // To the stack, an empty packet is none.
                Verdict::Discard => read(&mut []),
            }
        })
    }
}

/// Room for a packet from the stack, of a [`HeldLink`].
#[derive(Debug)]
pub struct HeldTransmit<'a, T, const CONNECTIONS: usize> {
    /// `None` if the packet is thrown away, which happens only to what the stack replies to a packet
    /// that was made here.
    driver: Option<T>,
    watch: &'a RefCell<Watch<CONNECTIONS>>,
}

impl<T: TxToken, const CONNECTIONS: usize> TxToken for HeldTransmit<'_, T, CONNECTIONS> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        match self.driver {
            Some(token) => token.consume(len, |packet| {
                let result = write(packet);
                self.watch.borrow_mut().sent(packet);
                result
            }),
            None => write(&mut [0; REPLY_MAX][..len.min(REPLY_MAX)]),
        }
    }
}

fn hardware_address(driver: &impl Driver) -> Option<EthernetAddress> {
    match driver.hardware_address() {
        HardwareAddress::Ethernet(address) => Some(EthernetAddress(address)),
        _ => None,
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;
    use smoltcp::wire::{EthernetFrame, Ipv4Packet, TcpPacket};
    use std::vec::Vec;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    /// A packet of IPv4, from the stack or for it.
    fn packet(is_sent: bool, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (own, peer) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (from, to) = if is_sent { (OWN, PEER) } else { (PEER, OWN) };
        let (from_ip, to_ip) = if is_sent { (own, peer) } else { (peer, own) };
        let [high, low] = (20 + payload.len() as u16).to_be_bytes();
        let ip = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
        [&to[..], &from, &[8, 0], &ip, &from_ip, &to_ip, payload].concat()
    }

    /// A segment between two ports of a few.
    fn segment() -> impl Strategy<Value = Vec<u8>> {
        let flags = prop::sample::select(std::vec![2u8, 18, 16, 16, 16, 24, 17, 4, 20]);
        let numbers = (0u32..5000, 0u32..5000, any::<u16>());
        (0u8..3, 0u8..3, numbers, flags, 0usize..100).prop_map(
            |(from, to, (sequence, acknowledges, window), flags, len)| {
                let ports = [0, from, 0, to];
                let (sequence, acknowledges) = (sequence.to_be_bytes(), acknowledges.to_be_bytes());
                let window = window.to_be_bytes();
                let head = [&ports[..], &sequence, &acknowledges, &[0x50, flags], &window];
                [&head.concat()[..], &[0; 4], &std::vec![0; len]].concat()
            },
        )
    }

    #[derive(Clone, Debug)]
    enum Step {
        Packet { is_sent: bool, protocol: u8, payload: Vec<u8> },
        Bytes { is_sent: bool, bytes: Vec<u8> },
        Resume,
        Reset,
        ForStack,
        ForNetwork,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (any::<bool>(), segment())
                .prop_map(|(is_sent, payload)| Step::Packet { is_sent, protocol: 6, payload }),
            1 => (any::<bool>(), prop::sample::select(std::vec![6, 17]), prop::collection::vec(any::<u8>(), 0..400))
                .prop_map(|(is_sent, protocol, payload)| Step::Packet { is_sent, protocol, payload }),
            1 => (any::<bool>(), prop::collection::vec(any::<u8>(), 0..400))
                .prop_map(|(is_sent, bytes)| Step::Bytes { is_sent, bytes }),
            1 => Just(Step::Resume),
            1 => Just(Step::Reset),
            4 => Just(Step::ForStack),
            4 => Just(Step::ForNetwork),
        ]
    }

    /// A packet that was made here has the right ends, and every checksum.
    fn assert_right(packet: &[u8], is_for_stack: bool) {
        let frame = EthernetFrame::new_checked(packet).unwrap();
        let own = if is_for_stack { frame.dst_addr() } else { frame.src_addr() };
        assert_eq!(own.0, OWN);
        let ip = Ipv4Packet::new_checked(frame.payload()).unwrap();
        assert!(ip.verify_checksum());
        let own = if is_for_stack { ip.dst_addr() } else { ip.src_addr() };
        assert_eq!(own, Ipv4Addr::new(10, 0, 0, 1));
        let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
        assert!(tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
        assert!(tcp.rst() || is_for_stack);
    }

    proptest! {
        /// Whatever passes, nothing panics, and what is made here comes to an end.
        #[test]
        fn watch_of_any_packets(steps in prop::collection::vec(step(), 1..200)) {
            let own = EthernetAddress(OWN);
            let mut watch: Watch<3> =
                Watch { own: Some(own), flows: Flows::new(), lease: Lease::new() };
            for step in steps {
                match step {
                    Step::Packet { is_sent: true, protocol, payload } => {
                        watch.sent(&packet(true, protocol, &payload));
                    }
                    Step::Packet { is_sent: false, protocol, payload } => {
                        watch.received(&packet(false, protocol, &payload));
                    }
                    Step::Bytes { is_sent: true, bytes } => watch.sent(&bytes),
                    Step::Bytes { is_sent: false, bytes } => {
                        watch.received(&bytes);
                    }
                    Step::Resume => watch.flows.resume(),
                    Step::Reset => watch.flows.reset(),
                    Step::ForStack => {
                        let is_there = watch.flows.has_for_stack();
                        let packet = watch.flows.for_stack(own);
                        prop_assert_eq!(packet.is_some(), is_there);
                        packet.iter().for_each(|packet| assert_right(packet, true));
                    }
                    Step::ForNetwork => {
                        let is_there = watch.flows.has_for_network();
                        let packet = watch.flows.for_network(own);
                        prop_assert_eq!(packet.is_some(), is_there);
                        packet.iter().for_each(|packet| assert_right(packet, false));
                    }
                }
            }
            let for_stack = core::iter::from_fn(|| watch.flows.for_stack(own)).take(100).count();
            prop_assert!(for_stack <= 15, "{}", for_stack);
            let for_network =
                core::iter::from_fn(|| watch.flows.for_network(own)).take(100).count();
            prop_assert!(for_network <= 6, "{}", for_network);
            prop_assert!(!watch.flows.has_for_stack() && !watch.flows.has_for_network());
        }
    }
}
