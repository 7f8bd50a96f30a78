//! The bridge of a zone, as it is asked for.

use crate::settings::network::{MacAddress, ZoneName};
use crate::sys::netlink::{CREATE, EXCLUSIVE, Requests, attribute};

use super::{End, GROUP, IFLA_GROUP, RTM_NEWLINK, kind, link, own, owned_by_zone};

// Attributes of bridges (linux/if_link.h).
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BR_MULTI_BOOLOPT: u16 = 46;
const IFLA_BR_FDB_MAX_LEARNED: u16 = 49;
/// Hardware addresses that the bridge of a zone learns at the most: who may say that he is anybody (`--net-spoofing`) does not fill the
/// host's memory. A zone has 1021 machines.
const MOST_LEARNED: u32 = 4096;
/// BR_BOOLOPT_NO_LL_LEARN (linux/if_bridge.h).
const NO_LINK_LOCAL_LEARNING: u32 = 1;

/// The bridge of a zone: up, and packets flow at once, since nobody else is on it who could make a loop. It has an address of its
/// own, as that of a port would change with the ports. Multicast goes to all: without a querier snooping would lose it.
pub(in super::super) fn bridge(to: &mut Requests, zone: &ZoneName) {
    let mut body = link(0, Some(true));
    let end = End { name: &zone.bridge(), mac: Some(bridge_mac(zone)) };
    end.attributes(&mut body);
    attribute(&mut body, IFLA_GROUP, &GROUP.to_ne_bytes());
    kind(&mut body, "bridge", |data| {
        attribute(data, IFLA_BR_FORWARD_DELAY, &0_u32.to_ne_bytes());
        attribute(data, IFLA_BR_STP_STATE, &0_u32.to_ne_bytes());
        attribute(data, IFLA_BR_MCAST_SNOOPING, &[0]);
        // Nor is learned who sends to link-local groups (Linux 4.20): no rule sees those. br_boolopt_multi: values, and which count.
        let option = NO_LINK_LOCAL_LEARNING.to_ne_bytes();
        attribute(data, IFLA_BR_MULTI_BOOLOPT, &[option, option].concat());
        // Linux 6.7; older ones leave out what they do not know.
        attribute(data, IFLA_BR_FDB_MAX_LEARNED, &MOST_LEARNED.to_ne_bytes());
    });
    to.push(RTM_NEWLINK, CREATE | EXCLUSIVE, &body, format!("RTM_NEWLINK bridge {}", end.name));
    own(to, end.name, &owned_by_zone(zone));
}

/// The MAC address of a zone's bridge: the same each time, so that machines need not learn it anew.
pub fn bridge_mac(zone: &ZoneName) -> MacAddress {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(u64::from(GROUP), 0);
    hasher.write(zone.as_str().as_bytes());
    let [a, b, c, d, e, ..] = hasher.finish().to_le_bytes();
    // Locally administered (IEEE 802): no vendor's.
    MacAddress([0x02, a, b, c, d, e])
}
