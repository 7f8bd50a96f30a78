//! What is around the messages: Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768), ICMPv6 (RFC 4443).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::wire::{Reader, checksum, length};

/// All stations.
pub const BROADCAST: [u8; 6] = [0xff; 6];

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const ROUTER_SOLICITATION: u8 = 133;
/// What has come over no router still has it (RFC 4861, 6.1.1).
const FRESH_HOPS: u8 = 255;

/// Ports of servers and clients (RFC 2131, 4.1; RFC 8415, 7.2).
pub const SERVER_V4: u16 = 67;
const CLIENT_V4: u16 = 68;
/// The same of DHCPv6.
pub const SERVER_V6: u16 = 547;
const CLIENT_V6: u16 = 546;

/// What a frame brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A message to a DHCPv4 server.
    V4(&'a [u8]),
    /// A message to a DHCPv6 server, and who sends it.
    V6(Ipv6Addr, &'a [u8]),
    /// Somebody looks for routers; who, if it has an address.
    Router(Option<Ipv6Addr>),
}

/// Reads an Ethernet frame that `mac` has sent.
pub fn read(frame: &[u8], mac: [u8; 6]) -> Option<Asked<'_>> {
    let mut reader = Reader(frame);
    reader.take(6)?;
    if reader.array::<6>()? != mac {
        return None;
    }
    match reader.short()? {
        IPV4 => v4(reader),
        IPV6 => v6(reader),
        _ => None,
    }
}

fn v4(mut reader: Reader<'_>) -> Option<Asked<'_>> {
    const FRAGMENT: u16 = 0x3fff;
    let packet = reader.0;
    let first = reader.byte()?;
    let header = usize::from(first & 0xf) * 4;
    reader.take(1)?;
    let total = usize::from(reader.short()?);
    reader.take(2)?;
    let fragment = reader.short()? & FRAGMENT;
    reader.take(1)?;
    let protocol = reader.byte()?;
    if first >> 4 != 4 || header < 20 || fragment != 0 || protocol != UDP {
        return None;
    }
    udp(packet.get(header..total)?, SERVER_V4).map(Asked::V4)
}

fn v6(mut reader: Reader<'_>) -> Option<Asked<'_>> {
    if reader.byte()? >> 4 != 6 {
        return None;
    }
    reader.take(3)?;
    let size = usize::from(reader.short()?);
    let (next, hops) = (reader.byte()?, reader.byte()?);
    let source = Ipv6Addr::from(reader.array::<16>()?);
    let target = Ipv6Addr::from(reader.array::<16>()?);
    let payload = reader.take(size)?;
    match next {
        UDP => udp(payload, SERVER_V6).map(|message| Asked::V6(source, message)),
        ICMPV6 => {
            let right = pseudo_checksum(source, target, ICMPV6, payload) == 0;
            let asks = matches!(payload, [ROUTER_SOLICITATION, 0, ..]) && payload.len() >= 8;
            (asks && right && hops == FRESH_HOPS)
                .then(|| Asked::Router((!source.is_unspecified()).then_some(source)))
        }
        _ => None,
    }
}

/// The data of a datagram to `port`. Its checksum is not looked at: within one host the kernel leaves it for a card to fill in.
fn udp(segment: &[u8], port: u16) -> Option<&[u8]> {
    let mut reader = Reader(segment);
    reader.take(2)?;
    let target = reader.short()?;
    let size = usize::from(reader.short()?);
    (target == port).then(|| segment.get(8..size)).flatten()
}

/// Checksum over an IPv6 packet's `payload` and what of its header counts (RFC 8200, 8.1); 0 if the payload's is right.
fn pseudo_checksum(source: Ipv6Addr, target: Ipv6Addr, next: u8, payload: &[u8]) -> u16 {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    checksum(&[&source.octets(), &target.octets(), &size, &[0, 0, 0, next], payload])
}

/// A frame's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends<A> {
    /// Whose it is.
    pub from: ([u8; 6], A),
    /// Who gets it.
    pub to: ([u8; 6], A),
}

fn ethernet(source: [u8; 6], target: [u8; 6], kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(600);
    frame.extend_from_slice(&target);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&kind.to_be_bytes());
    frame
}

/// A DHCPv4 server's message as a frame; `None` if it is too long for one.
pub fn dhcp_v4(ends: &Ends<Ipv4Addr>, message: &[u8]) -> Option<Vec<u8>> {
    let udp_length = length(message)?.checked_add(8)?;
    let total = udp_length.checked_add(20)?;
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&total.to_be_bytes());
    // No identification, not to be fragmented, 64 hops.
    header.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
    header.extend_from_slice(&ends.from.1.octets());
    header.extend_from_slice(&ends.to.1.octets());
    let sum = checksum(&[&header]).to_be_bytes();
    header.splice(10..12, sum);
    let pseudo = [&ends.from.1.octets()[..], &ends.to.1.octets(), &[0, UDP]].concat();
    let datagram = datagram(SERVER_V4, CLIENT_V4, udp_length, message, |datagram| {
        checksum(&[&pseudo, &udp_length.to_be_bytes(), datagram])
    });
    let mut frame = ethernet(ends.from.0, ends.to.0, IPV4);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&datagram);
    Some(frame)
}

/// A DHCPv6 server's message as a frame; `None` if it is too long for one.
pub fn dhcp_v6(ends: &Ends<Ipv6Addr>, message: &[u8]) -> Option<Vec<u8>> {
    let udp_length = length(message)?.checked_add(8)?;
    let datagram = datagram(SERVER_V6, CLIENT_V6, udp_length, message, |datagram| {
        pseudo_checksum(ends.from.1, ends.to.1, UDP, datagram)
    });
    v6_frame(ends, UDP, 64, &datagram)
}

/// An ICMPv6 message of a router to those on its link, as a frame; its checksum is filled in.
pub fn icmp_v6(ends: &Ends<Ipv6Addr>, mut message: Vec<u8>) -> Option<Vec<u8>> {
    let sum = pseudo_checksum(ends.from.1, ends.to.1, ICMPV6, &message).to_be_bytes();
    message.get_mut(2..4)?.copy_from_slice(&sum);
    v6_frame(ends, ICMPV6, FRESH_HOPS, &message)
}

fn v6_frame(ends: &Ends<Ipv6Addr>, next: u8, hops: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let mut frame = ethernet(ends.from.0, ends.to.0, IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&length(payload)?.to_be_bytes());
    frame.extend_from_slice(&[next, hops]);
    frame.extend_from_slice(&ends.from.1.octets());
    frame.extend_from_slice(&ends.to.1.octets());
    frame.extend_from_slice(payload);
    Some(frame)
}

fn datagram(source: u16, target: u16, size: u16, message: &[u8], sum: impl FnOnce(&[u8]) -> u16) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(message.len() + 8);
    for number in [source, target, size, 0] {
        datagram.extend_from_slice(&number.to_be_bytes());
    }
    datagram.extend_from_slice(message);
    // Zero would say that there is none (RFC 768).
    let sum = match sum(&datagram) {
        0 => 0xffff,
        sum => sum,
    };
    datagram.splice(6..8, sum.to_be_bytes());
    datagram
}
