//! Connections that the kernel keeps track of (ctnetlink, linux/netfilter/nfnetlink_conntrack.h): those that are to end are found
//! and forgotten, each by all that tells it from others.

use std::net::IpAddr;

use rustix::io::Errno;

use super::attribute::{Attributes, Writer};
use super::batch::message;
use super::error::NftError;
use super::number::{DUMP, REQUEST};
use crate::sys::netlink::{ACKNOWLEDGE, NETFILTER, Socket};
use crate::sys::sysctl;

/// NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE.
const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;

/// CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID, CTA_ZONE, CTA_FILTER; CTA_TUPLE_IP, CTA_TUPLE_PROTO.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const IP: u16 = 1;
const PROTOCOL: u16 = 2;

/// CTA_FILTER_F_CTA_IP_SRC: of a tuple, the source counts.
const BY_SOURCE: u32 = 1;

/// AF_UNSPEC: of all families.
const ANY: u8 = 0;

const LIST: &str = "list connections";

/// `struct nfgenmsg` is at the head of each message.
const HEADER: usize = 4;

/// One direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direction {
    /// From here.
    pub source: IpAddr,
    /// To there.
    pub destination: IpAddr,
    /// The protocol's number.
    pub protocol: u8,
    /// Ports, of protocols that have them.
    pub ports: Option<(u16, u16)>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// As who began it sends.
    pub original: Direction,
    /// As answers are sent: other addresses where some are translated.
    pub reply: Direction,
    /// CTA_TUPLE_ORIG, CTA_ZONE and CTA_ID: what it is told by.
    key: Vec<u8>,
}

/// Has the kernel forget the connections of `addresses`, on either side, that are `meant`. Says how many. A kernel that keeps track
/// of none has none. Takes some milliseconds: the kernel goes through a table that all network namespaces share.
///
/// # Errors
/// When the kernel does not list them, or keeps one.
pub fn forget(addresses: &[IpAddr], meant: impl Fn(&Connection) -> bool) -> Result<usize, NftError> {
    /// So many are listed faster than those of some addresses: each list goes through the whole table.
    const FEW: u32 = 1000;
    let count = sysctl::number("netfilter/nf_conntrack_count").unwrap_or(0);
    if count == 0 || addresses.is_empty() {
        return Ok(0);
    }
    let mut socket = Socket::open(NETFILTER).map_err(NftError::Socket)?;
    let mut found = Vec::new();
    if count <= FEW {
        found = list(&mut socket, message(GET, ANY, 0, REQUEST | DUMP, 0, &[]))?;
    } else {
        for (address, side) in addresses.iter().flat_map(|address| [(*address, ORIGINAL), (*address, REPLY)])
        {
            let request = request(address, side).ok_or_else(|| NftError::TooLong(LIST.to_owned()))?;
            found.extend(list(&mut socket, request)?);
        }
    }
    // Kernels before 5.8 list all of them.
    let is_of = |source: &IpAddr| addresses.contains(source);
    found.retain(|connection| is_of(&connection.original.source) || is_of(&connection.reply.source));
    found.retain(meant);
    // Between two of them: found on both sides.
    found.sort_by(|one, other| one.key.cmp(&other.key));
    found.dedup();
    let deletions: Vec<u8> = found.iter().flat_map(Connection::deletion).collect();
    if deletions.is_empty() {
        return Ok(0);
    }
    let answers = socket.exchange(&deletions).map_err(NftError::Socket)?;
    // One that ended meanwhile is as good.
    let refused = answers.refusals.iter().find(|refusal| refusal.errno != Errno::NOENT);
    match refused {
        Some(refusal) => {
            Err(NftError::Refused { asked: "forget a connection".to_owned(), errno: refusal.errno })
        }
        None => Ok(found.len() - answers.refusals.len()),
    }
}

fn list(socket: &mut Socket, request: Vec<u8>) -> Result<Vec<Connection>, NftError> {
    let answers = socket.exchange(&request).map_err(NftError::Socket)?;
    match answers.refusals.first() {
        // No ctnetlink (nfnetlink_rcv_msg()).
        Some(refusal) if refusal.errno == Errno::INVAL => Ok(Vec::new()),
        Some(refusal) => Err(NftError::Refused { asked: LIST.to_owned(), errno: refusal.errno }),
        None => Ok(answers.messages.iter().filter_map(|message| Connection::read(&message.body)).collect()),
    }
}

fn request(address: IpAddr, side: u16) -> Option<Vec<u8>> {
    let mut writer = Writer::default();
    writer.nested(side, |tuple| {
        tuple.nested(IP, |ip| match address {
            // CTA_IP_V4_SRC, CTA_IP_V6_SRC
            IpAddr::V4(address) => ip.bytes(1, &address.octets()),
            IpAddr::V6(address) => ip.bytes(3, &address.octets()),
        });
    });
    writer.nested(FILTER, |filter| {
        // CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS, which are in the host's byte order.
        let (original, reply) = if side == ORIGINAL { (BY_SOURCE, 0) } else { (0, BY_SOURCE) };
        filter.bytes(1, &original.to_ne_bytes());
        filter.bytes(2, &reply.to_ne_bytes());
    });
    Some(message(GET, family(address), 0, REQUEST | DUMP, 0, &writer.finish()?))
}

/// AF_INET, AF_INET6.
fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

impl Connection {
    /// One that the kernel does not know.
    #[cfg(test)]
    pub fn of(original: Direction, reply: Direction) -> Self {
        Self { original, reply, key: Vec::new() }
    }

    fn deletion(&self) -> Vec<u8> {
        message(DELETE, family(self.original.source), 0, REQUEST | ACKNOWLEDGE, 0, &self.key)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let attributes = Attributes(body.get(HEADER..)?);
        let (original, reply) = (attributes.find(ORIGINAL)?, attributes.find(REPLY)?);
        let mut key = Writer::default();
        key.nested(ORIGINAL, |inner| inner.append(original.value));
        for kind in [ZONE, ID] {
            if let Some(attribute) = attributes.find(kind) {
                key.bytes(kind, attribute.value);
            }
        }
        Some(Self {
            original: Direction::read(original.nested())?,
            reply: Direction::read(reply.nested())?,
            key: key.finish()?,
        })
    }
}

impl Direction {
    fn read(tuple: Attributes<'_>) -> Option<Self> {
        let (ip, protocol) = (tuple.find(IP)?.nested(), tuple.find(PROTOCOL)?.nested());
        let address = |v4: u16, v6: u16| -> Option<IpAddr> {
            match (ip.find(v4), ip.find(v6)) {
                (Some(v4), _) => <[u8; 4]>::try_from(v4.value).ok().map(IpAddr::from),
                (None, v6) => <[u8; 16]>::try_from(v6?.value).ok().map(IpAddr::from),
            }
        };
        let port = |kind: u16| Some(u16::from_be_bytes(protocol.find(kind)?.value.try_into().ok()?));
        Some(Self {
            source: address(1, 3)?,
            destination: address(2, 4)?,
            // CTA_PROTO_NUM, _SRC_PORT, _DST_PORT
            protocol: *protocol.find(1)?.value.first()?,
            ports: port(2).zip(port(3)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(
        writer: &mut Writer,
        kind: u16,
        (source, destination): ([u8; 4], [u8; 4]),
        ports: Option<[u16; 2]>,
    ) {
        writer.nested(kind, |tuple| {
            tuple.nested(IP, |ip| {
                ip.bytes(1, &source);
                ip.bytes(2, &destination);
            });
            tuple.nested(PROTOCOL, |protocol| {
                protocol.bytes(1, &[6]);
                for (kind, port) in (2..).zip(ports.iter().flatten()) {
                    protocol.bytes(kind, &port.to_be_bytes());
                }
            });
        });
    }

    #[test]
    fn connections_are_read() {
        let (client, host, machine) = ([192, 0, 2, 2], [192, 0, 2, 1], [10, 213, 0, 2]);
        let mut writer = Writer::default();
        tuple(&mut writer, ORIGINAL, (client, host), Some([40_000, 8080]));
        tuple(&mut writer, REPLY, (machine, client), Some([80, 40_000]));
        writer.u32(8, 0);
        writer.bytes(ID, &[1, 2, 3, 4]);
        let body = [vec![2, 0, 0, 0], writer.finish().unwrap()].concat();
        let found = Connection::read(&body).unwrap();
        let direction = |source: [u8; 4], destination: [u8; 4], ports| Direction {
            source: source.into(),
            destination: destination.into(),
            protocol: 6,
            ports: Some(ports),
        };
        assert_eq!(found.original, direction(client, host, (40_000, 8080)));
        assert_eq!(found.reply, direction(machine, client, (80, 40_000)));
        let mut key = Writer::default();
        tuple(&mut key, ORIGINAL, (client, host), Some([40_000, 8080]));
        key.bytes(ID, &[1, 2, 3, 4]);
        assert_eq!(found.key, key.finish().unwrap());
        // What is cut off is none.
        for length in [0, 3, 4, 40, 60] {
            assert_eq!(Connection::read(&body[..length]), None, "{length}");
        }
    }

    #[test]
    fn only_those_of_an_address_are_asked_for() {
        let expected = [
            &[52, 0, 0, 0, 1, 1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0][..],
            &[16, 0, 2, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 10, 213, 0, 2],
            &[20, 0, 25, 0x80, 8, 0, 1, 0, 0, 0, 0, 0, 8, 0, 2, 0, 1, 0, 0, 0],
        ];
        let mut expected = expected.concat();
        expected[0] = u8::try_from(expected.len()).unwrap();
        assert_eq!(request([10, 213, 0, 2].into(), REPLY), Some(expected));
    }
}
