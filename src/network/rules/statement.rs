//! Rules as they are written down here: conditions and an action, each both as nft's language has it and as the kernel does.

use super::super::nft::expression::{Base, Compare, Ct, Expression, Meta, Register, Verdict};
use super::super::nft::object::DataType;

/// A part of a packet, or a fact about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "nft's names")]
pub enum Field {
    Iifname,
    Oifname,
    EtherSource,
    ArpSource,
    ArpSourceEther,
    IpSource,
    IpDestination,
    Ip6Source,
    Ip6Destination,
    L4Protocol,
    SourcePort,
    DestinationPort,
    /// The address that a neighbour advertisement or solicitation is about (RFC 4861 4.3, 4.4).
    NeighbourTarget,
}

impl Field {
    /// Of what it is one.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Iifname | Self::Oifname => DataType::Ifname,
            Self::EtherSource | Self::ArpSourceEther => DataType::Ether,
            Self::ArpSource | Self::IpSource | Self::IpDestination => DataType::Ipv4,
            Self::Ip6Source | Self::Ip6Destination => DataType::Ipv6,
            Self::L4Protocol => DataType::Protocol,
            Self::SourcePort | Self::DestinationPort => DataType::Service,
            Self::NeighbourTarget => DataType::Raw(16),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Iifname => "iifname",
            Self::Oifname => "oifname",
            Self::EtherSource => "ether saddr",
            Self::ArpSource => "arp saddr ip",
            Self::ArpSourceEther => "arp saddr ether",
            Self::IpSource => "ip saddr",
            Self::IpDestination => "ip daddr",
            Self::Ip6Source => "ip6 saddr",
            Self::Ip6Destination => "ip6 daddr",
            Self::L4Protocol => "meta l4proto",
            Self::SourcePort => "th sport",
            Self::DestinationPort => "th dport",
            Self::NeighbourTarget => "@th,64,128",
        }
    }

    fn load(self, to: Register) -> Expression {
        let payload = |base, offset, length| Expression::Payload { base, offset, length, to };
        match self {
            Self::Iifname => Expression::Meta(Meta::Iifname, to),
            Self::Oifname => Expression::Meta(Meta::Oifname, to),
            Self::EtherSource => payload(Base::Link, 6, 6),
            // RFC 826, with addresses of 6 and 4 bytes: others are none of IPv4 over Ethernet.
            Self::ArpSourceEther => payload(Base::Network, 8, 6),
            Self::ArpSource => payload(Base::Network, 14, 4),
            Self::IpSource => payload(Base::Network, 12, 4),
            Self::IpDestination => payload(Base::Network, 16, 4),
            Self::Ip6Source => payload(Base::Network, 8, 16),
            Self::Ip6Destination => payload(Base::Network, 24, 16),
            Self::L4Protocol => Expression::Meta(Meta::L4proto, to),
            Self::SourcePort => payload(Base::Transport, 0, 2),
            Self::DestinationPort => payload(Base::Transport, 2, 2),
            Self::NeighbourTarget => payload(Base::Transport, 8, 16),
        }
    }
}

/// `fields`, each after the other in registers from the first on, as keys of sets are.
fn load_row(fields: &[Field], steps: &mut Vec<Expression>) {
    let mut word = 0;
    for field in fields {
        steps.push(field.load(Register(word)));
        word += u32::try_from(field.data_type().padded() / 4).unwrap_or_default();
    }
}

fn row_text(fields: &[Field]) -> String {
    fields.iter().map(|field| field.text()).collect::<Vec<_>>().join(" . ")
}

/// What a packet must be for a rule to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The fields are an element of the set.
    In(&'static [Field], &'static str),
    /// They are not.
    NotIn(&'static [Field], &'static str),
    /// IPv4 (NFPROTO_IPV4), in the family inet. nft does not show what the next condition says anyway.
    Ipv4,
    /// IPv6, in the family inet.
    Ipv6,
    /// IPv4, in the family inet, where no other condition says it.
    IsIpv4,
    /// IPv6, in the family inet, where no other condition says it.
    IsIpv6,
    /// This ethertype, in the family bridge; the text is that of nft, or empty where the next condition says it.
    EtherType([u8; 2], &'static str),
    /// This ethertype, in the family bridge, in the frame's own head: it has no tag of a VLAN. nft does not show what the next condition
    /// says anyway.
    Untagged([u8; 2]),
    /// Behind the tag of a VLAN that the kernel has taken off is another one, of this ethertype, named so.
    TwiceTagged([u8; 2], &'static str),
    /// It is a fragment of IPv6 of what begins with this header, named so.
    FragmentOf(u8, &'static str),
    /// The destination is in 127.0.0.0/8.
    ToLoopback,
    /// It is not.
    NotToLoopback,
    /// The source is.
    FromLoopback,
    /// The source is in fe80::/10.
    FromLinkLocal,
    /// The source is ::.
    FromUnspecified,
    /// The destination is not ::1.
    NotToLoopback6,
    /// The destination is an address of this host.
    ToLocal,
    /// The connection is any of these states (`NF_CT_STATE_BIT()`, bits of enum ip_conntrack_info), named so.
    State(u32, &'static str),
    /// The destination of the connection was translated (IPS_DST_NAT).
    Translated,
    /// This protocol, named so.
    Protocol(u8, &'static str),
    /// A port of UDP that it comes from.
    UdpFrom(u16),
    /// A port of UDP that it goes to.
    UdpTo(u16),
    /// A message of ICMPv6 of this type, named so by nft.
    Icmp6(u8, &'static str),
    /// Not for this host's or machine's hardware address (PACKET_HOST): to many.
    ToMany,
    /// The address that a message is about ([`Field::NeighbourTarget`]) is in fe80::/10.
    LinkLocalTarget,
}

impl Match {
    /// What nft's language says.
    pub fn text(self) -> String {
        match self {
            Self::In(fields, set) => format!("{} @{set}", row_text(fields)),
            Self::NotIn(fields, set) => format!("{} != @{set}", row_text(fields)),
            Self::Ipv4 | Self::Ipv6 | Self::Untagged(_) => String::new(),
            Self::TwiceTagged(_, name) => format!("meta protocol {name}"),
            Self::FragmentOf(_, name) => format!("frag nexthdr {name}"),
            Self::IsIpv4 => "meta nfproto ipv4".to_owned(),
            Self::IsIpv6 => "meta nfproto ipv6".to_owned(),
            Self::EtherType(_, text) => text.to_owned(),
            Self::ToLoopback => "ip daddr 127.0.0.0/8".to_owned(),
            Self::NotToLoopback => "ip daddr != 127.0.0.0/8".to_owned(),
            Self::FromLoopback => "ip saddr 127.0.0.0/8".to_owned(),
            Self::FromLinkLocal => "ip6 saddr fe80::/10".to_owned(),
            Self::FromUnspecified => "ip6 saddr ::".to_owned(),
            Self::NotToLoopback6 => "ip6 daddr != ::1".to_owned(),
            Self::ToLocal => "fib daddr type local".to_owned(),
            Self::State(_, names) => format!("ct state {names}"),
            Self::Translated => "ct status dnat".to_owned(),
            Self::Protocol(_, name) => format!("meta l4proto {name}"),
            Self::UdpFrom(port) => format!("udp sport {port}"),
            Self::UdpTo(port) => format!("udp dport {port}"),
            Self::Icmp6(_, name) => format!("icmpv6 type {name}"),
            Self::ToMany => "meta pkttype != host".to_owned(),
            Self::LinkLocalTarget => "@th,64,16 & 0xffc0 == 0xfe80".to_owned(),
        }
    }

    fn steps(self, steps: &mut Vec<Expression>) {
        use Compare::{Differ, Equal};
        const FIRST: Register = Register(0);
        let meta = |key| Expression::Meta(key, FIRST);
        let payload = |base, offset, length| Expression::Payload { base, offset, length, to: FIRST };
        let compare = |how, value: &[u8]| Expression::Compare(FIRST, how, value.to_vec());
        let bits = |bits: u32| Expression::Mask(FIRST, bits.to_ne_bytes().to_vec());
        match self {
            Self::In(fields, set) | Self::NotIn(fields, set) => {
                load_row(fields, steps);
                let inverted = matches!(self, Self::NotIn(..));
                steps.push(Expression::Lookup { set: set.to_owned(), from: FIRST, to: None, inverted });
            }
            Self::Ipv4 | Self::IsIpv4 => steps.extend([meta(Meta::Nfproto), compare(Equal, &[2])]),
            Self::Ipv6 | Self::IsIpv6 => steps.extend([meta(Meta::Nfproto), compare(Equal, &[10])]),
            // What the kernel took it for: it may have had a VLAN's tag.
            Self::EtherType(number, "") | Self::TwiceTagged(number, _) => {
                steps.extend([meta(Meta::Protocol), compare(Equal, &number)])
            }
            Self::EtherType(number, _) | Self::Untagged(number) => {
                steps.extend([payload(Base::Link, 12, 2), compare(Equal, &number)]);
            }
            // IPPROTO_FRAGMENT
            Self::FragmentOf(number, _) => {
                steps.extend([Expression::AfterExtension(44, FIRST), compare(Equal, &[number])]);
            }
            Self::ToLoopback => steps.extend([payload(Base::Network, 16, 1), compare(Equal, &[127])]),
            Self::NotToLoopback => steps.extend([payload(Base::Network, 16, 1), compare(Differ, &[127])]),
            Self::FromLoopback => steps.extend([payload(Base::Network, 12, 1), compare(Equal, &[127])]),
            Self::FromLinkLocal => {
                let (mut mask, mut prefix) = (vec![0; 16], vec![0; 16]);
                mask.splice(..2, [0xff, 0xc0]);
                prefix.splice(..2, [0xfe, 0x80]);
                steps.extend([payload(Base::Network, 8, 16), Expression::Mask(FIRST, mask)]);
                steps.push(compare(Equal, &prefix));
            }
            Self::FromUnspecified => {
                steps.extend([payload(Base::Network, 8, 16), compare(Equal, &[0; 16])]);
            }
            Self::NotToLoopback6 => {
                let one = std::net::Ipv6Addr::LOCALHOST.octets();
                steps.extend([payload(Base::Network, 24, 16), compare(Differ, &one)]);
            }
            // RTN_LOCAL
            Self::ToLocal => {
                steps.extend([Expression::DestinationType(FIRST), compare(Equal, &2_u32.to_ne_bytes())]);
            }
            Self::State(states, _) => {
                steps.extend([Expression::Ct(Ct::State, FIRST), bits(states), compare(Differ, &[0; 4])]);
            }
            Self::Translated => {
                steps.extend([Expression::Ct(Ct::Status, FIRST), bits(0x20), compare(Differ, &[0; 4])]);
            }
            Self::Protocol(number, _) => {
                steps.extend([meta(Meta::L4proto), compare(Equal, &[number])]);
            }
            Self::UdpFrom(port) | Self::UdpTo(port) => {
                let offset = if matches!(self, Self::UdpTo(_)) { 2 } else { 0 };
                steps.extend([meta(Meta::L4proto), compare(Equal, &[17])]);
                steps.extend([payload(Base::Transport, offset, 2), compare(Equal, &port.to_be_bytes())]);
            }
            Self::Icmp6(number, _) => {
                steps.extend([meta(Meta::L4proto), compare(Equal, &[58])]);
                steps.extend([payload(Base::Transport, 0, 1), compare(Equal, &[number])]);
            }
            Self::ToMany => steps.extend([meta(Meta::Pkttype), compare(Differ, &[0])]),
            Self::LinkLocalTarget => {
                let mask = Expression::Mask(FIRST, vec![0xff, 0xc0]);
                steps.extend([payload(Base::Transport, 8, 2), mask, compare(Equal, &[0xfe, 0x80])]);
            }
        }
    }
}

/// What is done with a packet that is all that a rule wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing here has anything against it.
    Accept,
    /// It is gone.
    Drop,
    /// It goes on in this chain.
    Goto(&'static str),
    /// It goes where the map says for the fields; one that the map does not have goes on.
    DnatIp(&'static [Field], &'static str),
    /// The same for IPv6.
    DnatIp6(&'static [Field], &'static str),
    /// It leaves with the address of the interface that it leaves by.
    Masquerade,
    /// It is gone, and its sender is told.
    Reject,
}

impl Action {
    fn text(self) -> String {
        match self {
            Self::Accept => "accept".to_owned(),
            Self::Drop => "drop".to_owned(),
            Self::Goto(chain) => format!("goto {chain}"),
            Self::DnatIp(fields, map) => format!("dnat ip to {} map @{map}", row_text(fields)),
            Self::DnatIp6(fields, map) => format!("dnat ip6 to {} map @{map}", row_text(fields)),
            Self::Masquerade => "masquerade".to_owned(),
            Self::Reject => "reject with icmpx admin-prohibited".to_owned(),
        }
    }

    fn steps(self, steps: &mut Vec<Expression>) {
        const FIRST: Register = Register(0);
        match self {
            Self::Accept => steps.push(Expression::Verdict(Verdict::Accept)),
            Self::Drop => steps.push(Expression::Verdict(Verdict::Drop)),
            Self::Goto(chain) => steps.push(Expression::Verdict(Verdict::Goto(chain.to_owned()))),
            Self::DnatIp(fields, map) | Self::DnatIp6(fields, map) => {
                load_row(fields, steps);
                let (set, inverted) = (map.to_owned(), false);
                steps.push(Expression::Lookup { set, from: FIRST, to: Some(FIRST), inverted });
                // The port comes after the address in the map's value.
                let (family, port) = match self {
                    Self::DnatIp(..) => (2, Register(1)),
                    _ => (10, Register(4)),
                };
                steps.push(Expression::Dnat { family, address: FIRST, port });
            }
            Self::Masquerade => steps.push(Expression::Masquerade),
            Self::Reject => steps.push(Expression::Reject),
        }
    }
}

/// A rule of a chain of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Its chain.
    pub chain: &'static str,
    /// What packets it acts on.
    pub matches: &'static [Match],
    /// What it does with them.
    pub action: Action,
}

impl Statement {
    /// As nft lists it.
    pub fn text(&self) -> String {
        let conditions = self.matches.iter().map(|condition| condition.text());
        let words = conditions.chain([self.action.text()]).filter(|text| !text.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    /// As the kernel does it.
    pub fn expressions(&self) -> Vec<Expression> {
        let mut steps = Vec::new();
        self.matches.iter().for_each(|condition| condition.steps(&mut steps));
        self.action.steps(&mut steps);
        steps
    }
}
