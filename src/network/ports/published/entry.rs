//! A port or an offer of a machine: the sockets that others come by, who serves them, and where they lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use super::proxies::Which;
use crate::network::ports::message::Target;
use crate::network::ports::sockets::Inside;
use crate::settings::network::{Endpoint, Offer, PortMapping, Protocol};

/// A port of the host, or something of it that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Port(PortMapping),
    Offer(Offer),
}

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) what: What,
    /// What the proxy calls it.
    pub(super) group: u32,
    /// By which others come: none for a range that is too long to be held, and none where the machine is not there yet.
    pub(super) sockets: Vec<OwnedFd>,
    /// The file of a socket in the machine.
    pub(super) file: Option<Inside>,
    /// The proxy has them.
    pub(super) served: bool,
}

impl Entry {
    /// The port, if it is one.
    pub(super) fn port(&self) -> Option<&PortMapping> {
        match &self.what {
            What::Port(mapping) => Some(mapping),
            What::Offer(_) => None,
        }
    }

    /// The offer, if it is one.
    pub(super) fn offer(&self) -> Option<&Offer> {
        match &self.what {
            What::Port(_) => None,
            What::Offer(offer) => Some(offer),
        }
    }

    /// Who serves it, in a machine that the host reaches by the addresses `guest`.
    pub(super) fn server(&self, guest: &[IpAddr]) -> Which {
        match &self.what {
            What::Port(_) if guest.is_empty() => Which::Inside,
            What::Offer(Offer { outside: Endpoint::Unix(_), .. }) => Which::Sockets,
            What::Port(_) | What::Offer(_) => Which::Outside,
        }
    }

    /// Where it leads to, and of which protocol it is.
    pub(super) fn target(&self, guest: &[IpAddr]) -> (Protocol, Target) {
        const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let at = |address: &Option<IpAddr>, port: u16| {
            Target::Inet(address.map_or(LOOPBACK.to_vec(), |address| vec![address]), port)
        };
        match &self.what {
            What::Port(mapping) => {
                let addresses = if guest.is_empty() { LOOPBACK.to_vec() } else { guest.to_vec() };
                (mapping.protocol, Target::Inet(addresses, mapping.guest))
            }
            What::Offer(offer) => match &offer.outside {
                Endpoint::Tcp(address, port) => (Protocol::Tcp, at(address, *port)),
                Endpoint::Udp(address, port) => (Protocol::Udp, at(address, *port)),
                Endpoint::Unix(path) => (Protocol::Tcp, Target::Unix(path.clone())),
            },
        }
    }
}
