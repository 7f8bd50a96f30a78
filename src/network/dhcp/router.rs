//! Router advertisements (RFC 4861, 4.2), with name servers and search domains (RFC 8106).

use std::net::Ipv6Addr;

use super::Facts;
use super::wire::labels;

/// How long a router is one at most (RFC 8319), in seconds.
pub const LIFETIME: u16 = u16::MAX;

/// An advertisement; its checksum is for the frame to fill in. `None` where the machine has no IPv6.
///
/// It leaves out the router's MAC address, which may change while it is one: who needs it asks.
pub fn advertisement(facts: &Facts) -> Option<Vec<u8>> {
    const ADVERTISEMENT: u8 = 134;
    const HOPS: u8 = 64;
    /// Addresses by DHCPv6, and all else by DHCPv6.
    const MANAGED: u8 = 0x80 | 0x40;
    /// What has this prefix is on the link; nobody makes an address of it.
    const ON_LINK: u8 = 0x80;
    const FOREVER: [u8; 4] = [0xff; 4];
    let family = facts.addresses.v6?;
    // A gateway that is not ours says itself where it is.
    let lifetime = if family.gateway.is_some() { LIFETIME } else { 0 };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, HOPS, MANAGED];
    message.extend_from_slice(&lifetime.to_be_bytes());
    message.extend_from_slice(&[0; 8]);

    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(family.prefix.into())).unwrap_or(0);
    let network = Ipv6Addr::from(u128::from(family.address) & mask);
    // Lengths of options are in units of 8 bytes.
    message.extend_from_slice(&[3, 4, family.prefix, ON_LINK]);
    message.extend_from_slice(&[FOREVER, FOREVER, [0; 4]].concat());
    message.extend_from_slice(&network.octets());

    let servers: Vec<Ipv6Addr> = facts.dns_v6().take(MOST_SERVERS).collect();
    if let Some(units) = u8::try_from(servers.len() * 2 + 1).ok().filter(|_| !servers.is_empty()) {
        message.extend_from_slice(&[25, units, 0, 0]);
        message.extend_from_slice(&FOREVER);
        servers.iter().for_each(|server| message.extend_from_slice(&server.octets()));
    }
    if let Some(mut search) = facts.domain.as_deref().and_then(labels) {
        search.resize(search.len().next_multiple_of(8), 0);
        if let Ok(units) = u8::try_from(search.len() / 8 + 1) {
            message.extend_from_slice(&[31, units, 0, 0]);
            message.extend_from_slice(&FOREVER);
            message.extend_from_slice(&search);
        }
    }
    Some(message)
}

/// Resolvers ask three (MAXNS of resolv.h).
const MOST_SERVERS: usize = 3;
