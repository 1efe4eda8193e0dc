use core::net::Ipv4Addr;

use embassy_net::EthernetAddress;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, TCP_HEADER_LEN, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::packet::{FromTo, HEADERS_LEN, Packet, Payload, write_headers};

/// A packet with a TCP segment that has neither data nor options.
pub(super) type Bare = [u8; HEADERS_LEN + TCP_HEADER_LEN];

/// How many acknowledgements make the stack send again: see [`Flow::acknowledge_again`].
const ACKNOWLEDGEMENTS: u8 = 5;
/// How many resets end a connection for the peer: see [`Flow::reset_peer`].
const PEER_RESETS: u8 = 2;

/// The TCP connections that pass a driver, known by their segments: up to `N` at once, each from its
/// first segment on.
#[derive(Debug)]
pub(super) struct Flows<const N: usize> {
    flows: [Option<Flow>; N],
    /// Whether any of them is owed a packet. It saves looking at each flow with each packet.
    is_busy: bool,
    /// Counts segments, to find the flow that was quiet for longest.
    count: u32,
}

#[derive(Debug)]
struct Flow {
    own: End,
    peer: End,
    /// That of the peer, or of the router before it.
    peer_hardware: EthernetAddress,
    /// The first byte that the peer has not acknowledged.
    acked: TcpSeqNumber,
    /// The first byte that the stack has not sent.
    sent: TcpSeqNumber,
    /// The first byte that the peer has not sent.
    expected: TcpSeqNumber,
    /// The peer's latest window, as it stands in a segment. `None` before there was one that counts
    /// in the unit of the connection, which that of a SYN does not (RFC 7323, section 2.2).
    window: Option<u16>,
    own_is_closed: bool,
    peer_is_closed: bool,
    /// When the latest segment passed, by [`Flows::count`].
    used_at: u32,
    /// How often the stack is still to be shown the peer's latest acknowledgement.
    acknowledgements: u8,
    reset: Option<Reset>,
}

/// The resets that are still to be delivered.
#[derive(Clone, Copy, Debug)]
struct Reset {
    stack: bool,
    peer: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    /// As a number, which is compared faster.
    address: u32,
    port: u16,
}

impl<const N: usize> Flows<N> {
    pub(super) const fn new() -> Self {
        Self { flows: [const { None }; N], is_busy: false, count: 0 }
    }

    /// Takes note of a packet from the stack.
    pub(super) fn sent(&mut self, packet: &Packet<'_>) {
        let Some(segment) = Segment::parse(packet) else { return };
        if segment.control == TcpControl::Syn {
            self.insert(Flow::new(&segment));
        }
        self.update(segment.from, segment.to, |flow| {
            flow.sent = flow.sent.max(segment.end);
            flow.expected = segment.acknowledges.unwrap_or(flow.expected);
            flow.own_is_closed |= segment.control == TcpControl::Fin;
            segment.control == TcpControl::Rst
        });
    }

    /// Takes note of a packet for the stack.
    pub(super) fn received(&mut self, packet: &Packet<'_>) {
        let Some(segment) = Segment::parse(packet) else { return };
        self.update(segment.to, segment.from, |flow| {
            let is_next = segment.sequence == flow.expected;
            if segment.control == TcpControl::Rst {
                return is_next;
            }
            flow.peer_hardware = segment.hardware.from;
            if segment.control != TcpControl::Syn {
                flow.window = Some(segment.window);
            }
            if is_next {
                flow.expected = segment.end;
            }
            if let Some(acked) = segment.acknowledges.filter(|acked| *acked <= flow.sent) {
                flow.acked = flow.acked.max(acked);
            }
            flow.peer_is_closed |= segment.control == TcpControl::Fin;
            false
        });
    }

    /// Makes the stack send again what was not acknowledged, by the packets of
    /// [`for_stack`](Self::for_stack). If it has meanwhile given up a connection and could not send
    /// a reset, it sends that.
    pub(super) fn resume(&mut self) {
        self.is_busy = true;
        for flow in self.flows.iter_mut().flatten().filter(|flow| flow.window.is_some()) {
            flow.acknowledgements = ACKNOWLEDGEMENTS;
        }
    }

    /// Ends all connections, at both ends: by the packets of [`for_stack`](Self::for_stack) and
    /// [`for_network`](Self::for_network).
    pub(super) fn reset(&mut self) {
        self.is_busy = true;
        for flow in self.flows.iter_mut().flatten() {
            flow.reset.get_or_insert(Reset { stack: true, peer: PEER_RESETS });
        }
    }

    /// A packet for the stack that the network has not sent.
    pub(super) fn for_stack(&mut self, own: EthernetAddress) -> Option<Bare> {
        self.flows.iter_mut().find_map(|place| {
            let flow = place.as_mut()?;
            let packet = match &mut flow.reset {
                Some(Reset { stack: false, .. }) => return None,
                Some(Reset { stack, .. }) => {
                    *stack = false;
                    flow.reset_stack(own)
                }
                None => {
                    let window = flow.window?;
                    flow.acknowledgements = flow.acknowledgements.checked_sub(1)?;
                    flow.acknowledge_again(own, window, flow.acknowledgements)
                }
            };
            place.take_if(|flow| flow.is_over());
            Some(packet)
        })
    }

    /// Whether there is a packet for the network that the stack has not sent.
    pub(super) fn has_for_network(&self) -> bool {
        self.is_busy && self.flows.iter().flatten().any(Flow::owes_network)
    }

    /// Whether there is a packet for the stack that the network has not sent.
    pub(super) fn has_for_stack(&self) -> bool {
        self.is_busy && self.flows.iter().flatten().any(Flow::owes_stack)
    }

    /// Whether there is a packet for either.
    pub(super) fn is_busy(&mut self) -> bool {
        self.is_busy = self.has_for_stack() || self.has_for_network();
        self.is_busy
    }

    /// A packet for the network that the stack has not sent.
    pub(super) fn for_network(&mut self, own: EthernetAddress) -> Option<Bare> {
        self.flows.iter_mut().find_map(|place| {
            let flow = place.as_mut()?;
            let reset = flow.reset.as_mut()?;
            reset.peer = reset.peer.checked_sub(1)?;
            let left = reset.peer;
            let packet = flow.reset_peer(own, left);
            place.take_if(|flow| flow.is_over());
            Some(packet)
        })
    }

    /// Changes the flow between these ends, and removes it if `update` returns true, or it is over.
    #[inline(always)] // As `Packet::parse`.
    fn update(&mut self, own: End, peer: End, update: impl FnOnce(&mut Flow) -> bool) {
        self.count = self.count.wrapping_add(1);
        let is_it = |flow: &Flow| flow.own == own && flow.peer == peer;
        let place = self.flows.iter_mut().find(|place| place.as_ref().is_some_and(is_it));
        let Some(place) = place else { return };
        let Some(flow) = place else { return };
        flow.used_at = self.count;
        if update(flow) || flow.is_over() {
            *place = None;
        }
    }

    /// In place of an earlier flow between the same ends, in a free place, or in that of the flow
    /// that was quiet for longest.
    fn insert(&mut self, flow: Flow) {
        let count = self.count;
        let place = self.flows.iter_mut().max_by_key(|place| match place {
            Some(old) if old.own == flow.own && old.peer == flow.peer => (2, 0),
            None => (1, 0),
            Some(old) => (0, count.wrapping_sub(old.used_at)),
        });
        if let Some(place) = place {
            *place = Some(flow);
        }
    }
}

impl Flow {
    /// One that begins with this segment of the stack's.
    fn new(first: &Segment) -> Self {
        Self {
            own: first.from,
            peer: first.to,
            peer_hardware: first.hardware.to,
            acked: first.sequence,
            sent: first.sequence,
            expected: TcpSeqNumber(0),
            window: None,
            own_is_closed: false,
            peer_is_closed: false,
            used_at: 0,
            acknowledgements: 0,
            reset: None,
        }
    }

    const fn owes_stack(&self) -> bool {
        match self.reset {
            Some(reset) => reset.stack,
            None => self.acknowledgements > 0,
        }
    }

    const fn owes_network(&self) -> bool {
        matches!(self.reset, Some(Reset { peer: 1.., .. }))
    }

    /// Both ends have closed it, or were given their resets.
    const fn is_over(&self) -> bool {
        let is_reset = matches!(self.reset, Some(Reset { stack: false, peer: 0 }));
        is_reset || (self.own_is_closed && self.peer_is_closed)
    }

    /// One of several packets that make the stack send again at once, with `left` to follow: the
    /// peer's latest acknowledgement.
    ///
    /// A sender does so at the third repetition (RFC 5681, section 3.2). An acknowledgement with
    /// another window is no repetition, so the first packet makes the stack count from zero, and
    /// the second one restores the window.
    fn acknowledge_again(&self, own: EthernetAddress, window: u16, left: u8) -> Bare {
        let window = match window {
            _ if left + 1 < ACKNOWLEDGEMENTS => window,
            0 => 1,
            _ => window - 1,
        };
        self.to_stack(own, TcpControl::None, window)
    }

    fn reset_stack(&self, own: EthernetAddress) -> Bare {
        self.to_stack(own, TcpControl::Rst, 0)
    }

    /// One of two resets for the peer.
    ///
    /// The peer accepts the one that has the number of the byte that it expects next (RFC 5961,
    /// section 3.2). That is the byte after all that was sent, or if that was lost, the first that
    /// was not acknowledged. If it lies between, the peer sends an acknowledgement, and the stack,
    /// which has no such connection any more, replies with a reset of the right number.
    fn reset_peer(&self, own: EthernetAddress, left: u8) -> Bare {
        let sequence = if left == 0 { self.sent } else { self.acked };
        let hardware = FromTo { from: own, to: self.peer_hardware };
        let ends = FromTo { from: self.own, to: self.peer };
        bare(hardware, ends, TcpControl::Rst, sequence, self.expected, 0)
    }

    fn to_stack(&self, own: EthernetAddress, control: TcpControl, window: u16) -> Bare {
        let hardware = FromTo { from: self.peer_hardware, to: own };
        let ends = FromTo { from: self.peer, to: self.own };
        bare(hardware, ends, control, self.expected, self.acked, window)
    }
}

/// What matters of a TCP segment.
struct Segment {
    from: End,
    to: End,
    hardware: FromTo<EthernetAddress>,
    control: TcpControl,
    sequence: TcpSeqNumber,
    /// The number after the last that it has.
    end: TcpSeqNumber,
    acknowledges: Option<TcpSeqNumber>,
    window: u16,
}

impl Segment {
    /// `None` if the packet has something else, or is damaged.
    #[inline(always)] // As `Packet::parse`.
    fn parse(packet: &Packet<'_>) -> Option<Self> {
        let &Packet { hardware, addresses, payload: Payload::Tcp(payload) } = packet else {
            return None;
        };
        let tcp = TcpPacket::new_checked(payload).ok()?;
        Some(Self {
            from: End { address: addresses.from.to_bits(), port: tcp.src_port() },
            to: End { address: addresses.to.to_bits(), port: tcp.dst_port() },
            hardware,
            control: match (tcp.rst(), tcp.syn(), tcp.fin()) {
                (true, ..) => TcpControl::Rst,
                (_, true, _) => TcpControl::Syn,
                (.., true) => TcpControl::Fin,
                _ => TcpControl::None,
            },
            sequence: tcp.seq_number(),
            end: tcp.seq_number() + tcp.segment_len(),
            acknowledges: tcp.ack().then(|| tcp.ack_number()),
            window: tcp.window_len(),
        })
    }
}

fn bare(
    hardware: FromTo<EthernetAddress>,
    ends: FromTo<End>,
    control: TcpControl,
    seq_number: TcpSeqNumber,
    acknowledges: TcpSeqNumber,
    window_len: u16,
) -> Bare {
    let tcp = TcpRepr {
        src_port: ends.from.port,
        dst_port: ends.to.port,
        control,
        seq_number,
        ack_number: Some(acknowledges),
        window_len,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let mut packet = [0; size_of::<Bare>()];
    let [from, to] = [ends.from, ends.to].map(|end| Ipv4Addr::from_bits(end.address));
    let addresses = FromTo { from, to };
    if let Some(payload) = write_headers(&mut packet, hardware, addresses, IpProtocol::Tcp) {
        let checksums = ChecksumCapabilities::default();
        tcp.emit(&mut TcpPacket::new_unchecked(payload), &from.into(), &to.into(), &checksums);
    }
    packet
}
