//! What is asked of rtnetlink (rtnetlink(7), linux/if_link.h): links, addresses and routes as messages.

mod bridge;

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::network::subnet::octets;
use crate::settings::network::{InterfaceName, MacAddress, ZoneName};
use crate::sys::netlink::{CREATE, EXCLUSIVE, REPLACE, Requests, attribute, nested};

use super::condition::Condition;

pub(super) use bridge::bridge;
pub use bridge::bridge_mac;

/// Message kinds (linux/rtnetlink.h).
pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;

/// Attributes of links (linux/if_link.h).
pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
pub(super) const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_TXQLEN: u16 = 13;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
pub(super) const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
pub(super) const IFLA_PROP_LIST: u16 = 52;
pub(super) const IFLA_ALT_IFNAME: u16 = 53;
pub(super) const IFLA_PERM_ADDRESS: u16 = 54;
pub(super) const IFLA_PARENT_DEV_NAME: u16 = 56;
pub(super) const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IFLA_INET_CONF: u16 = 1;
/// IPV4_DEVCONF_ACCEPT_REDIRECTS (linux/ip.h).
const ACCEPT_REDIRECTS: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;

/// IN6_ADDR_GEN_MODE_NONE: no link-local address by itself.
const ADDR_GEN_MODE_NONE: u8 = 1;
/// MACVLAN_MODE_BRIDGE: those on one interface reach each other; what systemd-nspawn makes.
const MACVLAN_BRIDGE: u32 = 4;
/// IPVLAN_MODE_L2: ARP and broadcasts are the machine's own; what systemd-nspawn makes.
const IPVLAN_L2: u16 = 0;

/// Attributes of addresses (linux/if_addr.h).
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// No duplicate address detection: we give the addresses out ourselves.
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_PERMANENT: u32 = 0x80;

/// Attributes of routes (linux/rtnetlink.h).
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

const IFF_UP: u32 = 1;

/// The group of links of ours (`ip link show group`), of whichever machine: whose one is, its alias says ([`owned_by_machine`]). The
/// letters SPIN.
pub(super) const GROUP: u32 = u32::from_be_bytes(*b"SPIN");

/// The group of links of ours that are about to be removed: what they are ports of need not wait for them. The letters SPIX.
pub(super) const GOING: u32 = u32::from_be_bytes(*b"SPIX");

/// One end of a link that is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) name: &'a InterfaceName,
    pub(super) mac: Option<MacAddress>,
}

impl End<'_> {
    fn attributes(&self, to: &mut Vec<u8>) {
        attribute(to, IFLA_IFNAME, &text(self.name.as_str()));
        if let Some(mac) = self.mac {
            attribute(to, IFLA_ADDRESS, &mac.0);
        }
    }
}

/// What is written to the links of `machine` (`ip link show`, "alias").
pub(super) fn owned_by_machine(machine: &str) -> String {
    format!("spinney {machine}")
}

/// What is written to the bridge of `zone`; no machine's name has a space in it.
pub(super) fn owned_by_zone(zone: &ZoneName) -> String {
    format!("spinney zone {zone}")
}

/// A pair of which `owner` is written to this end. It is here, up, and in `bridge` if there is one, and whose other end begins in `namespace`, so that it need
/// not be moved there: moving waits for RCU, some 15 ms.
pub(super) fn veth(
    to: &mut Requests,
    host: End<'_>,
    owner: &str,
    bridge: Option<u32>,
    guest: End<'_>,
    namespace: BorrowedFd<'_>,
) {
    // A port of a bridge needs no IPv6 of its own, which must be off before it goes up.
    let mut body = link(0, bridge.is_none().then_some(true));
    host.attributes(&mut body);
    attribute(&mut body, IFLA_GROUP, &GROUP.to_ne_bytes());
    if let Some(bridge) = bridge {
        attribute(&mut body, IFLA_MASTER, &bridge.to_ne_bytes());
    }
    kind(&mut body, "veth", |data| {
        let mut peer = link(0, None);
        guest.attributes(&mut peer);
        attribute(&mut peer, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        attribute(data, VETH_INFO_PEER, &peer);
    });
    let asked = format!("RTM_NEWLINK veth {} peer {}", host.name, guest.name);
    to.push(RTM_NEWLINK, CREATE | EXCLUSIVE, &body, asked);
    own(to, host.name, owner);
    if bridge.is_some() {
        let mut body = link(0, None);
        attribute(&mut body, IFLA_IFNAME, &text(host.name.as_str()));
        nested(&mut body, IFLA_AF_SPEC, |families| {
            nested(families, AF_INET6.into(), |inet6| {
                attribute(inet6, IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
            });
        });
        to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK {} addrgenmode none", host.name));
        let mut body = link(0, Some(true));
        attribute(&mut body, IFLA_IFNAME, &text(host.name.as_str()));
        to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK {} up", host.name));
    }
}

/// Writes to the link `name` whose it is. The kernel takes no alias along with what makes a link.
fn own(to: &mut Requests, name: &InterfaceName, owner: &str) {
    let mut body = link(0, None);
    attribute(&mut body, IFLA_IFNAME, &text(name.as_str()));
    attribute(&mut body, IFLA_IFALIAS, owner.as_bytes());
    to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK {name} alias {owner}"));
}

/// A macvlan on the interface `parent` of ours, made in `namespace`.
pub(super) fn macvlan(to: &mut Requests, parent: u32, guest: End<'_>, namespace: BorrowedFd<'_>) {
    child(to, "macvlan", parent, guest, namespace, |data| {
        attribute(data, IFLA_MACVLAN_MODE, &MACVLAN_BRIDGE.to_ne_bytes());
    });
}

/// An ipvlan on the interface `parent` of ours, made in `namespace`. Its MAC address is the parent's.
pub(super) fn ipvlan(to: &mut Requests, parent: u32, guest: End<'_>, namespace: BorrowedFd<'_>) {
    let guest = End { mac: None, ..guest };
    child(to, "ipvlan", parent, guest, namespace, |data| {
        attribute(data, IFLA_IPVLAN_MODE, &IPVLAN_L2.to_ne_bytes());
    });
}

fn child(
    to: &mut Requests,
    name: &str,
    parent: u32,
    guest: End<'_>,
    namespace: BorrowedFd<'_>,
    data: impl FnOnce(&mut Vec<u8>),
) {
    let mut body = link(0, None);
    guest.attributes(&mut body);
    attribute(&mut body, IFLA_LINK, &parent.to_ne_bytes());
    attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    kind(&mut body, name, data);
    let asked = format!("RTM_NEWLINK {name} {} on interface {parent}", guest.name);
    to.push(RTM_NEWLINK, CREATE | EXCLUSIVE, &body, asked);
}

/// Another name of a link, as long as it may be.
pub(super) fn alternative_name(to: &mut Requests, name: &InterfaceName, alternative: &str) {
    let mut body = link(0, None);
    attribute(&mut body, IFLA_IFNAME, &text(name.as_str()));
    nested(&mut body, IFLA_PROP_LIST, |list| attribute(list, IFLA_ALT_IFNAME, &text(alternative)));
    to.push(RTM_NEWLINKPROP, CREATE | EXCLUSIVE, &body, format!("RTM_NEWLINKPROP {name} {alternative}"));
}

/// The same of the link `index`.
pub(super) fn alternative_name_of(to: &mut Requests, index: u32, alternative: &str) {
    let mut body = link(index, None);
    nested(&mut body, IFLA_PROP_LIST, |list| attribute(list, IFLA_ALT_IFNAME, &text(alternative)));
    let asked = format!("RTM_NEWLINKPROP interface {index} {alternative}");
    to.push(RTM_NEWLINKPROP, CREATE | EXCLUSIVE, &body, asked);
}

/// Takes another name from the link `index`.
pub(super) fn remove_alternative_name(to: &mut Requests, index: u32, alternative: &str) {
    let mut body = link(index, None);
    nested(&mut body, IFLA_PROP_LIST, |list| attribute(list, IFLA_ALT_IFNAME, &text(alternative)));
    to.push(RTM_DELLINKPROP, 0, &body, format!("RTM_DELLINKPROP interface {index} {alternative}"));
}

/// Asks for the link `name`.
pub(super) fn get(to: &mut Requests, name: &InterfaceName) {
    let mut body = link(0, None);
    attribute(&mut body, IFLA_IFNAME, &text(name.as_str()));
    to.push(RTM_GETLINK, 0, &body, format!("RTM_GETLINK {name}"));
}

/// Brings the link `index` up.
pub(super) fn up(to: &mut Requests, index: u32, name: &InterfaceName) {
    to.push(RTM_NEWLINK, 0, &link(index, Some(true)), format!("RTM_NEWLINK {name} up"));
}

/// Moves the link `index` to `namespace`, where it is called `name`.
pub(super) fn relocate(to: &mut Requests, index: u32, namespace: BorrowedFd<'_>, name: &InterfaceName) {
    let mut body = link(index, None);
    attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    attribute(&mut body, IFLA_IFNAME, &text(name.as_str()));
    to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK interface {index} to another namespace as {name}"));
}

/// Renames the link `index`. One that is up can be renamed since Linux 6.2; an older kernel says EBUSY.
pub(super) fn rename(to: &mut Requests, index: u32, name: &InterfaceName) {
    let mut body = link(index, None);
    attribute(&mut body, IFLA_IFNAME, &text(name.as_str()));
    to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK interface {index} as {name}"));
}

/// Makes the link `index` what it `was`, as far as it is not that `now`: drivers refuse much of what changes nothing, too.
pub(super) fn restore(to: &mut Requests, index: u32, name: &InterfaceName, was: &Condition, now: &Condition) {
    let words = [0, index, was.flags, was.flags ^ now.flags];
    let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    if let Some(mac) = was.mac.filter(|_| was.mac != now.mac) {
        attribute(&mut body, IFLA_ADDRESS, &mac.0);
    }
    let numbers = [
        (IFLA_MTU, was.mtu, now.mtu),
        (IFLA_GROUP, was.group, now.group),
        (IFLA_TXQLEN, was.queue, now.queue),
    ];
    for (kind, was, _) in numbers.into_iter().filter(|(_, was, now)| was != now) {
        attribute(&mut body, kind, &was.to_ne_bytes());
    }
    if was.alias != now.alias {
        attribute(&mut body, IFLA_IFALIAS, was.alias.as_bytes());
    }
    to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK {name} as it was"));
}

/// Has this host take no redirects of IPv4 over the link `index`.
pub(super) fn no_redirects(to: &mut Requests, index: u32, name: &InterfaceName) {
    let mut body = link(index, None);
    nested(&mut body, IFLA_AF_SPEC, |families| {
        nested(families, AF_INET.into(), |inet| {
            nested(inet, IFLA_INET_CONF, |switches| {
                attribute(switches, ACCEPT_REDIRECTS, &0_u32.to_ne_bytes());
            });
        });
    });
    to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK {name} accept_redirects 0"));
}

/// Marks the link `index` as one that is about to be removed.
pub(super) fn going(to: &mut Requests, index: u32, name: &InterfaceName) {
    let mut body = link(index, None);
    attribute(&mut body, IFLA_GROUP, &GOING.to_ne_bytes());
    to.push(RTM_NEWLINK, 0, &body, format!("RTM_NEWLINK {name} group {GOING}"));
}

/// Removes the link `index`, and with one end of a pair the other.
pub(super) fn remove(to: &mut Requests, index: u32, name: &InterfaceName) {
    to.push(RTM_DELLINK, 0, &link(index, None), format!("RTM_DELLINK {name}"));
}

/// Gives `address` to the link `index`, for good and at once.
pub(super) fn address(to: &mut Requests, index: u32, name: &InterfaceName, address: IpAddr, prefix: u8) {
    // ifaddrmsg: family, prefix, flags, scope, index.
    let mut body = vec![family(address), prefix, 0, 0];
    body.extend(index.to_ne_bytes());
    let bytes = octets(address);
    attribute(&mut body, IFA_LOCAL, &bytes);
    attribute(&mut body, IFA_ADDRESS, &bytes);
    attribute(&mut body, IFA_FLAGS, &(IFA_F_NODAD | IFA_F_PERMANENT).to_ne_bytes());
    if let IpAddr::V4(v4) = address
        && prefix < 31
    {
        let broadcast = v4.to_bits() | (u32::MAX >> prefix);
        attribute(&mut body, IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    to.push(RTM_NEWADDR, CREATE | EXCLUSIVE, &body, format!("RTM_NEWADDR {address}/{prefix} {name}"));
}

/// Has the link `index` know at which hardware address `neighbour` is, before it asks; it makes sure when it comes to send there, and
/// follows changes. The entry stays until it is removed, and does not count among those which all machines' tables have room for
/// together (NTF_EXT_LEARNED; net.ipv4.neigh.default.gc_thresh3): it is there when those are full.
pub(super) fn neighbour(
    to: &mut Requests,
    (index, name): (u32, &InterfaceName),
    (neighbour, mac): (IpAddr, MacAddress),
) {
    /// NUD_STALE, NTF_EXT_LEARNED, NDA_LLADDR (linux/neighbour.h).
    const STALE: u16 = 4;
    const EXTERNALLY_LEARNED: u8 = 0x10;
    const LINK_ADDRESS: u16 = 2;
    let mut body = neighbour_message(index, neighbour, STALE, EXTERNALLY_LEARNED);
    attribute(&mut body, LINK_ADDRESS, &mac.0);
    to.push(RTM_NEWNEIGH, CREATE | REPLACE, &body, format!("RTM_NEWNEIGH {neighbour} {name}"));
}

/// Has the link `index` forget `neighbour`.
pub(super) fn forget_neighbour(to: &mut Requests, index: u32, name: &InterfaceName, neighbour: IpAddr) {
    let body = neighbour_message(index, neighbour, 0, 0);
    to.push(RTM_DELNEIGH, 0, &body, format!("RTM_DELNEIGH {neighbour} {name}"));
}

/// An ndmsg: family, padding, index, state, flags, type; and which neighbour (NDA_DST).
fn neighbour_message(index: u32, neighbour: IpAddr, state: u16, flags: u8) -> Vec<u8> {
    const DESTINATION: u16 = 1;
    let mut body = vec![family(neighbour), 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(state.to_ne_bytes());
    body.extend([flags, 0]);
    attribute(&mut body, DESTINATION, &octets(neighbour));
    body
}

/// A default route by way of `gateway`, which is on the link `index` even where no prefix says so.
pub(super) fn default_route(to: &mut Requests, index: u32, name: &InterfaceName, gateway: IpAddr) {
    const RTNH_F_ONLINK: u32 = 4;
    // rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, kind, flags.
    let mut body = vec![family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST];
    body.extend(RTNH_F_ONLINK.to_ne_bytes());
    attribute(&mut body, RTA_GATEWAY, &octets(gateway));
    attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    to.push(RTM_NEWROUTE, CREATE | EXCLUSIVE, &body, format!("RTM_NEWROUTE default via {gateway} {name}"));
}

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// An ifinfomsg: family, padding, type, index, flags, and which of the flags are meant.
fn link(index: u32, up: Option<bool>) -> Vec<u8> {
    let flags = if up == Some(true) { IFF_UP } else { 0 };
    let change = if up.is_some() { IFF_UP } else { 0 };
    [0, index, flags, change].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn kind(body: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    nested(body, IFLA_LINKINFO, |info| {
        attribute(info, IFLA_INFO_KIND, name.as_bytes());
        nested(info, IFLA_INFO_DATA, data);
    });
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}
