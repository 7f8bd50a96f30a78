//! Leases as data, and who gets which.

mod bounds;
mod numbers;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::lease::{HostView, LeaseError, Wanted};
use super::names::{HostId, veth};
use super::plan::{Addresses, Family};
use super::pool::{For, Pool};
use super::subnet::Subnet;
use crate::settings::network::{InterfaceAddress, ZoneName};

use bounds::{MOST_PAIRS, bound};

pub use bounds::Live;

/// How stale a time of use may get: it is not worth a write at each start.
const FRESH: u64 = 24 * 60 * 60;

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
    /// Machines that run in a zone, with their addresses there; asked only where their leases are lost.
    pub live: &'a dyn Fn(&ZoneName) -> Vec<Live>,
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

    /// Forgets all machines but those that are `kept`; says how many it has forgotten.
    pub(super) fn forget_all(&mut self, kept: impl Fn(&str) -> bool) -> usize {
        let mut names: Vec<String> =
            self.zones.values().flat_map(|record| record.leases.keys().cloned()).collect();
        names.extend(self.pairs.keys().cloned());
        names.sort();
        names.dedup();
        names.retain(|name| !kept(name));
        names.iter().for_each(|name| drop(self.forget(name)));
        names.len()
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
        if record.leases.is_empty() && live(true).or_else(|| live(false)).is_some() {
            record.recover((asked.live)(zone), asked.now);
        }
        let leased = record.machine(zone, asked)?;
        self.zones.insert(zone.clone(), record);
        self.bound_zones(zone, asked);
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
        let own = asked.name.to_owned();
        self.pairs.insert(own.clone(), record);
        bound(&mut self.pairs, MOST_PAIRS, &own, |pair| pair.used, |name, _| (asked.is_live)(name));
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
