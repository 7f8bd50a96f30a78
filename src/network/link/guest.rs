//! Addresses and routes, of the machine's end and of the host's.

use std::net::IpAddr;

use crate::network::plan::{Addresses, Family, LinkPlan};
use crate::settings::network::{InterfaceName, MacAddress};
use crate::sys::netlink::{ROUTE, Requests, Socket};
use crate::sys::{SysResult, sysctl};

use super::{found, message};

/// Of both families.
fn families(addresses: &Addresses) -> impl Iterator<Item = Family<IpAddr>> + use<> {
    fn any<A: Into<IpAddr>>(family: Family<A>) -> Family<IpAddr> {
        let Family { address, prefix, gateway, host } = family;
        Family { address: address.into(), prefix, gateway: gateway.map(A::into), host: host.map(A::into) }
    }
    addresses.v4.map(any).into_iter().chain(addresses.v6.map(any))
}

/// The machine's own addresses.
pub(super) fn own(addresses: &Addresses) -> impl Iterator<Item = IpAddr> + use<> {
    families(addresses).map(|family| family.address)
}

/// What gives the host's side its own addresses on the machines' network.
pub(super) fn host_side(to: &mut Requests, index: u32, name: &InterfaceName, addresses: Option<&Addresses>) {
    for family in addresses.into_iter().flat_map(families) {
        if let Some(host) = family.host {
            message::address(to, index, name, host, family.prefix);
        }
    }
}

/// Has the host know where the machine is, over its interface `index`, which is on the machines' network.
pub(super) fn machine_known(to: &mut Requests, index: u32, name: &InterfaceName, link: &LinkPlan) {
    let (Some(addresses), Some(mac)) = (&link.addresses, link.mac) else { return };
    for family in families(addresses).filter(|family| family.host.is_some()) {
        message::neighbour(to, (index, name), (family.address, mac));
    }
}

/// Has the machine know where the host is, at the hardware address `host`.
fn host_known(link: &LinkPlan, index: u32, host: Option<MacAddress>) -> Requests {
    let mut requests = Requests::default();
    for (family, mac) in link.addresses.iter().flat_map(families).zip(host.iter().cycle()) {
        if let Some(host) = family.host {
            message::neighbour(&mut requests, (index, &link.guest), (host, *mac));
        }
    }
    requests
}

/// What makes the machine's end ready: up, then addresses, then routes, which need both.
pub(super) fn requests(link: &LinkPlan, index: u32) -> Requests {
    let mut requests = Requests::default();
    let name = &link.guest;
    if let Some(alternative) = &link.guest_alternative {
        message::alternative_name(&mut requests, name, alternative);
    }
    message::up(&mut requests, index, name);
    for family in link.addresses.iter().flat_map(families) {
        message::address(&mut requests, index, name, family.address, family.prefix);
    }
    for family in link.addresses.iter().flat_map(families) {
        if let Some(gateway) = family.gateway {
            message::default_route(&mut requests, index, name, gateway);
        }
    }
    requests
}

/// Makes the machine's ends of `links` ready, in the machine's network namespace, which we are in; `hosts` are the hardware addresses at
/// which the host is on each.
pub(super) fn set_up(links: &[LinkPlan], hosts: &[Option<MacAddress>]) -> SysResult<()> {
    let mut socket = Socket::open(ROUTE)?;
    for (link, host) in links.iter().zip(hosts) {
        let index = found::expect(&mut socket, &link.guest)?.index;
        // What we give out is nobody else's, and routers are not asked. Nothing of this where the host's /proc/sys is read-only
        // or the kernel has no IPv6: it is slower then.
        if let Some(addresses) = &link.addresses {
            let _ = sysctl::write(&format!("ipv6/conf/{}/accept_dad", link.guest), "0");
            if addresses.v6.is_some() {
                let _ = sysctl::write(&format!("ipv6/conf/{}/accept_ra", link.guest), "0");
            }
        }
        socket.carry_out(&requests(link, index))?;
        let known = host_known(link, index, *host);
        if !known.is_empty() {
            // What is refused is asked for later.
            socket.exchange(known.bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::LinkKind;

    #[test]
    fn up_then_addresses_then_routes() {
        let (router, host) = ("10.0.0.9".parse().ok(), "10.0.0.1".parse().ok());
        let v4 = Family { address: "10.0.0.2".parse().unwrap(), prefix: 22, gateway: router, host };
        let host = "fd00::1".parse().ok();
        let v6 = Family { address: "fd00::2".parse().unwrap(), prefix: 64, gateway: host, host };
        type Row = (&'static str, Option<Addresses>, &'static [&'static str], &'static [&'static str]);
        let table: [Row; 4] = [
            ("none", None, &["RTM_NEWLINK host0 up"], &[]),
            (
                "both",
                Some(Addresses { v4: Some(v4), v6: Some(v6) }),
                &[
                    "RTM_NEWLINK host0 up",
                    "RTM_NEWADDR 10.0.0.2/22 host0",
                    "RTM_NEWADDR fd00::2/64 host0",
                    "RTM_NEWROUTE default via 10.0.0.9 host0",
                    "RTM_NEWROUTE default via fd00::1 host0",
                    "RTM_NEWNEIGH 10.0.0.1 host0",
                    "RTM_NEWNEIGH fd00::1 host0",
                ],
                &[
                    "RTM_NEWADDR 10.0.0.1/22 host0",
                    "RTM_NEWADDR fd00::1/64 host0",
                    "RTM_NEWNEIGH 10.0.0.2 host0",
                    "RTM_NEWNEIGH fd00::2 host0",
                ],
            ),
            (
                "IPv4",
                Some(Addresses { v4: Some(v4), v6: None }),
                &[
                    "RTM_NEWLINK host0 up",
                    "RTM_NEWADDR 10.0.0.2/22 host0",
                    "RTM_NEWROUTE default via 10.0.0.9 host0",
                    "RTM_NEWNEIGH 10.0.0.1 host0",
                ],
                &["RTM_NEWADDR 10.0.0.1/22 host0", "RTM_NEWNEIGH 10.0.0.2 host0"],
            ),
            (
                "no gateway",
                Some(Addresses { v4: Some(Family { gateway: None, host: None, ..v4 }), v6: None }),
                &["RTM_NEWLINK host0 up", "RTM_NEWADDR 10.0.0.2/22 host0"],
                &[],
            ),
        ];
        for (name, addresses, guest, host) in table {
            let mac = Some(MacAddress([2, 0, 0, 0, 0, 1]));
            let link = LinkPlan { addresses, mac, ..LinkPlan::new(LinkKind::Veth, "host0".parse().unwrap()) };
            let asked = |requests: &Requests| -> Vec<String> {
                (0..requests.len()).map(|index| requests.asked(index).to_owned()).collect()
            };
            let inside = [asked(&requests(&link, 2)), asked(&host_known(&link, 2, mac))].concat();
            assert_eq!(inside, guest, "{name}");
            let mut gateway = Requests::default();
            host_side(&mut gateway, 3, &link.guest, link.addresses.as_ref());
            machine_known(&mut gateway, 3, &link.guest, &link);
            assert_eq!(asked(&gateway), host, "{name}");
        }
    }
}
