//! A DHCP server.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use camwire_embassy::EmbassyClock;
use camwire_frame::Clock;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::{Plug, address_of};

/// What a server does, which a test may change at any time.
pub(crate) struct Dhcp {
    /// The only address that it gives.
    pub(crate) gives: Ipv4Addr,
    pub(crate) lease_seconds: u32,
    pub(crate) manners: Manners,
    /// What it was asked, and when, in milliseconds.
    pub(crate) asked: Vec<(DhcpMessageType, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// It refuses a request for another address.
    Strict,
    /// It confirms its own address, whatever is requested.
    Careless,
    /// It does not answer.
    Silent,
}

pub(crate) type Shared = Rc<RefCell<Dhcp>>;

pub(crate) fn giving(gives: Ipv4Addr) -> Shared {
    let (lease_seconds, manners) = (3600, Manners::Strict);
    Rc::new(RefCell::new(Dhcp { gives, lease_seconds, manners, asked: Vec::new() }))
}

/// Serves at this end of the hub, and replies to ARP.
pub(crate) async fn serve(plug: Plug, end: u8, dhcp: Shared) {
    loop {
        let packet = plug.receive_any().await;
        let answer = answer(&packet, end, &dhcp).or_else(|| answer_arp(&packet, end));
        if let Some(answer) = answer {
            plug.send(&answer);
        }
    }
}

fn answer_arp(packet: &[u8], end: u8) -> Option<Vec<u8>> {
    let is_request = packet[12..14] == [8, 6] && packet[20..22] == [0, 1];
    if !is_request || packet[38..42] != address_of(end).octets() {
        return None;
    }
    let own = [2, 0, 0, 0, 0, end];
    let mut reply = packet[..42].to_vec();
    reply[..6].copy_from_slice(&packet[6..12]);
    reply[6..12].copy_from_slice(&own);
    reply[21] = 2;
    reply[22..28].copy_from_slice(&own);
    reply[28..32].copy_from_slice(&packet[38..42]);
    reply[32..42].copy_from_slice(&packet[22..32]);
    Some(reply)
}

fn answer(packet: &[u8], end: u8, dhcp: &Shared) -> Option<Vec<u8>> {
    let frame = EthernetFrame::new_checked(packet).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if ip.next_header() != IpProtocol::Udp {
        return None;
    }
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    if udp.dst_port() != 67 {
        return None;
    }
    assert!(ip.verify_checksum(), "a damaged packet");
    let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
    assert!(udp.verify_checksum(&from, &to), "a damaged datagram");
    let message = DhcpPacket::new_checked(udp.payload()).unwrap();
    let message = DhcpRepr::parse(&message).unwrap();

    let mut dhcp = dhcp.borrow_mut();
    dhcp.asked.push((message.message_type, EmbassyClock.now().as_micros() / 1000));
    let own = address_of(end);
    if message.server_identifier.is_some_and(|server| server != own) {
        return None; // Another server was chosen.
    }
    let wanted = message.requested_ip.unwrap_or(message.client_ip);
    let message_type = match (message.message_type, dhcp.manners) {
        (_, Manners::Silent) => return None,
        (DhcpMessageType::Discover, _) => DhcpMessageType::Offer,
        (DhcpMessageType::Request, Manners::Strict) if wanted != dhcp.gives => DhcpMessageType::Nak,
        (DhcpMessageType::Request, _) => DhcpMessageType::Ack,
        _ => return None,
    };
    let gives =
        if message_type == DhcpMessageType::Nak { Ipv4Addr::UNSPECIFIED } else { dhcp.gives };
    let none = Ipv4Addr::UNSPECIFIED;
    let reply = DhcpRepr {
        message_type,
        transaction_id: message.transaction_id,
        secs: 0,
        client_hardware_address: message.client_hardware_address,
        client_ip: none,
        your_ip: gives,
        server_ip: own,
        router: Some(own),
        subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        relay_agent_ip: none,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(own),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: Some(dhcp.lease_seconds),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let udp_len = 8 + reply.buffer_len();
    let mut packet = vec![0; 14 + 20 + udp_len];
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, end]),
        dst_addr: message.client_hardware_address,
        ethertype: EthernetProtocol::Ipv4,
    };
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut packet[..14]));
    let (src_addr, dst_addr) = (own, Ipv4Addr::BROADCAST);
    let (next_header, checksums) = (IpProtocol::Udp, ChecksumCapabilities::default());
    let ip = Ipv4Repr { src_addr, dst_addr, next_header, payload_len: udp_len, hop_limit: 64 };
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[14..34]), &checksums);
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut packet[34..]),
        &src_addr.into(),
        &dst_addr.into(),
        reply.buffer_len(),
        |message| reply.emit(&mut DhcpPacket::new_unchecked(message)).unwrap(),
        &checksums,
    );
    Some(packet)
}
