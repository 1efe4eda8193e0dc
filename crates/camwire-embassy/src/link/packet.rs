use core::net::Ipv4Addr;

use embassy_net::EthernetAddress;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol, EthernetRepr, IPV4_HEADER_LEN,
    IpProtocol, Ipv4Packet, Ipv4Repr,
};

/// Bytes of the headers before what IPv4 carries.
pub(super) const HEADERS_LEN: usize = ETHERNET_HEADER_LEN + IPV4_HEADER_LEN;

/// A packet of Ethernet that carries a whole packet of IPv4.
#[derive(Debug)]
pub(super) struct Packet<'p> {
    pub(super) hardware: FromTo<EthernetAddress>,
    pub(super) addresses: FromTo<Ipv4Addr>,
    pub(super) payload: Payload<'p>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FromTo<A> {
    pub(super) from: A,
    pub(super) to: A,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'p> {
    Tcp(&'p [u8]),
    Udp(&'p [u8]),
}

impl<'p> Packet<'p> {
    /// `None` if it carries something else, or is damaged.
    #[inline(always)] // Its result is not copied then: 3% of the work for a stream.
    pub(super) fn parse(packet: &'p [u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(packet).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(frame.payload()).ok()?;
        if ip.version() != 4 || ip.more_frags() || ip.frag_offset() != 0 {
            return None;
        }
        let payload = match ip.next_header() {
            IpProtocol::Tcp => Payload::Tcp(ip.payload()),
            IpProtocol::Udp => Payload::Udp(ip.payload()),
            _ => return None,
        };
        Some(Self {
            hardware: FromTo { from: frame.src_addr(), to: frame.dst_addr() },
            addresses: FromTo { from: ip.src_addr(), to: ip.dst_addr() },
            payload,
        })
    }
}

/// Writes the headers of a packet, and returns the rest of it for its payload, which is all of it.
/// `None` if there is no room for headers.
pub(super) fn write_headers(
    packet: &mut [u8],
    hardware: FromTo<EthernetAddress>,
    addresses: FromTo<Ipv4Addr>,
    next_header: IpProtocol,
) -> Option<&mut [u8]> {
    let (frame, rest) = packet.split_at_mut_checked(ETHERNET_HEADER_LEN)?;
    let (header, payload) = rest.split_at_mut_checked(IPV4_HEADER_LEN)?;
    let ethertype = EthernetProtocol::Ipv4;
    let ethernet = EthernetRepr { src_addr: hardware.from, dst_addr: hardware.to, ethertype };
    ethernet.emit(&mut EthernetFrame::new_unchecked(frame));
    let ip = Ipv4Repr {
        src_addr: addresses.from,
        dst_addr: addresses.to,
        next_header,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    ip.emit(&mut Ipv4Packet::new_unchecked(header), &ChecksumCapabilities::default());
    Some(payload)
}
