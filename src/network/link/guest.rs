//! Addresses and routes, of the machine's end and of the host's.

use std::net::IpAddr;

use crate::network::plan::{Addresses, LinkPlan};
use crate::settings::network::InterfaceName;
use crate::sys::SysResult;
use crate::sys::netlink::{ROUTE, Requests, Socket};

use super::{forwarding, found, message};

/// Each family's address, prefix and gateway.
fn families(addresses: &Addresses) -> impl Iterator<Item = (IpAddr, u8, Option<IpAddr>)> {
    let v4 = addresses.v4.map(|v4| (v4.address.into(), v4.prefix, v4.gateway.map(IpAddr::from)));
    let v6 = addresses.v6.map(|v6| (v6.address.into(), v6.prefix, v6.gateway.map(IpAddr::from)));
    v4.into_iter().chain(v6)
}

/// What gives the host's side the addresses that machines have as gateways.
pub(super) fn gateways(to: &mut Requests, index: u32, name: &InterfaceName, addresses: Option<&Addresses>) {
    for (_, prefix, gateway) in addresses.into_iter().flat_map(families) {
        if let Some(gateway) = gateway {
            message::address(to, index, name, gateway, prefix);
        }
    }
}

/// What makes the machine's end ready: up, then addresses, then routes, which need both.
pub(super) fn requests(link: &LinkPlan, index: u32) -> Requests {
    let mut requests = Requests::default();
    let name = &link.guest;
    message::up(&mut requests, index, name);
    for (address, prefix, _) in link.addresses.iter().flat_map(families) {
        message::address(&mut requests, index, name, address, prefix);
    }
    for (_, _, gateway) in link.addresses.iter().flat_map(families) {
        if let Some(gateway) = gateway {
            message::default_route(&mut requests, index, name, gateway);
        }
    }
    requests
}

/// Makes the machine's ends of `links` ready, in the machine's network namespace, which we are in.
pub(super) fn set_up(links: &[LinkPlan]) -> SysResult<()> {
    let mut socket = Socket::open(ROUTE)?;
    for link in links {
        let index = found::expect(&mut socket, &link.guest)?.index;
        // What we give out is nobody else's, and routers are not asked. Nothing of this where the host's /proc/sys is read-only
        // or the kernel has no IPv6: it is slower then.
        if let Some(addresses) = &link.addresses {
            let _ = forwarding::write(&format!("ipv6/conf/{}/accept_dad", link.guest), "0");
            if addresses.v6.is_some() {
                let _ = forwarding::write(&format!("ipv6/conf/{}/accept_ra", link.guest), "0");
            }
        }
        socket.carry_out(&requests(link, index))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::{Family, LinkKind};

    #[test]
    fn up_then_addresses_then_routes() {
        let v4 =
            Family { address: "10.0.0.2".parse().unwrap(), prefix: 22, gateway: "10.0.0.1".parse().ok() };
        let v6 = Family { address: "fd00::2".parse().unwrap(), prefix: 64, gateway: "fd00::1".parse().ok() };
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
                    "RTM_NEWROUTE default via 10.0.0.1 host0",
                    "RTM_NEWROUTE default via fd00::1 host0",
                ],
                &["RTM_NEWADDR 10.0.0.1/22 host0", "RTM_NEWADDR fd00::1/64 host0"],
            ),
            (
                "IPv4",
                Some(Addresses { v4: Some(v4), v6: None }),
                &[
                    "RTM_NEWLINK host0 up",
                    "RTM_NEWADDR 10.0.0.2/22 host0",
                    "RTM_NEWROUTE default via 10.0.0.1 host0",
                ],
                &["RTM_NEWADDR 10.0.0.1/22 host0"],
            ),
            (
                "no gateway",
                Some(Addresses { v4: Some(Family { gateway: None, ..v4 }), v6: None }),
                &["RTM_NEWLINK host0 up", "RTM_NEWADDR 10.0.0.2/22 host0"],
                &[],
            ),
        ];
        for (name, addresses, guest, host) in table {
            let link = LinkPlan {
                kind: LinkKind::Veth,
                host: None,
                host_alternative: None,
                host_mac: None,
                guest: "host0".parse().unwrap(),
                mac: None,
                addresses,
            };
            let asked = |requests: &Requests| -> Vec<String> {
                (0..requests.len()).map(|index| requests.asked(index).to_owned()).collect()
            };
            assert_eq!(asked(&requests(&link, 2)), guest, "{name}");
            let mut gateway = Requests::default();
            gateways(&mut gateway, 3, &link.guest, link.addresses.as_ref());
            assert_eq!(asked(&gateway), host, "{name}");
        }
    }
}
