//! Connections that are to end: those of a machine that is gone, or has other addresses, and those by a port that leads to it no more.
//! The kernel would go on to lead them, whatever the rules say: these are asked for the first packet.

use std::net::IpAddr;

use super::super::nft::NftError;
use super::super::nft::conntrack::{Connection, forget};
use super::machine::MachineRules;
use crate::settings::network::{PortMapping, Protocol};

/// Ends all connections of addresses that `machine` has and `kept` has not.
pub(super) fn end_all(machine: &MachineRules, kept: Option<&MachineRules>) -> Result<(), NftError> {
    let kept: Vec<IpAddr> = kept.into_iter().flat_map(MachineRules::addresses).collect();
    let gone: Vec<IpAddr> = machine.addresses().filter(|address| !kept.contains(address)).collect();
    forget(&gone, |_| true).map(drop)
}

/// Ends those that came by `before` and would not come by the ports that `machine` has now.
pub(super) fn end_by_ports(machine: &MachineRules, before: &[PortMapping]) -> Result<(), NftError> {
    let Some(main) = machine.main() else { return Ok(()) };
    if before.iter().all(|mapping| machine.ports.contains(mapping)) {
        return Ok(());
    }
    let addresses: Vec<IpAddr> = main.v4.map(IpAddr::V4).into_iter().chain(main.v6.map(IpAddr::V6)).collect();
    let ended = forget(&addresses, |connection| {
        let came_by = |ports: &[PortMapping]| {
            let comes_by = |port| addresses.iter().any(|address| comes_by(connection, *address, port));
            ports.iter().any(comes_by)
        };
        came_by(before) && !came_by(&machine.ports)
    });
    ended.map(drop)
}

/// Whether a connection came by `mapping` to the machine with this address.
fn comes_by(connection: &Connection, address: IpAddr, mapping: &PortMapping) -> bool {
    let Connection { original, reply, .. } = connection;
    let (Some((_, host)), Some((guest, _))) = (original.ports, reply.ports) else { return false };
    // A sibling comes to the machine itself.
    let translated = reply.source == address && original.destination != address;
    let at = host.checked_sub(mapping.host).filter(|at| *at < mapping.count);
    translated
        && original.protocol == number(mapping.protocol)
        && at.is_some_and(|at| mapping.guest.checked_add(at) == Some(guest))
        && mapping.address.is_none_or(|at| at == original.destination)
}

/// IPPROTO_TCP, IPPROTO_UDP.
pub(super) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::nft::conntrack::Direction;
    use super::*;

    #[test]
    fn what_came_by_a_port() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let machine = address("10.213.0.2");
        let direction = |source: &str, destination: &str, protocol, ports| Direction {
            source: address(source),
            destination: address(destination),
            protocol,
            ports: Some(ports),
        };
        let by = |at: &str, protocol, host, guest| {
            Connection::of(
                direction("192.0.2.2", at, protocol, (40_000, host)),
                direction("10.213.0.2", "192.0.2.2", protocol, (guest, 40_000)),
            )
        };
        let mapping: PortMapping = "8080-8089:80-89".parse().unwrap();
        let at: PortMapping = "192.0.2.1:8080:80".parse().unwrap();
        for (name, connection, mapping, expected) in [
            ("by it", by("192.0.2.1", 6, 8080, 80), mapping, true),
            ("by its last", by("192.0.2.1", 6, 8089, 89), mapping, true),
            ("beyond", by("192.0.2.1", 6, 8090, 90), mapping, false),
            ("before", by("192.0.2.1", 6, 8079, 79), mapping, false),
            ("by another to the same", by("192.0.2.1", 6, 8080, 81), mapping, false),
            ("of another protocol", by("192.0.2.1", 17, 8080, 80), mapping, false),
            ("of a sibling", by("10.213.0.2", 6, 8080, 80), mapping, false),
            ("at its address", by("192.0.2.1", 6, 8080, 80), at, true),
            ("at another address", by("192.0.2.9", 6, 8080, 80), at, false),
        ] {
            assert_eq!(comes_by(&connection, machine, &mapping), expected, "{name}");
        }
        let out = Connection::of(
            direction("10.213.0.2", "192.0.2.1", 6, (80, 8080)),
            direction("192.0.2.1", "192.0.2.9", 6, (8080, 80)),
        );
        assert!(!comes_by(&out, machine, &mapping));
    }
}
