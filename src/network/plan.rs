//! The network of one machine, as data: everything that will be made, and what is written to `/run/spinney/machines/NAME/network`
//! for whoever asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::network::{HostEntry, InterfaceName, MacAddress, Offer, PortMapping, ZoneName};

/// All that a machine has of networks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// Whose network namespace it has.
    pub namespace: Namespace,
    /// Its interfaces, but for `lo`.
    pub links: Vec<LinkPlan>,
    /// Name servers that the machine asks: the host's side of its network, where ours answers for its zone and asks others for the
    /// rest; on networks of somebody's those of `--dns=`. None where it gets no addresses of us.
    pub dns: Vec<IpAddr>,
    /// Servers that ours asks, in place of the host's (`--dns=`).
    pub upstream_dns: Vec<IpAddr>,
    /// The domain of its zone, and so of its name.
    pub domain: Option<String>,
    /// More names that it resolves.
    pub hosts: Vec<HostEntry>,
    /// Ports of the host that lead to it when it starts.
    pub ports: Vec<PortMapping>,
    /// What is offered inside when it starts.
    pub offers: Vec<Offer>,
    /// It may send from other addresses than its own.
    pub spoofing: bool,
    /// What is done to its packets so that others can test themselves.
    pub faults: Faults,
}

/// Whose network namespace a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// The host's.
    Host,
    /// Its own.
    #[default]
    Private,
    /// That of this file.
    Path(PathBuf),
}

/// One interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// What it is.
    pub kind: LinkKind,
    /// The host's end, where there is one; for an interface that is lent, its name on the host.
    pub host: Option<InterfaceName>,
    /// The whole name of the host's end where that had to be shortened (IFLA_ALT_IFNAME).
    pub host_alternative: Option<String>,
    /// MAC address of the host's end, where we give it one.
    pub host_mac: Option<MacAddress>,
    /// Its name in the machine.
    pub guest: InterfaceName,
    /// The whole name in the machine where that had to be shortened.
    pub guest_alternative: Option<String>,
    /// Its MAC address in the machine, where we give it one.
    pub mac: Option<MacAddress>,
    /// Addresses that we give it; none where a server on that network has to.
    pub addresses: Option<Addresses>,
}

impl LinkPlan {
    /// One of `kind` that is called `guest` in the machine, and has nothing else.
    pub fn new(kind: LinkKind, guest: InterfaceName) -> Self {
        Self {
            kind,
            host: None,
            host_alternative: None,
            host_mac: None,
            guest,
            guest_alternative: None,
            mac: None,
            addresses: None,
        }
    }

    /// A pair of ours, of which one end stays on the host.
    pub fn is_pair(&self) -> bool {
        matches!(self.kind, LinkKind::Veth | LinkKind::Extra | LinkKind::Bridge(_) | LinkKind::Zone(_))
    }
}

/// Kinds of interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A pair, whose host's end we give addresses and route.
    Veth,
    /// A pair, whose host's end is in a bridge of somebody's.
    Bridge(InterfaceName),
    /// A pair, whose host's end is in the bridge of a zone.
    Zone(ZoneName),
    /// A pair without addresses (`--network-veth-extra=`).
    Extra,
    /// A macvlan on this interface of the host.
    Macvlan(InterfaceName),
    /// An ipvlan on this interface of the host.
    Ipvlan(InterfaceName),
    /// An interface of the host, lent.
    Lent,
}

/// What an interface is given before the init runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// IPv4.
    pub v4: Option<Family<Ipv4Addr>>,
    /// IPv6.
    pub v6: Option<Family<Ipv6Addr>>,
}

/// Those of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family<A> {
    /// The machine's.
    pub address: A,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// Where its default route leads: the host's side, or the router that was asked for.
    pub gateway: Option<A>,
    /// The address of the host's side, with the same prefix, where that is ours to give: of a zone's bridge, of a pair's end.
    pub host: Option<A>,
}

/// Faults on purpose, of what it sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Faults {
    /// Microseconds that packets are held back, each way.
    pub delay: Option<u64>,
    /// Thousandths of a percent that are lost, each way.
    pub loss: Option<u32>,
}

impl NetworkPlan {
    /// Packets of the machine go through the host: it has a gateway there.
    pub fn is_routed(&self) -> bool {
        self.links
            .iter()
            .any(|link| matches!(link.kind, LinkKind::Veth | LinkKind::Zone(_)) && link.addresses.is_some())
    }

    /// The interface that leads to the internet and to its siblings, `host0`, where we gave it addresses.
    pub fn main(&self) -> Option<(&LinkPlan, Addresses)> {
        self.links.iter().find_map(|link| link.addresses.map(|addresses| (link, addresses)))
    }

    /// Those of its name servers that are the host's side of its network, and so for us to answer at. Others are somebody's, who may be
    /// anywhere.
    pub fn own_name_servers(&self) -> Vec<IpAddr> {
        let main = self.main().map(|(_, addresses)| addresses);
        let v4 = main.and_then(|addresses| addresses.v4?.host).map(IpAddr::V4);
        let v6 = main.and_then(|addresses| addresses.v6?.host).map(IpAddr::V6);
        self.dns.iter().copied().filter(|server| [v4, v6].contains(&Some(*server))).collect()
    }

    /// Its zone.
    pub fn zone(&self) -> Option<&ZoneName> {
        self.links.iter().find_map(|link| match &link.kind {
            LinkKind::Zone(zone) => Some(zone),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_ours() {
        let table = [
            (Some("10.213.0.1"), &["10.213.0.1", "8.8.8.8"][..], &["10.213.0.1"][..]),
            (Some("10.213.0.1"), &[], &[]),
            (None, &["8.8.8.8", "10.213.0.1"], &[]),
        ];
        let parse = |text: &&str| text.parse::<IpAddr>().expect("an address");
        for (host, dns, expected) in table {
            let host = host.map(|host| host.parse().expect("an address"));
            let address = Ipv4Addr::new(10, 213, 0, 5);
            let v4 = Family { address, prefix: 24, gateway: Some(Ipv4Addr::new(10, 213, 0, 1)), host };
            let link = LinkPlan {
                addresses: Some(Addresses { v4: Some(v4), v6: None }),
                ..LinkPlan::new(LinkKind::Veth, "host0".parse().expect("a name"))
            };
            let dns: Vec<IpAddr> = dns.iter().map(parse).collect();
            let plan = NetworkPlan { links: vec![link], dns: dns.clone(), ..NetworkPlan::default() };
            assert_eq!(plan.own_name_servers(), expected.iter().map(parse).collect::<Vec<_>>(), "{host:?}");
            let bare = NetworkPlan { dns, ..NetworkPlan::default() };
            assert_eq!(bare.own_name_servers(), Vec::<IpAddr>::new());
        }
    }
}
