//! What the network of this host looks like: the facts that machines' networks are planned with.

use std::net::IpAddr;

use crate::sys::SysResult;
use crate::sys::netlink::{DUMP, Message, ROUTE, Requests, Socket, attributes};

use super::link::found::{Found, all};

/// RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE (linux/rtnetlink.h).
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTN_UNICAST: u8 = 1;
const RT_TABLE_MAIN: u32 = 254;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A route of the host, of any table, by which packets are sent somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it leads to; of a default route all zeros.
    pub destination: IpAddr,
    /// Length of the destination's prefix; 0 is a default route.
    pub prefix: u8,
    /// By way of whom, where not directly.
    pub gateway: Option<IpAddr>,
    /// Indexes of the interfaces that it leads over.
    pub interfaces: Vec<u32>,
    /// It is in the main table, which is not for some packets alone.
    pub main: bool,
}

/// An address of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// It.
    pub address: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Index of its interface.
    pub interface: u32,
}

/// The host's links, routes and addresses at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostNetwork {
    /// Its links, ours among them.
    pub links: Vec<Found>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

impl HostNetwork {
    /// Looks at the network namespace that we are in.
    ///
    /// # Errors
    /// When the kernel does not list something.
    pub fn look() -> SysResult<Self> {
        let mut socket = Socket::open(ROUTE)?;
        let routes = dump(&mut socket, RTM_GETROUTE, "RTM_GETROUTE")?;
        let addresses = dump(&mut socket, RTM_GETADDR, "RTM_GETADDR")?;
        Ok(Self {
            links: all(&mut socket)?,
            routes: routes.iter().filter_map(parse_route).collect(),
            addresses: addresses.iter().filter_map(parse_address).collect(),
        })
    }

    /// The link with this index.
    pub fn link(&self, index: u32) -> Option<&Found> {
        self.links.iter().find(|link| link.index == index)
    }

    /// Interfaces over which the host reaches others, and which are not ours: those that routes of the main table lead over.
    pub fn uplinks(&self) -> impl Iterator<Item = &Found> {
        self.links.iter().filter(|link| {
            let routed = |route: &Route| {
                route.main && route.interfaces.contains(&link.index) && !route.is_link_local()
            };
            !link.ours && !link.is_loopback() && self.routes.iter().any(routed)
        })
    }
}

impl Route {
    /// It leads to what is on one link only, or to multicast groups: each interface has such routes.
    pub(super) fn is_link_local(&self) -> bool {
        match self.destination {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_multicast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast(),
        }
    }
}

/// Of both families.
fn dump(socket: &mut Socket, kind: u16, asked: &str) -> SysResult<Vec<Message>> {
    let mut requests = Requests::default();
    // An rtmsg; an ifaddrmsg is shorter and begins with the family too.
    requests.push(kind, DUMP, &[0; 12], asked);
    socket.dump(requests.bytes(), asked)
}

/// The route that a message tells of, if it is one by which packets are sent somewhere.
pub(super) fn parse_route(message: &Message) -> Option<Route> {
    /// An rtmsg.
    const HEADER: usize = 12;
    let body = &message.body;
    let [family, prefix, _, _, table, _, _, kind, ..] = *body.first_chunk::<HEADER>()?;
    if message.kind != RTM_NEWROUTE || kind != RTN_UNICAST {
        return None;
    }
    let destination = unspecified(family)?;
    let mut route = Route {
        destination,
        prefix,
        gateway: None,
        interfaces: Vec::new(),
        main: u32::from(table) == RT_TABLE_MAIN,
    };
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            RTA_DST => route.destination = address(value)?,
            RTA_GATEWAY => route.gateway = address(value),
            RTA_OIF => route.interfaces.extend(number(value)),
            RTA_TABLE => route.main = number(value) == Some(RT_TABLE_MAIN),
            RTA_MULTIPATH => route.interfaces.extend(next_hops(value)),
            _ => {}
        }
    }
    Some(route)
}

/// Interfaces of rtnexthops: length, flags, hops, index, attributes.
fn next_hops(mut bytes: &[u8]) -> Vec<u32> {
    let mut interfaces = Vec::new();
    while let (Some(length), Some(index)) = (bytes.first_chunk::<2>(), bytes.get(4..).and_then(number)) {
        let length = usize::from(u16::from_ne_bytes(*length));
        interfaces.push(index);
        if length < 8 {
            break;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    interfaces
}

fn parse_address(message: &Message) -> Option<Address> {
    /// An ifaddrmsg.
    const HEADER: usize = 8;
    let body = &message.body;
    let (family, prefix) = (*body.first()?, *body.get(1)?);
    if message.kind != RTM_NEWADDR || unspecified(family).is_none() {
        return None;
    }
    let interface = number(body.get(4..)?)?;
    let (mut whole, mut local) = (None, None);
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            IFA_ADDRESS => whole = address(value),
            // Of a link between two, IFA_ADDRESS is the other's.
            IFA_LOCAL => local = address(value),
            _ => {}
        }
    }
    Some(Address { address: local.or(whole)?, prefix, interface })
}

fn unspecified(family: u8) -> Option<IpAddr> {
    match family {
        AF_INET => address(&[0; 4]),
        AF_INET6 => address(&[0; 16]),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::{attribute, nested};

    fn route(header: [u8; 12], fill: impl FnOnce(&mut Vec<u8>)) -> Option<Route> {
        let mut body = header.to_vec();
        fill(&mut body);
        parse_route(&Message { kind: RTM_NEWROUTE, flags: 0, sequence: 1, body })
    }

    #[test]
    fn routes() {
        let header = |family, prefix, table, kind| [family, prefix, 0, 0, table, 0, 0, kind, 0, 0, 0, 0];
        let default = route(header(AF_INET, 0, 254, 1), |body| {
            attribute(body, RTA_GATEWAY, &[10, 0, 0, 1]);
            attribute(body, RTA_OIF, &3_u32.to_ne_bytes());
        });
        let expected = Route {
            destination: "0.0.0.0".parse().unwrap(),
            prefix: 0,
            gateway: Some("10.0.0.1".parse().unwrap()),
            interfaces: vec![3],
            main: true,
        };
        assert_eq!(default.as_ref(), Some(&expected));
        let hops = route(header(AF_INET6, 64, 0, 1), |body| {
            attribute(body, RTA_DST, &[0xfd; 16]);
            attribute(body, RTA_TABLE, &5_u32.to_ne_bytes());
            nested(body, RTA_MULTIPATH, |hops| {
                for index in [7_u32, 8] {
                    hops.extend([16, 0, 0, 0]);
                    hops.extend(index.to_ne_bytes());
                    hops.extend([0; 8]);
                }
            });
        });
        assert_eq!(hops.map(|route| (route.interfaces, route.main)), Some((vec![7, 8], false)));
        // Of the local table, of another family, and one whose hop has no length.
        assert_eq!(route(header(AF_INET, 32, 255, 2), |_| {}), None);
        assert_eq!(route(header(7, 0, 254, 1), |_| {}), None);
        let short = route(header(AF_INET, 0, 254, 1), |body| attribute(body, RTA_MULTIPATH, &[0; 8]));
        assert_eq!(short.map(|route| route.interfaces), Some(vec![0]));
    }

    #[test]
    fn this_host_has_loopback() {
        let host = HostNetwork::look().unwrap();
        assert!(host.links.iter().any(Found::is_loopback), "{host:?}");
        assert!(host.uplinks().all(|link| !link.is_loopback()));
    }
}
