//! Addresses as users write them: `--ip=`, `--mac=`, `--gateway=`, `--dns=`, `--hosts=`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::{ValueError, check_hostname};

const ADDRESS_HINT: &str = "ADDRESS[/PREFIX], for example 10.213.0.7, 192.168.1.7/24 or fd00::7/64";
const MAC_HINT: &str = "six bytes, for example 02:00:5e:10:00:07";
const HOST_HINT: &str = "NAME:ADDRESS, for example db:10.0.0.7 or db:fd00::7";

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = ValueError;

    /// `aa:bb:cc:dd:ee:ff`, the same with dashes, or `aabb.ccdd.eeff`, as systemd reads them (systemd.link(5)).
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bytes = parse_mac(text).ok_or_else(|| ValueError::new(text, "is not a MAC address", MAC_HINT))?;
        if bytes == [0; 6] {
            return Err(ValueError::new(text, "is no address of an interface: all zeroes", MAC_HINT));
        }
        // The lowest bit of the first byte says that it is for many (IEEE 802).
        if bytes[0] & 1 != 0 {
            return Err(ValueError::new(text, "is a multicast address", MAC_HINT));
        }
        Ok(Self(bytes))
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let (divider, digits, parts) = match text.chars().find(|c| !c.is_ascii_hexdigit())? {
        divider @ (':' | '-') => (divider, 2, 6),
        '.' => ('.', 4, 3),
        _ => return None,
    };
    let pieces: Vec<&str> = text.split(divider).collect();
    let right = |piece: &&str| {
        (1..=digits).contains(&piece.len()) && piece.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if pieces.len() != parts || !pieces.iter().all(right) {
        return None;
    }
    let mut bytes = Vec::with_capacity(6);
    for piece in pieces {
        let number = u16::from_str_radix(piece, 16).ok()?.to_be_bytes();
        bytes.extend_from_slice(if digits == 4 { &number } else { &number[1..] });
    }
    bytes.try_into().ok()
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that its network shares; `None`: as its zone has it, otherwise /24 or /64.
    pub prefix: Option<u8>,
}

impl FromStr for InterfaceAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, ADDRESS_HINT);
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| refused("is not an IP address"))?;
        refuse_group(address).map_err(refused)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix
            .map(|prefix| {
                let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
                prefix.parse::<u8>().ok().filter(|bits| digits && (1..=longest).contains(bits))
            })
            .map(|bits| bits.ok_or_else(|| refused("has a prefix that is none")))
            .transpose()?;
        if let (IpAddr::V4(address), Some(bits @ ..=30)) = (address, prefix) {
            let host = u32::MAX >> bits;
            if matches!(address.to_bits() & host, part if part == 0 || part == host) {
                return Err(refused("is the address of the network itself"));
            }
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        self.prefix.iter().try_for_each(|prefix| write!(f, "/{prefix}"))
    }
}

/// What no single interface has as its address.
fn refuse_group(address: IpAddr) -> Result<(), &'static str> {
    match address {
        IpAddr::V4(address) if address.is_broadcast() => Err("is no address of an interface"),
        IpAddr::V6(address) if is_link_local(address) => {
            Err("is a link-local address: the kernel gives each interface one")
        }
        address if address.is_unspecified() || address.is_multicast() => Err("is no address of an interface"),
        address if address.is_loopback() => Err("is an address of the loopback"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Err("is an IPv4 address in the form of IPv6")
        }
        _ => Ok(()),
    }
}

/// fe80::/10 (RFC 4291).
fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// `--gateway=`: a router of either family. In IPv6 that is often a link-local address.
///
/// # Errors
/// When it is no address of a single host.
pub fn parse_gateway(text: &str) -> Result<IpAddr, ValueError> {
    let refused = |problem: &'static str| ValueError::new(text, problem, "an address, for example 10.0.0.1");
    let address: IpAddr = text.parse().map_err(|_| refused("is not an IP address"))?;
    match address {
        IpAddr::V6(router) if is_link_local(router) => Ok(address),
        _ => refuse_group(address).map(|()| address).map_err(refused),
    }
}

/// `--dns=`: a name server. One at the host's loopback can be asked, since it is asked from the host.
///
/// # Errors
/// When it is no address of a single host.
pub fn parse_name_server(text: &str) -> Result<IpAddr, ValueError> {
    let refused = |problem: &'static str| ValueError::new(text, problem, "an address, for example 9.9.9.9");
    let address: IpAddr = text.parse().map_err(|_| refused("is not an IP address"))?;
    if address.is_loopback() { Ok(address) } else { refuse_group(address).map(|()| address).map_err(refused) }
}

/// A name and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// A host name, in lower case.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl FromStr for HostEntry {
    type Err = ValueError;

    /// `NAME:ADDRESS` or, as docker has it too, `NAME=ADDRESS`; an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, HOST_HINT);
        let (name, address) =
            text.split_once([':', '=']).ok_or_else(|| refused("is not a name with its address"))?;
        check_hostname(name).map_err(|_| refused("does not begin with the name of a host"))?;
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare {
            Some(bare) => bare.parse().map(IpAddr::V6),
            None => address.parse(),
        };
        let address: IpAddr = address.map_err(|_| refused("does not end in an IP address"))?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(refused("has an address that no host has"));
        }
        Ok(Self { name: name.to_ascii_lowercase(), address })
    }
}

impl fmt::Display for HostEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text => what it is written as again, or the problem`.
    fn table<T: FromStr<Err = ValueError> + fmt::Display + PartialEq + fmt::Debug>(
        rows: &[(&str, Result<&str, &str>)],
    ) {
        for (text, expected) in rows {
            match (text.parse::<T>(), expected) {
                (Ok(value), Ok(expected)) => {
                    assert_eq!(value.to_string(), *expected, "{text}");
                    assert_eq!(expected.parse::<T>().unwrap(), value, "{text}");
                }
                (Err(error), Err(problem)) => {
                    assert_eq!(error.problem(), *problem, "{text}");
                    assert!(error.hint().contains("for example"), "{text}");
                }
                (found, _) => panic!("{text}: {found:?} is not {expected:?}"),
            }
        }
    }

    #[test]
    fn mac_addresses() {
        let none = Err("is not a MAC address");
        table::<MacAddress>(&[
            ("02:00:5e:10:00:07", Ok("02:00:5e:10:00:07")),
            ("02:0:5E:10:0:7", Ok("02:00:5e:10:00:07")),
            ("02-00-5e-10-00-07", Ok("02:00:5e:10:00:07")),
            ("0200.5e10.0007", Ok("02:00:5e:10:00:07")),
            ("01:00:5e:10:00:07", Err("is a multicast address")),
            ("ff:ff:ff:ff:ff:ff", Err("is a multicast address")),
            ("00:00:00:00:00:00", Err("is no address of an interface: all zeroes")),
            ("", none),
            ("02:00:5e:10:00", none),
            ("02:00:5e:10:00:07:08", none),
            ("02:00:5e:10:00:007", none),
            ("02:00:5e-10:00:07", none),
            ("02:00:5e:10:00:g7", none),
            ("02:00:5e:10:00:", none),
            ("+2:00:5e:10:00:07", none),
            ("02005e100007", none),
        ]);
    }

    #[test]
    fn addresses_of_interfaces() {
        let none = Err("is not an IP address");
        let prefix = Err("has a prefix that is none");
        let nobody = Err("is no address of an interface");
        table::<InterfaceAddress>(&[
            ("10.0.0.7", Ok("10.0.0.7")),
            ("10.0.0.7/24", Ok("10.0.0.7/24")),
            ("10.0.0.0/31", Ok("10.0.0.0/31")),
            ("10.0.0.7/32", Ok("10.0.0.7/32")),
            ("FD00::7/64", Ok("fd00::7/64")),
            ("fd00::7", Ok("fd00::7")),
            ("", none),
            ("10.0.0", none),
            ("10.0.0.7:80", none),
            ("host", none),
            ("10.0.0.7/", prefix),
            ("10.0.0.7/0", prefix),
            ("10.0.0.7/33", prefix),
            ("10.0.0.7/+8", prefix),
            ("fd00::7/129", prefix),
            ("10.0.0.0/24", Err("is the address of the network itself")),
            ("10.0.0.255/24", Err("is the address of the network itself")),
            ("0.0.0.0", nobody),
            ("224.0.0.1", nobody),
            ("255.255.255.255", nobody),
            ("::", nobody),
            ("ff02::1", nobody),
            ("127.0.0.2", Err("is an address of the loopback")),
            ("::1", Err("is an address of the loopback")),
            ("fe80::1/64", Err("is a link-local address: the kernel gives each interface one")),
            ("::ffff:10.0.0.1", Err("is an IPv4 address in the form of IPv6")),
        ]);
    }

    #[test]
    fn routers_and_name_servers() {
        for (text, router, server) in [
            ("10.0.0.1", true, true),
            ("fd00::1", true, true),
            ("fe80::1", true, false),
            ("127.0.0.53", false, true),
            ("::1", false, true),
            ("0.0.0.0", false, false),
            ("ff02::1", false, false),
            ("10.0.0.1/24", false, false),
            ("dns.example", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (parse_gateway(text).is_ok(), parse_name_server(text).is_ok()),
                (router, server),
                "{text}"
            );
        }
    }

    #[test]
    fn names_with_addresses() {
        let name = Err("does not begin with the name of a host");
        let address = Err("does not end in an IP address");
        table::<HostEntry>(&[
            ("db:10.0.0.7", Ok("db:10.0.0.7")),
            ("DB.Example=10.0.0.7", Ok("db.example:10.0.0.7")),
            ("db:fd00::7", Ok("db:fd00::7")),
            ("db:[fd00::7]", Ok("db:fd00::7")),
            ("db", Err("is not a name with its address")),
            (":10.0.0.7", name),
            ("d b:10.0.0.7", name),
            ("db:", address),
            ("db:web", address),
            ("db:[10.0.0.7]", address),
            ("db:0.0.0.0", Err("has an address that no host has")),
        ]);
    }
}
