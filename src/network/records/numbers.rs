//! Which number a machine has in the networks of its zone: its own, the one that was asked for, or one that nobody has who runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Asked, HOST, Lease, ZoneRecord, addresses};
use crate::network::lease::LeaseError;
use crate::network::plan::Addresses;
use crate::network::pool::choose_number;
use crate::network::subnet::Subnet;
use crate::settings::network::ZoneName;

/// The last number that a machine gets: a network of IPv4 has fewer, one of IPv6 has no end.
const LAST_NUMBER: u32 = 1 << 16;

impl ZoneRecord {
    /// The addresses of a machine of the zone, whose networks are known.
    pub(super) fn machine(&mut self, zone: &ZoneName, asked: &Asked<'_>) -> Result<Addresses, LeaseError> {
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
        let last = u32::try_from(network.last()).unwrap_or(LAST_NUMBER).min(LAST_NUMBER);
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
