//! A network as an address with the length of a prefix: what is in it, what overlaps it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::ValueError;

/// A network of either family; the bits after the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    first: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The network of `prefix` bits that `address` is in; a prefix that is longer than the address is all of it.
    pub fn of(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(bits(address));
        Self { first: with_bits(address, to_bits(address) & !host_mask(address, prefix)), prefix }
    }

    /// Its first address, which is its name and nobody's.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Length of the prefix.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && Self::of(address, self.prefix) == *self
    }

    /// Whether they have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// The address at `number`, the first one being 0; `None` beyond its end.
    pub fn at(&self, number: u128) -> Option<IpAddr> {
        (number <= self.last()).then(|| with_bits(self.first, to_bits(self.first) | number))
    }

    /// The number of `address` in it.
    pub fn number_of(&self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| to_bits(address) & host_mask(self.first, self.prefix))
    }

    /// The number of its last address.
    pub fn last(&self) -> u128 {
        host_mask(self.first, self.prefix)
    }

    /// How many networks of `prefix` bits are in it, as a power of two; `None` where it is smaller than one.
    pub fn parts(&self, prefix: u8) -> Option<u32> {
        prefix.checked_sub(self.prefix).map(u32::from).filter(|_| prefix <= bits(self.first))
    }

    /// The network of `prefix` bits at `index` in it.
    pub fn part(&self, prefix: u8, index: u128) -> Option<Self> {
        let parts = self.parts(prefix)?;
        let shift = u32::from(bits(self.first) - prefix);
        let fits = parts >= 128 || index >> parts == 0;
        let start = index.checked_shl(shift).unwrap_or(0);
        fits.then(|| Self { first: with_bits(self.first, to_bits(self.first) | start), prefix })
    }
}

/// Bits of addresses of this family.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An address of the family of `like`.
fn with_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        // No number of a network of IPv4 is longer than its addresses.
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// The bits after the prefix.
fn host_mask(address: IpAddr, prefix: u8) -> u128 {
    let length = u32::from(bits(address) - prefix);
    1_u128.checked_shl(length).map_or(u128::MAX, |end| end - 1)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| {
            ValueError::new(text, problem, "ADDRESS/PREFIX, for example 10.213.0.0/16 or fd00:1::/48")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(|| refused("has no prefix"))?;
        let address: IpAddr = address.parse().map_err(|_| refused("is not a network"))?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse::<u8>().ok().filter(|length| digits && *length <= bits(address));
        let subnet = Self::of(address, prefix.ok_or_else(|| refused("has a prefix that is none"))?);
        if subnet.first == address { Ok(subnet) } else { Err(refused("is an address in a network")) }
    }
}

impl TryFrom<String> for Subnet {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// The bytes of an address, the first one first.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn texts() {
        for text in ["10.213.0.0/16", "0.0.0.0/0", "10.0.0.1/32", "fd00:1::/48", "::/0", "::1/128"] {
            assert_eq!(subnet(text).to_string(), text);
        }
        for (text, problem) in [
            ("", "has no prefix"),
            ("10.0.0.0", "has no prefix"),
            ("10.0.0.0/33", "has a prefix that is none"),
            ("10.0.0.0/+8", "has a prefix that is none"),
            ("10.0.0.0/", "has a prefix that is none"),
            ("::/129", "has a prefix that is none"),
            ("lan/24", "is not a network"),
            ("10.0.0.1/24", "is an address in a network"),
            ("fd00::1/64", "is an address in a network"),
        ] {
            assert_eq!(text.parse::<Subnet>().unwrap_err().problem(), problem, "{text}");
        }
    }

    #[test]
    fn what_is_in_it() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.213.0.0/16", true),
            ("10.213.0.0/16", "10.214.0.0/16", false),
            ("10.213.0.0/22", "10.213.4.0/22", false),
            ("0.0.0.0/0", "10.0.0.0/8", true),
            ("0.0.0.0/0", "::/0", false),
            ("fd00::/8", "fd12::/64", true),
            ("fd00::/64", "fd00:0:0:1::/64", false),
        ] {
            let (one, other) = (subnet(one), subnet(other));
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (expected, expected), "{one} {other}");
        }
        let net = subnet("10.213.4.0/22");
        for (number, expected) in
            [(0, Some("10.213.4.0")), (1, Some("10.213.4.1")), (1023, Some("10.213.7.255")), (1024, None)]
        {
            assert_eq!(net.at(number), expected.map(address), "{number}");
            assert!(expected.is_none_or(|text| net.number_of(address(text)) == Some(number)));
        }
        assert_eq!(net.number_of(address("10.213.8.0")), None);
        assert_eq!(net.number_of(address("::1")), None);
        assert_eq!(subnet("fd00::/64").at(7), Some(address("fd00::7")));
        assert_eq!(subnet("::/0").last(), u128::MAX);
        assert_eq!(Subnet::of(address("10.9.8.7"), 99).to_string(), "10.9.8.7/32");
    }

    #[test]
    fn parts() {
        let pool = subnet("10.213.0.0/16");
        assert_eq!(
            (pool.parts(22), pool.parts(16), pool.parts(15), pool.parts(33)),
            (Some(6), Some(0), None, None)
        );
        let rows = [
            (0, Some("10.213.0.0/22")),
            (1, Some("10.213.4.0/22")),
            (63, Some("10.213.252.0/22")),
            (64, None),
        ];
        for (index, expected) in rows {
            assert_eq!(pool.part(22, index), expected.map(subnet), "{index}");
        }
        assert_eq!(subnet("fd00:1::/48").part(64, 0xffff), Some(subnet("fd00:1:0:ffff::/64")));
        assert_eq!(subnet("::/0").part(0, 0), Some(subnet("::/0")));
    }
}
