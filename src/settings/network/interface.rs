//! Names of interfaces and zones, and pairs of them: `HOST[:MACHINE]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::ValueError;

/// An interface of the host, and what it is in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfacePair {
    /// On the host.
    pub host: InterfaceName,
    /// In the machine; by default what systemd-nspawn names it.
    pub guest: Option<InterfaceName>,
}

impl FromStr for InterfacePair {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // What follows a second colon is no part of a name, and is refused as that.
        let (host, guest) = text.split_once(':').map_or((text, None), |(host, guest)| (host, Some(guest)));
        let name = |name: &str| {
            name.parse().map_err(|_| {
                ValueError::new(
                    text,
                    "is not an interface, or two",
                    "HOST[:MACHINE], each at most 15 letters, digits and signs: eth1, or eth1:lan0",
                )
            })
        };
        Ok(Self { host: name(host)?, guest: guest.filter(|guest| !guest.is_empty()).map(name).transpose()? })
    }
}

impl fmt::Display for InterfacePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.guest.iter().try_for_each(|guest| write!(f, ":{guest}"))
    }
}

/// Name of a network interface: at most 15 bytes (IFNAMSIZ of linux/if.h without its NUL), no `/`, white space, control
/// characters or `%`, and not all digits, `.` or `..` (dev_valid_name() of the kernel, ifname_valid() of systemd). Nor what means
/// something in patterns and lists of names, as managers of networks have them in their files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Longest name in bytes.
    pub const LONGEST: usize = 15;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = !text.is_empty()
            && text.len() <= Self::LONGEST
            && text.chars().all(|c| c.is_ascii_graphic() && !r#"/:%*?[]!"\,;"#.contains(c))
            && !text.bytes().all(|byte| byte.is_ascii_digit())
            && !matches!(text, "." | ".." | "all" | "default");
        fits.then(|| Self(text.to_owned())).ok_or_else(|| {
            ValueError::new(
                text,
                "is not an interface name",
                "at most 15 letters, digits and signs, for example eth0",
            )
        })
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a zone: a label of the domain name system in lower case, at most 12 characters, so that its bridge, `vz-ZONE`, has a name
/// that is not shortened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

impl ZoneName {
    /// Longest name in bytes.
    pub const LONGEST: usize = 12;

    /// That of booted machines which ask for none.
    pub fn default_zone() -> Self {
        Self("spinney".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bridge on the host, `vz-ZONE` (systemd-nspawn(1)).
    pub fn bridge(&self) -> InterfaceName {
        InterfaceName(format!("vz-{}", self.0))
    }

    /// The zone whose bridge has this name, if it is that of one.
    pub fn of_bridge(bridge: &str) -> Option<Self> {
        bridge.strip_prefix("vz-")?.parse().ok()
    }

    /// The domain that its machines are named in: `internal` is set aside for this (ICANN board resolution 2024.07.29.06).
    pub fn domain(&self) -> String {
        format!("{}.internal", self.0)
    }
}

impl FromStr for ZoneName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = !text.is_empty()
            && text.len() <= Self::LONGEST
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        fits.then(|| Self(text.to_owned())).ok_or_else(|| {
            ValueError::new(
                text,
                "is not a zone",
                "at most 12 lower case letters, digits and '-', for example lab",
            )
        })
    }
}

impl TryFrom<String> for ZoneName {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(name: ZoneName) -> Self {
        name.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces() {
        for text in ["eth0", "ve-a.b_c", "a", "fifteen-letters", "0a", "br@1"] {
            assert_eq!(text.parse::<InterfaceName>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "sixteen-letters-",
            "a b",
            "a/b",
            "a:b",
            "a%d",
            "h*st0",
            "eth?",
            "eth[0]",
            "!eth0",
            "a\"b",
            "a\\b",
            "a,b",
            "a;b",
            "12",
            ".",
            "..",
            "all",
            "default",
            "ä",
            "a\n",
        ] {
            let error = text.parse::<InterfaceName>().unwrap_err();
            assert_eq!(error.problem(), "is not an interface name", "{text:?}");
            assert!(error.hint().contains("eth0"));
        }
    }

    #[test]
    fn names_of_zones() {
        for text in ["a", "spinney", "twelve-chars", "9"] {
            let zone: ZoneName = text.parse().unwrap();
            assert_eq!(
                (zone.to_string(), zone.bridge().to_string()),
                (text.to_owned(), format!("vz-{text}"))
            );
        }
        for text in ["", "thirteen-char", "Lab", "a.b", "-a", "a-", "a_b", "ä"] {
            assert_eq!(text.parse::<ZoneName>().unwrap_err().problem(), "is not a zone", "{text:?}");
        }
    }

    #[test]
    fn pairs() {
        for (text, host, guest) in [
            ("eth1", "eth1", None),
            ("eth1:lan0", "eth1", Some("lan0")),
            ("eth1:", "eth1", None),
            ("ve-x:host1", "ve-x", Some("host1")),
        ] {
            let pair: InterfacePair = text.parse().unwrap();
            let named = (pair.host.as_str(), pair.guest.as_ref().map(InterfaceName::as_str));
            assert_eq!(named, (host, guest), "{text}");
            assert_eq!(pair.to_string().parse(), Ok(pair), "{text}");
        }
        for text in ["", ":", ":a", "a:b:c", "a b", "a-name-that-is-too-long", "a:a-name-that-is-too-long"] {
            let error = text.parse::<InterfacePair>().unwrap_err();
            assert_eq!(error.problem(), "is not an interface, or two", "{text:?}");
        }
    }
}
