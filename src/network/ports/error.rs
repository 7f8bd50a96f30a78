//! Why a port or an offer cannot be: one line, and the next step.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::settings::network::{Endpoint, PortMapping, Protocol};
use crate::sys::SysError;

use super::holder::Holder;

/// A fault of a port or an offer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PortsError {
    #[error("{} of the host {}", port(*.protocol, *.number), .holder)]
    InUse { protocol: Protocol, number: u16, guest: u16, holder: Holder },
    #[error("{address} is not an address of this host")]
    NotOurs { address: IpAddr },
    #[error("{} overlaps {}, which leads to the machine already", shown(.mapping), shown(.other))]
    Twice { mapping: PortMapping, other: PortMapping },
    #[error("the machine has the host's network: what it listens at are ports of the host")]
    HostNetwork,
    #[error("{} is {} ports: without rules for them at most {most} can be forwarded", shown(.mapping), .mapping.count)]
    TooMany { mapping: PortMapping, most: usize },
    #[error("{} ends beyond port 65535", shown(.mapping))]
    BeyondLast { mapping: PortMapping },
    #[error("{} does not lead to the machine", shown(.0))]
    NotPublished(PortMapping),
    #[error("{} is offered in the machine already", endpoint(.0))]
    OfferedTwice(Endpoint),
    #[error("{} is not offered in the machine", endpoint(.0))]
    NotOffered(Endpoint),
    #[error("{} cannot be offered as {}", endpoint(.outside), endpoint(.inside))]
    Mixed { inside: Endpoint, outside: Endpoint },
    #[error("a socket of the host cannot be offered at {0:?} of the machine")]
    Elsewhere(PathBuf),
    #[error("{most} things are offered in the machine already, which is the limit")]
    TooManyOffers { most: usize },
    #[error("{} is in use in the machine", endpoint(.0))]
    InUseInside(Endpoint),
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: SysError,
    },
}

impl PortsError {
    pub(super) fn system(action: &'static str) -> impl FnOnce(SysError) -> Self {
        move |source| Self::System { action, source }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse { number, guest, holder: Holder::Machine(name), .. } => {
                format!(
                    "another port: --port={}:{guest}; spinney ports {name} shows that machine's",
                    elsewhere(*number)
                )
            }
            Self::InUse { protocol, number, guest, .. } => {
                let option = match protocol {
                    Protocol::Tcp => "-ltnp",
                    Protocol::Udp => "-lunp",
                };
                format!(
                    "another port: --port={}:{guest}; ss {option} shows who listens where",
                    elsewhere(*number)
                )
            }
            Self::NotOurs { .. } => {
                "ip address shows them; without an address a port is at all of them".to_owned()
            }
            Self::Twice { .. } => "give each port once".to_owned(),
            Self::HostNetwork => {
                "leave --port= and --offer= out, or give it a network: --network-veth".to_owned()
            }
            Self::TooMany { .. } => {
                "give it a network with addresses of ours: --network-veth or a zone".to_owned()
            }
            Self::NotPublished(_) | Self::NotOffered(_) => "spinney ports shows what there is".to_owned(),
            Self::Mixed { .. } => {
                "TCP ports and Unix sockets lead to each other, UDP ports to UDP ports".to_owned()
            }
            Self::Elsewhere(_) => {
                "below /run, for example /run/postgresql.sock: the rest is the image's".to_owned()
            }
            Self::InUseInside(_) => "offer it at another port of the machine".to_owned(),
            Self::BeyondLast { .. }
            | Self::OfferedTwice(_)
            | Self::TooManyOffers { .. }
            | Self::System { .. } => return None,
        })
    }
}

/// A port to try in place of `number`: those below 1024 are 8000 further up, as people do.
fn elsewhere(number: u16) -> u16 {
    if number < 1024 { number + 8000 } else { number.checked_add(1).unwrap_or(number - 1) }
}

/// `port 80/tcp`.
fn port(protocol: Protocol, number: u16) -> String {
    format!("port {number}/{}", word(protocol))
}

/// `port 80/tcp`, `port 127.0.0.1:80/tcp`, `ports 8000-8009/udp`: the host's side of a mapping.
pub fn shown(mapping: &PortMapping) -> String {
    let s = if mapping.count == 1 { "" } else { "s" };
    format!("port{s} {}/{}", host_side(mapping), word(mapping.protocol))
}

/// `80`, `127.0.0.1:80`, `[::1]:8000-8009`.
pub fn host_side(mapping: &PortMapping) -> String {
    let range = range(mapping.host, mapping.count);
    match mapping.address {
        Some(IpAddr::V4(address)) => format!("{address}:{range}"),
        Some(IpAddr::V6(address)) => format!("[{address}]:{range}"),
        None => range,
    }
}

/// `80`, `8000-8009`.
pub fn range(first: u16, count: u16) -> String {
    match count {
        0 | 1 => first.to_string(),
        _ => format!("{first}-{}", u32::from(first) + u32::from(count) - 1),
    }
}

/// `tcp`, `udp`.
pub fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// `5432`, `127.0.0.1:5432`, `/run/x.sock`.
pub fn endpoint_side(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(..) | Endpoint::Udp(..) => endpoint.to_string(),
        // Foreign bytes, as far as they are no UTF-8.
        Endpoint::Unix(path) => format!("{path:?}").trim_matches('"').to_owned(),
    }
}

/// `port 5432/tcp`, `/run/x.sock`.
pub fn endpoint(endpoint: &Endpoint) -> String {
    let inet = |protocol, address: &Option<IpAddr>, number| {
        shown(&PortMapping { protocol, address: *address, host: number, guest: number, count: 1 })
    };
    match endpoint {
        Endpoint::Tcp(address, number) => inet(Protocol::Tcp, address, *number),
        Endpoint::Udp(address, number) => inet(Protocol::Udp, address, *number),
        Endpoint::Unix(path) => format!("{path:?}"),
    }
}
