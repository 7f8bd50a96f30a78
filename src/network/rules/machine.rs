//! What the rules have to know of a machine, written down below /run/spinney/network so that whoever mends the rules knows it too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::network::plan::{Family, LinkKind, LinkPlan, NetworkPlan};
use crate::settings::network::{InterfaceName, MacAddress, PortMapping};

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRules {
    /// Its name.
    pub name: String,
    /// Its interfaces that rules are about.
    pub links: Vec<LinkRules>,
    /// Ports of the host that lead to it now.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// Ports that led to it and do not any more: nothing goes on from there that began by them.
    #[serde(default)]
    pub shut: Vec<PortMapping>,
    /// The port of its own name server, of TCP and UDP, at each of the addresses in `dns`.
    #[serde(default)]
    pub dns_port: Option<u16>,
    /// The addresses where it asks for names.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Machines that it is kept from on purpose.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// Thousandths of a percent of its packets that are lost on purpose, each way.
    #[serde(default)]
    pub loss: Option<u32>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRules {
    /// The host's end.
    pub host: InterfaceName,
    /// Where that is.
    pub place: Place,
    /// The machine's hardware address, if it may send from no other.
    pub mac: Option<MacAddress>,
    /// The machine's IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The machine's IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// Where the host's end of a pair is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On its own.
    Alone,
    /// In the bridge of a zone.
    Zone(InterfaceName),
    /// In a bridge of somebody's.
    Bridge(InterfaceName),
}

impl MachineRules {
    /// Those of the machine `name` with this network; `dns_port` is where its own name server listens. `None` if no rule is
    /// about it: it has no interface of ours, or one that is nobody's business.
    pub fn of(name: &str, plan: &NetworkPlan, dns_port: Option<u16>) -> Option<Self> {
        let links: Vec<LinkRules> =
            plan.links.iter().filter_map(|link| LinkRules::of(link, plan.spoofing)).collect();
        (!links.is_empty()).then(|| Self {
            name: name.to_owned(),
            links,
            ports: plan.ports.clone(),
            shut: Vec::new(),
            dns_port,
            dns: plan.dns.clone(),
            partitions: Vec::new(),
            loss: plan.faults.loss,
        })
    }

    /// Has these ports lead to it, and no others.
    pub(super) fn change_ports(&mut self, ports: &[PortMapping]) {
        /// Who changes ports all the time has the last ones shut.
        const MOST: usize = 64;
        self.shut.extend(self.ports.iter().filter(|before| !ports.contains(before)));
        let is_led_to = |shut: &PortMapping| {
            ports.iter().any(|port| {
                let apart = u32::from(port.guest) + u32::from(port.count) <= u32::from(shut.guest)
                    || u32::from(shut.guest) + u32::from(shut.count) <= u32::from(port.guest);
                port.protocol == shut.protocol && !apart
            })
        };
        self.shut.retain(|shut| !is_led_to(shut));
        self.shut.drain(..self.shut.len().saturating_sub(MOST));
        self.ports = ports.to_vec();
    }

    /// All its addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.links.iter().flat_map(|link| link.v4.map(IpAddr::V4).into_iter().chain(link.v6.map(IpAddr::V6)))
    }

    /// Whether ports of the host lead to it by rules, as far as it has an address of their family.
    pub fn takes_ports(&self) -> bool {
        self.main().is_some()
    }

    /// The interface that its ports lead to.
    pub(super) fn main(&self) -> Option<&LinkRules> {
        self.links.iter().find(|link| link.v4.is_some() || link.v6.is_some())
    }
}

impl LinkRules {
    fn of(link: &LinkPlan, spoofing: bool) -> Option<Self> {
        let place = match &link.kind {
            LinkKind::Veth => Place::Alone,
            LinkKind::Zone(zone) => Place::Zone(zone.bridge()),
            LinkKind::Bridge(bridge) => Place::Bridge(bridge.clone()),
            LinkKind::Extra | LinkKind::Macvlan(_) | LinkKind::Ipvlan(_) | LinkKind::Lent => return None,
        };
        // In a bridge of somebody's there is nothing else to do.
        if spoofing && matches!(place, Place::Bridge(_)) {
            return None;
        }
        let addresses = link.addresses;
        Some(Self {
            host: link.host.clone()?,
            place,
            mac: link.mac.filter(|_| !spoofing),
            v4: addresses.and_then(|both| both.v4).map(|Family { address, .. }| address),
            v6: addresses.and_then(|both| both.v6).map(|Family { address, .. }| address),
        })
    }

    /// The interface that routers see it behind, where the host is its router.
    pub(super) fn routed(&self) -> Option<&InterfaceName> {
        match &self.place {
            Place::Alone => Some(&self.host),
            Place::Zone(bridge) => Some(bridge),
            Place::Bridge(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken_back_are_shut() {
        let ports =
            |texts: &[&str]| -> Vec<PortMapping> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let mut machine = MachineRules {
            name: "web".to_owned(),
            links: Vec::new(),
            ports: ports(&["8080:80", "53:53/udp"]),
            shut: Vec::new(),
            dns_port: None,
            dns: Vec::new(),
            partitions: Vec::new(),
            loss: None,
        };
        let steps: [(&[&str], &[&str]); 6] = [
            (&["8080:80", "53:53/udp"], &[]),
            (&["8080:80"], &["53:53/udp"]),
            // What another port leads to goes on.
            (&["8081:80"], &["53:53/udp"]),
            (&["53:53"], &["53:53/udp", "8081:80"]),
            (&["9000-9100:1-101/udp"], &["8081:80", "53:53"]),
            (&[], &["8081:80", "53:53", "9000-9100:1-101/udp"]),
        ];
        for (now, shut) in steps {
            machine.change_ports(&ports(now));
            assert_eq!((&machine.ports, &machine.shut), (&ports(now), &ports(shut)), "{now:?}");
        }
        for port in 1..100 {
            machine.change_ports(&[format!("{port}:{port}").parse().unwrap()]);
        }
        assert_eq!(machine.shut.len(), 64);
    }
}
