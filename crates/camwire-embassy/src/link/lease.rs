use core::net::Ipv4Addr;

use embassy_net::EthernetAddress;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr, IpProtocol,
    UDP_HEADER_LEN, UdpPacket, UdpRepr,
};

use super::packet::{FromTo, HEADERS_LEN, Packet, Payload, write_headers};

/// The options that the stack asks for: subnet mask, router, name servers.
const PARAMETERS: &[u8] = &[1, 3, 6];
/// Bytes of the longest message that every client can take (RFC 2131, section 2).
const MESSAGE_MAX: u16 = 576;

/// The address that DHCP gave the stack, known by the messages that pass a driver, and how to
/// request it again.
#[derive(Debug)]
pub(super) struct Lease {
    /// The number of the stack's latest message. Questions from here have it as well, so that the
    /// stack takes the answer that confirms its address for one to itself: with the lease's new
    /// end, and with a router and name servers that may be new.
    transaction: u32,
    address: Option<Ipv4Addr>,
    answers: Answers,
}

/// What DHCP servers have answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// This one offers the same address.
    pub(super) offered_by: Option<Ipv4Addr>,
    /// One offers another address.
    pub(super) offered_other: bool,
    /// The stack may keep its address.
    pub(super) confirmed: bool,
    /// It may not.
    pub(super) refused: bool,
}

/// What becomes of a packet for the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Deliver,
    Discard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Which address a server would give.
    Discover,
    /// The stack's address again, from the server with this one.
    Request(Ipv4Addr),
}

impl Lease {
    pub(super) const fn new() -> Self {
        let nothing =
            Answers { offered_by: None, offered_other: false, confirmed: false, refused: false };
        Self { transaction: 0, address: None, answers: nothing }
    }

    /// The stack's address. `None` if it has none, or did not get it by DHCP.
    pub(super) const fn address(&self) -> Option<Ipv4Addr> {
        self.address
    }

    /// Whether the stack has to give up its address.
    pub(super) const fn is_refused(&self) -> bool {
        self.answers.refused
    }

    /// The answers since the last call.
    pub(super) fn answers(&mut self) -> Answers {
        core::mem::take(&mut self.answers)
    }

    /// The stack is to have no address any more.
    pub(super) fn forget(&mut self) {
        self.address = None;
    }

    /// Takes note of a packet from the stack. Returns whether it shows that the stack has lost its
    /// address, since the lease has ended.
    pub(super) fn sent(&mut self, packet: &Packet<'_>) -> bool {
        let Some(message) = Message::parse(packet, DHCP_SERVER_PORT) else { return false };
        self.transaction = message.transaction;
        // A client that has an address names it here.
        message.used.is_unspecified() && self.address.take().is_some()
    }

    /// Takes note of a packet for the stack.
    pub(super) fn received(&mut self, packet: &Packet<'_>, own: EthernetAddress) -> Verdict {
        let Some(message) = Message::parse(packet, DHCP_CLIENT_PORT) else {
            return Verdict::Deliver;
        };
        if message.client != own || message.transaction != self.transaction {
            return Verdict::Deliver;
        }
        match (message.kind, self.address) {
            (DhcpMessageType::Ack, None) => self.address = Some(message.address),
            (DhcpMessageType::Ack, Some(address)) if address == message.address => {
                self.answers.confirmed = true;
            }
            // The stack would drop its address at once, and with it all connections, silently.
            (DhcpMessageType::Ack | DhcpMessageType::Nak, Some(_)) => {
                self.answers.refused = true;
                return Verdict::Discard;
            }
            (DhcpMessageType::Offer, Some(address)) if address == message.address => {
                self.answers.offered_by = message.server;
            }
            (DhcpMessageType::Offer, Some(_)) => self.answers.offered_other = true,
            _ => {}
        }
        Verdict::Deliver
    }

    /// A question to all servers of the network. `None` if the stack has no address.
    pub(super) fn ask(&self, question: Question, own: EthernetAddress) -> Option<Written> {
        let (message_type, server_identifier) = match question {
            Question::Discover => (DhcpMessageType::Discover, None),
            Question::Request(server) => (DhcpMessageType::Request, Some(server)),
        };
        let none = Ipv4Addr::UNSPECIFIED;
        let message = DhcpRepr {
            message_type,
            transaction_id: self.transaction,
            secs: 0,
            client_hardware_address: own,
            client_ip: none,
            your_ip: none,
            server_ip: none,
            router: None,
            subnet_mask: None,
            relay_agent_ip: none,
            broadcast: false,
            requested_ip: Some(self.address?),
            client_identifier: Some(own),
            server_identifier,
            parameter_request_list: Some(PARAMETERS),
            dns_servers: None,
            max_size: Some(MESSAGE_MAX),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        Some(Written(message))
    }
}

/// A question as it is sent.
pub(super) struct Written(DhcpRepr<'static>);

impl Written {
    /// Bytes of the packet.
    pub(super) fn len(&self) -> usize {
        HEADERS_LEN + UDP_HEADER_LEN + self.0.buffer_len()
    }

    /// Writes it into a packet of [`len`](Self::len) bytes.
    pub(super) fn write(&self, packet: &mut [u8]) {
        let own = self.0.client_hardware_address;
        let hardware = FromTo { from: own, to: EthernetAddress::BROADCAST };
        let addresses = FromTo { from: Ipv4Addr::UNSPECIFIED, to: Ipv4Addr::BROADCAST };
        let Some(payload) = write_headers(packet, hardware, addresses, IpProtocol::Udp) else {
            return;
        };
        let udp = UdpRepr { src_port: DHCP_CLIENT_PORT, dst_port: DHCP_SERVER_PORT };
        let write = |message: &mut [u8]| {
            // It has the room that it needs.
            let _ = self.0.emit(&mut DhcpPacket::new_unchecked(message));
        };
        udp.emit(
            &mut UdpPacket::new_unchecked(payload),
            &addresses.from.into(),
            &addresses.to.into(),
            self.0.buffer_len(),
            write,
            &ChecksumCapabilities::default(),
        );
    }
}

/// What matters of a DHCP message.
struct Message {
    kind: DhcpMessageType,
    transaction: u32,
    client: EthernetAddress,
    /// The address that the client has.
    used: Ipv4Addr,
    /// The address that it is given.
    address: Ipv4Addr,
    server: Option<Ipv4Addr>,
}

impl Message {
    /// `None` if the packet has something else, or is damaged.
    fn parse(packet: &Packet<'_>, to_port: u16) -> Option<Self> {
        let Payload::Udp(payload) = packet.payload else { return None };
        let udp = UdpPacket::new_checked(payload).ok()?;
        if udp.dst_port() != to_port {
            return None;
        }
        let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
        let message = DhcpRepr::parse(&packet).ok()?;
        Some(Self {
            kind: message.message_type,
            transaction: message.transaction_id,
            client: message.client_hardware_address,
            used: message.client_ip,
            address: message.your_ip,
            server: message.server_identifier,
        })
    }
}
