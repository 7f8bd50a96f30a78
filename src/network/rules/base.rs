//! The tables of ours, as data: what they hold whatever machines there are. Machines are elements of the sets and maps.
//!
//! `inet spinney` is what routers do: who reaches whom, under which address. `bridge spinney` is what switches do: who may
//! say that he is who. Packets come through `bridge` first.

use super::super::nft::number::{FORWARD, Family, INPUT, OUTPUT, POSTROUTING, PREROUTING};
use super::super::nft::object::{Chain, DataType, Hook, Set, Table};
use super::statement::{Action, Field, Match, Statement};
use Action::{Accept, DnatIp, DnatIp6, Drop, Goto, Masquerade, Reject};
use DataType::{Ether, Ifname, Ipv4, Ipv6, Protocol, Raw, Service};
use Field::{
    ArpSource, ArpSourceEther, DestinationPort, EtherSource, Iifname, Ip6Destination, Ip6Source,
    IpDestination, IpSource, L4Protocol, NeighbourTarget, Oifname, SourcePort,
};
use Match::{
    EtherType, FragmentOf, FromLinkLocal, FromLoopback, FromUnspecified, Icmp6, In, IsIpv4, IsIpv6,
    LinkLocalTarget, NotIn, NotToLoopback, NotToLoopback6, State, ToLocal, ToLoopback, ToMany, Translated,
    TwiceTagged, UdpFrom, UdpTo, Untagged,
};

/// What routers do.
pub const INET: Table = Table { family: Family::Inet, name: "spinney" };

/// What switches do.
pub const BRIDGE: Table = Table { family: Family::Bridge, name: "spinney" };

/// What lists show beside our tables.
pub const COMMENT: &str = "networks of machines: made, mended and removed by spinney";

/// A table with all that is in it but elements.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The table.
    pub table: Table,
    /// Its sets and maps.
    pub sets: &'static [Set],
    /// Its chains.
    pub chains: &'static [Chain],
    /// Their rules, in order.
    pub rules: &'static [Statement],
}

/// Both tables.
pub const LAYOUTS: [Layout; 2] = [
    Layout { table: INET, sets: INET_SETS, chains: INET_CHAINS, rules: INET_RULES },
    Layout { table: BRIDGE, sets: BRIDGE_SETS, chains: BRIDGE_CHAINS, rules: BRIDGE_RULES },
];

const fn set(name: &'static str, key: &'static [DataType], comment: &'static str) -> Set {
    Set { name, key, data: &[], key_typeof: &[], comment }
}

const fn map(
    name: &'static str,
    key: &'static [DataType],
    data: &'static [DataType],
    comment: &'static str,
) -> Set {
    Set { name, key, data, key_typeof: &[], comment }
}

const INET_SETS: &[Set] = &[
    set("inside", &[Ifname], "bridges of zones and links of machines of their own"),
    set("same", &[Ifname, Ifname], "each of these with itself"),
    set("ports", &[Ifname], "ports of bridges, which are on the host for nobody"),
    set("opened4", &[Ifname], "interfaces whose IPv4 is forwarded for machines alone"),
    set("opened6", &[Ifname], "interfaces whose IPv6 is forwarded for machines alone"),
    set(
        "bridged",
        &[Ifname, Ifname],
        "each of these with itself, as br_netfilter shows what a bridge passes on",
    ),
    set("pairs", &[Ifname], "links whose machine may send from its own addresses only"),
    set("sources4", &[Ifname, Ipv4], "machines' addresses, by the interface that they come in by"),
    set("sources6", &[Ifname, Ipv6], "machines' addresses, by the interface that they come in by"),
    set("partitions4", &[Ipv4, Ipv4], "who is kept from whom on purpose"),
    set("partitions6", &[Ipv6, Ipv6], "who is kept from whom on purpose"),
    map("dns4", &[Ipv4, Ipv4, Protocol, Service], &[Ipv4, Service], "the name server of each machine"),
    map("dns6", &[Ipv6, Ipv6, Protocol, Service], &[Ipv6, Service], "the name server of each machine"),
    set("shut4", &[Ipv4, Protocol, Service], "where ports led that were taken back"),
    set("shut6", &[Ipv6, Protocol, Service], "where ports led that were taken back"),
    map("ports4", &[Protocol, Service], &[Ipv4, Service], "ports of all addresses of the host"),
    map("ports6", &[Protocol, Service], &[Ipv6, Service], "ports of all addresses of the host"),
    map("ports4_at", &[Ipv4, Protocol, Service], &[Ipv4, Service], "ports of one address"),
    map("ports6_at", &[Ipv6, Protocol, Service], &[Ipv6, Service], "ports of one address"),
];

const fn base(
    name: &'static str,
    kind: &'static str,
    number: u32,
    priority: i32,
    comment: &'static str,
) -> Chain {
    Chain { name, hook: Some(Hook { kind, number, priority }), comment }
}

/// Priorities: before connection tracking (NF_IP_PRI_RAW), where addresses are translated (NF_IP_PRI_NAT_DST, _SRC), where
/// packets are filtered (NF_IP_PRI_FILTER; linux/netfilter_ipv4.h).
const INET_CHAINS: &[Chain] = &[
    base("early", "filter", PREROUTING, -300, "what no machine may send"),
    Chain { name: "from_machine", hook: None, comment: "" },
    base("prerouting", "nat", PREROUTING, -100, "ports and name servers"),
    base("output", "nat", OUTPUT, -100, "ports, for the host itself"),
    base("postrouting", "nat", POSTROUTING, 100, "machines leave with an address of the host"),
    base("input", "filter", INPUT, 0, "what machines reach of the host: names, ping, what it offers"),
    base("forward", "filter", FORWARD, 0, "zones are kept apart; inwards lead published ports alone"),
    Chain { name: "through", hook: None, comment: "what is of no machine" },
];

const fn rule(chain: &'static str, matches: &'static [Match], action: Action) -> Statement {
    Statement { chain, matches, action }
}

const DNS4: &[Field] = &[IpSource, IpDestination, L4Protocol, DestinationPort];
const DNS6: &[Field] = &[Ip6Source, Ip6Destination, L4Protocol, DestinationPort];
const SHUT4: &[Field] = &[IpSource, L4Protocol, SourcePort];
const SHUT6: &[Field] = &[Ip6Source, L4Protocol, SourcePort];
const PORT: &[Field] = &[L4Protocol, DestinationPort];
const PORT4: &[Field] = &[IpDestination, L4Protocol, DestinationPort];
const PORT6: &[Field] = &[Ip6Destination, L4Protocol, DestinationPort];

/// NF_CT_STATE_INVALID_BIT.
const INVALID: Match = State(1, "invalid");
/// NF_CT_STATE_BIT() of IP_CT_ESTABLISHED and IP_CT_RELATED.
const GOING_ON: Match = State(2 | 4, "established,related");

const INET_RULES: &[Statement] = &[
    // First what most packets are, with one lookup, which costs a packet some 30 ns. All that is below would come to the same.
    rule("early", &[Match::Ipv4, NotToLoopback, In(&[Iifname, IpSource], "sources4")], Accept),
    rule("early", &[Match::Ipv6, In(&[Iifname, Ip6Source], "sources6")], Accept),
    rule("early", &[In(&[Iifname], "inside")], Goto("from_machine")),
    // What a bridge does not forward (01:80:c2:00:00:01 to :0f, IEEE 802.1D 7.12.6) comes up to the host, whatever is in it.
    rule("early", &[In(&[Iifname], "ports")], Drop),
    // route_localnet is on there, for ports of the host's loopback: only the host itself may use that (CVE-2020-8558).
    rule("from_machine", &[Match::Ipv4, ToLoopback], Drop),
    rule("from_machine", &[Match::Ipv4, FromLoopback], Drop),
    rule("from_machine", &[NotIn(&[Iifname], "pairs")], Accept),
    rule("from_machine", &[IsIpv4], Drop),
    // There is nobody else on the link.
    rule("from_machine", &[Match::Ipv6, FromLinkLocal], Accept),
    rule("from_machine", &[Match::Ipv6, FromUnspecified], Accept),
    rule("from_machine", &[], Drop),
    rule("prerouting", &[In(&[Iifname], "inside"), Match::Ipv4], DnatIp(DNS4, "dns4")),
    rule("prerouting", &[In(&[Iifname], "inside"), Match::Ipv6], DnatIp6(DNS6, "dns6")),
    // A neighbour on the LAN may send to 127.0.0.1: ports there are the host's own.
    rule("prerouting", &[Match::Ipv4, NotToLoopback, ToLocal], DnatIp(PORT4, "ports4_at")),
    rule("prerouting", &[Match::Ipv4, NotToLoopback, ToLocal], DnatIp(PORT, "ports4")),
    rule("prerouting", &[ToLocal, Match::Ipv6], DnatIp6(PORT6, "ports6_at")),
    rule("prerouting", &[ToLocal], DnatIp6(PORT, "ports6")),
    rule("output", &[ToLocal, Match::Ipv4], DnatIp(PORT4, "ports4_at")),
    rule("output", &[ToLocal], DnatIp(PORT, "ports4")),
    // From ::1 nothing leaves lo, whatever its destination becomes: a proxy is there.
    rule("output", &[Match::Ipv6, NotToLoopback6, ToLocal], DnatIp6(PORT6, "ports6_at")),
    rule("output", &[Match::Ipv6, NotToLoopback6, ToLocal], DnatIp6(PORT, "ports6")),
    rule("postrouting", &[In(&[Iifname], "inside"), NotIn(&[Oifname], "inside")], Masquerade),
    // To a sibling, or itself, by a port of the host: its answer would not come by the host.
    rule("postrouting", &[In(&[Iifname, Oifname], "same"), Translated], Masquerade),
    rule("postrouting", &[In(&[Oifname], "inside"), Match::Ipv4, FromLoopback], Masquerade),
    rule("input", &[GOING_ON], Accept),
    rule("input", &[NotIn(&[Iifname], "inside")], Accept),
    // Routers' advertisements and redirections: no machine tells this host where to send.
    rule("input", &[Icmp6(134, "nd-router-advert")], Drop),
    rule("input", &[Icmp6(137, "nd-redirect")], Drop),
    rule("input", &[INVALID], Drop),
    rule("input", &[Translated], Accept),
    rule("input", &[Match::Protocol(1, "icmp")], Accept),
    rule("input", &[Match::Protocol(58, "ipv6-icmp")], Accept),
    rule("input", &[ToMany], Drop),
    rule("input", &[], Reject),
    rule("forward", &[Match::Ipv4, In(&[IpSource, IpDestination], "partitions4")], Drop),
    rule("forward", &[Match::Ipv6, In(&[Ip6Source, Ip6Destination], "partitions6")], Drop),
    rule("forward", &[NotIn(&[Iifname], "inside"), NotIn(&[Oifname], "inside")], Goto("through")),
    rule("forward", &[INVALID], Drop),
    rule("forward", &[GOING_ON], Accept),
    // A machine that goes on where a port has led is not taken for one that begins (nf_conntrack_tcp_loose).
    rule("forward", &[Match::Ipv4, In(SHUT4, "shut4")], Drop),
    rule("forward", &[Match::Ipv6, In(SHUT6, "shut6")], Drop),
    rule("forward", &[Translated], Accept),
    rule("forward", &[In(&[Iifname, Oifname], "same")], Accept),
    rule("forward", &[In(&[Oifname], "inside")], Drop),
    // This host was no router: what comes in where we have switched forwarding on goes to machines, or nowhere.
    rule("through", &[GOING_ON], Accept),
    rule("through", &[In(&[Iifname, Oifname], "bridged")], Accept),
    rule("through", &[IsIpv4, In(&[Iifname], "opened4")], Drop),
    rule("through", &[IsIpv6, In(&[Iifname], "opened6")], Drop),
];

/// `typeof iifname . @th,64,128` as nft keeps it (NFTNL_UDATA_SET_KEY_TYPEOF): a concatenation of `meta iifname` and 128 bits
/// of the transport header from bit 64 on. Words without a type of their own, as the target of neighbour messages is for
/// nft below 1.0.8, cannot be listed without.
const PORT_AND_TARGET: &[u8] = &[
    0x03, 0x40, 0x00, 0x04, 0x0d, 0x00, 0x00, 0x00, 0x01, 0x38, 0x00, 0x0e, 0x00, 0x04, 0x09, 0x00, 0x00,
    0x00, 0x01, 0x06, 0x00, 0x04, 0x06, 0x00, 0x00, 0x00, 0x01, 0x26, 0x00, 0x04, 0x07, 0x00, 0x00, 0x00,
    0x01, 0x1e, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00, 0x02, 0x04, 0x03,
    0x00, 0x00, 0x00, 0x03, 0x04, 0x40, 0x00, 0x00, 0x00, 0x04, 0x04, 0x80, 0x00, 0x00, 0x00,
];

/// `typeof @th,64,128`.
const TARGET: &[u8] = &[
    0x03, 0x26, 0x00, 0x04, 0x07, 0x00, 0x00, 0x00, 0x01, 0x1e, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x01,
    0x04, 0x00, 0x00, 0x00, 0x00, 0x02, 0x04, 0x03, 0x00, 0x00, 0x00, 0x03, 0x04, 0x40, 0x00, 0x00, 0x00,
    0x04, 0x04, 0x80, 0x00, 0x00, 0x00,
];

const BRIDGE_SETS: &[Set] = &[
    set("guarded", &[Ifname], "ports whose machine may send from its own hardware address only"),
    set("macs", &[Ifname, Ether], "those addresses"),
    set("addressed", &[Ifname], "ports whose machine may send from its own addresses only"),
    set("sources4", &[Ifname, Ether, Ipv4], "those addresses"),
    set("sources6", &[Ifname, Ipv6], "those addresses"),
    Set {
        name: "targets6",
        key: &[Ifname, Raw(16)],
        data: &[],
        key_typeof: PORT_AND_TARGET,
        comment: "addresses that a machine may say it has",
    },
    set("known6", &[Ipv6], "link-local addresses that are somebody's"),
    Set {
        name: "known_targets6",
        key: &[Raw(16)],
        data: &[],
        key_typeof: TARGET,
        comment: "link-local addresses that are somebody's",
    },
    set("partitions", &[Ifname, Ifname], "who is kept from whom on purpose"),
];

const BRIDGE_CHAINS: &[Chain] = &[
    // NF_BR_PRI_NAT_DST_BRIDGED (linux/netfilter_bridge.h): before all else.
    base("guard", "filter", PREROUTING, -300, "nobody says that he is somebody else"),
    Chain { name: "arp_from", hook: None, comment: "" },
    Chain { name: "ipv4_from", hook: None, comment: "" },
    Chain { name: "ipv6_from", hook: None, comment: "" },
    Chain { name: "neighbour", hook: None, comment: "whose link-layer address is asked for or told" },
    // NF_BR_PRI_FILTER_BRIDGED.
    base("forward", "filter", FORWARD, -200, "partitions"),
];

const BRIDGE_RULES: &[Statement] = &[
    // First what most frames are. All that is below would come to the same, after four lookups: who has an address here is guarded, and
    // servers of addresses are asked by UDP.
    rule(
        "guard",
        &[
            Match::Protocol(6, "tcp"),
            Untagged([0x08, 0x00]),
            In(&[Iifname, EtherSource, IpSource], "sources4"),
        ],
        Accept,
    ),
    rule(
        "guard",
        &[
            Match::Protocol(6, "tcp"),
            Untagged([0x86, 0xdd]),
            In(&[Iifname, Ip6Source], "sources6"),
            In(&[Iifname, EtherSource], "macs"),
        ],
        Accept,
    ),
    rule("guard", &[NotIn(&[Iifname], "guarded")], Accept),
    rule("guard", &[NotIn(&[Iifname, EtherSource], "macs")], Drop),
    // One tag of a VLAN the kernel has taken off by now, and what is below looks behind it; behind two of them it does not, while a
    // receiver takes off as many as have the number 0 (IEEE 802.1Q 6.9; __netif_receive_skb_core()).
    rule("guard", &[TwiceTagged([0x81, 0x00], "8021q")], Drop),
    rule("guard", &[TwiceTagged([0x88, 0xa8], "8021ad")], Drop),
    // Answers of servers of addresses, routers' advertisements, redirections: not from machines.
    rule("guard", &[UdpFrom(67)], Drop),
    rule("guard", &[UdpFrom(547)], Drop),
    rule("guard", &[Icmp6(134, "nd-router-advert")], Drop),
    rule("guard", &[Icmp6(137, "nd-redirect")], Drop),
    // Nor what could be one of these: no rule sees what a fragment is of that begins with yet another header (RFC 7112).
    rule("guard", &[FragmentOf(60, "ipv6-opts")], Drop),
    rule("guard", &[FragmentOf(43, "ipv6-route")], Drop),
    rule("guard", &[FragmentOf(44, "ipv6-frag")], Drop),
    rule("guard", &[FragmentOf(0, "ip")], Drop),
    // Who has an address is told from there, not from the frame's head.
    rule("guard", &[EtherType([0x08, 0x06], ""), NotIn(&[Iifname, ArpSourceEther], "macs")], Drop),
    rule("guard", &[NotIn(&[Iifname], "addressed")], Accept),
    rule("guard", &[EtherType([0x08, 0x06], "ether type arp")], Goto("arp_from")),
    rule("guard", &[EtherType([0x08, 0x00], "ether type ip")], Goto("ipv4_from")),
    rule("guard", &[EtherType([0x86, 0xdd], "ether type ip6")], Goto("ipv6_from")),
    // What is neither has no address that could be checked; what has a tag is none of the zone's.
    rule("guard", &[], Drop),
    rule(
        "arp_from",
        &[EtherType([0x08, 0x06], ""), NotIn(&[Iifname, EtherSource, ArpSource], "sources4")],
        Drop,
    ),
    // Supervisors see what asks for addresses and routers before any rule, and answer: no other machine has to.
    rule("ipv4_from", &[UdpTo(67)], Drop),
    rule(
        "ipv4_from",
        &[EtherType([0x08, 0x00], ""), NotIn(&[Iifname, EtherSource, IpSource], "sources4")],
        Drop,
    ),
    rule("ipv6_from", &[UdpTo(547)], Drop),
    rule("ipv6_from", &[Icmp6(133, "nd-router-solicit")], Drop),
    // Who asks for listeners of multicast is a router too.
    rule("ipv6_from", &[Icmp6(130, "mld-listener-query")], Drop),
    rule("ipv6_from", &[Icmp6(136, "nd-neighbor-advert")], Goto("neighbour")),
    rule("ipv6_from", &[EtherType([0x86, 0xdd], ""), In(&[Iifname, Ip6Source], "sources6")], Accept),
    // Link-local addresses may be made up (RFC 7217), as long as nobody is known to have them.
    rule("ipv6_from", &[EtherType([0x86, 0xdd], ""), FromLinkLocal, NotIn(&[Ip6Source], "known6")], Accept),
    // Looks whether an address is free (RFC 4862 5.4): as good as saying that one has it.
    rule(
        "ipv6_from",
        &[EtherType([0x86, 0xdd], ""), FromUnspecified, Icmp6(135, "nd-neighbor-solicit")],
        Goto("neighbour"),
    ),
    rule(
        "ipv6_from",
        &[EtherType([0x86, 0xdd], ""), FromUnspecified, Match::Protocol(58, "ipv6-icmp")],
        Accept,
    ),
    rule("ipv6_from", &[], Drop),
    rule("neighbour", &[In(&[Iifname, NeighbourTarget], "targets6")], Accept),
    rule("neighbour", &[LinkLocalTarget, NotIn(&[NeighbourTarget], "known_targets6")], Accept),
    rule("neighbour", &[], Drop),
    rule("forward", &[In(&[Iifname, Oifname], "partitions")], Drop),
];
