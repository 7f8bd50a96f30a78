//! `--port=`: ports of the host that lead to a machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::ValueError;

const HINT: &str = "[tcp|udp:][ADDRESS:]HOST[-END][:MACHINE[-END]], for example 8080:80, udp:53, 127.0.0.1:8080:80, \
                    [::1]:8080:80 or 8000-8009";

/// Protocols whose ports are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp].into_iter().find(|protocol| protocol.as_str() == word)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `--port=[tcp|udp:][ADDRESS:]HOST[-END][:GUEST[-END]]`: ports of the host that lead to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The address of the host it is at; `None` is all of both families.
    pub address: Option<IpAddr>,
    /// The first port of the host.
    pub host: u16,
    /// The port of the machine that it leads to.
    pub guest: u16,
    /// How many ports in a row, at least 1.
    pub count: u16,
}

impl PortMapping {
    /// Whether a packet to the host could be meant for either.
    pub fn overlaps(&self, other: &Self) -> bool {
        let apart = |one: IpAddr, other: IpAddr| {
            one.is_ipv4() != other.is_ipv4()
                || one != other && !one.is_unspecified() && !other.is_unspecified()
        };
        let addresses_apart = matches!((self.address, other.address), (Some(a), Some(b)) if apart(a, b));
        let first_after =
            |one: &Self, other: &Self| u32::from(one.host) >= u32::from(other.host) + u32::from(other.count);
        self.protocol == other.protocol
            && !addresses_apart
            && !first_after(self, other)
            && !first_after(other, self)
    }
}

impl FromStr for PortMapping {
    type Err = ValueError;

    /// systemd-nspawn's form, with addresses and ranges; `8080:80/tcp` is docker's for the same.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, HINT);
        let (before, rest) = match text.split_once(':') {
            Some((word, rest)) if Protocol::from_word(word).is_some() => (Protocol::from_word(word), rest),
            _ => (None, text),
        };
        let (rest, after) = match rest.rsplit_once('/') {
            Some((rest, word)) => {
                let protocol = Protocol::from_word(word);
                (rest, Some(protocol.ok_or_else(|| refused("has a protocol other than tcp and udp"))?))
            }
            None => (rest, None),
        };
        if before.is_some() && after.is_some() && before != after {
            return Err(refused("has two protocols"));
        }
        let (address, ports) = divide_address(rest).map_err(refused)?;
        let (host, guest) = ports.split_once(':').map_or((ports, None), |(host, guest)| (host, Some(guest)));
        let (host, count) = range(host).map_err(refused)?;
        let (guest, guest_count) = guest.map_or(Ok((host, count)), range).map_err(refused)?;
        if count != guest_count {
            return Err(refused("has two ranges of different lengths"));
        }
        Ok(Self { protocol: before.or(after).unwrap_or(Protocol::Tcp), address, host, guest, count })
    }
}

/// The address that a text begins with, if it does, and what follows its colon.
pub(super) fn divide_address(text: &str) -> Result<(Option<IpAddr>, &str), &'static str> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once("]:").ok_or("has an address without a port")?;
        let address = address.parse().map_err(|_| "has brackets around what is not an IPv6 address")?;
        return Ok((Some(IpAddr::V6(address)), rest));
    }
    match text.split_once(':') {
        Some((address, rest)) if address.contains('.') => {
            let address = address.parse().map_err(|_| "begins with what is not an IP address")?;
            Ok((Some(IpAddr::V4(address)), rest))
        }
        _ if text.matches(':').count() > 1 => {
            Err("has an address of IPv6 without brackets, or too many colons")
        }
        _ => Ok((None, text)),
    }
}

/// The first port of `N` or `N-M`, and how many they are.
fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    let count = last.checked_sub(first).ok_or("has a range that ends before it begins")?;
    Ok((first, count.saturating_add(1)))
}

/// A port by its number.
pub(super) fn port(text: &str) -> Result<u16, &'static str> {
    const NONE: &str = "has a port that is no number from 1 to 65535";
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NONE);
    }
    text.parse().ok().filter(|port| *port != 0).ok_or(NONE)
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.protocol)?;
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        let range = |first: u16| match self.count {
            0 | 1 => first.to_string(),
            count => format!("{first}-{}", u32::from(first) + u32::from(count) - 1),
        };
        write!(f, "{}:{}", range(self.host), range(self.guest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ports() {
        for (text, expected) in [
            ("80", "tcp:80:80"),
            ("8080:80", "tcp:8080:80"),
            ("tcp:8080:80", "tcp:8080:80"),
            ("udp:53", "udp:53:53"),
            ("8080:80/tcp", "tcp:8080:80"),
            ("5353:53/udp", "udp:5353:53"),
            ("udp:53/udp", "udp:53:53"),
            ("8000-8009", "tcp:8000-8009:8000-8009"),
            ("8000-8009:80-89", "tcp:8000-8009:80-89"),
            ("8000-8000:80", "tcp:8000:80"),
            ("1-65535", "tcp:1-65535:1-65535"),
            ("127.0.0.1:80", "tcp:127.0.0.1:80:80"),
            ("127.0.0.1:8080:80", "tcp:127.0.0.1:8080:80"),
            ("udp:0.0.0.0:53:5353", "udp:0.0.0.0:53:5353"),
            ("[::1]:80", "tcp:[::1]:80:80"),
            ("tcp:[FD00::1]:8000-8001:80-81", "tcp:[fd00::1]:8000-8001:80-81"),
            ("[::]:80:81/udp", "udp:[::]:80:81"),
        ] {
            let mapping: PortMapping = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(mapping.to_string(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(mapping), "{text}");
        }
    }

    #[test]
    fn what_is_no_port() {
        let number = "has a port that is no number from 1 to 65535";
        let colons = "has an address of IPv6 without brackets, or too many colons";
        for (text, problem) in [
            ("", number),
            ("0", number),
            ("65536", number),
            ("+80", number),
            ("http", number),
            ("80:", number),
            (":80", number),
            ("tcp:", number),
            ("sctp:80", number),
            ("TCP:80", number),
            ("80-", number),
            ("-80", number),
            ("127.0.0.1:", number),
            ("127.0.0.1::80", number),
            ("127.0.0.1", number),
            ("90-80", "has a range that ends before it begins"),
            ("80-90:80-91", "has two ranges of different lengths"),
            ("80-90:80", "has two ranges of different lengths"),
            ("tcp:80/udp", "has two protocols"),
            ("80/sctp", "has a protocol other than tcp and udp"),
            ("80/", "has a protocol other than tcp and udp"),
            ("127.0.0.256:80", "begins with what is not an IP address"),
            ("[::1]", "has an address without a port"),
            ("[127.0.0.1]:80", "has brackets around what is not an IPv6 address"),
            ("::1:80", colons),
            ("80:80:80", colons),
            ("127.0.0.1:1:2:3", number),
        ] {
            let error = text.parse::<PortMapping>().unwrap_err();
            assert_eq!((error.problem(), error.hint()), (problem, HINT), "{text}");
        }
    }

    #[test]
    fn overlaps() {
        for (one, other, expected) in [
            ("80", "80", true),
            ("80:1", "80:2", true),
            ("80", "udp:80", false),
            ("80", "81", false),
            ("80-90", "90-99", true),
            ("80-90", "91-99", false),
            ("1-65535", "65535", true),
            ("80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
        ] {
            let [a, b] = [one, other].map(|text| text.parse::<PortMapping>().unwrap());
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (expected, expected), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(tcp:|udp:)?[0-9a-f.:\\[\\]/-]{0,24}|\\PC{0,12}") {
            if let Ok(mapping) = text.parse::<PortMapping>() {
                prop_assert_eq!(mapping.to_string().parse::<PortMapping>(), Ok(mapping));
                prop_assert!(mapping.overlaps(&mapping) && mapping.count >= 1);
            }
        }
    }
}
