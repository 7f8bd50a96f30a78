//! Tags of a machine's traffic, which only the v1 controllers net_cls and net_prio give (Documentation/admin-guide/cgroup-v1).

use std::fmt;
use std::str::FromStr;

use crate::settings::ValueError;

/// A traffic class for tc(8) and for iptables' `cgroup` match: 16 bits of major, 16 of minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkClass(pub u32);

/// The priority of a machine's packets on one network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPriority {
    /// The interface, of the host.
    pub interface: String,
    /// SO_PRIORITY of its packets.
    pub priority: u32,
}

impl FromStr for NetworkClass {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let hex = |digits: &str| {
            let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        };
        let class = match (text.split_once(':'), text.strip_prefix("0x")) {
            (Some((major, minor)), _) => hex(major)
                .zip(hex(minor))
                .filter(|(major, minor)| *major <= 0xffff && *minor <= 0xffff)
                .map(|(major, minor)| major << 16 | minor),
            (None, Some(digits)) => hex(digits),
            (None, None) => text.parse().ok().filter(|_| !text.starts_with('+')),
        };
        class.map(Self).ok_or_else(|| {
            ValueError::new(text, "is not a traffic class", "MAJOR:MINOR in hex as tc has it, or 0xAAAABBBB")
        })
    }
}

impl fmt::Display for NetworkClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for NetworkPriority {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        /// IFNAMSIZ of linux/if.h, without its NUL.
        const LONGEST: usize = 15;
        let parsed = text.rsplit_once([':', ' ']).and_then(|(interface, priority)| {
            let interface = interface.trim_end();
            let fits = !interface.is_empty()
                && interface.len() <= LONGEST
                && !interface.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
            let priority = priority.parse().ok().filter(|_| !priority.starts_with('+'))?;
            fits.then(|| Self { interface: interface.to_owned(), priority })
        });
        parsed.ok_or_else(|| {
            ValueError::new(
                text,
                "is not a priority on an interface",
                "INTERFACE:PRIORITY, for example eth0:5",
            )
        })
    }
}

impl fmt::Display for NetworkPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.interface, self.priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (text, expected) in [
            ("10:1", Some(0x10_0001)),
            ("ffff:ffff", Some(u32::MAX)),
            ("0x100001", Some(0x10_0001)),
            ("7", Some(7)),
            ("10000:1", None),
            (":", None),
            ("+7", None),
            ("0x", None),
        ] {
            assert_eq!(text.parse::<NetworkClass>().ok().map(|class| class.0), expected, "{text}");
        }
    }

    #[test]
    fn priorities() {
        for (text, expected) in [
            ("eth0:5", Some("eth0:5")),
            ("eth0 5", Some("eth0:5")),
            ("eth0", None),
            (":5", None),
            ("eth0:x", None),
            ("an-interface-name:1", None),
        ] {
            let shown = text.parse::<NetworkPriority>().ok().map(|priority| priority.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }
}
