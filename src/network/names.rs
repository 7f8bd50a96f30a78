//! Names and MAC addresses of a machine's interfaces, as systemd-nspawn makes them, so that rules and units that were written
//! for its machines match ours (systemd-nspawn(1); systemd.net-naming-scheme(7), v245 and later; all of 252 to 262).

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::settings::network::{InterfaceName, MacAddress};

/// The keys with which systemd-nspawn hashes (src/nspawn/nspawn-network.c of systemd).
mod key {
    pub(super) const HOST: [u8; 16] = 0x1a37_6fc7_46ec_450b_ada3_d531_0660_5db1_u128.to_be_bytes();
    pub(super) const MACHINE: [u8; 16] = 0xc3c4_f919_b557_b21c_e6cf_1427_039c_eea2_u128.to_be_bytes();
    pub(super) const EXTRA_HOST: [u8; 16] = 0x48c7_f6b7_ea9d_4c9e_b728_d4de_91d5_bf66_u128.to_be_bytes();
    pub(super) const EXTRA_MACHINE: [u8; 16] = 0xaf50_1761_cef9_4d35_840d_2b20_54be_ce59_u128.to_be_bytes();
    pub(super) const MACVLAN: [u8; 16] = 0x0013_6dbc_6683_4481_bb0c_f951_1f24_a66f_u128.to_be_bytes();
    pub(super) const SHORTEN: [u8; 16] = 0xe190_a404_a8ef_4b51_8ccc_c33a_9f11_fca2_u128.to_be_bytes();
}

/// Which interface a MAC address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacOf {
    /// `host0` of the machine.
    Machine,
    /// Its other end, on the host.
    Host,
    /// The machine's end of an extra pair, by its number from 0.
    ExtraMachine(u64),
    /// The host's end of it.
    ExtraHost(u64),
    /// A macvlan, by its number from 0.
    Macvlan(u64),
}

/// An ID of the host that stays (machine-id(5)); zeroes for a host that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostId(pub [u8; 16]);

impl HostId {
    /// Of its text, 32 hexadecimal digits.
    pub fn parse(text: &str) -> Self {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        Self(number.unwrap_or(0).to_be_bytes())
    }
}

/// SipHash-2-4 of `parts`, one after the other.
pub(super) fn hash(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    parts.iter().for_each(|part| hasher.write(part));
    hasher.finish()
}

/// The MAC address that systemd-nspawn gives an interface of machine `name`: the same in every run.
pub fn mac(host: HostId, name: &str, which: MacOf) -> MacAddress {
    let (key, index) = match which {
        MacOf::Machine => (&key::MACHINE, 0),
        MacOf::Host => (&key::HOST, 0),
        MacOf::ExtraMachine(index) => (&key::EXTRA_MACHINE, index),
        MacOf::ExtraHost(index) => (&key::EXTRA_HOST, index),
        MacOf::Macvlan(index) => (&key::MACVLAN, index),
    };
    let number = index.to_le_bytes();
    let index: &[u8] = if index == 0 { &[] } else { &number };
    let [mut a, b, c, d, e, g, ..] = hash(key, &[&host.0, name.as_bytes(), index]).to_le_bytes();
    // Of one station, and locally administered (IEEE 802).
    a = a & !1 | 2;
    MacAddress([a, b, c, d, e, g])
}

/// The name of an interface, and the whole of it where that is too long for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkName {
    /// Its name.
    pub name: InterfaceName,
    /// What it would be called, an alternative name (IFLA_ALT_IFNAME).
    pub alternative: Option<String>,
}

/// Length of what is left of a name that is shortened; four characters of a hash follow.
const LEFT: usize = InterfaceName::LONGEST - 4;

/// The 64 characters of base64 that may stand in names of files (RFC 4648, section 5).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `whole`, shortened where that must be. `None` for what is no name of an interface at all.
pub fn shortened(whole: &str) -> Option<LinkName> {
    if whole.len() <= InterfaceName::LONGEST {
        return Some(LinkName { name: whole.parse().ok()?, alternative: None });
    }
    let hash = hash(&key::SHORTEN, &[whole.as_bytes()]);
    let mut name = whole.get(..LEFT)?.to_owned();
    for shift in [18, 12, 6, 0] {
        let index = usize::try_from(hash >> shift & 0x3f).unwrap_or(0);
        name.push(char::from(*ALPHABET.get(index)?));
    }
    Some(LinkName { name: name.parse().ok()?, alternative: Some(whole.to_owned()) })
}

/// The host's end of the pair of machine `name`: `ve-NAME`, or `vb-NAME` in a bridge or a zone.
pub fn veth(name: &str, in_bridge: bool) -> Option<LinkName> {
    shortened(&format!("{}-{name}", if in_bridge { "vb" } else { "ve" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the host on which systemd-nspawn 252 named interfaces, and gave them MAC addresses.
    const HOST: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn names() {
        for (whole, name) in
            [("ve-web", "ve-web"), ("vb-twelve-chars", "vb-twelve-chars"), ("mv-eth0", "mv-eth0")]
        {
            assert_eq!(
                shortened(whole).unwrap(),
                LinkName { name: name.parse().unwrap(), alternative: None }
            );
        }
        assert_eq!(veth("web", false).unwrap().name.as_str(), "ve-web");
        assert_eq!(veth("web", true).unwrap().name.as_str(), "vb-web");
        let long = veth("a-machine-with-a-long-name", false).unwrap();
        assert_eq!(long.alternative.as_deref(), Some("ve-a-machine-with-a-long-name"));
        assert_eq!(&long.name.as_str()[..LEFT], "ve-a-machin");
        assert_eq!(long.name.as_str().len(), InterfaceName::LONGEST);
        assert_ne!(long.name, veth("a-machine-with-a-long-neme", false).unwrap().name);
        assert_eq!(shortened(""), None);
        assert_eq!(shortened("not a name of any interface"), None);
    }

    #[test]
    fn as_nspawn_has_them() {
        const NAME: &str = "settings-a-machine-of-long-name";
        let host = HostId::parse(HOST);
        for (which, expected) in [
            (MacOf::Machine, "16:1a:ad:5d:d7:6d"),
            (MacOf::Host, "b2:93:8f:41:65:8e"),
            (MacOf::ExtraMachine(0), "f2:5f:51:53:99:46"),
            (MacOf::ExtraMachine(1), "26:e6:66:67:ab:5c"),
            (MacOf::ExtraHost(0), "9e:7d:a6:98:10:15"),
            (MacOf::ExtraHost(1), "06:e9:ce:f5:7d:c9"),
            (MacOf::Macvlan(0), "ca:30:a8:de:41:bf"),
            (MacOf::Macvlan(1), "96:78:f6:07:57:33"),
        ] {
            assert_eq!(mac(host, NAME, which).to_string(), expected, "{which:?}");
        }
        assert_eq!(veth(NAME, false).unwrap().name.as_str(), "ve-settingsJTZF");
        assert_eq!(shortened("mv-settings-long1").unwrap().name.as_str(), "mv-settingsuBgO");
    }

    #[test]
    fn ids() {
        assert_eq!(HostId::parse(HOST).0[..2], [0x01, 0x23]);
        for text in ["", "0123", "0123456789abcdef0123456789abcdeg", "+123456789abcdef0123456789abcdef"] {
            assert_eq!(HostId::parse(text), HostId::default(), "{text}");
        }
    }

    #[test]
    fn addresses_are_of_one_station_and_local() {
        let host = HostId::parse(HOST);
        let all = [
            MacOf::Machine,
            MacOf::Host,
            MacOf::ExtraMachine(0),
            MacOf::ExtraMachine(1),
            MacOf::ExtraHost(0),
            MacOf::Macvlan(0),
            MacOf::Macvlan(1),
        ];
        let macs: std::collections::BTreeSet<_> = all.iter().map(|which| mac(host, "web", *which)).collect();
        assert_eq!(macs.len(), all.len());
        assert!(macs.iter().all(|mac| mac.0[0] & 3 == 2));
        assert_ne!(mac(host, "web", MacOf::Machine), mac(host, "wec", MacOf::Machine));
        assert_ne!(mac(host, "web", MacOf::Machine), mac(HostId::default(), "web", MacOf::Machine));
    }
}
