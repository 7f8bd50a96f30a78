//! DHCPv6: what a client asks (RFC 8415), and what the server of a single machine answers.

use std::net::Ipv6Addr;

use super::Facts;
use super::wire::{Reader, labels, length};
use crate::network::plan::Family;

/// Kinds of messages (RFC 8415, 7.3).
mod kind {
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const CONFIRM: u8 = 4;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REBIND: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const RELEASE: u8 = 8;
    pub(super) const DECLINE: u8 = 9;
    pub(super) const INFORMATION: u8 = 11;
}

/// Options (RFC 8415, 21; 23 and 24: RFC 3646).
mod option {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    pub(super) const ADDRESSES: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const STATUS: u16 = 13;
    pub(super) const RAPID_COMMIT: u16 = 14;
    pub(super) const DNS: u16 = 23;
    pub(super) const SEARCH: u16 = 24;
    pub(super) const PREFIXES: u16 = 25;
}

/// Status codes (RFC 8415, 21.13).
mod status {
    pub(super) const SUCCESS: u16 = 0;
    pub(super) const NO_ADDRESSES: u16 = 2;
    pub(super) const NOT_ON_LINK: u16 = 4;
    pub(super) const NO_PREFIXES: u16 = 6;
}

/// As long as the machine runs (RFC 8415, 7.7).
const FOREVER: u32 = u32::MAX;
/// Longest DUID (RFC 8415, 11.1).
const LONGEST_NAME: usize = 130;
/// Most associations that are answered, and most addresses in one: clients have one or two, and an answer is a single packet.
const MOST_ASSOCIATIONS: usize = 3;

/// A client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    kind: u8,
    id: [u8; 3],
    client: Option<Vec<u8>>,
    server: Option<Vec<u8>>,
    /// Its associations of addresses, by number, with the addresses that it has or wants in them.
    associations: Vec<([u8; 4], Vec<Ipv6Addr>)>,
    /// Its associations of prefixes.
    prefixes: Vec<[u8; 4]>,
    rapid_commit: bool,
}

impl Request {
    /// Reads one.
    pub fn read(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message);
        let mut request = Self {
            kind: reader.byte()?,
            id: reader.array()?,
            client: None,
            server: None,
            associations: Vec::new(),
            prefixes: Vec::new(),
            rapid_commit: false,
        };
        for (number, value) in options(reader.0)? {
            match number {
                option::CLIENT if value.len() <= LONGEST_NAME => request.client = Some(value.to_vec()),
                option::SERVER => request.server = Some(value.to_vec()),
                option::RAPID_COMMIT => request.rapid_commit = true,
                option::ADDRESSES if request.associations.len() < MOST_ASSOCIATIONS => {
                    let mut inner = Reader(value);
                    let id = inner.array()?;
                    inner.take(8)?;
                    let addresses = options(inner.0)?
                        .into_iter()
                        .filter(|(number, _)| *number == option::ADDRESS)
                        .filter_map(|(_, value)| Reader(value).array::<16>().map(Ipv6Addr::from))
                        .collect();
                    request.associations.push((id, addresses));
                }
                option::PREFIXES if request.prefixes.len() < MOST_ASSOCIATIONS => {
                    request.prefixes.push(Reader(value).array()?);
                }
                _ => {}
            }
        }
        Some(request)
    }
}

/// The options in `bytes`; `None` if one has no end.
fn options(bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut reader = Reader(bytes);
    let mut options = Vec::new();
    while !reader.0.is_empty() {
        let (number, size) = (reader.short()?, reader.short()?);
        options.push((number, reader.take(size.into())?));
    }
    Some(options)
}

/// What is answered to `request` by the server at the link whose MAC address is `own`; nothing to what is not for us.
pub fn answer(request: &Request, facts: &Facts, own: [u8; 6]) -> Option<Vec<u8>> {
    let Family { address, prefix, .. } = facts.addresses.v6?;
    // A name made of a link's address (RFC 8415, 11.4).
    let name = [&[0, 3, 0, 1][..], &own].concat();
    let named = request.server.as_ref().map(|server| *server == name);
    let served = match request.kind {
        kind::SOLICIT | kind::CONFIRM | kind::REBIND => named.is_none(),
        kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => named == Some(true),
        kind::INFORMATION => named != Some(false),
        _ => false,
    };
    let needs_client = request.kind != kind::INFORMATION;
    if !served || needs_client && request.client.is_none() {
        return None;
    }
    let at_once = request.kind == kind::SOLICIT && request.rapid_commit;
    let reply = if request.kind == kind::SOLICIT && !at_once { kind::ADVERTISE } else { kind::REPLY };
    let mut message = vec![reply];
    message.extend_from_slice(&request.id);
    if let Some(client) = &request.client {
        put(&mut message, option::CLIENT, client)?;
    }
    put(&mut message, option::SERVER, &name)?;
    if at_once {
        put(&mut message, option::RAPID_COMMIT, &[])?;
    }
    match request.kind {
        kind::CONFIRM => {
            let mut held = request.associations.iter().flat_map(|(_, has)| has).peekable();
            // Nothing to say anything about (RFC 8415, 18.3.3).
            held.peek()?;
            let on_link = |has: &Ipv6Addr| {
                let differs = u128::from(*has) ^ u128::from(address);
                differs.leading_zeros() >= u32::from(prefix).min(128)
            };
            let code = if held.all(on_link) { status::SUCCESS } else { status::NOT_ON_LINK };
            put(&mut message, option::STATUS, &code.to_be_bytes())?;
        }
        kind::RELEASE | kind::DECLINE => {
            put(&mut message, option::STATUS, &status::SUCCESS.to_be_bytes())?;
        }
        kind::INFORMATION => {}
        _ => associations(&mut message, request, address)?,
    }
    let dns: Vec<u8> = facts.dns_v6().flat_map(|server| server.octets()).collect();
    if !dns.is_empty() {
        put(&mut message, option::DNS, &dns)?;
    }
    if let Some(search) = facts.domain.as_deref().and_then(labels) {
        put(&mut message, option::SEARCH, &search)?;
    }
    Some(message)
}

/// The machine's one address, in the first association, and that there are none for others.
fn associations(message: &mut Vec<u8>, request: &Request, address: Ipv6Addr) -> Option<()> {
    for (index, (id, has)) in request.associations.iter().enumerate() {
        // When to renew is up to the client, which with lifetimes without end need not.
        let mut value = [&id[..], &FOREVER.to_be_bytes(), &FOREVER.to_be_bytes()].concat();
        if index == 0 {
            put(&mut value, option::ADDRESS, &lifetimes(address, FOREVER))?;
        } else {
            put(&mut value, option::STATUS, &status::NO_ADDRESSES.to_be_bytes())?;
        }
        // What it has besides is none of ours: over at once (RFC 8415, 18.3.4).
        for other in has.iter().filter(|has| **has != address).take(MOST_ASSOCIATIONS) {
            put(&mut value, option::ADDRESS, &lifetimes(*other, 0))?;
        }
        put(message, option::ADDRESSES, &value)?;
    }
    for id in &request.prefixes {
        let mut value = [&id[..], &[0; 8]].concat();
        put(&mut value, option::STATUS, &status::NO_PREFIXES.to_be_bytes())?;
        put(message, option::PREFIXES, &value)?;
    }
    Some(())
}

fn lifetimes(address: Ipv6Addr, seconds: u32) -> Vec<u8> {
    [&address.octets()[..], &seconds.to_be_bytes(), &seconds.to_be_bytes()].concat()
}

fn put(message: &mut Vec<u8>, number: u16, value: &[u8]) -> Option<()> {
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(&length(value)?.to_be_bytes());
    message.extend_from_slice(value);
    Some(())
}
