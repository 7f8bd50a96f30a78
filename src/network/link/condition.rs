//! What an interface of the host's is like, so that it can be made so again after a machine has had it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::network::{InterfaceName, MacAddress};
use crate::sys::SysResult;
use crate::sys::netlink::{Message, Requests, Socket, attributes};

use super::found::{self, Found, ask, text};
use super::message::{
    self, IFLA_ADDRESS, IFLA_ALT_IFNAME, IFLA_GROUP, IFLA_IFALIAS, IFLA_MTU, IFLA_PARENT_DEV_NAME,
    IFLA_PERM_ADDRESS, IFLA_PROP_LIST, IFLA_TXQLEN, RTM_NEWLINK,
};

/// IFF_UP, and the other flags that a user sets (linux/if.h): NOARP, PROMISC, ALLMULTI, MULTICAST.
const FLAGS: u32 = 0x1 | 0x80 | 0x100 | 0x200 | 0x1000;

/// What a machine can change of an interface, and what it cannot: by the latter it is known again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Condition {
    /// Its MAC address.
    pub mac: Option<MacAddress>,
    /// The largest packet; 0 where nothing but the MAC address is known.
    pub mtu: u32,
    /// Its group.
    pub group: u32,
    /// Packets that wait to be sent.
    pub queue: u32,
    /// Those of its flags that a user sets.
    pub flags: u32,
    /// What somebody has written to it (`ip link set alias`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Its other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// The MAC address that is burnt into it (Linux 5.6); of hardware alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent: Option<MacAddress>,
    /// The device that it is of, on its bus (Linux 5.14); of hardware alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A [`Condition`], or the MAC address alone as older versions wrote it down.
pub(super) fn of_any_version<'de, D: Deserializer<'de>>(from: D) -> Result<Condition, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        All(Condition),
        Mac(Option<MacAddress>),
    }
    Ok(match Written::deserialize(from)? {
        Written::All(condition) => condition,
        Written::Mac(mac) => Condition { mac, ..Condition::default() },
    })
}

impl Condition {
    pub(super) fn parse(message: &Message) -> Option<Self> {
        if message.kind != RTM_NEWLINK {
            return None;
        }
        // An ifinfomsg: family, padding, type, index, flags, change.
        let flags = u32::from_ne_bytes(*message.body.get(8..)?.first_chunk()?);
        let mut found = Self { flags: flags & FLAGS, ..Self::default() };
        for (kind, value) in attributes(message.body.get(16..)?) {
            let number = || value.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            let mac = || value.try_into().ok().map(MacAddress);
            match kind {
                IFLA_ADDRESS => found.mac = mac(),
                IFLA_MTU => found.mtu = number(),
                IFLA_GROUP => found.group = number(),
                IFLA_TXQLEN => found.queue = number(),
                IFLA_IFALIAS => found.alias = text(value),
                IFLA_PERM_ADDRESS => found.permanent = mac(),
                IFLA_PARENT_DEV_NAME => found.device = Some(text(value)),
                IFLA_PROP_LIST => {
                    let names = attributes(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                    found.alternatives.extend(names.map(|(_, name)| text(name)));
                }
                _ => {}
            }
        }
        Some(found)
    }

    /// Whether `other` is the same interface, whatever has been changed of it. One without hardware is known by its MAC address.
    pub fn is_of_same(&self, other: &Self) -> bool {
        let same = |one: Option<bool>| one.unwrap_or(false);
        match (&self.device, self.permanent) {
            (Some(device), permanent) => {
                other.device.as_ref() == Some(device) && other.permanent == permanent
            }
            (None, Some(permanent)) => other.permanent == Some(permanent),
            (None, None) => same(self.mac.map(|mac| other.mac == Some(mac))),
        }
    }

    /// What makes the link `index` like this that is like `now`.
    pub(super) fn requests(&self, now: &Self, index: u32, name: &InterfaceName) -> Requests {
        let mut requests = Requests::default();
        if self.mtu == 0 {
            return requests;
        }
        for other in now.alternatives.iter().filter(|other| !self.alternatives.contains(other)) {
            message::remove_alternative_name(&mut requests, index, other);
        }
        for other in self.alternatives.iter().filter(|other| !now.alternatives.contains(other)) {
            message::alternative_name_of(&mut requests, index, other);
        }
        if (self.mac, self.mtu, self.group, self.queue, self.flags, &self.alias)
            != (now.mac, now.mtu, now.group, now.queue, now.flags, &now.alias)
        {
            message::restore(&mut requests, index, name, self, now);
        }
        requests
    }
}

/// The link `name` and what it is like, if there is one.
pub(super) fn look(socket: &mut Socket, name: &InterfaceName) -> SysResult<Option<(Found, Condition)>> {
    let message = ask(socket, name)?;
    Ok(message.and_then(|message| Some((Found::parse(&message)?, Condition::parse(&message)?))))
}

/// All links.
pub(super) fn all(socket: &mut Socket) -> SysResult<Vec<(Found, Condition)>> {
    let messages = found::list(socket)?;
    Ok(messages
        .iter()
        .filter_map(|message| Some((Found::parse(message)?, Condition::parse(message)?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::{attribute, nested};

    #[test]
    fn as_the_kernel_tells_it() {
        let mut body: Vec<u8> = [0_u32, 7, 0x1143, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        attribute(&mut body, IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]);
        attribute(&mut body, IFLA_MTU, &9000_u32.to_ne_bytes());
        attribute(&mut body, IFLA_GROUP, &5_u32.to_ne_bytes());
        attribute(&mut body, IFLA_TXQLEN, &1000_u32.to_ne_bytes());
        attribute(&mut body, IFLA_IFALIAS, b"uplink");
        attribute(&mut body, IFLA_PERM_ADDRESS, &[2, 0, 0, 0, 0, 9]);
        attribute(&mut body, IFLA_PARENT_DEV_NAME, b"0000:01:00.0\0");
        nested(&mut body, IFLA_PROP_LIST, |list| attribute(list, IFLA_ALT_IFNAME, b"enp1s0\0"));
        let message = Message { kind: RTM_NEWLINK, flags: 0, sequence: 1, body };
        let expected = Condition {
            mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
            mtu: 9000,
            group: 5,
            queue: 1000,
            flags: 0x1101,
            alias: "uplink".to_owned(),
            alternatives: vec!["enp1s0".to_owned()],
            permanent: Some(MacAddress([2, 0, 0, 0, 0, 9])),
            device: Some("0000:01:00.0".to_owned()),
        };
        assert_eq!(Condition::parse(&message), Some(expected.clone()));
        let text = serde_json::to_string(&expected).unwrap();
        assert_eq!(serde_json::from_str::<Condition>(&text).unwrap(), expected);
        assert_eq!(Condition::parse(&Message { kind: 1, ..message }), None);
    }

    #[test]
    fn known_again() {
        let mac = |last| Some(MacAddress([2, 0, 0, 0, 0, last]));
        let of = |device: Option<&str>, permanent, mac| Condition {
            device: device.map(str::to_owned),
            permanent,
            mac,
            ..Condition::default()
        };
        let table = [
            (of(None, None, mac(1)), of(None, None, mac(1)), true),
            (of(None, None, mac(1)), of(None, None, mac(2)), false),
            (of(None, None, None), of(None, None, None), false),
            (of(None, mac(9), mac(1)), of(None, mac(9), mac(2)), true),
            (of(None, mac(9), mac(1)), of(None, mac(8), mac(1)), false),
            (of(Some("a"), mac(9), mac(1)), of(Some("a"), mac(9), mac(2)), true),
            // Ports of one device.
            (of(Some("a"), mac(9), mac(1)), of(Some("a"), mac(8), mac(1)), false),
            (of(Some("a"), None, mac(1)), of(Some("b"), None, mac(1)), false),
        ];
        for (was, is, expected) in table {
            assert_eq!(was.is_of_same(&is), expected, "{was:?} {is:?}");
        }
    }

    #[test]
    fn what_brings_it_back() {
        let was = Condition { mtu: 1500, alternatives: vec!["a".to_owned()], ..Condition::default() };
        let asked = |now: &Condition| -> Vec<String> {
            let requests = was.requests(now, 3, &"eth1".parse().unwrap());
            (0..requests.len()).map(|index| requests.asked(index).to_owned()).collect()
        };
        assert_eq!(asked(&was), [""; 0]);
        assert_eq!(asked(&Condition { flags: 1, ..was.clone() }), ["RTM_NEWLINK eth1 as it was"]);
        let other = Condition { alternatives: vec!["b".to_owned()], ..was.clone() };
        assert_eq!(asked(&other), ["RTM_DELLINKPROP interface 3 b", "RTM_NEWLINKPROP interface 3 a"]);
    }
}
