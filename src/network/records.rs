//! Leases as data, and who gets which.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::lease::{HostView, LeaseError, Wanted};
use super::names::{HostId, veth};
use super::plan::{Addresses, Family};
use super::pool::{For, Pool, choose_number};
use super::subnet::Subnet;
use crate::settings::network::{InterfaceAddress, ZoneName};

/// How stale a time of use may get: it is not worth a write at each start.
const FRESH: u64 = 24 * 60 * 60;

/// Networks of single machines that are kept.
const MOST_PAIRS: usize = 1024;

/// Machines of a zone that are kept; a network of IPv4 has fewer, one of IPv6 has no end.
const MOST_LEASES: u32 = 1 << 16;

/// The host's number in each of its networks.
const HOST: u128 = 1;

/// All records of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    /// By zone.
    pub zones: BTreeMap<ZoneName, ZoneRecord>,
    /// Of machines that are alone with the host.
    pub pairs: Pairs,
}

/// What is remembered of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ZoneRecord {
    /// Its network of IPv4.
    pub ipv4: Option<Subnet>,
    /// Its network of IPv6.
    pub ipv6: Option<Subnet>,
    /// The host's addresses in them, where they are not the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<IpAddr>,
    /// When it was last used, in seconds since 1970.
    pub used: u64,
    /// Its machines.
    pub leases: BTreeMap<String, Lease>,
}

/// What is remembered of a machine in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number in the zone's networks: the host's part of its addresses.
    pub number: u32,
    /// An address of IPv6 that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// When it was last taken, in seconds since 1970.
    pub used: u64,
}

/// Machines that are alone with the host.
pub type Pairs = BTreeMap<String, PairRecord>;

/// What is remembered of such a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRecord {
    /// Its network of IPv4.
    pub ipv4: Option<Subnet>,
    /// Its network of IPv6.
    pub ipv6: Option<Subnet>,
    /// When it was last taken, in seconds since 1970.
    pub used: u64,
}

/// Who asks for addresses, and what is known at the time.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The machine.
    pub name: &'a str,
    /// The addresses that it wants, at most one of each family.
    pub addresses: &'a [InterfaceAddress],
    /// The host's network.
    pub host: &'a HostView,
    /// The host's machine ID.
    pub id: HostId,
    /// What networks are chosen from.
    pub pool: &'a Pool,
    /// Whether a machine of a name runs, or is being started: its addresses are its own.
    pub is_live: &'a dyn Fn(&str) -> bool,
    /// Seconds since 1970 ([`super::lease::now`]).
    pub now: u64,
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Asked<'_> {
    fn address(&self, ipv4: bool) -> Option<InterfaceAddress> {
        self.addresses.iter().find(|address| address.address.is_ipv4() == ipv4).copied()
    }

    /// Where the host's routes lead, but for those through `interface` and those to everywhere.
    fn routed(&self, interface: Option<&str>) -> Vec<Subnet> {
        let routes = self.host.routes.iter().filter(|route| {
            route.network.prefix() > 0
                && !matches!((&route.interface, interface), (Some(of), Some(own)) if of.as_str() == own)
        });
        routes.map(|route| route.network).collect()
    }

    /// Time that is written down: unchanged where the last use was lately.
    fn used(&self, before: u64) -> u64 {
        if before.abs_diff(self.now) < FRESH { before } else { self.now }
    }
}

impl Records {
    /// The addresses of a machine.
    pub(super) fn acquire(&mut self, wanted: &Wanted, asked: &Asked<'_>) -> Result<Addresses, LeaseError> {
        match wanted {
            Wanted::Zone(zone) => self.in_zone(zone, asked),
            Wanted::Pair => self.pair(asked),
        }
    }

    /// Forgets a machine; says of which zones, `None` for a network of its own.
    pub(super) fn forget(&mut self, name: &str) -> Vec<Option<ZoneName>> {
        let zones = self.zones.iter_mut().filter(|(_, record)| record.leases.contains_key(name));
        let mut forgotten: Vec<Option<ZoneName>> = zones
            .map(|(zone, record)| {
                record.leases.remove(name);
                Some(zone.clone())
            })
            .collect();
        // A zone without machines has nothing to be remembered by.
        self.zones.retain(|_, record| !record.leases.is_empty());
        forgotten.extend(self.pairs.remove(name).map(|_| None));
        forgotten
    }

    /// Networks that others than `zone` and machine `pair` have.
    fn others(&self, zone: Option<&ZoneName>, pair: Option<&str>) -> Vec<Subnet> {
        let zones = self.zones.iter().filter(|(name, _)| Some(*name) != zone);
        let zones = zones.flat_map(|(_, record)| [record.ipv4, record.ipv6]);
        let pairs = self.pairs.iter().filter(|(name, _)| Some(name.as_str()) != pair);
        zones.chain(pairs.flat_map(|(_, record)| [record.ipv4, record.ipv6])).flatten().collect()
    }

    /// Forgets the zone, or else the pair, without live machines that was not used for longest; says whether there was one.
    fn forget_oldest(&mut self, keep: Option<&ZoneName>, is_live: &dyn Fn(&str) -> bool) -> bool {
        let idle = self.zones.iter().filter(|(zone, record)| {
            Some(*zone) != keep && !record.leases.keys().any(|machine| is_live(machine))
        });
        let zone =
            idle.min_by_key(|(_, record)| record.used).map(|(zone, record)| (record.used, zone.clone()));
        let idle = self.pairs.iter().filter(|(name, _)| !is_live(name));
        let pair =
            idle.min_by_key(|(_, record)| record.used).map(|(name, record)| (record.used, name.clone()));
        match (zone, pair) {
            (Some((used, zone)), pair) if pair.as_ref().is_none_or(|(other, _)| used <= *other) => {
                self.zones.remove(&zone);
                true
            }
            (_, Some((_, pair))) => self.pairs.remove(&pair).is_some(),
            _ => false,
        }
    }

    /// Calls `choose` with what is taken until it finds something, forgetting the oldest records one by one.
    fn find<T>(
        &mut self,
        zone: Option<&ZoneName>,
        asked: &Asked<'_>,
        routed: &[Subnet],
        choose: impl Fn(&[Subnet]) -> Option<T>,
    ) -> Result<T, LeaseError> {
        loop {
            let own = zone.is_none().then_some(asked.name);
            let mut taken = self.others(zone, own);
            taken.extend_from_slice(routed);
            if let Some(found) = choose(&taken) {
                return Ok(found);
            }
            if !self.forget_oldest(zone, asked.is_live) {
                let what = zone.map_or_else(|| asked.name.to_owned(), |zone| format!("the zone {zone}"));
                return Err(LeaseError::NoNetwork { what });
            }
        }
    }

    fn in_zone(&mut self, zone: &ZoneName, asked: &Asked<'_>) -> Result<Addresses, LeaseError> {
        let mut record = self.zones.get(zone).cloned().unwrap_or_default();
        let bridge = zone.bridge();
        let routed = asked.routed(Some(bridge.as_str()));
        let set = asked.pool.zones.get(zone).copied().unwrap_or_default();
        // A bridge that is there has machines in it, with the addresses it has.
        let live = |ipv4: bool| {
            let mut own = asked.host.bridge.iter().filter(|(address, _)| address.is_ipv4() == ipv4);
            own.find(|(address, _)| !is_link_local(*address)).copied()
        };
        let keeps = |network: &Option<Subnet>, taken: &[Subnet]| {
            network.filter(|network| taken.iter().all(|other| !other.overlaps(network)))
        };
        let taken: Vec<Subnet> =
            self.others(Some(zone), None).into_iter().chain(routed.iter().copied()).collect();
        record.ipv4 = Some(match live(true) {
            Some((address, prefix)) => Subnet::of(address, prefix),
            None => match set.ipv4.or_else(|| keeps(&record.ipv4, &taken)) {
                Some(network) => network,
                None => {
                    self.find(Some(zone), asked, &routed, |taken| asked.pool.ipv4(For::Zone(zone), taken))?
                }
            },
        });
        record.ipv6 = match live(false) {
            Some((address, prefix)) => Some(Subnet::of(address, prefix)),
            None if !asked.host.ipv6 => record.ipv6,
            None => match set.ipv6.or_else(|| keeps(&record.ipv6, &taken)) {
                Some(network) => Some(network),
                None => Some(self.find(Some(zone), asked, &routed, |taken| {
                    asked.pool.ipv6(For::Zone(zone), taken, asked.id)
                })?),
            },
        };
        record.host = [live(true), live(false)].into_iter().flatten().map(|(address, _)| address).collect();
        record.used = asked.used(record.used);
        let leased = record.machine(zone, asked)?;
        self.zones.insert(zone.clone(), record);
        Ok(leased)
    }

    fn pair(&mut self, asked: &Asked<'_>) -> Result<Addresses, LeaseError> {
        let mut record =
            self.pairs.get(asked.name).cloned().unwrap_or(PairRecord { ipv4: None, ipv6: None, used: 0 });
        // An interface of its own can be there still: that of a machine which was killed.
        let own = veth(asked.name, false);
        let routed = asked.routed(own.as_ref().map(|own| own.name.as_str()));
        let taken: Vec<Subnet> =
            self.others(None, Some(asked.name)).into_iter().chain(routed.iter().copied()).collect();
        let network = |records: &mut Self, ipv4: bool, before: Option<Subnet>| {
            if let Some(address) = asked.address(ipv4) {
                let prefix = address.prefix.unwrap_or(if ipv4 { 24 } else { 64 });
                let network = Subnet::of(address.address, prefix);
                if network.last() < 3 {
                    let why = "its network has no room for the host";
                    return Err(LeaseError::Reserved { address: address.address, why });
                }
                return match taken.iter().find(|other| other.overlaps(&network)) {
                    Some(other) => Err(LeaseError::Routed { address: address.address, network: *other }),
                    None => Ok(network),
                };
            }
            if let Some(network) = before.filter(|network| taken.iter().all(|other| !other.overlaps(network)))
            {
                return Ok(network);
            }
            records.find(None, asked, &routed, |taken| match ipv4 {
                true => asked.pool.ipv4(For::Pair, taken),
                false => asked.pool.ipv6(For::Pair, taken, asked.id),
            })
        };
        record.ipv4 = Some(network(self, true, record.ipv4)?);
        if asked.host.ipv6 {
            record.ipv6 = Some(network(self, false, record.ipv6)?);
        }
        record.used = asked.used(record.used);
        let networks = [record.ipv4, record.ipv6.filter(|_| asked.host.ipv6)];
        self.pairs.remove(asked.name);
        while self.pairs.len() >= MOST_PAIRS {
            let idle = self.pairs.iter().filter(|(name, _)| !(asked.is_live)(name));
            let Some(oldest) = idle.min_by_key(|(_, record)| record.used).map(|(name, _)| name.clone())
            else {
                break;
            };
            self.pairs.remove(&oldest);
        }
        self.pairs.insert(asked.name.to_owned(), record);
        let own = networks.map(|network| {
            let network = network?;
            let asked_for = asked.address(network.is_ipv4()).map(|address| address.address);
            let own = asked_for.or_else(|| network.at(HOST + 1))?;
            // The first address that is not the machine's.
            let host = [HOST, HOST + 1, 0].into_iter().filter_map(|number| network.at(number));
            let host = host.into_iter().find(|host| *host != own)?;
            Some((own, network.prefix(), host))
        });
        Ok(addresses(own))
    }
}

impl ZoneRecord {
    /// The addresses of a machine of the zone, whose networks are known.
    fn machine(&mut self, zone: &ZoneName, asked: &Asked<'_>) -> Result<Addresses, LeaseError> {
        let networks = [self.ipv4, self.ipv6.filter(|_| asked.host.ipv6)];
        let set = self.host.clone();
        let host = |network: Subnet| {
            let own = set.iter().find(|address| network.contains(**address));
            own.copied().or_else(|| network.at(HOST))
        };
        let hosts: Vec<IpAddr> = networks.into_iter().flatten().filter_map(host).collect();
        for network in networks.into_iter().flatten() {
            let Some(address) = asked.address(network.is_ipv4()) else { continue };
            let address = address.address;
            let why = match network.number_of(address) {
                None => return Err(LeaseError::Elsewhere { address, zone: zone.clone(), network }),
                Some(_) if hosts.contains(&address) => "it is the host's own",
                Some(0) => "it is the network's",
                Some(number) if network.is_ipv4() && number == network.last() => {
                    "it is for all of the network"
                }
                Some(_) => continue,
            };
            return Err(LeaseError::Reserved { address, why });
        }
        let asked_number = asked.address(true).and_then(|address| self.ipv4?.number_of(address.address));
        let asked_number = asked_number.and_then(|number| u32::try_from(number).ok());
        let asked_ipv6 = asked.address(false).and_then(|address| match address.address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        });
        self.make_way(asked_number, asked_ipv6, asked)?;
        let number = match asked_number.or_else(|| self.own_number(asked.name, &hosts)) {
            Some(number) => number,
            None => self.new_number(asked, &hosts)?,
        };
        let before = self.leases.get(asked.name).map_or(0, |lease| lease.used);
        let used = asked.used(before);
        self.leases.insert(asked.name.to_owned(), Lease { number, ipv6: asked_ipv6, used });
        let own = networks.map(|network| {
            let network = network?;
            let own = match asked_ipv6.filter(|_| !network.is_ipv4()) {
                Some(address) => IpAddr::V6(address),
                None => network.at(number.into())?,
            };
            Some((own, network.prefix(), host(network)?))
        });
        Ok(addresses(own))
    }

    /// Takes what was asked for from machines that do not run.
    fn make_way(
        &mut self,
        number: Option<u32>,
        ipv6: Option<Ipv6Addr>,
        asked: &Asked<'_>,
    ) -> Result<(), LeaseError> {
        let network = self.ipv6;
        let has = |lease: &Lease| {
            let of_number = || network.and_then(|network| network.at(lease.number.into()));
            let own = lease.ipv6.map(IpAddr::V6).or_else(of_number);
            if number == Some(lease.number) {
                asked.address(true)
            } else if ipv6.is_some_and(|ipv6| own == Some(IpAddr::V6(ipv6))) {
                asked.address(false)
            } else {
                None
            }
        };
        let others = self.leases.iter().filter(|(name, _)| *name != asked.name);
        let holders: Vec<(String, IpAddr)> =
            others.filter_map(|(name, lease)| Some((name.clone(), has(lease)?.address))).collect();
        for (machine, address) in holders {
            if (asked.is_live)(&machine) {
                return Err(LeaseError::InUse { address, machine });
            }
            self.leases.remove(&machine);
        }
        Ok(())
    }

    /// The number that a machine had, where it is in the network still, and not the host's.
    fn own_number(&self, name: &str, hosts: &[IpAddr]) -> Option<u32> {
        let number = self.leases.get(name)?.number;
        let free = self.ipv4.is_none_or(|network| {
            (HOST..network.last()).contains(&number.into())
                && network.at(number.into()).is_some_and(|address| !hosts.contains(&address))
        });
        let once = self.leases.iter().all(|(other, lease)| other == name || lease.number != number);
        (free && once && u128::from(number) != HOST).then_some(number)
    }

    /// A number that nobody has, or else that of the machine which does not run for longest.
    fn new_number(&mut self, asked: &Asked<'_>, hosts: &[IpAddr]) -> Result<u32, LeaseError> {
        let network = self.ipv4.unwrap_or_else(|| Subnet::of(Ipv4Addr::UNSPECIFIED.into(), 16));
        let last = u32::try_from(network.last()).unwrap_or(MOST_LEASES).min(MOST_LEASES);
        loop {
            let is_hosts = |number: u32| {
                let both = [self.ipv4, self.ipv6].into_iter().flatten();
                both.filter_map(|network| network.at(number.into())).any(|address| hosts.contains(&address))
            };
            let taken = |number: u32| {
                let address = self.ipv6.and_then(|network| network.at(number.into()));
                let others = self.leases.iter().filter(|(name, _)| *name != asked.name);
                is_hosts(number)
                    || others.into_iter().any(|(_, lease)| {
                        lease.number == number
                            || lease.ipv6.is_some_and(|ipv6| address == Some(IpAddr::V6(ipv6)))
                    })
            };
            if let Some(number) = choose_number(asked.name, last, taken) {
                return Ok(number);
            }
            let idle = self.leases.iter().filter(|(name, _)| *name != asked.name && !(asked.is_live)(name));
            let oldest = idle.min_by_key(|(_, lease)| lease.used).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return Err(LeaseError::NoAddress { network }) };
            self.leases.remove(&oldest);
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The machine's address, the length of the prefix and the host's address, of either family.
fn addresses(own: [Option<(IpAddr, u8, IpAddr)>; 2]) -> Addresses {
    let mut found = Addresses { v4: None, v6: None };
    for (address, prefix, host) in own.into_iter().flatten() {
        match (address, host) {
            (IpAddr::V4(address), IpAddr::V4(host)) => {
                found.v4 = Some(Family { address, prefix, gateway: Some(host), host: Some(host) });
            }
            (IpAddr::V6(address), IpAddr::V6(host)) => {
                found.v6 = Some(Family { address, prefix, gateway: Some(host), host: Some(host) });
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests;
