//! Which network a zone, or a machine that is alone with the host, gets out of the pool. Pure: who has which network, and where the
//! host's routes lead, is told.
//!
//! A zone's place in the pool follows from its name, and the networks of single machines are taken from the pool's end, so that
//! many of those leave room for zones.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::names::{HostId, hash};
use super::subnet::Subnet;
use crate::settings::network::ZoneName;

/// What networks are chosen from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool {
    /// Of IPv4, in the order in which they are used; empty: [`Pool::IPV4`].
    pub ipv4: Vec<Subnet>,
    /// Of IPv6; `None`: a network of this host's own ([`unique_local`]).
    pub ipv6: Option<Subnet>,
    /// Zones whose networks are set.
    pub zones: BTreeMap<ZoneName, ZoneNetworks>,
}

/// The networks that are set for a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZoneNetworks {
    /// Of IPv4.
    pub ipv4: Option<Subnet>,
    /// Of IPv6.
    pub ipv6: Option<Subnet>,
}

/// Who a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For<'a> {
    /// A zone.
    Zone(&'a ZoneName),
    /// A machine and the host's end of its pair.
    Pair,
}

/// Addresses of a zone: 1021 machines.
const ZONE_PREFIX: u8 = 22;
/// Addresses of a pair, and of what the machine may have behind its own.
const PAIR_PREFIX: u8 = 28;
/// The usual network of IPv6 (RFC 4291, 2.5.1).
const IPV6_PREFIX: u8 = 64;

/// Key of the hashes of this file; any that nobody else uses.
const KEY: [u8; 16] = *b"spinney's pools!";

/// How many places of a pool are looked at before it is given up: a pool of IPv6 has more than anybody can.
const MOST_LOOKS: u128 = 1 << 16;

impl Pool {
    /// Where nothing is configured: private addresses (RFC 1918) that few use.
    pub const IPV4: &'static str = "10.213.0.0/16";

    /// The network of IPv4 for `who`, off `taken`; `None` where the pool has none left.
    pub fn ipv4(&self, who: For<'_>, taken: &[Subnet]) -> Option<Subnet> {
        if let Some(set) = self.set(who).and_then(|zone| zone.ipv4) {
            return Some(set);
        }
        let built_in: Vec<Subnet> = Self::IPV4.parse().into_iter().collect();
        let pool = if self.ipv4.is_empty() { &built_in } else { &self.ipv4 };
        let prefix = if who == For::Pair { PAIR_PREFIX } else { ZONE_PREFIX };
        pool.iter().find_map(|part| choose(*part, prefix, who, taken))
    }

    /// The same of IPv6.
    pub fn ipv6(&self, who: For<'_>, taken: &[Subnet], host: HostId) -> Option<Subnet> {
        if let Some(set) = self.set(who).and_then(|zone| zone.ipv6) {
            return Some(set);
        }
        choose(self.ipv6.unwrap_or_else(|| unique_local(host)), IPV6_PREFIX, who, taken)
    }

    fn set(&self, who: For<'_>) -> Option<ZoneNetworks> {
        match who {
            For::Zone(zone) => self.zones.get(zone).copied(),
            For::Pair => None,
        }
    }
}

/// A /48 of the host's own (RFC 4193): fd and 40 bits, which are to be random and here follow from its machine ID.
pub fn unique_local(host: HostId) -> Subnet {
    let [a, b, c, d, e, ..] = hash(&KEY, &[b"fd", &host.0]).to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    Subnet::of(IpAddr::V6(Ipv6Addr::from(bytes)), 48)
}

/// The first network of `prefix` bits in `pool` that overlaps none of `taken`; all of a pool that is smaller.
fn choose(pool: Subnet, prefix: u8, who: For<'_>, taken: &[Subnet]) -> Option<Subnet> {
    let prefix = prefix.max(pool.prefix());
    let count = 1_u128.checked_shl(pool.parts(prefix)?).unwrap_or(u128::MAX);
    let free = |network: &Subnet| taken.iter().all(|other| !other.overlaps(network));
    let at = |place: u128| pool.part(prefix, place);
    match who {
        For::Pair => (0..count.min(MOST_LOOKS)).filter_map(|back| at(count - 1 - back)).find(free),
        For::Zone(zone) => {
            // The usual zone has the usual place.
            let start = match *zone == ZoneName::default_zone() {
                true => 0,
                false => u128::from(hash(&KEY, &[b"zone", zone.as_str().as_bytes()])) % count,
            };
            (0..count.min(MOST_LOOKS)).filter_map(|step| at((start + step) % count)).find(free)
        }
    }
}

/// The number of `name` in a network whose last number is `last`, off those that are taken: one that follows from the name, or the
/// next that is free. 0 is the network, 1 the host's, and the last one of IPv4 is for all.
pub fn choose_number(name: &str, last: u32, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
    const FIRST: u32 = 2;
    let count = last.checked_sub(FIRST)?;
    let start = hash(&KEY, &[b"machine", name.as_bytes()]).checked_rem(count.into())?;
    let start = u32::try_from(start).unwrap_or(0);
    (0..count).map(|step| FIRST + (start + step) % count).find(|number| !is_taken(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(text: &str) -> Vec<Subnet> {
        text.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    fn zone(text: &str) -> ZoneName {
        text.parse().unwrap()
    }

    #[test]
    fn networks_of_ipv4() {
        let (usual, lab) = (zone("spinney"), zone("lab"));
        let pool = |text: &str| Pool { ipv4: subnets(text), ..Pool::default() };
        let lab_place = Pool::default().ipv4(For::Zone(&lab), &[]).unwrap();
        assert!(subnets(Pool::IPV4)[0].overlaps(&lab_place) && lab_place.prefix() == 22);
        let rows = [
            ("", For::Zone(&usual), "", Some("10.213.0.0/22")),
            ("", For::Zone(&usual), "10.213.1.7/32", Some("10.213.4.0/22")),
            ("", For::Zone(&usual), "10.213.0.0/17 fd00::/8", Some("10.213.128.0/22")),
            ("", For::Zone(&usual), "10.0.0.0/8", None),
            ("10.213.0.0/16 172.30.0.0/20", For::Zone(&usual), "10.0.0.0/8", Some("172.30.0.0/22")),
            ("192.168.7.0/24", For::Zone(&lab), "", Some("192.168.7.0/24")),
            ("192.168.7.0/24", For::Zone(&lab), "192.168.7.9/32", None),
            ("", For::Pair, "", Some("10.213.255.240/28")),
            ("", For::Pair, "10.213.255.0/24", Some("10.213.254.240/28")),
            ("192.168.7.0/28", For::Pair, "", Some("192.168.7.0/28")),
        ];
        for (of, who, taken, expected) in rows {
            let found = pool(of).ipv4(who, &subnets(taken));
            assert_eq!(found.map(|found| found.to_string()).as_deref(), expected, "{of} {who:?} {taken}");
        }
    }

    #[test]
    fn networks_that_are_set() {
        let networks = ZoneNetworks { ipv4: Some(subnets("192.168.9.0/24")[0]), ipv6: None };
        let pool = Pool { zones: [(zone("lab"), networks)].into(), ..Pool::default() };
        let taken = subnets("192.168.0.0/16");
        assert_eq!(pool.ipv4(For::Zone(&zone("lab")), &taken), networks.ipv4);
        assert!(pool.ipv6(For::Zone(&zone("lab")), &[], HostId::default()).is_some());
        assert_ne!(pool.ipv4(For::Zone(&zone("spinney")), &[]), networks.ipv4);
    }

    #[test]
    fn networks_of_ipv6() {
        let (one, other) = (HostId([1; 16]), HostId([2; 16]));
        assert_ne!(unique_local(one), unique_local(other));
        let all = "fd00::/8".parse::<Subnet>().unwrap();
        let usual = Pool::default().ipv6(For::Zone(&zone("spinney")), &[], one).unwrap();
        assert!(all.overlaps(&usual) && unique_local(one).overlaps(&usual) && usual.prefix() == 64);
        assert_eq!(usual.first(), unique_local(one).first());
        let next = Pool::default().ipv6(For::Zone(&zone("spinney")), &[usual], one).unwrap();
        assert_eq!(Some(next), unique_local(one).part(64, 1));
        assert_eq!(Pool::default().ipv6(For::Pair, &[], one), unique_local(one).part(64, 0xffff));
        assert_eq!(Pool::default().ipv6(For::Pair, &[all], one), None);
    }

    #[test]
    fn numbers() {
        let first = choose_number("web", 1023, |_| false).unwrap();
        assert!((2..1023).contains(&first));
        assert_eq!(choose_number("web", 1023, |_| false), Some(first));
        let next = if first == 1022 { 2 } else { first + 1 };
        assert_eq!(choose_number("web", 1023, |number| number == first), Some(next));
        assert_eq!(choose_number("web", 1023, |_| true), None);
        // A /28, a /30, and networks that have room for nobody.
        let numbers: std::collections::BTreeSet<u32> =
            (0..200).filter_map(|n| choose_number(&n.to_string(), 15, |_| false)).collect();
        assert_eq!(numbers, (2..15).collect());
        assert_eq!(choose_number("web", 3, |_| false), Some(2));
        assert_eq!((choose_number("web", 2, |_| false), choose_number("web", 0, |_| false)), (None, None));
        let mut taken = Vec::new();
        while let Some(number) = choose_number("web", 1023, |number| taken.contains(&number)) {
            taken.push(number);
        }
        taken.sort_unstable();
        assert_eq!(taken, (2..1023).collect::<Vec<_>>());
    }
}
