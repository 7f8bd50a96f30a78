//! Machines as elements of the sets and maps: a pure function of who there is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::super::link::bridge_mac;
use super::super::link::forwarding::Opened;
use super::super::nft::object::{Element, Table};
use super::super::subnet::octets;
use super::base::{BRIDGE, INET};
use super::connections;
use super::machine::{LinkRules, MachineRules, Place};
use crate::settings::network::{MacAddress, PortMapping, Protocol, ZoneName};

/// Elements by table, set and key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements(BTreeMap<(Table, &'static str), Keys>);

/// Keys, each with its value and whose it is.
type Keys = BTreeMap<Vec<u8>, (Vec<u8>, String)>;

impl Elements {
    /// Those that `machines` come to. Of two that want the same port the first one in order has it.
    pub fn of<'a>(machines: impl IntoIterator<Item = &'a MachineRules>) -> Self {
        let machines: Vec<&MachineRules> = machines.into_iter().collect();
        let mut elements = Self::default();
        machines.iter().for_each(|machine| elements.add_machine(machine));
        for one in &machines {
            for other in machines.iter().filter(|other| one.partitions.contains(&other.name)) {
                elements.add_partition(one, other);
                elements.add_partition(other, one);
            }
        }
        elements
    }

    /// These, and interfaces that forward because of us.
    #[must_use]
    pub fn open(mut self, opened: &Opened) -> Self {
        for (set, names) in [("opened4", &opened.v4), ("opened6", &opened.v6)] {
            for name in names {
                let name = interface(name);
                self.put(INET, set, std::slice::from_ref(&name), &[], "this host's");
                self.put(INET, "bridged", &[name.clone(), name], &[], "this host's");
            }
        }
        self
    }

    /// Those that are not in `other`, or not so.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        for (place, elements) in &mut rest.0 {
            let others = other.0.get(place);
            elements.retain(|key, value| {
                others.and_then(|others| others.get(key)).is_none_or(|there| there.0 != value.0)
            });
        }
        rest.0.retain(|_, elements| !elements.is_empty());
        rest
    }

    /// Each set that has some, with these.
    pub fn sets(&self) -> impl Iterator<Item = (Table, &'static str, Vec<Element>)> {
        self.0.iter().map(|((table, set), elements)| {
            let elements = elements.iter().map(|(key, (data, comment))| Element {
                key: key.clone(),
                data: data.clone(),
                comment: comment.clone(),
            });
            (*table, *set, elements.collect())
        })
    }

    /// Keys and values of one set.
    pub fn of_set(&self, table: Table, set: &str) -> Vec<(&[u8], &[u8])> {
        let found = self.0.iter().find(|((of, name), _)| *of == table && *name == set);
        let elements = found.into_iter().flat_map(|(_, elements)| elements);
        elements.map(|(key, (data, _))| (key.as_slice(), data.as_slice())).collect()
    }

    fn put(&mut self, table: Table, set: &'static str, key: &[Vec<u8>], data: &[Vec<u8>], comment: &str) {
        let value = (data.concat(), comment.to_owned());
        self.0.entry((table, set)).or_default().entry(key.concat()).or_insert(value);
    }

    fn add_machine(&mut self, machine: &MachineRules) {
        let name = machine.name.as_str();
        for link in &machine.links {
            if let Some(routed) = link.routed() {
                let inside = interface(routed.as_str());
                // A zone is nobody's in particular.
                let owner = if link.place == Place::Alone { name } else { "zone" };
                self.put(INET, "inside", std::slice::from_ref(&inside), &[], owner);
                self.put(INET, "same", &[inside.clone(), inside], &[], owner);
            }
            match (&link.place, link.mac) {
                (_, None) => {}
                (Place::Alone, Some(_)) => self.guard_pair(link, name),
                (Place::Zone(_) | Place::Bridge(_), Some(mac)) => self.guard_port(link, mac, name),
            }
        }
        let Some(main) = machine.main() else { return };
        if let Some(port) = machine.dns_port {
            machine.dns.iter().for_each(|server| self.add_name_server(main, *server, port, name));
        }
        machine.ports.iter().for_each(|mapping| self.add_port(main, mapping, name));
        machine.shut.iter().for_each(|mapping| self.shut_port(main, mapping, name));
    }

    fn guard_pair(&mut self, link: &LinkRules, name: &str) {
        self.put(INET, "pairs", &[interface(link.host.as_str())], &[], name);
        self.come_from(link, name);
    }

    /// Where routers see its packets come in.
    fn come_from(&mut self, link: &LinkRules, name: &str) {
        let Some(inside) = link.routed().map(|inside| interface(inside.as_str())) else { return };
        for (set, address) in link.addresses() {
            self.put(INET, set, &[inside.clone(), octets(address)], &[], name);
        }
    }

    fn guard_port(&mut self, link: &LinkRules, mac: MacAddress, name: &str) {
        let port = interface(link.host.as_str());
        let key = std::slice::from_ref(&port);
        self.put(INET, "ports", key, &[], name);
        self.put(BRIDGE, "guarded", key, &[], name);
        self.put(BRIDGE, "macs", &[port.clone(), hardware(mac)], &[], name);
        // Where others give addresses we do not know them.
        if link.v4.is_none() && link.v6.is_none() {
            return;
        }
        self.put(BRIDGE, "addressed", key, &[], name);
        self.come_from(link, name);
        if let Some(address) = link.v4 {
            let probe = std::net::Ipv4Addr::UNSPECIFIED;
            for source in [address, probe] {
                // RFC 5227 2.1.1: who asks whether an address is free has none yet.
                let source = octets(source.into());
                self.put(BRIDGE, "sources4", &[port.clone(), hardware(mac), source], &[], name);
            }
        }
        let local = link_local(mac);
        for address in link.v6.into_iter().chain([local]) {
            let address = octets(address.into());
            self.put(BRIDGE, "sources6", &[port.clone(), address.clone()], &[], name);
            self.put(BRIDGE, "targets6", &[port.clone(), address], &[], name);
        }
        self.put(BRIDGE, "known6", &[octets(local.into())], &[], name);
        self.put(BRIDGE, "known_targets6", &[octets(local.into())], &[], name);
        // The router of all machines of the zone.
        if let Some(router) = zone_of(&link.place).map(|zone| octets(link_local(bridge_mac(&zone)).into())) {
            self.put(BRIDGE, "known6", std::slice::from_ref(&router), &[], "zone");
            self.put(BRIDGE, "known_targets6", &[router], &[], "zone");
        }
    }

    fn add_name_server(&mut self, main: &LinkRules, server: IpAddr, port: u16, name: &str) {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (map, machine) = match (server, main.v4, main.v6) {
                (IpAddr::V4(_), Some(address), _) => ("dns4", IpAddr::V4(address)),
                (IpAddr::V6(_), _, Some(address)) => ("dns6", IpAddr::V6(address)),
                _ => continue,
            };
            // RFC 1035 4.2: names are asked for at port 53.
            let key = [octets(machine), octets(server), number(protocol), service(53)];
            self.put(INET, map, &key, &[octets(server), service(port)], name);
        }
    }

    fn add_port(&mut self, main: &LinkRules, mapping: &PortMapping, name: &str) {
        let families = [
            (main.v4.map(IpAddr::V4), "ports4", "ports4_at"),
            (main.v6.map(IpAddr::V6), "ports6", "ports6_at"),
        ];
        for (machine, everywhere, at) in families {
            let Some(machine) = machine else { continue };
            for offset in 0..mapping.count {
                let (Some(host), Some(guest)) =
                    (mapping.host.checked_add(offset), mapping.guest.checked_add(offset))
                else {
                    break;
                };
                let (key, data) =
                    ([number(mapping.protocol), service(host)], [octets(machine), service(guest)]);
                match mapping.address {
                    None => self.put(INET, everywhere, &key, &data, name),
                    Some(address) if address.is_ipv4() == machine.is_ipv4() => {
                        let [protocol, port] = key;
                        self.put(INET, at, &[octets(address), protocol, port], &data, name);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn shut_port(&mut self, main: &LinkRules, mapping: &PortMapping, name: &str) {
        let v4 = main.v4.map(|address| ("shut4", IpAddr::V4(address)));
        let v6 = main.v6.map(|address| ("shut6", IpAddr::V6(address)));
        for (set, address) in v4.into_iter().chain(v6) {
            for guest in (0..mapping.count).filter_map(|offset| mapping.guest.checked_add(offset)) {
                let key = [octets(address), number(mapping.protocol), service(guest)];
                self.put(INET, set, &key, &[], name);
            }
        }
    }

    fn add_partition(&mut self, one: &MachineRules, other: &MachineRules) {
        let comment = format!("{} - {}", one.name, other.name);
        for from in &one.links {
            for to in &other.links {
                let key = [interface(from.host.as_str()), interface(to.host.as_str())];
                self.put(BRIDGE, "partitions", &key, &[], &comment);
                if let (Some(from), Some(to)) = (from.v4, to.v4) {
                    self.put(INET, "partitions4", &[octets(from.into()), octets(to.into())], &[], &comment);
                }
                if let (Some(from), Some(to)) = (from.v6, to.v6) {
                    self.put(INET, "partitions6", &[octets(from.into()), octets(to.into())], &[], &comment);
                }
            }
        }
    }
}

impl LinkRules {
    fn addresses(&self) -> impl Iterator<Item = (&'static str, IpAddr)> {
        let v4 = self.v4.map(|address| ("sources4", IpAddr::V4(address)));
        v4.into_iter().chain(self.v6.map(|address| ("sources6", IpAddr::V6(address))))
    }
}

/// A key that is an interface: its name in IFNAMSIZ bytes.
pub(super) fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn hardware(mac: MacAddress) -> Vec<u8> {
    [mac.0.as_slice(), &[0, 0]].concat()
}

fn number(protocol: Protocol) -> Vec<u8> {
    vec![connections::number(protocol), 0, 0, 0]
}

fn service(port: u16) -> Vec<u8> {
    [port.to_be_bytes(), [0, 0]].concat()
}

/// The zone whose bridge the link is in.
fn zone_of(place: &Place) -> Option<ZoneName> {
    match place {
        Place::Zone(bridge) => ZoneName::of_bridge(bridge.as_str()),
        Place::Alone | Place::Bridge(_) => None,
    }
}

/// The link-local address that the kernel makes of a hardware address (RFC 4291 2.5.6, appendix A).
fn link_local(mac: MacAddress) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let mut address = [0; 16];
    address[0] = 0xfe;
    address[1] = 0x80;
    address[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    address.into()
}

#[cfg(test)]
#[path = "element_tests.rs"]
mod tests;
