//! How much is remembered: who has not run for longest is forgotten first, and nobody who runs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Asked, Lease, Records, ZoneRecord};
use crate::settings::network::ZoneName;

/// Machines of a zone; a network of IPv4 of the usual size has no room for more than a quarter of these.
pub(super) const MOST_LEASES: usize = 4096;

/// Machines that are alone with the host.
pub(super) const MOST_PAIRS: usize = 1024;

/// Zones, each of which is a file that is read whenever a machine starts.
pub(super) const MOST_ZONES: usize = 256;

/// The addresses that a machine which runs has in a zone, as its supervisor tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The machine.
    pub machine: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Removes the oldest of `all` but `own` that is not live, until there are no more than `most`.
pub(super) fn bound<K: Ord + Clone, V>(
    all: &mut BTreeMap<K, V>,
    most: usize,
    own: &K,
    used: impl Fn(&V) -> u64,
    is_live: impl Fn(&K, &V) -> bool,
) {
    while all.len() > most {
        let idle = all.iter().filter(|(key, value)| *key != own && !is_live(key, value));
        let Some(oldest) = idle.min_by_key(|(_, value)| used(value)).map(|(key, _)| key.clone()) else {
            return;
        };
        all.remove(&oldest);
    }
}

impl Records {
    /// Keeps the bounds, after machine `asked.name` was added to `zone`.
    pub(super) fn bound_zones(&mut self, zone: &ZoneName, asked: &Asked<'_>) {
        if let Some(record) = self.zones.get_mut(zone) {
            let own = asked.name.to_owned();
            bound(&mut record.leases, MOST_LEASES, &own, |lease| lease.used, |name, _| (asked.is_live)(name));
        }
        let is_live =
            |_: &ZoneName, record: &ZoneRecord| record.leases.keys().any(|name| (asked.is_live)(name));
        bound(&mut self.zones, MOST_ZONES, zone, |record| record.used, is_live);
    }

    /// Notes that machine `name` has just been in use.
    pub(in crate::network) fn touch(&mut self, name: &str, now: u64) {
        for record in self.zones.values_mut() {
            if let Some(lease) = record.leases.get_mut(name) {
                (lease.used, record.used) = (now, now);
            }
        }
        if let Some(pair) = self.pairs.get_mut(name) {
            pair.used = now;
        }
    }
}

impl ZoneRecord {
    /// Notes machines that run in this zone and are not known: somebody has removed the file, or it was broken.
    pub(super) fn recover(&mut self, live: Vec<Live>, now: u64) {
        for Live { machine, addresses } in live {
            let number = |network: Option<super::Subnet>| {
                addresses.iter().find_map(|address| network?.number_of(*address))
            };
            let number =
                number(self.ipv4).or_else(|| number(self.ipv6)).and_then(|it| u32::try_from(it).ok());
            if let Some(number) = number {
                let lease = Lease { number, ipv6: None, used: now };
                self.leases.entry(machine).or_insert(lease);
            }
        }
    }
}
