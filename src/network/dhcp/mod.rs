//! Addresses for guests that ask: a DHCP server and a router's advertisements for one machine each, in its supervisor.
//!
//! The machine has its addresses before its init runs. A guest whose configuration insists on asking gets the same ones from here, and
//! nobody else does: the server hears what comes in at the host's end of the machine's own link, before a bridge or a firewall has
//! it, answers only to the machine's MAC address, and what it answers goes to that link alone.
//!
//! | file | what it owns |
//! |---|---|
//! | [`wire`] | bounded reading and writing of bytes |
//! | [`frame`] | Ethernet, IP, UDP and ICMPv6 around it all |
//! | [`v4`] | DHCPv4 messages (RFC 2131, RFC 2132) and the answers to them |
//! | [`v6`] | DHCPv6 messages (RFC 8415) and the answers to them |
//! | [`router`] | router advertisements (RFC 4861) |
//! | [`filter`] | which frames are looked at |
//! | [`server`] | the service |
//!
//! IPv6 addresses come by DHCPv6 and not from the advertised prefix: a machine that made itself addresses there would have ones that
//! are not its own, from which it may not send. The advertisement says so (M, and a prefix without A).

pub mod filter;
pub mod frame;
pub mod router;
pub mod server;
pub mod v4;
pub mod v6;
pub mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::plan::{Addresses, NetworkPlan};

/// What a machine is told of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Addresses,
    /// Its name servers.
    pub dns: Vec<IpAddr>,
    /// The domain that names without a dot are looked up in.
    pub domain: Option<String>,
    /// Its own name.
    pub hostname: String,
}

impl Facts {
    /// Of a machine's main interface; `None` where it has no addresses or no MAC address of us.
    pub fn of(plan: &NetworkPlan, hostname: &str) -> Option<Self> {
        let (link, addresses) = plan.main()?;
        Some(Self {
            mac: link.mac?.0,
            addresses,
            dns: plan.dns.clone(),
            domain: plan.domain.clone(),
            hostname: hostname.to_owned(),
        })
    }

    fn dns_v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.dns.iter().filter_map(|server| match server {
            IpAddr::V4(server) => Some(*server),
            IpAddr::V6(_) => None,
        })
    }

    fn dns_v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.dns.iter().filter_map(|server| match server {
            IpAddr::V6(server) => Some(*server),
            IpAddr::V4(_) => None,
        })
    }
}

#[cfg(test)]
mod tests;
