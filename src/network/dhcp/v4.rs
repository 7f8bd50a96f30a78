//! DHCPv4: what a client asks (RFC 2131, RFC 2132), and what the server of a single machine answers.

use std::net::Ipv4Addr;

use super::Facts;
use super::frame::BROADCAST;
use super::wire::{Reader, labels, short_length};
use crate::network::plan::Family;

/// BOOTP's fixed part (RFC 951), and the cookie that says that options follow.
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// What every client takes (RFC 1542, 2.1), and what it takes without saying more (RFC 2131, 2).
const SHORTEST: usize = 300;
const USUAL_LONGEST: usize = 576 - 28;
/// As long as the machine runs: it has no other address meanwhile (RFC 2131, 3.3).
const FOREVER: u32 = u32::MAX;

/// Kinds of messages (RFC 2132, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as there")]
pub enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().zip(1..).find(|(kind, _)| **kind == self).map_or(0, |(_, number)| number)
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// Options by number (RFC 2132; 80: RFC 4039; 119: RFC 3397; 121: RFC 3442).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const SUBNET: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const HOSTNAME: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const BROADCAST: u8 = 28;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const LONGEST: u8 = 57;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const RAPID_COMMIT: u8 = 80;
    pub(super) const SEARCH: u8 = 119;
    pub(super) const ROUTES: u8 = 121;
    pub(super) const END: u8 = 255;
}

/// A client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it wants.
    pub kind: Kind,
    /// Its number.
    pub id: u32,
    /// It cannot be sent to before it has its address.
    pub broadcast: bool,
    /// The address that it has.
    pub current: Ipv4Addr,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The address that it wants.
    pub requested: Option<Ipv4Addr>,
    /// The server that it has chosen.
    pub server: Option<Ipv4Addr>,
    /// What it wants to be told; all where it does not say.
    pub parameters: Option<Vec<u8>>,
    /// The longest message that it takes.
    pub longest: Option<u16>,
    /// What it calls itself.
    pub client: Option<Vec<u8>>,
    /// It takes two messages for four.
    pub rapid_commit: bool,
}

impl Request {
    /// Reads one. `None` for what is none, or came over a relay: those of our own link need none.
    pub fn read(message: &[u8]) -> Option<Self> {
        const BOOTREQUEST: u8 = 1;
        const ETHERNET: [u8; 2] = [1, 6];
        let mut reader = Reader(message);
        if reader.byte()? != BOOTREQUEST || reader.array()? != ETHERNET {
            return None;
        }
        reader.take(1)?;
        let id = reader.long()?;
        reader.take(2)?;
        let broadcast = reader.short()? & 0x8000 != 0;
        let current = Ipv4Addr::from(reader.array::<4>()?);
        reader.take(8)?;
        let relay = Ipv4Addr::from(reader.array::<4>()?);
        let mac = reader.array::<6>()?;
        let mut options = Reader(message.get(FIXED..)?);
        if options.array()? != COOKIE || !relay.is_unspecified() {
            return None;
        }
        let mut request = Self {
            kind: Kind::Decline,
            id,
            broadcast,
            current,
            mac,
            requested: None,
            server: None,
            parameters: None,
            longest: None,
            client: None,
            rapid_commit: false,
        };
        let mut kind = None;
        while let Some(number) = options.byte() {
            match number {
                option::PAD => continue,
                option::END => break,
                _ => {}
            }
            let size = usize::from(options.byte()?);
            let value = options.take(size)?;
            let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
            match (number, value) {
                (option::KIND, [number]) => kind = Kind::of(*number),
                (option::REQUESTED, _) => request.requested = address(),
                (option::SERVER, _) => request.server = address(),
                (option::PARAMETERS, _) => request.parameters = Some(value.to_vec()),
                (option::LONGEST, [high, low]) => request.longest = Some(u16::from_be_bytes([*high, *low])),
                (option::CLIENT, _) => request.client = Some(value.to_vec()),
                (option::RAPID_COMMIT, []) => request.rapid_commit = true,
                _ => {}
            }
        }
        request.kind = kind?;
        Some(request)
    }
}

/// A message to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who it is from: the host's side, else the gateway, where there is one.
    pub server: Ipv4Addr,
    /// Its address or all.
    pub to: Ipv4Addr,
    /// Its MAC address or all.
    pub to_mac: [u8; 6],
    /// The message.
    pub message: Vec<u8>,
}

/// What is answered to `request`; nothing to what is not for us or wants no answer.
pub fn answer(request: &Request, facts: &Facts) -> Option<Answer> {
    let family = facts.addresses.v4?;
    let server = family.host.or(family.gateway).unwrap_or(family.address);
    if request.mac != facts.mac || request.server.is_some_and(|chosen| chosen != server) {
        return None;
    }
    // What it wants is what it says, else what it has (RFC 2131, table 4).
    let wanted = request.requested.unwrap_or(request.current);
    let kind = match request.kind {
        Kind::Discover if request.rapid_commit => Kind::Ack,
        Kind::Discover => Kind::Offer,
        Kind::Request if wanted == family.address => Kind::Ack,
        Kind::Request => Kind::Nak,
        Kind::Inform if request.current == family.address => Kind::Ack,
        _ => return None,
    };
    let message = message(kind, request, facts, family, server);
    let (to, to_mac) = match kind {
        Kind::Nak => (Ipv4Addr::BROADCAST, BROADCAST),
        _ if !request.current.is_unspecified() => (request.current, facts.mac),
        _ if request.broadcast => (Ipv4Addr::BROADCAST, BROADCAST),
        _ => (family.address, facts.mac),
    };
    Some(Answer { server, to, to_mac, message })
}

fn message(
    kind: Kind,
    request: &Request,
    facts: &Facts,
    family: Family<Ipv4Addr>,
    server: Ipv4Addr,
) -> Vec<u8> {
    const BOOTREPLY: u8 = 2;
    let inform = request.kind == Kind::Inform;
    let given = if inform || kind == Kind::Nak { Ipv4Addr::UNSPECIFIED } else { family.address };
    let current = if kind == Kind::Nak { Ipv4Addr::UNSPECIFIED } else { request.current };
    let mut message = vec![BOOTREPLY, 1, 6, 0];
    message.extend_from_slice(&request.id.to_be_bytes());
    message.extend_from_slice(&[0, 0, if request.broadcast { 0x80 } else { 0 }, 0]);
    for address in [current, given, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED] {
        message.extend_from_slice(&address.octets());
    }
    message.extend_from_slice(&request.mac);
    message.resize(FIXED, 0);
    message.extend_from_slice(&COOKIE);
    let longest = request
        .longest
        .map_or(USUAL_LONGEST, |longest| usize::from(longest).saturating_sub(28).clamp(USUAL_LONGEST, 1472));
    let mut put = |number: u8, value: &[u8]| {
        // The end takes a byte. What finds no room is left out: none of it is needed to have the address.
        if let Some(size) = short_length(value)
            && message.len() + value.len() + 3 <= longest
        {
            message.extend_from_slice(&[number, size]);
            message.extend_from_slice(value);
        }
    };
    put(option::KIND, &[kind.number()]);
    put(option::SERVER, &server.octets());
    // RFC 6842: a client with many interfaces knows itself by it.
    if let Some(client) = &request.client {
        put(option::CLIENT, client);
    }
    if kind != Kind::Nak {
        if !inform {
            put(option::LEASE, &FOREVER.to_be_bytes());
        }
        if kind == Kind::Ack && request.kind == Kind::Discover {
            put(option::RAPID_COMMIT, &[]);
        }
        let all = [
            option::SUBNET,
            option::ROUTES,
            option::ROUTER,
            option::DNS,
            option::DOMAIN,
            option::SEARCH,
            option::HOSTNAME,
            option::BROADCAST,
        ];
        // Each once, whatever was asked for and how often.
        for number in all {
            if request.parameters.as_ref().is_none_or(|wanted| wanted.contains(&number))
                && let Some(value) = value(number, facts, family)
            {
                put(number, &value);
            }
        }
    }
    message.push(option::END);
    if message.len() < SHORTEST {
        message.resize(SHORTEST, option::PAD);
    }
    message
}

/// What a client is told that asks for `number`.
fn value(number: u8, facts: &Facts, family: Family<Ipv4Addr>) -> Option<Vec<u8>> {
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(family.prefix.into())).unwrap_or(0);
    let network = |address: Ipv4Addr| u32::from(address) & mask;
    Some(match number {
        option::SUBNET => mask.to_be_bytes().to_vec(),
        option::BROADCAST => (network(family.address) | !mask).to_be_bytes().to_vec(),
        option::ROUTER => family.gateway?.octets().to_vec(),
        option::ROUTES => {
            // Only for a gateway out of the network: a way to it, then the way over it. Clients that know this option do not look
            // at the router's.
            let gateway = family.gateway.filter(|gateway| network(*gateway) != network(family.address))?;
            let mut routes = vec![32];
            routes.extend_from_slice(&gateway.octets());
            routes.extend_from_slice(&[0; 4]);
            routes.push(0);
            routes.extend_from_slice(&gateway.octets());
            routes
        }
        option::DNS => {
            let servers: Vec<u8> = facts.dns_v4().flat_map(|server| server.octets()).collect();
            (!servers.is_empty()).then_some(servers)?
        }
        option::DOMAIN => facts.domain.as_ref()?.as_bytes().to_vec(),
        option::SEARCH => labels(facts.domain.as_ref()?)?,
        option::HOSTNAME => facts.hostname.as_bytes().to_vec(),
        _ => return None,
    })
}
