//! Settings to the plan of a machine's network. Pure: which addresses it gets is found out between [`lease_of`] and [`plan`] by
//! [`super::lease`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lease::Wanted;
use super::names::{HostId, LinkName, MacOf, mac, shortened, veth};
use super::plan::{Addresses, Family, Faults, LinkKind, LinkPlan, Namespace, NetworkPlan};
use super::subnet::Subnet;
use crate::settings::network::{
    InterfaceAddress, InterfaceName, InterfacePair, NetworkNamespace, NetworkSettings, VethAttachment,
};
use crate::settings::{MachineName, MachineSettings};

/// Name of the machine's end of its pair (systemd-nspawn(1)).
pub const HOST0: &str = "host0";

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkPlanError {
    /// Two interfaces of one name.
    #[error("two interfaces are called {name} {place}")]
    TwoOfAName {
        /// Their name.
        name: InterfaceName,
        /// In the machine, or on the host.
        place: &'static str,
    },
    /// A router that is not on the network.
    #[error("--gateway={gateway} is not in the network of {address}")]
    GatewayElsewhere {
        /// The router.
        gateway: IpAddr,
        /// The machine's address and prefix.
        address: String,
    },
    /// A router of a family that the machine has no address of.
    #[error("--gateway={gateway} leads nowhere: the machine has no address of its family")]
    GatewayOfNoFamily {
        /// The router.
        gateway: IpAddr,
    },
    /// A router that is the machine itself.
    #[error("--gateway={gateway} is the machine's own address")]
    GatewayIsMachine {
        /// The router.
        gateway: IpAddr,
    },
    /// The machine's name makes no name of an interface.
    #[error("no interface can be named after {name}")]
    NoName {
        /// It.
        name: String,
    },
}

impl NetworkPlanError {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TwoOfAName { .. } => "give one of them another name: HOST:MACHINE",
            Self::GatewayElsewhere { .. } | Self::GatewayIsMachine { .. } => {
                "a router is a neighbour: --ip=ADDRESS/PREFIX says how far that goes"
            }
            Self::GatewayOfNoFamily { .. } => "give it one with --ip=",
            Self::NoName { .. } => "name the machine with --machine=NAME",
        }
    }
}

/// Which lease the machine needs before it can be planned, if any, with the addresses that are asked for.
pub fn lease_of(settings: &MachineSettings) -> Option<(Wanted, &[InterfaceAddress])> {
    let wanted = match settings.network_attachment()? {
        VethAttachment::Zone(zone) => Wanted::Zone(zone),
        VethAttachment::Alone => Wanted::Pair,
        VethAttachment::Bridge(_) => return None,
    };
    Some((wanted, &settings.network.addresses))
}

/// The plan of machine `name` on the host with the machine ID `host`. `leased` is what came of [`lease_of`].
///
/// # Errors
/// For what cannot be made together.
pub fn plan(
    settings: &MachineSettings,
    name: &MachineName,
    host: HostId,
    leased: Option<Addresses>,
) -> Result<NetworkPlan, NetworkPlanError> {
    let network = &settings.network;
    let mut planned = NetworkPlan {
        namespace: match settings.network_namespace() {
            NetworkNamespace::Host => Namespace::Host,
            NetworkNamespace::Private => Namespace::Private,
            NetworkNamespace::Path(path) => Namespace::Path(path),
        },
        hosts: network.hosts.clone(),
        ports: network.ports.clone(),
        offers: network.offers.clone(),
        spoofing: network.spoofing,
        faults: Faults {
            delay: network.delay.map(|delay| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)),
            loss: network.loss,
        },
        ..NetworkPlan::default()
    };
    let attachment = settings.network_attachment();
    if let Some(attachment) = &attachment {
        planned.links.push(host0(attachment, network, name, host, leased)?);
    }
    let mut more = more_links(network, name, host)?;
    // Without a host0, an address is for the only interface that can have it.
    if attachment.is_none()
        && let Some(only) = more.iter_mut().find(|link| link.kind != LinkKind::Extra)
    {
        only.addresses = given(network)?;
        if matches!(only.kind, LinkKind::Macvlan(_)) {
            only.mac = network.mac.or(only.mac);
        }
    }
    planned.links.append(&mut more);
    refuse_equal_names(&planned.links)?;
    let main = planned.main().map(|(_, addresses)| addresses);
    match (main, &attachment) {
        (Some(addresses), Some(VethAttachment::Zone(_) | VethAttachment::Alone)) => {
            let hosts = [
                addresses.v4.and_then(|family| family.host).map(IpAddr::V4),
                addresses.v6.and_then(|family| family.host).map(IpAddr::V6),
            ];
            planned.dns = hosts.into_iter().flatten().collect();
            planned.upstream_dns = network.dns.clone();
        }
        // On a network of somebody's nobody but they can be asked.
        (Some(_), _) => planned.dns = network.dns.clone(),
        (None, _) => {}
    }
    planned.domain = planned.zone().map(|zone| zone.domain());
    Ok(planned)
}

/// The pair whose other end is `host0`.
fn host0(
    attachment: &VethAttachment,
    network: &NetworkSettings,
    name: &MachineName,
    host: HostId,
    leased: Option<Addresses>,
) -> Result<LinkPlan, NetworkPlanError> {
    let (kind, in_bridge) = match attachment {
        VethAttachment::Alone => (LinkKind::Veth, false),
        VethAttachment::Bridge(bridge) => (LinkKind::Bridge(bridge.clone()), true),
        VethAttachment::Zone(zone) => (LinkKind::Zone(zone.clone()), true),
    };
    let no_name = || NetworkPlanError::NoName { name: name.to_string() };
    let end = veth(name.as_str(), in_bridge).ok_or_else(no_name)?;
    let addresses = match attachment {
        VethAttachment::Bridge(_) => given(network)?,
        VethAttachment::Alone => leased.map(|leased| with_router_as_host(leased, network)).transpose()?,
        VethAttachment::Zone(_) => leased.map(|leased| with_routers(leased, network)).transpose()?,
    };
    Ok(LinkPlan {
        host: Some(end.name),
        host_alternative: end.alternative,
        host_mac: Some(mac(host, name.as_str(), MacOf::Host)),
        mac: Some(network.mac.unwrap_or_else(|| mac(host, name.as_str(), MacOf::Machine))),
        addresses,
        ..LinkPlan::new(kind, HOST0.parse().map_err(|_| no_name())?)
    })
}

/// Extra pairs, lent interfaces, macvlan and ipvlan.
fn more_links(
    network: &NetworkSettings,
    name: &MachineName,
    host: HostId,
) -> Result<Vec<LinkPlan>, NetworkPlanError> {
    let mac = |which: MacOf| Some(mac(host, name.as_str(), which));
    let bare = |kind: LinkKind, on_host: Option<&InterfaceName>, guest: LinkName| LinkPlan {
        host: on_host.cloned(),
        guest_alternative: guest.alternative,
        ..LinkPlan::new(kind, guest.name)
    };
    let own_name = |pair: &InterfacePair| LinkName {
        name: pair.guest.clone().unwrap_or_else(|| pair.host.clone()),
        alternative: None,
    };
    let prefixed = |pair: &InterfacePair, prefix: &str| match &pair.guest {
        Some(guest) => Ok(LinkName { name: guest.clone(), alternative: None }),
        None => shortened(&format!("{prefix}{}", pair.host))
            .ok_or_else(|| NetworkPlanError::NoName { name: pair.host.to_string() }),
    };
    let mut links = Vec::new();
    for (index, pair) in (0..).zip(&network.veth_extra) {
        links.push(LinkPlan {
            host_mac: mac(MacOf::ExtraHost(index)),
            mac: mac(MacOf::ExtraMachine(index)),
            ..bare(LinkKind::Extra, Some(&pair.host), own_name(pair))
        });
    }
    for pair in &network.interfaces {
        links.push(bare(LinkKind::Lent, Some(&pair.host), own_name(pair)));
    }
    for (index, pair) in (0..).zip(&network.macvlan) {
        let link = bare(LinkKind::Macvlan(pair.host.clone()), None, prefixed(pair, "mv-")?);
        links.push(LinkPlan { mac: mac(MacOf::Macvlan(index)), ..link });
    }
    for pair in &network.ipvlan {
        links.push(bare(LinkKind::Ipvlan(pair.host.clone()), None, prefixed(pair, "iv-")?));
    }
    Ok(links)
}

fn refuse_equal_names(links: &[LinkPlan]) -> Result<(), NetworkPlanError> {
    let refuse = |names: Vec<&InterfaceName>, place: &'static str| {
        let twice =
            names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|other| other == *name));
        match twice {
            Some((_, name)) => Err(NetworkPlanError::TwoOfAName { name: (*name).clone(), place }),
            None => Ok(()),
        }
    };
    refuse(links.iter().map(|link| &link.guest).collect(), "in the machine")?;
    refuse(links.iter().filter_map(|link| link.host.as_ref()).collect(), "on the host")
}

/// The addresses that the user gave, for a network of somebody's.
fn given(network: &NetworkSettings) -> Result<Option<Addresses>, NetworkPlanError> {
    if network.addresses.is_empty() {
        return Ok(None);
    }
    let mut addresses = Addresses { v4: None, v6: None };
    for given in &network.addresses {
        match given.address {
            IpAddr::V4(address) => {
                let prefix = given.prefix.unwrap_or(24);
                addresses.v4 = Some(Family { address, prefix, gateway: None, host: None });
            }
            IpAddr::V6(address) => {
                let prefix = given.prefix.unwrap_or(64);
                addresses.v6 = Some(Family { address, prefix, gateway: None, host: None });
            }
        }
    }
    with_routers(addresses, network).map(Some)
}

/// With the routers that the user gave.
fn with_routers(mut addresses: Addresses, network: &NetworkSettings) -> Result<Addresses, NetworkPlanError> {
    for gateway in &network.gateways {
        match *gateway {
            IpAddr::V4(router) => {
                let family = family_of(&mut addresses.v4, *gateway)?;
                check_router(family.address.into(), family.prefix, *gateway)?;
                family.gateway = Some(router);
            }
            IpAddr::V6(router) => {
                let family = family_of(&mut addresses.v6, *gateway)?;
                check_router(family.address.into(), family.prefix, *gateway)?;
                family.gateway = Some(router);
            }
        }
    }
    Ok(addresses)
}

/// The same for a machine that is alone with the host: its router can be nobody else.
fn with_router_as_host(
    addresses: Addresses,
    network: &NetworkSettings,
) -> Result<Addresses, NetworkPlanError> {
    let mut addresses = with_routers(addresses, network)?;
    let set4 = |family: &mut Family<Ipv4Addr>| family.host = family.gateway;
    let set6 = |family: &mut Family<Ipv6Addr>| {
        // A link-local address is no name server's for others.
        if family.gateway.is_some_and(|gateway| !gateway.is_unicast_link_local()) {
            family.host = family.gateway;
        }
    };
    addresses.v4.iter_mut().for_each(set4);
    addresses.v6.iter_mut().for_each(set6);
    Ok(addresses)
}

fn family_of<A>(family: &mut Option<Family<A>>, gateway: IpAddr) -> Result<&mut Family<A>, NetworkPlanError> {
    family.as_mut().ok_or(NetworkPlanError::GatewayOfNoFamily { gateway })
}

fn check_router(address: IpAddr, prefix: u8, gateway: IpAddr) -> Result<(), NetworkPlanError> {
    let network = Subnet::of(address, prefix);
    let link_local = matches!(gateway, IpAddr::V6(router) if router.is_unicast_link_local());
    if gateway == address {
        return Err(NetworkPlanError::GatewayIsMachine { gateway });
    }
    if link_local || network.contains(gateway) {
        return Ok(());
    }
    Err(NetworkPlanError::GatewayElsewhere { gateway, address: format!("{address}/{prefix}") })
}

#[cfg(test)]
mod tests;
